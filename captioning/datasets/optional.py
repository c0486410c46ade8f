"""What a data set may hold beyond captions: boxes, scene facts, phrases. Absent files are no error.

The lessons use these to show what is there and to go on where it is not.
"""

from __future__ import annotations

import csv
from pathlib import Path

from pycocotools.coco import COCO

from captioning.datasets.instances import load_instances
from captioning.datasets.picturebook.scene import Scene, load_scenes


def read_instances(data: str | Path, split: str) -> COCO | None:
    """Boxes, outlines and categories of `annotations/instances_SPLIT.json`, or None without it.

    Raises:
        ValueError: see `load_instances`.
    """
    path = Path(data) / "annotations" / f"instances_{split}.json"
    return load_instances(path) if path.is_file() else None


def read_scenes(data: str | Path, split: str) -> dict[int, Scene]:
    """Scenes of `annotations/scenes_SPLIT.json` by image id; empty without the file.

    Raises:
        ValueError: the file does not hold scenes.
    """
    path = Path(data) / "annotations" / f"scenes_{split}.json"
    return load_scenes(path) if path.is_file() else {}


def read_phrases(data: str | Path, split: str) -> list[dict[str, str]]:
    """Rows of the table `annotations/finecapeval_SPLIT.csv`; empty without the file."""
    path = Path(data) / "annotations" / f"finecapeval_{split}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def list_splits(data: str | Path) -> list[str]:
    """Names of the splits with captions, train first, then val and test, then any others."""
    folder = Path(data) / "annotations"
    names = {path.stem.removeprefix("captions_") for path in folder.glob("captions_*.json")}
    usual = [name for name in ("train", "val", "test") if name in names]
    return usual + sorted(names - set(usual))
