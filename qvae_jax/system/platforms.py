"""Which platform programs are compiled for, and whether its fast forms are taken."""

import contextlib
import functools
from collections.abc import Callable

import jax

# JAX keeps what it has traced and compiled by this value too: a function that was traced for one
# platform is traced again for another.
_compiled_for = jax.make_user_context(default_value=None)


def compiling_for(platform: str) -> contextlib.AbstractContextManager:
    """Inside it, what this thread traces is for a platform: "cpu", "cuda", "rocm" or "tpu".

    It decides which forms a program is made of. What the program is lowered to is JAX's to say:
    jax.jit(f).trace(x).lower(lowering_platforms=(platform,)), with the trace inside.
    """
    return _compiled_for(platform)


def platform() -> str:
    """The platform that programs are traced for: compiling_for's, else JAX's default backend."""
    return _compiled_for.value or jax.default_backend()


def on_cpu() -> bool:
    """Whether programs are compiled for the CPU."""
    return platform() == "cpu"


def samples_apart() -> bool:
    """Whether a batch is better computed one sample after the other than at once.

    What a sample leaves behind then stays in the processor's cache, which a whole batch would
    exceed: two to three times as fast for the log-mel and the encoder. An accelerator wants the
    batch at once, and so do several CPU devices, each of which has a part of it.
    """
    return on_cpu() and jax.device_count("cpu") == 1


def with_cpu_form(fast: Callable, *, where: Callable[[], bool] = on_cpu) -> Callable:
    """Decorates a plain form, in whose place fast, of the same signature, runs if where() holds.

    where is asked at each call, which is at each trace.
    """

    def decorate(plain: Callable) -> Callable:
        @functools.wraps(plain)
        def chosen(*args, **kwargs):
            return (fast if where() else plain)(*args, **kwargs)

        return chosen

    return decorate
