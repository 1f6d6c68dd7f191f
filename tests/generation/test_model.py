"""A model: any number of rows, results that are finite, and what may be loaded and heard."""

import dataclasses
import doctest
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import compiling
import qvae_jax
import small_run
import steered_model
from qvae_jax import configuration
from qvae_jax.generation.model import Model
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import Notice, UserError

REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(data_set) -> Model:
    """Features of an early layer, which is soon compiled."""
    config = small_run.config(data_set, **{"model.feature_space": "1"})
    model_config = configuration.model_config(config)
    return Model(model_config, configuration.initial_variables(config, model_config))


@pytest.fixture(scope="module")
def waveforms(model) -> np.ndarray:
    """Five seconds of noise, each louder than the one before."""
    noise = np.random.default_rng(0).standard_normal((5, model.front_end.num_samples))
    return (noise * np.arange(1, 6)[:, None] / 20).astype(np.float32)


# --- Rows


def test_of_two_encoders_each_hears_its_own_rows(waveforms):
    two = steered_model.model(steered_model.TWO_ENCODERS)
    of_voices, of_sounds = (
        steered_model.of_one_encoder(two, sounds=sounds).posterior(waveforms)
        for sounds in (False, True)
    )
    assert np.abs(of_voices[0] - of_sounds[0]).max() > 1e-3
    mixed = np.array([True, False, False, True, True])
    for sounds in (False, True, mixed):
        for batch_size in (None, 2):
            found = two.posterior(waveforms, sounds=sounds, batch_size=batch_size)
            for part, voice, sound in zip(found, of_voices, of_sounds):
                expected = np.where(np.broadcast_to(sounds, 5)[:, None], sound, voice)
                np.testing.assert_allclose(part, expected, atol=1e-5)
    assert two.features(waveforms[:0], sounds=True).shape == two.features(waveforms[:0]).shape
    np.testing.assert_array_equal(two.posterior(waveforms)[0], of_voices[0])


def test_a_share_of_a_voice_counts_and_all_of_a_sound(waveforms):
    believing, all_of_it = (
        steered_model.model(
            dataclasses.replace(
                steered_model.CONFIG, standardise_features=True, voice_share=voice_share
            )
        )
        for voice_share in (0.25, 1.0)
    )
    of_sounds = all_of_it.posterior(waveforms)
    # Of features whose kept mean is 0.
    of_voices = all_of_it.heads(0.25 * all_of_it.features(waveforms))
    assert np.abs(of_voices[0] - of_sounds[0]).max() > 1e-3
    mixed = np.array([True, False, False, True, True])
    for sounds in (False, True, mixed):
        found = believing.posterior(waveforms, sounds=sounds, batch_size=2)
        for part, voice, sound in zip(found, of_voices, of_sounds):
            expected = np.where(np.broadcast_to(sounds, 5)[:, None], sound, voice)
            np.testing.assert_allclose(part, expected, atol=1e-6)


def test_the_row_of_a_second_encoder_that_is_not_finite_is_named(waveforms):
    two = steered_model.model(steered_model.TWO_ENCODERS)
    broken = {
        name: np.full_like(array, np.nan) if name.startswith("sound_encoder") else array
        for name, array in two.variables.params.items()
    }
    spoilt = Model(two.config, two.variables._replace(params=broken))
    with pytest.raises(UserError, match="not finite of b: its weights"):
        spoilt.features(waveforms[:3], sounds=[False, True, False], names=["a", "b", "c"])


def test_any_number_of_rows_is_what_they_are_one_by_one(model, waveforms):
    names = ("features", "mu", "logvar", "audio")
    chain = lambda rows, **how: dict(
        zip(
            names,
            (
                model.features(rows, **how),
                *model.posterior(rows, **how),
                model.decode(model.posterior(rows, **how)[0], **how),
            ),
        )
    )
    alone = [chain(waveforms[i : i + 1]) for i in range(5)]
    together = chain(waveforms, batch_size=2)
    for name in names:
        expected = np.concatenate([each[name] for each in alone])
        assert together[name].shape == expected.shape
        np.testing.assert_allclose(together[name], expected, atol=1e-5)


def test_no_rows_give_none(model):
    assert model.decode(np.zeros((0, 4))).shape == (0, 59_049)
    assert [x.shape for x in model.heads(np.zeros((0, model.config.feature_dim())))] == [(0, 4)] * 2


