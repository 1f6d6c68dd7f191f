"""Compiled programs kept between processes, and what happens when they are damaged."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from qvae_jax.system import compilation_cache

REPOSITORY = pathlib.Path(__file__).parents[2]
PROGRAM = """
import jax
from qvae_jax.system.compilation_cache import use_compilation_cache
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
use_compilation_cache()
print(jax.jit(lambda x: 3 * x + 1)(2.0))
"""


def run(cache_home, **variables: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(cache_home), "JAX_PLATFORMS": "cpu", **variables}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def entries(cache_home) -> list[pathlib.Path]:
    return sorted(path for path in cache_home.rglob("*-cache") if path.is_file())


def test_a_damaged_entry_is_compiled_anew(tmp_path):
    first = run(tmp_path)
    assert (first.returncode, first.stdout) == (0, "7.0\n"), first.stderr
    found = entries(tmp_path)
    assert found and all(path.is_relative_to(tmp_path / "qvae_jax/xla") for path in found)
    for damaged in (lambda whole: b"", lambda whole: whole[:-9], lambda whole: b"no program"):
        for path in found:
            path.write_bytes(damaged(path.read_bytes()))
        again = run(tmp_path)
        assert (again.returncode, again.stdout, again.stderr) == (0, "7.0\n", first.stderr)


def test_a_folder_that_cannot_be_made_means_no_cache(tmp_path):
    (tmp_path / "file").write_text("")
    done = run(tmp_path / "file")
    assert (done.returncode, done.stdout) == (0, "7.0\n"), done.stderr


def test_a_folder_that_jax_s_settings_name_and_cannot_be_made_is_said_once(tmp_path):
    done = run(tmp_path, JAX_COMPILATION_CACHE_DIR="/dev/null/programs")
    assert (done.returncode, done.stdout) == (0, "7.0\n")
    assert done.stderr.startswith("note: /dev/null/programs,") and done.stderr.count("\n") == 1


def test_a_folder_that_jax_s_settings_name_may_begin_with_a_home_folder(tmp_path):
    done = run(tmp_path, JAX_COMPILATION_CACHE_DIR="~/programs", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "") and entries(tmp_path / "programs")


@pytest.mark.parametrize("home", ["", "elsewhere"])
def test_the_folder_is_the_users(monkeypatch, tmp_path, home):
    monkeypatch.setenv("XDG_CACHE_HOME", home and str(tmp_path / home))
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = tmp_path / (home or ".cache") / "qvae_jax" / "xla"
    assert compilation_cache.cache_folder().parent == expected


def test_a_cache_that_is_set_already_stays(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compilation_cache.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before and not os.listdir(tmp_path)
