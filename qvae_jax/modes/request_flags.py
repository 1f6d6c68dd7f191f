"""Flags made from the fields of the modes' requests, and requests filled from the flags given.

A flag belongs to the modes that ask for it; any other mode refuses it.
"""

import dataclasses
import textwrap
import typing

from absl import flags

from qvae_jax.generation.requests import asked
from qvae_jax.models import hub_address
from qvae_jax.modes.requests import REQUESTS
from qvae_jax.system.errors import UserError
from qvae_jax.system.paths import local_path

CONFIG = "config"  # the flag of modes that take a config; the command line defines it
CONFIG_HELP = (
    "A config that comes with the package, such as quickstart, or a file of your own. Change any of "
    "its settings with --config.SETTING=VALUE."
)
DEFINE = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


def _flags_of(request: type) -> dict[str, dataclasses.Field]:
    """The fields of a request, and of those nested in it, by the names of their flags."""
    takes_config = getattr(request, "takes_config", False)
    found = {CONFIG: asked(CONFIG_HELP, required=True)} if takes_config else {}
    for field in dataclasses.fields(request):
        nested = dataclasses.is_dataclass(field.type)
        found |= _flags_of(field.type) if nested else {_flag_of(field): field}
    return found


def _flag_of(field: dataclasses.Field) -> str:
    return field.metadata.get("flag", field.name)


FLAGS = {mode: _flags_of(request) for mode, request in REQUESTS.items()}
MODES = {name: [m for m in FLAGS if name in FLAGS[m]] for each in FLAGS.values() for name in each}


class _PathParser(flags.ArgumentParser):
    """The value of a flag that is one path or, of a flag that takes models on the Hub, an address."""

    flag_type = staticmethod(lambda: "path")

    def __init__(self, on_hub: bool):
        self._on_hub = on_hub

    def parse(self, argument: str) -> str:
        try:
            if self._on_hub and hub_address.is_address(argument):
                return hub_address.checked(argument)
            return local_path(argument)
        except UserError as error:
            raise ValueError(str(error).removesuffix(".")) from error


def define() -> None:
    """Defines all of them but --config. Unset, they are None: the request has the default."""
    for name in MODES.keys() - {CONFIG}:
        field = FLAGS[MODES[name][0]][name]
        if field.metadata.get("path"):
            parser = _PathParser(field.metadata.get("on_hub", False))
            flags.DEFINE(parser, name, None, field.metadata["help"])
            continue
        kind, *_ = typing.get_args(field.type) or (field.type,)  # of `X | None`, X
        DEFINE[kind](name, None, field.metadata["help"])


def check(mode: str) -> None:
    """Raises UserError for flags given twice, those the mode does not take, or that it lacks."""
    twice = [name for name in ("mode", *MODES) if flags.FLAGS[name].present > 1]
    if twice:
        several = ", with commas between several files" if "inputs" in twice else ""
        raise UserError(f"--{twice[0]} is given more than once: give it once{several}.")
    given = {name: flags.FLAGS[name].value for name in MODES}
    foreign = [
        f"--{name} (a flag of {', '.join(modes)})"
        for name, modes in MODES.items()
        if given[name] is not None and mode not in modes
    ]
    if foreign:
        raise UserError(
            f"--mode={mode} does not take {' and '.join(foreign)}: leave that out, or change the "
            "mode."
        )
    missing = [
        f"--{name}"
        for name, field in FLAGS[mode].items()
        if field.metadata.get("required")
        and given[name] in (None, "")
        and all(given[other] is None for other in field.metadata.get("instead", ()))
    ]
    if missing:
        raise UserError(f"--mode={mode} needs {' and '.join(missing)}.")


def request_of(mode: str):
    """The mode's request, as the flags say."""
    return _filled(REQUESTS[mode])


def _filled(request: type):
    said = {}
    for field in dataclasses.fields(request):
        nested = dataclasses.is_dataclass(field.type)
        value = _filled(field.type) if nested else flags.FLAGS[_flag_of(field)].value
        if value is not None:
            said[field.name] = value
    return request(**said)


def help_of(mode: str) -> str:
    """What the mode is asked for, and what each of its flags means and is by default."""
    lines = [f"--mode={mode}: {REQUESTS[mode].__doc__}"]
    for name, field in FLAGS[mode].items():
        default = "" if field.default in (None, False) else f" By default {field.default}."
        lines.append(described(name, field.metadata["help"] + default))
    return "\n".join(lines)


def described(flag: str, meaning: str) -> str:
    """A flag and its meaning, as --help shows them."""
    return textwrap.fill(f"--{flag}: {meaning}", 100, initial_indent="  ", subsequent_indent="    ")
