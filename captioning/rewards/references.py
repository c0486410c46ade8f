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
    """The references of the B pictures of a batch; K is the most n-grams one of them has, R the
    most references any picture of the data set has.

    Args:
        keys (Tensor): sorted n-grams, then at least one filler, (B,K+1).
        num_keys (Tensor): how many of them are n-grams, (B,1).
        key_start (Tensor): where the picture's n-grams begin in `PackedReferences.keys`, (B,1).
        captions (Tensor): places of its references in `PackedReferences.lengths`; the last place
            stands for none, (B,R).
        num_references (Tensor): (B,1).
    """

    keys: Tensor
    num_keys: Tensor
    key_start: Tensor
    captions: Tensor
    num_references: Tensor


class PackedReferences:
    """All references of a data set.

    `keys` (U+1) holds the n-grams of one picture after the other, `counts` (U+1,R) how often each
    reference of the picture has them, `lengths` (C+1) the words of the references. The last place
    of each stands for nothing: no n-gram, no occurrences, no caption.

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
        parts: list[list[Tensor]] = [[], [], [], [], []]
        for chunk in chunks(captions, count_end):
            made = *counts_of_references(chunk, width), chunk.num_references, chunk.lengths
            for column, part in zip(parts, made, strict=True):
                column.append(part)
        for column, nothing in ((0, (1,)), (1, (1, width)), (4, (1,))):
            parts[column].append(parts[column][0].new_zeros(nothing))
        self.lengths, self.num_references = torch.cat(parts.pop()), torch.cat(parts.pop())
        self.num_keys = torch.cat(parts.pop())
        self.counts = torch.cat(parts.pop())
        self.keys = torch.cat(parts.pop())
        # Sizes and starts stay on the CPU: a batch's shapes are known without asking the device.
        self.key_start, self.caption_start = starts(self.num_keys), starts(self.num_references)

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
        columns = self.num_keys, self.key_start, self.caption_start, self.num_references
        sizes = torch.stack([column[pictures] for column in columns])  # (4,B)
        most_keys, width = int(sizes[0].max()), self.counts.shape[1]
        # All numbers in one copy, (B,1) each.
        num_keys, key_start, caption_start, num_references = sizes.to(self.device)[..., None]
        place = torch.arange(most_keys + 1, device=self.device)  # (K+1,)
        nothing = len(self.keys) - 1
        keys = self.keys.take(torch.where(place < num_keys, key_start + place, nothing))
        reference = torch.arange(width, device=self.device)  # (R,)
        no_caption = len(self.lengths) - 1
        return Rows(
            keys.masked_fill(place >= num_keys, _FILLER),
            num_keys,
            key_start,
            torch.where(reference < num_references, caption_start + reference, no_caption),
            num_references,
        )

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
