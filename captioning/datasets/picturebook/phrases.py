"""The phrases of the picture book, as data: relations, verbs, places. Nouns and adjectives are in
`lexicon.py`.

A weight says how often describers choose an option, compared with the others of its list.
"""

from __future__ import annotations

Weighted = tuple[tuple[str, float], ...]

# What relates X (said before) to Y (said after), and whether it is to be read as Y relation X.
RELATION_PHRASES: dict[str, tuple[str, bool]] = {
    "left of": ("left of", False),
    "to the left of": ("left of", False),
    "on the left of": ("left of", False),
    "at the left of": ("left of", False),
    "on the left side of": ("left of", False),
    "on the left-hand side of": ("left of", False),
    "right of": ("right of", False),
    "to the right of": ("right of", False),
    "on the right of": ("right of", False),
    "at the right of": ("right of", False),
    "on the right side of": ("right of", False),
    "on the right-hand side of": ("right of", False),
    "on": ("on", False),
    "on top of": ("on", False),
    "upon": ("on", False),
    "atop": ("on", False),
    "in": ("on", False),  # in a chair; read only when a noun follows
    "under": ("under", False),
    "underneath": ("under", False),
    "beneath": ("under", False),
    "below": ("under", False),
    "in front of": ("in front of", False),
    "before": ("in front of", False),
    "behind": ("in front of", True),
    "at the back of": ("in front of", True),
    "above": ("above", False),
    "over": ("above", False),
    "high above": ("above", False),
    "high over": ("above", False),
    "next to": ("beside", False),
    "beside": ("beside", False),
    "near": ("beside", False),
    "by": ("beside", False),
    "alongside": ("beside", False),
    "close to": ("beside", False),
    "after": ("chasing", False),
    "away from": ("chasing", True),
    "from": ("chasing", True),  # flees from
    "on the back of": ("riding", False),
    "the string of": ("flying", False),
}

# How describers say a relation (X ... Y) and its inverse (Y ... X).
RELATION_WORDS: dict[str, Weighted] = {
    "left of": (("to the left of", 14), ("left of", 3), ("on the left of", 2),
                ("on the left side of", 1), ("on the left-hand side of", 0.4), ("next to", 2),
                ("beside", 1.2), ("near", 0.8), ("close to", 0.4), ("alongside", 0.3)),
    "right of": (("to the right of", 14), ("right of", 3), ("on the right of", 2),
                 ("on the right side of", 1), ("on the right-hand side of", 0.4), ("next to", 2),
                 ("beside", 1.2), ("near", 0.8), ("close to", 0.4), ("alongside", 0.3)),
    "on": (("on", 10), ("on top of", 3), ("upon", 0.4), ("atop", 0.4)),
    "under": (("under", 9), ("underneath", 1.5), ("beneath", 1.2), ("below", 1)),
    "in front of": (("in front of", 12), ("near", 0.5), ("close to", 0.3)),
    "above": (("above", 9), ("over", 4), ("high above", 1.2), ("high over", 0.3)),
}  # fmt: skip
INVERSE_WORDS: dict[str, Weighted] = {
    "left of": RELATION_WORDS["right of"],
    "right of": RELATION_WORDS["left of"],
    "in front of": (("behind", 9),),
    "above": (("below", 3), ("under", 4), ("beneath", 2), ("underneath", 1)),
    "under": (("above", 9), ("over", 4)),
}

