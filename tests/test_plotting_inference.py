"""The search tree, attention and comparisons as they are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from captioning.plotting.inference import (
    attention_word,
    attention_words,
    beam_tree,
    next_word_bars,
    search_tradeoff,
    setting_curves,
    tree_nodes,
    verdict_grid,
)
from captioning.plotting.style import alt_text
from vocabulary import END_IDX, Vocabulary

VOCABULARY = Vocabulary(["a", "red", "dog"])  # ids 4, 5, 6
NEVER = -math.inf


def column(parents, tokens, scores) -> dict:
    return {
        "parents": torch.tensor([parents]),
        "tokens": torch.tensor([tokens]),
        "scores": torch.tensor([scores]),
    }


# a -> dog -> end and a -> red wins over red; the slot that is closed is no node
TRACE = [
    column([0, 0], [4, 5], [math.log(0.6), math.log(0.3)]),
    column([0, 0], [6, 5], [math.log(0.36), math.log(0.24)]),
    column([0, 1], [END_IDX, 6], [math.log(0.18), NEVER]),
]


def test_nodes_know_their_way_and_their_own_probability():
    nodes = tree_nodes(TRACE, VOCABULARY)
    assert [node.word for node in nodes] == ["a", "red", "dog", "red", "<end>"]
    assert [node.tokens for node in nodes][2:] == [(4, 6), (4, 5), (4, 6, END_IDX)]
    assert [node.share for node in nodes] == pytest.approx([0.6, 0.3, 0.6, 0.4, 0.5])
    assert nodes[4].is_end and nodes[4].parent is nodes[2]


def test_no_lines_of_the_tree_cross():
    trace = [
        column([0, 0, 0], [4, 5, 6], [-1.0, -2.0, -3.0]),
        column([2, 0, 1], [4, 5, 6], [-3.5, -4.0, -4.5]),
        column([1, 0, 1], [4, 5, 6], [-5.0, -5.5, -6.0]),
    ]
    nodes = tree_nodes(trace, VOCABULARY)
    for one in nodes:
        for other in nodes:
            if one.parent and other.parent and one.column == other.column:
                above = one.parent.row - other.parent.row
                assert above * (one.row - other.row) >= 0


def test_the_winner_is_filled():
    figure = beam_tree(TRACE, VOCABULARY, best=[4, 6, END_IDX], title="tree")
    boxes = {t.get_text(): t for t in figure.axes[0].texts if t.get_bbox_patch() is not None}
    assert boxes["(end)"].get_color() == "white" and boxes["dog"].get_color() == "white"
    assert boxes["red"].get_color() != "white"
    written = [text.get_text() for text in figure.axes[0].texts]
    assert f"{math.log(0.18):.1f} in all" in written and "0.60" in written
    assert "5 words in 3 steps, 1 finished captions" in alt_text(figure)


def test_a_winner_from_beside_the_beam_is_named():
    figure = beam_tree(TRACE, VOCABULARY, best=[5, 5, END_IDX])
    assert "greedy caption" in figure.axes[0].get_title("right")


def test_attention_shows_one_picture_for_each_word():
    picture = Image.new("RGB", (16, 16), "grey")
    weights = torch.eye(4)[:3] + 0.01
    figure = attention_words(picture, ["a", "red", "dog"], weights)
    assert len(figure.axes) == 4  # the picture itself, then the words
    assert alt_text(figure).endswith("a red dog")
    one = attention_word(picture, ["a", "red", "dog"], weights, word=99)
    assert "word 3: dog" in [text.get_text() for text in one.texts]
    assert any("a red DOG" in text.get_text() for text in one.texts)


def test_comparisons_draw_their_numbers():
    left, right = search_tradeoff([1, 5], [0.8, 0.9], [2.0, 7.0], human=1.2).axes
    assert left.lines[0].get_ydata().tolist() == [0.8, 0.9]
    assert left.lines[1].get_ydata() == [1.2, 1.2]
    assert [bar.get_height() for bar in right.patches] == [2.0, 7.0]
    assert [label.get_text() for label in right.get_xticklabels()] == ["1", "5"]
    one, two = setting_curves([0.1, 1.0], {"x": [1, 2], "y": [4, 3]}, "temperature").axes
    assert one.lines[0].get_xydata().tolist() == [[0.1, 1], [1.0, 2]]
    assert two.lines[0].get_ydata().tolist() == [4, 3]
    (axes,) = next_word_bars(["a", "red"], {"cold": [0.9, 0.1], "hot": [0.6, 0.4]}).axes
    assert [bar.get_height() for bar in axes.patches] == [0.9, 0.1, 0.6, 0.4]


def test_verdicts_stand_below_the_pictures():
    figure = verdict_grid(
        [Image.new("RGB", (8, 8))], ["A cat."], [["A dog runs.", "A dog."]], ["wrong: no cat"]
    )
    written = " ".join(text.get_text() for text in figure.texts)
    assert "says: A cat." in written and "people: A dog runs." in written
    assert "wrong: no cat" in written and "A dog." not in written
