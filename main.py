"""qvae_jax's command line: `python3 main.py --mode=MODE --config=FILE --workdir=FOLDER`."""

import pathlib
import signal
import sys
import warnings
from typing import NoReturn

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from qvae_jax.system import huge_pages
from qvae_jax.system.errors import UserError

MODES = (
    "download", "doctor", "prepare", "train", "diagnose", "generate", "evaluate", "visualise",
)  # fmt: skip

_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; override any setting with --config.SETTING=VALUE."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a training run.")
_SOURCE = flags.DEFINE_string(
    "source", None, "download: address or path of the archive; unset: VimSketch's on Zenodo."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "generate, evaluate: a ported QVAE's folder.")
_INPUTS = flags.DEFINE_string(
    "inputs", None, "generate: audio files and folders, separated by commas; - is standard input."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "generate, evaluate, visualise: where to write; doctor: where to write report.json.",
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    None,
    "generate: of the latent's noise; 0, the default but for --prior_samples, is z = μ, always "
    "the same sound.",
)
_RESET_EPOCH = flags.DEFINE_bool(
    "reset_epoch",
    False,
    "train: begin a new run in the workdir from the last weights of the one it holds: schedules, "
    "epochs and optimiser start anew. Give it once; the same command without it goes on.",
)
_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache", True, "Keep compiled programs in the user's cache folder."
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "train on several hosts: HOST:PORT of the first process."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "train on several hosts: how many processes there are."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "train on several hosts: the number of this one, from 0."
)
_SEED = flags.DEFINE_integer("seed", 0, "generate: of the latent's noise.")
_FROM_SPLIT = flags.DEFINE_string(
    "from_split",
    None,
    "generate: train, interpolation or extrapolation, instead of --inputs; evaluate, visualise: "
    "which one.",
)
_VARIATIONS = flags.DEFINE_integer("variations", 1, "generate: sounds of each input.")
_INTERPOLATE = flags.DEFINE_integer(
    "interpolate", None, "generate: so many sounds on the way from one of two inputs to the other."
)
_WALK_DIMENSION = flags.DEFINE_integer(
    "walk_dimension", None, "generate: dimension of the latent to move from -3 to +3."
)
_WALK_STEPS = flags.DEFINE_integer("walk_steps", None, "generate: sounds of a walk, default 7.")
_PRIOR_SAMPLES = flags.DEFINE_integer(
    "prior_samples", None, "generate: so many sounds drawn from the prior, without inputs."
)
_WINDOW = flags.DEFINE_string(
    "window", "first", "generate: of imitations above 10 s, the first or the loudest 10 s."
)
_SAMPLE_RATE = flags.DEFINE_integer(
    "sample_rate", 22_050, "generate: of the sounds, in Hz: 22050, 44100 or 48000."
)
_FORMAT = flags.DEFINE_string("format", "wav", "generate: of the sounds: wav or flac.")
_SUBTYPE = flags.DEFINE_string(
    "subtype", None, "generate: sample format such as PCM_16; default FLOAT, of flac PCM_24."
)
_LOUDNESS_DB = flags.DEFINE_float(
    "loudness_db", None, "generate: loudness of each sound, LUFS by ITU-R BS.1770, as -23."
)
_TRIM_DB = flags.DEFINE_float(
    "trim_db", None, "generate: cut what lies so many dB below the peak at the end, as 60."
)
_PAIRS = flags.DEFINE_string(
    "pairs", None, "evaluate: a folder with references and vocal_imitations, instead of a split."
)
_EMBEDDER = flags.DEFINE_string(
    "embedder", None, "evaluate: a ported encoder's folder; default: the model's own encoder."
)
_NUM_SAMPLES = flags.DEFINE_integer(
    "num_samples", 8, "visualise: samples of each part of the split, evenly spread over it."
)


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


# Each mode imports only what it needs: JAX alone takes seconds.