# Verbs of the actions: base, third person, -ing, participle ("" for no passive), weight, objects
# (empty: any).
ACTION_VERBS: dict[str, tuple[tuple[str, str, str, str, float, tuple[str, ...]], ...]] = {
    "holding": (
        ("hold", "holds", "holding", "held", 11, ()),
        ("carry", "carries", "carrying", "carried", 2.5, ()),
        ("clutch", "clutches", "clutching", "clutched", 0.6, ()),
        ("hug", "hugs", "hugging", "hugged", 1.5, ("teddy", "cat", "rabbit")),
    ),
    "chasing": (
        ("chase", "chases", "chasing", "chased", 12, ()),
        ("run after", "runs after", "running after", "", 3, ()),
        ("follow", "follows", "following", "followed", 0.8, ()),
        ("race after", "races after", "racing after", "", 0.6, ()),
        ("fly after", "flies after", "flying after", "", 3, ()),
        ("pursue", "pursues", "pursuing", "pursued", 0.5, ()),
    ),
    "flying": (
        ("fly", "flies", "flying", "flown", 14, ()),
        ("hold the string of", "holds the string of", "holding the string of", "", 0.8, ()),
        ("steer", "steers", "steering", "steered", 0.5, ()),
    ),
    "riding": (
        ("ride", "rides", "riding", "ridden", 13, ()),
        ("ride on", "rides on", "riding on", "", 2, ()),
        ("sit on", "sits on", "sitting on", "", 1, ()),
        ("pedal", "pedals", "pedalling", "pedalled", 1, ("bicycle",)),
        ("sit on the back of", "sits on the back of", "sitting on the back of", "", 0.8,
         ("horse",)),
    ),
    "sitting on": (
        ("sit on", "sits on", "sitting on", "", 12, ()),
        ("be seated on", "is seated on", "seated on", "", 1, ()),
        ("rest on", "rests on", "resting on", "", 1, ()),
        ("sit on top of", "sits on top of", "sitting on top of", "", 0.5, ()),
    ),
}  # fmt: skip
# Adverbs that fit an action or a state.
ADVERBS: dict[str, Weighted] = {
    "holding": (("proudly", 2), ("tightly", 2), ("carefully", 2), ("gently", 1)),
    "chasing": (("quickly", 3), ("eagerly", 2), ("playfully", 2), ("swiftly", 1)),
    "flying": (("happily", 2), ("proudly", 1), ("skilfully", 1), ("carefully", 1)),
    "riding": (("happily", 2), ("slowly", 2), ("proudly", 2), ("calmly", 1)),
    "sitting on": (("quietly", 3), ("calmly", 2), ("peacefully", 2), ("comfortably", 1)),
    "sitting": (("quietly", 3), ("calmly", 2), ("patiently", 2), ("peacefully", 1)),
    "standing": (("quietly", 2), ("patiently", 2), ("calmly", 2)),
    "perched": (("quietly", 2), ("calmly", 1), ("peacefully", 1)),
    "walking": (("slowly", 2), ("happily", 1), ("calmly", 1)),
    "running": (("quickly", 2), ("swiftly", 1), ("playfully", 1), ("happily", 1)),
    "in the air": (("slowly", 1), ("gracefully", 2), ("smoothly", 1)),
}

# What a thing does when it does nothing to another, by state (see `wording.state_of`).
STATE_VERBS: dict[str, Weighted] = {
    "standing": (("stand", 9), ("wait", 1.5)),
    "person standing": (("stand", 9), ("wait", 1), ("pose", 0.6)),
    "walking": (("walk", 9), ("stroll", 1.5), ("wander", 0.6)),
    "sitting": (("sit", 10), ("rest", 1)),
    "rabbit sitting": (("sit", 9), ("crouch", 1), ("rest", 0.6)),
    "dog running": (("run", 10), ("dash", 0.8), ("race", 0.8), ("sprint", 0.5)),
    "cat running": (("run", 10), ("dash", 0.8), ("scamper", 0.7)),
    "horse running": (("gallop", 5), ("run", 6), ("trot", 2)),
    "rabbit running": (("hop", 5), ("run", 5), ("leap", 1), ("bounce", 0.5)),
    "perched": (("sit", 5), ("perch", 4), ("rest", 0.8)),
    "bird flying": (("fly", 10), ("flutter", 2), ("glide", 1), ("soar", 1)),
    "parked": (("park", 8), ("stand", 3), ("wait", 1)),
    "bicycle": (("stand", 5), ("park", 5)),
    "afloat": (("float", 6), ("sail", 6), ("drift", 1.5)),
    "ashore": (("lie", 3), ("rest", 2)),
    "plane": (("fly", 11), ("glide", 1), ("soar", 1), ("cruise", 1)),
    "balloon": (("float", 7), ("hover", 3), ("drift", 2), ("fly", 2), ("hang", 0.6)),
    "kite": (("fly", 7), ("float", 2), ("flutter", 1.5), ("hover", 0.7)),
    "house": (("stand", 9),),
    "lighthouse": (("stand", 8), ("rise", 1), ("tower", 0.6)),
    "thing": (("lie", 5), ("rest", 2), ("sit", 0.8)),
    "furniture": (("stand", 6),),
    "unknown": (),
}

