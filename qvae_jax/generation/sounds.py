"""The sounds that are asked for, from imitations to files, and what the manifest says of each."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from qvae_jax.audio.files import fit_length, write_wav
from qvae_jax.data.prepared import target_audio
from qvae_jax.generation import ahead, curve_file, finishing, gestures, naming, voice
from qvae_jax.generation.gestures import Steering
from qvae_jax.generation.inputs import Heard, Source, hear
from qvae_jax.generation.latents import Latent
from qvae_jax.generation.model import BATCH_SIZE, Model
from qvae_jax.generation.neighbours import Neighbours, as_heard
from qvae_jax.generation.requests import Before, Finish, LatentRequest, Posterior, latents_of
from qvae_jax.generation.steer_request import LONGEST_S
from qvae_jax.models.batching import batches
from qvae_jax.models.spectral_head import LINEAR_UP_TO
from qvae_jax.system.progress import progress_bar

NUM_THREADS = 3  # that read, decode, finish and write beside the one that encodes

# (path, curves [frames, 4], sound [samples], its rate in Hz, title): writes a picture of them.
Draw = Callable[[pathlib.Path, np.ndarray, np.ndarray, int, str], None]


class Made(NamedTuple):
    """A sound [samples] at the model's rate, and what it was made of.

    Attributes:
        noise_seed: of the noise that the decoder filters: the request's seed, and the place of the
            sound's input, 0 for no place. All sounds of an input share it.
        curves: [frames, 4], those that a steered model rendered.
    """

    latent: Latent
    posterior: Posterior | None
    audio: np.ndarray
    noise_seed: tuple[int, int]
    curves: np.ndarray | None = None


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
        *,
        measured: bool = False,
        sounds_like: Heard | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """measured asks for the inputs' curves; sounds_like is what the encoder hears for them all.

        neighbours says what of a library is put beside each.
        """
        self.sources, self.stems, self.before, self.facts = sources, stems, before, []
        self._folder, self._window, self._measured = folder, window, measured
        self._sounds_like, self._neighbours = sounds_like, neighbours
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
        read = functools.partial(self._read, model=model)
        inputs = ahead.in_order(threads, read, zip(self.sources, self.stems))
        encode = self._encoder(model, batch_size)
        for batch in batches(zip(self.sources, inputs), batch_size):
            for source, (heard, of_voice) in batch:
                self._record(source, heard, of_voice, model.front_end.sample_rate_hz)
            heard, names = [heard for _, (heard, _) in batch], [s.name for s, _ in batch]
            encoded = self._with_neighbours(heard, names, model)
            sounds = [self._like_nearest or source.is_sound for source, _ in batch]
            mu, logvar = encode(encoded, names, sounds)
            voices = [None if of_voice is None else of_voice.curves for _, (_, of_voice) in batch]
            yield from map(Posterior, mu, logvar, voices)

    def _with_neighbours(
        self, heard: Sequence[Heard], names: Sequence[str], model: Model
    ) -> Sequence[Heard]:
        """Puts what is nearest beside the inputs recorded last; gives what the encoder is to hear."""
        if self._neighbours is None:
            return heard
        found = self._neighbours.nearest(heard, names)
        for facts, of_one in zip(self.facts[-len(heard) :], found):
            _, stem = self.at(facts["place"])
            facts |= self._neighbours.put_beside(of_one, stem, model.front_end, self._folder)
        if not self._like_nearest:
            return heard
        return [as_heard(of_one[0], model.front_end) for of_one in found]

    @property
    def _like_nearest(self) -> bool:
        """Whether it is the nearest sounds of a library that are encoded."""
        return self._neighbours is not None and self._neighbours.sounds_like

    def _encoder(self, model: Model, batch_size: int) -> Callable:
        """A function of what is heard, its names, and which are sounds: μ and log σ² of each."""
        num_samples = model.front_end.num_samples

        def encode(
            heard: Sequence[Heard], names: Sequence[str], sounds: Sequence[bool]
        ) -> tuple[np.ndarray, np.ndarray]:
            waveforms = np.stack([fit_length(one.samples, num_samples) for one in heard])
            return model.posterior(waveforms, sounds=sounds, batch_size=batch_size, names=names)

        if self._sounds_like is None:
            return encode
        mu, logvar = model.posterior(
            fit_length(self._sounds_like.samples, num_samples)[None],
            sounds=True,
            names=["--sounds_like"],
        )
        return lambda heard, names, sounds: (
            np.repeat(mu, len(heard), axis=0),
            np.repeat(logvar, len(heard), axis=0),
        )

    def _read(self, named: tuple[Source, str], model: Model) -> tuple[Heard, voice.Voice | None]:
        source, stem = named
        heard = hear(source, model.front_end, self._window, whole=self._measured)
        of_voice = voice.voice_of(heard.whole) if self._measured else None
        path = self._folder / naming.heard_name(stem)
        write_wav(path, heard.samples, model.front_end.sample_rate_hz)
        if source.reference is not None:
            path = self._folder / naming.reference_name(stem)
            reference = self._reference(source.reference, model.sample_rate_hz)
            write_wav(path, reference, model.sample_rate_hz)
        # Its samples are not kept, which may be a minute of each of many.
        return dataclasses.replace(heard, whole=None), of_voice

    def _record(
        self, source: Source, heard: Heard, of_voice: voice.Voice | None, sample_rate_hz: int
    ) -> None:
        if heard.silent:
            tqdm.write(f"warning: {source.name} is silent where it is heard")
        steering = {} if of_voice is None else _steering_facts(source, heard, of_voice)
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
                **steering,
            }
        )


def write_sounds(
    model: Model,
    heard: HeardInputs,
    request: LatentRequest,
    finish: Finish,
    names: Sequence[str],
    folder: pathlib.Path,
    *,
    steering: Steering | None = None,
    draw: Draw | None = None,
) -> list[dict]:
    """Writes all sounds into folder under these names; gives their entries of the manifest.

    finish has a rate, see finishing.with_rate.
    Those of a steered model, whose steering says how, have their curves beside them, and what draw
    makes of these. Raises UserError for an input that cannot be read, and for a sound that is not
    finite.
    """
    batch_size, rate_hz = min(BATCH_SIZE, len(names)), model.sample_rate_hz

    def write(sound: tuple[str, Made]) -> dict:
        name, made = sound
        samples, done = finishing.finished(made.audio, rate_hz, finish)
        finishing.write(folder / name, samples, finish)
        if made.curves is not None:
            curve_file.write(folder / naming.curves_name(name), made.curves)
            draw(folder / naming.picture_name(name), made.curves, made.audio, rate_hz, name)
        return _entry(name, heard, made, model.uses_noise, done)

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        threads.submit(model.compile_decoder, batch_size)  # while the encoder is
        posteriors, latent_dim = heard.posteriors(model, threads), model.config.latent_dim
        drawn = latents_of(request, posteriors, latent_dim, heard.before)
        made = synthesise(model, drawn, heard, batch_size, threads, request.seed, steering)
        entries = ahead.in_order(threads, write, zip(names, made, strict=True))
        return list(progress_bar("generating", total=len(names), unit="sound", over=entries))


def synthesise(
    model: Model,
    drawn: Iterable[tuple[Latent, Posterior | None]],
    heard: HeardInputs,
    batch_size: int,
    threads: ThreadPoolExecutor,
    seed: int = 0,
    steering: Steering | None = None,
) -> Iterator[Made]:
    """Yields the sound of each latent, decoded in batches of one size; or steered, where asked.

    A thread decodes one batch while the latents of the next are made: where the encoder leaves a
    core idle, the decoder does not, and the reverse.
    """

    def decode(batch: list) -> list[Made]:
        z = np.stack([latent.z for latent, _ in batch])
        sources = [heard.at(latent.place)[0] for latent, _ in batch]
        names = ["" if source is None else source.name for source in sources]
        seeds = [(seed, latent.place or 0) for latent, _ in batch]
        how = {"seeds": np.array(seeds), "batch_size": batch_size, "names": names}
        if steering is None:
            sounds = model.decode(z, **how)
            return [Made(*pair, *rest) for pair, *rest in zip(batch, sounds, seeds)]
        voices = [None if posterior is None else posterior.voice for _, posterior in batch]
        sounds, curves = steered(model, steering, z, voices, **how)
        return [Made(*pair, *rest) for pair, *rest in zip(batch, sounds, seeds, curves)]

    made = ahead.in_order(threads, decode, batches(drawn, batch_size), num_ahead=1)
    return itertools.chain.from_iterable(made)


def steered(
    model: Model,
    steering: Steering,
    z: np.ndarray,
    voices: Sequence[np.ndarray | None],
    *,
    seeds: np.ndarray,
    batch_size: int,
    names: Sequence[str],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The sounds of latents [rows, latent], and the curves that they were rendered with.

    voices are as Steering.curves takes them, seeds [rows, 2] and the rest as Model.render. Long
    sounds are rendered in smaller batches.
    """
    gesture = functools.partial(model.gesture, z, batch_size=batch_size, names=names)
    curves = steering.curves(voices, gesture)
    sounds = [None] * len(z)
    for rows, size in gestures.by_bucket(curves, batch_size):
        rendered = model.render(
            z[rows],
            [curves[row] for row in rows],
            seeds=seeds[rows],
            batch_size=size,
            names=[names[row] for row in rows],
        )
        for row, sound in zip(rows, rendered):
            sounds[row] = sound
    return sounds, curves


