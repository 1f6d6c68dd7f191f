"""The other way: one of our models as a state dict with the original's keys."""

import pathlib

import numpy as np
import torch

from qvae_jax import losses
from qvae_jax.audio import mel, stft
from qvae_jax.generation.model import load_model
from qvae_jax.models import sound_encoder, stored
from qvae_jax.models.judges import load_judge
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.models.variables import Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError
from weight_port import names

StateDict = dict[str, torch.Tensor]
TABLES_OF_JUDGES = {"samplecnn": names.samplecnn_tagger, "aisfx": names.aisfx}


def convert(checkpoint_dir: pathlib.Path, output: pathlib.Path) -> int:
    """Writes a model folder, or a run's best checkpoint, as a PyTorch file.

    A QVAE becomes {"state_dict", "hyper_parameters"}, as in Lightning's files; any other model
    becomes a bare state dict: an encoder as in EfficientAT's files, two of them as in QBV's, a judge
    as in its own, of which aiSFX's classifiers are left out. Where a model standardises its features, which the original
    does not, its heads become those that give the same from the features as they are. Returns the
    number of tensors. Raises UserError where there is no model, or the output exists or cannot be
    written.
    """
    if output.exists():
        raise UserError(f"{output} already exists: remove it or name another file.")
    directory = pathlib.Path(checkpoint_dir)
    kind = _kind(directory)
    if kind == "pair":
        folders = stored.encoder_folders(directory)
        content = state_dict = _encoder(folders.imitation, "im.") | _encoder(
            folders.reference, "ref."
        )
    elif kind == "encoder":
        content = state_dict = _encoder(directory)
    elif kind in list(TABLES_OF_JUDGES):
        _, _, arrays = load_judge(directory)
        content = state_dict = _with_counters(_renamed(arrays, TABLES_OF_JUDGES[kind](), {}))
    else:
        model, arrays = _load_qvae(directory, is_run=kind == "run")
        state_dict = qvae_state_dict(
            arrays, model.encoder_width, model.decoder_type, model.encoder_head
        )
        content = {"state_dict": state_dict, "hyper_parameters": _hyper_parameters(model)}
    with files.replacing(output) as temporary:
        torch.save(content, temporary)
    return len(state_dict)


def encoder_state_dict(arrays: Variables, width: float, head: str = "mlp") -> StateDict:
    """An encoder's variables with EfficientAT's keys and torch's axes."""
    return _with_counters(_renamed(arrays, names.mobilenet(width, head), {}))


def qvae_state_dict(
    arrays: Variables, width: float, decoder_type: str, head: str = "mlp"
) -> StateDict:
    """A QVAE's variables with the original's keys and torch's axes, and its losses' constants."""
    table, transposed = names.qvae(width, decoder_type, head), names.transposed_keys(decoder_type)
    return _with_counters(_renamed(arrays, table, transposed)) | _loss_constants()


def _kind(directory: pathlib.Path) -> str:
    """ "run" for a training run, "pair" for two encoders, or the kind of a model folder."""
    path = directory / stored.CONFIG_FILE
    if path.is_file() and "kind" not in files.read_json(path):
        return "run"
    return "pair" if stored.is_pair(directory) else stored.read_description(directory)["kind"]


def _encoder(directory: pathlib.Path, prefix: str = "") -> StateDict:
    """The state dict of an encoder's folder, with a prefix before its keys."""
    arrays = stored.load_encoder(str(directory))
    model = QVAEConfig.from_dict(stored.description_of(directory, "encoder"))
    state_dict = encoder_state_dict(arrays, model.encoder_width, model.encoder_head)
    return {prefix + key: tensor for key, tensor in state_dict.items()}