@pytest.mark.parametrize(
    ("num_rows", "batch_size", "sizes"),
    [(3, None, [3]), (8, None, [8]), (19, None, [8, 8, 8]), (3, 2, [2, 2]), (1, 4, [4])],
)
def test_rows_are_computed_in_batches_of_one_size(model, monkeypatch, num_rows, batch_size, sizes):
    seen = []

    def decode(given, rows):
        z, seeds = rows
        assert seeds.shape == (len(z), 2)
        seen.append(len(z))
        return np.repeat(z[:, :1], 5, axis=1)

    monkeypatch.setattr(model, "_decode", decode)
    z = np.random.default_rng(0).standard_normal((num_rows, 4)).astype(np.float32)
    found = model.decode(z, batch_size=batch_size)
    assert seen == sizes
    np.testing.assert_array_equal(found, np.repeat(z[:, :1], 5, axis=1))


@pytest.mark.parametrize("spoilt", ["mu_head.bias", "logvar_head.bias"])
def test_results_that_are_not_finite_are_refused(model, waveforms, spoilt):
    params = model.variables.params | {spoilt: np.full(4, np.nan, np.float32)}
    broken = Model(model.config, Variables(params, model.variables.batch_stats))
    broken.features(waveforms[:2])
    with pytest.raises(UserError, match="a sound that is not finite of first: its weights are dam"):
        broken.posterior(waveforms[:2], names=["first", "second"])
    with pytest.raises(UserError, match="a sound that is not finite: its weights"):
        broken.posterior(waveforms[:2])


def test_the_row_that_is_not_finite_is_named(model, monkeypatch):
    monkeypatch.setattr(model, "_decode", lambda _, rows: np.where(rows[0] == 9, np.nan, rows[0]))
    z = np.zeros((11, 4), np.float32)
    z[9, 2] = 9
    with pytest.raises(UserError, match="not finite of sound 9:"):
        model.decode(z, names=[f"sound {i}" for i in range(11)])
    model.decode(z[:9], names=["x"] * 9)


# --- The Python interface


def test_the_docstring_example(frozen_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(frozen_run)
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(qvae_jax)
    assert result.attempted == 5 and result.failed == 0


def test_importing_the_package_loads_no_jax():
    code = "import sys, qvae_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("imitation", "options", "message"),
    [
        (np.zeros(0), {}, "at least one sample"),
        (np.zeros((2, 2, 2)), {}, "shape"),
        (np.full(9, np.inf), {}, "not finite"),
        (np.zeros(9), {"sample_rate_hz": 0}, "sample_rate_hz is 0"),
        (np.zeros(9), {"temperature": -1.0}, "--temperature is"),
    ],
    ids=["empty", "three dimensions", "infinite", "rate", "temperature"],
)
def test_the_interface_refuses_in_one_line(frozen_run, imitation, options, message):
    with pytest.raises(UserError, match=message) as raised:
        qvae_jax.load(frozen_run).generate(imitation, **{"sample_rate_hz": 16_000, **options})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.features(np.zeros(32_000)), r"waveforms cannot be of shape \(32000,\)"),
        (lambda m: m.features(np.zeros((2, 9))), r"waveforms cannot be of shape \(2, 9\)"),
        (lambda m: m.posterior(np.zeros((1, 2, 32_000))), "waveforms cannot be of shape"),
        (
            lambda m: m.features(np.zeros((1, 32_000), np.int16)),
            "waveforms cannot be of type int16",
        ),
        (
            lambda m: m.features(np.full((1, 32_000), np.nan)),
            "waveforms hold values that are not f",
        ),
        (lambda m: m.features([[1, 2], [3]]), "waveforms cannot be made an array"),
        (lambda m: m.heads(np.zeros((2, 3))), r"features cannot be of shape \(2, 3\)"),
        (lambda m: m.heads(np.zeros((2, 3), complex)), "features cannot be of type complex128"),
        (lambda m: m.decode(np.zeros(4)), r"latents cannot be of shape \(4,\)"),
        (lambda m: m.decode(np.zeros((2, 5))), r"latents cannot be of shape \(2, 5\)"),
        (lambda m: m.decode(np.zeros((2, 1))), r"latents cannot be of shape \(2, 1\)"),
        (lambda m: m.decode(np.zeros((2, 4), bool)), "latents cannot be of type bool"),
        (lambda m: m.decode(np.full((2, 4), np.inf)), "latents hold values that are not finite"),
    ],
)
def test_rows_of_another_kind_are_refused_in_one_line(model, call, message):
    with pytest.raises(UserError, match=message) as raised:
        call(model)
    assert "\n" not in str(raised.value)


