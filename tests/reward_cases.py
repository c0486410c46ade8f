"""Small captions for the tests of rewards, and what the readable metrics say about them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from captioning.evaluation.cider import CiderScorer
from captioning.evaluation.ngrams import DocumentFrequency
from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.references import PackedReferences
from data_loader import Batch
from vocabulary import END_IDX, PAD_IDX, START_IDX, Vocabulary

VOCABULARY = Vocabulary("a dog cat the red ball sees on mat and".split())
# captions as words without <start> and <end>, like the metrics of `captioning.evaluation` take them
PEOPLE = {
    7: ["a dog sees the red ball", "the dog and a ball", "a dog dog dog sees a ball"],
    8: ["a cat on a mat", "the cat sees a red mat"],
    9: ["a red ball on the mat"],
}

word_ids = st.integers(4, 9)
captions = st.lists(word_ids, max_size=7)
data_sets = st.lists(
    st.tuples(
        st.lists(captions, min_size=1, max_size=4), st.lists(captions, min_size=2, max_size=2)
    ),
    min_size=1,
    max_size=4,
)


def ids_of(text: str, vocabulary: Vocabulary = VOCABULARY) -> list[int]:
    """Ids of a caption's words, without `<start>` and `<end>`."""
    return [vocabulary.index(word) for word in text.split()]


def framed(caption: list[int]) -> list[int]:
    """`<start> .. <end>`."""
    return [START_IDX, *caption, END_IDX]


def to_tokens(captions: list[list[int]], width: int = 0) -> torch.Tensor:
    """(N,T) ids with `<end>`, then `<pad>`, as `Generation.tokens` has them."""
    width = max(width, *(len(caption) + 1 for caption in captions))
    rows = [[*c, END_IDX] + [PAD_IDX] * (width - 1 - len(c)) for c in captions]
    return torch.tensor(rows)


def make_batch(image_ids: list) -> Batch:
    """A batch that only knows its pictures."""
    nothing = torch.empty(0, 0)
    return Batch(None, None, nothing.long(), nothing.bool(), list(image_ids), [], [])


def pack(people: dict[int, list[list[int]]], count_end: bool, vocabulary: Vocabulary = VOCABULARY):
    """References and frequencies of captions given as ids of their words."""
    captions = [[framed(caption) for caption in some] for some in people.values()]
    references = PackedReferences(list(people), captions, vocabulary, count_end)
    return references, NgramFrequency.build(captions, vocabulary, "people", count_end)


def make_reward(people: dict[int, list[list[int]]], count_end: bool = True) -> CiderReward:
    """CIDEr-D with the frequencies of the references themselves."""
    return CiderReward(*pack(people, count_end))


def readable_scorer(people: dict[int, list[list[int]]], count_end: bool = True) -> CiderScorer:
    """The twin of `make_reward` from `captioning.evaluation`."""
    table = DocumentFrequency.from_references(people, END_IDX if count_end else None)
    return CiderScorer(people, table)


def people_as_ids() -> dict[int, list[list[int]]]:
    """`PEOPLE` as ids."""
    return {image_id: [ids_of(text) for text in texts] for image_id, texts in PEOPLE.items()}
