"""Headless Chromium, driven by selenium; what it asked for and complained of."""

import json
import shutil

import pytest


def start(*flags: str):
    """A driver of a new browser; skips the test where the browser, its driver or selenium is absent."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    service = pytest.importorskip("selenium.webdriver.chrome.service").Service
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    absent = [name for name, path in programs.items() if path is None]
    if absent:
        pytest.skip(f"needs {' and '.join(absent)} (apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-background-networking",
        "autoplay-policy=no-user-gesture-required",  # a script presses play
        *flags,
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, service(programs["chromedriver"]))
    driver.set_script_timeout(110)  # selenium itself waits for 120 s
    return driver


def forget(driver) -> None:
    """Lets what it asked for and complained of so far count no more."""
    driver.get_log("performance"), driver.get_log("browser")


def asked_elsewhere(driver, own: str, *others: str) -> list[str]:
    """The addresses it has asked for that begin neither with its own server's nor with others."""
    allowed = (own, f"blob:{own}", *others)
    return [url for url in asked_for(driver) if not url.startswith(allowed)]


def asked_for(driver) -> list[str]:
    """The addresses that the browser has asked for since this was last called."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
