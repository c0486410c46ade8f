"""Figures of lessons 0 and 1: the numbers given are the numbers drawn, and each has alt text."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from captioning.plotting import architecture, data, style
from data_loader import eval_transform
from vocabulary import PAD_IDX, Coverage, Vocabulary

RED = Image.new("RGB", (40, 30), (200, 30, 30))
GREEN = Image.new("RGB", (30, 30), (30, 160, 60))
CAPTIONS = ["A red dog.", "A dog runs on the grass."]


@pytest.fixture(autouse=True)
def course_style():
    with matplotlib.rc_context():
        style.use_course_style()
        yield


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def widths(axes) -> list[float]:
    return [patch.get_width() for patch in axes.patches]


# ------------------------------------------------------------------------------------------- style


def test_a_grid_shows_every_picture_and_every_caption():
    figure = style.picture_grid([RED, GREEN], [CAPTIONS, "one"], columns=2, titles=["a", "b"])
    assert len(figure.axes) == 2
    assert np.array_equal(figure.axes[1].images[0].get_array(), np.asarray(GREEN))
    said = " ".join(text.get_text() for text in figure.texts)
    for caption in (*CAPTIONS, "one"):
        assert caption in said
    assert figure.axes[0].get_title("left") == "a"
    assert style.alt_text(figure).startswith("2 pictures: a: A red dog.")


def test_long_captions_wrap_inside_their_column():
    words = " ".join(["word"] * 40)
    figure = style.picture_grid([GREEN] * 3, [words] * 3)
    figure.canvas.draw()
    for text in figure.texts:
        box = text.get_window_extent().transformed(figure.transFigure.inverted())
        assert box.width <= 1 / 3 - 0.01
        assert box.y0 >= -1e-6


@pytest.mark.parametrize("name", ["captions", "titles", "colours"])
def test_a_grid_refuses_lists_of_another_length(name):
    with pytest.raises(ValueError, match=f"{name}: 1 received for 2 pictures"):
        style.picture_grid([RED, GREEN], **{name: ["one"]})


def test_a_grid_refuses_no_pictures():
    with pytest.raises(ValueError, match="pictures: none received"):
        style.picture_grid([])


def test_pictures_are_stored_as_jpeg_and_charts_as_png():
    content, kind = style.image_bytes(style.picture_grid([RED]))
    assert kind == "jpeg" and Image.open(io.BytesIO(content)).format == "JPEG"
    content, kind = style.image_bytes(data.length_histogram([3, 4, 4]))
    assert kind == "png" and Image.open(io.BytesIO(content)).format == "PNG"


def test_a_notebook_gets_one_format_with_alt_text():
    chart = style.set_alt_text(data.length_histogram([3, 4, 4]), "three captions")
    content, metadata = style._as_png(chart)
    assert content.startswith(b"\x89PNG") and style._as_jpeg(chart) is None
    assert metadata["alt"] == "three captions"
    assert metadata["width"] == 900
    assert style._as_png(style.picture_grid([RED])) is None


# -------------------------------------------------------------------------------------------- data


def test_boxes_lie_where_the_annotation_says():
    one = {"bbox": [5, 6, 10, 12], "segmentation": [[5, 6, 15, 6, 15, 18]], "category_id": 2}
    figure = data.boxes_figure([RED], [[one]], {2: "dog"})
    outline, box = figure.axes[0].patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (5, 6, 10, 12)
    assert outline.get_xy()[:3].tolist() == [[5, 6], [15, 6], [15, 18]]
    assert texts(figure.axes[0]) == ["dog"]
    assert "dog" in style.alt_text(figure)


def test_a_crowd_in_run_lengths_keeps_its_box():
    one = {"bbox": [1, 2, 3, 4], "segmentation": {"counts": [1], "size": [2, 2]}, "category_id": 1}
    assert len(data.boxes_figure([RED], [[one]], {1: "people"}).axes[0].patches) == 1


def test_agreement_marks_who_uses_which_word():
    figure = data.agreement_figure(RED, CAPTIONS)
    table = figure.axes[1]
    assert [label.get_text() for label in table.get_xticklabels()][:2] == ["a", "dog"]
    assert table.images[0].get_array()[:, :3].tolist() == [[2, 2, 1], [2, 2, 0]]
    assert table.get_title("left") == "7 different words, 2 of them in all 2 captions"


def test_overlap_histogram_shows_shares():
    axes = data.overlap_histogram([0.5, 0.5, 0.1, 0.9], [0.0, 0.1]).axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == pytest.approx(2)  # one each
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "mean 0.50" in labels[0] and "mean 0.05" in labels[1]


def test_length_histogram_shows_shares_and_the_cut():
    axes = data.length_histogram([3, 4, 4, 4], max_length=10).axes[0]
    assert [patch.get_height() for patch in axes.patches] == [0.25, 0.75]
    assert texts(axes) == ["mean 3.8", "cut at 10"]


def test_zipf_curve_is_sorted_by_count():
    axes = data.zipf_curve({"rare": 1, "a": 8, "dog": 4}).axes[0]
    curve, law = axes.lines[:2]
    assert curve.get_ydata().tolist() == [8, 4, 1]
    assert law.get_ydata().tolist() == pytest.approx([8, 4, 8 / 3])
    assert texts(axes) == ["a", "dog", "rare"]


def test_coverage_curve_shows_what_it_was_given():
    coverages = [Coverage(10, 1.0, 5, 1.0, 1.0), Coverage(10, 0.9, 5, 0.4, 0.5)]
    left, right = data.coverage_curve([1, 5], [9, 6], coverages, chosen=5).axes
    assert left.lines[0].get_ydata().tolist() == [9, 6]
    assert right.lines[0].get_ydata().tolist() == [100, 90]
    assert right.lines[1].get_ydata().tolist() == [100, 50]
    assert left.lines[1].get_xdata()[0] == 5


def test_count_bars_are_sorted_cut_and_coloured():
    counts = {"things": {"cat": 2, "dog": 9, "bus": 1}, "colours": {"red": 4}}
    left, right = data.count_bars(counts, {"red": "#ff0000"}, top=2).axes
    assert widths(left) == [9, 2]
    assert [label.get_text() for label in left.get_yticklabels()] == ["dog", "cat"]
    assert right.patches[0].get_facecolor() == (1, 0, 0, 1)


def test_score_figure_shows_bars_and_all_pictures():
    left, right = data.score_figure([0.5, 1.5, 1.0], {"people": 1.0, "always": 0.1}).axes
    assert sum(patch.get_height() for patch in left.patches) == 3
    assert widths(right) == [1.0, 0.1]


# ------------------------------------------------------------------------------------ architecture


def test_denormalise_undoes_the_transform():
    tensor = eval_transform(32, fit="stretch")(GREEN)
    assert np.allclose(architecture.denormalise(tensor)[5, 5] * 255, (30, 160, 60), atol=1)


def test_views_one_axes_each():
    view = eval_transform(32, fit="stretch")(GREEN)
    figure = architecture.views_figure([[RED, view], [GREEN, view]], ["file", "evaluation"])
    assert len(figure.axes) == 4
    assert figure.axes[1].images[0].get_array().shape == (32, 32, 3)


def test_batch_shows_words_and_padding():
    vocabulary = Vocabulary(["a", "dog"])
    captions = torch.tensor([[1, 4, 5, 2], [1, 5, 2, PAD_IDX]])
    axes = architecture.batch_figure(captions, vocabulary).axes[0]
    assert texts(axes) == ["<start>", "a", "dog", "<end>", "<start>", "dog", "<end>", "·"]
    assert len(axes.patches) == 8


def test_grid_has_a_cell_for_each_region_and_fills_one():
    from model import grid_boxes

    axes = architecture.grid_figure([RED], grid_boxes(2, 3), marked=4).axes[0]
    assert len(axes.patches) == 7
    filled = axes.patches[5]
    assert (filled.get_x() + 0.5, filled.get_y() + 0.5) == pytest.approx((40 / 3, 15))


def test_maps_show_the_channels_that_vary_most():
    maps = torch.zeros(4, 2, 2)
    maps[2] = torch.tensor([[0, 9.0], [0, 0]])
    maps[1] = torch.tensor([[0, 1.0], [0, 0]])
    figure = architecture.maps_figure(RED, {"one": maps}, channels=2)
    assert [axes.get_title("left") for axes in figure.axes[1:]] == ["channel 2", "channel 1"]
    assert figure.axes[1].images[0].get_array().max() == 9


def test_layers_one_block_each():
    shapes = {"picture": (3, 64, 64), "conv1": (64, 32, 32)}
    axes = architecture.layers_figure(shapes).axes[0]
    assert len(axes.patches) == 2 and texts(axes)[3] == "64\n32×32"


def test_parameter_bars_add_up():
    axes = architecture.parameters_figure({"net": {"lstm": 3000, "out": 1000}}).axes[0]
    assert widths(axes) == [3000, 1000]
    assert texts(axes)[-1] == "net: 4,000 parameters"
    assert texts(axes)[-2] == "lstm 3,000 · out 1,000"


def test_three_vectors_shows_weights():
    regions, weights = torch.eye(2), torch.tensor([0.25, 0.75])
    left, right = architecture.three_vectors_figure(regions, weights, weights @ regions).axes
    assert [patch.get_height() for patch in right.patches] == [0.25, 0.75]
    assert texts(left) == ["region 1", "region 2", "context"]


def test_overfit_curve_shows_the_losses():
    axes = architecture.overfit_figure({"rnn": [6.0, 1.0, 0.125]}, uniform=6.2).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [6.0, 1.0, 0.125]
    assert "0.125" in axes.get_legend().get_texts()[0].get_text()
