"""--mode=serve as a command: one line for what is missing, taken or no model."""

import builtins
import contextlib
import importlib
import socket
import sys

import pytest

from qvae_jax.modes.requests import ServeRequest
from qvae_jax.system.errors import UserError


def test_without_the_extra_a_line_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def lacking(name, *arguments):
        if name == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return imported(name, *arguments)

    monkeypatch.delitem(sys.modules, "qvae_jax.modes.serve", raising=False)
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UserError, match=r"needs .*: python3 -m pip install '\.\[serve\]'"):
        importlib.import_module("qvae_jax.modes.serve")


@pytest.fixture
def serve():
    for module in ("starlette", "uvicorn", "python_multipart"):
        pytest.importorskip(module, reason="needs the extra `serve`")
    from qvae_jax.modes import serve

    return serve


def test_a_port_that_is_taken_is_told_with_the_next_free_one(serve):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^Port {port} cannot be opened .*: use --port=(\d+)"):
            serve.serve(ServeRequest(checkpoint="none", port=port))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (ServeRequest(), "give either --workdir"),
        (ServeRequest(workdir="a", checkpoint="b", port=0), "give either --workdir"),
        (ServeRequest(checkpoint="no/such", port=0), "no/such"),
        (ServeRequest(checkpoint="a", port=70_000), "--port is 70000: set it from 0"),
        (ServeRequest(checkpoint="a", port=-1), "--port is -1"),
        (ServeRequest(checkpoint="a", host="no.such.host.invalid", port=0), "--host is 'no.such"),
        (ServeRequest(checkpoint="a", host="203.0.113.7", port=0), "--host is '203.0.113.7'"),
    ],
)
def test_a_mistake_is_one_line(serve, request_, said):
    with pytest.raises(UserError) as told:
        serve.serve(request_)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_an_address_that_lets_others_in_is_warned_of(serve, monkeypatch, capsys):
    monkeypatch.setattr(serve, "load_model", lambda **which: None)
    seen = []
    monkeypatch.setattr(
        serve.running, "serve", lambda model, own, host, announce, library: seen.append(host)
    )
    for host in ("127.0.0.1", "0.0.0.0"):
        serve.serve(ServeRequest(checkpoint="a", host=host, port=0))
    assert seen == ["127.0.0.1", "0.0.0.0"]
    first, second, third = capsys.readouterr().out.splitlines()
    assert first == third == "stopped" and second.startswith("warning: --host=0.0.0.0 lets other")
