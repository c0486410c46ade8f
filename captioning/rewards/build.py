"""From the settings of self-critical training and a data set to the reward that is optimised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from captioning.rewards.bleu import BleuReward
from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.mixture import Mixture, Reward
from captioning.rewards.references import PackedReferences

REWARDS = ("cider", "bleu", "clip", "ref_clip", "grammar")
CLIP_REWARDS = ("clip", "ref_clip", "grammar")
# Cho et al. 2022: the paper pays CLIP-S + 2 grammar (section 3.2); the released code has the two
# factors exchanged (its issue 11), doubles CLIP-S elsewhere too, and scales CIDEr-D to 0..10. The
# paper gives no weights for CLIP-S with CIDEr: 1 and 1 here.
MIXTURES: dict[str, dict[str, dict[str, float]]] = {
    "paper": {
        "cider": {"cider": 1.0},
        "clips": {"clip": 1.0},
        "clips_cider": {"cider": 1.0, "clip": 1.0},
        "clips_grammar": {"clip": 1.0, "grammar": 2.0},
    },
    "released": {
        "cider": {"cider": 1.0},
        "clips": {"clip": 2.0},
        "clips_cider": {"cider": 1.0, "clip": 2.0},
        "clips_grammar": {"clip": 2.0, "grammar": 1.0},
    },
}

if TYPE_CHECKING:
    from captioning.config import SelfCriticalConfig
    from data_loader import CaptionDataset


def build_rewards(
    config: SelfCriticalConfig,
    dataset: CaptionDataset,
    corpus: str,
    device: torch.device | str,
    frequency: NgramFrequency | None = None,
) -> tuple[Mixture, NgramFrequency | None]:
    """The weighted rewards of a training set.

    Args:
        config (SelfCriticalConfig): weights or mixture, `count_end`, `clip`.
        dataset (CaptionDataset): pictures, their captions (all words of them, also those beyond
            its `max_length`) and the vocabulary.
        corpus (str): name of the captions, kept in the signature of CIDEr-D.
        device (torch.device | str): where captions will be scored.
        frequency (NgramFrequency | None): document frequencies that are ready; None counts the
            data set's captions.

    Returns:
        tuple: the rewards with a weight above 0, and the document frequencies on the device (None
        where nothing needs them).

    Raises:
        FileNotFoundError, ValueError: all weights are 0, the data set has no captions, `frequency`
            was made with another vocabulary or another `count_end`; no such CLIP.
    """
    weights = weights_of(config)
    rewards: dict[str, tuple[float, Reward]] = {}
    if "cider" in weights or "bleu" in weights or config.diversity_weight:
        references = PackedReferences(
            dataset.image_ids, whole_captions(dataset), dataset.vocabulary, config.count_end
        )
        if frequency is None:
            frequency = NgramFrequency.of_references(references, corpus)
        references, frequency = references.to(device), frequency.to(device)
        if "cider" in weights:
            rewards["CIDEr-D"] = weights["cider"], CiderReward(references, frequency)
        if "bleu" in weights:
            rewards["BLEU-4"] = weights["bleu"], BleuReward(references)
    if any(name in weights for name in CLIP_REWARDS):
        from captioning.rewards.clip_build import clip_rewards  # open_clip takes seconds to import

        rewards |= clip_rewards(config.clip, weights, dataset, device)
    return Mixture(rewards), frequency


def weights_of(config: SelfCriticalConfig) -> dict[str, float]:
    """The weights above 0, by `REWARDS`; those of a published mixture where one is named.

    Raises:
        ValueError: there are none, or a mixture is named beside weights of one's own.
    """
    own = {name: getattr(config, f"{name}_weight") for name in REWARDS}
    if not config.mixture:
        if not any(own.values()):
            names = ", ".join(f"{name}_weight" for name in REWARDS)
            raise ValueError(f"{names}: 0 received for all, one above 0 expected")
        return {name: weight for name, weight in own.items() if weight}
    for name, weight in own.items():
        if weight != (usual := 1.0 if name == "cider" else 0.0):
            raise ValueError(
                f"self_critical.{name}_weight: {weight:g} received, but self_critical.mixture "
                f"{config.mixture!r} has weights of its own ({usual:g} there, or no mixture)"
            )
    return MIXTURES[config.mixture_weights][config.mixture]


def check_clip_settings(config: SelfCriticalConfig) -> None:
    """Refuse CLIP rewards without a CLIP, before any work.

    Raises:
        ValueError: the setting that is missing.
    """
    weights, clip = weights_of(config), config.clip
    asked = [name for name in CLIP_REWARDS if name in weights]
    if asked and not clip.model:
        raise ValueError(
            f"self_critical.clip.model: none received, a CLIP expected with {asked[0]}_weight "
            "(a folder that `train-clip` wrote, or e.g. ViT-B-32:openai)"
        )
    tuned = clip.text == "grammar" and ("clip" in weights or "ref_clip" in weights)
    if ("grammar" in weights or tuned) and not clip.grammar:
        raise ValueError(
            "self_critical.clip.grammar: none received, a folder of `train-clip --objective "
            "grammar` expected"
        )


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
