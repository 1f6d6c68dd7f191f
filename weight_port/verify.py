"""--verify: torch and qvae_jax on the same input, compared layer by layer.

Both compute in float64. In float32, deep decoders magnify rounding to 4e-4 of their output: a tight
bound would raise false alarms, and a wide one would hide small real differences.
"""

from typing import NamedTuple

import jax
import numpy as np
import torch
import torch.nn.functional as F

from qvae_jax.audio.aisfx_logmel import aisfx_log_mel
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import variables
from qvae_jax.models.aisfx import AiSFX
from qvae_jax.models.judges import JUDGES
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAE, QVAEConfig, encoder_network
from qvae_jax.models.samplecnn import SampleCNNTagger
from qvae_jax.models.variables import Variables
from weight_port import torch_forward
from weight_port.port import Port, prefix_of
from weight_port.source import Source

BOUND = 1e-6  # largest difference over largest value, of each layer
TORCH_JUDGES = {"samplecnn": torch_forward.samplecnn_tagger, "aisfx": torch_forward.aisfx}


class Row(NamedTuple):
    """One layer: its name, its shape here, and the largest difference between the two sides.

    relative is that difference over the layer's largest value in torch.
    """

    layer: str
    shape: tuple[int, ...]
    absolute: float
    relative: float


def compare(source: Source, ported: Port) -> list[Row]:
    """A row for each layer of a ported model: our result against torch's, on a sound in noise."""
    prefix = prefix_of(source, ported.description["source"].get("encoder"))
    weights = {
        key: torch.from_numpy(np.array(array, np.float64))
        for key, array in torch_forward.below(source.arrays, prefix).items()
    }
    kind, model = ported.description["kind"], ported.description["model"]
    heard = _heard(kind, model)
    with torch.inference_mode(), jax.enable_x64(True):
        if kind in TORCH_JUDGES:
            trace = TORCH_JUDGES[kind](weights, torch.from_numpy(heard))
            theirs = _channels_last(trace)
            ours = _our_judge(ported, heard)
        elif kind == "encoder":
            strides = tuple(model["encoder_strides"])
            trace = torch_forward.mobilenet(weights, torch.from_numpy(heard), strides)
            theirs = _channels_last(trace)
            ours = _our_encoder(ported, heard)
        else:
            theirs = _torch_qvae(weights, model, torch.from_numpy(heard))
            # The decoder gets torch's μ on both sides, so that its rows show its own differences
            # and not the encoder's, magnified.
            ours = _our_qvae(ported, heard, theirs["mu"].numpy())
    return [_row(layer, ours[layer], theirs[layer].numpy()) for layer in theirs]


def table(rows: list[Row]) -> str:
    """The rows as a table to print, the worst one marked."""
    worst = max(rows, key=lambda row: row.relative)
    lines = [f"{'layer':28}{'shape':>22}{'absolute':>12}{'relative':>12}"]
    for row in rows:
        shape = "×".join(map(str, row.shape))
        mark = "  largest" if row is worst else ""
        lines.append(f"{row.layer:28}{shape:>22}{row.absolute:12.2e}{row.relative:12.2e}{mark}")
    return "\n".join(lines)


def _heard(kind: str, model: dict) -> np.ndarray:
    """What a model of this kind is given of the test sound: a log-mel, or SampleCNN's waveform."""
    if kind == "samplecnn":
        sound = _test_sound(SampleCNNTagger.sample_rate_hz, SampleCNNTagger.num_samples)
    elif kind == "aisfx":
        sound = jax.jit(aisfx_log_mel)(_test_sound(AiSFX.sample_rate_hz, AiSFX.num_samples))
    else:
        front_end = FrontEnd(**model["front_end"])
        waveform = _test_sound(front_end.sample_rate_hz, front_end.num_samples)
        sound = jax.jit(log_mel, static_argnums=1)(waveform, front_end)
    return np.array(sound, np.float64)


