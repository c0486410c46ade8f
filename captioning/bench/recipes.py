"""Recipes, and changes to them by dotted names, as settings; YAML that hides no mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from captioning.config import Experiment
from captioning.settings import from_dict, to_dict


class StrictLoader(yaml.SafeLoader):
    """Plain values only; a name that stands twice is refused, and 1e-3 is a number."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """A mapping whose names are all different."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"{key.value!r} stands there twice"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return node


StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),  # YAML 1.1 wants a point and a sign
    list("-+0123456789"),
)


def read_yaml(path: str | Path, what: str) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path (str | Path): the file.
        what (str): what it is called in messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, names something twice, or holds no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such {what}")
    try:
        record = yaml.load(path.read_text("utf-8"), StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise ValueError(f"{path}: {line}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a {what} ({' '.join(str(error).split())})") from error
    if not isinstance(record, dict):
        found = "nothing" if record is None else f"a {type(record).__name__}"
        raise ValueError(f"{path}: {found} found, the mapping of a {what} expected")
    return record


def experiment_of(recipe: str | Path, *changes: Mapping[str, Any]) -> Experiment:
    """The settings of a recipe with changes to them.

    Args:
        recipe (str | Path): YAML file, e.g. recipes/picturebook.yaml.
        *changes (Mapping): settings by dotted name (`{"decoder.kind": "fc"}`) or nested as in a
            recipe; later ones overrule earlier ones.

    Raises:
        FileNotFoundError: there is no such recipe.
        ValueError: a name is no setting, or a value does not fit; the message names it.
    """
    record = read_yaml(recipe, "recipe")
    try:
        whole = to_dict(from_dict(Experiment, record))
    except ValueError as error:
        raise ValueError(f"{recipe}: {error}") from error
    for some in changes:
        put(whole, some)
    return from_dict(Experiment, whole)


def put(record: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Change a nested dictionary in place; names that it lacks are added, for others to refuse."""
    for name, value in changes.items():
        first, _, rest = str(name).partition(".")
        value = {rest: value} if rest else value
        if isinstance(value, dict) and isinstance(record.get(first), dict):
            put(record[first], value)
        else:
            record[first] = value
