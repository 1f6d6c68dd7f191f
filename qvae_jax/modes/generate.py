"""`--mode=generate`: imitations in, synthesised sounds out."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from qvae_jax.audio.files import fit_length, write_wav
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation import ahead, finishing, requests
from qvae_jax.generation.inputs import (
    Heard,
    Source,
    hear,
    probe,
    sources,
)
from qvae_jax.generation.latents import Latent
from qvae_jax.generation.model import Model, load_model
from qvae_jax.generation.requests import Finish, Posterior, Request, latents_of
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.runs import run_sources
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from qvae_jax.system.progress import progress_bar

MANIFEST_FILE = "manifest.json"
BATCH_SIZE = 8
NUM_THREADS = 3  # that read, decode, finish and write beside the one that encodes
# Bytes of an input's name that its outputs keep: a file system allows 255 in all.
LONGEST_STEM = 200


def generate(
    *,
    output_dir: str | pathlib.Path,
    inputs: Sequence[str] | None = None,
    from_split: str | None = None,
    workdir: str | None = None,
    checkpoint: str | None = None,
    variations: int = 1,
    temperature: float | None = None,
    seed: int = 0,
    interpolate: int | None = None,
    walk_dimension: int | None = None,
    walk_steps: int | None = None,
    prior_samples: int | None = None,
    window: str = "first",
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    format: str = "wav",
    subtype: str | None = None,
    loudness_db: float | None = None,
    trim_db: float | None = None,
) -> None:
    """Writes sounds, and a manifest of what was made from what.

    Args:
        output_dir: gets NN_STEM_generated.wav, NN_STEM_input.wav, where the reference is known
            NN_STEM_reference.wav, and manifest.json; with several sounds of an input,
            NN_STEM_variation01_generated.wav and so on.
        inputs: audio files, folders, searched with all folders below them, or "-" for standard
            input.
        from_split: a part of the run's data split, instead of inputs.
        workdir: a training run, whose best checkpoint is used; or else
        checkpoint: a ported QVAE's folder.
        variations: sounds of each input, drawn from its posterior.
        temperature: of the latent's noise, at least 0; by default 0, which gives z = μ, and for
            prior_samples 1.
        seed: of that noise.
        interpolate: sounds on the way from one imitation to another; see latents.between.
        walk_dimension: of the latent, to be moved from -3 to +3 around each input's μ, or around 0
            without inputs, in
        walk_steps: steps, by default 7.
        prior_samples: sounds drawn from the prior, without any input.
        window: "first" or "loudest": which ten seconds of a longer imitation are heard.
        sample_rate_hz, format, subtype, loudness_db, trim_db: of the generated sounds; see
            finishing.Finish.

    Raises UserError for a model, an input or a folder that cannot be used, and for requests that
    contradict each other. output_dir gets all of its files or none, at the end.
    """
    finish = finishing.checked(Finish(sample_rate_hz, format, subtype, loudness_db, trim_db))
    request = Request(
        variations, temperature, seed, interpolate, walk_dimension, walk_steps, prior_samples
    )
    requests.check(request, inputs, from_split, workdir, window)
    output_dir = pathlib.Path(output_dir)
    with contextlib.ExitStack() as stack:
        if from_split is not None:
            found = run_sources(workdir, from_split)
        elif inputs is None:
            found = []
        else:
            found = stack.enter_context(sources(inputs, output_dir, workdir))
        if request.interpolate is not None and len(found) != 2:
            raise UserError(
                f"--interpolate needs exactly two inputs, not {len(found)}: name two audio files."
            )
        names = _names(found)
        _check_overwriting(found, names, output_dir, request, finish)
        for source in progress_bar("checking", total=len(found), unit="file", over=found):
            probe(source, SAMPLE_RATE_HZ)
        model = load_model(workdir=workdir, checkpoint=checkpoint)
        requests.check_dimension(request, model.config.latent_dim)
        folder = stack.enter_context(files.filling_folder(output_dir))
        heard = _HeardInputs(found, names, folder, window)
        entries = _write_sounds(model, heard, request, finish, folder)
    manifest = {
        "model": model.source,
        "settings": {
            **dataclasses.asdict(request),
            "temperature": request.noise,
            "window": window,
            "from_split": from_split,
            **dataclasses.asdict(finish),
        },
        "inputs": heard.facts,
        "outputs": entries,
    }
    files.write_json(output_dir / MANIFEST_FILE, manifest)
    print(f"{len(entries)} sounds and {MANIFEST_FILE} written to {output_dir}")


def synthesise(
    model: Model,
    drawn: Iterator[tuple[Latent, Posterior | None]],
    batch_size: int,
    threads: ThreadPoolExecutor,
) -> Iterator[tuple[Latent, Posterior | None, np.ndarray]]:
    """Yields each latent, its posterior and its audio [59049], decoded in batches of one size.

    A thread decodes one batch while the latents of the next are made: where the encoder leaves a
    core idle, the decoder does not, and the reverse.
    """

    def decode(batch: list) -> list:
        z = np.zeros((batch_size, model.config.latent_dim), np.float32)
        z[: len(batch)] = [latent.z for latent, _ in batch]
        return [(*pair, audio) for pair, audio in zip(batch, model.decode(z))]

    batches = _batches(drawn, batch_size)
    return itertools.chain.from_iterable(ahead.in_order(threads, decode, batches, num_ahead=1))


class _HeardInputs:
    """The inputs, each read once: what is heard goes to the encoder, and beside the outputs."""

    def __init__(
        self, found: list[Source], names: list[str], folder: pathlib.Path, window: str
    ) -> None:
        self.sources, self.names, self.facts = found, names, []
        self._folder, self._window = folder, window
        # Imitations of one sound often follow each other; not all references fit into memory.
        self._reference = functools.lru_cache(maxsize=16)(target_audio)

    def posteriors(self, model: Model, threads: ThreadPoolExecutor) -> Iterator[Posterior]:
        """Yields what the encoder makes of each input, in order, computed in batches.

        threads read the inputs, and write what was heard.
        """
        batch_size = min(BATCH_SIZE, len(self.sources))
        read = functools.partial(self._read, front_end=model.front_end)
        inputs = ahead.in_order(threads, read, zip(self.sources, self.names))
        for batch in _batches(zip(self.sources, inputs), batch_size):
            waveforms = np.zeros((batch_size, model.front_end.num_samples), np.float32)
            for row, (source, heard) in enumerate(batch):
                waveforms[row] = fit_length(heard.samples, model.front_end.num_samples)
                self._record(source, heard, model.front_end.sample_rate_hz)
            for (source, _), mu, logvar in zip(batch, *model.posterior(waveforms)):
                if not (np.isfinite(mu).all() and np.isfinite(logvar).all()):
                    raise UserError(_not_finite(f"of {source.name}"))
                yield Posterior(mu, logvar)

    def _read(self, named: tuple[Source, str], front_end: FrontEnd) -> Heard:
        source, name = named
        heard = hear(source, front_end, self._window)
        write_wav(self._folder / f"{name}_input.wav", heard.samples, front_end.sample_rate_hz)
        if source.reference is not None:
            target = self._reference(source.reference)
            write_wav(self._folder / f"{name}_reference.wav", target, SAMPLE_RATE_HZ)
        return heard

    def _record(self, source: Source, heard: Heard, sample_rate_hz: int) -> None:
        if heard.silent:
            tqdm.write(f"warning: {source.name} is silent where it is heard")
        self.facts.append(
            {
                "input": source.name,
                "file_duration_s": heard.file_duration_s,
                "heard_from_s": heard.start_s,
                "heard_duration_s": len(heard.samples) / sample_rate_hz,
                "silent": heard.silent,
            }
        )


def _write_sounds(
    model: Model, heard: _HeardInputs, request: Request, finish: Finish, folder: pathlib.Path
) -> list[dict]:
    """Writes all sounds into folder; gives their entries of the manifest."""
    names = _generated_names(heard.names, request, finish)
    batch_size = min(BATCH_SIZE, len(names))

    def write(sound: tuple[str, tuple[Latent, Posterior | None, np.ndarray]]) -> dict:
        name, (latent, posterior, audio) = sound
        if not np.isfinite(audio).all():
            of = "" if latent.place is None else f"of {heard.sources[latent.place - 1].name}"
            raise UserError(_not_finite(of))
        samples, done = finishing.finished(audio, finish)
        finishing.write(folder / name, samples, finish)
        return _entry(name, heard, latent, posterior, done)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        threads.submit(model.compile_decoder, batch_size)  # while the encoder is
        posteriors = heard.posteriors(model, threads)
        drawn = latents_of(request, posteriors, model.config.latent_dim)
        sounds = zip(names, synthesise(model, drawn, batch_size, threads), strict=True)
        entries = ahead.in_order(threads, write, sounds)
        return list(progress_bar("generating", total=len(names), unit="sound", over=entries))


def _entry(
    name: str, heard: _HeardInputs, latent: Latent, posterior: Posterior | None, done: dict
) -> dict:
    source = None if latent.place is None else heard.sources[latent.place - 1]
    has_reference = source is not None and source.reference is not None
    return {
        "input": None if source is None else source.name,
        "place": latent.place,
        "generated": name,
        "reference": f"{heard.names[latent.place - 1]}_reference.wav" if has_reference else None,
        **latent.facts,
        **done,
        "mu": None if posterior is None else posterior.mu.tolist(),
        "logvar": None if posterior is None else posterior.logvar.tolist(),
        "z": latent.z.tolist(),
    }


def _batches(items, batch_size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _not_finite(of: str) -> str:
    return (
        f"The model makes a sound that is not finite {of}".rstrip()
        + ": its weights are damaged, so use another checkpoint."
    )


def _names(found: Sequence[Source]) -> list[str]:
    """NN_STEM for each input, so that two inputs of one stem do not meet."""
    digits = max(2, len(str(len(found))))
    return [f"{i:0{digits}d}_{_short(source.stem)}" for i, source in enumerate(found, start=1)]


def _short(stem: str) -> str:
    """A stem, cut where the outputs' names would grow too long."""
    return os.fsencode(stem)[:LONGEST_STEM].decode("utf-8", "ignore")


