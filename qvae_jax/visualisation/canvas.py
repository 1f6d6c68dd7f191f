"""What every picture is drawn with: matplotlib as it comes, whatever is set for it here.

Pictures go to files. So a backend that the environment names, as every notebook does, has no say
in them, and neither has a matplotlibrc, with which they would look different or fail.
"""

import contextlib
import importlib.util
import logging
import os
import pathlib
import sys
import types
from collections.abc import Iterator

from qvae_jax.system.errors import UserError, first_line

DEFAULT_SETTINGS = "mpl-data/matplotlibrc"  # in matplotlib's own folder


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """While the block lasts, pictures look as matplotlib's defaults say, and it warns of nothing.

    Also decorates a function that draws. Raises UserError where matplotlib does not start.
    """
    # Of its folders, of fonts, and of lines of a matplotlibrc: nothing that a picture depends on.
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        matplotlib = _started()
        defaults = {n: v for n, v in matplotlib.rcParamsDefault.items() if n != "backend"}
        with matplotlib.rc_context(defaults):
            yield
    finally:
        logger.setLevel(level)


def new_figure(width_inches: float, height_inches: float):
    """An empty figure, whose parts find their places when it is drawn."""
    # Imported here because it takes a second that nothing else should wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _started() -> types.ModuleType:
    """matplotlib, which does not start on settings that it cannot use.

    Started without any, it is given those that it can use afterwards, for the sake of whatever else
    draws in this process.
    """
    if "matplotlib" in sys.modules:
        return sys.modules["matplotlib"]
    try:
        with _settings_hidden():
            import matplotlib
    except Exception as error:  # of a file of settings in this folder, or of its installation
        raise UserError(
            f"no picture can be drawn, since matplotlib does not start ({first_line(error)}): move "
            "a file matplotlibrc in this folder away, or install matplotlib anew."
        ) from error
    with contextlib.suppress(Exception):
        matplotlib.rcParams.update(matplotlib.rc_params())
    with contextlib.suppress(Exception):
        matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]
    return matplotlib


@contextlib.contextmanager
def _settings_hidden() -> Iterator[None]:
    """While the block lasts, the environment names no backend, and matplotlib's own settings."""
    hidden = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    if spec := importlib.util.find_spec("matplotlib"):
        os.environ["MATPLOTLIBRC"] = str(pathlib.Path(spec.origin).parent / DEFAULT_SETTINGS)
    try:
        yield
    finally:
        os.environ.pop("MATPLOTLIBRC", None)
        os.environ.update({name: value for name, value in hidden.items() if value is not None})
