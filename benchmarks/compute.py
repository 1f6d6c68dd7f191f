"""`python -m benchmarks.compute`: every program of qvae_jax beside its peers, in turns.

The peers are PyTorch eager, PyTorch by torch.compile, and our model in plain Flax's forms, all with
the same weights. Each runs in its own process. Ours asks for huge pages of memory, as main.py does
(qvae_jax/system/memory.py); PyTorch runs as it is installed and, in columns of its own, with
huge pages too. For each row, the results are first compared (to 1e-4 of the largest value). Then
all are timed in turns, and the ratios of the medians printed, the peer's over ours. All is float32
on the CPU. share is the rate of arithmetic in our program over that in one large matrix product.

A second table has the decoders at frame rate, which PyTorch's original has not, each beside another
program of ours: original-plus, or the same decoder's shorter sound. Their sounds are not compared.
"""

import argparse
import functools
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks import plain_flax, timing, torch_peer
from qvae_jax import losses
from qvae_jax.audio.logmel import FrontEnd, log_mel
from qvae_jax.models import decoders, qvim, variables
from qvae_jax.models.frame_decoder import NUM_FRAMES
from qvae_jax.models.mobilenet import LAST_LAYER
from qvae_jax.models.qvae import QVAE, QVAEConfig
from qvae_jax.models.qvim import QVIM
from qvae_jax.models.variables import Variables
from qvae_jax.system import memory
from qvae_jax.training import optimizer
from qvae_jax.training import state as training_state
from qvae_jax.training.contrastive_loss import ContrastiveLoss
from qvae_jax.training.qvae_loss import QVAELoss
from qvae_jax.training.steered_loss import SteeredLoss
from qvae_jax.training.step import StepOptions, make_train_step
from tests.support import golden_rules, torch_reference
from weight_port import names, port, to_torch, torch_forward
from weight_port.source import Source
from weight_port.weight_sets import QVAE as QVAE_KIND

BOUND = 1e-4  # on the largest difference over the largest value, checked before timing
LATENT_DIM = 64
BETA = 1e-4
TEMPERATURE = 0.07
FINE_TUNED = frozenset(range(11, 17))
CURVES = np.float32([-20, 83, 57, 0.9])  # of every frame: -20 dB, 1 kHz, 220 Hz, voiced

OURS, PRODUCT = "ours", "product"
EAGER, COMPILED, FLAX = "eager", "compiled", "flax"
OTHER = "other"  # another program of ours
HUGE = "+huge"  # after a peer's name: with huge pages
COLUMNS = (EAGER, EAGER + HUGE, COMPILED, COMPILED + HUGE, FLAX)
HAVE_HUGE_PAGES = (OURS, PRODUCT, FLAX, OTHER)


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        ours: makes our program, which can be called again and again.
        peers: makes the peers' programs, by column.
        value: what to compare of what a program returns at its first call.
        gflop: the work in a call of our program.
        exact: PyTorch's value in float64, for comparison where its float32 is too far off.
    """

    ours: Callable[[], Callable[[], object]]
    peers: dict[str, Callable[[], Callable[[], object]]]
    value: Callable[[object], np.ndarray]
    gflop: Callable[[], float]
    exact: Callable[[], np.ndarray] | None = None


def main() -> None:
    """Prints the table; ends with status 1 where two sides disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", default=",".join(COLUMNS), help="which columns")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(*options.serve)
        return
    columns = options.peers.split(",")
    if unknown := set(columns) - set(COLUMNS):
        parser.error(f"--peers: {', '.join(sorted(unknown))} is not one of {', '.join(COLUMNS)}")
    for rows, columns in ((ROWS, columns), (BESIDE_OTHERS, [OTHER])):
        print(f"{'row':44}{'goal':>5}" + "".join(f"{c:>15}" for c in columns) + "   ours ms  share")
        for name, (_, goal) in rows.items():
            if options.rows in name:
                print(_line(name, goal, columns, options.rounds), flush=True)


