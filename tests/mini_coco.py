"""A COCO of eighteen pictures: what the official addresses offer, in small."""

from __future__ import annotations

import io
import json
import zipfile

from PIL import Image

from captioning.datasets.coco import CORRUPT

TRAIN = (9, 25, 30, 34, 36, CORRUPT)
VAL = tuple(range(100, 109))
TEST = (501, 502, 503)
SPLIT_OF = {  # Karpathy's
    **dict.fromkeys(TRAIN, "train"),
    **dict.fromkeys(VAL[:4], "restval"),
    **dict.fromkeys(VAL[4:7], "val"),
    **dict.fromkeys(VAL[7:], "test"),
}
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]


def name_of(half: str, number: int, year: int = 2014) -> str:
    return f"COCO_{half}2014_{number:012}.jpg" if year == 2014 else f"{number:012}.jpg"


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 18), (number % 256, 90, 40)).save(file, "JPEG")
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def official(half: str, numbers: tuple[int, ...], year: int) -> dict[str, bytes]:
    """The two annotation files of a half."""
    images = [
        {"license": 3, "file_name": name_of(half, n, year), "height": 18, "width": 24, "id": n}
        for n in numbers
    ]
    captions = [
        {"image_id": n, "id": 10 * n + i, "caption": f"A Man (no. {n}), said {i}. "}
        for i in range(5)
        for n in numbers
    ]
    things = [
        {
            "segmentation": [[1.5, 2, 3, 4, 5, 6]],
            "area": 20.5,
            "iscrowd": 0,
            "image_id": n,
            "bbox": [6, 9, 12, 9],
            "category_id": 18 if n % 2 else 1,
            "id": n,
        }
        for n in numbers
        if n != 30
    ]
    head = {"info": {"year": year}, "images": images, "licenses": [{"id": 3, "name": "BY"}]}
    return {
        f"annotations/captions_{half}{year}.json": json.dumps({**head, "annotations": captions}),
        f"annotations/instances_{half}{year}.json": json.dumps(
            {**head, "annotations": things, "categories": CATEGORIES}
        ),
    }


def karpathy() -> bytes:
    images = [
        {
            "filepath": "train2014" if number in TRAIN else "val2014",
            "filename": name_of("train" if number in TRAIN else "val", number),
            "cocoid": number,
            "imgid": i,
            "split": split,
            "sentences": [{"raw": "other words", "tokens": ["other", "words"], "sentid": i}],
        }
        for i, (number, split) in enumerate(SPLIT_OF.items())
    ]
    return json.dumps({"dataset": "coco", "images": images}).encode()


def archives(year: int = 2014) -> dict[str, bytes]:
    """What the official addresses offer, in small; in 2017 most of val has moved to train."""
    halves = {"train": TRAIN, "val": VAL, "test": TEST}
    if year == 2017:
        halves |= {"train": TRAIN + VAL[2:], "val": VAL[:2]}
    found = {
        f"zips/{half}{year}.zip": zipped(
            {f"{half}{year}/{name_of(half, number, year)}": picture(number) for number in numbers}
        )
        for half, numbers in halves.items()
    }
    annotations = official("train", halves["train"], year) | official("val", halves["val"], year)
    info = {"images": [{"file_name": name_of("test", n, year), "id": n} for n in TEST]}
    return found | {
        f"annotations/annotations_trainval{year}.zip": zipped(annotations),
        f"annotations/image_info_test{year}.zip": zipped(
            {f"annotations/image_info_test{year}.json": json.dumps(info)}
        ),
        "caption_datasets.zip": zipped({"dataset_coco.json": karpathy(), "dataset_x.json": b"{}"}),
    }


def numbers_of(*splits: str) -> set[int]:
    """Ids of the pictures of some of Karpathy's splits."""
    return {number for number, split in SPLIT_OF.items() if split in splits}
