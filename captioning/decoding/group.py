"""One step of a decoder within a beam search: K words of log-probabilities, used up one by one.

A decoder that says K words at once gives K columns of log-probabilities. After each column a row
may go on in the place of another one, and pictures may leave. Neither the columns that are left nor
the decoder's state are copied about each time: the group remembers which of its rows and pictures
the present ones come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.decoding.scoring import Decoder, State, read_words
from vocabulary import START_IDX

if TYPE_CHECKING:
    from model import VisualFeatures


class WordGroup:
    """What a decoder says after a group of words.

    Args:
        decoder (Decoder): of K = `group_size` words.
        forbidden (list[int]): ids that must not be chosen.
        words (Tensor): the last K words of every row, (N,K).
        state (State): before them.
        num_images (int): pictures, A; N is a multiple.
        is_checked (bool): look for NaN.
    """

    def __init__(
        self,
        decoder: Decoder,
        forbidden: list[int],
        words: Tensor,
        state: State,
        num_images: int,
        is_checked: bool,
    ) -> None:
        self.decoder, self.forbidden = decoder, forbidden
        self.logprobs, self.state = read_words(decoder, words, state, forbidden, is_checked)
        weights = self.state["words"].get("attention_weights")
        self.weights = None if weights is None else weights.view(*words.shape, -1)  # (N,K,P)
        self.words = words[:, :0]  # chosen so far, (N',g)
        # What was what the present rows and pictures continue:
        self.rows = torch.arange(len(words), device=words.device)  # (N',)
        self.images = torch.arange(num_images, device=words.device)  # (A',)
        self.num_images = num_images

    @property
    def is_used_up(self) -> bool:
        """Whether all K words are chosen."""
        return self.words.shape[1] == self.logprobs.shape[1]

    def column(self) -> tuple[Tensor, Tensor | None]:
        """The next words' log-probabilities (N',V), and where the decoder looked (N',P) or None."""
        place = self.words.shape[1]
        logprobs = self.logprobs[:, place]
        weights = None if self.weights is None else self.weights[:, place]
        if place == 0:  # nobody has moved yet
            return logprobs, weights
        logprobs = logprobs.index_select(0, self.rows)
        return logprobs, None if weights is None else weights.index_select(0, self.rows)

    def follow(self, rows: Tensor, kept: Tensor, words: Tensor) -> None:
        """Each row continues another one, or itself, with its next word.

        Args:
            rows (Tensor): the rows that are continued, of the present ones, (N',).
            kept (Tensor): the pictures that stay, of the present ones, ascending, (A',).
            words (Tensor): the new words, (N',).
        """
        self.words = torch.cat([self.words.index_select(0, rows), words.view(-1, 1)], 1)
        self.rows, self.images = self.rows.index_select(0, rows), self.images.index_select(0, kept)

    def next_group(self, is_checked: bool) -> WordGroup:
        """What the decoder says after reading the words chosen here."""
        more = (self.words, self.following_state(), len(self.images), is_checked)
        return WordGroup(self.decoder, self.forbidden, *more)

    def following_state(self) -> State:
        """The decoder's state for the present rows and pictures."""
        words = self.state["words"].items()
        image = self.state["image"]  # the same for all rows: it changes only when pictures leave
        if len(self.images) < self.num_images:
            image = {name: tensor.index_select(0, self.images) for name, tensor in image.items()}
        rows = {name: tensor.index_select(0, self.rows) for name, tensor in words}
        return {"image": image, "words": rows}


def first_group(
    decoder: Decoder, features: VisualFeatures, rows_per_image: int, forbidden: list[int]
) -> WordGroup:
    """What a decoder says after K `<start>`.

    Args:
        decoder (Decoder): of K = `group_size` words.
        features (VisualFeatures): of A pictures.
        rows_per_image (int): rows for each of them.
        forbidden (list[int]): ids that must not be chosen.
    """
    shape = (len(features) * rows_per_image, decoder.group_size)
    starts = torch.full(shape, START_IDX, device=features.regions.device)
    state = decoder.init_state(features, rows_per_image)
    return WordGroup(decoder, forbidden, starts, state, len(features), is_checked=True)
