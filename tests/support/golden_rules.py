"""The two rules by which the golden files' inputs and weights are rebuilt; salt 7 everywhere."""

import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of tests/golden/NAME.npz."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return dict(archive)


def signals(num: int, length: int, sample_rate_hz: int, salt: int) -> np.ndarray:
    """Decaying chirps with a little noise, float32 [num, length]."""
    rng = np.random.default_rng([7, salt])
    t = np.arange(length) / sample_rate_hz
    duration = length / sample_rate_hz
    rows = []
    for i in range(num):
        low, high = 80 * 2 ** (i + 1), 400 * 2 ** (i + 2)
        phase = 2 * np.pi * (low * t + (high - low) * t**2 / (2 * duration))
        decay = np.exp(-t * (i + 1) / duration)
        rows.append(0.5 * np.sin(phase) * decay + 0.05 * rng.standard_normal(length))
    return np.stack(rows).astype(np.float32)


def filled(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that stands under a torch state-dict key in the golden runs."""
    rng = np.random.default_rng([7, zlib.crc32(key.encode())])
    normal = rng.standard_normal(shape).astype(np.float32)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        return np.float32(0.1) * normal
    if key.endswith("running_var"):
        return np.float32(1) + np.float32(0.1) * np.abs(normal)
    if len(shape) >= 2:
        return normal * np.float32(_gain(key, shape) * np.sqrt(1.5 / np.prod(shape[1:])))
    return (np.float32(1) if key.endswith("weight") else 0) + np.float32(0.1) * normal


def _gain(key: str, shape: tuple[int, ...]) -> float:
    if key.endswith("_head.weight"):
        return 20.0
    if shape[0] == 1 or (shape[1] == 1 and key.endswith("conv1.weight")):
        return 0.05
    return 1.0


def filled_state_dict(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """A whole state dict of filled weights."""
    return {key: filled(key, tuple(shape)) for key, shape in shapes.items()}
