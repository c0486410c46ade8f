"""A cell of a matrix with one seed: what it is, whether it was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captioning.bench.bundles import deciding, store_signature
from captioning.bench.matrix_file import Matrix, settings_of
from captioning.config import Experiment
from captioning.decoding.generation import check_config
from captioning.features.signature import first_difference
from captioning.files import read_json
from captioning.settings import from_dict
from captioning.training.run import check_names_and_phases


@dataclass(frozen=True)
class Trial:
    """A cell with one seed.

    Args:
        matrix (Matrix): its file.
        cell (str): name.
        experiment (Experiment): all settings; `output` is the folder of its model.
        start (Trial | None): whose model it starts from.
        hash (str): 16 hex digits of all that decides the model.
    """

    matrix: Matrix
    cell: str
    experiment: Experiment
    start: Trial | None
    hash: str

    @property
    def seed(self) -> int:
        """Of everything random in it."""
        return self.experiment.seed

    @property
    def folder(self) -> Path:
        """Of its model."""
        return Path(self.experiment.output)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.cell}, seed {self.seed}"


Trials = dict[tuple[str, int], Trial]


def list_trials(matrix: Matrix, seeds: Sequence[int], models: str | Path) -> Trials:
    """All cells of a matrix with the first seed, then with the second, and so on.

    Args:
        matrix (Matrix): the file.
        seeds (Sequence[int]): which.
        models (str | Path): folder of the models.

    Raises:
        FileNotFoundError, ValueError: a recipe or its settings.
    """
    trials: Trials = {}
    for seed in seeds:
        for name, cell in matrix.cells.items():
            start = trials[cell.start, seed] if cell.start else None
            output = str(Path(models) / f"{cell.slug}_{seed}")
            begin = start.experiment.output if start else ""
            experiment = settings_of(matrix, cell, seed, output, begin)
            trials[name, seed] = Trial(
                matrix, name, experiment, start, settings_hash(matrix, experiment, start)
            )
    return trials


def settings_hash(matrix: Matrix, experiment: Experiment, start: Trial | None) -> str:
    """What tells a model from others: its settings, its start and what made its features.

    Settings that have their defaults are left out, so that a new one changes nothing.
    """
    defaults = deciding(Experiment())
    own = {name: v for name, v in deciding(experiment).items() if v != defaults[name]}
    if start:
        own["init_from"] = start.hash
    whole = json.dumps([own, matrix.command], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def check_trial(trial: Trial) -> None:
    """Refuse what training or searching would refuse, before any work.

    Raises:
        ValueError: the trial and the setting.
    """
    try:
        check_names_and_phases(trial.experiment)
        for name, search in trial.matrix.searches.items():
            try:
                check_config(replace(trial.experiment.generation, **search))
            except ValueError as error:
                raise ValueError(f"searches.{name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{trial.title}: {error}") from error


# ------------------------------------------------------------------------------- what was measured


def result_path(trial: Trial, output: str | Path) -> Path:
    """The file of a trial's result."""
    return Path(output) / f"{trial.folder.name}.json"


def read_result(path: Path) -> dict[str, Any] | None:
    """The result of a trial, if there is one.

    Raises:
        ValueError: the file holds something else.
    """
    if not path.exists():
        return None
    record = read_json(path, "result of a matrix")
    if not isinstance(record, dict) or not {"hash", "settings", "tests"} <= set(record):
        raise ValueError(f"{path}: not a result of a matrix ('hash', 'settings', 'tests' expected)")
    return record


def asked_of(trial: Trial) -> dict[str, dict[str, Any]]:
    """What each search of the matrix asks for: split and settings."""
    searches = trial.matrix.searches.items()
    return {name: {"split": trial.matrix.split, **search} for name, search in searches}


def what_changed(kept: dict[str, Any], trial: Trial) -> str:
    """How a trial differs from what was measured under its name; empty if it does not."""
    if change := _model_changed(kept, trial):
        return change
    for name, asked in asked_of(trial).items():
        if name in kept["tests"] and kept["tests"][name]["asked"] != asked:
            return f"{name} is {asked} now, measured with {kept['tests'][name]['asked']}"
    return ""


def _model_changed(kept: dict[str, Any], trial: Trial) -> str:
    """How the model of a trial differs from the one that was measured; empty if it does not."""
    try:
        before = deciding(from_dict(Experiment, kept["settings"]))
    except ValueError as error:
        return f"measured with settings of another version ({error})"
    for name, value in deciding(trial.experiment).items():
        if before[name] != value and not (trial.start and name == "init_from"):
            return f"{name} is {value!r} now, measured with {before[name]!r}"
    signature = store_signature(trial.experiment)
    if signature and kept.get("features") and kept["features"] != signature:
        return f"the feature store: {first_difference(signature, kept['features'])}"
    if kept["hash"] != trial.hash:
        return "what it starts from, or what made its features, is not the same any more"
    return ""


def what_holds(kept: dict[str, Any] | None, trial: Trial) -> dict[str, Any] | None:
    """A result without the tests that are asked for differently now; None for another model."""
    if kept is None or _model_changed(kept, trial):
        return None
    asked, tests = asked_of(trial), kept["tests"].items()
    return kept | {"tests": {k: t for k, t in tests if t["asked"] == asked.get(k, t["asked"])}}


def missing_searches(kept: dict[str, Any] | None, trial: Trial) -> list[str]:
    """The searches that were not measured yet."""
    return [name for name in trial.matrix.searches if kept is None or name not in kept["tests"]]
