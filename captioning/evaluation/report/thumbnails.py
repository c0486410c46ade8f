"""Small JPEGs of many pictures, made by several processes.

What a page shows must be bounded: a report of 5,000 photos is opened by a browser, sent by mail,
put on a web server. Only pixels are copied: no EXIF data (places, names) goes with them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from captioning.workers import in_processes
from data_loader import UnreadableImageError, open_image

QUALITY = 80
WORTH_A_PROCESS = 500  # pictures: it takes seconds until one has started


def make_thumbnails(
    pictures: Sequence[Path | None], folder: Path, size: int, workers: int = 0, progress=False
) -> list[str]:
    """Write `folder/0.jpg`, `folder/1.jpg`, ... for those of the pictures that can be read.

    Args:
        pictures (Sequence[Path | None]): picture files; None where there is none.
        folder (Path): an existing folder.
        size (int): longest side in pixels; smaller pictures keep their size.
        workers (int): processes; 0: one for each core.
        progress (bool): show a bar on stderr.

    Returns:
        list[str]: for each picture why there is no thumbnail, "" where there is one.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    jobs = list(enumerate(pictures))
    workers = min(workers or os.cpu_count() or 1, len(jobs) // WORTH_A_PROCESS)
    reasons = in_processes(partial(_shrink, folder, size), jobs, workers)
    bar = tqdm(reasons, "thumbnails", len(jobs), unit="picture", disable=not progress)
    return list(bar)


def _shrink(folder: Path, size: int, job: tuple[int, Path | None]) -> str:
    index, path = job
    if path is None:
        return "no picture file known"
    try:
        image = open_image(path)
    except UnreadableImageError as error:
        return str(error)
    image.thumbnail((size, size), Image.Resampling.HAMMING, reducing_gap=3.0)
    Image.frombytes("RGB", image.size, image.tobytes()).save(  # a copy without comments
        folder / f"{index}.jpg", quality=QUALITY, optimize=True
    )
    return ""
