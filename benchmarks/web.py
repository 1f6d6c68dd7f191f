"""`python -m benchmarks.web`: the exported page, computed in Chromium by onnxruntime-web.

The model has mn04's encoder and a decoder of full width, with weights drawn at random. The package file
of onnxruntime-web is that of the cache folder, where the first export puts it. Browser and this program
share the machine.

    export      seconds of writing the page, and its size
    loading     from the address to the page being ready
    latency     from the end of a recording to its sound playing, by the page's own marks
    agreement   how far the page's sounds are from the model's, given the same curves and noise
"""

import argparse
import functools
import http.server
import pathlib
import statistics
import tempfile
import threading
import time

import numpy as np

from benchmarks import serve
from benchmarks.export import LENGTHS_S, RATE_HZ, drawn, voices
from qvae_jax.audio.files import fit_length
from qvae_jax.exporting import web
from qvae_jax.generation.model import Model
from qvae_jax.models.decoders import DECODERS, STEERED

GOALS_S = {2.7: 1.0, 9.9: None}  # by how long the recording is
NUM_TAKES = 20
SIZE_GOAL_MB, EXPORT_GOAL_S, AGREEMENT_GOAL = 50.0, 60.0, 1e-4
ASKED = """
const [samples, rateHz] = arguments, done = arguments[arguments.length - 1];
import('./model.js').then((it) => it.sounds(
  { imitation: { samples: Float32Array.from(samples), rateHz }, like: null, curves: null, parameters: {} },
)).then(({ sounds: [{ samples, curves }] }) => done([[...samples], curves]));
"""


def main() -> None:
    """Prints each figure beside its goal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("latency", "agreement"))
    parser.add_argument("--decoder", action="append", default=[], choices=tuple(DECODERS))
    options = parser.parse_args()
    print("| measure | figure | goal |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        driver = serve.browser(folder)
        driver.set_script_timeout(600)
        try:
            if options.only in (None, "latency"):
                _latency(driver, folder)
            if options.only in (None, "agreement"):
                for decoder_type in options.decoder or DECODERS:
                    _agreement(driver, folder, decoder_type)
        finally:
            driver.quit()


def _opened(driver, model: Model, folder: pathlib.Path, name: str) -> tuple[float, float, float]:
    """Opens the page of a model; seconds of writing and of loading it, and its size in MB."""
    started_s = time.perf_counter()
    web.write(model, folder / name)
    written_s = time.perf_counter()
    handler = functools.partial(_Quiet, directory=str(folder / name))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked_s = time.perf_counter()
    driver.get(f"http://127.0.0.1:{server.server_port}/")
    serve.until(driver, "document.documentElement.dataset.ready === 'true'")
    ready_s = time.perf_counter()
    num_bytes = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
    return written_s - started_s, ready_s - asked_s, num_bytes / 1e6


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Keeps quiet, as the table is all that is printed."""


def _latency(driver, folder: pathlib.Path) -> None:
    export_s, ready_s, size_mb = _opened(driver, drawn(STEERED), folder, "page")
    serve.row("writing the page", f"{export_s:.1f} s", f"{EXPORT_GOAL_S:g} s")
    serve.row("its size", f"{size_mb:.1f} MB", f"{SIZE_GOAL_MB:g} MB")
    serve.row("from the address to the page being ready", f"{ready_s:.1f} s", "")
    for seconds, goal_s in GOALS_S.items():
        serve.taken(driver, seconds)  # what long sounds need is built once the page is there
        found = [serve.taken(driver, seconds) for _ in range(NUM_TAKES)]
        shown = f"{statistics.median(found):.2f} s ({min(found):.2f} to {max(found):.2f})"
        goal = "" if goal_s is None else f"{goal_s:g} s"
        serve.row(f"end of {seconds:g} s to sound, median of {NUM_TAKES}", shown, goal)


def _agreement(driver, folder: pathlib.Path, decoder_type: str) -> None:
    model = drawn(decoder_type)
    _opened(driver, model, folder, decoder_type)
    apart = max(_apart(driver, model, seconds) for seconds in LENGTHS_S)
    serve.row(f"{decoder_type}: apart, relative to the peak", f"{apart:.1e}", f"{AGREEMENT_GOAL:g}")


def _apart(driver, model: Model, seconds: float) -> float:
    [waveform] = voices(1, seconds)
    samples, curves = driver.execute_async_script(ASKED, waveform.tolist(), RATE_HZ)
    mean, _ = model.posterior(fit_length(waveform, model.front_end.num_samples)[None])
    how = {"seeds": np.array([[0, 1]])}  # of the noise that lies beside the page
    if model.is_steered:
        [wanted] = model.render(mean, [np.array(curves, np.float32)], **how)
    else:
        [wanted] = model.decode(mean, **how)
    return float(np.abs(np.array(samples) - wanted).max() / np.abs(wanted).max())


if __name__ == "__main__":
    main()
