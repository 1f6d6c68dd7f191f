"""The interface, asked in this process: who may ask, what comes back, and what nothing breaks."""

import base64
import io
import json
import threading

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

pytest.importorskip("starlette", reason="needs the extra `serve`")
pytest.importorskip("python_multipart", reason="needs the extra `serve`")

import asgi
import steered_model
import waiting
from qvae_jax.live_page.facts import PAGE_FOLDER
from qvae_jax.serving import bodies, security
from qvae_jax.serving.application import application
from qvae_jax.serving.making import Maker
from qvae_jax.serving.model_thread import ModelThread
from qvae_jax.serving.security import Guard

TOKEN = "a-token"
OWN = {"Host": "127.0.0.1:8000", "Authorization": f"Bearer {TOKEN}"}
RATE_HZ = 16_000


def recording(seconds: float = 0.5) -> bytes:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    file = io.BytesIO()
    tone = (0.4 * np.sin(2 * np.pi * 200 * time_s)).astype(np.float32)
    scipy.io.wavfile.write(file, RATE_HZ, tone)
    return file.getvalue()


@pytest.fixture(scope="module")
def thread():
    thread = ModelThread()
    yield thread
    assert thread.stop(waiting.HANG_S)


@pytest.fixture(scope="module")
def page(thread, tmp_path_factory):
    """The whole application, as it is served at the loopback address."""
    maker = Maker(steered_model.model(), tmp_path_factory.mktemp("sent"))
    names = security.names_of("127.0.0.1")
    return Guard(application(maker, thread), names=names, token=TOKEN)


def asked_for_a_sound(page, body=None, query=b"", **headers):
    body = recording() if body is None else body
    return asgi.asked(page, "POST", "/api/sound", headers=OWN | headers, query=query, body=body)


# --- What comes back


def test_a_recording_is_answered_with_a_sound_file(page):
    answer = asked_for_a_sound(page)
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/wav")
    samples, rate_hz = soundfile.read(io.BytesIO(answer.body))
    assert rate_hz == 22_050 and len(samples) == 46 * 243 and np.abs(samples).max() > 0


def test_several_sounds_and_curves_come_as_json(page):
    kind, body = asgi.form({"imitation": recording(), "sounds_like": recording(0.3)})
    headers = {"Content-Type": kind, "Accept": "application/json"}
    answer = asked_for_a_sound(page, body, b"variations=2&temperature=1", **headers)
    found = json.loads(answer.body)
    assert (answer.status, found["sample_rate_hz"], found["notes"]) == (200, 22_050, [])
    first, second = [base64.b64decode(sound["file"]) for sound in found["sounds"]]
    assert first[:4] == b"RIFF" and first != second
    assert np.shape(found["sounds"][0]["curves"]) == (46, 4)
    refused = asked_for_a_sound(page, query=b"variations=2&temperature=1")
    assert refused.status == 406 and "Accept: application/json" in refused.error


def test_the_model_is_described(page):
    answer = asgi.asked(page, "GET", "/api/model", headers=OWN)
    found = json.loads(answer.body)
    assert (found["is_steered"], found["sample_rate_hz"], found["longest_s"]) == (True, 22_050, 60)
    assert found["curves"]["header"][0] == "time_s"


def test_every_file_of_the_page_is_served_and_nothing_else(page):
    names = sorted(path.name for path in PAGE_FOLDER.iterdir())
    assert "index.html" in names and "main.js" in names
    for name in names:
        path = "/" if name == "index.html" else f"/{name}"
        answer = asgi.asked(page, "GET", path, headers={"Host": "localhost:8000"})
        assert answer.status == 200 and answer.body == (PAGE_FOLDER / name).read_bytes()
    for path in ("/index.html", "/page.css/", "/../application.py", "/..%2fapplication.py",
                 "//etc/passwd", "/page/main.js", "/main.js\0", "/%2e%2e/security.py"):  # fmt: skip
        assert asgi.asked(page, "GET", path, headers=OWN).status in (404, 307), path


def test_answers_let_a_browser_do_nothing_but_what_the_page_needs(page):
    for path in ("/", "/api/model", "/nothing"):
        headers = asgi.asked(page, "GET", path, headers=OWN).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in policy and "http" not in policy and "data:" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


# --- Who may ask


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "LOCALHOST:9000"}, 200),  # as of a tunnel to another port
        ({"Host": "[::1]:8000"}, 200),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8000"}, 403),
        ({"Host": "192.168.0.7:8000"}, 403),
        ({"Host": "127.0.0.1:8000@evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "https://127.0.0.1:8000"}, 403),
        ({"Origin": "http://127.0.0.1:8001"}, 403),
        ({"Origin": "null"}, 403),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer another"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/api/model", "/api/sound"])
def test_only_the_own_page_and_who_has_the_token_is_answered(page, path, headers, status):
    method = "GET" if path.endswith("model") else "POST"
    answer = asgi.asked(page, method, path, headers=OWN | headers, body=recording())
    assert answer.status == status, answer.body
    if status != 200:
        assert answer.error.endswith(".") and TOKEN.encode() not in answer.body


def test_a_server_of_a_network_is_known_by_addresses_but_by_no_strangers_name():
    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    names = security.names_of("0.0.0.0")
    guard = Guard(inside, names=names, token=TOKEN, addresses=True)
    for host, status in {
        "192.168.0.7:8000": 204,
        "[fe80::1]:8000": 204,
        "evil.example": 403,
    }.items():
        assert asgi.asked(guard, "GET", "/", headers={"Host": host}).status == status


