"""onnxruntime-web, which computes graphs in a browser: its published package, checked and kept.

npm fetches it once, from the registry that npm is set up with; --onnxruntime_web names a package file
that the user has got by other means.
"""

import base64
import hashlib
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

from qvae_jax.system import caches, files
from qvae_jax.system.errors import UserError, first_line

NAME, VERSION = "onnxruntime-web", "1.30.0"
PACKAGE_FILE = f"{NAME}-{VERSION}.tgz"  # as npm pack names it
# Of the package file, as the registry publishes it.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# What a page needs of it, and what it is called there: of its builds the smallest, WebAssembly alone.
# Not every web server knows that a file named .mjs is JavaScript.
TAKEN = {
    "package/dist/ort.wasm.min.mjs": "ort.js",
    "package/dist/ort-wasm-simd-threaded.mjs": "ort-wasm.js",
    "package/dist/ort-wasm-simd-threaded.wasm": "ort.wasm",
}
LONGEST_S = 600.0  # that npm may take for 33 MB
OTHERWISE = (
    f"or get {PACKAGE_FILE} by other means (npm pack {NAME}@{VERSION} elsewhere) and name it with "
    "--onnxruntime_web=FILE"
)


def contents(package_file: str | os.PathLike | None = None) -> dict[str, bytes]:
    """The files of the package that a page needs, by the names in TAKEN.

    Without a package file that of the user's cache folder is taken, where npm puts it first. Raises
    UserError for one that cannot be read or is not the version that the page was made for, and where
    npm is absent or cannot fetch it.
    """
    if package_file is not None:
        path = pathlib.Path(package_file)
        content = _read(path)
        if not is_intact(content):
            raise UserError(
                f"--onnxruntime_web is {path}, which is not {PACKAGE_FILE} as it is published: name "
                "that version's package file."
            )
        return _unpacked(path)
    kept = kept_file()
    if not (kept.is_file() and is_intact(_read(kept))):
        _fetch(kept)
    return _unpacked(kept)


def kept_file() -> pathlib.Path:
    """Where the package file is kept."""
    return caches.user_cache_folder() / PACKAGE_FILE


def is_intact(content: bytes) -> bool:
    """Whether these are the bytes of the package file as it is published."""
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return f"sha512-{digest}" == INTEGRITY


def _read(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be read ({reason}): name another file.") from error


def _unpacked(path: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {name: archive.extractfile(inside).read() for inside, name in TAKEN.items()}


def _fetch(kept: pathlib.Path) -> None:
    """Has npm fetch the package file, which is checked before it is kept."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"--format=web needs {NAME} {VERSION}, which npm fetches, and npm is not installed: "
            f"install Node.js, {OTHERWISE}."
        )
    print(f"fetching {NAME} {VERSION} with npm (33 MB), once", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{NAME}@{VERSION}", "--loglevel=error", "--ignore-scripts"]
        try:
            run = subprocess.run(
                command,
                cwd=folder,  # where no project's settings are
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LONGEST_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _not_fetched(first_line(error)) from error
        fetched = pathlib.Path(folder, PACKAGE_FILE)
        if run.returncode != 0 or not fetched.is_file():
            raise _not_fetched(_said(run))
        content = fetched.read_bytes()
    if not is_intact(content):
        raise _not_fetched("what came is not the package as it is published")
    with files.replacing(kept) as temporary:
        temporary.write_bytes(content)


def _said(run: subprocess.CompletedProcess) -> str:
    lines = [line.removeprefix("npm error").strip() for line in run.stderr.splitlines()]
    said = [line for line in lines if line][:2]
    return ": ".join(said) or f"it ended with {run.returncode} and said nothing"


def _not_fetched(reason: str) -> UserError:
    return UserError(f"npm cannot fetch {NAME} {VERSION} ({reason}): try again later, {OTHERWISE}.")
