"""A feature store for a captioner: opened, and refused when the two do not belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from captioning.config import Experiment
from captioning.decoders.space import needs_boxes
from captioning.features.signature import describe_maker, first_difference
from captioning.features.store import (
    FeatureStore,
    check_signature,
    check_store,
    weights_hash,
)
from data_loader import NATIVE_SIDE


def open_for_training(experiment: Experiment) -> tuple[Experiment, FeatureStore | None]:
    """The store of `loader.features`, and the settings with the size of its vectors filled in.

    Raises:
        FileNotFoundError, ValueError: no such store, or settings that need pictures.
    """
    loader, encoder = experiment.loader, experiment.encoder
    if not loader.features:
        if encoder.backbone == "features":
            raise ValueError(
                "loader.features: none received, a feature store expected with encoder.backbone "
                "features"
            )
        return experiment, None
    if encoder.trainable != "none":
        raise ValueError(
            f"encoder.trainable: {encoder.trainable!r} received, none expected with "
            "loader.features: an encoder that does not see pictures cannot learn"
        )
    if loader.cache_views:
        raise ValueError(
            f"loader.cache_views: {loader.cache_views} received, 0 expected with loader.features"
        )
    store = FeatureStore(loader.features)
    if encoder.backbone == "features" and not encoder.feature_dim:
        encoder = replace(encoder, feature_dim=store.feature_dim)
        experiment = replace(experiment, encoder=encoder)
    return experiment, store


def check_for(
    store: FeatureStore,
    experiment: Experiment,
    encoder: nn.Module,
    learned_from: dict[str, Any] | None,
    image_ids: Sequence[int],
    files: Sequence[Path],
) -> None:
    """Refuse a store that another encoder made, or that lacks pictures or boxes.

    Args:
        store (FeatureStore): the store.
        experiment (Experiment): the captioner's settings.
        encoder (nn.Module): its encoder.
        learned_from (dict | None): signature of the store that it was trained on, if it is known;
            for features made elsewhere nothing else tells which they were.
        image_ids (Sequence[int]): pictures that will be asked for.
        files (Sequence[Path]): their files; those that exist are compared, a few of them.

    Raises:
        ValueError: the first difference.
    """
    backbone, decoder = experiment.encoder.backbone, experiment.decoder
    if backbone != "features" and "regions" in store.signature:
        raise ValueError(
            f"{store.path}: regions of boxes, which encoder.backbone {backbone!r} does not find by "
            "itself; a captioner that learns from them has encoder.backbone features"
        )
    if decoder.kind == "transformer" and needs_boxes(decoder.transformer) and not store.has_boxes:
        relations, position = decoder.transformer.relations, decoder.transformer.position
        asked = "relations true" if relations else f"position {position!r}"
        raise ValueError(
            f"{store.path}: a store without boxes, which decoder.transformer.{asked} needs; one of "
            "`features regions`, or one imported with boxes, expected"
        )
    weights = "" if backbone == "features" else weights_hash(encoder)
    check_signature(store, experiment.encoder, experiment.transform, weights)
    side = store.record.get("max_side", NATIVE_SIDE)
    if experiment.transform.fit == "native" and side != NATIVE_SIDE:
        raise ValueError(
            f"{store.path}: made with max_side {side}, not {NATIVE_SIDE} as the model looks"
        )
    if learned_from and (difference := first_difference(store.signature, learned_from)):
        made = describe_maker(difference, "the store the model learned from")
        raise ValueError(f"{store.path}: {made}")
    check_store(store, image_ids, encoder.feature_dim, files)
