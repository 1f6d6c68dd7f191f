"""What tests share of what they compile, which is most of their time."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import jax

# Most of the tests' programs run once and are small. With LLVM's optimisation and XLA's newer way to
# fuse left out, the same programs compile three times as fast.
LIGHTLY = "JAX_DISABLE_MOST_OPTIMIZATIONS"
LIGHTLY_FLAG = "--xla_cpu_use_fusion_emitters=false"
WORTH_KEEPING_S = 0.2  # what takes longer to compile is kept for other tests and processes
# JAX puts its entries in place before they are whole, so that another process may read half of one.
# It then compiles by itself, and warns.
HALF_AN_ENTRY = "Error reading persistent compilation cache"


def compile_lightly() -> None:
    """Has this process and those that it starts spare what makes programs fast to run.

    Not where the environment says itself how to compile: JAX_DISABLE_MOST_OPTIMIZATIONS=0 has all
    tests run what users run, and XLA_FLAGS stays as it is. Before JAX is asked for its devices.
    """
    if LIGHTLY in os.environ:
        return
    os.environ[LIGHTLY] = "1"
    jax.config.update("jax_disable_most_optimizations", True)
    if "XLA_FLAGS" not in os.environ and _is_known(LIGHTLY_FLAG):
        os.environ["XLA_FLAGS"] = LIGHTLY_FLAG


@contextlib.contextmanager
def with_optimisation() -> Iterator[None]:
    """What is compiled within is optimised as for users, for where rounding decides."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def _is_known(flag: str) -> bool:
    """Whether this release of XLA has a flag; of one that it lacks, a process dies."""
    command = [sys.executable, "-c", "import jax; jax.devices('cpu')"]
    asked = os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=asked, capture_output=True).returncode == 0


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that shares what this session's tests have compiled."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(WORTH_KEEPING_S),
        "PYTHONWARNINGS": f"ignore:{HALF_AN_ENTRY}",
        **more,
    }
