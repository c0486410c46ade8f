"""Thinks pictures up: which things, in which colours, doing what, where.

A *combination* is (category of the subject, its colour, predicate). About a sixth of all
combinations are held out: no train picture shows one in any of its relations, also not when the
relation is read the other way round ("left of" for "right of") or less exactly ("on" for "sitting
on"). The `novel` pictures of val and test are about one of them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from captioning.datasets.picturebook.scene import (
    CATEGORIES,
    COLOURS,
    POSES,
    SIZES,
    Entity,
    Relation,
    Scene,
)

HELD_OUT_SHARE = 0.17

# Which things are at home where; a category missing in a setting is never drawn there.
AT_HOME: dict[str, tuple[str, ...]] = {
    "meadow": tuple(
        "girl boy dog cat horse bird rabbit car bicycle plane house ball kite teddy".split()
    )
    + ("chair", "table", "balloon"),
    "beach": tuple(
        "girl boy dog cat horse bird boat bicycle plane lighthouse ball kite teddy".split()
    )
    + ("chair", "table", "balloon"),
    "snow": tuple("girl boy dog cat horse bird rabbit car bus plane house ball kite teddy".split())
    + ("balloon",),
    "street": tuple("girl boy dog cat horse bird car bus bicycle plane house ball balloon".split()),
    "living room": tuple("girl boy dog cat bird rabbit ball teddy chair table".split()),
    "harbour at night": tuple("girl boy dog cat bird boat bicycle plane lighthouse ball".split())
    + ("balloon", "car"),
}
# How often a setting is chosen among those where a pair is at home: the living room and the harbour
# are at home to few pairs.
SETTING_WEIGHTS: dict[str, float] = {
    "meadow": 1.0,
    "beach": 1.1,
    "snow": 1.0,
    "street": 1.1,
    "living room": 2.0,
    "harbour at night": 1.5,
}

PEOPLE = ("girl", "boy")
FLYERS = ("bird", "plane", "balloon", "kite")
ALWAYS_FLYING = ("plane", "balloon", "kite")
STANDERS = tuple(c for c in CATEGORIES if c not in ALWAYS_FLYING)
SMALL_THINGS = ("cat", "rabbit", "ball", "teddy", "bird", "dog")
BACKGROUNDS = ("horse", "car", "bus", "bicycle", "house", "lighthouse", "table", "chair", "boat")

# (predicate, subjects, objects): everything that makes sense and can be drawn.
PAIRS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("left of", STANDERS, STANDERS),
    ("left of", ALWAYS_FLYING, ALWAYS_FLYING),
    ("right of", STANDERS, STANDERS),
    ("right of", ALWAYS_FLYING, ALWAYS_FLYING),
    ("on", ("bird", "cat"), ("house", "car", "bus", "chair", "table")),
    ("on", ("bird",), ("horse", "lighthouse", "boat")),
    ("on", ("ball", "teddy", "dog"), ("chair", "table")),
    ("under", SMALL_THINGS, ("table",)),
    ("under", ("girl", "boy", "dog", "cat", "horse", "rabbit", "car", "boat"), FLYERS),
    ("under", ("bus", "bicycle", "house", "table", "chair"), FLYERS),
    ("in front of", (*PEOPLE, *SMALL_THINGS, "bicycle", "horse", "chair"), BACKGROUNDS),
    ("in front of", ("car", "bus"), ("house",)),
    ("in front of", ("boat",), ("boat",)),
    ("above", FLYERS, (*PEOPLE, "dog", "horse", "car", "bus", "boat", "bicycle", "house", "table")),
    ("holding", PEOPLE, ("ball", "teddy", "cat", "rabbit", "bird")),
    ("chasing", ("dog", "cat", "horse", "rabbit", "girl", "boy"), ("dog", "cat", "ball", "bird")),
    ("chasing", ("dog", "cat", "girl", "boy"), ("rabbit", "horse", "bicycle", "car")),
    ("chasing", ("bird",), ("kite", "plane", "balloon", "bird")),
    ("flying", PEOPLE, ("kite",)),
    ("riding", (*PEOPLE, "teddy"), ("horse", "bicycle")),
    ("sitting on", (*PEOPLE, "cat", "dog", "teddy"), ("chair", "table")),
    ("sitting on", ("rabbit",), ("chair", "table")),
)
PREDICATE_WEIGHTS: dict[str, float] = {
    "left of": 10,
    "right of": 10,
    "on": 9,
    "under": 9,
    "in front of": 10,
    "above": 10,
    "holding": 10,
    "chasing": 10,
    "flying": 7,
    "riding": 9,
    "sitting on": 11,
}
# Categories with few roles are asked for more often in the roles they have.
CATEGORY_WEIGHTS: dict[str, float] = {
    "girl": 0.8,
    "boy": 0.8,
    "cat": 0.9,
    "bird": 0.7,
    "car": 1.1,
    "bus": 2.5,
    "boat": 2.2,
    "house": 1.8,
    "lighthouse": 3.5,
    "plane": 1.5,
    "kite": 1.3,
    "balloon": 1.5,
    "rabbit": 1.1,
}
CONVERSE = {"left of": "right of", "right of": "left of", "above": "under", "under": "above"}
IMPLIED = {"sitting on": "on", "riding": "on"}

# Page units (the page is 128 wide) taken by one of medium size: how full a picture gets.
ROOM: dict[str, float] = {
    **dict.fromkeys(("girl", "boy"), 28),
    **dict.fromkeys(("dog", "cat", "teddy", "chair"), 28),
    **dict.fromkeys(("rabbit", "bird", "ball"), 22),
    **dict.fromkeys(("horse", "bicycle", "house", "boat"), 48),
    **dict.fromkeys(("car", "plane", "table"), 50),
    **dict.fromkeys(("bus",), 62),
    **dict.fromkeys(("kite", "balloon"), 30),
    "lighthouse": 42,
}
MAX_ROOM = 116.0
SIZE_FACTOR = {"small": 0.8, "medium": 1.0, "large": 1.22}


def combination(scene: Scene) -> tuple[str, str, str]:
    """What a picture is about: category and colour of the main subject, and the predicate."""
    main = scene.relations[0]
    subject = scene.entities[main.subject]
    return subject.category, subject.colour, main.predicate


@cache
def is_held_out(category: str, colour: str, predicate: str) -> bool:
    """Whether a combination is kept out of train; depends on nothing but its words."""
    digest = hashlib.sha256(f"{category}/{colour}/{predicate}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def statements(scene: Scene) -> Iterator[tuple[str, str, str]]:
    """Every combination that a true caption of the scene's relations could state."""
    for relation in scene.relations:
        subject, other = scene.entities[relation.subject], scene.entities[relation.object]
        yield subject.category, subject.colour, relation.predicate
        if relation.predicate in CONVERSE:
            yield other.category, other.colour, CONVERSE[relation.predicate]
        if relation.predicate in IMPLIED:
            yield subject.category, subject.colour, IMPLIED[relation.predicate]


