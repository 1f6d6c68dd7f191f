"""Charts: a run's losses over its steps, and what every chart is drawn with."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax import losses
from qvae_jax.system import files
from qvae_jax.visualisation import canvas

COLOURS = ("tab:blue", "tab:orange", "tab:green")
LARGEST_SHOWN = 1e30  # beyond it an axis has no ticks
# Name in the metrics, title, and what the curve shows.
LOSSES = (("total", "loss", "total"), *((t.name, t.title, t.axis) for t in losses.TABLE))


@canvas.drawing()
def save_losses(path: pathlib.Path, metrics: Sequence[dict]) -> None:
    """A PNG of a run's losses at each step, those it has, its learning rate and its weight of KL."""
    curves = [curve for curve in LOSSES if any(curve[0] in entry for entry in metrics)]
    figure, axes = page(math.ceil((len(curves) + 1) / 3), 3)
    for axis, (name, title, unit) in zip(axes.flat, curves):
        draw_losses(axis, metrics, name)
        label(axis, title, "step", unit)
    _draw_schedules(axes.flat[len(curves)], metrics)
    for unused in axes.flat[len(curves) + 1 :]:
        unused.axis("off")
    save(figure, path)


def draw_losses(axis, metrics, name: str) -> None:
    """One term of the loss at each step of training, and at each validation of each part.

    The axis shows what most steps are like: a high start, or a wild step, must not hide the rest.
    """
    colours = {"train": "darkgrey", "interpolation": COLOURS[0], "extrapolation": COLOURS[1]}
    parts = {entry["part"] for entry in metrics if _is_finite(entry.get(name))}
    highest = []
    for part in sorted(parts, key=lambda part: list(colours).index(part) if part in colours else 9):
        entries = [e for e in metrics if e["part"] == part and _is_finite(e.get(name))]
        steps, values = ([entry[key] for entry in entries] for key in ("step", name))
        marker, width = ("", 0.6) if part == "train" else (".", 1.5)
        colour = colours.get(part, COLOURS[2])
        axis.plot(steps, values, marker=marker, color=colour, linewidth=width, label=part)
        highest.append(np.percentile(values, 98) if part == "train" else max(values))
    if highest and 0 < max(highest) < axis.get_ylim()[1]:
        axis.set_ylim(top=1.05 * max(highest))
    legend(axis)


def _draw_schedules(axis, metrics) -> None:
    for name, title, colour in (
        ("learning_rate", "learning rate", COLOURS[0]),
        ("beta", "β, weight of KL", COLOURS[1]),
    ):
        entries = [e for e in metrics if e["part"] == "train" and _is_finite(e.get(name))]
        steps, values = ([entry[key] for entry in entries] for key in ("step", name))
        axis.plot(steps, values, color=colour, label=title)
    axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    legend(axis)
    label(axis, "schedules", "step", "value")


def _is_finite(value: float | None) -> bool:
    return value is not None and abs(value) < LARGEST_SHOWN


# --- What charts share


def page(rows: int, columns: int):
    """A figure, and its axes [rows, columns]."""
    figure = canvas.new_figure(5 * columns, 4 * rows + 0.5)
    return figure, figure.subplots(rows, columns)


def save(figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG, whole or not at all."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def label(axis, title: str, across: str, up: str) -> None:
    """A title, and what lies along both axes; epochs and steps are marked at whole numbers."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(across, fontsize=9)
    axis.set_ylabel(up, fontsize=9)
    if across in ("epoch", "step"):
        axis.xaxis.get_major_locator().set_params(integer=True)


def legend(axis) -> None:
    """A legend, where anything in the axes has a label."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)
