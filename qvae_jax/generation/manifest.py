"""manifest.json: what lies in a folder of generated sounds, by the runs of the mode that made it.

After one run it is an object of model, settings, inputs and outputs; after several, with
--existing=add, {"runs": [such an object for each]}.
"""

import os
import pathlib
from collections.abc import Sequence

from qvae_jax.generation.requests import Before
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError

MANIFEST_FILE = "manifest.json"
SUFFIXES = (".wav", ".flac")
# The files that an entry names, and how their names end.
FILES = {
    "heard": SUFFIXES,
    "generated": SUFFIXES,
    "reference": SUFFIXES,
    "curves": (".csv",),
    "picture": (".png",),
}


def is_in(folder: pathlib.Path) -> bool:
    """Whether --mode=generate has written into a folder, as far as its manifest shows."""
    found = files.json_or_none(folder / MANIFEST_FILE)
    return isinstance(found, dict) and bool({"outputs", "runs"} & found.keys())


def read(folder: pathlib.Path) -> list[dict]:
    """The runs that a folder's manifest tells of, the first one first; none where it has none.

    Raises UserError for a file that --mode=generate has not written, or that names files elsewhere.
    """
    path = folder / MANIFEST_FILE
    if not os.path.lexists(path):
        return []
    refusal = UserError(
        f"{path} is no manifest that --mode=generate wrote, or is damaged: move it away or name "
        "another --output_dir."
    )
    try:
        found = files.read_json(path)
    except UserError as error:
        raise refusal from error
    runs = found["runs"] if isinstance(found, dict) and "runs" in found else [found]
    if not (isinstance(runs, list) and runs and all(map(_is_run, runs))):
        raise refusal
    return runs


def write(folder: pathlib.Path, runs: Sequence[dict]) -> None:
    """Writes the manifest of these runs, of which there is at least one."""
    value = runs[0] if len(runs) == 1 else {"runs": list(runs)}
    files.write_json(folder / MANIFEST_FILE, value)


def listed(runs: Sequence[dict]) -> list[str]:
    """The names of all files that these runs wrote into the folder, the manifest's included."""
    inputs = [entry for run in runs for entry in run["inputs"]]
    nearest = [one for entry in inputs for one in entry.get("nearest", [])]
    entries = [*inputs, *nearest, *(entry for run in runs for entry in run["outputs"])]
    named = [entry.get(key) for entry in entries for key in FILES]
    return list(dict.fromkeys([*filter(None, named), *([MANIFEST_FILE] if runs else [])]))


def before(runs: Sequence[dict], kind: str | None) -> Before:
    """What new inputs, and new sounds of a kind (LatentRequest.kind), are numbered after."""
    generated = [entry["generated"] for run in runs for entry in run["outputs"]]
    return Before(
        inputs=sum(len(run["inputs"]) for run in runs),
        sounds=0 if kind is None else sum(name.startswith(kind) for name in generated),
    )


def _is_run(run) -> bool:
    return (
        isinstance(run, dict)
        and all(isinstance(run.get(key), dict) for key in ("model", "settings"))
        and all(_are_entries(run.get(key)) for key in ("inputs", "outputs"))
        and all("generated" in entry for entry in run["outputs"])
        and all(_are_entries(entry.get("nearest", [])) for entry in run["inputs"])
    )


def _are_entries(entries) -> bool:
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and all(_is_name(entry[key], key) for key in ("heard", "generated") if key in entry)
        and all(entry.get(key) is None or _is_name(entry[key], key) for key in FILES)
        for entry in entries
    )


def _is_name(name, key: str) -> bool:
    """Whether a manifest may name it under this key: a file of its kind right in the folder."""
    return output_folders.is_file_name(name) and name.endswith(FILES[key])
