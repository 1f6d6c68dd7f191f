"""The command line: `qvae --mode=MODE --config=CONFIG --workdir=FOLDER`.

modes/request_flags.py makes the flags of each mode, and knows which modes take a flag;
modes/config_flag.py has --config.
"""

import importlib
import re
import shlex
import sys
import warnings

from absl import app, flags, logging

from qvae_jax.modes import config_flag, request_flags
from qvae_jax.modes.requests import REQUESTS, EvaluateRequest, VisualiseRequest
from qvae_jax.system import caches, entrance
from qvae_jax.system.command import command
from qvae_jax.system.errors import UserError
from qvae_jax.system.notices import print_notices

HELP = ("help", "helpfull", "helpshort", "helpxml", "h", "?")
# What absl says of a value that is none, and what is plainer.
PLAINLY = {
    r"invalid literal for int\(\) with base 10: .*": "it takes a whole number",
    r"could not convert string to float: .*": "it takes a number",
    r"\('Non-boolean argument to boolean flag', .*\)": "it is either true or false",
}

_MODE = flags.DEFINE_enum("mode", "train", tuple(REQUESTS), "What to do, by default train.")
_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs in the user's cache folder; --nocompilation_cache does not.",
)
config_flag.define()
request_flags.define()


def run() -> None:
    """Runs one mode, as sys.argv says; mistakes of the user are raised as UserError."""
    app.run(main, flags_parser=parse_flags)


def main(arguments: list[str]) -> None:
    """Runs one mode, after the flags are parsed; arguments are what was not parsed."""
    _silence_libraries()
    print_notices()
    if len(arguments) > 1:
        raise UserError(f"{arguments[1]!r} is not a flag: write {_as_flag(arguments[1])}.")
    run_mode(_MODE.value)


def run_mode(mode: str) -> None:
    """Checks the flags, then imports the mode and what it needs, which takes seconds, and calls it."""
    request_flags.check(mode)
    needed = getattr(REQUESTS[mode], "needs_cache_folder", False)
    caches.prepare_for_libraries(required=needed)
    with entrance.importing():
        config = [config_flag.checked_config()] if "config" in request_flags.FLAGS[mode] else []
        function = getattr(importlib.import_module(f"qvae_jax.modes.{mode}"), mode)
    if "jax" in sys.modules and _COMPILATION_CACHE.value:
        from qvae_jax.system import compilation_cache

        compilation_cache.use_compilation_cache()
    request = request_flags.request_of(mode)
    ended = function(*config, request)
    if mode == "train" and ended and config[0].report.at_end:
        _report(request.workdir)


def _report(workdir: str) -> None:
    """Measures a run that has come to its end, and makes its page; the last lines name it.

    And how to hum into the model.
    """
    from qvae_jax.modes import evaluate, visualise

    evaluate.evaluate(EvaluateRequest(workdir=workdir))
    visualise.visualise(VisualiseRequest(workdir=workdir))
    print(f"hum into it: {command()} --mode=serve --workdir={shlex.quote(workdir)}")


def parse_flags(arguments: list[str]) -> list[str]:
    """Parses the flags and returns the other arguments; a mistake is a UserError."""
    if any(a.startswith("-") and a.lstrip("-") in HELP for a in arguments[1:]):
        print(_help())
        sys.exit()
    config_flag.check_names(arguments[1:])
    try:
        return flags.FLAGS(config_flag.with_paths_of_configs(arguments))
    except flags.Error as error:
        said = _first_and_last_line(error)
        raise UserError(f"{said} ({command()} --help lists the flags)") from error
    except Exception as error:  # a config file's code may raise anything
        raise UserError(config_flag.explained(error)) from error


def _as_flag(argument: str) -> str:
    """How a word that stands alone was probably meant."""
    name = argument.partition("=")[0]
    if name in flags.FLAGS or name in HELP:
        return f"--{argument}"
    return f"--{'mode' if argument in REQUESTS else 'inputs'}={argument}"


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
    if len(lines) > 1:
        return f"{lines[0]} {lines[-1].strip()}"
    for pattern, plainer in PLAINLY.items():
        lines[0] = re.sub(pattern, plainer, lines[0])
    return lines[0]


def _silence_libraries() -> None:
    """Silences what Orbax prints when a save or restore fails; its exception becomes our one line.

    And joblib, which librosa imports, where there is no shared memory: nothing here needs it.
    """
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", ".*joblib will operate in serial mode")
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    sys.unraisablehook = _show_unraisable


def _show_unraisable(unraisable) -> None:
    # Where one array of a checkpoint cannot be read or written, Orbax closes its event loop at
    # once, and the thread of every other array then complains about that.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
