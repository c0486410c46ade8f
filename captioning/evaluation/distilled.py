"""The file of a teacher's captions: while it grows, when it is complete, and joined from parts.

Captions are collected in `FILE.partial.jsonl`: a line that says what is being made, then a line for
each batch of pictures. What a kill or a full disk cut off there is dropped, the rest is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from captioning.features.signature import first_difference
from captioning.files import check_free, write_atomically
from data_loader import read_annotations

try:
    import fcntl
except ImportError:  # Windows: two runs with one output are not kept apart there
    fcntl = None  # type: ignore[assignment]

Entry = dict[str, Any]  # one picture: `image_id`, `captions`, and how many were left out, or why
LEFT_OUT = ("empty", "repeated", "unwritable")
PLACES = ("teacher", "data", "features")  # of a record: where things lay decides nothing


def pictures_hash(pictures: Sequence[tuple[int, str]]) -> str:
    """16 hex digits that stand for ids and file names in order."""
    return hashlib.sha256(json.dumps(pictures).encode()).hexdigest()[:16]


def what_differs(found: Mapping[str, Any], expected: Mapping[str, Any], *free: str) -> str:
    """The first difference of two records that matters; empty if there is none."""
    trimmed = [
        {name: _by_place(value) for name, value in record.items() if name not in (*PLACES, *free)}
        for record in (found, expected)
    ]
    return first_difference(*trimmed)


def _by_place(value: Any) -> Any:
    """A list of settings as a dictionary, so that a difference is named by its setting."""
    settings = isinstance(value, list) and all(isinstance(one, dict) for one in value)
    return dict(enumerate(value)) if settings else value


# -------------------------------------------------------------------------- the partial file


def partial_path(output: str | Path) -> Path:
    """Where captions are collected until they are complete: `FILE.partial.jsonl`."""
    return Path(f"{output}.partial.jsonl")


@contextlib.contextmanager
def open_partial(
    path: Path, record: dict[str, Any], ids: Sequence[int], overwrite: bool = False
) -> Iterator[tuple[BinaryIO, dict[str, Any], list[Entry]]]:
    """Begin a partial file, or take over what is whole in it and cut off the rest.

    Args:
        path (Path): see `partial_path`.
        record (dict): what is to be made, in batches of its `batch_size`.
        ids (Sequence[int]): the pictures in order.
        overwrite (bool): begin anew where something else was begun.

    Yields:
        tuple: the file, to `append` to; the record it was begun with; the pictures that are done.

    Raises:
        FileExistsError: something else was begun there.
        BlockingIOError: another process writes there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with open(path, "r+b", buffering=0) as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(f"{path}: another process is writing there") from error
        lines = _whole_lines(file.read())
        begun = lines[0][0] if lines and isinstance(lines[0][0], dict) else {}
        if lines and (difference := what_differs(begun, record)):
            if len(lines) > 1 and not overwrite:
                raise FileExistsError(
                    f"{path}: unfinished captions, begun with {difference}; --overwrite begins anew"
                )
            lines = []
        batches = _batches([line for line, _ in lines[1:]], ids, record["batch_size"])
        file.truncate(lines[len(batches)][1] if lines else 0)
        file.seek(0, 2)
        if not lines:
            append(file, path, record)
        yield file, begun if lines else record, [entry for batch in batches for entry in batch]


def _whole_lines(content: bytes) -> list[tuple[Any, int]]:
    """The lines that were written to their end: as JSON, and the byte behind each."""
    lines, size = [], 0
    for line in content.splitlines(keepends=True):
        size += len(line)
        try:
            lines.append((json.loads(line if line.endswith(b"\n") else b""), size))
        except ValueError:  # also UnicodeDecodeError: cut by a kill, or zeros after a power cut
            break
    return lines


def _batches(lines: Sequence[Any], ids: Sequence[int], batch_size: int) -> list[list[Entry]]:
    """What was said, up to the first line that is not about the batch whose turn it is."""
    batches: list[list[Entry]] = []
    for line, start in zip(lines, range(0, len(ids), batch_size), strict=False):
        if not isinstance(line, list) or not all(map(_is_entry, line)):
            break
        if [one.get("image_id") for one in line] != list(ids[start : start + batch_size]):
            break
        batches.append(line)
    return batches