def _generated_names(names: list[str], request: Request, finish: Finish) -> list[str]:
    """The file name of each sound, in the order of latents_of."""
    # The labels of latents depend on the request alone, so any latents will do.
    zero = Posterior(np.zeros(1, np.float32), np.zeros(1, np.float32))
    one_dimension = dataclasses.replace(
        request, walk_dimension=None if request.walk_dimension is None else 0
    )
    labelled = latents_of(one_dimension, (zero for _ in names), 1)
    found = []
    for latent, _ in labelled:
        parts = [] if latent.place is None else [names[latent.place - 1]]
        found.append("_".join([*parts, *filter(None, [latent.label]), "generated"]))
    return [f"{name}.{finish.format}" for name in found]


def _check_overwriting(
    found: Sequence[Source],
    names: list[str],
    output_dir: pathlib.Path,
    request: Request,
    finish: Finish,
) -> None:
    """Raises UserError where an output would overwrite an input."""
    inputs = {source.path.resolve() for source in found}
    outputs = _generated_names(names, request, finish)
    outputs += [f"{name}_{kind}.wav" for name in names for kind in ("input", "reference")]
    for name in outputs:
        target = (output_dir / name).resolve()
        if target in inputs:
            raise UserError(
                f"{target} is an input and would be overwritten: name another --output_dir."
            )
