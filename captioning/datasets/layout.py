"""The one place that writes a data-set folder: pictures, caption files, `info.json`.

Everything is built under another name on the same disk and moved into place at the end. What
somebody else put into the folder is never deleted, least of all pictures behind a link.

Source: the format of https://cocodataset.org/#format-data (captions).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from tqdm import tqdm

from captioning.folders import remove_abandoned, temporary_folder

MAX_MISSING = 0.01  # share of the pictures; training, too, stops above it
PICTURES = ("link", "copy")


@dataclass(slots=True)
class Record:
    """A picture and what is said about it.

    Args:
        file_name (str): picture file, relative to the pictures folder, with forward slashes.
        image_id (int): its number, unique in the whole data set.
        captions (Sequence[str]): as written; may be empty.
        width (int): of the picture in pixels; 0: not known.
        height (int): likewise.
    """

    file_name: str
    image_id: int
    captions: Sequence[str]
    width: int = 0
    height: int = 0


Splits = Mapping[str, Sequence[Record]]


def write_layout(
    output: str | Path,
    splits: Splits,
    images: str | Path | None,
    info: Mapping[str, Any],
    overwrite: bool = False,
    pictures: str = "link",
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Write a data-set folder.

    Pictures that are not there, and pictures without captions in a split that has captions, are
    left out, counted and named in `info.json`. A split without any caption becomes
    `images_SPLIT.json`. If `images` is `output/images` already, the pictures stay where they are.

    Args:
        output (str | Path): folder to make, or to add a data set to.
        splits (Splits): records of each split, by its name.
        images (str | Path | None): folder the file names are relative to; None: no pictures, for
            data that is only used with a feature store.
        info (Mapping[str, Any]): `name`, and if known `version`, `licence`, `source`, `notes`.
        overwrite (bool): replace a data set that an earlier call wrote there.
        pictures (str): "link" makes `output/images` a symbolic link, "copy" copies the files.
        allow_missing (bool): go on when more than 1 % of the pictures are not there.

    Returns:
        dict[str, Any]: what `info.json` holds.

    Raises:
        ValueError: a record or a split cannot be written; the message names it.
        FileNotFoundError: the pictures folder or too many of the pictures are not there.
        FileExistsError: `output` is in use, or holds pictures that must not be deleted.
        OSError: `output` cannot be written; what stood there is kept.
    """
    output, root = Path(output), None if images is None else Path(images)
    if pictures not in PICTURES:
        raise ValueError(f"pictures: {pictures!r} received, one of {list(PICTURES)} expected")
    _check_records(splits)
    place = Path(os.path.abspath(output))  # "." has no name
    inside = place / place.name  # on the disk of a folder that is there
    remove_abandoned(place)
    remove_abandoned(inside)
    keep = check_output(output, splits, root, overwrite, pictures)
    kept, notes = _usable(splits, root, allow_missing)
    how = "none" if root is None else pictures
    if keep:
        how = "link" if (output / "images").is_symlink() else "in place"
    info = _complete(info, kept, how, notes)
    try:
        with temporary_folder(inside if output.is_dir() else place) as folder:
            _write_annotations(folder / "annotations", kept, info)
            _write_text(folder / "info.json", json.dumps(info, indent=2, ensure_ascii=False) + "\n")
            if root is not None and not keep:
                _bring_pictures(folder / "images", kept, root, pictures)
            _move_into_place(folder, output, keep)
    except OSError as error:
        raise OSError(f"{output}: could not be written ({_reason(error)})") from error
    return info


def _reason(error: OSError) -> str:
    file = Path(error.filename).name if isinstance(error.filename, str) else ""
    return f"{error.strerror.lower()}: {file}" if error.strerror and file else str(error)


# ---- what is given ----


