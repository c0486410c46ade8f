"""Made-up features that every test of the stores can check against."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter, WriteOptions

if TYPE_CHECKING:  # the process that is killed in a test need not wait for torch
    from captioning.features.store import FeatureStore

SIGNATURE = imported_signature("made up")


def made_up(image_id: int, feature_dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Regions (P, F) that float16 holds exactly, P from 1 to 6, and boxes (P, 4)."""
    rng = np.random.default_rng(image_id)
    number = int(rng.integers(1, 7))
    regions = rng.standard_normal((number, feature_dim)).astype(np.float16)
    boxes = np.sort(rng.random((number, 2, 2)), 1).reshape(number, 4)
    return regions, boxes.astype(np.float32)


def append_all(writer: StoreWriter, image_ids: Iterable[int], feature_dim: int = 8) -> None:
    """Append made-up pictures that are not there yet."""
    for image_id in image_ids:
        if image_id not in writer.done:
            size, checksum = (image_id + 1, image_id + 2), image_id + 3
            writer.append(image_id, *made_up(image_id, feature_dim), size, checksum)


def write_store(
    path: Path, image_ids: Iterable[int], feature_dim: int = 8, half: bool = True
) -> Path:
    """A whole store of made-up pictures."""
    image_ids = list(image_ids)
    options = WriteOptions(half=half)
    with StoreWriter(path, SIGNATURE, feature_dim, options=options) as writer:
        append_all(writer, image_ids, feature_dim)
        writer.finish({i: f"{i}.jpg" for i in image_ids}, {"precision": "fp32"})
    return path


def assert_made_up(store: FeatureStore, image_ids: Iterable[int], feature_dim: int = 8) -> None:
    """The store holds exactly these pictures with exactly their numbers."""
    image_ids = list(image_ids)
    assert sorted(store.image_ids) == sorted(image_ids) and len(store) == len(image_ids)
    for image_id in image_ids:
        regions, boxes = store.read(image_id)
        truth = made_up(image_id, feature_dim)
        assert regions.dtype == boxes.dtype and str(regions.dtype) == "torch.float32"
        assert np.array_equal(regions.numpy(), truth[0].astype(np.float32))
        assert np.array_equal(boxes.numpy(), truth[1])
        assert store.size_of(image_id) == (image_id + 1, image_id + 2)
        assert store.checksum_of(image_id) == image_id + 3
