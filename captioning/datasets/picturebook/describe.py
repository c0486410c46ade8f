"""Five captions of a picture, by five describers who notice different things; all true to the scene.

brief: what the picture is about, little else. colours: with colours and looks. relation: who is where, or does
what to whom. setting first: where it is. counting: how many there are. They share nouns and verbs often enough
to agree like people do, and differ in syntax, synonyms and in what they leave out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from captioning.datasets.picturebook import frames
from captioning.datasets.picturebook.lexicon import NUMBER_WORDS, VAGUE_NOUNS, plural_of
from captioning.datasets.picturebook.phrases import (
    ACTION_VERBS,
    ADVERBS,
    INVERSE_WORDS,
    OPENINGS,
    RELATION_WORDS,
    SETTING_NOUNS,
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

MIN_WORDS, MAX_WORDS = 5, 20
VAGUE_RELATIONS = ("next to", "beside", "near", "close to", "alongside")
_ATTEMPTS = 200


@dataclass(frozen=True)
class Manner:
    """What a describer tends to do; numbers are probabilities.

    Args:
        colour, look, vague (float): for each thing named, see `Style`.
        place (float): that the setting is named.
        extra (float): that a thing beside the main pair is named.
        exact (bool): whether numbers and relations are said exactly.
        turn (float): weight of frames that begin with the object, times their own.
        whole (bool): whether only whole sentences will do.
    """

    colour: float
    look: float
    vague: float
    place: float
    extra: float
    exact: bool = False
    turn: float = 1.0
    whole: bool = False


BRIEF = Manner(colour=0.12, look=0.08, vague=0.12, place=0.35, extra=0.0)
COLOURS = Manner(colour=0.97, look=0.25, vague=0.02, place=0.3, extra=0.25)
RELATION = Manner(colour=0.35, look=0.12, vague=0.05, place=0.25, extra=0.5, exact=True, turn=2.0)
SETTING_FIRST = Manner(colour=0.4, look=0.1, vague=0.04, place=0.0, extra=0.25, whole=True)
COUNTING = Manner(colour=0.35, look=0.08, vague=0.03, place=0.45, extra=0.3, exact=True)


def describe(scene: Scene, rng: random.Random) -> list[str]:
    """Five different captions of a picture, from five describers, in shuffled order.

    Args:
        scene (Scene): what there is to say; `relations[0]` is what the picture is about.
        rng (random.Random): source of chance; equal states give equal captions.

    Returns:
        list[str]: sentences of 5 to 20 words with a capital and a full stop.

    Raises:
        ValueError: the scene has no relation.
    """
    if not scene.relations:
        raise ValueError(f"scene: picture {scene.image_id} has no relation, at least one expected")
    captions: list[str] = []
    for describer in (_brief, _colours, _relation, _setting_first, _counting):
        captions.append(_caption(describer, scene, rng, captions))
    rng.shuffle(captions)
    return captions


def _caption(
    describer: Callable[[Scene, random.Random], str],
    scene: Scene,
    rng: random.Random,
    known: list[str],
) -> str:
    """Ask a describer until the caption has the right length and nobody said it before."""
    for _ in range(_ATTEMPTS):
        caption = _sentence(describer(scene, rng))
        if MIN_WORDS <= len(caption.split()) <= MAX_WORDS and caption not in known:
            return caption
    raise RuntimeError(f"picture {scene.image_id}: no caption of {MIN_WORDS} to {MAX_WORDS} words")


def _sentence(text: str) -> str:
    """Single spaces, a capital, a full stop."""
    text = re.sub(r" +([,:])", r"\1", " ".join(text.split()))
    return text[0].upper() + text[1:] + "."


def _brief(scene: Scene, rng: random.Random) -> str:
    clause = _clause(scene, BRIEF, rng)
    return clause.text + _place_after(clause, BRIEF, rng)


def _colours(scene: Scene, rng: random.Random) -> str:
    clause = _clause(scene, COLOURS, rng)
    return clause.text + _place_after(clause, COLOURS, rng) + _tail(clause, COLOURS, rng)


def _relation(scene: Scene, rng: random.Random) -> str:
    clause = _clause(scene, RELATION, rng)
    return clause.text + _place_after(clause, RELATION, rng) + _tail(clause, RELATION, rng)


def _setting_first(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.25:
        clause = _clause(scene, SETTING_FIRST, rng, "fragment")
        opening = pick_word(rng, SETTING_NOUNS[scene.setting])
        opening = pick_word(rng, (("{} with", 5), ("the picture shows {} with", 1))).format(opening)
    else:
        clause = _clause(scene, SETTING_FIRST, rng, "whole")
        if rng.random() < 0.3:
            opening = pick_word(rng, OPENINGS[scene.setting])
        else:
            opening = place(scene, [named.entity for named in clause.named], rng) + ","
    return f"{opening} {clause.text}" + _tail(clause, SETTING_FIRST, rng)


def _counting(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.45:
        clause = _clause(scene, COUNTING, rng)
        return clause.text + _place_after(clause, COUNTING, rng) + _tail(clause, COUNTING, rng)
    first = scene.relations[0]
    pair = [scene.entities[first.subject], scene.entities[first.object]]
    others = [entity for entity in scene.entities if entity not in pair]
    chosen = pair + [entity for entity in others if rng.random() < 0.6]
    if rng.random() < 0.6:
        rng.shuffle(chosen)
    phrases: list[Phrase] = []
    for entity in chosen:
        again = any(phrase.entity.category == entity.category for phrase in phrases)
        style = replace(_style(COUNTING, rng), other=again, vague=False)
        phrases.append(noun_phrase(scene, entity, style, rng))
    total = _total(scene, chosen, rng) if rng.random() < 0.25 else ""
    options = frames.TOTAL_FRAMES if total else frames.LIST_FRAMES
    if any(is_airborne(scene, entity) for entity in chosen):
        options = tuple(option for option in options if "are {place}" not in option[0])
    return pick_word(rng, options).format(
        list=_join([phrase.text for phrase in phrases]),
        be=phrases[0].be,
        place=place(scene, chosen, rng),
        setting=pick_word(rng, SETTING_NOUNS[scene.setting]),
        total=total,
    )


def _join(items: list[str]) -> str:
    """a, b and c."""
    return ", ".join(items[:-1]) + " and " + items[-1]


def _total(scene: Scene, chosen: list[Entity], rng: random.Random) -> str:
    """ "five animals" when all chosen things have such a word and nothing else in the scene has; else ""."""
    options = []
    for members, nouns in VAGUE_NOUNS.items():
        group = [entity for entity in scene.entities if entity.category in members]
        if group and sorted(e.entity_id for e in group) == sorted(e.entity_id for e in chosen):
            count = sum(entity.count for entity in group)
            words = NUMBER_WORDS.get(count, ())[:1]
            options += [
                (f"{word} {plural_of(noun)}", noun.weight) for word, _ in words for noun in nouns
            ]
    return pick_word(rng, options) if options else ""


def _style(manner: Manner, rng: random.Random) -> Style:
    return Style(
        colour=rng.random() < manner.colour,
        look=rng.random() < manner.look,
        vague=rng.random() < manner.vague,
        exact=manner is COUNTING and rng.random() < 0.75,
    )


def _styles(scene: Scene, manner: Manner, rng: random.Random, text: str) -> dict[str, Style]:
    """How subject and object are named in a frame, the one that comes first as if it were alone."""
    relation = scene.relations[0]
    subject, thing = scene.entities[relation.subject], scene.entities[relation.object]
    styles = {"s": _style(manner, rng), "o": _style(manner, rng)}
    if not text.startswith(("there", "{left}", "on the")) and rng.random() < 0.05:
        styles = {key: replace(style, definite=True, exact=False) for key, style in styles.items()}
    second = "o" if text.find("{s}") < text.find("{o}") else "s"
    if subject.category == thing.category:
        told_apart = styles["s"].colour and styles["o"].colour and subject.colour != thing.colour
        styles = {key: replace(style, vague=False, definite=False) for key, style in styles.items()}
        styles[second] = replace(styles[second], other=not told_apart)
    elif styles["s"].vague and styles["o"].vague:
        styles[second] = replace(styles[second], vague=False)
    return styles


@dataclass(frozen=True)
class Clause:
    """The main statement of a caption and what it has named, in the order of the relation."""

    scene: Scene
    text: str
    named: tuple[Phrase, Phrase]


def _clause(scene: Scene, manner: Manner, rng: random.Random, kind: str = "any") -> Clause:
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


def _frames(scene: Scene, relation: Relation, manner: Manner) -> list[frames.Frame]:
    """The frames that can tell a relation, those that begin with the object weighted by `manner.turn`."""
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


def _place_after(clause: Clause, manner: Manner, rng: random.Random) -> str:
    """The setting at the end of the main statement, or nothing."""
    if rng.random() >= manner.place:
        return ""
    entities = [phrase.entity for phrase in clause.named]
    name = clause.scene.relations[0].predicate
    moving = name == "chasing" or (name == "riding" and is_moving(entities[0]))
    return " " + place(clause.scene, entities, rng, moving)


def _tail(clause: Clause, manner: Manner, rng: random.Random) -> str:
    """Something beside the main pair, related to it when the scene says how; or nothing."""
    scene, named = clause.scene, {phrase.entity.entity_id: phrase for phrase in clause.named}
    others = [entity for entity in scene.entities if entity.entity_id not in named]
    if not others or rng.random() >= manner.extra:
        return ""
    extra = rng.choice(others)
    again = any(phrase.entity.category == extra.category for phrase in clause.named)
    style = replace(_style(manner, rng), other=again, vague=False)
    phrase = noun_phrase(scene, extra, style, rng)
    fields = _agreement(phrase, state_verb(scene, extra, rng)) | {"e": phrase.text}
    named_people = sum(p.entity.category in PEOPLE for p in (*clause.named, phrase))
    for relation in rng.sample(scene.relations[1:], len(scene.relations) - 1):
        known = named.get(
            relation.object if relation.subject == extra.entity_id else relation.subject
        )
        words = RELATION_WORDS if relation.subject == extra.entity_id else INVERSE_WORDS
        distinct = len({p.again for p in named.values()}) == len(named) and not again
        involved = extra.entity_id in (relation.subject, relation.object)
        if involved and known and distinct and relation.predicate in words:
            fields["rel"] = pick_word(rng, _told(words[relation.predicate], manner.exact))
            person = known.pronoun in ("her", "him") and named_people == 1 and rng.random() < 0.6
            fields["m"] = known.pronoun if person else known.again
            return pick_word(rng, frames.RELATED_TAILS).format(**fields)
    options = frames.SKY_TAILS if is_airborne(scene, extra) else frames.LOOSE_TAILS
    return pick_word(rng, options).format(**fields)
