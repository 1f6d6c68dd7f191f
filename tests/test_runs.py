"""A run's folder: the pairs that its record tells, the data set it names, what it has logged."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_run
import sound_folder
from qvae_jax import configuration, runs
from qvae_jax.runs import METRICS_FILE, SPLIT_FILE, open_run, read_metrics
from qvae_jax.system.errors import UserError

PARTS = ("train", "interpolation", "extrapolation")


def unrecorded(folder, data_set, **changes):
    """A run's folder with nothing in it but its config."""
    configuration.record(small_run.config(data_set, **changes), folder)
    return open_run(folder)


@pytest.fixture
def recorded(frozen_run, data_set, tmp_path):
    """A function that opens a run whose data set, and whose record, a test may change."""
    own = shutil.copytree(data_set, tmp_path / "own")
    workdir = tmp_path / "run"
    workdir.mkdir()
    shutil.copy(frozen_run / SPLIT_FILE, workdir)
    configuration.record(small_run.config(own), workdir)
    return lambda: open_run(workdir)


def grow(data_set) -> list[str]:
    """Adds two imitations of known sounds, and a sound with one; gives the imitations' names."""
    imitations, references = data_set / "vocal_imitations", data_set / "references"
    known = sorted(imitations.iterdir())
    shutil.copy(known[0], imitations / f"00100_{known[0].name.partition('_')[2]}")
    shutil.copy(known[-1], imitations / f"00101_{known[-1].name.partition('_')[2]}")
    shutil.copy(sorted(references.iterdir())[0], references / "100_new.wav")
    shutil.copy(known[0], imitations / "00102_new.wav")
    return sorted({path.name for path in imitations.iterdir()} - {path.name for path in known})


# --- The split


def test_the_pairs_are_those_that_were_trained_on_whatever_was_added(recorded, capsys):
    before = {part: recorded().pairs(part) for part in PARTS}
    added = grow(recorded().dataset_dir)
    run = recorded()
    assert len(added) == 3 and len(run.index.pairs) == 15
    assert {part: run.pairs(part) for part in PARTS} == before
    assert run.parts == list(PARTS)
    assert capsys.readouterr().out == ""
    # Worked out anew, some of them would have changed places.
    (run.folder / SPLIT_FILE).unlink()
    assert {part: recorded().pairs(part) for part in PARTS} != before


def test_windows_of_a_library_are_part_of_the_split(recorded, tmp_path):
    run = recorded()
    pairs = run.pairs("train")
    sounds = sound_folder.write(tmp_path / "sounds", a=6.0, b=0.5)
    record = json.loads((run.folder / SPLIT_FILE).read_text("utf-8"))
    record["sounds"] = {"train": {"a.wav": [2]}, "library": {"b.flac": [1]}}
    (run.folder / SPLIT_FILE).write_text(json.dumps(record))
    configuration.record(
        small_run.config(run.dataset_dir, **{"data.sounds_dir": str(sounds)}), run.folder
    )
    run = recorded()
    assert run.parts == [*PARTS, "library"]
    assert run.pairs("train")[:-1] == pairs and run.pairs("train")[-1].imitation == "a (2).wav"
    (held_out,) = run.pairs("library")
    assert run.catalogue.reference_path(held_out).path == sounds / "b.wav"
    (sounds / "b.wav").unlink()
    with pytest.raises(UserError, match="'b.flac' is no longer in library; restore the data set"):
        recorded().pairs("library")
    (run.folder / SPLIT_FILE).unlink()
    with pytest.raises(UserError, match="learnt from a sound library, and only split.json says"):
        recorded().pairs("train")


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_is_gone_is_named_where_its_part_is_asked_for(recorded, part):
    run = recorded()
    run.index.imitation_path(run.pairs(part)[1]).unlink()
    name = run.pairs(part)[1].imitation
    with pytest.raises(UserError, match=f"'{name}' is no longer in {part}; restore the data set"):
        recorded().pairs(part)
    for other in set(PARTS) - {part}:
        assert recorded().pairs(other) == run.pairs(other)


def test_a_reference_that_is_gone_is_named(recorded):
    run = recorded()
    pair = run.pairs("extrapolation")[0]
    run.index.reference_path(pair).unlink()
    with pytest.raises(UserError, match=f"'{pair.reference}', the reference of .* is gone"):
        recorded().pairs("extrapolation")


def test_without_a_record_the_split_is_worked_out_and_said_so_once(tmp_path, data_set, capsys):
    run = unrecorded(tmp_path, data_set)
    found = [run.pairs(part) for part in PARTS]
    assert [len(pairs) for pairs in found] == [6, 3, 3]
    assert len({pair for pairs in found for pair in pairs}) == 12
    told = capsys.readouterr().out
    assert "holds no split.json" in told and told.count("\n") == 1


def test_the_worked_out_split_is_the_recorded_one(frozen_run, tmp_path, data_set):
    run = unrecorded(tmp_path, data_set)
    for part in PARTS:
        assert run.pairs(part) == open_run(frozen_run).pairs(part)


def test_a_part_that_a_run_does_not_have(tmp_path, data_set):
    run = unrecorded(tmp_path, data_set, **{"overfit.num_pairs": 4})
    assert len(run.pairs("train")) == 4 and run.parts == ["train"]
    with pytest.raises(UserError, match="has no part 'interpolation': it has train"):
        run.pairs("interpolation")


