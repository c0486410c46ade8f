"""CLIPScore: how well a caption fits its picture, and, with references, how well it fits both.

    CLIP-S    = 2.5 max(cos(picture, caption), 0)
    RefCLIP-S = harmonic mean of CLIP-S and max(max over references of cos(caption, reference), 0)

Texts stand behind the prompt "A photo depicts ", captions without the full stop that is written
behind them here (`prompted`), and a caption without words gets 0, so that metric and reward agree.
Both are computed in single precision on every device: half precision changes them by more than
captioners differ.

Source: J. Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
EMNLP 2021, section 3.
Departures: where both halves are 0, so is RefCLIP-S (0 / 0 in the original). The released code of
CLIP-Caption-Reward also multiplies the references' half by 2.5; here it is as the authors of
CLIPScore have it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captioning.clip.model import PROMPT, Clip
from captioning.config_rewards import CLIP_SCALE

SCALE = CLIP_SCALE


def prompted(caption: str, prompt: str = PROMPT) -> str:
    """What CLIP reads of a caption."""
    return prompt + caption.strip().rstrip(".")


def clip_s(image_vectors: Tensor, text_vectors: Tensor, scale: float = SCALE) -> Tensor:
    """CLIP-S of N pairs of vectors of length 1, (N, D), (N, D) -> (N,), 0 to `scale`."""
    cosine = (image_vectors * text_vectors).sum(-1).clamp(-1, 1)
    return scale * cosine.clamp(min=0)


def reference_similarity(
    clip: Clip, text_vectors: Tensor, references: Sequence[Sequence[str]], prompt: str = PROMPT
) -> Tensor:
    """How near each caption is to the nearest of its references, cosines, at least 0.

    Args:
        clip (Clip): reads the references.
        text_vectors (Tensor): (N, D) of the captions, length 1.
        references (Sequence): N lists of captions, as written, at least one in each.
        prompt (str): said before each of them.

    Returns:
        Tensor: (N,), 0 to 1.
    """
    read = clip.text_vectors([prompt + text for some in references for text in some])
    return nearest_similarity(text_vectors, read.split([len(some) for some in references]))


def nearest_similarity(text_vectors: Tensor, references: Sequence[Tensor]) -> Tensor:
    """The same from vectors of length 1: captions (N, D), and N times references (R, D)."""
    numbers = torch.tensor([len(some) for some in references], device=text_vectors.device)
    rows = torch.arange(len(references), device=text_vectors.device).repeat_interleave(numbers)
    cosines = (text_vectors[rows] * torch.cat([*references])).sum(-1).clamp(-1, 1)  # (all R,)
    nearest = torch.zeros(len(references), device=text_vectors.device)  # negative ones count as 0
    return nearest.scatter_reduce(0, rows, cosines, "amax")


def ref_clip_s(score: Tensor, nearest: Tensor) -> Tensor:
    """Harmonic mean of CLIP-S (N,) and what `reference_similarity` gave (N,); 0 where one is 0."""
    total = score + nearest
    return torch.where(total > 0, 2 * score * nearest / total.clamp(min=1e-12), 0.0)
