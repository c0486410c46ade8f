"""What is drawn equals what was given: curves, bars, tables and the live chart."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.plotting.style import alt_text
from captioning.plotting.tables import Table
from captioning.plotting.training import (
    LiveTraining,
    caption_progress,
    compare_runs,
    grouped_bars,
    loss_against_score,
    score_bars,
    smooth,
    spell_seconds,
    training_curves,
)

EPOCHS = [
    {"epoch": 1, "step": 2, "CIDEr": 0.2, "validation_loss": 3.0, "samples": ["A dog.", "A cat."]},
    {"epoch": 2, "step": 4, "CIDEr": 0.9, "validation_loss": 2.5, "samples": ["A red dog.", "-"]},
    {"epoch": 3, "step": 6, "CIDEr": 0.7, "validation_loss": 2.0, "samples": ["Two dogs.", "x"]},
]


def texts(figure) -> list[str]:
    """Everything written in a figure."""
    inside = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in [*inside, *figure.texts]]


def test_smooth_averages_the_last_values():
    assert smooth([4.0, 2.0, 6.0, 0.0], 2).tolist() == [4.0, 3.0, 4.0, 3.0]
    assert smooth([4.0, 2.0], 1).tolist() == [4.0, 2.0]
    assert smooth([], 3).tolist() == []


@pytest.mark.parametrize(
    ("seconds", "spoken"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s")]
)
def test_seconds_are_spelt(seconds, spoken):
    assert spell_seconds(seconds) == spoken


def test_training_curves_draw_every_step_and_epoch():
    figure = training_curves([1, 2, 3], [5.0, 4.0, 3.5], EPOCHS, human=1.1, title="now", thawed=1)
    left, right = figure.axes
    steps, smoothed, validation = left.lines
    assert steps.get_xydata().tolist() == [[1, 5.0], [2, 4.0], [3, 3.5]]
    assert smoothed.get_ydata().tolist() == [5.0, 4.0, 3.5]  # so few steps are not smoothed
    assert validation.get_xydata().tolist() == [[2, 3.0], [4, 2.5], [6, 2.0]]
    assert right.lines[0].get_xydata().tolist() == [[1, 0.2], [2, 0.9], [3, 0.7]]
    assert right.lines[1].get_xydata().tolist() == [[2, 0.9]]  # the best one is marked
    assert right.lines[2].get_ydata() == [1.1, 1.1]  # people
    assert right.lines[3].get_xdata() == [1.5, 1.5]  # the encoder is trained from here
    assert "0.90" in texts(figure) and "people 1.10" in texts(figure)
    assert "best CIDEr 0.90" in alt_text(figure)


def test_training_curves_before_the_first_step():
    figure = training_curves([], [])
    assert len(figure.axes[0].lines) == 2 and len(figure.axes[1].lines) == 1
    assert "last loss none yet" in alt_text(figure)


def test_runs_are_compared_row_by_row():
    rows = [
        {"kind": "step", "step": 1, "loss": 4.0},
        {"kind": "step", "step": 2, "loss": 2.0},
        {"kind": "epoch", "step": 2, "epoch": 1, "CIDEr": 0.5},
    ]
    figure = compare_runs({"one": rows, "two": rows[:1]}, human=0.8)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [4.0, 3.0]  # a running mean
    assert left.lines[1].get_ydata().tolist() == [4.0]
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["one", "two"]
    assert right.lines[0].get_xydata().tolist() == [[1, 0.5]]
    assert right.lines[2].get_ydata() == [0.8, 0.8]


def test_best_loss_and_best_score_are_marked_apart():
    figure = loss_against_score(EPOCHS)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [3.0, 2.5, 2.0]
    assert left.lines[1].get_xdata() == [3, 3] and right.lines[1].get_xdata() == [2, 2]
    assert alt_text(figure).endswith(
        "validation_loss is best after epoch 3; CIDEr is best after epoch 2"
    )


def test_bars_have_the_length_of_their_values():
    figure = score_bars({"a": 0.25, "b": 0.5}, human=1.0, title="t", highlight="b")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.lines[0].get_xdata() == [1.0, 1.0]
    assert {"0.25", "0.50", "people 1.00"} <= set(texts(figure))
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()


def test_groups_of_bars_keep_systems_and_measures_apart():
    systems = {"model": {"x": 0.1, "y": 0.2}, "people": {"x": 0.3, "y": 0.4}}
    (axes,) = grouped_bars(systems, "t").axes
    assert [bar.get_height() for bar in axes.patches] == [0.1, 0.2, 0.3, 0.4]
    middles = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert np.allclose(middles, [-0.2, 0.8, 0.2, 1.2])


def test_table_shows_numbers_and_gaps():
    table = Table({"a<b": {"n": 1200, "x": 0.5}, "c": {"x": 0.125}}, "who", decimals=2, bold="c")
    assert table.lines() == [["who", "n", "x"], ["a<b", "1,200", "0.50"], ["c", "", "0.12"]]
    shown = table._repr_html_()
    assert "a&lt;b" in shown and ">1,200</td>" in shown and "<b>0.12</b>" in shown
    assert repr(table).splitlines() == ["who      n     x", "a<b  1,200  0.50", "c           0.12"]


def test_progress_shows_the_first_and_the_last_epoch():
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    written = " ".join(texts(caption_progress(pictures, EPOCHS, shown=2)))
    assert "epoch 1: A dog." in written and "epoch 3: Two dogs." in written
    assert "epoch 2" not in written
    assert "epoch 3: x" in written


def a_run(step: int, epoch: int) -> SimpleNamespace:
    encoder = SimpleNamespace(trainable="layer3", trainable_from_epoch=1)
    settings = SimpleNamespace(training=SimpleNamespace(num_epochs=2), encoder=encoder)
    return SimpleNamespace(step=step, epoch=epoch, total_steps=4, experiment=settings)


def test_live_training_notes_what_train_tells_it():
    live = LiveTraining(validation_loss=lambda run: 10.0 + run.epoch, human=1.0, seconds=0)
    for step in range(1, 5):
        live.on_step(a_run(step, (step - 1) // 2), {"loss": 5.0 - step})
        if step % 2 == 0:
            row = {"CIDEr": step / 10, "samples": ["A dog."]}
            live.on_epoch(a_run(step, step // 2), row)
    assert (live.steps, live.losses) == ([1, 2, 3, 4], [4.0, 3.0, 2.0, 1.0])
    assert [epoch["validation_loss"] for epoch in live.epochs] == [11.0, 12.0]
    assert [epoch["CIDEr"] for epoch in live.epochs] == [0.2, 0.4]
    left, right = live.figure().axes
    assert left.lines[0].get_ydata().tolist() == live.losses
    assert right.lines[-1].get_xdata() == [1.5, 1.5]
    assert "epoch 2 of 2 done · took" in left.get_title("left") + left.get_title()


def test_live_training_updates_its_displays_in_place(displays):
    shown, updated = displays
    live = LiveTraining([Image.new("RGB", (8, 8))], seconds=1000)
    for step in (1, 2):
        live.on_step(a_run(step, step - 1), {"loss": 1.0})
        live.on_epoch(a_run(step, step), {"CIDEr": 0.1, "samples": ["A dog."]})
    assert len(shown) == 2  # the chart and the pictures, once each
    assert len(updated) == 2  # and each was replaced after the second epoch
