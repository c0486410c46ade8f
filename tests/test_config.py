"""Settings: their limits, their names, and the way from and to dictionaries."""

from __future__ import annotations

import json
import math

import pytest

from captioning.config import (
    DecoderConfig,
    Experiment,
    GenerationConfig,
    TrainingConfig,
)
from captioning.settings import from_dict, to_dict, validate, walk
from captioning.training.eyes_settings import EyesConfig

SETTINGS = [*walk(Experiment()), *walk(EyesConfig(), "eyes.")]


@pytest.mark.parametrize(("name", "field", "value"), SETTINGS, ids=[name for name, *_ in SETTINGS])
def test_every_setting_is_explained_and_its_default_allowed(name, field, value):
    assert len(field.metadata["help"]) > 5
    assert value == field.default
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    assert choices is None or value in choices
    if low is not None and value is not None:
        assert low <= value <= (math.inf if high is None else high)
    if isinstance(value, int | float) and not isinstance(value, bool) and name != "eyes.seed":
        assert low is not None  # every number has a lower limit


def test_defaults_are_valid():
    validate(Experiment())
    validate(EyesConfig())
    validate(GenerationConfig())


def test_round_trip_through_json():
    experiment = Experiment(decoder=DecoderConfig(kind="rnn", num_layers=2))
    experiment.generation.seed = 5
    again = from_dict(Experiment, json.loads(json.dumps(to_dict(experiment))))
    assert again == experiment != Experiment()


def test_what_a_dictionary_leaves_out_keeps_its_default():
    experiment = from_dict(Experiment, {"seed": 3, "loader": {"batch_size": 7}})
    assert experiment.seed == 3 and experiment.loader.batch_size == 7
    assert experiment.loader.num_workers == Experiment().loader.num_workers


def test_walk_gives_dotted_names():
    names = [name for name, *_ in walk(Experiment())]
    assert {"data", "loader.batch_size", "generation.beam_size"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"loader": {"batch_size": 0}}, "loader.batch_size: 0 received, 1 to 4096 expected"),
        ({"loader": {"batch_size": 1.5}}, "loader.batch_size: 1.5 received, a whole number"),
        ({"loader": {"batch_size": "8"}}, "loader.batch_size: '8' received, a whole number"),
        ({"loader": {"batch_size": True}}, "loader.batch_size: True received, a whole number"),
        ({"loader": {"batch_size": None}}, "loader.batch_size: None received, a whole number"),
        ({"seed": -1}, "seed: -1 received, at least 0 expected"),
        ({"training": {"learning_rate": float("nan")}}, "learning_rate: nan received"),
        ({"training": {"learning_rate": float("inf")}}, "learning_rate: inf received"),
        ({"training": {"grad_clip": float("nan")}}, "grad_clip: nan received, at least 0"),
        ({"training": {"learning_rate": "fast"}}, "'fast' received, a number expected"),
        ({"training": {"optimizer": "lion"}}, "'lion' received, one of ['adam', 'adamw', 'sgd']"),
        ({"transform": {"flip": "no"}}, "transform.flip: 'no' received, true or false expected"),
        ({"transform": {"flip": 1}}, "transform.flip: 1 received, true or false expected"),
        ({"data": 3}, "data: 3 received, text expected"),
        ({"generation": {"seed": 1.5}}, "generation.seed: 1.5 received, a whole number or none"),
        ({"decoder": {"hiden_dim": 3}}, "decoder.hiden_dim: unknown setting, one of ["),
        ({"lr": 3}, "lr: unknown setting, one of ["),
        ({"loader": 3}, "loader: 3 received, a mapping expected"),
        ({"loader": ["batch_size"]}, "loader: ['batch_size'] received, a mapping expected"),
    ],
)
def test_what_does_not_fit_is_named(record, message):
    with pytest.raises(ValueError) as caught:
        from_dict(Experiment, record)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_limits_are_inclusive():
    validate(TrainingConfig(label_smoothing=0.9, scheduled_sampling=1, decay_rate=0))
    with pytest.raises(ValueError, match="label_smoothing: 0.91 received, 0 to 0.9 expected"):
        validate(TrainingConfig(label_smoothing=0.91))
