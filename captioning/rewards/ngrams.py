"""N-grams as numbers: one to four word ids in one int64, so that tensors can count and find them.

A word id takes 16 bits, the last word the lowest ones. `PAD_IDX` is 0 and never inside an n-gram,
so n-grams of different orders are different numbers, and 0 is no n-gram at all. A 4-gram whose
first id is 32,768 or more is a negative number; nothing here minds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.evaluation.ngrams import MAX_ORDER
from vocabulary import END_IDX, PAD_IDX

if TYPE_CHECKING:
    from data_loader import Batch

ID_BITS = 16
MAX_WORDS = 1 << ID_BITS


def check_num_words(num_words: int) -> None:
    """Refuse a vocabulary whose ids do not fit.

    Raises:
        ValueError: there are more than 65,536 words.
    """
    if num_words > MAX_WORDS:
        raise ValueError(
            f"vocabulary: {num_words} words received, at most {MAX_WORDS} expected (an n-gram "
            f"keeps {ID_BITS} bits of a word id); raise min_count"
        )


def number_type(device: torch.device) -> torch.dtype:
    """What rewards are computed in: float64, or float32 where the device has no other (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def finished_tokens(tokens: Tensor, count_end: bool) -> Tensor:
    """Captions with nothing behind their end.

    Args:
        tokens (Tensor): ids as `Generation.tokens` has them: words, `<end>` unless the caption was
            cut at the greatest length, `<pad>`, (N,T).
        count_end (bool): keep `<end>` as a word of the caption, where there is one.

    Returns:
        Tensor: int64 ids, `PAD_IDX` from the end on, (N,T).
    """
    is_pad, is_end = tokens == PAD_IDX, tokens == END_IDX
    stops = is_pad | is_end
    over = stops.cumsum(dim=1) > (is_end if count_end else 0)  # an <end> may be the first stop
    return tokens.long().masked_fill(over, PAD_IDX)


def has_words(tokens: Tensor) -> Tensor:
    """Which captions say anything at all; bool, (N,)."""
    return ((tokens != PAD_IDX) & (tokens != END_IDX)).any(dim=1)


def samples_per_picture(tokens: Tensor, batch: Batch) -> int:
    """S of N = B x S.

    Raises:
        ValueError: N is no multiple of B.
    """
    number, pictures = len(tokens), len(batch.image_ids)
    if pictures == 0 or number % pictures:
        raise ValueError(
            f"tokens: {number} captions for {pictures} pictures received, the same number for each "
            "picture expected"
        )
    return number // pictures


def pack_ngrams(tokens: Tensor) -> Tensor:
    """Every n-gram of a row of ids, at the place of its last word.

    Args:
        tokens (Tensor): int64 ids, (..., T); `PAD_IDX` ends a caption, and may separate several.

    Returns:
        Tensor: int64, (..., 4, T), entry n-1 for order n; 0 where no n-gram of that order ends.
    """
    orders = [tokens]
    before = tokens
    for shift in range(1, MAX_ORDER):
        before = F.pad(before, (1, 0), value=PAD_IDX)[..., :-1]  # `shift` words earlier
        is_ngram = (orders[-1] != 0) & (before != PAD_IDX)
        orders.append((orders[-1] | before << ID_BITS * shift) * is_ngram)
    return torch.stack(orders, dim=-2)


def sorted_ngrams(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The n-grams of captions, equal ones side by side, and how often each occurs in its caption.

    Args:
        tokens (Tensor): what `finished_tokens` returned, (N,T).

    Returns:
        tuple: n-grams as `pack_ngrams` makes them, sorted along T, 0 for none; their counts, which
            mean nothing for a 0. Both int64, (N,4,T).
    """
    ngrams = pack_ngrams(tokens).sort(dim=-1).values
    is_new = torch.ones_like(ngrams, dtype=torch.bool)
    is_new[..., 1:] = ngrams[..., 1:] != ngrams[..., :-1]
    run = is_new.cumsum(dim=-1) - 1
    counts = torch.zeros_like(ngrams).scatter_add_(-1, run, torch.ones_like(ngrams))
    return ngrams, counts.gather(-1, run)


def order_of(keys: Tensor) -> Tensor:
    """Number of words of packed n-grams, minus one: 0..3, int64, same shape."""
    return sum(((keys >> ID_BITS * shift) != 0).long() for shift in range(1, MAX_ORDER))
