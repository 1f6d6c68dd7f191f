"""Orbax behind one small door: model folders, and the checkpoints of a run.

A model folder holds `config.json`, which says what the model is, and `variables/`, its arrays.
A run keeps its best checkpoints and its last. Arrays are read back as NumPy, so that a checkpoint
written on any number of devices can be placed on any other.
"""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from qvae_jax.models.variables import Arrays, Variables
from qvae_jax.system import files
from qvae_jax.system.errors import UserError

CONFIG_FILE = "config.json"
VARIABLES_FOLDER = "variables"
RUN_PARTS = (*Variables._fields, "optimizer", "progress")
AVERAGE = "average"  # of the trained parameters, only where the run keeps one
# Where one array fails, Orbax does not wait for the others; they shall end before the interpreter
# does, or each of them prints a traceback.
SETTLING_S = 0.5


def save_model(directory: pathlib.Path, description: dict, variables: Variables) -> None:
    """Writes a model folder, whole or not at all.

    Raises UserError where the folder exists and is not empty, or cannot be written.
    """
    with files.new_folder(directory) as temporary:
        files.write_json(temporary / CONFIG_FILE, description)
        with ocp.PyTreeCheckpointer() as checkpointer:
            path = (temporary / VARIABLES_FOLDER).resolve()
            checkpointer.save(path, variables._asdict())


def read_description(directory: pathlib.Path) -> dict:
    """The `config.json` of a model folder; UserError where there is none."""
    path = pathlib.Path(directory) / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{directory} holds no {CONFIG_FILE}, so it is not a model folder: name the "
            "OUTPUT_DIR that `python -m weight_port SOURCE OUTPUT_DIR` wrote."
        )
    description = files.read_json(path)
    if not isinstance(description, dict) or "kind" not in description:
        raise UserError(f"{path} does not say what kind of model it describes: port it again.")
    return description


def load_model(directory: pathlib.Path, expected: Variables) -> Variables:
    """The arrays of a model folder, as NumPy, after comparing names and shapes with `expected`.

    Raises UserError naming the arrays that are missing, extra, or of another shape.
    """
    path = (pathlib.Path(directory) / VARIABLES_FOLDER).resolve()
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = _read(checkpointer, path, mend="port the model again or name another folder")
    return checked_variables(tree, expected, where=str(directory))


def checked_variables(tree: Mapping, expected: Variables, *, where: str) -> Variables:
    """The variables in a checkpoint's tree, after comparing names and shapes with `expected`."""
    _require_parts(tree, Variables._fields, where=where)
    for part in Variables._fields:
        compare(tree[part], getattr(expected, part), where=where)
    return Variables(tree["params"], tree["batch_stats"])


def averaged(saved: Mapping, model_variables: Variables) -> Variables:
    """The variables to generate with: the averaged parameters of a checkpoint that has them."""
    average = {n: a for n, a in saved.get(AVERAGE, {}).items() if n in model_variables.params}
    return model_variables._replace(params=model_variables.params | average)


def compare(found: Mapping, expected: Mapping, *, where: str) -> None:
    """Raises UserError naming every array of `found` that `expected` does not have just so."""
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name} is not part of the model" for name in found if name not in expected]
    differences += [
        f"{name} has shape {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and tuple(found[name].shape) != tuple(expected[name].shape)
    ]
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise UserError(
            f"{where} does not fit the configured model: {'; '.join(differences[:5])}{more}. "
            "Set config.model to what the checkpoint was made with, or name another checkpoint."
        )


def _read(checkpointer: ocp.PyTreeCheckpointer, path: pathlib.Path, *, mend: str) -> dict:
    """A saved tree with NumPy leaves; UserError saying how to mend it where absent or damaged."""
    if not path.is_dir():
        raise UserError(f"{path} does not exist, so the checkpoint is incomplete: {mend}.")
    try:
        saved = checkpointer.metadata(path).item_metadata
        if saved is None:
            raise ValueError("it has no readable index")
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved.tree)
        return checkpointer.restore(path, restore_args=as_numpy)
    except Exception as error:  # Orbax, TensorStore and JSON each raise their own kinds
        time.sleep(SETTLING_S)
        raise UserError(
            f"{path} cannot be read as a checkpoint ({_first_line(error)}), so it is damaged or "
            f"incomplete: {mend}."
        ) from error


