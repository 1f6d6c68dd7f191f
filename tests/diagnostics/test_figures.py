"""Pictures of diagnostics: whatever the numbers, there is one, and nothing is warned of."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image

from qvae_jax.diagnostics import figures as diagnostics_figures
from snapshots import snapshot

METRICS = [
    {"step": 1, "part": "train", "total": 3.0, "gradient_norm": 1.0},
    {"step": 2, "part": "train", "total": 2.0, "gradient_norm": 0.0},
    {"step": 2, "part": "interpolation", "total": 2.5},
    {"step": 2, "part": "something else"},
]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        yield


@pytest.mark.parametrize(
    "changes",
    [
        {"logvar": 1000.0, "mu_head": np.inf},
        {"latent_dim": 1, "num_samples": 2, "parts": ("train",)},
        {"scale": 0.0, "logvar": 0.0, "mu_head": 0.0},
        {"scale": np.nan, "logvar": np.nan, "mu_head": np.nan},
    ],
    ids=str,
)
def test_any_epoch_can_be_drawn(tmp_path, changes):
    path = tmp_path / "epoch.png"
    diagnostics_figures.save_snapshot(path, snapshot(**changes))
    pixels = image.imread(path)
    assert pixels.shape[1] > 1200 and pixels[..., :3].std() > 0.1
    history = tmp_path / "history.png"
    diagnostics_figures.save_history(history, [snapshot(**changes)], METRICS, "verdict $x_")
    assert image.imread(history).shape[1] >= 1200


def test_uneven_epochs_and_no_metrics_are_drawn(tmp_path):
    path = tmp_path / "history.png"
    epochs = [snapshot(epoch) for epoch in (1, 10, 11, 300)]
    diagnostics_figures.save_history(path, epochs, [], "word " * 200)
    assert image.imread(path).shape[1] >= 1200


NUMBERS = st.floats() | st.integers(-(2**53), 2**53)
ENTRY = st.fixed_dictionaries(
    {"step": st.integers(0, 2**53), "part": st.sampled_from(["train", "interpolation", "犬 $x_"])},
    optional={name: NUMBERS for name in ("total", "mel", "kl", "learning_rate", "beta")},
)


@settings(max_examples=3, deadline=None)
@given(entries=st.lists(ENTRY, max_size=4))
def test_any_losses_are_drawn(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("losses") / "losses.png"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        diagnostics_figures.save_losses(path, entries)
    assert image.imread(path).shape[1] >= 1200


def test_a_high_start_does_not_hide_the_rest(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(diagnostics_figures, "_save", lambda figure, path: drawn.append(figure))
    training = [{"step": i, "part": "train", "total": 1000.0 if i < 2 else 5.0} for i in range(200)]
    validation = [{"step": 100, "part": "extrapolation", "total": 9.0}]
    diagnostics_figures.save_losses(tmp_path / "losses.png", training + validation)
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom < 5 and 9 < top < 20
