"""Words and numbers: the one tokenizer of the course, and the vocabulary that turns captions into
ids and back.

The tokenizer follows nltk's Treebank rules on lower-cased text and drops coco-caption's punctuation
list, so training, rewards and evaluation all see the same words; it stays close to the Stanford PTB
tokenizer that coco-caption runs in Java (`benchmarks/metric_agreement.py` measures how close).

Source: X. Chen et al., "Microsoft COCO Captions: Data Collection and Evaluation Server", 2015,
section 3 (tokenising and the punctuation list).
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nltk.tokenize.destructive import NLTKWordTokenizer

PAD_IDX, START_IDX, END_IDX, UNK_IDX = 0, 1, 2, 3
SPECIAL_WORDS = ("<pad>", "<start>", "<end>", "<unk>")

# What coco-caption removes after tokenising (brackets appear under their Treebank names there).
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"']
    + ["(", ")", "[", "]", "{", "}", "-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"]
)
_TREEBANK = NLTKWordTokenizer()
_SENTENCE_BREAK = re.compile(r"(?<=\w)([.?!])(\s)")  # Treebank splits only the last full stop
_PLAIN = re.compile(r"[a-z0-9 ]*[.?!]?")  # nothing here that Treebank would split but these words:
_SPLIT = frozenset(["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"])  # can not, gim me, ...
_CLITIC = re.compile(r"^('\w{1,2}|n't|[.,;:?!])$")  # 's, n't, imported full stops: no space before


def tokenize(caption: str) -> list[str]:
    """Lower-case words of a caption, without punctuation.

    Args:
        caption (str): a caption as people write it.

    Returns:
        list[str]: its words, e.g. "A dog's ball." gives ["a", "dog", "'s", "ball"].
    """
    text = " ".join(caption.lower().split())
    if _PLAIN.fullmatch(text):  # most captions: the same words, six times as fast
        words = text.rstrip(".?!").split()
        if _SPLIT.isdisjoint(words):
            return words
    text = _SENTENCE_BREAK.sub(r" \1\2", text)
    return [word for word in _TREEBANK.tokenize(text) if word not in PUNCTUATION]


def join_words(words: Iterable[str], capitalize: bool = True) -> str:
    """The sentence made of these words: spaces between them, none before clitics ("dog's").

    Args:
        words (Iterable[str]): words in order.
        capitalize (bool): whether the first letter becomes a capital.
    """
    text = ""
    for word in words:
        text += word if not text or _CLITIC.match(word) else " " + word
    return text[:1].upper() + text[1:] if capitalize else text


@dataclass(frozen=True)
class Coverage:
    """How much of a set of captions a vocabulary knows.

    Args:
        num_tokens (int): running words.
        known_tokens (float): share of running words in the vocabulary, 0..1.
        num_words (int): different words.
        known_words (float): share of the different words in the vocabulary, 0..1.
        known_captions (float): share of captions without any unknown word, 0..1.
    """

    num_tokens: int
    known_tokens: float
    num_words: int
    known_words: float
    known_captions: float


class Vocabulary:
    """The words a captioner can say. Ids 0 to 3 are `<pad>`, `<start>`, `<end>`, `<unk>`; words
    follow by falling count.

    Args:
        words (Sequence[str]): ordinary words without the special ones; `words[0]` gets id 4.
        min_count (int | None): the threshold they were chosen with, kept for the record.

    Raises:
        ValueError: a word appears twice or is one of the special words.
    """

    def __init__(self, words: Sequence[str], min_count: int | None = None) -> None:
        self.words: tuple[str, ...] = (*SPECIAL_WORDS, *words)
        self.min_count = min_count
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ValueError(f"words: {twice[0]!r} appears twice; every word must be listed once")

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 5) -> Vocabulary:
        """Count the words of *training* captions; keep those seen at least `min_count` times.

        Args:
            captions (Iterable[str]): training captions, as written.
            min_count (int): threshold, >= 1. Higher: fewer words, each seen often enough to be
                learned, more `<unk>`.

        Raises:
            ValueError: `min_count` is below 1, or no word reaches it.
        """
        if min_count < 1:
            raise ValueError(f"min_count: {min_count} received, 1 or more expected")
        counts = Counter(word for caption in captions for word in tokenize(caption))
        kept = sorted(
            (w for w, n in counts.items() if n >= min_count), key=lambda w: (-counts[w], w)
        )
        if not kept:
            raise ValueError(
                f"min_count: {min_count} received, but none of the {len(counts)} different words "
                "of the captions appears that often"
            )
        return cls(kept, min_count)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def index(self, word: str) -> int:
        """Id of a word; `UNK_IDX` when the vocabulary does not have it."""
        return self._ids.get(word, UNK_IDX)

    def encode(self, caption: str, max_length: int | None = None) -> list[int]:
        """Ids of a caption: `<start>`, its words, `<end>`.

        Args:
            caption (str): as written.
            max_length (int | None): most words kept; a longer caption is cut there and still ends
                with `<end>`.
        """
        words = tokenize(caption)[:max_length]
        return [START_IDX, *(self.index(word) for word in words), END_IDX]

    def decode_words(self, ids: Iterable[int]) -> list[str]:
        """Words of a row of ids: up to `<end>`, without `<pad>` and `<start>`.

        Raises:
            ValueError: an id lies outside the vocabulary.
        """
        words = []
        for index in ids:
            index = int(index)
            if index == END_IDX:
                break
            if index in (PAD_IDX, START_IDX):
                continue
            if not 0 <= index < len(self.words):
                raise ValueError(f"ids: {index} received, 0 to {len(self.words) - 1} expected")
            words.append(self.words[index])
        return words

    def decode(self, ids: Iterable[int]) -> str:
        """The sentence of a row of ids, with correct spaces, a capital and a full stop ("" for no
        words).
        """
        sentence = join_words(self.decode_words(ids))
        return sentence if sentence[-1:] in ("", ".", "?", "!") else sentence + "."

    def coverage(self, captions: Iterable[str]) -> Coverage:
        """Share of words and captions of `captions` that this vocabulary knows.

        Raises:
            ValueError: there are no captions, or no words in them.
        """
        tokenized = [tokenize(caption) for caption in captions]
        counts = Counter(word for words in tokenized for word in words)
        if not counts:
            raise ValueError(
                "captions: no words received, at least one caption with a word expected"
            )
        total = sum(counts.values())
        return Coverage(
            num_tokens=total,
            known_tokens=sum(count for word, count in counts.items() if word in self) / total,
            num_words=len(counts),
            known_words=sum(word in self for word in counts) / len(counts),
            known_captions=sum(all(w in self for w in words) for words in tokenized)
            / len(tokenized),
        )

    @property
    def content_hash(self) -> str:
        """SHA-256 (first 16 hex digits) of the words in order: equal hashes mean equal ids for
        equal words.
        """
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """JSON-ready: words in id order, the threshold and the content hash."""
        return {"words": list(self.words), "min_count": self.min_count, "hash": self.content_hash}

    @classmethod
    def from_dict(cls, record: dict) -> Vocabulary:
        """The inverse of `to_dict`.

        Raises:
            ValueError: the record lacks the words, does not begin with the special ones, or its
                hash does not fit.
        """
        words = record.get("words") if isinstance(record, dict) else None
        if not isinstance(words, list) or tuple(words[:4]) != SPECIAL_WORDS:
            raise ValueError(
                f"vocabulary: a list 'words' that begins with {list(SPECIAL_WORDS)} expected"
            )
        if strange := [word for word in words if not isinstance(word, str)]:
            raise ValueError(f"vocabulary: word {strange[0]!r} found, text expected")
        vocabulary = cls(words[4:], record.get("min_count"))
        if record.get("hash") not in (None, vocabulary.content_hash):
            raise ValueError(
                f"vocabulary: hash {record['hash']} is written in it, but its words give "
                f"{vocabulary.content_hash}; the file was edited or damaged"
            )
        return vocabulary

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), ensure_ascii=False, indent=0), "utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a vocabulary; the message names the file.
        """
        try:
            return cls.from_dict(json.loads(Path(path).read_text("utf-8")))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a JSON vocabulary ({error})") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class Packed(Sequence):
    """A list of lists of texts, or of ids, in three blocks of memory.

    COCO's 600,000 captions as Python lists are millions of objects, and a process that merely looks
    at an object writes into its page (the count of references), so that every worker would end up
    with a copy of them all. These blocks are shared.

    Args:
        rows (Iterable): for each picture its captions.
        pack, unpack (Callable): one caption to bytes, and back.
    """

    def __init__(
        self, rows: Iterable, pack: Callable = str.encode, unpack: Callable = bytes.decode
    ):
        data, self._ends, self._rows, self._unpack = (
            bytearray(),
            array("q", [0]),
            array("q"),
            unpack,
        )
        self._rows.append(0)
        for row in rows:
            for one in row:
                data += pack(one)
                self._ends.append(len(data))
            self._rows.append(len(self._ends) - 1)
        self._data = bytes(data)

    def __len__(self) -> int:
        return len(self._rows) - 1

    def __getitem__(self, place: int | slice) -> list:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]  # from the end, or an IndexError
        ends = self._ends[self._rows[place] : self._rows[place + 1] + 1]
        return [self._unpack(self._data[i:j]) for i, j in zip(ends, ends[1:], strict=False)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


def pack_ids(ids: Sequence[int]) -> bytes:
    """Word ids as bytes, for `Packed`."""
    return array("i", ids).tobytes()


def unpack_ids(data: bytes) -> list[int]:
    """The inverse of `pack_ids`."""
    return array("i", data).tolist()
