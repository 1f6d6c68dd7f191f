"""What the page has to know of a model, and which values its settings may have."""

import pathlib

from qvae_jax.audio import controls
from qvae_jax.generation import curve_file, finishing, steer_request
from qvae_jax.generation.model import Model
from qvae_jax.models.steered import HIGHEST, LOWEST

PAGE_FOLDER = pathlib.Path(__file__).parent / "page"
PAGE = "index.html"
# The module behind which sounds are made: of the page's own files it is the one that asks a server.
# Another of this name and with the same functions makes them elsewhere.
MODEL_MODULE = "model.js"
MOST_VARIATIONS = 16
MOST_BYTES = 64 * 2**20  # of one recording: a minute of float stereo at 96 kHz is 44 MiB


def facts(
    model: Model,
    *,
    longest_s: float | None = None,
    has_library: bool = False,
    hears_sounds: bool = True,
) -> dict:
    """What a page has to know of a model, and whether there is a library beside it.

    longest_s: of recordings and of sounds, where that is less than what the model can do.
    hears_sounds: whether other sounds than voices can be heard as the model hears them.
    """
    heard_s = model.front_end.duration_s
    found = {
        "model": _name(model),
        "is_steered": model.is_steered,
        "sample_rate_hz": model.sample_rate_hz,
        "sample_rates_hz": list(finishing.SAMPLE_RATES_HZ),
        "heard_s": heard_s,
        "longest_s": longest_s or (steer_request.LONGEST_S if model.is_steered else heard_s),
        "most_variations": MOST_VARIATIONS,
        "most_bytes": MOST_BYTES,
        "has_library": has_library,
        "hears_sounds": hears_sounds,
    }
    if model.is_steered:
        found["curves"] = {
            "frame_s": curve_file.FRAME_S,
            "header": list(curve_file.HEADER),
            "lowest": LOWEST.tolist(),
            "highest": HIGHEST.tolist(),
            "voiced_above": controls.VOICED_PERIODICITY,
        }
        found["most_semitones"] = steer_request.MOST_SEMITONES
        found["most_smoothing_ms"] = steer_request.MOST_SMOOTHING_MS
    return found


def _name(model: Model) -> str:
    """The last part of the model's folder, and the step of a run's checkpoint."""
    folder = model.source.get("workdir") or model.source.get("checkpoint") or ""
    step = model.source.get("step")
    name = pathlib.Path(folder).resolve().name if folder else "a model"
    return name if step is None else f"{name}, step {step}"
