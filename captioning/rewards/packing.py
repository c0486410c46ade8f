"""The captions of a data set as n-grams, some thousand pictures at a time.

This runs once, on the CPU, before training; what it makes is for `references.py` and
`frequency.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from captioning.rewards.ngrams import pack_ngrams
from vocabulary import END_IDX, PAD_IDX, START_IDX

CHUNK = 4096  # pictures at a time; bounds the memory that packing takes
_MOST = 255  # of a count that is kept in a byte


@dataclass
class Chunk:
    """The n-grams of P pictures with C captions, E of them in all.

    Args:
        ngrams (Tensor): packed n-grams of any order, in no particular order, (E,).
        picture (Tensor): whose they are, 0 to P-1, (E,).
        reference (Tensor): in which of the picture's captions, from 0, (E,).
        lengths (Tensor): words of the captions, one picture after the other, (C,).
        num_references (Tensor): captions of the pictures, (P,).
    """

    ngrams: Tensor
    picture: Tensor
    reference: Tensor
    lengths: Tensor
    num_references: Tensor


def starts(sizes: Tensor) -> Tensor:
    """Where each of several pieces begins when they are laid end to end."""
    return sizes.cumsum(0) - sizes


def chunks(captions: Sequence[Sequence[Sequence[int]]], count_end: bool) -> Iterator[Chunk]:
    """The n-grams of a data set.

    Args:
        captions (Sequence): for every picture its captions `<start> .. <end>`; a picture without
            captions is left out.
        count_end (bool): `<end>` is a word of every caption.

    Raises:
        ValueError: there are no captions.
    """
    kept = [some for some in captions if some]
    if not kept:
        raise ValueError("captions: none received, at least one expected")
    for first in range(0, len(kept), CHUNK):
        yield _chunk(kept[first : first + CHUNK], count_end)


def _chunk(captions: Sequence[Sequence[Sequence[int]]], count_end: bool) -> Chunk:
    num_references = torch.tensor([*map(len, captions)])  # (P,)
    sizes = torch.tensor([*map(len, chain.from_iterable(captions))])  # (C,)
    tokens = torch.tensor([*chain.from_iterable(chain.from_iterable(captions))])  # (L,)
    no_word = tokens == START_IDX
    if not count_end:
        no_word |= tokens == END_IDX
    caption = torch.arange(len(sizes)).repeat_interleave(sizes)  # (L,)
    picture = torch.arange(len(captions)).repeat_interleave(num_references)  # (C,)
    reference = torch.arange(len(sizes)) - starts(num_references)[picture]  # (C,)
    ngrams = pack_ngrams(tokens.masked_fill(no_word, PAD_IDX))  # (4,L), none across two captions
    places = (ngrams != 0).nonzero(as_tuple=True)
    caption_of = caption[places[1]]  # (E,)
    return Chunk(
        ngrams=ngrams[places],
        picture=picture[caption_of],
        reference=reference[caption_of],
        lengths=caption[~no_word].bincount(minlength=len(sizes)),
        num_references=num_references,
    )


def ngrams_of_pictures(chunk: Chunk) -> Tensor:
    """The different n-grams of each picture, (K,)."""
    different, rank = chunk.ngrams.unique(return_inverse=True)
    return different[(chunk.picture * len(different) + rank).unique() % len(different)]


def counts_of_references(chunk: Chunk, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """How often each reference has the n-grams of its picture.

    Args:
        width (int): R, at least the most references a picture has.

    Returns:
        tuple: the different n-grams of one picture after the other, sorted for each, (K,); uint8
            counts, (K,R); number of n-grams of each picture, (P,).
    """
    different, rank = chunk.ngrams.unique(return_inverse=True)
    # One number for (picture, n-gram, reference), to sort and count in one go.
    code = (chunk.picture * len(different) + rank) * width + chunk.reference
    code, times = code.unique(return_counts=True)
    of_picture, place = (code // width).unique_consecutive(return_inverse=True)  # (K,)
    counts = torch.zeros(len(of_picture), width, dtype=torch.uint8)
    counts[place, code % width] = times.clamp(max=_MOST).byte()
    num_keys = (of_picture // len(different)).bincount(minlength=len(chunk.num_references))
    return different[of_picture % len(different)], counts, num_keys
