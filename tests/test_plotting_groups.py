"""What the figures of lesson 6 show equals what was given, and is said in words."""

from __future__ import annotations

import base64
import io
import math
import re
from xml.etree import ElementTree

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

from captioning.evaluation.fluency import repeats_itself
from captioning.plotting import group_quality, groups
from captioning.plotting.pages import PALE_DOWN, PALE_UP, UP
from captioning.plotting.style import alt_text, holds_pictures

WORDS = "a girl in a red dress stands <end>".split()
SHORT = "a red dog <end>".split()
RED = Image.new("RGB", (40, 30), "red")
OWN, BEFORE, HIDDEN = groups.CELLS["its own group"], groups.SEEN, groups.HIDDEN


def texts(figure) -> list[str]:
    """Everything written in a figure."""
    inside = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in [*inside, *figure.texts]]


def grounds(figure, colour: str) -> list[Rectangle]:
    """The filled rectangles of a colour."""
    patches = [p for axes in figure.axes for p in axes.patches if isinstance(p, Rectangle)]
    return [p for p in patches if p.get_fill() and to_hex(p.get_facecolor()) == colour]


def grey(figure) -> list[str]:
    """What is written in the ink of words that do not count."""
    inside = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in inside if text.get_color() == groups.FADED]


# -------------------------------------------------------------------------------------------- words


def test_what_is_read_is_said_a_group_earlier():
    assert groups.read_words(SHORT, 1) == ["<start>", "a", "red", "dog"]
    assert groups.read_words(SHORT, 2) == ["<start>", "<start>", "a", "red"]
    assert groups.read_words(SHORT, 3) == ["<start>"] * 3 + ["a", "red", "dog"]
    assert groups.read_words(["a", "dog", "a", "dog"], 2)[2:] == ["a", "dog"]  # words stand twice


@pytest.mark.parametrize(
    ("words", "group_size", "complaint"),
    [
        ([], 2, "words: \\[\\] received"),
        ("a dog", 2, "words: 'a dog'"),
        (["a"], 0, "group_size: 0"),
    ],
)
def test_odd_words_and_groups_are_refused(words, group_size, complaint):
    for draw in (groups.plot_what_is_read, groups.split_groups):
        with pytest.raises(ValueError, match=complaint):
            draw(words, group_size)
    with pytest.raises(ValueError, match=complaint):
        groups.plot_group_masks(words, [group_size])


# -------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize(("group_size", "own", "before"), [(1, 8, 28), (2, 16, 24), (4, 32, 16)])
def test_masks_show_groups_and_what_was_before(group_size, own, before):
    figure = groups.plot_group_masks(WORDS, [group_size])
    assert len(grounds(figure, OWN)) == own + 1  # and one in the key
    assert len(grounds(figure, BEFORE)) == before + 1
    assert len(grounds(figure, HIDDEN)) == 64 - own - before + 1
    outlines = [p for p in figure.axes[0].patches if not p.get_fill()]
    assert len(outlines) == 8 // group_size
    assert {to_hex(p.get_edgecolor()) for p in outlines} == {UP}
    wide = outlines[0].get_width() / grounds(figure, OWN)[0].get_width()
    assert wide == pytest.approx(group_size)
    assert f"K = {group_size}: {8 // group_size} calls, {own + before} cells" in alt_text(figure)


def test_masks_name_what_is_read_and_said():
    figure = groups.plot_group_masks(WORDS, [3, 8])
    written = texts(figure)
    assert written.count("<start>") == 2 * 3 + 2 * 8  # rows and columns
    assert written.count("<end>") == 2 and written.count("stands") == 2  # said, never read
    assert grey(figure) == [groups.NOTHING]  # 3 does not divide 8
    assert {"3 calls of the decoder", "1 call of the decoder"} <= set(written)
    with pytest.raises(ValueError, match="group_sizes: none received"):
        groups.plot_group_masks(WORDS, [])


# ------------------------------------------------------------------------------------ what is read


def test_blocks_keep_their_colour_when_they_are_read():
    figure = groups.plot_what_is_read(WORDS, 4)
    for colour, rows in ((groups.GROUNDS[0], 2), (groups.GROUNDS[1], 1)):
        assert len(grounds(figure, colour)) == rows  # said, and read by the next call
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 1
    assert texts(figure).count("<start>") == 4
    assert not grey(figure) and not figure.axes[0].lines


