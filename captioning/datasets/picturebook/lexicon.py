"""The words of the picture book: every synonym the describers use, as data, and reading them back.

The describers (`describe.py`) write with these words and the facts score (`captioning/evaluation/facts.py`) reads
with them, so what the one can say the other understands. No noun belongs to two categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from captioning.datasets.picturebook.phrases import ACTION_VERBS, RELATION_PHRASES
from captioning.datasets.picturebook.scene import SUPERCATEGORIES


@dataclass(frozen=True)
class Noun:
    """One name of a category.

    Args:
        singular (str): "boat".
        weight (float): how often describers choose it, compared with the other nouns of the category.
        plural (str): "boats"; empty: by the rules of `pluralize`.
        pose (str): only said of this pose or variant; empty: of all.
        sizes (tuple): only said of these sizes; empty: of all.
    """

    singular: str
    weight: float = 1.0
    plural: str = ""
    pose: str = ""
    sizes: tuple[str, ...] = ()


_SMALL, _NOT_LARGE = ("small",), ("small", "medium")

NOUNS: dict[str, tuple[Noun, ...]] = {
    "girl": (Noun("girl", 12), Noun("little girl", 2, sizes=_NOT_LARGE), Noun("young girl"), Noun("lass", 0.6)),
    "boy": (Noun("boy", 12), Noun("little boy", 2, sizes=_NOT_LARGE), Noun("young boy"), Noun("lad", 0.8)),
    "dog": (Noun("dog", 14), Noun("puppy", 5, sizes=_SMALL), Noun("pup", 2, sizes=_SMALL), Noun("hound", 0.8),
            Noun("doggy", 0.5)),
    "cat": (Noun("cat", 14), Noun("kitten", 5, sizes=_SMALL), Noun("kitty", 0.9), Noun("pussycat", 0.5)),
    "horse": (Noun("horse", 14), Noun("pony", 6, sizes=_SMALL), Noun("steed", 0.7)),
    "bird": (Noun("bird", 14), Noun("little bird", 2, sizes=_NOT_LARGE), Noun("songbird", 0.9), Noun("birdie", 0.5)),
    "rabbit": (Noun("rabbit", 9), Noun("bunny", 4), Noun("bunny rabbit", 0.6), Noun("hare", 0.5)),
    "car": (Noun("car", 14), Noun("motor car", 0.6), Noun("automobile", 0.8), Noun("saloon", 0.7, pose="saloon"),
            Noun("hatchback", 0.9, pose="hatchback"), Noun("sedan", 0.5, pose="saloon")),
    "bus": (Noun("bus", 12), Noun("coach", 0.9), Noun("school bus", 4, pose="school"),
            Noun("city bus", 2, pose="city")),
    "boat": (Noun("boat", 10), Noun("ship", 2), Noun("vessel", 0.5), Noun("sailing boat", 2, pose="sailing"),
             Noun("sailboat", 2, pose="sailing"), Noun("yacht", 0.7, pose="sailing"), Noun("steamboat", 2, pose="steam"),
             Noun("steamer", 1, pose="steam"), Noun("steamship", 0.8, pose="steam")),
    "bicycle": (Noun("bicycle", 7), Noun("bike", 7), Noun("pushbike", 0.5)),
    "plane": (Noun("plane", 9), Noun("airplane", 2), Noun("aeroplane", 2), Noun("aircraft", 0.7, plural="aircraft"),
              Noun("jet", 2, pose="jet"), Noun("airliner", 0.7, pose="jet"),
              Noun("propeller plane", 1, pose="propeller")),
    "house": (Noun("house", 12), Noun("cottage", 3, pose="cottage"), Noun("townhouse", 1, pose="tall"),
              Noun("dwelling", 0.3)),
    "lighthouse": (Noun("lighthouse", 14), Noun("beacon", 0.9), Noun("light tower", 0.5)),
    "ball": (Noun("ball", 14), Noun("toy ball", 0.7), Noun("rubber ball", 0.6)),
    "kite": (Noun("kite", 14), Noun("paper kite", 0.7), Noun("toy kite", 0.4)),
    "teddy": (Noun("teddy bear", 9), Noun("teddy", 4), Noun("toy bear", 0.9), Noun("stuffed bear", 0.8),
              Noun("plush bear", 0.5)),
    "chair": (Noun("chair", 14), Noun("armchair", 6, pose="armchair"), Noun("easy chair", 0.7, pose="armchair"),
              Noun("seat", 0.6)),
    "table": (Noun("table", 14), Noun("little table", 2, sizes=_SMALL)),
    "balloon": (Noun("hot-air balloon", 7), Noun("balloon", 6), Noun("hot air balloon", 1.5),
                Noun("air balloon", 0.6)),
}  # fmt: skip

# Words that leave the category open; the key is what they may stand for.
VAGUE_NOUNS: dict[tuple[str, ...], tuple[Noun, ...]] = {
    SUPERCATEGORIES["person"]: (
        Noun("child", 5, plural="children"),
        Noun("kid", 3),
        Noun("youngster"),
        Noun("person", 0.7, plural="people"),
    ),
    SUPERCATEGORIES["animal"]: (Noun("animal", 4), Noun("creature", 0.8)),
    ("dog", "cat", "rabbit"): (Noun("pet", 1),),
    SUPERCATEGORIES["vehicle"]: (Noun("vehicle", 2),),
    SUPERCATEGORIES["building"]: (Noun("building", 3),),
    SUPERCATEGORIES["toy"]: (Noun("toy", 2), Noun("plaything", 0.4)),
    SUPERCATEGORIES["furniture"]: (Noun("piece of furniture", 1, plural="pieces of furniture"),),
    ("plane", "balloon"): (Noun("flying machine", 0.5),),
}

# Understood by the facts score though no describer says them.
EXTRA_NOUNS: dict[str, tuple[Noun, ...]] = {
    "car": (Noun("motorcar"),),
    "ball": (Noun("beach ball"),),
    "teddy": (Noun("bear"),),
    "plane": (Noun("jet plane"),),
}

# The first word of a colour is the usual one.
COLOUR_WORDS: dict[str, tuple[tuple[str, float], ...]] = {
    "red": (("red", 12), ("bright red", 1), ("crimson", 0.7), ("scarlet", 0.7)),
    "orange": (("orange", 12), ("bright orange", 1), ("tangerine", 0.6), ("amber", 0.6)),
    "yellow": (("yellow", 12), ("bright yellow", 1), ("golden", 0.7), ("lemon-yellow", 0.5)),
    "green": (("green", 12), ("bright green", 1), ("emerald", 0.7), ("leaf-green", 0.4)),
    "blue": (("blue", 12), ("bright blue", 1), ("sky-blue", 0.5), ("azure", 0.6)),
    "purple": (("purple", 12), ("violet", 1.5), ("lilac", 0.5)),
    "pink": (("pink", 12), ("bright pink", 1), ("rosy", 0.4), ("rose-pink", 0.4)),
    "white": (("white", 12), ("snow-white", 0.6), ("ivory", 0.5), ("pale white", 0.4)),
}

SIZE_WORDS: dict[str, tuple[tuple[str, float], ...]] = {
    "small": (("small", 6), ("little", 4), ("tiny", 2)),
    "medium": (),
    "large": (("large", 5), ("big", 6), ("huge", 1), ("great big", 0.5)),
}

# What a pose or variant looks like, as an adjective.
POSE_ADJECTIVES: dict[tuple[str, str], tuple[str, ...]] = {
    ("ball", "striped"): ("striped", "stripy"),
    ("ball", "spotted"): ("spotted", "spotty", "dotted"),
    ("lighthouse", "banded"): ("striped", "banded"),
    ("balloon", "striped"): ("striped", "stripy"),
    ("table", "round"): ("round",),
    ("table", "square"): ("square",),
    ("chair", "wooden"): ("wooden",),
    ("house", "tall"): ("tall",),
    ("kite", "diamond"): ("diamond-shaped",),
    ("kite", "delta"): ("triangular",),
    ("dog", "running"): ("running",),
    ("cat", "running"): ("running",),
    ("horse", "running"): ("galloping", "trotting"),
    ("rabbit", "running"): ("hopping",),
    ("bird", "flying"): ("flying",),
}

# Clothes carry the colour of a person: singular, plural, weight.
CLOTHES: dict[str, tuple[tuple[str, str, float], ...]] = {
    "girl": (("a {} dress", "{} dresses", 8), ("a {} frock", "{} frocks", 0.6)),
    "boy": (("a {} shirt", "{} shirts", 8), ("a {} top", "{} tops", 1), ("a {} T-shirt", "{} T-shirts", 1)),
}  # fmt: skip
_GARMENTS = ("dress", "frock", "shirt", "top", "t-shirt", "jumper", "outfit", "clothes")

# How many: (words, weight). Things come one to three of a kind; more are totals ("five animals").
NUMBER_WORDS: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("one", 10), ("a single", 1.5), ("only one", 0.3), ("just one", 0.3)),
    2: (("two", 12), ("a pair of", 1.5), ("a couple of", 1)),
    3: (("three", 12), ("a trio of", 1), ("a group of three", 1)),
    4: (("four", 1),),
    5: (("five", 1),),
    6: (("six", 1),),
}
_LOOSE_NUMBERS = ("several", "some", "a few", "many", "a group of")

# Words of each setting. A word of two settings says less, but is not wrong in either.
SETTING_WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("meadow",): ("meadow", "meadows", "field", "fields", "grass", "grassy", "lawn", "countryside", "pasture",
                  "flowery", "flowers"),
    ("beach",): ("beach", "sand", "sandy", "seaside", "seashore", "shore", "coast"),
    ("snow",): ("snow", "snowy", "winter", "winter's", "wintry", "snow-covered", "snowing",
                "snowflakes"),
    ("street",): ("street", "streets", "road", "roadside", "town", "city", "pavement"),
    ("living room",): ("living room", "sitting room", "lounge", "parlour", "indoors", "room", "carpet", "rug", "floor"),
    ("harbour at night",): ("harbour", "harbor", "port", "dock", "docks", "quay", "quayside", "night", "night-time",
                            "dark", "evening", "moon", "moonlight", "moonlit", "stars", "starry"),
    ("beach", "harbour at night"): ("sea", "water", "waterside", "waterfront"),
}  # fmt: skip

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
    ("in",), ("in", "a"), ("in", "an"), ("wearing",), ("wearing", "a"), ("wearing", "an"), ("dressed", "in"),
    ("with", "a"), ("with", "an"), ("who", "wears", "a"), ("who", "wears", "an"), ("who", "wear"), ("painted",),
    ("that", "is"), ("that", "are"), ("which", "is"), ("is",), ("are",),
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Neighbouring words that mean one thing: `kind` noun, colour, number, adjective, article, setting, relation,
    side, garment or word (anything else); `value` depends on the kind; words `start` to `end - 1`."""

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
        count (int | None): when said by a number ("one", "two", "a pair of"; an article is not a number).
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


