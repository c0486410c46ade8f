"""COCO from its official addresses to a data-set folder, resumable at every point.

What is loaded goes to `OUTPUT/downloads`, pictures are unpacked into `OUTPUT/images/train2014` and
so on, captions and instances are sorted into the official splits or Karpathy's, and `info.json` is
written last: with it the data set is complete.

Source: https://cocodataset.org/#download. Departure: captions are the official ones; of Karpathy's
file only the splits are used.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioning.datasets.coco_annotations import (
    has_instances,
    read_records,
    read_test_records,
    write_instances,
)
from captioning.datasets.coco_parts import (
    ADDRESS,
    DONE,
    SPLITS,
    Request,
    Step,
    given_folder,
    is_complete,
    is_pictures,
    is_there,
    make_plan,
    space_needed,
)
from captioning.datasets.download import DownloadError, WrongFileError, fetch
from captioning.datasets.karpathy import LICENCES, read_karpathy
from captioning.datasets.layout import Record, write_layout
from captioning.datasets.unpack import unpack_pictures
from captioning.disk import check_space
from captioning.files import read_json, write_atomically

try:
    import fcntl
except ImportError:  # Windows; there, nobody notices a second run
    fcntl = None

CORRUPT = 167126  # cut off in old copies of train2014; karpathy/neuraltalk2, issue 4 on GitHub

Sorted = dict[str, list[Record]]


def prepare(request: Request) -> dict[str, Any]:
    """Fetch, unpack and write whatever is missing of the data set.

    Args:
        request (Request): what is asked for.

    Returns:
        dict[str, Any]: what `info.json` holds.

    Raises:
        FileExistsError: the output holds something else.
        DownloadError: a part cannot be had; the message says what to do.
        ValueError: an archive or an annotation file is damaged, or not the one expected.
        OSError: the disk is too small or full, or another run works on this folder.
    """
    steps = make_plan(request)
    if is_complete(request, steps):
        return read_json(request.info)
    with _locked(request.downloads):
        check_space(request.output, space_needed(request, steps))
        sources = {s.part: _obtain(request, s) for s in steps if not is_pictures(s.part)}
        splits = _read_splits(request, sources)
        for step in steps:
            if is_pictures(step.part):
                _bring_pictures(request, step)
        info = _write(request, splits, sources["annotations"])
        if not request.keep_archives:
            for step in steps:
                step.archive.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        (request.downloads / ".lock").unlink()
        request.downloads.rmdir()
    return info


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second run out, which would write into the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"{folder.parent}: another run is at work there") from error
        yield


# --- parts -------------------------------------------------------------------------------------


def _obtain(request: Request, step: Step) -> Path:
    """The archive of a part, or what was given in its place."""
    if step.part in request.local:
        return request.local[step.part]
    try:
        return fetch(step.url, step.archive, step.size, step.checksum, progress=request.progress)
    except DownloadError as error:
        advice = f"--{step.part} takes a copy you have"
        if isinstance(error, WrongFileError):
            advice += ", --any_version accepts what is there"
        if step.part == "karpathy":
            advice = (
                "give the file as --karpathy FILE (caption_datasets.zip or dataset_coco.json), "
                "or choose --split official"
            )
        raise DownloadError(f"{error}; {advice}") from error


def _bring_pictures(request: Request, step: Step) -> None:
    """Unpack the pictures of a part, or link to the folder that was given."""
    folder = request.folder(step.part)
    if step.state == "there":
        return
    source = _obtain(request, step)
    if folder.is_symlink():  # to a folder that was given before
        folder.unlink()
    if source.is_dir():
        _link(folder, given_folder(request, step.part))
        return
    number = unpack_pictures(source, folder, request.progress)
    if hasattr(os, "sync"):  # the pictures are on the disk before the archive goes
        os.sync()
    write_atomically(folder / DONE, lambda temporary: temporary.write_text(str(number), "utf-8"))
    if not request.keep_archives:
        step.archive.unlink(missing_ok=True)


def _link(folder: Path, target: Path) -> None:
    if folder.exists():
        raise FileExistsError(
            f"{folder}: holds pictures already; remove it to use those of {target} instead"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(target.resolve(), target_is_directory=True)


# --- annotations ---------------------------------------------------------------------------------


def _read_splits(request: Request, sources: dict[str, Path]) -> Sorted:
    """All pictures with their captions, in the splits that are asked for."""
    if request.split == "official":
        splits = read_records(sources["annotations"], request.year)
        return splits | {"test": read_test_records(sources["test_info"], request.year)}
    split_of = _karpathys(sources["karpathy"])
    return read_records(sources["annotations"], request.year, split_of)


def _karpathys(file: Path) -> dict[int, str]:
    """Image id to split; the rest of the file is let go."""
    file = file / "dataset_coco.json" if file.is_dir() else file
    member = "" if file.suffix == ".json" else "dataset_coco.json"
    asked = read_karpathy(file, member)
    if strange := [name for name in asked if name not in ("train", "val", "test")]:
        raise ValueError(f"{file}: split {strange[0]!r} found, train, val or test expected")
    return {record.image_id: name for name, records in asked.items() for record in records}


def _write(request: Request, splits: Sorted, source: Path) -> dict[str, Any]:
    """Write annotations and `info.json` for the pictures that are there."""
    images, parts = request.output / "images", filter(is_pictures, SPLITS["official"])
    folders = [request.folder(part).name for part in parts if is_there(request, part)]
    if images.exists() and not folders:
        raise FileExistsError(
            f"{images}: pictures that are not all unpacked; remove the folder, or fetch them all"
        )
    splits, notes = _with_folders(splits, folders) if folders else (splits, [])
    notes += _mend(request, splits)
    info = {
        "name": "coco",
        "version": str(request.year),
        "licence": LICENCES["coco"],
        "source": ADDRESS,
        "split": request.split,
        "folders": folders,
    }
    _forget_split(request)
    notes += _write_instances(request, splits, source)
    return write_layout(
        request.output,
        splits,
        images if folders else None,
        info | {"notes": notes},
        overwrite=True,
        allow_missing=request.allow_missing,
    )


def _forget_split(request: Request) -> None:
    """So that a kill does not leave one split's name with the captions of another."""
    if request.info.exists():
        text = json.dumps(read_json(request.info) | {"split": ""})
        write_atomically(request.info, lambda temporary: temporary.write_text(text, "utf-8"))