def sample_scene(image_id: int, rng: random.Random, novel: bool = False) -> Scene:
    """Think up one picture.

    Args:
        image_id (int): goes into the record.
        rng (random.Random): the only source of chance.
        novel (bool): True for a picture about a held-out combination; False for one without any.

    Returns:
        Scene: without instances; `captioning.datasets.picturebook.drawing.draw_scene` adds them.
    """
    while True:
        scene = _propose(image_id, rng)
        if novel:
            if is_held_out(*combination(scene)):
                return replace(scene, novel=True)
        elif not any(is_held_out(*statement) for statement in statements(scene)):
            return scene


def _propose(image_id: int, rng: random.Random) -> Scene:
    predicate = _choice(rng, PREDICATE_WEIGHTS)
    subject, other = _choice(rng, _pairs(predicate))
    setting = _choice(
        rng,
        {s: w for s, w in SETTING_WEIGHTS.items() if subject in AT_HOME[s] and other in AT_HOME[s]},
    )
    entities = _main_entities(rng, predicate, subject, other)
    scene = Scene(image_id, setting, entities, [Relation(0, predicate, 1)])
    for _ in range(rng.choices((0, 1, 2), (0.2, 0.5, 0.3))[0]):
        _add_extra(scene, rng)
    return scene


def _choice(rng: random.Random, weights: dict):
    return rng.choices(list(weights), list(weights.values()))[0]


