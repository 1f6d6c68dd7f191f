"""Pictures of diagnostics: one for each epoch, and one of how they evolved."""

import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax.diagnostics.arrays import ACTIVE_VARIANCE, NUM_GENERATIONS, Snapshot
from qvae_jax.visualisation import canvas, charts
from qvae_jax.visualisation.charts import COLOURS

MARKERS = ("o", "^", "s")
SMALLEST_SHOWN = 1e-12  # on logarithmic axes, in place of zero
BINS = 24


@canvas.drawing()
def save_snapshot(path: pathlib.Path, snapshot: Snapshot) -> None:
    """A PNG of one epoch: latents, their KL divergence, gradients and generations."""
    figure, axes = charts.page(2, 4)
    draw_snapshot = (
        _draw_means,
        _draw_logvars,
        _draw_kl_per_dimension,
        _draw_kl_per_sample,
        _draw_components,
        _draw_mean_variances,
        _draw_gradients,
        _draw_spread,
    )
    for axis, draw in zip(axes.flat, draw_snapshot):
        draw(axis, snapshot)
    figure.suptitle(f"Diagnostics of epoch {snapshot.epoch} (step {snapshot.step})")
    charts.save(figure, path)


@canvas.drawing()
def save_history(
    path: pathlib.Path, snapshots: Sequence[Snapshot], metrics: Sequence[dict], verdict: str
) -> None:
    """A PNG of how all of that evolved over a run, with the verdict above it."""
    figure, axes = charts.page(2, 4)
    charts.draw_losses(axes[0, 0], metrics, "total")
    charts.label(axes[0, 0], "loss", "step", "total")
    _draw_kl_history(axes[0, 1], snapshots)
    _draw_active_history(axes[0, 2], snapshots)
    _draw_dimension_history(axes[0, 3], snapshots)
    _draw_posterior_history(axes[1, 0], snapshots)
    _draw_spread_history(axes[1, 1], snapshots)
    _draw_step_gradients(axes[1, 2], metrics)
    _draw_part_gradients(axes[1, 3], snapshots)
    figure.suptitle(verdict, fontsize=10, wrap=True)
    charts.save(figure, path)


# --- One epoch


def _draw_means(axis, snapshot) -> None:
    means = np.concatenate([snapshot.of(part, "mu") for part in snapshot.parts])
    largest = np.nanmax(np.abs(means), initial=SMALLEST_SHOWN, where=np.isfinite(means))
    _heat_map(axis, means, "posterior mean μ", "RdBu_r", -largest, largest)
    _label_samples(axis, snapshot, "latent means")


def _draw_logvars(axis, snapshot) -> None:
    logvars = np.concatenate([snapshot.of(part, "logvar") for part in snapshot.parts])
    _heat_map(axis, logvars, "log σ² (0 is the prior's)", "viridis")
    _label_samples(axis, snapshot, "latent variances")


def _draw_kl_per_dimension(axis, snapshot) -> None:
    _lines_by_dimension(axis, snapshot, "kl_per_dimension")
    charts.label(
        axis, "KL divergence of each dimension", "latent dimension", "mean over samples (nats)"
    )


def _draw_kl_per_sample(axis, snapshot) -> None:
    edges = np.linspace(*_kl_limits(snapshot), BINS + 1)
    for part, colour in zip(snapshot.parts, COLOURS):
        kl = _finite(snapshot.of(part, "kl_per_sample"))
        axis.hist(kl, edges, histtype="step", color=colour, label=part, linewidth=1.5)
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=7)
    charts.label(axis, "KL divergence of each sample", "sum over dimensions (nats)", "samples")


def _draw_components(axis, snapshot) -> None:
    kl = np.concatenate([snapshot.of(part, "kl_per_sample") for part in snapshot.parts])
    low, high = _kl_limits(snapshot)
    first, dots = 0, None
    for part, marker in zip(snapshot.parts, MARKERS):
        rows = slice(first, first + len(snapshot.of(part, "mu")))
        first = rows.stop
        across, up = snapshot.arrays["pca"][rows].T
        options = {"s": 14, "c": kl[rows], "vmin": low, "vmax": high, "alpha": 0.8}
        dots = axis.scatter(across, up, marker=marker, label=part, **options)
    axis.figure.colorbar(dots, ax=axis, label="KL divergence (nats)")
    axis.legend(fontsize=7)
    shares = [f"component {i + 1} ({share:.0%} of the variance)" for i, share in _shares(snapshot)]
    charts.label(axis, "means on their principal components", *shares)
    axis.ticklabel_format(style="sci", scilimits=(-2, 4))
    axis.title.set_position((0.6, 1.0))  # beside the power of ten above the axis