def _entry(name: str, heard: HeardInputs, made: Made, uses_noise: bool, done: dict) -> dict:
    latent, posterior = made.latent, made.posterior
    source, stem = heard.at(latent.place)
    return {
        "input": None if source is None else source.name,
        "place": latent.place,
        "generated": name,
        "reference": None if source is None else _reference_name(source, stem),
        **_steered_files(name, made),
        **latent.facts,
        **(_noise_facts(made) if uses_noise else {}),
        **done,
        "mu": None if posterior is None else posterior.mu.tolist(),
        "logvar": None if posterior is None else posterior.logvar.tolist(),
        "z": latent.z.tolist(),
    }


def _steered_files(name: str, made: Made) -> dict:
    if made.curves is None:
        return {}
    return {"curves": naming.curves_name(name), "picture": naming.picture_name(name)}


def _noise_facts(made: Made) -> dict:
    """Of the decoders at frame rate, which filter noise, and bend what comes near full scale."""
    limited = bool(np.abs(made.audio).max(initial=0.0) > LINEAR_UP_TO)
    return {"noise_seed": list(made.noise_seed), "limited": limited}


def _steering_facts(source: Source, heard: Heard, of_voice: voice.Voice) -> dict:
    """What of an input steers; a line says where it is longer than any sound."""
    whole_s = heard.file_duration_s if source.window is None else source.window.duration_s
    if whole_s > LONGEST_S:
        tqdm.write(f"note: of {source.name} the first {LONGEST_S} s steer, and no more")
    return {
        "leading_silence_s": of_voice.silence_s,
        "steered_duration_s": len(of_voice.curves) * curve_file.FRAME_S,
        "steering_cut": whole_s > LONGEST_S,
    }


def _reference_name(source: Source, stem: str) -> str | None:
    return None if source.reference is None else naming.reference_name(stem)
