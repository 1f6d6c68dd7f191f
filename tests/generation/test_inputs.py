"""Inputs: which files are meant, what is heard of them, and what is wrong with them."""

import io
import warnings

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import sound_folder
from qvae_jax.audio.files import read_audio
from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.data import layouts
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.library import read_library
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation import inputs
from qvae_jax.generation.inputs import Heard, Source, split_inputs
from qvae_jax.system.errors import Notice, UserError

FRONT_END = FrontEnd(duration_s=1.0)


def write_sound(path, samples, rate_hz: int = 32_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    return path


def source(path) -> Source:
    return Source(path, str(path), path.stem)


# --- Commas in --inputs


def test_commas_separate_inputs_unless_a_file_is_named_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "x,y.wav", "x,y.wav,z.wav", "d,e"):
        (tmp_path / name).write_text("")
    assert split_inputs("a.wav") == ["a.wav"]
    assert split_inputs("a.wav,b.wav") == ["a.wav", "b.wav"]
    assert split_inputs("x,y.wav") == ["x,y.wav"]
    assert split_inputs("a.wav,x,y.wav,c.wav") == ["a.wav", "x,y.wav", "c.wav"]
    assert split_inputs("x,y.wav,z.wav") == ["x,y.wav,z.wav"], "the longest name wins"
    assert split_inputs("a.wav, x,y.wav , d,e") == ["a.wav", "x,y.wav", "d,e"]
    assert split_inputs("a.wav,,") == ["a.wav", "", ""] and split_inputs("") == [""]


def test_each_of_the_inputs_may_begin_with_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x,y.wav").touch()
    assert split_inputs("~/a.wav, ~/x,y.wav,b/~") == [
        f"{tmp_path}/a.wav",
        f"{tmp_path}/x,y.wav",
        "b/~",
    ]
    with pytest.raises(UserError, match="'file:///tmp/a.wav' is an address"):
        split_inputs("b.wav,file:///tmp/a.wav")


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.text("ab,.", min_size=1, max_size=6), min_size=1, max_size=80))
def test_nothing_of_the_inputs_is_lost(names):
    text = "/absent/" + ",/absent/".join(names)
    assert ",".join(split_inputs(text)) == text


# --- Which files


def test_files_and_folders_are_taken_in_the_order_given(tmp_path):
    for name in ("in/b.wav", "in/a/z.wav", "in/out/old.wav", "hum.wav"):
        write_sound(tmp_path / name, np.ones(9))
    given = [str(tmp_path / "hum.wav"), str(tmp_path / "in")]
    with inputs.sources(given, tmp_path / "in" / "out", None) as found:
        assert [each.path for each in found] == [
            tmp_path / name for name in ("hum.wav", "in/a/z.wav", "in/b.wav")
        ]
        assert all(each.name == str(each.path) and each.reference is None for each in found)


def test_what_a_folder_holds_besides_is_said(tmp_path, capsys):
    for name in ("in/a.wav", "in/out/old.wav"):
        write_sound(tmp_path / name, np.ones(9))
    for name in ("hum.m4a", "sub/hum.webm", "notes.txt", ".DS_Store", "out/manifest.json"):
        (tmp_path / "in" / "sub").mkdir(exist_ok=True)
        (tmp_path / "in" / name).touch()
    with inputs.sources([str(tmp_path / "in")], tmp_path / "in" / "out", None) as found:
        assert [each.path for each in found] == [tmp_path / "in" / "a.wav"]
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"left out of {tmp_path / 'in'}: 2 files of a kind that libsndfile")
    assert "('hum.m4a', 'sub/hum.webm'): convert to WAV first" in first
    assert second == f"left out of {tmp_path / 'in'}: 1 file not named as sounds are ('notes.txt')"


