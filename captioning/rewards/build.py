"""From the settings of self-critical training and a data set to the reward that is optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from captioning.rewards.bleu import BleuReward
from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.mixture import Mixture, Reward
from captioning.rewards.references import PackedReferences

if TYPE_CHECKING:
    from captioning.config import SelfCriticalConfig
    from data_loader import CaptionDataset


def build_rewards(
    config: SelfCriticalConfig,
    dataset: CaptionDataset,
    corpus: str,
    device: torch.device | str,
    frequency: NgramFrequency | None = None,
) -> tuple[Mixture, NgramFrequency]:
    """The weighted rewards of a training set.

    Args:
        config (SelfCriticalConfig): `cider_weight`, `bleu_weight` and `count_end`.
        dataset (CaptionDataset): pictures, their captions (all words of them, also those beyond
            its `max_length`) and the vocabulary.
        corpus (str): name of the captions, kept in the signature of CIDEr-D.
        device (torch.device | str): where captions will be scored.
        frequency (NgramFrequency | None): document frequencies that are ready; None counts the
            data set's captions.

    Returns:
        tuple: the rewards with a weight above 0, and the document frequencies on the device.

    Raises:
        ValueError: all weights are 0, the data set has no captions, or `frequency` was made with
            another vocabulary or another `count_end`.
    """
    if not config.cider_weight and not config.bleu_weight:
        raise ValueError("cider_weight, bleu_weight: 0 and 0 received, one above 0 expected")
    references = PackedReferences(
        dataset.image_ids, whole_captions(dataset), dataset.vocabulary, config.count_end
    )
    if frequency is None:
        frequency = NgramFrequency.of_references(references, corpus)
    references, frequency = references.to(device), frequency.to(device)
    rewards: dict[str, tuple[float, Reward]] = {}
    if config.cider_weight:
        rewards["CIDEr-D"] = config.cider_weight, CiderReward(references, frequency)
    if config.bleu_weight:
        rewards["BLEU-4"] = config.bleu_weight, BleuReward(references)
    return Mixture(rewards), frequency


def whole_captions(dataset: CaptionDataset) -> list[list[list[int]]]:
    """Every picture's captions as ids, none of them cut.

    Only captions as long as the longest one can have been cut; others are taken as they are, which
    spares a large data set half a minute.
    """
    longest = max((len(ids) for some in dataset.captions for ids in some), default=0)
    return [
        [
            dataset.vocabulary.encode(text) if len(ids) == longest else ids
            for text, ids in zip(texts, captions, strict=True)
        ]
        for texts, captions in zip(dataset.texts, dataset.captions, strict=True)
    ]
