import io
import os
import struct

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.audio.files import (
    fit_length,
    open_audio,
    read_audio,
    read_native,
    write_wav,
)
from qvae_jax.system.errors import UserError

# format, subtype, the rates it can hold
CONTAINERS = [
    ("WAV", "PCM_U8", (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000)),
    ("WAV", "PCM_16", (1_000, 8_000, 22_050, 44_100, 48_000)),
    ("WAV", "PCM_24", (16_000, 44_101)),
    ("WAV", "FLOAT", (32_000, 44_100)),
    ("WAV", "DOUBLE", (22_050, 48_000)),
    ("WAV", "ULAW", (8_000,)),
    ("WAV", "IMA_ADPCM", (16_000, 44_100)),
    ("WAVEX", "PCM_32", (44_100,)),
    ("RF64", "PCM_16", (44_100,)),
    ("AIFF", "PCM_16", (22_050, 44_100)),
    ("AU", "PCM_16", (8_000, 44_100)),
    ("CAF", "ALAC_16", (44_100,)),
    ("FLAC", "PCM_16", (32_000, 44_100, 96_000)),
    ("FLAC", "PCM_24", (48_000,)),
    ("OGG", "VORBIS", (22_050, 44_100, 48_000)),
    ("OGG", "OPUS", (48_000,)),
    ("MP3", "MPEG_LAYER_III", (16_000, 44_100, 48_000)),
]


def _noise(num_frames: int, num_channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((num_frames, num_channels))
    return (0.1 * noise).astype(np.float32)


def _encoded(samples, rate_hz=44_100, container="WAV", subtype="PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate_hz, format=container, subtype=subtype)
    return stream.getvalue()


def _librosa_load(path, sample_rate_hz):
    return librosa.load(path, sr=sample_rate_hz, mono=True, res_type="soxr_hq")[0]


@pytest.mark.parametrize("sample_rate_hz", [32_000, 22_050])
@pytest.mark.parametrize(
    ("container", "subtype", "rate_hz"),
    [(container, subtype, rate) for container, subtype, rates in CONTAINERS for rate in rates],
)
def test_read_audio_equals_librosa_and_a_prefix_equals_the_whole(
    tmp_path, container, subtype, rate_hz, sample_rate_hz
):
    path = tmp_path / "sound"
    num_channels = 1 if subtype == "ULAW" else 2
    # Longer than one second by more than the margin that is read for the resampler, at any rate.
    num_frames = 2 * rate_hz + 12_345
    path.write_bytes(_encoded(_noise(num_frames, num_channels), rate_hz, container, subtype))
    whole = read_audio(path, sample_rate_hz)
    expected = _librosa_load(path, sample_rate_hz)
    assert whole.dtype == np.float32 and whole.shape == expected.shape
    np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-6)
    prefix = read_audio(path, sample_rate_hz, max_duration_s=0.5)
    assert prefix.shape == (sample_rate_hz // 2,)
    np.testing.assert_allclose(prefix, whole[: len(prefix)], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::qvae_jax.system.errors.Notice")
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    container=st.sampled_from(CONTAINERS),
    rate_index=st.integers(0, 8),
    num_frames=st.integers(1, 3_000),
    num_channels=st.sampled_from([1, 2, 3, 6]),
    sample_rate_hz=st.sampled_from([8_000, 22_050, 32_000]),
    max_duration_s=st.none() | st.floats(0.001, 0.1),
)
def test_read_audio_of_any_length_and_channels(
    tmp_path_factory,
    container,
    rate_index,
    num_frames,
    num_channels,
    sample_rate_hz,
    max_duration_s,
):
    name, subtype, rates = container
    if subtype in ("MPEG_LAYER_III", "IMA_ADPCM"):
        num_channels = min(num_channels, 2)
    path = tmp_path_factory.mktemp("any") / "sound"
    content = _encoded(
        _noise(num_frames, num_channels), rates[rate_index % len(rates)], name, subtype
    )
    path.write_bytes(content)
    expected = _librosa_load(path, sample_rate_hz)
    if max_duration_s is not None:
        expected = expected[: round(max_duration_s * sample_rate_hz)]
    samples = read_audio(path, sample_rate_hz, max_duration_s=max_duration_s)
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)


_SEED_FILES = {
    f"{name}-{subtype}": _encoded(_noise(3_000, 1), rates[-1], name, subtype)
    for name, subtype, rates in CONTAINERS
}


@pytest.mark.filterwarnings("ignore::qvae_jax.system.errors.Notice")
@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    content=st.sampled_from(sorted(_SEED_FILES)).map(_SEED_FILES.__getitem__),
    # Mostly in the first hundred bytes, where headers are.
    edits=st.lists(
        st.tuples(st.integers(0, 100) | st.integers(0), st.integers(0, 255)), max_size=6
    ),
    kept_share=st.just(1.0) | st.floats(0, 1),
    max_duration_s=st.sampled_from([None, 0.02, 10.0]),
)
def test_damaged_files_are_read_or_refused(
    tmp_path_factory, content, edits, kept_share, max_duration_s
):
    damaged = bytearray(content[: round(kept_share * len(content))])
    for position, value in edits:
        if damaged:
            damaged[position % len(damaged)] = value
    path = tmp_path_factory.mktemp("damaged") / "sound"
    path.write_bytes(damaged)
    try:
        samples = read_audio(path, 32_000, max_duration_s=max_duration_s)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert samples.dtype == np.float32 and samples.ndim == 1 and len(samples) > 0
        assert np.isfinite(samples).all()


