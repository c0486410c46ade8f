"""Many pictures on one sheet, with or without captions, for the README and for looking."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Source = str | Path | Iterable[Image.Image | tuple[Image.Image, str]]
PAPER, INK = "#fbf8f2", "#4a4458"


def contact_sheet(
    source: Source,
    rows: int = 4,
    columns: int = 6,
    cell: int = 256,
    gap: int = 12,
    captions: bool = False,
    split: str = "test",
    start: int = 0,
) -> Image.Image:
    """Put pictures on a sheet, row by row.

    Args:
        source (str | Path | iterable): a data-set folder, or pictures, or pairs (picture, caption).
        rows (int): of pictures.
        columns (int): of pictures.
        cell (int): width and height of a picture on the sheet, in pixels.
        gap (int): space between pictures, in pixels.
        captions (bool): whether the (first) caption is printed under each picture.
        split (str): of a data-set folder.
        start (int): how many pictures to skip.

    Returns:
        Image.Image: RGB; places for which there is no picture stay empty.

    Raises:
        ValueError: rows or columns below 1.
        FileNotFoundError: the folder has no such split.
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"rows is {rows} and columns is {columns}; expected at least 1 of each")
    pairs = _read_folder(Path(source), split) if isinstance(source, str | Path) else iter(source)
    font = ImageFont.load_default(max(10, cell // 17))
    line = round(font.size * 1.25)
    text_height = 4 * line if captions else 0
    sheet = Image.new(
        "RGB",
        (columns * (cell + gap) + gap, rows * (cell + gap + text_height) + gap),
        PAPER,
    )
    pen = ImageDraw.Draw(sheet)
    for i, item in enumerate(itertools.islice(pairs, start, start + rows * columns)):
        image, text = item if isinstance(item, tuple) else (item, "")
        x = gap + i % columns * (cell + gap)
        y = gap + i // columns * (cell + gap + text_height)
        sheet.paste(image.convert("RGB").resize((cell, cell), Image.Resampling.BICUBIC), (x, y))
        if captions and text:
            characters = max(8, int(cell / (font.size * 0.52)))
            lines = textwrap.wrap(text, characters, max_lines=3, placeholder=" ...")
            for j, words in enumerate(lines):
                pen.text((x, y + cell + 4 + j * line), words, INK, font)
    return sheet


def _read_folder(folder: Path, split: str) -> Iterable[tuple[Image.Image, str]]:
    """Pictures of a data-set folder and the first caption of each."""
    path = folder / "annotations" / f"captions_{split}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} not found; expected a data-set folder with split {split!r}"
        )
    data = json.loads(path.read_text(encoding="utf-8"))
    texts: dict[int, str] = {}
    for row in data["annotations"]:
        texts.setdefault(row["image_id"], row["caption"])
    for row in data["images"]:
        with Image.open(folder / "images" / row["file_name"]) as image:
            yield image.convert("RGB"), texts.get(row["id"], "")
