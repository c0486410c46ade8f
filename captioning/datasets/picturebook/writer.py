"""Writes the picture book as a data-set folder: images, captions, instances, scenes, phrases.

The folder is written under another name beside its place and renamed at the end, so whoever finds
it finds all of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from captioning.datasets.picturebook.describe import describe
from captioning.datasets.picturebook.phrase_table import write_phrase_table
from captioning.datasets.picturebook.pictures import make_picture, picture_rng
from captioning.datasets.picturebook.sampling import HELD_OUT_SHARE
from captioning.datasets.picturebook.scene import CATEGORIES, SUPERCATEGORIES, Scene

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
    output = Path(output)
    _check_output(output, overwrite)
    workers = workers or min(8, os.cpu_count() or 1)
    jobs = [(split, index) for split, count in counts.items() for index in range(1, count + 1)]
    try:
        with _temporary_folder(output) as folder:
            (folder / "images").mkdir()
            (folder / "annotations").mkdir()
            task = partial(_draw_page, folder=folder, seed=seed, image_size=image_size)
            with tqdm(
                total=len(jobs), unit="pictures", desc="picture book", disable=not progress
            ) as bar:
                pages: dict[str, list[Page]] = {split: [] for split in counts}
                for (split, _), page in zip(jobs, _run(task, jobs, workers), strict=True):
                    pages[split].append(page)
                    bar.update()
            info = _info(pages, image_size, seed)
            _write_annotations(folder / "annotations", pages, image_size, info)
            _write_json(folder / "info.json", info, indent=2)
            _move_into_place(folder, output)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"could not write the picture book to {output}: {reason}") from error
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


def _check_output(output: Path, overwrite: bool) -> None:
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


def _run(task: partial, jobs: list[tuple[str, int]], workers: int) -> Iterator[Page]:
    """Results in the order of the jobs."""
    if workers == 1 or len(jobs) <= CHUNK:
        yield from map(task, jobs)
        return
    context = multiprocessing.get_context("spawn")
    workers = min(workers, -(-len(jobs) // CHUNK))
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield from pool.map(task, jobs, chunksize=CHUNK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end when that has ended, however it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main = multiprocessing.parent_process()

    def follow() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


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


@contextmanager
def _temporary_folder(output: Path) -> Iterator[Path]:
    """A new folder beside `output`, gone at the end unless it was renamed."""
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(parent, output.name)
    folder = parent / f".{output.name}.partial-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path, name: str) -> None:
    """Remove what runs that were killed have left behind."""
    for path in parent.glob(f".{name}.partial-*"):
        process = re.fullmatch(r".*\.partial-(\d+)", path.name)
        if process and not _is_running(int(process[1])):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _move_into_place(folder: Path, output: Path) -> None:
    """Rename the finished folder, replacing what was there."""
    old = folder.with_name(folder.name.replace(".partial-", ".old-"))
    if output.exists():
        output.rename(old)
    try:
        folder.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)
