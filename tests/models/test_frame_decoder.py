"""The decoder at frame rate: what its sound depends on, and what it holds none of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import compiling
from forms import noise
from qvae_jax.models import variables
from qvae_jax.models.decoders import DECODERS, NUM_SAMPLES
from qvae_jax.models.frame_decoder import FrameDecoder
from qvae_jax.models.qvae import QVAE, QVAEConfig

LATENT, WIDTH = 4, 0.05
SEEDS = np.arange(6, dtype=np.uint32).reshape(3, 2)


@pytest.fixture(scope="module")
def decode():
    """(z, seeds) -> audio of a small decoder, compiled."""
    decoder = FrameDecoder(LATENT, width=WIDTH, rng=np.random.default_rng(0))
    structure, given = variables.split(decoder)
    program = jax.jit(lambda given, z, seeds: variables.merge(structure, given)(z, seeds=seeds))

    def decoded(z, seeds):
        with compiling.with_optimisation():  # phases go through many radians, and rounding shows
            return program(given, z, seeds)

    return decoded


@pytest.fixture(scope="module")
def sounds(decode):
    return np.asarray(decode(noise(3, LATENT), SEEDS))


def test_it_is_among_the_decoders():
    assert DECODERS["frame"] is FrameDecoder and FrameDecoder.uses_noise


def test_a_latent_becomes_a_whole_sound_below_full_scale(sounds):
    assert sounds.shape == (3, NUM_SAMPLES) and sounds.dtype == np.float32
    assert np.abs(sounds).max() < 1
    assert np.std(sounds, axis=1).min() > 1e-3


def test_a_row_does_not_depend_on_its_batch(decode, sounds):
    for z, seed, sound in zip(noise(3, LATENT), SEEDS, sounds, strict=True):
        np.testing.assert_allclose(decode(z[None], seed[None])[0], sound, atol=1e-6)


def test_its_noise_is_that_of_its_seed(decode, sounds):
    z = noise(3, LATENT)
    np.testing.assert_array_equal(decode(z, SEEDS), sounds)
    others = np.asarray(decode(z, SEEDS[::-1].copy()))
    assert np.abs(others - sounds)[[0, 2]].max(axis=1).min() > 1e-3
    np.testing.assert_allclose(others[1], sounds[1], atol=1e-6)


def test_nothing_is_below_what_is_heard(sounds):
    power = np.abs(np.fft.rfft(sounds)) ** 2
    hz = np.fft.rfftfreq(NUM_SAMPLES, 1 / 22_050)
    assert np.all(power[:, hz < 10].sum(axis=1) < 1e-3 * power.sum(axis=1))


def test_blocks_may_be_in_bfloat16_and_the_spectrum_is_not(decode, sounds):
    ours = np.asarray(decode(noise(3, LATENT).astype(jnp.bfloat16), SEEDS))
    assert ours.dtype == np.float32
    program = str(jax.make_jaxpr(decode)(noise(1, LATENT).astype(jnp.bfloat16), SEEDS[:1]))
    assert program.count("bf16[") > 100
    cosines = [line for line in program.splitlines() if "= cos" in line or "= fft" in line]
    assert cosines and not any("bf16" in line for line in cosines)
    # Phases alone are off: by what the channels are off.
    assert np.corrcoef(ours.ravel(), sounds.ravel())[0, 1] > 0.9


def test_every_array_learns():
    decoder = FrameDecoder(LATENT, width=0.01, rng=np.random.default_rng(0))
    structure, given = variables.split(decoder)

    def energy(params):
        own = variables.merge(structure, given._replace(params=params))
        return jnp.sum(jnp.square(own(noise(1, LATENT), seeds=SEEDS[:1])))

    gradient = jax.jit(jax.grad(energy))(given.params)
    for name, array in gradient.items():
        assert np.isfinite(array).all() and np.any(array), name


def test_a_qvae_decodes_by_it_and_by_default_all_rows_have_one_noise(decode):
    config = QVAEConfig(
        encoder_width=0.1, latent_dim=LATENT, decoder_type="frame", decoder_width=WIDTH
    )
    structure, given = variables.split(QVAE(config, rng=np.random.default_rng(0)))
    program = jax.jit(
        lambda z, seeds=None: variables.merge(structure, given).decode(z, seeds=seeds)
    )
    z = np.repeat(noise(1, LATENT), 2, axis=0)
    with compiling.with_optimisation():  # two programs then round alike
        first, second = np.asarray(program(z))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(program(z, np.zeros((2, 2), np.uint32)), [first, second])


@pytest.mark.parametrize("part", ["free", "noise"])
def test_channels_say_the_same_of_magnitudes_at_both_rates(part):
    """Below 11 kHz a sound is as loud at either rate; the same again lies above."""
    powers = []
    for rate_hz in (22_050, 44_100):
        decoder = FrameDecoder(LATENT, sample_rate_hz=rate_hz, width=0.01, rng=None)
        structure, given = variables.split(decoder)
        params = {name: np.zeros(array.shape, np.float32) for name, array in given.params.items()}
        free, phase, of_noise = np.split(params["output.output.bias"], 3)
        free[:], of_noise[:] = (-30.0, 2.0) if part == "noise" else (0.0, -30.0)
        phase[:] = 100 * noise(len(phase))
        params["output.output.bias"] = np.concatenate([free, phase, of_noise])
        own = variables.merge(structure, given._replace(params=params))
        sound = np.asarray(jax.jit(lambda z, own=own: own(z, seeds=SEEDS[:1]))(noise(1, LATENT)))
        assert sound.shape == (1, NUM_SAMPLES * rate_hz // 22_050)
        power = np.square(np.abs(np.fft.rfft(sound[0]))) / sound.size**2
        hz = np.fft.rfftfreq(sound.size, 1 / rate_hz)
        powers.append([power[hz < 11_000].sum(), power[hz > 11_050].sum()])
    (below, nothing), (below_at_twice, above) = powers
    assert below_at_twice == pytest.approx(below, rel=0.15) and not nothing
    assert above == pytest.approx(below, rel=0.15)


def test_its_size_at_full_width():
    decoder = FrameDecoder(64, rng=None)
    _, given = variables.split(decoder)
    millions = sum(array.size for array in given.params.values()) / 1e6
    assert millions == pytest.approx(14.4, abs=0.05)
