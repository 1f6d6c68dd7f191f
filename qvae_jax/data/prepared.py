"""What `prepare` gives to training."""

import dataclasses

from qvae_jax.data.batches import Examples
from qvae_jax.data.vimsketch import Index


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set ready to train on.

    Attributes:
        index: what the data set holds.
        parts: the examples of each part of its split that has any.
        left_out: why files that belong to the split could not be read, by their names.
        first_layer: the encoder layer whose input the examples' inputs are; 0 for log-mels.
    """

    index: Index
    parts: dict[str, Examples]
    left_out: dict[str, str]
    first_layer: int = 0
