"""Random numbers as a function of what they are for: nothing to seed, save or share.

A generator gives numbers in the order they are asked for; with several processes, accumulated
batches or a resumed run that order changes. Here a number follows from a key (seed, epoch,
picture) and its place, by hashing them.

Source: the SplitMix64 generator of G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom
Number Generators", OOPSLA 2014, figure 17 (with the mixing constants of D. Stafford's variant 13).
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


def _signed(number: int) -> int:
    """An unsigned number of 64 bits as torch stores it."""
    return number - 2**64 if number >= 2**63 else number


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)
_BITS = 24  # of a number; float32 holds them exactly


def _shift(values: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros (torch's own shift keeps the sign)."""
    return (values >> bits) & (2 ** (64 - bits) - 1)


def mix(values: Tensor) -> Tensor:
    """SplitMix64's finaliser: int64 to int64, every bit depends on every bit."""
    values = (values ^ _shift(values, 30)) * _FIRST
    values = (values ^ _shift(values, 27)) * _SECOND
    return values ^ _shift(values, 31)


def uniform_numbers(
    keys: Sequence[Hashable], shape: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Independent numbers in 0 <= u < 1 for each key.

    Args:
        keys (Sequence[Hashable]): B keys, e.g. tuples (seed, epoch, image id).
        shape (Sequence[int]): of the numbers of one key.
        device (torch.device | str): where they are wanted; the numbers are the same everywhere.

    Returns:
        Tensor: (B, *shape) float32.
    """
    hashes = [zlib.crc32(repr(key).encode()) for key in keys]
    seeds = mix(torch.tensor(hashes, dtype=torch.int64, device=device) * _GAMMA)  # (B,)
    number = int(torch.Size(shape).numel())
    places = torch.arange(1, number + 1, device=device) * _GAMMA  # (K,)
    mixed = mix(seeds[:, None] + places)  # (B,K)
    return (_shift(mixed, 64 - _BITS).float() / 2**_BITS).view(len(hashes), *shape)
