"""Folders that get what a mode writes all at once, by one process at a time.

They are written into a folder .staged-* inside the one that is to get them. Once they are complete
it is renamed to .complete-*, and from then on they count as written: they move to their places, and
where that is cut short, the next process to hold the folder goes on with it.
"""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from qvae_jax.system import files, locks
from qvae_jax.system.errors import UserError

STAGED, COMPLETE = ".staged-", ".complete-"
MOVE_IT = "move it away or name another --output_dir"
# What is in these: which files go and which come; those that come, and those that went.
PLAN_FILE, FILES, EARLIER = "plan.json", "files", "earlier"


def is_file_name(name) -> bool:
    """Whether a value is the name of something right in a folder; one with / leads elsewhere."""
    if not isinstance(name, str) or "\0" in name:
        return False
    return name not in ("", ".", "..") and os.path.basename(name) == name


def require_free(
    path: pathlib.Path, names: Iterable[str], own: Container[str] = (), *, mend: str = MOVE_IT
) -> None:
    """Raises UserError where a file of these names would replace one that is not our own.

    Args:
        path: the folder.
        names: of files that will be written.
        own: the names of files that earlier calls wrote.
        mend: what the message says to do.
    """
    for name in names:
        target = path / name
        if target.is_dir() and not target.is_symlink():
            raise UserError(
                f"{target} is a folder where a file belongs: move it away or name another place."
            )
        if name not in own and os.path.lexists(target):
            raise UserError(f"{target} is there already, and would be overwritten: {mend}.")


@contextlib.contextmanager
def held(path: pathlib.Path, on_held: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keeps other processes out of a folder while the block lasts; makes it where it is absent.

    What a process left that was killed in here is completed, or removed where it was not complete.
    on_held is as of locks.locked; without it, a folder that another process holds is refused.
    Raises UserError where the folder cannot be made or written to.
    """

    def refuse(holder: str) -> None:
        raise UserError(
            f"{path} is being written to by {holder}: wait for it to end, or name another "
            "--output_dir."
        )

    with locks.alone_in(path, on_held or refuse):
        for left in path.glob(f"{STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        for left in path.glob(f"{COMPLETE}*"):
            _move_in(left, path)
        yield


@contextlib.contextmanager
def filling(
    path: pathlib.Path, *, last: str, removed: Iterable[str] = ()
) -> Iterator[pathlib.Path]:
    """A temporary folder whose files move into the folder `path`, which is held, at the block's end.

    The files of `path` that removed names go first. `path` may hold others; those of the same names
    are replaced. If the block raises, or a file cannot be moved, `path` stays as it was.

    Args:
        path: where the files will lie.
        last: the name of the file that tells of all others and comes last.
        removed: names of earlier files in `path`.

    Raises UserError naming `path` where it cannot be written to.
    """
    with files.explaining_write_errors(path):
        # On the disk of `path`, so that moving is renaming.
        staged = pathlib.Path(tempfile.mkdtemp(prefix=STAGED, dir=path))
        for inner in (FILES, EARLIER):
            (staged / inner).mkdir()
    try:
        yield staged / FILES
        made = sorted(os.listdir(staged / FILES), key=lambda name: (name == last, name))
        plan = {"removed": list(dict.fromkeys([*removed, *made])), "made": made}
        files.write_json(staged / PLAN_FILE, plan)
        complete = path / staged.name.replace(STAGED, COMPLETE, 1)
        with files.explaining_write_errors(path):
            os.rename(staged, complete)
    except UserError as error:
        raise UserError(str(error).replace(str(staged / FILES), str(path))) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    try:
        _move_in(complete, path)
    except KeyboardInterrupt:
        if complete.exists():
            _move_in(complete, path)
        raise


def _move_in(complete: pathlib.Path, path: pathlib.Path) -> None:
    """Carries out a plan, or what is left of it; undoes it where that is not possible."""
    plan = files.read_json(complete / PLAN_FILE)
    done = path / complete.name.replace(COMPLETE, STAGED, 1)
    try:
        with files.explaining_write_errors(path):
            for name in plan["removed"]:
                if (path / name).is_symlink() or (path / name).is_file():
                    os.rename(path / name, complete / EARLIER / name)
            # From here on a file of such a name is a new one.
            files.write_json(complete / PLAN_FILE, plan | {"removed": []})
            for name in plan["made"]:
                if (complete / FILES / name).exists():
                    os.rename(complete / FILES / name, path / name)
            os.rename(complete, done)
    except UserError:
        _move_out(complete, path, plan["made"])
        os.rename(complete, done)
        raise
    finally:
        shutil.rmtree(done, ignore_errors=True)


def _move_out(complete: pathlib.Path, path: pathlib.Path, made: Sequence[str]) -> None:
    """Undoes what there is of a plan: takes the new files away and puts the earlier ones back."""
    with files.explaining_write_errors(path):
        for name in made:
            if not (complete / FILES / name).exists():
                os.rename(path / name, complete / FILES / name)
        for name in os.listdir(complete / EARLIER):
            os.rename(complete / EARLIER / name, path / name)