def _check_records(splits: Splits) -> None:
    """Refuse what the files could not hold, or what would lead out of the pictures folder."""
    owners: dict[int, str] = {}
    for split, records in splits.items():
        if not re.fullmatch(r"\w[\w.-]*", split):
            raise ValueError(f"split {split!r}: letters, digits, '_', '-' and '.' expected")
        for record in records:
            name, number = record.file_name, record.image_id
            if not name or leads_out(name) or _is_no_text(name):
                raise ValueError(f"picture {name!r}: a path below the pictures folder expected")
            if isinstance(number, bool) or not isinstance(number, int):
                raise ValueError(f"{name}: image id {number!r} found, a whole number expected")
            if number in owners:
                raise ValueError(f"{name}: image id {number} is that of {owners[number]} already")
            owners[number] = name
            for caption in record.captions:
                if not isinstance(caption, str):
                    raise ValueError(f"{name}: caption {caption!r} found, text expected")
    if not owners:
        raise ValueError("splits: no pictures received, at least one expected")


def leads_out(name: str) -> bool:
    """Whether a file name does not stay below the folder it is relative to."""
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def _is_no_text(name: str) -> bool:
    """Whether a file name holds bytes that are no UTF-8, or a character no name may have."""
    return "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name)


def _usable(
    splits: Splits, root: Path | None, allow_missing: bool
) -> tuple[dict[str, list[Record]], list[str]]:
    """The records that can be used, and sentences about the others."""
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of pictures")
    kept: dict[str, list[Record]] = {}
    silent: list[str] = []
    missing: list[str] = []
    for split, records in splits.items():
        captioned = any(record.captions for record in records)
        for record in records:
            if captioned and not record.captions:
                silent.append(record.file_name)
            elif root is not None and not os.path.isfile(root / record.file_name):
                missing.append(record.file_name)
            else:
                kept.setdefault(split, []).append(record)
    total = sum(len(records) for records in splits.values())
    if missing and (not kept or len(missing) > MAX_MISSING * total and not allow_missing):
        allowed = f"at most {MAX_MISSING:.0%} is tolerated, --allow_missing leaves out any number"
        hint = allowed if kept else "the names must be relative to this folder"
        raise FileNotFoundError(
            f"{root}: {len(missing)} of {total} pictures are not there, e.g. {missing[0]}; {hint}"
        )
    notes = [left_out(missing, "picture", "not there")] if missing else []
    return kept, notes + ([left_out(silent, "picture", "without a caption")] if silent else [])


