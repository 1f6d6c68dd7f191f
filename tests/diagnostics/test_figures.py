"""Pictures of diagnostics: whatever the numbers, there is one, and nothing is warned of."""

import numpy as np
import pytest
from matplotlib import image, rc_context

from qvae_jax.diagnostics import figures as diagnostics_figures
from snapshots import snapshot

pytestmark = pytest.mark.usefixtures("warnings_are_errors")

METRICS = [
    {"step": 1, "part": "train", "total": 3.0, "gradient_norm": 1.0},
    {"step": 2, "part": "train", "total": 2.0, "gradient_norm": 0.0},
    {"step": 2, "part": "interpolation", "total": 2.5},
    {"step": 2, "part": "something else"},
]


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


def test_settings_of_matplotlib_change_nothing(tmp_path):
    def draw(folder) -> list[bytes]:
        diagnostics_figures.save_snapshot(folder / "epoch.png", snapshot())
        diagnostics_figures.save_history(folder / "history.png", [snapshot()], METRICS, "healthy")
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    (tmp_path / "as it comes").mkdir(), (tmp_path / "set").mkdir()
    expected = draw(tmp_path / "as it comes")
    with rc_context({"axes.facecolor": "red", "text.usetex": True, "font.size": 30}):
        assert draw(tmp_path / "set") == expected
