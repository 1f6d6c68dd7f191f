"""The report on a data set: what it counts, and the lines it is printed as."""

import shutil

import pytest

from qvae_jax.data import health_report
from qvae_jax.data.examine import Examination
from qvae_jax.data.problems import PROBLEMS

R, I = "references", "vocal_imitations"


def examination(duration_s: float, sample_rate_hz: int = 44_100, channels: int = 1) -> Examination:
    return Examination(
        duration_s=duration_s,
        sample_rate_hz=sample_rate_hz,
        num_channels=channels,
        encoding="WAV PCM_16",
        peak=0.5,
        sound_digest=f"{duration_s} {sample_rate_hz} {channels}",
    )


EXAMINED = {
    f"{R}/1_a.wav": examination(2.0, 22_050),
    f"{R}/2_b.wav": examination(4.0, 44_100, 2),
    f"{R}/3_c.wav": Examination(fault="The audio file 3_c.wav is empty (0 bytes)."),
    **{f"{I}/{number}_a.wav": examination(float(number)) for number in range(1, 6)},
}


def test_counts_and_durations_are_those_of_readable_files():
    parts = health_report.parts_of(EXAMINED, input_duration_s=4.0)
    references, imitations = parts[R], parts[I]
    assert (references["num_files"], imitations["num_files"]) == (2, 5)
    assert (references["total_duration_s"], imitations["total_duration_s"]) == (6.0, 15.0)
    assert references["sample_rates_hz"] == {"22050": 1, "44100": 1}
    assert references["channels"] == {"1": 1, "2": 1}
    assert imitations["encodings"] == {"WAV PCM_16": 5}
    assert imitations["duration_percentiles_s"]["50"] == 3.0
    assert imitations["cut_at_s"] == 4.0 and imitations["cut_share"] == 0.2
    assert references["cut_at_s"] == pytest.approx(59_049 / 22_050)
    assert references["cut_share"] == 0.5


def test_one_file_is_one_file_and_one_pair_one_pair(data_set, tmp_path):
    for folder in (R, I):
        (tmp_path / folder).mkdir()
        shutil.copy(min((data_set / folder).iterdir()), tmp_path / folder)
    report = health_report.report_on(tmp_path, input_duration_s=10.0)
    assert report["verdict"] == "prepare can begin: 1 pair of 1 sound."
    assert f"{R}: 1 readable file, 0.00 h" in health_report.lines_of(report)
    next((tmp_path / R).iterdir()).write_bytes(b"no sound")
    verdict = health_report.report_on(tmp_path, input_duration_s=10.0)["verdict"]
    assert verdict.startswith("prepare stops at 1 file: replace")


def test_a_folder_without_readable_files_has_no_percentiles():
    part = health_report.parts_of({}, input_duration_s=4.0)[R]
    assert part["num_files"] == 0 and part["cut_share"] == 0.0
    assert part["duration_percentiles_s"] == {}


@pytest.mark.parametrize(
    ("num_files", "num_faults", "shown"),
    [
        (0, 0, []),
        (1, 0, [f"'{R}/0_x.wav'"]),
        (3, 0, [f"'{R}/0_x.wav', '{R}/1_x.wav', '{R}/2_x.wav'"]),
        (5, 0, [f"'{R}/0_x.wav', '{R}/1_x.wav', '{R}/2_x.wav', …"]),
        (2, 1, [f"'{R}/0_x.wav', '{R}/1_x.wav'"]),
        (2, 2, ["File 0 is cut short.", "File 1 is cut short."]),
        (5, 5, [f"File {number} is cut short." for number in range(3)] + ["…"]),
    ],
)
def test_each_problem_is_a_line_and_its_first_files(num_files, num_faults, shown):
    files = [f"{R}/{number}_x.wav" for number in range(num_files)]
    problems = {
        problem: {"meaning": meaning, "consequence": consequence, "files": []}
        for problem, (meaning, consequence) in PROBLEMS.items()
    }
    problems["absent"]["files"] = files
    faults = {file: {"fault": f"File {i} is cut short."} for i, file in enumerate(files)}
    lines = health_report.lines_of(
        {
            "parts": {},
            "problems": problems,
            "files": dict(list(faults.items())[:num_faults]),
            "verdict": "prepare stops.",
        }
    )
    outcome = ": prepare stops" if files else ""
    start = lines.index(
        f"{num_files:>6} absent             listed, but not in their folder{outcome}"
    )
    assert [line.strip() for line in lines[start + 1 : start + 1 + len(shown)]] == shown
    assert len(lines) == len(PROBLEMS) + len(shown) + 1 and lines[-1] == "prepare stops."


def test_a_folder_is_five_lines_and_its_files():
    part = health_report.parts_of(EXAMINED, input_duration_s=4.0)[I]
    assert health_report.lines_of(
        {"parts": {I: part}, "problems": {}, "files": {}, "verdict": "prepare can begin."}
    ) == [
        "vocal_imitations: 5 readable files, 0.00 h",
        "  sample_rates_hz  44100: 5",
        "  channels         1: 5",
        "  encodings        WAV PCM_16: 5",
        "  durations (s)    0 %: 1.00, 1 %: 1.04, 10 %: 1.40, 50 %: 3.00, 90 %: 4.60, 99 %: 4.96, "
        "100 %: 5.00",
        "  20.0% are longer than 4.00 s and will be cut",
        "prepare can begin.",
    ]


def test_a_data_sets_report_holds_every_file(data_set):
    report = health_report.report_on(data_set, input_duration_s=10.0)
    assert len(report["files"]) == 16 and report["dataset_dir"] == str(data_set)
    assert report["verdict"] == "prepare can begin: 12 pairs of 4 sounds."
    assert {name: part["num_files"] for name, part in report["parts"].items()} == {R: 4, I: 12}
    assert not any(entry["files"] for entry in report["problems"].values())
