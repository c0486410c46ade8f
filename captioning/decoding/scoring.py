"""What every search shares: word log-probabilities, forbidden words, the length penalty.

Forbidden words are masked *after* the softmax: the search cannot choose them, yet the
log-probability of every chosen word stays the model's own, so that one teacher-forced pass gives
the same numbers again.

Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144
(length normalisation).

Departures: the length counts `<end>`, which has a probability like any other word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from vocabulary import PAD_IDX, START_IDX, UNK_IDX

if TYPE_CHECKING:
    from model import VisualFeatures

State = dict[str, dict[str, Tensor]]


class Decoder(Protocol):
    """What decoding needs of a network (the whole contract: the models in `model.py`)."""

    group_size: int  # words per step, G

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """State before the first word, for B * rows_per_image rows, image-major."""
        ...

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Logits (N,G,V) of the next words after reading `tokens` (N,G), and the new state."""
        ...


def forbidden_words(suppress_unk: bool) -> list[int]:
    """Ids no search may choose: `<pad>` and `<start>`, and `<unk>` when asked for."""
    return [PAD_IDX, START_IDX, UNK_IDX] if suppress_unk else [PAD_IDX, START_IDX]


def word_logprobs(logits: Tensor, forbidden: list[int]) -> Tensor:
    """The model's log-probabilities, -inf where a word is forbidden.

    Args:
        logits (Tensor): scores before the softmax, (..., V), any floating type.
        forbidden (list[int]): ids that must not be chosen.

    Returns:
        Tensor: natural-log probabilities at temperature 1, (..., V), float32. Allowed words are
            *not* renormalised: they keep the probability the model gives them.

    Raises:
        ValueError: some row leaves no word to choose, which is what NaN in the weights looks like.
    """
    logprobs = logits.float().log_softmax(dim=-1)
    logprobs[..., forbidden] = float("-inf")
    if not logprobs.amax(dim=-1).isfinite().all():
        raise ValueError("logits: NaN or no possible word received, finite numbers expected")
    return logprobs


def best_words(logprobs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` most probable words of each row, best first.

    Greedy search and beam search both choose through this function: `topk` and `max` may break ties
    differently, and a beam of one must be greedy search to the last word.

    Args:
        logprobs (Tensor): (..., V).
        count (int): how many, 1..V.

    Returns:
        tuple[Tensor, Tensor]: log-probabilities and word ids, both (..., count).
    """
    if count == 1:
        values, words = logprobs.max(dim=-1, keepdim=True)
        return values, words
    values, words = logprobs.topk(count, dim=-1)
    return values, words


def length_factor(length: Tensor | int, alpha: float) -> Tensor | float:
    """What a caption's log-probability is divided by: ((5 + length) / 6) ** alpha.

    Args:
        length (Tensor | int): words of the caption, `<end>` included.
        alpha (float): strength, >= 0; 0 divides by one, so the score is the log-probability.

    Source: Wu et al. 2016 (arXiv:1609.08144).
    """
    return ((5 + length) / 6) ** alpha
