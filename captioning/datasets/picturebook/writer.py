"""Writes the picture book as a data-set folder: images, captions, instances, scenes, phrases."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from captioning.datasets.picturebook.describe import describe
from captioning.datasets.picturebook.phrase_table import write_phrase_table
from captioning.datasets.picturebook.pictures import make_picture, picture_rng
from captioning.datasets.picturebook.sampling import HELD_OUT_SHARE
from captioning.datasets.picturebook.scene import CATEGORIES, SUPERCATEGORIES, Scene
from captioning.folders import whole_folder
from captioning.workers import in_processes

GENERATOR_VERSION = "1.0"
JPEG_QUALITY = 90
FIRST_IDS = {"train": 0, "val": 1_000_000, "test": 2_000_000}  # image id = this + index from 1
CHUNK = 15  # pictures a worker is given at a time
MIN_SIZE, MAX_SIZE = 32, 1024


@dataclass
class Page:
    """A drawn picture without its pixels: what the annotation files need."""

    file_name: str
    scene: Scene
    captions: list[str]


def write_picturebook(
    output: str | Path,
    train: int = 3000,
    val: int = 300,
    test: int = 300,
    image_size: int = 128,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
) -> dict:
    """Draw the picture book and write it in the data-set folder's layout.

    Args:
        output (str | Path): folder to make.
        train (int): pictures in train, at least 0; so for `val` and `test`.
        val (int): pictures in val.
        test (int): pictures in test.
        image_size (int): width and height in pixels, 32 to 1024.
        seed (int): equal seeds give equal folders, whatever the number of workers.
        workers (int | None): processes; None for one per core, at most 8.
        progress (bool): whether to show a bar on stderr.
        overwrite (bool): whether an existing picture book at `output` is replaced.

    Returns:
        dict: what `info.json` holds.

    Raises:
        ValueError: a count or size out of range.
        FileExistsError: `output` exists and is not to be, or must not be, replaced.
        OSError: `output` cannot be written (no permission, full disk).
    """
    counts = {"train": train, "val": val, "test": test}
    _check_settings(counts, image_size, workers)
    jobs = [(split, index) for split, count in counts.items() for index in range(1, count + 1)]
    workers = min(workers or min(8, os.cpu_count() or 1), len(jobs) // CHUNK)
    with whole_folder(output, _check_output, overwrite) as folder:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        task = partial(_draw_page, folder=folder, seed=seed, image_size=image_size)
        pages: dict[str, list[Page]] = {split: [] for split in counts}
        drawn = in_processes(task, jobs, workers, CHUNK)
        bar = tqdm(drawn, "picture book", len(jobs), unit="pictures", disable=not progress)
        for (split, _), page in zip(jobs, bar, strict=True):
            pages[split].append(page)
        info = _info(pages, image_size, seed)
        _write_annotations(folder / "annotations", pages, image_size, info)
        _write_json(folder / "info.json", info, indent=2)
    return info


def _check_settings(counts: dict[str, int], image_size: int, workers: int | None) -> None:
    for name, count in counts.items():
        if not 0 <= count < 1_000_000:
            raise ValueError(f"{name} is {count}; expected a number of pictures from 0 to 999999")
    if not sum(counts.values()):
        raise ValueError("train, val and test are all 0; expected at least one picture")
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise ValueError(f"image_size is {image_size}; expected {MIN_SIZE} to {MAX_SIZE} pixels")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")


def _check_output(output: str | Path, overwrite: bool) -> None:
    output = Path(output)
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not overwrite:
        raise FileExistsError(
            f"{output} exists already; choose another folder or allow overwriting"
        )
    try:
        name = json.loads((output / "info.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        name = ""
    if name != "picturebook":
        raise FileExistsError(f"{output} exists and is not a picture book; it is not overwritten")


# --- one picture -------------------------------------------------------------------------------


def is_novel(split: str, index: int) -> bool:
    """Whether a picture is about a held-out combination: 45 % of val and test, spread evenly."""
    return split != "train" and (index * 9) % 20 < 9


def _draw_page(job: tuple[str, int], folder: Path, seed: int, image_size: int) -> Page:
    split, index = job
    image, scene = make_picture(
        seed, split, index, FIRST_IDS[split] + index, is_novel(split, index), image_size
    )
    file_name = f"{split}_{index:06d}.jpg"
    image.save(folder / "images" / file_name, quality=JPEG_QUALITY, subsampling=0)
    return Page(file_name, scene, describe(scene, picture_rng(seed, split, index, "captions")))


# --- files -------------------------------------------------------------------------------------


def _info(pages: dict[str, list[Page]], image_size: int, seed: int) -> dict:
    return {
        "name": "picturebook",
        "description": "A drawn picture book with captions, boxes, polygons and scene facts.",
        "version": GENERATOR_VERSION,
        "licence": "MIT",
        "source": "drawn by captioning.datasets.picturebook",
        "seed": seed,
        "image_size": image_size,
        "counts": {split: len(rows) for split, rows in pages.items()},
        "captions_per_image": 5,
        "held_out": "category of the subject, its colour, predicate",
        "held_out_share": HELD_OUT_SHARE,
        "novel_fraction": {
            split: round(sum(page.scene.novel for page in rows) / len(rows), 4) if rows else 0.0
            for split, rows in pages.items()
        },
    }


def _write_annotations(folder: Path, pages: dict[str, list[Page]], size: int, info: dict) -> None:
    licences = [{"id": 1, "name": "MIT", "url": "https://opensource.org/license/mit"}]
    for split, rows in pages.items():
        images = [
            {
                "id": page.scene.image_id,
                "file_name": page.file_name,
                "width": size,
                "height": size,
                "license": 1,
            }
            for page in rows
        ]
        head = {"info": info, "licenses": licences, "images": images}
        captions = [
            {"id": page.scene.image_id * 10 + i, "image_id": page.scene.image_id, "caption": text}
            for page in rows
            for i, text in enumerate(page.captions)
        ]
        _write_json(folder / f"captions_{split}.json", {**head, "annotations": captions})
        instances = [row for page in rows for row in _instances(page.scene)]
        categories = coco_categories()
        _write_json(
            folder / f"instances_{split}.json",
            {**head, "categories": categories, "annotations": instances},
        )
        scenes = [page.scene.to_dict() for page in rows]
        _write_json(folder / f"scenes_{split}.json", {"info": info, "scenes": scenes})
    table = ((page.file_name, page.scene, page.captions) for page in pages["test"])
    write_phrase_table(folder / "finecapeval_test.csv", table)


def coco_categories() -> list[dict]:
    """The twenty categories as COCO lists them, with ids from 1 in the order of `CATEGORIES`."""
    groups = {name: group for group, names in SUPERCATEGORIES.items() for name in names}
    return [
        {"id": i, "name": name, "supercategory": groups[name]}
        for i, name in enumerate(CATEGORIES, start=1)
    ]


def _instances(scene: Scene) -> list[dict]:
    rows = []
    for i, instance in enumerate(scene.instances):
        entity = scene.entities[instance.entity_id]
        rows.append(
            {
                "id": scene.image_id * 100 + i,
                "image_id": scene.image_id,
                "category_id": CATEGORIES.index(entity.category) + 1,
                "bbox": list(instance.bbox),
                "area": instance.area,
                "segmentation": instance.segmentation,
                "iscrowd": 0,
                "entity_id": instance.entity_id,
                "attributes": {"colour": entity.colour, "size": entity.size, "pose": entity.pose},
            }
        )
    return rows


def _write_json(path: Path, content: dict, indent: int | None = None) -> None:
    separators = None if indent else (",", ":")
    text = json.dumps(content, indent=indent, separators=separators, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
