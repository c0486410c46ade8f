"""Pictures of saying: the search as a tree, where the decoder looked, what a setting costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from captioning.plotting.attention import Frame, attention_overlay
from captioning.plotting.style import (
    CYCLE,
    PALETTE,
    WIDTH,
    new_figure,
    picture_grid,
    set_alt_text,
)
from captioning.plotting.training import human_line
from vocabulary import END_IDX, PAD_IDX, Vocabulary

# ------------------------------------------------------------------------------------------- words


def next_word_bars(
    words: Sequence[str], probabilities: Mapping[str, Sequence[float]], title: str = ""
) -> Figure:
    """Probabilities of a few next words under several settings, e.g. temperatures.

    Args:
        words (Sequence[str]): the words, most probable first.
        probabilities (Mapping): name of the setting to one probability for each word.
        title (str): which word is asked for.

    Returns:
        Figure: a group of bars for each word.
    """
    figure, ((axes,),) = new_figure(height=2.7)
    width = 0.8 / len(probabilities)
    for index, (name, values) in enumerate(probabilities.items()):
        x = np.arange(len(words)) - 0.4 + width * (index + 0.5)
        axes.bar(x, values, width * 0.92, color=CYCLE[index % len(CYCLE)], label=name)
    axes.set_xticks(np.arange(len(words)), words)
    axes.grid(axis="x", visible=False)
    axes.set(title=title or "The next word", ylabel="probability")
    axes.legend()
    best = {name: words[int(np.argmax(values))] for name, values in probabilities.items()}
    return set_alt_text(figure, f"{title}: the most probable word is {best}")


# -------------------------------------------------------------------------------------------- tree


@dataclass
class Node:
    """A word of the search tree.

    Args:
        column (int): number of the word in the caption, from 0.
        row (float): height in the drawing, 0 is the middle.
        word (str): the word.
        share (float): its probability, given the words before it.
        score (float): log-probability of the whole beginning.
        parent (Node | None): the word before; None for a first word.
        tokens (tuple[int, ...]): ids from the root to here.
    """

    column: int
    row: float
    word: str
    share: float
    score: float
    parent: Node | None
    tokens: tuple[int, ...]

    @property
    def is_end(self) -> bool:
        """A finished caption."""
        return self.tokens[-1] == END_IDX


def tree_nodes(
    trace: Sequence[Mapping[str, Tensor]], vocabulary: Vocabulary, image: int = 0
) -> list[Node]:
    """The beam of one image as nodes that can be drawn without crossing lines.

    Args:
        trace (Sequence): what `generate(..., trace=trace)` collected: `parents`, `tokens`,
            `scores`, (B, K) each.
        vocabulary (Vocabulary): words of the ids.
        image (int): row of the batch.

    Returns:
        list[Node]: column by column, siblings beside each other.
    """
    nodes: list[Node] = []
    before: dict[int, Node] = {}
    for column, entry in enumerate(trace):
        parents, tokens, scores = (
            entry[k][image].tolist() for k in ("parents", "tokens", "scores")
        )
        slots = [slot for slot, score in enumerate(scores) if math.isfinite(score)]
        if column:  # below their parents, the better sibling first
            slots.sort(key=lambda s: (before[parents[s]].row, -scores[s]))
        current = {}
        for place, slot in enumerate(slots):
            parent = before[parents[slot]] if column else None
            current[slot] = Node(
                column=column,
                row=place - (len(slots) - 1) / 2,
                word=vocabulary.words[tokens[slot]],
                share=math.exp(scores[slot] - (parent.score if parent else 0.0)),
                score=scores[slot],
                parent=parent,
                tokens=(*(parent.tokens if parent else ()), tokens[slot]),
            )
        nodes += current.values()
        before = current
    return nodes


def beam_tree(
    trace: Sequence[Mapping[str, Tensor]],
    vocabulary: Vocabulary,
    best: Sequence[int] = (),
    image: int = 0,
    title: str = "",
) -> Figure:
    """Beam search as a tree: every column is a step, every box a beginning that was kept.

    Args:
        trace, vocabulary, image: see `tree_nodes`.
        best (Sequence[int]): ids of the caption that won; its way is drawn in strong colour.
        title (str): a line above.

    Returns:
        Figure: one axes; a box holds the word and its probability.
    """
    nodes = tree_nodes(trace, vocabulary, image)
    winner = tuple(token for token in best if token != PAD_IDX)
    columns = max(node.column for node in nodes) + 1
    rows = max(abs(node.row) for node in nodes) * 2 + 1
    width = max(WIDTH, 0.74 * columns)
    figure, ((axes,),) = new_figure(height=0.55 + 0.5 * rows, width=width)
    for node in nodes:
        _draw_node(axes, node, node.tokens == winner[: len(node.tokens)])
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows / 2 + 0.1, -rows / 2 - 0.1)
    axes.set_axis_off()
    if title:
        axes.set_title(title)
    if winner and all(node.tokens != winner for node in nodes):
        note = "the winner is the greedy caption, which is kept beside the beam"
        axes.set_title(note, loc="right", fontsize=8, fontweight="normal")
    ends = [node for node in nodes if node.is_end]
    spoken = f"Search tree of {len(nodes)} words in {columns} steps, {len(ends)} finished captions"
    return set_alt_text(figure, spoken)


def _draw_node(axes: Axes, node: Node, wins: bool) -> None:
    """The box of a word and the line to the word before."""
    colour = PALETTE["blue"] if wins else PALETTE["green"] if node.is_end else "#c9c8d4"
    if node.parent is not None:
        x = np.linspace(node.column - 1 + 0.2, node.column - 0.2, 20)
        bend = (1 - np.cos(np.linspace(0, np.pi, 20))) / 2
        y = node.parent.row + (node.row - node.parent.row) * bend
        axes.plot(x, y, color=colour, linewidth=2.6 if wins else 1.1, zorder=2 if wins else 1)
    word = "(end)" if node.is_end else node.word
    box = {"boxstyle": "round,pad=0.28", "facecolor": colour if wins else "white"}
    box |= {"edgecolor": colour, "linewidth": 1.1}
    style = {"ha": "center", "va": "center", "zorder": 3}
    text = "white" if wins else PALETTE["ink"]
    size = 8 if len(word) < 10 else 7
    axes.text(node.column, node.row - 0.07, word, fontsize=size, color=text, bbox=box, **style)
    below = f"{node.score:.1f} in all" if node.is_end else f"{node.share:.2f}"
    axes.text(node.column, node.row + 0.33, below, fontsize=6.5, color="#6c6b7d", **style)


# --------------------------------------------------------------------------------------- attention


def attention_words(
    picture: Image.Image,
    words: Sequence[str],
    weights: Tensor,
    boxes: Tensor | None = None,
    frame: Frame = Frame(),  # noqa: B008 - immutable
    columns: int = 6,
) -> Figure:
    """One small picture for each word: bright where the decoder looked before it said the word.

    Args:
        picture (Image.Image): what is described.
        words (Sequence[str]): T words.
        weights (Tensor): (T, P) attention weights.
        boxes (Tensor | None): (P, 4) regions in 0..1; None for a square grid.
        frame (Frame): the part of the picture that the encoder saw.
        columns (int): pictures in a row.

    Returns:
        Figure: the picture itself, then the words in order.
    """
    overlays = [attention_overlay(picture, row, boxes, frame) for row in weights[: len(words)]]
    figure = picture_grid([picture, *overlays], ["", *words], columns=columns, size=10)
    return set_alt_text(figure, "Where the decoder looked for each word of: " + " ".join(words))


def attention_word(
    picture: Image.Image,
    words: Sequence[str],
    weights: Tensor,
    boxes: Tensor | None = None,
    frame: Frame = Frame(),  # noqa: B008 - immutable
    word: int = 1,
) -> Figure:
    """The same for one word, larger, beside the picture; made for a slider over `word`.

    Args:
        word (int): number of the word from 1; beyond the last one the last is taken.
    """
    index = min(max(word, 1), len(words)) - 1
    overlay = attention_overlay(picture, weights[index], boxes, frame)
    said = " ".join([*words[:index], words[index].upper(), *words[index + 1 :]])
    texts = [said, f"word {index + 1}: {words[index]}"]
    figure = picture_grid([picture, overlay], texts, columns=2, width=5.5)
    return set_alt_text(figure, f"Where the decoder looked for {words[index]}")


# ------------------------------------------------------------------------------------- comparisons


def search_tradeoff(
    sizes: Sequence[int],
    scores: Sequence[float],
    milliseconds: Sequence[float],
    human: float | None = None,
) -> Figure:
    """What a wider beam brings and what it costs.

    Args:
        sizes (Sequence[int]): beam sizes.
        scores (Sequence[float]): CIDEr of each.
        milliseconds (Sequence[float]): time a picture for each, encoder left out.
        human (float | None): CIDEr of people.

    Returns:
        Figure: score against size, time against size.
    """
    figure, ((left, right),) = new_figure(1, 2, height=2.7)
    places = np.arange(len(sizes))
    left.plot(places, scores, "o-", color=PALETTE["green"])
    left.set(title="What it brings", ylabel="CIDEr")
    low, high = min([*scores, *_known(human)]), max([*scores, *_known(human)])
    margin = 0.15 * (high - low) + 0.02
    left.set_ylim(max(0, low - margin), high + margin)
    if human is not None:
        human_line(left, human, horizontal=True)
    right.bar(places, milliseconds, 0.6, color=PALETTE["orange"])
    right.set(title="What it costs", ylabel="ms a picture")
    right.grid(axis="x", visible=False)
    for axes in (left, right):
        axes.set_xticks(places, [str(size) for size in sizes])
        axes.set_xlabel("beam size")
    told = ", ".join(
        f"{size}: {score:.2f} in {ms:.1f} ms"
        for size, score, ms in zip(sizes, scores, milliseconds, strict=True)
    )
    return set_alt_text(figure, f"CIDEr and time a picture by beam size: {told}")


def _known(value: float | None) -> list[float]:
    return [] if value is None else [value]


def setting_curves(
    values: Sequence[float], measures: Mapping[str, Sequence[float]], label: str
) -> Figure:
    """Several measures of the same captions against one setting, one axes each.

    Args:
        values (Sequence[float]): the setting's values.
        measures (Mapping): name of a measure to one number for each value.
        label (str): name of the setting.

    Returns:
        Figure: one axes a measure.
    """
    figure, (row,) = new_figure(1, len(measures), height=2.5)
    for axes, (name, numbers), colour in zip(row, measures.items(), CYCLE, strict=False):
        axes.plot(values, numbers, "o-", color=colour)
        axes.set(title=name, xlabel=label)
        axes.margins(y=0.2)
    return set_alt_text(figure, f"{', '.join(measures)} against {label}")


def verdict_grid(
    pictures: Sequence[Any],
    captions: Sequence[str],
    references: Sequence[Sequence[str]],
    verdicts: Sequence[str],
    titles: Sequence[str] | None = None,
    columns: int = 3,
    width: float = 6.2,
) -> Figure:
    """Pictures with the captioner's sentence, one of people's, and what is wrong with the first.

    Args:
        pictures (Sequence): M pictures.
        captions (Sequence[str]): of the captioner.
        references (Sequence[Sequence[str]]): of people; the first is shown.
        verdicts (Sequence[str]): what is wrong, or that nothing is; empty: not shown.
        titles (Sequence[str] | None): e.g. the score.
        columns (int): pictures in a row.
        width (float): inches of the figure.

    Returns:
        Figure: a grid of pictures.
    """
    texts = [
        [f"says: {caption}", f"people: {people[0]}", *([verdict] if verdict else [])]
        for caption, people, verdict in zip(captions, references, verdicts, strict=True)
    ]
    return picture_grid(pictures, texts, columns, width, titles=titles)
