"""Downloads from a server on this machine that behaves well or badly."""

import hashlib
import os
import re
import shutil
import socket
import urllib.request

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import local_server
import waiting
from qvae_jax.system import fetch, files
from qvae_jax.system.errors import UserError

CONTENT = bytes(range(256)) * 5000  # several blocks
OTHER = CONTENT[::-1]
SIZE = len(CONTENT)
SILENCE_S = 1.0
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with local_server.running() as running:
        patient = running.patient(urllib.request.urlopen)
        monkeypatch.setattr(urllib.request, "urlopen", patient)
        running.contents["/file.bin"] = CONTENT
        yield running


def fetched(server, path, num_attempts=1, **options) -> bytes:
    """What arrives at the path, in so many attempts without a pause."""
    pauses_s = (0.0,) * (num_attempts - 1)
    fetch.fetch_file(server.url(), path, timeout_s=SILENCE_S, pauses_s=pauses_s, **options)
    return path.read_bytes()


@pytest.mark.parametrize("behaviour", ["good", "unannounced", "chunked", "no_ranges"])
@pytest.mark.parametrize(
    "known", [{}, {"size": SIZE}, {"checksum": MD5}, {"size": SIZE, "checksum": SHA256.upper()}]
)
def test_a_file_arrives_whole_and_is_not_fetched_again(server, tmp_path, capfd, behaviour, known):
    if "checksum" in known:
        algorithm, _, digest = known["checksum"].partition(":")
        known = known | {"checksum": f"{algorithm.lower()}:{digest}"}
    server.behaviours = [behaviour]
    path = tmp_path / "new folder" / "file.bin"
    assert fetched(server, path, **known) == CONTENT
    assert fetched(server, path, **known) == CONTENT
    assert len(server.requests) == 1 and os.listdir(path.parent) == ["file.bin"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cut", ["cut", "reset"])
@pytest.mark.parametrize("num_attempts", [1, 4])
def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path, cut, num_attempts):
    """In one call that tries again, or in a call for each attempt."""
    server.behaviours = [cut, cut, cut]
    path = tmp_path / "file.bin"
    server.before_reset = lambda: waiting.until(files.part_of(path).exists)
    for _ in range(4 // num_attempts - 1):
        with pytest.raises(UserError, match="file.bin cannot be downloaded.*run this again"):
            fetched(server, path)
        assert sorted(os.listdir(tmp_path)) == ["file.bin.part", "file.bin.part.json"]
    assert fetched(server, path, num_attempts) == CONTENT
    assert os.listdir(tmp_path) == ["file.bin"]
    starts = [0 if asked is None else int(asked[6:-1]) for asked in server.ranges()]
    assert len(starts) == 4 and starts == sorted(starts)
    # A reset throws away what was received but not yet read.
    assert cut == "reset" or len(set(starts)) == 4
    assert server.requests[-1]["If-Range"] == '"first"'


def test_attempts_that_bring_something_new_are_not_counted(server, tmp_path):
    server.behaviours = ["cut"] * 6
    assert fetched(server, tmp_path / "file.bin", num_attempts=2) == CONTENT


def test_pauses_grow_and_are_told_of(server, tmp_path, monkeypatch, capsys):
    pauses = []
    monkeypatch.setattr(fetch.time, "sleep", pauses.append)
    server.behaviours = [500] * 20
    with pytest.raises(UserError, match="HTTP Error 500.*: run this again, or"):
        fetch.fetch_file(server.url(), tmp_path / "file.bin")
    assert pauses == list(fetch.PAUSES_S) == sorted(set(pauses)) and 30 <= sum(pauses) <= 120
    assert capsys.readouterr().out.count("trying again in") == len(pauses)


def test_a_host_that_is_not_found_is_said_plainly(capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserError, match="cannot be read .[^<>]*(known|resol)[^<>]*.$"):
        fetch.read_json("http://nowhere.invalid/record", pauses_s=())


@pytest.mark.parametrize("passing", [500, 503, 429, "hang", "garbage"])
def test_a_passing_trouble_passes(server, tmp_path, passing):
    server.behaviours = [passing]
    assert fetched(server, tmp_path / "file.bin", 2) == CONTENT


@pytest.mark.parametrize(
    ("behaviours", "known", "message"),
    [
        ([404], {}, "HTTP Error 404.*put it at .*/file.bin"),
        ([403], {}, "HTTP Error 403"),
        (["hang", "hang"], {}, "timed out.*run this again"),
        (["garbage", "garbage"], {}, r"downloaded \(.*no HTTP at all\): run this again, or"),
        (["cut", 500, 500], {}, f"to go on from byte {SIZE // 2}, or fetch it"),
        (["good"], {"size": SIZE + 1}, f"announces {SIZE} bytes instead of {SIZE + 1}"),
        (["unannounced"], {"size": SIZE - 1}, f"{SIZE} of {SIZE - 1} bytes|of {SIZE - 1}"),
        (["good"], {"checksum": "md5:" + "0" * 32}, "download of .* has md5 .* instead of the"),
        (["gzip"], {}, "arrives encoded as gzip"),
        (["cut", "wrong_range"], {}, "answers with the part 'bytes .*remove .*part to start"),
        (["cut", "wrong_total"], {"size": SIZE}, "answers with the part|now has"),
        (["endless_416"], {}, "HTTP Error 416"),
    ],
)
def test_what_cannot_be_had_is_one_line_and_no_file(server, tmp_path, behaviours, known, message):
    server.behaviours = behaviours
    path = tmp_path / "file.bin"
    with pytest.raises(UserError, match=message) as caught:
        fetched(server, path, num_attempts=2, **known)
    assert server.url() in str(caught.value) and "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("known", [{}, {"checksum": "md5:" + hashlib.md5(OTHER).hexdigest()}])
def test_a_file_that_changed_between_calls_is_fetched_from_the_beginning(server, tmp_path, known):
    server.behaviours = ["cut"]
    path = tmp_path / "file.bin"
    with pytest.raises(UserError):
        fetched(server, path, **known)
    server.etag, server.contents["/file.bin"] = '"second"', OTHER
    assert fetched(server, path, num_attempts=2, **known) == OTHER


def test_a_server_that_heeds_no_guard_is_seen_through_by_its_etag(server, tmp_path, monkeypatch):
    server.behaviours = ["cut"]
    path = tmp_path / "file.bin"
    with pytest.raises(UserError):
        fetched(server, path)
    server.etag, server.contents["/file.bin"] = '"second"', OTHER
    monkeypatch.setattr(
        local_server._Handler,
        "_asked_start",
        lambda self, _: int(self.headers.get("Range", "bytes=0-")[6:-1]),
    )
    assert fetched(server, path, num_attempts=2) == OTHER


def test_a_file_that_became_shorter_is_fetched_from_the_beginning(server, tmp_path):
    server.behaviours = ["cut"]
    path = tmp_path / "file.bin"
    with pytest.raises(UserError):
        fetched(server, path)
    server.contents["/file.bin"] = CONTENT[:1000]
    assert fetched(server, path, num_attempts=2) == CONTENT[:1000]


@pytest.mark.parametrize(("checksum", "starts_again"), [(None, True), (SHA256, False)])
def test_without_etag_only_a_checksum_lets_it_go_on(server, tmp_path, checksum, starts_again):
    server.etag = None
    server.behaviours = ["cut"]
    assert fetched(server, tmp_path / "file.bin", 2, checksum=checksum) == CONTENT
    assert (server.ranges()[1] is None) == starts_again


def test_a_mirror_goes_on_only_under_a_checksum(server, tmp_path):
    path = tmp_path / "file.bin"
    server.contents["/mirror.bin"] = CONTENT
    for checksum in (None, MD5):
        server.behaviours, server.requests = ["cut"], []
        with pytest.raises(UserError):
            fetched(server, path, checksum=checksum)
        fetch.fetch_file(server.url("/mirror.bin"), path, checksum=checksum)
        assert path.read_bytes() == CONTENT
        assert (server.ranges()[1] is None) == (checksum is None)
        path.unlink()


def test_a_part_that_is_whole_is_not_asked_for_again(server, tmp_path, monkeypatch):
    """As after a stop between the last byte and the renaming."""
    path = tmp_path / "file.bin"
    files.part_of(path).write_bytes(CONTENT)
    assert fetched(server, path, checksum=MD5, size=SIZE) == CONTENT
    assert server.requests == []
    path.unlink()
    files.part_of(path).write_bytes(CONTENT)
    assert fetched(server, path, checksum=MD5) == CONTENT  # the server answers 416
    assert server.ranges() == [f"bytes={SIZE}-"]


def test_a_damaged_download_is_dropped_and_fetched_anew(server, tmp_path):
    path = tmp_path / "file.bin"
    files.part_of(path).write_bytes(b"x" * 1000)
    with pytest.raises(UserError, match="has md5 .*: it is damaged; run this again"):
        fetched(server, path, checksum=MD5)
    assert os.listdir(tmp_path) == []
    assert fetched(server, path, checksum=MD5) == CONTENT


@pytest.mark.parametrize(
    ("known", "message"),
    [({"size": 3}, "instead of 3: .*remove it"), ({"checksum": MD5}, "has md5 .*remove it")],
)
def test_another_file_in_its_place_is_named_and_kept(server, tmp_path, known, message):
    path = tmp_path / "file.bin"
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match=f"{path} has.*{message}" if "size" in known else message):
        fetched(server, path, **known)
    assert path.read_bytes() == b"mine" and server.requests == []


