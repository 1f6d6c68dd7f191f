"""Fetching published checkpoints, from a server on this machine that behaves well or badly."""

import hashlib
import http.server
import socket
import threading

import pytest

from qvae_jax.errors import UserError

torch = pytest.importorskip("torch", reason="weight_port.source imports it")

from weight_port import published  # noqa: E402

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT under any path, in the way that `behaviour` names, and counts requests."""

    behaviour = "good"
    num_requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    """One answer."""

    def do_GET(self):
        self.server.num_requests += 1
        behaviour = self.server.behaviour
        if behaviour == "absent":
            self.send_error(404)
            return
        if behaviour == "garbage":
            self.wfile.write(b"\x00\x01 no HTTP at all\r\n\r\n")
            return
        self.send_response(200)
        if behaviour != "unannounced":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if behaviour == "cut" or behaviour == "reset":
            self.wfile.write(CONTENT[: len(CONTENT) // 2])
            if behaviour == "reset":
                # Closing with a zero linger time sends a reset instead of an orderly end.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
                )
                self.wfile.flush()
                self.connection.close()
            return
        self.wfile.write(CONTENT[::-1] if behaviour == "wrong" else CONTENT)

    def log_message(self, *_):
        """Keeps quiet: the tests look at stderr."""


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server in the place of the release page, and an empty cache."""
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr(published, "RELEASE", f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setitem(published.PUBLISHED, "mn10_as", ("mn10.pt", DIGEST))
        yield running
        running.shutdown()
        thread.join()


def _cached(tmp_path) -> list[str]:
    folder = tmp_path / "qvae_jax"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("behaviour", ["good", "unannounced"])
def test_a_file_is_downloaded_once_and_then_taken_from_the_cache(
    server, tmp_path, capfd, behaviour
):
    server.behaviour = behaviour
    path = published.fetch("mn10_as")
    assert path.read_bytes() == CONTENT
    assert published.fetch("mn10_as") == path
    assert server.num_requests == 1
    assert _cached(tmp_path) == ["mn10.pt"]
    assert capfd.readouterr() == ("", "")


def test_a_file_without_a_known_digest_is_taken_and_said_to_be(server, capfd, monkeypatch):
    monkeypatch.setitem(published.PUBLISHED, "mn10_as", ("mn10.pt", None))
    path = published.fetch("mn10_as")
    assert path.read_bytes() == CONTENT
    assert "No digest of mn10_as is known" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("wrong", f"the download of .* has sha256 .* instead of the published {DIGEST}"),
        ("cut", f"broke off after {len(CONTENT) // 2} of {len(CONTENT)} bytes: run this again"),
        ("reset", "cannot be downloaded"),
        ("absent", "cannot be downloaded .HTTP Error 404: Not Found."),
        ("garbage", "cannot be downloaded"),
    ],
)
def test_a_bad_download_is_an_error_that_leaves_the_cache_empty(
    server, tmp_path, behaviour, message
):
    server.behaviour = behaviour
    with pytest.raises(UserError, match=message) as caught:
        published.fetch("mn10_as")
    assert "/mn10.pt" in str(caught.value)
    assert _cached(tmp_path) == []
    server.behaviour = "good"
    assert published.fetch("mn10_as").read_bytes() == CONTENT


def test_without_a_server_the_error_says_how_to_do_it_by_hand(server, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setattr(published, "RELEASE", address)
        with pytest.raises(UserError) as caught:
            published.fetch("mn10_as")
    assert "cannot be downloaded" in str(caught.value)
    assert f"put it at {tmp_path / 'qvae_jax' / 'mn10.pt'}" in str(caught.value)
    assert _cached(tmp_path) == []


def test_a_damaged_file_in_the_cache_is_named_and_kept(server, tmp_path):
    path = published.fetch("mn10_as")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=f"{path} has sha256 .*remove it and run this again"):
        published.fetch("mn10_as")
    assert server.num_requests == 1 and path.exists()


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="file/qvae_jax.* cannot be written"):
        published.fetch("mn10_as")


def test_a_disk_that_fills_up_is_told_from_a_broken_connection(server, tmp_path, monkeypatch):
    class FullDisk:
        """A file that takes nothing."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def writelines(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(published, "open", lambda *_: FullDisk(), raising=False)
    with pytest.raises(UserError, match="cannot be written .No space left on device."):
        published.fetch("mn10_as")
    assert _cached(tmp_path) == []


def test_every_digest_known_is_a_sha256():
    digests = [digest for _, digest in published.PUBLISHED.values() if digest is not None]
    assert len(digests) == 2 and len(published.PUBLISHED) == 8
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)


def test_the_released_file_has_the_digest_known_here(shared_dir):
    file_name, digest = published.PUBLISHED["mn04_as"]
    path = shared_dir / "torch_checkpoints" / file_name
    if not path.is_file():
        pytest.skip(f"needs {path}")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_the_cache_lies_in_the_home_folder_unless_the_environment_says_otherwise(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert published.cache_folder() == tmp_path / ".cache" / "qvae_jax"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert published.cache_folder() == tmp_path / "elsewhere" / "qvae_jax"