def _draw_mean_variances(axis, snapshot) -> None:
    _lines_by_dimension(axis, snapshot, "mean_variance", logarithmic=True)
    axis.axhline(ACTIVE_VARIANCE, color="black", linestyle=":", linewidth=1)
    active = [snapshot.of(part, "active") for part in snapshot.parts]
    counts = " and ".join(str(units.sum()) for units in active)
    title = f"active units: {counts} of {active[0].size} (above {ACTIVE_VARIANCE})"
    charts.label(axis, title, "latent dimension", "variance of μ over samples")


def _draw_gradients(axis, snapshot) -> None:
    norms = snapshot.gradient_norms
    values = np.array(list(norms.values()))
    bars = np.where(np.isfinite(values), np.maximum(values, SMALLEST_SHOWN), SMALLEST_SHOWN)
    axis.barh(range(len(bars)), bars, color=np.where(np.isfinite(values), "tab:blue", "tab:red"))
    axis.set_xscale("log")
    axis.set_xlim(max(SMALLEST_SHOWN, bars.min() / 3), bars.max() * 3)
    axis.set_yticks(range(len(bars)), list(norms), fontsize=7)
    axis.invert_yaxis()
    charts.label(axis, "gradient norm by part", "L2 norm before clipping", "")


def _draw_spread(axis, snapshot) -> None:
    for part, colour, marker in zip(snapshot.parts, COLOURS, MARKERS):
        spread = snapshot.of(part, "spread_db"), snapshot.of(part, "spread_waveform")
        axis.scatter(*spread, s=14, color=colour, marker=marker, label=part)
    axis.legend(fontsize=7)
    title = f"spread of {NUM_GENERATIONS} generations of a sample"
    charts.label(axis, title, "mel levels, standard deviation (dB)", "waveform, RMS (full scale 1)")


# --- A run


def _draw_kl_history(axis, snapshots) -> None:
    for part, colour in zip(snapshots[0].parts, COLOURS):
        means = [snapshot.of(part, "kl_per_sample").mean() for snapshot in snapshots]
        axis.plot(_epochs(snapshots), means, ".-", color=colour, label=part)
    _from_zero(axis)
    charts.label(axis, "KL divergence", "epoch", "mean over samples (nats)")


def _draw_active_history(axis, snapshots) -> None:
    for part, colour in zip(snapshots[0].parts, COLOURS):
        counts = [snapshot.of(part, "active").sum() for snapshot in snapshots]
        axis.plot(_epochs(snapshots), counts, ".-", color=colour, label=part)
    size = snapshots[0].of(snapshots[0].parts[0], "active").size
    axis.axhline(size, color="black", linestyle=":", linewidth=1)
    axis.set_ylim(-0.02 * size, 1.05 * size)
    charts.legend(axis)
    unit = f"dimensions with variance of μ > {ACTIVE_VARIANCE}"
    charts.label(axis, f"active units of {size}", "epoch", unit)


def _draw_dimension_history(axis, snapshots) -> None:
    part = snapshots[0].parts[0]
    kl = np.stack([snapshot.of(part, "kl_per_dimension") for snapshot in snapshots], axis=1)
    _epoch_map(axis, snapshots, kl, "KL divergence (nats)", "magma")
    axis.yaxis.get_major_locator().set_params(integer=True)
    charts.label(axis, f"KL divergence of each dimension, {part}", "epoch", "latent dimension")


def _draw_posterior_history(axis, snapshots) -> None:
    part = snapshots[0].parts[0]
    signal = [snapshot.of(part, "mean_variance").mean() for snapshot in snapshots]
    with np.errstate(over="ignore"):
        noise = [np.exp(snapshot.of(part, "logvar")).mean() for snapshot in snapshots]
    axis.plot(_epochs(snapshots), signal, ".-", label="of μ over samples")
    axis.plot(_epochs(snapshots), noise, ".-", label="σ² of the posterior")
    if np.isfinite(signal + noise).all() and min(signal + noise) > 0:
        axis.set_yscale("log")
    charts.legend(axis)
    charts.label(axis, f"variances of the latent, {part}", "epoch", "mean over dimensions")


