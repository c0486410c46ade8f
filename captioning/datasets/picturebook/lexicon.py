"""Reading captions of the picture book with the words that write them.

The describers (`describe.py`) write with `words.py` and `phrases.py`, and the facts score
(`captioning/evaluation/facts.py`) reads with the same words, so what the one says the other
understands. At every word the longest phrase that begins there is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from captioning.datasets.picturebook.phrases import ACTION_VERBS, RELATION_PHRASES
from captioning.datasets.picturebook.words import (
    COLOUR_WORDS,
    EXTRA_NOUNS,
    GARMENTS,
    LOOSE_NUMBERS,
    NOUNS,
    NUMBER_WORDS,
    POSE_ADJECTIVES,
    SETTING_WORDS,
    SIZE_WORDS,
    VAGUE_NOUNS,
    plural_of,
    pluralize,
)

_FILLERS = (
    "cute",
    "friendly",
    "lovely",
    "nice",
    "other",
    "same",
    "light",
    "dark-coloured",
    "bright",
)
_ARTICLES = ("a", "an", "the", "another", "this", "that", "its", "his", "her", "their")
_COLOUR_OPENINGS = (  # between a noun and its colour
    ("in",), ("in", "a"), ("in", "an"), ("wearing",), ("wearing", "a"), ("wearing", "an"),
    ("dressed", "in"),
    ("with", "a"), ("with", "an"), ("who", "wears", "a"), ("who", "wears", "an"), ("who", "wear"),
    ("painted",),
    ("that", "is"), ("that", "are"), ("which", "is"), ("is",), ("are",),
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Neighbouring words that mean one thing: `kind` noun, colour, number, adjective, article,
    setting, relation, side, grasp, garment or word (anything else); `value` depends on the kind;
    words `start` to `end - 1`."""

    kind: str
    value: object
    start: int
    end: int


@dataclass(frozen=True)
class Mention:
    """Something a caption names.

    Args:
        category (str | None): one of `CATEGORIES`; None for a vague word.
        members (tuple): categories the word can stand for, just one when it is not vague.
        colour (str | None): one of `COLOURS` when said.
        count (int | None): when said by a number ("one", "two", "a pair of"; an article is none).
        plural (bool): whether the noun is in the plural.
        start (int): first word of the phrase ("a red dog"), article included.
        end (int): word after the noun or, for "in a red dress", after that.
    """

    category: str | None
    members: tuple[str, ...]
    colour: str | None
    count: int | None
    plural: bool
    start: int
    end: int


def category_words() -> dict[str, list[str]]:
    """Every noun of each category, in the singular, e.g. to count objects in captions."""
    return {
        category: [noun.singular for noun in (*nouns, *EXTRA_NOUNS.get(category, ()))]
        for category, nouns in NOUNS.items()
    }


@cache
def _entries() -> dict[tuple[str, ...], tuple[str, object]]:
    """Every phrase of the lexicon as lower-case words, with its kind and value."""
    entries: dict[tuple[str, ...], tuple[str, object]] = {}

    def add(phrase: str, kind: str, value: object) -> None:
        entries[tuple(phrase.lower().split())] = (kind, value)

    for words in (*SIZE_WORDS.values(), *POSE_ADJECTIVES.values(), _FILLERS):
        for word in words:
            for part in (word if isinstance(word, str) else word[0]).split():
                add(part, "adjective", part)
    for article in _ARTICLES:
        add(article, "article", article)
    for settings, words in SETTING_WORDS.items():
        for word in words:
            add(word, "setting", settings)
    for garment in GARMENTS:
        add(garment, "garment", garment)
        add(pluralize(garment), "garment", garment)
    for side in ("left", "right"):
        for phrase in (f"on the {side}", f"on the {side} side", f"at the {side}"):
            add(phrase, "side", side)
    for owner in ("his", "her", "its", "their"):
        for part in ("hands", "arms"):
            add(f"in {owner} {part}", "grasp", part)
    for phrase, relation in RELATION_PHRASES.items():
        add(phrase, "relation", relation)
    for action, verbs in ACTION_VERBS.items():
        for base, third, ing, participle, _, _ in verbs:
            if base.startswith(("sit", "rest", "be ")):
                continue  # the preposition says it: sits on, resting on, seated on
            for form in (base, third, ing):
                add(form, "relation", (action, False))
            if participle:
                add(f"{participle} by", "relation", (action, True))
    for colour, words in COLOUR_WORDS.items():
        for word, _ in words:
            add(word, "colour", colour)
    for count, words in NUMBER_WORDS.items():
        for word, _ in words:
            add(word, "number", count)
    for word in LOOSE_NUMBERS:
        add(word, "number", None)
    for group in (NOUNS, EXTRA_NOUNS, VAGUE_NOUNS):
        for key, nouns in group.items():
            members = (key,) if isinstance(key, str) else key
            for noun in nouns:
                add(noun.singular, "noun", (members, False))
                if plural_of(noun) != noun.singular:
                    add(plural_of(noun), "noun", (members, True))
    return entries


