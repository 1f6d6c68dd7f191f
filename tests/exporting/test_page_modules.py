"""What the exported page computes in JavaScript, against the package: curves, rates, and its chance."""

import re
import shutil

import numpy as np
import pytest
import scipy.special
import soxr

import chromium
import static_server
from qvae_jax.audio.controls import HOP_LENGTH, SAMPLE_RATE_HZ
from qvae_jax.exporting.web import OWN_FOLDER
from qvae_jax.generation.gestures import steering_of
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.live_page.facts import MODEL_MODULE, PAGE_FOLDER
from qvae_jax.models.steered import HIGHEST, LOWEST

FRAME_S = HOP_LENGTH / SAMPLE_RATE_HZ
MOST_FRAMES = 900
EMPTY = '<!DOCTYPE html><link rel="icon" href="data:,">'


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A browser at an empty page, beside which the modules lie."""
    folder = tmp_path_factory.mktemp("modules")
    shutil.copytree(OWN_FOLDER, folder, dirs_exist_ok=True)
    (folder / "index.html").write_text(EMPTY)
    driver = chromium.start()
    try:
        with static_server.running(folder) as address:
            driver.get(address)
            yield driver
    finally:
        driver.quit()


def computed(page, module: str, expression: str, *given):
    """What an expression of a module's names gives for some arguments, as a list of numbers."""
    found = page.execute_async_script(
        f"""const done = arguments[arguments.length - 1], given = [...arguments].slice(0, -1);
        import('./{module}').then(async (it) => done(await ({expression})))
          .catch((error) => done(String(error)));""",
        *given,
    )
    assert not isinstance(found, str), found
    return found


def curves(num_frames: int, seed: int) -> np.ndarray:
    shares = np.random.default_rng(seed).random((num_frames, 4)).astype(np.float32)
    return LOWEST + shares * (HIGHEST - LOWEST)


@pytest.mark.parametrize(
    ("parameters", "is_given"),
    [
        ({}, False),
        ({"transpose": -12}, False),
        ({"transpose": 24}, True),
        ({"steer_smoothing_ms": 20}, False),
        ({"steer_smoothing_ms": 300}, True),
        ({"steer": "pitch"}, False),
        ({"steer": "loudness,centroid", "transpose": 3}, False),
        ({"steer": "none"}, False),
        ({"steer": "none", "duration": "natural"}, False),
        ({"duration": "natural"}, False),
        ({"duration": "natural"}, True),
        ({"duration": "0.73", "steer_smoothing_ms": 60}, False),
        ({"duration": 5, "steer": "centroid"}, False),
        ({"duration": "5", "steer": "none"}, False),
    ],
)
def test_curves_are_those_of_the_package(page, parameters, is_given):
    voice, gesture, given, duration_s = curves(131, 0), curves(243, 1), curves(77, 2), 1.2345
    facts = {
        "frame_s": FRAME_S,
        "lowest": LOWEST.tolist(),
        "highest": HIGHEST.tolist(),
        "most_frames": MOST_FRAMES,
    }
    found = computed(
        page,
        "steering.js",
        "new it.Steering(given[0], given[1], given[2])"
        ".curves(given[3], () => ({curves: given[4], durationS: given[5]}))",
        parameters,
        given.tolist() if is_given else None,
        facts,
        voice.tolist(),
        gesture.tolist(),
        duration_s,
    )
    request = SteerRequest(
        steer=parameters.get("steer"),
        curves="a file" if is_given else None,
        duration=str(parameters["duration"]) if "duration" in parameters else None,
        smoothing_ms=parameters.get("steer_smoothing_ms"),
        transpose=parameters.get("transpose"),
    )
    steering = steering_of(request, None, given if is_given else None)
    [expected] = steering.curves([voice], lambda: (gesture[None], np.array([duration_s])))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_no_sound_is_longer_than_the_model_renders(page):
    facts = f"{{frame_s: {FRAME_S}, most_frames: {MOST_FRAMES}}}"
    steering = f"new it.Steering({{duration: 60}}, null, {facts})"
    assert computed(page, "steering.js", f"[{steering}.numFrames([], [])]") == [MOST_FRAMES]


@pytest.mark.parametrize(
    ("from_hz", "to_hz"),
    [(48_000, 32_000), (44_100, 32_000), (16_000, 32_000), (22_050, 48_000), (22_050, 22_050)],
)
def test_tones_are_resampled_to_what_they_are(page, from_hz, to_hz):
    for share in (0.05, 0.5, 0.88):
        hz = share * min(from_hz, to_hz) / 2
        samples = np.sin(2 * np.pi * hz * np.arange(4_001) / from_hz)
        found = computed(
            page,
            "resampling.js",
            f"[...it.resampled(Float32Array.from(given[0]), {from_hz}, {to_hz})]",
            samples.tolist(),
        )
        assert len(found) == -(-4_001 * to_hz // from_hz)
        expected = np.sin(2 * np.pi * hz * np.arange(len(found)) / to_hz)
        inside = slice(300, -300)
        np.testing.assert_allclose(found[inside], expected[inside], atol=3e-5)


def test_noise_is_resampled_as_soxr_does(page):
    noise = np.random.default_rng(0).standard_normal(4_800).astype(np.float32)
    expression = "[...it.resampled(Float32Array.from(given[0]), 48000, 32000)]"
    found = np.array(computed(page, "resampling.js", expression, noise.tolist()))
    expected = soxr.resample(noise, 48_000, 32_000, quality="HQ")
    window = np.hanning(len(found))
    spectra = [np.fft.rfft(window * samples) for samples in (found, expected)]
    passed = slice(0, round(0.88 * len(spectra[0])))
    assert np.abs(spectra[0] - spectra[1])[passed].max() < 1e-4 * np.abs(spectra[1]).max()


def test_what_is_above_the_lower_rate_is_gone(page):
    tone = np.sin(2 * np.pi * 17_000 * np.arange(4_800) / 48_000)
    expression = "[...it.resampled(Float32Array.from(given[0]), 48000, 32000)]"
    found = np.array(computed(page, "resampling.js", expression, tone.tolist()))
    assert np.abs(found[300:-300]).max() < 1e-4


def test_drawn_numbers_are_normal_and_depend_on_the_key_alone(page):
    drawn = [
        np.array(computed(page, "drawing.js", f"[...it.normal({key}, 20001)]"))
        for key in ([0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 1, 2])
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    for numbers in drawn[1:]:
        share = scipy.special.ndtr(np.sort(numbers))
        uniform = (np.arange(len(share)) + 0.5) / len(share)
        assert np.abs(share - uniform).max() < 1.63 / np.sqrt(len(share))  # Kolmogorov's, at 1 %
    for other in drawn[2:]:
        assert abs(np.corrcoef(drawn[0], other)[0, 1]) < 0.03


def test_both_modules_that_stand_for_the_model_export_the_same_names():
    exports = [
        set(re.findall(r"export (?:async )?(?:function|const|class) (\w+)", path.read_text()))
        for path in (PAGE_FOLDER / MODEL_MODULE, OWN_FOLDER / MODEL_MODULE)
    ]
    assert exports[0] == exports[1] >= {"model", "sounds", "nearest", "Refused"}
