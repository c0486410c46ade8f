"""Several rewards as one: their weighted sum.

A reward is any function of sampled captions and their batch that gives one number a caption; a
lesson writes one in a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from data_loader import Batch

Reward = Callable[[Tensor, "Batch"], Tensor]  # tokens (N,T), batch -> (N,) on the tokens' device


class Mixture:
    """A weighted sum of rewards, itself a reward.

    Args:
        rewards (Mapping): name to (weight, reward), e.g. `{"CIDEr-D": (1.0, CiderReward(...))}`.

    Raises:
        ValueError: there are no rewards, or a weight is not a finite number.
    """

    def __init__(self, rewards: Mapping[str, tuple[float, Reward]]) -> None:
        if not rewards:
            raise ValueError("rewards: none received, at least one expected")
        for name, (weight, _) in rewards.items():
            if not math.isfinite(weight):
                raise ValueError(
                    f"rewards: weight {weight} of {name!r} received, a number expected"
                )
        self.rewards = dict(rewards)

    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """The weighted sum.

        Args:
            tokens (Tensor): word ids as `Generation.tokens` has them, image-major, (N,T).
            batch (Batch): the pictures they describe.

        Returns:
            Tensor: float32, (N,).

        Raises:
            ValueError: a reward gave something else than one finite number a caption; the message
                names it.
        """
        return self.total(self.parts(tokens, batch))

    def total(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of what `parts` gave, (N,)."""
        return sum(self.rewards[name][0] * values for name, values in parts.items())

    @torch.no_grad()
    def parts(self, tokens: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Every reward by its name, without its weight; float32, (N,) each."""
        parts = {}
        for name, (_, reward) in self.rewards.items():
            values = reward(tokens, batch)
            if not isinstance(values, Tensor) or values.shape != tokens.shape[:1]:
                shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
                raise ValueError(
                    f"reward {name!r}: {shape} received, a tensor of shape ({len(tokens)},) "
                    "expected, one number a caption"
                )
            parts[name] = values.to(tokens.device, torch.float32)
        finite = torch.stack([*parts.values()]).isfinite().all(dim=1)  # asks the device only once
        for name, is_finite in zip(parts, finite.tolist(), strict=True):
            if not is_finite:
                raise ValueError(
                    f"reward {name!r}: NaN or infinite for a caption, numbers expected"
                )
        return parts

    def signature(self) -> dict[str, dict]:
        """Name to weight and, where a reward has one, its own signature; JSON-ready."""
        signatures = {}
        for name, (weight, reward) in self.rewards.items():
            own = getattr(reward, "signature", dict)
            signatures[name] = {"weight": weight, **own()}
        return signatures
