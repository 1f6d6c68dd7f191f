"""Searching a library by what was hummed: what is found, told, written, and refused."""

import html
import json
import re
import shutil

import numpy as np
import pytest

import fake_hub
import small_run
import sound_folder
from hearing import Hearing
from qvae_jax.modes import search as mode
from qvae_jax.modes.requests import SearchRequest
from qvae_jax.retrieval import encoders, threshold
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.system import caches
from qvae_jax.system.errors import UserError
from qvae_jax.visualisation import search_page

RATE_HZ = sound_folder.RATE_HZ
AWKWARD = ["<script>alert(1)</script>.wav", "new\nline\x1b[31m.wav", '\udcff & "quoted".wav']


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """An encoder of eight bands, and a cache folder of the test's own."""
    hearing = Hearing()
    monkeypatch.setenv(caches.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(encoders, "load_encoders", lambda folder: Encoders(hearing, hearing))
    return hearing


def tone(frequency_hz: float, duration_s: float = 0.5, noise: float = 0.02) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    seed = round(frequency_hz)
    hiss = np.random.default_rng(seed).standard_normal(len(time_s))
    return 0.5 * np.sin(2 * np.pi * frequency_hz * time_s) + noise * hiss


@pytest.fixture
def library(tmp_path):
    """A tone in each of the eight bands of 500 Hz (up to 4 kHz), under awkward names too."""
    names = [*AWKWARD, "deeper/low.wav", "e.flac", "f.wav", "g.wav", "h.wav"]
    for band, name in enumerate(names):
        sound_folder.write_samples(tmp_path / "library" / name, tone(500 * (1.99 * band + 1)))
    return tmp_path / "library"


@pytest.fixture
def hum(tmp_path):
    """A tone of the second band."""
    sound_folder.write_samples(tmp_path / "hum.wav", tone(500 * 2.99, 0.4, noise=0.05))
    return tmp_path / "hum.wav"


@pytest.fixture
def checkpoint(tmp_path):
    (tmp_path / "encoder").mkdir()
    return tmp_path / "encoder"


@pytest.fixture
def search(checkpoint, library, hum):
    def called(**options):
        request = {"checkpoint": str(checkpoint), "library": str(library), "inputs": str(hum)}
        mode.search(SearchRequest(**request | options))

    return called


def test_an_encoder_on_the_hub_is_fetched(search, monkeypatch, tmp_path, small):
    hub, asked = fake_hub.installed(monkeypatch, tmp_path / "hub"), []
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").touch()
    hub.repositories["owner/name", None] = tmp_path / "there"
    load = lambda folder: asked.append(folder) or Encoders(small, small)
    monkeypatch.setattr(encoders, "load_encoders", load)
    search(checkpoint="hf://owner/name")
    assert [(folder / "config.json").is_file() for folder in asked] == [True]


def pairs_of(data_set) -> list:
    return sorted((data_set / "vocal_imitations").iterdir())


def test_the_nearest_are_told_in_a_table_whose_lines_no_name_breaks(search, capsys):
    search(top=8)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("note: whether a query is unlike everything is not told")
    assert lines[1].endswith("hum.wav: the nearest of 8 sounds in " + lines[1].split(" in ")[1])
    assert lines[2].split() == ["rank", "cosine", "seconds", "file"]
    assert len(lines) == 3 + 8
    assert lines[3].split(maxsplit=3)[0] == "1"
    assert lines[3].endswith(repr(AWKWARD[1]))
    assert any(line.endswith("  " + repr(AWKWARD[2])) for line in lines)
    cosines = [float(line.split()[1]) for line in lines[3:]]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] > 0.95 > cosines[1]


def test_results_and_page_hold_what_was_found(search, library, hum, tmp_path, capsys):
    search(output_dir=str(tmp_path / "out"), top=8)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.html",
        "results.json",
    ]
    found = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert found["library"] == str(library) and found["num_sounds"] == 8
    (query,) = found["queries"]
    assert query["input"] == str(hum) and query["unlike_everything"] is None
    assert {one["name"] for one in query["nearest"]} >= set(AWKWARD)
    for rank, one in enumerate(query["nearest"], 1):
        assert one["rank"] == rank and one["duration_s"] == pytest.approx(0.5)
        assert one["path"] == str(library / one["name"])
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    assert page.count("<audio ") == 1 + 8 and page.count("data:audio/flac") == 1 + 8
    assert "<script" not in page and html.escape(AWKWARD[0]) in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'out' / 'index.html'}\n")


def test_results_are_replaced_and_other_files_kept(search, tmp_path):
    out = tmp_path / "out"
    search(output_dir=str(out), top=1)
    search(output_dir=str(out), top=2)
    assert len(json.loads((out / "results.json").read_text())["queries"][0]["nearest"]) == 2
    (out / "results.json").write_text("{}")
    with pytest.raises(UserError, match="index.html is there already"):
        search(output_dir=str(out))
    assert (out / "results.json").read_text() == "{}"


