"""A picture of the page as a reader meets it: `python -m captioning.demo.screenshot OUTPUT`.

Drives a real Chromium without a window through Selenium (extra `test`). The browser tests use the
same steps.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SHOT_WIDTH = 900  # pixels; what a README shows
PATIENCE = 30  # seconds to wait for anything on the page


def find_chromium() -> tuple[str, str] | None:
    """The programs `chromium` and `chromedriver`, or None when one of them is missing."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextlib.contextmanager
def open_browser(width: int = 1280, height: int = 900) -> Iterator:
    """A Chromium without a window, with its console and its requests on record.

    Raises:
        FileNotFoundError: Chromium or its driver is not installed.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = find_chromium()
    if found is None:
        raise FileNotFoundError("chromium and chromedriver: not found; install both first")
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    os.environ["NO_PROXY"] = "localhost,127.0.0.1"  # Selenium talks to the driver on this machine
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        set_size(driver, width, height)
        yield driver
    finally:
        driver.quit()


def set_size(driver, width: int, height: int) -> None:
    """The size of the page in pixels; below 600 it is shown as on a telephone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(driver, selector: str):
    """The first visible element of a CSS selector, as soon as it is there.

    What the page redraws while it is looked at is looked for again.
    """
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    def visible(driver):
        return [e for e in driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]

    wait = WebDriverWait(driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(visible, f"{selector} did not appear")[0]


def wait_for_text(driver, selector: str, text: str):
    """The element, as soon as it holds a text."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    wait = WebDriverWait(driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda driver: text in find(driver, selector).text, f"{text!r} not in {selector}")
    return find(driver, selector)


def press(driver, selector: str, answer: str, text: str, tries: int = 4):
    """Click until the page answers: one that is still waking up does not hear the first click."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    def answered(driver) -> bool:
        return any(text in e.text for e in driver.find_elements("css selector", answer))

    for _ in range(tries):
        find(driver, selector).click()
        try:
            WebDriverWait(driver, PATIENCE / tries).until(answered)
            break
        except TimeoutException:
            continue
    return wait_for_text(driver, answer, text)


def wait_for_images(driver) -> None:
    """Until every picture and font of the page is there."""
    from selenium.webdriver.support.ui import WebDriverWait

    ready = (
        "return document.fonts.status === 'loaded' && [...document.images]"
        ".every(image => image.complete && image.naturalWidth > 0)"
    )
    WebDriverWait(driver, PATIENCE).until(lambda driver: driver.execute_script(ready))


def caption_example(driver, number: int) -> None:
    """Choose one of the drawings and let it be captioned."""
    example = f"#examples .gallery-item:nth-of-type({number})"
    press(driver, example, "#captions", "Press Caption it")
    find(driver, "#go").click()
    find(driver, "#captions button.word")


def picture_of(driver, width: int, least_height: int = 600) -> Image.Image:
    """The whole page, however long, as a picture."""
    set_size(driver, width, least_height)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    set_size(driver, width, max(height, least_height))
    wait_for_images(driver)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


def main() -> None:
    """Serve the page, caption a drawing, click a word, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="PNG or JPEG file to write")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of bundles")
    parser.add_argument("--example", type=int, default=1, help="which drawing, from 1")
    parser.add_argument("--word", default="", help="word to click; the clearest one otherwise")
    parser.add_argument("--width", type=int, default=1280, help="of the page in pixels")
    parser.add_argument("--dark", action="store_true", help="the dark colours")
    arguments = parser.parse_args()
    from captioning.demo.app import build_page, running

    with running(build_page(arguments.models)) as address, open_browser(arguments.width) as driver:
        driver.get(f"{address}?__theme={'dark' if arguments.dark else 'light'}")
        caption_example(driver, arguments.example)
        find(driver, "#overlay img")
        if arguments.word:
            find(driver, f"button.word[data-text='{arguments.word}']").click()
            wait_for_text(driver, "#map-title", arguments.word)
        shot = picture_of(driver, arguments.width)
    shot.thumbnail((SHOT_WIDTH, shot.height), Image.Resampling.LANCZOS)
    shot.save(arguments.output, optimize=True)
    print(f"{arguments.output}: {arguments.output.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
