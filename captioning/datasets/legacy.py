"""Labels of self-critical.pytorch (`cocotalk.json`, `cocotalk_label.h5`), made captions again.

The JSON file holds `ix_to_word` (keys "1", "2", ...; the unknown word UNK is the last) and `images`
(`id`, `split`, `file_path`, perhaps `width` and `height`). The HDF5 file holds `labels` (M, L), a
caption a row, filled up with 0, and for each picture its first and last row, `label_start_ix` and
`label_end_ix`, counted from 1, both inclusive.

Source: `scripts/prepro_labels.py` of R. Luo's self-critical.pytorch (ImageCaptioning.pytorch).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioning.datasets.layout import Record
from captioning.datasets.splits import in_usual_order, split_name
from captioning.files import read_json

UNKNOWN = "UNK"
POINTERS = ("label_start_ix", "label_end_ix")


def read_cocotalk(
    file: str | Path, labels: str | Path = ""
) -> tuple[dict[str, list[Record]], list[str]]:
    """Read the pictures and captions of a preprocessed data set.

    Captions are as the preprocessing left them: lower case, without punctuation, cut at its
    `max_length`. An unknown word is written unk1, unk2 and so on, each once: too rare for any
    vocabulary with `min_count` of 2 or more, so it is an unknown word again.

    Args:
        file (str | Path): cocotalk.json.
        labels (str | Path): cocotalk_label.h5; empty: pictures without captions.

    Returns:
        tuple: records by split (`restval` joins train; without a split: test), and sentences on
        what is unusual.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: it is not such a file, or the two do not belong together.
    """
    record = read_json(file, "cocotalk JSON file")
    fields = record if isinstance(record, dict) else {}
    images, words = fields.get("images"), fields.get("ix_to_word")
    if not isinstance(images, list) or not isinstance(words, dict) or not images:
        raise ValueError(f"{file}: 'images' and 'ix_to_word' of a cocotalk JSON file expected")
    spans = _read_labels(Path(labels), len(images)) if labels else ([] for _ in images)
    unknown = itertools.count(1)
    splits: dict[str, list[Record]] = {}
    for number, (image, rows) in enumerate(zip(images, spans, strict=True)):
        captions = [_caption(row, words, unknown, str(labels)) for row in rows]
        if "bpe" in record:  # pieces of words, all but the last of a word end in @@
            captions = [caption.replace("@@ ", "") for caption in captions]
        one = _record(image, captions, f"{file}: images[{number}]")
        splits.setdefault(split_name(image.get("split") or "test"), []).append(one)
    found = next(unknown) - 1
    notes = [f"{found} unknown words are written unk1 to unk{found}"] if found else []
    return in_usual_order(splits), notes


def _caption(row: np.ndarray, words: Mapping[str, str], unknown: Iterator[int], file: str) -> str:
    """The words of a row (L,) up to the first 0; unknown ones are numbered."""
    found = []
    for index in itertools.takewhile(bool, row.tolist()):
        word = words.get(str(index))
        if not isinstance(word, str):
            raise ValueError(f"{file}: label {index} is not in ix_to_word")
        found.append(f"unk{next(unknown)}" if word == UNKNOWN else word)
    return " ".join(found)


def _read_labels(path: Path, number: int) -> Iterator[np.ndarray]:
    """The rows (n, L) of each picture."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file")
    try:
        with h5py.File(path, "r", locking=False) as file:
            labels = file["labels"][:]  # (M, L)
            starts, ends = (file[name][:].astype(np.int64) for name in POINTERS)  # (N,)
    except (OSError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split()).strip("'\"")
        raise ValueError(f"{path}: not a label file with labels, {POINTERS} ({reason})") from error
    if labels.ndim != 2 or starts.shape != (number,) or ends.shape != (number,):
        raise ValueError(
            f"{path}: labels {labels.shape}, pointers {starts.shape} and {ends.shape} found, "
            f"(M, L) and twice ({number},) expected: it belongs to another JSON file"
        )
    if (starts < 1).any() or (ends < starts - 1).any() or (ends > len(labels)).any():
        raise ValueError(f"{path}: pointers outside the {len(labels)} rows of labels")
    return (labels[start - 1 : end] for start, end in zip(starts, ends, strict=True))


def _record(image: Any, captions: list[str], where: str) -> Record:
    """One entry of `images` with its captions."""
    if not isinstance(image, dict):
        raise ValueError(f"{where}: {image!r} found, an object expected")
    number = image.get("id")
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{where}: id {number!r} found, a whole number expected")
    sizes = [image.get(key) for key in ("width", "height")]
    width, height = sizes if all(isinstance(size, int) for size in sizes) else (0, 0)
    name = image.get("file_path") or str(number)
    if not isinstance(name, str) or not isinstance(image.get("split") or "", str):
        raise ValueError(f"{where}: file_path and split {name!r}, text expected")
    return Record(name, number, [caption for caption in captions if caption], width, height)
