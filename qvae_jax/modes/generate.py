"""`--mode=generate`: imitations in, synthesised sounds out."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

from qvae_jax.generation import finishing, manifest, naming, requests
from qvae_jax.generation.inputs import Source, pair_sources, probe, sources, split_inputs
from qvae_jax.generation.manifest import MANIFEST_FILE
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.requests import ADD, REPLACE, Finish
from qvae_jax.generation.sounds import HeardInputs, write_sounds
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.modes.requests import GenerateRequest
from qvae_jax.runs import open_run
from qvae_jax.system import output_folders
from qvae_jax.system.errors import UserError, counted
from qvae_jax.system.progress import progress_bar


def generate(request: GenerateRequest) -> None:
    """Writes sounds, and a manifest of what was made from what.

    The output folder gets NN_STEM_generated.wav, NN_STEM_input.wav, NN_STEM_reference.wav where the
    reference is known, and manifest.json; with several sounds of an input
    NN_STEM_variation01_generated.wav and so on. Where it holds such results already, request.existing
    says what becomes of them: "add" numbers the new ones on after them and tells of all in one
    manifest, "replace" removes those that the earlier manifest lists.

    Raises UserError for a model, an input or a folder that cannot be used, for a folder with
    earlier results where nothing is said of them, and for requests that contradict each other. The
    folder gets all of its files or none, at the end.
    """
    latents, finish = request.latents, finishing.checked(request.finish)
    inputs = None if request.inputs is None else split_inputs(request.inputs)
    requests.check(latents, inputs, request.from_split, request.workdir, request.window)
    requests.check_existing(request.existing)
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
        naming.require_inputs_kept(found, stems, names, output_dir, removed)
        written = naming.file_names(found, stems, names)
        _require_free(output_dir, written, request.existing)
        for source in progress_bar("checking", total=len(found), unit="file", over=found):
            probe(source, SAMPLE_RATE_HZ)
        model = load_model(workdir=request.workdir, checkpoint=request.checkpoint)
        requests.check_dimension(latents, model.config.latent_dim)
        filling = output_folders.filling(output_dir, last=MANIFEST_FILE, removed=removed)
        folder = stack.enter_context(filling)
        heard = HeardInputs(found, stems, folder, request.window, before)
        entries = write_sounds(model, heard, latents, finish, names, folder)
        manifest.write(folder, [*kept, _run(request, finish, model, heard, entries)])
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
    """What the manifest says of this run; finish is as finishing.checked gives it."""
    return {
        "model": model.source,
        "settings": {
            **dataclasses.asdict(request.latents),
            "temperature": request.latents.noise,
            "window": request.window,
            "from_split": request.from_split,
            **dataclasses.asdict(finish),
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