def _require_parts(tree, parts: tuple[str, ...], *, where: str) -> None:
    absent = [part for part in parts if not isinstance(tree, dict) or part not in tree]
    if absent:
        raise UserError(
            f"{where} holds a checkpoint of another kind (it has no {', '.join(absent)}): name "
            "another one."
        )


class RunCheckpoints:
    """The checkpoints of one run, in `workdir/checkpoints`: the best `keep_best` and the last.

    A checkpoint is a dict of the flat dicts RUN_PARTS, maybe AVERAGE, of arrays. Saving is atomic:
    a folder gets its final name only when all of it is on disk, so a kill or a full disk leaves the
    earlier ones as they were. It happens in the background, one save at a time; whatever looks at
    the checkpoints waits for it.
    """

    def __init__(self, workdir: pathlib.Path, *, keep_best: int = 3, read_only: bool = False):
        self.directory = (pathlib.Path(workdir) / "checkpoints").resolve()
        if not read_only:
            files.make_folder(self.directory)
            _remove_unfinished(self.directory)
        elif not self.directory.is_dir():
            raise UserError(f"{workdir} holds no checkpoints: train there first.")
        keep = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(1),
                # Orbax keeps the last n in the order given, hence the descending one.
                preservation_policy.BestN(
                    get_metric_fn=_validation_loss,
                    reverse=True,
                    n=keep_best,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=_validation_loss,
                best_mode="min",
                read_only=read_only,
            ),
        )
        self._saving: int | None = None  # the step that is being saved, or was last

    def save(self, step: int, tree: dict[str, Arrays], validation_loss: float | None) -> None:
        """Saves the state after `step` steps; with a validation loss it competes for the best.

        The arrays may change as soon as it returns. Raises UserError where this save, or the one
        before it, fails; where the last one does, `wait` tells.
        """
        self.wait()
        if step in self._manager.all_steps():
            return
        metrics = None if validation_loss is None else {"validation_loss": float(validation_loss)}
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
            time.sleep(SETTLING_S)
            kept = self.latest_step
            raise UserError(
                f"the checkpoint of step {step} cannot be saved in {self.directory} "
                f"({_first_line(error)}): free some space and run the same command again; "
                + ("no earlier checkpoint exists." if kept is None else f"step {kept} is intact.")
            ) from error

    @property
    def latest_step(self) -> int | None:
        """The step of the last checkpoint, None without any."""
        self.wait()
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """The step with the lowest validation loss; the last one where none has a loss."""
        self.wait()
        best = self._manager.best_step()
        return self.latest_step if best is None else best

    def restore(self, step: int) -> dict[str, Arrays]:
        """The tree saved at a step, with NumPy leaves; UserError where it is damaged."""
        self.wait()
        folder = self.directory / str(step)
        with ocp.PyTreeCheckpointer() as checkpointer:
            tree = _read(
                checkpointer,
                folder / "default",
                mend=f"remove {folder}, so that an earlier checkpoint is used",
            )
        _require_parts(tree, RUN_PARTS, where=str(folder))
        return tree

    def close(self) -> None:
        """Waits for the last save, as `wait` does, and ends the manager's threads."""
        try:
            self.wait()
        finally:
            self._manager.close()


def _remove_unfinished(directory: pathlib.Path) -> None:
    # Orbax can do this, but in a thread that outlives its manager and complains at exit.
    if jax.process_index() == 0:
        for folder in directory.glob(f"*{ocp.utils.TMP_DIR_SUFFIX}*"):
            shutil.rmtree(folder, ignore_errors=True)


def _validation_loss(metrics: dict) -> float:
    return metrics["validation_loss"]


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    # TensorStore says first where, at length, and the reason last.
    return line if len(line) <= 200 else f"{line[:60]} … {line[-140:]}"
