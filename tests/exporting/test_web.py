"""The exported page in Chromium, computed by onnxruntime-web, against the model itself."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest
import soxr

pytest.importorskip("onnx", reason="needs the extra `export`")
pytest.importorskip("onnxruntime", reason="needs the extra `export`")
pytest.importorskip("selenium", reason="needs selenium")

import chromium
import hummed_page
import static_server
import steered_model
from hummed_page import MADE, MICROPHONE_HZ, READY, recorded, tone, until
from qvae_jax.audio.controls import HOP_LENGTH
from qvae_jax.audio.files import fit_length, write_wav
from qvae_jax.exporting import runtime_package, web
from qvae_jax.generation.gestures import steering_of
from qvae_jax.generation.model import Model, load
from qvae_jax.generation.steer_request import SteerRequest
from qvae_jax.generation.voice import voice_of
from qvae_jax.models import stored
from qvae_jax.modes.export import export
from qvae_jax.modes.requests import ExportRequest
from qvae_jax.system.errors import UserError

PLAIN = pathlib.Path(__file__).parents[1] / "fixtures" / "ported"
VARIABLE = "QVAE_ONNXRUNTIME_WEB"  # names a package file
SIZES = ((360, 780), (1280, 900))
HEARD_HZ = 32_000
CLOSE = 1e-4  # of a sound's peak
SHARE_OF_OTHERS = 1e-3
# From where on a frame's curves count as another: dB, semitones, semitones, none.
TOLERANCES = np.array([0.1, 0.1, 0.1, 0.01])
# Makes sounds through the page's own model module, of a recording at the rate that is heard.
ASKED = """
const [recording, rateHz, like, curves, parameters] = arguments, done = arguments[arguments.length - 1];
const sound = (samples) => samples && { samples: Float32Array.from(samples), rateHz };
import('./model.js').then((it) => it.sounds(
  { imitation: sound(recording), like: sound(like), curves, parameters }, new AbortController().signal,
)).then(({ sounds }) => done(sounds.map(({ samples, rateHz, curves }) => ({ samples: [...samples], rateHz, curves }))))
  .catch((error) => done(String(error)));
