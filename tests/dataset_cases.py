"""Small files in other people's formats, and what a reader made of them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from captioning.datasets.layout import Record


def said(splits: dict[str, list[Record]]) -> dict[str, dict[str, list[str]]]:
    """Split to picture to captions."""
    return {s: {r.file_name: [*r.captions] for r in some} for s, some in splits.items()}


def all_captions(splits: dict[str, list[Record]]) -> dict[str, list[str]]:
    return {name: texts for some in said(splits).values() for name, texts in some.items()}


def sentence(raw: str, number: int) -> dict:
    tokens = raw.lower().replace(".", "").split()
    return {"tokens": tokens, "raw": raw, "imgid": number, "sentid": number}


def karpathy_coco() -> dict:
    """As COCO's file is: folders, ids of COCO, four splits."""
    images = []
    for i, split in enumerate(["test", "restval", "train", "val", "train"]):
        folder = "train2014" if split == "train" else "val2014"
        images.append(
            {
                "filepath": folder,
                "sentids": [2 * i, 2 * i + 1],
                "filename": f"COCO_{folder}_{i:012}.jpg",
                "imgid": i,
                "split": split,
                "sentences": [sentence(f"A dog {i}.", i), sentence(f"Ein Hündchen {i}.\n", i)],
                "cocoid": 1000 + i,
            }
        )
    return {"images": images, "dataset": "coco"}


def karpathy_flickr(folder: Path) -> dict:
    """As Flickr's files are, for the pictures of a data set of the tests."""
    images = []
    for split in ("train", "val", "test"):
        record = json.loads((folder / "annotations" / f"captions_{split}.json").read_text())
        for image in record["images"]:
            texts = [a["caption"] for a in record["annotations"] if a["image_id"] == image["id"]]
            number = len(images)
            sentences = [sentence(text, number) for text in texts]
            entry = {"filename": image["file_name"], "imgid": number, "split": split}
            images.append(entry | {"sentids": [], "sentences": sentences})
    return {"dataset": "flickr8k", "images": images}


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def write_labels(folder: Path, **more) -> tuple[Path, Path]:
    """Three pictures with 2, 1 and 3 captions of at most 4 words; word 5 is UNK."""
    words = {"1": "a", "2": "dog", "3": "runs", "4": "fast", "5": "UNK"}
    rows = [[1, 2, 0, 0], [1, 2, 3, 4], [1, 5, 0, 0], [5, 3, 5, 0], [2, 0, 0, 0], [4, 4, 4, 4]]
    images = [
        {"split": "restval", "file_path": "val2014/a.jpg", "id": 42, "width": 640, "height": 480},
        {"split": "val", "file_path": "val2014/b.jpg", "id": 7},
        {"split": "test", "id": "8"},
    ]
    record = {"ix_to_word": words, "images": images} | more
    labels = folder / "cocotalk_label.h5"
    with h5py.File(labels, "w") as file:
        file["labels"] = np.array(rows, "uint32")
        file["label_start_ix"] = np.array([1, 3, 4], "uint32")
        file["label_end_ix"] = np.array([2, 3, 6], "uint32")
        file["label_length"] = np.array([2, 4, 2, 3, 1, 4], "uint32")
    return write_json(folder / "cocotalk.json", record), labels
