"""What a page tells in numbers: the results of an evaluation or, without one, a run's losses."""

import dataclasses
import pathlib
import shlex
from collections.abc import Sequence

from qvae_jax import losses
from qvae_jax.data import splits
from qvae_jax.evaluation import report
from qvae_jax.system.command import command
from qvae_jax.visualisation.page import Table

LOSS_TITLES = {
    "total": "loss that training minimises",
    **{term.name: term.heading for term in losses.TABLE},
}


def read_evaluations(folder: pathlib.Path) -> list[dict]:
    """The results of --mode=evaluate that lie in a folder, of the parts of a run's split."""
    paths = [folder / f"{part}.json" for part in splits.PARTS]
    return [report.read(path) for path in paths if path.is_file()]


def tables(
    evaluated: Sequence[dict], logged: Sequence[dict], step: int, workdir: pathlib.Path
) -> tuple[list[Table], str, str]:
    """A run's measures, a sentence on where they come from, and the command that makes more.

    evaluated are those of read_evaluations, logged those of runs.read_metrics; step is that of the
    checkpoint shown. The command is empty where there is nothing to add.
    """
    measure = f"{command()} --mode=evaluate --workdir={shlex.quote(str(workdir))}"
    if evaluated:
        stale = any(found["model"].get("step") != step for found in evaluated)
        about = (
            "Measured by --mode=evaluate, beside baselines; an arrow says which way is better, "
            "brackets hold 95 % intervals. evaluation/PART.md says how each is measured."
        )
        again = " Not all are of the checkpoint whose sounds are shown; to measure it:"
        found = [table for result in evaluated for table in _evaluation_tables(result)]
        return found, about + again * stale, measure * stale
    found = _validation_tables(logged, step)
    about = (
        "Losses of the last validation up to this checkpoint; lower is better. "
        if found
        else "This run has not been validated. "
    )
    more = "More measures, with intervals and baselines, stand here after this command:"
    return found, about + more, measure


def _evaluation_tables(found: dict) -> list[Table]:
    about = f"{found['part']}, step {found['model'].get('step', '?')}: {report.counts(found)}"
    tables = [
        Table(
            f"{table.title.lower()}; {about}",
            table.systems,
            [
                [title, *(cell.replace(" [", "\n[") for cell in cells)]
                for title, *cells in table.rows
            ],
        )
        for table in report.tables(found)
    ]
    last = [dataclasses.replace(table, note=report.about_silence(found)) for table in tables[-1:]]
    return [*tables[:-1], *last]


def _validation_tables(logged: Sequence[dict], step: int) -> list[Table]:
    """A table of the losses of each part at the last validation up to a step; none without any."""
    validated = [e for e in logged if e["part"] not in ("train", "speed") and e["step"] <= step]
    if not validated:
        return []
    last = max(entry["step"] for entry in validated)
    entries = {entry["part"]: entry for entry in validated if entry["step"] == last}
    rows = [
        [title, *(_number(entry.get(name)) for entry in entries.values())]
        for name, title in LOSS_TITLES.items()
        if any(name in entry for entry in entries.values())
    ]
    return [Table(f"losses at step {last}", list(entries), rows)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
