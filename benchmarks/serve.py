"""`python -m benchmarks.serve`: the live page as a user and as many clients meet it.

The model is steered, of mn10 and full width, with weights drawn at random (--model=FOLDER another
one). Browser, server and this program share the machine.

    start     from the command to the printed address, with a full compilation cache
    latency   from the end of a recording to its sound playing, in Chromium, by the page's own marks
    clients   8 that send ten takes each at once: all answered, and in order of arrival
    memory    of the server's process, over 500 takes of several lengths
"""

import argparse
import contextlib
import http.client
import io
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator

import numpy as np
import scipy.io.wavfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
RATE_HZ = 48_000
LATENCY_GOALS_S = {2.7: 0.3, 10.0: 0.6}  # by how long the recording is
START_GOAL_S, MEMORY_GOAL_MB = 6.0, 50.0
NUM_TAKES, NUM_CLIENTS, TAKES_EACH, TAKES_FOR_MEMORY = 20, 8, 10, 500
MADE = "document.querySelectorAll('.take').length === {} && !document.querySelector('.take.busy')"


def main() -> None:
    """Prints each figure beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--only", choices=("latency", "clients", "memory"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = options.model or _drawn(folder / "model")
        with _served(model) as live:  # fills the compilation cache
            _settle(live)
        print("| measure | figure | goal |\n|---|---|---|")
        with _served(model) as live:
            row("start to page", f"{live.start_s:.1f} s", f"{START_GOAL_S:g} s")
            _settle(live)
            parts = {"latency": _latency, "clients": _clients, "memory": _memory}
            for name, part in parts.items():
                if options.only in (None, name):
                    part(live, folder)


def row(measure: str, figure: str, goal: str) -> None:
    """Prints a row of the table."""
    print(f"| {measure} | {figure} | {goal} |", flush=True)


class Live:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen, port: int, token: str, start_s: float):
        self.process, self.port, self.token, self.start_s = process, port, token, start_s

    def sound(self, body: bytes) -> bytes:
        """The answer to a recording; raises where it is no sound."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request("POST", "/api/sound", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {content[:200]}")
        return content

    @property
    def memory_mb(self) -> float:
        """What of the process lies in memory."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@contextlib.contextmanager
def _served(model: pathlib.Path) -> Iterator[Live]:
    which = "--workdir" if (model / "checkpoints").is_dir() else "--checkpoint"
    started_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "main.py", "--mode=serve", f"{which}={model}", "--port=0"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if found := re.search(r"http://127.0.0.1:(\d+)/#token=(\S+)", line):
                start_s = time.perf_counter() - started_s
                yield Live(process, int(found[1]), found[2], start_s)
                return
        raise RuntimeError("the server has ended")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _drawn(folder: pathlib.Path) -> pathlib.Path:
    import dataclasses

    from qvae_jax.models import stored
    from qvae_jax.models.qvae import QVAEConfig

    config = QVAEConfig(decoder_type="steered")
    description = {"kind": "qvae", "model": dataclasses.asdict(config)}
    stored.save_model(folder, description, stored.initial_variables(config, seed=0))
    return folder


def hum(seconds: float) -> np.ndarray:
    """A gliding tone at RATE_HZ."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (0.4 * np.sin(2 * np.pi * (180 + 20 * np.sin(2 * time_s)) * time_s)).astype(np.float32)


def _recording(seconds: float) -> bytes:
    file = io.BytesIO()
    scipy.io.wavfile.write(file, RATE_HZ, hum(seconds))
    return file.getvalue()


def _settle(live: Live) -> None:
    """Waits until the programs of all lengths are there."""
    for seconds in (2.7, 5.0, 10.0, 20.0, 40.0, 60.0):
        live.sound(_recording(seconds))


# --- Latency


def _latency(live: Live, folder: pathlib.Path) -> None:
    driver = browser(folder)
    try:
        driver.get(f"http://127.0.0.1:{live.port}/#token={live.token}")
        until(driver, "document.documentElement.dataset.ready === 'true'")
        for seconds, goal_s in LATENCY_GOALS_S.items():
            found = [taken(driver, seconds) for _ in range(NUM_TAKES)]
            shown = f"{statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})"
            row(f"end of {seconds:g} s to sound, median of {NUM_TAKES}", shown, f"{goal_s:g} s")
    finally:
        driver.quit()


def taken(driver, seconds: float) -> float:
    """Seconds from the end of a recording to its sound; the take is deleted."""
    driver.execute_script("performance.clearMarks(); document.getElementById('record').click()")
    clock = "Number.parseFloat(document.getElementById('clock').textContent)"
    until(driver, f"document.querySelector('.recording') && {clock} >= {seconds}")
    driver.execute_script("document.getElementById('record').click()")
    until(driver, MADE.format(1))
    marks = driver.execute_script(
        "return performance.getEntriesByType('mark').map(it => [it.name, it.startTime])"
    )
    driver.execute_script("document.querySelector('.take .head button:last-child').click()")
    until(driver, MADE.format(0))
    at_ms = dict(marks)
    return (at_ms["sound-playing"] - at_ms["recording-ended"]) / 1_000


def browser(folder: pathlib.Path):
    """Chromium with a hum for its microphone, whose file lies in a folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    microphone = folder / "microphone.wav"
    with wave.open(str(microphone), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((hum(20.0) * 32_767).astype("<i2").tobytes())
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "autoplay-policy=no-user-gesture-required",
        "use-fake-device-for-media-stream",
        "use-fake-ui-for-media-stream",
        f"use-file-for-fake-audio-capture={microphone}",
    ):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options, Service(shutil.which("chromedriver")))


def until(driver, script: str) -> None:
    """Waits until an expression is true."""
    while not driver.execute_script(f"return {script}"):
        time.sleep(0.01)


# --- Many


def _clients(live: Live, folder: pathlib.Path) -> None:
    """Each client sends its next take when it has the last one's sound."""
    body, ended_s, lock = _recording(2.7), {}, threading.Lock()
    begun_s = {}

    def client(number: int) -> None:
        for take in range(TAKES_EACH):
            with lock:
                begun_s[number, take] = time.perf_counter()
            live.sound(body)
            with lock:
                ended_s[number, take] = time.perf_counter()

    started_s = time.perf_counter()
    clients = [threading.Thread(target=client, args=(number,)) for number in range(NUM_CLIENTS)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    wanted, took_s = NUM_CLIENTS * TAKES_EACH, time.perf_counter() - started_s
    row(f"{NUM_CLIENTS} clients, answered", f"{len(ended_s)} in {took_s:.0f} s", f"{wanted}")
    came = sorted(begun_s, key=begun_s.get)
    left = {key: place for place, key in enumerate(sorted(ended_s, key=ended_s.get))}
    # Two that set out in the same millisecond may arrive either way.
    furthest = max(abs(place - left[key]) for place, key in enumerate(came))
    row("places by which an answer left the order of sending", str(furthest), "1")


def _memory(live: Live, folder: pathlib.Path) -> None:
    bodies = [_recording(seconds) for seconds in (0.5, 2.7, 4.0, 10.0)]
    for body in bodies * 5:
        live.sound(body)
    before_mb = live.memory_mb
    for number in range(TAKES_FOR_MEMORY):
        live.sound(bodies[number % len(bodies)])
    grown_mb = live.memory_mb - before_mb
    shown = f"{grown_mb:+.0f} MB from {before_mb:.0f} MB"
    row(f"memory over {TAKES_FOR_MEMORY} takes", shown, f"{MEMORY_GOAL_MB:g} MB")


if __name__ == "__main__":
    main()
