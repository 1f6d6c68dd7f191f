"""What tests share of what they compile, which is most of their time."""

import os

import jax

WORTH_KEEPING_S = 0.2  # what takes longer to compile is kept for other tests and processes
# JAX puts its entries in place before they are whole, so that another process may read half of one.
# It then compiles by itself, and warns.
HALF_AN_ENTRY = "Error reading persistent compilation cache"


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that shares what this session's tests have compiled."""
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(WORTH_KEEPING_S),
        "PYTHONWARNINGS": f"ignore:{HALF_AN_ENTRY}",
        **more,
    }
