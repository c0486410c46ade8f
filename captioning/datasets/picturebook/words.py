"""The nouns and adjectives of the picture book, as data: every synonym the describers use.

No noun belongs to two categories. A weight says how often describers choose an option, compared
with the others of its list. Relations, verbs and places are in `phrases.py`; `lexicon.py` reads all
of them back.
"""

from __future__ import annotations

from dataclasses import dataclass

from captioning.datasets.picturebook.scene import SUPERCATEGORIES


@dataclass(frozen=True)
class Noun:
    """One name of a category.

    Args:
        singular (str): "boat".
        weight (float): how often describers choose it, compared with the other nouns of the
            category.
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
    "girl": (Noun("girl", 12), Noun("little girl", 2, sizes=_NOT_LARGE), Noun("young girl"),
             Noun("lass", 0.6)),
    "boy": (Noun("boy", 12), Noun("little boy", 2, sizes=_NOT_LARGE), Noun("young boy"),
            Noun("lad", 0.8)),
    "dog": (Noun("dog", 14), Noun("puppy", 5, sizes=_SMALL), Noun("pup", 2, sizes=_SMALL),
            Noun("hound", 0.8),
            Noun("doggy", 0.5)),
    "cat": (Noun("cat", 14), Noun("kitten", 5, sizes=_SMALL), Noun("kitty", 0.9),
            Noun("pussycat", 0.5)),
    "horse": (Noun("horse", 14), Noun("pony", 6, sizes=_SMALL), Noun("steed", 0.7)),
    "bird": (Noun("bird", 14), Noun("little bird", 2, sizes=_NOT_LARGE), Noun("songbird", 0.9),
             Noun("birdie", 0.5)),
    "rabbit": (Noun("rabbit", 9), Noun("bunny", 4), Noun("bunny rabbit", 0.6), Noun("hare", 0.5)),
    "car": (Noun("car", 14), Noun("motor car", 0.6), Noun("automobile", 0.8),
            Noun("saloon", 0.7, pose="saloon"),
            Noun("hatchback", 0.9, pose="hatchback"), Noun("sedan", 0.5, pose="saloon")),
    "bus": (Noun("bus", 12), Noun("coach", 0.9), Noun("school bus", 4, pose="school"),
            Noun("city bus", 2, pose="city")),
    "boat": (Noun("boat", 10), Noun("ship", 2), Noun("vessel", 0.5),
             Noun("sailing boat", 2, pose="sailing"),
             Noun("sailboat", 2, pose="sailing"), Noun("yacht", 0.7, pose="sailing"),
             Noun("steamboat", 2, pose="steam"),
             Noun("steamer", 1, pose="steam"), Noun("steamship", 0.8, pose="steam")),
    "bicycle": (Noun("bicycle", 7), Noun("bike", 7), Noun("pushbike", 0.5)),
    "plane": (Noun("plane", 9), Noun("airplane", 2), Noun("aeroplane", 2),
              Noun("aircraft", 0.7, plural="aircraft"),
              Noun("jet", 2, pose="jet"), Noun("airliner", 0.7, pose="jet"),
              Noun("propeller plane", 1, pose="propeller")),
    "house": (Noun("house", 12), Noun("cottage", 3, pose="cottage"),
              Noun("townhouse", 1, pose="tall"),
              Noun("dwelling", 0.3)),
    "lighthouse": (Noun("lighthouse", 14), Noun("beacon", 0.9), Noun("light tower", 0.5)),
    "ball": (Noun("ball", 14), Noun("toy ball", 0.7), Noun("rubber ball", 0.6)),
    "kite": (Noun("kite", 14), Noun("paper kite", 0.7), Noun("toy kite", 0.4)),
    "teddy": (Noun("teddy bear", 9), Noun("teddy", 4), Noun("toy bear", 0.9),
              Noun("stuffed bear", 0.8),
              Noun("plush bear", 0.5)),
    "chair": (Noun("chair", 14), Noun("armchair", 6, pose="armchair"),
              Noun("easy chair", 0.7, pose="armchair"),
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
    "boy": (("a {} shirt", "{} shirts", 8), ("a {} top", "{} tops", 1),
            ("a {} T-shirt", "{} T-shirts", 1)),
}  # fmt: skip
GARMENTS = ("dress", "frock", "shirt", "top", "t-shirt", "jumper", "outfit", "clothes")

# How many: (words, weight). Things come one to three of a kind; more are totals ("five animals").
NUMBER_WORDS: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("one", 10), ("a single", 1.5), ("only one", 0.3), ("just one", 0.3)),
    2: (("two", 12), ("a pair of", 1.5), ("a couple of", 1)),
    3: (("three", 12), ("a trio of", 1), ("a group of three", 1)),
    4: (("four", 1),),
    5: (("five", 1),),
    6: (("six", 1),),
}
LOOSE_NUMBERS = ("several", "some", "a few", "many", "a group of")

# Words of each setting. A word of two settings says less, but is not wrong in either.
SETTING_WORDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("meadow",): ("meadow", "meadows", "field", "fields", "grass", "grassy", "lawn", "countryside",
                  "pasture",
                  "flowery", "flowers"),
    ("beach",): ("beach", "sand", "sandy", "seaside", "seashore", "shore", "coast"),
    ("snow",): ("snow", "snowy", "winter", "wintry", "snow-covered", "snowing",
                "snowflakes"),
    ("street",): ("street", "streets", "road", "roadside", "town", "city", "pavement"),
    ("living room",): ("living room", "sitting room", "lounge", "parlour", "indoors", "room",
                       "carpet", "rug", "floor"),
    ("harbour at night",): ("harbour", "harbor", "port", "dock", "docks", "quay", "quayside",
                            "night", "night-time",
                            "dark", "evening", "moon", "moonlight", "moonlit", "stars", "starry"),
    ("beach", "harbour at night"): ("sea", "water", "waterside", "waterfront"),
}  # fmt: skip


def pluralize(singular: str) -> str:
    """The plural of a regular noun, by its last letters: girl, bus, puppy give girls, buses,
    puppies."""
    if singular.endswith(("s", "x", "ch", "sh")):
        return singular + "es"
    if singular.endswith("y") and singular[-2] not in "aeou":
        return singular[:-1] + "ies"
    return singular + "s"


def plural_of(noun: Noun) -> str:
    """The plural of a noun of the lexicon."""
    return noun.plural or pluralize(noun.singular)
