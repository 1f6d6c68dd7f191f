"""Short verdicts in words on how a run evolved, each with its threshold and the reason for it."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from qvae_jax.diagnostics.arrays import Snapshot

# Telling two sounds apart takes ln 2 = 0.7 nats on average; a latent with a seventh of that says
# nothing that a decoder could use.
COLLAPSED_KL_NATS = 0.1
# With fewer active units than this share of the latent, what is left of it is not what was asked
# for. At least one unit must be active, however small the latent.
COLLAPSED_ACTIVE_SHARE = 0.05
# A unit is dead where its mean does not move over the data (Burda et al.'s bound for active ones)
# and its posterior is the prior to this precision, so that it costs nothing and says nothing.
DEAD_KL_NATS = 0.01
# Of a part's gradient, over what it usually was. Within a healthy run it grows and falls by a few
# times; one that runs away soon passes every bound.
EXPLODING_FACTOR = 10.0
# Both "now" and "usually" are medians over this many epochs at least: the gradient of a logarithm
# of a nearly silent bin lets a single step's norm leap fifteenfold in the best of runs.
MEDIAN_EPOCHS = 3

HEALTHY = "healthy: the latent is used, and no part's gradient runs away."


def verdicts(snapshots: Sequence[Snapshot], clip_norm: float) -> list[str]:
    """What is wrong with a run, one sentence for each fault; HEALTHY alone where there is none.

    Args:
        snapshots: of a run, the first one first.
        clip_norm: of the run's gradient. A part whose gradient is smaller harms nothing.
    """
    collapsed = collapse(snapshots)
    dead = [] if collapsed else dead_latents(snapshots[-1])
    return collapsed + dead + exploding_parts(snapshots, clip_norm) or [HEALTHY]


def collapse(snapshots: Sequence[Snapshot]) -> list[str]:
    """Whether the latent of the last epoch says nothing of the sound, and whether it ever did."""
    last = snapshots[-1]
    found = _collapsed(last)
    if not found:
        return []
    before = [snapshot.epoch for snapshot in snapshots if not _collapsed(snapshot)]
    if before:
        advice = f"it was in use at epoch {before[-1]}: lower the weight of the KL term (beta)"
    else:
        advice = "it never was in use: train longer, or let more of the encoder learn"
    return [f"collapse: at epoch {last.epoch} {found}; {advice}."]


def _collapsed(snapshot: Snapshot) -> str:
    """What shows that a snapshot's latent is not used; empty where it is."""
    kl = max(float(np.mean(snapshot.of(part, "kl_per_sample"))) for part in snapshot.parts)
    active = max(int(snapshot.of(part, "active").sum()) for part in snapshot.parts)
    latent_dim = snapshot.of(snapshot.parts[0], "active").size
    if kl < COLLAPSED_KL_NATS:
        return f"the mean KL divergence is {kl:.2g} nats (below {COLLAPSED_KL_NATS})"
    if active < max(1.0, COLLAPSED_ACTIVE_SHARE * latent_dim):
        return f"{active} of {latent_dim} latent dimensions are active"
    return ""


def dead_latents(snapshot: Snapshot) -> list[str]:
    """Which dimensions no part of the data uses."""
    dead = np.logical_and.reduce(
        [
            ~snapshot.of(part, "active") & (snapshot.of(part, "kl_per_dimension") < DEAD_KL_NATS)
            for part in snapshot.parts
        ]
    )
    if not dead.any():
        return []
    numbers = np.flatnonzero(dead).tolist()
    return [
        f"dead latents: {len(numbers)} of {len(dead)} at epoch {snapshot.epoch}, dimensions "
        f"{ranges(numbers)}; they cost nothing, and a smaller model.latent_dim would do."
    ]


def exploding_parts(snapshots: Sequence[Snapshot], clip_norm: float) -> list[str]:
    """The parts whose gradient is not finite at the last epoch, or has grown out of proportion."""
    last, said = snapshots[-1], []
    for part, norm in last.gradient_norms.items():
        norms = [snapshot.gradient_norms[part] for snapshot in snapshots]
        grown = f"is not finite ({norm})" if not math.isfinite(norm) else _growth(norms, clip_norm)
        if grown:
            said.append(
                f"exploding part: the gradient of {part} {grown} at epoch {last.epoch}; lower "
                "optimizer.learning_rate."
            )
    return said


def _growth(norms: Sequence[float], clip_norm: float) -> str:
    """How far a part's gradient has grown, where that is too far; empty where it is not."""
    norms = [norm for norm in norms if math.isfinite(norm)]
    if len(norms) < 2 * MEDIAN_EPOCHS:
        return ""
    usual, now = np.median(norms[:-MEDIAN_EPOCHS]), np.median(norms[-MEDIAN_EPOCHS:])
    if not now > max(clip_norm, EXPLODING_FACTOR * usual):
        return ""
    return f"is {now:.3g} (median of {MEDIAN_EPOCHS} epochs) and was {usual:.3g} before"


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers as text, neighbours as a range: 0, 3 to 5."""
    stretches: list[list[int]] = []
    for number in numbers:
        if stretches and number == stretches[-1][-1] + 1:
            stretches[-1].append(number)
        else:
            stretches.append([number])
    return ", ".join(f"{s[0]} to {s[-1]}" if len(s) > 1 else str(s[0]) for s in stretches)