def _with_folders(splits: Sorted, folders: list[str]) -> tuple[Sorted, list[str]]:
    """Leave out the pictures of folders that were not asked for."""
    kept: Sorted = {}
    left: dict[str, int] = {}
    for split, records in splits.items():
        for record in records:
            folder = record.file_name.partition("/")[0]
            if folder in folders:
                kept.setdefault(split, []).append(record)
            else:
                left[folder] = left.get(folder, 0) + 1
    return kept, [f"{n} pictures of {name} left out, not fetched" for name, n in left.items()]


def _write_instances(request: Request, splits: Sorted, source: Path) -> list[str]:
    """Boxes and categories of each split with captions, where the source has them."""
    folder = request.output / "annotations"
    folder.mkdir(exist_ok=True)
    known = has_instances(source, request.year)
    written = set()
    for split, records in splits.items():
        if known and any(record.captions for record in records):
            write_instances(folder, source, request.year, split, records)
            written.add(f"instances_{split}.json")
    for path in folder.glob("instances_*.json"):
        if path.name not in written:
            path.unlink()
    return [] if known else [f"no instances in {source.name}: no CHAIR and no pointing game"]


def _mend(request: Request, splits: Sorted) -> list[str]:
    """Replace the picture that is corrupt in old copies, or leave it out.

    Returns:
        list[str]: a note about what was done; none when the picture is fine or not there.
    """
    found = [r for records in splits.values() for r in records if r.image_id == CORRUPT]
    path = request.output / "images" / found[0].file_name if found else Path()
    if not path.is_file():
        return []
    from data_loader import UnreadableImageError, open_image  # torch, which is needed here only

    try:
        open_image(path)
        return []
    except UnreadableImageError:
        pass
    fresh = request.downloads / path.name
    try:
        if path.parent.is_symlink():
            raise OSError("in a folder that is not ours")
        address = request.url(f"{path.parent.name}/{path.name}")
        fetch(address, fresh, retries=2, progress=request.progress)
        open_image(fresh)
        os.replace(fresh, path)
        return [f"{path.name} was corrupt and is replaced by a fresh copy"]
    except (OSError, UnreadableImageError) as error:
        fresh.unlink(missing_ok=True)
        for records in splits.values():
            records[:] = [record for record in records if record.image_id != CORRUPT]
        return [f"{path.name} is corrupt and left out ({error})"]
