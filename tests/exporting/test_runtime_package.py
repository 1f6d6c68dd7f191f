"""onnxruntime-web's package: had from a file, from the cache or by npm, and refused where it is another."""

import base64
import hashlib
import io
import os
import pathlib
import stat
import tarfile

import pytest

from qvae_jax.exporting import runtime_package
from qvae_jax.system.errors import UserError

CONTENTS = {name: f"this is {name}".encode() for name in runtime_package.TAKEN}


def package() -> bytes:
    """A package file in which each file that is taken says what it is."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return held.getvalue()


@pytest.fixture
def published(monkeypatch, tmp_path) -> bytes:
    """A small package file in the place of the real one; the cache folder is empty."""
    content = package()
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    monkeypatch.setattr(runtime_package, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return content


def taken() -> dict[str, bytes]:
    return {there: CONTENTS[name] for name, there in runtime_package.TAKEN.items()}


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Puts a program called npm where it is found; a function of the lines of a shell's script."""
    if os.name != "posix":
        pytest.skip("needs a shell")

    def put(script: str) -> None:
        program = tmp_path / "programs" / "npm"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")

    return put


def test_a_file_that_is_named_is_taken(published, tmp_path):
    path = tmp_path / "any name.tgz"
    path.write_bytes(published)
    assert runtime_package.contents(path) == taken()
    assert not runtime_package.kept_file().exists()


def test_npm_fetches_it_once(published, npm, tmp_path):
    source = tmp_path / "source.tgz"
    source.write_bytes(published)
    npm(f'echo "$@" >> "{tmp_path}/asked"; cp "{source}" {runtime_package.PACKAGE_FILE}')
    for _ in range(2):
        assert runtime_package.contents() == taken()
    [asked] = (tmp_path / "asked").read_text().splitlines()
    assert asked.startswith(f"pack onnxruntime-web@{runtime_package.VERSION} ")
    kept = runtime_package.kept_file()
    assert kept.read_bytes() == published
    kept.write_bytes(published[:-1])  # a kept file that has been damaged is fetched again
    assert runtime_package.contents() == taken() and kept.read_bytes() == published


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "(code E404)"),
        ("exit 3", "(it ended with 3 and said nothing)"),
        ("true", "(it ended with 0 and said nothing)"),
        (f"echo hello > {runtime_package.PACKAGE_FILE}", "(what came is not the package"),
    ],
)
def test_what_npm_cannot_fetch_is_said_and_nothing_is_kept(published, npm, script, said):
    npm(script)
    with pytest.raises(UserError) as error:
        runtime_package.contents()
    assert said in str(error.value) and "--onnxruntime_web=FILE" in str(error.value)
    assert not runtime_package.kept_file().exists()


def test_without_npm_it_is_said_how_to_do(published, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not installed: install Node.js, or get "):
        runtime_package.contents()


@pytest.mark.parametrize("content", [None, b"", b"hello"])
def test_a_file_that_is_another_is_refused(published, tmp_path, content):
    path = pathlib.Path(tmp_path, "package.tgz")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read|is not onnxruntime-web-"):
        runtime_package.contents(path)
