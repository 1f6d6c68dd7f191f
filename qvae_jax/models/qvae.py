"""The whole variational autoencoder: log-mel in, audio out."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models import decoders, global_batch, initializers, layers
from qvae_jax.models.decoders import DECODERS, STEERED
from qvae_jax.models.mobilenet import (
    HEADS,
    LAST_LAYER,
    NUM_CLASSES,
    ROWS,
    STRIDES,
    MobileNetV3,
    embedding_size,
    layer_strides,
    make_divisible,
)
from qvae_jax.system.errors import UserError


@dataclasses.dataclass(frozen=True)
class QVAEConfig:
    """All that decides the shapes of a QVAE's parameters, and how its decoder's are drawn."""

    encoder_width: float = 1.0  # width multiplier: 1.0 is mn10, 0.4 is mn04
    encoder_head: str = "mlp"  # or "fully_convolutional"; no feature depends on it
    encoder_strides: tuple[int, ...] = STRIDES
    encoder_classes: int = NUM_CLASSES  # of that head
    feature_space: str = "final"  # "final", or a layer number "0" to "16"
    standardise_features: bool = False  # before the heads, by statistics kept with the weights
    voice_share: float = 1.0  # how much counts of what sets a voice's features apart from the mean
    latent_dim: int = 64
    decoder_type: str = "original-plus"
    decoder_init: str = "he_uniform"  # or "kaiming_scaled", "fixed_std"
    decoder_dropout: float = 0.05  # of the improved decoders' residual blocks, in training
    decoder_width: float = 1.0  # multiplies the decoder's channels; the original's is 1
    sample_rate_hz: int = decoders.SAMPLE_RATE_HZ  # of the sound; or, at frame rate, 44_100
    front_end: FrontEnd = FrontEnd()
    sound_encoder: bool = False  # whether a second encoder hears sounds; see models.sound_encoder

    @classmethod
    def from_dict(cls, values: dict) -> "QVAEConfig":
        """The inverse of dataclasses.asdict; UserError for a dict of anything else."""
        try:
            front_end = FrontEnd(**values["front_end"])
            _check_types(cls, values)
            _check_types(FrontEnd, values["front_end"])
            strides = tuple(values.get("encoder_strides", STRIDES))  # JSON has no tuples
            return cls(**{**values, "front_end": front_end, "encoder_strides": strides})
        except (KeyError, TypeError) as error:
            raise UserError(
                f"The model's description does not fit this version ({error}): make it again."
            ) from error

    def __post_init__(self):
        if self.feature_space != "final" and self.feature_space not in map(
            str, range(LAST_LAYER + 1)
        ):
            raise UserError(
                f"model.feature_space is {self.feature_space!r}, which is neither 'final' nor a "
                f"layer number from 0 to {LAST_LAYER}: set one of these."
            )
        _check_choice("model.encoder_head", self.encoder_head, HEADS)
        _check_strides(self.encoder_strides)
        if self.encoder_classes < 1:
            raise UserError(
                f"model.encoder_classes is {self.encoder_classes}: set it to at least 1."
            )
        _check_choice("model.decoder.type", self.decoder_type, DECODERS)
        _check_choice("model.decoder.init", self.decoder_init, initializers.DECODER_INITIALIZERS)
        if self.latent_dim < 1:
            raise UserError(f"model.latent_dim is {self.latent_dim}: set it to at least 1.")
        if not 0 <= self.decoder_dropout < 1:
            raise UserError(
                f"model.decoder.dropout is {self.decoder_dropout}: set it from 0 to below 1."
            )
        if not 0 <= self.voice_share <= 1:
            raise UserError(f"model.voice_share is {self.voice_share}: set it from 0 to 1.")
        if self.voice_share < 1 and not self.standardise_features:
            raise UserError(
                f"model.voice_share is {self.voice_share}, which draws features to the mean that "
                "only model.standardise_features=True keeps: set that, or model.voice_share to 1."
            )
        if not self.decoder_width > 0:
            raise UserError(f"model.decoder.width is {self.decoder_width}: set it above 0.")
        _check_sample_rate(self.sample_rate_hz, self.decoder_type)
        if not self.encoder_width > 0:
            raise UserError(f"model.encoder_width is {self.encoder_width}: set it above 0.")
        for name in ("hop_length", "num_mels"):
            if getattr(self.front_end, name) < 1:
                value = getattr(self.front_end, name)
                raise UserError(f"model.{name} is {value}: set it to at least 1.")

    @property
    def is_steered(self) -> bool:
        """Whether the decoder is a gesture head and a renderer."""
        return self.decoder_type == STEERED

    @property
    def num_samples(self) -> int:
        """Samples of the decoder's sound."""
        return decoders.num_samples(self.sample_rate_hz)

    @property
    def last_layer(self) -> int:
        """The last encoder layer that the features depend on."""
        return LAST_LAYER if self.feature_space == "final" else int(self.feature_space)

    def feature_dim(self) -> int:
        """Length of one example's feature vector."""
        if self.feature_space == "final":
            return embedding_size(self.encoder_width)
        return math.prod(self.map_shape(self.last_layer))

    def map_shape(self, layer: int) -> tuple[int, int, int]:
        """Shape (mels, frames, channels) of one example's map after an encoder layer."""
        channels = [16] + [row.num_out for row in ROWS]
        mels, frames = self.front_end.num_mels, self.front_end.num_frames
        for stride in layer_strides(self.encoder_strides)[: layer + 1]:
            mels, frames = -(-mels // stride), -(-frames // stride)
        if layer == LAST_LAYER:
            return mels, frames, embedding_size(self.encoder_width)
        return mels, frames, make_divisible(channels[layer] * self.encoder_width)


def encoder_network(config: QVAEConfig, *, rng) -> MobileNetV3:
    """The encoder's trunk and head."""
    return MobileNetV3(
        config.encoder_width,
        head=config.encoder_head,
        strides=config.encoder_strides,
        num_classes=config.encoder_classes,
        rng=rng,
    )


class QVAE(nnx.Module):
    """Encoder trunk, the two heads of the posterior, and the decoder.

    Attributes:
        encoder: what `features` hears by.
        sound_encoder: a second one of the same structure, or None; see models.sound_encoder.
    """

    def __init__(self, config: QVAEConfig, *, rng):
        self.encoder = encoder_network(config, rng=rng)
        feature_dim = config.feature_dim()
        self.standardise = layers.Standardise(feature_dim) if config.standardise_features else None
        head = lambda: layers.Linear(
            feature_dim, config.latent_dim, kernel_init=initializers.xavier_normal, rng=rng
        )
        self.mu_head, self.logvar_head = head(), head()
        at_frame_rate = config.decoder_type in decoders.AT_FRAME_RATE
        at_rate = {"sample_rate_hz": config.sample_rate_hz} if at_frame_rate else {}
        self.decoder = DECODERS[config.decoder_type](
            config.latent_dim,
            **at_rate,
            width=config.decoder_width,
            dropout=config.decoder_dropout,
            kernel_init=initializers.DECODER_INITIALIZERS[config.decoder_init],
            rng=rng,
        )
        # Drawn last, so that whatever learns begins as it does without it.
        self.sound_encoder = encoder_network(config, rng=rng) if config.sound_encoder else None
        self.config = config

    def features(
        self,
        inputs: jax.Array,
        *,
        first_layer: int = 0,
        train_layers: frozenset[int] = frozenset(),
    ) -> jax.Array:
        """Features of unit L2 norm: log-mel [batch, mel, frames] -> [batch, feature_dim].

        Where first_layer is above 0, inputs is the map before that encoder layer instead.
        BatchNorm of the encoder layers in train_layers runs in training mode. The features are
        float32 at least, whatever the inputs.
        """
        if self.config.feature_space == "final":
            features = self.encoder.pooled(
                inputs, first_layer=first_layer, train_layers=train_layers
            )
        else:
            last = self.encoder.last_map(
                inputs,
                first_layer=first_layer,
                last_layer=self.config.last_layer,
                train_layers=train_layers,
            )
            # torch flattens its maps with channels first; the heads' weights expect that order.
            features = last.transpose(0, 3, 1, 2).reshape(last.shape[0], -1)
        return layers.normalised(features)

    def posterior(
        self, features: jax.Array, *, voices: jax.Array | bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the latent: [batch, feature_dim] -> two [batch, latent].

        features are those of `features`; they are standardised here, where the model does so.
        voices says of all, or of each [batch], whether it is a voice to a model that has learnt from
        sounds alone: config.voice_share of it counts.
        """
        if self.standardise is not None:
            features = self.standardise(features)
        if self.config.voice_share < 1:
            # The least squares estimate of a sound by its imitation, where one share is for all
            share = jnp.where(voices, self.config.voice_share, 1.0)
            features = features * share[..., None]
        return self.mu_head(features), self.logvar_head(features)

    def decode(
        self,
        z: jax.Array,
        *,
        train: bool = False,
        key: jax.Array | None = None,
        seeds: jax.Array | None = None,
    ) -> jax.Array:
        """Audio of latents: [batch, latent] -> [batch, config.num_samples] in (-1, 1).

        key draws the dropout, which only the improved decoders have, and only in training. seeds,
        uint32 [batch, 2], are those of the noise that frame and steered decoders filter (see
        noise.white); by default the same for all.
        """
        if not self.decoder.uses_noise:
            return self.decoder(z, train=train, key=key)
        seeds = jnp.zeros((len(z), 2), jnp.uint32) if seeds is None else seeds
        return self.decoder(z, seeds=seeds, train=train, key=key)


def sample_latent(
    mu: jax.Array,
    logvar: jax.Array,
    key: jax.Array,
    temperature: jax.Array | float = 1.0,
    axis_name: str | None = None,
) -> jax.Array:
    """z = μ + temperature·exp(½·logvar)·ε with ε ~ N(0, 1): [batch, latent].

    At temperature 0 z is exactly μ, whatever the key. axis_name: see global_batch.
    """
    normal = lambda shape: jax.random.normal(key, shape, mu.dtype)
    return moved(mu, logvar, global_batch.draw(normal, mu.shape, axis_name), temperature)


def moved(
    mu: jax.Array, logvar: jax.Array, noise: jax.Array, temperature: jax.Array | float
) -> jax.Array:
    """μ + temperature·exp(½·logvar)·noise [batch, latent]; at temperature 0 exactly μ."""
    drawn = mu + temperature * jnp.exp(0.5 * logvar) * noise
    # The product would not do: 0 · exp(a large log-variance) is not a number.
    return jnp.where(temperature == 0, mu, drawn)


def _check_types(described: type, values: dict) -> None:
    """Raises TypeError where a number or a name is of another type than its field's."""
    allowed = {bool: bool, int: int, float: (int, float), str: str}
    for field in dataclasses.fields(described):
        value = values.get(field.name, field.default)
        wanted = allowed.get(field.type)
        is_bool = isinstance(value, bool)  # which Python also takes for an int
        if wanted and (is_bool != (wanted is bool) or not isinstance(value, wanted)):
            raise TypeError(f"{field.name} is {value!r} and not of type {field.type.__name__}")


def _check_choice(name: str, value: str, choices) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}, which is not one of {', '.join(sorted(choices))}.")


def _check_sample_rate(sample_rate_hz: int, decoder_type: str) -> None:
    free = decoder_type in decoders.AT_FRAME_RATE
    rates_hz = decoders.SAMPLE_RATES_HZ if free else (decoders.SAMPLE_RATE_HZ,)
    if sample_rate_hz in rates_hz:
        return
    others = ""
    if sample_rate_hz in decoders.SAMPLE_RATES_HZ:
        others = f", or model.decoder.type to {' or '.join(decoders.AT_FRAME_RATE)}"
    raise UserError(
        f"model.sample_rate_hz is {sample_rate_hz!r}, but a decoder of type {decoder_type!r} makes "
        f"sound at {' or '.join(map(str, rates_hz))} Hz: set it so{others}."
    )


def _check_strides(strides: tuple[int, ...]) -> None:
    if len(strides) != len(STRIDES) or not set(strides) <= {1, 2}:
        raise UserError(
            f"model.encoder_strides is {strides}: set it to {len(STRIDES)} numbers, each 1 or 2."
        )
