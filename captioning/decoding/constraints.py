"""What may be said next, given what was said: the same rules for every search.

All rules are hard: what breaks one gets log-probability -inf, and the other words keep the
model's own. In order of precedence, for words that go against each other:

1. `<pad>`, `<start>` and, with `suppress_unk`, `<unk>` are never said (`word_logprobs` sees to it).
2. `start_words` come first, whatever the rules below say of them.
3. `max_length` ends a caption, with or without `<end>`.
4. `no_repeat`: not the word just said. `block_trigrams`: not the third word of a trigram that was
   said before.
5. `min_length`: no `<end>` before so many words (`<end>` is not counted). `remove_bad_endings`: no
   `<end>` after a word that wants another one, and at the last place no such word either, so that a
   caption cut off there ends well too.
6. Where the rules leave no word at all, the caption ends: `<end>` is the way out, against rule 5.

Source: R. Luo's ImageCaptioning.pytorch, whose options these are (`decoding_constraint`,
`block_trigrams`, `remove_bad_endings`, `suppress_UNK`); R. Paulus et al., "A Deep Reinforced Model
for Abstractive Summarization", 2017, arXiv:1705.04304 (no trigram twice).

Departures: there a trigram said before loses 2 ln 2 for every time, in some rows only; `<unk>` is
kept out by beam search alone; the last place has no rule; and two lists of bad endings differ.
Here one list holds the words of both.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.scoring import NEVER, forbidden_words
from vocabulary import END_IDX, PAD_IDX, Vocabulary, tokenize

if TYPE_CHECKING:
    from captioning.config import GenerationConfig

BAD_ENDINGS = frozenset(
    "a an the in for at of with before after on upon near to is are am this his her that".split()
)


@dataclass(frozen=True)
class Constraints:
    """The rules of one search; `constraints_of` makes them from settings.

    Args:
        forbidden (list[int]): ids never said.
        start (list[int]): ids every caption begins with.
        bad_endings (tuple[int, ...]): ids no caption ends with.
        min_length, max_length (int): fewest and most words, `<end>` not counted.
        no_repeat, block_trigrams (bool): see above.
    """

    forbidden: list[int]
    start: list[int]
    bad_endings: tuple[int, ...]
    min_length: int
    max_length: int
    no_repeat: bool
    block_trigrams: bool

    @property
    def is_active(self) -> bool:
        """Whether there is anything to apply: if not, no search needs to remember its words."""
        rules = (self.start, self.bad_endings, self.min_length, self.no_repeat, self.block_trigrams)
        return any(rules)

    def apply(self, logprobs: Tensor, said: Tensor) -> Tensor:
        """Take away what must not be said next.

        Args:
            logprobs (Tensor): what `word_logprobs` gave, (N,V); changed in place.
            said (Tensor): the words of every row so far, (N,t); all rows have as many. What is
                made of a row that has ended does not matter.

        Returns:
            Tensor: `logprobs`, -inf where a rule is broken; no row is without a possible word.
        """
        position = said.shape[1]
        if position < len(self.start):
            word = self.start[position]
            forced = logprobs[:, word].clone()
            logprobs.fill_(NEVER)[:, word] = forced
            return logprobs
        end = logprobs[:, END_IDX].clone()
        if self.no_repeat and position:
            logprobs.scatter_(1, said[:, -1:], NEVER)
        if self.block_trigrams and position > 2:
            logprobs.scatter_(1, third_words(said), NEVER)
        if position < self.min_length:
            logprobs[:, END_IDX] = NEVER
        if self.bad_endings:
            self.forbid_bad_endings(logprobs, said)
        # A model may hold `<end>` for impossible; it can still be chosen here.
        is_stuck = logprobs.amax(dim=1) == NEVER  # (N,)
        way_out = end.clamp(min=torch.finfo(end.dtype).min)
        logprobs[:, END_IDX] = torch.where(is_stuck, way_out, logprobs[:, END_IDX])
        return logprobs

    def forbid_bad_endings(self, logprobs: Tensor, said: Tensor) -> None:
        """No `<end>` after a bad ending, and none of them at the last place."""
        bad = on_device(self.bad_endings, said.device)
        if said.shape[1]:
            is_bad = torch.isin(said[:, -1], bad)  # (N,)
            logprobs[:, END_IDX] = logprobs[:, END_IDX].masked_fill(is_bad, NEVER)
        if said.shape[1] + 1 == self.max_length:
            logprobs[:, bad] = NEVER


@functools.lru_cache(maxsize=16)
def on_device(ids: tuple[int, ...], device: torch.device) -> Tensor:
    """Ids as a tensor, sent to the device once and not at every step."""
    return torch.tensor(ids, device=device)


def third_words(said: Tensor) -> Tensor:
    """What followed earlier wherever the last two words stood before.

    Args:
        said (Tensor): (N,t) ids, t > 2.

    Returns:
        Tensor: (N,t-2) ids; `<pad>` for places with other words, so that all rows have as many.
    """
    is_same = (said[:, :-2] == said[:, -2:-1]) & (said[:, 1:-1] == said[:, -1:])  # (N,t-2)
    return said[:, 2:].masked_fill(~is_same, PAD_IDX)


def constraints_of(config: GenerationConfig, vocabulary: Vocabulary | None = None) -> Constraints:
    """The rules that settings ask for.

    Raises:
        ValueError: a setting is about words and there is no vocabulary, or it lacks a start word.
    """
    bad: tuple[int, ...] = ()
    if config.remove_bad_endings:
        known = needed(vocabulary, "remove_bad_endings")
        bad = tuple(known.index(word) for word in sorted(BAD_ENDINGS) if word in known)
    return Constraints(
        forbidden=forbidden_words(config.suppress_unk),
        start=start_ids(config, vocabulary),
        bad_endings=bad,
        min_length=config.min_length,
        max_length=config.max_length,
        no_repeat=config.no_repeat,
        block_trigrams=config.block_trigrams,
    )


def start_ids(config: GenerationConfig, vocabulary: Vocabulary | None) -> list[int]:
    """The ids of `start_words`.

    Raises:
        ValueError: no vocabulary, a word that is not in it, no word at all or too many.
    """
    text = config.start_words.strip()
    if not text:
        return []
    words, known = tokenize(text), needed(vocabulary, "start_words")
    if not 1 <= len(words) <= config.max_length:
        allowed = f"1 to {config.max_length} words (max_length) expected"
        raise ValueError(f"start_words: {text!r} received, {allowed}")
    for word in words:
        if word not in known:
            raise ValueError(f"start_words: {word!r} is not among the {len(known)} known words")
    return [known.index(word) for word in words]


def needed(vocabulary: Vocabulary | None, setting: str) -> Vocabulary:
    """The vocabulary, for a setting that is about words.

    Raises:
        ValueError: there is none.
    """
    if vocabulary is None:
        raise ValueError(f"{setting}: no vocabulary received, `generate` needs one to know words")
    return vocabulary
