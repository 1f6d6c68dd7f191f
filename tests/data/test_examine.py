"""What reading a file to its end shows."""

import pathlib
import tracemalloc

import numpy as np
import pytest
import soundfile

import dying_reader
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.data import processes
from qvae_jax.data.examine import CRASHED, Examination, examine, examine_all
from qvae_jax.system.errors import UserError

RATE_HZ = 16_000


def noise(num_frames: int = 3_000, num_channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((num_frames, num_channels))


def written(
    path: pathlib.Path, samples: np.ndarray, rate_hz: int = RATE_HZ, **options
) -> pathlib.Path:
    soundfile.write(path, samples, rate_hz, **options)
    return path


def test_what_a_sound_file_shows(tmp_path):
    samples = np.zeros((70_000, 3))  # more than two blocks
    samples[69_999, 2] = -0.5
    found = examine(written(tmp_path / "a.wav", samples, 22_050, subtype="PCM_24"))
    assert found.fault is None and found.is_finite and found.clipped_share == 0
    assert (found.num_channels, found.sample_rate_hz, found.peak) == (3, 22_050, 0.5)
    assert found.swing == 0.25  # from -0.5 to 0
    assert found.encoding == "WAV PCM_24"
    assert found.duration_s == pytest.approx(70_000 / 22_050)


@pytest.mark.parametrize("content", [b"", b"not audio" * 99, None])
def test_what_cannot_be_read_has_the_readers_message(tmp_path, content):
    path = tmp_path / "a.wav"
    if content is None:
        content = written(path, noise()).read_bytes()[:-1000]
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_audio(path, RATE_HZ)
    assert examine(path) == Examination(fault=str(caught.value))
    assert "does not exist" in examine(tmp_path / "absent.wav").fault


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e20])
@pytest.mark.parametrize("place", [0, 40_000])
def test_a_sample_that_is_not_finite_shows(tmp_path, value, place):
    samples = noise(50_000)
    samples[place] = value
    found = examine(written(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert not found.is_finite and found.fault is None and np.isfinite(found.peak)


@pytest.mark.parametrize(
    ("values", "num_clipped"),
    [
        ([1.0, 1.0, 1.0], 1),
        ([-1.0] * 10, 8),
        ([0.995] * 4, 2),
        ([1.0, 1.0, 0.0, 1.0], 0),
        ([1.0, -1.0] * 5, 0),
        ([0.98] * 10, 0),
        ([0.991, 0.992, 0.993, 0.994], 0),
    ],
)
@pytest.mark.parametrize("start", [0, 100, 2**15 - 2, 2**15 - 1])  # over the border of a block too
@pytest.mark.parametrize("num_channels", [1, 2])
def test_clipping_is_a_flat_top_at_full_scale(tmp_path, values, num_clipped, start, num_channels):
    samples = noise(40_000, num_channels).clip(-0.9, 0.9)
    samples[start : start + len(values), num_channels - 1] = values
    found = examine(written(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert found.clipped_share == pytest.approx(num_clipped / samples.size)


@pytest.mark.parametrize(
    ("subtype", "frequency_hz"), [("PCM_16", 50), ("PCM_24", 50), ("PCM_U8", 900)]
)
def test_a_loud_tone_is_not_clipped(tmp_path, subtype, frequency_hz):
    tone = 0.9999 * np.sin(2 * np.pi * frequency_hz * np.arange(RATE_HZ) / RATE_HZ)
    clipped = (1.2 * tone).clip(-1, 1)
    assert examine(written(tmp_path / "a.wav", tone, subtype=subtype)).clipped_share < 1e-3
    assert examine(written(tmp_path / "b.wav", clipped, subtype=subtype)).clipped_share > 0.1


@pytest.mark.parametrize(
    ("second", "is_cancelled"), [(-1, True), (-0.5, False), (1, False), (0, False)]
)
def test_channels_that_cancel_each_other_show(tmp_path, second, is_cancelled):
    samples = noise(70_000) * [1, second]
    found = examine(written(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert found.is_cancelled == is_cancelled
    samples[:40_000] = 0.2  # a block in which they do not
    assert not examine(written(tmp_path / "b.wav", samples, subtype="FLOAT")).is_cancelled


def test_the_digest_is_of_the_sound_not_of_the_file(tmp_path):
    samples = (2**15 * noise()).astype(np.int16)
    same = [written(tmp_path / name, samples) for name in ("a.wav", "b.flac", "c.aiff")]
    other = [
        written(tmp_path / "d.wav", samples[::-1]),
        written(tmp_path / "e.wav", samples, 8_000),
        written(tmp_path / "f.wav", samples.reshape(-1, 2)),
        written(tmp_path / "g.wav", samples[1:]),
    ]
    assert len({path.read_bytes() for path in same}) == 3
    assert len({examine(path).sound_digest for path in same}) == 1
    assert len({examine(path).sound_digest for path in same + other}) == 5


def test_an_hour_is_read_in_little_memory(tmp_path):
    path = tmp_path / "hour.wav"
    num_frames = 3_600 * 8_000
    with soundfile.SoundFile(path, "w", 8_000, 1, subtype="PCM_U8") as file:
        for _ in range(100):
            file.write(np.zeros(num_frames // 100, np.float32))
    examine(path)  # whatever is loaded once
    tracemalloc.start()
    found = examine(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.duration_s == 3_600
    assert peak_bytes < 4e6 < num_frames  # even its bytes are more


@pytest.mark.parametrize("num_processes", [1, None])
def test_results_come_in_order(tmp_path, num_processes):
    for number in range(40):
        write_wav(tmp_path / f"{number}.wav", noise(100 + number)[:, 0], RATE_HZ)
    paths = [tmp_path / f"{number}.wav" for number in range(40)] + [tmp_path / "absent.wav"]
    results = list(examine_all(paths, num_processes=num_processes))
    assert results == [examine(path) for path in paths]


@pytest.mark.parametrize(("num_processes", "dying"), [(1, [0, 59]), (2, [30]), (2, [0, 1, 59])])
def test_a_process_that_dies_costs_only_the_file_it_died_at(num_processes, dying, capfd):
    names = [f"dies{n}" if n in dying else f"file{n}" for n in range(60)]
    results = examine_all(
        [pathlib.Path(name) for name in names],
        num_processes=num_processes,
        examine_file=dying_reader.read,
    )
    expected = [
        Examination(fault=CRASHED) if name.startswith("dies") else Examination(encoding=name)
        for name in names
    ]
    assert list(results) == expected
    assert capfd.readouterr().err == ""


def test_where_no_process_can_be_started_it_says_so(monkeypatch):
    monkeypatch.setattr(processes, "_START", "raise SystemExit(1)")
    with pytest.raises(UserError, match="no process can be started"):
        list(examine_all([pathlib.Path("a")], num_processes=1))


def test_no_files_need_no_process():
    assert list(examine_all([])) == []
