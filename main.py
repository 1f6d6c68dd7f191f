"""qvae_jax's command line: `python3 main.py --mode=MODE --config=FILE --workdir=FOLDER`."""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from qvae_jax.errors import UserError

MODES = ("prepare", "train", "generate")

_MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do.")
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/; override any setting with --config.SETTING=VALUE."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of a training run.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "generate: a ported QVAE's folder.")
_INPUTS = flags.DEFINE_list("inputs", None, "generate: audio files, or one folder of them.")
_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "generate: where to write.")
_TEMPERATURE = flags.DEFINE_float(
    "temperature", 0.0, "generate: of the latent's noise; 0 is z = μ, always the same sound."
)
_SEED = flags.DEFINE_integer("seed", 0, "generate: of the latent's noise.")


def main(arguments: list[str]) -> None:
    """Runs one mode; a mistake of the user's ends it with one line and exit status 1."""
    logging.set_verbosity(logging.ERROR)  # Orbax and JAX tell of their inner workings otherwise
    try:
        if len(arguments) > 1:
            raise UserError(f"{arguments[1]!r} is not a flag: write --inputs={arguments[1]}.")
        _run_mode()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def _run_mode() -> None:
    # Each mode imports only what it needs: JAX alone takes seconds.
    if _MODE.value == "train":
        from qvae_jax.train import train

        train(_required(_CONFIG), _required(_WORKDIR))
    elif _MODE.value == "prepare":
        from qvae_jax import prepare

        prepare.run(_required(_CONFIG))
    elif _MODE.value == "generate":
        from qvae_jax.generate import generate

        generate(
            workdir=_WORKDIR.value,
            checkpoint=_CHECKPOINT.value,
            inputs=_required(_INPUTS),
            output_dir=_required(_OUTPUT_DIR),
            temperature=_TEMPERATURE.value,
            seed=_SEED.value,
        )


def _required(flag: flags.FlagHolder):
    if flag.value is None:
        raise UserError(f"--mode={_MODE.value} needs --{flag.name}.")
    return flag.value


if __name__ == "__main__":
    app.run(main)