# Places, by setting. "land": on the ground itself, not for boats or what flies; "any": for all;
# "across": for what moves over the ground; "over": for what flies.
PLACES: dict[str, dict[str, Weighted]] = {
    "meadow": {
        "land": (("on the grass", 5), ("on green grass", 1), ("in the grass", 1.5),
                 ("on a lawn", 0.4)),
        "any": (("in a meadow", 6), ("in the meadow", 3), ("in a green meadow", 2),
                ("in a field", 3),
                ("in a grassy field", 1.2), ("in a green field", 1), ("in the countryside", 1),
                ("in a flowery meadow", 1), ("in a meadow full of flowers", 0.7)),
        "across": (("across the grass", 3), ("across a meadow", 3), ("through a field", 1),
                   ("across a green meadow", 1), ("through the grass", 1)),
        "over": (("over a meadow", 3), ("over the meadow", 2), ("over a green field", 1),
                 ("over the fields", 1),
                 ("high over the grass", 0.6)),
    },
    "beach": {
        "land": (("on the beach", 9), ("on a beach", 3), ("on the sand", 4),
                 ("on a sandy beach", 2)),
        "any": (("at the beach", 5), ("by the sea", 3), ("at the seaside", 2), ("near the sea", 1),
                ("on the coast", 0.7), ("at the seashore", 0.7)),
        "across": (("across the sand", 3), ("along the beach", 4), ("across the beach", 2),
                   ("along the shore", 1)),
        "over": (("over the beach", 4), ("over a beach", 1), ("over the sea", 1),
                 ("above the sand", 0.6)),
    },
    "snow": {
        "land": (("on the snow", 2), ("in deep snow", 0.8), ("on snowy ground", 0.8)),
        "any": (("in the snow", 9), ("on a snowy day", 2), ("in winter", 1.5),
                ("on a wintry day", 0.6),
                ("in the falling snow", 1), ("in a snowy landscape", 1),
                ("on a cold winter day", 0.8)),
        "across": (("through the snow", 4), ("across the snow", 4),
                   ("across a snowy landscape", 0.7)),
        "over": (("over the snow", 4), ("over a snowy landscape", 1.5), ("above the snow", 1)),
    },
    "street": {
        "land": (("on the road", 1), ("by the roadside", 0.4)),
        "any": (("on the street", 5), ("in the street", 5), ("on a city street", 2),
                ("in a street", 2),
                ("in town", 1.2), ("in the city", 1.5), ("in a quiet street", 0.8),
                ("on a town street", 0.4)),
        "across": (("down the street", 4), ("along the street", 3), ("through the town", 1),
                   ("along a city street", 1)),
        "over": (("over the street", 4), ("over the city", 1.5), ("over a town", 1.2),
                 ("above the street", 1)),
    },
    "living room": {
        "land": (),
        "any": (("in a living room", 8), ("in the living room", 7), ("in a sitting room", 1),
                ("in a lounge", 0.7),
                ("indoors", 2), ("in a cosy room", 1), ("in a room with a rug", 0.8),
                ("inside a room", 0.7)),
        "across": (("across the living room", 3), ("through the living room", 2),
                   ("across a room", 1)),
        "over": (("in a living room", 1),),
    },
    "harbour at night": {
        "land": (("on the quay at night", 2), ("on a moonlit quay", 1), ("on the dark quay", 0.7),
                 ("on the quayside at night", 0.6)),
        "any": (("in the harbour at night", 6), ("at a harbour at night", 3),
                ("by the harbour at night", 3),
                ("at night", 4), ("by the water at night", 1), ("in a port at night", 0.8),
                ("in the moonlight", 1.2), ("under a starry sky", 1), ("after dark", 0.8),
                ("by the docks at night", 0.6), ("under the moon and stars", 0.6)),
        "across": (("along the quay at night", 2), ("along the harbour at night", 3),
                   ("by moonlight", 0.6)),
        "over": (("over the harbour at night", 5), ("over the dark harbour", 1.5),
                 ("in the night sky", 2),
                 ("over the dark water", 0.8)),
    },
}  # fmt: skip

# Ways to begin with the setting: a whole sentence follows.
OPENINGS: dict[str, Weighted] = {
    "meadow": (("out in the countryside,", 1), ("among the flowers of a meadow,", 0.7),
               ("this is a meadow where", 1), ("in a meadow with flowers and trees,", 0.8)),
    "beach": (("down at the beach,", 1), ("this is a beach where", 1), ("down by the sea,", 1)),
    "snow": (("it is winter, and", 2), ("it is snowing, and", 2),
             ("there is snow everywhere, and", 1),
             ("this is a winter scene where", 0.8)),
    "street": (("out on the street,", 1), ("in the middle of town,", 1),
               ("this is a street where", 1)),
    "living room": (("inside,", 0.6), ("at home in the living room,", 1),
                    ("this is a living room where", 1)),
    "harbour at night": (("it is night at the harbour, and", 2), ("one night at the harbour,", 1),
                         ("the moon is shining, and", 1.2), ("it is dark, and", 1.2),
                         ("this is a harbour at night where", 0.8)),
}  # fmt: skip

# A setting as a noun, for "The picture shows a beach with ...".
SETTING_NOUNS: dict[str, Weighted] = {
    "meadow": (("a meadow", 3), ("a green meadow", 2), ("a field", 1), ("a grassy field", 1)),
    "beach": (("a beach", 4), ("a sandy beach", 2), ("a beach scene", 1)),
    "snow": (("a snowy landscape", 3), ("a winter scene", 2), ("a snowy scene", 1)),
    "street": (("a street", 3), ("a city street", 2), ("a street scene", 1),
               ("a road in town", 0.5)),
    "living room": (("a living room", 6), ("a cosy living room", 1), ("a room with a rug", 0.6)),
    "harbour at night": (("a harbour at night", 6), ("a moonlit harbour", 1),
                         ("a dark harbour", 1)),
}  # fmt: skip
