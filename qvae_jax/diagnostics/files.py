"""Diagnostics on disk: `WORKDIR/diagnostics/epoch_NNNN.npz`, and a picture of each."""

import pathlib
import re

import numpy as np

from qvae_jax.diagnostics import figures
from qvae_jax.diagnostics.arrays import Snapshot
from qvae_jax.runs import DIAGNOSTICS
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line

LATENT_ARRAYS = {  # of each part, and their shapes in samples and latent dimensions
    "mu": ("samples", "latent"),
    "logvar": ("samples", "latent"),
    "kl_per_sample": ("samples",),
    "kl_per_dimension": ("latent",),
    "mean_variance": ("latent",),
    "active": ("latent",),
    "spread_waveform": ("generated",),
    "spread_db": ("generated",),
}


def write(workdir: pathlib.Path, snapshot: Snapshot) -> None:
    """Writes an epoch's arrays, and a picture of them, each whole or not at all."""
    path = _path(workdir, snapshot.epoch)
    told = {"epoch": snapshot.epoch, "step": snapshot.step, "parts": snapshot.parts}
    # To a name np.savez would add .npz.
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **told, **snapshot.arrays)
    figures.save_snapshot(path.with_suffix(".png"), snapshot)


def are_written(workdir: pathlib.Path, epoch: int) -> bool:
    """Whether write has written all of an epoch's; the picture comes last."""
    return _path(workdir, epoch).with_suffix(".png").exists()


def _path(workdir: pathlib.Path, epoch: int) -> pathlib.Path:
    return workdir / DIAGNOSTICS / f"epoch_{epoch:04d}.npz"


def forget_after(workdir: pathlib.Path, epoch: int) -> None:
    """Removes what an earlier attempt wrote of later epochs; a resumed run writes it again."""
    for path in (workdir / DIAGNOSTICS).glob("epoch_*.*"):
        number = re.fullmatch(r"epoch_(\d+)", path.stem)
        if number and int(number[1]) > epoch and path.suffix in (".npz", ".png"):
            with files.explaining_write_errors(path):
                path.unlink()


def read_all(workdir: pathlib.Path) -> list[Snapshot]:
    """The diagnostics of all epochs of a run, the first one first.

    Raises UserError where there are none, one is damaged, or they are of different models.
    """
    paths = sorted((workdir / DIAGNOSTICS).glob("epoch_*.npz"))
    if not paths:
        raise UserError(
            f"{workdir} holds no diagnostics: train with diagnostics.every_epochs of 1 or more, or "
            "name the --workdir of such a run."
        )
    snapshots = [read(path) for path in paths]
    for snapshot, path in zip(snapshots, paths):
        if _identity(snapshot) != _identity(snapshots[0]):
            raise UserError(
                f"{path} is of another model or split than {paths[0]}: move one of them away."
            )
    return sorted(snapshots, key=lambda snapshot: snapshot.epoch)


def read(path: pathlib.Path) -> Snapshot:
    """The diagnostics in a file; UserError for any other file."""
    try:
        # Of a damaged file np.load leaves open what it has opened itself.
        with path.open("rb") as source, np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        snapshot = Snapshot(
            int(arrays.pop("epoch")),
            int(arrays.pop("step")),
            tuple(arrays.pop("parts").tolist()),
            arrays,
        )
        _check(snapshot)
    except Exception as error:  # zipfile, zlib and NumPy each have errors of their own for damage
        raise UserError(
            f"{path} is damaged ({first_line(error)}): remove it; the other epochs can be read "
            "without it."
        ) from error
    return snapshot


def _check(snapshot: Snapshot) -> None:
    """Raises KeyError or ValueError where an array is missing or of another shape or kind."""
    if not snapshot.parts:
        raise ValueError("it has no part")
    num_samples, latents = 0, set()
    for part in snapshot.parts:
        samples, latent = snapshot.of(part, "mu").shape
        sizes = {"samples": samples, "latent": latent}
        sizes["generated"] = len(snapshot.of(part, "spread_db"))
        for name, axes in LATENT_ARRAYS.items():
            _require(snapshot.arrays, f"{part}/{name}", tuple(sizes[axis] for axis in axes))
        num_samples += samples
        latents.add(latent)
    if len(latents) > 1:
        raise ValueError(f"its parts have latents of {sorted(latents)} dimensions")
    _require(snapshot.arrays, "pca", (num_samples, 2))
    _require(snapshot.arrays, "pca_shares", (2,))
    _require(snapshot.arrays, "gradient_norms", snapshot.arrays["gradient_parts"].shape)
    if snapshot.arrays["gradient_parts"].dtype.kind != "U":
        raise ValueError("gradient_parts are no names")


def _require(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> None:
    found = arrays[name]
    if found.shape != shape or 0 in shape or found.dtype.kind not in "fb":
        raise ValueError(f"{name} holds {found.dtype} {found.shape}, not numbers {shape}")


def _identity(snapshot: Snapshot) -> tuple:
    """What is the same at each epoch of a run."""
    latent_dim = snapshot.of(snapshot.parts[0], "mu").shape[1]
    return snapshot.parts, latent_dim, tuple(snapshot.arrays["gradient_parts"].tolist())