@pytest.mark.parametrize("kind", ["imitation", "reference"])
def test_what_a_run_left_out_is_not_measured_either(data_set, tmp_path, kind):
    own = shutil.copytree(data_set, tmp_path / "own")
    pair = unrecorded(tmp_path, own).pairs("train")[0]
    folder = "vocal_imitations" if kind == "imitation" else "references"
    bad = own / folder / getattr(pair, kind)
    content = bad.read_bytes()
    bad.write_bytes(b"")
    changes = {"data.on_bad_file": "report", "training.num_epochs": 1}
    workdir = small_run.trained(own, tmp_path / "run", **changes)
    bad.write_bytes(content)  # mended since, which makes it no part of what was learnt
    left = open_run(workdir).pairs("train")
    assert 0 < len(left) < 6 and all(getattr(each, kind) != bad.name for each in left)


@pytest.mark.parametrize("content", ["3", '{"left_out": ["a.wav"]}', "{"])
def test_a_damaged_record_is_named(recorded, content):
    run = recorded()
    (run.folder / SPLIT_FILE).write_text(content)
    with pytest.raises(UserError, match="split.json"):
        run.pairs("train")


# --- The folder


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run's folder: it holds no config.json"):
        open_run(tmp_path)


def test_the_data_set_may_lie_in_the_run(tmp_path, data_set):
    assert unrecorded(tmp_path, data_set).dataset_dir == data_set
    run = unrecorded(tmp_path, data_set, **{"data.dataset_dir": ""})
    assert run.dataset_dir == tmp_path / "dataset"
    with pytest.raises(UserError, match="data folder .*dataset does not exist"):
        run.pairs("train")


def test_a_finished_run_holds_what_the_names_say(frozen_run):
    for name in (
        runs.CONFIG_FILE,
        runs.SPLIT_FILE,
        runs.METRICS_FILE,
        runs.ENVIRONMENT_FILE,
        runs.LOCK_FILE,
        runs.CHECKPOINTS,
        runs.TENSORBOARD,
    ):
        assert (frozen_run / name).exists(), name


# --- Its metrics


GOOD_LINE = '{"step": 1, "part": "train", "epoch": 1, "total": 3.5}\n'


def written(folder, content: bytes):
    (folder / METRICS_FILE).write_bytes(content)
    return folder


@pytest.mark.parametrize("leave_out", [False, True])
def test_a_runs_metrics_are_read(frozen_run, leave_out):
    lines = (frozen_run / METRICS_FILE).read_text("utf-8").splitlines()
    found = read_metrics(frozen_run, leave_out_damaged=leave_out)
    assert found == list(map(json.loads, lines)) and len(found) > 6


def test_a_run_that_has_not_trained_has_no_metrics(tmp_path):
    with pytest.raises(UserError, match="metrics.jsonl cannot be read .*: name the workdir"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("rest", [b"\x8d\xff\xfe", GOOD_LINE.encode() + b"\xff\xfe\x00"])
def test_what_is_no_text_is_named_or_left_out(tmp_path, rest):
    number = 1 + rest.count(b"\n") + 1
    for content in (GOOD_LINE.encode() + rest, GOOD_LINE.encode() + rest + b"\n"):
        written(tmp_path, content)
        with pytest.raises(UserError, match=f"metrics.jsonl is damaged: line {number} "):
            read_metrics(tmp_path)
        found = read_metrics(tmp_path, leave_out_damaged=True)
        assert found == (number - 1) * [json.loads(GOOD_LINE)]


def test_a_last_line_cut_short_is_left_out(tmp_path):
    whole = GOOD_LINE.encode()
    for length in range(1, len(whole) - 1):
        assert len(read_metrics(written(tmp_path, whole + whole[:length]))) == 1
    assert len(read_metrics(written(tmp_path, whole + whole[:-1]))) == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "3",
        "[" * 100_000,
        '{"part": "train"}',
        '{"step": -1, "part": "train"}',
        '{"step": 1.5, "part": "train"}',
        '{"step": true, "part": "train"}',
        '{"step": 1, "part": 3}',
        '{"step": 1, "part": "train", "epoch": "one"}',
        '{"step": 1, "part": "train", "total": "low"}',
        '{"step": 1, "part": "train", "total": null}',
        '{"step": 1, "part": "train", "total": 1' + 400 * "0" + "}",
    ],
    ids=lambda line: line[:50],
)
def test_another_damaged_line_is_named_or_left_out(tmp_path, line):
    written(tmp_path, f"{GOOD_LINE}{line}\n{GOOD_LINE}".encode())
    with pytest.raises(UserError, match=r"metrics.jsonl is damaged: line 2 ") as raised:
        read_metrics(tmp_path)
    assert "\n" not in str(raised.value)
    assert read_metrics(tmp_path, leave_out_damaged=True) == 2 * [json.loads(GOOD_LINE)]


@given(
    content=st.binary() | st.text().map(str.encode) | st.from_regex(r"({.{9}}\n)+").map(str.encode)
)
def test_whatever_the_file_holds_there_are_entries_or_one_line(tmp_path_factory, content):
    folder = written(tmp_path_factory.mktemp("run"), content)
    try:
        assert all({"step", "part"} <= entry.keys() for entry in read_metrics(folder))
    except UserError as error:
        assert str(folder / METRICS_FILE) in str(error)
