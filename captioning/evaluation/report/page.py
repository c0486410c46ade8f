"""The report: a folder with a web page that opens without a server and without a network.

`index.html`, its style sheet and scripts are the same for every report; what a report is about sits
in `data.js`. Captions reach the page as JSON in ASCII and are shown as text, never as HTML.

Source: the HTML report of S. Herdade, A. Kappeler, K. Boakye, J. Soares, "Image Captioning:
Transforming Objects into Words", 2019 (yahoo/object_relation_transformer): distributions of each
metric, a page for each picture, a paired comparison of two runs.
Departures: one page in place of thousands of files, plain JSON in place of a pickle, a bootstrap
interval beside the t-test, hallucinated words marked, captions without scores.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from captioning.evaluation.compare import compare
from captioning.evaluation.report.folder import MARKER, check_folder
from captioning.evaluation.report.pictures import Picture
from captioning.evaluation.report.runs import Entry, Run, model_of
from captioning.evaluation.report.thumbnails import make_thumbnails
from captioning.evaluation.report.words import describe_search, in_reading_order, meaning
from captioning.folders import whole_folder

ASSETS = Path(__file__).with_name("assets")
DIGITS = 5  # of a score on the page


def write_report(
    output: str | Path,
    runs: Sequence[Run],
    pictures: Sequence[Picture],
    thumbnail_size: int = 480,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the page of one run or of two side by side.

    Args:
        output (str | Path): folder to write; made whole or not at all.
        runs (Sequence[Run]): see `read_runs`.
        pictures (Sequence[Picture]): see `pair_pictures`, of the same runs.
        thumbnail_size (int): longest side of a picture on the page, in pixels.
        workers (int): processes that shrink pictures; 0: one for each core.
        overwrite (bool): replace a report that stands there.
        progress (bool): show a bar on stderr.

    Returns:
        dict: `page` (the file to open), `runs` (their names), `pictures` (how many), `missing`
        (picture file to the reason why it is not shown).

    Raises:
        OSError: the folder exists (see `check_folder`) or cannot be written.
    """
    with whole_folder(output, check_folder, overwrite) as folder:
        for name in ("page", "thumbnails"):
            (folder / name).mkdir()
        for path in sorted(ASSETS.rglob("*.*")):
            shutil.copyfile(path, folder / path.relative_to(ASSETS))
        paths = [picture.path for picture in pictures]
        reasons = make_thumbnails(paths, folder / "thumbnails", thumbnail_size, workers, progress)
        text = json.dumps(page_data(runs, pictures, reasons), allow_nan=False)
        script = f"globalThis.REPORT = JSON.parse({json.dumps(text)});\n"  # parsed at once
        (folder / "data.js").write_text(script, "ascii")
        shown = {"page": str(Path(output) / "index.html"), "runs": [run.name for run in runs]}
        marker = {"format": "captioning report", "version": 1, "pictures": len(pictures)}
        (folder / MARKER).write_text(json.dumps(marker | {"runs": shown["runs"]}) + "\n", "ascii")
    missing = {
        picture.file or str(picture.key): reason
        for picture, reason in zip(pictures, reasons, strict=True)
        if reason
    }
    return shown | {"pictures": len(pictures), "missing": missing}


