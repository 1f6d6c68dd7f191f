"""PyTorch checkpoints to port, rebuilt from the rules of the golden files."""

import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest

import golden_rules
import waiting
from filled import golden_layout
from qvae_jax.models import aisfx, mobilenet, samplecnn, variables
from weight_port import names

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


class Finished(NamedTuple):
    """What one run of the command line left behind."""

    status: int
    out: str
    err: str


# The command line as a process that prints its peak memory in bytes and its seconds of CPU last. The
# peak is not getrusage's, which a child inherits from the process that started it.
MEASURED = (
    "-c",
    "import re, runpy, sys, time; sys.argv = ['weight_port', *sys.argv[1:]]\n"
    "try: runpy.run_module('weight_port', run_name='__main__')\n"
    "finally:\n"
    "    status = open('/proc/self/status').read()\n"
    "    peak_bytes = int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) * 1024\n"
    "    print(peak_bytes, time.process_time())",
)


class PortedFile(NamedTuple):
    """A checkpoint file, the model folder made of it, and what making it took."""

    path: pathlib.Path
    folder: pathlib.Path
    finished: Finished
    peak_bytes: int
    cpu_s: float


@pytest.fixture(scope="session")
def save_lightning():
    """save(path, arrays, config): writes arrays as the original's Lightning checkpoints are."""
    import torch

    def save(path, arrays, config):
        state_dict = {key: torch.as_tensor(array) for key, array in arrays.items()}
        content = {
            "state_dict": state_dict,
            "hyper_parameters": {"config": config},
            "pytorch-lightning_version": "2.5.0",
            "epoch": 3,
        }
        torch.save(content, path)
        return path

    return save


@pytest.fixture(scope="session")
def run_process():
    """run(*arguments): `python -m weight_port …` in a process of its own."""

    def run(*arguments, python_options=("-m", "weight_port")):
        finished = subprocess.run(
            [sys.executable, *python_options, *map(str, arguments)],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=waiting.HANG_S,
            check=False,
        )
        return Finished(finished.returncode, finished.stdout, finished.stderr)

    return run


@pytest.fixture(scope="session")
def measured_process(run_process):
    """run(*arguments): such a process, its peak memory in bytes and its seconds of CPU."""

    def run(*arguments):
        finished = run_process(*arguments, python_options=MEASURED)
        *_, peak_bytes, cpu_s = finished.out.split()
        return finished, int(peak_bytes), float(cpu_s)

    return run


@pytest.fixture
def run_main(capfd):
    """run(*arguments): the command line within this process, its outputs caught."""
    from weight_port.__main__ import main

    def run(*arguments):
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return Finished(status, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def ported_qvae(save_lightning, measured_process, tmp_path_factory) -> PortedFile:
    """The filled mn10 QVAE checkpoint, ported by the command line."""
    folder = tmp_path_factory.mktemp("qvae")
    layout = golden_layout("qvae_checkpoint_layout")
    arrays = golden_rules.filled_state_dict(layout["shapes"])
    path = save_lightning(folder / "qvae.ckpt", arrays, layout["config"])
    return PortedFile(path, folder / "model", *measured_process(path, folder / "model"))


@pytest.fixture(scope="session")
def mn01_arrays() -> dict[str, np.ndarray]:
    """A filled EfficientAT state dict of width 0.1, BatchNorm's counters included."""
    expected = variables.split(mobilenet.MobileNetV3(0.1, rng=None))[1]
    ours = expected.params | expected.batch_stats
    arrays = {}
    for key, name in names.mobilenet(0.1).items():
        arrays[key] = golden_rules.filled(key, _torch_shape(ours[name].shape))
        if key.endswith("running_var"):
            counter = key.replace("running_var", "num_batches_tracked")
            arrays[counter] = golden_rules.filled(counter, ())
    return arrays


@pytest.fixture
def mn01_file(mn01_arrays, tmp_path) -> pathlib.Path:
    """That state dict as a file."""
    import torch

    path = tmp_path / "mn01.pt"
    torch.save({key: torch.as_tensor(array) for key, array in mn01_arrays.items()}, path)
    return path


@pytest.fixture(scope="session")
def convolutional_arrays() -> dict[str, np.ndarray]:
    """A filled state dict of width 0.1 with a convolutional head of 10 classes."""
    module = mobilenet.MobileNetV3(0.1, head="fully_convolutional", num_classes=10, rng=None)
    expected = variables.split(module)[1]
    ours = expected.params | expected.batch_stats
    return {
        key: golden_rules.filled(key, _torch_shape(ours[name].shape))
        for key, name in names.mobilenet(0.1, "fully_convolutional").items()
    }


@pytest.fixture(scope="session")
def tagger_arrays() -> dict[str, np.ndarray]:
    """The filled state dict of the golden SampleCNN."""
    return golden_rules.filled_state_dict(golden_layout("samplecnn_state_dict_shapes")["shapes"])


@pytest.fixture(scope="session")
def aisfx_arrays() -> dict[str, np.ndarray]:
    """A filled state dict of aiSFX's shapes, counters and two classifiers included."""
    shapes = {}
    for block, (num_in, num_out) in enumerate(zip((1, 64, 128, 256), (64, 128, 256, 512)), start=1):
        prefix = f"embedding_net.conv_block{block}"
        for part, channels in ((1, num_in), (2, num_out)):
            shapes[f"{prefix}.conv{part}.weight"] = (num_out, channels, 3, 3)
            for leaf in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{prefix}.bn{part}.{leaf}"] = (num_out,)
            shapes[f"{prefix}.bn{part}.num_batches_tracked"] = ()
    for library in range(2):
        shapes[f"fc.{library}.0.weight"] = (256, 512)
        shapes[f"fc.{library}.0.bias"] = (256,)
    return golden_rules.filled_state_dict(shapes)


NARROW = {samplecnn: (8,) * 11, aisfx: (4, 4, 8, 8)}  # a hundredth of the arithmetic


@pytest.fixture(scope="module")
def narrow_judges(tagger_arrays, aisfx_arrays) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """State dicts of both judges, by their kind, and while it lasts judges have as few channels."""
    with pytest.MonkeyPatch.context() as patch:
        for module, widths in NARROW.items():
            patch.setattr(module, "WIDTHS", widths)
        yield {
            "samplecnn": _narrow(tagger_arrays, {128: 8, 256: 8, 512: 8}),
            "aisfx": _narrow(aisfx_arrays, {64: 4, 128: 4, 256: 8, 512: 8}),
        }


def _narrow(arrays: dict, widths: dict[int, int]) -> dict[str, np.ndarray]:
    """Filled weights with other numbers of channels."""
    shapes = {key: [widths.get(n, n) for n in array.shape] for key, array in arrays.items()}
    return golden_rules.filled_state_dict(shapes)


@pytest.fixture
def odd(monkeypatch) -> str:
    """The name of a published model in which everything is unlike mn10_as: the file odd.pt."""
    from weight_port import published

    entry = published.Published(
        "odd.pt",
        0.1,
        head="fully_convolutional",
        strides=(2, 2, 1, 1),
        hop_length=800,
        num_mels=40,
    )
    monkeypatch.setitem(published.PUBLISHED, "mn01_odd", entry)
    return "mn01_odd"


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[…taps, in, out] -> [out, in, …taps]; vectors stay as they are."""
    return shape if len(shape) < 2 else (shape[-1], shape[-2], *shape[:-2])
