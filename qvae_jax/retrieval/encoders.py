"""The encoders that hear queries and sounds: waveforms to embeddings of unit norm."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from qvae_jax.audio.files import fit_length
from qvae_jax.models import sound_encoder, stored, variables
from qvae_jax.models.batching import batches, in_batches
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.variables import Variables
from qvae_jax.retrieval.lengths import lengths_of, rows_by_length
from qvae_jax.system import platforms
from qvae_jax.system.errors import UserError

VERSION = 1  # of what embeddings mean; when it is raised, every index is made again


class Encoder:
    """An encoder's weights on the device, and its programs, compiled once for a size of batches.

    Attributes:
        front_end: what it hears: rate, duration and log-mel.
        dim: of its embeddings.
        digest: tells it from any encoder that embeds otherwise; its AudioSet head does not count.
    """

    def __init__(self, config: QVAEConfig, encoder: Variables):
        self.front_end = config.front_end
        self.dim = config.map_shape(LAST_LAYER)[-1]
        self.digest = _digest(config, encoder)
        graphdef, _ = variables.split(encoder_network(config, rng=None))
        self._variables = jax.device_put(encoder)
        self._lengths = lengths_of(graphdef, config)

    def embed(
        self, waveforms: Sequence[np.ndarray], names: Sequence[str], batch_size: int
    ) -> np.ndarray:
        """Pooled features of the last map, of unit norm: float32 [waveforms, dim].

        waveforms are floats [samples] at the front-end's rate; those longer than it hears are cut,
        others are silent at the end. Computed batch_size at a time, of about one length each; what
        else is in a batch changes nothing. Raises UserError naming the first whose embedding is not
        finite.
        """
        found = np.empty((len(waveforms), self.dim), np.float32)
        for length, rows in rows_by_length(self._lengths, waveforms).items():
            program = functools.partial(length.program, self._variables)
            for batch in batches(rows, batch_size):  # all of a piece of an index, padded, are large
                heard = [fit_length(waveforms[row], length.num_samples) for row in batch]
                found[batch] = in_batches(program, np.stack(heard), batch_size)
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            raise UserError(
                f"The encoder gives values that are not finite for {names[int(np.argmin(finite))]}: "
                "its weights are damaged, so use another one."
            )
        return found


class Encoders(NamedTuple):
    """The encoder that hears queries, and the one that hears the library; often the same."""

    imitation: Encoder
    reference: Encoder


def load_encoders(folder: str | pathlib.Path) -> Encoders:
    """The pair of encoders in a folder; of a plain encoder's or a whole QVAE's folder, one twice.

    Raises UserError for any other folder, and for a pair of which one's embeddings are longer.
    """
    platforms.start_backend()
    folder = pathlib.Path(folder)
    whole = (folder / stored.CONFIG_FILE).is_file()
    if whole and stored.read_description(folder)["kind"] == "qvae":
        return of_model(*stored.load_qvae(folder))
    folders = stored.encoder_folders(folder)
    loaded = {each: _loaded(each) for each in dict.fromkeys(folders)}
    found = Encoders(loaded[folders.imitation], loaded[folders.reference])
    if found.imitation.dim != found.reference.dim:
        raise UserError(
            f"The encoders in {folder} are no pair: embeddings of {found.imitation.dim} and of "
            f"{found.reference.dim} values cannot be compared."
        )
    return found


def of_model(config: QVAEConfig, model: Variables, pretrained: str = "") -> Encoders:
    """The encoder of a QVAE, which hears both; its two; or the pair that it was pretrained as one of.

    pretrained is the folder that its encoder came from, if any. Of a pair there, the other one
    hears the library, as long as the model's own is still the imitations' of the pair.
    """
    own = Encoder(config, Variables(*map(_below_prefix, model)))
    if config.sound_encoder:
        _, of_sounds = sound_encoder.one_alone(config, model, sounds=True)
        return Encoders(own, Encoder(config, Variables(*map(_below_prefix, of_sounds))))
    if pretrained and pathlib.Path(pretrained).is_dir():
        pair = load_encoders(pretrained)
        if pair.imitation.digest == own.digest:
            return Encoders(own, pair.reference)
    return Encoders(own, own)


def _loaded(folder: pathlib.Path) -> Encoder:
    config = QVAEConfig.from_dict(stored.description_of(folder, "encoder"))
    return Encoder(config, stored.load_encoder(str(folder)))


def _below_prefix(arrays: dict) -> dict:
    first = sound_encoder.FIRST
    return {n.removeprefix(first): array for n, array in arrays.items() if n.startswith(first)}


def _digest(config: QVAEConfig, encoder: Variables) -> str:
    shape = [VERSION, config.encoder_width, config.encoder_strides]
    shape.append(dataclasses.asdict(config.front_end))
    found = hashlib.sha256(json.dumps(shape).encode())
    for arrays in encoder:
        for name in sorted(n for n in arrays if n.startswith("features.")):
            found.update(name.encode())
            found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()