def _download() -> None:
    _require(_CONFIG)
    from qvae_jax.modes import download

    download.run(_checked_config(), _SOURCE.value)


def _doctor() -> None:
    _require(_CONFIG)
    from qvae_jax.modes import doctor

    doctor.run(_checked_config(), _OUTPUT_DIR.value)


def _prepare() -> None:
    _require(_CONFIG)
    config = _checked_config()
    from qvae_jax.modes.prepare import prepare

    _use_compilation_cache()
    prepare(config, _WORKDIR.value)


def _train() -> None:
    _require(_CONFIG, _WORKDIR)
    config = _checked_config()
    from qvae_jax.modes.requests import TrainRequest
    from qvae_jax.modes.train import train

    _use_compilation_cache()
    request = TrainRequest(
        workdir=_WORKDIR.value,
        reset_epoch=_RESET_EPOCH.value,
        coordinator_address=_COORDINATOR_ADDRESS.value,
        num_processes=_NUM_PROCESSES.value,
        process_id=_PROCESS_ID.value,
    )
    train(config, request)


def _diagnose() -> None:
    _require(_WORKDIR)
    from qvae_jax.modes.diagnose import diagnose
    from qvae_jax.modes.requests import DiagnoseRequest

    diagnose(DiagnoseRequest(_WORKDIR.value))


def _generate() -> None:
    instead = (_FROM_SPLIT, _WALK_DIMENSION, _PRIOR_SAMPLES)
    named = any(flag.value is not None for flag in instead)
    _require(*(() if named else (_INPUTS,)), _OUTPUT_DIR)
    from qvae_jax.generation.inputs import split_inputs
    from qvae_jax.modes.generate import generate

    _use_compilation_cache()
    generate(
        workdir=_WORKDIR.value,
        checkpoint=_CHECKPOINT.value,
        inputs=None if _INPUTS.value is None else split_inputs(_INPUTS.value),
        from_split=_FROM_SPLIT.value,
        output_dir=_OUTPUT_DIR.value,
        variations=_VARIATIONS.value,
        temperature=_TEMPERATURE.value,
        seed=_SEED.value,
        interpolate=_INTERPOLATE.value,
        walk_dimension=_WALK_DIMENSION.value,
        walk_steps=_WALK_STEPS.value,
        prior_samples=_PRIOR_SAMPLES.value,
        window=_WINDOW.value,
        sample_rate_hz=_SAMPLE_RATE.value,
        format=_FORMAT.value,
        subtype=_SUBTYPE.value,
        loudness_db=_LOUDNESS_DB.value,
        trim_db=_TRIM_DB.value,
    )


def _evaluate() -> None:
    from qvae_jax.modes.evaluate import evaluate

    _use_compilation_cache()
    evaluate(
        workdir=_WORKDIR.value,
        checkpoint=_CHECKPOINT.value,
        from_split=_FROM_SPLIT.value,
        pairs=_PAIRS.value,
        embedder=_EMBEDDER.value,
        output_dir=_OUTPUT_DIR.value,
    )


def _visualise() -> None:
    _require(_WORKDIR)
    from qvae_jax.modes.visualise import visualise

    _use_compilation_cache()
    visualise(
        _WORKDIR.value,
        from_split=_FROM_SPLIT.value,
        num_samples=_NUM_SAMPLES.value,
        output_dir=_OUTPUT_DIR.value,
    )


_RUN = {
    "download": _download,
    "doctor": _doctor,
    "prepare": _prepare,
    "train": _train,
    "diagnose": _diagnose,
    "generate": _generate,
    "evaluate": _evaluate,
    "visualise": _visualise,
}


def _run_mode() -> None:
    _RUN[_MODE.value]()


def _use_compilation_cache() -> None:
    from qvae_jax.system import compilation_cache

    if _COMPILATION_CACHE.value:
        compilation_cache.use_compilation_cache()


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
    huge_pages.restart_with_huge_pages()
    app.run(main, flags_parser=parse_flags)
