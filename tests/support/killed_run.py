"""Run by the tests in a process of its own: a training run that kills itself at some moment.

    python tests/support/killed_run.py OBJECTIVE DATA_SET WORKDIR [PHASE NUMBER DELAY_S]

OBJECTIVE is that of its config, qvae or contrastive. It is killed (SIGKILL) DELAY_S after PHASE has begun for the NUMBERth time: start, prepare, step,
validation, save, samples or log. Without a phase it runs to its end.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import compiling
import waiting

REPOSITORY = pathlib.Path(__file__).parents[2]

PHASES = {  # and how long each of them takes about, in seconds
    "start": 5.0,
    "prepare": 1.5,
    "step": 0.02,
    "validation": 0.1,
    "save": 0.15,
    "samples": 0.5,
    "log": 0.01,
}


def start(data_set, workdir, *moment, objective: str = "qvae") -> int:
    """The exit status of a start of the run; it may be killed, but must not fail."""
    environment = compiling.environment(
        JAX_PLATFORMS="cpu", PYTHONPATH=f"{REPOSITORY}:{REPOSITORY / 'tests/support'}"
    )
    command = [sys.executable, __file__, objective, data_set, workdir, *moment]
    done = subprocess.run(
        list(map(str, command)),
        env=environment,
        capture_output=True,
        text=True,
        timeout=waiting.HANG_S,
    )
    assert done.returncode in (0, -signal.SIGKILL), (moment, done.stdout, done.stderr)
    return done.returncode


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(delay_s: float) -> None:
    if delay_s == 0:
        die()
    timer = threading.Timer(delay_s, die)
    timer.daemon = True
    timer.start()


def dying(function, number: int, delay_s: float):
    """The function, with the timer set when it is called for the NUMBERth time."""
    calls = 0

    def called(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == number:
            after(delay_s)
        return function(*arguments, **options)

    return called


def shrink(set_attribute=setattr) -> None:
    """A decoder of 729 samples and two windows for its losses, to spend the time on starts."""
    from qvae_jax import losses
    from qvae_jax.models import decoders

    set_attribute(decoders, "NUM_SAMPLES", 3**6)
    set_attribute(decoders, "STAGE_WIDTHS", (32,) * 6)
    set_attribute(losses, "STFT_WINDOWS", (256, 512))
    set_attribute(losses, "MEL_WINDOWS", (512,))


def patch(objective: str, phase: str, number: int, delay_s: float) -> None:
    from qvae_jax.data import sound_pairs
    from qvae_jax.training import devices, metrics_log, qvae_task, retrieval_validation, validation
    from qvae_jax.training.checkpoints import RunCheckpoints

    if phase == "step":
        compiled = devices.compile_train_step
        devices.compile_train_step = lambda *given: dying(compiled(*given), number, delay_s)
        return
    of_encoders = {
        "prepare": (sound_pairs, "prepare_pairs"),
        "validation": (retrieval_validation, "validate"),
    }
    owner, name = {
        "prepare": (qvae_task, "prepare"),
        "validation": (validation, "validate"),
        "save": (RunCheckpoints, "save"),
        "samples": (validation, "write_samples"),
        "log": (metrics_log.MetricsLog, "flush"),
        **(of_encoders if objective == "contrastive" else {}),
    }[phase]
    setattr(owner, name, dying(getattr(owner, name), number, delay_s))


def main(
    objective: str,
    data_set: str,
    workdir: str,
    phase: str = "",
    number: str = "1",
    delay: str = "0",
) -> None:
    if phase == "start":
        after(float(delay))
    import jax

    import small_pretraining
    import small_run
    from qvae_jax.visualisation import figures

    shrink()
    figures.save_comparison = lambda path, rows, title: path.write_text(title)  # the slow part
    jax.config.update("jax_default_matmul_precision", "highest")
    if phase not in ("", "start"):
        patch(objective, phase, int(number), float(delay))
    if phase == "prepare":
        shutil.rmtree(pathlib.Path(workdir) / "cache", ignore_errors=True)
    if objective == "contrastive":
        changes = {"data.cache_dir": "", "training.num_epochs": 5, "ema.decay": 0.9}
        small_pretraining.pretrained(pathlib.Path(data_set), pathlib.Path(workdir), **changes)
        return
    small_run.trained(
        pathlib.Path(data_set),
        pathlib.Path(workdir),
        **{
            "data.cache_dir": "",
            "training.num_epochs": 5,
            "optimizer.schedule": "cosine",
            "optimizer.warmup_epochs": 1,
            "beta.schedule": "linear",
            "beta.target": 0.01,
            "early_stopping.patience_epochs": 50,
            "ema.decay": 0.9,
            "logging.num_samples": 1,
            "logging.samples_every_epochs": 2,
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
