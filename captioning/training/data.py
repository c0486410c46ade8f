"""The pictures and captions of a run: from files, from a feature store, or from tar shards."""

from __future__ import annotations

import hashlib

from pycocotools.coco import COCO

from captioning.bundle import Captioner, transforms_of
from captioning.config import Experiment
from captioning.datasets.shard_loader import ShardLoader
from captioning.datasets.shards import index_of, read_index
from captioning.features.checked import check_for
from captioning.features.store import FeatureStore
from data_loader import CaptionDataset, CaptionLoader


def build_datasets(
    experiment: Experiment, captioner: Captioner, train: COCO, store: FeatureStore | None
) -> tuple[CaptionDataset, CaptionDataset]:
    """What is learned from, and what decides which weights are the best.

    Args:
        experiment (Experiment): all settings.
        captioner (Captioner): whose words and encoder these are for.
        train (COCO): the captions to learn from.
        store (FeatureStore | None): what takes the place of the pictures.

    Raises:
        FileNotFoundError, ValueError: a picture is missing or has no caption to be scored with;
            the store was made by another encoder.
    """
    settings, transforms = experiment.loader, transforms_of(experiment.transform)
    common = {"max_length": experiment.vocabulary.max_length, "features": store}
    dataset = CaptionDataset(
        experiment.data,
        settings.train_split,
        captioner.vocabulary,
        transforms["train"],
        seed=experiment.seed,
        sided_transform=transforms["sided"],
        annotations=train,
        max_pictures=settings.max_pictures,
        **common,
    )
    val_set = CaptionDataset(
        experiment.data,
        settings.val_split,
        captioner.vocabulary,
        transforms["eval"],
        max_pictures=experiment.training.val_pictures,
        **common,
    )
    check_validation_set(val_set)
    for part in (dataset, val_set) if store is not None else ():
        files = [part.folder / name for name in part.file_names]
        known = captioner.record.get("features")
        check_for(store, experiment, captioner.encoder, known, part.image_ids, files)
    return dataset, val_set


def build_loader(
    experiment: Experiment, dataset: CaptionDataset, part: tuple[int, int]
) -> CaptionLoader | ShardLoader:
    """Batches of the training split; tar shards are read where the data has them.

    Args:
        experiment (Experiment): all settings.
        dataset (CaptionDataset): see `build_datasets`.
        part (tuple[int, int]): (k, n): the k-th of n processes.

    Raises:
        FileNotFoundError, ValueError: a shard is missing; settings that shards cannot serve.
    """
    settings, split = experiment.loader, experiment.loader.train_split
    numbers = (settings.batch_size, settings.captions_per_image)
    if dataset.features is not None or not index_of(experiment.data, split).is_file():
        more = (settings.batching, settings.num_workers, experiment.seed, part)
        return CaptionLoader(dataset, *numbers, *more)
    for name, value, allowed in (
        ("batching", settings.batching, "padded"),
        ("cache_views", settings.cache_views, 0),
        ("max_pictures", settings.max_pictures, 0),
    ):
        if value != allowed:
            raise ValueError(
                f"loader.{name}: {value!r} received, {allowed!r} expected: split {split!r} is read "
                "from tar shards, front to back"
            )
    shards = read_index(experiment.data, split)
    more = (settings.num_workers, experiment.seed, part, settings.shuffle_buffer)
    return ShardLoader(dataset, shards, *numbers, *more)


def captions_hash(dataset: CaptionDataset) -> str:
    """16 hex digits that stand for the captions to learn from: picture by picture, in order."""
    digest = hashlib.sha256()
    for image_id, texts in zip(dataset.image_ids, dataset.texts, strict=True):
        digest.update(repr((image_id, texts)).encode())
    return digest.hexdigest()[:16]


def check_validation_set(val_set: CaptionDataset) -> None:
    """Refuse pictures that could not be scored after an epoch of work.

    Raises:
        FileNotFoundError, ValueError: a picture is missing or has no caption.
    """
    unreadable = {} if val_set.features is None else val_set.features.unreadable
    columns = (val_set.image_ids, val_set.file_names, val_set.texts)
    for image_id, name, texts in zip(*columns, strict=True):
        if image_id in unreadable:
            raise ValueError(f"{name}: no features in the store ({unreadable[image_id]})")
        if not texts:
            raise ValueError(
                f"{name}: no caption in split {val_set.split!r}, at least one expected"
            )
        if val_set.features is None and not (val_set.folder / name).is_file():
            raise FileNotFoundError(
                f"{val_set.folder / name}: no such file (split {val_set.split!r})"
            )
