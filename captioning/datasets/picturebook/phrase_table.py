"""FineCapEval's table for the picture book: captions and their phrases in three columns.

Source: Cho et al. 2022, "Fine-grained Image Captioning with CLIP Reward": a CSV file with the
columns image, caption, background, object, relation; phrases are separated by a backslash and a
semicolon.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from captioning.datasets.picturebook.lexicon import Mention, Span, find_mentions, read_spans
from captioning.datasets.picturebook.scene import Scene
from vocabulary import tokenize

COLUMNS = ("image", "caption", "background", "object", "relation")
SEPARATOR = "\\;"
BEFORE_NOUNS = ("article", "adjective", "colour", "number")
ARTICLES = ("a", "an", "the", "another", "this", "that", "its", "his", "her", "their")


def caption_phrases(scene: Scene, caption: str) -> dict[str, list[str]]:
    """The phrases of one caption; what it leaves out is taken from the scene.

    Args:
        scene (Scene): what the caption is about.
        caption (str): a caption of `describe`.

    Returns:
        dict: "background", "object" and "relation", each at least one phrase.
    """
    tokens = tokenize(caption)
    spans = read_spans(tokens)

    def words(start: int, end: int) -> str:
        return " ".join(token for token in tokens[start:end] if token not in ARTICLES)

    mentions = find_mentions(tokens, spans)
    objects = [words(m.start, m.end) for m in mentions]
    background = [words(s.start, s.end) for s in spans if s.kind == "setting"]
    relations = [
        words(span.start, span.end)
        for i, span in enumerate(spans)
        if span.kind == "side" or (span.kind == "relation" and _relates(i, spans, mentions))
    ]
    main = scene.relations[0]
    subject = scene.entities[main.subject]
    return {
        "background": _unique(background) or [scene.setting],
        "object": _unique(objects) or [f"{subject.colour} {subject.category}"],
        "relation": _unique(relations) or [main.predicate],
    }


def _relates(index: int, spans: list[Span], mentions: list[Mention]) -> bool:
    """Whether a relation word is followed by a thing: "on the table", not "on a snowy day"."""
    start = spans[index].start
    if any(mention.start <= start < mention.end for mention in mentions):
        return False
    after = (span.kind for span in spans[index + 1 :])
    return next((kind for kind in after if kind not in BEFORE_NOUNS), "") == "noun"


def _unique(phrases: Iterable[str]) -> list[str]:
    return [phrase for phrase in dict.fromkeys(phrases) if phrase]


def write_phrase_table(path: Path, rows: Iterable[tuple[str, Scene, list[str]]]) -> None:
    """Write the table: one row for each caption.

    Args:
        path (Path): of the CSV file.
        rows (iterable): file name, scene and captions of each picture.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for file_name, scene, captions in rows:
            for caption in captions:
                phrases = caption_phrases(scene, caption)
                columns = [SEPARATOR.join(phrases[name]) for name in COLUMNS[2:]]
                writer.writerow([file_name, caption, *columns])
