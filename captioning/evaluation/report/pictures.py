"""Which pictures a report shows: paired over the runs, with file and reference captions.

Pictures and references come from the data-set folder that the results name (or the caller), or,
for the lines of `caption --json`, from where the lines say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from captioning.evaluation.caption_files import ImageId, read_references
from captioning.evaluation.report.runs import Entry, Run
from captioning.files import read_json


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Args:
        key (ImageId): its id, or its path.
        file (str): file name to show.
        path (Path | None): where the picture is, if that is known.
        references (list[str]): what people wrote.
        entries (list[Entry | None]): what each run says; None for a run that left it out.
    """

    key: ImageId
    file: str
    path: Path | None
    references: list[str]
    entries: list[Entry | None]


@dataclass(frozen=True)
class Known:
    """What a data-set folder says about its pictures; empty without one.

    Args:
        images (Path | None): folder of the picture files.
        files (dict[ImageId, str]): file name of each picture, relative to `images`.
        references (dict[ImageId, list[str]]): captions of each picture that has some.
    """

    images: Path | None = None
    files: dict[ImageId, str] = field(default_factory=dict)
    references: dict[ImageId, list[str]] = field(default_factory=dict)


def find_data(runs: Sequence[Run], data: str | Path = "", split: str = "") -> tuple[Known, str]:
    """Read the references and file names that belong to some runs.

    Args:
        runs (Sequence[Run]): see `read_runs`.
        data (str | Path): data-set folder; by default the one a result names.
        split (str): its split; by default the one a result names, and without any all of them.

    Returns:
        tuple: what is known, and a sentence where the folder of a result is gone, else "".

    Raises:
        FileNotFoundError: the folder of `data` does not exist.
        ValueError: it has no such split, an image is in two splits, or a file is damaged.
    """
    named = [str(run.settings["data"]) for run in runs if run.settings.get("data")]
    folder = Path(data or next(iter(named), ""))
    if not data and not named:
        return Known(), ""
    if not folder.is_dir():
        if data:
            raise FileNotFoundError(f"data: {folder}: no such folder")
        return Known(), f"{folder}: no such folder (--data names it); no pictures and references"
    splits = [str(run.settings["split"]) for run in runs if run.settings.get("split")]
    return _read_data(folder, split or next(iter(splits), "")), ""


def _read_data(folder: Path, split: str) -> Known:
    """The annotations of a split, or of all splits when none is named."""
    kinds = ("captions", "images")
    found = [path for k in kinds for path in folder.glob(f"annotations/{k}_{split or '*'}.json")]
    if not found:
        name = f"captions_{split or 'SPLIT'}.json"
        raise ValueError(f"data: {folder}/annotations has no {name}; a data-set folder expected")
    known = Known(folder / "images")
    source: dict[ImageId, Path] = {}
    for path in sorted(found):
        if path.name.startswith("captions"):
            people = read_references(path)
            files, references = people.file_names, people.captions
        else:
            files, references = _read_images(path), {}
        for image_id in files:
            if _split_of(source.setdefault(image_id, path)) != _split_of(path):
                raise ValueError(
                    f"data: image {image_id!r} is in {source[image_id].name} and in {path.name}; "
                    "a split (--split) expected"
                )
        known.files.update(files)
        known.references.update(references)
    return known


def _split_of(path: Path) -> str:
    return path.stem.split("_", 1)[1]


def _read_images(path: Path) -> dict[ImageId, str]:
    """File names of `images_SPLIT.json`: pictures without captions."""
    record = read_json(path, "list of images")
    rows = record.get("images") if isinstance(record, dict) else None
    try:
        return {row["id"]: str(row["file_name"]) for row in rows}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: 'images' with 'id' and 'file_name' expected") from error


def pair_pictures(runs: Sequence[Run], known: Known) -> list[Picture]:
    """The pictures of all runs, in the order of the first.

    Args:
        runs (Sequence[Run]): see `read_runs`.
        known (Known): see `find_data`.

    Raises:
        ValueError: the runs have no picture in common, or the data set knows none of them.
    """
    runs = [_with_ids(run, known) for run in runs]
    keys = list(dict.fromkeys(key for run in runs for key in run.entries))
    if len(runs) == 2 and not set(runs[0].entries) & set(runs[1].entries):
        raise ValueError(
            f"runs: {runs[0].name} and {runs[1].name} have no picture in common; "
            "captions of the same pictures expected"
        )
    loose = {
        str(key) for run in runs if run.by_path for key in run.entries if key not in known.files
    }
    if known.files and not loose and not any(key in known.files for key in keys):
        raise ValueError(
            f"data: {known.images.parent} knows none of the {len(keys)} pictures (the first is "
            f"{keys[0]!r}); the data set and the split that were captioned expected"
        )
    folder = os.path.commonpath([os.path.dirname(path) for path in loose]) if loose else ""
    return [_picture(key, runs, known, loose, folder) for key in keys]


def _with_ids(run: Run, known: Known) -> Run:
    """A run whose pictures are known by path: ids where the data set has them, else full paths."""
    if not run.by_path:
        return run
    images = os.path.realpath(known.images or "")
    ids = {os.path.join(images, file): image_id for image_id, file in known.files.items()}
    entries: dict[ImageId, Entry] = {}
    for name, entry in run.entries.items():
        path = os.path.realpath(name)
        entries.setdefault(ids.get(path, path), entry)
    return replace(run, entries=entries)


def _picture(
    key: ImageId, runs: Sequence[Run], known: Known, loose: set[str], folder: str
) -> Picture:
    """A picture of the data set, or a loose one (named after the folder that all are in)."""
    entries = [run.entries.get(key) for run in runs]
    if key in loose:
        name = os.path.relpath(key, folder)
        return Picture(name, name, Path(key), [], entries)
    file = known.files.get(key) or next((one.file for one in entries if one and one.file), "")
    path = known.images / file if known.images and file else None
    return Picture(key, file, path, known.references.get(key, []), entries)
