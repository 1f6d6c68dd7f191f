"""How well the imitations of a part of the split find their sounds among those of that part."""

import jax
import numpy as np

from qvae_jax.data.catalogue import Catalogue
from qvae_jax.data.sound_pairs import SoundPairs
from qvae_jax.evaluation import retrieval_metrics
from qvae_jax.evaluation.measuring import sound_class
from qvae_jax.models.qvim import IMITATION, REFERENCE
from qvae_jax.models.variables import Variables
from qvae_jax.training import devices
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.setup import Setup
from qvae_jax.training.step_report import require_finite


def validate(
    setup: Setup, model_variables: Variables, step: int, kept: RunCheckpoints
) -> dict[str, dict[str, float]]:
    """MRR, recall at 1 and 2, NDCG by class, and mean cosines of each validated part."""
    results = {}
    for part in setup.validated:
        found = results[part] = _measured(setup, model_variables, setup.prepared.parts[part])
        require_finite(found, tuple(found), f"what is found of {part}", step, kept)
    return results


def _measured(setup: Setup, model_variables: Variables, examples: SoundPairs) -> dict[str, float]:
    """Means over the imitations of some pairs, each of which counts once."""
    imitations, first = np.unique(examples.input_rows, return_index=True)
    references = np.unique(examples.target_rows)
    queries = _embedded(setup, model_variables, examples, IMITATION, imitations)
    items = _embedded(setup, model_variables, examples, REFERENCE, references)
    right = np.searchsorted(references, examples.target_rows[first])
    class_of = _classes(setup.prepared.catalogue, examples, references)
    relevant = class_of[right][:, None] == class_of
    of_each = retrieval_metrics.retrieval(queries, items, right, relevant)
    means = {name: float(values.mean()) for name, values in of_each.items()}
    return means | retrieval_metrics.mean_cosines(queries, items, right)


def _embedded(
    setup: Setup, model_variables: Variables, examples: SoundPairs, side: str, rows: np.ndarray
) -> np.ndarray:
    """Embeddings of the sounds in these rows of a side, [rows, channels]."""
    size, placement = setup.batch_size, setup.placement
    own, found = devices.own_rows(size, placement), []
    for batch in examples.batches_of(side, rows, size):
        placed = devices.put_batch(jax.tree.map(lambda x: x[own], batch), placement)
        _, embedded = setup.eval_step(model_variables, placed, np.int32(0))
        found.append(devices.get_rows(embedded[side], placement))
    return np.concatenate(found)[: len(rows)]


def _classes(catalogue: Catalogue, examples: SoundPairs, references: np.ndarray) -> np.ndarray:
    """The class of the sound in each of these rows, [references]."""
    keys = {row: pair.key for row, pair in zip(examples.target_rows, examples.pairs)}
    known = catalogue.index.classes
    return np.array([known.get(keys[row], sound_class(keys[row])) for row in references])
