"""Seconds until the report of 5,000 pictures can be used, against a page that builds all of them.

Two runs with five references a picture, synthetic words and scores. Both pages show the same cards
from the same data in the same Chromium, opened from the disk in turns. A page counts as open when
its first screen of cards is drawn and the browser waits for the reader again (a performance mark,
counted from the start of the navigation). Also measured: until the pictures of the first screen
are there, the first search in all captions, the view of the scores, and writing the report.

The naive pages (named so in the result) build every card at once, as most reports do; one of them
leaves it to the browser (`loading=lazy`) to load the pictures as they come into view.

Needs Chromium with its driver; writes `results/report_page.json`.

Usage: python benchmarks/report_page.py [--pictures 5000] [--opens 9]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from captioning.demo.screenshot import open_browser
from captioning.evaluation.report.page import write_report
from captioning.evaluation.report.pictures import find_data, pair_pictures
from captioning.evaluation.report.runs import read_runs

RESULT = Path(__file__).parent / "results" / "report_page.json"
REFERENCES, DISTINCT, GOAL = 5, 50, 2.0
WORDS = "a the red dog boy girl kite boat runs sits holds near under on two small green sky".split()
METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE", "CHAIRi")

NAIVE = """
const loading = location.search === "?lazy" ? "lazy" : "eager";
thumbnail = (index, alt) =>
  make("img", {loading, decoding: "async", alt, src: `thumbnails/${index}.jpg`});
document.getElementById("gallery").hidden = false;
const wallOfAll = make("ol", {class: "naive"});
for (let index = 0; index < TOTAL; index += 1) {
  wallOfAll.append(make("li", {}, cardOf(index, null)));
}
document.getElementById("gallery").append(wallOfAll);
requestAnimationFrame(() => setTimeout(() => performance.mark("report-ready")));
"""
NAIVE_STYLE = """<style>.naive { display: grid; gap: 16px; list-style: none; padding: 0;
grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); }</style>"""

READY = """
const answer = arguments[0];
const look = () => {
  const [mark] = performance.getEntriesByName("report-ready");
  if (!mark) return setTimeout(look, 20);
  const seen = [...document.images].filter((i) => i.getBoundingClientRect().top < innerHeight);
  Promise.all(seen.map((image) => image.decode())).then(
    () => answer([mark.startTime / 1000, performance.now() / 1000, document.images.length]));
};
look();
"""
SEARCH = """
const answer = arguments[0];
const began = performance.now();
change({q: "green dog"});
const end = () => answer([(performance.now() - began) / 1000, list.length]);
requestAnimationFrame(() => setTimeout(end));
"""
SCORES = """
const answer = arguments[0];
const began = performance.now();
location.hash = "#/scores";
const end = () => answer((performance.now() - began) / 1000);
addEventListener("hashchange", () => requestAnimationFrame(() => setTimeout(end)), {once: true});
"""


def sentence(rng: random.Random) -> str:
    """About as long as a caption of COCO."""
    return " ".join(rng.choices(WORDS, k=rng.randint(8, 13))).capitalize() + "."


def make_data(folder: Path, count: int) -> None:
    """A data set of `count` photos of 640 x 480 pixels, of which 50 are different."""
    rng, noise = random.Random(0), np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(DISTINCT):
        small = Image.fromarray(noise.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg")
    images, annotations = [], []
    for number in range(count):
        name = f"{number:06}.jpg"
        os.link(folder / f"{number % DISTINCT}.jpg", folder / "images" / name)
        images.append({"id": number, "file_name": name})
        for _ in range(REFERENCES):
            row = {"id": len(annotations), "image_id": number, "caption": sentence(rng)}
            annotations.append(row)
    record = {"images": images, "annotations": annotations}
    (folder / "annotations" / "captions_test.json").write_text(json.dumps(record), "utf-8")


def make_result(path: Path, data: Path, count: int, seed: int) -> None:
    """A result of `evaluate` with random captions and scores."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = [
        {"image_id": number, "file_name": f"{number:06}.jpg", "caption": sentence(rng)}
        | {key: rng.betavariate(2, 3) for key in METRICS}
        | {"hallucinated": ["boat"] if rng.random() < 0.1 else []}
        for number in range(count)
    ]
    overall = {key: statistics.fmean(row[key] for row in rows) for key in METRICS}
    settings = {"data": str(data), "split": "test"}
    record = {"overall": overall, "per_image": rows, "settings": settings}
    path.write_text(json.dumps(record), "utf-8")


