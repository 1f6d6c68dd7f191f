"""`python -m benchmarks.voice_share WORKDIR`: how much of a voice's features the sound it means has.

That is what model.voice_share should be for the encoder of a run that has learnt from sounds alone:
the share a for which a·v comes nearest to s, by least squares over pairs. v are the features of an
imitation and s those of its sound, each dimension less its mean and divided by its spread, as the
run's standardise_features has them. The pairs are those of a synthetic data set, and of a folder of
real ones (--pairs).
"""

import argparse
import pathlib
import tempfile

import numpy as np

from qvae_jax.data import layouts, synthetic
from qvae_jax.data.index import Index
from qvae_jax.data.prepared import input_audio
from qvae_jax.evaluation.metrics import cosine_similarity
from qvae_jax.generation.model import BATCH_SIZE, Model, load_model
from qvae_jax.models.batching import batches

NUM_IMITATIONS = 10  # of each of the synthetic sounds


def main() -> None:
    """Prints a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", help="of a run with model.standardise_features=True")
    parser.add_argument("--pairs", type=pathlib.Path, help="folder of real pairs")
    options = parser.parse_args()
    model = load_model(workdir=options.workdir)
    if not model.config.standardise_features:
        raise SystemExit(f"{options.workdir} does not standardise features: name a run that does.")
    with tempfile.TemporaryDirectory() as scratch:
        made = synthetic.write_synthetic_data_set(
            pathlib.Path(scratch) / "set", num_imitations_per_sound=NUM_IMITATIONS
        )
        _report("synthetic", model, layouts.read_index(made))
    if options.pairs:
        _report("real", model, layouts.read_index(options.pairs))


def least_squares_share(voices: np.ndarray, sounds: np.ndarray) -> float:
    """The a that makes the squared distance of a·voices to sounds least; both [pairs, dim]."""
    return float(np.sum(voices * sounds) / np.sum(voices * voices))


def _report(name: str, model: Model, index: Index) -> None:
    references = [index.reference_path(pair) for pair in index.pairs]
    distinct = list(dict.fromkeys(references))  # each is heard once, however often it is imitated
    sounds = _standardised(model, distinct, are_sounds=True)
    sounds = sounds[[distinct.index(path) for path in references]]
    imitations = [index.imitation_path(pair) for pair in index.pairs]
    voices = _standardised(model, imitations, are_sounds=False)
    cosines = np.diag(cosine_similarity(voices, sounds))
    print(
        f"{name}: {len(voices)} imitations of {len(distinct)} sounds, "
        f"share {least_squares_share(voices, sounds):.2f}, mean cosine {cosines.mean():.2f}"
    )


def _standardised(model: Model, paths: list[pathlib.Path], *, are_sounds: bool) -> np.ndarray:
    """Standardised features of files, [files, dim]."""
    features = np.concatenate(
        [
            model.features(
                np.stack([input_audio(path, model.front_end) for path in batch]),
                sounds=are_sounds,
                batch_size=BATCH_SIZE,
            )
            for batch in batches(paths, BATCH_SIZE)
        ]
    )
    mean, spread = (
        np.asarray(model.variables.batch_stats[f"standardise.{name}"])
        for name in ("mean", "spread")
    )
    return (features - mean) / spread


if __name__ == "__main__":
    main()
