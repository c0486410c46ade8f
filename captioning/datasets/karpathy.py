"""Karpathy's split files (`dataset_coco.json`, `dataset_flickr8k.json`, `dataset_flickr30k.json`).

One JSON object: `images` with `filename`, `filepath` (COCO only), `imgid`, `cocoid` (COCO only),
`split` and `sentences`, each `{raw, tokens, ...}`. The split `restval` is learned from.

Source: the files published with A. Karpathy and L. Fei-Fei, "Deep Visual-Semantic Alignments for
Generating Image Descriptions", CVPR 2015.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from captioning.datasets.json_stream import read_items
from captioning.datasets.layout import Record, write_layout
from captioning.datasets.splits import in_usual_order, split_name
from captioning.datasets.unpack import find_member, open_member

FLICKR_TERMS = "non-commercial research and education; the photos belong to their authors"
LICENCES = {
    "coco": "captions CC BY 4.0; the photos are under the terms of their authors on Flickr",
    "flickr8k": FLICKR_TERMS,
    "flickr30k": FLICKR_TERMS,
}


def convert_karpathy(
    file: str | Path,
    images_root: str | Path,
    output: str | Path,
    member: str = "",
    overwrite: bool = False,
    pictures: str = "link",
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Make a data-set folder of a Karpathy file and its pictures.

    Args:
        file (str | Path): see `read_karpathy`.
        images_root (str | Path): folder of the pictures; for COCO that with train2014 and val2014.
        output (str | Path): see `write_layout`.
        member (str): see `read_karpathy`.
        overwrite (bool): see `write_layout`.
        pictures (str): likewise.
        allow_missing (bool): likewise.

    Returns:
        dict[str, Any]: what `info.json` holds.

    Raises:
        ValueError, OSError: see `read_karpathy` and `write_layout`.
    """
    with _open(Path(file), member) as (stream, where):
        splits = _read(stream, where)
    title = PurePosixPath(Path(where).as_posix()).stem
    name = title.removeprefix("dataset_")
    info = {
        "name": name,
        "licence": LICENCES.get(name, "unknown"),
        "source": f"{title}.json (splits of Karpathy and Fei-Fei, 2015)",
    }
    return write_layout(output, splits, images_root, info, overwrite, pictures, allow_missing)


def read_karpathy(file: str | Path, member: str = "") -> dict[str, list[Record]]:
    """The pictures and captions of a Karpathy file, by split; `restval` joins train.

    Args:
        file (str | Path): the JSON file, or a zip archive that holds it (caption_datasets.zip).
        member (str): which file of the archive; not needed where it holds one only.

    Returns:
        dict[str, list[Record]]: image ids are `cocoid`, else `imgid`; captions are as written
        (`raw`), else the joined tokens.

    Raises:
        FileNotFoundError: there is no such file, or no such member.
        ValueError: it is not such a file; the message names the entry.
    """
    with _open(Path(file), member) as (stream, where):
        return _read(stream, where)


@contextlib.contextmanager
def _open(path: Path, member: str) -> Iterator[tuple[BinaryIO, str]]:
    """The stream of the JSON file, and what to call it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such Karpathy split file")
    if zipfile.is_zipfile(path):
        name = _choose_member(path, member)
        with open_member(path, name) as stream:
            yield stream, f"{path}/{name}"
    elif member:
        raise ValueError(f"member: {member!r} received, but {path} is not a zip archive")
    else:
        with path.open("rb") as stream:
            yield stream, str(path)


def _choose_member(path: Path, member: str) -> str:
    """The full name in the archive of the file that is meant."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(n).name for n in archive.namelist() if "__MACOSX" not in n]
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a whole zip archive ({error})") from error
    names = [name for name in names if name.endswith(".json")]
    if member and member not in names:
        raise FileNotFoundError(f"{path}: no {member} in it, one of {names} expected")
    if not member and len(names) != 1:
        raise ValueError(f"member: none received, one of {names} in {path} expected")
    return find_member(path, member or names[0])


def _read(stream: BinaryIO, where: str) -> dict[str, list[Record]]:
    """Records by split; of each entry, only what is needed stays in memory."""
    splits: dict[str, list[Record]] = {}
    for number, (_, image) in enumerate(read_items(stream, ("images",), where)):
        split, record = _record(image, f"{where}: images[{number}]")
        splits.setdefault(split, []).append(record)
    if not splits:
        raise ValueError(f"{where}: no images in it, at least one expected")
    return in_usual_order(splits)


def _record(image: Any, where: str) -> tuple[str, Record]:
    """Split and record of one entry of `images`."""
    if not isinstance(image, dict):
        raise ValueError(f"{where}: {image!r} found, an object expected")
    for key in ("filename", "split"):
        if not isinstance(image.get(key), str):
            raise ValueError(f"{where}: {key} {image.get(key)!r} found, text expected")
    number = image.get("cocoid", image.get("imgid"))
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{where}: cocoid or imgid {number!r} found, a whole number expected")
    sentences = image.get("sentences", [])
    if not isinstance(sentences, list):
        raise ValueError(f"{where}: sentences {sentences!r} found, a list expected")
    captions = [_text(sentence, where) for sentence in sentences]
    folder = image.get("filepath")
    name = f"{folder}/{image['filename']}" if folder else image["filename"]
    return split_name(image["split"]), Record(name, number, [text for text in captions if text])


def _text(sentence: Any, where: str) -> str:
    """A sentence as it was written; where that is missing, its tokens."""
    fields = sentence if isinstance(sentence, dict) else {}
    raw, tokens = fields.get("raw"), fields.get("tokens")
    if isinstance(raw, str) and raw.strip():
        return raw.strip()
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        return " ".join(tokens)
    if isinstance(raw, str):
        return ""
    raise ValueError(f"{where}: sentence {sentence!r:.100} found, one with raw or tokens expected")
