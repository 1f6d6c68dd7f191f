"""How many parameters a model has, part by part, and how many of them learn."""

import re
from typing import NamedTuple

from qvae_jax.models.variables import Arrays

PARTS_AFTER_LAYERS = ("encoder.classifier", "mu_head", "logvar_head", "decoder")
TOTAL = "all"


class Count(NamedTuple):
    """Parameters that learn and parameters that do not."""

    trainable: int = 0
    frozen: int = 0


def count_by_part(trainable: Arrays, frozen: Arrays) -> dict[str, Count]:
    """The counts of each encoder layer, the AudioSet head, both heads, the decoder; of all.

    Parts are in the order in which a sound passes them, the sum (TOTAL) is last.
    """
    counts = {}
    for learns, arrays in ((True, trainable), (False, frozen)):
        for name, array in arrays.items():
            for part in (_part(name), TOTAL):
                before = counts.get(part, Count())
                here = Count(array.size, 0) if learns else Count(0, array.size)
                counts[part] = Count(*(a + b for a, b in zip(before, here)))
    return dict(sorted(counts.items(), key=lambda item: _place(item[0])))


def parameter_table(trainable: Arrays, frozen: Arrays) -> str:
    """The counts as text, a line for each part."""
    lines = [f"{'parameters of':24}{'all':>12}{'trainable':>12}"]
    for part, count in count_by_part(trainable, frozen).items():
        lines.append(f"{part:24}{sum(count):12,}{count.trainable:12,}")
    return "\n".join(lines)


def _part(name: str) -> str:
    layer = re.match(r"encoder\.features\.(\d+)\.", name)
    if layer:
        return f"encoder layer {layer[1]}"
    return next(part for part in PARTS_AFTER_LAYERS if name.startswith(f"{part}."))


def _place(part: str) -> tuple[int, int]:
    if part.startswith("encoder layer "):
        return 0, int(part.split()[-1])
    return 1, (*PARTS_AFTER_LAYERS, TOTAL).index(part)
