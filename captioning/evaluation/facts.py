"""Are captions of the picture book true? Objects, colours, relations, settings and numbers.

Captions are read with the generator's own lexicon, longest phrase first, so only what that lexicon
knows is judged. Every share is micro-averaged: counts are summed over all captions before dividing;
0 / 0 gives 0.

* Objects. Mentioned are the different nouns of a caption by category, each counted once. A mention
  is right when the category is in the picture. A vague noun (animal, child, vehicle) is right when
  anything it can stand for is there; it counts for precision, never for recall. Recall is the share
  of the categories in the picture that captions mention. F1 is their harmonic mean.
* Colours. Of the coloured mentions of what is in the picture ("a red dog", "a girl in red"), those
  for which a thing of that category has the colour. A colour said of something that is not there is
  the precision's business.
* Relations. Of the readable statements "X relation Y" with both nouns known, those that hold
  between something X can be and something Y can be (see `relation_facts` for what holds); a
  statement about an absent thing is false.
* Setting. Of the captions that name a setting, those whose every setting word fits the scene's.
* Counts. Of the mentions of what is in the picture with a number word ("two dogs", "a pair of",
  "one"; an article is no number), those where the number is the count of one such entity or of all
  of them together.

The facts score (`facts`) is one number for the whole: the harmonic mean of the share of statements
of all five kinds that are true, and of the objects' recall. (A mean of the five shares would jump
by a fifth when a captioner stops speaking of one kind, which says nothing about truth.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captioning.datasets.picturebook.lexicon import (
    Mention,
    Span,
    find_mentions,
    find_settings,
    read_spans,
)
from captioning.datasets.picturebook.scene import Scene
from vocabulary import tokenize

_INVERSES = {"left of": "right of", "right of": "left of", "above": "under", "under": "above"}
_BESIDE = ("left of", "right of", "in front of", "holding", "riding", "sitting on")
_STACKED = ("on", "under", "in front of", "holding", "riding", "sitting on")
_PRONOUNS = ("it", "them", "him", "her")  # the last two of people
_BREAKS = ("while", "where", "as", "but")
_FINITE = frozenset(
    "is are stands stand sits sit waits wait poses pose walks walk strolls stroll wanders wander"
    " rests rest runs run lies lie flies fly floats float hovers hover drifts drift sails sail"
    " perches perch".split()
)
_RELATIVES = ("that", "which", "who")


@dataclass(frozen=True)
class Statement:
    """A caption says that `subject` stands in relation `predicate` to `object`."""

    subject: Mention
    predicate: str
    object: Mention


def read_statements(tokens: Sequence[str]) -> list[Statement]:
    """The relations that a caption states between two nouns of the lexicon.

    A relation phrase is read when a noun phrase follows at once. It belongs to the noun before it,
    or to the first noun of the clause when a verb stands in between ("a girl with a ball stands
    near a dog"), or, when the clause begins with it ("on the table sits a cat"), to the noun that
    follows the object. "A table with a cat on it" refers back to the noun before, "him" and "her"
    to the person. "X on the left and Y on the right" is read too.

    Args:
        tokens (Sequence[str]): words of `vocabulary.tokenize`.
    """
    spans = read_spans(tokens)
    mentions = find_mentions(tokens, spans)
    statements = _sides(spans, mentions)
    for index, span in enumerate(spans):
        if span.kind == "grasp":
            held = [m for m in mentions if m.end <= span.start][-2:]
            statements += [Statement(held[0], "holding", held[1])] if len(held) == 2 else []
        if span.kind != "relation":
            continue
        predicate, swapped = span.value
        if predicate == "flying" and _is_inverted(tokens, spans, index, mentions):
            continue
        subject, thing = _arguments(tokens, spans, index, mentions)
        if subject is not None and thing is not None and subject is not thing:
            pair = (thing, subject) if swapped else (subject, thing)
            statements.append(Statement(pair[0], predicate, pair[1]))
    return statements


def _clause_start(tokens: Sequence[str], spans: list[Span], index: int) -> int:
    """First word of the clause that holds `spans[index]`."""
    for before in range(index - 1, -1, -1):
        word = tokens[spans[before].start]
        following = spans[before + 1]
        begins = following.kind in ("article", "number", "colour", "adjective", "noun", "relation")
        if word in _BREAKS or (word == "and" and (begins or tokens[following.start] == "there")):
            return spans[before].end
    return 0


def _is_inverted(
    tokens: Sequence[str], spans: list[Span], index: int, mentions: list[Mention]
) -> bool:
    """Whether the subject of the verb `spans[index]` follows it: above the house flies a plane."""
    start = _clause_start(tokens, spans, index)
    first = next((m for m in mentions if m.start >= start), None)
    return first is not None and any(
        span.kind == "relation" and span.end == first.start and span.start >= start
        for span in spans[:index]
    )


def _arguments(
    tokens: Sequence[str], spans: list[Span], index: int, mentions: list[Mention]
) -> tuple[Mention | None, Mention | None]:
    """What stands before and after the relation phrase `spans[index]`, as far as it can be read."""
    span, start = spans[index], _clause_start(tokens, spans, index)
    before = [m for m in mentions if start <= m.start and m.end <= span.start]
    thing = next((m for m in mentions if m.start == span.end), None)
    if thing is None:
        pronoun = tokens[span.end] if span.end < len(tokens) else ""
        if pronoun not in _PRONOUNS or not before:
            return None, None
        earlier = [m for m in mentions if m.end <= before[-1].start]
        if pronoun in _PRONOUNS[2:]:
            earlier = [m for m in earlier if set(m.members) <= {"girl", "boy"}]
        return before[-1], earlier[-1] if earlier else None
    if not before:
        following = [m for m in mentions if m.start >= thing.end]
        return (following[0] if following else None), thing
    between = tokens[before[-1].end : span.start]
    finite = any(word in _FINITE for word in between)
    if finite and not any(word in _RELATIVES for word in between):
        return before[0], thing
    return before[-1], thing


def _sides(spans: list[Span], mentions: list[Mention]) -> list[Statement]:
    """X "on the left" and Y "on the right", in either order, each before or after its noun."""
    named: dict[str, Mention] = {}
    for span in spans:
        if span.kind != "side":
            continue
        before = [m for m in mentions if m.end <= span.start and m not in named.values()]
        after = [m for m in mentions if m.start >= span.end]
        chosen = before[-1:] or after[:1]
        if chosen:
            named.setdefault(span.value, chosen[0])
    if len(named) < 2:
        return []
    return [Statement(named["left"], "left of", named["right"])]


def relation_facts(scene: Scene) -> set[tuple[int, str, int]]:
    """Everything that holds between the entities of a scene: its relations, and what they imply.

    * left of and right of, above and under are inverses; behind is read as the inverse of in front
      of;
    * on implies above; riding and sitting on imply on; flying (a kite) implies holding, and the
      kite is above;
    * who chases and faces right is left of what is chased, and the other way round;
    * left of and right of are transitive, and go over to what is on, under, in front of, held by or
      ridden by the other;
    * beside (next to, near) holds when one is left of, right of or in front of the other, or they
      touch.

    Args:
        scene (Scene): the record of a picture.

    Returns:
        set: (entity id, predicate, entity id).
    """
    facts = {(r.subject, r.predicate, r.object) for r in scene.relations}
    for a, predicate, b in list(facts):
        if predicate == "flying":
            facts |= {(a, "holding", b), (b, "above", a)}
        if predicate == "chasing":
            towards = "left of" if scene.entities[a].facing == "right" else "right of"
            facts |= {(a, towards, b)}
        if predicate in ("riding", "sitting on"):
            facts.add((a, "on", b))
        if predicate in ("riding", "sitting on", "on"):
            facts.add((a, "above", b))
    facts |= {(b, _INVERSES[p], a) for a, p, b in facts if p in _INVERSES}
    partners = {(r.subject, r.object) for r in scene.relations if r.predicate in _STACKED}
    partners |= {(b, a) for a, b in partners}
    while True:
        left = {(a, b) for a, p, b in facts if p == "left of"}
        more = {(a, c) for a, b in left for d, c in left | partners if b == d}
        more |= {(c, b) for a, b in left for d, c in partners if a == d}
        more = {(a, b) for a, b in more - left if a != b and (b, a) not in left}
        if not more:
            break
        facts |= {(a, "left of", b) for a, b in more} | {(b, "right of", a) for a, b in more}
    beside = {(a, b) for a, p, b in facts if p in _BESIDE}
    facts |= {(a, "beside", b) for a, b in beside} | {(b, "beside", a) for a, b in beside}
    return facts


def check_caption(caption: str, scene: Scene) -> Counter:
    """Count what a caption says and how much of it is true.

    Args:
        caption (str): as written.
        scene (Scene): the picture.

    Returns:
        Counter: `objects_said, objects_right, objects_found, objects_present, colours_said,
        colours_right, relations_said, ...right, settings_said, ...right, counts_said, ...right`.
    """
    tokens = tokenize(caption)
    spans = read_spans(tokens)
    mentions = find_mentions(tokens, spans)
    present = {entity.category for entity in scene.entities}
    said = {mention.members for mention in mentions}
    tally = Counter(
        objects_said=len(said),
        objects_right=sum(bool(present & set(members)) for members in said),
        objects_found=len({members[0] for members in said if len(members) == 1} & present),
        objects_present=len(present),
    )
    for mention in mentions:
        entities = [e for e in scene.entities if e.category in mention.members]
        if entities and mention.colour:
            tally["colours_said"] += 1
            tally["colours_right"] += any(e.colour == mention.colour for e in entities)
        if entities and mention.count:
            counts = {e.count for e in entities} | {sum(e.count for e in entities)}
            tally["counts_said"] += 1
            tally["counts_right"] += mention.count in counts
    facts = {
        (scene.entities[a].category, predicate, scene.entities[b].category)
        for a, predicate, b in relation_facts(scene)
    }
    for statement in read_statements(tokens):
        tally["relations_said"] += 1
        tally["relations_right"] += any(
            (a, statement.predicate, b) in facts
            for a in statement.subject.members
            for b in statement.object.members
        )
    if settings := find_settings(tokens, spans):
        tally["settings_said"] += 1
        tally["settings_right"] += all(scene.setting in possible for possible in settings)
    return tally


def _harmonic_mean(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0


def _shares(tally: Counter) -> dict[str, float | int]:
    """The scores and the numbers of things they were computed on."""

    def share(part: str, whole: str) -> float:
        return tally[part] / tally[whole] if tally[whole] else 0.0

    precision = share("objects_right", "objects_said")
    recall = share("objects_found", "objects_present")
    kinds = ("objects", "colours", "relations", "settings", "counts")
    tally["all_right"] = sum(tally[f"{kind}_right"] for kind in kinds)
    tally["all_said"] = sum(tally[f"{kind}_said"] for kind in kinds)
    return {
        "facts": _harmonic_mean(share("all_right", "all_said"), recall),
        "object_precision": precision,
        "object_recall": recall,
        "object_f1": _harmonic_mean(precision, recall),
        "colour_accuracy": share("colours_right", "colours_said"),
        "relation_accuracy": share("relations_right", "relations_said"),
        "setting_accuracy": share("settings_right", "settings_said"),
        "count_accuracy": share("counts_right", "counts_said"),
        "num_captions": tally["captions"],
        "num_objects_said": tally["objects_said"],
        "num_objects_present": tally["objects_present"],
        "num_colours": tally["colours_said"],
        "num_relations": tally["relations_said"],
        "num_settings": tally["settings_said"],
        "num_counts": tally["counts_said"],
    }


def score_facts(
    captions: Mapping[int, str | Sequence[str]], scenes: Mapping[int, Scene]
) -> dict[str, object]:
    """Check captions against the scenes.

    Args:
        captions (Mapping): for each image id a caption, or several, each of which is then checked
            by itself.
        scenes (Mapping): scenes by image id; it may hold more pictures.

    Returns:
        dict: `overall`: `facts, object_precision, object_recall, object_f1, colour_accuracy,
        relation_accuracy, setting_accuracy, count_accuracy` (0..1), `num_captions` and the
        `num_...` they were computed on; `per_image`: a list of the same for each picture, with its
        `image_id`.

    Raises:
        ValueError: an image id has no scene.
    """
    total, per_image = Counter(), []
    for image_id, texts in captions.items():
        if image_id not in scenes:
            raise ValueError(
                f"captions: image id {image_id!r} received, but there is no scene for it"
            )
        texts = [texts] if isinstance(texts, str) else texts
        tally = Counter(captions=len(texts))
        for text in texts:
            tally.update(check_caption(text, scenes[image_id]))
        total.update(tally)
        per_image.append({"image_id": image_id, **_shares(tally)})
    return {"overall": _shares(total), "per_image": per_image}
