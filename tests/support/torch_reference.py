"""The default QVAE's losses, decoder and training in plain PyTorch: a peer in either precision."""

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn import functional

# Where other processes share the cores, torch's threads wait for one another: 14 times as slow.
torch.set_num_threads(1)

State = dict[str, torch.Tensor]

STFT_WINDOWS = (512, 1024, 2048, 4096)
MEL_WINDOWS = (1024, 2048)
FLOOR = 1e-7
SILENCE = 1e-4


def tensors(arrays: dict[str, np.ndarray], dtype: torch.dtype) -> State:
    """Copies of a state dict's arrays; counters stay integers."""
    copies = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    return {key: t.to(dtype) if t.is_floating_point() else t for key, t in copies.items()}


def stft(audio: torch.Tensor, window_length: int, hop_length: int) -> torch.Tensor:
    """[batch, samples] -> complex [batch, frames, bins], centred, its edges reflected."""
    # Rounded to float32, as our window is: float64 runs then differ by float64's rounding alone.
    window = torch.hann_window(window_length, dtype=torch.float64).float().to(audio.dtype)
    spectrum = torch.stft(
        audio, window_length, hop_length, window=window, center=True, return_complex=True
    )
    return spectrum.transpose(1, 2)


def loss_terms(
    prediction: torch.Tensor,
    target: torch.Tensor,
    mu: torch.Tensor,
    logvar: torch.Tensor,
    mel_banks: dict[int, np.ndarray],
    *,
    mask_silence: bool = False,
) -> State:
    """The four terms by name. mel_banks are [bins, bands] by window."""
    spectral, mel = [], []
    for window in STFT_WINDOWS:
        wanted, got = (stft(audio, window, window // 4) for audio in (target, prediction))
        bank = mel_banks.get(window)
        if bank is not None:
            weights = torch.from_numpy(bank).to(target.dtype)
            pair = [_power(spectrum) @ weights for spectrum in (got, wanted)]
            mel.append(_log_distance(*_cut(*pair, mask_silence)))
        got, wanted = _cut(got, wanted, mask_silence)
        convergence = torch.linalg.vector_norm(wanted - got) / (
            torch.linalg.vector_norm(wanted) + FLOOR
        )
        spectral.append(convergence + _log_distance(got.abs(), wanted.abs()))
    audible = (target.abs() > SILENCE).to(target.dtype) if mask_silence else 1.0
    return {
        "spectral": sum(spectral) / len(spectral),
        "mel": sum(mel) / len(mel),
        "waveform": ((prediction - target) * audible).abs().mean(),
        "kl": (-0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)).mean(),
    }


def total(terms: State, beta: float, spectral: float = 1.0, mel: float = 1.5) -> torch.Tensor:
    """The weighted sum of the terms."""
    audio_terms = spectral * terms["spectral"] + mel * terms["mel"] + terms["waveform"]
    return audio_terms + beta * terms["kl"]


def original_plus(z: torch.Tensor, state: State, *, train: bool) -> torch.Tensor:
    """The decoder on the original's state-dict keys; training moves the running statistics."""
    x = z[:, :, None]
    num_stages = sum(key.startswith("bn_layers.") and key.endswith(".weight") for key in state)
    for i in range(num_stages):
        x = _convolve(_upsample(x) if i else x, state, f"conv{11 - i}")
        x = functional.relu(_normalise(x, state, f"bn_layers.{i}", train))
    x = _upsample(x)
    for i in (1, 2):
        x = _normalise(_convolve(x, state, f"final_conv{i}"), state, f"final_bn{i}", train)
        x = functional.leaky_relu(x, 0.1)
    return torch.tanh(_convolve(x, state, "final_conv3")[:, 0])


def trainable(state: State) -> Iterable[str]:
    """The keys of a state dict that learn."""
    return [key for key in state if not key.endswith(("running_mean", "running_var", "tracked"))]


def train(
    state: State,
    z: torch.Tensor,
    target: torch.Tensor,
    mel_banks,
    *,
    num_steps: int,
    **weights: float,
) -> list[dict[str, float]]:
    """Trains the decoder alone, in place, by the original's recipe; each step's numbers."""
    parameters = [state[key].requires_grad_() for key in trainable(state)]
    optimizer = torch.optim.AdamW(parameters, lr=8e-4, betas=(0.95, 0.999), weight_decay=1e-4)
    history = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        audio = original_plus(z, state, train=True)
        terms = loss_terms(audio, target, z, torch.zeros_like(z), mel_banks)
        loss = total(terms, beta=0.0, **weights)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
        numbers = {"total": loss, **terms, "gradient_norm": norm}
        history.append({name: number.item() for name, number in numbers.items()})
    return history


def _upsample(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, scale_factor=3, mode="nearest")


def _convolve(x: torch.Tensor, state: State, key: str) -> torch.Tensor:
    weight = state[f"{key}.weight"]
    return functional.conv1d(x, weight, state[f"{key}.bias"], padding=weight.shape[2] // 2)


def _normalise(x: torch.Tensor, state: State, key: str, train: bool) -> torch.Tensor:
    leaves = ("running_mean", "running_var", "weight", "bias")
    return functional.batch_norm(x, *(state[f"{key}.{leaf}"] for leaf in leaves), training=train)


def _power(spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum.real**2 + spectrum.imag**2


def _log_distance(got: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return ((got + FLOOR).log() - (wanted + FLOOR).log()).abs().mean()


def _cut(got: torch.Tensor, wanted: torch.Tensor, mask_silence: bool):
    """Both [batch, frames, bins], with the frames after the target's last audible one zeroed."""
    if not mask_silence:
        return got, wanted
    audible = wanted.abs().mean(-1) > SILENCE
    numbers = torch.arange(1, audible.shape[1] + 1)
    last = (audible * numbers).amax(1, keepdim=True)
    mask = (numbers <= last)[..., None]
    return got * mask, wanted * mask