def test_what_was_generated_before_is_no_input_unless_it_is_named(tmp_path, capsys):
    for name in ("in/a.wav", "in/earlier/01_a_generated.wav", "in/other/b.wav"):
        write_sound(tmp_path / name, np.ones(9))
    (tmp_path / "in" / "earlier" / "manifest.json").write_text('{"outputs": []}')
    (tmp_path / "in" / "other" / "manifest.json").write_text("[]")
    with inputs.sources([str(tmp_path / "in")], tmp_path / "in" / "now", None) as found:
        assert [each.path.name for each in found] == ["a.wav", "b.wav"]
    said = f"left out of {tmp_path / 'in'}: 1 folder of generated sounds ('earlier'): name it"
    assert said in capsys.readouterr().out
    with inputs.sources([str(tmp_path / "in" / "earlier")], tmp_path / "out", None) as found:
        assert [each.path.name for each in found] == ["01_a_generated.wav"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("*.wav", ["a.wav", "b [1].wav"]),
        ("b [1].wav", ["b [1].wav"]),
        ("?.wav", ["a.wav"]),
        ("**/*.wav", ["a.wav", "b [1].wav", "sub/c.wav"]),
        ("su*", ["sub/c.wav"]),
        ("M\u00f6we.flac", ["Mo\u0308we.flac"]),
    ],
)
def test_patterns_and_other_unicode_forms_name_files_too(tmp_path, monkeypatch, given, names):
    for name in ("a.wav", "b [1].wav", "._a.wav", "Mo\u0308we.flac", "sub/c.wav"):
        (tmp_path / "sub").mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with inputs.sources([given], tmp_path / "out", None) as found:
        assert [str(each.path) for each in found] == names


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("*.mp3", "no file is named like the pattern '.*mp3'"),
        ("hum.flac", "hum.flac does not exist: did you mean 'hum.wav' beside it"),
        ("HUM.wav", "HUM.wav does not exist: did you mean 'hum.wav'"),
        ("hum", "hum does not exist: did you mean 'hum.wav'"),
    ],
)
def test_a_name_that_is_nearly_right_is_answered(tmp_path, given, said):
    (tmp_path / "hum.wav").touch()
    with (
        pytest.raises(UserError, match=said),
        inputs.sources([str(tmp_path / given)], tmp_path / "out", None),
    ):
        pass


def test_a_kind_that_is_not_read_is_told_of_standard_input_too(tmp_path):
    (tmp_path / "stdin").write_bytes(b"\0\0\0\x1cftypM4A \0\0\0\0")
    said = "The file on standard input is MPEG-4 .* as with `ffmpeg -i FILE -f wav - \\| …`\\."
    with pytest.raises(UserError, match=said):
        inputs.probe(Source(tmp_path / "stdin", "-", "stdin"))


def test_an_imitation_of_the_runs_data_set_has_its_reference(data_set, tmp_path):
    name = sorted(path.name for path in (data_set / "vocal_imitations").iterdir())[4]
    write_sound(tmp_path / name, np.ones(9), 16_000)
    for dataset_dir, expected in [
        (data_set, data_set / "references" / "001_sound 1, a_tone.wav"),
        (None, None),
    ]:
        with inputs.sources([str(tmp_path / name)], tmp_path / "out", dataset_dir) as found:
            assert [each.reference for each in found] == [expected]


def test_standard_input_is_there_until_the_block_ends(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"sound")))
    with inputs.sources(["-"], None, None) as [piped]:
        assert (piped.name, piped.stem, piped.path.read_bytes()) == ("-", "stdin", b"sound")
    assert not piped.path.exists()


def test_piped_sound_without_room_for_temporary_files_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"sound")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(UserError, match=r"temporary files \(TMPDIR\) cannot be written"):
        with inputs.sources(["-"], tmp_path, None):
            pass


def test_the_imitations_of_pairs_know_their_references(data_set):
    index = layouts.read_index(data_set)
    for pair, found in zip(index.pairs, inputs.pair_sources(index, index.pairs), strict=True):
        assert found.path == data_set / "vocal_imitations" / pair.imitation
        assert found.reference == data_set / "references" / pair.reference
        assert (found.name, found.stem) == (str(found.path), found.path.stem)


# --- What is heard


@pytest.mark.parametrize(("window", "start_s"), [("first", 0.0), ("loudest", 1.5)])
def test_a_window_of_a_long_file_is_heard(tmp_path, window, start_s):
    samples = np.random.default_rng(0).standard_normal(96_000).astype(np.float32) / 100
    samples[48_000:80_000] *= 10
    path = write_sound(tmp_path / "x.wav", samples)
    heard = inputs.hear(source(path), FRONT_END, window)
    assert (heard.start_s, heard.file_duration_s) == (pytest.approx(start_s), 3.0)
    first = round(start_s * 32_000)
    np.testing.assert_array_equal(heard.samples, samples[first : first + 32_000])


