r"""Run by the tests, once for each of several processes that train one run together.

    python tests/support/two_hosts.py DATA_SET WORKDIR COORDINATOR NUM_PROCESSES PROCESS_ID CHANGES \
        [STEP SIGNAL]

With NUM_PROCESSES 1 the run trains alone. A process with STEP gets the signal there, SIGKILL once
the first checkpoint is on disk. CHANGES are settings as JSON. Who writes diagnostics leaves
`PROCESS_ID.wrote` in WORKDIR.
"""

import json
import os
import pathlib
import signal
import sys
import time


def main(
    data_set, workdir, coordinator, num_processes, process_id, changes, step=None, number=None
) -> None:
    import jax

    import killed_run
    import small_run
    from qvae_jax import losses
    from qvae_jax.diagnostics import arrays as diagnostics
    from qvae_jax.diagnostics import files as diagnostics_files
    from qvae_jax.modes import train
    from qvae_jax.modes.requests import TrainRequest

    killed_run.shrink()
    diagnostics.MEL_WINDOW = losses.MEL_WINDOWS[0]
    jax.config.update("jax_default_matmul_precision", "highest")
    if step is not None:
        first = pathlib.Path(workdir) / "checkpoints" / "30"
        killed_run.die = lambda: die(int(number), first)
        killed_run.patch("step", int(step), 0.0)
    config = small_run.config(
        pathlib.Path(data_set),
        **{
            "training.num_epochs": 40,
            "validation.every_epochs": 10,
            "checkpoints.every_epochs": 10,
            "checkpoints.keep_best": 9,
            "logging.num_samples": 1,
            "logging.samples_every_epochs": 20,
            **json.loads(changes),
        },
    )
    write = diagnostics_files.write

    def noted(folder: pathlib.Path, snapshot) -> None:
        (folder / f"{process_id}.wrote").touch()
        write(folder, snapshot)

    diagnostics_files.write = noted
    several = (coordinator, int(num_processes), int(process_id))
    train.train(config, TrainRequest(workdir, False, *(several if int(num_processes) > 1 else ())))


def die(number: int, first: pathlib.Path) -> None:
    while number == signal.SIGKILL and not first.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main(*sys.argv[1:])
