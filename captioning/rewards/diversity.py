"""How different the captions sampled for one picture are: self-CIDEr.

The plain CIDEr of all pairs of a picture's captions makes a matrix. When all captions are the same
it has a single eigenvalue that is not 0; when none share a word, all eigenvalues are equal.

Source: Q. Wang and A. B. Chan, "Describing like Humans: On Diversity in Image Captioning", CVPR
2019 (the ratio of eigenvalues of the kernel of CIDEr values).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.ngrams import finished_tokens, pack_ngrams


@torch.no_grad()
def self_cider(tokens: Tensor, num_samples: int, frequency: NgramFrequency) -> Tensor:
    """Diversity of the S captions of each picture.

    Args:
        tokens (Tensor): word ids as `Generation.tokens` has them, image-major, (N,T).
        num_samples (int): S, captions of each picture, >= 1.
        frequency (NgramFrequency): document frequencies, on the tokens' device.

    Returns:
        Tensor: float32, 0 (all captions equal, or only one) to 1 (nothing in common), (B,).

    Raises:
        ValueError: `num_samples` does not divide the number of captions.
    """
    return _diversity(pairwise_cider(tokens, num_samples, frequency)).float()


@torch.no_grad()
def marginal_diversity(tokens: Tensor, num_samples: int, frequency: NgramFrequency) -> Tensor:
    """What each caption adds to the diversity of its picture: with all of them, minus without it.

    A bonus for the diversity of a picture has to be told apart by caption like this: a number that
    is equal for all samples of a picture is in the reward and in its leave-one-out baseline, and
    cancels.

    Args:
        tokens, num_samples, frequency: see `self_cider`.

    Returns:
        Tensor: float32, -1..1; 0 with fewer than three captions a picture, (N,).

    Raises:
        ValueError: `num_samples` does not divide the number of captions.
    """
    kernel = pairwise_cider(tokens, num_samples, frequency)  # (B,S,S)
    if num_samples < 3:
        return tokens.new_zeros(len(tokens), dtype=torch.float32)
    one = torch.arange(num_samples, device=tokens.device)[:, None]  # (S,1)
    others = torch.arange(num_samples - 1, device=tokens.device)
    others = others + (others >= one)  # (S,S-1), row s without s
    without = kernel[:, others[:, :, None], others[:, None, :]]  # (B,S,S-1,S-1)
    return (_diversity(kernel)[:, None] - _diversity(without)).flatten().float()


@torch.no_grad()
def pairwise_cider(tokens: Tensor, num_samples: int, frequency: NgramFrequency) -> Tensor:
    """Plain CIDEr (no clipping, no penalty for length) of all pairs of a picture's captions, 0..1.

    Args:
        tokens, num_samples, frequency: see `self_cider`.

    Returns:
        Tensor: symmetric, 1 on the diagonal for captions of four words or more, (B,S,S).
    """
    if num_samples < 1 or len(tokens) % num_samples:
        raise ValueError(
            f"num_samples: {num_samples} received, a divisor of the {len(tokens)} captions expected"
        )
    ngrams = pack_ngrams(finished_tokens(tokens, frequency.count_end))  # (N,4,T)
    num_places = num_samples * ngrams.shape[2]
    rows = ngrams.unflatten(0, (-1, num_samples)).transpose(1, 2).flatten(2)  # (B,4,S*T)
    rows, order = rows.sort(dim=2)
    idf = frequency.idf(frequency.documents(rows)) * (rows != 0)
    # Equal n-grams of a picture get one column; its counts, times idf, are the captions' vectors.
    is_new = torch.ones_like(rows, dtype=torch.bool)
    is_new[..., 1:] = rows[..., 1:] != rows[..., :-1]
    column = is_new.cumsum(dim=2) - 1
    row = order // ngrams.shape[2]  # which caption
    vectors = idf.new_zeros(*rows.shape[:2], num_samples * num_places)
    vectors.scatter_add_(2, row * num_places + column, idf)
    vectors = vectors.unflatten(2, (num_samples, num_places))  # (B,4,S,S*T)
    norms = vectors.square().sum(dim=3, keepdim=True).sqrt()
    vectors = torch.where(norms > 0, vectors / norms, 0.0)
    with torch.autocast(tokens.device.type, enabled=False):  # half precision would be too coarse
        return (vectors @ vectors.mT).mean(dim=1)


def _diversity(kernel: Tensor) -> Tensor:
    """-log(sqrt of the largest eigenvalue / sum of all square roots) / log(S); (..., S, S) -> (...)

    0 where nothing can differ: a single caption, or captions without words.
    """
    size = kernel.shape[-1]
    if size < 2:
        return kernel.new_zeros(kernel.shape[:-2])
    roots = torch.linalg.eigvalsh(kernel).clamp(min=0).sqrt()  # (...,S), the largest last
    total = roots.sum(dim=-1)
    share = torch.where(total > 0, roots[..., -1] / total, 1.0)
    return -share.log() / math.log(size)