# Frames that no two positions share, so that what is missing or misplaced shows.
_CHIRP = (0.5 * np.sin(np.arange(10_000) ** 2 / 20_000)).astype(np.float32)[:, None]
# name: container, subtype, rate in Hz, number of channels
_FORMATS = {
    "wav": ("WAV", "PCM_16", 44_100, 1),
    "wav 24": ("WAVEX", "PCM_24", 96_000, 7),
    "wav float": ("WAV", "FLOAT", 32_000, 1),
    "flac": ("FLAC", "PCM_16", 44_100, 1),
    "flac 24": ("FLAC", "PCM_24", 96_000, 2),
    "vorbis": ("OGG", "VORBIS", 44_100, 1),
    "opus": ("OGG", "OPUS", 48_000, 2),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100, 1),
    "mp3 stereo": ("MP3", "MPEG_LAYER_III", 16_000, 2),
}
_WHOLE_FILES = {
    name: _encoded(np.tile(_CHIRP, (1, num_channels)), rate_hz, container, subtype)
    for name, (container, subtype, rate_hz, num_channels) in _FORMATS.items()
}
_SOUND_STARTS = {"wav": 44, "wav 24": 80, "wav float": 80}  # after the header, at most


def _read_or_refused(path, content: bytes, rate_hz: int) -> np.ndarray | None:
    """The samples; None where the file is refused in one line that names it."""
    path.write_bytes(content)
    try:
        samples = read_audio(path, rate_hz)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None
    assert samples.dtype == np.float32 and samples.ndim == 1 and len(samples) > 0
    assert np.isfinite(samples).all()
    return samples


@settings(max_examples=500, deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(_WHOLE_FILES)), kept_share=st.floats(0, 0.99))
def test_every_truncated_file_is_refused(tmp_path_factory, name, kept_share):
    """But for an Ogg cut between two pages, which is then shorter and otherwise right."""
    path = tmp_path_factory.mktemp("cut") / "sound"
    whole, rate_hz = _WHOLE_FILES[name], _FORMATS[name][2]
    num_kept = int(kept_share * len(whole))
    samples = _read_or_refused(path, whole[:num_kept], rate_hz)
    if samples is not None:
        assert name in ("vorbis", "opus") and whole.startswith(b"OggS", num_kept)
        original = _read_or_refused(path, whole, rate_hz)
        np.testing.assert_array_equal(samples, original[: len(samples)])


