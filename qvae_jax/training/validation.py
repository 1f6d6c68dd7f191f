"""What a model makes of examples at z = μ, without learning from them: losses, and samples."""

import pathlib
from collections.abc import Iterator

import jax
import numpy as np

from qvae_jax.audio.files import write_wav
from qvae_jax.audio.windows import read_sound
from qvae_jax.data import batches
from qvae_jax.data.batches import Examples
from qvae_jax.data.catalogue import Catalogue
from qvae_jax.models.variables import Variables
from qvae_jax.runs import SAMPLES
from qvae_jax.system import files
from qvae_jax.training import devices, hosts
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.metrics_log import Logs
from qvae_jax.training.setup import Setup
from qvae_jax.training.state import TrainState
from qvae_jax.training.step_report import require_finite
from qvae_jax.visualisation import figures

LONGEST_NAME = 44  # characters


# --- Losses


def validate(
    setup: Setup, model_variables: Variables, step: int, kept: RunCheckpoints
) -> dict[str, dict[str, float]]:
    """Mean loss and terms of each validated part at z = μ."""
    results = {}
    for part in setup.validated:
        sums, examples = {}, setup.prepared.parts[part]
        for metrics, _, num_valid in _evaluate(setup, model_variables, examples, step):
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value * num_valid
        results[part] = {name: total / len(examples) for name, total in sums.items()}
        require_finite(results[part], setup.loss.terms, f"the {part} loss", step, kept)
    return results


def _evaluate(
    setup: Setup, model_variables: Variables, examples: Examples, step: int
) -> Iterator[tuple[dict[str, float], jax.Array, int]]:
    """Yields the metrics, the audio on the devices, and the number of examples of each batch."""
    size, placement = setup.batch_size, setup.placement
    own = devices.own_rows(size, placement)
    starts = range(0, len(examples), size)
    for first, batch in zip(starts, batches.evaluation_batches(examples, size, own)):
        batch = devices.put_batch(batch, placement)
        metrics, audio = setup.eval_step(model_variables, batch, np.int32(step))
        metrics = jax.device_get(devices.get_state(metrics, placement))
        num_valid = min(size, len(examples) - first)
        yield {name: float(value) for name, value in metrics.items()}, audio, num_valid


# --- Samples


def write_samples(setup: Setup, state: TrainState, log: Logs, epoch: int, step: int) -> None:
    """Writes and logs what the model makes of the first examples of each part."""
    if not setup.config.logging.num_samples:
        return
    # All of it first, for which the processes need each other; the writer may then fail alone.
    made = {
        part: _first_samples(setup, state.averaged(), examples, step)
        for part, examples in setup.prepared.parts.items()
    }
    if not hosts.is_writer():
        return
    for part, (total, audio) in made.items():
        title = f"{part}, epoch {epoch}: loss {total:.2f}"
        examples = setup.prepared.parts[part]
        folder = samples_folder(setup, epoch)
        rate_hz = setup.loss.sample_rate_hz
        _write_part(folder, part, setup.prepared.catalogue, examples, audio, rate_hz, title)
        for i, waveform in enumerate(audio):
            log.write_audio(step, f"{part}_{i + 1:02d}", waveform, rate_hz)


def has_samples(setup: Setup, epoch: int) -> bool:
    """Whether write_samples has written all of an epoch's."""
    folder = samples_folder(setup, epoch)
    return not setup.config.logging.num_samples or all(
        (folder / f"{part}.png").exists() for part in setup.prepared.parts
    )


def samples_folder(setup: Setup, epoch: int) -> pathlib.Path:
    """Where an epoch's samples lie."""
    return setup.workdir / SAMPLES / f"epoch_{epoch:04d}"


def _first_samples(
    setup: Setup, model_variables: Variables, examples: Examples, step: int
) -> tuple[float, np.ndarray]:
    """Mean loss and audio [samples, n] of the first samples of a part."""
    count = min(setup.config.logging.num_samples, len(examples))
    audio, totals = [], []
    few = examples.at(np.arange(count))
    for metrics, generated, num_valid in _evaluate(setup, model_variables, few, step):
        audio.append(devices.get_rows(generated, setup.placement)[:num_valid])
        totals += [metrics["total"]] * num_valid
    return float(np.mean(totals)), np.concatenate(audio)


def _write_part(
    folder: pathlib.Path,
    part: str,
    catalogue: Catalogue,
    examples: Examples,
    generated: np.ndarray,
    rate_hz: int,
    title: str,
) -> None:
    """Writes the first samples of a part: `PART_NN_STEM_generated.wav` each, and `PART.png` last.

    generated holds the audio [samples, n] at rate_hz of the first of `examples`; title stands above
    the picture. References do not change during a run, so they are written once, into `reference`
    beside `folder`.
    """
    references = folder.parent / "reference"
    files.make_folder(folder)
    files.make_folder(references)
    rows = []
    for i, audio in enumerate(generated):
        pair = examples.pairs[i]
        stem = f"{part}_{i + 1:02d}_{pathlib.Path(pair.imitation).stem}"
        write_wav(folder / f"{stem}_generated.wav", audio, rate_hz)
        target = examples.batch(np.array([i]))["targets"][0]
        if not (references / f"{stem}_reference.wav").exists():
            write_wav(references / f"{stem}_reference.wav", target, rate_hz)
        heard = catalogue.imitation_path(pair)
        imitation = read_sound(heard, rate_hz, max_duration_s=10.0)
        rows.append(
            [
                figures.Sound(imitation, rate_hz, f"imitation {_short(pair.imitation)}"),
                figures.Sound(target, rate_hz, f"reference {_short(pair.reference)}"),
                figures.Sound(audio, rate_hz, "generated"),
            ]
        )
    figures.save_comparison(folder / f"{part}.png", rows, title)


def _short(name: str) -> str:
    """A file's name as it fits above a picture."""
    stem = pathlib.Path(name).stem
    return stem if len(stem) <= LONGEST_NAME else f"{stem[: LONGEST_NAME - 1]}…"
