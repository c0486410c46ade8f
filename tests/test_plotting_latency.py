"""The picture of latencies shows the numbers of the record, and says in words what they mean."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex

from captioning.plotting.latency import SIDE, plot_latency
from captioning.plotting.pages import DOWN, UP
from captioning.plotting.style import alt_text, image_bytes


def spread(median: float) -> dict[str, float]:
    return {"median": median, "lower": median - 0.1, "upper": median + 0.2}


def arm(model: str, cache: bool, faster: float) -> dict:
    """An arm that is so many times as fast as the first one with cache, which takes 20 ms."""
    span = {"picture_ms": spread(20 / faster), "faster_than_cached": spread(faster)}
    span["faster_than_uncached"] = spread(2 * faster)
    return {"model": model, "cache": cache, "spans": {"search": span}}


def make_record(names=("K = 1", "K = 4"), sizes=(1, 4), batches=(1, 32), beams=(1, 3)) -> dict:
    """The second model is 2.5 times as fast with cache, and a tenth less for each further batch."""
    first, second = names
    cases = [
        {
            "batch_size": batch,
            "beam_size": beam,
            "arms": [
                arm(first, True, 1),
                arm(first, False, 0.5),
                arm(second, True, 2.5 - place / 10),
                arm(second, False, 1.5),
            ],
        }
        for place, batch in enumerate(batches)
        for beam in beams
    ]
    models = [{"name": n, "group_size": k} for n, k in zip(names, sizes, strict=True)]
    return {"models": models, "baseline": first, "cases": cases}


def texts(axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_panel_for_each_batch_and_beam():
    figure = plot_latency(make_record())
    titles = [axes.get_title("left") for axes in figure.axes]
    one, many = "one picture", "32 pictures at once"
    assert titles == [f"{one}, greedy", f"{many}, greedy", f"{one}, beam 3", f"{many}, beam 3"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", ""] + ["words said at once"] * 2
    assert image_bytes(figure)[1] == "png"


def test_points_and_whiskers_are_the_numbers():
    axes = plot_latency(make_record()).axes[1]
    lines = {}
    for container, colour in zip(axes.containers, (UP, DOWN), strict=True):
        line, _, [whiskers] = container
        assert to_hex(line.get_color()) == colour
        lines[colour] = line.get_xydata().tolist()
        for (x, y), ends in zip(lines[colour], whiskers.get_segments(), strict=True):
            assert ends.flatten().tolist() == pytest.approx([x, y - 0.1, x, y + 0.2])
    assert lines == {  # beside each other, so that whiskers do not overlap
        UP: [[1 - SIDE, 1], [4 - SIDE, 2.4]],
        DOWN: [[1 + SIDE, 0.5], [4 + SIDE, 1.5]],
    }
    assert texts(axes) == ["1.0", "2.4", "0.5", "1.5", "1× is 20 ms a picture"]
    low, high = axes.get_ylim()
    assert low < 0.4 and high > 2.7


def test_the_message_names_both_baselines():
    figure = plot_latency(make_record())
    assert figure.get_suptitle() == (
        "K = 4 is 2.5 times as fast as K = 1 for one picture, 2.4 times for 32 pictures at once, "
        "both with a cache.\nBeside K = 1 without a cache it would seem 5.0 and 4.8 times."
    )
    assert "32 pictures at once, beam 3: K = 1 with cache 1.00, K = 1 without" in alt_text(figure)


def test_bundles_of_equal_groups_stand_side_by_side():
    record = make_record(("one", "two"), (1, 1), (8,), (1,))
    del record["cases"][0]["arms"][1]  # a decoder that has no such choice
    for one in record["cases"][0]["arms"]:
        del one["spans"]["search"]["faster_than_uncached"]
    figure = plot_latency(record)
    [axes] = figure.axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["one", "two"]
    message = "two is 2.5 times as fast as one for 8 pictures at once, both with a cache."
    assert figure.get_suptitle() == message


def test_one_model_alone():
    record = make_record()
    record["models"].pop()
    for case in record["cases"]:
        case["arms"] = case["arms"][:2]
    assert plot_latency(record).get_suptitle() == "K = 1 with and without a cache"
    for case in record["cases"]:
        case["arms"].pop()
    assert plot_latency(record).get_suptitle() == "K = 1 alone"


def test_a_span_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match=r"span: 'decoder' received, one of \['search'\] expected"):
        plot_latency(make_record(), "decoder")