@cache
def _pairs(predicate: str) -> dict[tuple[str, str], float]:
    """The pairs of categories a predicate can join, that share a setting, and their weights."""
    weights = {}
    for name, subjects, objects in PAIRS:
        if name != predicate:
            continue
        for subject in subjects:
            for other in objects:
                shared = any(subject in home and other in home for home in AT_HOME.values())
                crowded = ROOM[subject] + ROOM[other] > 100 and name in ("left of", "right of")
                if shared and not crowded and (subject != other or name == "chasing"):
                    weight = CATEGORY_WEIGHTS.get(subject, 1) * CATEGORY_WEIGHTS.get(other, 1)
                    weights[subject, other] = weight
    return weights


def _main_entities(rng: random.Random, predicate: str, subject: str, other: str) -> list[Entity]:
    """The two things the picture is about, posed for what they do."""
    facing = rng.choice(("left", "right"))
    colours = rng.sample(COLOURS, 2)
    sizes = [rng.choices(SIZES, (1, 2, 1))[0] for _ in range(2)]
    counts = _main_counts(rng, predicate, subject, other)
    poses = [
        _pose(rng, subject, predicate, is_subject=True, other=other),
        _pose(rng, other, predicate, is_subject=False, other=subject),
    ]
    together = predicate in ("chasing", "riding", "holding", "flying", "sitting on")
    facings = [facing, facing if together else rng.choice(("left", "right"))]
    return [
        Entity(i, name, colours[i], sizes[i], counts[i], poses[i], facings[i])
        for i, name in enumerate((subject, other))
    ]


def _main_counts(rng: random.Random, predicate: str, subject: str, other: str) -> tuple[int, int]:
    """How many of each; most often one, and never more than there is room for."""
    counts = [1, 1]
    if predicate in ("holding", "riding", "flying", "sitting on"):
        return 1, 1
    if predicate in ("on", "under", "above", "in front of"):
        can_be_many = [subject in (*SMALL_THINGS, *FLYERS, *PEOPLE), False]
        if other in ("house", "car", "bus", "table") or subject in ("bird", "ball"):
            can_be_many[0] = can_be_many[0] and not (subject == "dog" and predicate == "on")
        if predicate in ("on", "under") and other in ("chair", "lighthouse", "boat", "horse"):
            can_be_many[0] = False
    else:
        can_be_many = [True, True]
    index = rng.randint(0, 1)
    count = rng.choices((1, 2, 3), (0.4, 0.35, 0.25))[0]
    room = ROOM[(subject, other)[index]]
    fixed = ROOM[(subject, other)[1 - index]] if predicate not in ("on", "above") else 0
    if can_be_many[index]:
        while count > 1 and room * count * 0.85 + fixed > MAX_ROOM - 6:
            count -= 1
        counts[index] = count
    return counts[0], counts[1]


def _pose(rng: random.Random, category: str, predicate: str, is_subject: bool, other: str) -> str:
    """A pose or variant that agrees with what the thing does."""
    people_poses = {
        "holding": "holding",
        "flying": "holding",
        "riding": "riding",
        "sitting on": "sitting",
        "chasing": "walking",
    }
    if category in PEOPLE:
        if predicate in people_poses and (is_subject or predicate == "chasing"):
            return people_poses[predicate]
        return rng.choice(("standing", "standing", "walking"))
    if category == "bird":
        airborne = (
            (predicate == "above" and is_subject)
            or predicate == "chasing"
            or (predicate == "under" and not is_subject)
        )
        return "flying" if airborne else "perched"
    if predicate == "chasing" and "running" in POSES[category]:
        return "running"
    if category == "teddy":
        return "standing" if predicate in ("on", "under") else "sitting"
    if predicate == "sitting on" and is_subject:
        return "sitting"
    if category in ("dog", "cat"):
        if predicate == "on":
            return "standing"
        if predicate == "holding":
            return "sitting"
        return rng.choice(("standing", "sitting"))
    if category in ("horse", "rabbit"):
        return "running" if predicate == "riding" and rng.random() < 0.5 else POSES[category][0]
    if category == "chair" and predicate == "sitting on" and other in PEOPLE:
        return "wooden" if rng.random() < 0.7 else "armchair"
    return rng.choice(POSES[category])


