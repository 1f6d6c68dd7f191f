"""Tables of curves: written and read back, of any rate, and what is no such table."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvae_jax.generation import curve_file
from qvae_jax.generation.curve_file import FRAME_S, HEADER
from qvae_jax.models.steered import HIGHEST, LOWEST
from qvae_jax.system.errors import UserError

FIRST = ",".join(HEADER)
FRAME = "-20,80,60,0.9"


def curves_between_their_ends(num_frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(LOWEST, HIGHEST, (num_frames, 4)).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    """read(text) gives the curves of a table of this text."""

    def read_text(text: str | bytes) -> np.ndarray:
        path = tmp_path / "curves.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return curve_file.read(path)

    return read_text


@pytest.mark.parametrize("num_frames", [1, 2, 243, 5444])
def test_what_is_written_is_read_back(tmp_path, num_frames):
    curves = curves_between_their_ends(num_frames)
    curve_file.write(tmp_path / "a.csv", curves)
    found = curve_file.read(tmp_path / "a.csv")
    assert found.dtype == np.float32 and found.shape == curves.shape
    np.testing.assert_array_equal(found, curves)


def test_a_table_begins_with_its_columns_and_a_frames_middle(tmp_path):
    curve_file.write(tmp_path / "a.csv", np.array([[-20, 80, 60, 0.25]], np.float32))
    expected = f"{FIRST}\n0.005510,-20.0,80.0,60.0,0.25\n"
    assert (tmp_path / "a.csv").read_bytes() == expected.encode()


def test_the_ends_of_curves_are_read_back(tmp_path):
    ends = np.stack([LOWEST, HIGHEST])
    curve_file.write(tmp_path / "a.csv", ends)
    np.testing.assert_array_equal(curve_file.read(tmp_path / "a.csv"), ends)


def test_another_rate_of_frames_is_read_by_the_times(read):
    slow = "".join(f"{time},{-time},80,60,0.9\n" for time in np.arange(0.05, 2, 0.1))
    found = read(f"{FIRST}\n{slow}")
    assert len(found) == round(2 / FRAME_S)
    middles = curve_file.middles_s(len(found))
    np.testing.assert_allclose(found[:, 0], -np.clip(middles, 0.05, 1.95), atol=1e-5)
    np.testing.assert_allclose(found[:, 1:], np.broadcast_to([80, 60, 0.9], (len(found), 3)))


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{FIRST}\r\n0.1,{FRAME}\r\n",
        f"{';'.join(HEADER)};\n0,1;-20;80;60,0;0,9;\n;;;;;\n",
        "Pitch_semitones,time_s,periodicity,loudness_db,centroid_semitones\n60,0.1,0.9,-20,80\n\n",
    ],
    ids=["of another system", "with decimal commas", "in another order"],
)
def test_what_spreadsheets_write_is_read(read, text):
    found = read(text)
    assert len(found) == round(0.2 / FRAME_S)
    np.testing.assert_allclose(found, np.broadcast_to([-20, 80, 60, 0.9], found.shape), rtol=1e-6)


def test_below_the_floor_of_loudness_lies_silence(read):
    assert read(f"{FIRST}\n0.005,-200,80,60,0.1\n")[0, 0] == -80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line of .*curves.csv does not name the columns"),
        ("time_s,loudness_db\n0.1,-20\n", f"make it {FIRST}"),
        (f"{FIRST},mood\n0.1,{FRAME},1\n", "does not name the columns"),
        (f"0.1,{FRAME}\n", "does not name the columns"),
        (FIRST, "holds no curves below its first line"),
        (f"{FIRST}\n,,,,\n", "holds no curves below its first line"),
        (f"{FIRST}\n0.1,-20,80,60\n", "Line 2 of .*curves.csv has not 5 values"),
        (f"{FIRST}\n0.1,{FRAME},7\n", "Line 2 of .*curves.csv has not 5 values"),
        (f"{FIRST}\n0.1,{FRAME}\n0.2,nan,80,60,0.9\n", "Line 3 .*loudness_db of 'nan', which is no"),
        (f"{FIRST}\n0.1,-20,80,inf,0.9\n", "pitch_semitones of 'inf'"),
        (f"{FIRST}\n0.1,-20,80,A4,0.9\n", "pitch_semitones of 'A4'"),
        (f"{FIRST}\n0.1,-20,80,440,0.9\n", r"of 440 \(69 is 440 Hz\): set it from 34 to 98"),
        (f"{FIRST}\n0.1,20,80,60,0.9\n", "loudness_db of 20: set it from -80 to 6"),
        (f"{FIRST}\n0.1,{FRAME}\n0.1,{FRAME}\n", "do not increase: 0.1 s comes after 0.1 s"),
        (f"{FIRST}\n0.2,{FRAME}\n0.1,{FRAME}\n", "do not increase: 0.1 s comes after 0.2 s"),
        (f"{FIRST}\n-1,{FRAME}\n", "begin at -1 s"),
        (f"{FIRST}\n0.1,{FRAME}\n3600,{FRAME}\n", "last 5399.95 s: make them 60 s"),
        (f"{FIRST}\n1e308,{FRAME}\n", "make them 60 s"),
        (b"\xff\xfe\x00t", "cannot be read as a table of curves"),
        (f"{FIRST}\n0.1,\0,1,1,1\n", "Line 2|cannot be read as a table"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_table_of_curves_is_refused_in_one_line(read, text, message):
    with pytest.raises(UserError, match=message) as raised:
        read(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"cannot be read as a table of curves \("):
        curve_file.read(tmp_path / name)


def test_a_file_without_an_end_is_not_read_to_its_end(read, monkeypatch):
    monkeypatch.setattr(curve_file, "MOST_LINES", 3)
    with pytest.raises(UserError, match="has more than 3 lines"):
        read("\n".join([FIRST, *[f"{i},{FRAME}" for i in range(1, 5)]]))


CELLS = st.sampled_from(["0.1", "0.2", "-20", "80", "1e9", "nan", "", " ", '"', "x", "0,5", "\0"])
LINES = st.lists(CELLS, max_size=7).map(",".join) | st.just(FIRST) | st.text(max_size=20)


@given(st.booleans(), st.lists(LINES, max_size=5), st.sampled_from("\n\r"))
def test_any_text_gives_curves_or_one_line(tmp_path_factory, has_header, lines, ending):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    text = ending.join([*([FIRST] if has_header else []), *lines])
    path.write_text(text, "utf-8", errors="replace", newline="")
    try:
        found = curve_file.read(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert found.ndim == 2 and found.shape[1] == 4 and 1 <= len(found) <= 5444
    assert np.isfinite(found).all()
