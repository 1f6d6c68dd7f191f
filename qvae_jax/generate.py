"""`--mode=generate`: imitations in, synthesised sounds out."""

import contextlib
import dataclasses
import functools
import os
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
# Bytes of an input's name that its outputs keep: a file system allows 255 in all.
LONGEST_STEM = 200
MOST_COMMAS = 64  # in one input's path


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
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed is {seed}: set it to a whole number from 0 to 2^32 - 1.")
    output_dir = pathlib.Path(output_dir)
    paths = _input_paths(inputs, output_dir)
    model_config, model_variables = load_model(workdir=workdir, checkpoint=checkpoint)
    names = _output_names(paths, output_dir)
    references = _references(paths, workdir)
    front_end = model_config.front_end
    for path in tqdm(paths, desc="checking", unit="file", disable=None, leave=False):
        read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    for reference in set(references) - {None}:
        target_audio(reference)
    files.make_folder(output_dir)
    entries = []
    sounds = synthesise(model_config, model_variables, paths, temperature=temperature, seed=seed)
    progress = tqdm(sounds, total=len(paths), desc="generating", unit="file", disable=None)
    for path, name, reference, sound in zip(paths, names, references, progress):
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
    """The model of a training run's best checkpoint, or of a ported QVAE's folder.

    The run's averaged weights where it keeps an average (ema.decay).
    """
    if (workdir is None) == (checkpoint is None):
        raise UserError("give either --workdir, a training run, or --checkpoint, a ported QVAE.")
    if checkpoint is not None:
        return start.load_qvae(checkpoint)
    config = configuration.read_run(pathlib.Path(workdir))
    model_config = configuration.model_config(config)
    expected = variables.split(QVAE(model_config, rng=None))[1]
    run = checkpoints.RunCheckpoints(pathlib.Path(workdir), read_only=True)
    with contextlib.closing(run) as kept:
        if kept.best_step is None:
            raise UserError(f"{workdir} holds no checkpoint yet: train there first.")
        saved = kept.restore(kept.best_step)
    found = checkpoints.checked_variables(saved, expected, where=str(kept.directory))
    return model_config, checkpoints.averaged(saved, found)


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

    # Key and temperature are arguments, so that one compiled program does for all of them.
    @jax.jit
    def run(model_variables, waveforms, places, key, temperature):
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
        outputs = run(model_variables, waveforms, places, key, np.float32(temperature))
        mu, logvar, audio = map(np.asarray, outputs)
        for row, path in enumerate(batch):
            if not (np.isfinite(audio[row]).all() and np.isfinite(logvar[row]).all()):
                raise UserError(
                    f"The model makes a sound that is not finite of {path}: its weights are "
                    "damaged, so use another checkpoint."
                )
            yield Generated(audio[row], mu[row], logvar[row])


def split_inputs(text: str) -> list[str]:
    """The paths in `a.wav,b.flac`; a comma in the name of an existing file does not split it."""
    pieces, paths = text.split(","), []
    while pieces:
        longest = min(len(pieces), MOST_COMMAS + 1)
        candidates = [",".join(pieces[:count]).strip() for count in range(longest, 0, -1)]
        path = next(filter(os.path.exists, candidates), candidates[-1])
        paths.append(path)
        pieces = pieces[longest - candidates.index(path) :]
    return paths


def _input_paths(inputs: Sequence[str], output_dir: pathlib.Path) -> list[pathlib.Path]:
    """The audio files that inputs name; what lies in output_dir within a folder is none of them."""
    if not inputs or not all(inputs):
        raise UserError("--inputs is empty: name audio files, separated by commas, or a folder.")
    paths = []
    for item in map(pathlib.Path, inputs):
        paths += _files_in(item, output_dir.resolve()) if item.is_dir() else [item]
    return paths


def _files_in(folder: pathlib.Path, output_dir: pathlib.Path) -> list[pathlib.Path]:
    if folder.resolve() == output_dir:
        raise UserError(
            f"--output_dir is {folder}, the folder of the inputs, so that the next run would take "
            "the outputs for inputs: name another one."
        )
    found = list_audio_files(folder)
    paths = [path for path in found if not path.resolve().is_relative_to(output_dir)]
    if not paths:
        raise UserError(f"{folder} holds no audio file outside {output_dir}: name other inputs.")
    return paths


def _output_names(paths: Sequence[pathlib.Path], output_dir: pathlib.Path) -> list[str]:
    """NN_STEM for each input, none of which would overwrite an input."""
    digits = max(2, len(str(len(paths))))
    names = [f"{i:0{digits}d}_{_short_stem(path)}" for i, path in enumerate(paths, start=1)]
    inputs = {path.resolve() for path in paths}
    for name in names:
        for kind in ("generated", "input", "reference"):
            target = (output_dir / f"{name}_{kind}.wav").resolve()
            if target in inputs:
                raise UserError(
                    f"{target} is an input and would be overwritten: name another --output_dir."
                )
    return names


def _short_stem(path: pathlib.Path) -> str:
    """The name without its extension, cut where the outputs' names would grow too long."""
    return os.fsencode(path.stem)[:LONGEST_STEM].decode("utf-8", "ignore")


def _references(paths: Sequence[pathlib.Path], workdir: str | None) -> list[pathlib.Path | None]:
    """The sound that each imitation imitates, None where no data set says so.

    Looked for in the data set that the file lies in, then in the one the run was trained on.
    """
    trained_on = None
    if workdir is not None:
        dataset_dir = configuration.read_run(pathlib.Path(workdir)).data.dataset_dir
        trained_on = pathlib.Path(dataset_dir or pathlib.Path(workdir) / "dataset")
    by_key = functools.cache(_references_by_key)
    references = []
    for path in paths:
        folder, found = path.resolve().parent, None
        if folder.name == IMITATIONS_FOLDER:
            found = by_key(folder.parent).get(_key(path))
        # A file of the same name elsewhere is not an imitation of the run's data set.
        if found is None and trained_on and (trained_on / IMITATIONS_FOLDER / path.name).is_file():
            found = by_key(trained_on).get(_key(path))
        references.append(found)
    return references


def _references_by_key(dataset_dir: pathlib.Path) -> dict[str, pathlib.Path]:
    found = sorted((dataset_dir / REFERENCES_FOLDER).glob("*_*"), reverse=True)
    return {_key(path): path for path in found if _key(path)}


def _key(path: pathlib.Path) -> str:
    return path.name.partition("_")[2]


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
