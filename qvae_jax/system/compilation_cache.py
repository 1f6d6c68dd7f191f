"""Compiled programs kept on disk, so that a second start of the same run need not wait for XLA."""

import hashlib
import os
import pathlib
import platform
import sys
import warnings

import jax

from qvae_jax.system import caches
from qvae_jax.system.errors import UserError


def use_compilation_cache() -> None:
    """Lets JAX keep its compiled programs in the user's cache folder.

    JAX's own settings and environment variables go before this (JAX_COMPILATION_CACHE_DIR,
    JAX_ENABLE_COMPILATION_CACHE). An entry that is damaged is compiled anew; from a folder that can
    only be read, entries are read; and one that cannot be made means no cache, which is said where
    JAX's settings named it.
    """
    # What goes wrong with an entry costs time, not results: it is nothing to warn of.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    named = jax.config.jax_compilation_cache_dir
    if named is not None and "://" in named:  # a bucket, which JAX can write to
        return
    folder = _own_folder() if named is None else pathlib.Path(named).expanduser()
    is_used = folder is not None and (caches.is_writable(folder) or os.access(folder, os.R_OK))
    if named is not None and not is_used:
        print(
            f"note: {named}, JAX's folder for compiled programs, can neither be read nor "
            "written, so none are kept: set JAX_COMPILATION_CACHE_DIR to another one.",
            file=sys.stderr,
        )
    jax.config.update("jax_compilation_cache_dir", str(folder) if is_used else None)


def cache_folder() -> pathlib.Path:
    """`qvae_jax/xla` in the user's cache folder, and there a folder for each kind of processor."""
    return caches.user_cache_folder() / "xla" / _processor()


def _own_folder() -> pathlib.Path | None:
    try:
        return cache_folder()
    except UserError:  # there is no home, and caches has said so
        return None


def _processor() -> str:
    # XLA compiles for the processor it runs on, and a home folder may be shared by several kinds.
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    features = next((line for line in text.splitlines() if line.startswith("flags")), text)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
