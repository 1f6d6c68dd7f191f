"""What training lets one hear and see: audio and a picture of fixed samples."""

import pathlib

import numpy as np

from qvae_jax import figures
from qvae_jax.audio.files import read_audio, write_wav
from qvae_jax.data.batches import Examples
from qvae_jax.data.vimsketch import Index
from qvae_jax.models.decoders import SAMPLE_RATE_HZ


def write_samples(
    folder: pathlib.Path,
    part: str,
    index: Index,
    examples: Examples,
    generated: np.ndarray,
    loss: float,
) -> None:
    """Writes the first samples of a part: `PART_NN_STEM_generated.wav` each, and `PART.png`.

    generated holds the audio [samples, 59049] of the first of `examples`. References do not change
    during a run, so they are written once, into `reference` beside `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    references = folder.parent / "reference"
    references.mkdir(exist_ok=True)
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
                figures.Sound(imitation, SAMPLE_RATE_HZ, f"imitation {pair.imitation[:40]}"),
                figures.Sound(target, SAMPLE_RATE_HZ, f"reference {pair.reference[:40]}"),
                figures.Sound(audio, SAMPLE_RATE_HZ, "generated"),
            ]
        )
    figures.save_comparison(folder / f"{part}.png", rows, f"{part}, {folder.name}: loss {loss:.2f}")
