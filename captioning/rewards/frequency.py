"""In how many pictures each n-gram of word ids occurs: the frequencies behind CIDEr as a reward.

The table is made from the training captions in one go, travels in the model bundle, and belongs to
one vocabulary: its ids mean nothing to another, so a table with another vocabulary's hash is
refused.

Source: R. Vedantam, C. L. Zitnick, D. Parikh, "CIDEr: Consensus-based Image Description
Evaluation", CVPR 2015, section 4 (a document is a picture).
Departures: n-grams of a single picture are not stored; CIDEr treats an unseen n-gram as if one
picture had it, so no score changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from captioning.evaluation.ngrams import MAX_ORDER, DocumentFrequency
from captioning.files import write_atomically
from captioning.rewards.ngrams import (
    ID_BITS,
    MAX_WORDS,
    check_num_words,
    number_type,
    order_of,
)
from captioning.rewards.packing import chunks, ngrams_of_pictures
from captioning.rewards.references import PackedReferences
from vocabulary import END_IDX, Vocabulary

FILE_NAME = "document_frequency.safetensors"
FORMAT = "1"
_PART = 1 << 20  # n-grams handled at a time


class NgramFrequency:
    """Document frequencies of packed n-grams.

    Args:
        keys (Tensor): n-grams as `pack_ngrams` makes them, int64, sorted, each once, (U,).
        counts (Tensor): number of pictures, float32, at least 2, (U,).
        num_documents (int): number of pictures counted, >= 1.
        count_end (bool): `<end>` was a word of every caption.
        vocabulary_hash (str): `Vocabulary.content_hash` of the vocabulary whose ids these are.
        corpus (str): name of the captions that were counted.

    Raises:
        ValueError: the numbers do not make a table.
    """

    def __init__(
        self,
        keys: Tensor,
        counts: Tensor,
        num_documents: int,
        count_end: bool,
        vocabulary_hash: str,
        corpus: str,
    ) -> None:
        if num_documents < 1:
            raise ValueError(f"num_documents: {num_documents} received, 1 or more expected")
        if keys.shape != counts.shape or keys.dim() != 1:
            shapes = f"{tuple(keys.shape)} and {tuple(counts.shape)}"
            raise ValueError(f"keys, counts: shapes {shapes} received, one and the same expected")
        if keys.dtype != torch.int64 or counts.dtype != torch.float32:
            kinds = f"{keys.dtype} and {counts.dtype}"
            raise ValueError(f"keys, counts: {kinds} received, int64 and float32 expected")
        if not (keys[1:] > keys[:-1]).all():
            raise ValueError("keys: not in rising order, sorted n-grams, each once, expected")
        if len(counts) and not (counts.min() >= 2 and counts.max() <= num_documents):
            raise ValueError(
                f"counts: {counts.min():g} to {counts.max():g} received, 2 to num_documents = "
                f"{num_documents} expected"
            )
        self.keys, self.counts = keys, counts
        self.num_documents, self.count_end = num_documents, count_end
        self.vocabulary_hash, self.corpus = vocabulary_hash, corpus

    @classmethod
    def build(
        cls,
        captions: Sequence[Sequence[Sequence[int]]],
        vocabulary: Vocabulary,
        corpus: str,
        count_end: bool = True,
    ) -> NgramFrequency:
        """Count the captions of a set of pictures.

        Args:
            captions (Sequence): for every picture its captions `<start> .. <end>`, not cut.
            vocabulary (Vocabulary): whose ids these are.
            corpus (str): what to call them.
            count_end (bool): count `<end>` as a word.

        Raises:
            ValueError: the vocabulary is too large, or there are no captions.
        """
        check_num_words(len(vocabulary))
        documents = map(ngrams_of_pictures, chunks(captions, count_end))
        number = sum(map(bool, captions))
        return cls(*_tabulate(documents), number, count_end, vocabulary.content_hash, corpus)

    @classmethod
    def of_references(cls, references: PackedReferences, corpus: str) -> NgramFrequency:
        """The same from captions that are packed already; on the CPU."""
        keys = references.keys[:-1].cpu()
        return cls(
            *_tabulate(keys.split(_PART)),
            len(references),
            references.count_end,
            references.vocabulary_hash,
            corpus,
        )

    def __len__(self) -> int:
        """Number of n-grams stored."""
        return len(self.keys)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.keys.device

    def to(self, device: torch.device | str) -> NgramFrequency:
        """Move the table; returns itself."""
        self.keys, self.counts = self.keys.to(device), self.counts.to(device)
        return self

    def documents(self, ngrams: Tensor) -> Tensor:
        """In how many pictures n-grams occur; 1 for unseen ones. Same shape, float32."""
        if not len(self):
            return torch.ones_like(ngrams, dtype=torch.float32)
        place = torch.searchsorted(self.keys, ngrams).clamp_(max=len(self) - 1)
        return self.counts.take(place).masked_fill_(self.keys.take(place) != ngrams, 1.0)

    def idf(self, documents: Tensor) -> Tensor:
        """Inverse document frequency: log(pictures / pictures with the n-gram)."""
        return (self.num_documents / documents.to(number_type(documents.device))).log()

    def save(self, path: str | Path) -> None:
        """Write the table as a safetensors file; it is replaced whole or not at all."""
        metadata = {
            "format": FORMAT,
            "num_documents": str(self.num_documents),
            "count_end": "yes" if self.count_end else "no",
            "vocabulary_hash": self.vocabulary_hash,
            "corpus": self.corpus,
        }
        tensors = {"keys": self.keys.cpu(), "counts": self.counts.cpu()}
        write_atomically(Path(path), lambda part: save_file(tensors, part, metadata))

    @classmethod
    def load(cls, path: str | Path, vocabulary: Vocabulary) -> NgramFrequency:
        """Read a table written by `save`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged or no table, or belongs to another vocabulary.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"document_frequency: {path} does not exist")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in ("keys", "counts")}
            if metadata["format"] != FORMAT:
                raise ValueError(f"format {metadata['format']} found, {FORMAT} expected")
            table = cls(
                tensors["keys"],
                tensors["counts"],
                int(metadata["num_documents"]),
                {"yes": True, "no": False}[metadata["count_end"]],
                metadata["vocabulary_hash"],
                metadata["corpus"],
            )
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{path}: not a complete table of document frequencies "
                f"({type(error).__name__}: {error})"
            ) from error
        table.check_vocabulary(vocabulary.content_hash, str(path))
        return table

    def check_vocabulary(self, expected: str, name: str = "frequency") -> None:
        """Refuse the ids of another vocabulary.

        Args:
            expected (str): `Vocabulary.content_hash` of the vocabulary in use.
            name (str): what to call the table in the message.

        Raises:
            ValueError: the hashes differ; the message gives both.
        """
        if self.vocabulary_hash != expected:
            raise ValueError(
                f"{name}: document frequencies of the vocabulary {self.vocabulary_hash} found, "
                f"{expected} expected; count them again with this vocabulary"
            )

    def to_words(self, vocabulary: Vocabulary) -> DocumentFrequency:
        """The same table for captions of words, as `python -m captioning score` takes it.

        Words outside the vocabulary become `<unk>` there, so that scores equal the reward.

        Args:
            vocabulary (Vocabulary): the table's own.

        Raises:
            ValueError: it is another one.
        """
        self.check_vocabulary(vocabulary.content_hash)
        words, orders = vocabulary.words, order_of(self.keys)
        ngrams: list[tuple] = []
        counts: list[int] = []
        for order in range(MAX_ORDER):
            keys = self.keys[orders == order]
            places = [ID_BITS * shift for shift in reversed(range(order + 1))]
            columns = [(keys >> place & MAX_WORDS - 1).tolist() for place in places]
            ngrams += zip(*[map(words.__getitem__, column) for column in columns], strict=True)
            counts += self.counts[orders == order].int().tolist()
        return DocumentFrequency(
            dict(zip(ngrams, counts, strict=True)),
            self.num_documents,
            end_token=words[END_IDX] if self.count_end else None,
            words=frozenset(words),
        )


def _tabulate(documents: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Count equal n-grams.

    Args:
        documents (Iterable[Tensor]): the different n-grams of some pictures, (K,) each.

    Returns:
        tuple: n-grams that occur more than once, sorted, int64, and their counts, float32.
    """
    by_order: list[list[Tensor]] = [[] for _ in range(MAX_ORDER)]  # one at a time saves memory
    for ngrams in documents:
        order = order_of(ngrams)
        for number, parts in enumerate(by_order):
            parts.append(ngrams[order == number])
    tables = []
    for parts in by_order:
        ngrams = torch.cat(parts)
        parts.clear()
        ngrams.numpy().sort()  # in place, where torch's sort needs three times as much memory
        ngrams, counts = ngrams.unique_consecutive(return_counts=True)
        tables.append((ngrams[counts > 1], counts[counts > 1].float()))
    keys, order = torch.cat([keys for keys, _ in tables]).sort()
    return keys, torch.cat([counts for _, counts in tables])[order]