# --- What is refused


@pytest.mark.parametrize(
    ("body", "query", "said"),
    [
        (b"", b"", "holds no imitation"),
        (b"hello", b"", "The imitation is a text"),
        (None, b"colour=red", "'colour' is no parameter"),
        (None, b"temperature=hot", "temperature is 'hot'"),
        (None, b"curves=/etc/passwd", "'curves' is no parameter"),
    ],
)
def test_a_mistake_costs_a_400_and_the_readers_one_line(page, body, query, said):
    answer = asked_for_a_sound(page, body, query)
    assert answer.status == 400 and said in answer.error and "\n" not in answer.error


@pytest.mark.parametrize(
    "parts",
    [
        {"imitation": b"", "colour": b"red"},
        {"sounds_like": recording()},
        {f"imitation{number}": b"" for number in range(20)},
    ],
)
def test_a_form_holds_what_it_may_and_nothing_else(page, parts):
    kind, body = asgi.form(parts)
    assert asked_for_a_sound(page, body, **{"Content-Type": kind}).status == 400


def test_bodies_that_are_too_long_are_refused_announced_or_not(page, monkeypatch):
    monkeypatch.setattr(bodies, "MOST_BYTES", 1_000)
    assert asked_for_a_sound(page, b"x", **{"Content-Length": str(2**30)}).status == 413
    assert asked_for_a_sound(page, b"x", **{"Content-Length": "-1"}).status == 413
    assert asked_for_a_sound(page, bytes(1_001)).status == 413


def test_more_bodies_than_fit_at_once_are_told_to_come_again(thread, tmp_path, monkeypatch):
    monkeypatch.setattr(bodies.Bodies.__init__, "__defaults__", (1_000,))
    small = application(Maker(steered_model.model(), tmp_path), thread)
    for _ in range(2):  # its room is given back
        answer = asgi.asked(small, "POST", "/api/sound", headers=OWN, body=bytes(1_001))
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 0


def test_a_full_queue_is_told_to_come_again(tmp_path):
    go, begun = threading.Event(), threading.Event()
    thread = ModelThread(most_waiting=1)
    thread.submit(lambda: (begun.set(), go.wait()))
    assert begun.wait(waiting.HANG_S)
    thread.submit(int, "1")
    busy = application(Maker(steered_model.model(), tmp_path), thread)
    answer = asgi.asked(busy, "POST", "/api/sound", headers=OWN, body=recording())
    go.set()
    assert answer.status == 503 and answer.headers["retry-after"] == "2"
    assert answer.error == "Too many sounds are waiting: try again in 2 s."
    assert thread.stop(waiting.HANG_S)


def test_a_fault_of_the_server_is_told_to_who_runs_it_alone(thread, tmp_path, capfd):
    class Broken(Maker):
        def make(self, order):
            raise RuntimeError("a secret")

    broken = application(Broken(steered_model.model(), tmp_path), thread)
    with pytest.raises(RuntimeError):  # Starlette tells its server too
        asgi.asked(broken, "POST", "/api/sound", headers=OWN, body=recording())
    assert "RuntimeError: a secret" in capfd.readouterr().err


# --- Mutated


def mutated(rng: np.random.Generator) -> tuple[bytes, bytes, dict[str, str]]:
    """A body, a query and headers, of which one or two are damaged."""
    kind, body = asgi.form({"imitation": recording(0.2), "curves": curves()})
    headers = {"Content-Type": kind}
    if rng.integers(2):
        headers, body = {"Content-Type": "audio/wav"}, recording(0.2)
    query = b"temperature=0.5&transpose=3&seed=4"
    which = rng.integers(4)
    if which == 0:
        body = damaged(body, rng)
    elif which == 1:
        body = damaged(body[:200], rng) + body[200:]  # where headers are
    elif which == 2:
        query = damaged(query, rng)
    else:
        kind = damaged(headers["Content-Type"].encode(), rng)
        headers = {"Content-Type": kind.decode("latin-1")}
    return body, query, headers


def curves() -> bytes:
    lines = [f"{0.0055 + 0.011 * frame:.4f},-20,83,57,0.9" for frame in range(20)]
    head = "time_s,loudness_db,centroid_semitones,pitch_semitones,periodicity"
    return "\n".join([head, *lines]).encode()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, taken out, doubled or cut off."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(rng.integers(max(1, len(content))))
        how = rng.integers(4)
        if how == 0:
            content[at : at + 1] = bytes([rng.integers(256)])
        elif how == 1:
            del content[at : at + int(rng.integers(1, 40))]
        elif how == 2:
            content[at:at] = content[at : at + int(rng.integers(1, 40))]
        else:
            content[at : at + 4] = rng.bytes(4)
    return bytes(
        content[: int(rng.integers(len(content) + 1))] if rng.integers(8) == 0 else content
    )


def test_300_mutated_requests_get_a_sound_or_a_line_and_never_a_500(page, capfd):
    rng = np.random.default_rng(0)
    statuses = []
    for number in range(300):
        body, query, headers = mutated(rng)
        answer = asked_for_a_sound(page, body, query, **headers)
        statuses.append(answer.status)
        assert answer.status == 200 or 400 <= answer.status < 500, (number, answer)
        if answer.status != 200:
            assert "\n" not in answer.error, number
    assert 30 < statuses.count(200) < 270  # neither all harmless nor all noticed
    assert capfd.readouterr().err == ""
