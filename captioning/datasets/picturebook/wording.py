"""From records to phrases about one thing: noun phrases, verb forms, places."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

from captioning.datasets.picturebook.phrases import PLACES, STATE_VERBS
from captioning.datasets.picturebook.scene import SUPERCATEGORIES, Entity, Scene
from captioning.datasets.picturebook.words import (
    CLOTHES,
    COLOUR_WORDS,
    NOUNS,
    NUMBER_WORDS,
    POSE_ADJECTIVES,
    SIZE_WORDS,
    VAGUE_NOUNS,
    plural_of,
)

PEOPLE = SUPERCATEGORIES["person"]
ANIMALS = SUPERCATEGORIES["animal"]
FURNITURE = SUPERCATEGORIES["furniture"]
_PAINTED = ("vehicle", "building", "furniture")  # what people say "painted blue" of
_DOUBLED = ("sit", "run", "hop", "trot")  # sitting, running
_ING = {"lie": "lying"}


@dataclass(frozen=True)
class Style:
    """How much a describer says of a thing.

    Args:
        colour (bool): say its colour.
        look (bool): say its size and what its pose or variant looks like, where there is a word for
            it.
        vague (bool): an animal, a vehicle ... instead of the category.
        exact (bool): say how many with a number, also for one.
        definite (bool): "the dog" instead of "a dog".
        other (bool): "another dog", because one was mentioned before.
    """

    colour: bool = False
    look: bool = False
    vague: bool = False
    exact: bool = False
    definite: bool = False
    other: bool = False


@dataclass(frozen=True)
class Phrase:
    """A noun phrase and what must agree with it.

    Args:
        text (str): "two girls in red dresses".
        again (str): how it is called when it comes up again: "the girls".
        plural (bool): whether a verb must be in the plural.
        entity (Entity): what it stands for.
    """

    text: str
    again: str
    plural: bool
    entity: Entity

    @property
    def be(self) -> str:
        """is or are."""
        return "are" if self.plural else "is"

    @property
    def have(self) -> str:
        """has or have."""
        return "have" if self.plural else "has"

    @property
    def pronoun(self) -> str:
        """The object pronoun: it, him, her or them."""
        if self.plural:
            return "them"
        return {"girl": "her", "boy": "him"}.get(self.entity.category, "it")

    @property
    def possessive(self) -> str:
        """The possessive pronoun: its, his, her or their."""
        if self.plural:
            return "their"
        return {"girl": "her", "boy": "his"}.get(self.entity.category, "its")


def pick(rng: random.Random, options: Iterable[tuple]) -> tuple:
    """One of the options by weight, the last item of each; ValueError when there are none."""
    options = [option for option in options if option[-1] > 0]
    if not options:
        raise ValueError("options: none received, at least one with a weight above 0 expected")
    return rng.choices(options, [option[-1] for option in options])[0]


def pick_word(rng: random.Random, options: Iterable[tuple[str, float]]) -> str:
    """The word of one of the (word, weight) options."""
    return pick(rng, options)[0]


def with_article(text: str) -> str:
    """The text with "a" or "an" before it, by the first sound of its first word."""
    return ("an " if text[0] in "aeio" else "a ") + text


def third_person(verb: str) -> str:
    """fly, rest, dash give flies, rests, dashes."""
    if verb.endswith("y") and verb[-2] not in "aeou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith(("s", "x", "ch", "sh")) else "s")


def ing_form(verb: str) -> str:
    """sit, race, fly give sitting, racing, flying; park gives parked, which is what a car is."""
    if verb == "park":
        return "parked"
    if verb in _ING:
        return _ING[verb]
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") else verb) + "ing"


def finite_form(verb: str, plural: bool) -> str:
    """The verb after a subject: stands or stand; park gives is parked or are parked."""
    if verb == "park":
        return "are parked" if plural else "is parked"
    return verb if plural else third_person(verb)


def is_airborne(scene: Scene, entity: Entity) -> bool:
    """Whether a thing is up in the air: planes, balloons, kites, flying birds."""
    held = any(
        (r.subject == entity.entity_id and r.predicate in ("on", "sitting on"))
        or (r.object == entity.entity_id and r.predicate in ("holding", "riding", "sitting on"))
        for r in scene.relations
    )
    if entity.category == "bird":
        return entity.pose == "flying" and not held
    return entity.category in ("plane", "balloon", "kite") and not held


def is_moving(entity: Entity) -> bool:
    """Whether a living thing moves over the ground."""
    return entity.pose in ("walking", "running", "riding")


def state_of(scene: Scene, entity: Entity) -> str:
    """What a thing is doing for itself: a key of `STATE_VERBS`."""
    category, pose = entity.category, entity.pose
    if any(entity.entity_id == r.object and r.predicate == "holding" for r in scene.relations):
        return "unknown"
    if any(entity.entity_id == r.subject and r.predicate == "riding" for r in scene.relations):
        return "unknown"
    if category in PEOPLE:
        return pose if pose in ("walking", "sitting") else "person standing"
    if category in ("dog", "cat", "horse", "rabbit"):
        if pose == "running":
            return f"{category} running"
        return "rabbit sitting" if category == "rabbit" else pose or "standing"
    if category == "bird":
        return "bird flying" if is_airborne(scene, entity) else "perched"
    if category in ("plane", "balloon", "kite"):
        return category if is_airborne(scene, entity) else "unknown"
    if any(entity.entity_id == r.object and r.predicate == "riding" for r in scene.relations):
        return "unknown"
    if category == "boat":
        resting = any(
            r.subject == entity.entity_id and r.predicate == "on" for r in scene.relations
        )
        wet = scene.setting in ("beach", "harbour at night")
        return "afloat" if wet and not resting else "ashore"
    if category == "teddy":
        return "standing" if pose == "standing" else "sitting"
    if category in FURNITURE:
        return "furniture"
    return {"car": "parked", "bus": "parked", "ball": "thing"}.get(category, category)


def state_verb(scene: Scene, entity: Entity, rng: random.Random) -> str:
    """The base form of a verb that fits the state of a thing; "" when only "be" does."""
    verbs = STATE_VERBS[state_of(scene, entity)]
    return pick_word(rng, verbs) if verbs else ""


def place(
    scene: Scene, entities: Iterable[Entity], rng: random.Random, moving: bool = False
) -> str:
    """A phrase that says where these things are, e.g. "on the sand".

    Args:
        scene (Scene): gives the setting.
        entities (Iterable[Entity]): what the phrase is said of.
        rng (random.Random): source of chance.
        moving (bool): whether what is said of them is a movement over the ground.
    """
    entities = list(entities)
    places = PLACES[scene.setting]
    if all(is_airborne(scene, entity) for entity in entities):
        return pick_word(rng, places["over"] if rng.random() < 0.7 else places["any"])
    grounded = not any(is_airborne(scene, e) or e.category == "boat" for e in entities)
    if moving and grounded and rng.random() < 0.4:
        return pick_word(rng, places["across"])
    return pick_word(rng, (*places["land"], *places["any"]) if grounded else places["any"])


def _noun(entity: Entity, style: Style, rng: random.Random) -> tuple[str, str]:
    """A name of a thing, singular and plural."""
    adjectives = entity.category not in PEOPLE and (style.colour or style.look)
    vague = [
        n for members, group in VAGUE_NOUNS.items() if entity.category in members for n in group
    ]
    nouns = [
        noun
        for noun in NOUNS[entity.category]
        if noun.pose in ("", entity.pose)
        and (not noun.sizes or entity.size in noun.sizes)
        and not (adjectives and noun.singular.startswith("little"))
    ]
    nouns = vague if vague and style.vague else nouns
    noun, _ = pick(rng, [(noun, noun.weight) for noun in nouns])
    return noun.singular, plural_of(noun)


def _size_word(entity: Entity, rng: random.Random) -> str:
    options = SIZE_WORDS[entity.size]
    if entity.category in PEOPLE and options:
        options = (("tall", 1),) if entity.size == "large" else options[:2]
    return pick_word(rng, options) if options else ""


def _dressed(entity: Entity, colour: str, rng: random.Random) -> str:
    """The colour of a person as words after the noun: "in a red dress", "dressed in red"."""
    one, many, _ = pick(rng, CLOTHES[entity.category])
    garment = many.format(colour) if entity.count > 1 else with_article(one.format(colour)[2:])
    form = pick_word(
        rng, (("in {g}", 6), ("wearing {g}", 5), ("dressed in {c}", 1.5), ("in {c}", 2))
    )
    plain = colour if colour.isalpha() else COLOUR_WORDS[entity.colour][0][0]  # not "in snow-white"
    return form.format(g=garment, c=plain)


def _amount(entity: Entity, text: str, style: Style, rng: random.Random) -> str:
    """The number or article before the adjectives and the noun."""
    if style.definite:
        return (
            f"the {NUMBER_WORDS[entity.count][0][0]} {text}" if entity.count > 1 else f"the {text}"
        )
    if style.other:
        return (
            f"{NUMBER_WORDS[entity.count][0][0]} other {text}"
            if entity.count > 1
            else f"another {text}"
        )
    if entity.count == 1 and not style.exact:
        return with_article(text)
    if entity.count > 1 and not style.exact and rng.random() < 0.06:
        return rng.choice(("some ", "")) + text
    return f"{pick_word(rng, NUMBER_WORDS[entity.count])} {text}"


def noun_phrase(scene: Scene, entity: Entity, style: Style, rng: random.Random) -> Phrase:
    """A noun phrase for one entity.

    Args:
        scene (Scene): the picture, for what the entity is doing.
        entity (Entity): one of its entities.
        style (Style): how much to say.
        rng (random.Random): source of chance.
    """
    singular, plural = _noun(entity, style, rng)
    noun = plural if entity.count > 1 else singular
    before, after = [], ""
    if style.look:
        looks = POSE_ADJECTIVES.get((entity.category, entity.pose), ())
        if entity.category == "bird" and not is_airborne(scene, entity):
            looks = ()
        size = "" if singular.startswith(("little", "young")) else _size_word(entity, rng)
        before += [word for word in (size, rng.choice(looks) if looks else "") if word]
        before = before if len(before) < 2 or rng.random() < 0.3 else [rng.choice(before)]
    if style.colour:
        colour = pick_word(rng, COLOUR_WORDS[entity.colour])
        painted = any(entity.category in SUPERCATEGORIES[group] for group in _PAINTED)
        if entity.category in PEOPLE:
            after = " " + _dressed(entity, colour, rng)
        elif painted and rng.random() < 0.05:
            after = f" painted {colour}"
        else:
            before.append(colour)
    if "wooden" in before:  # after the colour
        before.remove("wooden")
        before.append("wooden")
    text = _amount(entity, " ".join([*before, noun]), style, rng)
    return Phrase(text + after, f"the {noun}", entity.count > 1, entity)
