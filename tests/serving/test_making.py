"""Sounds of orders: those that --mode=generate writes of the same samples, to 1e-4."""

import numpy as np
import pytest
import soundfile

import small_run
import steered_model
from qvae_jax.audio import windows
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.generation import curve_file
from qvae_jax.generation.neighbours import encoders_of
from qvae_jax.generation.requests import Finish, LatentRequest
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.modes.generate import generate
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.retrieval.encoders import Encoder
from qvae_jax.retrieval.finding import Library
from qvae_jax.retrieval.index import indexed
from qvae_jax.serving.making import Maker
from qvae_jax.serving.orders import order_of
from qvae_jax.system import caches
from qvae_jax.system.errors import UserError

RATE_HZ = 48_000


def hum(seconds: float = 0.7, hz: float = 180.0) -> np.ndarray:
    """A hum that rises, after a moment of silence."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    tone = 0.4 * np.sin(2 * np.pi * (hz + 60 * time_s) * time_s)
    return np.where(time_s < 0.08, 0.0, tone).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("making")
    steered_model.write(folder / "steered")
    write_wav(folder / "hum.wav", hum(), RATE_HZ)
    write_wav(folder / "like.wav", hum(hz=420.0), RATE_HZ)
    return folder


@pytest.fixture(scope="module")
def maker(folder):
    return Maker(steered_model.model(), folder)


def made(maker, folder, sounds_like=None, curves=None, **parameters):
    sent = {"imitation": (folder / "hum.wav").read_bytes()}
    if sounds_like is not None:
        sent["sounds_like"] = sounds_like.read_bytes()
    if curves is not None:
        sent["curves"] = curves.read_bytes()
    return maker.make(order_of([(name, str(value)) for name, value in parameters.items()], sent))


CASES = {
    "as it is": {},
    "variations": {"variations": 2, "temperature": 0.8, "seed": 5},
    "shaped": {"transpose": -5.0, "smoothing_ms": 80.0, "duration": "0.5"},
    "partly steered": {"steer": "loudness", "duration": "natural"},
    "not steered": {"steer": "none", "sample_rate_hz": 44_100},
    "like another": {"sounds_like": "like.wav"},
    "drawn": {"curves": "drawn.csv", "transpose": 2.0},
}


def requests_of(case: dict) -> list:
    """The same case as the requests of --mode=generate."""
    kinds = (LatentRequest, SteerRequest, Finish)
    return [
        kind(**{name: value for name, value in case.items() if name in kind.__dataclass_fields__})
        for kind in kinds
    ]


@pytest.mark.parametrize("name", CASES)
def test_sounds_and_curves_are_those_of_generate(folder, maker, tmp_path, name):
    case = CASES[name]
    if "curves" in case:
        drawn = np.tile(np.array([-20.0, 83.0, 57.0, 0.9], np.float32), (40, 1))
        curve_file.write(folder / "drawn.csv", drawn)
    files = {key: folder / case[key] for key in ("sounds_like", "curves") if key in case}
    latents, steering, finish = requests_of(case | {k: str(v) for k, v in files.items()})
    generate(
        GenerateRequest(
            checkpoint=str(folder / "steered"),
            inputs=str(folder / "hum.wav"),
            output_dir=str(tmp_path / "out"),
            latents=latents,
            steering=steering,
            finish=finish,
        )
    )
    flags = {"smoothing_ms": "steer_smoothing_ms", "sample_rate_hz": "sample_rate"}
    given = {flags.get(key, key): value for key, value in case.items() if key not in files}
    answer = made(maker, folder, **files, **given)
    written = sorted((tmp_path / "out").glob("*_generated.wav"))
    assert len(answer.sounds) == len(answer.curves) == len(written)
    for samples, curves, path in zip(answer.sounds, answer.curves, written):
        expected, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == answer.finish.sample_rate_hz
        np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-4)
        table = path.with_name(path.name.replace("_generated.wav", "_curves.csv"))
        np.testing.assert_allclose(curves, curve_file.read(table), rtol=0, atol=1e-4)


@pytest.mark.parametrize("sounds_like", [None, "like.wav"])
def test_of_two_encoders_each_hears_its_own(folder, sounds_like):
    two = steered_model.model(steered_model.TWO_ENCODERS)
    one = steered_model.of_one_encoder(two, sounds=sounds_like is not None)
    files = {} if sounds_like is None else {"sounds_like": folder / sounds_like}
    found, expected = (made(Maker(model, folder), folder, **files) for model in (two, one))
    np.testing.assert_array_equal(found.sounds[0], expected.sounds[0])


def test_a_model_that_nothing_steers_makes_its_sound_and_refuses_curves(tmp_path, frozen_run):
    from qvae_jax.generation.model import load_model

    write_wav(tmp_path / "hum.wav", hum(), small_run.SAMPLE_RATE_HZ)
    model = load_model(workdir=str(frozen_run))
    plain = Maker(model, tmp_path)
    assert list(plain.warm_up()) == [model.config.num_samples / model.sample_rate_hz]
    answer = made(plain, tmp_path)
    heard = read_audio(tmp_path / "hum.wav", small_run.SAMPLE_RATE_HZ)
    expected = model.generate(heard, small_run.SAMPLE_RATE_HZ)
    np.testing.assert_allclose(answer.sounds[0], expected, rtol=0, atol=1e-4)
    assert answer.curves is None
    with pytest.raises(UserError, match="^transpose is for a model of type 'steered'"):
        made(plain, tmp_path, transpose=3)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"imitation": b"hello"}, "The imitation is a text instead of a sound"),
        ({"imitation": b"\0" * 4_000}, "The imitation is blank"),
        ({"sounds_like": b"PK\x03\x04 and so on"}, "The sound for sounds_like is an archive"),
        (
            {"curves": b"time_s,loudness_db\n0,1\n"},
            "The first line of the table of curves does not name",
        ),
        ({"curves": b"\xff\xfe\xff"}, "The table of curves cannot be read as a table"),
    ],
)
def test_what_cannot_be_read_is_told_without_the_path_of_any_file(folder, maker, sent, said):
    whole = {"imitation": (folder / "hum.wav").read_bytes()} | sent
    with pytest.raises(UserError, match=said) as told:
        maker.make(order_of([], whole))
    assert str(folder) not in str(told.value)


def test_a_silent_recording_is_noted_and_a_silent_timbre_refused(folder, maker, tmp_path):
    write_wav(tmp_path / "hum.wav", np.zeros(RATE_HZ // 2), RATE_HZ)
    answer = made(maker, tmp_path)
    assert answer.notes == ["The recording is silent where it is heard."]
    with pytest.raises(UserError, match="sounds_like is silent"):
        made(maker, folder, sounds_like=tmp_path / "hum.wav")


def test_what_is_odd_in_a_recording_becomes_a_note(folder, maker, tmp_path):
    write_wav(tmp_path / "hum.wav", 300 * hum(), RATE_HZ)
    [note] = made(maker, tmp_path).notes
    assert note.startswith("The imitation goes beyond 10") and str(folder) not in note


def test_a_recording_of_many_minutes_is_refused_before_it_is_decoded(maker, monkeypatch, tmp_path):
    path = tmp_path / "hum.wav"
    soundfile.write(path, np.zeros(601 * 8_000, np.int16), 8_000, subtype="PCM_U8")
    decoded = []
    monkeypatch.setattr(windows, "read_at_rates", lambda *which: decoded.append(which))
    with pytest.raises(UserError, match="The imitation lasts 601 s: send 600 s at most"):
        made(maker, tmp_path)
    assert decoded == []


# --- With a library


@pytest.fixture
def beside_a_library(folder, tmp_path, monkeypatch):
    """A maker whose library has two sounds, one of them the imitation itself."""
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path / "cache"))
    write_wav(tmp_path / "library" / "same.wav", hum(), RATE_HZ)
    write_wav(tmp_path / "library" / "high.wav", hum(hz=3_000.0), RATE_HZ)
    model = steered_model.model()
    hearing, _ = encoders_of(model)
    library = Library(indexed(tmp_path / "library", hearing.reference), hearing)
    return Maker(model, folder, library)


def test_the_librarys_sounds_are_ranked_and_lend_their_timbre(folder, beside_a_library, tmp_path):
    sent = {"imitation": (folder / "hum.wav").read_bytes()}
    found = beside_a_library.nearest(order_of([], sent))
    assert [one.name for one in found.found] == ["same.wav", "high.wav"] and found.unlike is None
    assert found.found[0].similarity == pytest.approx(1.0, abs=1e-4)
    plain, like_second = made(beside_a_library, folder), made(beside_a_library, folder, nearest=2)
    expected = made(beside_a_library, folder, tmp_path / "library" / "high.wav")
    np.testing.assert_allclose(like_second.sounds[0], expected.sounds[0], rtol=0, atol=1e-4)
    assert np.abs(like_second.sounds[0] - plain.sounds[0]).max() > 1e-4


def test_a_recording_is_heard_by_the_program_that_is_compiled(
    folder, beside_a_library, monkeypatch
):
    lengths, embed = [], Encoder.embed

    def noted(self, waveforms, *arguments, **options):
        lengths.extend(map(len, waveforms))
        return embed(self, waveforms, *arguments, **options)

    monkeypatch.setattr(Encoder, "embed", noted)
    list(beside_a_library.warm_up())
    beside_a_library.nearest(order_of([], {"imitation": (folder / "hum.wav").read_bytes()}))
    assert lengths == [steered_model.CONFIG.front_end.num_samples] * 2


def test_a_sound_that_the_library_has_not_or_no_more_is_told_without_its_path(
    folder, beside_a_library, tmp_path
):
    with pytest.raises(UserError, match="^nearest is 3: the library has 2 sounds"):
        made(beside_a_library, folder, nearest=3)
    (tmp_path / "library" / "high.wav").unlink()
    with pytest.raises(UserError, match="^high.wav of the library cannot be read any more.$"):
        made(beside_a_library, folder, nearest=2)


def test_without_a_library_nothing_is_near(folder, maker):
    with pytest.raises(UserError, match="start it with --library=FOLDER"):
        made(maker, folder, nearest=1)