def left_out(names: Sequence[object], what: str, why: str) -> str:
    """ "2 pictures left out, not there: a.jpg, b.jpg", naming at most five."""
    some = ", ".join(str(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} {what}{'s' * (len(names) != 1)} left out, {why}: {some}"


def _complete(
    info: Mapping[str, Any], splits: Splits, how: str, notes: Sequence[str]
) -> dict[str, Any]:
    """What `info.json` holds: what is known of the source, the counts, and what was left out."""
    if not info.get("name"):
        raise ValueError("info: no name received, the data set's name expected")
    head = {"name": "", "version": "", "licence": "unknown", "source": ""}
    return (
        head
        | dict(info)
        | {
            "counts": {split: len(records) for split, records in splits.items()},
            "captions": {
                split: sum(len(r.captions) for r in some) for split, some in splits.items()
            },
            "pictures": how,
            "notes": [*info.get("notes", []), *notes],
        }
    )


# ---- the folder ----


def _same_place(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _old_info(output: Path) -> dict[str, Any]:
    """The `info.json` of an earlier call; empty where there is none that can be read."""
    try:
        record = json.loads((output / "info.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _files_of(splits: Iterable[str]) -> list[str]:
    return [f"{kind}_{split}.json" for split in splits for kind in ("captions", "images")]


def check_output(
    output: Path, splits: Iterable[str], root: Path | None, overwrite: bool, pictures: str = "link"
) -> bool:
    """Refuse to replace what was not meant to be replaced.

    Args:
        output (Path): the folder to write.
        splits (Iterable[str]): names of the splits to come.
        root (Path | None): the pictures folder.
        overwrite (bool): whether an earlier conversion may be replaced.
        pictures (str): "link" or "copy".

    Returns:
        bool: whether the pictures are in their place already.

    Raises:
        FileExistsError: a file stands in the way, a data set without `overwrite`, or pictures.
    """
    keep = root is not None and _same_place(output / "images", root)
    keep = keep and (pictures == "link" or not (output / "images").is_symlink())
    if os.path.lexists(output) and not output.is_dir():
        raise FileExistsError(f"{output}: a file stands there, a folder for the data set expected")
    names = ["info.json", *(f"annotations/{name}" for name in _files_of(splits))]
    names += [] if keep else ["images"]
    used = [name for name in names if os.path.lexists(output / name)]
    if used and not overwrite:
        raise FileExistsError(f"{output}: holds {used[0]} already; --overwrite replaces it")
    own = (output / "images").is_symlink() or _old_info(output).get("pictures") == "copy"
    if "images" in used and not own:
        raise FileExistsError(
            f"{output / 'images'}: holds pictures that no conversion copied there, they are never "
            "deleted; another output expected, or this folder as that of the pictures"
        )
    return keep


def _bring_pictures(place: Path, splits: Splits, root: Path, pictures: str) -> None:
    """Link to the pictures folder, or copy the pictures that are used."""
    if pictures == "link":
        place.symlink_to(root.resolve(), target_is_directory=True)
        return
    names = dict.fromkeys(record.file_name for records in splits.values() for record in records)
    for name in tqdm(names, desc="copying", unit="picture", disable=None):  # on a terminal only
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, place / name)


def _move_into_place(new: Path, output: Path, keep: bool) -> None:
    """The finished parts replace those of an earlier call; a new folder takes one move."""
    if not output.is_dir():
        new.rename(output)
        return
    written = {path.name for path in (new / "annotations").iterdir()}
    counts = _old_info(output).get("counts")
    stale = set(_files_of(counts if isinstance(counts, dict) else ())) - written
    if not keep:
        _replace_pictures(new, output)
    (output / "annotations").mkdir(exist_ok=True)
    for name in sorted(written):
        os.replace(new / "annotations" / name, output / "annotations" / name)
    os.replace(new / "info.json", output / "info.json")
    for name in stale:
        (output / "annotations" / name).unlink(missing_ok=True)


def _replace_pictures(new: Path, output: Path) -> None:
    """Swap links or copies; the old ones go with the temporary folder."""
    place, old = output / "images", new / "old images"
    if os.path.lexists(place):
        place.rename(old)
    try:
        if os.path.lexists(new / "images"):
            (new / "images").rename(place)
    except OSError:
        if os.path.lexists(old):
            old.rename(place)
        raise


# ---- the files ----


def _write_text(path: Path, text: str) -> None:
    with _new_file(path) as file:
        file.write(text)


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A text file that is on the disk when it is closed; half letters become question marks."""
    with path.open("w", encoding="utf-8", errors="replace") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_annotations(folder: Path, splits: Splits, info: Mapping[str, Any]) -> None:
    """The caption files, entry by entry, so that COCO's 600,000 captions need no second copy."""
    folder.mkdir()
    licences = [{"id": 1, "name": info["licence"], "url": ""}]
    numbers = iter(range(1, 1 + sum(info["captions"].values())))
    for split, records in splits.items():
        kind = "captions" if info["captions"][split] else "images"
        with _new_file(folder / f"{kind}_{split}.json") as file:
            file.write(f'{{"info": {json.dumps(dict(info), ensure_ascii=False)},\n')
            file.write(f'"licenses": {json.dumps(licences, ensure_ascii=False)},\n"images": [')
            _write_entries(file, map(_image_entry, records))
            if kind == "captions":
                file.write('],\n"annotations": [')
                _write_entries(file, (e for r in records for e in _caption_entries(r, numbers)))
            file.write("]}\n")


def _write_entries(file: TextIO, entries: Iterable[dict[str, Any]]) -> None:
    separator = "\n"
    for entry in entries:
        file.write(separator + json.dumps(entry, ensure_ascii=False))
        separator = ",\n"


def _image_entry(record: Record) -> dict[str, Any]:
    entry = {"id": record.image_id, "file_name": record.file_name, "license": 1}
    size = {"width": record.width, "height": record.height} if record.width else {}
    return entry | size


def _caption_entries(record: Record, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    for caption in record.captions:
        yield {"id": next(numbers), "image_id": record.image_id, "caption": caption.strip()}
