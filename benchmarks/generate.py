"""`python -m benchmarks.generate`: one sound from a warm process, a cold command, and a thousand.

The model is mn10, `original-plus` and a latent of 64, with weights drawn at random. Beside the wall
clock stands the time that the cores were busy, which says more on a machine that others use.

    warm      Model.generate of 10 s at 44,100 Hz; its parts, timed in turns with it
    command   `main.py --mode=generate` of one file, with an empty and with a full compilation
              cache, and the phases of the same work in a fresh process
    many      one command for many files of a stand-in for VimSketch; its peer, right before and
              after it, reads the same files and runs the compiled model on as many batches
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from qvae_jax.system import memory

# Heavy modules are imported where they are needed, so that --phases can time that.

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
IMITATION_S, IMITATION_RATE_HZ = 10.0, 44_100
WARM_GOAL_MS, COMMAND_GOAL_S, COMPILING_GOAL_S = 120, 12, 6
COMPILED = "/jax/core/compile/backend_compile_duration"  # sent also where the cache is read instead


def main() -> None:
    """Prints each part's figures and goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default="warm,command,many")
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds of warm; command takes a fifth of them"
    )
    parser.add_argument("--num_imitations", type=int, default=1000, help="files of many")
    parser.add_argument("--phases", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phases:
        print(json.dumps(_phases(*given.phases)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        _write_model(folder / "model")
        _write_imitation(folder / "hum.wav")
        if "warm" in given.parts:
            _print_warm(folder, given.rounds)
        if "command" in given.parts:
            _print_command(folder, max(1, given.rounds // 5))
        if "many" in given.parts:
            _print_many(folder, given.num_imitations)


def _print_warm(folder: pathlib.Path, num_rounds: int) -> None:
    import jax
    import numpy as np
    import soundfile
    import soxr

    from benchmarks import timing
    from qvae_jax.audio.logmel import log_mel
    from qvae_jax.generation.model import load

    model = load(folder / "model")
    imitation, rate_hz = soundfile.read(folder / "hum.wav", dtype="float32")
    front_end = model.front_end
    resample = functools.partial(soxr.resample, imitation, rate_hz, front_end.sample_rate_hz, "HQ")
    waveforms = resample()[None, : front_end.num_samples]
    mu, _ = model.posterior(waveforms)
    compute_logmel = jax.jit(lambda waveforms: log_mel(waveforms, front_end))
    programs = {
        "generate": lambda: model.generate(imitation, rate_hz),
        "reading the file": lambda: soundfile.read(folder / "hum.wav", dtype="float32"),
        "resampling": resample,
        "log-mel": lambda: np.asarray(compute_logmel(waveforms)),
        "log-mel and encoder": lambda: model.features(waveforms),
        "heads": lambda: model.heads(model_features),
        "decoder": lambda: model.decode(mu),
    }
    model_features = model.features(waveforms)
    wall_s = timing.interleaved({n: _waited(p) for n, p in programs.items()}, num_rounds)
    core_s = {name: _core_seconds(program, num_rounds) for name, program in programs.items()}
    print(f"warm: medians of {num_rounds} rounds; wanted: at most {WARM_GOAL_MS} ms for generate")
    for name in programs:
        print(f"  {name:24}{1e3 * wall_s[name]:8.1f} ms, {1e3 * core_s[name]:8.1f} ms of cores")
    named = sum(wall_s[n] for n in ("resampling", "log-mel and encoder", "heads", "decoder"))
    print(f"  {'the rest of generate':24}{1e3 * (wall_s['generate'] - named):8.1f} ms")


def _print_command(folder: pathlib.Path, num_rounds: int) -> None:
    command = _command(folder, folder / "hum.wav", folder / "out")
    print(
        f"command: wanted: at most {COMMAND_GOAL_S} s with a full cache, and at most "
        f"{COMPILING_GOAL_S} s of compiling with an empty one"
    )
    runs = {"empty cache": [], "full cache": []}
    for number in range(num_rounds):
        cache = folder / f"cache{number}"
        for name in runs:
            runs[name].append(_run(command, cache))
    for name, taken in runs.items():
        wall_s, core_s = map(statistics.median, zip(*taken))
        print(f"  {name:24}{wall_s:8.2f} s, {core_s:8.2f} s of cores")
    for name, cache in (("empty", folder / "another cache"), ("full", folder / "another cache")):
        phases = [sys.executable, "-m", "benchmarks.generate", "--phases"]
        phases += [str(folder / "model"), str(folder / "hum.wav")]
        found = subprocess.run(
            phases, env=_environment(cache), cwd=REPOSITORY, stdout=subprocess.PIPE, check=True
        )
        print(f"  phases, {name} cache, s of wall clock and of cores:")
        for phase, (wall_s, core_s) in json.loads(found.stdout).items():
            print(f"    {phase:40}{wall_s:8.2f}{core_s:8.2f}")


def _phases(checkpoint: str, imitation: str) -> dict[str, tuple[float, float]]:
    """The phases of a command, in order: seconds of wall clock and of cores, by name."""
    found = {}

    @contextlib.contextmanager
    def phase(name: str) -> Iterator[None]:
        start = time.perf_counter(), time.process_time()
        yield
        found[name] = time.perf_counter() - start[0], time.process_time() - start[1]

    with phase("importing JAX, Flax, Orbax"):
        import flax.nnx  # noqa: F401
        import jax
        import orbax.checkpoint  # noqa: F401
    compiled_s = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled_s.append(seconds) if event == COMPILED else None
    )
    with phase("importing the rest"):
        import numpy as np
        import scipy.io.wavfile  # noqa: F401

        from qvae_jax import command_line  # noqa: F401
        from qvae_jax.audio.files import fit_length
        from qvae_jax.audio.windows import read_window
        from qvae_jax.generation import finishing
        from qvae_jax.generation.model import load_model
        from qvae_jax.generation.requests import Finish
        from qvae_jax.modes import generate  # noqa: F401
        from qvae_jax.system import compilation_cache

        compilation_cache.use_compilation_cache()
    with phase("restoring the checkpoint"):
        model = load_model(checkpoint=checkpoint)
    front_end = model.front_end
    with phase("reading"):
        rate_hz = front_end.sample_rate_hz
        heard = read_window(imitation, rate_hz, start_s=0.0, window_s=front_end.duration_s)
        waveforms = fit_length(heard, front_end.num_samples)[None]
    with phase("encoder, the first time"):
        features = model.features(waveforms)
    with phase("heads, the first time"):
        mu, _ = model.heads(features)
    with phase("decoder, the first time"):
        audio = model.decode(mu)
    with phase("generating, the second time"):
        audio = model.decode(model.posterior(waveforms)[0])
    with phase("encoding the file"), tempfile.TemporaryDirectory() as folder:
        finish = finishing.with_rate(finishing.checked(Finish()), model.sample_rate_hz)
        finishing.write(pathlib.Path(folder) / "sound.wav", np.asarray(audio[0]), finish)
    found["XLA alone: compiling or loading"] = sum(compiled_s), float("nan")
    return found


def _print_many(folder: pathlib.Path, num_imitations: int) -> None:
    from benchmarks.stand_in import write_stand_in
    from qvae_jax.data.vimsketch import IMITATIONS_FOLDER

    write_stand_in(folder / "stand_in", num_imitations)
    inputs = folder / "stand_in" / IMITATIONS_FOLDER
    cache = folder / "cache of many"
    one = sorted(inputs.iterdir())[: _batch_size()]
    few = folder / "few"
    few.mkdir()
    for path in one:
        os.link(path, few / path.name)
    _run(_command(folder, few, folder / "out few"), cache)  # so that nothing is left to compile
    measured = [_bare(folder / "model", inputs)]
    wall_s, core_s = _run(_command(folder, inputs, folder / "out many"), cache)
    measured.append(_bare(folder / "model", inputs))
    bare_wall_s, bare_core_s = (statistics.mean(taken) for taken in zip(*measured))
    print(f"many: {num_imitations} files, wanted: a ratio of at least 1")
    for name, seconds, cores in (
        ("one command", wall_s, core_s),
        ("bare model and reading", bare_wall_s, bare_core_s),
    ):
        print(
            f"  {name:24}{num_imitations / seconds:8.1f} sounds/s, "
            f"{1e3 * cores / num_imitations:8.1f} ms of cores for each"
        )
    print(f"  {'ratio of the rates':24}{bare_wall_s / wall_s:8.2f}")


def _bare(checkpoint: pathlib.Path, inputs: pathlib.Path) -> tuple[float, float]:
    """Seconds of wall clock and of cores: reading all files, then the model on as many inputs."""
    import numpy as np

    from qvae_jax.audio.files import read_audio
    from qvae_jax.generation.model import load

    model = load(checkpoint)
    front_end, size = model.front_end, _batch_size()
    paths = sorted(inputs.iterdir())
    waveforms = np.zeros((size, front_end.num_samples), np.float32)
    model.decode(model.posterior(waveforms)[0])
    start = time.perf_counter(), time.process_time()
    for path in paths:
        read_audio(path, front_end.sample_rate_hz, max_duration_s=front_end.duration_s)
    for _ in range(-(-len(paths) // size)):
        model.decode(model.posterior(waveforms)[0])
    return time.perf_counter() - start[0], time.process_time() - start[1]


def _batch_size() -> int:
    from qvae_jax.generation.model import BATCH_SIZE

    return BATCH_SIZE


def _command(folder: pathlib.Path, inputs: pathlib.Path, output_dir: pathlib.Path) -> list[str]:
    return [
        sys.executable,
        "main.py",
        "--mode=generate",
        f"--checkpoint={folder / 'model'}",
        f"--inputs={inputs}",
        f"--output_dir={output_dir}",
        "--existing=replace",  # what the round before wrote
    ]


def _run(command: list[str], cache: pathlib.Path) -> tuple[float, float]:
    """Seconds of wall clock and of cores that a command takes with this compilation cache."""
    start_s, start_core_s = time.perf_counter(), _children_core_s()
    subprocess.run(
        command, env=_environment(cache), cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start_s, _children_core_s() - start_core_s


def _environment(cache: pathlib.Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cache)}


def _children_core_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _core_seconds(program: Callable[[], object], num_rounds: int) -> float:
    """Seconds that all cores spend on one call, on average."""
    start_s = time.process_time()
    for _ in range(num_rounds):
        _waited(program)()
    return (time.process_time() - start_s) / num_rounds


def _waited(program: Callable[[], object]) -> Callable[[], None]:
    """The program without its result, which timing would wait for as JAX arrays."""

    def run() -> None:
        program()

    return run


def _write_model(folder: pathlib.Path) -> None:
    import numpy as np

    from qvae_jax.models import stored, variables
    from qvae_jax.models.qvae import QVAE, QVAEConfig

    config = QVAEConfig(encoder_width=1.0, latent_dim=64, decoder_type="original-plus")
    _, drawn = variables.split(QVAE(config, rng=np.random.default_rng(0)))
    description = {"kind": "qvae", "model": dataclasses.asdict(config)}
    with contextlib.redirect_stdout(io.StringIO()):
        stored.save_model(folder, description, drawn)


def _write_imitation(path: pathlib.Path) -> None:
    """A decaying tone in noise."""
    import numpy as np
    import soundfile

    time_s = np.arange(round(IMITATION_S * IMITATION_RATE_HZ)) / IMITATION_RATE_HZ
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    samples = 0.4 * np.sin(2 * np.pi * 200 * time_s) * np.exp(-time_s) + 0.05 * noise
    soundfile.write(path, samples, IMITATION_RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    memory.restart_with_huge_pages()  # as main.py does
    main()
