"""Ranks of picture-text pairs: by hand, against a full matrix in float64, ties, memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from captioning.evaluation.retrieval import (
    TIE,
    Ranks,
    format_retrieval,
    rank_pairs,
    recall_table,
    retrieval,
)

SIDE = math.sqrt(0.5)


def units(number: int, dim: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random vectors of length 1."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(number, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=1).to(dtype)


def naive(image_vectors: Tensor, text_vectors: Tensor) -> tuple[list[int], list[int]]:
    """Both directions from the whole matrix, in float64, one pair at a time."""
    similarities = image_vectors.double() @ text_vectors.double().T
    size, both = len(similarities), []
    for matrix in (similarities.T, similarities):  # rows ask, columns answer
        others = [[matrix[n, m] for m in range(size) if m != n] for n in range(size)]
        both.append([1 + sum(o >= matrix[n, n] - TIE for o in others[n]) for n in range(size)])
    return both[0], both[1]


def as_lists(ranks: Ranks) -> tuple[list[int], list[int]]:
    return ranks.text_to_image.tolist(), ranks.image_to_text.tolist()


def test_three_pairs_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [SIDE, SIDE]])
    texts = torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    # rows pictures, columns texts: 0.8 0.6 0 / 0.6 0.8 1 / 0.99 0.99 0.71
    ranks = rank_pairs(images, texts)
    assert as_lists(ranks) == ([2, 2, 2], [1, 2, 3])
    assert ranks.text_to_image.dtype == ranks.image_to_text.dtype == torch.int64


@pytest.mark.parametrize("number", [1, 2, 7, 64])
@pytest.mark.parametrize("rows", [1, 3, 5, 64, 1000])
def test_equals_the_whole_matrix(number, rows):
    images, texts = units(number, 16, 1), units(number, 16, 2)
    assert as_lists(rank_pairs(images, texts, rows * 4 * number)) == naive(images, texts)


@pytest.mark.parametrize("block_bytes", [1, 64 * 2**20])
def test_numbers_of_either_precision_and_what_needs_a_gradient(block_bytes):
    images, texts = units(30, 8, 3, torch.float64), units(30, 8, 4, torch.float64)
    expected = naive(images, texts)
    assert as_lists(rank_pairs(images, texts, block_bytes)) == expected
    assert as_lists(rank_pairs(images.float(), texts, block_bytes)) == expected
    assert as_lists(rank_pairs(images.requires_grad_(), texts, block_bytes)) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert as_lists(rank_pairs(images.float(), texts, block_bytes)) == expected


def test_the_example_of_the_docstring():
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ranks = rank_pairs(vectors, vectors)
    assert as_lists(ranks) == ([2, 2, 1], [2, 2, 1])
    assert recall_table(ranks.text_to_image)["R1"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("dim", [16, 512, 1024])
@pytest.mark.parametrize("rows", [1, 4, 7, 40])
def test_one_sentence_for_all_pictures(dim, rows):
    images, sentence = units(40, dim, 5), units(1, dim, 6)
    texts = sentence.repeat(40, 1)
    ranks = rank_pairs(images, texts, rows * 4 * 40)
    assert (ranks.image_to_text == 40).all()  # all texts are equal, the right one comes last
    assert sorted(ranks.text_to_image.tolist()) == list(range(1, 41))
    swapped = rank_pairs(texts, images, rows * 4 * 40)
    assert as_lists(swapped) == as_lists(ranks)[::-1]


@pytest.mark.parametrize("dim", [16, 512, 1024])
@pytest.mark.parametrize("rows", [1, 4, 7, 40])
def test_equal_vectors_in_other_blocks_count(dim, rows):
    images = units(20, dim, 7).repeat(2, 1)  # pictures n and n + 20 are equal
    texts = torch.nn.functional.normalize(images + 0.1 * units(40, dim, 8), dim=1)
    ranks = rank_pairs(images, texts, rows * 4 * 40)
    assert (ranks.text_to_image == 2).all()
    assert (rank_pairs(texts, images, rows * 4 * 40).image_to_text == 2).all()
    alone = rank_pairs(images[:20], texts[:20], rows * 4 * 20)
    assert as_lists(alone) == ([1] * 20, [1] * 20)  # no pair is its own competitor


def test_how_near_a_tie_is():
    def first_rank(angle: float) -> int:
        texts = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
        return int(rank_pairs(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), texts).image_to_text[0])

    assert first_rank(math.sqrt(2 * 0.5 * TIE)) == 2  # half a TIE less similar
    assert first_rank(math.sqrt(2 * 2 * TIE)) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_permuted_pairs_have_permuted_ranks(data):
    number = data.draw(st.integers(1, 12))
    vector = st.tuples(*[st.integers(-1, 1)] * 3).filter(any)  # few directions: many ties
    drawn = data.draw(st.lists(vector, min_size=2 * number, max_size=2 * number))
    vectors = torch.nn.functional.normalize(torch.tensor(drawn).float(), dim=1)
    images, texts = vectors[:number], vectors[number:]
    order = torch.tensor(data.draw(st.permutations(range(number))))
    sizes = data.draw(st.tuples(st.integers(1, 600), st.integers(1, 600)))
    ranks = rank_pairs(images, texts, sizes[0])
    permuted = rank_pairs(images[order], texts[order], sizes[1])
    assert as_lists(ranks) == naive(images, texts)
    assert permuted.text_to_image.equal(ranks.text_to_image[order])
    assert permuted.image_to_text.equal(ranks.image_to_text[order])


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, list | tuple) else [result]:
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.numel())
        return result


def test_the_whole_matrix_is_never_held():
    images, texts = units(2000, 4, 9), units(2000, 4, 10)
    with Largest() as small:
        ranks = rank_pairs(images, texts, block_bytes=4 * 2000 * 10)
    assert small.numbers == 2 * 2000 * 10  # ten rows of similarities and ten of marks
    with Largest() as whole:
        assert as_lists(rank_pairs(images, texts)) == as_lists(ranks)
    assert whole.numbers == 2 * 2000 * 2000  # the watch sees it where it fits


@pytest.mark.parametrize(
    "ranks", [[1], [1, 2], [1, 2, 3, 4], [7, 7, 1], [1, 1, 60, 51], [5, 11, 2, 10, 50, 6]]
)
def test_table_as_published(ranks):
    table, zero_based = recall_table(torch.tensor(ranks)), np.array(ranks) - 1
    assert table["median_rank"] == np.floor(np.median(zero_based)) + 1
    assert table["mean_rank"] == pytest.approx(zero_based.mean() + 1)
    for cutoff in (1, 5, 10, 50):
        assert table[f"R{cutoff}"] == pytest.approx((zero_based < cutoff).mean())
    assert table["sum"] == pytest.approx(table["R1"] + table["R5"] + table["R10"])


def test_table_by_hand():
    expected = {"R1": 0.25, "R5": 0.5, "R10": 0.5, "R50": 0.75, "sum": 1.25}
    # the middle of 1 3 12 51, from 0: (2 + 11) / 2 = 6.5, hence 6 + 1
    assert recall_table(torch.tensor([12, 1, 51, 3])) == expected | {
        "median_rank": 7.0,
        "mean_rank": 16.75,
    }


def test_both_directions_and_their_table():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [SIDE, SIDE]])
    table = retrieval(images, torch.tensor([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0]]))
    assert table["text_to_image"]["R1"] == 0
    assert table["image_to_text"]["mean_rank"] == 2
    assert format_retrieval(table) == (
        "| retrieval | R1 | R5 | R10 | R50 | sum | median rank | mean rank |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| text to image | 0.000 | 1.000 | 1.000 | 1.000 | 2.000 | 2 | 2.0 |\n"
        "| image to text | 0.333 | 1.000 | 1.000 | 1.000 | 2.333 | 2 | 2.0 |"
    )


def broken(row: int, value: float) -> Tensor:
    """Four vectors, one of them multiplied."""
    vectors = units(4, 3, 11)
    vectors[row] *= value
    return vectors


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        (broken(2, 1.002), units(4, 3, 0), "image_vectors: row 2 of length 1.002 received"),
        (units(4, 3, 0), broken(3, 0), "text_vectors: row 3 of length 0 received"),
        (units(4, 3, 0), broken(1, math.nan), "text_vectors: row 1 of length nan received"),
        (broken(0, math.inf), units(4, 3, 0), "image_vectors: row 0 of length inf received"),
        (units(4, 3, 0), units(3, 3, 0), r"\(4, 3\) and \(3, 3\) received"),
        (units(4, 3, 0), units(4, 2, 0), r"\(4, 3\) and \(4, 2\) received"),
        (units(4, 3, 0)[0], units(4, 3, 0), r"image_vectors: shape \(3,\) received"),
        (torch.ones(0, 3), torch.ones(0, 3), r"image_vectors: shape \(0, 3\) received"),
        (torch.ones(3, 0), torch.ones(3, 0), "image_vectors: row 0 of length 0 received"),
        (units(4, 3, 0), units(4, 3, 0).half(), "text_vectors: torch.float16 received"),
        (torch.eye(3).long(), torch.eye(3), "image_vectors: torch.int64 received"),
    ],
)
def test_vectors_refused(images, texts, message):
    with pytest.raises(ValueError, match=message):
        rank_pairs(images, texts)


def test_lengths_within_the_tolerance_are_accepted():
    assert as_lists(rank_pairs(broken(2, 1.0009), broken(0, 0.9991)))[0] == [1, 1, 1, 1]


def test_numbers_refused():
    vectors = units(4, 3, 0)
    with pytest.raises(ValueError, match="block_bytes: 0 received"):
        rank_pairs(vectors, vectors, 0)
    for ranks in ([], [[1]]):
        with pytest.raises(ValueError, match="ranks: shape"):
            recall_table(torch.tensor(ranks, dtype=torch.int64))
    for odd in ([0, 1], [1.0]):
        with pytest.raises(ValueError, match="integers from 1 expected"):
            recall_table(torch.tensor(odd))
