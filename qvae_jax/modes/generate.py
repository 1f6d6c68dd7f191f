"""`--mode=generate`: imitations in, synthesised sounds out."""

import contextlib
import dataclasses
import pathlib

from qvae_jax.generation import finishing, naming, requests
from qvae_jax.generation.inputs import Source, pair_sources, probe, sources, split_inputs
from qvae_jax.generation.model import load_model
from qvae_jax.generation.sounds import HeardInputs, write_sounds
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.runs import open_run
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, counted
from qvae_jax.system.progress import progress_bar

MANIFEST_FILE = "manifest.json"


def generate(request: GenerateRequest) -> None:
    """Writes sounds, and a manifest of what was made from what.

    The output folder gets NN_STEM_generated.wav, NN_STEM_input.wav, NN_STEM_reference.wav where the
    reference is known, and manifest.json; with several sounds of an input
    NN_STEM_variation01_generated.wav and so on.

    Raises UserError for a model, an input or a folder that cannot be used, and for requests that
    contradict each other. The folder gets all of its files or none, at the end.
    """
    latents, finish = request.latents, finishing.checked(request.finish)
    inputs = None if request.inputs is None else split_inputs(request.inputs)
    requests.check(latents, inputs, request.from_split, request.workdir, request.window)
    output_dir = pathlib.Path(request.output_dir)
    with contextlib.ExitStack() as stack:
        found = _sources(request, inputs, output_dir, stack)
        if latents.interpolate is not None and len(found) != 2:
            raise UserError(
                f"--interpolate needs exactly two inputs, not {len(found)}: name two audio files."
            )
        stems = naming.stems(found)
        names = naming.sound_names(stems, latents, finish.format)
        naming.require_inputs_kept(found, stems, names, output_dir)
        for source in progress_bar("checking", total=len(found), unit="file", over=found):
            probe(source, SAMPLE_RATE_HZ)
        model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
        requests.check_dimension(latents, model.config.latent_dim)
        folder = stack.enter_context(files.filling_folder(output_dir))
        heard = HeardInputs(found, stems, folder, request.window)
        entries = write_sounds(model, heard, latents, finish, names, folder)
    manifest = {
        "model": model.source,
        "settings": {
            **dataclasses.asdict(latents),
            "temperature": latents.noise,
            "window": request.window,
            "from_split": request.from_split,
            **dataclasses.asdict(finish),
        },
        "inputs": heard.facts,
        "outputs": entries,
    }
    files.write_json(output_dir / MANIFEST_FILE, manifest)
    print(f"{counted(len(entries), 'sound')} and {MANIFEST_FILE} written to {output_dir}")


def _sources(
    request: GenerateRequest,
    inputs: list[str] | None,
    output_dir: pathlib.Path,
    stack: contextlib.ExitStack,
) -> list[Source]:
    """The imitations that are asked for; standard input is kept until the stack is left."""
    run = None if request.workdir is None else open_run(request.workdir)
    if request.from_split is not None:
        return pair_sources(run.index, run.pairs(request.from_split))
    if inputs is None:
        return []
    dataset_dir = None if run is None else run.dataset_dir
    return stack.enter_context(sources(inputs, output_dir, dataset_dir))
