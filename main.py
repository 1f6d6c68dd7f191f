"""qvae_jax's command line: `python3 main.py --mode=MODE --config=FILE --workdir=FOLDER`."""

import pathlib
import signal
import sys
import warnings
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from qvae_jax.errors import UserError

MODES = ("prepare", "train", "generate", "diagnose")

_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; override any setting with --config.SETTING=VALUE."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "generate: a ported QVAE's folder.")
_INPUTS = flags.DEFINE_string(
    "inputs", None, "generate: audio files, separated by commas, or one folder of them."
)
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "generate: where to write.")
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 0.0, "generate: of the latent's noise; 0 is z = μ, always the same sound."
)
_SEED = flags.DEFINE_integer("seed", 0, "generate: of the latent's noise.")


def main(arguments: list[str]) -> None:
    """Runs one mode; a mistake of the user's ends it with one line and exit status 1."""
    _silence_orbax()
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold any bytes
    try:
        if len(arguments) > 1:
            flag = "mode" if arguments[1] in MODES else "inputs"
            raise UserError(f"{arguments[1]!r} is not a flag: write --{flag}={arguments[1]}.")
        _run_mode()
    except UserError as error:
        _exit_with(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parse_flags(arguments: list[str]) -> list[str]:
    """What is left of the arguments without the flags; a mistake in them ends it as in main."""
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        _exit_with(f"{_first_and_last_line(error)} (python3 main.py --help lists the flags)")
    except Exception as error:  # a config file's code may raise anything
        # ml_collections wraps the KeyError of an unknown setting into an AttributeError.
        cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
        if isinstance(cause, KeyError):
            _exit_with(f"--config has no such setting: {cause.args[0]}")
        last_line = str(error).strip().splitlines()[-1].strip()
        _exit_with(f"--config cannot be used ({type(error).__name__}): {last_line}")


def _run_mode() -> None:
    # Each mode imports only what it needs: JAX alone takes seconds.
    if _MODE.value == "train":
        _require(_CONFIG, _WORKDIR)
        config = _checked_config()
        from qvae_jax.train import train

        train(config, _WORKDIR.value)
    elif _MODE.value == "prepare":
        _require(_CONFIG)
        config = _checked_config()
        from qvae_jax import prepare

        prepare.run(config, _WORKDIR.value)
    elif _MODE.value == "generate":
        _require(_INPUTS, _OUTPUT_DIR)
        from qvae_jax.generate import generate, split_inputs

        generate(
            workdir=_WORKDIR.value,
            checkpoint=_CHECKPOINT.value,
            inputs=split_inputs(_INPUTS.value),
            output_dir=_OUTPUT_DIR.value,
            temperature=_TEMPERATURE.value,
            seed=_SEED.value,
        )
    elif _MODE.value == "diagnose":
        _require(_WORKDIR)
        from qvae_jax.diagnose import diagnose

        diagnose(_WORKDIR.value)


def _checked_config() -> ml_collections.ConfigDict:
    """The config of --config, with the settings that configs/vimsketch.py has and no others."""
    config = _CONFIG.value
    path = flags.FLAGS["config"].config_filename
    if not pathlib.Path(path.partition(":")[0]).is_file():
        raise UserError(f"the config file {path!r} does not exist: name one of configs/.")
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(
            f"{path} gives no config: its get_config() must return a ConfigDict, as those of "
            "configs/ do."
        )
    from configs import vimsketch
    from qvae_jax import configuration

    configuration.check_settings(config, vimsketch.get_config(), where=path)
    return config


def _require(*required: flags.FlagHolder) -> None:
    missing = [f"--{flag.name}" for flag in required if flag.value in (None, "")]
    if missing:
        raise UserError(f"--mode={_MODE.value} needs {' and '.join(missing)}.")


def _first_and_last_line(error: Exception) -> str:
    """Of a message that quotes a whole traceback, what it says before and what was raised."""
    lines = str(error).strip().splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1].strip()}"


def _silence_orbax() -> None:
    """Leaves of a failed save or restore only the exception, which becomes our one line."""
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    sys.unraisablehook = _show_unraisable


def _show_unraisable(unraisable) -> None:
    # Where one array of a checkpoint cannot be read or written, Orbax closes its event loop at
    # once, and each other array, in a thread of its own, then complains of that.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _exit_with(message: str) -> NoReturn:
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
