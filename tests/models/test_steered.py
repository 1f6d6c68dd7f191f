"""The steered decoder: its renderer follows any curves, and its gesture head has curves to learn."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soxr

from forms import noise
from qvae_jax.audio import controls
from qvae_jax.audio.controls import (
    CENTROID,
    HOP_LENGTH,
    LOUDNESS,
    LOUDNESS_FLOOR_DB,
    PERIODICITY,
    PITCH,
)
from qvae_jax.models import shaping, steered, variables
from qvae_jax.models.decoders import DECODERS, NUM_SAMPLES, STEERED
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.steered import HIGHEST, LOWEST, Gesture, Renderer, Steered

LATENT, WIDTH = 4, 0.05
SEEDS = np.arange(8, dtype=np.uint32).reshape(4, 2)
FRAMES = 40


def _curves(num_frames: int = FRAMES, batch: int = 4) -> np.ndarray:
    """Sounds that swell and fall, glide, and are voiced here and there: [batch, frames, 4]."""
    place = np.linspace(0, 6, num_frames)
    rows = [
        np.stack(
            [
                -30 + 12 * np.sin(place + row),
                80 + 5 * np.cos(place - row),
                60 + 9 * np.sin(0.7 * place + row),
                0.5 + 0.45 * np.sin(1.3 * place - row),
            ],
            axis=-1,
        )
        for row in range(batch)
    ]
    return np.array(rows, np.float32)


@pytest.fixture(scope="module")
def renderer():
    return variables.split(Renderer(LATENT, width=WIDTH, rng=np.random.default_rng(0)))


@functools.cache
def _program(structure):
    def render(given, *inputs):
        return variables.merge(structure, given)(*inputs)

    return jax.jit(render)


@pytest.fixture(scope="module")
def render(renderer):
    """(z, curves, seeds, valid) -> sounds of a small renderer, compiled."""
    structure, given = renderer
    return functools.partial(_program(structure), given)


@pytest.fixture(scope="module")
def sounds(render):
    return np.asarray(render(noise(4, LATENT), _curves(), SEEDS, None))


def _valid(*lengths: int, num_frames: int = FRAMES) -> np.ndarray:
    return np.arange(num_frames) < np.array(lengths)[:, None]


def test_a_sound_is_as_long_as_its_curves_and_below_full_scale(sounds):
    assert sounds.shape == (4, FRAMES * HOP_LENGTH) and sounds.dtype == np.float32
    assert 0.01 < np.abs(sounds).max() < 1


@pytest.mark.parametrize("beyond", ["held", "poisoned"])
def test_no_sound_depends_on_its_bucket(render, beyond):
    """Nor on what else there is beyond its last frame, nor on the other rows."""
    z, curves, lengths = noise(4, LATENT), _curves(), (3, 40, 25, 40)
    valid = _valid(*lengths)
    filled = np.where(valid[..., None], curves, np.float32(np.nan if beyond == "poisoned" else -5))
    together = np.asarray(render(z, filled, SEEDS, valid))
    for row, length in enumerate(lengths):
        only = slice(row, row + 1)
        alone = render(z[only], curves[only, :length], SEEDS[only], None)[0]
        until = length * HOP_LENGTH
        np.testing.assert_allclose(together[row, :until], alone, atol=1e-6)
        assert not together[row, until:].any()


def test_frames_that_are_all_valid_need_no_mask(render, sounds):
    every = np.ones((4, FRAMES), bool)
    np.testing.assert_allclose(render(noise(4, LATENT), _curves(), SEEDS, every), sounds, atol=1e-6)


def test_a_row_that_only_fills_a_batch_is_silent(render, sounds):
    filling = np.asarray(render(noise(4, LATENT), _curves(), SEEDS, _valid(40, 40, 0, 40)))
    assert not filling[2].any()
    np.testing.assert_allclose(filling[[0, 1, 3]], sounds[[0, 1, 3]], atol=1e-6)


def test_silent_curves_are_exact_silence(render):
    curves = _curves()
    curves[0, :, LOUDNESS] = LOUDNESS_FLOOR_DB
    curves[1, :20, LOUDNESS] = LOUDNESS_FLOOR_DB
    silent, late, *_ = np.asarray(render(noise(4, LATENT), curves, SEEDS, None))
    assert not silent.any()
    # The first sounding frame reaches a hop and a half before its own hop.
    assert not late[: 18 * HOP_LENGTH].any() and late[20 * HOP_LENGTH :].any()


def test_what_is_unvoiced_is_noise_alone(render):
    """A part of it that no seed moved would be as regular as its curves, and ring."""
    curves = _curves()
    curves[..., PERIODICITY] = 0.0
    one, other = (
        np.asarray(render(noise(4, LATENT), curves, seeds, None), np.float64)
        for seeds in (SEEDS, SEEDS + 9)
    )
    common = np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2))
    assert abs(common) < 0.05


def test_z_curves_and_seeds_all_move_the_sound(render, sounds):
    z, curves = noise(4, LATENT), _curves()
    apart = {
        "z": render(z[::-1].copy(), curves, SEEDS, None),
        "seeds": render(z, curves, SEEDS[::-1].copy(), None),
    }
    for number, name in enumerate(controls.NAMES):
        other = curves.copy()
        other[..., number] = curves[::-1, :, number]
        apart[name] = render(z, other, SEEDS, None)
    for name, found in apart.items():
        assert np.abs(found - sounds).max() > 1e-4, name


def _white(given, harmonics: float = -30.0, noise: float = 0.0):
    """The renderer's arrays, changed so that it makes white noise alone, or as many harmonics.

    noise and harmonics are what it makes of the noise and of the excitation, natural logarithms of
    magnitudes.
    """
    zeros = {name: np.zeros_like(array) for name, array in given.params.items()}
    bins = len(zeros["output.output.bias"]) // 2
    bias = np.repeat(np.float32([noise, harmonics]), bins)
    return given._replace(params=zeros | {"output.output.bias": bias})


# White noise is at 112.8; what is beyond the reach of a bounded tilt is not reached.
@pytest.mark.parametrize(
    ("centroid", "lowest", "highest"),
    [(109.0, 108.0, 110.0), (112.0, 111.0, 113.0), (114.0, 113.0, 115.0), (60.0, 96.0, 103.0)],
)
def test_a_sound_has_the_centroid_of_its_curve_within_bounds(renderer, centroid, lowest, highest):
    structure, given = renderer
    curves = _curves(batch=1)
    curves[..., LOUDNESS], curves[..., CENTROID], curves[..., PERIODICITY] = -40.0, centroid, 0.0
    sound = _program(structure)(_white(given), noise(1, LATENT), curves, SEEDS[:1], None)
    _, found = jax.jit(controls._loudness_and_centroid)(sound[0])
    assert lowest < float(np.mean(found)) < highest


@pytest.mark.parametrize(("periodicity", "db_an_octave"), [(0.0, 6.0), (0.9, 3.0)])
@pytest.mark.parametrize(("centroid", "sign"), [(120.0, 1), (40.0, -1)])
def test_a_tilt_is_bounded_and_half_as_steep_where_it_is_voiced(
    periodicity, db_an_octave, centroid, sign
):
    curves = _curves(batch=1)
    curves[..., CENTROID], curves[..., PERIODICITY] = centroid, periodicity
    power = np.ones((*curves.shape[:2], 487), np.float32)
    factors = jax.jit(shaping.tilt, static_argnums=2)(curves, power, controls.SAMPLE_RATE_HZ)
    low, high = (round(hz / shaping.BIN_HZ) for hz in (500, 4_000))
    steepness = 20 * np.log10(factors[..., high] / factors[..., low]) / np.log2(high / low)
    np.testing.assert_allclose(steepness, sign * db_an_octave, atol=0.1)


@pytest.mark.parametrize(
    ("periodicity", "harmonics", "least", "most"),
    [
        (0.9, -5.0, 0.95, 1.0),  # 26 dB below the noise
        (0.55, -5.0, 0.9, 1.0),  # hardly voiced
        (0.9, -30.0, 0.0, 0.2),  # no bounded strength makes a voice of these
        (0.3, -5.0, 0.0, 0.2),
    ],
)
def test_what_is_voiced_is_heard_so_though_the_head_makes_noise(
    renderer, periodicity, harmonics, least, most
):
    structure, given = renderer
    curves = _curves(batch=1)
    curves[..., PERIODICITY], curves[..., PITCH] = periodicity, 60.0
    white = _white(given, harmonics)
    sound = _program(structure)(white, noise(1, LATENT), curves, SEEDS[:1], None)
    found = np.asarray(jax.jit(controls.controls)(sound))[0, :, PERIODICITY]
    assert least <= np.mean(found > controls.VOICED_PERIODICITY) <= most


def _octave_above(given, hz: float):
    """A head that, of harmonics of hz, makes the second alone: a sound whose pitch is another."""
    given = _white(given, noise=-30.0)
    bias = given.params["output.output.bias"].reshape(2, -1).copy()
    bins = np.arange(bias.shape[1]) * shaping.BIN_HZ
    bias[1, np.abs(bins / hz - 2) < 0.5] = 0.0
    return given._replace(params=given.params | {"output.output.bias": bias.ravel()})


@pytest.mark.parametrize(("train", "semitones"), [(False, 60.0), (True, 72.0)])
def test_in_use_a_pitch_is_heard_though_the_head_leaves_out_its_fundamental(
    renderer, train, semitones
):
    structure, given = renderer
    curves = _curves(batch=1)
    curves[..., PERIODICITY], curves[..., PITCH] = 0.95, 60.0
    render = lambda given, *inputs: variables.merge(structure, given)(*inputs, train=train)
    head = _octave_above(given, float(controls.hertz(60.0)))
    sound = jax.jit(render)(head, noise(1, LATENT), curves, SEEDS[:1], None)
    found = np.asarray(jax.jit(controls.controls)(sound))[0, :, PITCH]
    assert np.abs(found - semitones).max() < 0.5


def test_in_training_harmonics_are_hardly_stronger_than_the_heads_own(renderer):
    structure, given = renderer
    curves = _curves(batch=1)
    curves[..., PERIODICITY], curves[..., PITCH] = 0.9, 60.0
    train = jax.jit(lambda given, *inputs: variables.merge(structure, given)(*inputs, train=True))
    inputs = noise(1, LATENT), curves, SEEDS[:1], None
    for harmonics, least, most in ((-5.0, 0.0, 0.2), (-2.0, 0.9, 1.0)):
        sound = train(_white(given, harmonics), *inputs)
        found = np.asarray(jax.jit(controls.controls)(sound))[0, :, PERIODICITY]
        assert least <= np.mean(found > controls.VOICED_PERIODICITY) <= most


@pytest.mark.parametrize("num_frames", [FRAMES, 908])  # the longer ones last ten seconds
def test_a_sound_is_as_loud_as_its_curve(renderer, num_frames):
    structure, given = renderer
    curves = _curves(num_frames, batch=1)
    curves[..., LOUDNESS] -= 10  # whose peaks are well below full scale
    sound = _program(structure)(_white(given), noise(1, LATENT), curves, SEEDS[:1], None)
    found = 10 * np.log10(np.asarray(controls.loudness_power(sound))[0])
    apart = found - curves[0, :, LOUDNESS]
    assert np.sqrt(np.mean(apart**2)) < 1.0
    assert np.abs(apart).max() < 3.0
    assert abs(apart[:3].mean()) < 1.5 and abs(apart[-3:].mean()) < 1.5  # at the ends too


@pytest.mark.parametrize("voiced", [False, True])
def test_at_44100_hz_a_sound_follows_its_curves_once_it_is_resampled(voiced):
    """White noise, or all harmonics, up to 22 kHz: what lies above 11 kHz counts for nothing."""
    twice = Renderer(LATENT, sample_rate_hz=44_100, width=WIDTH, rng=np.random.default_rng(0))
    structure, given = variables.split(twice)
    curves = _curves(batch=1)
    curves[..., LOUDNESS] -= 10
    curves[..., CENTROID], curves[..., PITCH] = 110.0, 57.0
    curves[..., PERIODICITY] = 0.95 if voiced else 0.0
    changed = _white(given, harmonics=0.0, noise=-30.0) if voiced else _white(given)
    sound = np.asarray(_program(structure)(changed, noise(1, LATENT), curves, SEEDS[:1], None)[0])
    assert len(sound) == 2 * FRAMES * HOP_LENGTH
    power = np.abs(np.fft.rfft(sound)) ** 2
    assert power[len(power) // 2 :].sum() > 0.2 * power.sum()
    resampled = soxr.resample(sound, 44_100, 22_050, quality="HQ")
    found = np.asarray(jax.jit(controls.controls)(resampled))
    apart = (found - curves[0])[2:-2]
    assert np.sqrt(np.mean(apart[:, LOUDNESS] ** 2)) < 1.0
    assert abs(apart[:, LOUDNESS].mean()) < 0.3
    assert abs(apart[:, CENTROID].mean()) < 1.0
    if voiced:
        assert np.abs(apart[:, PITCH]).max() < 0.2


def test_loud_curves_stay_below_full_scale(render):
    sound = np.asarray(render(noise(1, LATENT), np.tile(HIGHEST, (1, FRAMES, 1)), SEEDS[:1], None))
    assert 0.9 < np.abs(sound).max() < 1


def test_nothing_is_at_0_hz(sounds):
    power = np.abs(np.fft.rfft(sounds * np.hanning(sounds.shape[1]))) ** 2
    hz = np.fft.rfftfreq(sounds.shape[1], 1 / 22_050)
    # Tilted towards a low centroid, and louder from frame to frame.
    assert np.all(power[:, hz < 10].sum(axis=1) < 0.01 * power.sum(axis=1))


def test_blocks_may_be_in_bfloat16_and_phases_are_not(render, sounds):
    z = noise(4, LATENT).astype(jnp.bfloat16)
    ours = np.asarray(render(z, _curves(), SEEDS, None))
    assert ours.dtype == np.float32
    assert np.corrcoef(ours.ravel(), sounds.ravel())[0, 1] > 0.99
    program = str(jax.make_jaxpr(render)(z, _curves(), SEEDS, None)).splitlines()
    assert sum("bf16[" in line for line in program) > 100
    exact = [line for line in program if any(f"= {name}[" in line for name in ("cos", "fft"))]
    assert exact and not any("bf16" in line for line in exact)


def test_every_array_learns_and_every_gradient_is_finite(renderer):
    """With silent frames and with frames after the end."""
    structure, given = renderer
    curves = _curves()
    curves[0, 10:20, LOUDNESS] = LOUDNESS_FLOOR_DB
    curves[1, :, LOUDNESS] = LOUDNESS_FLOOR_DB
    valid = _valid(40, 40, 30, 0)

    def energy(params, z):
        sound = _program(structure)(given._replace(params=params), z, curves, SEEDS, valid)
        return jnp.sum(jnp.abs(sound[:, ::3]))

    gradients, by_z = jax.jit(jax.grad(energy, (0, 1)))(given.params, noise(4, LATENT))
    for name, array in gradients.items():
        assert np.isfinite(array).all() and np.any(array), name
    assert np.isfinite(by_z).all()
    assert np.any(by_z[0]) and np.any(by_z[2]) and not np.any(by_z[1::2])


def test_a_gesture_has_curves_and_a_duration():
    gesture = Gesture(LATENT, width=0.1, rng=np.random.default_rng(0))
    curves, durations_s = jax.jit(lambda z: gesture(z))(30 * noise(3, LATENT))
    assert curves.shape == (3, 243, 4) and durations_s.shape == (3,)
    assert np.all((durations_s > 0) & (durations_s < NUM_SAMPLES / 22_050))
    in_bfloat16, _ = jax.eval_shape(gesture, noise(3, LATENT).astype(jnp.bfloat16))
    assert in_bfloat16.dtype == np.float32


def test_what_curves_may_be_is_what_controls_are():
    silent_at_last = np.concatenate([0.5 * noise(9 * HOP_LENGTH), np.zeros(9 * HOP_LENGTH)])
    tone = np.sin(2 * np.pi * 300 * np.arange(len(silent_at_last)) / 22_050)
    samples = np.stack([silent_at_last, tone]).astype(np.float32)
    curves = jax.jit(controls.controls)(samples)
    np.testing.assert_allclose(steered.within_range(curves), curves, atol=1e-4)
    drawn = np.asarray(steered.within_range(np.float32([[99] * 4, [-99] * 4])))
    np.testing.assert_array_equal(drawn, [[6, 99, 98, 1], LOWEST])


def test_the_decoder_is_the_gesture_rendered():
    decoder = Steered(LATENT, width=0.02, rng=np.random.default_rng(0))
    structure, given = variables.split(decoder)

    @jax.jit
    def both(given, z, seeds):
        own = variables.merge(structure, given)
        curves, _ = own.gesture(z)
        return own(z, seeds=seeds), own.renderer(z, steered.within_range(curves), seeds)

    whole, rendered = both(given, noise(2, LATENT), SEEDS[:2])
    assert whole.shape == (2, NUM_SAMPLES)
    np.testing.assert_allclose(whole, rendered, atol=1e-6)
    assert DECODERS[STEERED] is Steered and Steered.uses_noise


# The gesture's distance.

LENGTH = 20 * HOP_LENGTH


def _target() -> np.ndarray:
    """[1, 40, 4]: twenty frames that sound, ten of them voiced and five too quiet; then silence."""
    curves = np.tile(np.float32([-30, 80, 60, 0.8]), (1, FRAMES, 1))
    curves[0, 10:, 3] = 0.2
    curves[0, 15:20, LOUDNESS] = -72.0
    curves[0, 20:, LOUDNESS] = LOUDNESS_FLOOR_DB
    return curves


def _distance(gestured: np.ndarray, duration_s: float = LENGTH / 22_050) -> float:
    (found,) = steered.gesture_distance(
        gestured, np.float32([duration_s]), _target(), np.array([LENGTH])
    )
    return float(found)


# What is added to a gesture that was right, where, and the distance it makes.
GESTURES = {
    "right": (LOUDNESS, slice(None), 0.0, 0.0),
    "softer by a step": (LOUDNESS, slice(0, 20), -20.0, 0.5),
    "below the floor, where the target is silent": (LOUDNESS, slice(20, 40), -50.0, 0.0),
    "louder than silence": (LOUDNESS, slice(20, 40), 20.0, 0.5),
    "centroid off by an octave": (1, slice(0, 15), 12.0, 1.0),
    "centroid of what is too quiet": (1, slice(15, 40), 12.0, 0.0),
    "pitch off by an octave": (2, slice(0, 10), -12.0, 1.0),
    "pitch of what is not voiced": (2, slice(10, 40), 12.0, 0.0),
    "periodicity off": (3, slice(0, 15), -0.25, 1.0),
    "periodicity of silence": (3, slice(20, 40), 0.5, 0.0),
}


@pytest.mark.parametrize("case", GESTURES)
def test_a_gesture_is_compared_where_its_curve_is_heard(case):
    number, frames, added, expected = GESTURES[case]
    gestured = _target()
    gestured[0, frames, number] += added
    assert _distance(gestured) == pytest.approx(expected, abs=1e-5)


def test_durations_count_in_seconds():
    assert _distance(_target(), LENGTH / 22_050 + 0.25) == pytest.approx(0.25, abs=1e-6)


def test_a_silent_target_has_a_finite_distance_and_gradient():
    silent = np.tile(np.float32([LOUDNESS_FLOOR_DB, 83.2, 57, 0]), (1, FRAMES, 1))

    def distance(gestured):
        lengths = np.array([LENGTH])
        return steered.gesture_distance(gestured, np.float32([1.0]), silent, lengths)[0]

    value, gradient = jax.value_and_grad(distance)(_curves(batch=1))
    assert np.isfinite(value) and np.isfinite(gradient).all() and np.any(gradient)


def test_held_curves_stay_at_their_last_value():
    curves = _curves(5, batch=2)
    held = steered.held_beyond(curves, _valid(2, 5, num_frames=5))
    np.testing.assert_array_equal(held[0], curves[0, [0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(held[1], curves[1])


def test_the_renderer_is_told_of_pitch_only_where_there_is_one():
    curves = np.tile(np.float32([-30, 80, 60, 0.9]), (2, 1))
    curves[1, 3] = 0.1
    voiced, unvoiced = np.asarray(steered.described(curves))
    assert len(voiced) == 12
    assert voiced[4] == 1 and unvoiced[4] == 0
    assert np.any(voiced[6:]) and not np.any(unvoiced[6:])
    silent = np.asarray(steered.described(np.float32([[LOUDNESS_FLOOR_DB, 80, 60, 0.9]])))
    assert silent[0, 5] == 1 and voiced[5] == 0
    for extreme in (LOWEST, HIGHEST):
        assert np.abs(steered.described(extreme[None])).max() < 6


# Sizes.


def _megabytes(**changes) -> float:
    config = dataclasses.replace(QVAEConfig(), **changes)
    _, given = variables.split(QVAE(config, rng=None))
    return sum(array.size for group in given for array in group.values()) * 4 / 1e6


def test_its_size_at_full_width():
    decoder = Steered(64, rng=None)
    _, given = variables.split(decoder)
    millions = sum(array.size for array in given.params.values()) / 1e6
    assert millions == pytest.approx(3.01, abs=0.05)
    # With the encoder mn04, of which the head that names sounds is no part of what is kept.
    assert _megabytes(encoder_width=0.4, decoder_type=STEERED) < 25
