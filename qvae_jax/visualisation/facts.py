"""What a page says of the run that it shows: its checkpoint, and the model."""

from collections.abc import Sequence

import ml_collections

from qvae_jax.generation.model import Model


def facts(
    config: ml_collections.ConfigDict, model: Model, logged: Sequence[dict]
) -> list[tuple[str, str]]:
    """Names and texts: which checkpoint, what latent, decoder and encoder.

    config is the run's, logged its metrics (runs.read_metrics).
    """
    shape, epoch = model.config, _epoch(logged, model.source["step"])
    step = f"step {model.source['step']}" + ("" if epoch is None else f", epoch {epoch}")
    weights = (config.model.get(name) for name in ("checkpoint", "encoder_checkpoint"))
    origin = next(filter(None, weights), "random weights")
    layer = "its last layer" if shape.feature_space == "final" else f"layer {shape.feature_space}"
    trained = str(config.training.get("encoder", "")).replace("_", " ")
    return [
        ("checkpoint", f"{step}: the best one kept"),
        ("latent", f"{shape.latent_dim} dimensions; sounds are made of its mean, z = μ"),
        (
            "decoder",
            f"{shape.decoder_type}, width {shape.decoder_width:g}, {shape.sample_rate_hz:,} Hz",
        ),
        (
            "encoder",
            f"MobileNetV3, width {shape.encoder_width:g}, {trained}, from {origin}; "
            f"features of {layer}",
        ),
    ]


def _epoch(logged: Sequence[dict], step: int) -> int | None:
    return next((e["epoch"] for e in logged if e["step"] == step and "epoch" in e), None)