RATE_HZ = 32_000
HUM = (0.5 * np.sin(np.arange(RATE_HZ) ** 1.2 / 30)).astype(np.float32)
HUM_16 = (2**15 * HUM).astype(np.int16)


@pytest.fixture
def heard(model, monkeypatch):
    """A function that gives the waveform that the encoder hears in Model.generate's place."""
    waveforms = []

    def posterior(rows):
        waveforms.append(rows[0])
        return np.zeros((1, 4)), np.zeros((1, 4))

    monkeypatch.setattr(model, "posterior", posterior)
    monkeypatch.setattr(model, "decode", lambda z, **_: z)

    def hear(imitation, rate_hz=RATE_HZ) -> np.ndarray:
        model.generate(imitation, rate_hz)
        return waveforms.pop()

    return hear


@pytest.mark.parametrize(
    "imitation",
    [
        HUM[None],
        HUM[:, None],
        np.stack([HUM, HUM]),
        np.stack([HUM, HUM], axis=1),
        np.stack([1.5 * HUM, 0.5 * HUM]),
        np.stack([HUM] * 8),
        HUM_16,
        np.stack([HUM_16, HUM_16]),
        HUM_16.astype(">i2"),
        HUM_16.astype(np.int32) << 16,
        (HUM_16 // 256 + 128).astype(np.uint8),
        (HUM_16 // 256).astype(np.int8),
        HUM.astype(np.float64),
        HUM.astype(np.float16),
        HUM.astype(">f4"),
        jnp.asarray(HUM),
        jnp.asarray(HUM, jnp.bfloat16),
        HUM.tolist(),
        np.asfortranarray(np.stack([HUM, HUM], axis=1)),
        np.repeat(HUM, 2)[::2],
        np.ma.masked_array(HUM),
    ],
    ids=lambda given: f"{type(given).__name__} {getattr(given, 'dtype', '')} {np.shape(given)}",
)
def test_arrays_of_other_libraries_are_the_same_sound(heard, imitation):
    # 8 bits and bfloat16 have steps of 2^-8.
    np.testing.assert_allclose(heard(imitation), HUM, atol=2**-7)


@pytest.mark.parametrize("rate_hz", [RATE_HZ, float(RATE_HZ), np.int64(RATE_HZ), np.array(32e3)])
def test_rates_of_any_kind_of_number(heard, rate_hz):
    np.testing.assert_array_equal(heard(HUM, rate_hz), HUM)


def test_channels_that_cancel_each_other_are_warned_of(heard):
    for imitation in (np.stack([HUM, -HUM]), np.stack([HUM, -HUM], axis=1)):
        with pytest.warns(Notice, match="the channels of the imitation cancel each other"):
            heard(imitation)


class Tensor:
    """Another library's array, which NumPy takes by asking for it."""

    def __init__(self, samples: np.ndarray | None):
        self._samples = samples

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self._samples is None:
            raise RuntimeError("It is on a device. Call cpu() first.\nThen again.")
        return self._samples


def test_another_librarys_tensor_is_the_same_sound_or_its_reason_is_told(heard):
    np.testing.assert_array_equal(heard(Tensor(HUM[None])), HUM)
    with pytest.raises(UserError, match=r"numbers \(It is on a device: Call cpu\(\) first\): give"):
        heard(Tensor(None))


@pytest.mark.parametrize(
    ("imitation", "message"),
    [
        (HUM[None, None], r"of shape \(1, 1, 32000\)"),
        (np.stack([HUM] * 9), r"of shape \(9, 32000\)"),
        (np.zeros((8, 8)), r"of shape \(8, 8\)"),
        (np.zeros((300, 400)), r"of shape \(300, 400\)"),
        (np.zeros((0, 2)), "at least one sample"),
        (np.float32(0.5), r"of shape \(\)"),
        (HUM > 0, "of type bool"),
        (HUM + 1j, "of type complex64"),
        (HUM_16.astype(np.int64), "of type int64"),
        (HUM_16.astype(np.int32), "of type int32 with values of 16 bits"),
        (HUM_16.astype(np.uint16), "of type uint16"),
        ([0, 300, -300], "of type int64"),
        (HUM.astype(object), "of type object"),
        ({"array": HUM, "sampling_rate": RATE_HZ}, "of type object"),
        ((HUM, RATE_HZ), "no rate with it"),  # as librosa and soundfile give them
        ((RATE_HZ, HUM_16), "no rate with it"),  # as scipy does
        ([HUM[:9], HUM[:8]], "cannot be made an array"),
        ("hum.wav", "a text or a path"),
        (pathlib.Path("hum.wav"), "a text or a path"),
        (None, "of type object"),
        (HUM_16.astype(np.float32), "goes beyond 10, where 1 is full scale"),
        (HUM_16.astype(np.float64)[None], "goes beyond 10, where 1 is full scale"),
        (np.array([0.1, 1e300]), "goes beyond 10|not finite"),
        (np.array([0.1, np.nan]), "not finite"),
        (np.ma.masked_less(HUM, 0), "masked samples"),
    ],
)
def test_what_is_not_clearly_a_sound_is_refused_in_one_line(heard, imitation, message):
    with pytest.raises(UserError, match=message) as raised:
        heard(imitation)
    assert "\n" not in str(raised.value) and ". " not in str(raised.value)


@pytest.mark.parametrize(
    "rate_hz",
    [0, -1, 999, 3_000_000, np.nan, np.inf, "44100", None, True, [44_100], HUM, 1j, b"1", object()],
    ids=lambda rate: type(rate).__name__,
)
def test_what_is_no_rate_is_refused_in_one_line(heard, rate_hz):
    with pytest.raises(
        UserError, match="^sample_rate_hz is .*: give the imitation's rate"
    ) as raised:
        heard(HUM, rate_hz)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


def test_loading_what_is_no_model(tmp_path):
    with pytest.raises(UserError, match="holds no config.json, so it is no model"):
        qvae_jax.load(tmp_path)


def test_generating_prints_nothing(model, capsys):
    assert model.generate(np.ones(800) / 9, 8_000).shape == (59_049,)
    assert capsys.readouterr() == ("", "")


# --- Steered models


@pytest.fixture(scope="module")
def steered(tmp_path_factory) -> Model:
    return qvae_jax.load(steered_model.write(tmp_path_factory.mktemp("steered") / "model"))


def test_a_steered_model_follows_the_imitation(steered):
    second = HUM[::2]  # at 16 kHz
    late = np.concatenate([np.zeros(8_000, np.float32), second])
    sound = steered.generate(late, 16_000, seed=3)
    assert sound.dtype == np.float32 and len(sound) % 243 == 0
    assert len(sound) / 22_050 == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(steered.generate(late, 16_000, seed=3), sound)
    assert np.abs(steered.generate(late, 16_000, seed=4) - sound).max() > 1e-4, "its noise"


def test_without_curves_of_the_imitation_a_steered_model_makes_its_own_sound(steered):
    jax.clear_caches()  # of what other tests have had compiled otherwise
    with compiling.with_optimisation():  # two programs then round alike
        found = steered.generate(HUM, RATE_HZ, steer="none", seed=3)
        mu, _ = steered.posterior(HUM[None])
        np.testing.assert_allclose(found, steered.decode(mu, seeds=[[3, 1]])[0], atol=1e-6)
        curves, _ = steered.gesture(mu)
        np.testing.assert_allclose(found, steered.render(mu, curves, seeds=[[3, 1]])[0], atol=1e-6)


def test_a_sound_depends_on_neither_its_neighbours_nor_its_bucket(steered):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 4)).astype(np.float32)
    curves = [
        (np.array([-20, 80, 60, 0.7]) + rng.standard_normal((n, 4)) * [5, 3, 1, 0.2])
        for n in (40, 300)
    ]
    seeds = np.array([[0, 1], [0, 2]])
    together = steered.render(z, curves, seeds=seeds)
    assert [len(sound) for sound in together] == [40 * 243, 300 * 243]
    [alone] = steered.render(z[:1], curves[:1], seeds=seeds[:1])
    np.testing.assert_allclose(together[0], alone, atol=1e-6)


@pytest.mark.parametrize("steer", ["none", "pitch"])
def test_a_model_that_is_not_steered_takes_no_steer(model, steer):
    with pytest.raises(UserError, match="--steer is for a model of type 'steered'"):
        model.generate(HUM, RATE_HZ, steer=steer)


def test_what_does_not_steer_is_refused(steered):
    with pytest.raises(UserError, match="--steer is 'loud': set it to none, or to any of"):
        steered.generate(HUM, RATE_HZ, steer="loud")
