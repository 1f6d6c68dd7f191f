"""How a run of encoders for search evolved, by what it has logged: one picture, and a verdict."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.diagnostics.verdicts import EXPLODING_FACTOR, MEDIAN_EPOCHS
from qvae_jax.visualisation import canvas, charts
from qvae_jax.visualisation.charts import COLOURS

# Of mean cosines: of an imitation with its own sound, less that with another one. An encoder that
# parts its sounds by less hardly parts them.
SMALLEST_GAP = 0.01
HEALTHY = "healthy: sounds lie apart, and the gradient does not run away."


def verdicts(metrics: Sequence[dict]) -> list[str]:
    """What is wrong with a run, one sentence for each fault; HEALTHY alone where there is none.

    metrics are the entries of its metrics.jsonl.
    """
    return _collapse(metrics) + _explosion(metrics) or [HEALTHY]


def _collapse(metrics: Sequence[dict]) -> list[str]:
    last = {entry["part"]: entry for entry in metrics if "own_cosine" in entry}
    return [
        f"collapse: at epoch {entry['epoch']} imitations of {part} are as near to other sounds "
        f"(mean cosine {entry['other_cosine']:.3f}) as to their own ({entry['own_cosine']:.3f}); "
        "lower optimizer.learning_rate, or raise training.batch_size."
        for part, entry in last.items()
        if entry["own_cosine"] - entry["other_cosine"] < SMALLEST_GAP
    ]


def _explosion(metrics: Sequence[dict]) -> list[str]:
    norms: dict[int, list[float]] = {}
    for entry in metrics:
        if math.isfinite(entry.get("gradient_norm", math.nan)):
            norms.setdefault(entry["epoch"], []).append(entry["gradient_norm"])
    medians = [float(np.median(of_epoch)) for of_epoch in norms.values()]
    if len(medians) < 2 * MEDIAN_EPOCHS:
        return []
    usual, now = np.median(medians[:-MEDIAN_EPOCHS]), np.median(medians[-MEDIAN_EPOCHS:])
    if now <= EXPLODING_FACTOR * usual:
        return []
    return [
        f"exploding gradient: its norm is {now:.3g} (median of {MEDIAN_EPOCHS} epochs) and was "
        f"{usual:.3g} before; lower optimizer.learning_rate."
    ]


@canvas.drawing()
def save_history(path: pathlib.Path, metrics: Sequence[dict], verdict: str) -> None:
    """A PNG of losses, MRR, cosines and gradient norms over a run, with the verdict above it."""
    figure, axes = charts.page(2, 2)
    charts.draw_losses(axes[0, 0], metrics, "total")
    charts.label(axes[0, 0], "loss", "step", "total")
    _draw_measures(axes[0, 1], metrics, {"mrr": "-", "ndcg": ":"})
    charts.label(axes[0, 1], "MRR (line) and NDCG (dots)", "step", "mean over imitations")
    _draw_measures(axes[1, 0], metrics, {"own_cosine": "-", "other_cosine": ":"})
    title = "cosines with the own sound (line) and with others (dots)"
    charts.label(axes[1, 0], title, "step", "mean over imitations")
    steps = [entry for entry in metrics if entry.get("gradient_norm", 0) > 0]
    norms = [entry["gradient_norm"] for entry in steps]
    axes[1, 1].plot([entry["step"] for entry in steps], norms, linewidth=0.8)
    if steps:
        axes[1, 1].set_yscale("log")
    charts.label(axes[1, 1], "gradient norm of each step", "step", "L2 norm before clipping")
    figure.suptitle(verdict, fontsize=10, wrap=True)
    charts.save(figure, path)


def _draw_measures(axis, metrics: Sequence[dict], styles: dict[str, str]) -> None:
    parts = dict.fromkeys(entry["part"] for entry in metrics if "mrr" in entry)
    for part, colour in zip(parts, COLOURS):
        entries = [entry for entry in metrics if entry["part"] == part]
        for name, style in styles.items():
            label = part if style == "-" else None
            values = [entry[name] for entry in entries]
            steps = [entry["step"] for entry in entries]
            axis.plot(steps, values, f".{style}", color=colour, label=label)
    charts.legend(axis)
