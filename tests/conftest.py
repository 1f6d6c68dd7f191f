"""Fixtures that every test may ask for."""

import gc
import os
import shutil
import warnings
from pathlib import Path

# Tests run in as many processes as there are cores: more threads would wait for one another, and
# do so in circles. Libraries read this when they are imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import hypothesis
import jax
import pytest

import compiling
import small_run
from qvae_jax.audio import windows
from qvae_jax.audio.files import read_audio
from qvae_jax.system import progress

REPOSITORY = Path(__file__).resolve().parents[1]
# Files that take longest begin, or one process would end long after the other.
FIRST = (
    "training/test_step.py",
    "modes/test_frame_rate_runs.py",
    "modes/test_train.py",
    "weight_port/test_to_torch.py",
    "models/test_decoders.py",
    "models/test_steered.py",
    "test_losses.py",
    "test_old_folders.py",
    "modes/test_evaluate.py",
    "modes/test_visualise.py",
    "test_command_line.py",
    "modes/test_grown_data_set.py",
)

compiling.compile_lightly()
# Always the same examples, and no clock that a busy machine could miss.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None)
hypothesis.settings.load_profile("tests")
# Lines of progress come where the machine is slow, and some tests read all that is printed.
progress.LINES_EVERY_S = 1e6
# Accelerators multiply in fewer bits by default; parity is of float32.
jax.config.update("jax_default_matmul_precision", "highest")
# Tracing makes millions of objects, hardly any in circles; to look for those that often took a
# tenth of all time.
gc.freeze()
gc.set_threshold(100_000, 50, 100)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return FIRST.index(name) if name in FIRST else len(FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory) -> None:
    """Lets all tests of a session share what they compile; compiling is most of their time.

    JAX_COMPILATION_CACHE_DIR, where it is set, names a folder that outlives the session.
    """
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # then each worker has a folder inside the session's
        session = session.parent
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(session / "compiled"))
    seconds = compiling.WORTH_KEEPING_S
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of shared material beside the repository; skips the test where it is absent."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"needs the shared material in {path}")
    return path


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> Path:
    """Four one-second sounds, three imitations of each. Copy it before changing anything."""
    return small_run.write_data_set(tmp_path_factory.mktemp("data") / "data_set")


@pytest.fixture(scope="session")
def frozen_run(data_set, tmp_path_factory) -> Path:
    """The workdir of a finished run with a frozen encoder. Copy it before changing anything."""
    return small_run.trained(data_set, tmp_path_factory.mktemp("frozen") / "run")


@pytest.fixture
def own_data_set(data_set, tmp_path):
    """A copy of the data set that a test may change."""
    return shutil.copytree(data_set, tmp_path / "own")


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the audio files that are read from now on."""
    names = []

    def counted(path, *arguments, **options):
        names.append(path.name)
        return read_audio(path, *arguments, **options)

    monkeypatch.setattr(windows, "read_audio", counted)
    return names


@pytest.fixture
def warnings_are_errors():
    """Ends a test at the first warning; for modules that name it in usefixtures."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)  # of what other tests left to be collected
        warnings.filterwarnings("ignore", compiling.HALF_AN_ENTRY)
        yield