def write_naive(page: Path) -> Path:
    """Beside the report: the same cards, built all at once."""
    path = page.with_name("naive.html")
    text = page.read_text("utf-8").replace("</head>", f"{NAIVE_STYLE}</head>")
    for name in ("tools", "scores", "picture"):
        text = text.replace(f'<script src="page/{name}.js" defer></script>\n', "")
    path.write_text(text.replace("page/app.js", "naive.js"), "utf-8")
    page.with_name("naive.js").write_text(NAIVE, "utf-8")
    return path


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median_s": round(statistics.median(values), 3),
        "min_s": round(min(values), 3),
        "max_s": round(max(values), 3),
    }


def measure(pages: dict[str, str], opens: int) -> dict[str, Any]:
    """Open the pages in turns; the first round warms up."""
    times: dict[str, list[list[float]]] = {name: [] for name in pages}
    searches, scores = [], []
    with open_browser() as driver:
        driver.set_script_timeout(300)
        for turn in range(opens + 1):
            for name, page in pages.items():
                driver.get("about:blank")
                driver.get(page)
                taken = driver.execute_async_script(READY)
                if turn:
                    times[name].append(taken)
                if turn and name == "report":
                    searches.append(driver.execute_async_script(SEARCH))
                    scores.append(driver.execute_async_script(SCORES))
        browser = driver.capabilities["browserVersion"]
    record: dict[str, Any] = {
        name: summary([row[0] for row in rows])
        | {"with_pictures": summary([row[1] for row in rows]), "cards_with_picture": rows[0][2]}
        for name, rows in times.items()
    }
    record["search"] = summary([seconds for seconds, _ in searches]) | {"found": searches[0][1]}
    record["scores_view"] = summary(scores)
    return record | {"chromium": browser, "opens": opens}


def main() -> None:
    """Make, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5000, help="pictures of the report")
    parser.add_argument("--opens", type=int, default=9, help="how often each page is opened")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder / "data", options.pictures)
        files = [folder / "first.json", folder / "second.json"]
        for seed, path in enumerate(files):
            make_result(path, folder / "data", options.pictures, seed)
        began = time.perf_counter()
        runs = read_runs(files)
        pictures = pair_pictures(runs, find_data(runs)[0])
        shown = write_report(folder / "report", runs, pictures)
        seconds = time.perf_counter() - began
        page = Path(shown["page"])
        sizes = [path.stat().st_size for path in page.parent.rglob("*") if path.is_file()]
        naive = write_naive(page).as_uri()
        pages = {
            "report": page.as_uri(),
            "naive page": naive,
            "naive page, lazy pictures": f"{naive}?lazy",
        }
        record = measure(pages, options.opens)
        data_bytes = page.with_name("data.js").stat().st_size
    medians = [record[name]["median_s"] for name in pages]
    record = {
        "pictures": options.pictures,
        "references_per_picture": REFERENCES,
        **record,
        "goal_s": GOAL,
        "naive_to_report": round(medians[1] / medians[0], 1),
        "naive_lazy_to_report": round(medians[2] / medians[0], 1),
        "writing_s": round(seconds, 1),
        "writing_pictures_per_second": round(options.pictures / seconds, 1),
        "data_mb": round(data_bytes / 2**20, 1),
        "folder_mb": round(sum(sizes) / 2**20, 1),
        "cores": os.cpu_count(),
    }
    options.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
