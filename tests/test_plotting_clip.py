"""Lesson 7's pictures: drawn, told in words, and refused where the numbers do not agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captioning.plotting.clip import (
    CRITERIA,
    captions_beside,
    reward_dots,
    scores_by_length,
    similarity_figure,
)
from captioning.plotting.style import alt_text

PICTURE = np.full((16, 24, 3), 200, np.uint8)


def texts_of(figure) -> list[str]:
    """All that is written in a figure."""
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_similarities_are_written_and_own_pairs_framed():
    similarity = torch.tensor([[0.9, 0.1], [0.6, -0.5]])
    figure = similarity_figure([PICTURE, PICTURE], ["A dog.", "A cat."], similarity)
    assert {"0.90", "0.10", "0.60", "−0.50"} <= set(texts_of(figure))
    assert "1 of the captions" in alt_text(figure)
    framed = [p for p in figure.axes[0].patches if not p.get_fill()]
    assert len(framed) == 2 and framed[0].get_edgecolor() != framed[1].get_edgecolor()
    with pytest.raises(ValueError, match="pictures, captions, similarity"):
        similarity_figure([PICTURE], ["A dog.", "A cat."], similarity)


def test_scores_by_length_are_means_of_groups():
    lengths = [3, 3, 9, 9]
    figure = scores_by_length(lengths, {"one": [0.0, 1.0, 2.0, 4.0]}, bins=2)
    line = figure.axes[0].get_lines()[0]
    assert line.get_xdata().tolist() == [3, 9] and line.get_ydata().tolist() == [0.5, 3.0]
    assert "0.50 (short) to 3.00 (long)" in alt_text(figure)
    with pytest.raises(ValueError, match="lengths, one"):
        scores_by_length(lengths, {"one": [1.0]})


def test_words_stand_on_the_ground_of_their_criterion():
    captions = {"people": "A dog runs.", "model": "A dog's ball."}
    marks = {"people": ["", "object", "relation"], "model": ["", "object", "", ""]}
    figure = captions_beside(PICTURE, captions, marks, {"model": "CIDEr 1.00"})
    colours = {p.get_facecolor()[:3] for p in figure.axes[0].patches}
    assert len(colours) == len(CRITERIA)  # the key shows all three
    # a key of three, and two words of people's; "dog's" are two words there and one here
    assert len(figure.axes[0].patches) == 3 + 2
    assert "model   CIDEr 1.00" in texts_of(figure)
    assert "people: A dog runs." in alt_text(figure)
    assert not captions_beside(PICTURE, captions).axes[0].patches
    with pytest.raises(ValueError, match="at least one"):
        captions_beside(PICTURE, {})


def test_an_empty_caption_is_shown_as_such():
    assert "-" in texts_of(captions_beside(PICTURE, {"model": ""}))


def test_a_dot_a_seed_and_a_line_at_the_mean():
    def cell(*seeds):
        return {"tests": {"greedy": {"CIDEr": {"mean": np.mean(seeds), "seeds": list(seeds)}}}}

    summary = {"cells": {"start": cell(1.0, 3.0), "rewarded": cell(2.0, 6.0)}}
    figure = reward_dots(summary, "greedy", {"CIDEr": "CIDEr"})
    dots, mean = figure.axes[0].get_lines()[:2]
    assert dots.get_xdata().tolist() == [1.0, 3.0] and mean.get_xdata().tolist() == [2.0, 2.0]
    assert "start 2.00, rewarded 4.00" in alt_text(figure)
    assert [axes.get_visible() for axes in figure.axes] == [True, False, False, False]
    with pytest.raises(KeyError):
        reward_dots(summary, "beam 5", {"CIDEr": "CIDEr"})
