"""Parts of long files: the loudest window against a search of all, and what is read of it."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio import files, windows
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.audio.opening import opened as audio_opened
from qvae_jax.system.errors import UserError


def loudest_by_search(samples: np.ndarray, rate_hz: int, window_s: float) -> float:
    hop, length = round(0.1 * rate_hz), round(window_s * rate_hz)
    starts = range(0, max(1, len(samples) - length + hop), hop)
    return max(starts, key=lambda start: np.sum(samples[start : start + length] ** 2)) / rate_hz


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    levels=st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0]), min_size=1, max_size=40),
    tail=st.integers(0, 99),
)
def test_the_loudest_window_is_that_of_a_search(tmp_path_factory, levels, tail):
    rng = np.random.default_rng(len(levels))
    # Pieces of 0.1 s at 1 kHz, so that nearly every window has another energy.
    samples = np.repeat(levels, 100) * rng.uniform(0.5, 1.0, 100 * len(levels))
    samples = np.concatenate([samples, np.zeros(tail)]).astype(np.float32)
    path = tmp_path_factory.mktemp("w") / "x.wav"
    soundfile.write(path, samples, 1_000, subtype="FLOAT")
    energy = lambda start: np.sum(samples[round(start * 1_000) :][:1_000].astype(np.float64) ** 2)
    found = windows.loudest_start_s(path, 1.0)
    best = energy(loudest_by_search(samples.astype(np.float64), 1_000, 1.0))
    assert energy(found) == pytest.approx(best, rel=1e-6)


def test_blocks_do_not_show(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).standard_normal((30_000, 2)) / 10
    soundfile.write(tmp_path / "x.wav", samples, 1_000, subtype="FLOAT")
    found = windows.loudest_start_s(tmp_path / "x.wav", 2.0)
    monkeypatch.setattr(windows, "HOPS_PER_BLOCK", 3)
    assert windows.loudest_start_s(tmp_path / "x.wav", 2.0) == found
    assert found == loudest_by_search(samples.mean(axis=1), 1_000, 2.0)


def test_a_window_is_what_a_cut_file_holds(tmp_path):
    samples = np.random.default_rng(0).standard_normal((44_100 * 3, 2)) / 10
    soundfile.write(tmp_path / "x.flac", samples, 44_100, subtype="PCM_24")
    part = soundfile.read(tmp_path / "x.flac")[0][44_100 : 2 * 44_100]
    soundfile.write(tmp_path / "cut.wav", part, 44_100, subtype="DOUBLE")
    found = windows.read_window(tmp_path / "x.flac", 32_000, start_s=1.0, window_s=1.0)
    np.testing.assert_allclose(found, read_audio(tmp_path / "cut.wav", 32_000), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 32_000, 44_100])
@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_window_is_bit_for_bit_that_of_a_file_cut_there(tmp_path, rate_hz, num_channels, subtype):
    shape = (rate_hz * 3, num_channels)
    samples = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate_hz, subtype=subtype)
    found = windows.read_window(tmp_path / "x.wav", 32_000, start_s=1.0, window_s=1.5)
    # As a window was read when it still went by way of a file.
    part = soundfile.read(tmp_path / "x.wav", dtype="float32", always_2d=True)[0]
    part = part[rate_hz : rate_hz + round(1.5 * rate_hz)]
    write_wav(tmp_path / "cut.wav", part.mean(axis=1), rate_hz)
    expected = read_audio(tmp_path / "cut.wav", 32_000, max_duration_s=1.5)
    assert found.dtype == np.float32 and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_in_a_window_is_refused_by_the_files_name(tmp_path, value):
    samples = np.zeros((3_000, 2), np.float32)
    samples[1_500] = value
    soundfile.write(tmp_path / "x.wav", samples, 1_000, subtype="FLOAT")
    windows.read_window(tmp_path / "x.wav", 2_000, start_s=2.0, window_s=1.0)
    with pytest.raises(UserError, match="x.wav holds samples that are not finite"):
        windows.read_window(tmp_path / "x.wav", 2_000, start_s=1.0, window_s=1.0)


def test_a_window_behind_the_end_is_refused(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.ones(3_000) / 9, 1_000)
    with pytest.raises(UserError, match="x.wav holds no sound from 3 s on"):
        windows.read_window(tmp_path / "x.wav", 2_000, start_s=3.0, window_s=1.0)


def test_a_window_at_the_start_is_read_as_ever(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.ones(3_000) / 9, 1_000)
    found = windows.read_window(tmp_path / "x.wav", 2_000, start_s=0.0, window_s=1.0)
    expected = read_audio(tmp_path / "x.wav", 2_000, max_duration_s=1.0)
    np.testing.assert_array_equal(found, expected)
    assert windows.duration_s(tmp_path / "x.wav") == 3


def test_samples_that_a_file_only_promises_are_not_heard(tmp_path, monkeypatch):
    """An MP3 without a length tag promises a few more than it holds."""
    sound = io.BytesIO()
    noise = np.random.default_rng(0).standard_normal(44_100) * np.linspace(0.1, 0.01, 44_100)
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    soundfile.write(sound, noise, 44_100, compression_level=0.3, **how)
    content = sound.getvalue()
    path = tmp_path / "x.mp3"
    path.write_bytes(content[content.index(content[:2], 100) :])
    filled = lambda shape, dtype=float, **_: np.full(shape, 1e9, dtype)
    monkeypatch.setattr(np, "empty", filled)  # as what was in memory before may be anything
    assert windows.loudest_start_s(path, 0.2) == 0
    with soundfile.SoundFile(path) as source:
        assert source.frames > len(source.read())


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    noise = np.random.default_rng(0).standard_normal(200_000) / 10
    soundfile.write(tmp_path / "x.flac", noise, 8_000)
    content = (tmp_path / "x.flac").read_bytes()
    (tmp_path / "x.flac").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="x.flac") as raised:
        windows.loudest_start_s(tmp_path / "x.flac", 10.0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"words", None])
def test_what_is_no_sound_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "x.wav").write_bytes(content)
    for look in (windows.duration_s, lambda path: windows.loudest_start_s(path, 1.0)):
        with pytest.raises(UserError, match="x.wav (is a text|is empty|does not exist)"):
            look(tmp_path / "x.wav")


def test_a_sound_is_a_file_or_a_part_of_one(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(windows.read_sound(path, 8_000), read_audio(path, 8_000))
    part = windows.Window(path, start_s=1.5, duration_s=1.0)
    np.testing.assert_array_equal(windows.read_sound(part, 16_000), samples[24_000:].astype("f4"))
    assert len(windows.read_sound(part, 16_000, max_duration_s=0.25)) == 4_000
    first = windows.Window(path, start_s=0.0, duration_s=0.5)
    assert len(windows.read_sound(first, 16_000, max_duration_s=10.0)) == 8_000
    assert (windows.file_of(part), windows.file_of(path)) == (path, path)
    assert (part.name, str(part)) == ("x.wav from 1.50 s", f"{path} from 1.50 s")


@pytest.mark.parametrize("part", ["whole", "window", "from 0"])
def test_what_is_read_at_several_rates_is_what_is_read_at_each(tmp_path, part, monkeypatch):
    samples = np.random.default_rng(0).standard_normal((44_100 * 3, 2)) / 10
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 44_100, subtype="FLOAT")
    starts = {"window": 0.5, "from 0": 0.0}
    sound = path if part == "whole" else windows.Window(path, starts[part], 2.2)
    wanted = [(32_000, 1.0), (22_050, 60.0), (44_100, 0.1)]
    expected = [windows.read_sound(sound, rate, max_duration_s=s) for rate, s in wanted]
    opened = []
    monkeypatch.setattr(windows, "opened", lambda path: opened.append(path) or audio_opened(path))
    monkeypatch.setattr(files, "opened", lambda path: opened.append(path) or audio_opened(path))
    found = windows.read_at_rates(sound, wanted)
    assert opened == [path]
    for one, other in zip(found, expected, strict=True):
        assert one.tobytes() == other.tobytes()
