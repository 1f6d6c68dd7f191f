"""The server as a process: clients that behave badly, many at once, and an end within two seconds."""

import contextlib
import errno
import http.client
import io
import json
import re
import socket
import threading
import time

import numpy as np
import pytest
import scipy.io.wavfile

for module in ("starlette", "uvicorn", "python_multipart"):
    pytest.importorskip(module, reason="needs the extra `serve`")

import live_server
import steered_model
import waiting

RATE_HZ = 16_000
ANSWERS_WITHIN_S = 1.0
BUSY = 10  # how much slower this machine may be than an idle one


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    folder = tmp_path_factory.mktemp("running")
    with live_server.running(steered_model.write(folder / "model"), folder) as live:
        live.asked("POST", "/api/sound", recording(0.2))  # what later answers need is loaded
        yield live


def recording(seconds: float, hz: float = 200.0) -> bytes:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    file = io.BytesIO()
    tone = (0.4 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    scipy.io.wavfile.write(file, RATE_HZ, tone)
    return file.getvalue()


def assert_answers(live) -> None:
    """The page answers, and within a second where the machine does nothing else."""
    started_s = time.monotonic()
    assert live.asked("GET", "/")[0] == 200
    assert time.monotonic() - started_s < ANSWERS_WITHIN_S * BUSY


def connected(live) -> socket.socket:
    return socket.create_connection(("127.0.0.1", live.port), timeout=waiting.HANG_S)


def test_the_address_is_of_this_machine_alone_and_has_a_token(live):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", live.address)
    assert live.asked("GET", "/api/model", headers={})[0] == 401
    assert live.asked("GET", "/api/model")[0] == 200


def test_a_thousand_connections_that_say_nothing_keep_nobody_out(live):
    with contextlib.ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(connected(live))
        assert_answers(live)
        assert live.asked("POST", "/api/sound", recording(0.2))[0] == 200
    assert_answers(live)


def test_heads_and_bodies_that_come_byte_by_byte_keep_nobody_out_and_are_cut(live):
    head = b"POST /api/sound HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"
    head = head % live.token.encode()
    with connected(live) as slow_head, connected(live) as slow_body:
        slow_head.sendall(head)
        slow_body.sendall(head + b"Content-Length: 1000\r\n\r\n")
        assert_answers(live)
        deadline_s = time.monotonic() + waiting.HANG_S
        answers = {slow_head: b"", slow_body: b""}
        for client in answers:
            client.settimeout(0.2)
            with contextlib.suppress(OSError):  # cut
                while time.monotonic() < deadline_s:
                    client.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        received = client.recv(65_536)
                        answers[client] += received
                        if not received:
                            break
        assert time.monotonic() < deadline_s
        assert answers[slow_head] == b""
        assert b"408" in answers[slow_body] and b"too slowly" in answers[slow_body]


def test_a_body_of_a_gigabyte_is_refused_before_it_is_read(live):
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=waiting.HANG_S)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/api/sound")
        for name, value in (live.authorised | {"Content-Length": str(2**30)}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413 and "too long" in json.loads(answer.read())["error"]
    assert_answers(live)


def end_of_requests(client: socket.socket) -> None:
    try:
        client.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # closed already, by a server that has refused
            raise


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /api/sound HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/sound HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: %s\r\n" % (b"a" * 200_000) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_no_request_of_ours_is_refused_or_closed(live, sent):
    received = b""
    with connected(live) as client, contextlib.suppress(ConnectionError):
        client.sendall(sent)
        end_of_requests(client)
        while part := client.recv(65_536):
            received += part
    assert b"root:" not in received
    if b"websocket" in sent:  # an ordinary answer, and no other protocol
        assert received.startswith(b"HTTP/1.1 200")
    else:
        assert received == b"" or re.match(rb"HTTP/1\.1 4\d\d", received), received[:80]
    assert_answers(live)


def test_clients_at_once_are_all_answered_each_with_its_own_sound(live):
    lengths_s = [0.1, 0.2, 0.3, 0.4]
    alone = {s: live.asked("POST", "/api/sound", recording(s))[2] for s in lengths_s}
    answers = {}

    def client(number: int) -> None:
        for take in range(4):
            length_s = lengths_s[(number + take) % len(lengths_s)]
            status, _, body = live.asked("POST", "/api/sound", recording(length_s))
            answers[number, take] = status == 200 and body == alone[length_s]

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert len(answers) == 32 and all(answers.values())


def test_who_leaves_before_the_answer_harms_nobody(live):
    body = recording(0.5)
    head = (
        f"POST /api/sound HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {live.token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for number in range(10):
        with connected(live) as client:
            client.sendall(head + body[: len(body) // (1 + number % 2)])
    assert live.asked("POST", "/api/sound", body)[0] == 200


def test_after_all_this_nothing_was_printed_and_it_ends_at_once_while_a_sound_is_made(live):
    printed = live.printed.read_text().splitlines()
    assert [line for line in printed if not line.startswith(("compiling", "open "))] == []
    body = recording(59.0)
    head = (
        f"POST /api/sound?variations=16&temperature=1 HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {live.token}\r\nAccept: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with connected(live) as client:
        client.sendall(head + body)
        assert_answers(live)
        started_s = time.monotonic()
        assert live.interrupt() == 0
        assert time.monotonic() - started_s < 2.0 * BUSY
    assert live.printed.read_text().splitlines()[-1] == "stopped"
