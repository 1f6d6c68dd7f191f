"""Reading PyTorch files: what is taken, what is refused, and that nothing in them is run."""

import argparse
import decimal
import fractions
import hashlib
import os
import pathlib
import pickle
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest

from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="reads and writes PyTorch files")

from weight_port import torch_file, weight_sets
from weight_port.source import read_source

KEY = "features.0.0.weight"
WEIGHT = np.arange(72, dtype=np.float32).reshape(8, 1, 3, 3)


def _saved(path: pathlib.Path, content, **options) -> pathlib.Path:
    torch.save(content, path, **options)
    return path


def _tensors(**others) -> dict:
    return {KEY: torch.tensor(WEIGHT)} | others


class RunsCode:
    """Pickled, it asks whoever loads it to make a folder."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_state_dict_is_read_with_its_digest(tmp_path, zipped):
    path = _saved(tmp_path / "a.pt", _tensors(), _use_new_zipfile_serialization=zipped)
    found = read_source(path)
    assert list(found.arrays) == [KEY]
    np.testing.assert_array_equal(found.arrays[KEY], WEIGHT)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.converted == {} and found.hyper_parameters == {}


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["features.0.0.weight"], weight_sets.EFFICIENTAT),
        (
            ["imitation_encoder.features.0.0.weight", "reference_encoder.features.0.0.weight"],
            weight_sets.QVIM,
        ),
        (["encoder.backbone.features.0.0.weight", "encoder.mu_head.bias"], weight_sets.QVAE),
        (["encoder.backbone.features.0.0.weight", "encoder.vae_head.bias"], weight_sets.QVAE),
        (["encoder.backbone.features.0.0.weight", "decoder.conv1.bias"], weight_sets.QVAE),
        # An encoder that was taken out of a larger model with its prefix.
        (["encoder.backbone.features.0.0.weight"], weight_sets.EFFICIENTAT),
        (["reference_encoder.features.0.0.weight"], weight_sets.EFFICIENTAT),
    ],
)
def test_the_kind_is_told_by_the_keys(tmp_path, keys, kind):
    tensors = {key: torch.tensor(WEIGHT) for key in keys}
    path = _saved(tmp_path / "a.ckpt", {"state_dict": tensors})
    assert read_source(path).kind == kind


def test_hyper_parameters_are_read(tmp_path):
    config = {"config": {"decoder": {"type": "original-plus"}}}
    path = _saved(tmp_path / "a.ckpt", {"state_dict": _tensors(), "hyper_parameters": config})
    assert read_source(path).hyper_parameters == config


def test_a_config_beside_the_weights_counts_as_their_hyper_parameters(tmp_path):
    config = {"decoder": {"type": "original-res"}}
    path = _saved(tmp_path / "a.pt", {"model": _tensors(), "config": config})
    assert read_source(path).hyper_parameters == {"config": config}


def test_a_command_line_among_the_hyper_parameters_does_no_harm(tmp_path):
    options = {"config": argparse.Namespace(batch_size=16)}
    bare = _saved(tmp_path / "b.pt", {"model": _tensors(), "config": options["config"]})
    assert read_source(bare).hyper_parameters == {"config": {"batch_size": 16}}
    path = _saved(tmp_path / "a.ckpt", {"state_dict": _tensors(), "hyper_parameters": options})
    assert read_source(path).hyper_parameters["config"].batch_size == 16


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn"])
def test_floating_point_tensors_become_float32_and_are_counted(tmp_path, dtype):
    other = torch.tensor([0.5, -2.0]).to(getattr(torch, dtype))
    found = read_source(_saved(tmp_path / "a.pt", _tensors(**{"classifier.bias": other})))
    assert found.arrays["classifier.bias"].dtype == np.float32
    np.testing.assert_array_equal(found.arrays["classifier.bias"], np.float32([0.5, -2.0]))
    assert found.converted == {"classifier.bias": dtype}


def test_other_tensors_keep_their_type(tmp_path):
    found = read_source(_saved(tmp_path / "a.pt", _tensors(**{"features.count": torch.tensor(3)})))
    assert found.arrays["features.count"].dtype == np.int64 and found.converted == {}


@pytest.mark.parametrize(
    "strided",
    [
        torch.tensor(WEIGHT).transpose(2, 3).contiguous().transpose(2, 3),
        torch.tensor(np.repeat(WEIGHT, 2, axis=0))[::2],
        torch.nn.Parameter(torch.tensor(WEIGHT)),
    ],
    ids=["transposed", "every second", "parameter"],
)
def test_how_a_tensor_lies_in_memory_does_not_matter(tmp_path, strided):
    found = read_source(_saved(tmp_path / "a.pt", {KEY: strided}))
    np.testing.assert_array_equal(found.arrays[KEY], WEIGHT)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ],
    ids=["sparse", "sparse rows", "without data", "quantised", "nested"],
)
def test_a_tensor_that_is_no_plain_array_is_named(tmp_path, make):
    path = _saved(tmp_path / "a.pt", _tensors(**{"features.odd": make()}))
    with pytest.raises(UserError, match="'features.odd'"):
        read_source(path)


@pytest.mark.parametrize("value", [None, 3, "text", [1.0], {"nested": 1}])
def test_what_is_no_tensor_is_named(tmp_path, value):
    path = _saved(tmp_path / "a.pt", _tensors(**{"features.odd": value}))
    with pytest.raises(UserError, match=f"{type(value).__name__} under 'features.odd'"):
        read_source(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "no state dict"),
        ([1, 2], "no state dict"),
        ({1: torch.zeros(1)}, "no state dict"),
        ({"state_dict": [torch.zeros(1)]}, "no state dict"),
        ({}, "no state dict"),
        ({"state_dict": {}}, "no state dict"),
        ({"fc.weight": torch.zeros(1)}, "unknown kind: it holds fc.weight"),
        ({"model": {"fc.weight": torch.zeros(1)}}, "unknown kind: it holds model.fc.weight"),
        ({"head_" + KEY: torch.zeros(1)}, "unknown kind: it holds head_features.0.0.weight"),
        (
            {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": [{"params": [0]}]},
            "unknown kind: it holds state.0.exp_avg",
        ),
        (_tensors() | {7: torch.zeros(1)}, "the key 7 among its weights"),
    ],
)
def test_another_kind_of_content_is_refused(tmp_path, content, message):
    path = _saved(tmp_path / "other.pt", content)
    with pytest.raises(UserError, match=rf"other\.pt .*{message}"):
        read_source(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("place", ["state_dict", "hyper_parameters", "callbacks"])
def test_code_in_a_checkpoint_is_not_run(tmp_path, zipped, place):
    made = tmp_path / "made"
    content = {"state_dict": _tensors(), place: RunsCode(made)}
    path = _saved(tmp_path / "evil.ckpt", content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"evil\.ckpt asks for posix\.mkdir"):
        read_source(path)
    assert not made.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_bare_pickle_is_not_run(tmp_path, protocol):
    made, path = tmp_path / "made", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps(RunsCode(made), protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        with pytest.raises(UserError, match=r"evil\.pkl"):
            read_source(path)
    assert not made.exists()


def test_a_whole_module_is_refused_by_the_name_of_its_class(tmp_path):
    path = _saved(tmp_path / "module.pt", torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match="asks for torch.nn.modules.linear.Linear"):
        read_source(path)


def _command_line() -> dict:
    """A state dict beside hyper-parameters that need classes of their own."""
    return {
        "state_dict": _tensors(),
        "hyper_parameters": {"size": torch.Size([3]), "rate": fractions.Fraction(1, 2)},
        "callbacks": {"rate": decimal.Decimal("0.1")},
    }


def test_a_refusal_names_every_class_and_the_way_to_trust_the_file(tmp_path):
    path = _saved(tmp_path / "a.ckpt", _command_line())
    with pytest.raises(UserError) as raised:
        read_source(path)
    for name in ("fractions.Fraction", "decimal.Decimal"):
        assert name in str(raised.value)
    assert "--allow_pickle" in str(raised.value)


NUMPY_VALUES = [
    np.float64(0.4),
    np.float32(0.4),
    np.int64(3),
    np.bool_(True),
    np.arange(3),
    np.array(["mn10"]),
    np.array([[1.0, 2.0]], order="F"),
]


@pytest.mark.parametrize("value", NUMPY_VALUES, ids=lambda value: f"{value.dtype}")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_numbers_of_numpy_beside_the_weights_do_no_harm(tmp_path, value, zipped):
    content = {"state_dict": _tensors(), "best": value, "hyper_parameters": {"value": value}}
    path = _saved(tmp_path / "a.ckpt", content, _use_new_zipfile_serialization=zipped)
    found = read_source(path)
    np.testing.assert_array_equal(found.arrays[KEY], WEIGHT)
    np.testing.assert_array_equal(found.hyper_parameters["value"], value)


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_a_number_that_another_numpy_wrote_does_no_harm(tmp_path, core):
    content = {"state_dict": _tensors(), "best": np.float64(0.5)}
    path = _saved(tmp_path / "a.ckpt", content, _use_new_zipfile_serialization=False)
    written = path.read_bytes()
    assert written.count(b"numpy._core.multiarray") == 1
    path.write_bytes(written.replace(b"numpy._core.multiarray", core + b".multiarray"))
    np.testing.assert_array_equal(read_source(path).arrays[KEY], WEIGHT)


@pytest.mark.parametrize("module", [b"pathlib", b"pathlib._local"])
@pytest.mark.parametrize("system", [b"Posix", b"Windows"])
def test_a_path_of_any_system_among_the_hyper_parameters_does_no_harm(tmp_path, system, module):
    content = {"state_dict": _tensors(), "hyper_parameters": {"data": pathlib.PosixPath("a/b")}}
    path = _saved(tmp_path / "a.ckpt", content, _use_new_zipfile_serialization=False)
    written = b"cpathlib\nPosixPath"
    assert path.read_bytes().count(written) == 1
    path.write_bytes(path.read_bytes().replace(written, b"c%s\n%sPath" % (module, system)))
    assert read_source(path).hyper_parameters["data"].parts == ("a", "b")


@pytest.mark.parametrize("dtype", ["float32", ">f4", "float64", "float16"])
def test_arrays_of_numpy_are_weights_like_tensors(tmp_path, dtype):
    array = np.asfortranarray(WEIGHT.astype(dtype))
    found = read_source(_saved(tmp_path / "a.pt", {KEY: array}))
    assert found.arrays[KEY].dtype == np.float32
    np.testing.assert_array_equal(found.arrays[KEY], WEIGHT)
    name = np.dtype(dtype).name
    assert found.converted == ({} if name == "float32" else {KEY: name})


def test_an_array_of_text_is_no_weight(tmp_path):
    path = _saved(tmp_path / "a.pt", _tensors(**{"features.odd": np.array(["a"])}))
    with pytest.raises(UserError, match="a NumPy array of <U1 under 'features.odd'"):
        read_source(path)


def test_an_array_of_objects_could_run_code_and_is_refused(tmp_path):
    made = tmp_path / "made"
    evil = np.array([RunsCode(made)], dtype=object)
    path = _saved(tmp_path / "evil.ckpt", {"state_dict": _tensors(), "best": evil})
    with pytest.raises(UserError, match=r"evil\.ckpt asks for posix\.mkdir"):
        read_source(path)
    assert not made.exists()


def test_a_trusted_module_counts_as_its_state_dict(tmp_path):
    module = torch.nn.Module()
    module.features = torch.nn.Sequential(
        torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, bias=False), torch.nn.BatchNorm2d(8))
    )
    path = _saved(tmp_path / "whole.pt", torch.nn.DataParallel(module))
    with pytest.raises(UserError, match=r"DataParallel.*--allow_pickle, or save the .*state_dict"):
        read_source(path)
    found = read_source(path, allow_pickle=True)
    np.testing.assert_array_equal(found.arrays[KEY], module.state_dict()[KEY].numpy())
    assert found.prefix == "module."


def test_a_trusted_file_whose_class_is_not_in_its_module_is_named(tmp_path, monkeypatch):
    """As with a class of the program that wrote the file, which was its `__main__`."""
    program = types.ModuleType("program")
    program.Net = type("Net", (), {"__module__": "program"})
    monkeypatch.setitem(sys.modules, "program", program)
    path = _saved(tmp_path / "a.pt", {"state_dict": _tensors(), "net": program.Net()})
    del program.Net
    with pytest.raises(UserError, match=r"it needs program\.Net, which is not here; where it is"):
        read_source(path, allow_pickle=True)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_a_trusted_file_is_loaded_with_its_classes(tmp_path, zipped):
    path = _saved(tmp_path / "a.ckpt", _command_line(), _use_new_zipfile_serialization=zipped)
    found = read_source(path, allow_pickle=True)
    np.testing.assert_array_equal(found.arrays[KEY], WEIGHT)
    assert found.hyper_parameters["rate"] == fractions.Fraction(1, 2)


def test_a_trusted_file_whose_classes_are_not_installed_is_named(tmp_path, monkeypatch):
    module = types.ModuleType("absent_package")
    module.Callback = type("Callback", (), {"__module__": "absent_package"})
    monkeypatch.setitem(sys.modules, "absent_package", module)
    path = _saved(tmp_path / "a.ckpt", {"state_dict": _tensors(), "callback": module.Callback()})
    monkeypatch.delitem(sys.modules, "absent_package")
    with pytest.raises(UserError, match=r"a\.ckpt needs absent_package, which is not installed"):
        read_source(path, allow_pickle=True)
    with pytest.raises(UserError, match="asks for absent_package.Callback"):
        read_source(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x02.", b"PK\x03\x04", b"cposix\nabsent\n."])
def test_a_damaged_file_that_is_trusted_is_named_all_the_same(tmp_path, content):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pt cannot be read as a PyTorch checkpoint"):
        read_source(path, allow_pickle=True)


def test_torchscript_is_refused_without_a_warning(tmp_path):
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        with pytest.raises(UserError, match="TorchScript"):
            read_source(path)


BAD_FILES = {
    "empty": b"",
    "text": "Tröt: kein Modell.\n".encode() * 50,
    "page": b"<!DOCTYPE html>\n<html><body>Not Found</body></html>\n",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "zeros": bytes(4096),
    "pickle": pickle.dumps({"a": 1}, protocol=2),
    "newer pickle": pickle.dumps({"a": 1}, protocol=5),
    "start of a zip": b"PK\x03\x04",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 19708753\n",
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pt cannot be read as a PyTorch checkpoint"):
        read_source(path)


def test_a_zip_that_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "bad.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes/hello.txt", "hello")
    with pytest.raises(UserError, match=r"bad\.pt cannot be read as a PyTorch checkpoint"):
        read_source(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_named(tmp_path, mn01_arrays, zipped, part):
    tensors = {key: torch.as_tensor(array) for key, array in mn01_arrays.items()}
    path = _saved(tmp_path / "cut.pt", tensors, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(UserError, match=r"cut\.pt cannot be read as a PyTorch checkpoint"):
        read_source(path)


def test_a_single_flipped_bit_in_a_tensor_is_found(tmp_path):
    path = _saved(tmp_path / "flipped.pt", _tensors())
    content = bytearray(path.read_bytes())
    content[content.index(WEIGHT.tobytes()) + 5] ^= 1
    path.write_bytes(content)
    # torch itself reads it without a word, hence our own comparison of the checksums.
    assert not np.array_equal(torch.load(path, weights_only=True)[KEY].numpy(), WEIGHT)
    with pytest.raises(UserError, match="the checksum of .*data/0 .* does not match"):
        read_source(path)


def test_a_record_shorter_than_its_tensor_is_found(tmp_path):
    whole, short = _saved(tmp_path / "whole.pt", _tensors()), tmp_path / "short.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(short, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:-4] if name.endswith("data/0") else content)
    with pytest.raises(UserError, match=r"short\.pt cannot be read"):
        read_source(short)


def test_an_absent_file_a_folder_and_a_device_are_told_apart_from_checkpoints(tmp_path):
    with pytest.raises(UserError, match="absent.pt is absent"):
        read_source(tmp_path / "absent.pt")
    for path in (tmp_path, pathlib.Path(os.devnull)):
        with pytest.raises(UserError, match="is not a file"):
            read_source(path)


def test_a_name_that_no_file_system_takes_is_an_error(tmp_path):
    with pytest.raises(UserError, match="a{300}"):
        read_source(tmp_path / ("a" * 300))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = _saved(tmp_path / "secret.pt", _tensors())

    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(torch_file.files, "digest", refuse)
    with pytest.raises(UserError, match=r"secret\.pt cannot be read \(Permission denied\)"):
        read_source(path)
