"""The README says what is true: its commands parse, its tree exists, its tables are measured."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from captioning.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language ("" for those without one)."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in fenced if name == language]


def commands() -> list[str]:
    """Lines of the README that call the command line."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if "-m captioning " in line]


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_readme_are_understood(line: str) -> None:
    words = shlex.split(line.split("-m captioning ")[1], comments=True)
    make = COMMANDS[words[0]].parser
    flags = [str(ROOT / word) if word.startswith("recipes/") else word for word in words[1:]]
    make().parse_args(flags)  # exits with an error if a flag is unknown


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = set(re.findall(r"`?make (\w[\w-]*)`?", " ".join(blocks("bash"))))
    assert {"course", "demo"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_python_of_the_readme_runs() -> None:
    for block in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) >= 3


def test_tree_of_the_readme_is_the_tree() -> None:
    tree = next(block for block in blocks("") if "model.py" in block and "recipes/" in block)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    top = {path.split("/")[0] for path in tracked if path}
    for name in named:
        assert (ROOT / name).exists(), name
    quiet = {"README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.txt"}
    lessons = {name for name in top if name.endswith(".ipynb")}
    hidden = {name for name in top if name.startswith(".")}
    assert top - quiet - lessons - hidden <= named


def test_pictures_and_links_of_the_readme_exist() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", README)
    assert len(links) >= 6
    for link in links:
        assert (ROOT / link).is_file(), link


def test_tables_of_the_readme_come_from_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"], cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, "python benchmarks/tables.py makes them anew"
