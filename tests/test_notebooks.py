"""Every lesson runs with small values, and its saved version holds the outputs of one clean run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_checks import code_cells, is_tagged, problems
from notebook_parameters import SMALL

from captioning.datasets.picturebook.writer import write_picturebook

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted(ROOT.glob("[0-9]_*.ipynb"))


def each_lesson(function: Callable) -> Callable:
    return pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)(function)


@pytest.fixture(scope="session")
def small_picturebook(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons") / "picturebook"
    write_picturebook(folder, train=60, val=16, test=20, workers=1, progress=False)
    return folder


def with_small_values(path: Path, data: Path, output: Path) -> nbformat.NotebookNode:
    """A copy with a cell of small values after the one tagged `parameters`."""
    notebook = nbformat.read(path, as_version=4)
    names = {"data": str(data), "output": str(output)}
    values = {
        name: value.format(**names) if isinstance(value, str) else value
        for name, value in SMALL[path.stem].items()
    }
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    place = next(i for i, cell in enumerate(notebook.cells) if is_tagged(cell, "parameters"))
    notebook.cells.insert(place + 1, new_code_cell("\n".join(lines)))
    return notebook


def test_there_are_lessons_and_each_has_small_values():
    assert {path.stem for path in LESSONS} == set(SMALL)


@each_lesson
def test_saved_lesson_is_fit_to_be_published(path):
    assert problems(path) == []


@each_lesson
def test_small_values_exist_in_the_lesson(path):
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in code_cells(notebook) if is_tagged(cell, "parameters")]
    defined: dict = {}
    exec(parameters.source, {}, defined)
    assert set(SMALL[path.stem]) <= set(defined)
    for line in parameters.source.splitlines():
        assert "#" in line, f"no unit, range or effect: {line}"


@each_lesson
def test_lesson_runs_with_small_values(path, small_picturebook, tmp_path):
    notebook = with_small_values(path, small_picturebook, tmp_path)
    resources = {"metadata": {"path": str(ROOT)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    notebook.metadata.pop("widgets", None)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert outputs
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


# ------------------------------------------------------------------------- the checks can fail


def good_cells() -> list[nbformat.NotebookNode]:
    text = "# Title\n## Summary\n## Exercises\n<details></details>"
    cells = [new_markdown_cell(text), new_code_cell("import math"), new_code_cell("a = 1")]
    cells[2].metadata["tags"] = ["parameters"]
    cells.append(new_code_cell("print(math.pi, a)"))
    cells[3].outputs = [new_output("stream", name="stdout", text="3.14 1")]
    for number, cell in enumerate(cells[1:], start=1):
        cell.execution_count = number
    return cells


def problems_of(cells: list[nbformat.NotebookNode], folder: Path, **metadata) -> list[str]:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel} | metadata)
    nbformat.write(notebook, folder / "9_Test.ipynb")
    return problems(folder / "9_Test.ipynb")


def test_a_good_notebook_has_no_problems(tmp_path):
    assert problems_of(good_cells(), tmp_path) == []


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("print(b)", "Undefined name"),
        ("import os", "imported but unused"),
        ("!pip install torch", "an installation"),
        ("%load_ext autoreload", "autoreload"),
        ("print(math.pi, a)\nopen('/home/me/x')", "an absolute path"),
        ("\n".join(["a += 1"] * 31), "a cell of 31 lines"),
    ],
)
def test_problems_of_the_code_are_found(source, complaint, tmp_path):
    cells = good_cells()
    cells[3].source = source
    assert any(complaint in one for one in problems_of(cells, tmp_path))


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (new_output("stream", name="stderr", text="100%|###"), "stderr"),
        (new_output("stream", name="stdout", text="read /home/ann/x/y"), "an absolute path"),
        (new_output("error", ename="ValueError", evalue="no"), "an error: ValueError: no"),
        (new_output("display_data", {"text/plain": "HBox(children=())"}), "a dead widget"),
        (new_output("display_data", {"image/png": "iVBO"}), "image/png without alt text"),
    ],
)
def test_problems_of_the_outputs_are_found(output, complaint, tmp_path):
    cells = good_cells()
    cells[3].outputs = [output]
    assert any(complaint in one for one in problems_of(cells, tmp_path))


def test_problems_of_the_whole_are_found(tmp_path):
    cells = good_cells()
    cells[1].execution_count = 7
    del cells[2].metadata["tags"]
    cells[0].source = "No title ![](x.png)"
    cells[3].outputs[0].text = "x" * 600_000
    found = " | ".join(problems_of(cells, tmp_path, widgets={}))
    for complaint in ("execution counts [7, 2, 3]", "tagged parameters: []", "not a title"):
        assert complaint in found
    for complaint in ("no section '## Summary'", "no alt text", "bytes", "state of widgets"):
        assert complaint in found
