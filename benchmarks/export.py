"""`python -m benchmarks.export`: exported graphs beside the model they are made of.

    --only=agreement   how far sounds are apart, and latents, for every decoder, rows and lengths
    --only=curves      frames whose curves differ, on the sounds of --voices=FOLDER (repeatable)
    --only=exporting   seconds and memory of writing each format, in a process of its own
    --only=speed       one sound of 2.7 s and of 10 s by the model, StableHLO and onnxruntime, in turns

Models have mn04's encoder and decoders of full width, with weights drawn at random; --checkpoint or
--workdir takes another one for curves, exporting and speed.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

import qvae_jax
from benchmarks import timing
from qvae_jax.audio import controls, listing
from qvae_jax.audio.files import read_audio
from qvae_jax.exporting import onnx, stablehlo
from qvae_jax.exporting.reading import ExportedModel
from qvae_jax.generation.model import Model, load_model
from qvae_jax.models import stored
from qvae_jax.models.decoders import DECODERS, STEERED
from qvae_jax.models.qvae import QVAEConfig

WRITERS = {stablehlo.FORMAT: stablehlo.write, onnx.FORMAT: onnx.write}
RATE_HZ = 32_000
LENGTHS_S = (0.3, 2.7, 10.0)
BATCH_SIZES = (1, 3)
PARTS = (": sounds", ": latents")
# From where on a frame's curves count as another: dB, semitones, semitones, none.
TOLERANCES = np.array([0.1, 0.1, 0.1, 0.01])


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=(*TABLES, "one_export"), action="append", default=[])
    parser.add_argument("--voices", action="append", default=[], help="folder of imitations")
    parser.add_argument("--decoder", action="append", default=[], choices=tuple(DECODERS))
    parser.add_argument("--format", choices=tuple(WRITERS), help="of --only=one_export")
    parser.add_argument("--workdir")
    parser.add_argument("--checkpoint")
    parser.add_argument("--num_rounds", type=int, default=9)
    options = parser.parse_args()
    if options.only == ["one_export"]:
        _export_once(options)
        return
    for name in options.only or TABLES:
        TABLES[name](options)


def drawn(decoder_type: str) -> Model:
    """A model of full size that nothing has learnt, with latents as large as one that has."""
    config = QVAEConfig(encoder_width=0.4, decoder_type=decoder_type, standardise_features=True)
    given = stored.initial_variables(config, seed=0)
    normal = np.random.default_rng(0).standard_normal(config.latent_dim)
    given.params["mu_head.bias"] = normal.astype(np.float32)
    output = "decoder.output.kernel"
    model = Model(config, given)
    # Some decoders are as loud, before they have learnt, as to be 1 or -1 all the time.
    while output in given.params and np.abs(model.decode(normal[None])).max() > 0.9:
        given.params[output] = given.params[output] / 4
        model = Model(config, given)
    return model


def _model(options) -> Model:
    if options.workdir or options.checkpoint:
        return load_model(workdir=options.workdir, checkpoint=options.checkpoint)
    return drawn(STEERED)


def _read_back(model: Model, form: str, folder: str) -> ExportedModel:
    path = pathlib.Path(folder) / form
    WRITERS[form](model, path)
    return qvae_jax.load(path)


def voices(rows: int, duration_s: float) -> np.ndarray:
    """Gliding tones with some breath: float32 [rows, samples]."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    hz = 150 * (1.3 ** np.arange(rows))[:, None] * (1 + 0.2 * np.sin(5 * time_s))
    phase = 2 * np.pi * np.cumsum(hz, axis=1) / RATE_HZ
    tone = sum(np.sin(k * phase) / k for k in range(1, 6))
    breath = rng.standard_normal(tone.shape)
    return (0.2 * tone + 0.02 * breath).astype(np.float32)


def _agreement(options) -> None:
    print("apart, relative to the peak: sounds of one latent, latents of one voice")
    print(f"{'decoder':24}" + "".join(f"{form + part:>18}" for form in WRITERS for part in PARTS))
    for decoder_type in options.decoder or DECODERS:
        model = drawn(decoder_type)
        print(f"{decoder_type:24}", end="", flush=True)
        for form in WRITERS:
            with tempfile.TemporaryDirectory() as folder:
                graph = _read_back(model, form, folder)
                found = [
                    _apart(model, graph, rows, duration_s)
                    for rows in BATCH_SIZES
                    for duration_s in LENGTHS_S
                ]
            print("".join(f"{max(part):18.1e}" for part in zip(*found)), end="", flush=True)
            jax.clear_caches()
        print()


