"""Which things are where: the one reader of COCO's instances files.

Source: the format of https://cocodataset.org/#format-data (object detection).
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from pycocotools.coco import COCO


def load_instances(path: str | Path) -> COCO:
    """Boxes, outlines and categories of the things in pictures.

    Args:
        path (str | Path): `instances_SPLIT.json` with `images`, `annotations` and `categories`.

    Returns:
        COCO: its `imgs`, `cats`, `anns` and `imgToAnns` are the file's rows by id; every annotation
        belongs to an image and a category of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, or its parts do not fit together.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it reads
            coco = COCO(str(path))
        _check(coco)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"instances: {path} does not exist") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"instances: {path}: not a COCO instances file ({error!r})") from error
    return coco


def _check(coco: COCO) -> None:
    """Everything that readers of the file rely on."""
    for key in ("images", "annotations", "categories"):
        if not isinstance(coco.dataset.get(key), list):
            raise ValueError(f"no list {key!r}")
    if not coco.cats:
        raise ValueError("no categories in it, at least one expected")
    for category in coco.cats.values():
        if not isinstance(category["name"], str):
            raise ValueError(f"category {category['id']!r} has no name")
    for annotation in coco.dataset["annotations"]:
        for key, known in (("image_id", coco.imgs), ("category_id", coco.cats)):
            if annotation[key] not in known:
                raise ValueError(
                    f"annotation {annotation['id']!r}: unknown {key} {annotation[key]!r}"
                )
