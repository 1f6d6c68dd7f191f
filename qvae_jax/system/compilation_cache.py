"""Compiled programs kept on disk, so that a second start of the same run need not wait for XLA."""

import hashlib
import pathlib
import platform
import warnings

import jax

from qvae_jax.system import files


def use_compilation_cache() -> None:
    """Lets JAX keep its compiled programs in the user's cache folder.

    JAX's own settings and environment variables go before this (JAX_COMPILATION_CACHE_DIR,
    JAX_ENABLE_COMPILATION_CACHE). An entry that is damaged is compiled anew; a folder that cannot
    be written means no cache.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    # What goes wrong with an entry costs time, not results: it is nothing to warn of.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))


def cache_folder() -> pathlib.Path:
    """`qvae_jax/xla` in the user's cache folder, and there a folder for each kind of processor."""
    return files.user_cache_folder() / "xla" / _processor()


def _processor() -> str:
    # XLA compiles for the processor it runs on, and a home folder may be shared by several kinds.
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        text = platform.processor()
    features = next((line for line in text.splitlines() if line.startswith("flags")), text)
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