@pytest.mark.parametrize(
    ("more", "group_size", "struck"),
    [(["dog", "<end>"], 6, ["dog", "<end>"]), ([], 6, ["–", "–"]), ([], 4, []), (["a"], 5, ["a"])],
)
def test_words_after_the_end_are_struck_out(more, group_size, struck):
    words = [*SHORT, *more]
    figure = groups.plot_what_is_read(words, group_size)
    assert grey(figure) == struck
    assert len(figure.axes[0].lines) == len(grounds(figure, groups.UNCOUNTED)) == len(struck)
    assert any("it never counts" in text for text in texts(figure)) == bool(struck)
    assert alt_text(figure).endswith("4 words count")


# ------------------------------------------------------------------------------------- repetitions


@pytest.mark.parametrize(
    ("said", "runs"),
    [
        ("flying flying the sky", [(0, 1)]),
        ("in the sky the sky", [(1, 2)]),
        ("a a a", [(0, 1), (1, 1)]),
        ("no no no no", [(0, 1), (1, 1), (2, 1)]),  # pairs of the same word count once
        ("left of a left of a", [(0, 3)]),
        ("a dog and a cat", []),
        ("", []),
    ],
)
def test_repeated_runs(said, runs):
    assert groups.repeated_runs(said.split()) == runs
    assert bool(runs) == repeats_itself(said.split())  # what the results count


def test_repetitions_are_marked_and_counted_by_group():
    rows = [
        {"picture": RED, "words": "a bird flying flying | <end> bus bus", "group_size": 4},
        {"picture": RED, "words": "two dogs dogs sit <end>", "group_size": 2},
        {"picture": RED, "words": "a cat cat <end>", "group_size": 1},
    ]
    figure = groups.show_repetitions([row | {"words": row["words"].split()} for row in rows])
    assert "1 of 3 repetitions happen within a group" in texts(figure)
    assert len(grounds(figure, PALE_DOWN)) == 3 * 2
    assert {f"a bird flying flying {groups.BAR} |", "a cat cat"} <= set(texts(figure))
    assert f"two dogs {groups.BAR} dogs sit" in texts(figure)
    assert holds_pictures(figure) and len(figure.axes[0].images) == 3
    figure = groups.show_repetitions([{"picture": RED, "words": ["a", "dog"], "group_size": 2}])
    assert "No repetitions" in texts(figure)


def test_rows_that_lack_something_are_refused():
    with pytest.raises(ValueError, match="rows: none received"):
        groups.show_repetitions([])
    with pytest.raises(ValueError, match="rows: 'words' is missing in row 0"):
        groups.show_repetitions([{"picture": RED}])


# -------------------------------------------------------------------------------- call after call

IN_GROUPS = "a red red <end> dog dog".split()
TIMES = ([2.0, 3.0, 2.0, 3.0], [2.0, 2.0])


def test_timeline_has_a_row_for_each_call():
    figure = group_quality.plot_caption_timeline(RED, SHORT, IN_GROUPS, 3, TIMES)
    written = texts(figure)
    assert "4 calls of the decoder become 2, 10.0 ms become 4.0: 2.5 times as fast" in written
    assert [text for text in written if re.fullmatch(r"\d+\.\d", text)] == (
        ["2.0", "5.0", "7.0", "10.0", "2.0", "4.0"]  # when each call is over
    )
    assert {"finished: 4 calls, 10.0 ms", "finished: 2 calls, 4.0 ms"} <= set(written)
    assert len(grounds(figure, PALE_UP)) == 4 and len(grounds(figure, PALE_DOWN)) == 4
    assert len(grounds(figure, groups.UNCOUNTED)) == len(figure.axes[0].lines) == 2
    assert grey(figure) == ["a", "a red", "a red dog", "a red red", "dog", "dog"]
    assert alt_text(figure).endswith("in groups of 3: a red red | <end> dog dog")


def test_timeline_without_times_counts_calls():
    figure = group_quality.plot_caption_timeline(RED, SHORT, SHORT, 4)
    written = texts(figure)
    assert "4 calls of the decoder become 1" in written
    assert {"1", "2", "3", "4", "call", "finished: 1 call"} <= set(written)
    assert not any("ms" in text.split() for text in written)