def pluralize(singular: str) -> str:
    """The plural of a regular noun, by its last letters: girl, bus, puppy give girls, buses, puppies."""
    if singular.endswith(("s", "x", "ch", "sh")):
        return singular + "es"
    if singular.endswith("y") and singular[-2] not in "aeou":
        return singular[:-1] + "ies"
    return singular + "s"


def plural_of(noun: Noun) -> str:
    """The plural of a noun of the lexicon."""
    return noun.plural or pluralize(noun.singular)


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
    for garment in _GARMENTS:
        add(garment, "garment", garment)
        add(pluralize(garment), "garment", garment)
    for side in ("left", "right"):
        for phrase in (f"on the {side}", f"on the {side} side", f"at the {side}"):
            add(phrase, "side", side)
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
    for word in _LOOSE_NUMBERS:
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
                spans.append(Span(entry[0], entry[1], start, start + length))
                break
        else:
            length = 1
            spans.append(Span("word", tokens[start], start, start + 1))
        start += length
    return spans


def _colour_after(tokens: Sequence[str], spans: list[Span], index: int) -> tuple[str, int] | None:
    """Colour said after the noun at `spans[index]` ("in a red dress") and where that phrase ends."""
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
        while first > 0 and spans[first - 1].kind in ("colour", "number", "adjective", "article"):
            first -= 1
            if spans[first].kind == "colour":
                colour = colour or spans[first].value
            elif spans[first].kind == "number":
                count = spans[first].value
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
