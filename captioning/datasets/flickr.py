"""Flickr8k and Flickr30k as their authors and others publish them.

* `Flickr8k.token.txt`, `results_20130124.token`: `NAME.jpg#0<TAB>caption`, a caption a line.
* `results.csv` of Flickr30k: `NAME.jpg| 0| caption` under the header `image_name| comment_number|
  comment`, without quotation rules; one line of it lacks its second bar.
* `captions.txt` of Flickr8k: a CSV file with the columns `image,caption`.

Split lists (`Flickr_8k.trainImages.txt` and so on) hold one picture's name a line.

Source: M. Hodosh, P. Young, J. Hockenmaier, "Framing Image Description as a Ranking Task", JAIR 47,
2013; P. Young et al., "From Image Descriptions to Visual Denotations", TACL 2, 2014.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from captioning.datasets.layout import Record, left_out
from captioning.datasets.splits import in_usual_order, random_splits
from captioning.datasets.tables import UTF8, Columns, read_lines, read_table

TOKEN_LINE = re.compile(r"([^\t|]+?)#\d+(?:\s+(.*)|$)")
BAR_LINE = re.compile(r"([^|]+)\|\s*\d+(?:\s*\||\s|$)(.*)")  # the second bar may be missing
MAX_STRANGE = 0.01  # share of the lines that may be left out because they are not understood


def read_flickr(
    path: str | Path,
    split_lists: Mapping[str, str | Path] | None = None,
    encoding: str = UTF8,
    val: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> tuple[dict[str, list[Record]], list[str]]:
    """Read a caption file of Flickr8k or Flickr30k.

    Args:
        path (str | Path): in one of the three forms above, told apart by its first line.
        split_lists (Mapping | None): split to a file that lists its pictures, with or without
            ".jpg"; pictures in none are left out. None draws splits; see `random_splits`.
        encoding (str): of the text.
        val (float): share of the pictures, where splits are drawn.
        test (float): likewise.
        seed (int): likewise.

    Returns:
        tuple: records by split, numbered from 1 as they come, and sentences on what was left out.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: it is not such a file, or more than 1 % of its lines are not understood.
    """
    path = Path(path)
    first = next((line for line in read_lines(path, encoding) if line.strip()), "")
    form = TOKEN_LINE if TOKEN_LINE.match(first) else BAR_LINE
    if form is TOKEN_LINE or "|" in first:
        records, notes = _read_lines(path, form, encoding)
    elif "," in first:
        splits, notes = read_table(path, Columns("image", ["caption"]), "comma", encoding, 0, 0)
        records = splits["train"]
    else:
        raise ValueError(
            f"{path}: first line {first.strip()!r:.80} found, NAME.jpg#0<TAB>caption, a header "
            "image_name| comment_number| comment or a header image,caption expected"
        )
    if split_lists is None:
        return random_splits(records, val, test, seed), notes
    splits, more = _listed_splits(records, split_lists, encoding)
    return splits, notes + more


def _read_lines(path: Path, form: re.Pattern[str], encoding: str) -> tuple[list[Record], list[str]]:
    """Pictures in the order of the file, and what was left out."""
    captions: dict[str, list[str]] = {}
    empty, strange, number = [], [], 0
    for number, name, caption in _pairs(path, form, encoding):
        if not name:
            strange.append(f"line {number}")
        elif not caption:
            empty.append(f"line {number}")
        else:
            captions.setdefault(name, []).append(caption)
    if not captions or len(strange) > MAX_STRANGE * number:
        raise ValueError(
            f"{path}: {len(strange)} of {number} lines are not understood ({strange[:3]}), like "
            "NAME.jpg#0<TAB>caption or NAME.jpg| 0| caption expected"
        )
    notes = [left_out(strange, "line", "not understood")] if strange else []
    notes += [left_out(empty, "line", "without a caption")] if empty else []
    return [Record(name, i, texts) for i, (name, texts) in enumerate(captions.items(), 1)], notes


def _pairs(path: Path, form: re.Pattern[str], encoding: str) -> Iterator[tuple[int, str, str]]:
    """Line number, picture and caption of each line; a line that does not fit has no picture."""
    for number, line in enumerate(read_lines(path, encoding), start=1):
        line = line.strip()
        if not line or (number == 1 and form is BAR_LINE and "comment" in line):
            continue
        match = form.fullmatch(line)
        name, caption = match.groups(default="") if match else ("", "")
        yield number, name.strip(), caption.strip()


def _listed_splits(
    records: Sequence[Record], lists: Mapping[str, str | Path], encoding: str
) -> tuple[dict[str, list[Record]], list[str]]:
    """The splits of the lists, and what was left out."""
    chosen: dict[str, str] = {}
    for split, path in lists.items():
        for line in read_lines(Path(path), encoding):
            stem = line.strip().removesuffix(".jpg")
            if stem and chosen.setdefault(stem, split) != split:
                raise ValueError(f"{path}: {stem} is in the list of {chosen[stem]!r} as well")
    splits: dict[str, list[Record]] = {}
    unlisted = []
    for record in records:
        split = chosen.pop(record.file_name.removesuffix(".jpg"), "")
        if split:
            splits.setdefault(split, []).append(record)
        else:
            unlisted.append(record.file_name)
    if empty := [split for split in lists if split not in splits]:
        raise ValueError(f"{lists[empty[0]]}: none of its pictures has a caption in the file")
    notes = [left_out(unlisted, "picture", "in no split list")] if unlisted else []
    notes += [left_out([*chosen], "listed picture", "without a caption")] if chosen else []
    return in_usual_order(splits), notes
