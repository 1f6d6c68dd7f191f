"""`--mode=doctor`: every problem is found, and nothing is changed."""

import hashlib
import json
import os
import pathlib
import shutil

import ml_collections
import numpy as np
import pytest
import soundfile

import small_run
import sound_folder
from qvae_jax.data import problems
from qvae_jax.data.vimsketch import read_index
from qvae_jax.modes.doctor import doctor
from qvae_jax.modes.requests import DoctorRequest
from qvae_jax.system.errors import UserError

RATE_HZ = 16_000
R, I = "references", "vocal_imitations"


def noise(num_frames: int = RATE_HZ, num_channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((num_frames, num_channels))


def config_for(folder: pathlib.Path | str) -> ml_collections.ConfigDict:
    config = small_run.config(pathlib.Path(folder), **{"data.input_duration_s": 10.0})
    config.data.dataset_dir = str(folder)
    return config


def state_of(folder: pathlib.Path) -> dict[str, tuple]:
    """Everything that a change of the folder would show in, but for times of reading."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.lstat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in [folder, *folder.rglob("*")]
    }


def found_in(report: dict) -> dict[str, list[str]]:
    return {name: entry["files"] for name, entry in report["problems"].items() if entry["files"]}


def sick_data_set(folder: pathlib.Path) -> pathlib.Path:
    """Two healthy pairs, and each problem once or twice."""
    for part in (R, I):
        (folder / part).mkdir(parents=True)
    seeds = iter(range(100))

    def write(path: str, samples=None, rate_hz=RATE_HZ, **options) -> None:
        samples = noise(seed=next(seeds)) if samples is None else samples
        soundfile.write(folder / path, samples, rate_hz, **options)

    write(f"{R}/1_healthy.wav", noise(4 * RATE_HZ, seed=50))
    write(f"{I}/01_healthy.wav")
    write(f"{I}/02_healthy.wav", noise(11 * RATE_HZ, seed=51))
    write(f"{R}/2_silent.wav", 0.9 * problems.SILENT_PEAK * np.ones(RATE_HZ), subtype="FLOAT")
    write(f"{I}/03_silent.wav", noise(RATE_HZ // 20, seed=52))
    write(f"{R}/3_clipped.wav", (20 * noise(seed=53)).clip(-1, 1))
    write(f"{I}/04_clipped.wav", noise(num_channels=2, seed=54))
    write(f"{R}/4_odd.wav", noise(seed=55), 12_345)
    write(f"{I}/05_odd.wav", np.full(RATE_HZ, np.nan), subtype="FLOAT")
    write(f"{R}/5_cut.wav")
    os.truncate(folder / R / "5_cut.wav", 20_000)
    write(f"{I}/06_cut.wav", noise(4 * RATE_HZ, seed=50))
    write(f"{R}/6_twin.wav", 300 * noise(seed=56), subtype="FLOAT")
    write(f"{R}/7_twin.wav", noise(seed=57) * [1, -1])
    write(f"{R}/8_unlisted.wav")
    write(f"{I}/07_nobodys.wav")
    write(f"{R}/9_unimitated.wav")
    write(f"{I}/nokey.wav")
    write(f"{I}/07_nobodys.flac")
    (folder / R / "speaker1").mkdir()
    (folder / I / "dangling.wav").symlink_to("absent.wav")
    with (folder / I / "nokey.wav").open("ab") as file:
        file.write(bytes(range(1, 256)) * 40)
    (folder / R / ".hidden").touch()
    listed = {
        R: ["1_healthy", "2_silent", "3_clipped", "4_odd", "5_cut", "6_twin", "7_twin"]
        + ["9_unimitated", "10_absent"],
        I: ["01_healthy", "02_healthy", "03_silent", "04_clipped", "05_odd", "06_cut"]
        + ["07_nobodys", "nokey", "08_twin", "01_healthy"],
    }
    for part, list_name in ((R, "reference_file_names.csv"), (I, "vocal_imitation_file_names.csv")):
        lines = [f"{name}.wav\n" for name in listed[part]]
        (folder / list_name).write_text("".join(lines) + "07_nobodys.flac\n" * (part == I))
    return folder


SICK = {
    "unreadable": [f"{R}/5_cut.wav"],
    "not_finite": [f"{I}/05_odd.wav"],
    "absent": [f"{R}/10_absent.wav", f"{I}/08_twin.wav"],
    "listed_twice": [f"{I}/01_healthy.wav"],
    "same_name": [f"{I}/07_nobodys.flac", f"{I}/07_nobodys.wav"],
    "without_key": [f"{I}/nokey.wav"],
    "same_key": [f"{R}/6_twin.wav", f"{R}/7_twin.wav"],
    "unlisted": [f"{R}/8_unlisted.wav"],
    "folders": [f"{R}/speaker1"],
    "no_files": [f"{I}/dangling.wav"],
    "without_reference": [f"{I}/07_nobodys.wav", f"{I}/07_nobodys.flac"],
    "without_imitation": [f"{R}/9_unimitated.wav", f"{R}/10_absent.wav"],
    "silent": [f"{R}/2_silent.wav"],
    "short": [f"{I}/03_silent.wav"],
    "beyond_scale": [f"{R}/6_twin.wav"],
    "cancelled": [f"{R}/7_twin.wav"],
    "goes_on": [f"{I}/nokey.wav"],
    "clipped": [f"{R}/3_clipped.wav"],
    "multichannel": [f"{R}/7_twin.wav", f"{I}/04_clipped.wav"],
    "odd_rate": [f"{R}/4_odd.wav"],
    "duplicates": [f"{I}/06_cut.wav"],
}


def test_every_problem_is_found_and_nothing_changed(tmp_path, capsys):
    folder = sick_data_set(tmp_path / "set")
    before = state_of(folder)
    report = doctor(config_for(folder), DoctorRequest(str(tmp_path / "out")))
    assert state_of(folder) == before
    assert found_in(report) == SICK
    without_lists = {"foreign", "other_files"}
    assert SICK.keys() == problems.PROBLEMS.keys() - without_lists
    assert report["duplicates"] == [[f"{R}/1_healthy.wav", f"{I}/06_cut.wav"]]
    assert os.listdir(tmp_path / "out") == ["report.json"]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report

    references, imitations = report["parts"][R], report["parts"][I]
    assert references["num_files"] == 7 and imitations["num_files"] == 9
    assert references["sample_rates_hz"] == {"16000": 6, "12345": 1}
    assert references["cut_at_s"] == pytest.approx(59_049 / 22_050)
    assert references["cut_share"] == pytest.approx(1 / 7)
    assert imitations["cut_share"] == pytest.approx(1 / 9)
    assert imitations["duration_percentiles_s"]["0"] == pytest.approx(0.05)
    assert imitations["duration_percentiles_s"]["50"] == pytest.approx(1.0)
    assert imitations["duration_percentiles_s"]["100"] == pytest.approx(11.0)
    assert imitations["channels"] == {"1": 8, "2": 1}

    output = capsys.readouterr().out
    for problem, names in SICK.items():
        assert f"{len(names):>6} {problem} " in output
    assert "5_cut.wav is cut short: its header promises" in output
    with pytest.raises(UserError) as caught:
        read_index(folder)
    assert report["verdict"] == f"prepare stops: {caught.value}" and report["verdict"] in output


def test_a_healthy_set_has_no_problem(data_set, tmp_path, capsys):
    report = doctor(config_for(data_set), DoctorRequest())
    assert found_in(report) == {}
    assert report["verdict"] == "prepare can begin: 12 pairs of 4 sounds."
    assert capsys.readouterr().out.endswith("prepare can begin: 12 pairs of 4 sounds.\n")


def test_what_is_passed_over_is_a_problem_with_a_way_out(own_data_set, capsys):
    for name in ("7_x.m4a", "8_x.webm", "notes.txt", ".DS_Store"):
        (own_data_set / I / name).touch()
    report = doctor(config_for(own_data_set), DoctorRequest())
    assert found_in(report) == {
        "foreign": [f"{I}/7_x.m4a", f"{I}/8_x.webm"],
        "other_files": [f"{I}/notes.txt"],
    }
    told = capsys.readouterr().out
    assert "2 foreign            of a kind that libsndfile does not read: left out: convert" in told
    assert f"'{I}/7_x.m4a', '{I}/8_x.webm'" in told


def test_a_data_set_too_small_for_its_split_is_no_healthy_one(own_data_set):
    for path in sorted((own_data_set / I).iterdir())[1:]:
        path.unlink()
    verdict = doctor(config_for(own_data_set), DoctorRequest())["verdict"]
    assert (
        verdict.startswith("prepare stops: The split of")
        and "leaves no pair to train on" in verdict
    )
    config = config_for(own_data_set)
    config.data.split = "all"
    assert doctor(config, DoctorRequest())["verdict"].startswith(
        "prepare can begin: 1 pair of 4 sou"
    )


def test_files_that_cannot_be_read_stop_prepare_unless_left_out(data_set, tmp_path):
    folder = shutil.copytree(data_set, tmp_path / "set")
    for path in sorted((folder / I).iterdir())[:2]:
        path.write_bytes(b"not audio")
    verdict = doctor(config_for(folder), DoctorRequest())["verdict"]
    assert verdict.startswith("prepare stops at 2 files: ") and "on_bad_file=report" in verdict


def test_names_of_any_bytes_are_reported(data_set, tmp_path):
    folder = shutil.copytree(data_set, tmp_path / "set")
    name = os.fsdecode(b"99999_caf\xe9.wav")
    (folder / I / name).write_bytes(b"not audio")
    report = doctor(config_for(folder), DoctorRequest(str(tmp_path / "out")))
    read_back = json.loads((tmp_path / "out" / "report.json").read_text())
    assert read_back["problems"]["unreadable"]["files"] == [f"{I}/{name}"]
    assert found_in(report)["without_reference"] == [f"{I}/{name}"]


def test_the_real_excerpt(shared_dir):
    config = config_for(shared_dir / "vimsketch_mini")
    config.data.split = "all"
    report = doctor(config, DoctorRequest())
    counts = {name: len(names) for name, names in found_in(report).items()}
    assert counts == {"without_reference": 4, "without_imitation": 4}
    assert report["verdict"] == "prepare can begin: 8 pairs of 12 sounds."


@pytest.mark.parametrize("output", ["set", "set/report", "link/x"])
def test_the_report_is_never_written_into_the_data(tmp_path, output):
    folder = sick_data_set(tmp_path / "set")
    (tmp_path / "link").symlink_to(folder)
    before = state_of(folder)
    with pytest.raises(UserError, match="is inside the data set"):
        doctor(config_for(folder), DoctorRequest(str(tmp_path / output)))
    assert state_of(folder) == before


@pytest.mark.parametrize(
    ("dataset_dir", "message"),
    [("", "data.dataset_dir is empty"), ("absent", "does not exist"), (".", "does not hold")],
)
def test_where_there_is_no_data_set_it_says_so(tmp_path, monkeypatch, dataset_dir, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    with pytest.raises(UserError, match=message):
        doctor(config_for(dataset_dir), DoctorRequest())


def test_empty_folders_are_a_verdict_not_a_crash(tmp_path):
    (tmp_path / R).mkdir()
    (tmp_path / I).mkdir()
    report = doctor(config_for(tmp_path), DoctorRequest())
    assert report["verdict"].startswith(f"prepare stops: The data folder {tmp_path} holds 0 ref")
    assert report["parts"][R]["num_files"] == 0


def test_a_report_is_rewritten_and_no_other_file(tmp_path):
    config, out = config_for(sick_data_set(tmp_path / "set")), tmp_path / "out"
    for _ in range(2):
        doctor(config, DoctorRequest(str(out)))
    (out / "report.json").write_text('{"sales": 7}')
    with pytest.raises(UserError, match="report.json is there already.*name another --output_dir"):
        doctor(config, DoctorRequest(str(out)))
    assert (out / "report.json").read_text() == '{"sales": 7}'


def test_a_library_is_examined_too(own_data_set, tmp_path, capsys):
    sounds = sound_folder.write(tmp_path / "sounds", **{"a": 1.0, "drums/b": 1.0, "click": 0.0005})
    shutil.copy(sounds / "a.wav", sounds / "again.wav")
    shutil.copy(sounds / "a.wav", sounds / "a.flac")
    sound_folder.write_samples(sounds / "nothing.wav", np.zeros(9_000))
    config = config_for(own_data_set)
    config.data.sounds_dir = str(sounds)
    before = state_of(sounds)
    both = doctor(config, DoctorRequest())
    config.data.dataset_dir = ""
    alone = doctor(config, DoctorRequest())
    assert state_of(sounds) == before and both["library"] == alone
    assert both["verdict"].startswith("prepare can begin: 12 pairs")
    assert found_in(alone) == {
        "same_name": ["a.wav"],
        "silent": ["nothing.wav"],
        "too_short": ["click.wav"],
        "short": ["click.wav"],
        "duplicates": ["again.wav"],
    }
    assert alone["verdict"] == "prepare can begin: 3 files to learn from."
    assert "library: 5 readable files" in capsys.readouterr().out
    (sounds / "drums" / "b.wav").write_bytes(b"")
    assert doctor(config, DoctorRequest())["verdict"].startswith("prepare stops at 1 file")
    with pytest.raises(UserError, match="inside the data set"):
        doctor(config, DoctorRequest(output_dir=str(sounds / "report")))


def test_a_library_of_silence_stops_prepare(tmp_path):
    sound_folder.write_samples(tmp_path / "s" / "a.wav", np.zeros(9_000))
    config = config_for("")
    config.data.dataset_dir, config.data.sounds_dir = "", str(tmp_path / "s")
    assert doctor(config, DoctorRequest())["verdict"] == (
        "prepare stops: there is nothing to learn from."
    )