@pytest.mark.filterwarnings("ignore::qvae_jax.system.errors.Notice")
@settings(max_examples=600, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(_WHOLE_FILES)),
    start=st.floats(0, 1),
    hole=st.binary(min_size=1, max_size=4) | st.integers(500, 4_000).map(bytes),
)
def test_files_with_other_bytes_in_them_are_read_right_or_refused(
    tmp_path_factory, name, start, hole
):
    """A few wrong bytes, or a hole of zeros as a download with gaps leaves it."""
    path = tmp_path_factory.mktemp("hole") / "sound"
    whole, rate_hz = _WHOLE_FILES[name], _FORMATS[name][2]
    at = int(start * (len(whole) - 1))
    end = min(len(whole), at + len(hole))
    damaged = whole[:at] + hole[: end - at] + whole[end:]
    samples = _read_or_refused(path, damaged, rate_hz)
    if samples is None:
        return
    original = _read_or_refused(path, whole, rate_hz)
    kind = name.split()[0]
    if kind in ("flac", "vorbis", "opus"):
        # Bits of a header that mean no sound, such as a tag's, may differ.
        np.testing.assert_array_equal(samples, original)
    elif kind == "mp3":
        # A frame has no checksum, and damage in it may reach into the next two, but no further.
        assert end - at < 1_200
        assert abs(len(samples) - len(original)) <= 3 * 1_152
        sounding = np.flatnonzero(np.concatenate([[1.0], samples, [1.0]]))
        assert np.diff(sounding).max() <= 3 * 1_152
    elif at >= _SOUND_STARTS[name]:
        # Other bytes are other samples, and the rest is as it was.
        assert len(samples) == len(original)
        assert np.count_nonzero(samples != original) <= len(hole) + 1


def _with_bytes(content: bytes, marker: bytes, offset: int, new: bytes) -> bytes:
    start = content.index(marker) + offset
    return content[:start] + new + content[start + len(new) :]


def _without_length_tag(mp3: bytes) -> bytes:
    """Drops the frame that tells an MP3 file's length."""
    return mp3[mp3.index(mp3[:2], 100) :]


