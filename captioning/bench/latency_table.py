"""The table of `bench latency`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captioning.bench.summary import markdown_table

_FORMS = {"faster_than_cached": "with", "faster_than_uncached": "without"}


def format_table(record: Mapping[str, Any]) -> str:
    """Markdown: a row for each arm of each case, then what all searches have in common.

    Args:
        record (Mapping): what `measure_latency` gave.
    """
    cases = record["cases"]
    arms = [arm for case in cases for arm in case["arms"]]
    whole = any("end_to_end" in arm["spans"] for arm in arms)
    known = {name for arm in arms for name in arm["spans"]["search"]}
    forms = {name: word for name, word in _FORMS.items() if name in known}
    base = record["baseline"]
    heads = ["batch", "beam", "model", "cache", "words", "ms a picture", "ms a batch"]
    heads += [f"times as fast as {base} {form} cache" for form in forms.values()]
    heads += ["end to end, ms a picture", f"as {base} with cache"] if whole else []
    rows, parts = [], []
    for case in cases:
        place = [str(case["batch_size"]), str(case["beam_size"])]
        for arm in case["arms"]:
            about = [arm["model"], "yes" if arm["cache"] else "no", f"{arm['words']:.1f}"]
            rows.append([*place, *about, *_cells(arm["spans"], [*forms], whole)])
        for name, part in case["parts"].items():
            names = ("cnn", "region_encoder", "detokenising")
            shown = [f"{part[one]['median']:.2f}" if one in part else "" for one in names]
            parts.append([*place, name, *shown])
    common = ["batch", "beam", "model", "CNN, ms a batch", "region encoder", "detokenising"]
    note = (
        "Median (quartiles) of the rounds. The search: region encoder and all words; end to end: "
        "with CNN and detokenising."
    )
    return "\n\n".join([markdown_table(heads, rows), markdown_table(common, parts), note])


def _cells(spans: Mapping[str, Any], forms: list[str], whole: bool) -> list[str]:
    """The numbers of an arm."""
    search = spans["search"]
    cells = [f"{search[name]['median']:.2f}" for name in ("picture_ms", "batch_ms")]
    cells += [format_spread(search.get(name)) for name in forms]
    if whole:
        last = spans.get("end_to_end", {})
        cells += [f"{last['picture_ms']['median']:.2f}"] if last else [""]
        cells += [format_spread(last.get("faster_than_cached"))]
    return cells


def format_spread(one: Mapping[str, float] | None) -> str:
    """A median with its quartiles: `1.92 (1.85 to 2.01)`."""
    return f"{one['median']:.2f} ({one['lower']:.2f} to {one['upper']:.2f})" if one else ""
