"""What is wrong with a checkpoint's tensors is said by the keys of its own file."""

import numpy as np
import pytest

from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="reads and writes PyTorch files")

from weight_port import port
from weight_port.source import read_source

FIRST = "features.0.0.weight"
LAST = "classifier.5.bias"


@pytest.fixture
def ported(mn01_arrays, tmp_path):
    """ported(change, prefix=…, weights=…): a file whose dict a function has changed, ported."""

    def run(change, prefix="model._orig_mod.", weights=None):
        tensors = {prefix + key: torch.as_tensor(a) for key, a in mn01_arrays.items()}
        change(tensors)
        torch.save({"state_dict": tensors}, tmp_path / "own.pt")
        return port.port(read_source(tmp_path / "own.pt", weights=weights))

    return run


def _set(key: str, value):
    return lambda tensors: tensors.update({key: value})


WRONG = {
    "missing": (lambda t: t.pop(f"model._orig_mod.{LAST}"), f"missing model._orig_mod.{LAST}"),
    "unknown": (
        _set("model._orig_mod.features.99.bias", torch.ones(2)),
        "unknown model._orig_mod.features.99.bias",
    ),
    "no matrix": (
        _set("model._orig_mod.features.16.0.weight", torch.ones(2)),
        r"model._orig_mod.features.16.0.weight has shape \(2,\)",
    ),
    "no such width": (
        _set("model._orig_mod.features.16.0.weight", torch.ones(100, 16, 1, 1)),
        "100 channels in model._orig_mod.features.16.0.weight",
    ),
    "shape": (
        _set(f"model._orig_mod.{LAST}", torch.ones(3)),
        rf"model._orig_mod.{LAST} has shape \(3,\)",
    ),
    "no number": (
        _set(f"model._orig_mod.{LAST}", torch.full((527,), np.nan)),
        f"NaN.* in model._orig_mod.{LAST}",
    ),
    "negative variance": (
        _set("model._orig_mod.features.0.1.running_var", torch.full((8,), -1e-3)),
        "negative variances in model._orig_mod.features.0.1.running_var",
    ),
    "integers": (
        _set(f"model._orig_mod.{LAST}", torch.ones(527, dtype=torch.int64)),
        f"int64 numbers .* in model._orig_mod.{LAST}",
    ),
    "no tensor": (_set(f"model._orig_mod.{LAST}", None), f"under 'model._orig_mod.{LAST}'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_key_is_named_as_the_file_has_it(ported, case):
    change, message = WRONG[case]
    with pytest.raises(UserError, match=rf"own\.pt .*{message}"):
        ported(change)


def test_keys_beside_the_model_are_left_out_only_where_the_user_says_so(ported, mn01_arrays):
    def change(tensors):
        tensors |= {"projection.weight": torch.ones(4, 4), "mel.window": torch.ones(800)}

    message = "unknown projection.weight, mel.window. .* --weights=state_dict.model leaves"
    with pytest.raises(UserError, match=message):
        ported(change, prefix="model.")
    found = ported(change, prefix="model.", weights="state_dict.model")
    assert found.notes[:2] == (
        f"the prefix model. is taken off {len(mn01_arrays)} keys",
        "left out beside state_dict.model: 'projection.weight', 'mel.window'",
    )
    whole = ported(lambda tensors: None).variables
    for name, array in whole.params.items():
        np.testing.assert_array_equal(found.variables.params[name], array)


def test_the_number_of_averaged_models_is_no_weight(ported):
    found = ported(_set("n_averaged", torch.tensor(3)), prefix="module.")
    assert found.description["source"]["weights"] == "state_dict.module"


def _with_weight_norm(tensors):
    weight = tensors.pop("classifier.2.weight")
    tensors["classifier.2.parametrizations.weight.original0"] = weight[:, :1]
    tensors["classifier.2.parametrizations.weight.original1"] = weight


def _with_older_weight_norm(tensors):
    weight = tensors.pop("classifier.2.weight")
    tensors |= {"classifier.2.weight_g": weight[:, :1], "classifier.2.weight_v": weight}


def _without_running_statistics(tensors):
    for key in [key for key in tensors if "running" in key or "tracked" in key]:
        del tensors[key]


def _with_norm_merged(tensors):
    for key in [key for key in tensors if key.startswith("features.0.1.")]:
        del tensors[key]
    tensors["features.0.0.bias"] = torch.ones(8)


def test_one_of_several_files_is_told_by_its_name(mn01_arrays, tmp_path):
    tensors = {key: torch.as_tensor(mn01_arrays[key]) for key in list(mn01_arrays)[:100]}
    path = tmp_path / "pytorch_model-00001-of-00002.bin"
    torch.save(tensors, path)
    with pytest.raises(UserError, match="missing .*one part of several"):
        port.port(read_source(path))


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (_with_weight_norm, "remove_parametrizations"),
        (_with_older_weight_norm, "remove_weight_norm"),
        (_without_running_statistics, "without BatchNorm's running statistics"),
        (_with_norm_merged, "merged into the convolutions"),
        (lambda tensors: tensors.pop(LAST), "damaged, renamed or of another model"),
    ],
    ids=["weight norm", "older weight norm", "parameters alone", "merged norm", "damaged"],
)
def test_a_checkpoint_that_does_not_fit_comes_with_what_to_do(ported, change, advice):
    with pytest.raises(UserError, match=f"does not fit its kind.*{advice}"):
        ported(change, prefix="")