def _draw_spread_history(axis, snapshots) -> None:
    for part, colour in zip(snapshots[0].parts, COLOURS):
        spreads = [snapshot.of(part, "spread_db") for snapshot in snapshots]
        low, middle, high = np.array([np.percentile(s, (25, 50, 75)) for s in spreads]).T
        axis.plot(_epochs(snapshots), middle, ".-", color=colour, label=f"{part}, median")
        axis.fill_between(_epochs(snapshots), low, high, color=colour, alpha=0.2, linewidth=0)
    _from_zero(axis)
    title = f"spread of {NUM_GENERATIONS} generations (median, quartiles)"
    charts.label(axis, title, "epoch", "mel levels, standard deviation (dB)")


def _draw_step_gradients(axis, metrics) -> None:
    entries = [entry for entry in metrics if entry.get("gradient_norm", 0) > 0]
    steps = [entry["step"] for entry in entries]
    axis.plot(steps, [entry["gradient_norm"] for entry in entries], linewidth=0.8)
    if entries:
        axis.set_yscale("log")
    charts.label(axis, "gradient norm of each step", "step", "L2 norm before clipping")


def _draw_part_gradients(axis, snapshots) -> None:
    parts = list(snapshots[0].gradient_norms)
    norms = np.array([list(snapshot.gradient_norms.values()) for snapshot in snapshots]).T
    _epoch_map(
        axis,
        snapshots,
        np.log10(np.maximum(np.where(np.isfinite(norms), norms, np.nan), SMALLEST_SHOWN)),
        "log10 of the L2 norm (white: not finite)",
        "viridis",
    )
    axis.set_yticks(range(len(parts)), parts, fontsize=7)
    charts.label(axis, "gradient norm by part", "epoch", "")


# --- What the pictures share


def _heat_map(axis, values: np.ndarray, name: str, colours: str, low=None, high=None) -> None:
    image = axis.imshow(
        values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest"
    )
    axis.figure.colorbar(image, ax=axis, label=name)


def _epoch_map(axis, snapshots, values: np.ndarray, name: str, colours: str) -> None:
    """Values [rows, epochs] as cells, each epoch where it lies on the axis."""
    epochs = np.array(_epochs(snapshots), float)
    middles = (epochs[1:] + epochs[:-1]) / 2
    outer = np.diff(epochs)[[0, -1]] / 2 if len(epochs) > 1 else np.array([0.5, 0.5])
    edges = np.concatenate([[epochs[0] - outer[0]], middles, [epochs[-1] + outer[1]]])
    image = axis.pcolormesh(edges, np.arange(len(values) + 1) - 0.5, values, cmap=colours)
    axis.invert_yaxis()
    axis.figure.colorbar(image, ax=axis, label=name)


def _lines_by_dimension(axis, snapshot, name: str, *, logarithmic: bool = False) -> None:
    for part, colour, marker in zip(snapshot.parts, COLOURS, MARKERS):
        values = snapshot.of(part, name)
        if logarithmic:
            values = np.maximum(values, SMALLEST_SHOWN)
        axis.plot(values, marker, color=colour, markersize=4, label=part)
    if logarithmic:
        axis.set_yscale("log")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=7)


def _label_samples(axis, snapshot, title: str) -> None:
    """Where one part's samples end and the next one's begin."""
    first, ticks = 0, []
    for part in snapshot.parts:
        count = len(snapshot.of(part, "mu"))
        ticks.append(first + (count - 1) / 2)
        first += count
        if part != snapshot.parts[-1]:
            axis.axhline(first - 0.5, color="black", linewidth=1)
    axis.set_yticks(ticks, snapshot.parts, rotation=90, va="center")
    axis.xaxis.get_major_locator().set_params(integer=True)
    charts.label(axis, title, "latent dimension", "sample")


def _from_zero(axis) -> None:
    """A legend, and an axis from zero to somewhat above the highest value."""
    charts.legend(axis)
    top = axis.dataLim.y1
    axis.set_ylim(0, 1.1 * top if np.isfinite(top) and top > 0 else 1.0)


def _epochs(snapshots) -> list[int]:
    return [snapshot.epoch for snapshot in snapshots]


def _shares(snapshot) -> list[tuple[int, float]]:
    return list(enumerate(snapshot.arrays["pca_shares"].tolist()))


def _kl_limits(snapshot) -> tuple[float, float]:
    """The range of all samples' divergences, never so narrow that only rounding would show."""
    kl = _finite(np.concatenate([snapshot.of(part, "kl_per_sample") for part in snapshot.parts]))
    if not kl.size:
        return 0.0, 1.0
    return kl.min(), max(kl.max(), kl.min() + 0.01 * max(1.0, kl.min()))


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
