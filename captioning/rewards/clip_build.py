"""CLIP's rewards for a data set: the judges loaded, the pictures looked at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from captioning.clip.grammar import load_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import Clip
from captioning.features.extract import MAX_UNREADABLE
from captioning.features.pictures import Picture
from captioning.features.vectors import vectors_of
from captioning.rewards.clip import ClipReward, GrammarReward, PictureVectors, RefClipReward
from captioning.rewards.mixture import Reward

if TYPE_CHECKING:
    from captioning.config_rewards import ClipRewardConfig
    from data_loader import CaptionDataset


def clip_rewards(
    config: ClipRewardConfig,
    weights: Mapping[str, float],
    dataset: CaptionDataset,
    device: torch.device | str,
) -> dict[str, tuple[float, Reward]]:
    """Those of CLIP-S, RefCLIP-S and grammar that have a weight.

    Args:
        config (ClipRewardConfig): which CLIP, and how it is asked.
        weights (Mapping): `clip`, `ref_clip`, `grammar`.
        dataset (CaptionDataset): pictures, captions and vocabulary.
        device (torch.device | str): where captions are scored.

    Raises:
        FileNotFoundError, ValueError: no such CLIP, grammar judge or store, or they do not belong
            together; the pictures lie in tar shards only.
    """
    clip = load_clip(config.model, str(device))
    grammar = load_grammar(config.grammar, clip) if config.grammar else None
    rewards: dict[str, tuple[float, Reward]] = {}
    if "clip" in weights or "ref_clip" in weights:
        reader, prompt = clip, config.prompt
        if config.text == "grammar":  # read as it was tuned
            reader, prompt = grammar.clip, grammar.prompt
        found = (_vectors(clip, config.vectors, dataset), dataset.vocabulary)
        reward = ClipReward(reader, *found, prompt, config.scale)
        if "clip" in weights:
            rewards["CLIP-S"] = weights["clip"], reward
        if "ref_clip" in weights:
            people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
            rewards["RefCLIP-S"] = weights["ref_clip"], RefClipReward(reward, people)
    if "grammar" in weights:
        rewards["grammar"] = weights["grammar"], GrammarReward(grammar, dataset.vocabulary)
    return rewards


def _vectors(clip: Clip, store: str, dataset: CaptionDataset) -> PictureVectors:
    """The vectors of all pictures that have captions."""
    rows = zip(dataset.image_ids, dataset.file_names, dataset.texts, strict=True)
    pictures = [Picture(i, dataset.folder / name, name) for i, name, some in rows if some]
    if not store and not any(one.path.is_file() for one in pictures):
        raise ValueError(
            f"{dataset.folder}: none of the pictures is there (tar shards?); "
            "self_critical.clip.vectors may name a store that `features clip` made of them"
        )
    vectors = vectors_of(clip, pictures, store, progress=sys.stderr.isatty(), skip=True)
    blank = (vectors == 0).all(1).nonzero().flatten().tolist()  # missing or unreadable
    if len(blank) > MAX_UNREADABLE * len(pictures):
        raise ValueError(
            f"{pictures[blank[0]].path}: cannot be looked at, as {len(blank)} of {len(pictures)} "
            f"pictures; at most {MAX_UNREADABLE:.0%} is tolerated"
        )
    return PictureVectors([one.image_id for one in pictures], vectors.to(clip.device))
