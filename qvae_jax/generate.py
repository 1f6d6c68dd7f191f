"""`--mode=generate`: imitations in, synthesised sounds out."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from qvae_jax import configuration, files
from qvae_jax.audio.files import list_audio_files, read_audio, write_wav
from qvae_jax.audio.logmel import log_mel
from qvae_jax.data.vimsketch import IMITATIONS_FOLDER, REFERENCES_FOLDER
from qvae_jax.errors import UserError
from qvae_jax.models import variables
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.models.qvae import QVAE, QVAEConfig, sample_latent
from qvae_jax.models.variables import Variables
from qvae_jax.prepare import input_audio, target_audio
from qvae_jax.training import checkpoints, start

MANIFEST_FILE = "manifest.json"
BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Generated:
    """One output: audio [59049] at 22,050 Hz, and the posterior [latent] it was drawn from."""

    audio: np.ndarray
    mu: np.ndarray
    logvar: np.ndarray


def generate(
    *,
    inputs: Sequence[str],
    output_dir: str | pathlib.Path,
    workdir: str | None = None,
    checkpoint: str | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> None:
    """Writes a sound for each imitation, and a manifest of what was made from what.

    Args:
        inputs: audio files, or a single folder, searched with all folders below it.
        output_dir: gets NN_STEM_generated.wav, NN_STEM_input.wav, where the reference is known
            NN_STEM_reference.wav, and manifest.json.
        workdir: a training run, whose best checkpoint is used; or else
        checkpoint: a ported QVAE's folder.
        temperature: of the latent's noise, at least 0; 0 gives z = μ.
        seed: of that noise.

    Raises UserError for a model, an input or a folder that cannot be used; nothing is written
    before all inputs have been read.
    """
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise UserError(f"--temperature is {temperature}: set it to 0 or more.")
    paths = _input_paths(inputs)
    model_config, model_variables = load_model(workdir=workdir, checkpoint=checkpoint)
    output_dir = pathlib.Path(output_dir)
    names = _output_names(paths, output_dir)
    front_end = model_config.front_end
    for path in tqdm(paths, desc="checking", unit="file", disable=None, leave=False):
        read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    files.make_folder(output_dir)
    entries = []
    sounds = synthesise(
        model_config, model_variables, paths, temperature=temperature, seed=seed
    )
    progress = tqdm(sounds, total=len(paths), desc="generating", unit="file", disable=None)
    for path, name, sound in zip(paths, names, progress):
        reference = _reference_of(path, workdir)
        _write(output_dir / name, path, reference, sound, front_end)
        entries.append(
            {
                "input": str(path),
                "generated": f"{name}_generated.wav",
                "reference": None if reference is None else f"{name}_reference.wav",
                "seed": seed,
                "temperature": temperature,
                "mu": sound.mu.tolist(),
                "logvar": sound.logvar.tolist(),
            }
        )
    files.write_json(output_dir / MANIFEST_FILE, {"outputs": entries})
    print(f"{len(entries)} sounds and {MANIFEST_FILE} written to {output_dir}")


def load_model(
    *, workdir: str | None = None, checkpoint: str | None = None
) -> tuple[QVAEConfig, Variables]:
    """The model of a training run's best checkpoint, or of a ported QVAE's folder."""
    if (workdir is None) == (checkpoint is None):
        raise UserError("give either --workdir, a training run, or --checkpoint, a ported QVAE.")
    if checkpoint is not None:
        return start.load_qvae(checkpoint)
    config = configuration.read_run(pathlib.Path(workdir))
    model_config = configuration.model_config(config, config.model.encoder_width)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    kept = checkpoints.RunCheckpoints(pathlib.Path(workdir), read_only=True)
    if kept.best_step is None:
        raise UserError(f"{workdir} holds no checkpoint yet: train there first.")
    saved = kept.restore(kept.best_step)
    kept.close()
    found = Variables(saved["params"], saved["batch_stats"])
    for arrays, wanted in zip(found, expected):
        checkpoints.compare(arrays, wanted, where=str(kept.directory))
    return model_config, found


def synthesise(
    model_config: QVAEConfig,
    model_variables: Variables,
    paths: Sequence[pathlib.Path],
    *,
    temperature: float = 0.0,
    seed: int = 0,
):
    """Yields a Generated for each imitation, in order.

    The noise of an imitation depends on the seed and on its place in the list alone.
    """
    graphdef, _ = variables.split(QVAE(model_config, rng=None))
    front_end = model_config.front_end
    key = jax.random.key(seed)

    @jax.jit
    def run(model_variables, waveforms, places):
        model = variables.merge(graphdef, model_variables)
        mu, logvar = model.posterior(model.features(log_mel(waveforms, front_end)))
        keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
        z = jax.vmap(lambda m, v, k: sample_latent(m, v, k, temperature))(mu, logvar, keys)
        return mu, logvar, model.decode(z)

    model_variables = jax.device_put(model_variables)
    batch_size = min(BATCH_SIZE, len(paths))
    for first in range(0, len(paths), batch_size):
        batch = paths[first : first + batch_size]
        waveforms = np.zeros((batch_size, front_end.num_samples), np.float32)
        for row, path in enumerate(batch):
            waveforms[row] = input_audio(path, front_end)
        places = np.arange(first, first + batch_size, dtype=np.uint32)
        mu, logvar, audio = map(np.asarray, run(model_variables, waveforms, places))
        for row in range(len(batch)):
            yield Generated(audio[row], mu[row], logvar[row])


def _input_paths(inputs: Sequence[str]) -> list[pathlib.Path]:
    if not inputs or not all(inputs):
        raise UserError("--inputs is empty: name audio files, separated by commas, or a folder.")
    paths = []
    for item in map(pathlib.Path, inputs):
        paths += list_audio_files(item) if item.is_dir() else [item]
    return paths


def _output_names(paths: Sequence[pathlib.Path], output_dir: pathlib.Path) -> list[str]:
    """NN_STEM for each input, none of which would overwrite an input."""
    digits = max(2, len(str(len(paths))))
    names = [f"{i:0{digits}d}_{path.stem}" for i, path in enumerate(paths, start=1)]
    inputs = {path.resolve() for path in paths}
    for name in names:
        for kind in ("generated", "input", "reference"):
            target = (output_dir / f"{name}_{kind}.wav").resolve()
            if target in inputs:
                raise UserError(
                    f"{target} is an input and would be overwritten: name another --output_dir."
                )
    return names


def _reference_of(path: pathlib.Path, workdir: str | None) -> pathlib.Path | None:
    """The sound an imitation imitates, where its data set says so.

    Looked for in the data set that the file lies in, then in the one the run was trained on.
    """
    key = path.name.partition("_")[2]
    folders = []
    if path.resolve().parent.name == IMITATIONS_FOLDER:
        folders.append(path.resolve().parent.parent)
    if workdir is not None:
        dataset_dir = configuration.read_run(pathlib.Path(workdir)).data.dataset_dir
        trained_on = pathlib.Path(dataset_dir) if dataset_dir else pathlib.Path(workdir) / "dataset"
        # A file of the same name elsewhere is not an imitation of that data set.
        if (trained_on / IMITATIONS_FOLDER / path.name).is_file():
            folders.append(trained_on)
    for folder in folders if key else []:
        for candidate in sorted((folder / REFERENCES_FOLDER).glob("*_*")):
            if candidate.name.partition("_")[2] == key:
                return candidate
    return None


def _write(
    stem: pathlib.Path,
    path: pathlib.Path,
    reference: pathlib.Path | None,
    sound: Generated,
    front_end,
) -> None:
    heard = read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    write_wav(stem.with_name(f"{stem.name}_generated.wav"), sound.audio, SAMPLE_RATE_HZ)
    write_wav(stem.with_name(f"{stem.name}_input.wav"), heard, front_end.sample_rate_hz)
    if reference is not None:
        target = target_audio(reference)
        write_wav(stem.with_name(f"{stem.name}_reference.wav"), target, SAMPLE_RATE_HZ)
