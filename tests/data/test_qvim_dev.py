"""QVIM-DEV's layout: its table, what lies in its folders, and what of it is refused."""

import pytest

from qvae_jax.data import layouts, qvim_dev
from qvae_jax.system.errors import UserError

HEADER = "Label,Class,Items,Query 1,Query 2,Query 3"
LINES = (
    "1,Dog,bark.wav,a.wav,b.wav,c.wav",
    "1,Dog,bark.wav,d.wav,a.wav,",  # a sound with a second line; an imitation listed twice
    '2,Rain,"drip, drop.wav",a.wav,,',  # of another class, so another file
    "3,Rain,storm.wav,,,",
    ",,,,,",
)
ITEMS = ("Dog/bark.wav", "Rain/drip, drop.flac", "Rain/storm.wav")  # one was converted
QUERIES = ("Dog/a.wav", "Dog/b.wav", "Dog/c.wav", "Dog/d.wav", "Rain/a.wav")


def written(folder, lines=LINES, title="QVIM-DEV", items=ITEMS, queries=QUERIES, encoding="utf-8"):
    """A data set of empty files."""
    for part, names in (("Items", items), ("Queries", queries)):
        for name in names:
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    text = "\r\n".join([*([] if title is None else [title]), HEADER, *lines])
    (folder / "DEV Dataset.csv").write_bytes(text.encode(encoding))
    return folder


@pytest.mark.parametrize("title", ["QVIM-DEV", "Dataset,,,,,", None])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_pairs_classes_and_files(tmp_path, title, encoding):
    index = layouts.read_index(written(tmp_path, title=title, encoding=encoding))
    assert [(pair.imitation, pair.reference) for pair in index.pairs] == [
        ("Dog/a.wav", "Dog/bark.wav"),
        ("Dog/b.wav", "Dog/bark.wav"),
        ("Dog/c.wav", "Dog/bark.wav"),
        ("Dog/d.wav", "Dog/bark.wav"),
        ("Rain/a.wav", "Rain/drip, drop.flac"),
    ]
    assert index.classes == {
        "Dog/bark": "Dog",
        "Rain/drip, drop": "Rain",
        "Rain/storm": "Rain",
    }
    assert index.unused_references == ("Rain/storm.wav",)
    assert index.notes() == []
    assert all(index.imitation_path(pair).is_file() for pair in index.pairs)
    assert all(index.reference_path(pair).is_file() for pair in index.pairs)


def test_what_is_listed_and_absent_or_there_and_unlisted_is_said(tmp_path):
    queries = [*QUERIES[1:], "Dog/extra.wav"]
    index = layouts.read_index(written(tmp_path, items=ITEMS[1:], queries=queries))
    assert [pair.imitation for pair in index.pairs] == ["Rain/a.wav"]
    notes = " ".join(index.notes())
    assert "2 names with no file behind ('Items/Dog/bark.wav', 'Queries/Dog/a.wav')" in notes
    assert "Queries/Dog/extra.wav" in notes


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,Dog,bark.wav,a.wav,,", "2,Dog,woof.wav,a.wav,,"], "'Dog/a.wav' as an imitation of"),
        (["1,Dog,,a.wav,,"], "names no class or no sound in line 3"),
        (["1,Cat,meow.wav,a.wav,,"], "holds no imitation with its sound: .* 2 files"),
        (['1,Dog,"bark.wav'], "not readable as a table"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path, lines, message):
    folder = written(tmp_path, lines, items=[*ITEMS, "Dog/woof.wav"])
    with pytest.raises(UserError, match=message) as raised:
        layouts.read_index(folder)
    assert "\n" not in str(raised.value)


def test_a_table_of_other_columns_or_of_no_text_is_refused(tmp_path):
    folder = written(tmp_path)
    (folder / "DEV Dataset.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no line of column names"):
        layouts.read_index(folder)
    (folder / "DEV Dataset.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not readable as a table"):
        layouts.read_index(folder)


def test_a_folder_without_sounds_is_refused(tmp_path):
    folder = written(tmp_path, items=())
    with pytest.raises(UserError, match="Items does not exist"):
        layouts.read_index(folder)


def test_an_imitation_tells_its_sound_by_where_it_lies(tmp_path):
    folder = written(tmp_path)
    other = tmp_path / "hum.wav"
    paths = [folder / "Queries/Rain/a.wav", folder / "Queries/Dog/a.wav", other]
    assert layouts.find_references(paths) == [
        folder / "Items/Rain/drip, drop.flac",
        folder / "Items/Dog/bark.wav",
        None,
    ]
    (folder / qvim_dev.TABLE).write_text("")
    assert layouts.find_references(paths[:1]) == [None]
