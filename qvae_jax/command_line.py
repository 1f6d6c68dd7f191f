"""The command line: `qvae --mode=MODE --config=CONFIG --workdir=FOLDER`.

modes/request_flags.py makes the flags of each mode, and knows which modes take a flag.
"""

import contextlib
import importlib
import pathlib
import re
import signal
import sys
import warnings
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from qvae_jax.modes import request_flags
from qvae_jax.modes.requests import REQUESTS
from qvae_jax.system import memory
from qvae_jax.system.command import command
from qvae_jax.system.errors import UserError

try:
    from qvae_jax import configs
except ImportError:  # a checkout, where they lie beside the package
    import configs

CONFIGS = {p.stem: p for p in sorted(pathlib.Path(configs.__file__).parent.glob("[!_]*.py"))}
HELP = ("help", "helpfull", "helpshort", "h", "?")

_MODE = flags.DEFINE_enum("mode", "train", tuple(REQUESTS), "What to do, by default train.")
_CONFIG = config_flags.DEFINE_config_file("config", None, request_flags.CONFIG_HELP)
_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs in the user's cache folder; --nocompilation_cache does not.",
)
request_flags.define()


def run() -> None:
    """What main.py and the command qvae call."""
    memory.restart_with_huge_pages()
    app.run(main, flags_parser=parse_flags)


def main(arguments: list[str]) -> None:
    """Runs one mode; a mistake of the user ends it with one line and exit status 1."""
    _silence_orbax()
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold any bytes
    try:
        if len(arguments) > 1:
            flag = "mode" if arguments[1] in REQUESTS else "inputs"
            raise UserError(f"{arguments[1]!r} is not a flag: write --{flag}={arguments[1]}.")
        run_mode(_MODE.value)
    except UserError as error:
        _exit_with(str(error))
    except PermissionError as error:  # even a look, where a folder on the way may not be entered
        _exit_with(f"{error.filename} cannot be reached ({error.strerror}): check permissions.")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def run_mode(mode: str) -> None:
    """Checks the flags, then imports the mode and what it needs, which takes seconds, and calls it."""
    request_flags.check(mode)
    config = [_checked_config()] if "config" in request_flags.FLAGS[mode] else []
    function = getattr(importlib.import_module(f"qvae_jax.modes.{mode}"), mode)
    if "jax" in sys.modules and _COMPILATION_CACHE.value:
        from qvae_jax.system import compilation_cache

        compilation_cache.use_compilation_cache()
    function(*config, request_flags.request_of(mode))


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the flags and returns the other arguments; a mistake ends the program as in main."""
    if any(a.startswith("-") and a.lstrip("-") in HELP for a in arguments[1:]):
        with contextlib.suppress(BrokenPipeError):  # a pager may end before the text does
            print(_help(), flush=True)
        sys.exit()
    try:
        return flags.FLAGS(_with_paths_of_configs(arguments))
    except flags.Error as error:
        _exit_with(f"{_first_and_last_line(error)} ({command()} --help lists the flags)")
    except Exception as error:  # a config file's code may raise anything
        # ml_collections wraps the KeyError of an unknown setting into an AttributeError.
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        if isinstance(cause, KeyError):
            _exit_with(f"--config has no such setting: {cause.args[0]}")
        last_line = str(error).strip().splitlines()[-1].strip()
        _exit_with(f"--config cannot be used ({type(error).__name__}): {last_line}")


def _with_paths_of_configs(arguments: list[str]) -> list[str]:
    """The arguments, with a path for each config that is given by its name alone."""

    def with_path(found: re.Match) -> str:
        flag, name = found.groups()
        return flag + (name if pathlib.Path(name).is_file() else str(CONFIGS.get(name, name)))

    joined = "\0".join(arguments)  # a flag and its value are one argument or two
    return re.sub(r"(?<![^\0])(--?config[=\0])(\w+)(?![^\0])", with_path, joined).split("\0")


def _checked_config() -> ml_collections.ConfigDict:
    """The config given by --config: it has the settings of configs/vimsketch.py and no others."""
    config = _CONFIG.value
    path = flags.FLAGS["config"].config_filename
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
    return config


def _help() -> str:
    """All flags, by mode."""
    usage = f"{command()} --mode=MODE --config=CONFIG --workdir=FOLDER …"
    every_mode = [
        request_flags.described(flag.name, flags.FLAGS[flag.name].help)
        for flag in (_MODE, _COMPILATION_CACHE)
    ]
    return "\n\n".join([usage, "\n".join(every_mode), *map(request_flags.help_of, REQUESTS)])


def _first_and_last_line(error: Exception) -> str:
    """The first and the last line, which says what was raised, of a message with a traceback."""
    lines = str(error).strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"


def _silence_orbax() -> None:
    """Silences what Orbax prints when a save or restore fails; its exception becomes our one line."""
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    sys.unraisablehook = _show_unraisable


def _show_unraisable(unraisable) -> None:
    # Where one array of a checkpoint cannot be read or written, Orbax closes its event loop at
    # once, and the thread of every other array then complains about that.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _exit_with(message: str) -> NoReturn:
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(1)
