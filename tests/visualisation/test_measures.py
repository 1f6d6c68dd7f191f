"""A page's numbers: an evaluation's, or else the losses of the last validation before its step."""

import pathlib

import pytest

from qvae_jax.evaluation import report
from qvae_jax.evaluation.embedding import Embedder
from qvae_jax.evaluation.statistics import Estimate
from qvae_jax.system import files
from qvae_jax.visualisation import measures

LOGGED = [
    {"step": 2, "part": "interpolation", "total": 9.0},
    {"step": 4, "part": "interpolation", "total": 3.0, "kl": 0.25},
    {"step": 4, "part": "extrapolation", "total": 4.0},
    {"step": 4, "part": "train", "total": 1.0},
    {"step": 4, "part": "speed", "data_wait": 1.0},
    {"step": 6, "part": "interpolation", "total": 2.0},
]


def result(part: str, step: int) -> dict:
    return report.result(
        part=part,
        trimmed=False,
        num_examples=3,
        num_references=2,
        model={"step": step},
        embedder=Embedder("an embedder", True, False, lambda sounds: sounds),
        latent_dim=4,
        baselines_from="training references",
        estimates={
            name: {measure: Estimate(1.5, 1.0, 2.0) for measure in ("mel", "loudness_difference")}
            for name in ("model", "silence")
        },
        silence_wins=["mel"],
    )


def test_the_evaluations_of_a_folder_are_read_in_the_splits_order(tmp_path):
    for part in ("extrapolation", "train", "pairs"):
        files.write_json(tmp_path / f"{part}.json", result(part, 4))
    found = measures.read_evaluations(tmp_path)
    assert [each["part"] for each in found] == ["train", "extrapolation"]
    assert measures.read_evaluations(tmp_path / "absent") == []


def test_a_result_without_measures_has_no_table():
    empty = result("train", 4) | {"systems": {"model": {}}}
    assert measures.tables([empty], LOGGED, 4, pathlib.Path("run"))[0] == []


@pytest.mark.parametrize(("steps", "stale"), [((4, 4), False), ((4, 2), True)])
def test_an_evaluation_comes_before_the_losses(steps, stale):
    evaluated = [result(part, step) for part, step in zip(("train", "extrapolation"), steps)]
    found, about, command = measures.tables(evaluated, LOGGED, 4, pathlib.Path("a run"))
    assert [table.caption for table in found] == [
        f"against the {of}; {part}, step {step}: 3 pairs, 2 references"
        for part, step in zip(("train", "extrapolation"), steps)
        for of in ("reference", "imitation")
    ]
    assert ["mel loss ↓", *["1.500\n[1.000, 2.000]"] * 2] in found[0].rows
    assert ["loudness, dB ↓", *["1.50\n[1.00, 2.00]"] * 2] in found[1].rows
    assert [table.note for table in found] == 2 * ["", report.about_silence(evaluated[0])]
    assert ("Not all are of the checkpoint" in about) == stale == bool(command)


def test_the_losses_are_those_of_the_last_validation_up_to_the_step():
    [table], about, command = measures.tables([], LOGGED, 5, pathlib.Path("a run"))
    assert (table.caption, table.head) == ("losses at step 4", ["interpolation", "extrapolation"])
    assert table.rows[0][1:] == ["3.000", "4.000"] and table.rows[-1][1:] == ["0.250", "–"]
    assert "last validation" in about
    assert command.endswith(" --mode=evaluate --workdir='a run'")


def test_without_a_validation_there_is_no_table():
    found, about, command = measures.tables([], LOGGED[3:5], 4, pathlib.Path("run"))
    assert found == [] and "has not been validated" in about and command
