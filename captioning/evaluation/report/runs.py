"""Read what a report is about: results with scores, or captions without.

Three kinds of file: a result of `evaluate` or `score` (one JSON object with `per_image`), the lines
of `caption --json` (`file`, `caption`, `logprob`; several lines of a file are its samples, best
first), and a COCO results file (a list of `image_id`, `caption`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from captioning.evaluation.caption_files import ImageId, read_candidates

NO_SCORES = ("image_id", "file_name", "file", "caption", "samples", "hallucinated")


@dataclass(frozen=True)
class Entry:
    """What a run says about one picture.

    Args:
        caption (str): its caption, the best one of several.
        file (str): picture file as the run names it, or "".
        scores (dict[str, float | None]): numbers of this picture; None where one is not finite.
        hallucinated (list[str]): objects of the caption that are not in the picture (CHAIR).
        samples (list[dict]): further captions, each with `caption` and perhaps numbers.
    """

    caption: str
    file: str = ""
    scores: dict[str, float | None] = field(default_factory=dict)
    hallucinated: list[str] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """Captions of one model on some pictures, with scores or without.

    Args:
        name (str): what a reader calls it.
        entries (dict[ImageId, Entry]): by image id; by path for the lines of `caption --json`.
        overall (dict[str, float | None]): scores of the whole set, empty without any.
        settings (dict): how captions and scores were made, as the result says.
        day (str): when the file was written, year-month-day.
        by_path (bool): the ids are paths of pictures.
    """

    name: str
    entries: dict[ImageId, Entry]
    overall: dict[str, float | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    day: str = ""
    by_path: bool = False


def read_runs(paths: Sequence[str | Path], names: Sequence[str] = ()) -> list[Run]:
    """One or two runs.

    Args:
        paths (Sequence): one file or two.
        names (Sequence[str]): what to call the runs; by default what the model is called, or the
            file where that does not tell two of them apart.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is none of the three kinds, or files and names are too many or too few.
    """
    check_names(paths, names)
    runs = [_read(Path(path)) for path in paths]
    models = [model_of(run.settings) for run in runs]
    choices = [names, models, [Path(path).stem for path in paths], [str(path) for path in paths]]
    for chosen in choices:
        if all(chosen) and len(set(chosen)) == len(paths):
            names = chosen
            break
    else:  # twice the same file
        names = [f"{Path(path).stem} {letter}" for path, letter in zip(paths, "AB", strict=False)]
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def model_of(settings: Mapping[str, Any]) -> str:
    """What the settings of a result call the model or the ensemble, without folders; perhaps ""."""
    return " + ".join(Path(part).name for part in str(settings.get("model", "")).split(","))


def check_names(paths: Sequence[str | Path], names: Sequence[str]) -> None:
    """Refuse too many or too few files, and names that are not theirs.

    Raises:
        ValueError: what was received and what is expected.
    """
    if len(paths) not in (1, 2):
        raise ValueError(f"runs: {len(paths)} files received, one or two expected")
    if names and (len(names) != len(paths) or not all(name.strip() for name in names)):
        raise ValueError(f"names: {','.join(names)!r} received, one for each of {len(paths)} files")


def _read(path: Path) -> Run:
    """A run that has no name yet."""
    try:
        text = path.read_text("utf-8")
        day = date.fromtimestamp(path.stat().st_mtime).isoformat()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file with results or captions") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path}: a folder, a file with results or captions expected") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file ({error})") from error
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        record = _json_lines(path, text, error)
    except RecursionError as error:
        raise ValueError(f"{path}: JSON nested too deep for a result") from error
    if isinstance(record, dict) and "file" in record and "per_image" not in record:
        record = [record]  # a single line
    if isinstance(record, dict):
        return _result(path, record, day)
    if isinstance(record, list) and record and isinstance(record[0], dict) and "file" in record[0]:
        return Run("", _by_path(path, record), day=day, by_path=True)
    entries = {image_id: Entry(text) for image_id, text in read_candidates(path).items()}
    return Run("", entries, day=day)


def _json_lines(path: Path, text: str, whole: json.JSONDecodeError) -> list[Any]:
    """The objects of a file that is no single piece of JSON."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if not rows:
                raise ValueError(f"{path}: not JSON ({whole})") from error
            raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
    if not rows:
        raise ValueError(f"{path}: empty, results or captions expected")
    return rows


def _by_path(path: Path, rows: Sequence[Any]) -> dict[ImageId, Entry]:
    """Lines of `caption --json`; the first of a picture is its caption, the others are samples."""
    entries: dict[ImageId, Entry] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}: line {number}"
        if not isinstance(row, dict) or not isinstance(row.get("file"), str) or not row["file"]:
            raise ValueError(f"{where} names no 'file'; a line of `caption --json` expected")
        entry = _entry(row, where)
        if row["file"] in entries:
            entries[row["file"]].samples.append({"caption": entry.caption} | entry.scores)
        else:
            entries[row["file"]] = entry
    return entries


def _result(path: Path, record: Mapping[str, Any], day: str) -> Run:
    """A result of `evaluate` or `score`."""
    rows, overall, settings = (record.get(key) for key in ("per_image", "overall", "settings"))
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path}: no list 'per_image'; a result of `evaluate` expected")
    entries: dict[ImageId, Entry] = {}
    for index, row in enumerate(rows):
        where = f"{path}: per_image[{index}]"
        image_id = row.get("image_id") if isinstance(row, dict) else None
        if isinstance(image_id, bool) or not isinstance(image_id, int | str):
            raise ValueError(f"{where}: image_id is {image_id!r}, a number or a string expected")
        if image_id in entries:
            raise ValueError(f"{where} is a second caption for image {image_id!r}; one expected")
        entries[image_id] = _entry(row, where)
    for name, part in (("overall", overall), ("settings", settings)):
        if part is not None and not isinstance(part, dict):
            raise ValueError(f"{path}: {name!r} is {part!r}, an object expected")
    return Run("", entries, numbers(overall or {}), settings or {}, day)


def _entry(row: Mapping[str, Any], where: str) -> Entry:
    caption = row.get("caption")
    if not isinstance(caption, str):
        raise ValueError(f"{where}: 'caption' is {caption!r}, a string expected")
    file = row.get("file_name", row.get("file", ""))
    scores = numbers({key: value for key, value in row.items() if key not in NO_SCORES})
    wrong = [label for label in _list(row, "hallucinated") if isinstance(label, str)]
    return Entry(caption, file if isinstance(file, str) else "", scores, wrong, _samples(row))


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    return row[key] if isinstance(row.get(key), list) else []


def _samples(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Captions of a picture besides the best: strings, or objects with a `caption`."""
    found = []
    for sample in _list(row, "samples"):
        sample = {"caption": sample} if isinstance(sample, str) else sample
        if isinstance(sample, dict) and isinstance(sample.get("caption"), str):
            found.append({"caption": sample["caption"]} | numbers(sample))
    return found[1:] if found and found[0]["caption"] == row["caption"] else found


def numbers(record: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a record; None in place of NaN and infinity, which no page can draw."""
    return {
        key: (value if math.isfinite(value) else None)
        for key, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
