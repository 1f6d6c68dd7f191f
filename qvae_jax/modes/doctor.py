"""`--mode=doctor`: what is wrong with a data set, told before training meets it."""

import functools
import pathlib

import ml_collections

from qvae_jax.data import health_report
from qvae_jax.data.parts import pairs_by_part
from qvae_jax.modes.requests import DoctorRequest
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError

REPORT_FILE = "report.json"


def doctor(config: ml_collections.ConfigDict, request: DoctorRequest) -> dict:
    """Reads all of data.dataset_dir and data.sounds_dir, prints what it finds, changes nothing.

    Args:
        config: its data settings are used.
        request: where the whole report, with all names and numbers, goes as report.json, if
            anywhere.

    Returns:
        The report: JSON values; see health_report.report_on. Where there is a data set and a
        library, that of the library is in that of the data set, as "library".

    Raises:
        UserError: what report_on raises; or request.output_dir is inside the data set, holds a
            report.json that is no such report, or cannot be written.
    """
    data = config.data
    folders = [pathlib.Path(name) for name in (data.dataset_dir, data.sounds_dir) if name]
    if not folders:
        raise UserError(
            "data.dataset_dir is empty: name the data set's folder with "
            "--config.data.dataset_dir=FOLDER, or a folder of sounds with "
            "--config.data.sounds_dir=FOLDER."
        )
    if request.output_dir is not None:
        output_dir = pathlib.Path(request.output_dir)
        for folder in folders:
            _require_outside(output_dir, folder)
        own = [REPORT_FILE] if _is_report(output_dir / REPORT_FILE) else []
        output_folders.require_free(output_dir, [REPORT_FILE], own)
    report: dict = {}
    if data.dataset_dir:
        split = functools.partial(pairs_by_part, config)
        report = health_report.report_on(data.dataset_dir, data.input_duration_s, split)
        print(*health_report.lines_of(report), sep="\n")
    if data.sounds_dir:
        of_library = health_report.report_on_library(data.sounds_dir, data.windows_per_file)
        print(*health_report.lines_of(of_library), sep="\n")
        report = report | {"library": of_library} if report else of_library
    if request.output_dir is not None:
        path = output_dir / REPORT_FILE
        files.write_json(path, report)
        print(f"all names and numbers: {path}")
    return report


def _require_outside(output_dir: pathlib.Path, folder: pathlib.Path) -> None:
    if output_dir.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"--output_dir={output_dir} is inside the data set, where doctor changes nothing: name "
            "a folder elsewhere."
        )


def _is_report(path: pathlib.Path) -> bool:
    found = files.json_or_none(path)
    return isinstance(found, dict) and {"dataset_dir", "verdict", "problems"} <= found.keys()
