"""Five captions of a picture, by five describers who notice different things; all are true.

brief: what the picture is about, little else. colours: with colours and looks. relation: who is
where, or does what to whom. setting first: where it is. counting: how many there are. They share
nouns and verbs often enough to agree like people do, and differ in syntax, in synonyms and in what
they leave out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from captioning.datasets.picturebook import frames
from captioning.datasets.picturebook.clauses import (
    Manner,
    make_clause,
    make_style,
    place_after,
    tail,
)
from captioning.datasets.picturebook.phrases import (
    OPENINGS,
    SETTING_NOUNS,
)
from captioning.datasets.picturebook.scene import (
    Entity,
    Scene,
)
from captioning.datasets.picturebook.wording import (
    Phrase,
    is_airborne,
    noun_phrase,
    pick_word,
    place,
)
from captioning.datasets.picturebook.words import (
    NUMBER_WORDS,
    VAGUE_NOUNS,
    plural_of,
)

MIN_WORDS, MAX_WORDS = 5, 20
_ATTEMPTS = 200

BRIEF = Manner(colour=0.12, look=0.08, vague=0.12, place=0.35, extra=0.0)
COLOURS = Manner(colour=0.97, look=0.25, vague=0.02, place=0.3, extra=0.25)
RELATION = Manner(colour=0.45, look=0.12, vague=0.05, place=0.25, extra=0.5, exact=True, turn=2.0)
SETTING_FIRST = Manner(colour=0.5, look=0.1, vague=0.04, place=0.0, extra=0.25)
COUNTING = Manner(
    colour=0.45, look=0.08, vague=0.03, place=0.45, extra=0.3, exact=True, numbers=0.75
)


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
    clause = make_clause(scene, BRIEF, rng)
    return clause.text + place_after(clause, BRIEF, rng)


def _colours(scene: Scene, rng: random.Random) -> str:
    clause = make_clause(scene, COLOURS, rng)
    return clause.text + place_after(clause, COLOURS, rng) + tail(clause, COLOURS, rng)


def _relation(scene: Scene, rng: random.Random) -> str:
    clause = make_clause(scene, RELATION, rng)
    return clause.text + place_after(clause, RELATION, rng) + tail(clause, RELATION, rng)


def _setting_first(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.25:
        clause = make_clause(scene, SETTING_FIRST, rng, "fragment")
        opening = pick_word(rng, SETTING_NOUNS[scene.setting])
        opening = pick_word(rng, (("{} with", 5), ("the picture shows {} with", 1))).format(opening)
    else:
        clause = make_clause(scene, SETTING_FIRST, rng, "whole")
        if rng.random() < 0.3:
            opening = pick_word(rng, OPENINGS[scene.setting])
        else:
            opening = place(scene, [named.entity for named in clause.named], rng) + ","
    return f"{opening} {clause.text}" + tail(clause, SETTING_FIRST, rng)


def _counting(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.5:
        clause = make_clause(scene, COUNTING, rng)
        return clause.text + place_after(clause, COUNTING, rng) + tail(clause, COUNTING, rng)
    first = scene.relations[0]
    pair = [scene.entities[first.subject], scene.entities[first.object]]
    others = [entity for entity in scene.entities if entity not in pair]
    chosen = pair + [entity for entity in others if rng.random() < 0.6]
    if rng.random() < 0.6:
        rng.shuffle(chosen)
    phrases: list[Phrase] = []
    for entity in chosen:
        again = any(phrase.entity.category == entity.category for phrase in phrases)
        style = replace(make_style(COUNTING, rng), other=again, vague=False)
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
    """One word and number for all chosen things ("five animals"), if no other thing has that
    word."""
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
