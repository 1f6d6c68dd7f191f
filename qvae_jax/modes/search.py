"""`--mode=search`: the sounds of a folder, ranked by what was hummed."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

from qvae_jax import configuration, runs
from qvae_jax.audio.windows import Sound
from qvae_jax.data import layouts
from qvae_jax.generation import manifest
from qvae_jax.generation.inputs import Heard, Source, hear, pair_sources, sources, split_inputs
from qvae_jax.generation.model import load_model
from qvae_jax.generation.neighbours import encoders_of
from qvae_jax.generation.requests import check_part
from qvae_jax.modes.requests import SearchRequest
from qvae_jax.retrieval import encoders, finding, threshold
from qvae_jax.retrieval.encoders import Encoders
from qvae_jax.retrieval.finding import Found, Library
from qvae_jax.retrieval.index import indexed
from qvae_jax.runs import RunFolder
from qvae_jax.system import files, output_folders
from qvae_jax.system.errors import UserError, counted
from qvae_jax.visualisation import search_page
from qvae_jax.visualisation.page import Player
from qvae_jax.visualisation.search_page import SearchPage

PAGE_FILE, RESULTS_FILE = "index.html", "results.json"
WINDOWS = ("first", "loudest")


@dataclasses.dataclass(frozen=True)
class Query:
    """One query, and what was found; unlike is told in a line, None where it is like something."""

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
    with sources(split_inputs(request.inputs), output_dir, None) as found:
        heard = [_heard(source, hearing, request.window) for source in found]
        library = _library(request, hearing, folders, output_dir)
        queries = _found(library, found, heard, request.top)
        for query in queries:
            _tell(query, library)
        if output_dir is not None:
            _write(output_dir, library, queries)


def _check(request: SearchRequest) -> None:
    if (request.workdir is None) == (request.checkpoint is None):
        raise UserError(
            "give either --checkpoint, an encoder, or --workdir, a run whose encoder hears."
        )
    if request.pairs is not None and request.from_split is not None:
        raise UserError("--pairs and --from_split both name pairs to learn from: give one of them.")
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
    folder = pathlib.Path(request.checkpoint or pathlib.Path(request.workdir, runs.ENCODER))
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


def _heard(source: Source, hearing: Encoders, window: str) -> Heard:
    heard = hear(source, hearing.imitation.front_end, window)
    if heard.silent:
        raise UserError(
            f"The query {source.name} is silent where it is heard: record it again, or try "
            "--window=loudest."
        )
    return heard


def _library(
    request: SearchRequest,
    hearing: Encoders,
    folders: Sequence[pathlib.Path],
    output_dir: pathlib.Path | None,
) -> Library:
    known = threshold.first_of(folders, hearing)
    if known is None:
        print(
            "note: whether a query is unlike everything is not told: no threshold of these encoders "
            "is known (--pairs=FOLDER fits one)"
        )
    index = indexed(
        request.library, hearing.reference, outside=output_dir, holds_results=manifest.is_in
    )
    return Library(index, hearing, known)


def _found(
    library: Library, asked: Sequence[Source], heard: Sequence[Heard], count: int
) -> list[Query]:
    waveforms = [each.samples for each in heard]
    found = library.nearest(waveforms, [source.name for source in asked], count)
    return [
        Query(source, one, of_one, finding.told_unlike(library, of_one))
        for source, one, of_one in zip(asked, heard, found)
    ]


def _tell(query: Query, library: Library) -> None:
    of = counted(len(library.index.entries), "sound")
    name = finding.printable(query.source.name)
    print(f"{name}: the nearest of {of} in {library.index.directory}")
    print(finding.table(query.found))
    if query.unlike is not None:
        print(f"note: {name} is {query.unlike}")


# --- What is written


def _require_own(output_dir: pathlib.Path) -> None:
    """Raises UserError where anything but an earlier search's results would be overwritten."""
    names = (PAGE_FILE, RESULTS_FILE)
    earlier = files.json_or_none(output_dir / RESULTS_FILE)
    is_own = isinstance(earlier, dict) and {"library", "queries"} <= earlier.keys()
    output_folders.require_free(output_dir, names, names if is_own else ())


def _write(output_dir: pathlib.Path, library: Library, queries: Sequence[Query]) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(output_folders.held(output_dir))
        _require_own(output_dir)
        folder = stack.enter_context(output_folders.filling(output_dir, last=RESULTS_FILE))
        files.write_json(folder / RESULTS_FILE, _facts(library, queries))
        num_bytes = search_page.write(folder / PAGE_FILE, _page(library, queries))
    written = f"{output_dir / RESULTS_FILE}, and a page of {num_bytes / 1e6:.1f} MB"
    print(f"{written} to hear them: open\n{output_dir / PAGE_FILE}")


def _facts(library: Library, queries: Sequence[Query]) -> dict:
    known = library.threshold
    return {
        "library": str(library.index.directory),
        "num_sounds": len(library.index.entries),
        "left_out": dict(library.index.left_out),
        "encoders": {name: one.digest for name, one in library.encoders._asdict().items()},
        "threshold": None if known is None else dataclasses.asdict(known),
        "queries": [
            {
                "input": query.source.name,
                "heard_from_s": query.heard.start_s,
                "file_duration_s": query.heard.file_duration_s,
                "unlike_everything": None if known is None else query.unlike is not None,
                "nearest": [found.facts for found in query.found],
            }
            for query in queries
        ],
    }


def _page(library: Library, queries: Sequence[Query]) -> SearchPage:
    rate_hz = library.encoders.imitation.front_end.sample_rate_hz
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
            search_page.Query(query.source.name, query.unlike or "", _players(query, rate_hz))
            for query in queries
        ],
    )


def _players(query: Query, rate_hz: int) -> list[Player]:
    """The query and what was found, to hear; what has gone since is named and left off."""
    players = [search_page.hummed(query.heard, query.source.path.name, rate_hz)]
    for found in query.found:
        try:
            players.append(search_page.sound(found))
        except UserError as error:
            print(f"left off the page: {error}")
    return players
