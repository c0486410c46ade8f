"""The machinery of settings: fields that know their meaning and limits, read, checked, walked.

`captioning.config` declares the settings with it; commands, recipes, bundles and the notebooks'
forms are made from what it knows of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, asdict, field, fields, is_dataclass
from typing import Any


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple | None = None,
) -> Any:
    """A dataclass field that knows its meaning and its limits (both inclusive)."""
    limits = {"help": help, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=limits)


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Field, Any]]:
    """Every setting of a config and of the configs in it: dotted name, field, value."""
    for one in fields(config):
        value = getattr(config, one.name)
        if is_dataclass(value):
            yield from walk(value, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, one, value


def validate(config: Any) -> None:
    """Check every setting against its type, its limits and its choices.

    Raises:
        ValueError: the first setting that does not fit: its name, what it is, what is allowed.
    """
    kinds: dict[type, tuple[Any, str]] = {
        bool: (bool, "true or false"),
        int: (int, "a whole number"),
        float: (int | float, "a number"),
        str: (str, "text"),
        type(None): (int | None, "a whole number or none"),
    }
    for name, one, value in walk(config):
        kind, meaning = kinds[type(one.default)]
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"{name}: {value!r} received, {meaning} expected")
        low, high, choices = (one.metadata.get(key) for key in ("low", "high", "choices"))
        if choices is not None and value not in choices:
            raise ValueError(f"{name}: {value!r} received, one of {list(choices)} expected")
        if value is None or low is None:
            continue
        if not low <= value <= (math.inf if high is None else high):  # NaN is refused as well
            limits = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"{name}: {value} received, {limits} expected")


def from_dict(cls: type, record: dict, prefix: str = "") -> Any:
    """A config from a dictionary (of a bundle or a recipe); what it leaves out keeps its default.

    Raises:
        ValueError: a key is not a setting, or a value does not fit; the message names it.
    """
    if not isinstance(record, dict):
        raise ValueError(
            f"{prefix.rstrip('.') or 'settings'}: {record!r} received, a mapping expected"
        )
    known = {one.name: one for one in fields(cls)}
    for key in record:
        if key not in known:
            raise ValueError(f"{prefix}{key}: unknown setting, one of {sorted(known)} expected")
    values = {}
    for key, value in record.items():
        factory = known[key].default_factory
        nested = isinstance(factory, type) and is_dataclass(factory)
        values[key] = from_dict(factory, value, f"{prefix}{key}.") if nested else value
    config = cls(**values)
    if not prefix:
        validate(config)
    return config


def to_dict(config: Any) -> dict:
    """A JSON- and YAML-ready dictionary."""
    return asdict(config)