@pytest.mark.parametrize(("window", "count"), [("first", 8_000), ("loudest", 8_000)])
def test_a_short_file_is_heard_whole(tmp_path, window, count):
    path = write_sound(tmp_path / "x.wav", np.ones(count) / 9)
    heard = inputs.hear(source(path), FRONT_END, window)
    assert len(heard.samples) == count and heard.start_s == 0


@pytest.mark.parametrize(("peak", "silent"), [(0.0, True), (9e-5, True), (2e-4, False)])
def test_silence_is_told_by_the_peak(peak, silent):
    for offset in (0.0, 0.5):  # a constant is not heard
        samples = np.array([peak, -peak], np.float64) + offset
        assert Heard(samples, 0.0, 1.0).silent is silent


# --- What is wrong


def test_a_look_finds_a_bad_file_or_reference(tmp_path):
    good = write_sound(tmp_path / "good.wav", np.ones(99))
    (tmp_path / "bad.wav").write_bytes(b"words")
    inputs.probe(Source(good, "good", "good", good))
    for path, reference in [(tmp_path / "bad.wav", None), (good, tmp_path / "bad.wav")]:
        with pytest.raises(UserError, match="bad.wav is a text"):
            inputs.probe(Source(path, str(path), "x", reference))


def test_a_fault_of_standard_input_does_not_name_a_temporary_file(tmp_path):
    (tmp_path / "stdin").write_bytes(bytes(range(128, 250)))
    with pytest.raises(UserError, match="The file on standard input cannot") as raised:
        inputs.probe(Source(tmp_path / "stdin", "-", "stdin"))
    assert str(tmp_path) not in str(raised.value)


def test_a_notice_of_standard_input_does_not_name_a_temporary_file(tmp_path):
    path = write_sound(tmp_path / "stdin.wav", 30_000 * np.sin(np.arange(9_000) / 9))
    with pytest.warns(Notice, match="^the audio file on standard input goes beyond 10"):
        inputs.hear(Source(path, "-", "stdin"), FRONT_END)


def test_a_sound_on_another_scale_is_warned_of_once_it_is_heard(tmp_path):
    path = write_sound(tmp_path / "x.wav", 30_000 * np.sin(np.arange(9_000) / 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs.probe(source(path))
    with pytest.warns(Notice, match="x.wav goes beyond 10, where 1 is full scale"):
        inputs.hear(source(path), FRONT_END)


def test_a_window_of_a_library_is_heard_alone_and_named(tmp_path):
    sounds = sound_folder.write(tmp_path / "s", **{"drums/kick": 6.0})
    catalogue = Catalogue(None, read_library(sounds))
    rows = catalogue.library.rows({"drums/kick.wav": (1, 2)})
    first, second = inputs.pair_sources(catalogue, rows)
    path = sounds / "drums" / "kick.wav"
    assert (second.path, second.stem) == (path, "kick (2)")
    assert second.name == f"{path} from 2.68 s" and first.name == f"{path} from 0.00 s"
    inputs.probe(second)
    for window in ("first", "loudest"):
        heard = inputs.hear(second, FrontEnd(duration_s=10.0), window)
        assert heard.start_s == pytest.approx(59_049 / 22_050) and len(heard.samples) == 85_695
    assert len(inputs.hear(second, FrontEnd(duration_s=1.0)).samples) == 32_000
    np.testing.assert_array_equal(
        target_audio(second.reference), read_audio(path, 22_050)[59_049 : 2 * 59_049]
    )


@pytest.mark.parametrize("window", ["first", "loudest"])
def test_the_whole_recording_is_read_with_what_is_heard(tmp_path, window):
    rate_hz = 44_100
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * rate_hz)
    samples[2 * rate_hz :] *= 5
    path = write_sound(tmp_path / "x.wav", samples, rate_hz)
    alone, both = (inputs.hear(source(path), FRONT_END, window, whole=w) for w in (False, True))
    assert alone.whole is None and alone.start_s == both.start_s
    np.testing.assert_array_equal(both.samples, alone.samples)
    np.testing.assert_array_equal(both.whole, read_audio(path, 22_050))


def test_a_minute_of_the_recording_is_read(tmp_path):
    path = write_sound(tmp_path / "x.wav", np.ones(61_000) / 9, 1_000)
    heard = inputs.hear(source(path), FRONT_END, whole=True)
    assert len(heard.whole) == 60 * 22_050 and heard.file_duration_s == 61
