"""What a sound file of a library holds: the windows that can be heard, and which sound it is.

No JAX here: processes that only read would take seconds to import it.
"""

import hashlib
import pathlib

import numpy as np

from qvae_jax.audio.files import read_native
from qvae_jax.audio.levels import SILENT_PEAK

VERSION = 1  # of what a record means; when it is raised, every file is surveyed again
SHORTEST_S = 1e-3  # of a sound: a click of a millisecond is one
SHORTEST_LAST_SHARE = 0.25  # of a window, that a last one must hold beside others

# What a window is.
ABSENT, AUDIBLE, SILENT, TOO_SHORT = range(4)


def record(windows_per_file: int) -> np.dtype:
    """What survey gives of a file.

    windows: ABSENT, AUDIBLE, SILENT or TOO_SHORT [windows_per_file], of its windows from the first
    on. goes_on: whether there is more of it behind them. sound: SHA-256 in hexadecimal digits of
    rate and samples of the first that is audible, the same for the same sound in another lossless
    format; empty where none is.
    """
    return np.dtype(
        [("windows", np.int8, (windows_per_file,)), ("goes_on", np.bool_), ("sound", "S64")]
    )


def survey(path: pathlib.Path, window_s: float, windows_per_file: int) -> np.ndarray:
    """A file's record, []; it is read as far as its windows go.

    They follow each other from the start. A first one may be of any length from SHORTEST_S on; a
    later one that holds less than a quarter of a window is absent. Raises UserError as read_audio
    does.
    """
    samples, rate_hz, goes_on = read_native(path, windows_per_file * window_s)
    starts = [round(n * window_s * rate_hz) for n in range(windows_per_file + 1)]
    found = np.zeros((), record(windows_per_file))
    found["goes_on"] = goes_on
    for number, (start, stop) in enumerate(zip(starts, starts[1:])):
        window = samples[start:stop]
        shortest_s = SHORTEST_S if number == 0 else SHORTEST_LAST_SHARE * window_s
        if len(window) < shortest_s * rate_hz:
            found["windows"][number] = TOO_SHORT if number == 0 else ABSENT
        elif float(np.ptp(window)) / 2 < SILENT_PEAK:
            found["windows"][number] = SILENT
        else:
            found["windows"][number] = AUDIBLE
            if not found["sound"]:
                digest = hashlib.sha256(f"{rate_hz} ".encode() + window.tobytes())
                found["sound"] = digest.hexdigest().encode()
    return found
