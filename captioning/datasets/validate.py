"""Checks a data-set folder before a run does: pictures, captions, ids, splits that share pictures.

What would stop training or evaluation is an error, everything else that deserves a look a warning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioning.config import VocabularyConfig
from captioning.datasets.caption_check import (
    Finding,
    Findings,
    Picture,
    caption_statistics,
    check_captions,
    coverage_of,
    read_entries,
    train_vocabulary,
)
from captioning.datasets.layout import MAX_MISSING, leads_out
from vocabulary import SPECIAL_WORDS, Vocabulary

if TYPE_CHECKING:
    from captioning.datasets.picture_check import Look

USUAL = ("train", "val", "test")
MISSING = "missing pictures"


@dataclass
class Checks:
    """How thoroughly, and against which settings.

    Args:
        fast (bool): look only whether the pictures are there, do not open them.
        workers (int): processes that open pictures; 0: one for each core.
        min_count (int): `vocabulary.min_count` of the training to come.
        max_length (int): `vocabulary.max_length`.
        features (str): a feature store that training reads in place of the pictures.
        progress (bool): show bars on stderr, if that is a terminal.
    """

    fast: bool = False
    workers: int = 0
    min_count: int = VocabularyConfig().min_count
    max_length: int = VocabularyConfig().max_length
    features: str = ""
    progress: bool = True


@dataclass
class _Seen:
    """What the splits read so far hold, to find what two of them share."""

    ids: dict[int | str, tuple[str, str]] = field(default_factory=dict)  # to split and file
    names: dict[str, tuple[str, int | str]] = field(default_factory=dict)  # to split and id
    digests: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # to split and file
    texts: Collection[int] = ()  # captions of train by their hash
    vocabulary: Vocabulary | None = None  # of train


def validate_data(data: str | Path, checks: Checks | None = None) -> dict[str, Any]:
    """Check a data-set folder.

    Args:
        data (str | Path): the folder.
        checks (Checks | None): see there.

    Returns:
        dict[str, Any]: `data`, `ok` (nothing would stop a run), `splits` (numbers of each), and the
        lists `errors` and `warnings`, each entry with `kind`, `split`, `count`, `message`, `names`.

    Raises:
        FileNotFoundError: there is no such folder, or no annotations in it.
        ValueError: `checks.features` is no feature store.
    """
    folder, checks = Path(data), checks or Checks()
    files = list(split_files(folder))
    if not files:
        raise FileNotFoundError(
            f"{folder}: no data set here; annotations/captions_train.json and so on expected"
        )
    info, whole = _read_info(folder), Findings()
    _check_splits(dict(files), whole)
    seen, splits, found = _Seen(), {}, []
    for split, path in files:
        findings = Findings(split)
        pictures = read_entries(path, findings)
        splits[split] = {"file": path.name, "pictures": len(pictures)}
        if path.name.startswith("captions_"):
            splits[split] |= _check_language(split, pictures, seen, findings, checks)
        _check_ids(pictures, seen, findings)
        if checks.features:
            _check_store(pictures, findings, checks.features)
        elif _has_pictures(folder, split, info, findings):
            _check_pictures(folder / "images", pictures, seen, findings, checks)
        found += findings
    _check_info(info, splits, whole)
    found = [*whole, *found]
    errors, warnings = ([f for f in found if f.breaks is wanted] for wanted in (True, False))
    return {
        "data": str(folder),
        "ok": not errors,
        "splits": splits,
        "errors": [_entry(finding) for finding in errors],
        "warnings": [_entry(finding) for finding in warnings],
    }


def _entry(finding: Finding) -> dict[str, Any]:
    fields = ("kind", "split", "count", "message", "names")
    return {name: getattr(finding, name) for name in fields}


def split_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Splits and their annotation files: train, val, test, then the others."""
    found: dict[str, Path] = {}
    for kind in ("captions", "images"):  # training prefers captions
        for path in sorted((folder / "annotations").glob(f"{kind}_*.json")):
            found.setdefault(path.stem.removeprefix(f"{kind}_"), path)
    for split in [*(s for s in USUAL if s in found), *(s for s in found if s not in USUAL)]:
        yield split, found[split]


def _check_splits(files: dict[str, Path], findings: Findings) -> None:
    """Training needs train and val with captions; evaluation takes test unless told otherwise."""
    for split in USUAL:
        path = files.get(split)
        if path is None:
            what = f"there is no split {split!r} (found: {', '.join(files)})"
            findings.say(f"no_{split}", what, split != "test")
        elif split != "test" and not path.name.startswith("captions_"):
            findings.say(f"no_{split}", f"there are no captions of {split}, only {path.name}", True)


def _read_info(folder: Path) -> dict[str, Any] | None:
    """What `info.json` holds: nothing where it is damaged, None where it is missing."""
    path = folder / "info.json"
    try:
        record = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict | None) else {}


