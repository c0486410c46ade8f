"""The settings of training on rewards: what is paid for, and what it is compared to.

A part of `captioning.config`, which declares all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from captioning.settings import setting

CLIP_NAMES = "MODEL:TAG or MODEL:FILE of open_clip, or a folder of `train-clip`"
CLIP_PROMPT = "A photo depicts "  # Hessel et al. 2021 (CLIPScore), section 3
CLIP_SCALE = 2.5  # of the cosine, there


@dataclass
class ClipRewardConfig:
    """CLIP as the judge of captions; see `captioning/rewards/clip.py`."""

    model: str = setting("", f"CLIP that judges: {CLIP_NAMES}")
    vectors: str = setting(
        "",
        "store of its picture vectors (`features clip`); empty: pictures are looked at when "
        "training begins",
    )
    scale: float = setting(CLIP_SCALE, "CLIP-S is this times the cosine (PAC-S: 2)", 1e-3, 100)
    prompt: str = setting(CLIP_PROMPT, "said before a caption; text grammar: its own prompt")
    grammar: str = setting("", "grammar judge: a folder of `train-clip --objective grammar`")
    text: str = setting(
        "clip",
        "whose text encoder CLIP-S reads captions with: that of clip, or the tuned one of grammar, "
        "as in the released code",
        choices=("clip", "grammar"),
    )


@dataclass
class SelfCriticalConfig:
    """Reward, baseline and objective of training on the captioner's own captions."""

    num_samples: int = setting(
        5, "captions drawn for each picture; more: a steadier gradient, a slower step", 1, 1000
    )
    baseline: str = setting(
        "leave_one_out",
        "what a reward is compared to: leave_one_out (mean of the picture's other samples), greedy "
        "or beam (one searched caption of the picture), none",
        choices=("leave_one_out", "greedy", "beam", "none"),
    )
    baseline_beam_size: int = setting(3, "beams of the baseline caption (baseline beam)", 2, 100)
    normalize_advantage: bool = setting(
        False, "shift and scale the advantages of a step to mean 0 and standard deviation 1"
    )
    temperature: float = setting(1.0, "of the draws; below 1 stays closer to greedy", 1e-3, 100)
    dropout: bool = setting(
        False, "leave dropout on, in the draws and in the gradient; off: both see the same network"
    )
    cider_weight: float = setting(1.0, "weight of CIDEr-D (0..10) in the reward", 0, 1000)
    bleu_weight: float = setting(0.0, "weight of sentence BLEU-4 (0..1) in the reward", 0, 1000)
    clip_weight: float = setting(0.0, "weight of CLIP-S (0..2.5) in the reward", 0, 1000)
    ref_clip_weight: float = setting(0.0, "weight of RefCLIP-S in the reward", 0, 1000)
    grammar_weight: float = setting(
        0.0, "weight of the probability (0..1) that a caption is a whole sentence", 0, 1000
    )
    mixture: str = setting(
        "",
        "a published mixture in place of these weights: cider, clips, clips_cider, clips_grammar",
        choices=("", "cider", "clips", "clips_cider", "clips_grammar"),
    )
    mixture_weights: str = setting(
        "paper",
        "paper: as the paper says (CLIP-S + 2 grammar); released: as its code does (2 CLIP-S + "
        "grammar, 2 CLIP-S + CIDEr-D)",
        choices=("paper", "released"),
    )
    clip: ClipRewardConfig = field(default_factory=ClipRewardConfig)
    count_end: bool = setting(
        True, "<end> is a word of captions, references and frequencies; without: '... on a'"
    )
    document_frequency: str = setting(
        "", "table of n-gram frequencies (file or bundle); empty: of the captions trained on"
    )
    diversity_weight: float = setting(
        0.0, "weight of what a sample adds to the self-CIDEr diversity of its picture", 0, 1000
    )
    entropy_weight: float = setting(0.0, "bonus for the mean entropy of the words (nats)", 0, 100)
    cross_entropy_weight: float = setting(
        0.0, "share of cross-entropy on human captions in the loss", 0, 1
    )
    kl_weight: float = setting(
        0.0, "penalty for leaving the starting model, per nat of KL divergence a word", 0, 100
    )
    ppo_clip: float = setting(0.2, "largest change of a word's probability ratio (ppo)", 0.01, 1)
    drop_worst: float = setting(0.0, "share of samples with the largest loss to leave out", 0, 0.9)
    stop_entropy: float = setting(
        0.02, "stop when the entropy of the words stays below (nats a word); 0 never stops", 0, 10
    )
    stop_distinct: float = setting(
        0.05, "stop when the share of different captions beyond the first stays below", 0, 1
    )
