"""COCO results files, and the zip file that COCO's caption evaluation server takes.

The server wants the captions of all pictures of COCO's 2014 validation and test sets, in two files
that carry the name of the algorithm, side by side in one zip file.

Source: "Captions Upload" and "Results Format" of https://cocodataset.org (the file names, both sets
required, `[{"image_id": int, "caption": str}]`).
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from captioning.evaluation.caption_files import ImageId
from captioning.files import write_atomically

COCO_SIZES = {"val": 40_504, "test": 40_775}  # pictures of val2014 and test2014
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_submission_name(name: str) -> None:
    """Refuse a name that the server's files cannot carry.

    Raises:
        ValueError: it is empty or holds anything but letters, digits, '.', '_' and '-'.
    """
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ValueError(
            f"submission: {name!r} received, a name of letters, digits, '.', '_' and '-' that "
            "begins with a letter or digit expected"
        )


def submission_splits(splits: Collection[str]) -> dict[str, str]:
    """Which split is sent as COCO's val2014 and which as its test2014.

    Args:
        splits (Collection[str]): names of data splits.

    Returns:
        dict[str, str]: "val" and "test" to the split whose name begins so.

    Raises:
        ValueError: there is not one split for each and no other.
    """
    found = {kind: [s for s in splits if s.startswith(kind)] for kind in COCO_SIZES}
    if len(splits) != 2 or any(len(some) != 1 for some in found.values()):
        raise ValueError(
            f"split: {','.join(splits)} received, one split whose name begins with val and one "
            "with test expected for a submission"
        )
    return {kind: some[0] for kind, some in found.items()}


def results_of(captions: Mapping[ImageId, str]) -> str:
    """The text of a COCO results file."""
    return json.dumps([{"image_id": i, "caption": text} for i, text in captions.items()])


def write_results(path: str | Path, captions: Mapping[ImageId, str]) -> None:
    """Write a COCO results file, whole or not at all.

    Args:
        path (str | Path): the file.
        captions (Mapping): image id to caption.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(Path(path), lambda part: part.write_text(results_of(captions), "utf-8"))


def write_submission(
    path: str | Path,
    name: str,
    captions: Mapping[str, Mapping[ImageId, str]],
    image_ids: Mapping[str, Collection[ImageId]],
) -> None:
    """Write the zip file of both sets, whole or not at all.

    Args:
        path (str | Path): the zip file.
        name (str): the algorithm's, see `check_submission_name`.
        captions (Mapping): "val" and "test" to the captions by image id.
        image_ids (Mapping): "val" and "test" to the ids of all pictures of that set.

    Raises:
        ValueError: the name, an id that is no number, or captions that are not those of all
            pictures of a set.
        OSError: it cannot be written.
    """
    check_submission_name(name)
    for kind in COCO_SIZES:
        own, all_ids = set(captions[kind]), set(image_ids[kind])
        if own != all_ids:
            raise ValueError(
                f"submission: captions of {len(own & all_ids)} of the {len(all_ids)} {kind} "
                f"pictures and of {len(own - all_ids)} others received, all expected"
            )
        if strange := [i for i in own if not isinstance(i, int)]:
            raise ValueError(f"submission: image id {strange[0]!r} found, a number expected")

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file:
            for kind in COCO_SIZES:
                text = results_of(captions[kind])
                file.writestr(f"captions_{kind}2014_{name}_results.json", text)

    write_atomically(Path(path), write)
