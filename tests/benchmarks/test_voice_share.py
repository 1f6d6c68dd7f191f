"""The share of a voice that its sound has, where it is known."""

import numpy as np
import pytest

from benchmarks.voice_share import least_squares_share


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_is_found_beside_what_a_voice_says_nothing_of(share):
    rng = np.random.default_rng(0)
    voices = rng.standard_normal((200, 50))
    sounds = share * voices + rng.standard_normal((200, 50))
    # Of 10,000 numbers, four standard errors.
    assert abs(least_squares_share(voices, sounds) - share) < 0.04