def _apart(model: Model, graph: ExportedModel, rows: int, duration_s: float) -> tuple[float, float]:
    """How far sounds are apart, of the graph's latents and, of a steered model, curves; and latents.

    Which curves a graph hears is another table.
    """
    waveform = voices(rows, duration_s)
    found = graph(waveform, RATE_HZ)
    silence = [(0, 0), (0, model.front_end.num_samples - waveform.shape[1])]
    mean, _ = model.posterior(np.pad(waveform, silence))
    of_latents = _relative(found["mean"], mean)
    seeds = np.tile([0, 1], (rows, 1))
    if not model.is_steered:
        wanted = model.decode(found["z"], seeds=seeds)
        return _relative(found["sound"], wanted), of_latents
    counts = found["num_frames"]
    given = {
        "curves_given": found["curves"],
        "curve_source": np.full((rows, 4), 2),
        "num_frames_given": counts,
    }
    found = graph(waveform, RATE_HZ, **given)
    curves = [of_one[:count] for of_one, count in zip(found["curves"], counts)]
    wanted = model.render(found["z"], curves, seeds=seeds)
    apart = (_relative(sound[: len(own)], own) for sound, own in zip(found["sound"], wanted))
    return max(apart), of_latents


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _curves(options) -> None:
    # Not at the top, as it compiles nothing that the other tables need.
    import soxr

    from qvae_jax.generation.voice import voice_of

    model = _model(options)
    names = [path for folder in options.voices for path in listing.list_audio_files(folder)[0]]
    print(f"{'frames whose curves differ, of sounds':40}{'frames':>8}", end="")
    print("".join(f"{name:>13}" for name in (*controls.NAMES, "any")))
    for form in WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            graph = _read_back(model, form, folder)
            differs = []
            for path in names:
                heard = read_audio(path, RATE_HZ)[: model.front_end.num_samples]
                found = graph(heard[None], RATE_HZ)
                count = int(found["num_frames"][0])
                own = voice_of(soxr.resample(heard, RATE_HZ, 22_050, quality="HQ")).curves
                if len(own) != count:
                    print(f"{path}: {count} frames instead of {len(own)}")
                    differs.append(np.ones((len(own), len(controls.NAMES)), bool))
                    continue
                differs.append(np.abs(found["curves"][0, :count] - own) > TOLERANCES)
        differs = np.concatenate(differs)
        shares = [*differs.mean(axis=0), differs.any(axis=1).mean()]
        print(f"{f'{form}, {len(names)} sounds':40}{len(differs):8}", end="")
        print("".join(f"{share:13.3%}" for share in shares), flush=True)


def _exporting(options) -> None:
    print(f"{'exporting':40}{'s':>8}{'peak MB':>10}{'files MB':>10}")
    for form in WRITERS:
        where = ["--workdir", options.workdir] if options.workdir else []
        where += ["--checkpoint", options.checkpoint] if options.checkpoint else []
        command = ["--only=one_export", f"--format={form}", *where]
        for _ in range(2):  # the first fills the cache of compiled programs
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.export", *command],
                capture_output=True,
                text=True,
                check=True,
            )
        print(done.stdout, end="", flush=True)


def _export_once(options) -> None:
    start = time.perf_counter()
    model = _model(options)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "out"
        WRITERS[options.format](model, path)
        seconds = time.perf_counter() - start
        size = sum(file.stat().st_size for file in path.iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.format:40}{seconds:8.1f}{peak:10.0f}{size / 2**20:10.1f}")


def _speed(options) -> None:
    model = _model(options)
    print(f"{'one sound, ms':40}{'ours':>8}" + "".join(f"{form:>12}" for form in WRITERS))
    with tempfile.TemporaryDirectory() as folder:
        graphs = {form: _read_back(model, form, folder) for form in WRITERS}
        for duration_s in LENGTHS_S:
            waveform = voices(1, min(duration_s, model.front_end.duration_s))
            programs = {"ours": lambda: model.generate(waveform[0], RATE_HZ)}
            for form, graph in graphs.items():
                programs[form] = lambda graph=graph: graph(waveform, RATE_HZ)
            seconds = timing.interleaved(programs, options.num_rounds)
            print(f"{f'a voice of {duration_s} s':40}{1e3 * seconds['ours']:8.0f}", end="")
            print("".join(f"{1e3 * seconds[form]:12.0f}" for form in WRITERS), flush=True)


TABLES = {
    "agreement": _agreement,
    "curves": _curves,
    "exporting": _exporting,
    "speed": _speed,
}


if __name__ == "__main__":
    main()
