"""Which form a program is traced with: by the platform, the devices, and nothing that JAX kept."""

import threading

import jax
import jax.numpy as jnp
import pytest

from qvae_jax.system import platforms
from qvae_jax.system.errors import UserError


@platforms.with_cpu_form(lambda x, *, factor=2: jnp.sin(x) * factor)
def _wave(x, *, factor=2):
    """cos, which stands for a plain form."""
    return jnp.cos(x) * factor


@platforms.with_cpu_form(jnp.sin, where=platforms.samples_apart)
def _wave_apart(x):
    return jnp.cos(x)


def _form(function, *given, **named) -> str:
    program = str(jax.make_jaxpr(lambda x: function(x, *given, **named))(1.0))
    return "fast" if " sin " in program else "plain"


def test_the_platform_is_jax_s_own_unless_another_is_compiled_for():
    assert platforms.platform() == jax.default_backend() == "cpu"
    with platforms.compiling_for("cuda"):
        assert platforms.platform() == "cuda" and not platforms.on_cpu()
        with platforms.compiling_for("cpu"):
            assert platforms.on_cpu()
        assert platforms.platform() == "cuda"
    assert platforms.on_cpu()


def test_the_context_ends_with_an_exception():
    with pytest.raises(KeyError), platforms.compiling_for("cuda"):
        raise KeyError
    assert platforms.on_cpu()


def test_another_thread_is_not_told():
    seen = []
    with platforms.compiling_for("tpu"):
        thread = threading.Thread(target=lambda: seen.append(platforms.platform()))
        thread.start()
        thread.join()
    assert seen == ["cpu"]


@pytest.mark.parametrize(
    ("platform", "form"), [("cpu", "fast"), ("cuda", "plain"), ("tpu", "plain")]
)
def test_only_the_cpu_is_given_the_fast_form(platform, form):
    with platforms.compiling_for(platform):
        assert _form(_wave) == _form(_wave, factor=3) == _form(_wave_apart) == form
    assert _wave.__doc__.startswith("cos") and _wave.__name__ == "_wave"


def test_several_cpu_devices_see_the_whole_batch(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda backend=None: 2)
    assert _form(_wave) == "fast"
    assert _form(_wave_apart) == "plain"


def test_several_accelerators_do_not_count_where_the_cpu_is_compiled_for(monkeypatch):
    """As on a host whose default backend has eight GPUs."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "device_count", lambda backend=None: 1 if backend == "cpu" else 8)
    assert _form(_wave_apart) == "plain"
    with platforms.compiling_for("cpu"):
        assert _form(_wave_apart) == "fast"


def test_one_compiled_function_is_traced_anew_for_each_platform():
    """What JAX keeps of it, and of functions inside it, is kept by platform."""
    inner = jax.jit(_wave)
    outer = jax.jit(lambda x: inner(x) + 1.0)
    text = lambda: outer.trace(1.0).lower().as_text()
    assert "sine" in text() and float(outer(0.0)) == 1.0
    with platforms.compiling_for("cuda"):
        assert "cosine" in text() and float(outer(0.0)) == 3.0
    assert "cosine" not in text() and float(outer(0.0)) == 1.0


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        # As JAX raises them for CUDA and for TPUs that are not there, and for a name it knows not.
        (AssertionError(), "environment: unset that"),
        (AttributeError("'NoneType' object has no attribute 'devices'"), "environment \\('None"),
        (
            RuntimeError("Unable to initialize backend 'tpu': X (set JAX_PLATFORMS='')"),
            "'tpu': X\\): ",
        ),
        (RuntimeError("Unknown backend cuda. Available are ['cpu']"), "\\(Unknown backend cuda"),
    ],
)
def test_devices_that_do_not_start_are_one_sentence(monkeypatch, raised, reason):
    def fails():
        raise raised

    monkeypatch.setattr(jax, "devices", fails)
    for variable in platforms.BACKEND_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    with pytest.raises(UserError, match=f"no device with JAX_PLATFORMS=tpu in the .*{reason}") as e:
        platforms.start_backend()
    assert "set JAX_PLATFORMS=cpu, or install JAX for the devices" in str(e.value)
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(UserError, match="^JAX starts no device(?! with).*: set JAX_PLATFORMS=cpu"):
        platforms.start_backend()
