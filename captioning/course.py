"""Run the lessons one after another and say what came out: `python -m captioning.course 0 1 2 3 4`.

Copies are executed in `build/` (ignored by git), so the saved notebooks stay as they are; a copy
that is newer than its lesson is not executed again. `--save` refreshes the saved notebooks.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
RESULTS_TYPE = "application/vnd.captioning.results+json"


class Results:
    """The numbers of a lesson, shown as a table and found again by the course runner.

    Args:
        **numbers: name = value, in the order to be shown.
    """

    def __init__(self, **numbers: float | str) -> None:
        self.numbers = numbers

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = "".join(
            f"<tr><td>{name.replace('_', ' ')}</td><td>{_show(value)}</td></tr>"
            for name, value in self.numbers.items()
        )
        plain = "\n".join(
            f"{name.replace('_', ' ')}: {_show(v)}" for name, v in self.numbers.items()
        )
        html = f"<table><tr><th>result</th><th></th></tr>{rows}</table>"
        return {"text/html": html, "text/plain": plain, RESULTS_TYPE: self.numbers}


def _show(value: float | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def lesson_path(number: str) -> Path:
    """The notebook of a lesson number.

    Raises:
        FileNotFoundError: there is no such lesson.
    """
    found = sorted(ROOT.glob(f"{number}_*.ipynb"))
    if not found:
        known = sorted(path.name.split("_")[0] for path in ROOT.glob("[0-9]_*.ipynb"))
        raise FileNotFoundError(f"lesson {number!r}: no such lesson, one of {known} expected")
    return found[0]


def execute(path: Path) -> nbformat.NotebookNode:
    """Execute a notebook from the top level of the course, with a bar over its cells.

    Raises:
        CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    with tqdm(total=len(cells), desc=path.stem, unit="cell", file=sys.stderr) as bar:
        client = NotebookClient(
            notebook,
            timeout=None,
            kernel_name="python3",
            resources={"metadata": {"path": str(ROOT)}},
            on_cell_executed=lambda **_: bar.update(),
        )
        client.execute()
    for cell in cells:  # times of execution would make every saved copy differ
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("widgets", None)
    return notebook


def results_of(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """The numbers of all `Results` a notebook shows."""
    numbers: dict[str, Any] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(RESULTS_TYPE, {})
            numbers |= json.loads(found) if isinstance(found, str) else found
    return numbers


def run_lessons(numbers: list[str], build: Path, save: bool = False) -> list[dict[str, Any]]:
    """Execute lessons that are not yet executed.

    Args:
        numbers (list[str]): lesson numbers in order.
        build (Path): folder of the executed copies.
        save (bool): execute again and write the outputs into the saved notebooks.

    Returns:
        list[dict]: `lesson`, `seconds` (0.0 when nothing had to be done), `results`.
    """
    build.mkdir(parents=True, exist_ok=True)
    rows = []
    for path in [lesson_path(number) for number in numbers]:
        copy = build / path.name
        began = time.perf_counter()
        if save or not copy.exists() or copy.stat().st_mtime < path.stat().st_mtime:
            notebook = execute(path)
            temporary = copy.with_suffix(".part")
            nbformat.write(notebook, temporary)
            if save:
                path.write_text(temporary.read_text("utf-8"), "utf-8")
            temporary.replace(copy)
            seconds = time.perf_counter() - began
        else:
            notebook, seconds = nbformat.read(copy, as_version=4), 0.0
        rows.append({"lesson": path.stem, "seconds": seconds, "results": results_of(notebook)})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """What came out, a line a lesson."""
    lines = [f"{'lesson':<26}{'minutes':>8}  results"]
    for row in rows:
        numbers = ", ".join(f"{k.replace('_', ' ')} {_show(v)}" for k, v in row["results"].items())
        minutes = f"{row['seconds'] / 60:.1f}" if row["seconds"] else "done"
        lines.append(f"{row['lesson']:<26}{minutes:>8}  {numbers}")
    total = sum(row["seconds"] for row in rows) / 60
    lines.append(f"{'all':<26}{total:>8.1f}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m captioning.course", description=__doc__)
    parser.add_argument("lessons", nargs="+", help="lesson numbers, e.g. 0 1 2 3 4")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="executed copies")
    parser.add_argument("--save", action="store_true", help="refresh the saved notebooks")
    arguments = parser.parse_args(argv)
    try:
        rows = run_lessons(arguments.lessons, arguments.build, arguments.save)
    except CellExecutionError as error:
        print(f"error: a cell failed\n{error}", file=sys.stderr)
        return 1
    except DeadKernelError:
        print("error: the lesson's process was ended, most likely for memory", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    print("\nnext: make demo   (or: python gradio_main.py) and open the address it prints")
    return 0


if __name__ == "__main__":
    sys.exit(main())