def _is_entry(one: Any) -> bool:
    """Whether something read is all that is noted of a picture."""
    if not isinstance(one, dict) or isinstance(one.get("unreadable"), str):
        return isinstance(one, dict)
    captions = one.get("captions")
    return (
        all(isinstance(one.get(name), int) for name in LEFT_OUT)
        and isinstance(captions, list)
        and all(isinstance(c, dict) and isinstance(c.get("caption"), str) for c in captions)
        and all(isinstance(c.get(n), float) for c in captions for n in ("logprob", "score"))
    )


def append(file: BinaryIO, path: Path, row: Any) -> None:
    """Write a line behind the others, so that a killed run leaves all that was said.

    Raises:
        OSError: the disk is full; the message names the file.
    """
    rest = memoryview((json.dumps(row, ensure_ascii=False) + "\n").encode())
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise OSError(f"{path}: could not be written ({error.strerror})") from error


@contextlib.contextmanager
def nothing_is_lost(partial: Path) -> Iterator[None]:
    """Say that nothing is lost when the work breaks off."""
    kept = f"what was said so far is kept in {partial}, the same command goes on"
    try:
        yield
    except OSError as error:
        raise OSError(f"{error}; {kept}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; {kept}") from None


# ------------------------------------------------------------------------------ the file


def caption_set(
    record: Mapping[str, Any], pictures: Sequence[dict[str, Any]], entries: Sequence[Entry]
) -> dict[str, Any]:
    """The content of a caption file.

    Args:
        record (Mapping): what made it.
        pictures (Sequence[dict]): COCO's `images`.
        entries (Sequence[dict]): one for each of them.

    Returns:
        dict: `info` (the record and counts), `images`, `annotations`.

    Raises:
        ValueError: there is no caption at all.
    """
    unreadable = [entry["unreadable"] for entry in entries if "unreadable" in entry]
    annotations = [
        {"image_id": entry["image_id"], **one}
        for entry in entries
        for one in entry.get("captions", [])
    ]
    counts = {name: sum(entry.get(name, 0) for entry in entries) for name in LEFT_OUT}
    if not annotations:
        why = _listed(counts | {"unreadable": len(unreadable)})
        why += f", the first: {unreadable[0]}" if unreadable else ""
        raise ValueError(
            f"{record['data']}: no caption to learn from for any of the {len(pictures)} pictures "
            f"of split {record['split']!r} ({why})"
        )
    info = {**record, **counts, "captions": len(annotations), "unreadable": unreadable}
    return _numbered(info, pictures, annotations)