@pytest.mark.parametrize(
    ("words", "group_size", "milliseconds", "complaint"),
    [
        (SHORT, 1, None, "group_size: 1 received, 2 or more"),
        ([], 2, None, "words: \\[\\] received"),
        (SHORT, 2, ([1.0] * 4,), "milliseconds: 1 lists received, 2"),
        (
            SHORT,
            2,
            ([1.0] * 4, [1.0]),
            "1.0\\] received, 2 numbers above 0 expected in groups of 2",
        ),
        (SHORT, 2, ([1.0, 0.0, 1.0, 1.0], [1.0] * 2), "4 numbers above 0 expected word by word"),
        (SHORT, 2, ([1.0, math.nan, 1.0, 1.0], [1.0] * 2), "4 numbers above 0 expected"),
        (SHORT, 2, ([1.0] * 4, [1.0, math.inf]), "2 numbers above 0 expected"),
    ],
)
def test_odd_captions_and_times_are_refused(words, group_size, milliseconds, complaint):
    for draw in (group_quality.plot_caption_timeline, group_quality.animate_captions):
        with pytest.raises(ValueError, match=complaint):
            draw(RED, SHORT, words, group_size, milliseconds)


def test_each_call_appears_at_its_time():
    svg = group_quality.animate_captions(RED, SHORT, IN_GROUPS, 3, TIMES).svg
    starts = dict(re.findall(r"@keyframes \w+-(call-\d-\d)\{0%,([\d.]+)%", svg))
    share = group_quality.PLAYED / (group_quality.PLAYED + group_quality.STOOD)
    ends = {"call-0-0": 2, "call-0-1": 5, "call-0-2": 7, "call-0-3": 10, "call-1-0": 2}
    ends |= {"call-1-1": 4}
    assert {name: float(start) for name, start in starts.items()} == pytest.approx(
        {name: 100 * share * end / 10 for name, end in ends.items()}
    )


def test_animation_is_a_whole_picture_where_nothing_moves():
    shown = group_quality.animate_captions(RED, SHORT, IN_GROUPS, 3, TIMES)
    root = ElementTree.fromstring(shown.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    names = [node.get("class", "") for node in root.iter()]
    assert {name.partition("-")[2] for name in names if "call" in name} == (
        {f"call-0-{row}" for row in range(4)} | {"call-1-0", "call-1-1"}
    )
    everything = shown.svg
    rules = everything[everything.index("<style>") : everything.index("</style>")]
    assert rules.startswith("<style>@media (prefers-reduced-motion: no-preference)")
    outside = everything.replace(rules, "")
    assert "opacity:0" in rules and "opacity:0" not in outside  # only the animation hides
    assert "finished: 2 calls, 4.0 ms" in [node.text for node in root.iter()]
    assert re.findall(r"data:image/(\w+)", everything) == ["jpeg"]
    assert not re.findall(r"(?:href|src)=\"http", everything)  # nothing is fetched
    assert len(everything) < 60_000


def test_animation_brings_a_still_picture_with_it():
    shown = group_quality.animate_captions(RED, SHORT, SHORT, 2)
    data, metadata = shown._repr_mimebundle_()
    assert set(data) == {"image/svg+xml", "image/jpeg", "text/plain"}
    still = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    assert still.width > 900 and metadata["image/jpeg"]["width"] == 900
    assert metadata["image/jpeg"]["alt"] == data["text/plain"] == alt_text(shown.figure)


def test_animations_are_the_same_again_and_do_not_mix():
    first, again = (group_quality.animate_captions(RED, SHORT, SHORT, 2).svg for _ in range(2))
    assert first == again
    other = group_quality.animate_captions(RED, SHORT, SHORT, 3).svg
    names = [set(re.findall(r"@keyframes (\S+?)\{", svg)) for svg in (first, other)]
    assert names[0] and not names[0] & names[1]


# ------------------------------------------------------------------------------ speed and quality


def a_row(group_size: int, training: str = "plain", **values) -> dict:
    row = {"group_size": group_size, "training": training, "speed_up": float(group_size)}
    return row | {"CIDEr": [1.0, 1.2], "repetition": [0.0, 0.1]} | values


def test_speed_and_quality_draws_means_and_seeds():
    rows = [a_row(4, CIDEr=[0.8, 1.0]), a_row(1), a_row(1, "distilled"), a_row(4, "distilled")]
    figure = group_quality.plot_speed_and_quality(rows)
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"plain", "distilled"}
    assert lines["plain"].get_ydata().tolist() == pytest.approx([1.1, 0.9])  # by K
    assert lines["plain"].get_xdata().tolist() == pytest.approx([1.0, 4.0], abs=0.02)
    whiskers = [sorted(line.get_ydata()) for line in left.lines if len(set(line.get_xdata())) == 1]
    assert [0.8, 1.0] in whiskers and whiskers.count([1.0, 1.2]) == 3
    shares = [line for line in right.lines if line.get_label() == "plain"]
    assert shares[0].get_ydata().tolist() == pytest.approx([5, 5])
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["1", "4"]
    assert [text.get_text() for text in left.texts] == ["K = 1", "K = 4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["plain", "distilled"]
    assert "plain, K = 4: 4.00 times, CIDEr 0.90, repetitions 5.0%" in alt_text(figure)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"group_size": 1}, "'training' is missing in row 0"),
        (a_row(1, CIDEr=[]), "CIDEr \\[\\] in row 0, finite numbers expected"),
        (a_row(1, repetition=[0.1, math.nan]), "repetition .* in row 0, finite"),
        (a_row(1, speed_up=math.inf), "speed_up inf in row 0, finite"),
    ],
)
def test_odd_results_are_refused(row, complaint):
    with pytest.raises(ValueError, match=complaint):
        group_quality.plot_speed_and_quality([row])


