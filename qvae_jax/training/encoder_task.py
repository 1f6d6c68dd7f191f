"""What a run trains where it trains encoders for search: --mode=pretrain."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import jax.numpy as jnp
import ml_collections
import numpy as np

from qvae_jax import configuration
from qvae_jax.data import batches, sound_pairs
from qvae_jax.data.batches import Batch, Examples
from qvae_jax.data.prepared import Prepared
from qvae_jax.data.split_record import SplitRecord
from qvae_jax.models import qvim, stored, variables
from qvae_jax.models.qvae import QVAEConfig, encoder_network
from qvae_jax.models.qvim import QVIM
from qvae_jax.models.variables import Variables
from qvae_jax.system.errors import UserError
from qvae_jax.training import host_augmentations, retrieval_validation
from qvae_jax.training.checkpoints import RunCheckpoints
from qvae_jax.training.contrastive_loss import CHOSEN, SIDES, ContrastiveLoss
from qvae_jax.training.setup import Setup
from qvae_jax.training.varied_sounds import Augmentation


@dataclasses.dataclass(frozen=True)
class EncoderTask:
    """Encoders, whose best checkpoint has the highest MRR; setup.Task says what is what."""

    objective: str = configuration.CONTRASTIVE
    best: stored.Best = stored.HIGHEST_MRR

    def model(self, config: ml_collections.ConfigDict, model_config: QVAEConfig) -> QVIM:
        """One encoder, or two."""
        return QVIM(model_config, **_sharing(config))

    def initial_variables(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Variables:
        """Those of model.encoder_checkpoint, twice if it is not a pair; else drawn, twice the same."""
        if config.model.encoder_checkpoint:
            folders = stored.encoder_folders(config.model.encoder_checkpoint)
            pair = [stored.load_encoder(str(folder)) for folder in folders]
        else:
            rng = np.random.default_rng(config.training.seed)
            pair = [variables.split(encoder_network(model_config, rng=rng))[1]] * 2
        return qvim.begun(*pair, **_sharing(config))

    def prepare(
        self,
        config: ml_collections.ConfigDict,
        model_config: QVAEConfig,
        first: Variables,
        workdir: pathlib.Path,
        layers: frozenset[int],
        recorded: SplitRecord | None,
    ) -> Prepared:
        """Imitations and sounds as waveforms."""
        return sound_pairs.prepare_pairs(config, model_config.front_end, workdir, recorded)

    def fitted(
        self,
        config: ml_collections.ConfigDict,
        model: QVIM,
        first: Variables,
        prepared: Prepared,
    ) -> Variables:
        """As they are."""
        return first

    def loss(
        self,
        config: ml_collections.ConfigDict,
        model: QVIM,
        layers: frozenset[int],
        prepared: Prepared,
        batch_size: int,
        steps_per_epoch: int,
        cut: Mapping[str, object],
    ) -> ContrastiveLoss:
        """The loss; UserError where a step would see one sound alone."""
        num_steps = config.training.num_epochs * steps_per_epoch
        _require_two_sounds(config, prepared.parts["train"], batch_size, num_steps)
        contrast = config.contrast
        return ContrastiveLoss(
            graphdef=variables.split(model)[0],
            front_end=configuration.model_config(config).front_end,
            train_layers=layers,
            temperature=contrast.temperature,
            same_sound=contrast.same_sound,
            triplet=contrast.triplet,
            triplet_margin=contrast.triplet_margin,
            augmentation=Augmentation.of(config),
            compute_dtype=jnp.bfloat16 if config.training.dtype == "bfloat16" else None,
            **cut,
        )

    def evaluation(self, config: ml_collections.ConfigDict, loss: ContrastiveLoss) -> Callable:
        """The embeddings."""
        return loss.evaluate

    def told(
        self, config: ml_collections.ConfigDict, model_config: QVAEConfig
    ) -> Callable[[Batch, int, np.ndarray], Batch]:
        """The sounds after what the host varies of them."""
        settings = Augmentation.of(config)
        if not (settings.on_host or settings.at_most_one):
            return lambda batch, step, rows: batch
        rate_hz = model_config.front_end.sample_rate_hz
        vary = functools.partial(
            host_augmentations.varied,
            rate_hz=rate_hz,
            settings=settings,
            seed=config.training.seed,
        )

        def told(batch: Batch, step: int, rows: np.ndarray) -> Batch:
            found = dict(batch)
            for number, side in enumerate(SIDES):
                found[side], chosen = vary(batch[side], step=step, side=number, rows=rows)
                if chosen is not None:
                    found[side + CHOSEN] = chosen
            return found

        return told

    def validate(
        self, setup: Setup, model_variables: Variables, step: int, kept: RunCheckpoints
    ) -> dict[str, dict[str, float]]:
        """How well imitations of each validated part find their sounds."""
        return retrieval_validation.validate(setup, model_variables, step, kept)


def _sharing(config: ml_collections.ConfigDict) -> dict[str, object]:
    """Whether the encoders are one, and the temperature that they begin to learn, if they do."""
    contrast = config.contrast
    learnt = float(contrast.temperature) if contrast.learn_temperature else None
    return {"shared": contrast.shared_encoder, "learnt_temperature": learnt}


def _require_two_sounds(
    config: ml_collections.ConfigDict, examples: Examples, batch_size: int, num_steps: int
) -> None:
    """Raises UserError naming the first step that would see one sound alone: nothing to tell apart."""
    sounds, num_parts = examples.target_rows, config.training.accumulation_steps
    if np.bincount(sounds).max() < batch_size // num_parts:
        return
    for step in range(num_steps):
        places = batches.training_indices(len(examples), batch_size, config.training.seed, step)
        for part in range(num_parts):  # which the step computes one after the other
            seen = places[part::num_parts]
            if len(set(sounds[seen])) < 2:
                raise UserError(
                    f"step {step + 1} would see imitations of {examples.pairs[seen[0]].key!r} alone, "
                    "and there is nothing to tell it from: raise training.batch_size, or train on "
                    "more sounds."
                )
