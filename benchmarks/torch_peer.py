"""QVAE in eager PyTorch: the same computation with the same weights, as a peer in benchmarks."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from qvae_jax import losses
from qvae_jax.audio import mel, stft
from qvae_jax.audio.logmel import PRE_EMPHASIS, FrontEnd
from qvae_jax.models.mobilenet import LAST_LAYER
from tests.support import torch_reference
from weight_port import torch_forward

torch.set_num_threads(2)

State = dict[str, torch.Tensor]
BACKBONE, HEADS, DECODER = "encoder.backbone.", "encoder.", "decoder."


def log_mel_of(front_end: FrontEnd) -> Callable[[torch.Tensor], torch.Tensor]:
    """The log-mel front-end: [batch, samples] -> [batch, mels, frames]."""
    window = torch.from_numpy(stft.hann_window(front_end.window_length, periodic=False))
    bank = torch.from_numpy(np.array(front_end.mel_bank()))
    emphasis = torch.tensor([[[-PRE_EMPHASIS, 1.0]]])

    def log_mel(waveform: torch.Tensor) -> torch.Tensor:
        emphasised = F.conv1d(waveform[:, None], emphasis)[:, 0]
        spectrum = torch.stft(
            emphasised,
            front_end.n_fft,
            front_end.hop_length,
            front_end.window_length,
            window,
            center=True,
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(-1)
        return ((bank.T @ power + 1e-5).log() + 4.5) / 5.0

    return log_mel


def features(backbone: State, logmel: torch.Tensor, train_layers=frozenset()) -> torch.Tensor:
    """Pooled features [batch, C] of unit norm, of log-mels [batch, mels, frames]."""
    for name, result in torch_forward.mobilenet(backbone, logmel, train_layers=train_layers):
        if name == "pooled":
            return F.normalize(result, dim=1)
    raise AssertionError("the forward pass has no pooled features")


def audio(decoder: State, decoder_type: str, z: torch.Tensor) -> torch.Tensor:
    """Audio [batch, samples] of latents [batch, latent], in evaluation mode."""
    *_, (_, result) = torch_forward.decoder(decoder, decoder_type, z)
    return result


def loss_banks() -> dict[int, np.ndarray]:
    """The losses' mel banks [bins, bands], by window."""
    rate = losses.SAMPLE_RATE_HZ
    return {
        window: np.array(mel.htk_mel_bank(losses.NUM_MELS, window, rate, 0.0, rate / 2))
        for window in losses.MEL_WINDOWS
    }


def training_step(
    state: State,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    train_layers: frozenset[int] | None,
    beta: float,
    *,
    compiled: bool = False,
) -> Callable[[], dict[str, float]]:
    """A training step (AdamW, clipped) of `original-plus` at z = μ, to be called again and again.

    A call returns the loss terms before the step.

    Args:
        state: a QVAE's state dict, which the steps change.
        inputs: log-mels [batch, mels, frames], or features [batch, C] where train_layers is None.
        targets: audio [batch, samples].
        train_layers: the encoder's layers that learn; None: the encoder is frozen.
        beta: weight of the KL term.
        compiled: whether forward and backward pass are compiled by torch.compile.
    """
    backbone, heads, decoder = (
        torch_forward.below(state, prefix) for prefix in (BACKBONE, HEADS, DECODER)
    )
    banks = loss_banks()
    learning = [decoder[key] for key in torch_reference.trainable(decoder)]
    learning += [t for key, t in heads.items() if key.startswith(("mu_head", "logvar_head"))]
    for layer in train_layers or ():
        own = {key: t for key, t in backbone.items() if key.startswith(f"features.{layer}.")}
        learning += [own[key] for key in torch_reference.trainable(own)]
    for parameter in learning:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(learning, lr=8e-4, betas=(0.95, 0.999), weight_decay=1e-4)

    def loss_terms() -> State:
        given = inputs if train_layers is None else features(backbone, inputs, train_layers)
        mu, logvar = torch_forward.posterior(heads, given)
        prediction = torch_reference.original_plus(mu, decoder, train=True)
        return torch_reference.loss_terms(prediction, targets, mu, logvar, banks)

    forward = torch.compile(loss_terms) if compiled else loss_terms

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        terms = forward()
        torch_reference.total(terms, beta).backward()
        torch.nn.utils.clip_grad_norm_(learning, 2.0)
        optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    return step


def contrastive_step(
    pair: tuple[State, State],
    waveforms: tuple[torch.Tensor, torch.Tensor],
    temperature: float,
    *,
    compiled: bool = False,
) -> Callable[[], dict[str, float]]:
    """A step of two encoders (AdamW, clipped), whose every layer learns, to be called repeatedly.

    A call returns NT-Xent before the step, of a batch in which no sound stands twice.

    Args:
        pair: the state dict of each encoder's backbone, which the steps change.
        waveforms: what each of them hears, [batch, samples] at 32 kHz.
        temperature: that cosines are divided by.
        compiled: whether forward and backward pass are compiled by torch.compile.
    """
    layers = frozenset(range(LAST_LAYER + 1))
    front = log_mel_of(FrontEnd())
    learning = []
    for state in pair:
        own = {key: t for key, t in state.items() if key.startswith("features.")}
        learning += [own[key] for key in torch_reference.trainable(own)]
    for parameter in learning:
        parameter.requires_grad_()
    optimizer = torch.optim.AdamW(learning, lr=8e-4, betas=(0.95, 0.999), weight_decay=1e-4)

    def loss() -> torch.Tensor:
        sides = zip(pair, waveforms, strict=True)
        imitations, references = (features(state, front(heard), layers) for state, heard in sides)
        logits = imitations @ references.T / temperature
        return F.cross_entropy(logits, torch.arange(len(logits)))

    forward = torch.compile(loss) if compiled else loss

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        value = forward()
        value.backward()
        torch.nn.utils.clip_grad_norm_(learning, 2.0)
        optimizer.step()
        return {"nt_xent": float(value.detach())}

    return step
