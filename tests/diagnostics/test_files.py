"""Diagnostics on disk: written whole, read back, and refused in a line when damaged."""

import gc
import io
import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.diagnostics import figures as diagnostics_figures
from qvae_jax.diagnostics import files as diagnostics_files
from qvae_jax.diagnostics.files import forget_after, read, read_all, write
from qvae_jax.system.errors import UserError
from snapshots import snapshot


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take most of the time here, and have tests of their own."""
    touch = lambda path, *rest: path.touch()
    monkeypatch.setattr(diagnostics_figures, "save_snapshot", touch)


def file_of(workdir, epoch: int = 1):
    return workdir / "diagnostics" / f"epoch_{epoch:04d}.npz"


def changed(workdir, **changes) -> None:
    """Replaces arrays of the first epoch's file; None removes one."""
    with np.load(file_of(workdir)) as file:
        arrays = dict(file) | {name.replace("__", "/"): array for name, array in changes.items()}
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(file_of(workdir), **kept)


def test_what_is_written_comes_back(tmp_path):
    for epoch in (10, 2):
        write(tmp_path, snapshot(epoch))
    assert sorted(os.listdir(tmp_path / "diagnostics")) == [
        f"epoch_{epoch:04d}.{kind}" for epoch in (2, 10) for kind in ("npz", "png")
    ]
    found = read_all(tmp_path)
    assert [(s.epoch, s.step, s.parts) for s in found] == [
        (epoch, 3 * epoch, ("interpolation", "extrapolation")) for epoch in (2, 10)
    ]
    for back, wrote in zip(found, (snapshot(2), snapshot(10))):
        assert back.arrays.keys() == wrote.arrays.keys()
        for name, array in wrote.arrays.items():
            np.testing.assert_array_equal(back.arrays[name], array)
            assert back.arrays[name].dtype == array.dtype
        assert back.gradient_norms == wrote.gradient_norms


def test_values_that_are_not_finite_come_back(tmp_path):
    write(tmp_path, snapshot(1, scale=np.nan, mu_head=np.inf))
    [found] = read_all(tmp_path)
    assert np.isnan(found.of("interpolation", "mu")).all()
    assert found.gradient_norms["mu_head"] == np.inf


def test_epochs_beyond_four_digits_are_in_order(tmp_path):
    for epoch in (10_000, 9_999):
        write(tmp_path, snapshot(epoch))
    assert [found.epoch for found in read_all(tmp_path)] == [9_999, 10_000]


@pytest.mark.parametrize("folder", [False, True])
def test_a_run_without_diagnostics(tmp_path, folder):
    if folder:
        (tmp_path / "diagnostics").mkdir()
    with pytest.raises(UserError, match="holds no diagnostics: .*diagnostics.every_epochs"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": None},
        {"parts": np.array([], str)},
        {"parts": np.array(["train"])},
        {"interpolation__mu": None},
        {"interpolation__mu": np.zeros((6, 5))},
        {"interpolation__mu": np.zeros(6)},
        {"extrapolation__active": np.zeros((4, 1), bool)},
        {"extrapolation__spread_db": np.zeros((2, 1))},
        {"extrapolation__spread_db": np.zeros(0)},
        {"interpolation__kl_per_sample": np.array(["a"] * 6)},
        {"pca": np.zeros((11, 2))},
        {"gradient_norms": np.zeros(2)},
        {"gradient_parts": np.zeros(3)},
        {"epoch": np.zeros(2)},
    ],
    ids=lambda changes: " ".join(f"{k}_{np.shape(v)}" for k, v in changes.items()),
)
def test_a_file_of_something_else_is_named(tmp_path, changes):
    write(tmp_path, snapshot())
    changed(tmp_path, **changes)
    with pytest.raises(UserError, match=r"epoch_0001.npz is damaged \(.+\): remove it") as raised:
        read_all(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    write(tmp_path, snapshot())
    changed(tmp_path, pca_shares=np.array([os.getcwd, None], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        read_all(tmp_path)


def test_a_damaged_file_is_closed(tmp_path):
    write(tmp_path, snapshot())
    path = file_of(tmp_path)
    os.truncate(path, 1000)
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ResourceWarning)
        with pytest.raises(UserError, match="damaged"):
            read_all(tmp_path)
        gc.collect()
    assert not [complaint for complaint in complaints if path.name in str(complaint.message)]


@settings(derandomize=True, deadline=None, max_examples=80)
@given(st.data())
def test_any_damage_is_named_or_harmless(tmp_path_factory, data):
    buffer = io.BytesIO()
    found = snapshot(1)
    told = {"epoch": 1, "step": 3, "parts": np.array(found.parts)}
    np.savez_compressed(buffer, **told, **found.arrays)
    content = bytearray(buffer.getvalue())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "epoch_0001.npz"
    path.write_bytes(content)
    try:
        back = read(path)
    except UserError as error:
        assert str(path) in str(error)
    else:  # bytes that nothing reads, such as times
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(back.arrays[name], array)


@pytest.mark.parametrize(
    "other",
    [{"latent_dim": 5}, {"parts": ("train",)}, {"logvar_head": 1.0}],
    ids=lambda other: next(iter(other)),
)
def test_epochs_of_different_models_are_told_apart(tmp_path, other):
    write(tmp_path, snapshot(1))
    write(tmp_path, snapshot(2, **other))
    with pytest.raises(UserError, match="epoch_0002.npz is of another model or split"):
        read_all(tmp_path)


def test_what_a_resumed_run_writes_again_is_removed(tmp_path):
    for epoch in (1, 2, 3):
        write(tmp_path, snapshot(epoch))
    (tmp_path / "diagnostics" / "history.png").touch()
    (tmp_path / "diagnostics" / "epoch_mine.npz").touch()
    forget_after(tmp_path, 2)
    assert sorted(os.listdir(tmp_path / "diagnostics")) == sorted(
        ["epoch_0001.npz", "epoch_0001.png", "epoch_0002.npz", "epoch_0002.png"]
        + ["history.png", "epoch_mine.npz"]
    )


def test_a_workdir_that_cannot_be_written(tmp_path):
    (tmp_path / "diagnostics").write_text("")
    with pytest.raises(UserError, match="diagnostics"):
        diagnostics_files.write(tmp_path, snapshot())
