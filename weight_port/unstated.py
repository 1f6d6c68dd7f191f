"""What a QVAE's tensors leave open, its features and its decoder, and what its file says of them."""

import dataclasses

from qvae_jax.audio.front_end import FrontEnd
from qvae_jax.models import decoders, mobilenet
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.system.errors import UserError
from weight_port import names
from weight_port.filling import LEFTOVERS, matrix
from weight_port.source import Source, as_mapping

FEATURE_SPACES = ("final", *map(str, range(mobilenet.LAST_LAYER + 1)))
# What the original's config says of sounds, and what holds here for every model.
SOUNDS = {
    "input_sample_rate": FrontEnd.sample_rate_hz,
    "target_sample_rate": decoders.SAMPLE_RATE_HZ,
    "target_audio_length": decoders.NUM_SAMPLES,
}


def feature_space(source: Source, encoder: QVAEConfig, chosen: str | None) -> str:
    """The layer whose map fits the heads, or "final": stated, chosen by the user, or the only one.

    Raises UserError where several fit and none is chosen, or one is that does not fit.
    """
    key = "encoder.mu_head.weight"
    inputs = matrix(source, key).shape[1]
    fitting = [
        space
        for space in FEATURE_SPACES
        if dataclasses.replace(encoder, feature_space=space).feature_dim() == inputs
    ]
    stated = _stated(source, "model", "feature_space")
    said = [str(space) for space in (stated, chosen) if space is not None]
    known = set(said or fitting)
    if len(known) == 1 and known <= set(fitting):
        return known.pop()
    sizes = f"{inputs} inputs in {source.in_file(key)}"
    if not fitting:
        raise UserError(
            f"{source.path} has {sizes}, which fits no layer of the encoder: it is damaged or of "
            "another model; fetch it again or give another one."
        )
    says = "does not say which" if stated is None else f"says {stated}"
    if chosen is None and stated is None:
        mend = "give --feature_space with the one that the heads were trained on"
    else:
        mend = "leave --feature_space out" if chosen and stated is not None else "give another one"
    asked = f", not {chosen}" if chosen and chosen not in fitting else ""
    raise UserError(
        f"{source.path} has {sizes}, which fits feature_space {' or '.join(fitting)}{asked}, and "
        f"{says}: {mend}."
    )


def decoder_type(source: Source, chosen: str | None) -> tuple[str, tuple[str, ...]]:
    """The decoder's type, and a note where the checkpoint leaves it open.

    Hyper-parameters count first, then the user's choice, then the keys. Keys cannot tell
    `original-plus` from `original-res`, which differ only in their residual connections.
    """
    stated = _stated(source, "decoder", "type")
    if stated is not None:
        known = isinstance(stated, str) and stated in names.DECODERS
        if not known or chosen not in (None, stated):
            raise UserError(
                f"{source.path} has a decoder of type {stated!r} according to its config's "
                f"decoder.type, where {chosen or ' or '.join(names.DECODERS)} was expected: give "
                f"another checkpoint{', or leave --decoder out.' if chosen else '.'}"
            )
        return stated, ()
    if chosen is not None:
        return chosen, ()
    keys = {
        key.removeprefix("decoder.")
        for key in source.arrays
        if key.startswith("decoder.") and not LEFTOVERS.search(key)
    }
    fitting = [name for name, table in names.DECODERS.items() if keys == set(table())]
    if not fitting:
        # With the default, the comparison of keys will say what is missing or unknown.
        return "original-plus", ()
    if len(fitting) == 1:
        return fitting[0], ()
    note = (
        f"the checkpoint does not state its decoder, and its tensors fit {' and '.join(fitting)}: "
        f"taken to be {fitting[0]}; if it is the other, give --decoder={fitting[1]}"
    )
    return fitting[0], (note,)


def check_latent_size(source: Source, found: int) -> None:
    """Raises UserError where the file's config states another latent size than the heads have.

    Such a config is of another model, so nothing that it says of this one can be believed.
    """
    stated = _stated(source, "model", "latent_dim")
    if stated is not None and stated != found:
        raise UserError(
            f"{source.path} has {found} outputs in {source.in_file('encoder.mu_head.weight')}, but "
            f"its config's model.latent_dim is {stated!r}: the config in it is of another model; "
            "save the weights again with their own."
        )


def notes_on_sounds(source: Source) -> tuple[str, ...]:
    """A note for each thing that the file's config says of sounds and that is otherwise here."""
    return tuple(
        f"its config's data.{name} is {stated!r}, but {ours} here for every model: it will sound "
        "otherwise than it did"
        for name, ours in SOUNDS.items()
        if (stated := _stated(source, "data", name)) is not None and stated != ours
    )


def _stated(source: Source, section: str, key: str):
    """A value of the original's config; None where the checkpoint does not have it."""
    parameters = as_mapping(source.hyper_parameters)
    config = as_mapping(parameters.get("config", parameters))
    return as_mapping(config.get(section)).get(key)
