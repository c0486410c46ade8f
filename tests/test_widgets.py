"""Forms and sliders: what they change and refuse, and what a reader without a kernel sees."""

from __future__ import annotations

import pytest

from captioning import widgets
from captioning.config import Experiment, GenerationConfig
from captioning.plotting.style import new_figure
from captioning.widgets import LIVE_MIME, config_form, config_rows, config_table, slider

NAMES = ["loader.batch_size", "training.learning_rate", "encoder.backbone", "transform.flip"]


@pytest.fixture
def live(monkeypatch):
    monkeypatch.setattr(widgets, "has_live_front_end", lambda: True)


def test_rows_hold_name_value_limits_and_meaning():
    rows = config_rows(GenerationConfig(), ["beam_size", "suppress_unk", "method", "seed"])
    assert [row[:3] for row in rows] == [
        ("beam_size", "5", "1 to 1,000"),
        ("suppress_unk", "yes", "yes, no"),
        ("method", "beam", "greedy, sample, beam, diverse_beam"),
        ("seed", "none", "0 or more"),
    ]
    assert rows[0][3] == "captions kept open at each word (beam; of all groups)"


def test_all_settings_by_default():
    assert [row[0] for row in config_rows(GenerationConfig())] == [
        "method",
        "beam_size",
        "num_beam_groups",
        "diversity_penalty",
        "num_samples",
        "temperature",
        "top_k",
        "top_p",
        "length_normalization",
        "length_penalty",
        "min_length",
        "max_length",
        "start_words",
        "no_repeat",
        "block_trigrams",
        "remove_bad_endings",
        "seed",
        "suppress_unk",
    ]


@pytest.mark.parametrize("make", [config_rows, config_table, config_form])
def test_an_unknown_setting_is_named(make):
    with pytest.raises(ValueError, match="'beam' received"):
        make(GenerationConfig(), ["beam"])


def test_the_table_is_html_and_aligned_text():
    table = config_table(Experiment(), NAMES)
    data, _ = table._repr_mimebundle_()
    assert data["text/html"].count("<tr>") == len(NAMES) + 1
    assert "<code>loader.batch_size</code>" in data["text/html"]
    lines = data["text/plain"].splitlines()
    assert lines[0].split()[:2] == ["setting", "value"]
    assert lines[0].index("value") == lines[1].index("32") == lines[3].index("resnet50")


def test_html_of_a_value_is_escaped():
    experiment = Experiment(output="<b>&")
    assert "&lt;b&gt;&amp;" in config_table(experiment, ["output"])._repr_html_()


def test_a_form_changes_the_config_in_place():
    experiment = Experiment()
    form = config_form(experiment, NAMES)
    assert form.widget is form.widget
    form.controls["loader.batch_size"].value = 64
    form.controls["training.learning_rate"].value = 0.01
    form.controls["encoder.backbone"].value = "resnet18"
    form.controls["transform.flip"].value = False
    assert experiment.loader.batch_size == 64
    assert experiment.training.learning_rate == 0.01
    assert experiment.encoder.backbone == "resnet18"
    assert experiment.transform.flip is False
    assert "transform.flip is now no" in form.message.value


def test_a_value_out_of_range_is_refused_with_the_reason():
    experiment = Experiment()
    form = config_form(experiment, NAMES)
    assert form.widget
    form.controls["loader.batch_size"].value = 0
    assert experiment.loader.batch_size == 32
    assert "loader.batch_size: 0 received, 1 to 4096 expected" in form.message.value
    assert "it stays 32" in form.message.value


@pytest.mark.parametrize(("typed", "value"), [("7", 7), ("", None), ("none", None)])
def test_a_setting_that_may_be_none(typed, value):
    config = GenerationConfig()
    form = config_form(config, ["seed"])
    assert form.widget
    form.controls["seed"].value = "x"
    assert config.seed is None and "a whole number or nothing" in form.message.value
    form.controls["seed"].value = typed
    assert config.seed == value


def test_every_control_has_its_meaning_beside_it():
    form = config_form(Experiment())
    grid = form.widget.children[0].children
    assert len(grid) == 3 * len(config_rows(Experiment()))
    for (name, _, _, meaning), control in zip(
        config_rows(Experiment()), form.controls.values(), strict=True
    ):
        assert control.tooltip == meaning, name


def test_without_a_front_end_a_form_is_a_table_and_no_widget():
    data, _ = config_form(Experiment(), NAMES)._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}
    assert "HBox" not in data["text/plain"] and "loader.batch_size" in data["text/plain"]


def test_with_a_front_end_the_table_stays_as_the_stand_in(live):
    form = config_form(Experiment(), NAMES)
    data, _ = form._repr_mimebundle_()
    assert data[LIVE_MIME]["model_id"] == form.widget.model_id
    assert "<table>" in data["text/html"]


def test_a_slider_calls_its_function_with_what_it_shows(live):
    one = slider(lambda a, b, c: f"{a} {b} {c}", a=(1, 9, 3), b=(0.0, 1.0, 0.5), c=["x", "y"])
    data, _ = one._repr_mimebundle_()
    assert data["text/plain"].startswith("3 0.5 x\n") and LIVE_MIME in data
    one.controls["a"].value = 4
    one.controls["c"].value = "y"
    assert "4 0.5 y" in one.view.children[0].value


def test_a_slider_holds_figures_as_pictures():
    def draw(a):
        figure, axes = new_figure()
        axes[0, 0].plot([0, a])
        return figure

    one = slider(draw, a=(1, 9, 3))
    assert one.widget
    assert bytes(one.view.children[0].value).startswith(b"\x89PNG")


@pytest.mark.parametrize("limits", [(1, 2), (3, 1, 2), (1, 3, 4), [], "abc"])
def test_a_slider_refuses_what_is_no_range(limits):
    with pytest.raises(ValueError, match=r"a: .* received, \(low, high, default\)"):
        slider(print, a=limits)
