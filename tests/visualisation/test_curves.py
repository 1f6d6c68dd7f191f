"""The picture of curves: drawn of any length, and the same each time."""

import numpy as np
import pytest
from PIL import Image

from qvae_jax.visualisation.curves import save_curves


@pytest.mark.parametrize("num_frames", [1, 300])
def test_curves_of_any_length_are_drawn(tmp_path, num_frames):
    curves = np.linspace([-80, 20, 40, 0], [0, 90, 90, 1], num_frames)
    samples = 0.1 * np.random.default_rng(0).standard_normal(num_frames * 243)
    for name in ("a.png", "b.png"):
        save_curves(tmp_path / name, curves, samples, 22_050, "犬 $x_generated.wav")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert pixels.shape == (540, 720, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_a_curve_moves_its_line_alone(tmp_path):
    curves = np.full((100, 4), [-20, 60, 60, 1.0])
    samples = np.zeros(100 * 243)
    pictures = []
    for pitch in (60, 61):
        curves[50:, 2] = pitch
        save_curves(tmp_path / "a.png", curves, samples, 22_050, "x")
        pictures.append(np.asarray(Image.open(tmp_path / "a.png").convert("L"), np.int32))
    rows = np.flatnonzero((pictures[0] != pictures[1]).any(axis=1))
    assert rows.min() > 540 * 0.7, "the pitch is drawn at the bottom"
