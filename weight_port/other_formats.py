"""Files and folders that are no PyTorch checkpoint: what they are, and what to do with them."""

import importlib.util
import pathlib
import tarfile
import zipfile

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
NUM_BYTES_LOOKED_AT = 1024

STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run `git lfs pull` "
    "where it lies",
    b"\x89HDF\r\n": "an HDF5 file, as Keras writes: give the PyTorch checkpoint",
    b"\x93NUMPY": "a NumPy file: give the PyTorch checkpoint",
    b"\x1f\x8b": "compressed by gzip: unpack it and give the file in it",
    b"BZh": "compressed by bzip2: unpack it and give the file in it",
    b"\xfd7zXZ": "compressed by xz: unpack it and give the file in it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it and give the file in it",
    b"7z\xbc\xaf": "a 7z archive: unpack it and give the file in it",
    b"Rar!": "a RAR archive: unpack it and give the file in it",
}
SUFFIXES = {
    ".onnx": "an ONNX file, which holds a program: give the checkpoint that it was exported from",
    ".tflite": "a TensorFlow Lite file: give the PyTorch checkpoint",
}
# Members of a zip, from the end of their names.
MEMBERS = {
    "/constants.pkl": "a TorchScript archive, which holds a program: give the state dict that it "
    "was made of",
    "/archive_format": "a torch.export archive, which holds a program: give the state dict that it "
    "was made of",
    "features.0.0.weight.npy": "a NumPy archive: give the PyTorch checkpoint",
}


def of_file(path: pathlib.Path) -> str | None:
    """What a file is that torch cannot read, and what to do; None where that is not known."""
    with open(path, "rb") as file:
        start = file.read(NUM_BYTES_LOOKED_AT)
    for signature, what in STARTS.items():
        if start.startswith(signature):
            return what
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if _is_safetensors(start, path.stat().st_size):
        return _safetensors(path)
    try:
        members = _members(path)
    except Exception:  # a damaged archive may raise anything
        return None
    return _archive(members) if members else _text(start.lstrip())


def checkpoints_in(path: pathlib.Path) -> list[str]:
    """The names of the checkpoints that lie in an archive; none in any other file."""
    return _checkpoints(_members(path))


def in_folder(path: pathlib.Path) -> str:
    """What a folder holds instead of one checkpoint, to be added to a message; maybe nothing."""
    names = sorted(entry.name for entry in path.iterdir())
    if ".metadata" in names:
        return (
            " (a distributed checkpoint: join it by `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt`)"
        )
    if "zero_to_fp32.py" in names:
        return " (a DeepSpeed checkpoint: join it by the zero_to_fp32.py in it)"
    if {"config.json", "variables"} <= set(names):
        return " (a model folder, which is ported already; --to_torch goes the other way)"
    checkpoints = _checkpoints(names)
    return f" (in it lies {', '.join(checkpoints[:3])})" if checkpoints else ""


def _members(path: pathlib.Path) -> list[str]:
    """The names in a zip or tar archive; none for another file."""
    # In this order, because a tar that ends in a zip looks like that zip.
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            return archive.getnames()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    return []


def _archive(members: list[str]) -> str | None:
    for end, what in MEMBERS.items():
        if any(member.endswith(end) for member in members):
            return what
    packed = _checkpoints(members)
    return f"an archive that holds {packed[0]}: unpack it and give that file" if packed else None


def _checkpoints(members: list[str]) -> list[str]:
    return [member for member in members if member.endswith(CHECKPOINT_SUFFIXES)]


def _safetensors(path: pathlib.Path) -> str | None:
    """What keeps torch from reading such a file; None where it must be damaged."""
    if path.suffix != ".safetensors":
        return "a safetensors file: rename it so that it ends in .safetensors"
    if importlib.util.find_spec("safetensors") is None:
        return "a safetensors file, which is read once safetensors is installed: pip install it"
    return None


def _is_safetensors(start: bytes, num_bytes: int) -> bool:
    """Whether it begins with the length of a JSON header, as 8 bytes, and the header."""
    length = int.from_bytes(start[:8], "little")
    return start[8:9] == b"{" and 8 + length <= num_bytes


def _text(start: bytes) -> str | None:
    if start.startswith(b"<"):
        return (
            "a page of the web in place of the file: its address wants a login, a confirmation or "
            "another link"
        )
    if start.startswith(b"{"):
        shards = b'"weight_map"' in start or b'"total_size"' in start
        return (
            "the index of a checkpoint in several files: load each with torch, join their dicts "
            "and save that as one file"
            if shards
            else "JSON, which holds no tensors: give the checkpoint that it describes"
        )
    return None
