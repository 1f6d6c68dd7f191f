"""The checkpoints of a run as training writes them; models/stored.py reads them."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from qvae_jax.models import stored
from qvae_jax.models.variables import Arrays
from qvae_jax.runs import CHECKPOINTS
from qvae_jax.system import files
from qvae_jax.system.errors import UserError, first_line


class RunCheckpoints(stored.Checkpoints):
    """The checkpoints of one run, in `workdir/checkpoints`: the best `keep_best` and the last.

    Saving is atomic: a folder gets its final name only when all of it is on disk, so a kill or a
    full disk leaves the earlier ones as they were. It happens in the background, one save at a
    time; whatever looks at the checkpoints waits for it.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        keep_best: int = 3,
        best: stored.Best = stored.LOWEST_LOSS,
    ):
        self.directory = (pathlib.Path(workdir) / CHECKPOINTS).resolve()
        files.make_folder(self.directory)
        _remove_unfinished(self.directory)
        keep = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(1),
                # Orbax keeps the last n in the order given, hence the best ones come last.
                preservation_policy.BestN(
                    get_metric_fn=best.of,
                    reverse=best.mode == "min",
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = stored.checkpoint_manager(self.directory, best, preservation_policy=keep)
        self._best = best
        self._saving: int | None = None  # the step that is being saved, or was last

    def save(self, step: int, tree: dict[str, Arrays], validated: float | None) -> None:
        """Saves the state after `step` steps; with what validation gave it competes for the best.

        The arrays may change as soon as it returns. Raises UserError where this save, or the one
        before it, fails; where the last one does, `wait` tells.
        """
        self.wait()
        if step in self._manager.all_steps():
            return
        metrics = None if validated is None else {self._best.metric: float(validated)}
        # Copies, for the next step takes the memory of the state's own arrays.
        arguments = ocp.args.PyTreeSave(jax.tree.map(np.array, tree))
        with self._explaining(step):
            self._manager.save(step, args=arguments, metrics=metrics, force=True)
        self._saving = step

    def wait(self) -> None:
        """Waits until the last save is on disk; UserError where it cannot be saved."""
        if self._saving is None:
            return
        step, self._saving = self._saving, None
        with self._explaining(step):
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _explaining(self, step: int) -> Iterator[None]:
        """Turns what goes wrong in saving a step into a UserError."""
        try:
            yield
        except Exception as error:  # OSError, or what TensorStore makes of it
            time.sleep(stored.SETTLING_S)
            kept = self.latest_step
            raise UserError(
                f"the checkpoint of step {step} cannot be saved in {self.directory} "
                f"({first_line(error)}): free some space and run the same command again; "
                + ("no earlier checkpoint exists." if kept is None else f"step {kept} is intact.")
            ) from error

    @property
    def latest_step(self) -> int | None:
        """The step of the last checkpoint, None without any."""
        self.wait()
        return super().latest_step

    @property
    def best_step(self) -> int | None:
        """The step that validation found best; the last one where none was validated."""
        self.wait()
        return super().best_step

    def restore(self, step: int) -> dict[str, Arrays]:
        """The tree saved at a step, with NumPy leaves; UserError where it is damaged."""
        self.wait()
        return super().restore(step)

    def close(self) -> None:
        """Waits for the last save, as `wait` does, and ends the manager's threads."""
        try:
            self.wait()
        finally:
            super().close()


def _remove_unfinished(directory: pathlib.Path) -> None:
    # Orbax can do this, but in a thread that outlives its manager and complains at exit.
    if jax.process_index() == 0:
        for folder in directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)
