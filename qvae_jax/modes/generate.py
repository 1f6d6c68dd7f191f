"""`--mode=generate`: imitations in, synthesised sounds out."""

import contextlib
import dataclasses
import pathlib
import threading
from collections.abc import Sequence

import numpy as np

from qvae_jax.generation import curve_file, finishing, manifest, naming, requests, steer_request
from qvae_jax.generation.gestures import steering_of
from qvae_jax.generation.inputs import (
    Heard,
    Source,
    hear,
    pair_sources,
    probe,
    sources,
    split_inputs,
)
from qvae_jax.generation.manifest import MANIFEST_FILE
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.neighbours import Neighbours, encoders_of, library_of
from qvae_jax.generation.requests import ADD, REPLACE, Finish
from qvae_jax.generation.sounds import Draw, HeardInputs, write_sounds
from qvae_jax.generation.steer_request import NEAREST
from qvae_jax.models.spectral_head import LINEAR_UP_TO
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.runs import open_run
from qvae_jax.system import output_folders
from qvae_jax.system.errors import UserError, counted, first_few
from qvae_jax.system.progress import progress_bar


def generate(request: GenerateRequest) -> None:
    """Writes sounds, and a manifest of what was made from what.

    The output folder gets NN_STEM_generated.wav, NN_STEM_input.wav, NN_STEM_reference.wav where the
    reference is known, and manifest.json; with several sounds of an input
    NN_STEM_variation01_generated.wav and so on. Beside each sound of a steered model lie its curves,
    NN_STEM_curves.csv and .png; with nearest, NN_STEM_nearestNN.wav is what the encoder hears of the
    library's sounds nearest to an input, and NN_STEM_nearest.html plays them all. Where it holds
    such results already, request.existing says what becomes of them: "add" numbers the new ones on
    after them and tells of all in one manifest, "replace" removes those that the earlier manifest
    lists.

    Raises UserError for a model, an input or a folder that cannot be used, for a folder with
    earlier results where nothing is said of them, and for requests that contradict each other. The
    folder gets all of its files or none, at the end.
    """
    latents, finish = request.latents, finishing.checked(request.finish)
    inputs = None if request.inputs is None else split_inputs(request.inputs)
    requests.check(latents, inputs, request.from_split, request.workdir, request.window)
    requests.check_existing(request.existing)
    steer_request.check(request.steering, latents)
    _check_library(request)
    given, like = _curves(request), _sounds_like(request)
    output_dir = pathlib.Path(request.output_dir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_held(output_dir, request.existing))
        kept, removed = _earlier(output_dir, request.existing)
        before = manifest.before(kept, latents.kind)
        found = _sources(request, inputs, output_dir, stack)
        if latents.interpolate is not None and len(found) != 2:
            raise UserError(
                f"--interpolate needs exactly two inputs, not {len(found)}: name two audio files."
            )
        stems = naming.stems(found, before.inputs)
        names = naming.sound_names(stems, latents, finish.format, before)
        read = [*[source.path for source in found], *_files_that_steer(request)]
        num_nearest = request.nearest or 0
        naming.require_inputs_kept(read, stems, names, output_dir, removed, num_nearest)
        written = naming.file_names(found, stems, names)
        written += naming.nearest_names(stems, num_nearest)
        _require_free(output_dir, written, request.existing)
        for source in progress_bar("checking", total=len(found), unit="file", over=found):
            probe(source)
        model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
        finish = finishing.with_rate(finish, model.sample_rate_hz)
        requests.check_dimension(latents, model.config.latent_dim)
        steer_request.check_model(request.steering, model.is_steered, model.config.decoder_type)
        steering = steering_of(request.steering, latents.kind, given) if model.is_steered else None
        if steering is not None:
            _require_free(output_dir, naming.steered_names(names), request.existing)
        neighbours = None if request.library is None else _neighbours(request, model, output_dir)
        filling = output_folders.filling(output_dir, last=MANIFEST_FILE, removed=removed)
        folder = stack.enter_context(filling)
        heard = HeardInputs(
            found,
            stems,
            folder,
            request.window,
            before,
            measured=steering is not None and steering.needs_voice,
            sounds_like=None if like is None else _audible(like, model, request.window),
            neighbours=neighbours,
        )
        how = {"steering": steering, "draw": _draw_one_by_one()}
        entries = write_sounds(model, heard, latents, finish, names, folder, **how)
        _write_pages(folder, heard.facts, entries, request.library)
        manifest.write(folder, [*kept, _run(request, finish, model, heard, entries)])
    _tell_of_limited(entries)
    _tell_of_unlike(heard.facts, request.library)
    print(f"{counted(len(entries), 'sound')} and {MANIFEST_FILE} written to {output_dir}")


def _held(output_dir: pathlib.Path, existing: str | None) -> contextlib.AbstractContextManager:
    """Keeps other processes out of the output folder; a run that adds waits for them instead."""

    def tell(holder: str) -> None:
        print(f"waiting for {holder}, which is writing to {output_dir}", flush=True)

    return output_folders.held(output_dir, tell if existing == ADD else None)


def _earlier(output_dir: pathlib.Path, existing: str | None) -> tuple[list[dict], list[str]]:
    """The runs that the folder's manifest goes on telling of, and the files that are to go."""
    earlier = manifest.read(output_dir)
    if existing == ADD:
        return earlier, []
    if earlier and existing is None:
        raise UserError(
            f"{output_dir} holds earlier results: add to them with --existing={ADD}, replace them "
            f"with --existing={REPLACE}, or name another --output_dir."
        )
    return [], manifest.listed(earlier)


