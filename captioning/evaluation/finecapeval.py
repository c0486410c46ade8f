"""FineCapEval: how much of what people say about background, objects and relations a caption says.

Five people write a caption of each picture and list its phrases under three criteria. A phrase
scores the share of its words that the caption has; the score of a picture is the mean over the
phrases of all its people, and the score of a set the mean over its pictures. All of this twice:

`FineCapEval_background`, `_object`, `_relation` compare word by word, both sides tokenised by
`vocabulary.tokenize` and stemmed. `FineCapEval_background_substring` and so on follow the published
code, for comparison with published numbers: it stems and lower-cases the phrase but not the
caption, and searches the stems in the caption as in a string. Thus "in" is found inside "king",
whereas the stem "happi" of "happy" misses "a happy dog", and "snow" misses "Snow falls".
`FineCapEval_overall` is CIDEr against the five captions (0..10, all others 0..1).

Source: J. Cho, S. Yoon, A. Kale, F. Dernoncourt, T. Bui, M. Bansal, "Fine-grained Image Captioning
with CLIP Reward", Findings of NAACL 2022, and the authors' `tools/eval_finecapeval.py`.
Departures: shares, not percent. The published scoring splits words by the Treebank rules alone
(nltk's `word_tokenize` finds sentences first, with a downloaded corpus), and phrases lose the
spaces around them before one-character phrases are left out. The word-by-word scoring also leaves
out phrases without a word ("?!"), which no caption can match; the published one counts them as 0.
A cell of white space is a missing one. Two pictures with one key are an error, not one picture. The
overall score is this project's CIDEr instead of the package `language_evaluation`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer

from captioning.evaluation.metrics import score_captions
from vocabulary import tokenize

CRITERIA = ("background", "object", "relation")
COLUMNS = ("image", "caption", *CRITERIA)
SEPARATOR = "\\;"
# Cells that the published code takes for missing ones, because pandas' `read_csv` does (3.1).
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"]
    + ["<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)
_STEMMER = PorterStemmer()
_TREEBANK = NLTKWordTokenizer()
_NOT_ALPHANUMERIC = re.compile(r"[^a-zA-Z0-9]")
_PLAIN = re.compile(r"[a-zA-Z0-9 ]*")


@dataclass(frozen=True)
class Entry:
    """What one person said about one picture: a row of the table.

    Args:
        image (str): file name, as written.
        caption (str): as written.
        background (tuple[str, ...]): phrases about place, time and weather.
        object (tuple[str, ...]): phrases about things and their properties.
        relation (tuple[str, ...]): phrases about what things do and how they stand to each other.
    """

    image: str
    caption: str
    background: tuple[str, ...]
    object: tuple[str, ...]
    relation: tuple[str, ...]


def image_key(name: str) -> str:
    """What an image is called in a file of captions: its file's name, without folders, up to the
    first dot."""
    return name.replace("\\", "/").rpartition("/")[2].split(".")[0]


# ---- reading ----


def read_finecapeval(path: str | Path) -> list[Entry]:
    """Read the published table, or the picture book's.

    Args:
        path (str | Path): CSV in UTF-8 with the columns image, caption, background, object and
            relation in any order; others are ignored. Phrases are separated by a backslash and a
            semicolon.

    Returns:
        list[Entry]: one for each row, in the file's order; rows without caption, background, object
            or relation are left out, as in the published code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a table, or has no row that counts; the message names the line
            where there is one.
    """
    path = Path(path)
    entries = []
    for line, row in _rows(path):
        cells = {name: row.get(name, "") for name in COLUMNS}
        if any(cells[name].strip() in MISSING for name in COLUMNS[1:]):
            continue
        if not image_key(cells["image"]).strip():
            raise ValueError(
                f"{path}: line {line} has the image {cells['image']!r}, a file name expected"
            )
        phrases = {name: _split_phrases(cells[name]) for name in CRITERIA}
        entries.append(Entry(image=cells["image"], caption=cells["caption"], **phrases))
    if not entries:
        raise ValueError(f"{path}: no row has all of {', '.join(COLUMNS[1:])}, at least one needed")
    return entries


def _split_phrases(cell: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in cell.split(SEPARATOR) if phrase.strip())


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such FineCapEval table")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}: line {line} is not UTF-8 text ({error.reason})") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}: line {line} holds a NUL byte, text expected")
    return text


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the first line, and cells by column, of every row below the header."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if missing := [name for name in COLUMNS if name not in header]:
            raise ValueError(f"{path}: line 1 lacks the column(s) {', '.join(missing)}")
        end = reader.line_num
        for cells in reader:
            line, end = end + 1, reader.line_num  # a caption may go over several lines
            if len(cells) > len(header):
                raise ValueError(
                    f"{path}: line {line} has {len(cells)} cells, {len(header)} expected as in the "
                    "header; a text with a comma must stand in quotation marks"
                )
            yield line, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise ValueError(f"{path}: line {reader.line_num} is not CSV ({error})") from error


# ---- scoring ----


def score_finecapeval(entries: Iterable[Entry], captions: Mapping[str, str]) -> dict[str, Any]:
    """Score one caption per image, word by word and as published.

    Args:
        entries (Iterable[Entry]): what people said, as `read_finecapeval` returns it.
        captions (Mapping[str, str]): `image_key` to the caption to be scored, for every image.

    Returns:
        dict: `overall`: `FineCapEval_background`, `FineCapEval_object`, `FineCapEval_relation` and
        the same with `_substring` (0..1), `FineCapEval_overall` (CIDEr, 0..10); `per_image`: list
        of `image` (file name), `caption` and the same seven, in the order of the entries. A
        criterion without phrases scores 0.

    Raises:
        ValueError: no entries, images and captions that do not match one to one, or two images with
            one key.
    """
    images = _by_image(entries)
    references = {key: [entry.caption for entry in rows] for key, rows in images.items()}
    result = score_captions(references, captions, ["CIDEr"])
    per_image = []
    for scored in result["per_image"]:
        rows, caption = images[scored["image_id"]], scored["caption"]
        scores = _phrase_scores(rows, caption) | {"FineCapEval_overall": scored["CIDEr"]}
        per_image.append({"image": rows[0].image, "caption": caption} | scores)
    overall = {key: _mean([image[key] for image in per_image]) for key in scores}
    return {"overall": overall, "per_image": per_image}


def _by_image(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    images: dict[str, list[Entry]] = {}
    for entry in entries:
        rows = images.setdefault(image_key(entry.image), [])
        if rows and rows[0].image != entry.image:
            raise ValueError(
                f"entries: images {rows[0].image!r} and {entry.image!r} received, names that "
                "differ before the first dot expected"
            )
        rows.append(entry)
    if not images:
        raise ValueError("entries: none received, at least one expected")
    return images


def _phrase_scores(rows: Sequence[Entry], caption: str) -> dict[str, float]:
    scores = {}
    for suffix, score in (("", phrase_score), ("_substring", substring_score)):
        for name in CRITERIA:
            phrases = [phrase for entry in rows for phrase in getattr(entry, name)]
            scores[f"FineCapEval_{name}{suffix}"] = score(phrases, caption)
    return scores


def phrase_score(phrases: Iterable[str], caption: str) -> float:
    """Mean share of the words of each phrase that are among the caption's words.

    Args:
        phrases (Iterable[str]): of one criterion; those of one character are left out.
        caption (str): the caption to be scored, as written.

    Returns:
        float: 0..1; 0 where there are no phrases.
    """
    found = [found_words(phrase, caption) for phrase in _counted(phrases)]
    return _mean([_mean([is_found for _, is_found in words]) for words in found if words])


def substring_score(phrases: Iterable[str], caption: str) -> float:
    """The published scoring: mean share of the stems of each phrase that stand in the caption.

    Args:
        phrases (Iterable[str]): of one criterion; those of one character are left out.
        caption (str): the caption to be scored, as written; its case counts.

    Returns:
        float: 0..1; 0 where there are no phrases.
    """
    return _mean(
        [
            _mean([stem in caption for stem in _published_stems(phrase)])
            for phrase in _counted(phrases)
        ]
    )


def found_words(phrase: str, caption: str) -> list[tuple[str, bool]]:
    """Which words of a phrase a caption has, whatever their case and ending.

    Args:
        phrase (str): e.g. "two happy dogs".
        caption (str): e.g. "The dog is happy."

    Returns:
        list: the phrase's words in order, each with whether its stem is among the caption's, e.g.
            [("two", False), ("happy", True), ("dogs", True)].
    """
    stems = _stems(caption)
    return [(word, _stem(word) in stems) for word in tokenize(phrase)]


def mark_phrases(caption: str, entry: Entry) -> list[tuple[str, str]]:
    """Which criterion each word of a caption serves.

    Args:
        caption (str): as written.
        entry (Entry): the phrases of one person.

    Returns:
        list: the caption's words in order, each with the first of "background", "object" and
            "relation" whose phrases contain its stem, or "".
    """
    criterion_of: dict[str, str] = {}
    for name in CRITERIA:
        for phrase in _counted(getattr(entry, name)):
            for stem in _stems(phrase):
                criterion_of.setdefault(stem, name)
    return [(word, criterion_of.get(_stem(word), "")) for word in tokenize(caption)]


def _counted(phrases: Iterable[str]) -> list[str]:
    """The published code takes a single character for a slip of the pen."""
    return [phrase for phrase in phrases if len(phrase) > 1]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return _STEMMER.stem(word)


@lru_cache(maxsize=20_000)
def _stems(text: str) -> frozenset[str]:
    return frozenset(_stem(word) for word in tokenize(text))


@lru_cache(maxsize=20_000)
def _published_stems(phrase: str) -> tuple[str, ...]:
    if _PLAIN.fullmatch(phrase):  # without marks `tokenize` splits alike, and much faster
        words = tokenize(phrase)
    else:
        words = _TREEBANK.tokenize(phrase.lower())
    stems = (_NOT_ALPHANUMERIC.sub("", _stem(word)) for word in words)
    return tuple(stem for stem in stems if stem)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
