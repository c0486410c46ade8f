"""The file of an experiment matrix: cells that differ in a few settings, trained and tested alike.

    title: Does space help?
    data: data/picturebook           # default: that of the recipe
    features:                        # a store in place of the pictures
      store: build/space/objects.h5
      command: [regions, --boxes, instances, --encoder, resnet18]   # makes it where it is missing
    recipe: recipes/picturebook_transformer.yaml
    settings: {training.num_epochs: 8}                # changes to the recipe, for all cells
    seeds: [0, 1, 2]
    searches: {beam 1: {method: greedy}, beam 5: {method: beam, beam_size: 5}}
    split: test
    scores: [CIDEr, relation_accuracy, facts]         # columns of the table
    evaluate: {metrics: [cider, clip_s], clip: models/picturebook_clip}   # as for `evaluate`
    limit_seconds: 90                                 # longer cells are pointed out
    cells:
      plain: {}                                       # the first one is what others are compared to
      relations: {decoder.transformer.relations: true}
      rewarded: {from: relations, recipe: recipes/picturebook_transformer_scst.yaml}
      taught: {from: plain, captions: {from: rewarded, beam_size: 5}}

Only `cells` is needed, and a recipe for each. A cell with `from` starts from the model of a cell
above it, of the same seed, and has the same network: it takes over that cell's changes of
`encoder`, `decoder` and `transform` (and their recipes must agree in the rest of these). A cell
with `captions` learns from what the model of a cell above it, of the same seed, says of the
training pictures, not from what people say of them; the other entries there are settings of the
search, a beam search unless they say otherwise. A cell that starts from that one learns from people
again. Paths are relative to the working directory, as in recipes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from captioning.bench.bundles import SEARCHES
from captioning.bench.recipes import experiment_of, read_yaml
from captioning.config import Experiment, GenerationConfig
from captioning.evaluation.metrics import choose_metrics
from captioning.evaluation.picture_metrics import Judges, check_judges, separate
from captioning.settings import from_dict

NETWORK = ("encoder", "decoder", "transform")  # what a model and its continuation have in common
FIXED = {"data": "data", "seed": "seeds", "output": "--output"}  # setting: what decides it instead
CELL_NAME = re.compile(r"\w[\w .+=-]{0,59}")


@dataclass(frozen=True)
class Cell:
    """One row of a matrix.

    Args:
        name (str): as in the file.
        recipe (str): YAML file.
        start (str): the cell whose model it starts from; empty for none.
        settings (dict): its own changes, as in the file.
        teacher (str): the cell whose captions it learns from; empty for those of people.
        search (dict): how these are searched for.
    """

    name: str
    recipe: str
    start: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    teacher: str = ""
    search: dict[str, Any] = field(default_factory=dict)

    @property
    def captions(self) -> dict[str, Any]:
        """Where its captions come from; empty for people."""
        return {"from": self.teacher, **self.search} if self.teacher else {}

    @property
    def slug(self) -> str:
        """Its name in file names."""
        return self.name.replace(" ", "_")


@dataclass(frozen=True)
class Matrix:
    """What a matrix file says; see the head of this module."""

    path: Path
    cells: dict[str, Cell]
    title: str = ""
    data: str = ""
    store: str = ""
    command: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    searches: dict[str, dict[str, Any]] = field(default_factory=dict)
    split: str = "test"
    scores: tuple[str, ...] = ("CIDEr",)
    evaluate: dict[str, Any] = field(default_factory=dict)
    limit_seconds: float = 90

    @property
    def name(self) -> str:
        """What its folder is called."""
        return self.path.stem.replace(" ", "_")

    @property
    def features(self) -> dict[str, Any]:
        """The changes that make a run learn from the store."""
        return {"loader.features": self.store} if self.store else {}


KEYS = (
    "title data features recipe settings seeds searches split scores evaluate limit_seconds cells"
).split()


def read_matrix(path: str | Path) -> Matrix:
    """Read a matrix file and check all that can be checked without running it.

    Raises:
        FileNotFoundError: the file, or a recipe in it, is missing.
        ValueError: the file and the entry, what was found, what was expected.
    """
    path = Path(path)
    record = read_yaml(path, "matrix")
    try:
        _check_keys(record, KEYS)
        matrix = _matrix_of(path, record)
        for name, cell in matrix.cells.items():
            _check_cell(matrix, name, cell)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return matrix


def _matrix_of(path: Path, record: dict[str, Any]) -> Matrix:
    """The entries of a file, each checked by itself."""
    cells = _read_cells(_mapping(record, "cells"), _text(record, "recipe"))
    features = _mapping(record, "features")
    _check_keys(features, ["store", "command"], "features.")
    if features and not features.get("store"):
        raise ValueError("features.store: nothing received, a file (.h5) expected")
    command = [str(word) for word in _list(features, "command", (str, int, float), "features.")]
    if any(word.partition("=")[0] == "--output" for word in command):
        raise ValueError("features.command: --output received, but features.store decides it")
    limit = record.get("limit_seconds", 90)
    if not _is_number(limit) or not limit > 0:
        raise ValueError(f"limit_seconds: {limit!r} received, a number above 0 expected")
    data = _text(record, "data") or experiment_of(next(iter(cells.values())).recipe).data
    return Matrix(
        path,
        cells,
        _text(record, "title"),
        data,
        _text(features, "store", "features."),
        tuple(command),
        _mapping(record, "settings"),
        check_seeds(_list(record, "seeds", (object,)) or [0]),
        _read_searches(_mapping(record, "searches") or SEARCHES),
        _text(record, "split") or "test",
        tuple(dict.fromkeys(_list(record, "scores", (str,)) or ["CIDEr"])),
        _read_evaluate(_mapping(record, "evaluate")),
        limit,
    )


def _read_evaluate(record: dict[str, Any]) -> dict[str, Any]:
    """What results are scored with beside the usual metrics; empty for these alone.

    Raises:
        ValueError: an unknown name, or a metric without its judge.
    """
    judges = [one.name for one in fields(Judges)]
    _check_keys(record, ["metrics", *judges], "evaluate.")
    metrics = _list(record, "metrics", (str,), "evaluate.")
    named = {name: _text(record, name, "evaluate.") for name in judges if name in record}
    if record:
        compared, judged = separate(metrics)
        try:
            if compared or not judged:
                choose_metrics(compared)
            check_judges(judged, Judges(**named))
        except ValueError as error:
            raise ValueError(f"evaluate.{error}") from error
    return {"metrics": metrics, **named} if record else {}


def settings_of(matrix: Matrix, cell: Cell, seed: int, output: str, start: str) -> Experiment:
    """All settings of a cell.

    Args:
        matrix (Matrix): its file.
        cell (Cell): which.
        seed (int): of everything random in it.
        output (str): folder of its model.
        start (str): folder of the model that it starts from; empty for none.

    Raises:
        FileNotFoundError, ValueError: see `experiment_of`.
    """
    fixed = {"data": matrix.data, "seed": seed, "output": output}
    fixed |= {"init_from": start} if start else {}
    common = (matrix.features, matrix.settings, *network_changes(matrix, cell))
    return experiment_of(cell.recipe, *common, cell.settings, fixed)


def network_changes(matrix: Matrix, cell: Cell) -> list[dict[str, Any]]:
    """What a cell takes over from the one it starts from."""
    if not cell.start:
        return []
    start = matrix.cells[cell.start]
    own = {k: v for k, v in start.settings.items() if str(k).partition(".")[0] in NETWORK}
    return [*network_changes(matrix, start), own]


def check_seeds(seeds: list[Any]) -> tuple[int, ...]:
    """Seeds are different whole numbers.

    Raises:
        ValueError: the first that is not.
    """
    for place, seed in enumerate(seeds):
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"seeds: {seed!r} received, a whole number of 0 or more expected")
        if seed in seeds[:place]:
            raise ValueError(f"seeds: {seed} received twice, different ones expected")
    return tuple(seeds)


def _read_cells(record: dict[str, Any], recipe: str) -> dict[str, Cell]:
    """The cells in their order.

    Raises:
        ValueError: see `read_matrix`.
    """
    if not record:
        raise ValueError("cells: none received, one or more expected (NAME: {setting: value})")
    cells: dict[str, Cell] = {}
    for name in record:
        if not isinstance(name, str) or not CELL_NAME.fullmatch(name):
            raise ValueError(
                f"cells: {name!r} received, a name of letters, digits, spaces and . + = - expected "
                "(in quotes, if YAML takes it for something else)"
            )
        cells[name] = _read_cell(name, _mapping(record, name, "cells."), recipe, [*cells])
        if cells[name].slug.lower() in {one.slug.lower() for one in [*cells.values()][:-1]}:
            raise ValueError(f"cells: {name!r} received, another cell would have the same files")
    return cells


def _read_cell(name: str, record: dict[str, Any], recipe: str, above: list[str]) -> Cell:
    """One cell.

    Raises:
        ValueError: see `read_matrix`.
    """
    where = f"cells.{name}."
    start = _text(record, "from", where)
    if start and start not in above:
        raise ValueError(f"{where}from: {start!r} received, a cell above it expected")
    chosen = _text(record, "recipe", where) or recipe
    if not chosen:
        raise ValueError(f"{where}recipe: none received, one here or for all cells expected")
    own = {k: v for k, v in record.items() if k not in ("from", "recipe", "captions")}
    if "captions" not in record:
        return Cell(name, chosen, start, own)
    search = dict(_mapping(record, "captions", where))
    where += "captions."
    teacher = _text(search, "from", where)
    if teacher not in above:
        raise ValueError(f"{where}from: {teacher!r} received, a cell above it expected")
    search = {"method": "beam"} | {k: v for k, v in search.items() if k != "from"}
    _check_search(search, where)
    return Cell(name, chosen, start, own, teacher, search)


def _check_cell(matrix: Matrix, name: str, cell: Cell) -> None:
    """Refuse settings that are unknown, do not fit, or are decided elsewhere.

    Raises:
        ValueError: the cell and the setting.
    """
    for where, settings in ((f"cells.{name}.", cell.settings), ("settings.", matrix.settings)):
        for key in settings:
            if key in FIXED:
                raise ValueError(f"{where}{key}: not here, {FIXED[key]} decides it for all cells")
        if cell.start and "init_from" in settings:
            raise ValueError(f"{where}init_from: not with from, which is {cell.start!r} already")
        if cell.teacher and "train_captions" in settings:
            raise ValueError(
                f"{where}train_captions: not with captions, which are of {cell.teacher!r} already"
            )
    try:
        settings_of(matrix, cell, 0, "", cell.start)
    except ValueError as error:
        raise ValueError(f"cells.{name}: {error}") from error


def _read_searches(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How captions are searched for: name to settings that the model's own do not decide.

    Raises:
        ValueError: a name is no text, or a setting is unknown or out of range.
    """
    searches = {}
    for name in record:
        if not isinstance(name, str) or "|" in name:
            raise ValueError(f"searches: {name!r} received, a name without | expected")
        searches[name] = _mapping(record, name, "searches.")
        _check_search(searches[name], f"searches.{name}: ")
    return searches


def _check_search(search: dict[str, Any], where: str) -> None:
    try:
        from_dict(GenerationConfig, search)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _check_keys(record: Mapping[str, Any], known: list[str], where: str = "") -> None:
    for key in record:
        if key not in known:
            raise ValueError(f"{where}{key}: unknown entry, one of {known} expected")


def _mapping(record: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
    """An entry that is a mapping; empty if it is missing or has no value."""
    value = record.get(key)
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{where}{key}: {value!r} received, a mapping expected")
    return value or {}


def _text(record: Mapping[str, Any], key: str, where: str = "") -> str:
    """An entry that is text; empty if it is missing."""
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}{key}: {value!r} received, text expected")
    return value or ""


def _list(record: Mapping[str, Any], key: str, kinds: tuple, where: str = "") -> list[Any]:
    """An entry that is a list of some kind; empty if missing."""
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{where}{key}: {value!r} received, a list expected")
    for one in value:
        if not isinstance(one, kinds) or (kinds != (object,) and isinstance(one, bool)):
            allowed = "text or a number" if int in kinds else "text"
            raise ValueError(f"{where}{key}: {one!r} received, {allowed} expected")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