_WAV = _encoded(_noise(4_000, 2))
_FLAC = _encoded(_noise(20_000), container="FLAC")
_MP3 = _encoded(_noise(44_100), container="MP3", subtype="MPEG_LAYER_III")
# Silence at first, so that the bit rate of the first frame says nothing of the rest.
_MP3_FAINT_START = _encoded(
    _noise(88_200) * np.repeat([1e-5, 1.0], 44_100)[:, None],
    container="MP3",
    subtype="MPEG_LAYER_III",
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"not audio at all\n" * 100, "is a text instead of a sound"),
        (_encoded(_noise(0)), "holds no samples"),
        (_WAV[:44], "holds no samples"),
        (_WAV[:30], "cannot be decoded"),
        (_WAV[: len(_WAV) // 2], "cut short"),
        (_encoded(_noise(4_000), container="AIFF")[:5_000], "cut short"),
        (_encoded(_noise(4_000), container="AU")[:5_000], "cut short"),
        (_FLAC[: len(_FLAC) // 2], "cannot be decoded"),
        (_FLAC[:-10], "cannot be decoded"),
        (_MP3[: len(_MP3) // 2], "cut short"),
        # STREAMINFO's count of samples: more than memory holds.
        (_with_bytes(_FLAC, b"fLaC", 21, b"\xff" * 5), "fits into memory|cannot be decoded"),
        (_with_bytes(_WAV, b"fmt ", 12, struct.pack("<I", 3)), "sample rate of 3 Hz"),
        (_encoded(np.array([0, np.nan, 0]), subtype="FLOAT"), "not finite"),
        (_encoded(np.array([0, np.inf, 0]), subtype="FLOAT"), "not finite"),
        (_encoded(np.array([0, 1e300, 0]), subtype="DOUBLE"), "not finite"),
        (_encoded(np.full((9, 2), 3e38), subtype="FLOAT"), "not finite"),
    ],
    # The bytes would be the name otherwise, and libsndfile puts the time of day among them.
    ids=lambda value: "file" if isinstance(value, bytes) else None,
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path, content, said):
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_audio(path, 32_000)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".") and "\n" not in message and ". " not in message


def _wav(samples: np.ndarray, rate_hz: int, bits: int, *, is_float=False, is_extensible=False):
    """A WAV file written by hand, after the format's description; samples [frames, channels]."""
    if is_float:
        data = samples.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = (samples + 128).astype(np.uint8).tobytes()  # the only unsigned one
    else:
        data = b"".join(
            int(value).to_bytes(bits // 8, "little", signed=True) for value in samples.flat
        )
    num_channels, tag = samples.shape[1], 3 if is_float else 1
    block = num_channels * bits // 8
    form = struct.pack(
        "<HHIIHH",
        0xFFFE if is_extensible else tag,
        num_channels,
        rate_hz,
        rate_hz * block,
        block,
        bits,
    )
    if is_extensible:
        identifier = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
        form += struct.pack("<HHI", 22, bits, 2**num_channels - 1) + identifier
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize("is_extensible", [False, True])
@pytest.mark.parametrize(("num_channels", "rate_hz"), [(1, 8_000), (2, 44_100), (7, 96_000)])
@pytest.mark.parametrize(
    ("bits", "is_float"),
    [(8, False), (16, False), (24, False), (32, False), (32, True), (64, True)],
)
def test_wav_files_written_by_hand_are_read_to_the_value(
    tmp_path, bits, is_float, num_channels, rate_hz, is_extensible
):
    generator = np.random.default_rng(bits)
    full_scale = 1.0 if is_float else 2.0 ** (bits - 1)
    written = generator.uniform(-full_scale, full_scale, (501, num_channels))
    written = written if is_float else np.floor(written)
    path = tmp_path / "sound.wav"
    path.write_bytes(_wav(written, rate_hz, bits, is_float=is_float, is_extensible=is_extensible))
    expected = (written / full_scale).mean(axis=1)
    np.testing.assert_allclose(read_audio(path, rate_hz), expected, rtol=0, atol=2e-7)


_HAND_WAV = _wav(np.arange(-500.0, 500.0).reshape(500, 2), 16_000, 16)


# Offsets in the header: 20 format, 22 channels, 24 rate, 32 bytes of a frame, 34 bits, 40 data.
@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (0, b"RIFX"),
        (8, b"WAVX"),
        (12, b"fmtX"),
        (20, b"\0\0"),
        (20, b"\x55\0"),  # MP3 in a WAV
        (22, b"\0\0"),
        (22, b"\1\0"),
        (22, b"\3\0"),
        (22, b"\xff\xff"),
        (24, bytes(4)),
        (24, b"\xff" * 4),
        (34, b"\0\0"),
        (34, b"\7\0"),
        (34, b"\x08\0"),
        (34, b"\x18\0"),  # as 24 bits in 32, which libsndfile takes for packed
        (34, b"\x80\0"),
        (36, b"datX"),
        (40, struct.pack("<I", 2_200)),
        (40, struct.pack("<I", 2**31 - 2**16)),
    ],
)
def test_wav_headers_that_make_no_sense_are_refused(tmp_path, offset, field):
    path = tmp_path / "sound.wav"
    content = _HAND_WAV[:offset] + field + _HAND_WAV[offset + len(field) :]
    assert _read_or_refused(path, _HAND_WAV, 16_000) is not None
    assert _read_or_refused(path, content, 16_000) is None


@pytest.mark.parametrize(
    ("offset", "field"),
    [(28, bytes(4)), (28, b"\1\2\3\4"), (32, b"\0\0"), (32, b"\6\0"), (34, b"\x0c\0")],
)
def test_wav_headers_with_one_field_that_does_not_matter_wrong_are_read(tmp_path, offset, field):
    path = tmp_path / "sound.wav"
    content = _HAND_WAV[:offset] + field + _HAND_WAV[offset + len(field) :]
    expected = _read_or_refused(path, _HAND_WAV, 16_000)
    np.testing.assert_array_equal(_read_or_refused(path, content, 16_000), expected)


@pytest.mark.filterwarnings("ignore::qvae_jax.system.errors.Notice")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e9, -1e30])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("num_channels", [1, 7])
def test_one_impossible_float_is_enough(tmp_path, value, bits, num_channels):
    samples = np.zeros((5_000, num_channels))
    samples[4_000, num_channels // 2] = value * num_channels
    path = tmp_path / "sound.wav"
    path.write_bytes(_wav(samples, 44_100, bits, is_float=True))
    for rate_hz in (44_100, 32_000):
        with pytest.raises(UserError, match="not finite"):
            read_audio(path, rate_hz)
    samples[4_000] = 32_768.0  # integers stored as floats are loud, but sound
    path.write_bytes(_wav(samples, 44_100, bits, is_float=True))
    assert read_audio(path, 44_100).max() == 32_768.0


@pytest.mark.parametrize("name", _FORMATS)
def test_a_file_in_blocks_is_the_same_sound(tmp_path, name):
    container, subtype, rate_hz, num_channels = _FORMATS[name]
    path = tmp_path / "sound"
    path.write_bytes(_encoded(_noise(70_000, num_channels), rate_hz, container, subtype))
    with open_audio(path) as audio:
        blocks = list(audio.blocks)
    assert (audio.sample_rate_hz, audio.num_channels) == (rate_hz, num_channels)
    assert audio.encoding == f"{container} {subtype}"
    assert len(blocks) == 3 and all(block.shape[1] == num_channels for block in blocks)
    mono = np.concatenate(blocks).mean(axis=1)
    np.testing.assert_allclose(mono, read_audio(path, rate_hz), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", _FORMATS)
def test_a_damaged_file_in_blocks_is_refused_as_when_read(tmp_path, name):
    path = tmp_path / "sound"
    path.write_bytes(_WHOLE_FILES[name][:-600])
    said = []
    for read in (lambda: read_audio(path, 44_100), lambda: _blocks_of(path)):
        with pytest.raises(UserError) as caught:
            read()
        said.append(str(caught.value))
    assert said[0] == said[1]


def _blocks_of(path) -> list[np.ndarray]:
    with open_audio(path) as audio:
        return list(audio.blocks)


@pytest.mark.parametrize(
    "content",
    [
        # As written to a pipe: ffmpeg's and sox's stand-ins for an unknown size.
        _with_bytes(_WAV, b"data", 4, struct.pack("<I", 0xFFFFFFFF)),
        _with_bytes(_WAV, b"data", 4, struct.pack("<I", 0x7FFFF000)),
        # The header's 44 bytes counted in the data's size.
        _with_bytes(_WAV, b"data", 4, struct.pack("<I", len(_WAV))),
    ],
)
def test_wav_headers_with_a_wrong_size_but_whole_sound_are_read(tmp_path, content):
    path = tmp_path / "sound.wav"
    path.write_bytes(content)
    assert len(read_audio(path, 44_100)) == 4_000


def test_mp3_with_an_overestimated_length_is_not_taken_for_truncated(tmp_path):
    path = tmp_path / "sound.mp3"
    path.write_bytes(_without_length_tag(_MP3_FAINT_START))
    with soundfile.SoundFile(path) as source:
        promised = source.frames
    num_samples = len(read_audio(path, 44_100))
    assert promised - num_samples > 4_096
    assert num_samples == pytest.approx(88_200, abs=4_096)


def test_the_name_does_not_decide_the_format(tmp_path):
    path = tmp_path / "sound.raw"
    path.write_bytes(_FLAC)
    assert len(read_audio(path, 44_100)) == 20_000


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("absent.wav", r"absent.wav does not exist"),
        ("folder.wav", "is not a file"),
        ("dangling.wav", "dangling.wav is a link to there.wav, which does not exist"),
        ("circle.wav", "circle.wav cannot be read .Too many levels of symbolic links"),
        ("text/x.wav", "text/x.wav does not exist"),
        ("x" * 300, "cannot be read .File name too long"),
    ],
)
def test_paths_that_are_no_file_are_refused(tmp_path, path, said):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "text").touch()
    os.symlink("there.wav", tmp_path / "dangling.wav")
    os.symlink("circle.wav", tmp_path / "circle.wav")
    with pytest.raises(UserError, match=said):
        read_audio(tmp_path / path, 32_000)


