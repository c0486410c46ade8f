"""The tokenizer of small CLIPs: whole words of a vocabulary, where CLIP's own has word pieces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vocabulary import PAD_IDX, Vocabulary


class WordTokenizer:
    """Called like open_clip's tokenizers.

    Args:
        vocabulary (Vocabulary): words and their ids; others become `<unk>`.
        context_length (int): T, `<start>` and `<end>` counted; longer texts are cut.
    """

    def __init__(self, vocabulary: Vocabulary, context_length: int) -> None:
        self.vocabulary, self.context_length = vocabulary, context_length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, T) int64 ids `<start> .. <end> <pad>`."""
        tokens = torch.full((len(texts), self.context_length), PAD_IDX)
        for row, text in zip(tokens, texts, strict=True):
            ids = self.vocabulary.encode(text, self.context_length - 2)
            row[: len(ids)] = torch.tensor(ids)
        return tokens
