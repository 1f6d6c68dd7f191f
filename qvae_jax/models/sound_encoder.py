"""A QVAE's second encoder, which hears sounds while the first one hears voices.

Encoders that were pretrained as a pair put a voice near the sound it means where each is heard by its
own. Both are frozen then, and whatever hears by one of them takes a QVAE that has this one alone.
"""

import dataclasses

from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Arrays, Variables

PREFIX = "sound_encoder."  # of its arrays among those of a QVAE
FIRST = "encoder."  # of the first one's


def one_alone(
    config: QVAEConfig, model: Variables, *, sounds: bool = False
) -> tuple[QVAEConfig, Variables]:
    """The same QVAE with one encoder: that of voices, or with sounds that of sounds.

    Its arrays are named as an only encoder's are. A QVAE that has no other is given as it is.
    """
    if not config.sound_encoder:
        return config, model

    def kept(arrays: Arrays) -> Arrays:
        second = {n: a for n, a in arrays.items() if n.startswith(PREFIX)}
        others = {n: a for n, a in arrays.items() if n not in second}
        if not sounds:
            return others
        return others | {FIRST + n.removeprefix(PREFIX): array for n, array in second.items()}

    return dataclasses.replace(config, sound_encoder=False), Variables(*map(kept, model))