def _check_info(
    info: dict[str, Any] | None, splits: dict[str, dict[str, Any]], findings: Findings
) -> None:
    """`info.json` should be there, and its counts should be true."""
    if info is None:
        findings.say("no_info", "there is no info.json, which says where the data came from")
        return
    counts = info.get("counts")
    if counts != {split: numbers["pictures"] for split, numbers in splits.items()}:
        findings.say("bad_info", f"info.json counts {counts}, the annotations hold other pictures")


def _check_language(
    split: str, pictures: list[Picture], seen: _Seen, findings: Findings, checks: Checks
) -> dict[str, Any]:
    """Captions: what is wrong with them, numbers about them, and how train's words cover them."""
    strict = split != "train"
    words = check_captions(pictures, findings, checks.max_length, strict, checks.progress)
    numbers = caption_statistics(pictures, words)
    if split == "train" and words.counts:
        seen.texts = words.texts.keys()
        seen.vocabulary = train_vocabulary(words, checks.min_count, findings)
        numbers["vocabulary"] = len(seen.vocabulary or SPECIAL_WORDS) - len(SPECIAL_WORDS)
    elif seen.vocabulary:
        shared = (count for text, count in words.texts.items() if text in seen.texts)
        numbers["captions_also_in_train"] = sum(shared)
        numbers["coverage"] = coverage_of(pictures, seen.vocabulary, findings)
    return numbers


# ---- pictures ----


def _check_ids(pictures: list[Picture], seen: _Seen, findings: Findings) -> None:
    """Whether a name leads elsewhere, another split has an id or a file, this one a file twice."""
    split = findings.split
    for picture in pictures:
        name = picture.file_name
        if leads_out(name):
            findings.add("leads_out", "names that lead out of the pictures folder", name)
        other, file = seen.ids.setdefault(picture.image_id, (split, name))
        if other != split and file != name:
            what = f"ids of other pictures in {other}, which a feature store mixes up"
            findings.add("id_of_another", what, picture.image_id)
        other = seen.names.setdefault(name, (split, picture.image_id))
        if other[0] != split:
            findings.add("shared_file", f"pictures that are in {other[0]}, too", name)
        elif other[1] != picture.image_id:
            findings.add("file_twice", "files that appear twice", name)


def _has_pictures(
    folder: Path, split: str, info: dict[str, Any] | None, findings: Findings
) -> bool:
    """Whether there are pictures to look at; if not, why."""
    if (folder / "shards" / split / "index.json").is_file():
        findings.say("in_shards", "the pictures lie in shards and were not opened")
    elif (folder / "images").is_dir():
        return True
    else:
        meant = (info or {}).get("pictures") == "none"  # converted without pictures on purpose
        what = "there is no folder of pictures; without it, only a feature store can be used"
        findings.say("no_images", what, breaks=not meant)
    return False


def _check_pictures(
    folder: Path, pictures: list[Picture], seen: _Seen, findings: Findings, checks: Checks
) -> None:
    """Files that are missing or cannot be read; a few of them are no error in train."""
    if checks.fast:
        for picture in pictures:
            if not os.path.isfile(folder / picture.file_name):
                findings.add("missing_picture", MISSING, picture.file_name)
    else:
        _open_pictures(folder, pictures, seen, findings, checks)
    unusable = [f for f in findings if f.kind in ("missing_picture", "unreadable_picture")]
    limit = MAX_MISSING * len(pictures) if findings.split == "train" else 0
    for finding in unusable:
        finding.breaks = sum(f.count for f in unusable) > limit


def _open_pictures(
    folder: Path, pictures: list[Picture], seen: _Seen, findings: Findings, checks: Checks
) -> None:
    """Open all pictures of a split."""
    from captioning.datasets.picture_check import look_at_all  # torch, which --fast can do without

    names = [picture.file_name for picture in pictures]
    looks = look_at_all(folder, names, checks.workers, checks.progress)
    for picture, now in zip(pictures, looks, strict=True):
        name = picture.file_name
        if now.missing:
            findings.add("missing_picture", MISSING, name)
        elif now.problem:
            findings.add("unreadable_picture", "unreadable pictures", now.problem)
        else:
            _check_content(picture, now, seen, findings)


def _check_content(picture: Picture, now: Look, seen: _Seen, findings: Findings) -> None:
    """Whether the size is as written, and whether the same bytes are there under another name."""
    name, split = picture.file_name, findings.split
    if all(picture.size) and picture.size != now.size:
        what = "pictures of another size than the annotations say"
        findings.add("wrong_size", what, f"{name} ({now.size[0]} x {now.size[1]})")
    other, file = seen.digests.setdefault(now.digest, (split, name))
    if file != name:
        kind = "content_twice" if other == split else "shared_content"
        what = f"pictures that are, byte by byte, also in {other} under another name"
        findings.add(kind, what, f"{name} ({file})")


def _check_store(pictures: list[Picture], findings: Findings, path: str) -> None:
    """Whether a feature store has all pictures."""
    from captioning.features.store import FeatureStore

    store = FeatureStore(path)
    for picture in pictures:
        if picture.image_id not in store and picture.image_id not in store.unreadable:
            what = f"pictures that are not in {Path(path).name}, ids"
            findings.add("not_in_store", what, picture.image_id, True)
    store.close()