def page_data(
    runs: Sequence[Run], pictures: Sequence[Picture], reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything the page shows, in columns: position i of each list belongs to picture i.

    Args:
        runs (Sequence[Run]): one or two.
        pictures (Sequence[Picture]): their pictures.
        reasons (Sequence[str]): why a picture has no thumbnail, "" where it has one.

    Returns:
        dict: `runs` (with `captions`, `scores`, ...), `metrics`, `pictures`, `comparison`,
        `written`; only what JSON has.
    """
    keys = in_reading_order(
        key for picture in pictures for entry in picture.entries if entry for key in entry.scores
    )
    whole = in_reading_order(key for run in runs for key in run.overall)
    return {
        "written": date.today().isoformat(),
        "runs": [_run_data(run, number, pictures, keys) for number, run in enumerate(runs)],
        "metrics": {key: meaning(key)._asdict() for key in in_reading_order([*keys, *whole])},
        "pictures": {
            "ids": [_text(picture.key) for picture in pictures],
            "files": [_text(picture.file) for picture in pictures],
            "references": [picture.references for picture in pictures],
            "missing": _sparse(
                reason.removeprefix(f"{picture.path}: ")
                for picture, reason in zip(pictures, reasons, strict=False)
            ),
        },
        "comparison": _comparison(runs, pictures) if len(runs) == 2 and whole else None,
    }


def _run_data(
    run: Run, number: int, pictures: Sequence[Picture], keys: Sequence[str]
) -> dict[str, Any]:
    """The columns of one run; without folders of this machine."""
    entries = [picture.entries[number] for picture in pictures]
    scores = {key: [_short(entry and entry.scores.get(key)) for entry in entries] for key in keys}
    settings = run.settings
    generation, model = settings.get("generation"), model_of(settings)
    facts = {
        "model": "" if model == run.name else model,
        "data": Path(str(settings.get("data", ""))).name,
        "split": str(settings.get("split", "")),
        "search": describe_search(generation) if isinstance(generation, dict) else "",
        "written": run.day,
    }
    return {
        "name": run.name,
        "facts": {key: value for key, value in facts.items() if value},
        "overall": {key: _short(value) for key, value in run.overall.items()},
        "captions": [entry and entry.caption for entry in entries],
        "scores": {k: column for k, column in scores.items() if any(v is not None for v in column)},
        "hallucinated": _sparse(entry and entry.hallucinated for entry in entries),
        "pieces": _sparse(entry and mark_pieces(entry) for entry in entries),
        "samples": _sparse(entry and [_sample(one) for one in entry.samples] for entry in entries),
    }


def _sample(sample: dict[str, Any]) -> dict[str, Any]:
    """A further caption with two of its numbers: the first score and what the model thinks."""
    keys = in_reading_order(key for key in sample if key != "caption")
    shown = [key for key in keys if key in (keys[0], "logprob")]
    return {"caption": sample["caption"]} | {key: _short(sample[key]) for key in shown}


def mark_pieces(entry: Entry) -> list[str]:
    """The caption in pieces, of which every second one names something that is not there.

    Returns:
        list[str]: an odd number of pieces, the first perhaps empty; nothing without such words.
    """
    pieces, rest = [], entry.caption
    for label in entry.hallucinated:
        words = label.partition(" (")[0].split()  # "puppies (dog)"
        phrase = r"[\s-]+".join(map(re.escape, words))
        found = re.search(rf"(?<!\w){phrase}(?!\w)", rest, re.IGNORECASE) if words else None
        if found:
            pieces += [rest[: found.start()], found[0]]
            rest = rest[found.end() :]
    return [*pieces, rest] if pieces else []


def _comparison(runs: Sequence[Run], pictures: Sequence[Picture]) -> dict[str, Any]:
    """Both runs on the pictures that both captioned; differences are second minus first.

    Returns:
        dict: `pictures` and `metrics` as `compare` gives them, or `refused`: why it does not.
    """
    results: list[dict[str, Any]] = [{"per_image": [], "settings": run.settings} for run in runs]
    for picture in pictures:
        if all(picture.entries):
            for result, entry in zip(results, picture.entries, strict=True):
                result["per_image"].append({"image_id": picture.key, **entry.scores})
    try:
        compared = compare(results[1], results[0])
    except ValueError as error:
        return {"refused": str(error)}
    rows = compared["metrics"].items()
    compared["metrics"] = {key: row | {"a": row["b"], "b": row["a"]} for key, row in rows}
    return compared


def _sparse(values: Any) -> dict[str, Any]:
    """Those of a column that say something, by position."""
    return {str(index): value for index, value in enumerate(values) if value}


def _short(value: float | None) -> float | None:
    """Few digits: half of a page's bytes are scores."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _text(value: Any) -> str:
    """A name that fits into an address: without halves of characters."""
    return str(value).encode("utf-8", "replace").decode("utf-8")
