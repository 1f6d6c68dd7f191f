"""The page to hum into, driven in Chromium with a file for a microphone: recorded, read, downloaded."""

import csv
import pathlib
import wave

import numpy as np
import soundfile

import chromium
import waiting

MICROPHONE_HZ = 48_000
READY = "return document.documentElement.dataset.ready === 'true'"
MADE = (
    "return document.querySelectorAll('.take').length > 0 && !document.querySelector('.take.busy')"
)
STATUS = "return document.getElementById('status').textContent"


def tone(seconds: float, hz: float) -> np.ndarray:
    """A note [samples] at MICROPHONE_HZ whose level sways."""
    time_s = np.arange(round(seconds * MICROPHONE_HZ)) / MICROPHONE_HZ
    return 0.4 * np.sin(2 * np.pi * hz * time_s) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_s))


def start(folder: pathlib.Path):
    """A browser whose microphone hears a tone, and which downloads into folder / "downloads"."""
    with wave.open(str(folder / "microphone.wav"), "wb") as file:  # Chromium reads 16 bits alone
        file.setparams((1, 2, MICROPHONE_HZ, 0, "NONE", ""))
        file.writeframes((tone(2.0, 220.0) * 32_767).astype("<i2").tobytes())
    (folder / "downloads").mkdir()
    driver = chromium.start(
        "use-fake-device-for-media-stream",
        "use-fake-ui-for-media-stream",
        f"use-file-for-fake-audio-capture={folder / 'microphone.wav'}",
    )
    where = {"behavior": "allow", "downloadPath": str(folder / "downloads")}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    return driver


def until(driver, script: str):
    """What a script returns, once that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, waiting.HANG_S, 0.05).until(lambda it: it.execute_script(script))


def status_of(driver) -> str:
    """What the page says."""
    return driver.execute_script(STATUS)


def recorded(page, seconds: float = 0.8) -> None:
    """Records a take with the button, and waits until its sound is there."""
    before = len(page.find_elements("css selector", ".take"))
    button = page.find_element("id", "record")
    button.click()
    clock = "Number.parseFloat(document.getElementById('clock').textContent)"
    until(page, f"return document.querySelector('.recording') && {clock} >= {seconds}")
    button.click()
    until(page, f"return document.querySelectorAll('.take').length > {before}")
    until(page, MADE)


def give(page, path: pathlib.Path) -> None:
    """Gives the page a file, as one that the user has chosen."""
    page.find_element("id", "file").send_keys(str(path))


def downloaded(page, folder: pathlib.Path, selector: str) -> pathlib.Path:
    """The file that the first such link downloads."""
    link = page.find_element("css selector", selector)
    path = folder / "downloads" / link.get_attribute("download")
    path.unlink(missing_ok=True)
    link.click()
    # The browser keeps the name with an empty file, which the whole one replaces.
    waiting.until(lambda: path.is_file() and path.stat().st_size > 0)
    return path


def sound_and_curves(page, folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """What the first take has, as it is downloaded: the sound, and its curves [frames, 4]."""
    sound, _ = soundfile.read(downloaded(page, folder, ".sound a[download$='.wav']"))
    table = downloaded(page, folder, ".sound a[download$='.csv']").read_text().splitlines()
    return sound, np.array([row[1:] for row in csv.reader(table[1:])], float)


def resize(page, size: tuple[int, int], scheme: str) -> None:
    """Gives the page's window a size in pixels, and the system a scheme of colours."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def resize_back(page) -> None:
    """Takes back what resize has done."""
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# WCAG's contrast of each text with what lies behind it.
CONTRASTS = """
const channels = colour => colour.match(/[\\d.]+/g)
  .map(channel => (colour.startsWith('color(srgb') ? 255 : 1) * channel);
const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
  .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const behind = it => { for (; it; it = it.parentElement) {
  const found = channels(getComputedStyle(it).backgroundColor);
  if (found.length === 3 || found[3] === 1) return found; } return [255, 255, 255]; };
const found = {};
for (const it of document.querySelectorAll('h1, h2, h3, p, label, legend, strong, a, button, option')) {
  if (!it.textContent.trim() || it.disabled || it.closest('[hidden]')) continue;
  const [a, b] = [light(channels(getComputedStyle(it).color)), light(behind(it))].sort((x, y) => y - x);
  found[it.textContent.trim().slice(0, 30)] = (a + 0.05) / (b + 0.05);
}
return found;
"""