"""


@pytest.fixture(scope="module")
def package() -> pathlib.Path:
    """The published package file: of the cache, or one that a variable names; nothing is fetched."""
    named = os.environ.get(VARIABLE)
    path = pathlib.Path(named) if named else runtime_package.kept_file()
    if not path.is_file():
        pytest.skip(
            f"needs {runtime_package.PACKAGE_FILE}, which --mode=export --format=web keeps, or its "
            f"path in {VARIABLE}"
        )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="module")
def browser(folder):
    driver = hummed_page.start(folder)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def model() -> Model:
    """The smallest that has two lengths: it hears three seconds, and takes half of a voice."""
    front_end = dataclasses.replace(steered_model.CONFIG.front_end, duration_s=3.0)
    believing = {"standardise_features": True, "voice_share": 0.5}
    config = dataclasses.replace(steered_model.CONFIG, front_end=front_end, **believing)
    return Model(config, stored.initial_variables(config, seed=0))


@pytest.fixture(scope="module")
def exported(browser, package, folder, model) -> pathlib.Path:
    web.write(model, folder / "steered", onnxruntime_web=package)
    return folder / "steered"


@pytest.fixture(scope="module")
def address(exported):
    with static_server.running(exported) as address:
        yield address


def opened(browser, address: str):
    """The page at an address, ready."""
    chromium.forget(browser)
    browser.get(address)
    until(browser, f"{READY} || document.querySelector('#status.fault')")
    assert browser.execute_script(READY), hummed_page.status_of(browser)
    return browser


@pytest.fixture(scope="module")
def whole(browser, address):
    """The page, opened once: what it computes with takes seconds to load."""
    return opened(browser, address)


@pytest.fixture
def page(whole, address):
    """The page; after the test it has complained of nothing, and asked its own server alone."""
    yield whole
    assert chromium.asked_elsewhere(whole, address) == []
    assert whole.get_log("browser") == []


def hum(seconds: float = 0.6, hz: float = 220.0) -> np.ndarray:
    """A note after a tenth of a second of silence, float32 at HEARD_HZ."""
    time_s = np.arange(round(seconds * HEARD_HZ)) / HEARD_HZ
    sound = 0.3 * np.sin(2 * np.pi * hz * time_s) * (time_s > 0.1) * (1 - time_s / 4)
    return sound.astype(np.float32)


def made(page, recording, parameters=(), like=None, curves=None) -> list[dict]:
    """The sounds that the page makes of a recording at HEARD_HZ."""
    found = page.execute_async_script(
        ASKED,
        recording.tolist(),
        HEARD_HZ,
        None if like is None else like.tolist(),
        None if curves is None else curves.tolist(),
        dict(parameters),
    )
    assert isinstance(found, list), found
    return found


def posterior(model, recording, *, sounds: bool = False) -> np.ndarray:
    waveform = fit_length(recording, model.front_end.num_samples)[None]
    mean, _ = model.posterior(waveform, sounds=sounds)
    return mean


# --- The same sounds as the package's


@pytest.mark.parametrize("seconds", [0.15, 0.6, 2.9])
def test_a_recording_gives_the_sound_and_the_curves_that_the_model_makes(page, model, seconds):
    recording = hum(seconds)
    [sound] = made(page, recording)
    curves = np.array(sound["curves"], np.float32)
    expected_curves = steering_curves(model, recording)
    assert curves.shape == expected_curves.shape
    assert share_of_others(curves, expected_curves) <= SHARE_OF_OTHERS
    [expected] = model.render(posterior(model, recording), [curves], seeds=np.array([[0, 1]]))
    assert sound["rateHz"] == model.sample_rate_hz
    peak = np.abs(expected).max()
    np.testing.assert_allclose(sound["samples"], expected, rtol=0, atol=CLOSE * peak)


def share_of_others(curves, expected: np.ndarray) -> float:
    """The share of frames in which a curve differs from the one that is expected."""
    return (np.abs(np.array(curves) - expected) > TOLERANCES).any(axis=1).mean()


def steering_curves(model, recording, **steered) -> np.ndarray:
    voice = voice_of(soxr.resample(recording, HEARD_HZ, 22_050, quality="HQ"))
    z = posterior(model, recording)
    [found] = steering_of(SteerRequest(**steered), None).curves(
        [voice.curves], lambda: model.gesture(z)
    )
    return found


@pytest.mark.parametrize(
    ("parameters", "steered"),
    [
        ({"transpose": -12}, {"transpose": -12.0}),
        ({"steer_smoothing_ms": 100}, {"smoothing_ms": 100.0}),
        ({"duration": "natural"}, {"duration": "natural"}),
        ({"duration": 0.9}, {"duration": "0.9"}),
        ({"duration": 2.5}, {"duration": "2.5"}),
        ({"steer": "pitch"}, {"steer": "pitch"}),
        ({"steer": "none"}, {"steer": "none"}),
        ({"steer": "none", "duration": "natural"}, {"steer": "none", "duration": "natural"}),
    ],
)
def test_settings_change_the_curves_as_the_command_does(page, model, parameters, steered):
    recording = hum()
    [sound] = made(page, recording, parameters)
    expected = steering_curves(model, recording, **steered)
    assert np.shape(sound["curves"]) == expected.shape
    assert len(sound["samples"]) == len(expected) * HOP_LENGTH
    assert share_of_others(sound["curves"], expected) <= SHARE_OF_OTHERS


def test_curves_that_are_drawn_and_a_timbre_that_is_lent_are_taken(page, model):
    drawn = np.tile(np.array([-30.0, 80.0, 60.0, 0.9], np.float32), (50, 1))
    drawn[:, 0] -= np.arange(50)
    [sound] = made(page, hum(), like=hum(0.4, 900.0), curves=drawn)
    z = posterior(model, hum(0.4, 900.0), sounds=True)
    [expected] = model.render(z, [drawn], seeds=np.array([[0, 1]]))
    peak = np.abs(expected).max()
    np.testing.assert_allclose(sound["samples"], expected, rtol=0, atol=CLOSE * peak)


def test_variations_differ_and_come_again(page):
    asked = {"variations": 2, "temperature": 0.7}
    first, second = (np.array(one["samples"]) for one in made(page, hum(), asked))
    again, _ = (np.array(one["samples"]) for one in made(page, hum(), asked))
    [other] = made(page, hum(), {"seed": 1})
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3
    assert len(other["samples"]) == len(first)


def test_an_order_that_nobody_waits_for_any_more_makes_way(page):
    found = page.execute_async_script(
        """const done = arguments[arguments.length - 1], stop = new AbortController();
        const imitation = { samples: Float32Array.from(arguments[0]), rateHz: 32000 };
        const order = (variations) => ({ imitation, like: null, curves: null, parameters: { variations } });
        import('./model.js').then(async (it) => {
          const first = it.sounds(order(16), stop.signal).then(() => 'made', (error) => error.name);
          stop.abort();
          const second = await it.sounds(order(1), new AbortController().signal);
          done([await first, second.sounds.length]);
        }).catch((error) => done(String(error)));""",
        hum().tolist(),
    )
    assert found == ["AbortError", 1]


def test_another_sample_rate_is_a_longer_file(page):
    [sound] = made(page, hum(), {"sample_rate": "44100"})
    [plain] = made(page, hum())
    assert sound["rateHz"] == 44_100
    assert len(sound["samples"]) == 2 * len(plain["samples"])


# --- The page


def test_a_recording_plays_and_every_control_is_there(page, folder):
    recorded(page, 0.5)
    assert hummed_page.status_of(page).startswith("The sound of Take ")
    sound, curves = hummed_page.sound_and_curves(page, folder)
    assert len(sound) == len(curves) * HOP_LENGTH and np.abs(sound).max() > 1e-3
    voiced = curves[:, 3] > 0.5
    assert voiced.mean() > 0.5 and np.abs(np.median(curves[voiced, 2]) - 57) < 0.3  # 220 Hz
    names = page.execute_script(
        "return [...document.querySelectorAll('.field')].filter(it => it.offsetParent).length"
    )
    assert names == 8


def test_a_model_that_hears_voices_alone_offers_no_other_sounds(page):
    hidden = page.execute_async_script(
        """const done = arguments[arguments.length - 1];
        Promise.all([import('./settings.js'), fetch('page.json').then((it) => it.json())])
          .then(([{ Controls }, { facts }]) => done([true, false].map((hears_sounds) => {
            const form = document.getElementById('settings').cloneNode(true);
            new Controls(form, { ...facts, hears_sounds }, () => {}, () => {});
            return form.querySelector('#like').closest('.field').hidden;
          })));"""
    )
    assert hidden == [False, True]


def test_another_take_lends_its_timbre(page, folder):
    recorded(page, 0.3)
    number = page.execute_script("return document.querySelectorAll('.take').length")
    write_wav(folder / "high.wav", tone(0.4, 900.0), MICROPHONE_HZ)
    hummed_page.give(page, folder / "high.wav")
    until(page, f"{MADE} && document.querySelectorAll('.take').length === {number + 1}")
    before, _ = hummed_page.sound_and_curves(page, folder)
    page.find_element("css selector", f"#like option[value='take {number}']").click()
    until(page, MADE)
    after, _ = hummed_page.sound_and_curves(page, folder)
    assert len(after) == len(before) and np.abs(after - before).max() > 1e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_and_can_be_read(page, size, scheme):
    hummed_page.resize(page, size, scheme)
    recorded(page, 0.2)
    page.execute_script("document.querySelector('details').open = true")
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    contrasts = page.execute_script(hummed_page.CONTRASTS)
    assert "Licences" in contrasts and min(contrasts.values()) >= 4.5, contrasts
    hummed_page.resize_back(page)


@pytest.mark.parametrize("size", SIZES)
def test_a_page_that_is_opened_as_a_file_says_how_to_serve_it(browser, exported, size):
    browser.get_log("browser")
    hummed_page.resize(browser, size, "light")
    browser.get(f"file://{exported / 'index.html'}")
    said = until(browser, "return document.body.innerText.trim()")
    assert "python3 -m http.server" in said and "Record" not in said
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= window.innerWidth"
    )
    assert browser.get_log("browser") == []
    hummed_page.resize_back(browser)


@pytest.mark.parametrize("name", ["arrays.bin", "page.json", "onnxruntime-web/ort.js"])
def test_a_file_that_is_missing_is_said(browser, exported, address, name):
    (exported / name).rename(exported / "away")
    try:
        browser.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.get(address)
        until(browser, "return document.querySelector('#status.fault')")
        assert "export" in hummed_page.status_of(browser)
    finally:
        (exported / "away").rename(exported / name)
        browser.get_log("browser")


def test_a_model_that_nothing_steers_has_a_page_too(browser, package, folder):
    plain = load(PLAIN)
    web.write(plain, folder / "plain", onnxruntime_web=package)
    with static_server.running(folder / "plain") as address:
        page = opened(browser, address)
        shown = "[...document.querySelectorAll('.field')].filter(it => it.offsetParent).length"
        assert page.execute_script(f"return {shown}") == 3
        [sound] = made(page, hum())
        expected = plain.decode(posterior(plain, hum()))[0]
        peak = np.abs(expected).max()
        np.testing.assert_allclose(sound["samples"], expected, rtol=0, atol=CLOSE * peak)


# --- The folder


def test_the_folder_holds_all_it_needs_and_names_no_other_place(exported):
    described = json.loads((exported / "page.json").read_text())
    for name, size in described["files"].items():
        assert (exported / name).stat().st_size == size
    for name in ("licences.txt", "onnxruntime-web/ThirdPartyNotices.txt"):
        assert (exported / name).stat().st_size > 1_000
    text = (exported / "index.html").read_text()
    assert "content-security-policy" in text and "https://" not in text


def test_a_folder_that_is_there_is_refused(exported, package, model):
    with pytest.raises(UserError, match="already exists"):
        web.write(model, exported, onnxruntime_web=package)


def test_the_package_file_is_for_this_format_alone(tmp_path):
    request = ExportRequest(
        checkpoint=str(PLAIN), format="onnx", output_dir=str(tmp_path), onnxruntime_web="a.tgz"
    )
    with pytest.raises(UserError, match="--onnxruntime_web is for --format=web"):
        export(request)
