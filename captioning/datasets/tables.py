"""Pictures and captions from a table (CSV, TSV, JSON lines) or from a folder of pictures and texts.

A table has one row for each caption, or one for each picture with its captions in several columns
(in JSON: in a list). A folder holds `NAME.jpg` and `NAME.txt` with one caption a line.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from captioning.datasets.layout import Record, left_out
from captioning.datasets.splits import SPLIT_NAMES, in_usual_order, random_splits, split_name

IMAGE_COLUMNS = "image file_name filename file image_name image_path filepath path img".split()
CAPTION_COLUMNS = "caption captions text comment sentence description report".split()
DELIMITERS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
UTF8 = "utf-8-sig"  # with or without a byte order mark


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; an empty name is looked for among the usual ones.

    Args:
        image (str): picture files, relative to the pictures folder.
        captions (Sequence[str]): one caption each, or in JSON a list of them.
        split (str): train, val, test or another name; empty: there is none, splits are drawn.
        image_id (str): whole numbers; empty: pictures are numbered from 1.
    """

    image: str = ""
    captions: Sequence[str] = ()
    split: str = ""
    image_id: str = ""


@dataclass
class _Picture:
    """What the rows read so far say of one picture."""

    image_id: int
    captions: list[str] = field(default_factory=list)
    split: str = ""