def _line(name: str, goal: float, columns: list[str], num_rounds: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        sides = {side: _started(name, side, folder) for side in (OURS, *columns, PRODUCT)}
        ours, *theirs = (np.load(_value_file(folder, side)) for side in (OURS, *columns))
    for column, value in zip(columns, theirs, strict=True):
        _check(f"{name}, {column}", ours, value)
    seconds = timing.in_turns(sides, num_rounds)
    gflop = {side: json.loads(sides[side].ready_line) for side in (OURS, PRODUCT)}
    for side in sides.values():
        side.close()
    ratios = "".join(f"{seconds[column] / seconds[OURS]:15.2f}" for column in columns)
    share = gflop[OURS] / seconds[OURS] / (gflop[PRODUCT] / seconds[PRODUCT])
    return f"{name:44}{goal:5.2g}{ratios}{seconds[OURS] * 1e3:10.1f}{share:7.0%}"


def _started(name: str, side: str, folder: str) -> timing.Side:
    """The process of a side, ready to take turns; its first result is in _value_file."""
    is_huge = side in HAVE_HUGE_PAGES or side.endswith(HUGE)
    environment = memory.with_huge_pages(os.environ) if is_huge else dict(os.environ)
    command = [sys.executable, "-m", "benchmarks.compute", "--serve", name, side, folder]
    return timing.Side(command, environment)


def _serve(name: str, side: str, folder: str) -> None:
    """Takes a side's turns. Its ready line is the program's GFLOP, or null for a peer."""
    if side == PRODUCT:
        program, gflop = timing.matrix_product()
    else:
        row, peer = (ROWS | BESIDE_OTHERS)[name][0](), side.removesuffix(HUGE)
        program = row.ours() if side == OURS else row.peers[peer]()
        value = row.value(jax.block_until_ready(program()))
        if row.exact is not None and peer in (EAGER, COMPILED):
            value = row.exact()
        np.save(_value_file(folder, side), value)
        gflop = row.gflop() if side == OURS else None
    print(json.dumps(gflop), flush=True)
    timing.serve(program)


def _value_file(folder: str, side: str) -> pathlib.Path:
    return pathlib.Path(folder) / f"{side}.npy"


def _check(name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    difference, largest = np.abs(ours - theirs).max(), np.abs(theirs).max()
    if not difference <= BOUND * largest:
        raise SystemExit(f"{name}: the two sides differ by {difference:.2e} of {largest:.2e}")


def _model(decoder_type: str = "original-plus", width: float = 1.0):
    """(structure, our variables, torch's state dict) of a QVAE, its decoder filled as in the tests.

    With weights drawn at random, the improved decoders' activations grow until tanh leaves only
    their signs, which are rounding noise.
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


def _inference(function: Callable, *arguments) -> Callable[[], torch.Tensor]:
    def run():
        with torch.inference_mode():
            return function(*arguments)

    return run


def _forward_row(function, arguments: tuple, peer: Callable, peer_arguments: tuple) -> Row:
    """A row for a forward pass: `function` of arrays beside `peer` of torch tensors."""
    peers = {
        EAGER: lambda: _inference(peer, *peer_arguments),
        COMPILED: lambda: _inference(torch.compile(peer), *peer_arguments),
        FLAX: lambda: plain_flax.made(_compiled, function, *arguments),
    }
    return Row(
        lambda: _compiled(function, *arguments),
        peers,
        np.asarray,
        lambda: timing.gflop(function, *arguments),
    )


def decoder(decoder_type: str, batch: int) -> Row:
    z = np.random.default_rng(2).standard_normal((batch, LATENT_DIM)).astype(np.float32)
    graphdef, ours, state = _model(decoder_type, width=0.1)
    weights = torch_forward.below(state, torch_peer.DECODER)
    row = _forward_row(
        lambda given, z: variables.merge(graphdef, given).decode(z),
        (ours, z),
        lambda z: torch_peer.audio(weights, decoder_type, z),
        (torch.from_numpy(z),),
    )
    if decoder_type != "light_improved":
        return row
    # PyTorch's float32 is 4e-4 off its own float64 here, ours 8e-6.
    wide = {key: t.double() if t.is_floating_point() else t for key, t in weights.items()}
    exact = lambda: torch_peer.audio(wide, decoder_type, torch.from_numpy(z).double())
    return row._replace(exact=lambda: exact().numpy())


def features(batch: int) -> Row:
    graphdef, ours, state = _model()
    logmel = _log_mels(batch)
    backbone = torch_forward.below(state, torch_peer.BACKBONE)
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
        torch_forward.below(state, prefix) for prefix in (torch_peer.BACKBONE, torch_peer.DECODER)
    )
    heads = torch_forward.below(state, torch_peer.HEADS)
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
    """Value and gradient of the loss. The value is compared; the tests compare the gradient."""
    target = _waveforms(batch, decoders.NUM_SAMPLES)
    prediction = np.random.default_rng(3).standard_normal(target.shape).astype(np.float32) * 0.1
    mu, logvar = np.zeros((2, batch, LATENT_DIM), np.float32)
    banks = torch_peer.loss_banks()
    inputs = [torch.from_numpy(array) for array in (prediction, target, mu, logvar)]
    inputs[0].requires_grad_()

    @jax.value_and_grad
    def loss(prediction, target, mu, logvar):
        return losses.qvae_loss(prediction, target, mu, logvar, beta=BETA)[0]

    def total(*inputs):
        return torch_reference.total(torch_reference.loss_terms(*inputs, banks), BETA)

    def with_gradient(total: Callable):
        inputs[0].grad = None
        value = total(*inputs)
        value.backward()
        return value.detach(), inputs[0].grad

    arguments = (prediction, target, mu, logvar)
    peers = {
        EAGER: lambda: functools.partial(with_gradient, total),
        COMPILED: lambda: functools.partial(with_gradient, torch.compile(total)),
        FLAX: lambda: plain_flax.made(_compiled, loss, *arguments),
    }
    return Row(
        lambda: _compiled(loss, *arguments),
        peers,
        lambda result: np.asarray(result[0]),
        lambda: timing.gflop(loss, *arguments),
    )


def training_step(layers: frozenset[int] | None, batch: int) -> Row:
    """The training step itself, with donation; with layers None, on a frozen encoder's features.

    The spectral term is not compared: a fresh decoder repeats one sample, and the logarithm of its
    empty STFT bins is rounding noise, 8e-4 of the term. The tests compare that term and all
    gradients, also in float64.
    """
    graphdef, ours, state = _model()
    targets = _waveforms(batch, decoders.NUM_SAMPLES)
    if layers is None:
        inputs = np.random.default_rng(4).standard_normal((batch, 960)).astype(np.float32)
        inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    else:
        inputs = _log_mels(batch)
    step, first = _train_step(graphdef, ours, layers)
    batch_of = {"inputs": inputs, "targets": targets}

    def peer(compiled: bool):
        given = {key: tensor.clone() for key, tensor in state.items()}
        tensors = torch.from_numpy(inputs), torch.from_numpy(targets)
        return torch_peer.training_step(given, *tensors, layers, BETA, compiled=compiled)

    peers = {
        EAGER: lambda: peer(compiled=False),
        COMPILED: lambda: peer(compiled=True),
        FLAX: lambda: plain_flax.made(_stepping, step, first, batch_of),
    }
    compared = ("mel", "waveform", "kl")
    return Row(
        lambda: _stepping(step, first, batch_of),
        peers,
        lambda terms: np.array([float(terms[name]) for name in compared]),
        lambda: timing.gflop(step, first, batch_of),
    )


def contrastive_step(batch: int) -> Row:
    """The step of --mode=pretrain with two encoders that learn whole, from waveforms that do not vary."""
    _, of_qvae, state = _model()
    encoder = Variables(
        *(
            {name.removeprefix("encoder."): a for name, a in arrays.items() if "encoder." in name}
            for arrays in of_qvae
        )
    )
    given = qvim.begun(encoder, encoder, shared=False, learnt_temperature=None)
    whole = QVIM(QVAEConfig(encoder_width=1.0), rng=np.random.default_rng(0))
    layers = frozenset(range(LAST_LAYER + 1))
    loss = ContrastiveLoss(variables.split(whole)[0], FrontEnd(), layers, TEMPERATURE)
    step, first = _step_with(loss, given, layers)
    imitations, references = _waveforms(2 * batch, FrontEnd().num_samples).reshape(2, batch, -1)
    of_batch = {"imitation": imitations, "reference": references, "sounds": np.arange(batch)}

    def peer(compiled: bool):
        backbone = torch_forward.below(state, torch_peer.BACKBONE)
        pair = [{key: t.clone() for key, t in backbone.items()} for _ in range(2)]
        heard = torch.from_numpy(imitations), torch.from_numpy(references)
        return torch_peer.contrastive_step(pair, heard, TEMPERATURE, compiled=compiled)

    peers = {
        EAGER: lambda: peer(compiled=False),
        COMPILED: lambda: peer(compiled=True),
        FLAX: lambda: plain_flax.made(_stepping, step, first, of_batch),
    }
    return Row(
        lambda: _stepping(step, first, of_batch),
        peers,
        lambda metrics: np.array([float(metrics["nt_xent"])]),
        lambda: timing.gflop(step, first, of_batch),
    )


def _drawn(decoder_type: str):
    """(structure, variables) of a QVAE with weights drawn at random."""
    config = QVAEConfig(encoder_width=0.1, latent_dim=LATENT_DIM, decoder_type=decoder_type)
    return variables.split(QVAE(config, rng=np.random.default_rng(0)))


def _decoding(decoder_type: str, batch: int) -> tuple:
    """A function that decodes, and its arguments."""
    graphdef, given = _drawn(decoder_type)
    z = np.random.default_rng(2).standard_normal((batch, LATENT_DIM)).astype(np.float32)
    return lambda given, z: variables.merge(graphdef, given).decode(z), given, z


def _rendering(num_frames: int) -> tuple:
    """A function that renders a sound of so many frames, and its arguments."""
    graphdef, given = _drawn(decoders.STEERED)
    z = np.random.default_rng(2).standard_normal((1, LATENT_DIM)).astype(np.float32)
    curves = np.tile(CURVES, (1, num_frames, 1))
    seeds = np.zeros((1, 2), np.uint32)

    def render(given, *arguments):
        return variables.merge(graphdef, given).decoder.renderer(*arguments)

    return render, given, z, curves, seeds


def beside(ours: tuple, other: tuple) -> Row:
    """A row of two programs of ours, each a function and its arguments, which both give sounds."""
    return Row(
        lambda: _compiled(*ours),
        {OTHER: lambda: _compiled(*other)},
        _is_finite,
        lambda: timing.gflop(*ours),
    )


def _is_finite(result) -> np.ndarray:
    """1 where all of it is: all that two sides have in common that compute different things."""
    return np.float64(all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result)))


def steered_training_step(batch: int) -> Row:
    """On a frozen encoder's features, beside that of original-plus with the original's losses."""
    steps = [_step_of(decoder_type, batch) for decoder_type in (decoders.STEERED, "original-plus")]
    return Row(
        lambda: _stepping(*steps[0]),
        {OTHER: lambda: _stepping(*steps[1])},
        _is_finite,
        lambda: timing.gflop(*steps[0]),
    )


def _step_of(decoder_type: str, batch: int) -> tuple:
    """The training step, the state before it, and a batch of features with their targets."""
    graphdef, given = _drawn(decoder_type)
    num_features = given.params["mu_head.kernel"].shape[0]
    inputs = np.random.default_rng(4).standard_normal((batch, num_features)).astype(np.float32)
    targets = _waveforms(batch, decoders.NUM_SAMPLES)
    of_batch = {"inputs": inputs / np.linalg.norm(inputs, axis=1, keepdims=True)}
    of_batch["targets"] = targets
    if decoder_type == decoders.STEERED:
        of_batch["controls"] = np.tile(CURVES, (batch, NUM_FRAMES, 1))
        of_batch["lengths"] = np.full(batch, decoders.NUM_SAMPLES, np.int32)
        of_batch["told"] = np.ones((batch, len(CURVES)), bool)
    return *_train_step(graphdef, given, None), of_batch


def _train_step(graphdef, model_variables: Variables, layers: frozenset[int] | None):
    """The training step, not compiled, and the state before the first step.

    A steered decoder's losses are those of its recipe, the others' the original's.
    """
    is_steered = any(name.startswith("decoder.gesture.") for name in model_variables.params)
    by_magnitude = losses.LossWeights(0.0, 0.0, 0.0, magnitude=1.0, gesture=0.3)
    loss = (SteeredLoss if is_steered else QVAELoss)(
        graphdef=graphdef,
        weights=by_magnitude if is_steered else losses.LossWeights(),
        beta=optax.constant_schedule(BETA),
        precomputed_features=layers is None,
        train_layers=layers or frozenset(),
        temperature=0.0,
    )
    return _step_with(loss, model_variables, layers or frozenset())


def _step_with(loss: Callable, model_variables: Variables, layers: frozenset[int]):
    """The training step of a loss, not compiled, and the state before the first step."""
    rate = optax.constant_schedule(8e-4)
    update_rule = optimizer.adamw(
        rate, rate, beta1=0.95, beta2=0.999, weight_decay=1e-4, clip_norm=2.0
    )
    options = StepOptions(learning_rate=rate, seed=0)
    first = training_state.new_state(model_variables, layers, update_rule)
    return make_train_step(loss, update_rule, options), first


def _stepping(step: Callable, state, batch: dict) -> Callable[[], object]:
    """A call that takes the next step, from a copy of the state that it keeps."""
    batch = jax.device_put(batch)
    held = [jax.tree.map(jnp.array, state)]
    program = jax.jit(step, donate_argnums=0).lower(held[0], batch).compile()

    def run():
        held[0], metrics = program(held[0], batch)
        return metrics

    return run


def _log_mels(batch: int) -> np.ndarray:
    return np.array(jax.jit(log_mel)(_waveforms(batch, FrontEnd().num_samples)))


# By name: how a row is made, and the lowest ratio wanted.
ROWS = {
    "decoder original-plus, forward, batch 8": (lambda: decoder("original-plus", 8), 3.5),
    "decoder original-plus, forward, batch 1": (lambda: decoder("original-plus", 1), 5.0),
    "frozen-encoder training step, batch 8": (lambda: training_step(None, 8), 3.5),
    "mn10 features, forward, batch 8": (lambda: features(8), 2.0),
    "log-mel front-end, batch 8": (lambda: front_end(8), 3.5),
    "all losses, forward and gradient, batch 8": (lambda: all_losses(8), 2.0),
    "fine-tuning step, batch 8": (lambda: training_step(FINE_TUNED, 8), 3.0),
    "from-scratch step, batch 8": (lambda: training_step(frozenset(range(17)), 8), 2.0),
    "step of two encoders for search, 16 pairs": (lambda: contrastive_step(16), 2.0),
    "waveform to waveform, batch 1": (lambda: waveform_to_waveform(1), 4.0),
    "waveform to waveform, batch 8": (lambda: waveform_to_waveform(8), 4.0),
} | {
    f"decoder {name}, forward, batch 8": (lambda name=name: decoder(name, 8), 2.0)
    for name in names.DECODERS
    if name != "original-plus"
}

TEN_SECONDS = 908  # frames
BESIDE_OTHERS = {
    f"decoder {name}, beside original-plus, batch {batch}": (
        lambda name=name, batch=batch: beside(
            _decoding(name, batch), _decoding("original-plus", batch)
        ),
        2.0,
    )
    for name in ("frame", decoders.STEERED)
    for batch in (1, 8)
} | {
    "renderer, 10 s beside 2.68 s": (
        lambda: beside(_rendering(TEN_SECONDS), _rendering(NUM_FRAMES)),
        1 / 4.5,
    ),
    "steered step beside original-plus's, batch 8": (lambda: steered_training_step(8), 1 / 0.7),
}

if __name__ == "__main__":
    main()
