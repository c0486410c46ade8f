"""The report in a real browser, opened from the disk: what one does there works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from report_cases import ODD_CAPTIONS, ODD_ID, result_of, save, save_lines
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from captioning.demo.screenshot import (
    find,
    find_chromium,
    open_browser,
    set_size,
    wait_for_images,
    wait_for_text,
)
from captioning.evaluation.report.page import write_report
from captioning.evaluation.report.pictures import find_data, pair_pictures
from captioning.evaluation.report.runs import read_runs

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="needs chromium and chromium-driver (chromedriver)"
)
MANY = 4000


def report_of(output: Path, *files: Path) -> Path:
    runs = read_runs(files)
    pictures = pair_pictures(runs, find_data(runs)[0])
    write_report(output, runs, pictures, thumbnail_size=64, workers=1)
    return output / "index.html"


@pytest.fixture(scope="module")
def results(tiny_data, tmp_path_factory) -> list[dict]:
    """Two results; the fourth picture has an odd id, the sixth no CIDEr in the first."""
    records = [result_of(tiny_data, 0), result_of(tiny_data, 1, odd=False)]
    for record in records:
        record["per_image"][3]["image_id"] = ODD_ID
    records[0]["per_image"][5]["CIDEr"] = None
    sample = {"caption": "<b>Another</b> one", "logprob": -2.5}
    records[0]["per_image"][0]["samples"] = [dict(records[0]["per_image"][0]), sample]
    return records


@pytest.fixture(scope="module")
def pages(results, tiny_data, tmp_path_factory) -> dict[str, str]:
    """Addresses of four reports."""
    folder = tmp_path_factory.mktemp("reports")
    files = [save(folder / f"{name}.json", r) for name, r in zip("ab", results, strict=True)]
    said = [("train_000.png", "A dog."), ("train_000.png", "A cat."), ("none.png", "A kite.")]
    rows = [{"file": str(tiny_data / "images" / f), "caption": c, "logprob": -1} for f, c in said]
    many = [
        {"image_id": i, "caption": f"Number {i} of the many.", "CIDEr": i / MANY}
        for i in range(MANY)
    ]
    made = {
        "one": report_of(folder / "one", files[0]),
        "two": report_of(folder / "two", *files),
        "none": report_of(folder / "none", save_lines(folder / "lines.jsonl", rows)),
        "many": report_of(
            folder / "many",
            save(folder / "many.json", {"per_image": many, "overall": {"CIDEr": 1}}),
        ),
    }
    return {name: path.as_uri() for name, path in made.items()}


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """One browser for all tests."""
    with open_browser() as driver:
        yield driver


@pytest.fixture
def visit(browser, pages):
    """Open a report; afterwards the browser's records are checked."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # forget what came before
    set_size(browser, 1280, 900)

    def open_page(name: str, route: str = "#/"):
        browser.get("about:blank")
        browser.get(pages[name] + route)
        return browser

    yield open_page
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return window.hacked") is None
    urls = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert urls and all(url.startswith(("file:", "data:", "about:")) for url in urls)


def texts(driver, selector: str) -> list[str]:
    return [node.text for node in driver.find_elements("css selector", selector)]


def file_order(driver) -> list[int]:
    """Positions of the pictures on the wall, in reading order."""
    cards = driver.find_elements("css selector", "#gallery .card")
    return [int(card.get_attribute("data-index")) for card in cards]


def route(driver) -> str:
    return driver.execute_script("return location.hash")


def wait_for_route(driver, part: str) -> None:
    WebDriverWait(driver, 20).until(lambda driver: part in route(driver), f"no {part}")


def test_captions_are_text(visit) -> None:
    driver = visit("one")
    find(driver, ".card")
    wait_for_images(driver)
    said = texts(driver, "#gallery .said")
    for caption in ODD_CAPTIONS[:4]:
        assert " ".join(caption.split()) in [" ".join(text.split()) for text in said]
    assert texts(driver, "#gallery .caption i") == ["no words at all"]
    assert driver.find_elements("css selector", "main script, main b b, #gallery [onerror]") == []
    image = driver.find_elements("css selector", "#gallery .card img")[2]
    assert image.get_attribute("alt") == ODD_CAPTIONS[0]
    heights = {card.size["height"] for card in driver.find_elements("css selector", ".card")}
    assert len(heights) == 1  # long captions are cut off on the wall


