"""Lines of bottom-up-attention's TSV files: a picture each, its arrays as base64 text.

Columns image_id, image_w, image_h, num_boxes, boxes, features; boxes are x1, y1, x2, y2 in pixels,
numbers are float32. A first line with the names of the columns gives another order.

Source: the files that `tools/generate_tsv.py` of P. Anderson's bottom-up-attention writes.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
MAX_LINE = 2**28  # bytes; 100 regions of 2,048 numbers take a million


class Line(NamedTuple):
    """One line as it stands in the file."""

    number: int
    image_id: int
    fields: dict[str, bytes]
    num_bytes: int
    is_ended: bool  # False: the last line, without a line end, perhaps cut off


class Row(NamedTuple):
    """What a line says."""

    size: tuple[int, int]  # width, height in pixels
    boxes: np.ndarray  # (P, 4) pixels
    regions: np.ndarray  # (P, F)


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, one in memory at a time, their arrays still text.

    Raises:
        ValueError: a line does not have these columns; file and line are named.
    """
    columns: tuple[str, ...] = COLUMNS
    with open(path, "rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE):
            number += 1
            is_ended = raw.endswith(b"\n")
            parts = raw.rstrip(b"\r\n").split(b"\t")
            if parts == [b""]:
                continue
            if number == 1 and b"image_id" in parts:
                columns = tuple(part.decode("utf-8", "replace") for part in parts)
                _check_header(path, columns)
                continue
            try:
                if len(raw) == MAX_LINE:
                    is_ended = True
                    raise ValueError(f"more than {MAX_LINE} bytes in it, a TSV file expected")
                if len(parts) != len(columns):
                    raise ValueError(
                        f"{len(parts)} columns found, {len(columns)} expected "
                        f"({', '.join(columns)}; separated by tabs)"
                    )
                fields = dict(zip(columns, parts, strict=True))
                yield Line(number, _whole(fields, "image_id"), fields, len(raw), is_ended)
            except ValueError as error:
                raise line_error(path, number, is_ended, error) from error


def line_error(path: Path, number: int, is_ended: bool, error: Exception) -> ValueError:
    """What is wrong with a line, in one sentence."""
    cut = "" if is_ended else "; the file seems to be cut off in this line"
    return ValueError(f"{path}, line {number}: {error}{cut}")


def _check_header(path: Path, columns: tuple[str, ...]) -> None:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"{path}, line 1: no column {missing[0]!r} among {list(columns)}")


def _whole(fields: dict[str, bytes], name: str) -> int:
    text = fields[name].decode("ascii", "replace").strip()
    try:
        return int(text.removesuffix(".0"))
    except ValueError:
        raise ValueError(f"{name} {text[:40]!r} found, a whole number expected") from None


def parse(fields: dict[str, bytes]) -> Row:
    """The numbers of a line.

    Raises:
        ValueError: the column that is wrong, and why.
    """
    number = _whole(fields, "num_boxes")
    if number < 1:
        raise ValueError(f"num_boxes {number} found, 1 or more expected")
    boxes, regions = _floats(fields, "boxes"), _floats(fields, "features")
    if boxes.size != 4 * number:
        raise ValueError(f"boxes: {boxes.size} numbers found, {4 * number} expected")
    if regions.size == 0 or regions.size % number:
        raise ValueError(f"features: {regions.size} numbers found for {number} boxes")
    size = _whole(fields, "image_w"), _whole(fields, "image_h")
    return Row(size, boxes.reshape(number, 4), regions.reshape(number, -1))


def _floats(fields: dict[str, bytes], name: str) -> np.ndarray:
    """Base64 of float32, also as Python 3 writes it by mistake: b'...' with its quotes."""
    text = fields[name].strip()
    if text[:2] in (b"b'", b'b"'):
        text = text[2:-1]
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name}: not base64 text ({error})") from error
    if len(data) % 4:
        raise ValueError(f"{name}: {len(data)} bytes found, a multiple of 4 expected")
    return np.frombuffer(data, "<f4")
