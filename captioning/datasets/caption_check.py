"""What is in a caption file, what is wrong with its entries, and what its captions are like.

A file is read entry by entry; of each, only what is needed stays in memory.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from captioning.datasets.json_stream import read_items
from vocabulary import Vocabulary, tokenize

MAX_EXAMPLES = 1000  # names kept of each finding
# A replacement character, a control character, UTF-8 that was read as Latin-1, marks of HTML.
ODD_CHARACTERS = re.compile(
    r"[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|Ã[\x80-\xbf]|â€|&(?:amp|lt|gt|quot|#\d+);|</?\w+>"
)
LOW_COVERAGE = 0.9  # of the running words; below it, a split is about other things than train


@dataclass
class Finding:
    """Something that is wrong or unusual.

    Args:
        kind (str): a fixed word for it, for programs.
        split (str): where; empty: in the whole data set.
        breaks (bool): whether training or evaluation would stop.
        names (list[str]): pictures, entries or captions it is about.
        what (str): what they have in common, or a sentence.
        count (int): of them, also beyond the names that are kept.
    """

    kind: str
    split: str
    breaks: bool
    what: str
    names: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, name: object) -> None:
        """Count one more; the first ones are named."""
        self.count += 1
        if len(self.names) < MAX_EXAMPLES:
            self.names.append(str(name))

    @property
    def message(self) -> str:
        """Split, what it is, how many, and at most five names."""
        some = ", ".join(self.names[:5]) + (", ..." if self.count > 5 else "")
        where = f"{self.split}: " if self.split else ""
        return where + self.what + (f": {self.count:,} ({some})" if self.names else "")


class Findings:
    """The findings of a split, in the order they came up."""

    def __init__(self, split: str = "") -> None:
        self.split, self._found = split, dict[str, Finding]()

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._found.values())

    def add(self, kind: str, what: str, name: object, breaks: bool = False) -> None:
        """Count one more of those that have this in common."""
        new = Finding(kind, self.split, breaks, what)
        self._found.setdefault(what, new).add(name)

    def say(self, kind: str, what: str, breaks: bool = False) -> None:
        """A sentence that is about nothing in particular."""
        self._found[what] = Finding(kind, self.split, breaks, what, count=1)


@dataclass(slots=True)
class Picture:
    """An entry of `images` with the captions that belong to it."""

    image_id: int | str
    file_name: str
    size: tuple[Any, Any]
    captions: list[str] = field(default_factory=list)


def read_entries(path: Path, findings: Findings) -> list[Picture]:
    """The pictures of a caption file; entries that cannot be used are reported.

    Args:
        path (Path): `captions_SPLIT.json` or `images_SPLIT.json`.
        findings (Findings): gets what is wrong.

    Returns:
        list[Picture]: sorted by id, as training takes them; empty if the file is no such file.
    """
    captioned = path.name.startswith("captions_")
    keys = ("images", "annotations") if captioned else ("images",)
    pictures: dict[int | str, Picture] = {}
    captions: dict[int | str, list[str]] = {}
    numbers: set[int | str] = set()
    try:
        with path.open("rb") as stream:
            for key, entry in read_items(stream, keys, path.name):
                if key == "images":
                    _add_picture(entry, pictures, findings)
                else:
                    _add_caption(entry, captions, numbers, findings)
    except (ValueError, OSError, RecursionError) as error:
        findings.say("not_a_caption_file", str(error), True)
        return []
    for image_id, texts in captions.items():
        if image_id in pictures:
            pictures[image_id].captions = texts
        else:
            what = "captions of unknown pictures, image ids"
            findings.add("unknown_image", what, image_id, True)
    if not pictures:
        findings.say("no_pictures", "there are no pictures in it, at least one expected", True)
    if len({type(image_id) for image_id in pictures}) > 1:
        findings.say("mixed_ids", "some image ids are numbers and some are text", True)
        return list(pictures.values())
    return [pictures[image_id] for image_id in sorted(pictures)]


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _add_picture(entry: Any, pictures: dict[int | str, Picture], findings: Findings) -> None:
    fields = entry if isinstance(entry, dict) else {}
    image_id, name = fields.get("id"), fields.get("file_name")
    if not _is_id(image_id) or not isinstance(name, str):
        what = "entries of images without id and file_name"
        findings.add("bad_image_entry", what, f"{entry!r:.60}", True)
    elif image_id in pictures:
        findings.add("duplicate_image_id", "image ids that appear twice", image_id, True)
    else:
        size = fields.get("width"), fields.get("height")
        pictures[image_id] = Picture(image_id, name, size)
        if isinstance(image_id, str):
            what = "image ids that are text, a feature store takes whole numbers only"
            findings.add("text_image_id", what, image_id)


def _add_caption(
    entry: Any,
    captions: dict[int | str, list[str]],
    numbers: set[int | str],
    findings: Findings,
) -> None:
    fields = entry if isinstance(entry, dict) else {}
    number, image_id, text = fields.get("id"), fields.get("image_id"), fields.get("caption")
    if not _is_id(number) or not _is_id(image_id) or not isinstance(text, str):
        what = "entries of annotations without id, image_id and caption"
        findings.add("bad_caption_entry", what, f"{entry!r:.60}", True)
        return
    if number in numbers:
        findings.add("duplicate_caption_id", "annotation ids that appear twice", number, True)
    numbers.add(number)
    captions.setdefault(image_id, []).append(text)


# ---- what the captions are like ----


@dataclass
class Words:
    """The words of a split, for comparisons with others.

    Args:
        counts (Counter[str]): how often each word occurs.
        texts (Counter[int]): captions by the hash of their words, which needs little memory.
        lengths (Counter[int]): captions by their number of words.
    """

    counts: Counter[str] = field(default_factory=Counter)
    texts: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)


def check_captions(
    pictures: Sequence[Picture],
    findings: Findings,
    max_length: int,
    strict: bool,
    progress: bool = True,
) -> Words:
    """Look at every caption.

    Args:
        pictures (Sequence[Picture]): of a split that should have captions.
        findings (Findings): gets what is wrong or odd.
        max_length (int): most words of a caption that training keeps.
        strict (bool): whether a picture without a caption would stop a run, as it does in val.
        progress (bool): show a bar on stderr, if that is a terminal.
    """
    words, silent = Words(), []
    shown = {"delay": 1, "leave": False, "disable": None if progress else True}  # None: no terminal
    for picture in tqdm(pictures, desc="captions", unit="picture", **shown):
        name, said = picture.file_name, set[int]()
        if not any(re.search(r"\w", text) for text in picture.captions):
            silent.append(name)
        for text in picture.captions:
            tokens = tokenize(text)
            key = hash(" ".join(tokens))
            words.counts.update(tokens)
            words.lengths[len(tokens)] += 1
            words.texts[key] += 1
            _check_caption(text, tokens, name, findings, max_length)
            if key in said:
                findings.add("repeated", "captions that repeat one of the same picture", name)
            said.add(key)
    if pictures and len(silent) == len(pictures):
        findings.say("no_captions", "there are no captions, at least one expected", True)
        return words
    for name in silent:
        findings.add("no_caption", "pictures without a caption", name, strict)
    return words


def _check_caption(
    text: str, tokens: Sequence[str], name: str, findings: Findings, max_length: int
) -> None:
    if not re.search(r"\w", text):
        findings.add("wordless", "captions without a word, which training leaves out", name)
    elif len(tokens) > max_length:
        what = f"captions of more than {max_length} words, which training cuts off there"
        findings.add("too_long", what, name)
    elif len(tokens) == 1:
        findings.add("one_word", "captions of a single word", name)
    if ODD_CHARACTERS.search(text):
        what = "captions with marks of HTML or of a wrong encoding"
        findings.add("odd_characters", what, name)


def caption_statistics(pictures: Sequence[Picture], words: Words) -> dict[str, Any]:
    """Numbers about the captions of a split: how many a picture, how long, how many words."""
    numbers = [len(picture.captions) for picture in pictures] or [0]
    total = sum(length * count for length, count in words.lengths.items())
    return {
        "captions": sum(numbers),
        "captions_per_picture": {
            "min": min(numbers),
            "median": statistics.median(numbers),
            "max": max(numbers),
        },
        "words_per_caption": {
            "mean": round(total / max(1, sum(numbers)), 2),
            "max": max(words.lengths, default=0),
        },
        "different_words": len(words.counts),
    }


def train_vocabulary(words: Words, min_count: int, findings: Findings) -> Vocabulary | None:
    """The vocabulary that training would build; None, reported, when no word is frequent enough."""
    kept = [word for word, count in words.counts.items() if count >= min_count]
    if not kept:
        what = f"no word appears {min_count} times (vocabulary.min_count)"
        findings.say("no_vocabulary", what, True)
        return None
    return Vocabulary(sorted(kept), min_count)


def coverage_of(
    pictures: Sequence[Picture], vocabulary: Vocabulary, findings: Findings
) -> dict[str, float]:
    """How much of a split train's vocabulary can say."""
    try:
        coverage = vocabulary.coverage(text for p in pictures for text in p.captions)
    except ValueError:  # no words at all, which is reported as such
        return {}
    if coverage.known_tokens < LOW_COVERAGE:
        what = f"train's vocabulary knows only {coverage.known_tokens:.0%} of the words"
        findings.say("low_coverage", what)
    shares = ("known_tokens", "known_words", "known_captions")
    return {share: round(getattr(coverage, share), 4) for share in shares}