def test_search(visit, results) -> None:
    driver = visit("one")
    captions = [row["caption"].lower() for row in results[0]["per_image"]]
    field = find(driver, "#search")
    Select(find(driver, "select[aria-label]")).select_by_value("captions")
    field.send_keys("kite -red")
    wanted = [i for i, text in enumerate(captions) if "kite" in text and "red" not in text]
    assert 0 < len(wanted) < 24
    wait_for_text(driver, ".status", f"{len(wanted)} of 24 pictures")
    assert file_order(driver) == wanted
    assert {text.lower() for text in texts(driver, "#gallery mark")} == {"kite"}
    assert "q=kite+-red" in route(driver)
    field.clear()
    field.send_keys('"on the"')
    wait_for_text(driver, ".status", f"{sum('on the' in text for text in captions)} of 24")
    field.clear()
    field.send_keys("heet")  # words match from their beginning
    wait_for_text(driver, ".status", "0 of 24")
    assert find(driver, "#gallery .empty").text == "No picture is like that."
    Select(find(driver, "select[aria-label]")).select_by_value("references")
    field.clear()
    field.send_keys("nothing else")
    wait_for_text(driver, ".status", " of 24")
    assert len(file_order(driver)) > 0


def test_sorting(visit, results) -> None:
    driver = visit("one")
    Select(find(driver, "#sort")).select_by_value("a:CIDEr")
    scores = [row["CIDEr"] for row in results[0]["per_image"]]
    known = [i for i, score in enumerate(scores) if score is not None]
    order = [*sorted(known, key=lambda i: -scores[i]), 5]
    assert file_order(driver)[:8] == order[:8]
    find(driver, ".field .quiet").click()
    assert file_order(driver)[:8] == [*order[-2::-1], 5][:8]  # without a score: last both ways
    assert "dir=up" in route(driver) and find(driver, ".field .quiet").text == "↑ lowest first"
    driver.refresh()  # the address holds it all
    assert file_order(driver)[:8] == [*order[-2::-1], 5][:8]


def test_hallucinated_words(visit) -> None:
    driver = visit("one", "#/?only=wrong")
    wait_for_text(driver, ".status", "1 of 24 pictures")
    assert "not there: teddy bears (teddy bear), frisbee" in find(driver, ".card .figures").text
    find(driver, ".card").click()
    marked = driver.find_elements("css selector", "#picture .sentence .wrong")
    spoken = [node.get_attribute("textContent") for node in marked]
    assert spoken == ["teddy-bears (not in the picture)", "Frisbee (not in the picture)"]
    assert "underline" in marked[0].value_of_css_property("text-decoration")
    assert find(driver, "#picture p.not-there").text == (
        "Not in the picture: teddy bears (teddy bear), frisbee."
    )


def test_one_picture_and_the_way_back(visit, results, tiny_data) -> None:
    driver = visit("one")
    find(driver, ".card[data-index='3']").click()  # its id is not made for addresses
    wait_for_text(driver, "#picture .big h1", "train_003.png")
    annotations = json.loads((tiny_data / "annotations/captions_train.json").read_text("utf-8"))
    sentence = find(driver, "#picture .sentence").get_attribute("textContent")
    assert sentence == ODD_CAPTIONS[1]
    assert ODD_ID in find(driver, "#picture figcaption").text
    driver.back()
    find(driver, ".card[data-index='0']").click()
    expected = [a["caption"] for a in annotations["annotations"] if a["image_id"] == 100]
    assert texts(driver, ".references li") == expected
    row = results[0]["per_image"][0]
    assert f"{row['CIDEr']:.3f}" in find(driver, "#picture table").text
    assert texts(driver, ".samples li") == ["<b>Another</b> one logprob −2.500"]
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()
    wait_for_text(driver, "#picture .big h1", "train_001.png")
    driver.back()
    wait_for_text(driver, "#picture .big h1", "train_000.png")
    assert driver.title.startswith("train_000.png · tiny")
    ActionChains(driver).send_keys(Keys.ESCAPE).perform()
    find(driver, ".card")
    assert driver.switch_to.active_element.get_attribute("data-index") == "0"


def test_addresses_from_elsewhere(visit) -> None:
    driver = visit("one", "#/picture/102")
    wait_for_text(driver, "#picture .sentence", ODD_CAPTIONS[0])
    driver.get(driver.current_url.replace("102", "%zz"))
    wait_for_text(driver, "#picture .empty", "no such picture")
    driver = visit("one", "#/?sort=nonsense&metric=odd&from=x&only=2")
    wait_for_text(driver, ".status", "24 pictures")


