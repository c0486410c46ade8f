"""What the figures of self-critical training show equals what was given, and is said in words."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from PIL import Image

from captioning.evaluation.cider import CiderScorer
from captioning.evaluation.ngrams import DocumentFrequency, count_ngrams
from captioning.plotting.pages import (
    PALE_DOWN,
    PALE_UP,
    before_after,
    changed_words,
    flow,
    text_width,
)
from captioning.plotting.rewards import cider_by_hand, push_of, samples_table, signed, word_pushes
from captioning.plotting.self_critical import (
    LiveSelfCritical,
    centred_mean,
    compare_runs,
    length_histogram,
    self_critical_curves,
    window_of,
)
from captioning.plotting.style import alt_text, holds_pictures, image_bytes

RED = Image.new("RGB", (40, 30), "red")


def texts(figure) -> list[str]:
    """Everything written in a figure."""
    inside = [text for axes in figure.axes for text in axes.texts]
    return [text.get_text() for text in [*inside, *figure.texts]]


def a_step(step: int, **values: float) -> dict:
    row = {"reward": step / 10, "baseline": 0.5, "advantage_std": 0.3, "entropy": 2 - step / 10}
    row |= {"words": 9.0 + step, "ended": 0.9, "bad_endings": 0.1, "repetition": 0.05}
    row |= {"distinct": 4.5, "words_per_second": 1000.0, "loss": -0.01}
    return {"kind": "step", "step": step, **row, **values}


def an_epoch(epoch: int, score: float) -> dict:
    return {"kind": "epoch", "step": epoch * 2, "epoch": epoch, "CIDEr": score, "samples": ["A."]}


STEPS = [a_step(step) for step in (1, 2, 3, 4)]
EPOCHS = [an_epoch(0, 1.0), an_epoch(1, 1.3), an_epoch(2, 1.2)]

# --------------------------------------------------------------------------------------- one run


def test_centred_mean_does_not_lag():
    assert centred_mean([1.0, 2.0, 6.0, 4.0], 3).tolist() == [1.5, 3.0, 4.0, 5.0]
    assert centred_mean([1.0, 2.0], 1).tolist() == [1.0, 2.0]
    assert centred_mean([], 5).tolist() == []
    line = np.arange(100.0)
    assert np.allclose(centred_mean(line, 11)[5:-5], line[5:-5])  # a trailing mean would be lower


@pytest.mark.parametrize(("length", "window"), [(0, 1), (9, 1), (120, 12), (1000, 25)])
def test_curves_are_averaged_over_a_tenth_of_the_run(length, window):
    assert window_of([0.0] * length) == window


def test_curves_draw_every_step_and_epoch():
    figure = self_critical_curves(STEPS, EPOCHS, human=0.9, human_words=11.5, baseline="greedy")
    reward, scores, entropy, length, endings = figure.axes
    assert reward.lines[0].get_xydata().tolist() == [[1, 0.1], [2, 0.2], [3, 0.3], [4, 0.4]]
    assert reward.lines[2].get_ydata().tolist() == [0.5] * 4
    assert scores.lines[0].get_xydata().tolist() == [[0, 1.0], [1, 1.3], [2, 1.2]]
    assert scores.lines[1].get_xydata().tolist() == [[1, 1.3]]  # the best one is marked
    assert scores.get_xlim() == (-0.5, 2.5) and scores.get_ylim()[0] < 0.9
    assert entropy.lines[0].get_ydata().tolist() == [1.9, 1.8, 1.7, 1.6]
    assert entropy.get_ylim()[0] == 0
    assert length.lines[0].get_ydata().tolist() == [10.0, 11.0, 12.0, 13.0]
    assert length.lines[2].get_ydata() == [11.5, 11.5]  # people
    assert [line.get_ydata()[0] for line in endings.lines] == pytest.approx([90, 10, 5])


def test_curves_say_what_is_normal_and_what_is():
    figure = self_critical_curves(STEPS, EPOCHS, human=0.9, human_words=11.5, title="now")
    written = texts(figure)
    assert sum(text.startswith("normal: ") for text in written) == len(figure.axes) == 5
    assert {"1.30", "start 1.00", "people 0.90", "people 11.50"} <= set(written)
    assert "4.5 different samples a picture" in written
    assert "spread of the advantages 0.30 at first, now 0.30" in written
    assert figure.axes[0].get_title("left") == "now"
    spoken = alt_text(figure)
    assert "reward of the samples 0.10 at first, now 0.40" in spoken
    assert "CIDEr 1.00 after epoch 0, best 1.30" in spoken and "people 0.90" in spoken
    assert "length 10.0 words, now 13.0" in spoken and "bad endings 10%, now 10%" in spoken


@pytest.mark.parametrize(
    ("baseline", "label"),
    [
        ("leave_one_out", "baseline (the mean of the others, so the same)"),
        ("greedy", "baseline (the greedy caption)"),
        ("", "baseline"),
        ("none", None),
    ],
)
def test_the_baseline_is_named(baseline, label):
    figure = self_critical_curves(STEPS, baseline=baseline)
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["samples", *([label] if label else [])]
    assert len(figure.axes[0].lines) == (3 if label else 2)


def test_curves_before_the_first_step():
    figure = self_critical_curves([], EPOCHS[:1], human=0.9, human_words=11.5)
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[0, 1.0]]
    assert figure.axes[0].get_legend() is None and not len(figure.axes[0].get_xticks())
    assert alt_text(figure) == "Self-critical training: no step yet"
    image_bytes(figure)  # can be drawn


def a_run(step: int, epoch: int) -> SimpleNamespace:
    settings = SimpleNamespace(
        training=SimpleNamespace(num_epochs=2), self_critical=SimpleNamespace(baseline="greedy")
    )
    return SimpleNamespace(step=step, epoch=epoch, total_steps=4, experiment=settings)


def test_live_chart_notes_what_train_tells_it():
    live = LiveSelfCritical(human=1.0, seconds=0)
    live.on_epoch(a_run(0, 0), {"CIDEr": 1.0, "samples": ["A dog."]})
    assert live.title == "Reward · epoch 0 of 2 done"
    for step in range(1, 5):
        row = {k: v for k, v in a_step(step).items() if k not in ("kind", "step")}
        live.on_step(a_run(step, (step - 1) // 2), row)
        if step % 2 == 0:
            live.on_epoch(a_run(step, step // 2), {"CIDEr": 1 + step / 10, "samples": ["A dog."]})
    assert [row["step"] for row in live.steps] == [1, 2, 3, 4]
    assert [(row["epoch"], row["CIDEr"]) for row in live.epochs] == [(0, 1.0), (1, 1.2), (2, 1.4)]
    assert live.title.startswith("Reward · epoch 2 of 2 done · took ")
    assert live.title.endswith(" · 1,000 words/s")
    reward, scores = live.figure().axes[:2]
    assert reward.lines[0].get_ydata().tolist() == [0.1, 0.2, 0.3, 0.4]
    assert reward.get_legend().get_texts()[1].get_text() == "baseline (the greedy caption)"
    assert scores.lines[0].get_xydata().tolist() == [[0, 1.0], [1, 1.2], [2, 1.4]]


def test_live_chart_is_updated_in_place(displays):
    shown, updated = displays
    live = LiveSelfCritical([RED], seconds=1000)
    live.on_epoch(a_run(0, 0), {"CIDEr": 0.1, "samples": ["A dog."]})
    live.on_step(a_run(1, 0), a_step(1))
    assert (len(shown), len(updated)) == (2, 0)  # the chart and the pictures; a step is too early
    live.on_epoch(a_run(2, 1), {"CIDEr": 0.2, "samples": ["A red dog."]})
    assert (len(shown), len(updated)) == (2, 2)
    written = " ".join(texts(updated[1]))
    assert "epoch 0: A dog." in written and "epoch 1: A red dog." in written


# ----------------------------------------------------------------------------------- several runs


def test_runs_are_compared_quantity_by_quantity():
    runs = {"one": [*STEPS, *EPOCHS], "two": [a_step(1, bad_endings=0.8), an_epoch(0, 0.7)]}
    figure = compare_runs(runs, ["bad_endings", "CIDEr"], human={"CIDEr": 0.9}, window=1)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx([10] * 4)  # percent
    assert left.lines[1].get_xydata().tolist() == [[1, 80]]
    assert right.lines[0].get_xydata().tolist() == [[0, 1.0], [1, 1.3], [2, 1.2]]
    assert right.lines[2].get_ydata() == [0.9, 0.9]
    assert (left.get_xlabel(), right.get_xlabel()) == ("step", "epoch")
    assert [text.get_text() for text in left.texts] == []
    assert {text.get_text() for text in right.texts} == {"one", "two", "people 0.90"}
    assert "Bad endings, “… on a” (%): in the end one 10, two 80" in alt_text(figure)
    assert "CIDEr, running freely: in the end one 1.2, two 0.7" in alt_text(figure)


def test_names_of_curves_have_their_colours_and_do_not_touch():
    runs = {name: [a_step(1), a_step(2, reward=value)] for name, value in
            (("a", 0.200), ("b", 0.201), ("c", 0.9))}  # fmt: skip
    (axes,) = compare_runs(runs, "reward", window=1).axes
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    places = {text.get_text(): text.xy[1] for text in axes.texts}
    assert {text.get_text(): text.get_color() for text in axes.texts} == colours
    assert places["b"] - places["a"] >= 0.08 * np.ptp(axes.get_ylim())
    assert places["c"] == 0.9


def test_a_run_without_the_quantity_is_left_out_and_an_unknown_one_refused():
    figure = compare_runs({"one": STEPS, "two": EPOCHS}, "entropy", window=1)
    assert [line.get_label() for line in figure.axes[0].lines] == ["one"]
    with pytest.raises(ValueError, match="keys: 'entrophy' received"):
        compare_runs({"one": STEPS}, "entrophy")


def test_lengths_are_shares_of_captions():
    figure = length_histogram([4, 4, 5, 6], [5, 5], people=[6, 8])
    (axes,) = figure.axes
    before, after = axes.lines
    assert before.get_xydata().tolist() == [[3, 0], [4, 50], [5, 25], [6, 25], [7, 0]]
    assert after.get_xydata().tolist() == [[4, 0], [5, 100], [6, 0]]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axes.patches}
    assert bars == {5: 0, 6: 50, 7: 0, 8: 50, 9: 0}
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert labels == {"before, mean 4.8", "after, mean 5.0", "people, mean 7.0"}
    assert alt_text(figure).endswith("people, mean 7.0; before, mean 4.8; after, mean 5.0")
    assert len(length_histogram([4], [5]).axes[0].patches) == 0


# ----------------------------------------------------------------------------- samples and words


@pytest.mark.parametrize(
    ("value", "text", "push"),
    [
        (0.314, "+0.31", "more likely"),
        (-0.2, "−0.20", "less likely"),
        (0.001, "0.00", "no push"),
        (-0.001, "0.00", "no push"),
    ],
)
def test_signs_and_pushes_in_words(value, text, push):
    assert (signed(value), push_of(value)) == (text, push)


def test_samples_are_sorted_and_their_advantages_coloured():
    captions = ["A cat.", "A red dog sits.", "A dog."]
    figure = samples_table(RED, captions, [0.1, 1.0, 0.4], [0.7, 0.25, 0.4], "Three samples")
    assert holds_pictures(figure)
    (axes,) = figure.axes
    written = texts(figure)
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert places["A red dog sits."] < places["A dog."] < places["A cat."]  # downwards
    for text in ("Three samples", "+0.75", "0.00", "−0.60", "▲ more likely", "▼ less likely"):
        assert text in written
    assert "no push" in written and written.count("0.50") == 1  # the mean reward
    cells = [p for p in axes.patches if isinstance(p, Rectangle)]
    good, none, bad = (to_rgb(to_hex(cell.get_facecolor())) for cell in cells)
    assert good[2] > good[0] and bad[0] > bad[2]  # blue, orange
    assert none == (1, 1, 1)
    spoken = alt_text(figure)
    assert "A cat. (reward 0.10, baseline 0.70, advantage −0.60: less likely)" in spoken


def test_samples_without_their_numbers_are_refused():
    with pytest.raises(ValueError, match="captions, rewards, baselines: 2, 1, 2 received"):
        samples_table(RED, ["a", "b"], [0.1], [0.1, 0.2])
    with pytest.raises(ValueError, match="0, 0, 0 received"):
        samples_table(RED, [], [], [])


def test_pushes_point_against_the_gradient():
    good = {"words": ["a", "<end>"], "probabilities": [0.5, 0.9], "gradients": [-0.25, -0.05]}
    bad = {"words": ["the"], "probabilities": [0.1], "gradients": [0.4]}
    figure = word_pushes([good | {"advantage": 0.5}, bad | {"advantage": -0.4}])
    one, two = figure.axes
    assert [bar.get_height() for bar in one.patches] == [0.25, 0.05]
    assert [bar.get_height() for bar in two.patches] == [-0.4]
    assert one.get_ylim() == two.get_ylim()
    assert [label.get_text() for label in one.get_xticklabels()] == ["a\n0.50", "<end>\n0.90"]
    assert one.get_title("left") == "advantage +0.50: this sample becomes more likely"
    assert two.get_title("left") == "advantage −0.40: this sample becomes less likely"
    assert one.patches[0].get_facecolor() != two.patches[0].get_facecolor()
    assert "a +0.25, <end> +0.05" in alt_text(figure) and "the -0.4" in alt_text(figure)


# --------------------------------------------------------------------------------- CIDEr by hand

CORPUS = {
    1: [["a", "red", "dog"], ["a", "dog", "sits", "on", "grass"]],
    2: [["a", "cat"], ["the", "cat", "sits"]],
    3: [["a", "ball", "on", "grass"], ["red", "ball"]],
}


def rows_by_hand(caption, references, frequency):
    """What the lesson computes."""
    ended = [*caption, "<end>"]
    theirs = [count_ngrams([*reference, "<end>"]) for reference in references]
    rows = []
    for order, counts in enumerate(count_ngrams(ended)):
        ours, others = frequency.weigh(counts), [frequency.weigh(some[order]) for some in theirs]
        norms = [math.hypot(*weights.values()) for weights in (ours, *others)]
        for ngram, weight in ours.items():
            matches = [
                min(weight, w.get(ngram, 0)) * w.get(ngram, 0) / (norms[0] * norm or 1)
                for w, norm in zip(others, norms[1:], strict=True)
            ]
            row = {"order": order + 1, "ngram": " ".join(ngram), "count": counts[ngram]}
            rows.append(row | {"idf": frequency.idf(ngram), "weight": weight, "matches": matches})
    factors = [math.exp(-((len(caption) - len(r)) ** 2) / 72) for r in references]
    return rows, factors


def test_cider_by_hand_ends_in_cider():
    frequency = DocumentFrequency.from_references(CORPUS, end_token="<end>")
    caption, references = ["a", "red", "dog", "sits"], CORPUS[1]
    rows, factors = rows_by_hand(caption, references, frequency)
    score = CiderScorer(CORPUS, frequency).score(1, caption)
    figure = cider_by_hand("A red dog sits.", ["A red dog.", "A dog sits …"], rows, factors)
    written = texts(figure)
    assert score > 1
    assert f"CIDEr-D = 10 × mean of the 8 similarities = {score:.2f}" in written
    assert {
        "A red dog sits.",
        "A red dog.",
        "red dog",
        "dog sits <end>",
        "n = 3 · runs of three",
    } <= {*written}
    assert f"{frequency.idf(('red', 'dog')):.1f}" in written
    assert f"= {score:.2f}" in alt_text(figure)


def test_cider_by_hand_colours_what_is_matched():
    row = {"order": 1, "ngram": "dog", "count": 2, "idf": 1.5, "weight": 3.0}
    figure = cider_by_hand("Dog dog.", ["Dog.", "Cat."], [row | {"matches": [0.3, 0.0]}], [0.5, 1])
    (axes,) = figure.axes
    written = texts(figure)
    assert ".30" in written and ".15" in written  # the cosine, and times the length factor
    assert {"2", "1.5", "3.0"} <= set(written)
    bar, matched, missed = (patch.get_facecolor() for patch in axes.patches)
    assert matched[0] < missed[0]  # darker
    assert "10 × mean of the 8 similarities = 0.19" in alt_text(figure)  # 10 * 0.15 / 8
    with pytest.raises(ValueError, match="references, length_factors: 2, 1 received"):
        cider_by_hand("x", ["a", "b"], [], [1.0])


# --------------------------------------------------------------------------------- before, after


def test_changed_words_ignore_case_and_punctuation():
    before, after = "A red dog sits.", "The dog, it sits on grass."
    assert changed_words(before, after) == ({0, 1}, {0, 2, 4, 5})
    assert changed_words("A dog.", "a dog") == (set(), set())


def test_words_flow_into_lines():
    words = "one two three four five".split()
    wide = text_width("one two three", 9)
    assert flow(words, wide, 9) == [[0, 1, 2], [3, 4]]
    assert flow(words, 0.01, 9) == [[0], [1], [2], [3], [4]]
    assert text_width("wider words", 18) == pytest.approx(
        2 * text_width("wider words", 9), rel=0.05
    )


def test_before_and_after_mark_what_changed():
    figure = before_after(
        [RED, RED], ["A dog.", "Same."], ["A cat.", "Same."], [(0.1, 0.9), (1, 1)]
    )
    (axes,) = figure.axes
    assert len(axes.images) == 2 and holds_pictures(figure)
    marks = [to_hex(patch.get_facecolor()) for patch in axes.patches]
    assert marks == [PALE_DOWN, PALE_UP]
    written = texts(figure)
    assert {"A dog.", "A cat.", "before · CIDEr 0.10", "after · CIDEr 0.90"} <= set(written)
    assert "before: A dog. after: A cat. (CIDEr 0.10, then 0.90)" in alt_text(figure)
    with pytest.raises(ValueError, match="pictures, before, after: 1, 2, 1 received"):
        before_after([RED], ["a", "b"], ["c"])


def test_marked_ground_lies_behind_the_word():
    figure = before_after([RED], ["One two three."], ["One four three."])
    (axes,) = figure.axes
    line = next(text for text in axes.texts if text.get_text() == "One two three.")
    left, mark = line.get_position()[0], axes.patches[0]
    start = left + text_width("One ", 9)
    assert mark.get_x() == pytest.approx(start, abs=0.03)
    assert mark.get_width() == pytest.approx(text_width("two", 9), abs=0.06)