def read_table(
    path: str | Path,
    columns: Columns | None = None,
    delimiter: str = "",
    encoding: str = UTF8,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> tuple[dict[str, list[Record]], list[str]]:
    """Read a table of pictures and captions.

    Args:
        path (str | Path): .jsonl or .ndjson (an object a line), .json (a list of objects), else
            text with a header line and a delimiter.
        columns (Columns | None): which columns; None looks for the usual names.
        delimiter (str): comma, tab, semicolon, pipe, or any one character; empty: the one that
            cuts the header into most columns.
        encoding (str): of the text.
        val (float): share of the pictures, where there is no split column; see `random_splits`.
        test (float): likewise.
        seed (int): likewise.

    Returns:
        tuple: records by split, and sentences on what was left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table, or a column is missing; the message names it.
    """
    path = Path(path)
    rows = read_rows(path, delimiter, encoding)
    chosen: Columns | None = None
    pictures: dict[str, _Picture] = {}
    empty: list[str] = []
    for place, row in rows:
        chosen = chosen or _choose_columns(columns or Columns(), list(row), path)
        _add_row(pictures, row, chosen, f"{path}: {place}")
        if not any(_captions_of(row.get(name), place) for name in chosen.captions):
            empty.append(place)
    if not pictures:
        raise ValueError(f"{path}: no rows in it, at least one expected")
    records = {n: Record(n, p.image_id, p.captions) for n, p in pictures.items()}
    notes = [left_out(empty, "row", "without a caption")] if empty else []
    if chosen and chosen.split:
        splits: dict[str, list[Record]] = {}
        for name, picture in pictures.items():
            splits.setdefault(picture.split, []).append(records[name])
        return in_usual_order(splits), notes
    captioned = [record for record in records.values() if record.captions]
    if not captioned:
        raise ValueError(f"{path}: no row has a caption, at least one expected")
    return random_splits(captioned, val, test, seed), notes


def _add_row(pictures: dict[str, _Picture], row: dict, columns: Columns, where: str) -> None:
    """Add what a row says to its picture."""
    name = _file_name(row.get(columns.image), where)
    split = str(row.get(columns.split) or "") if columns.split else ""
    if columns.split and not split.strip():
        raise ValueError(
            f"{where}: column {columns.split!r} is empty, the name of a split expected"
        )
    split = split_name(split)
    number = _image_id(row.get(columns.image_id), where) if columns.image_id else len(pictures) + 1
    picture = pictures.setdefault(name, _Picture(number, split=split))
    if picture.split != split:
        raise ValueError(f"{where}: {name} is in split {split!r}, further up in {picture.split!r}")
    if columns.image_id and picture.image_id != number:
        raise ValueError(f"{where}: {name} has id {number}, further up {picture.image_id}")
    for column in columns.captions:
        picture.captions += _captions_of(row.get(column), where)


def _file_name(value: Any, where: str) -> str:
    """A picture file with forward slashes, without "./" in front."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: picture {value!r} found, the name of a file expected")
    return str(PurePosixPath(value.strip().replace("\\", "/")))


def _image_id(value: Any, where: str) -> int:
    try:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{where}: image id {value!r} found, a whole number expected")


def _captions_of(value: Any, where: str) -> list[str]:
    """The captions of a cell: a text, or in JSON a list of texts."""
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{where}: caption {text!r} found, text expected")
    return [" ".join(text.split()) for text in texts if text and text.strip()]


def _choose_columns(asked: Columns, found: Sequence[str], path: Path) -> Columns:
    """The columns by their names in the file; those not asked for by their usual names."""

    def look_up(name: str, usual: Sequence[str], what: str) -> str:
        for candidate in [name] if name else usual:
            if candidate in found:
                return candidate
            if match := [one for one in found if one.lower() == candidate.lower()]:
                return match[0]
        expected = repr(name) if name else f"one of {list(usual)}"
        raise ValueError(f"{path}: no {what} column {expected} in it (columns: {list(found)})")

    image = look_up(asked.image, IMAGE_COLUMNS, "picture")
    captions = [look_up(name, (), "caption") for name in asked.captions if name]
    return Columns(
        image=image,
        captions=captions or [look_up("", CAPTION_COLUMNS, "caption")],
        split=look_up(asked.split, (), "split") if asked.split else "",
        image_id=look_up(asked.image_id, (), "id") if asked.image_id else "",
    )


def make_relative(splits: Mapping[str, Sequence[Record]], root: str | Path) -> None:
    """Absolute file names below the pictures folder become relative to it; others stay."""
    folder = PurePosixPath(Path(root).absolute().as_posix())
    for record in (record for records in splits.values() for record in records):
        path = PurePosixPath(record.file_name)
        if path.is_relative_to(folder):
            record.file_name = str(path.relative_to(folder))


# ---- rows ----


def read_rows(
    path: Path, delimiter: str = "", encoding: str = UTF8
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table, each with its place ("line 7").

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a row of the table.
    """
    kind = path.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return _json_lines(path, encoding)
    if kind == ".json":
        return _json_list(path)
    return _text_rows(path, delimiter, encoding)


def read_lines(path: Path, encoding: str = UTF8) -> Iterator[str]:
    """The lines of a text file, line ends included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not text in this encoding, or there is no such encoding.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open(encoding=encoding, newline="") as file:
            yield from file
    except LookupError as error:
        raise ValueError(
            f"encoding: {encoding!r} received, e.g. utf-8 or cp1252 expected"
        ) from error
    except UnicodeError as error:
        raise ValueError(
            f"{path}: not {encoding.removesuffix('-sig')} text ({error}); another encoding, e.g. "
            "cp1252 or utf-16, expected"
        ) from error


def _json_lines(path: Path, encoding: str) -> Iterator[tuple[str, dict]]:
    for number, line in enumerate(read_lines(path, encoding), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
            yield f"line {number}", _object(row, f"{path}: line {number}")


def _json_list(path: Path) -> Iterator[tuple[str, dict]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON table ({error})") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: a list of objects expected, one for each caption or picture")
    for number, row in enumerate(rows):
        yield f"entry {number}", _object(row, f"{path}: entry {number}")


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: {row!r} found, an object expected")
    return row


def _text_rows(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[str, dict]]:
    """Rows of delimited text. Tabs and pipes know no quotation marks, commas and semicolons do."""
    lines = read_lines(path, encoding)
    first = next(lines, "")
    mark = DELIMITERS.get(delimiter, delimiter) or max(DELIMITERS.values(), key=first.count)
    if len(mark) != 1:
        raise ValueError(
            f"delimiter: {delimiter!r} received, {[*DELIMITERS]} or a character expected"
        )
    quoting = csv.QUOTE_NONE if mark in "\t|" else csv.QUOTE_MINIMAL
    reader = csv.reader(_chain(first, lines), delimiter=mark, quoting=quoting, strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        end = reader.line_num
        for cells in reader:
            place, end = f"line {end + 1}", reader.line_num  # a caption may go over several lines
            if len(cells) > len(header):
                raise ValueError(
                    f"{path}: {place} has {len(cells)} cells, the header {len(header)}; a caption "
                    "that holds the delimiter must stand in quotation marks"
                )
            if any(cell.strip() for cell in cells):
                yield place, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num}: {error}") from error


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


# ---- folders ----


def read_folder(
    folder: str | Path, encoding: str = UTF8, val: float = 0.1, test: float = 0.1, seed: int = 0
) -> tuple[dict[str, list[Record]], list[str]]:
    """Read a folder of pictures with a text file of the same name beside each.

    If every picture lies below a folder called train, val, test (or one of their usual other
    names), these are the splits; otherwise they are drawn.

    Args:
        folder (str | Path): with pictures and texts, also in folders below.
        encoding (str): of the texts.
        val (float): see `random_splits`.
        test (float): likewise.
        seed (int): likewise.

    Returns:
        tuple: records by split, and sentences on what was left out.

    Raises:
        FileNotFoundError: there is no such folder, or no picture with a text in it.
        ValueError: a text is not in this encoding.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    suffixes = _picture_suffixes()
    paths = sorted(path for path in folder.rglob("*") if not _is_hidden(path, folder))
    texts = {path.with_suffix("") for path in paths if path.suffix.lower() == ".txt"}
    pictures = [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    silent, records = [], []
    for path in pictures:
        name = path.relative_to(folder).as_posix()
        lines = (
            read_lines(path.with_suffix(".txt"), encoding) if path.with_suffix("") in texts else ()
        )
        captions = [" ".join(line.split()) for line in lines if line.strip()]
        if captions:
            records.append(Record(name, len(records) + 1, captions))
        else:
            silent.append(name)
    if not records:
        raise FileNotFoundError(
            f"{folder}: no picture with a text of the same name beside it (a.jpg and a.txt) among "
            f"{len(pictures)} pictures and {len(texts)} texts"
        )
    lonely = sorted(texts - {path.with_suffix("") for path in pictures})
    notes = [left_out(silent, "picture", "without a caption")] if silent else []
    notes += [left_out([p.name + ".txt" for p in lonely], "text", "no picture")] if lonely else []
    return _splits_of_folders(records) or random_splits(records, val, test, seed), notes


def _picture_suffixes() -> set[str]:
    """Suffixes of the formats that can be opened."""
    from PIL import Image

    from data_loader import FORMATS  # torch comes with it, which tables can do without

    return {s for s, kind in Image.registered_extensions().items() if kind in FORMATS}


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _splits_of_folders(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Splits by the first folder of each picture; empty when one of them is not such a name."""
    splits: dict[str, list[Record]] = {}
    for record in records:
        first, _, rest = record.file_name.partition("/")
        if not rest or first.lower() not in SPLIT_NAMES:
            return {}
        splits.setdefault(split_name(first), []).append(record)
    return in_usual_order(splits)
