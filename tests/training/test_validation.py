"""Samples of an epoch: when they count as written."""

import types

import pytest

from qvae_jax.training import validation


@pytest.mark.parametrize(
    ("num_samples", "drawn", "expected"),
    [(0, (), True), (2, (), False), (2, ("train",), False), (2, ("train", "extrapolation"), True)],
)
def test_an_epochs_samples_are_there_once_every_picture_is(tmp_path, num_samples, drawn, expected):
    logging = types.SimpleNamespace(num_samples=num_samples)
    setup = types.SimpleNamespace(
        workdir=tmp_path,
        config=types.SimpleNamespace(logging=logging),
        prepared=types.SimpleNamespace(parts=("train", "extrapolation")),
    )
    folder = tmp_path / "samples" / "epoch_0003"
    folder.mkdir(parents=True)
    for part in drawn:
        (folder / f"{part}.png").touch()
    assert validation.has_samples(setup, 3) == expected
    assert validation.has_samples(setup, 4) == (num_samples == 0)
