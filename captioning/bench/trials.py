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
        teacher (Trial | None): whose captions it learns from; None for those of people.
    """

    matrix: Matrix
    cell: str
    experiment: Experiment
    start: Trial | None
    hash: str
    teacher: Trial | None = None

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

    @property
    def sources(self) -> dict[str, Trial]:
        """The trials that it needs, by what for, as a part of a sentence."""
        both = {"starts from": self.start, "learns from": self.teacher}
        return {how: trial for how, trial in both.items() if trial}

    @property
    def search(self) -> dict[str, Any]:
        """How its teacher's captions are searched for."""
        return self.matrix.cells[self.cell].search

    @property
    def captions(self) -> dict[str, Any]:
        """Where its captions come from, as in the file; empty for people."""
        return self.matrix.cells[self.cell].captions


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
            teacher = trials[cell.teacher, seed] if cell.teacher else None
            output = str(Path(models) / f"{cell.slug}_{seed}")
            begin = start.experiment.output if start else ""
            experiment = settings_of(matrix, cell, seed, output, begin)
            said = _captions_hash(teacher, cell.search, experiment) if teacher else ""
            whole = settings_hash(matrix, experiment, start, said)
            if teacher:
                file = Path(models) / f"{teacher.folder.name}_captions_{said}.json"
                experiment = replace(experiment, train_captions=str(file))
            trials[name, seed] = Trial(matrix, name, experiment, start, whole, teacher)
    return trials


def settings_hash(
    matrix: Matrix, experiment: Experiment, start: Trial | None, captions: str = ""
) -> str:
    """What tells a model from others: settings, start, teacher, and what made its features.

    Settings that have their defaults are left out, so that a new one changes nothing.

    Args:
        matrix (Matrix): the file.
        experiment (Experiment): all settings.
        start (Trial | None): whose model it starts from.
        captions (str): the hash of what its captions come from; empty for those of people.
    """
    defaults = deciding(Experiment())
    own = {name: v for name, v in deciding(experiment).items() if v != defaults[name]}
    if start:
        own["init_from"] = start.hash
    if captions:
        own["train_captions"] = captions
    return _hash([own, matrix.command])


def _captions_hash(teacher: Trial, search: dict[str, Any], experiment: Experiment) -> str:
    """What tells the captions of a teacher from others; stands in the name of their file, so that
    the file of another teacher or search is never taken for it."""
    loader = experiment.loader
    return _hash([teacher.hash, search, loader.train_split, loader.max_pictures])


def _hash(record: Any) -> str:
    whole = json.dumps(record, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def check_trial(trial: Trial) -> None:
    """Refuse what training or searching would refuse, before any work.

    Raises:
        ValueError: the trial and the setting.
    """
    try:
        check_names_and_phases(trial.experiment)
        generation = trial.experiment.generation
        searches = {f"searches.{k}: ": (generation, v) for k, v in trial.matrix.searches.items()}
        if trial.teacher:
            searches["captions."] = (trial.teacher.experiment.generation, trial.search)
        for where, (own, search) in searches.items():
            try:
                check_config(replace(own, **search))
            except ValueError as error:
                raise ValueError(f"{where}{error}") from error
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
    """What each search of the matrix asks for: split, settings, and what it is scored with."""
    matrix = trial.matrix
    more = {"evaluate": matrix.evaluate} if matrix.evaluate else {}
    return {
        name: {"split": matrix.split, **search, **more} for name, search in matrix.searches.items()
    }


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
    if (said := kept.get("captions", {})) != trial.captions:
        return f"captions is {trial.captions} now, measured with {said}"
    by_hash = {"init_from"} if trial.start else set()
    by_hash |= {"train_captions"} if trial.teacher else set()
    for name, value in deciding(trial.experiment).items():
        if before[name] != value and name not in by_hash:
            return f"{name} is {value!r} now, measured with {before[name]!r}"
    signature = store_signature(trial.experiment)
    if signature and kept.get("features") and kept["features"] != signature:
        return f"the feature store: {first_difference(signature, kept['features'])}"
    if kept["hash"] != trial.hash:
        return (
            "what it starts from or learns from, or what made its features, is not the same any "
            "more"
        )
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
