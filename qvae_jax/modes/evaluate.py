"""`--mode=evaluate`: how well a model's sounds match what was imitated, and follow the voice."""

import pathlib
from collections.abc import Iterable

from qvae_jax import configuration, runs
from qvae_jax.audio import listing
from qvae_jax.data import layouts, splits
from qvae_jax.evaluation import report
from qvae_jax.evaluation.embedding import load_embedder
from qvae_jax.evaluation.measuring import examples_of, measure
from qvae_jax.evaluation.systems import Example
from qvae_jax.generation.model import load_model
from qvae_jax.generation.requests import check_part
from qvae_jax.losses import LossWeights
from qvae_jax.modes.requests import EvaluateRequest
from qvae_jax.runs import RunFolder, open_run
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError, counted


def evaluate(request: EvaluateRequest) -> None:
    """Writes PART.json and PART.md: each measure of the model at z = μ, and of the baselines.

    With trimmed, PART-trimmed.json and PART-trimmed.md too: see evaluation.hearing.

    Raises UserError for a model or data that cannot be used, for requests that contradict each
    other, and where a file in a folder named by output_dir would be overwritten that is no result.
    """
    _check(request)
    run = None if request.workdir is None else open_run(request.workdir)
    parts = _parts(request, run)
    if request.output_dir is None and run is None:
        raise UserError("--checkpoint has no folder for results: give --output_dir.")
    output_dir = pathlib.Path(request.output_dir or run.folder / runs.EVALUATION)
    if request.output_dir is not None:
        _require_own(output_dir, [n for part in parts for n in _names(part, request).values()])
    model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
    embedder = load_embedder(request.embedder, model)
    training, weights = [], LossWeights()
    if run is not None:
        learnt_from = examples_of(run.catalogue, run.pairs("train"))
        training = list(dict.fromkeys(example.reference for example in learnt_from))
        weights = configuration.loss_weights(run.config)
    results = []
    for name, examples in parts.items():
        of = "" if request.pairs or request.voices else f" of {name}"
        what = counted(len(examples), "imitation" if request.voices else "pair")
        for trimmed, file in _names(name, request).items():
            result = measure(model, embedder, examples, training, weights, name, trimmed)
            files.write_json(output_dir / f"{file}.json", result)
            report.write_markdown(output_dir / f"{file}.md", result)
            results.append(result)
            how = ", trimmed" if trimmed else ""
            written = f"{output_dir / file}.md and .json"
            print(f"{what}{of} measured{how}: {written}")
    print("\n".join(report.brief(results)))


def _names(part: str, request: EvaluateRequest) -> dict[bool, str]:
    """What the files of a part are called: as it is, and trimmed where that is asked for."""
    return {False: part} | ({True: f"{part}-trimmed"} if request.trimmed else {})


def _require_own(output_dir: pathlib.Path, files_of_parts: Iterable[str]) -> None:
    """Raises UserError where what will be written would replace anything but earlier results."""
    for file in files_of_parts:
        names = (f"{file}.json", f"{file}.md")
        own = names if report.is_in(output_dir / names[0]) else ()
        output_folders.require_free(output_dir, names, own)


def _check(request: EvaluateRequest) -> None:
    named = {
        f"--{name}": getattr(request, name)
        for name in ("pairs", "voices", "from_split")
        if getattr(request, name) is not None
    }
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)} both name what to measure: give one of them.")
    if request.pairs is None and request.voices is None:
        if request.workdir is None:
            raise UserError(
                "--checkpoint alone does not say what to measure: give --pairs, a folder of pairs."
            )
        check_part(request.from_split)


def _parts(request: EvaluateRequest, run: RunFolder | None) -> dict[str, list[Example]]:
    """The examples of each part to measure, by its name."""
    if request.pairs is not None:
        index = layouts.read_index(request.pairs)
        for note in index.notes():
            print(note)
        return {"pairs": examples_of(index, index.pairs)}
    if request.voices is not None:
        paths, left_out = listing.list_audio_files(request.voices)
        for note in listing.notes(request.voices, left_out):
            print(note)
        return {report.VOICES: [Example(path, path, path.stem) for path in paths]}
    if request.from_split is not None:
        names = [request.from_split]
    else:
        # A run on all pairs, or on a few, holds none out.
        names = [part for part in splits.PARTS[1:] if part in run.parts] or ["train"]
    return {name: examples_of(run.catalogue, run.pairs(name)) for name in names}
