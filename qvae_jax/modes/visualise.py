"""`--mode=visualise`: a run's sounds beside what they should be, to hear, see and read."""

import os
import pathlib

from qvae_jax import runs
from qvae_jax.generation.inputs import pair_sources, probe
from qvae_jax.generation.model import load_model
from qvae_jax.generation.requests import check_part
from qvae_jax.modes.requests import VisualiseRequest
from qvae_jax.runs import open_run, read_metrics
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError, counted
from qvae_jax.visualisation import cards, charts, measures, page
from qvae_jax.visualisation.facts import facts
from qvae_jax.visualisation.page import Page, Part, Picture
from qvae_jax.visualisation.samples import samples, spread

PAGE_FILE, LOSSES_FILE = "index.html", "losses.png"
LIST_FILE = "visualise.json"  # the names of the mode's files, which a later call replaces
ABOUT = {
    "train": "What the model learnt from: how well it remembers.",
    "interpolation": "Imitations that the model never heard, of sounds that it learnt.",
    "extrapolation": "Imitations of sounds that the model never met, neither in voice nor itself.",
    "library": "Sounds of the library that the model never learnt from; it hears each itself.",
}
ABOUT_LOSSES = "Curves of each loss over the steps of training, and of its schedules."


def visualise(request: VisualiseRequest) -> None:
    """Writes a page of a run's sounds, and its pictures as files.

    The output folder gets index.html, which holds everything, PART_NN.png of each sample, PART.png
    of all samples of a part, losses.png, and visualise.json, a list of these files. Those that an
    earlier such list names are removed. The samples of a part are spread evenly over it.

    Raises UserError for a run, its data or a folder that cannot be used, and where a file in a
    folder named by output_dir would be overwritten that no list names; the folder then stays as it
    was.
    """
    if request.num_samples < 1:
        raise UserError(f"--num_samples is {request.num_samples}: set it to 1 or more.")
    check_part(request.from_split)
    run = open_run(request.workdir)
    output_dir = pathlib.Path(request.output_dir or run.folder / runs.VISUALISE)
    names = run.parts if request.from_split is None else [request.from_split]
    sources = {name: pair_sources(run.catalogue, run.pairs(name)) for name in names}
    chosen = {name: spread(found, request.num_samples) for name, found in sources.items()}
    logged = read_metrics(run.folder)
    evaluated = measures.read_evaluations(run.folder / runs.EVALUATION)
    for source in [source for found in chosen.values() for source in found]:
        probe(source)
    counts = {name: len(found) for name, found in chosen.items()}
    with output_folders.held(output_dir):
        earlier = _earlier(output_dir)
        own = earlier if request.output_dir else _file_names(counts)  # all in the mode's own folder
        output_folders.require_free(output_dir, _file_names(counts), own)
        model = load_model(workdir=request.workdir)
        step = model.source["step"]
        with output_folders.filling(output_dir, last=LIST_FILE, removed=earlier) as folder:
            parts = []
            for name, found in chosen.items():
                about = f"{ABOUT[name]} {_how_many(len(found), len(sources[name]))}"
                drawn = cards.draw_part(name, samples(model, name, found), folder, step)
                parts.append(Part(name, about, drawn))
            charts.save_losses(folder / LOSSES_FILE, logged)
            tables, about_tables, command = measures.tables(evaluated, logged, step, run.folder)
            shown = Page(
                title=f"Imitations and sounds of {run.folder.resolve().name}",
                facts=facts(run.config, model, logged),
                tables=tables,
                about_tables=about_tables,
                command=command,
                losses=Picture(folder / LOSSES_FILE, ABOUT_LOSSES, lossless=True),
                parts=parts,
            )
            num_bytes = page.write(folder / PAGE_FILE, shown)
            files.write_json(folder / LIST_FILE, {"files": _file_names(counts)})
    num_shown = sum(counts.values())
    megabytes = f"{num_bytes / 1e6:.1f} MB"
    print(f"{counted(num_shown, 'sample')} on a page of {megabytes}, and pictures beside it: open")
    print(output_dir / PAGE_FILE)


def _file_names(counts: dict[str, int]) -> list[str]:
    """All that will be written of so many samples of each part."""
    pictures = [name for part in counts for name in cards.picture_names(part, counts[part])]
    return [*pictures, LOSSES_FILE, PAGE_FILE, LIST_FILE]


def _earlier(folder: pathlib.Path) -> list[str]:
    """The files that an earlier call wrote into a folder, as its list says."""
    path = folder / LIST_FILE
    if not os.path.lexists(path):
        return []
    found = files.json_or_none(path)
    names = found.get("files") if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(map(_is_own_name, names)):
        raise UserError(
            f"{path} is no list that --mode=visualise wrote, or is damaged: remove it or name "
            "another --output_dir."
        )
    return [*names, LIST_FILE]


def _is_own_name(name) -> bool:
    return output_folders.is_file_name(name) and (
        name in (PAGE_FILE, LIST_FILE) or name.endswith(".png")
    )


def _how_many(num_shown: int, num_pairs: int) -> str:
    if num_shown == num_pairs:
        return "All of them are here." if num_pairs > 1 else "There is one."
    return f"{num_shown} of {num_pairs} are here, evenly spread."