def test_room_on_the_disk_is_looked_at_before_anything_is_written(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=SIZE - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match="0.00 GB free .*free some space"):
        fetched(server, tmp_path / "file.bin")
    assert not files.part_of(tmp_path / "file.bin").exists()


def test_a_disk_that_fills_up_is_told_from_a_broken_connection(server, tmp_path, monkeypatch):
    class FullDisk:
        """A file that takes nothing."""

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def seek(self, _):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "open", lambda *_: FullDisk(), raising=False)
    with pytest.raises(UserError, match="cannot be written .No space left on device."):
        fetched(server, tmp_path / "file.bin", num_attempts=3)
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "x.zip", "", "http://[x/y"])
def test_what_is_no_address_is_refused_at_once(tmp_path, url):
    with pytest.raises(UserError, match="address"):
        fetch.fetch_file(url, tmp_path / "file.bin")
    assert os.listdir(tmp_path) == []


def test_without_a_server_the_error_says_how_to_do_it_by_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file.bin"
        with pytest.raises(UserError, match=f"refused.*put it at {tmp_path / 'file.bin'}"):
            fetch.fetch_file(url, tmp_path / "file.bin", pauses_s=())


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"url": 3}', b"\xff"])
def test_a_damaged_note_beside_the_part_is_no_note(server, tmp_path, content):
    path = tmp_path / "file.bin"
    files.part_of(path).write_bytes(OTHER[:1000])
    (tmp_path / "file.bin.part.json").write_bytes(content)
    assert fetched(server, path) == CONTENT
    assert server.ranges() == [None]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    behaviours=st.lists(
        st.sampled_from(["cut", "reset", "no_ranges", "unannounced", "chunked", 500, "garbage"]),
        max_size=6,
    ),
    size=st.integers(0, 2000) | st.just(SIZE),
    checked=st.booleans(),
    num_attempts=st.integers(1, 3),
)
def test_whatever_happens_the_file_is_whole_in_the_end(
    tmp_path_factory, behaviours, size, checked, num_attempts
):
    content = CONTENT[:size]
    checksum = "sha256:" + hashlib.sha256(content).hexdigest() if checked else None
    path = tmp_path_factory.mktemp("fetched") / "file.bin"
    with pytest.MonkeyPatch.context() as patch, local_server.running() as server:
        patch.setenv("no_proxy", "*")
        patch.setattr(urllib.request, "urlopen", server.patient(urllib.request.urlopen))
        server.contents["/file.bin"], server.behaviours = content, list(behaviours)
        for _ in range(len(behaviours) + 1):
            with_error = False
            try:
                assert fetched(server, path, num_attempts, checksum=checksum) == content
                break
            except UserError as error:
                with_error = True
                assert re.search("run this again", str(error)) and not path.exists()
    assert not with_error and os.listdir(path.parent) == ["file.bin"]


@pytest.mark.parametrize(
    ("content", "behaviours", "message"),
    [
        (b"[1, 2]", [], None),
        (b"[1, 2]", [503], None),
        (b"<html>", [], "does not answer with JSON"),
        (b"\xff\xfe\x00", [], "does not answer with JSON"),
        (b"[1]", [404], "cannot be read .HTTP Error 404"),
        (b"[1]", [500, 500], "cannot be read .HTTP Error 500"),
    ],
)
def test_json_at_an_address(server, content, behaviours, message):
    server.contents["/record"], server.behaviours = content, behaviours

    def read():
        return fetch.read_json(server.url("/record"), timeout_s=SILENCE_S, pauses_s=(0.0,))

    if message is None:
        assert read() == [1, 2]
    else:
        with pytest.raises(UserError, match=message):
            read()