# --- extra things ------------------------------------------------------------------------------


def _is_airborne(entity: Entity) -> bool:
    return entity.category in ALWAYS_FLYING or (entity.category, entity.pose) == ("bird", "flying")


def _room(entity: Entity) -> float:
    return ROOM[entity.category] * SIZE_FACTOR[entity.size] * (1 + 0.85 * (entity.count - 1))


def _ground_room(scene: Scene) -> float:
    """Page units the things on the ground take side by side."""
    total = 0.0
    main = scene.relations[0]
    for entity in scene.entities:
        stacked = entity.entity_id == main.subject and main.predicate in (
            *("on", "under", "riding", "sitting on", "holding", "above", "in front of"),
        )
        if _is_airborne(entity):
            total += 0.35 * _room(entity)
        elif not stacked:
            total += _room(entity)
    return total + (14 if main.predicate in ("holding", "in front of", "flying") else 0)


def _add_extra(scene: Scene, rng: random.Random) -> None:
    """Add one more thing beside or above the main pair, with its relation, if there is room."""
    main = scene.relations[0]
    used = {entity.category for entity in scene.entities}
    airborne = [e.entity_id for e in scene.entities if _is_airborne(e)]
    grounded = [e.entity_id for e in scene.entities[:2] if not _is_airborne(e)]
    choices = {
        c: CATEGORY_WEIGHTS.get(c, 1) / (2 if c in (*PEOPLE, *SMALL_THINGS) else 1)
        for c in AT_HOME[scene.setting]
        if c not in used
    }
    category = _choice(rng, choices)
    flies = category in ALWAYS_FLYING or (category == "bird" and rng.random() < 0.4)
    sky_is_free = not airborne and main.predicate not in (
        "on",
        "riding",
        "flying",
        "above",
        "under",
    )
    if flies and not (sky_is_free and grounded and scene.setting != "living room"):
        return
    extra = Entity(
        entity_id=len(scene.entities),
        category=category,
        colour=rng.choice([c for c in COLOURS if c not in {e.colour for e in scene.entities}]),
        size=rng.choices(SIZES, (1, 2, 1))[0],
        count=rng.choices((1, 2, 3), (0.5, 0.3, 0.2))[0],
        pose="flying" if category == "bird" and flies else _extra_pose(rng, category),
        facing=rng.choice(("left", "right")),
    )
    extra = _shrunk_to_fit(extra, MAX_ROOM - (0 if flies else _ground_room(scene)))
    if extra is None:
        return
    if flies:
        predicate, target = "above", rng.choice(grounded)
    else:
        predicate, target = rng.choice(("left of", "right of")), rng.choice(grounded or [0])
        if not grounded:
            predicate = "under"
    if (
        any(r.predicate == "under" and r.subject > 1 for r in scene.relations)
        and predicate == "under"
    ):
        return
    scene.entities.append(extra)
    scene.relations.append(Relation(extra.entity_id, predicate, target))


def _extra_pose(rng: random.Random, category: str) -> str:
    if category == "bird":
        return "perched"
    if category in PEOPLE:
        return rng.choice(("standing", "walking"))
    return rng.choice([p for p in POSES[category] if p != "running"])


def _shrunk_to_fit(entity: Entity, room: float) -> Entity | None:
    """The entity with fewer copies, or smaller, until it fits; None when it never does."""
    while entity.count > 1 and _room(entity) > room:
        entity = replace(entity, count=entity.count - 1)
    if _room(entity) > room and entity.size != "small":
        entity = replace(entity, size="small")
    return entity if _room(entity) <= room else None
