"""`--mode=search`: the sounds of a folder, ranked by what was hummed."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from qvae_jax import configuration, runs
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.audio.windows import Sound
from qvae_jax.data import layouts
from qvae_jax.generation.inputs import (
    Heard,
    Source,
    hear,
    pair_sources,
    probe,
    sources,
    split_inputs,
)
from qvae_jax.generation.model import load_model
from qvae_jax.generation.neighbours import encoders_of, library_of
from qvae_jax.generation.requests import check_part
from qvae_jax.models import hub_address
from qvae_jax.models.batching import batches
from qvae_jax.modes.requests import SearchRequest
from qvae_jax.retrieval import encoders, finding, threshold
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.retrieval.finding import Found, Library
from qvae_jax.runs import RunFolder
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError, counted
from qvae_jax.visualisation import search_page
from qvae_jax.visualisation.page import Player
from qvae_jax.visualisation.search_page import SearchPage

PAGE_FILE, RESULTS_FILE = "index.html", "results.json"
WINDOWS = ("first", "loudest")
READ_AT_ONCE = 8  # queries, whose samples are held in memory
NO_SAMPLES = np.zeros(0, np.float32)


@dataclasses.dataclass(frozen=True)
class Answer:
    """One query, what was heard of it but for its samples, and what was found.

    unlike is a line that says so where it is unlike everything.
    """

    source: Source
    heard: Heard
    found: Sequence[Found]
    unlike: str | None


def search(request: SearchRequest) -> None:
    """Prints a table for each query; with an output_dir, writes results.json and index.html too.

    With pairs or from_split, first fits the threshold below which a query is said to be unlike
    everything, and keeps it in the encoder's or the run's folder.

    Raises UserError for an encoder, a query or a library that cannot be used, for requests that
    contradict each other, and where another file in output_dir would be overwritten.
    """
    _check(request)
    output_dir = None if request.output_dir is None else pathlib.Path(request.output_dir)
    if output_dir is not None:
        _require_own(output_dir)
    hearing, folders = _encoders(request)
    if request.pairs is not None or request.from_split is not None:
        _fit(request, hearing, folders[0])
    if request.inputs is None:
        return
    with sources(split_inputs(request.inputs), output_dir, None) as asked:
        for source in asked:
            probe(source)
        library = _library(request, hearing, folders, output_dir)
        answers = _answers(library, asked, request)
        if output_dir is not None:
            _write(output_dir, library, answers, request.window)


def _check(request: SearchRequest) -> None:
    if (request.workdir is None) == (request.checkpoint is None):
        raise UserError(
            "give either --checkpoint, an encoder, or --workdir, a run whose encoder hears."
        )
    if request.pairs is not None and request.from_split is not None:
        raise UserError("--pairs and --from_split both name pairs to learn from: give one of them.")
    if request.pairs is not None and hub_address.is_address(request.checkpoint):
        raise UserError(
            f"--pairs keeps what it learns in the encoder's folder, and {request.checkpoint} is none of "
            "this machine: fetch it first with `hf download OWNER/NAME --local-dir FOLDER`."
        )
    if request.from_split is not None and request.workdir is None:
        raise UserError("--from_split needs --workdir, the run whose split is meant.")
    check_part(request.from_split)
    if (request.inputs is None) != (request.library is None):
        raise UserError("--inputs and --library belong together: give both, or with --pairs none.")
    if request.top < 1:
        raise UserError(f"--top is {request.top}: set it to 1 or more.")
    if request.window not in WINDOWS:
        raise UserError(f"--window is {request.window!r}: set it to one of {', '.join(WINDOWS)}.")


def _encoders(request: SearchRequest) -> tuple[Encoders, list[pathlib.Path]]:
    """What hears, and the folders in which a threshold may lie; new ones go into the first."""
    named = request.checkpoint or pathlib.Path(request.workdir, runs.ENCODER)
    folder = hub_address.local_folder(named)
    if request.checkpoint is not None or folder.is_dir():
        return encoders.load_encoders(folder), [folder]
    return encoders_of(load_model(workdir=request.workdir))


# --- The threshold


def _fit(request: SearchRequest, hearing: Encoders, folder: pathlib.Path) -> None:
    pairs, of = _pairs(request)
    fitted = threshold.fit(hearing, pairs, of)
    threshold.write(folder, hearing, fitted)
    print(
        f"a query is unlike everything below {fitted.similarity:.3f} {finding.said_of(fitted)}: "
        f"{folder / threshold.THRESHOLD_FILE}"
    )


def _pairs(request: SearchRequest) -> tuple[list[tuple[Sound, Sound]], str]:
    """Queries with their own sounds, and what they are."""
    if request.pairs is not None:
        index = layouts.read_index(request.pairs)
        for note in index.notes():
            print(note)
        found, of = pair_sources(index, index.pairs), f"the pairs in {request.pairs}"
    else:
        # Not by open_run: a run of encoders alone has a split too.
        folder = pathlib.Path(request.workdir)
        run = RunFolder(folder, configuration.read_run(folder))
        found = pair_sources(run.catalogue, run.pairs(request.from_split))
        of = f"the pairs of {request.from_split}"
    return [(source.sound, source.reference) for source in found], of


# --- The search


def _library(
    request: SearchRequest,
    hearing: Encoders,
    folders: Sequence[pathlib.Path],
    output_dir: pathlib.Path | None,
) -> Library:
    library = library_of(request.library, hearing, folders, output_dir)
    if library.threshold is None:
        print(
            "note: whether a query is unlike everything is not told: no threshold of these encoders "
            "is known (--pairs=FOLDER fits one)"
        )
    return library


def _answers(library: Library, asked: Sequence[Source], request: SearchRequest) -> list[Answer]:
    """What is found for each query that can be heard, told as it is found."""
    answers = []
    for batch in batches(asked, READ_AT_ONCE):
        audible = _audible(batch, library, request.window)
        if not audible:
            continue
        samples, names = [h.samples for _, h in audible], [source.name for source, _ in audible]
        found = library.nearest(samples, names, request.top)
        for (source, heard), of_one in zip(audible, found):
            facts = dataclasses.replace(heard, samples=NO_SAMPLES)  # of many queries, too many
            answers.append(Answer(source, facts, of_one, finding.told_unlike(library, of_one)))
            _tell(answers[-1], library)
    if not answers:
        raise UserError(
            "No query can be heard: record one again, or try --window=loudest for long ones."
        )
    return answers


def _audible(batch: Sequence[Source], library: Library, window: str) -> list[tuple[Source, Heard]]:
    """What is heard of each query; those that are silent there are named and left out."""
    front_end = library.encoders.imitation.front_end
    heard = [(source, hear(source, front_end, window)) for source in batch]
    for source, one in heard:
        if one.silent:
            print(f"left out {finding.printable(source.name)}: it is silent where it is heard")
    return [(source, one) for source, one in heard if not one.silent]


def _tell(answer: Answer, library: Library) -> None:
    of = counted(len(library.index.entries), "sound")
    name = finding.printable(answer.source.name)
    print(f"{name}: the nearest of {of} in {library.index.directory}")
    print(finding.table(answer.found))
    if answer.unlike is not None:
        print(f"note: {name} is {answer.unlike}")


# --- What is written


def _require_own(output_dir: pathlib.Path) -> None:
    """Raises UserError where anything but an earlier search's results would be overwritten."""
    names = (PAGE_FILE, RESULTS_FILE)
    earlier = files.json_or_none(output_dir / RESULTS_FILE)
    is_own = isinstance(earlier, dict) and {"library", "queries"} <= earlier.keys()
    output_folders.require_free(output_dir, names, names if is_own else ())