def test_keys(visit) -> None:
    driver = visit("one")
    find(driver, ".card")
    keys = ActionChains(driver)
    keys.send_keys("/").perform()
    assert driver.switch_to.active_element.get_attribute("id") == "search"
    driver.execute_script("document.querySelector('.card').focus()")
    for key, index in ((Keys.ARROW_RIGHT, "1"), (Keys.END, "23"), (Keys.HOME, "0")):
        ActionChains(driver).send_keys(key).perform()
        assert driver.switch_to.active_element.get_attribute("data-index") == index
    ActionChains(driver).send_keys(Keys.ARROW_DOWN).send_keys(Keys.ENTER).perform()
    wait_for_route(driver, "#/picture/104")


def test_two_runs(visit, pages) -> None:
    driver = visit("two", "#/scores")
    compared = driver.execute_script("return REPORT.comparison.metrics")
    rows = [row for row in texts(driver, "#scores .panels .panel:nth-child(2) tbody tr")]
    assert [row.split()[0] for row in rows] == [
        "BLEU-4",
        "CHAIR-i",
        "words",
    ]  # one CIDEr is missing
    row = compared["Bleu_4"]
    for number in (row["a"], row["b"], abs(row["low"]), abs(row["high"]), row["p"]):
        assert f"{number:.3f}" in rows[0]
    assert ("better" in rows[0]) == (row["low"] * row["high"] > 0 and row["p"] < 0.05)
    find(driver, ".scatter").send_keys(Keys.HOME)  # the largest loss
    best = driver.execute_script("return pairsOf('CIDEr')[0].index")
    assert len(driver.execute_script("return pairsOf('CIDEr')")) == 23
    find(driver, ".scatter").send_keys(Keys.ENTER)
    wait_for_route(driver, "#/picture/")
    assert len(texts(driver, "#picture .sentence")) == 2
    assert (
        driver.execute_script("return INDEX.get(decodeURIComponent(location.hash.slice(10)))")
        == best
    )
    driver.back()
    find(driver, ".scatter")
    chart = find(driver, ".charts .histogram")
    chart.send_keys(Keys.HOME, Keys.ENTER)  # the pictures of its first bar
    wait_for_route(driver, "metric=CIDEr")
    chip = find(driver, ".chip")
    assert chip.text.startswith("CIDEr: below")
    shown = int(find(driver, ".status").text.split()[0])
    assert 0 < shown < 24 and len(file_order(driver)) == min(shown, len(file_order(driver)))
    chip.click()
    wait_for_text(driver, ".status", "24 pictures")


def test_without_scores(visit) -> None:
    driver = visit("none")
    wait_for_text(driver, ".status", "2 pictures")
    assert texts(driver, ".said") == ["A dog.", "A kite."]
    assert driver.find_elements("css selector", "#views a, .tile") == []
    assert "1 of 2 pictures cannot be shown" in find(driver, ".notice").text
    assert texts(driver, ".nothing") == ["no picture"]
    find(driver, ".card").click()
    assert texts(driver, ".samples li") == ["A cat. logprob −1.000"]
    driver = visit("none", "#/scores")
    find(driver, ".card")  # there is no such view


def test_many_pictures_are_never_all_there(visit) -> None:
    driver = visit("many")
    wait_for_text(driver, ".status", "4,000 pictures")
    assert len(file_order(driver)) < 60
    driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    find(driver, f".card[data-index='{MANY - 1}']").click()
    wait_for_text(driver, "#picture .steps", "4,000 of 4,000")
    driver.back()
    find(driver, f".card[data-index='{MANY - 1}']")  # where the reader was
    assert len(file_order(driver)) < 60


@pytest.mark.parametrize("name", ["one", "two", "none"])
def test_a_telephone_needs_no_sideways_scrolling(visit, name) -> None:
    driver = visit(name)
    set_size(driver, 390, 844)
    for place in ("#/", "#/scores", "#/picture/102", "#/picture/106"):
        driver = visit(name, place)
        find(driver, "main > section")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 390, place


def test_light_and_dark(visit) -> None:
    driver = visit("one")
    grounds = set()
    for _ in range(3):
        find(driver, "#theme").click()
        grounds.add(find(driver, ".bar").value_of_css_property("background-color"))
    assert len(grounds) == 2
    find(driver, "#theme").click()
    kept = find(driver, "#theme").text
    driver.refresh()
    assert find(driver, "#theme").text == kept == "Colours: light"
    driver.execute_script("localStorage.clear()")
