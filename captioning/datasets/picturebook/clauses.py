"""Statements about a picture: the main relation as a clause, a place after it, and what else there
is.

How much is said is the describer's `Manner`; what is said is always what the scene records.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from captioning.datasets.picturebook import frames
from captioning.datasets.picturebook.phrases import (
    ACTION_VERBS,
    ADVERBS,
    INVERSE_WORDS,
    RELATION_WORDS,
)
from captioning.datasets.picturebook.scene import ACTIONS, Entity, Relation, Scene
from captioning.datasets.picturebook.wording import (
    ANIMALS,
    FURNITURE,
    PEOPLE,
    Phrase,
    Style,
    finite_form,
    ing_form,
    is_airborne,
    is_moving,
    noun_phrase,
    pick,
    pick_word,
    place,
    state_of,
    state_verb,
)

VAGUE_RELATIONS = ("next to", "beside", "near", "close to", "alongside")


@dataclass(frozen=True)
class Manner:
    """What a describer tends to do; numbers are probabilities.

    Args:
        colour, look, vague (float): for each thing named, see `Style`.
        place (float): that the setting is named.
        extra (float): that a thing beside the main pair is named.
        exact (bool): whether relations are said exactly, never "near".
        turn (float): weight of frames that begin with the object, times their own.
        numbers (float): that a thing is named with a number, also when there is one of it.
    """

    colour: float
    look: float
    vague: float
    place: float
    extra: float
    exact: bool = False
    turn: float = 1.0
    numbers: float = 0.0


@dataclass(frozen=True)
class Clause:
    """The main statement of a caption and what it has named, in the order of the relation."""

    scene: Scene
    text: str
    named: tuple[Phrase, Phrase]


def make_clause(scene: Scene, manner: Manner, rng: random.Random, kind: str = "any") -> Clause:
    """State `relations[0]`.

    Args:
        scene (Scene): the picture.
        manner (Manner): how much is said of each thing.
        rng (random.Random): source of chance.
        kind (str): "whole" for a sentence, "fragment" for a noun with what follows, or "any".
    """
    relation = scene.relations[0]
    subject, thing = scene.entities[relation.subject], scene.entities[relation.object]
    verbs = {"s": state_verb(scene, subject, rng), "o": state_verb(scene, thing, rng)}
    options = [
        frame
        for frame in _frames(scene, relation, manner)
        if (kind == "any" or frame[1] == (kind == "whole"))
        and not ("{ing}" in frame[0] and not verbs["s"])
        and not ("{ing_o}" in frame[0] and not verbs["o"])
    ]
    if kind == "fragment":  # it comes after "with"
        options = [frame for frame in options if " with " not in frame[0]] or options
    text = pick_word(rng, [(frame[0], frame[2]) for frame in options])
    styles = _styles(scene, manner, rng, text)
    s = noun_phrase(scene, subject, styles["s"], rng)
    o = noun_phrase(scene, thing, styles["o"], rng)
    fields = _agreement(s, verbs["s"]) | {f"{k}_o": v for k, v in _agreement(o, verbs["o"]).items()}
    fields |= _relation_fields(scene, relation, manner, s, text, rng)
    left, right = (s, o) if relation.predicate == "left of" else (o, s)
    fields |= {"s": s.text, "o": o.text, "left": left.text, "right": right.text}
    fields |= {"be_left": left.be, "be_right": right.be}
    fields["adv"] = _adverb(scene, relation, subject, fields["v"], rng)
    return Clause(scene, text.format(**fields), (s, o))


def _styles(scene: Scene, manner: Manner, rng: random.Random, text: str) -> dict[str, Style]:
    """How subject and object are named in a frame, the one that comes first as if it were alone."""
    relation = scene.relations[0]
    subject, thing = scene.entities[relation.subject], scene.entities[relation.object]
    styles = {"s": make_style(manner, rng), "o": make_style(manner, rng)}
    if not text.startswith(("there", "{left}", "on the")) and rng.random() < 0.04:
        styles = {key: replace(style, definite=True, exact=False) for key, style in styles.items()}
    second = "o" if text.find("{s}") < text.find("{o}") else "s"
    if subject.category == thing.category:
        told_apart = styles["s"].colour and styles["o"].colour and subject.colour != thing.colour
        styles = {key: replace(style, vague=False, definite=False) for key, style in styles.items()}
        styles[second] = replace(styles[second], other=not told_apart)
    elif styles["s"].vague and styles["o"].vague:
        styles[second] = replace(styles[second], vague=False)
    return styles


def make_style(manner: Manner, rng: random.Random) -> Style:
    return Style(
        colour=rng.random() < manner.colour,
        look=rng.random() < manner.look,
        vague=rng.random() < manner.vague,
        exact=rng.random() < manner.numbers,
    )


def _frames(scene: Scene, relation: Relation, manner: Manner) -> list[frames.Frame]:
    """The frames that can tell a relation; `manner.turn` weights those that begin with the
    object."""
    name, thing = relation.predicate, scene.entities[relation.object]
    if name in ACTIONS:
        turned = frames.PASSIVE_FRAMES if any(verb[3] for verb in ACTION_VERBS[name]) else ()
        if name == "chasing" and thing.category in (*PEOPLE, *ANIMALS):
            turned += frames.FLIGHT_FRAMES
        return [*frames.ACTION_FRAMES, *frames.OWN_FRAMES[name], *_weighted(turned, manner.turn)]
    turned = ()
    if name in INVERSE_WORDS and not (name == "under" and thing.category in FURNITURE):
        turned += frames.INVERSE_FRAMES
    if name in ("on", "under", "above"):
        turned += frames.HOST_FRAMES
    if name in ("left of", "right of"):
        turned += frames.SIDE_FRAMES
    return [*frames.SPATIAL_FRAMES, *_weighted(turned, manner.turn)]


def _weighted(options: Iterable[frames.Frame], factor: float) -> list[frames.Frame]:
    return [(text, whole, weight * factor) for text, whole, weight in options]


def _agreement(phrase: Phrase, verb: str) -> dict[str, str]:
    """Words of a frame that agree with one noun phrase; `verb` "" means that only "be" fits."""
    return {
        "v": finite_form(verb, phrase.plural) if verb else phrase.be,
        "ing": ing_form(verb) if verb else "",
        "be": phrase.be,
        "have": phrase.have,
        "it": phrase.pronoun,
        "poss": phrase.possessive,
        "run": finite_form("fly" if phrase.entity.pose == "flying" else "run", phrase.plural),
        "running": "flying" if phrase.entity.pose == "flying" else "running",
        "flee": finite_form("flee", phrase.plural),
        "sit": finite_form("sit", phrase.plural),
        "who": "who" if phrase.entity.category in PEOPLE else "that",
    }


def _relation_fields(
    scene: Scene, relation: Relation, manner: Manner, subject: Phrase, text: str, rng: random.Random
) -> dict[str, str]:
    """The words of the relation itself: verb forms of an action, or prepositions."""
    name = relation.predicate
    if name not in ACTIONS:
        inverse = INVERSE_WORDS.get(name, RELATION_WORDS[name])
        return {
            "rel": pick_word(rng, _told(RELATION_WORDS[name], manner.exact)),
            "inv": pick_word(rng, _told(inverse, manner.exact)),
        }
    thing = scene.entities[relation.object].category
    airborne = is_airborne(scene, subject.entity)
    base, third, ing, done, _ = pick(
        rng,
        [
            (*verb[:4], verb[4])
            for verb in ACTION_VERBS[name]
            if (not verb[5] or thing in verb[5])
            and (verb[3] or "{done}" not in text)
            and verb[0] != ("run after" if airborne else "fly after")
        ],
    )
    act = base.replace("be ", "are ") if subject.plural else third
    hold = "hands" if thing == "ball" or rng.random() < 0.3 else "arms"
    return {"act": act, "acting": ing, "done": done, "hold": hold}


def _told(words: Iterable[tuple[str, float]], exact: bool) -> list[tuple[str, float]]:
    """The relation words a describer may use: who is exact does not say "near"."""
    return [word for word in words if not (exact and word[0] in VAGUE_RELATIONS)]


def _adverb(
    scene: Scene, relation: Relation, subject: Entity, verb: str, rng: random.Random
) -> str:
    """How it is done; "" when no adverb fits."""
    key = relation.predicate
    if key not in ACTIONS:
        state = state_of(scene, subject)
        key = "in the air" if is_airborne(scene, subject) else state.split()[-1]
        if verb.split()[0] in ("is", "are"):
            return ""
    options = ADVERBS.get(key, ())
    return pick_word(rng, options) if options else ""


def place_after(clause: Clause, manner: Manner, rng: random.Random) -> str:
    """The setting at the end of the main statement, or nothing."""
    if rng.random() >= manner.place:
        return ""
    entities = [phrase.entity for phrase in clause.named]
    name = clause.scene.relations[0].predicate
    moving = name == "chasing" or (name == "riding" and is_moving(entities[0]))
    return " " + place(clause.scene, entities, rng, moving)


def tail(clause: Clause, manner: Manner, rng: random.Random) -> str:
    """Something beside the main pair, or nothing."""
    named = [phrase.entity for phrase in clause.named]
    others = [entity for entity in clause.scene.entities if entity not in named]
    if not others or rng.random() >= manner.extra:
        return ""
    return tell_extra(clause, rng.choice(others), manner, rng)


def tell_extra(clause: Clause, extra: Entity, manner: Manner, rng: random.Random) -> str:
    """A thing beside the main pair, with its relation to the pair when the scene has one."""
    scene = clause.scene
    again = any(phrase.entity.category == extra.category for phrase in clause.named)
    style = replace(make_style(manner, rng), other=again, vague=False)
    phrase = noun_phrase(scene, extra, style, rng)
    fields = _agreement(phrase, state_verb(scene, extra, rng)) | {"e": phrase.text}
    link = None if again else _link(clause, extra)
    if link is None:
        options = frames.SKY_TAILS if is_airborne(scene, extra) else frames.LOOSE_TAILS
        return pick_word(rng, options).format(**fields)
    known, words = link
    fields["rel"] = pick_word(rng, _told(words, manner.exact))
    people = [p for p in (*clause.named, phrase) if p.entity.category in PEOPLE]
    by_pronoun = people == [known] and not known.plural and rng.random() < 0.6
    fields["m"] = known.pronoun if by_pronoun else known.again
    return pick_word(rng, frames.RELATED_TAILS).format(**fields)


def _link(clause: Clause, extra: Entity) -> tuple[Phrase, Iterable[tuple[str, float]]] | None:
    """What was named that an extra thing relates to, and the words for it; None when they would
    mislead."""
    named = {phrase.entity.entity_id: phrase for phrase in clause.named}
    if len({phrase.again for phrase in clause.named}) < len(named):
        return None  # "the birds" could be either
    for relation in clause.scene.relations[1:]:
        if relation.subject == extra.entity_id and relation.object in named:
            return named[relation.object], RELATION_WORDS.get(relation.predicate, ())
        if relation.object == extra.entity_id and relation.subject in named:
            return named[relation.subject], INVERSE_WORDS.get(relation.predicate, ())
    return None