def _test_sound(sample_rate_hz: int, num_samples: int) -> np.ndarray:
    """A rising tone in noise, [1, samples], so that every mel band holds something."""
    rng = np.random.default_rng(0)
    time = np.arange(num_samples) / sample_rate_hz
    tone = np.sin(2 * np.pi * (100.0 + 700.0 * time) * time)
    noise = rng.standard_normal(num_samples)
    return (0.4 * tone + 0.05 * noise)[None].astype(np.float32)


def _channels_last(trace: torch_forward.Trace) -> dict[str, torch.Tensor]:
    return {name: x.movedim(1, -1) if x.ndim > 2 else x for name, x in trace}


def _our_judge(ported: Port, heard: np.ndarray) -> dict[str, np.ndarray]:
    network = JUDGES[ported.description["kind"]].network(ported.description["model"])
    graphdef, _ = variables.split(network)
    run = jax.jit(lambda arrays, x: dict(variables.merge(graphdef, arrays).trace(x)))
    return run(_in_float64(ported), heard)


def _our_encoder(ported: Port, logmel: np.ndarray) -> dict[str, np.ndarray]:
    config = QVAEConfig.from_dict(ported.description["model"])
    graphdef, _ = variables.split(encoder_network(config, rng=None))

    @jax.jit
    def run(arrays, logmel):
        encoder = variables.merge(graphdef, arrays)
        maps = encoder.maps(logmel)
        pooled = maps[-1].mean((1, 2))
        named = {f"features.{i}": x for i, x in enumerate(maps)}
        return named | {"pooled": pooled, "logits": encoder.classifier(pooled)}

    return run(_in_float64(ported), logmel)


def _torch_qvae(weights: dict, model: dict, logmel: torch.Tensor) -> dict[str, torch.Tensor]:
    backbone, heads, decoder = (
        torch_forward.below(weights, prefix)
        for prefix in ("encoder.backbone.", "encoder.", "decoder.")
    )
    trace = dict(torch_forward.mobilenet(backbone, logmel))
    space = model["feature_space"]
    raw = trace["pooled"] if space == "final" else trace[f"features.{space}"].flatten(1)
    features = F.normalize(raw, dim=1)
    mu, logvar = torch_forward.posterior(heads, features)
    last = LAST_LAYER if space == "final" else int(space)
    layers = {f"features.{i}": trace[f"features.{i}"].permute(0, 2, 3, 1) for i in range(last + 1)}
    results = layers | {"normalised": features, "mu": mu, "logvar": logvar}
    for name, x in torch_forward.decoder(decoder, model["decoder_type"], mu):
        results[f"decoder.{name}"] = x.transpose(1, 2) if x.ndim == 3 else x
    return results


def _our_qvae(ported: Port, logmel: np.ndarray, z: np.ndarray) -> dict[str, np.ndarray]:
    config = QVAEConfig.from_dict(ported.description["model"])
    graphdef, _ = variables.split(QVAE(config, rng=None))

    @jax.jit
    def run(arrays, logmel, z):
        model = variables.merge(graphdef, arrays)
        maps = model.encoder.maps(logmel, last_layer=config.last_layer)
        features = model.features(logmel)
        mu, logvar = model.posterior(features)
        named = {f"features.{i}": x for i, x in enumerate(maps)}
        decoded = model.decoder.trace(z, train=False, key=None)
        return (
            named
            | {"normalised": features, "mu": mu, "logvar": logvar}
            | {f"decoder.{name}": x for name, x in decoded}
        )

    return run(_in_float64(ported), logmel, z)


def _in_float64(ported: Port) -> Variables:
    return jax.tree.map(lambda array: np.asarray(array, np.float64), ported.variables)


def _row(layer: str, ours: np.ndarray, theirs: np.ndarray) -> Row:
    difference = float(np.max(np.abs(np.asarray(ours) - theirs)))
    largest = float(np.max(np.abs(theirs)))
    return Row(layer, theirs.shape, difference, difference / max(largest, 1e-30))
