"""Regions in place of a grid: what looks at pictures for `features regions`.

Either a detector finds them (`detector_looker`), or they are the boxes of an annotation file and a
CNN of the course looks into them (`box_looker`). A captioner that learns from such a store has
`encoder.backbone features`: it does not find regions by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.transforms import v2

from captioning.config import EncoderConfig, TransformConfig
from captioning.features.detector import find_regions
from captioning.features.detector_settings import DetectorConfig
from captioning.features.extract import ExtractOptions
from captioning.features.looker import Found, Looker, Seen, looking, split_features
from captioning.features.pictures import Picture
from captioning.features.region_boxes import GivenBoxes, pool_regions
from captioning.features.signature import imported_signature, make_signature
from captioning.features.store import weights_hash
from data_loader import eval_transform


def detector_looker(detector: nn.Module, config: DetectorConfig, options: ExtractOptions) -> Looker:
    """Regions that a detector finds, with its scores.

    Pictures are looked at one by one, since a batch would be padded to its largest picture, which
    changes numbers.

    Args:
        detector (nn.Module): see `detector.build_detector`; on its device.
        config (DetectorConfig): its settings.
        options (ExtractOptions): `precision` counts.
    """
    device = next(detector.parameters()).device
    heads, transform = detector.roi_heads, detector.transform

    def look(batch: Sequence[Seen]) -> list[Found]:
        with looking(device, options.precision):
            return [find_regions(detector, seen.image.to(device), config) for seen in batch]

    found_by = {
        "size": [transform.min_size[-1], transform.max_size],
        "nms_threshold": heads.nms_thresh,
        "score_threshold": config.score_threshold,
        "min_regions": config.min_regions,
        "max_regions": config.max_regions,
    }
    return Looker(
        look,
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]),
        imported_signature(config.detector)
        | {"weights_hash": weights_hash(detector), "regions": found_by},
        heads.box_predictor.cls_score.in_features,
        (config.min_regions, config.max_regions),
        has_scores=True,
        one_by_one=True,
        max_side=transform.max_size,  # it never looks at more
    )


def box_looker(
    encoder: nn.Module,
    encoder_config: EncoderConfig,
    transform: TransformConfig,
    pictures: Sequence[Picture],
    given: GivenBoxes,
    options: ExtractOptions,
    whole_picture: bool = True,
) -> Looker:
    """What a CNN sees inside given boxes, see `region_boxes.pool_regions`.

    Args:
        encoder (nn.Module): see `pool_regions`; on its device.
        encoder_config (EncoderConfig): what it is, for the store's signature.
        transform (TransformConfig): from picture to input; stretch and native show whole pictures,
            so that boxes keep their place.
        pictures (Sequence[Picture]): the pictures that will be looked at.
        given (GivenBoxes): their boxes.
        options (ExtractOptions): `precision` and `max_side` count.
        whole_picture (bool): the whole picture is one more region, the last.

    Raises:
        ValueError: `transform` crops, the boxes are those of other pictures, or a picture has none.
    """
    if encoder_config.backbone == "clip":
        raise ValueError(
            "encoder: 'clip' received, a torchvision network expected for regions: CLIP looks at "
            "whole pictures"
        )
    if transform.fit == "crop":
        raise ValueError(
            "fit: 'crop' received, stretch or native expected: a crop cuts off boxes, or parts of "
            "them, and where a region lies in the picture would be lost"
        )
    counts = _count_regions(pictures, given, whole_picture)
    device, native = next(encoder.eval().parameters()).device, transform.fit == "native"
    empty = torch.zeros(0, 4)

    def look(batch: Sequence[Seen]) -> list[Found]:
        for seen in batch:
            check_proportions(seen, given)
        boxes = [given.boxes.get(seen.picture.image_id, empty) for seen in batch]
        images = torch.stack([seen.image for seen in batch]).to(device)  # (B, 3, H, W)
        with looking(device, options.precision):
            return split_features(pool_regions(encoder, images, boxes, whole_picture))

    signature = make_signature(encoder_config, transform, weights_hash(encoder))
    average = sum(counts) / len(counts)
    return Looker(
        look,
        eval_transform(
            transform.image_size, transform.resize_size, transform.fit, transform.interpolation
        ),
        signature | {"regions": {"boxes": "instances", "whole_picture": whole_picture}},
        encoder.feature_dim,
        (average, average),
        one_by_one=native,
        max_side=options.max_side if native else 0,
        plan={"boxes": _hash_boxes(pictures, given)},
    )


def _count_regions(
    pictures: Sequence[Picture], given: GivenBoxes, whole_picture: bool
) -> list[int]:
    """How many regions each picture has.

    Raises:
        ValueError: none of the pictures is known, or one has no region.
    """
    if not any(picture.image_id in given.boxes for picture in pictures):
        raise ValueError(
            f"boxes: none of the {len(pictures)} pictures is in the instances files, which belong "
            "to other pictures"
        )
    counts = [len(given.boxes.get(picture.image_id, ())) + whole_picture for picture in pictures]
    if not all(counts):
        raise ValueError(
            f"{pictures[counts.index(0)].path}: no box, as for {counts.count(0)} of "
            f"{len(counts)} pictures; --whole_picture true gives each one region at least"
        )
    return counts


def check_proportions(seen: Seen, given: GivenBoxes) -> None:
    """Refuse a picture that cannot be the one its boxes were drawn on; another size is fine.

    Raises:
        ValueError: it is wider or higher for its size, turned on its side for example.
    """
    width, height = seen.size
    noted = given.sizes.get(seen.picture.image_id, seen.size)
    if abs(width * noted[1] - height * noted[0]) > max(*noted, *seen.size):  # a pixel, rounded
        raise ValueError(
            f"{seen.picture.path}: {width} x {height} pixels found, but its boxes were noted for "
            f"{noted[0]} x {noted[1]}"
        )


def _hash_boxes(pictures: Sequence[Picture], given: GivenBoxes) -> str:
    """16 hex digits that stand for the boxes of these pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        boxes = given.boxes.get(picture.image_id)
        digest.update(f"{picture.image_id} ".encode())
        digest.update(b"" if boxes is None else boxes.numpy().tobytes())
    return digest.hexdigest()[:16]
