"""The flag --config, and --config.SETTING for each setting: which configs and settings there are."""

import difflib
import pathlib
import re
import sys

import ml_collections
from absl import flags
from ml_collections import config_flags

from qvae_jax.modes import request_flags
from qvae_jax.system.command import CHECKOUT
from qvae_jax.system.errors import UserError

try:
    from qvae_jax import configs
except ImportError:  # a checkout, where they lie beside the package
    sys.path.insert(0, str(CHECKOUT))  # before a folder of that name which the user may have
    import configs

CONFIGS = {p.stem: p for p in sorted(pathlib.Path(configs.__file__).parent.glob("[!_]*.py"))}


def define() -> None:
    """Defines the flag."""
    config_flags.DEFINE_config_file(request_flags.CONFIG, None, request_flags.CONFIG_HELP)


def with_paths_of_configs(arguments: list[str]) -> list[str]:
    """The arguments, with a path for each config that is given by its name alone."""

    def with_path(found: re.Match) -> str:
        flag, name = found.groups()
        return flag + (name if pathlib.Path(name).is_file() else str(CONFIGS.get(name, name)))

    joined = "\0".join(arguments)  # a flag and its value are one argument or two
    return re.sub(r"(?<![^\0])(--?config[=\0])(\w+)(?![^\0])", with_path, joined).split("\0")


def check_names(arguments: list[str]) -> None:
    """Raises UserError for the first --config.SETTING that no config has, with the nearest one."""
    from configs import vimsketch

    groups, settings = _names(vimsketch.get_config())
    for argument in arguments:
        found = re.match(r"--?(?:no)?config\.([^=]*)", argument)
        if found and found[1] not in groups + settings:
            raise UserError(
                f"--config has no such setting: {found[1]!r}{_nearest(found[1], settings)} "
                f"({CONFIGS['vimsketch']} lists all of them)"
            )


def checked_config() -> ml_collections.ConfigDict:
    """The config that --config names, with what --config.SETTING changes and ~ in paths replaced.

    It has the settings of configs/vimsketch.py and no others; else UserError is raised.
    """
    flag = flags.FLAGS[request_flags.CONFIG]
    config, path = flag.value, flag.config_filename
    if not pathlib.Path(path.partition(":")[0]).is_file():
        raise UserError(
            f"the config file {path!r} does not exist: name a file, or one of {', '.join(CONFIGS)}."
        )
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f"{path} gives no config: its get_config() must return a ConfigDict, as those of "
            "configs/ do."
        )
    from configs import vimsketch
    from qvae_jax import configuration

    configuration.check_settings(config, vimsketch.get_config(), where=path)
    configuration.expand_paths(config)
    return config


def explained(error: Exception) -> str:
    """What a config file's own code raised, in a sentence; it may raise anything."""
    last_line = (str(error).strip().splitlines() or ["no more is said"])[-1].strip()
    return f"--config cannot be used ({type(error).__name__}): {last_line}"


def _names(config: ml_collections.ConfigDict, prefix: str = "") -> tuple[list[str], list[str]]:
    """The dotted names of all groups of settings, and of all settings."""
    groups, settings = [], []
    for key, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            inner_groups, inner_settings = _names(value, f"{prefix}{key}.")
            groups += [prefix + key, *inner_groups]
            settings += inner_settings
        else:
            settings.append(prefix + key)
    return groups, settings


def _nearest(name: str, settings: list[str]) -> str:
    wanted = name.replace("-", "_")
    near = difflib.get_close_matches(wanted, settings, n=1)
    if not near:
        leaf = wanted.rpartition(".")[2]
        near = [setting for setting in settings if setting.rpartition(".")[2] == leaf]
    return f"; did you mean --config.{near[0]}?" if near else ""
