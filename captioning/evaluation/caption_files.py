"""Captions from COCO annotation files and COCO results files, with one sentence for a bad file.

Source: the annotation and result formats of https://cocodataset.org/#format-data and
https://cocodataset.org/#format-results (captions).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ImageId = int | str


@dataclass(frozen=True)
class References:
    """The reference captions of a set of images.

    Args:
        captions (dict[ImageId, list[str]]): captions of each image, in the file's order; images
            without any are left out.
        file_names (dict[ImageId, str]): picture file of each image, where the file says so.
    """

    captions: dict[ImageId, list[str]]
    file_names: dict[ImageId, str]


def read_references(path: str | Path) -> References:
    """Read a COCO caption annotation file.

    Args:
        path (str | Path): JSON with the lists `images` and `annotations`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, lists an image twice, names an unknown image, or has no
            captions.
    """
    record = _read_json(path, "references")
    for key in ("images", "annotations"):
        if not isinstance(record, dict) or not isinstance(record.get(key), list):
            raise ValueError(
                f"references: {path} has no list '{key}'; a COCO caption annotation file expected"
            )
    captions: dict[ImageId, list[str]] = {}
    file_names = {}
    for index, image in enumerate(record["images"]):
        image_id = _image_id(image, "id", f"references: images[{index}] of {path}")
        if image_id in captions:
            raise ValueError(f"references: {path} lists image {image_id!r} twice")
        captions[image_id] = []
        if isinstance(image.get("file_name"), str):
            file_names[image_id] = image["file_name"]
    for index, annotation in enumerate(record["annotations"]):
        where = f"references: annotations[{index}] of {path}"
        image_id = _image_id(annotation, "image_id", where)
        if image_id not in captions:
            raise ValueError(f"{where} belongs to image {image_id!r}, which 'images' does not list")
        captions[image_id].append(_caption(annotation, where))
    captions = {image_id: texts for image_id, texts in captions.items() if texts}
    if not captions:
        raise ValueError(f"references: {path} holds no captions, at least one expected")
    return References(captions, file_names)


def read_candidates(path: str | Path) -> dict[ImageId, str]:
    """Read a COCO results file of captions.

    Args:
        path (str | Path): JSON list of objects with `image_id` and `caption`, one for each image.

    Returns:
        dict[ImageId, str]: caption of each image, in the file's order.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file, is empty, or has two captions for one image.
    """
    record = _read_json(path, "candidates")
    if not isinstance(record, list):
        raise ValueError(
            f"candidates: {path} holds a JSON {_json_type(record)}; "
            'a list [{"image_id": ..., "caption": ...}, ...] expected'
        )
    captions: dict[ImageId, str] = {}
    for index, entry in enumerate(record):
        where = f"candidates: entry {index} of {path}"
        image_id = _image_id(entry, "image_id", where)
        if image_id in captions:
            raise ValueError(f"{where} is a second caption for image {image_id!r}; one expected")
        captions[image_id] = _caption(entry, where)
    if not captions:
        raise ValueError(f"candidates: {path} holds no captions, at least one expected")
    return captions


def check_same_images(references: dict[ImageId, list[str]], candidates: dict[ImageId, str]) -> None:
    """Refuse candidates that do not belong to the references one to one.

    Raises:
        ValueError: no images at all, an image without candidate, a candidate without image, or an
            image whose list of references is empty.
    """
    if not references:
        raise ValueError("references: no images received, at least one expected")
    unknown = [image_id for image_id in candidates if image_id not in references]
    missing = [image_id for image_id in references if image_id not in candidates]
    if unknown:
        raise ValueError(
            f"candidates: {_some(unknown)} not among the {len(references)} images with references "
            f"(ids there look like {next(iter(references))!r})"
        )
    if missing:
        raise ValueError(
            f"candidates: {_some(missing)} without a caption; one for every image expected"
        )
    for image_id, captions in references.items():
        if not captions:
            raise ValueError(f"references: image {image_id!r} has none, at least one expected")


def _some(image_ids: list[ImageId]) -> str:
    """ "image 7" or "3 images (7, 9, 12)", naming at most three."""
    if len(image_ids) == 1:
        return f"image {image_ids[0]!r}"
    names = ", ".join(repr(image_id) for image_id in image_ids[:3])
    return f"{len(image_ids)} images ({names}{', ...' if len(image_ids) > 3 else ''})"


def _read_json(path: str | Path, argument: str) -> Any:
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{argument}: {path} does not exist") from error
    except IsADirectoryError as error:
        raise ValueError(f"{argument}: {path} is a folder, a JSON file expected") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{argument}: {path} is not JSON ({error})") from error


def _image_id(entry: Any, key: str, where: str) -> ImageId:
    if not isinstance(entry, dict) or key not in entry:
        raise ValueError(f"{where} has no '{key}'")
    image_id = entry[key]
    if isinstance(image_id, bool) or not isinstance(image_id, int | str):
        raise ValueError(f"{where}: '{key}' is {image_id!r}, a number or a string expected")
    return image_id


def _caption(entry: dict, where: str) -> str:
    if "caption" not in entry:
        raise ValueError(f"{where} has no 'caption'")
    if not isinstance(entry["caption"], str):
        raise ValueError(f"{where}: 'caption' is {entry['caption']!r}, a string expected")
    return entry["caption"]


def _json_type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", type(None): "null", bool: "boolean"}
    return names.get(type(value), "number")
