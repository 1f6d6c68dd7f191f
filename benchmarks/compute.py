"""`python -m benchmarks.compute`: every program of qvae_jax beside PyTorch's, in one process.

Each row first checks that both sides give the same (1e-4 of the largest value), then times them in
turns and prints the ratio of the medians, PyTorch's over ours. float32, on the CPU's cores.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import timing, torch_peer
from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import decoders, variables
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.training import optimizer
from qvae_jax.training import state as training_state
from qvae_jax.training.step import StepOptions, make_train_step
from tests import golden_rules, torch_reference
from weight_port import names, port, to_torch
from weight_port.source import QVAE as QVAE_KIND
from weight_port.source import Source

BOUND = 1e-4  # largest difference over largest value, before anything is timed
LATENT_DIM = 64
BETA = 1e-4
FINE_TUNED = frozenset(range(11, 17))


class Row(NamedTuple):
    """One line of the table: both sides' programs, and what each of them gives, to be compared."""

    ours: Callable[[], object]
    theirs: Callable[[], object]
    compared: Callable[[], tuple[np.ndarray, np.ndarray]]
    gflop: float
    compiled_peer: Callable[[], object] | None = None


def main() -> None:
    """Prints the table; exit status 1 where two sides disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", help="only rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, if it can")
    options = parser.parse_args()
    chosen = [name for name in ROWS if options.rows is None or options.rows in name]
    print(f"{'row':44}{'ratio':>7}{'goal':>6}{'compiled':>10}{'ours ms':>9}{'torch ms':>10}  share")
    for name in chosen:
        make, goal = ROWS[name]
        print(_line(name, goal, make(), options), flush=True)


def _line(name: str, goal: float, row: Row, options) -> str:
    _check(name, *row.compared())
    product, product_gflop = timing.matrix_product()
    programs = {"ours": row.ours, "theirs": row.theirs, "product": product}
    if options.compile and row.compiled_peer is not None:
        programs["compiled"] = row.compiled_peer
    seconds = timing.interleaved(programs, options.rounds)
    ratio = seconds["theirs"] / seconds["ours"]
    compiled = f"{seconds['compiled'] / seconds['ours']:.2f}" if "compiled" in seconds else "–"
    share = (row.gflop / seconds["ours"]) / (product_gflop / seconds["product"])
    return (
        f"{name:44}{ratio:7.2f}{goal:6.1f}{compiled:>10}{seconds['ours'] * 1e3:9.1f}"
        f"{seconds['theirs'] * 1e3:10.1f}  {share:5.0%}"
    )


def _check(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    difference = np.abs(np.asarray(ours) - np.asarray(theirs)).max()
    largest = np.abs(np.asarray(theirs)).max()
    if not difference <= BOUND * largest:
        raise SystemExit(f"{name}: the two sides differ by {difference:.2e} of {largest:.2e}")


def _model(decoder_type: str = "original-plus", width: float = 1.0):
    """(structure, our variables, torch's state dict) of a QVAE, its decoder as the tests fill it.

    Drawn weights let the improved decoders' activations grow until tanh keeps their sign alone,
    and that is rounding noise.
    """
    config = QVAEConfig(
        encoder_width=width,
        latent_dim=LATENT_DIM,
        decoder_type=decoder_type,
        decoder_dropout=0.0,
    )
    graphdef, drawn = variables.split(QVAE(config, rng=np.random.default_rng(0)))
    arrays = {
        key: golden_rules.filled(key.removeprefix("decoder."), tuple(tensor.shape))
        if key.startswith("decoder.")
        else tensor.numpy()
        for key, tensor in to_torch.qvae_state_dict(drawn, width, decoder_type).items()
    }
    stated = {"config": {"decoder": {"type": decoder_type}}}
    source = Source(pathlib.Path("filled"), "", QVAE_KIND, arrays, {}, stated)
    state = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    return graphdef, port.port(source).variables, state


def _waveforms(batch: int, num_samples: int) -> np.ndarray:
    """Decaying noise in [-1, 1]."""
    noise = np.random.default_rng(1).standard_normal((batch, num_samples))
    return (0.1 * noise * np.exp(-np.arange(num_samples) / num_samples)).astype(np.float32)


def _compiled(function: Callable, *arguments) -> Callable[[], object]:
    """A call of the compiled function with these arguments on the device."""
    arguments = jax.device_put(arguments)
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: program(*arguments)


def _inference(function: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    def run():
        with torch.inference_mode():
            return function()

    return run


def _forward_row(function, arguments, peer: Callable, peer_arguments: tuple) -> Row:
    """A row of a forward pass on both sides; peer may be compiled as it stands."""
    ours = _compiled(function, *arguments)
    theirs = _inference(lambda: peer(*peer_arguments))
    faster = torch.compile(peer)
    compiled = _inference(lambda: faster(*peer_arguments))
    compared = lambda: (np.asarray(ours()), theirs().numpy())  # noqa: E731
    return Row(ours, theirs, compared, timing.gflop(function, *arguments), compiled)


def decoder(decoder_type: str, batch: int) -> Row:
    z = np.random.default_rng(2).standard_normal((batch, LATENT_DIM)).astype(np.float32)
    graphdef, ours, state = _model(decoder_type, width=0.1)
    weights = torch_peer.below(state, torch_peer.DECODER)
    return _forward_row(
        lambda given, z: variables.merge(graphdef, given).decode(z),
        (ours, z),
        lambda z: torch_peer.audio(weights, decoder_type, z),
        (torch.from_numpy(z),),
    )


def features(batch: int) -> Row:
    graphdef, ours, state = _model()
    logmel = _log_mels(batch)
    backbone = torch_peer.below(state, torch_peer.BACKBONE)
    return _forward_row(
        lambda given, x: variables.merge(graphdef, given).features(x),
        (ours, logmel),
        lambda x: torch_peer.features(backbone, x),
        (torch.from_numpy(logmel),),
    )


def front_end(batch: int) -> Row:
    waveforms = _waveforms(batch, FrontEnd().num_samples)
    peer = torch_peer.log_mel_of(FrontEnd())
    return _forward_row(log_mel, (waveforms,), peer, (torch.from_numpy(waveforms),))


def waveform_to_waveform(batch: int) -> Row:
    graphdef, ours, state = _model()
    waveforms = _waveforms(batch, FrontEnd().num_samples)
    backbone, weights = (
        torch_peer.below(state, prefix) for prefix in (torch_peer.BACKBONE, torch_peer.DECODER)
    )
    heads = torch_peer.below(state, torch_peer.HEADS)
    front = torch_peer.log_mel_of(FrontEnd())

    def generate(given, waveforms):
        model = variables.merge(graphdef, given)
        mu, _ = model.posterior(model.features(log_mel(waveforms)))
        return model.decode(mu)

    def peer(waveforms):
        given = torch_peer.features(backbone, front(waveforms))
        mu = torch.nn.functional.linear(given, heads["mu_head.weight"], heads["mu_head.bias"])
        return torch_peer.audio(weights, "original-plus", mu)

    return _forward_row(generate, (ours, waveforms), peer, (torch.from_numpy(waveforms),))


def all_losses(batch: int) -> Row:
    """Value and gradient; the value is what is compared (the tests compare the gradient)."""
    target = _waveforms(batch, decoders.NUM_SAMPLES)
    prediction = np.random.default_rng(3).standard_normal(target.shape).astype(np.float32) * 0.1
    mu, logvar = np.zeros((2, batch, LATENT_DIM), np.float32)
    banks = torch_peer.loss_banks()
    inputs = [torch.from_numpy(array) for array in (prediction, target, mu, logvar)]
    inputs[0].requires_grad_()

    def loss(prediction, target, mu, logvar):
        return losses.qvae_loss(prediction, target, mu, logvar, beta=BETA)[0]

    arguments = (jax.value_and_grad(loss), prediction, target, mu, logvar)
    ours = _compiled(*arguments)

    def theirs():
        inputs[0].grad = None
        value = torch_reference.total(torch_reference.loss_terms(*inputs, banks), BETA)
        value.backward()
        return value.detach()

    compared = lambda: (np.asarray(ours()[0]), theirs().numpy())  # noqa: E731
    return Row(ours, theirs, compared, timing.gflop(*arguments))


def training_step(layers: frozenset[int] | None, batch: int) -> Row:
    """The training step itself, donation included; layers None: the frozen encoder's features.

    The spectral term is left out of the comparison: a fresh decoder repeats one sample, and the
    logarithm of its empty STFT bins is rounding noise, 8e-4 of the term. The tests compare that
    term and all gradients, in float64 too.
    """
    graphdef, ours, state = _model()
    targets = _waveforms(batch, decoders.NUM_SAMPLES)
    if layers is None:
        inputs = np.random.default_rng(4).standard_normal((batch, 960)).astype(np.float32)
        inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    else:
        inputs = _log_mels(batch)
    rate = optax.constant_schedule(8e-4)
    update_rule = optimizer.adamw(
        rate, rate, beta1=0.95, beta2=0.999, weight_decay=1e-4, clip_norm=2.0
    )
    options = StepOptions(
        loss_weights=losses.LossWeights(),
        beta=optax.constant_schedule(BETA),
        learning_rate=rate,
        precomputed_features=layers is None,
        train_layers=layers or frozenset(),
        temperature=0.0,
        seed=0,
    )
    first = training_state.new_state(
        Variables(*jax.tree.map(jnp.array, tuple(ours))), layers or frozenset(), update_rule
    )
    batch_of = jax.device_put({"inputs": inputs, "targets": targets})
    step = jax.jit(make_train_step(graphdef, update_rule, options), donate_argnums=0)
    program = step.lower(first, batch_of).compile()
    held = [first]

    def run():
        held[0], metrics = program(held[0], batch_of)
        return metrics

    given = {key: tensor.clone() for key, tensor in state.items()}
    theirs = torch_peer.training_step(
        given, torch.from_numpy(inputs), torch.from_numpy(targets), layers, BETA
    )

    def compared():
        mine, other = run(), theirs()
        return tuple(
            np.array([float(terms[name]) for name in ("mel", "waveform", "kl")])
            for terms in (mine, other)
        )

    return Row(run, theirs, compared, timing.gflop(step, first, batch_of))


def _log_mels(batch: int) -> np.ndarray:
    return np.array(jax.jit(log_mel)(_waveforms(batch, FrontEnd().num_samples)))


# Name: (how it is made, the least ratio that is wanted).
ROWS = {
    "decoder original-plus, forward, batch 8": (lambda: decoder("original-plus", 8), 3.5),
    "decoder original-plus, forward, batch 1": (lambda: decoder("original-plus", 1), 5.0),
    "frozen-encoder training step, batch 8": (lambda: training_step(None, 8), 3.5),
    "mn10 features, forward, batch 8": (lambda: features(8), 2.0),
    "log-mel front-end, batch 8": (lambda: front_end(8), 3.5),
    "all losses, forward and gradient, batch 8": (lambda: all_losses(8), 2.0),
    "fine-tuning step, batch 8": (lambda: training_step(FINE_TUNED, 8), 3.0),
    "from-scratch step, batch 8": (lambda: training_step(frozenset(range(17)), 8), 2.0),
    "waveform to waveform, batch 1": (lambda: waveform_to_waveform(1), 4.0),
    "waveform to waveform, batch 8": (lambda: waveform_to_waveform(8), 4.0),
} | {
    f"decoder {name}, forward, batch 8": (lambda name=name: decoder(name, 8), 2.0)
    for name in names.DECODERS
    if name != "original-plus"
}

if __name__ == "__main__":
    main()
