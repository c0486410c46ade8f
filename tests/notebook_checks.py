"""What a saved lesson must look like, as a list of sentences about what is wrong with one."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

MEDIAN_LINES, TYPICAL_LINES, MOST_LINES, TYPICAL_SHARE = 8, 20, 30, 0.9
MOST_BYTES = 500_000
OUTSIDE = re.compile(
    r"(?<![\w.~/])/(home|root|tmp|work|Users|usr|opt|var|mnt|private|data)/|\bC:\\"
)
FORBIDDEN = {
    "an installation": re.compile(r"\b(pip|conda|apt)(-get)? install\b"),
    "autoreload": re.compile(r"autoreload"),
    "a shell line or magic": re.compile(r"^\s*[!%]", re.MULTILINE),
    "an absolute path": OUTSIDE,
}
WIDGETS = re.compile(r"\b(HBox|VBox|GridBox|IntProgress|FloatProgress)\(")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    """Whether a cell carries a tag."""
    return tag in cell.metadata.get("tags", [])


def problems(path: Path) -> list[str]:
    """Everything that is wrong with a saved notebook; empty when it is fit to be published."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    found = [*source_problems(notebook), *output_problems(notebook), *undefined_names(path)]
    if path.stat().st_size > MOST_BYTES:
        found.append(f"{path.stat().st_size:,} bytes, at most {MOST_BYTES:,} allowed")
    return found


def source_problems(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """Order, size and content of the cells."""
    cells = code_cells(notebook)
    lengths = [len(cell.source.splitlines()) for cell in cells]
    if statistics.median(lengths) > MEDIAN_LINES:
        yield f"median of {statistics.median(lengths)} lines a cell, {MEDIAN_LINES} allowed"
    if max(lengths) > MOST_LINES:
        yield f"a cell of {max(lengths)} lines, {MOST_LINES} allowed"
    if sum(length <= TYPICAL_LINES for length in lengths) < TYPICAL_SHARE * len(lengths):
        yield f"too many cells of more than {TYPICAL_LINES} lines"
    tagged = [index for index, cell in enumerate(cells) if is_tagged(cell, "parameters")]
    if tagged != [1]:
        yield f"cells tagged parameters: {tagged}; the second code cell expected"
    if not notebook.cells[0].source.startswith("# "):
        yield "the first cell is not a title"
    spoken = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in ("## Summary", "## Exercises"):
        if heading not in spoken:
            yield f"no section '{heading}'"
    if "<details>" not in spoken:
        yield "no exercise has a hint in <details>"
    if re.search(r"!\[\s*\]\(", spoken):
        yield "a picture in the text has no alt text"
    for cell in cells:
        for name, pattern in FORBIDDEN.items():
            if pattern.search(cell.source):
                yield f"{name} in a cell: {cell.source[:60]!r}"


def output_problems(notebook: nbformat.NotebookNode) -> Iterator[str]:
    """One clean run, nothing on stderr, every picture with alt text, no dead widget."""
    cells = code_cells(notebook)
    numbers = [cell.execution_count for cell in cells]
    if numbers != [*range(1, len(cells) + 1)]:
        yield f"execution counts {numbers}: not one run from top to bottom"
    outputs = [output for cell in cells for output in cell.outputs]
    if not outputs:
        yield "no outputs"
    for output in outputs:
        yield from _problems_of_output(output)
    if "widgets" in notebook.metadata:
        yield "saved state of widgets in the metadata"
    if set(notebook.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata {sorted(notebook.metadata)}: only kernelspec and language_info expected"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "another kernel than python3"


def _problems_of_output(output: nbformat.NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"an error: {output.ename}: {output.evalue}"
        return
    if output.output_type == "stream":
        if output.name == "stderr":
            yield f"stderr: {output.text[:80]!r}"
        if OUTSIDE.search(output.text):
            yield f"an absolute path in an output: {OUTSIDE.search(output.text).group()!r}"
        return
    data: dict[str, Any] = output.data
    if "application/vnd.jupyter.widget-view+json" in data:
        yield "a widget in a saved output"
    if WIDGETS.search(data.get("text/plain", "")):
        yield f"a dead widget: {data['text/plain'][:60]!r}"
    for kind in ("image/png", "image/jpeg"):
        if kind in data and not output.metadata.get(kind, {}).get("alt"):
            yield f"{kind} without alt text"
    for kind, text in data.items():
        if kind.startswith("text/") and OUTSIDE.search(text):
            yield f"an absolute path in an output: {OUTSIDE.search(text).group()!r}"


def undefined_names(path: Path) -> list[str]:
    """What ruff (pyflakes' rules) says of the code: undefined and unused names."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F"]
    command += ["--output-format", "concise", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if result.returncode == 0 else [line for line in result.stdout.splitlines() if line]
