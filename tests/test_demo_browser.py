"""The web page in a real browser: what a reader clicks works, and nothing leaves this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_bundles import served, tiny_bundle

from captioning.demo.screenshot import (
    caption_example,
    find,
    find_chromium,
    open_browser,
    picture_of,
    press,
    set_size,
    wait_for_text,
)

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="needs chromium and chromium-driver (chromedriver)"
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page over two random captioners, one of them without attention."""
    folder = tmp_path_factory.mktemp("models")
    tiny_bundle(folder / "picturebook_xe")
    tiny_bundle(folder / "plain_rnn", kind="rnn")
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One browser for all tests."""
    with open_browser() as driver:
        yield driver


@pytest.fixture
def page(browser, address: str):
    """The page, freshly loaded; afterwards the browser's records are checked."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # forget what came before
    set_size(browser, 1280, 900)
    browser.get(f"{address}?__theme=light")
    find(browser, "#go")
    yield browser
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert complaints == []
    assert foreign_requests(browser, address) == []


def foreign_requests(driver, address: str) -> list[str]:
    """Addresses that the page asked for and that are not on this machine."""
    urls = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.append(message["params"]["request"]["url"])
    assert urls, "the requests are on record"
    return [url for url in urls if not url.startswith((address, "data:", "blob:"))]


def overlay_source(driver) -> str:
    return find(driver, "#overlay img").get_attribute("src")


def test_example_caption_word_overlay(page) -> None:
    caption_example(page, 3)
    words = page.find_elements("css selector", "#captions .best button.word")
    assert len(words) == 6
    first = overlay_source(page)
    picked = [word.get_attribute("aria-pressed") for word in words].index("true")
    other = words[(picked + 2) % 6]
    other.click()
    wait_for_text(page, "#map-title", f"Where it looked for {other.get_attribute('data-text')}")
    assert other.get_attribute("aria-pressed") == "true"
    waiting = iter(range(200))
    while overlay_source(page) == first:
        page.implicitly_wait(0.1)
        assert next(waiting) < 199, "the map did not change"
    assert "ms" in find(page, "#captions .took").text
    shot = picture_of(page, 1280)
    assert shot.height > 700 and len(shot.resize((200, 200)).getcolors(40_000)) > 500


def test_settings_follow_the_method(page) -> None:
    def shown(name: str) -> bool:
        return any(e.is_displayed() for e in page.find_elements("css selector", f"#{name}"))

    assert (shown("beam_size"), shown("temperature"), shown("num_samples")) == (True, False, True)
    page.find_element("css selector", "#method input[value=sample]").click()
    find(page, "#temperature")
    assert (shown("beam_size"), shown("num_samples")) == (False, True)
    wait_for_text(page, "#method", "dice")
    page.find_element("css selector", "#method input[value=greedy]").click()
    wait_for_text(page, "#method", "same every time")
    assert not any(map(shown, ("beam_size", "temperature", "num_samples")))


def test_without_attention_there_is_a_sentence(page) -> None:
    find(page, "#model input").click()
    find(page, "[role=option][aria-label=plain_rnn]").click()
    wait_for_text(page, "#facts", "Show and Tell (LSTM)\nParameters")
    caption_example(page, 1)
    wait_for_text(page, "#map-title", "no attention")
    assert page.find_elements("css selector", "#overlay img") == []


def test_no_picture_and_a_broken_one_get_a_sentence(page, tmp_path: Path) -> None:
    press(page, "#go", ".toast-body", "Please choose a picture first.")
    find(page, ".toast-close").click()
    (tmp_path / "broken.jpg").write_bytes(b"this is no picture")
    page.find_element("css selector", "#picture input[type=file]").send_keys(
        str(tmp_path / "broken.jpg")
    )
    wait_for_text(page, "#captions", "Press Caption it")
    find(page, "#go").click()
    toast = wait_for_text(page, ".toast-body", "broken.jpg")
    assert "not a picture" in toast.text and "Traceback" not in toast.text


def test_a_telephone_needs_no_sideways_scrolling(page) -> None:
    set_size(page, 400, 860)
    caption_example(page, 1)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 400
    assert find(page, "#overlay img").size["width"] <= 400