def _require_free(output_dir: pathlib.Path, names: Sequence[str], existing: str | None) -> None:
    """Raises UserError where a file of these names would replace another, unless it may."""
    mend = output_folders.MOVE_IT
    if existing is None:
        mend = (
            f"move it away, name another --output_dir, or have it replaced with "
            f"--existing={REPLACE}"
        )
    own = frozenset(names if existing == REPLACE else ())
    output_folders.require_free(output_dir, names, own, mend=mend)


def _run(
    request: GenerateRequest, finish: Finish, model: Model, heard: HeardInputs, entries: list[dict]
) -> dict:
    """What the manifest says of this run; finish is as finishing.with_rate gives it."""
    return {
        "model": model.source,
        "settings": {
            **dataclasses.asdict(request.latents),
            "temperature": request.latents.noise,
            "window": request.window,
            "from_split": request.from_split,
            **dataclasses.asdict(finish),
            **({"steering": _steering_facts(request)} if model.is_steered else {}),
            **_library_facts(request),
        },
        "inputs": heard.facts,
        "outputs": entries,
    }


def _sources(
    request: GenerateRequest,
    inputs: list[str] | None,
    output_dir: pathlib.Path,
    stack: contextlib.ExitStack,
) -> list[Source]:
    """The imitations that are asked for; standard input is kept until the stack is left."""
    run = None if request.workdir is None else open_run(request.workdir)
    if request.from_split is not None:
        return pair_sources(run.catalogue, run.pairs(request.from_split))
    if inputs is None:
        return []
    dataset_dir = None if run is None else run.dataset_dir
    return stack.enter_context(sources(inputs, output_dir, dataset_dir))


# --- A library beside them


def _check_library(request: GenerateRequest) -> None:
    """Raises UserError where a library is asked for and none is named, or the reverse."""
    like_nearest = request.steering.sounds_like == NEAREST
    asked = [*(["--nearest"] if request.nearest is not None else [])]
    asked += ["--sounds_like=nearest"] if like_nearest else []
    for faulty, message in [
        (
            bool(asked) and request.library is None,
            f"{' and '.join(asked)} needs --library, the folder of sounds that is looked through.",
        ),
        (
            not asked and request.library is not None,
            "--library is looked through for --nearest or --sounds_like=nearest: give one of them.",
        ),
        (
            request.nearest is not None and request.nearest < 1,
            f"--nearest is {request.nearest}: set it to 1 or more.",
        ),
        (
            bool(asked) and request.inputs is None and request.from_split is None,
            "--nearest is of imitations, and there are none: give --inputs.",
        ),
    ]:
        if faulty:
            raise UserError(message)


def _neighbours(request: GenerateRequest, model: Model, output_dir: pathlib.Path) -> Neighbours:
    library = library_of(request.library, *encoders_of(model), output_dir)
    like_nearest = request.steering.sounds_like == NEAREST
    return Neighbours(library, request.nearest or 0, like_nearest)


def _write_pages(
    folder: pathlib.Path, facts: Sequence[dict], entries: Sequence[dict], library: str | None
) -> None:
    """Writes a page for each input that has sounds of the library beside it."""
    pages = [of_input for of_input in facts if "page" in of_input]
    if pages:
        # Imported here because other sounds need no page.
        from qvae_jax.visualisation import search_page

        for of_input in pages:
            search_page.write_beside(folder, of_input, entries, library)


def _library_facts(request: GenerateRequest) -> dict:
    if request.library is None:
        return {}
    return {"library": request.library, "nearest": request.nearest}


# --- What steers


def _curves(request: GenerateRequest) -> np.ndarray | None:
    path = request.steering.curves
    return None if path is None else curve_file.read(pathlib.Path(path))


def _sounds_like(request: GenerateRequest) -> Source | None:
    """The one sound whose latent is taken, after a look at its beginning."""
    if request.steering.sounds_like in (None, NEAREST):
        return None
    path = pathlib.Path(request.steering.sounds_like)
    source = Source(path, str(path), path.stem)
    probe(source)
    return source


def _files_that_steer(request: GenerateRequest) -> list[pathlib.Path]:
    named = (request.steering.curves, request.steering.sounds_like)
    return [pathlib.Path(path) for path in named if path not in (None, NEAREST)]


def _audible(source: Source, model: Model, window: str) -> Heard:
    """What is heard of the sound whose latent is taken; UserError where that is nothing."""
    heard = hear(source, model.front_end, window)
    if heard.silent:
        raise UserError(
            f"--sounds_like is {source.name}, which is silent where it is heard: name a sound."
        )
    return heard


def _steering_facts(request: GenerateRequest) -> dict:
    names = request.steering.names(request.latents.kind)
    steer = ",".join(names) if names else steer_request.NONE
    return {**dataclasses.asdict(request.steering), "steer": steer}


def _draw_one_by_one() -> Draw:
    """save_curves for several threads, of which one draws at a time, as matplotlib needs it."""
    turn = threading.Lock()

    def draw(*what) -> None:
        # Imported here because other models need no picture.
        from qvae_jax.visualisation.curves import save_curves

        with turn:
            save_curves(*what)

    return draw


def _tell_of_limited(entries: Sequence[dict]) -> None:
    """One line of the sounds that the model bends near full scale."""
    names = [entry["generated"] for entry in entries if entry.get("limited")]
    if names:
        print(
            f"note: {counted(len(names), 'sound')} above {LINEAR_UP_TO:g} of full scale, where the "
            f"model bends peaks ({first_few(names)})"
        )


def _tell_of_unlike(facts: Sequence[dict], library: str | None) -> None:
    """One line of the inputs that are unlike anything in the library, as far as that is known."""
    names = [of_input["input"] for of_input in facts if of_input.get("unlike_everything")]
    if names:
        print(
            f"note: {counted(len(names), 'input')} unlike anything in {library} "
            f"({first_few(names)}): even the nearest sound lies below the threshold"
        )
