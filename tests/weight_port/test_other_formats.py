"""Files and folders that are no PyTorch checkpoint are called what they are."""

import bz2
import gzip
import importlib.machinery
import importlib.util
import io
import json
import lzma
import pathlib
import tarfile
import warnings
import zipfile

import numpy as np
import pytest

from qvae_jax.system.errors import UserError

torch = pytest.importorskip("torch", reason="reads and writes PyTorch files")

from weight_port import other_formats
from weight_port.source import read_source

KEY = "features.0.0.weight"


def _checkpoint() -> bytes:
    stream = io.BytesIO()
    torch.save({KEY: torch.ones(8, 1, 3, 3)}, stream)
    return stream.getvalue()


def _zipped(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def _tarred(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _safetensors() -> bytes:
    header = {KEY: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(8)


def _numpy_archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{KEY: np.ones(3)})
    return stream.getvalue()


def _torchscript() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    return stream.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 19708753\n"
INDEX = json.dumps({"metadata": {"total_size": 9}, "weight_map": {KEY: "a.bin"}}).encode()
FORMATS = {
    "Git LFS": (lambda: POINTER, "git lfs pull"),
    "HTML": (lambda: b"\n<!DOCTYPE html><html>Virus scan warning</html>", "page of the web"),
    "XML": (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "page of the web"),
    "index of shards": (lambda: INDEX, "join their dicts"),
    "JSON": (lambda: b'{"architectures": ["MobileNet"]}', "JSON, which holds no tensors"),
    "gzip": (lambda: gzip.compress(_checkpoint()), "compressed by gzip: unpack it"),
    "bzip2": (lambda: bz2.compress(_checkpoint()), "compressed by bzip2: unpack it"),
    "xz": (lambda: lzma.compress(_checkpoint()), "compressed by xz: unpack it"),
    "zip": (lambda: _zipped("mn10.pt", _checkpoint()), "holds mn10.pt: unpack it"),
    "tar": (lambda: _tarred("run/last.ckpt", _checkpoint()), "holds run/last.ckpt: unpack it"),
    "safetensors": (_safetensors, "a safetensors file: rename it"),
    "NumPy": (_numpy_archive, "a NumPy archive"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    "TorchScript": (_torchscript, "a TorchScript archive"),
    "torch.export": (lambda: _zipped("a/archive_format", b"pt2"), "a torch.export archive"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_another_format_is_called_by_it(tmp_path, name):
    make, message = FORMATS[name]
    path = tmp_path / "other.pt"
    path.write_bytes(make())
    with pytest.raises(UserError, match=rf"other\.pt cannot be read .*: it is .*{message}"):
        read_source(path)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("length", [9, 300])
def test_the_start_of_such_a_file_is_refused_too(tmp_path, name, length):
    path = tmp_path / "cut.pt"
    path.write_bytes(FORMATS[name][0]()[:length])
    with pytest.raises(UserError, match=r"cut\.pt cannot be read as a PyTorch checkpoint"):
        read_source(path)


@pytest.mark.parametrize("installed", [False, True])
def test_what_torch_needs_for_a_safetensors_file_is_said(tmp_path, monkeypatch, installed):
    """torch reads one that ends in .safetensors with the library of that name, unless damaged."""
    found = importlib.machinery.ModuleSpec("safetensors", None) if installed else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)
    path = tmp_path / "model.safetensors"
    path.write_bytes(_safetensors())
    said = other_formats.of_file(path)
    assert said is None if installed else "once safetensors is installed" in said


FOLDERS = {
    "distributed": ([".metadata", "__0_0.distcp"], "dcp_to_torch"),
    "DeepSpeed": (["latest", "zero_to_fp32.py"], "join it by the zero_to_fp32.py in it"),
    "ported": (["config.json", "variables"], "ported already"),
    "Hugging Face's": (["config.json", "pytorch_model.bin"], "in it lies pytorch_model.bin"),
    "accelerate's": (["model.safetensors", "optimizer.bin"], "in it lies model.safetensors"),
    "a run's": (
        ["last.ckpt", "epoch=3.ckpt", "hparams.yaml"],
        "in it lies epoch=3.ckpt, last.ckpt",
    ),
}


def test_a_format_without_a_sign_is_told_by_its_suffix(tmp_path):
    path = tmp_path / "mn10.onnx"
    path.write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:" + bytes(99))
    with pytest.raises(UserError, match=r"mn10\.onnx cannot be read .*: it is an ONNX file"):
        read_source(path)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_told_by_what_lies_in_it(tmp_path, name):
    files, message = FOLDERS[name]
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(UserError, match=rf"is not a file but a folder \(.*{message}"):
        read_source(tmp_path)


def test_a_link_to_nothing_is_called_one(tmp_path):
    link = pathlib.Path(tmp_path / "latest.ckpt")
    link.symlink_to("gone.ckpt")
    with pytest.raises(UserError, match=r"latest\.ckpt is a link to a file that is absent"):
        read_source(link)