def _load_qvae(directory: pathlib.Path, *, is_run: bool) -> tuple[QVAEConfig, Variables]:
    """What a model is, and its variables, of a training run or the folder of a whole QVAE."""
    if is_run:
        trained = load_model(workdir=str(directory))
        config, arrays = trained.config, trained.variables
    else:
        config, arrays = stored.load_qvae(directory)
    if config.decoder_type not in names.DECODERS:
        raise UserError(
            f"{directory} has a decoder of type {config.decoder_type!r}, which the original does not "
            f"have: only those can go back ({', '.join(names.DECODERS)}); --mode=export takes it "
            "elsewhere."
        )
    if config.decoder_width != 1.0:
        raise UserError(
            f"{directory} has a decoder of width {config.decoder_width}, which the original cannot "
            "have: only models with model.decoder.width 1 can be converted back."
        )
    if config.sound_encoder:
        print(
            f"note: {directory} has a second encoder, which hears sounds and which the original does "
            "not have: the file holds that of voices alone"
        )
        config, arrays = sound_encoder.one_alone(config, arrays)
    if config.standardise_features:
        arrays = folded_heads(arrays, config.voice_share)
    return config, arrays


def folded_heads(arrays: Variables, voice_share: float) -> Variables:
    """The variables with heads for features that are not standardised, and no statistics of them.

    ((x − mean) / spread) @ kernel + bias = x @ (kernel / spread) + (bias − mean @ (kernel / spread)),
    in float64, then float32, where the spread is divided by voice_share: the original hears voices
    alone. The bias is that of the kernel as it was rounded, so that its rounding counts for x − mean
    alone, and not for the mean, which may be many times as large.
    """
    mean, spread = (
        np.asarray(arrays.batch_stats[f"standardise.{name}"], np.float64)
        for name in ("mean", "spread")
    )
    heads = {}
    for head in ("mu_head", "logvar_head"):
        kernel, bias = (
            np.asarray(arrays.params[f"{head}.{leaf}"], np.float64) for leaf in ("kernel", "bias")
        )
        kernel = (kernel * voice_share / spread[:, None]).astype(np.float32)
        heads[f"{head}.kernel"] = kernel
        heads[f"{head}.bias"] = (bias - mean @ kernel.astype(np.float64)).astype(np.float32)
    stats = {n: a for n, a in arrays.batch_stats.items() if not n.startswith("standardise.")}
    return Variables(arrays.params | heads, stats)


def _renamed(arrays: Variables, table: dict[str, str], transposed: dict[str, bool]) -> StateDict:
    ours = {**arrays.params, **arrays.batch_stats}
    return {
        key: torch.from_numpy(
            names.to_torch_axes(
                np.array(ours[name]),
                transposed=key in transposed,
                reverse=transposed.get(key, False),
            )
        )
        for key, name in table.items()
    }


def _with_counters(state_dict: StateDict) -> StateDict:
    """The state dict with a step counter of zero for each BatchNorm, as torch has."""
    suffix = ".running_var"
    counters = {
        key.removesuffix(suffix) + ".num_batches_tracked": torch.zeros((), dtype=torch.int64)
        for key in state_dict
        if key.endswith(suffix)
    }
    return state_dict | counters


def _loss_constants() -> StateDict:
    """The windows and mel banks that the original's losses keep among the weights."""
    constants = {
        f"loss_fn.spectral_loss.windows.window_{window}": stft.hann_window(window, periodic=True)
        for window in losses.STFT_WINDOWS
    }
    rate = losses.SAMPLE_RATE_HZ
    for i, window in enumerate(losses.MEL_WINDOWS):
        prefix = f"loss_fn.mel_loss.mel_transforms.{i}"
        bank = mel.htk_mel_bank(losses.NUM_MELS, window, rate, 0.0, rate / 2)
        constants[f"{prefix}.spectrogram.window"] = stft.hann_window(window, periodic=True)
        constants[f"{prefix}.mel_scale.fb"] = bank
    return {key: torch.from_numpy(np.array(value)) for key, value in constants.items()}


def _hyper_parameters(model: QVAEConfig) -> dict:
    """The part of the original's config that describes the architecture."""
    return {
        "config": {
            "model": {
                "latent_dim": model.latent_dim,
                "feature_space": model.feature_space,
            },
            "decoder": {"type": model.decoder_type},
        }
    }
