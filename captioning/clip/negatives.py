"""Negative captions: people's sentences spoilt in one of five ways, from which a judge of grammar
learns what a sentence is not.

Captions are lists of words as `tokenize` makes them, the vocabulary is the words of the captions
without the special ones: `Vocabulary.words[4:]`. Whoever trains a judge shows it the *good*
captions as words too (`caption_words`): a capital or a full stop that only they have would give
them away.

Source: J. Cho, S. Yoon, A. Kale, F. Dernoncourt, T. Bui, M. Bansal, "Fine-grained Image Captioning
with CLIP Reward", Findings of NAACL 2022, section 3.2; the five kinds and their counts are those of
the authors' code (`retrieval/text_utils.py`).
Departures: a negative is never the original, which there a shuffle, or two swaps of one word, can
give back: a shuffle is drawn again, and swaps take different places; no caption is too short: an
n-gram is at most as long as its caption, a removal leaves a word, and a kind that cannot change a
caption makes way for another (`possible_kind`); tokenised words rather than a text split at spaces.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

from data_loader import mix_seeds
from vocabulary import tokenize

KINDS = ("repeat", "remove", "insert", "swap", "shuffle")
MAX_NGRAM = 3  # words copied or removed at once
MAX_TIMES = 3  # copies, insertions or swaps in one caption

# What takes the place of a kind that cannot change a caption; `repeat` can change any.
_INSTEAD = {"remove": "insert", "shuffle": "insert", "swap": "repeat", "insert": "repeat"}


def caption_words(texts: Iterable[str]) -> list[list[str]]:
    """The words of each caption, in order; a caption without any is left out.

    Args:
        texts (Iterable[str]): captions as written.
    """
    return [words for text in texts if (words := tokenize(text))]


def negatives(
    captions: Sequence[Sequence[str]],
    vocabulary: Sequence[str],
    seed: int,
    epoch: int = 0,
    first: int = 0,
) -> list[list[str]]:
    """One negative of each caption, other ones in every epoch.

    A negative follows from (seed, epoch, position) and its own caption, so that batches and workers
    which say where they begin give what the whole set gives.

    Args:
        captions (Sequence): words of each caption, one or more.
        vocabulary (Sequence[str]): ordinary words to insert and swap in.
        seed (int): of the run.
        epoch (int): counted from 0.
        first (int): position of `captions[0]` in the whole set, >= 0.

    Returns:
        list[list[str]]: words of each negative, in the order of `captions`.

    Raises:
        ValueError: a caption is empty.
    """
    return [
        negative_caption(words, vocabulary, random.Random(mix_seeds(seed, epoch, position)))[0]
        for position, words in enumerate(captions, first)
    ]


def negative_caption(
    words: Sequence[str], vocabulary: Sequence[str], rng: random.Random
) -> tuple[list[str], str]:
    """Spoil a caption in one of the five ways, each as likely as the others.

    Args:
        words (Sequence[str]): the caption, one word or more.
        vocabulary (Sequence[str]): ordinary words to insert and swap in.
        rng (random.Random): where chance comes from.

    Returns:
        tuple[list[str], str]: the words of the negative, and the kind that was applied (see
        `possible_kind`).

    Raises:
        ValueError: the caption is empty.
    """
    kind = possible_kind(words, rng.choice(KINDS), vocabulary)
    return corrupt(words, kind, vocabulary, rng), kind


def corrupt(
    words: Sequence[str], kind: str, vocabulary: Sequence[str], rng: random.Random
) -> list[str]:
    """Spoil a caption in the given way; where that cannot change it, in that of `possible_kind`.

    Args:
        words (Sequence[str]): the caption, one word or more; it stays as it is.
        kind (str): one of `KINDS`. repeat: a run of 1 to 3 words is copied to 1 to 3 random places;
            remove: such a run is left out; insert: 1 to 3 words of the vocabulary come before
            random words; swap: 1 to 3 words become other ones of the vocabulary; shuffle: the words
            in another order.
        vocabulary (Sequence[str]): ordinary words to insert and swap in.
        rng (random.Random): where chance comes from.

    Returns:
        list[str]: one word or more, never those of the caption in their order.

    Raises:
        ValueError: the caption is empty, or there is no such kind.
    """
    return _CHANGES[possible_kind(words, kind, vocabulary)](list(words), vocabulary, rng)


def possible_kind(words: Sequence[str], kind: str, vocabulary: Sequence[str]) -> str:
    """The kind itself if it can change this caption, or else the one that takes its place.

    One word cannot lose a word, and equal words have one order: both kinds give way to insert. With
    no word to insert, or none to swap in that is not there already, it is repeat.

    Args:
        words (Sequence[str]): the caption, one word or more.
        kind (str): one of `KINDS`.
        vocabulary (Sequence[str]): ordinary words to insert and swap in.

    Raises:
        ValueError: the caption is empty, or there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: {kind!r} received, one of {list(KINDS)} expected")
    if not words:
        raise ValueError("words: an empty caption received, one word or more expected")
    while not _can_change(words, kind, vocabulary):
        kind = _INSTEAD[kind]
    return kind


def _can_change(words: Sequence[str], kind: str, vocabulary: Sequence[str]) -> bool:
    if kind == "remove":
        return len(words) > 1
    if kind == "insert":
        return len(vocabulary) > 0
    if kind == "swap":
        return bool(_swappable(words, vocabulary))
    return kind == "repeat" or len(set(words)) > 1


def _repeat(words: list[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    start, end = _draw_ngram(len(words), min(MAX_NGRAM, len(words)), rng)
    ngram = words[start:end]
    for _ in range(rng.randint(1, MAX_TIMES)):
        place = rng.randint(0, len(words))
        words = words[:place] + ngram + words[place:]
    return words


def _remove(words: list[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    start, end = _draw_ngram(len(words), min(MAX_NGRAM, len(words) - 1), rng)
    return words[:start] + words[end:]


def _insert(words: list[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    for _ in range(rng.randint(1, MAX_TIMES)):
        place = rng.randrange(len(words))  # before a word, so never at the end
        words.insert(place, rng.choice(vocabulary))
    return words


def _swap(words: list[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    places = _swappable(words, vocabulary)
    times = min(rng.randint(1, MAX_TIMES), len(places))
    for place in rng.sample(places, times):
        words[place] = _draw_other(words[place], vocabulary, rng)
    return words


def _shuffle(words: list[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    shuffled = list(words)
    while shuffled == words:  # two words differ: no order comes more often than not
        rng.shuffle(shuffled)
    return shuffled


_CHANGES: dict[str, Callable[[list[str], Sequence[str], random.Random], list[str]]] = {
    "repeat": _repeat,
    "remove": _remove,
    "insert": _insert,
    "swap": _swap,
    "shuffle": _shuffle,
}


def _draw_ngram(length: int, longest: int, rng: random.Random) -> tuple[int, int]:
    """Begin and end of a run of 1 to `longest` of `length` words."""
    size = rng.randint(1, longest)
    start = rng.randint(0, length - size)
    return start, start + size


def _swappable(words: Sequence[str], vocabulary: Sequence[str]) -> list[int]:
    """Positions of the words for which the vocabulary has another one."""
    return [i for i, word in enumerate(words) if any(other != word for other in vocabulary)]


def _draw_other(word: str, vocabulary: Sequence[str], rng: random.Random) -> str:
    """A word of the vocabulary that is not this one, each as likely as the others."""
    drawn = rng.choice(vocabulary)
    if drawn == word:  # rarely, so that the whole vocabulary is rarely looked through
        drawn = rng.choice([other for other in vocabulary if other != word])
    return drawn
