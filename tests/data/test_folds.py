"""Cross-validation folds: the published layout and a plainer one, and what is refused."""

import csv
import io
import pathlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qvae_jax.data import folds
from qvae_jax.data.folds import FILES, Line, read_lines, split_by_fold
from qvae_jax.data.index import Index
from qvae_jax.data.names import matching_name
from qvae_jax.data.vimsketch import index_from_names
from qvae_jax.system.errors import UserError

PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)
TRAIN, INTERPOLATION, EXTRAPOLATION = FILES.values()


@pytest.fixture
def index() -> Index:
    """Four sounds, three imitations of each: 00000_a.wav, 00001_a.wav, …, 00011_d.wav."""
    sounds = "abcd"
    references = [f"{number:03d}_{sound}.wav" for number, sound in enumerate(sounds)]
    imitations = [f"{number:05d}_{sounds[number // 3]}.wav" for number in range(12)]
    return index_from_names("anywhere", references, imitations)


def published(index: Index, folder: pathlib.Path, parts: dict[str, list[int]]) -> pathlib.Path:
    """Folds in the published form; parts are imitations' numbers by file."""
    (folder / "fold0").mkdir(parents=True)
    lines = ["\tfilename\tpositive_pair\tnegative_pair\tscene_label"]
    for number, pair in enumerate(index.pairs):
        line = f"vocal_imitations/{pair.imitation}\tsound_recordings/{pair.reference}"
        lines += [f"{number}\t{line}\tsound_recordings/other{n}.wav\tscene" for n in range(2)]
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")
    for name, numbers in parts.items():
        twice = numbers + numbers[:1]
        rows = [f"{n}\tvocal_imitations/{index.imitations[n]}\tscene" for n in twice]
        (folder / "fold0" / name).write_text("\tfilename\tscene_label\n" + "\n".join(rows))
    return folder


def plain(index: Index, folder: pathlib.Path, parts: dict[str, list[int]]) -> pathlib.Path:
    """The same with commas, each file with its own pairs, and no meta.csv."""
    (folder / "fold0").mkdir(parents=True)
    for name, numbers in parts.items():
        rows = [f"{index.pairs[n].imitation},{index.pairs[n].reference}" for n in numbers]
        content = "\r\n".join(["filename,positive_pair", *rows])
        (folder / "fold0" / name).write_bytes(content.encode())
    return folder


GOOD = {TRAIN: [1, 0, 3, 4, 6], INTERPOLATION: [2, 5], EXTRAPOLATION: [9, 10, 11]}


@pytest.mark.parametrize("write", [published, plain])
def test_a_folds_files_are_the_parts(index, tmp_path, write):
    split, absent = split_by_fold(index, write(index, tmp_path / "folds", GOOD), 0)
    for part, name in FILES.items():
        found = [pair.imitation for pair in getattr(split, part)]
        assert found == [index.imitations[number] for number in GOOD[name]]
    assert split.train_sounds == ("a", "b", "c")
    assert split.extrapolation_sounds == ("d",)
    assert absent == []


@pytest.mark.parametrize("write", [published, plain])
def test_names_that_the_data_set_lacks_are_told(index, tmp_path, write):
    folder = write(index, tmp_path / "folds", GOOD)
    fewer = index_from_names("anywhere", index.references.values(), index.imitations[1:10])
    split, absent = split_by_fold(fewer, folder, 0)
    assert absent == ["00000_a.wav", "00010_d.wav", "00011_d.wav"]
    assert len(split.train) == 4 and len(split.extrapolation) == 1


@pytest.mark.parametrize("write", [published, plain])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({TRAIN: [0, 1, 9]}, "train.csv and test.csv share 1 sound .'d'"),
        ({INTERPOLATION: [2, 9]}, "val.csv and test.csv share 1 sound .'d'"),
        ({INTERPOLATION: [2, 3]}, "train.csv and val.csv share 1 imitation .'00003_b.wav'"),
        ({TRAIN: [0, 1, 9, 10, 11]}, "share 1 sound"),
    ],
)
def test_what_lies_in_two_parts_is_refused(index, tmp_path, write, changes, message):
    with pytest.raises(UserError, match=message):
        split_by_fold(index, write(index, tmp_path / "folds", GOOD | changes), 0)


@pytest.mark.parametrize("told", ["000_c.wav", "c.wav", "sound_recordings/000_c.wav"])
def test_folds_of_another_data_set_are_refused(index, tmp_path, told):
    folder = published(index, tmp_path / "folds", GOOD)
    (folder / "fold0" / TRAIN).write_text(f"filename\tpositive_pair\n00000_a.wav\t{told}\n")
    with pytest.raises(UserError, match="another data set: it pairs '00000_a.wav' with '.*c.wav'"):
        split_by_fold(index, folder, 0)


