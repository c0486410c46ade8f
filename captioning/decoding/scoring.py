"""What every search shares: word log-probabilities, forbidden words, length normalisation.

Forbidden words are masked *after* the softmax: the search cannot choose them, yet the
log-probability of every chosen word stays the model's own, so that one teacher-forced pass gives
the same numbers again.

Source: Y. Wu et al., "Google's Neural Machine Translation System", 2016, arXiv:1609.08144
(length normalisation).

Departures: the length counts `<end>`, which has a probability like any other word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from vocabulary import PAD_IDX, START_IDX, UNK_IDX

if TYPE_CHECKING:
    from captioning.config import GenerationConfig
    from model import VisualFeatures

State = dict[str, dict[str, Tensor]]
Found = tuple[Tensor, Tensor, Tensor, Tensor | None]  # what a search gives: a `Generation`'s fields
NEVER = float("-inf")  # the log-probability of what must not be said
CHECK_EVERY = 4  # words between two looks at what an accelerator has computed


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


def is_check(step: int, device: torch.device, group_size: int = 1) -> bool:
    """Whether to look, at this step of so many words, if numbers are sound and captions have ended.

    A look makes the program wait for the accelerator, and the accelerator then waits for the
    program. A few steps too many cost less than that; on a CPU there is nothing to wait for.
    """
    return device.type == "cpu" or step % max(1, CHECK_EVERY // group_size) == 0


def read_words(
    decoder: Decoder, words: Tensor, state: State, forbidden: list[int], is_checked: bool
) -> tuple[Tensor, State]:
    """One step of a decoder.

    Args:
        words (Tensor): the last words of every row, (N,G).
        forbidden (list[int]): ids that must not be chosen.
        is_checked (bool): look for NaN.

    Returns:
        tuple[Tensor, State]: masked log-probabilities of the next words (N,G,V), the new state.
    """
    logits, state = decoder.step(words, state)
    logprobs = word_logprobs(logits, forbidden)
    if is_checked:
        check_sound(logprobs)
    return logprobs, state


def word_logprobs(logits: Tensor, forbidden: list[int]) -> Tensor:
    """The model's log-probabilities, -inf where a word is forbidden.

    Args:
        logits (Tensor): scores before the softmax, (..., V), any floating type.
        forbidden (list[int]): ids that must not be chosen.

    Returns:
        Tensor: natural-log probabilities at temperature 1, (..., V), float32. Allowed words are
            *not* renormalised: they keep the probability the model gives them.
    """
    logprobs = logits.float().log_softmax(dim=-1)
    for word in forbidden:  # one by one: a list would be sent to the device at every step
        logprobs[..., word] = NEVER
    return logprobs


def check_sound(logprobs: Tensor) -> None:
    """Refuse NaN, which is what damaged weights give.

    Args:
        logprobs (Tensor): what `word_logprobs` gave, (..., V).

    Raises:
        ValueError: some row holds NaN or leaves no word to choose.
    """
    if not logprobs.amax(dim=-1).isfinite().all():
        raise ValueError("logits: NaN or no possible word received, finite numbers expected")


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


def length_divisor(length: Tensor | int, config: GenerationConfig) -> Tensor | float:
    """What the sum of a caption's log-probabilities is divided by to rank it.

    It never falls as the length grows (`close_decided` of beam search relies on it).

    Args:
        length (Tensor | int): words of the caption, `<end>` included, at least 1.
        config (GenerationConfig): length_normalization and, for "wu", length_penalty.
    """
    if config.length_normalization == "average":
        return length
    return length_factor(length, config.length_penalty)
