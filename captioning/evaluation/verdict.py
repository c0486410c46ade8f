"""What is wrong with a caption, in words: the counts of `facts.py` for a reader.

Only what the generator's lexicon can read is judged, as in `facts.py`.
"""

from __future__ import annotations

from captioning.datasets.picturebook.lexicon import Mention, find_mentions, read_spans
from captioning.datasets.picturebook.scene import Scene
from captioning.evaluation.facts import check_caption, read_statements, relation_facts
from vocabulary import tokenize

KINDS = ("object", "colour", "number", "relation", "setting")


def find_errors(caption: str, scene: Scene) -> list[tuple[str, str]]:
    """The false statements of a caption of a drawn picture.

    Args:
        caption (str): as written.
        scene (Scene): the picture.

    Returns:
        list[tuple[str, str]]: kind (one of `KINDS`) and a few words, in the order of `KINDS`.
    """
    tokens = tokenize(caption)
    spans = read_spans(tokens)
    mentions = find_mentions(tokens, spans)
    errors = []
    for mention in mentions:
        errors += _mention_errors(mention, scene)
    facts = {
        (scene.entities[a].category, predicate, scene.entities[b].category)
        for a, predicate, b in relation_facts(scene)
    }
    present = {entity.category for entity in scene.entities}
    for statement in read_statements(tokens):
        ends = (statement.subject.members, statement.object.members)
        there = all(present & set(members) for members in ends)
        holds = any((a, statement.predicate, b) in facts for a in ends[0] for b in ends[1])
        if there and not holds:  # a statement about an absent thing is that thing's error
            text = f"the {ends[0][0]} is not {statement.predicate} the {ends[1][0]}"
            errors.append(("relation", text))
    tally = check_caption(caption, scene)
    if tally["settings_right"] < tally["settings_said"]:
        errors.append(("setting", f"it is the {scene.setting}"))
    return sorted(dict.fromkeys(errors), key=lambda error: KINDS.index(error[0]))


def _mention_errors(mention: Mention, scene: Scene) -> list[tuple[str, str]]:
    """A thing that is not there, or there in another colour or number."""
    entities = [e for e in scene.entities if e.category in mention.members]
    name = mention.members[0] if len(mention.members) == 1 else "such thing"
    if not entities:
        return [("object", f"no {name} in the picture")]
    errors = []
    colours = {entity.colour for entity in entities}
    if mention.colour and mention.colour not in colours:
        errors.append(("colour", f"the {name} is {' or '.join(sorted(colours))}"))
    counts = {entity.count for entity in entities} | {sum(e.count for e in entities)}
    if mention.count and mention.count not in counts:
        errors.append(("number", f"number of {name}: {' or '.join(map(str, sorted(counts)))}"))
    return errors


def missing_objects(caption: str, scene: Scene) -> list[str]:
    """Categories of the picture that the caption does not name, in the scene's order."""
    tokens = tokenize(caption)
    said = {member for m in find_mentions(tokens, read_spans(tokens)) for member in m.members}
    return list(dict.fromkeys(e.category for e in scene.entities if e.category not in said))


def verdict(caption: str, scene: Scene) -> str:
    """One sentence: what is false, else what is left out, else that all is well."""
    errors = find_errors(caption, scene)
    if errors:
        return "wrong: " + "; ".join(text for _, text in errors)
    missing = missing_objects(caption, scene)
    if missing:
        return "true, but silent about: " + ", ".join(missing)
    return "true and complete"
