"""Which pairs train the model, and which ones measure it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qvae_jax.data.index import Index, Pair
from qvae_jax.system.errors import UserError

PARTS = ("train", "interpolation", "extrapolation", "library")


@dataclass(frozen=True)
class Split:
    """A division of pairs: none lies in two of the first three.

    Attributes:
        train: pairs to learn from.
        interpolation: other imitations of the sounds that are learnt from.
        extrapolation: all imitations of the sounds that are not.
        train_sounds: keys of the sounds in `train` and `interpolation`.
        extrapolation_sounds: keys of the sounds in `extrapolation`.
    """

    train: tuple[Pair, ...]
    interpolation: tuple[Pair, ...]
    extrapolation: tuple[Pair, ...]
    train_sounds: tuple[str, ...]
    extrapolation_sounds: tuple[str, ...]


def split_pairs(
    index: Index,
    *,
    seed: int = 42,
    train_sound_ratio: float = 0.9,
    train_imitation_ratio: float = 0.9,
) -> Split:
    """Splits a data set by sounds and, within the training sounds, by imitations.

    With the default arguments and VimSketch's lists this is the original's split, in its order:
    one generator shuffles the imitated sounds, then the imitations of each training sound in turn.
    Sounds start in the order of the reference list; references without an imitation take no part.

    Shares are rounded down, so with few sounds or imitations a part may be empty: a sound of one
    imitation gives it to `interpolation`, and with a single sound nothing is left to train on.

    Args:
        index: the data set.
        seed: 0 to 2³² - 1.
        train_sound_ratio: share of the sounds to train on, 0 to 1.
        train_imitation_ratio: share of a training sound's imitations to train on, 0 to 1.

    Raises:
        UserError: a seed or ratio out of range.
    """
    _require_seed(seed)
    _require_ratio("train_sound_ratio", train_sound_ratio)
    _require_ratio("train_imitation_ratio", train_imitation_ratio)
    pairs_by_sound: dict[str, list[Pair]] = {key: [] for key in index.references}
    for pair in index.pairs:
        pairs_by_sound[pair.key].append(pair)
    sounds = [key for key, pairs in pairs_by_sound.items() if pairs]

    # The legacy generator: numpy promises that its stream never changes.
    generator = np.random.RandomState(seed)
    generator.shuffle(sounds)
    train_sounds, extrapolation_sounds = _cut(sounds, train_sound_ratio)
    train: list[Pair] = []
    interpolation: list[Pair] = []
    for key in train_sounds:
        generator.shuffle(pairs_by_sound[key])
        learnt, held_out = _cut(pairs_by_sound[key], train_imitation_ratio)
        train += learnt
        interpolation += held_out
    return Split(
        train=tuple(train),
        interpolation=tuple(interpolation),
        extrapolation=tuple(pair for key in extrapolation_sounds for pair in pairs_by_sound[key]),
        train_sounds=tuple(train_sounds),
        extrapolation_sounds=tuple(extrapolation_sounds),
    )


def draw_pairs(pairs: Sequence[Pair], num_pairs: int, seed: int) -> tuple[Pair, ...]:
    """Draws a fixed sample of pairs without replacement, in the order they came in.

    Gives all pairs where `num_pairs` exceeds their number; the caller tells the user.

    Args:
        pairs: what to draw from.
        num_pairs: how many, at least 1.
        seed: 0 to 2³² - 1; the same seed draws the same sample.

    Raises:
        UserError: num_pairs below 1, or a seed out of range.
    """
    _require_seed(seed)
    if num_pairs < 1:
        raise UserError(
            f"The number of pairs to draw is {num_pairs}; set it to at least 1 in the config."
        )
    num_drawn = min(num_pairs, len(pairs))
    drawn = np.random.default_rng(seed).choice(len(pairs), size=num_drawn, replace=False)
    return tuple(pairs[i] for i in sorted(drawn))


def _cut(items: list, ratio: float) -> tuple[list, list]:
    num_first = int(ratio * len(items))
    return items[:num_first], items[num_first:]


def _require_ratio(name: str, ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise UserError(f"The {name} of the split is {ratio}; set it to a number from 0 to 1.")


def _require_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"The seed {seed} is out of range; set it to a number from 0 to 2^32 - 1.")