def test_a_sound_that_goes_meanwhile_is_left_off_the_page(
    search, library, tmp_path, capsys, monkeypatch
):
    sound = search_page.sound

    def going(found):
        found.path.unlink(missing_ok=True)
        return sound(found)

    monkeypatch.setattr(search_page, "sound", going)
    search(output_dir=str(tmp_path / "out"), top=1)
    assert "left off the page: The audio file" in capsys.readouterr().out
    assert (tmp_path / "out" / "index.html").read_text("utf-8").count("<audio ") == 1


def test_several_queries_have_a_table_each(search, hum, library, capsys):
    search(inputs=f"{hum},{library / 'g.wav'}", top=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("     1")][1] == "g.wav"


def test_a_threshold_is_fitted_and_kept(search, data_set, checkpoint, capsys):
    search(pairs=str(data_set), inputs=None, library=None)
    said = capsys.readouterr().out
    kept = threshold.read(checkpoint, encoders.load_encoders(""))
    assert kept.num_queries == 12 and kept.false_alarm_rate == pytest.approx(1 / 13)
    assert f"below {kept.similarity:.3f} (at most 7.7% of queries" in said


def test_a_query_unlike_everything_is_told_with_how_often_that_is_wrong(
    search, checkpoint, tmp_path, capsys
):
    known = threshold.Threshold(0.95, 0.05, 0.4, 99, "the pairs")
    threshold.write(checkpoint, encoders.load_encoders(""), known)
    search(output_dir=str(tmp_path / "out"))
    assert "is unlike anything" not in capsys.readouterr().out
    sound_folder.write_samples(tmp_path / "lone" / "hiss.wav", tone(500 * 13.9))
    search(output_dir=str(tmp_path / "out"), library=str(tmp_path / "lone"))
    said = capsys.readouterr().out
    assert f"hum.wav is unlike anything in {tmp_path / 'lone'}: " in said
    assert "below 0.950 (at most 5.0% of queries whose sound is there fall below" in said
    assert "by 99 of the pairs, and 40% of those whose sound is taken out do)" in said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["queries"][0]["unlike_everything"] is True
    assert results["threshold"]["false_alarm_rate"] == 0.05
    assert "unlike anything in" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_a_silent_query_is_named_and_the_others_are_answered(search, tmp_path, hum, capsys):
    silence = tmp_path / "silence.wav"
    sound_folder.write_samples(silence, np.zeros(5_000))
    with pytest.raises(UserError, match="No query can be heard"):
        search(inputs=str(silence))
    capsys.readouterr()
    search(inputs=f"{silence},{hum}", output_dir=str(tmp_path / "out"))
    assert f"left out {silence}: it is silent where it is heard" in capsys.readouterr().out
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [query["input"] for query in results["queries"]] == [str(hum)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workdir": "run"}, "give either --checkpoint, an encoder, or --workdir"),
        ({"checkpoint": None}, "give either --checkpoint, an encoder, or --workdir"),
        ({"pairs": "a", "from_split": "train"}, "--pairs and --from_split both name pairs"),
        ({"from_split": "interpolation"}, "--from_split needs --workdir"),
        ({"inputs": None}, "--inputs and --library belong together"),
        ({"library": None}, "--inputs and --library belong together"),
        ({"top": 0}, "--top is 0: set it to 1 or more"),
        ({"window": "last"}, "--window is 'last': set it to one of first, loudest"),
        ({"inputs": "absent.wav"}, "absent.wav does not exist"),
        ({"library": "absent"}, "The folder absent does not exist"),
        ({"pairs": "absent"}, "absent"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_a_line(search, options, message):
    with pytest.raises(UserError, match=message) as told:
        search(**options)
    assert "\n" not in str(told.value)


def test_a_run_of_encoders_hears_with_its_best(search, frozen_run, tmp_path, library, hum):
    run = shutil.copytree(frozen_run, tmp_path / "run")
    (run / "encoder").mkdir()
    mode.search(SearchRequest(workdir=str(run), from_split="interpolation"))
    kept = threshold.read(run / "encoder", encoders.load_encoders(""))
    assert kept.num_queries == 3 and kept.of == "the pairs of interpolation"
    search(checkpoint=None, workdir=str(run), output_dir=str(tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["threshold"]["similarity"] == kept.similarity


def test_a_run_hears_with_its_own_encoder_and_learns_from_its_split(
    frozen_run, data_set, tmp_path, capsys
):
    run = shutil.copytree(frozen_run, tmp_path / "run")
    query = pairs_of(data_set)[0]
    mode.search(
        SearchRequest(
            workdir=str(run),
            from_split="interpolation",
            library=str(data_set / "references"),
            inputs=str(query),
        )
    )
    lines = capsys.readouterr().out.splitlines()
    assert "a query is unlike everything below" in lines[0] and "3 of the pairs" in lines[0]
    assert (run / threshold.THRESHOLD_FILE).is_file()
    assert sum(small_run.NUM_SOUNDS == int(line.split()[0]) for line in lines[-1:]) == 1
