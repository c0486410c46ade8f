"""Several stores into one: the shards of an extraction, or stores of different splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from captioning.features.numbers import naming
from captioning.features.place import check_disk
from captioning.features.signature import first_difference
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter, WriteOptions


def merge_stores(
    paths: Sequence[str | Path], output: str | Path, overwrite: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Put stores that the same encoder made into one; goes on where a killed run stopped.

    Args:
        paths (Sequence[str | Path]): all shards of one extraction, or stores without shards.
        output (str | Path): the store to write.
        overwrite (bool): replace an existing output.
        progress (bool): show a bar.

    Returns:
        dict: output, pictures, regions, feature_dim, bytes, unreadable (messages).

    Raises:
        FileNotFoundError: a store is missing.
        ValueError: a shard is missing or there twice, stores were made differently, or a picture
            is in two of them.
        OSError: there is too little room on the disk.
    """
    if Path(output).resolve() in [Path(path).resolve() for path in paths]:
        raise ValueError(f"{output}: one of the stores to merge, another name expected")
    stores = _in_order([FeatureStore(path) for path in paths])
    check_alike(stores)
    first = stores[0]
    check_disk(output, sum(store.path.stat().st_size for store in stores))
    write = WriteOptions(first.dtype == np.float16, overwrite, progress)
    plan = {"stores": [[len(store), store.shape[0]] for store in stores]}
    total = sum(map(len, stores))
    with StoreWriter(
        output, first.signature, first.feature_dim, first.has_boxes, plan, write, first.has_scores
    ) as writer:
        begun = len(writer.done)
        bar = tqdm(total=total, initial=begun, desc="merge", unit=" pictures", disable=not progress)
        with bar:
            for store in stores:
                _append_all(writer, store, bar)
        names: dict[int, str] = {}
        unreadable: dict[int, str] = {}
        for store in stores:
            names |= zip(store.image_ids, store.file_names, strict=False)  # none, or one for each
            unreadable |= store.unreadable
        kept = {key: first.record[key] for key in ("precision", "max_side") if key in first.record}
        writer.finish(names or None, kept | {"unreadable": unreadable})
    return writer.summary() | {"unreadable": list(unreadable.values())}


def _append_all(writer: StoreWriter, store: FeatureStore, bar: tqdm) -> None:
    """Every picture of a store that the writer does not have yet."""
    for image_id in store.image_ids:
        if image_id not in writer.done:
            regions, boxes = store.read_raw(image_id)
            size, checksum = store.size_of(image_id), store.checksum_of(image_id)
            scores = store.scores_of(image_id)
            rated = None if scores is None else scores.numpy()
            with naming(f"{store.path}, picture {image_id}"):
                writer.append(image_id, regions, boxes, size, checksum, rated)
            bar.update()
    store.close()


def _in_order(stores: list[FeatureStore]) -> list[FeatureStore]:
    """Shards by their number; the others as they were named.

    Raises:
        ValueError: a shard is missing, there twice, or not a shard of the same extraction.
    """
    shards = {store.path: store.record.get("shard", [1, 1]) for store in stores}
    total = max((total for _, total in shards.values()), default=0)
    if total < 2:
        return stores
    by_number: dict[int, FeatureStore] = {}
    for store in stores:
        number, of = shards[store.path]
        pictures = store.record.get("pictures"), stores[0].record.get("pictures")
        if of != total or pictures[0] != pictures[1]:
            raise ValueError(
                f"{store.path}: shard {number} of {of} of other pictures than {stores[0].path}"
            )
        if number in by_number:
            raise ValueError(f"{store.path}: shard {number}, as is {by_number[number].path}")
        by_number[number] = store
    missing = [str(number) for number in range(1, total + 1) if number not in by_number]
    if missing:
        raise ValueError(f"shard {', '.join(missing)} of {total} is missing")
    return [by_number[number] for number in sorted(by_number)]


def check_alike(stores: Sequence[FeatureStore]) -> None:
    """Refuse stores that were made differently, and pictures that are in two of them.

    Raises:
        ValueError: no store at all, or the first difference.
    """
    if not stores:
        raise ValueError("stores: none received, at least one expected")
    first, known = stores[0], dict.fromkeys(stores[0].image_ids, stores[0].path)
    expected = _kind(first)
    for store in stores[1:]:
        if difference := first_difference(_kind(store), expected):
            raise ValueError(f"{store.path}: {difference} as {first.path}")
        for image_id in store.image_ids:
            if image_id in known:
                raise ValueError(
                    f"{store.path}: picture {image_id} is in {known[image_id]} as well"
                )
            known[image_id] = store.path


def _kind(store: FeatureStore) -> dict[str, Any]:
    """What must be equal in stores that become one."""
    return store.signature | {
        "feature_dim": store.feature_dim,
        "dtype": store.dtype.name,
        "boxes": store.has_boxes,
        "scores": store.has_scores,
        "file_names": bool(store.file_names),
        "precision": store.record.get("precision", "fp32"),
        "max_side": store.record.get("max_side", 0),
    }
