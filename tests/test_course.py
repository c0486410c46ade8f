"""The course runner: what is run, what is found, and the whole course in a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from notebook_checks import output_problems

from captioning import course

ROOT = Path(__file__).resolve().parents[1]


def lessons_of(name: str) -> list[str]:
    """The lesson numbers of a list in the Makefile."""
    (numbers,) = re.findall(rf"^{name} := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    return numbers.split()


def test_make_knows_every_lesson():
    there = sorted(path.name[0] for path in ROOT.glob("[0-9]_*.ipynb"))
    assert lessons_of("LESSONS") + lessons_of("ADVANCED") == there


@pytest.fixture
def lesson(tmp_path, monkeypatch) -> Path:
    """A course of one lesson that leaves a mark each time it is run."""
    monkeypatch.setattr(course, "ROOT", tmp_path)
    source = [
        "from captioning.course import Results",
        "open('mark', 'a').write('x')",
        "Results(score=0.51234, words=12)",
    ]
    path = tmp_path / "0_Tiny.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("\n".join(source))]), path)
    return path


def test_lessons_are_run_once_and_their_numbers_found(lesson, tmp_path):
    before = lesson.read_text("utf-8")
    first = course.run_lessons(["0"], tmp_path / "build")
    again = course.run_lessons(["0"], tmp_path / "build")
    assert (tmp_path / "mark").read_text() == "x"
    assert lesson.read_text("utf-8") == before
    assert first[0]["seconds"] > 0 and again[0]["seconds"] == 0
    assert first[0]["results"] == again[0]["results"] == {"score": 0.51234, "words": 12}
    table = course.table(again)
    assert "0_Tiny" in table and "score 0.512" in table and "done" in table


def test_a_changed_lesson_is_run_again_and_saved_when_asked(lesson, tmp_path):
    course.run_lessons(["0"], tmp_path / "build")
    later = lesson.stat().st_mtime + 100
    os.utime(lesson, (later, later))
    course.run_lessons(["0"], tmp_path / "build", save=True)
    assert (tmp_path / "mark").read_text() == "xx"
    saved = nbformat.read(lesson, as_version=4)
    assert saved.cells[0].execution_count == 1 and saved.cells[0].outputs


def test_a_failing_lesson_and_an_unknown_one_are_errors(lesson, tmp_path, capsys):
    notebook = new_notebook(cells=[new_code_cell("1 / 0")])
    nbformat.write(notebook, lesson)
    build = ["--build", str(tmp_path / "build")]
    assert course.main(["0", *build]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert not list((tmp_path / "build").glob("*.ipynb"))
    assert course.main(["7", *build]) == 1
    assert "lesson '7': no such lesson, one of ['0'] expected" in capsys.readouterr().err


@pytest.mark.slow
def test_whole_course_in_a_fresh_clone(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(clone), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("OMP_NUM_THREADS", None)  # whole lessons may use the whole machine

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run("captioning", "data", "picturebook")
    table = run("captioning.course", *lessons_of("LESSONS"), *lessons_of("ADVANCED"))
    print(table)
    assert "4_SelfCritical" in table and "CIDEr" in table and "make demo" in table
    assert "5_Transformers" in table
    for path in sorted((clone / "build").glob("*.ipynb")):
        assert [*output_problems(nbformat.read(path, as_version=4))] == [], path.name
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True)
    assert changed.stdout == b""