def test_a_references_number_may_be_another_or_lacking(index, tmp_path):
    folder = published(index, tmp_path / "folds", GOOD)
    lines = ["filename\tpositive_pair", "00000_a.wav\tx/a.wav", "00001_a.wav\t77_a.wav"]
    (folder / "fold0" / TRAIN).write_text("\n".join(lines))
    assert len(split_by_fold(index, folder, 0)[0].train) == 2


def test_names_count_as_the_data_sets_in_any_format_and_unicode_form(tmp_path):
    index = index_from_names("set", ["0_o\u0308.flac", "1_a.wav"], ["00_o\u0308.flac", "01_a.wav"])
    (tmp_path / "fold0").mkdir()
    (tmp_path / "meta.csv").write_text(
        "filename,positive_pair\n00_\u00f6.mp3,0_\u00f6.wav\n", "utf-8"
    )
    (tmp_path / "fold0" / TRAIN).write_text("filename\n00_\u00f6.wav\n00_o\u0308.flac\n", "utf-8")
    for name, line in ((INTERPOLATION, ""), (EXTRAPOLATION, "01_a.aiff,a")):
        (tmp_path / "fold0" / name).write_text(f"filename,positive_pair\n{line}\n")
    split, absent = split_by_fold(index, tmp_path, 0)
    assert (split.train, split.extrapolation) == (index.pairs[:1], index.pairs[1:])
    assert absent == []
    (tmp_path / "meta.csv").write_text("filename,positive_pair\n00_\u00f6.mp3,1_a.wav\n", "utf-8")
    with pytest.raises(UserError, match="belongs to another data set"):
        split_by_fold(index, tmp_path, 0)


def test_what_is_missing_is_named(index, tmp_path):
    folder = published(index, tmp_path / "folds", GOOD)
    with pytest.raises(UserError, match="fold1 does not exist: set data.folds_dir"):
        split_by_fold(index, folder, 1)
    (folder / "fold0" / INTERPOLATION).unlink()
    with pytest.raises(UserError, match="val.csv cannot be read"):
        split_by_fold(index, folder, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'filename'"),
        (b"name,positive_pair\na,b\n", "no column 'filename'"),
        (b"filename\n\xff\n", "not UTF-8 text .byte 9"),
        (b"filename,positive_pair\na,b,c\n", "3 values in line 2 instead of 2"),
        (b"filename,positive_pair\na\n", "1 value in line 2 instead of 2"),
        ("filename\na".encode("utf-16"), "not UTF-8 text .byte 0"),
        (b"filename,positive_pair\na,b\na,c\n", "names 'a' twice, with the references 'b' and 'c'"),
        (b"filename,positive_pair\nfolder/,b\n", "no file name in line 2"),
        (b'filename,positive_pair\n"a,b\n', "not readable as a table"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"train.csv .*{message}") as raised:
        read_lines(tmp_path / "train.csv")
    assert "\n" not in str(raised.value)


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda name: name == name.strip())


@PROPERTY
@given(
    st.dictionaries(NAMES, NAMES, min_size=1, max_size=8),
    st.sampled_from(["\t", ",", ";"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(["", "vocal_imitations/", "a/b/"]),
)
def test_any_names_come_back(tmp_path_factory, pairs, separator, line_end, numbered, prefix):
    table = io.StringIO()
    writer = csv.writer(table, delimiter=separator, lineterminator=line_end)
    writer.writerow([""] * numbered + [folds.NAME_COLUMN, folds.PAIR_COLUMN])
    for number, (name, reference) in enumerate([*pairs.items(), *pairs.items()]):
        writer.writerow([str(number)] * numbered + [prefix + name, prefix + reference])
    path = tmp_path_factory.mktemp("fold") / "train.csv"
    path.write_text(table.getvalue(), "utf-8", newline="")
    assume(len(set(map(matching_name, pairs))) == len(pairs))
    assert read_lines(path) == [Line(name, reference) for name, reference in pairs.items()]


@PROPERTY
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda t: f"filename\t{t}".encode()))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fold") / "train.csv"
    path.write_bytes(content)
    try:
        lines = read_lines(path)
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert all(line.imitation and "/" not in line.imitation for line in lines)


def test_the_published_fold_divides_vimsketchs_names_as_published(shared_dir):
    names = [
        (shared_dir / "vimsketch_names" / name).read_text("utf-8").split("\n")[:-1]
        for name in ("reference_file_names.csv", "vocal_imitation_file_names.csv")
    ]
    index = index_from_names("VimSketch", *names)
    split, absent = split_by_fold(index, shared_dir / "vimsketch_folds", 0)
    counts = [len(part) for part in (split.train, split.interpolation, split.extrapolation)]
    assert counts == [9564, 1425, 1213] and not absent
    assert len(split.extrapolation_sounds) == 53
