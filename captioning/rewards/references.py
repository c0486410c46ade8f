"""The reference captions of a whole data set as a few tensors, made once.

For every picture its different n-grams, sorted, and how often each of its references has each of
them. COCO's 113,000 training pictures with five captions take about 0.3 GB.

Departures: a reference that repeats an n-gram more than 255 times counts as having it 255 times.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from captioning.rewards.ngrams import check_num_words
from captioning.rewards.packing import chunks, counts_of_references, starts
from vocabulary import Vocabulary

_FILLER = torch.iinfo(torch.int64).max  # no key is larger


@dataclass
class Rows:
    """The references of the B pictures of a batch; K is the most n-grams one of them has.

    Args:
        pictures (Tensor): which pictures of the data set these are, (B,).
        num_references (Tensor): (B,1).
        num_keys (Tensor): n-grams of each, (B,1).
        key_start (Tensor): where they begin in `PackedReferences.keys`, (B,1).
        keys (Tensor): the n-grams, sorted, then at least one filler, (B,K+1).
    """

    pictures: Tensor
    num_references: Tensor
    num_keys: Tensor
    key_start: Tensor
    keys: Tensor


class PackedReferences:
    """All references of a data set of P pictures with up to R references and U n-grams in all.

    `keys` (U+1) holds the n-grams of one picture after the other, `counts` (U+1,R) how often each
    reference of the picture has them; the last place of both stands for an n-gram that no reference
    has. `lengths` (P,R) are the words of the references, 0 where a picture has fewer than R.

    Args:
        image_ids (Sequence): ids of the pictures.
        captions (Sequence): for each of them its captions `<start> .. <end>` as `Vocabulary.encode`
            gives them, not cut. A picture without captions is left out.
        vocabulary (Vocabulary): whose ids these are.
        count_end (bool): `<end>` is a word of every caption.

    Raises:
        ValueError: the vocabulary is too large, there are no captions, or an id comes twice.
    """

    def __init__(
        self,
        image_ids: Sequence[Hashable],
        captions: Sequence[Sequence[Sequence[int]]],
        vocabulary: Vocabulary,
        count_end: bool = True,
    ) -> None:
        check_num_words(len(vocabulary))
        self.count_end, self.vocabulary_hash = count_end, vocabulary.content_hash
        self.image_ids = [i for i, some in zip(image_ids, captions, strict=True) if some]
        self._rows = {image_id: row for row, image_id in enumerate(self.image_ids)}
        if len(self._rows) != len(self.image_ids):
            raise ValueError("image_ids: an id received twice, every picture once expected")
        width = max(map(len, captions), default=0)
        keys, counts, num_keys, num_references, lengths = [], [], [], [], []
        for chunk in chunks(captions, count_end):
            chunk_keys, chunk_counts, chunk_num_keys = counts_of_references(chunk, width)
            keys.append(chunk_keys)
            counts.append(chunk_counts)
            num_keys.append(chunk_num_keys)
            num_references.append(chunk.num_references)
            lengths.append(chunk.lengths)
        # Numbers and starts stay on the CPU: a batch's shapes are known without asking the device.
        self.num_keys, self.num_references = torch.cat(num_keys), torch.cat(num_references)  # (P,)
        self.key_start = starts(self.num_keys)  # (P,)
        self._numbers = torch.stack([self.num_references, self.num_keys, self.key_start])  # (3,P)
        is_reference = torch.arange(width) < self.num_references[:, None]
        self.lengths = torch.zeros(len(self), width, dtype=torch.int64)
        self.lengths[is_reference] = torch.cat(lengths)
        self.keys = torch.cat([*keys, torch.zeros(1, dtype=torch.int64)])
        del keys, chunk_keys  # the largest tensors; only one copy at a time
        self.counts = torch.cat([*counts, torch.zeros(1, width, dtype=torch.uint8)])

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.image_ids)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.keys.device

    def to(self, device: torch.device | str) -> PackedReferences:
        """Move the tensors; returns itself."""
        self.keys, self.counts = self.keys.to(device), self.counts.to(device)
        self.lengths = self.lengths.to(device)
        return self

    def rows(self, image_ids: Sequence[Hashable]) -> Rows:
        """The references of B pictures, on the device.

        Raises:
            ValueError: a picture is unknown or has no reference; the message names it.
        """
        try:
            pictures = torch.tensor([*map(self._rows.__getitem__, image_ids)])  # (B,)
        except KeyError as error:
            raise ValueError(
                f"image_ids: {error.args[0]!r} received, one of the {len(self)} pictures with "
                "references expected"
            ) from error
        numbers = torch.cat([pictures[None], self._numbers[:, pictures]])  # (4,B)
        place = torch.arange(int(numbers[2].max()) + 1, device=self.device)  # (K+1,)
        numbers = numbers.to(self.device)[..., None]  # all in one copy
        pictures, num_references, num_keys, key_start = numbers  # (B,1)
        is_key = place < num_keys  # (B,K+1)
        keys = self.keys.take((key_start + place) * is_key).masked_fill(~is_key, _FILLER)
        return Rows(pictures.squeeze(1), num_references, num_keys, key_start, keys)

    def find(self, rows: Rows, ngrams: Tensor) -> Tensor:
        """Where n-grams are among those of their pictures.

        Args:
            rows (Rows): the references of B pictures.
            ngrams (Tensor): packed n-grams of N = B x S captions, image-major, (N,4,T).

        Returns:
            Tensor: places in `keys` and `counts`; the last one for n-grams that no reference of the
                picture has, (N,4,T).
        """
        wanted = ngrams.view(len(rows.keys), -1)  # (B, S * 4 * T)
        place = torch.searchsorted(rows.keys, wanted)
        found = (rows.keys.gather(1, place) == wanted) & (place < rows.num_keys)
        return torch.where(found, rows.key_start + place, len(self.keys) - 1).view(ngrams.shape)

    def counts_at(self, places: Tensor) -> Tensor:
        """How often each reference has the n-grams at these places of `keys`; uint8, (...,R)."""
        return F.embedding(places, self.counts)  # much faster here than an index
