import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvae_jax.data.index import Pair
from qvae_jax.data.names import matching_name
from qvae_jax.data.vimsketch import index_from_names, read_index
from qvae_jax.system.errors import UserError

REFERENCES = ["001_a dog, barking [1].wav", "002_snare_drum.wav", "003_über(möwe).wav"]
IMITATIONS = ["00009_002x.wav", "00002_snare_drum.wav", "00001_a dog, barking [1].wav"]


def _make_dataset(
    directory: Path, references=REFERENCES, imitations=IMITATIONS, *, lists: bool = True
) -> Path:
    for folder, list_name, names in [
        ("references", "reference_file_names.csv", references),
        ("vocal_imitations", "vocal_imitation_file_names.csv", imitations),
    ]:
        (directory / folder).mkdir(parents=True)
        for name in names:
            (directory / folder / name).touch()
        if lists:
            (directory / list_name).write_text("\n".join(names) + "\n", encoding="utf-8")
    return directory


def test_pairs_keep_list_order_and_strays_are_kept_apart(tmp_path):
    index = read_index(_make_dataset(tmp_path / "set"))
    assert index.pairs == (
        Pair("00002_snare_drum.wav", "002_snare_drum.wav", "snare_drum"),
        Pair("00001_a dog, barking [1].wav", "001_a dog, barking [1].wav", "a dog, barking [1]"),
    )
    assert list(index.references.values()) == REFERENCES
    assert index.imitations == tuple(IMITATIONS)
    assert index.unpaired_imitations == ("00009_002x.wav",)
    assert index.unused_references == ("003_über(möwe).wav",)
    for pair in index.pairs:
        assert index.imitation_path(pair).is_file()
        assert index.reference_path(pair).is_file()


def test_without_lists_the_folders_audio_files_count_sorted(tmp_path):
    directory = _make_dataset(tmp_path / "set", lists=False)
    for stray in ("readme.txt", ".hidden_snare_drum.wav", "._00002_snare_drum.wav"):
        (directory / "vocal_imitations" / stray).touch()
    index = read_index(directory)
    assert index.imitations == tuple(sorted(IMITATIONS))
    assert [pair.key for pair in index.pairs] == ["a dog, barking [1]", "snare_drum"]


def test_files_that_the_lists_do_not_name_are_left_out(tmp_path):
    directory = _make_dataset(tmp_path / "set")
    (directory / "vocal_imitations" / "00077_snare_drum.wav").touch()
    assert read_index(directory).imitations == tuple(IMITATIONS)


@pytest.mark.parametrize("lists", [True, False])
def test_names_that_look_the_same_are_pairs_whatever_the_suffix(tmp_path, lists):
    references = ["1_Mo\u0308we.wav", "2_dog.FLAC", "3_dog v1.5.wav"]
    imitations = [
        "01_M\u00f6we.mp3",
        "02_dog.WAV",
        "03_dog v1.5.flac",
        "04_dog v1.6.flac",
        "05_Dog.wav",
    ]
    index = read_index(_make_dataset(tmp_path / "set", references, imitations, lists=lists))
    assert [(pair.imitation, pair.reference) for pair in index.pairs] == list(
        zip(imitations, references)
    )
    assert index.unpaired_imitations == tuple(imitations[3:])


def test_a_list_may_spell_names_in_another_way_than_the_folder(tmp_path):
    directory = _make_dataset(
        tmp_path / "set", ["1_Mo\u0308we.flac", '2_a, "b".wav'], ["1_Mo\u0308we.wav"]
    )
    (directory / "reference_file_names.csv").write_text(
        '1_M\u00f6we.wav\n"2_a, ""b"".wav"\n', encoding="utf-8"
    )
    (directory / "vocal_imitation_file_names.csv").write_text("1_M\u00f6we.wav\n", encoding="utf-8")
    index = read_index(directory)
    assert list(index.references.values()) == ["1_Mo\u0308we.flac", '2_a, "b".wav']
    assert index.imitations == ("1_Mo\u0308we.wav",) and index.left_out == {}


