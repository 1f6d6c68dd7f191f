"""Judges: networks that embed sounds and share neither weights nor training data with the encoder."""

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from flax import nnx

from qvae_jax.models import stored, variables
from qvae_jax.models.aisfx import AiSFX
from qvae_jax.models.samplecnn import SampleCNNTagger
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError


class Judge(NamedTuple):
    """One kind of judge.

    Attributes:
        title: its name.
        learnt_from: what it learnt from.
        network: the network that a description's `model` describes, without weights. It has
            embed(waveforms [batch, num_samples]) -> [batch, embedding_size], and sample_rate_hz.
    """

    title: str
    learnt_from: str
    network: Callable[[Mapping], nnx.Module]


# By the kind of a model folder.
JUDGES = {
    "samplecnn": Judge(
        "SampleCNN",
        "the tags of music in MagnaTagATune",
        lambda model: SampleCNNTagger(model["num_tags"], rng=None),
    ),
    "aisfx": Judge("aiSFX", "libraries of sound effects", lambda model: AiSFX(rng=None)),
}


def is_judge(directory: str | pathlib.Path) -> bool:
    """Whether a folder's config.json says that it holds a judge."""
    description = files.json_or_none(pathlib.Path(directory) / stored.CONFIG_FILE)
    return isinstance(description, dict) and description.get("kind") in list(JUDGES)


def load_judge(directory: str | pathlib.Path) -> tuple[Judge, nnx.Module, Variables]:
    """The judge in a folder: what it is, its network without weights, and its variables.

    Raises UserError where the folder is damaged. It must be one of which is_judge is true.
    """
    description = stored.read_description(pathlib.Path(directory))
    judge = JUDGES[description["kind"]]
    try:
        network = judge.network(description.get("model"))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{directory}/{stored.CONFIG_FILE} is damaged: port the model again."
        ) from error
    given = stored.load_arrays(pathlib.Path(directory), variables.split(network)[1])
    return judge, network, given
