"""The pointing game: does the decoder look at the thing it names?

For every word that names an annotated object, the region with the largest attention weight is a
hit when its middle lies in a box of that category. A glance at random would hit as often as the
boxes are large, so that share is reported beside it.

Source: J. Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016,
arXiv:1608.00507 (the game). Departures: words of generated captions, boxes in place of masks, no
tolerance around a box; words that name something absent are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from captioning.datasets.instances import load_instances
from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.chair import ObjectWords

Boxes = dict[str, list[tuple[float, float, float, float]]]


def read_boxes(path: str | Path) -> dict[ImageId, Boxes]:
    """Boxes of every category in every picture of a COCO instances file.

    Args:
        path (str | Path): `instances_SPLIT.json`.

    Returns:
        dict: image id to category to boxes: left, top, right, bottom in 0..1 of the picture.

    Raises:
        FileNotFoundError, ValueError: see `load_instances`; a box or a picture's size is missing.
    """
    coco = load_instances(path)
    boxes: dict[ImageId, Boxes] = {image_id: defaultdict(list) for image_id in coco.imgs}
    try:
        for one in coco.dataset["annotations"]:
            image = coco.imgs[one["image_id"]]
            width, height = image["width"], image["height"]
            left, top, wide, high = one["bbox"]
            box = (left / width, top / height, (left + wide) / width, (top + high) / height)
            boxes[image["id"]][coco.cats[one["category_id"]]["name"]].append(box)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"instances: {path}: boxes and sizes expected ({error!r})") from error
    return boxes


def covered(boxes: Sequence[Sequence[float]], cells: int = 50) -> float:
    """Share of the picture that lies in at least one of the boxes, measured on a fine grid."""
    middles = (torch.arange(cells) + 0.5) / cells
    inside = torch.zeros(cells, cells, dtype=torch.bool)
    for left, top, right, bottom in boxes:
        rows = (middles >= top) & (middles < bottom)
        columns = (middles >= left) & (middles < right)
        inside |= rows[:, None] & columns[None, :]
    return float(inside.float().mean())


def pointing_game(
    words: Mapping[ImageId, Sequence[str]],
    weights: Mapping[ImageId, Tensor],
    regions: Tensor,
    boxes: Mapping[ImageId, Boxes],
    object_words: ObjectWords,
) -> dict[str, float | int]:
    """Play it for the captions of several pictures.

    Args:
        words (Mapping): image id to the T words of its caption.
        weights (Mapping): image id to attention weights (T, P).
        regions (Tensor): (P, 4) left, top, right, bottom of the regions in 0..1 of the picture.
        boxes (Mapping): what `read_boxes` gave.
        object_words (ObjectWords): which word names which category.

    Returns:
        dict: `accuracy` (share of hits), `chance` (mean share of the picture in the boxes) and
        `num_words` they were computed on; 0 where there was none.
    """
    hits, chances = [], []
    middles = (regions[:, :2] + regions[:, 2:]) / 2  # (P, 2)
    for image_id, caption in words.items():
        for word, looked in zip(caption, weights[image_id], strict=True):
            named = object_words.mentions(word)
            targets = boxes[image_id].get(named[0].category, []) if named else []
            if targets:
                x, y = middles[int(looked.argmax())].tolist()
                hits.append(any(a <= x < c and b <= y < d for a, b, c, d in targets))
                chances.append(covered(targets))
    number = len(hits)
    accuracy, chance = (sum(v) / number if number else 0.0 for v in (hits, chances))
    return {"accuracy": accuracy, "chance": chance, "num_words": number}