def test_a_listed_name_that_two_files_fit_is_absent(tmp_path):
    directory = _make_dataset(tmp_path / "set", ["1_a.wav", "1_a.flac"], ["1_a.wav"])
    (directory / "reference_file_names.csv").write_text("1_a.mp3\n")
    with pytest.raises(UserError, match=r"names 1 of 1 file that .*'1_a.mp3'"):
        read_index(directory)


@pytest.mark.parametrize("lists", [True, False])
def test_what_is_left_out_is_counted_and_named(tmp_path, lists):
    directory = _make_dataset(tmp_path / "set", lists=lists)
    for name in ("7_x.m4a", "8_x.webm", "notes.txt", "9_x.wav.part", ".DS_Store", "._9_x.wav"):
        (directory / "vocal_imitations" / name).touch()
    (directory / "vocal_imitations" / "speaker1").mkdir()
    (directory / "references" / "7_x.wav").symlink_to("absent.wav")
    notes = read_index(directory).notes()
    start = f"left out of {directory}: "
    assert all(note.startswith(start) for note in notes)
    files = {
        True: [
            "4 files not in the list ('vocal_imitations/7_x.m4a', 'vocal_imitations/8_x.webm', …"
        ],
        False: [
            "2 files of a kind that libsndfile does not read ('vocal_imitations/7_x.m4a', "
            "'vocal_imitations/8_x.webm'): convert",
            "2 files not named as sounds are ('vocal_imitations/9_x.wav.part', "
            "'vocal_imitations/notes.txt')",
        ],
    }
    expected = [
        *files[lists],
        "1 folder of which nothing is read ('vocal_imitations/speaker1'): move",
        "1 name with no file behind ('references/7_x.wav')",
        "1 imitation without a reference, of 3 ('00009_002x.wav')",
    ]
    assert len(notes) == len(expected)
    for line in expected:
        assert any(note.startswith(start + line.removesuffix(", …")) for note in notes), line


def test_imitations_that_cannot_be_read_are_named_where_there_is_no_pair(tmp_path):
    directory = _make_dataset(tmp_path / "set", imitations=["1_snare_drum.m4a"], lists=False)
    said = r"3 references and 0 imitations to read, but 1 file of a kind that .*_snare_drum.m4a'.*; it needs"
    with pytest.raises(UserError, match=said):
        read_index(directory)


def test_mini_set(shared_dir):
    index = read_index(shared_dir / "vimsketch_mini")
    assert len(index.pairs) == 8
    assert len(index.unpaired_imitations) == 4
    assert len(index.unused_references) == 4
    assert all(index.imitation_path(pair).is_file() for pair in index.pairs)
    assert all(index.reference_path(pair).is_file() for pair in index.pairs)


# Names as they may stand in a list: anything a file can be called, but for line ends and for
# blanks at the end, which lists drop.
_names = st.text(
    st.characters(exclude_characters="\n\r/\x00\ufeff", exclude_categories=["Cs"]),
    min_size=1,
    max_size=20,
).map(lambda text: "1_" + text + ".wav")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    names=st.lists(_names, min_size=1, max_size=6, unique_by=matching_name),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    byte_order_mark=st.booleans(),
    blanks=st.sampled_from(["", " ", "\t ", "\u00a0"]),
    blank_lines=st.integers(0, 2),
    ends_in_line_end=st.booleans(),
)
def test_list_parsing_gives_the_names_back(
    tmp_path_factory, names, line_end, byte_order_mark, blanks, blank_lines, ends_in_line_end
):
    directory = tmp_path_factory.mktemp("set", numbered=True)
    separator = blanks + line_end * (1 + blank_lines)
    text = separator.join(names) + (separator if ends_in_line_end else "")
    for folder, list_name in [
        ("references", "reference_file_names.csv"),
        ("vocal_imitations", "vocal_imitation_file_names.csv"),
    ]:
        (directory / folder).mkdir()
        for name in names:
            (directory / folder / name).touch()
        encoding = "utf-8-sig" if byte_order_mark else "utf-8"
        (directory / list_name).write_bytes(text.encode(encoding))
    index = read_index(directory)
    assert index.imitations == tuple(names)
    assert [pair.imitation for pair in index.pairs] == names
    assert list(index.references.values()) == names
    shutil.rmtree(directory)