def _write(
    output_dir: pathlib.Path, library: Library, answers: Sequence[Answer], window: str
) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(output_folders.held(output_dir))
        _require_own(output_dir)
        folder = stack.enter_context(output_folders.filling(output_dir, last=RESULTS_FILE))
        files.write_json(folder / RESULTS_FILE, _facts(library, answers))
        num_bytes = search_page.write(folder / PAGE_FILE, _page(library, answers, window))
    written = f"{output_dir / RESULTS_FILE}, and a page of {num_bytes / 1e6:.1f} MB"
    print(f"{written} to hear them: open\n{output_dir / PAGE_FILE}")


def _facts(library: Library, answers: Sequence[Answer]) -> dict:
    known = library.threshold
    return {
        "library": str(library.index.directory),
        "num_sounds": len(library.index.entries),
        "left_out": dict(library.index.left_out),
        "encoders": {name: one.digest for name, one in library.encoders._asdict().items()},
        "threshold": None if known is None else dataclasses.asdict(known),
        "queries": [
            {
                "input": answer.source.name,
                "heard_from_s": answer.heard.start_s,
                "file_duration_s": answer.heard.file_duration_s,
                "unlike_everything": None if known is None else answer.unlike is not None,
                "nearest": [found.facts for found in answer.found],
            }
            for answer in answers
        ],
    }


def _page(library: Library, answers: Sequence[Answer], window: str) -> SearchPage:
    front_end = library.encoders.imitation.front_end
    known = library.threshold
    begins = "not known" if known is None else f"{known.similarity:.3f} {finding.said_of(known)}"
    return SearchPage(
        title=f"Sounds of {library.index.directory.resolve().name} by what was hummed",
        facts=[
            ("library", f"{library.index.directory.resolve()}"),
            ("sounds", f"{len(library.index.entries)}"),
            ("likeness begins at", begins),
        ],
        queries=[
            search_page.Query(
                answer.source.name, answer.unlike or "", _players(answer, front_end, window)
            )
            for answer in answers
        ],
    )


def _players(answer: Answer, front_end: FrontEnd, window: str) -> list[Player]:
    """The query and what was found, to hear; what has gone since is named and left off."""
    heard = hear(answer.source, front_end, window)
    players = [search_page.hummed(heard, answer.source.path.name, front_end.sample_rate_hz)]
    for found in answer.found:
        try:
            players.append(search_page.sound(found))
        except UserError as error:
            print(f"left off the page: {error}")
    return players
