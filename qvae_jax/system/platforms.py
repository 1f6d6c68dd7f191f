"""Which platform programs are compiled for, and whether its fast forms are taken."""

import contextlib
import functools
import os
import re
from collections.abc import Callable

import jax

from qvae_jax.system.errors import UserError, first_line

BACKEND_VARIABLES = (
    "JAX_PLATFORMS",
    "JAX_PLATFORM_NAME",
    "JAX_NUM_CPU_DEVICES",
    "CUDA_VISIBLE_DEVICES",
)

ANY = "any"  # platform, for a program that several are given
ONNX = "onnx"  # no platform of JAX's: a graph for onnxruntime

# JAX keeps what it has traced and compiled by this value too: a function that was traced for one
# platform is traced again for another.
_compiled_for = jax.make_user_context(default_value=None)


def compiling_for(platform: str) -> contextlib.AbstractContextManager:
    """Inside it, what this thread traces is for a platform: "cpu", "cuda", "rocm", "tpu" or
    ANY, whose programs are made of plain forms; or ONNX.

    It decides which forms a program is made of. What the program is lowered to is JAX's to say:
    jax.jit(f).trace(x).lower(lowering_platforms=(platform,)), with the trace inside.
    """
    return _compiled_for(platform)


def start_backend() -> None:
    """Starts JAX's devices, which happens once; UserError where there are none to start.

    Where processes join, they do so before this.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError, AttributeError) as error:  # the latter two of CUDA
        raise UserError(_why_none(error)) from error


def _why_none(error: Exception) -> str:
    wanted = [f"{name}={os.environ[name]}" for name in BACKEND_VARIABLES if name in os.environ]
    asked = f" with {' '.join(wanted)} in the environment" if wanted else ""
    # JAX's own advice, in brackets at the end, is no better than ours.
    said = re.sub(r" \((set|you may) .*", "", first_line(error))
    reason = f" ({said})" if str(error) else ""
    unset = "unset that, " if wanted else ""
    return (
        f"JAX starts no device{asked}{reason}: {unset}set JAX_PLATFORMS=cpu, or install JAX for the "
        'devices, as in `python3 -m pip install "jax[cuda13]"`.'
    )


def platform() -> str:
    """The platform that programs are traced for: compiling_for's, else JAX's default backend."""
    return _compiled_for.value or jax.default_backend()


def on_cpu() -> bool:
    """Whether programs are compiled for the CPU."""
    return platform() == "cpu"


def for_onnx() -> bool:
    """Whether what is traced becomes a graph of ONNX."""
    return platform() == ONNX


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


def with_onnx_form(form: Callable) -> Callable:
    """Decorates a plain form, in whose place another of the same signature goes into ONNX graphs."""
    return with_cpu_form(form, where=for_onnx)
