"""What training lets one hear and see: audio and a picture of fixed samples."""

import pathlib

import numpy as np

from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.data.batches import Examples
from qvae_jax.data.vimsketch import Index
from qvae_jax.models.decoders import SAMPLE_RATE_HZ
from qvae_jax.system import files
from qvae_jax.visualisation import figures

LONGEST_NAME = 44  # characters


def write_samples(
    folder: pathlib.Path,
    part: str,
    index: Index,
    examples: Examples,
    generated: np.ndarray,
    title: str,
) -> None:
    """Writes the first samples of a part: `PART_NN_STEM_generated.wav` each, and `PART.png`.

    generated holds the audio [samples, 59049] of the first of `examples`; title stands above the
    picture. References do not change
    during a run, so they are written once, into `reference` beside `folder`.
    """
    references = folder.parent / "reference"
    files.make_folder(folder)
    files.make_folder(references)
    rows = []
    for i, audio in enumerate(generated):
        pair = examples.pairs[i]
        stem = f"{part}_{i + 1:02d}_{pathlib.Path(pair.imitation).stem}"
        write_wav(folder / f"{stem}_generated.wav", audio, SAMPLE_RATE_HZ)
        target = np.asarray(examples.targets[examples.target_rows[i]])
        if not (references / f"{stem}_reference.wav").exists():
            write_wav(references / f"{stem}_reference.wav", target, SAMPLE_RATE_HZ)
        imitation = read_audio(index.imitation_path(pair), SAMPLE_RATE_HZ, max_duration_s=10.0)
        rows.append(
            [
                figures.Sound(imitation, SAMPLE_RATE_HZ, f"imitation {_short(pair.imitation)}"),
                figures.Sound(target, SAMPLE_RATE_HZ, f"reference {_short(pair.reference)}"),
                figures.Sound(audio, SAMPLE_RATE_HZ, "generated"),
            ]
        )
    figures.save_comparison(folder / f"{part}.png", rows, title)


def _short(name: str) -> str:
    """A file's name as it fits above a picture."""
    stem = pathlib.Path(name).stem
    return stem if len(stem) <= LONGEST_NAME else f"{stem[: LONGEST_NAME - 1]}…"