def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match="is not a file"):
        read_audio(tmp_path / "pipe.wav", 32_000)


def test_a_duration_that_is_not_positive_is_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match="max_duration_s"):
        read_audio(tmp_path, 32_000, max_duration_s=0.0)


@pytest.mark.parametrize(
    ("num_samples", "expected"),
    [(0, []), (2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 3, 0, 0])],
)
def test_fit_length_cuts_or_pads_at_the_end(num_samples, expected):
    fitted = fit_length(np.array([1, 2, 3], np.float32), num_samples)
    assert fitted.dtype == np.float32
    np.testing.assert_array_equal(fitted, expected)


def test_write_wav_keeps_every_sample_and_gives_the_same_bytes_again(tmp_path):
    samples = np.concatenate([_noise(1_000)[:, 0], np.array([1.5, -2.0], np.float32)])
    path = tmp_path / ("x" * 250 + ".wav")
    write_wav(path, np.zeros(3), 8_000)
    write_wav(path, samples, 22_050)
    write_wav(tmp_path / "again.wav", samples, 22_050)
    assert sorted(os.listdir(tmp_path)) == sorted(["again.wav", path.name])
    assert path.read_bytes() == (tmp_path / "again.wav").read_bytes()
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.format) == (22_050, 1, "WAV")
    assert info.subtype == "FLOAT"
    np.testing.assert_array_equal(read_audio(path, 22_050), samples)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_write_wav_refuses_samples_that_are_not_finite(tmp_path, bad):
    with pytest.raises(ValueError, match="finite"):
        write_wav(tmp_path / "sound.wav", np.array([0.0, bad]), 22_050)
    assert not list(tmp_path.iterdir())


def test_write_wav_refuses_more_than_one_dimension(tmp_path):
    with pytest.raises(ValueError, match="one-dimensional"):
        write_wav(tmp_path / "sound.wav", np.zeros((2, 3)), 22_050)


def test_write_wav_names_the_folder_it_cannot_write_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{tmp_path / 'file'} is a file where a folder "):
        write_wav(tmp_path / "file" / "sound.wav", np.zeros(3), 22_050)
    write_wav(tmp_path / "new" / "sound.wav", np.zeros(3), 22_050)
    assert os.listdir(tmp_path / "new") == ["sound.wav"]


def test_write_wav_leaves_the_old_file_and_no_remains_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "sound.wav"
    write_wav(path, np.ones(3), 22_050)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="No space left"):
        write_wav(path, np.zeros(3), 22_050)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_files_beginning_at_its_own_rate(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (3_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 1_234, subtype="FLOAT")
    found, rate_hz, goes_on = read_native(tmp_path / "x.wav", 2.0)
    np.testing.assert_array_equal(found, samples[:2_468].mean(axis=1))
    assert (rate_hz, goes_on) == (1_234, True)
    whole, _, goes_on = read_native(tmp_path / "x.wav", 5.0)
    assert (len(whole), goes_on) == (3_000, False)
