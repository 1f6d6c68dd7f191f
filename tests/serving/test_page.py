"""The page in Chromium, with a file for a microphone: what it records, sends, plays and draws."""

import json
import pathlib
import re

import numpy as np
import pytest
import soundfile

for module in ("starlette", "uvicorn", "python_multipart", "selenium"):
    pytest.importorskip(module, reason="needs the extra `serve` and selenium")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import chromium
import hummed_page
import live_server
import steered_model
from hummed_page import (
    CONTRASTS,
    MADE,
    MICROPHONE_HZ,
    READY,
    downloaded,
    give,
    recorded,
    sound_and_curves,
    status_of,
    tone,
    until,
)
from qvae_jax.audio.controls import HOP_LENGTH
from qvae_jax.audio.files import write_wav

PLAIN = pathlib.Path(__file__).parents[1] / "fixtures" / "ported"
SIZES = ((360, 780), (1280, 900))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds the model, what the microphone hears, other sounds, and what is downloaded."""
    folder = tmp_path_factory.mktemp("page")
    steered_model.write(folder / "model")
    write_wav(folder / "<img src=x onerror=alert(1)>.wav", tone(0.4, 330.0), MICROPHONE_HZ)
    write_wav(folder / "library" / "<b>low.wav", tone(0.5, 90.0), MICROPHONE_HZ)
    write_wav(folder / "library" / "high.wav", tone(0.5, 3_000.0), MICROPHONE_HZ)
    write_wav(folder / "silent.wav", np.zeros(MICROPHONE_HZ // 4), MICROPHONE_HZ)
    (folder / "text.wav").write_text("hello")
    return folder


@pytest.fixture(scope="module")
def browser(folder):
    driver = hummed_page.start(folder)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def live(browser, folder):
    """After the browser, which skips before a server is waited for."""
    library = f"--library={folder / 'library'}"
    with live_server.running(folder / "model", folder, library) as live:
        yield live


@pytest.fixture
def page(request, browser, live):
    """The page, just opened; at the end it has complained of nothing, and asked the server alone."""
    chromium.forget(browser)
    browser.get("about:blank")
    browser.get(live.address)
    until(browser, READY)
    yield browser
    own = f"http://127.0.0.1:{live.port}/"
    assert chromium.asked_elsewhere(browser, own, "about:") == []
    if request.node.get_closest_marker("complains") is None:
        assert browser.get_log("browser") == []


# --- From the microphone to the sound


def test_a_recording_is_answered_with_the_sound_that_generate_makes_of_it(page, live, folder):
    recorded(page)
    samples, rate_hz = soundfile.read(downloaded(page, folder, ".imitation a"), dtype="float32")
    context_hz = page.execute_script("return new AudioContext().sampleRate")
    assert rate_hz == context_hz and 0.7 < len(samples) / rate_hz < 60
    assert 0.2 < np.abs(samples).max() < 0.6  # neither normalised nor cancelled as an echo
    sound, curves = sound_and_curves(page, folder)
    sent = (folder / "downloads" / "01_Take_1_imitation.wav").read_bytes()
    status, _, body = live.asked("POST", "/api/sound", sent)
    (folder / "expected.wav").write_bytes(body)
    expected, _ = soundfile.read(folder / "expected.wav")
    assert status == 200
    np.testing.assert_allclose(sound, expected, rtol=0, atol=1e-4)
    assert len(sound) == len(curves) * HOP_LENGTH
    assert status_of(page).startswith("The sound of Take 1 plays")


def test_the_samples_that_are_sent_give_what_the_command_writes(page, live, folder):
    from qvae_jax.modes.generate import generate
    from qvae_jax.modes.requests import GenerateRequest

    recorded(page, 0.4)
    sound, _ = sound_and_curves(page, folder)
    imitation = downloaded(page, folder, ".imitation a")
    where = {"inputs": str(imitation), "output_dir": str(folder / "generated")}
    generate(GenerateRequest(checkpoint=str(folder / "model"), **where))
    [path] = (folder / "generated").glob("*_generated.wav")
    expected, _ = soundfile.read(path)
    np.testing.assert_allclose(sound, expected, rtol=0, atol=1e-4)


def test_the_space_bar_records_while_it_is_held(page):
    body = page.find_element(By.TAG_NAME, "body")
    ActionChains(page).move_to_element(body).key_down(Keys.SPACE).perform()
    until(page, "return document.querySelector('.recording') !== null")
    until(page, "return Number.parseFloat(document.getElementById('clock').textContent) > 0.3")
    ActionChains(page).key_up(Keys.SPACE).perform()
    until(page, "return document.querySelector('.recording') === null")
    until(page, MADE)
    # In a field it is a space, and on another button it presses that.
    page.find_element(By.ID, "variations").send_keys(Keys.SPACE)
    page.find_element(By.TAG_NAME, "summary").send_keys(Keys.SPACE)
    assert not page.execute_script("return document.querySelector('details').open")
    assert page.find_elements(By.CSS_SELECTOR, ".recording") == []


def test_a_file_becomes_a_take_and_its_name_stays_text(page, folder):
    give(page, folder / "<img src=x onerror=alert(1)>.wav")
    until(page, MADE)
    assert page.find_element(By.CSS_SELECTOR, ".take h3").text.startswith("<img src=x onerror")
    assert page.find_elements(By.CSS_SELECTOR, "img") == []
    name = page.find_element(By.CSS_SELECTOR, ".sound a[download$='.wav']").get_attribute(
        "download"
    )
    assert name == "01_img_src_x_onerror_alert_1_.wav_sound.wav"


def test_a_file_that_is_dropped_becomes_a_take(page):
    page.execute_script(
        """const rate = 8000, count = 4000, bytes = new DataView(new ArrayBuffer(44 + 2 * count));
        const text = (at, word) => [...word].forEach((c, i) => bytes.setUint8(at + i, c.charCodeAt(0)));
        text(0, 'RIFF'); bytes.setUint32(4, 36 + 2 * count, true); text(8, 'WAVEfmt ');
        bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
        bytes.setUint32(24, rate, true); bytes.setUint32(28, 2 * rate, true);
        bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true); text(36, 'data');
        bytes.setUint32(40, 2 * count, true);
        for (let i = 0; i < count; i++) bytes.setInt16(44 + 2 * i, 9000 * Math.sin(i / 5), true);
        const dropped = new DataTransfer();
        dropped.items.add(new File([bytes.buffer], 'dropped.wav'));
        document.dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, bubbles: true, cancelable: true}));"""
    )
    until(page, MADE)
    assert page.find_element(By.CSS_SELECTOR, ".take h3").text == "dropped.wav, 0.5 s"


# As a phone's recorder leaves them: this browser writes half a second of a tone, and then reads it.
RECORDED_AS = """const [kind, done] = arguments;
    if (!MediaRecorder.isTypeSupported(kind)) { done(false); return; }
    const context = new AudioContext(), tone = context.createOscillator();
    const into = context.createMediaStreamDestination();
    const recorder = new MediaRecorder(into.stream, {mimeType: kind}), pieces = [];
    recorder.ondataavailable = event => pieces.push(event.data);
    recorder.onstop = () => {
        const dropped = new DataTransfer();
        dropped.items.add(new File(pieces, 'phone'));
        const how = {dataTransfer: dropped, bubbles: true, cancelable: true};
        document.dispatchEvent(new DragEvent('drop', how));
        done(true);
    };
    tone.connect(into); tone.start(); recorder.start(); setTimeout(() => recorder.stop(), 500);"""


@pytest.mark.parametrize("kind", ["audio/webm;codecs=opus", "audio/mp4;codecs=opus"])
def test_what_only_a_browser_decodes_becomes_a_take(page, kind):
    if not page.execute_async_script(RECORDED_AS, kind):
        pytest.skip(f"this Chromium writes no {kind}")
    until(page, MADE)
    title = page.find_element(By.CSS_SELECTOR, ".take h3").text
    assert 0.3 < float(re.fullmatch(r"phone, ([0-9.]+) s", title)[1]) < 3.0


# --- What is done with a take


def test_variations_are_there_to_choose_and_differ(page, folder):
    recorded(page, 0.3)
    field = page.find_element(By.ID, "variations")
    field.send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.TAB)
    until(page, f"{MADE} && document.querySelectorAll('.choice [aria-pressed]').length === 3")
    assert page.find_element(By.ID, "temperature").get_attribute("value") == "0.7"
    first, _ = sound_and_curves(page, folder)
    page.find_elements(By.CSS_SELECTOR, ".choice [aria-pressed]")[1].click()
    second, _ = sound_and_curves(page, folder)
    assert len(first) == len(second) and np.abs(first - second).max() > 1e-3


def test_a_curve_that_is_dragged_changes_the_sound_there_and_nowhere_else(page, folder):
    give(page, folder / "<img src=x onerror=alert(1)>.wav")
    until(page, MADE)
    before, voiced = sound_and_curves(page, folder)
    page.find_element(By.CSS_SELECTOR, ".take [value=loudness]").click()
    editor = page.find_element(By.CSS_SELECTOR, ".editor")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", editor)
    width = editor.size["width"]
    drag = ActionChains(page).move_to_element_with_offset(editor, round(0.2 * width), 60)
    drag.click_and_hold().move_by_offset(round(0.2 * width), 0).release().perform()
    until(page, f"{MADE} && !document.querySelector('.choice button:not([aria-pressed])').hidden")
    after, drawn = sound_and_curves(page, folder)
    changed = np.flatnonzero(np.abs(drawn - voiced).max(axis=1) > 0.01)
    whole = len(voiced)
    assert 0.6 * whole < changed[0] < 0.75 * whole and 0.85 * whole < changed[-1] < 0.95 * whole
    assert (np.abs(drawn - voiced)[:, 1:] < 0.01).all()  # the other curves stay
    level = [
        np.sqrt(np.mean(s[changed[2] * HOP_LENGTH : changed[-2] * HOP_LENGTH] ** 2))
        for s in (before, after)
    ]
    assert level[1] < 0.2 * level[0]
    # The renderer hears some frames around each, and so changes hardly anything before.
    before_it = slice(0, (changed[0] - 15) * HOP_LENGTH)
    assert np.abs(after - before)[before_it].max() < 0.05 * np.abs(before).max()


def test_a_curve_is_changed_with_keys_and_given_back(page, folder):
    recorded(page, 0.3)
    _, voiced = sound_and_curves(page, folder)
    editor = page.find_element(By.CSS_SELECTOR, ".editor")
    page.execute_script("arguments[0].focus()", editor)
    editor.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 10, *[Keys.ARROW_UP] * 3, Keys.ENTER)
    until(
        page, f"{MADE} && [...document.querySelectorAll('.choice button')].some(it => !it.hidden)"
    )
    _, drawn = sound_and_curves(page, folder)
    assert drawn[10, 2] == pytest.approx(min(98.0, voiced[10, 2] + 3), abs=0.01)
    assert "semitones at 0.12 s" in editor.get_attribute("aria-valuetext")
    until(page, MADE)
    page.find_element(By.XPATH, "//button[text()='Undo drawing']").click()
    until(page, MADE)
    _, again = sound_and_curves(page, folder)
    np.testing.assert_allclose(again, voiced, atol=1e-3)


def test_another_sound_lends_its_timbre(page, folder):
    recorded(page, 0.3)
    before, curves = sound_and_curves(page, folder)
    page.find_element(By.ID, "like-file").send_keys(
        str(folder / "<img src=x onerror=alert(1)>.wav")
    )
    until(page, "return document.getElementById('like').value.startsWith('file')")
    until(page, MADE)
    after, steered_by = sound_and_curves(page, folder)
    np.testing.assert_allclose(steered_by, curves, atol=1e-3)
    assert np.abs(after - before).max() > 1e-4


def test_a_sound_of_the_library_lends_its_timbre(page, folder):
    recorded(page, 0.3)
    before, _ = sound_and_curves(page, folder)
    nearest = "[...document.querySelectorAll('#like option')].filter(it => it.value.startsWith('nearest'))"
    until(page, f"return {nearest}.length === 2")
    titles = page.execute_script(f"return {nearest}.map(it => it.textContent)")
    assert sorted(re.sub(r"^\d\. | \(-?\d\.\d\d\)$", "", title) for title in titles) == [
        "<b>low.wav",
        "high.wav",
    ]
    sounds = []
    for rank in ("1", "2"):
        page.find_element(By.CSS_SELECTOR, f"#like option[value='nearest {rank}']").click()
        until(page, MADE)
        sounds.append(sound_and_curves(page, folder)[0])
    assert np.abs(sounds[0] - sounds[1]).max() > 1e-4


def test_takes_are_compared_and_deleted(page):
    recorded(page, 0.3)
    recorded(page, 0.3)
    said = page.execute_script(
        """const pressed = document.querySelector('.take .head button'), said = [];
        for (let i = 0; i < 3; i++) {
          pressed.click();
          said.push([...document.querySelectorAll('.take:first-child figcaption button')].map(it => it.textContent));
        }
        return said;"""
    )
    assert said == [["Stop", "Play"], ["Play", "Stop"], ["Stop", "Play"]]
    page.find_element(By.XPATH, "//button[text()='Delete']").click()
    [left] = page.find_elements(By.CSS_SELECTOR, ".take h3")
    assert left.text.startswith("Take 1,")
    focused = page.execute_script("return document.activeElement.getAttribute('aria-label')")
    assert focused == "Delete Take 1"


# --- What goes wrong is said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("silent.wav", "silent.wav is silent."),
        ("text.wav", "text.wav is no sound that this browser"),
    ],
)
def test_a_file_without_sound_is_said_in_words(page, folder, name, said):
    give(page, folder / name)
    until(page, "return document.getElementById('status').textContent !== ''")
    assert status_of(page).startswith(said)
    assert page.find_elements(By.CSS_SELECTOR, ".take") == []


@pytest.mark.parametrize(
    ("stand_in", "said"),
    [
        (
            "() => Promise.reject(new DOMException('no', 'NotAllowedError'))",
            "The microphone is denied.",
        ),
        (
            "() => Promise.reject(new DOMException('no', 'NotFoundError'))",
            "There is no microphone.",
        ),
    ],
)
def test_a_microphone_that_is_not_given_is_said_in_words(page, stand_in, said):
    page.execute_script(f"navigator.mediaDevices.getUserMedia = {stand_in}")
    page.find_element(By.ID, "record").click()
    until(page, "return document.getElementById('status').classList.contains('fault')")
    assert status_of(page).startswith(said)
    assert page.find_element(By.ID, "record").text == "Record"


@pytest.mark.parametrize(("gain", "said"), [(0, "The microphone is silent."), (9, "is clipped")])
def test_a_silent_and_a_clipped_microphone_are_said_in_words(page, gain, said):
    page.execute_script(
        """const given = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (asked) => {
          const context = new AudioContext(), out = context.createMediaStreamDestination();
          const gain = new GainNode(context, {gain: arguments[0]});
          const shaper = new WaveShaperNode(context, {curve: [-1, 0, 1]});
          context.createMediaStreamSource(await given(asked)).connect(gain).connect(shaper).connect(out);
          return out.stream;
        };
        window.heard = [];
        new MutationObserver(() => heard.push(document.getElementById('status').textContent))
          .observe(document.getElementById('status'), {childList: true});""",
        gain,
    )
    button = page.find_element(By.ID, "record")
    button.click()
    until(page, "return Number.parseFloat(document.getElementById('clock').textContent) > 0.4")
    button.click()
    until(page, "return document.querySelector('.recording') === null")
    until(page, f"return heard.some(text => text.includes({json.dumps(said)}))")
    if gain:
        until(page, MADE)
    else:
        assert page.find_elements(By.CSS_SELECTOR, ".take") == []


# --- The page itself


def test_the_token_leaves_the_address_bar_and_a_reload_still_works(page, live):
    assert page.current_url == f"http://127.0.0.1:{live.port}/"
    page.refresh()
    until(page, READY)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_fits_has_a_name_and_can_be_read(page, size, scheme):
    hummed_page.resize(page, size, scheme)
    recorded(page, 0.2)
    page.execute_script("document.querySelector('details').open = true")
    assert page.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
    unnamed = page.execute_script(
        """const named = it => it.getAttribute('aria-label') || it.labels?.length || it.textContent.trim();
        return [...document.querySelectorAll('button, input, select, a, canvas')]
          .filter(it => !it.closest('[aria-hidden=true]') && !named(it)).map(it => it.outerHTML);"""
    )
    assert unnamed == []
    contrasts = page.execute_script(CONTRASTS)
    assert contrasts and min(contrasts.values()) >= 4.5, contrasts
    hummed_page.resize_back(page)


def test_a_model_that_nothing_steers_has_everything_but_steering(browser, live, folder):
    (folder / "plain").mkdir()
    with live_server.running(PLAIN, folder / "plain") as plain:
        browser.get(plain.address)
        until(browser, READY)
        recorded(browser, 0.3)
        shown = "[...document.querySelectorAll('.field')].filter(it => it.offsetParent).map(it => it.textContent.trim())"
        names = [text.split()[0] for text in browser.execute_script(f"return {shown}")]
        assert names == ["Variations", "Temperature", "Sample"]
        assert browser.find_elements(By.CSS_SELECTOR, ".editor") == []
        sent = downloaded(browser, folder, ".imitation a").read_bytes()
        sound = downloaded(browser, folder, ".sound a").read_bytes()
        assert plain.asked("POST", "/api/sound", sent)[2] == sound
        assert plain.interrupt() == 0


@pytest.mark.complains  # of the server that does not answer
def test_a_server_that_is_stopped_is_said_and_takes_stay(page, live):
    recorded(page, 0.3)
    assert live.interrupt() == 0
    page.find_element(By.ID, "again").click()
    until(page, "return document.querySelector('.told.fault') !== null")
    told = page.find_element(By.CSS_SELECTOR, ".told").text
    assert told.startswith("The server does not answer. Start it again")
    assert page.find_element(By.CSS_SELECTOR, ".told button").text == "Try again"
    page.find_element(By.CSS_SELECTOR, ".sound figcaption button").click()  # what is there plays
    until(page, "return document.querySelector('.sound button').textContent === 'Stop'")