def read_spans(tokens: Sequence[str]) -> list[Span]:
    """Cut a caption into spans: at every word the longest phrase of the lexicon that begins there.

    Args:
        tokens (Sequence[str]): words of `vocabulary.tokenize`.

    Returns:
        list[Span]: they cover all words, in order.
    """
    entries = _entries()
    longest = max(len(phrase) for phrase in entries)
    spans, start = [], 0
    while start < len(tokens):
        for length in range(min(longest, len(tokens) - start), 0, -1):
            entry = entries.get(tuple(tokens[start : start + length]))
            if entry:
                if tokens[start] == "flying" and _is_attribute(spans, tokens[start + 1 :]):
                    entry = ("adjective", "flying")
                spans.append(Span(entry[0], entry[1], start, start + length))
                break
        else:
            length = 1
            spans.append(Span("word", tokens[start], start, start + 1))
        start += length
    return spans


def _is_attribute(before: list[Span], after: Sequence[str]) -> bool:
    """Whether a participle between these words belongs to the noun that follows: a flying bird."""
    kinds = ("article", "number", "adjective", "colour", "relation")
    following = _entries().get(tuple(after[:1]), ("word", None))[0]
    return following not in ("article", "number") and (not before or before[-1].kind in kinds)


def _colour_after(tokens: Sequence[str], spans: list[Span], index: int) -> tuple[str, int] | None:
    """Colour said after the noun at `spans[index]` ("in a red dress") and where that phrase
    ends."""
    for opening in sorted(_COLOUR_OPENINGS, key=len, reverse=True):
        first = spans[index].end
        if tuple(tokens[first : first + len(opening)]) != opening:
            continue
        rest = [span for span in spans if span.start >= first + len(opening)]
        if not rest or rest[0].kind != "colour":
            continue
        after = rest[1] if len(rest) > 1 else None
        if after is None or after.kind not in ("noun", "setting", "colour", "adjective", "garment"):
            return rest[0].value, rest[0].end
        if after.kind == "garment":
            return rest[0].value, after.end
    return None


def find_mentions(tokens: Sequence[str], spans: list[Span] | None = None) -> list[Mention]:
    """Everything a caption names, in the order of the words.

    Args:
        tokens (Sequence[str]): words of `vocabulary.tokenize`.
        spans (list[Span] | None): `read_spans(tokens)` when the caller has it already.

    Returns:
        list[Mention]: one for each noun of the lexicon.
    """
    spans = read_spans(tokens) if spans is None else spans
    mentions = []
    for index, span in enumerate(spans):
        if span.kind != "noun":
            continue
        members, plural = span.value
        colour = count = None
        first = index
        outer = {
            "colour",
            "number",
            "adjective",
            "article",
        }  # what may stand before the words so far
        while first > 0 and spans[first - 1].kind in outer:
            first -= 1
            if spans[first].kind == "colour":
                colour = colour or spans[first].value
            elif spans[first].kind == "number":
                count, outer = spans[first].value, {"article"}
            elif spans[first].kind == "article":
                break
        end = span.end
        if colour is None and (after := _colour_after(tokens, spans, index)):
            colour, end = after
        category = members[0] if len(members) == 1 else None
        mentions.append(Mention(category, members, colour, count, plural, spans[first].start, end))
    return mentions


def find_settings(tokens: Sequence[str], spans: list[Span] | None = None) -> list[tuple[str, ...]]:
    """Settings a caption names: for each setting word, the settings it can stand for."""
    spans = read_spans(tokens) if spans is None else spans
    return [span.value for span in spans if span.kind == "setting"]