def _numbered(
    info: dict[str, Any], pictures: Sequence[dict[str, Any]], annotations: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """A caption file whose captions are numbered in order, from 1."""
    numbered = [{"id": 0} | one | {"id": number} for number, one in enumerate(annotations, 1)]
    return {"info": info, "images": list(pictures), "annotations": numbered}


def _listed(counts: Mapping[str, int]) -> str:
    """3 empty, 2 repeated: what there is any of."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


def write_captions(output: str | Path, captions: Mapping[str, Any]) -> None:
    """Write a caption file, whole or not at all.

    Raises:
        OSError: the disk is full; the message names the file.
    """
    text = json.dumps(captions, ensure_ascii=False)
    write_atomically(Path(output), lambda part: part.write_text(text, "utf-8"))


def summarize(captions: Mapping[str, Any], output: str | Path) -> dict[str, Any]:
    """What a caption file holds.

    Args:
        captions (Mapping): see `caption_set`.
        output (str | Path): where it is.

    Returns:
        dict: output, pictures, captions, `distinct_per_picture` (different captions of a picture
        that could be read, on average), `mean_logprob` of a caption; how many were empty, repeated
        or unwritable and left out; unreadable (messages).
    """
    info, annotations = captions["info"], captions["annotations"]
    read = len(captions["images"]) - len(info["unreadable"])
    different = {(one["image_id"], one["caption"]) for one in annotations}
    mean = sum(one["logprob"] for one in annotations) / len(annotations)
    counts = {name: info[name] for name in (*LEFT_OUT, "unreadable")}
    return {
        "output": str(output),
        "pictures": len(captions["images"]),
        "captions": len(annotations),
        "distinct_per_picture": round(len(different) / read, 4),
        "mean_logprob": round(mean, 4),
        **counts,
    }


# ------------------------------------------------------------------------------ parts


def join_parts(
    parts: Sequence[str | Path], output: str | Path, overwrite: bool = False
) -> dict[str, Any]:
    """One caption file out of those of all parts, its pictures in the order of the split.

    Args:
        parts (Sequence[str | Path]): the files, in any order.
        output (str | Path): the file to write.
        overwrite (bool): replace an existing one.

    Returns:
        dict: see `summarize`.

    Raises:
        FileNotFoundError: a part is missing on the disk.
        ValueError: a file is no part, was made differently, is there twice, or one is missing.
        OSError: the output is there already, or cannot be written.
    """
    check_free(output, overwrite)
    if Path(output).resolve() in [Path(path).resolve() for path in parts]:
        raise ValueError(f"{output}: one of the parts to join, another name expected")
    found = _in_order([(path, _read_part(path)) for path in parts])
    info, total = dict(found[0]["info"]), len(found)
    number = sum(len(part["images"]) for part in found)
    fits = [len(part["images"]) == len(range(number)[k::total]) for k, part in enumerate(found)]
    pictures = [found[n % total]["images"][n // total] for n in range(number)] if all(fits) else []
    if pictures_hash([(one["id"], one["file_name"]) for one in pictures]) != info["pictures_hash"]:
        raise ValueError(
            f"{parts[0]}: with the other parts it does not give the pictures they were dealt from; "
            "a part was changed after it was written"
        )
    said: dict[int, list[dict[str, Any]]] = {one["id"]: [] for one in pictures}
    for part in found:
        for one in part["annotations"]:
            said[one["image_id"]].append(one)
    for name in (*LEFT_OUT, "captions", "unreadable"):
        info[name] = sum((part["info"][name] for part in found), type(info[name])())
    info["part"] = [1, 1]
    captions = _numbered(info, pictures, (one for some in said.values() for one in some))
    write_captions(output, captions)
    return summarize(captions, output)


def _read_part(path: str | Path) -> dict[str, Any]:
    """The content of a caption file that `distill` wrote."""
    content = read_annotations("", "", path).dataset
    info = content.get("info")
    numbers = info.get("part") if isinstance(info, dict) else None
    whole = isinstance(numbers, list) and info.get("captions") == len(content["annotations"])
    if not whole or not {"weights_hash", "pictures_hash", "unreadable", *LEFT_OUT} <= set(info):
        raise ValueError(f"{path}: not a caption file as `distill --part` writes it")
    return content


def _in_order(parts: Sequence[tuple[str | Path, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The contents of all parts by their number.

    Raises:
        ValueError: see `join_parts`.
    """
    if not parts:
        raise ValueError("parts: none received, at least one expected")
    first, content = parts[0]
    expected, total = content["info"], content["info"]["part"][1]
    by_number: dict[int, tuple[str | Path, dict[str, Any]]] = {}
    for path, content in parts:
        info, counted = content["info"], ("part", "captions", "unreadable", *LEFT_OUT)
        if difference := what_differs(info, expected, *counted):
            raise ValueError(f"{path}: {difference} as in {first}")
        number, of = info["part"]
        if of != total:
            raise ValueError(f"{path}: part {number} of {of}, one of {total} as {first} expected")
        if number in by_number:
            raise ValueError(f"{path}: part {number} of {of}, as is {by_number[number][0]}")
        by_number[number] = path, content
    missing = [str(number) for number in range(1, total + 1) if number not in by_number]
    if missing:
        raise ValueError(f"part {', '.join(missing)} of {total} is missing")
    return [content for _, (_, content) in sorted(by_number.items())]