# -------------------------------------------------------------------------------- why distillation

TWO = {1: [["a", "dog", "runs"], ["two", "dogs", "run"]]}
FOUR = {1: [["a", "cat"], ["a", "cat"], ["a", "dog"], ["one", "cat"]]}


def test_entropy_by_hand():
    assert groups.word_entropy(TWO, 4) == pytest.approx([1, 1, 1, 0])  # both are over
    quarter = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert groups.word_entropy(FOUR, 2) == pytest.approx([quarter, quarter])
    both = {**FOUR, 2: [["a", "bus"]]}
    assert groups.word_entropy(both, 2) == pytest.approx([quarter / 2, quarter / 2])
    assert groups.word_entropy({1: [["a"], ["a", "dog"]]}, 2) == pytest.approx([0, 1])


def test_words_drawn_apart_by_hand():
    assert groups.fitting_share(TWO, 1) == 1
    assert groups.fitting_share(TWO, 2) == pytest.approx(2 / 4)  # not "a dogs", not "two dog"
    assert groups.fitting_share(TWO, 3) == pytest.approx(2 / 8)
    # a cat 3/4 3/4, a dog 3/4 1/4, one cat 1/4 3/4; nobody said "one dog"
    assert groups.fitting_share(FOUR, 2) == pytest.approx(15 / 16)
    assert groups.fitting_share({1: [["a", "dog"]]}, 5) == 1  # a single caption always fits
    assert groups.fitting_share({**TWO, 2: [["a"]]}, 2) == pytest.approx(3 / 4)


def test_teaching_captions_are_counted_and_drawn():
    captions = {
        "people": {1: ["A dog runs.", "Two dogs run."]},
        "teacher": {1: ["A dog runs.", "a dog runs"]},
    }
    figure = group_quality.plot_teaching_captions(captions, (1, 2), places=3)
    counts, bits, fits = figure.axes
    assert [bar.get_height() for bar in counts.patches] == [2, 6, 1, 3]
    assert [line.get_ydata().tolist() for line in bits.lines] == [[1, 1, 1], [0, 0, 0]]
    assert [[*line.get_ydata()] for line in fits.lines] == [[100, 50], [100, 100]]
    assert "people: 2.0 captions and 6.0 words a picture, 1.00 bits" in alt_text(figure)
    for odd in ({}, {"people": {}}, {"people": {1: []}}):
        with pytest.raises(ValueError, match="a picture without captions"):
            group_quality.plot_teaching_captions(odd)


def test_figures_of_long_captions_stay_on_the_page():
    words = (
        "in the snow a girl in a red dress stands to the left of a small white dog <end>".split()
    )
    for figure in (
        groups.plot_group_masks(words, (1, 2, 4, 6)),
        groups.plot_what_is_read(words, 4),
        groups.plot_what_is_read(words, 1),
        group_quality.plot_caption_timeline(RED, words, words, 2),
        groups.show_repetitions([{"picture": RED, "words": words, "group_size": 2}] * 3),
    ):
        renderer = FigureCanvasAgg(figure).get_renderer()
        for text in figure.axes[0].texts:
            box = text.get_window_extent(renderer)
            assert box.x0 >= -1 and box.y0 >= -1, text.get_text()
            assert box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
