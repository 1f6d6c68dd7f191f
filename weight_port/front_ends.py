"""The hop, the mel bands and the strides of an encoder, which no tensor tells: by a published name."""

import dataclasses

from qvae_jax.audio.logmel import FrontEnd
from qvae_jax.models.qvae import QVAEConfig
from qvae_jax.system.errors import UserError
from weight_port import published
from weight_port.source import Source


def with_front_end(
    source: Source, model: QVAEConfig, published_as: str | None
) -> tuple[QVAEConfig, tuple[str, ...]]:
    """The model with the front-end and the strides it was trained with, and a note where they are taken.

    They are those of the published model that the user or the file's name or digest tells; else
    those of every published model that is like it, if these agree. Raises UserError where they
    differ, and where the file cannot be of the model that is told.
    """
    fitting = _published_like(model)
    name = published_as or published.name_of(source.path.name, source.sha256)
    if name is not None and fitting:
        return _as_published(source, model, name), ()
    name = name or _only_name(source, model, fitting)
    return _heard_as(model, name), (_note(model, name, fitting),)


def _published_like(model: QVAEConfig) -> list[str]:
    """The names of the published models of this width and head, and of its classes if any has them."""
    wanted = (model.encoder_width, model.encoder_head)
    like = {n: e for n, e in published.PUBLISHED.items() if (e.width, e.head) == wanted}
    known = {entry.num_classes for entry in like.values()} - {None}
    classes = model.encoder_classes if model.encoder_classes in known else None
    return [name for name, entry in like.items() if entry.num_classes == classes]


def _only_name(source: Source, model: QVAEConfig, fitting: list[str]) -> str:
    """One of the published names, where all of them hear alike; UserError where they do not."""
    heard = {_heard_as(model, name) for name in fitting}
    if len(heard) == 1:
        return fitting[0]
    which = (
        f"it may be {', '.join(fitting)}"
        if fitting
        else f"no published model has width {model.encoder_width} and a {model.encoder_head} head"
    )
    raise UserError(
        f"{source.path} does not tell its hop, its mel bands and its strides, for no tensor does "
        f"and its name is no published file's ({which}): give --published_as with the name of the "
        "model that has the same."
    )


def _note(model: QVAEConfig, name: str, fitting: list[str]) -> str:
    if fitting:
        num_classes = published.PUBLISHED[name].num_classes
        classes = f" and {num_classes} classes" if num_classes else ""
        of_whom = f"those of every published model of width {model.encoder_width}{classes}"
    else:
        of_whom = f"those of {name}, though no published model has its width and head"
    return f"no tensor tells the hop, the mel bands and the strides: taken to be {of_whom}"


def _as_published(source: Source, model: QVAEConfig, name: str) -> QVAEConfig:
    """The model with what only its published name tells; UserError where they contradict."""
    entry = published.PUBLISHED[name]
    told = {"width": model.encoder_width, "head": model.encoder_head}
    for what, value in told.items():
        if getattr(entry, what) != value:
            raise UserError(
                f"{source.path} cannot be {name}, whose {what} is {getattr(entry, what)}: its "
                f"tensors have {what} {value}; give another file or another --published_as."
            )
    return _heard_as(model, name)


def _heard_as(model: QVAEConfig, name: str) -> QVAEConfig:
    entry = published.PUBLISHED[name]
    front_end = FrontEnd(hop_length=entry.hop_length, num_mels=entry.num_mels)
    return dataclasses.replace(model, encoder_strides=entry.strides, front_end=front_end)
