"""Sounds of any length are embedded as with all of the silence behind them."""

import dataclasses

import numpy as np
import pytest

import small_encoders
from qvae_jax.audio.files import fit_length
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.models import variables
from qvae_jax.models.qvae import encoder_network
from qvae_jax.retrieval.encoders import Encoder
from qvae_jax.retrieval.lengths import NUM_LENGTHS, lengths_of, rows_by_length

HEARD = {  # the front-end and strides of an encoder
    "published": (FrontEnd(), (2, 2, 2, 2)),
    "other strides": (FrontEnd(duration_s=5.0), (2, 2, 1, 1)),
    "other hop": (FrontEnd(duration_s=3.0, hop_length=160, n_fft=512, window_length=400), None),
    "as short as a kernel": (FrontEnd(duration_s=0.1), None),
}


def drawn(name: str):
    front_end, strides = HEARD[name]
    changes = {} if strides is None else {"encoder_strides": strides}
    return small_encoders.drawn(front_end=front_end, **changes)


def lengths(config):
    graphdef, _ = variables.split(encoder_network(config, rng=None))
    return lengths_of(graphdef, config)


def sounds(front_end: FrontEnd) -> list[np.ndarray]:
    """Of one sample, and of the longest that each program hears, a sample less and one more."""
    steps = [front_end.num_samples * step // NUM_LENGTHS for step in range(1, NUM_LENGTHS + 1)]
    counts = [1, *(step + more for step in steps for more in (-1, 0, 1))]
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, count).astype(np.float32) for count in counts]


@pytest.mark.parametrize("name", HEARD)
def test_embeddings_are_those_of_the_whole_waveform(name):
    encoder = Encoder(*drawn(name))
    heard = sounds(encoder.front_end)
    whole = [fit_length(sound, encoder.front_end.num_samples) for sound in heard]
    found, plain = (encoder.embed(given, [""] * len(given), 2) for given in (heard, whole))
    np.testing.assert_allclose(found, plain, rtol=0, atol=2e-6)


def test_what_is_heard_with_a_sound_makes_no_difference():
    encoder = Encoder(*small_encoders.drawn())
    heard = sounds(encoder.front_end)
    together = encoder.embed(heard, [""] * len(heard), batch_size=2)
    for order in (heard[::-1], heard[::3]):
        rows = [next(i for i, one in enumerate(heard) if one is sound) for sound in order]
        again = encoder.embed(order, [""] * len(order), batch_size=2)
        np.testing.assert_array_equal(again, together[rows])


def test_a_sample_more_than_a_length_takes_the_next_one():
    config, _ = drawn("published")
    four = lengths(config)
    assert [length.longest for length in four] == [80_000, 160_000, 240_000, 320_000]
    found = rows_by_length(four, sounds(config.front_end))
    assert [found[length] for length in four] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11, 12]]


def test_all_but_the_longest_are_computed_from_fewer_samples():
    config, _ = drawn("published")
    *shorter, longest = lengths(config)
    assert longest.num_samples == config.front_end.num_samples
    for length in shorter:
        assert length.longest < length.num_samples < 1.1 * length.longest + 8_000
    assert len({length.program for length in (*shorter, longest)}) == NUM_LENGTHS


def test_encoders_of_one_structure_share_programs():
    config, _ = drawn("other strides")
    assert lengths(config) == lengths(dataclasses.replace(config, feature_space="final"))
