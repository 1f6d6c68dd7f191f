"""What is said of how encoders for search evolved, by what their run has logged."""

import pytest

from qvae_jax.diagnostics import encoder_history
from qvae_jax.diagnostics.encoder_history import HEALTHY, SMALLEST_GAP


def logged(gap: float = 0.3, norms=(1.0,) * 8) -> list[dict]:
    """A run of one step an epoch."""
    entries = []
    for epoch, norm in enumerate(norms, start=1):
        place = {"step": epoch, "epoch": epoch}
        entries.append({**place, "part": "train", "total": 2.0 / epoch, "gradient_norm": norm})
        found = {"mrr": 0.1 * epoch, "ndcg": 0.5, "own_cosine": 0.5, "other_cosine": 0.5 - gap}
        entries.append({**place, "part": "interpolation", **found})
    return entries


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (logged(), [HEALTHY]),
        (logged(1.01 * SMALLEST_GAP), [HEALTHY]),
        (logged(0.9 * SMALLEST_GAP), ["collapse: at epoch 8 imitations of interpolation"]),
        (logged(norms=(1, 1, 1, 1, 40, 1, 50, 60)), ["exploding gradient: its norm is 50"]),
        (logged(norms=(1, 1, 1, 1, 40, 1, 1, 60)), [HEALTHY]),  # single steps
        (logged(norms=(1, 90, 90)), [HEALTHY]),  # too few to tell
        ([], [HEALTHY]),
    ],
)
def test_verdicts(metrics, said):
    found = encoder_history.verdicts(metrics)
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said))


@pytest.mark.parametrize("metrics", [logged(), logged()[:1], []])
def test_the_picture_is_drawn_of_any_run(metrics, tmp_path):
    encoder_history.save_history(tmp_path / "history.png", metrics, HEALTHY)
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