def _remove_everything(directory):
    shutil.rmtree(directory)


def _empty(directory):
    shutil.rmtree(directory)
    directory.mkdir()


def _nest(directory):
    shutil.move(directory, directory.with_name("moved"))
    directory.mkdir()
    shutil.move(directory.with_name("moved"), directory / "Vim_Sketch_Dataset")


def _append(list_name, line):
    def change(directory):
        with (directory / list_name).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    return change


def _latin_1(directory):
    (directory / "reference_file_names.csv").write_bytes("001_möwe.wav\n".encode("latin-1"))


def _unpair(directory):
    for name in ("00002_snare_drum.wav", "00001_a dog, barking [1].wav"):
        (directory / "vocal_imitations" / name).unlink()
    (directory / "vocal_imitation_file_names.csv").write_text("00009_002x.wav\n")


def _add_imitation(name):
    def change(directory):
        (directory / "vocal_imitations" / name).touch()
        _append("vocal_imitation_file_names.csv", name)(directory)

    return change


def _add_reference(name):
    def change(directory):
        (directory / "references" / name).touch()
        _append("reference_file_names.csv", name)(directory)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_remove_everything, "does not exist"),
        (_empty, "is empty"),
        (_nest, r"give .*Vim_Sketch_Dataset instead"),
        (lambda d: shutil.rmtree(d / "references"), "does not hold references/"),
        (lambda d: (d / "reference_file_names.csv").unlink(), "but not reference_file_names"),
        (lambda d: (d / "vocal_imitation_file_names.csv").unlink(), "but not vocal_imitation_file"),
        (_append("reference_file_names.csv", "004_absent.wav"), r"names 1 of 4 .*'004_absent.wav'"),
        (_append("vocal_imitation_file_names.csv", "5_../x.wav"), r"names 1 of 4 .*vocal_imit"),
        (_append("vocal_imitation_file_names.csv", IMITATIONS[1]), r"names 1 .* more than once"),
        (_latin_1, "reference_file_names.csv is not UTF-8"),
        (_unpair, r"holds 3 references and 1 imitation, but no two that belong"),
        (_add_reference("nokey.wav"), r"'nokey.wav' .*first underscore"),
        (_add_reference("9_"), r"'9_' .*first underscore"),
        (_add_reference("9_snare_drum.wav"), r"'002_snare_drum.wav' and '9_snare_drum.wav'"),
        (
            _add_reference("9_snare_drum.flac"),
            r"'9_snare_drum.flac' .* first underscore but for its suffix or Unicode form",
        ),
        (
            _add_reference("9_u\u0308ber(mo\u0308we).wav"),
            r"003_\\xfcber.*' and '9_u\\u0308ber.* but for its suffix or Unicode form",
        ),
        (_add_imitation("00002_snare_drum.flac"), r"'00002_snare_drum.wav' and .*\.flac.* twice"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(tmp_path, change, said):
    directory = _make_dataset(tmp_path / "set")
    change(directory)
    with pytest.raises(UserError, match=said) as caught:
        read_index(directory)
    message = str(caught.value)
    assert str(directory) in message
    assert message.endswith(".") and "\n" not in message and ". " not in message


def test_many_absent_files_are_counted_and_the_first_named(tmp_path):
    directory = _make_dataset(tmp_path / "set")
    lines = [f"{number}_absent.wav" for number in range(20)]
    (directory / "vocal_imitation_file_names.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"names 20 of 20 .*'2_absent.wav', …\)") as caught:
        read_index(directory)
    assert "3_absent" not in str(caught.value)


def test_index_from_names_does_not_touch_the_disk():
    index = index_from_names("/nowhere", ["1_a.wav"], ["1_a.wav", "2_a.wav", "3_b.wav"])
    assert [pair.imitation for pair in index.pairs] == ["1_a.wav", "2_a.wav"]
    assert index.reference_path(index.pairs[1]) == Path("/nowhere/references/1_a.wav")
    assert index.imitation_path(index.pairs[1]) == Path("/nowhere/vocal_imitations/2_a.wav")
