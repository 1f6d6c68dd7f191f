"""To be removed, with its use in command_line.py, once these modes take their requests."""

import dataclasses


def adapted(mode, function):
    """The mode as it was before, called with its request."""
    if mode == "train":
        return lambda config, request: _train(function, config, request)
    if mode in ("diagnose", "visualise"):
        return lambda request: function(**_fields(request))
    if mode == "evaluate":
        return lambda request: function(**_fields(request))
    if mode == "generate":
        return lambda request: _generate(function, request)
    return function


def _fields(request):
    return {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}


def _train(function, config, request):
    from qvae_jax.training import hosts

    with hosts.joined(request.coordinator_address, request.num_processes, request.process_id):
        function(config, request.workdir, reset_epoch=request.reset_epoch)


def _generate(function, request):
    from qvae_jax.generation.inputs import split_inputs

    given = _fields(request)
    given |= _fields(given.pop("latents")) | _fields(given.pop("finish"))
    if given["sample_rate_hz"] is None:
        given["sample_rate_hz"] = 22_050
    if given["inputs"] is not None:
        given["inputs"] = split_inputs(given["inputs"])
    function(**given)
