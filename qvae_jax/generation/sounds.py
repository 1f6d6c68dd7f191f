"""The sounds that are asked for, from imitations to files, and what the manifest says of each."""

import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from qvae_jax.audio.files import fit_length, write_wav
from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation import ahead, finishing, naming
from qvae_jax.generation.inputs import Heard, Source, hear
from qvae_jax.generation.latents import Latent
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.generation.requests import Before, Finish, LatentRequest, Posterior, latents_of
from qvae_jax.models.batching import batches
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.system.progress import progress_bar

NUM_THREADS = 3  # that read, decode, finish and write beside the one that encodes


class HeardInputs:
    """The inputs, each read once: what is heard goes to the encoder, and beside the outputs.

    Attributes:
        sources: the inputs.
        stems: what the files of each are named after.
        before: what the folder holds already; places are counted on after its inputs.
        facts: of each input that has been heard, for the manifest.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stems: Sequence[str],
        folder: pathlib.Path,
        window: str = "first",
        before: Before = Before(),
    ) -> None:
        self.sources, self.stems, self.before, self.facts = sources, stems, before, []
        self._folder, self._window = folder, window
        # Imitations of one sound often follow each other; not all references fit into memory.
        self._reference = functools.lru_cache(maxsize=16)(target_audio)

    def at(self, place: int | None) -> tuple[Source | None, str | None]:
        """The input of a place, and what its files are named after; None for no place."""
        if place is None:
            return None, None
        index = place - self.before.inputs - 1
        return self.sources[index], self.stems[index]

    def posteriors(self, model: Model, threads: ThreadPoolExecutor) -> Iterator[Posterior]:
        """Yields what the encoder makes of each input, in order, computed in batches.

        threads read the inputs, and write what was heard.
        """
        batch_size = min(BATCH_SIZE, len(self.sources))
        read = functools.partial(self._read, front_end=model.front_end)
        inputs = ahead.in_order(threads, read, zip(self.sources, self.stems))
        for batch in batches(zip(self.sources, inputs), batch_size):
            for source, heard in batch:
                self._record(source, heard, model.front_end.sample_rate_hz)
            num_samples = model.front_end.num_samples
            waveforms = np.stack([fit_length(heard.samples, num_samples) for _, heard in batch])
            names = [source.name for source, _ in batch]
            yield from map(
                Posterior, *model.posterior(waveforms, batch_size=batch_size, names=names)
            )

    def _read(self, named: tuple[Source, str], front_end: FrontEnd) -> Heard:
        source, stem = named
        heard = hear(source, front_end, self._window)
        path = self._folder / naming.heard_name(stem)
        write_wav(path, heard.samples, front_end.sample_rate_hz)
        if source.reference is not None:
            path = self._folder / naming.reference_name(stem)
            write_wav(path, self._reference(source.reference), SAMPLE_RATE_HZ)
        return heard

    def _record(self, source: Source, heard: Heard, sample_rate_hz: int) -> None:
        if heard.silent:
            tqdm.write(f"warning: {source.name} is silent where it is heard")
        place = self.before.inputs + len(self.facts) + 1
        _, stem = self.at(place)
        self.facts.append(
            {
                "input": source.name,
                "place": place,
                "heard": naming.heard_name(stem),
                "reference": _reference_name(source, stem),
                "file_duration_s": heard.file_duration_s,
                "heard_from_s": heard.start_s,
                "heard_duration_s": len(heard.samples) / sample_rate_hz,
                "silent": heard.silent,
            }
        )


def write_sounds(
    model: Model,
    heard: HeardInputs,
    request: LatentRequest,
    finish: Finish,
    names: Sequence[str],
    folder: pathlib.Path,
) -> list[dict]:
    """Writes all sounds into folder under these names; gives their entries of the manifest.

    Raises UserError for an input that cannot be read, and for a sound that is not finite.
    """
    batch_size = min(BATCH_SIZE, len(names))

    def write(sound: tuple[str, tuple[Latent, Posterior | None, np.ndarray]]) -> dict:
        name, (latent, posterior, audio) = sound
        samples, done = finishing.finished(audio, finish)
        finishing.write(folder / name, samples, finish)
        return _entry(name, heard, latent, posterior, done)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        threads.submit(model.compile_decoder, batch_size)  # while the encoder is
        posteriors, latent_dim = heard.posteriors(model, threads), model.config.latent_dim
        drawn = latents_of(request, posteriors, latent_dim, heard.before)
        made = synthesise(model, drawn, heard, batch_size, threads)
        entries = ahead.in_order(threads, write, zip(names, made, strict=True))
        return list(progress_bar("generating", total=len(names), unit="sound", over=entries))


def synthesise(
    model: Model,
    drawn: Iterable[tuple[Latent, Posterior | None]],
    heard: HeardInputs,
    batch_size: int,
    threads: ThreadPoolExecutor,
) -> Iterator[tuple[Latent, Posterior | None, np.ndarray]]:
    """Yields each latent, its posterior and its audio [59049], decoded in batches of one size.

    A thread decodes one batch while the latents of the next are made: where the encoder leaves a
    core idle, the decoder does not, and the reverse.
    """

    def decode(batch: list) -> list:
        z = np.stack([latent.z for latent, _ in batch])
        sources = [heard.at(latent.place)[0] for latent, _ in batch]
        names = ["" if source is None else source.name for source in sources]
        sounds = model.decode(z, batch_size=batch_size, names=names)
        return [(*pair, audio) for pair, audio in zip(batch, sounds)]

    made = ahead.in_order(threads, decode, batches(drawn, batch_size), num_ahead=1)
    return itertools.chain.from_iterable(made)


def _entry(
    name: str, heard: HeardInputs, latent: Latent, posterior: Posterior | None, done: dict
) -> dict:
    source, stem = heard.at(latent.place)
    return {
        "input": None if source is None else source.name,
        "place": latent.place,
        "generated": name,
        "reference": None if source is None else _reference_name(source, stem),
        **latent.facts,
        **done,
        "mu": None if posterior is None else posterior.mu.tolist(),
        "logvar": None if posterior is None else posterior.logvar.tolist(),
        "z": latent.z.tolist(),
    }


def _reference_name(source: Source, stem: str) -> str | None:
    return None if source.reference is None else naming.reference_name(stem)
