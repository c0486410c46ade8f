"""The tree as it is committed: nothing large, private or pickled in it."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LARGEST = 12 * 2**20  # bytes: the shipped captioner
LARGEST_SOURCE = 405  # lines: about 400
LONGER = {"data_loader.py": 500}  # a leaf: the top level has no room for a second half of it
MACHINE_PATH = re.compile(r"(?<![\w./])/(work|home|root|Users|tmp|mnt|data)/\w")


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that git knows and that are there."""
    return [ROOT / name for name in git("ls-files", "-z") if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def sources(tracked) -> list[Path]:
    return [path for path in tracked if path.suffix == ".py"]


def test_sizes(tracked):
    assert len(tracked) > 50
    large = [path.name for path in tracked if path.stat().st_size > LARGEST]
    assert not large
    notebooks = [p.name for p in tracked if p.suffix == ".ipynb" and p.stat().st_size > 500_000]
    assert not notebooks


def test_source_files_are_short(sources):
    long = {path.name: len(path.read_text("utf-8").splitlines()) for path in sources}
    allowed = dict.fromkeys(long, LARGEST_SOURCE) | LONGER
    assert {name: lines for name, lines in long.items() if lines > allowed[name]} == {}
    assert long["model.py"] < 300


def test_functions_are_short(sources):
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 75, f"{path.name}: {node.name}"


def test_no_paths_of_one_machine(tracked):
    found = []
    for path in tracked:
        if path == Path(__file__) or path.suffix in (".png", ".jpg", ".safetensors", ".ico"):
            continue
        if path.name == "test_notebooks.py":  # shows such paths to the check of the notebooks
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("data/picturebook/info.json", True),
        ("models/mine/model.safetensors", True),
        ("models/picturebook_xe/checkpoint/state.pt", True),
        ("build/lesson.ipynb", True),
        (".venv/bin/python", True),
        ("captioning/__pycache__/cli.pyc", True),
        ("models/picturebook_xe/model.safetensors", False),
        ("models/picturebook_eyes/model.safetensors", False),
        ("captioning/datasets/ready.py", False),
        ("tests/test_project.py", False),
    ],
)
def test_gitignore(name, ignored):
    assert bool(git("check-ignore", "--no-index", name)) is ignored


def test_nothing_is_unpickled(sources):
    """`torch.load` reads tensors only; tests may pickle a trap and run a notebook's cells."""
    for path in sources:
        if path.parent.name == "tests" or path.name == "unpickle.py":  # refuses all but data
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                check_call(path, node)
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "dill", "joblib", "cloudpickle"}, path


def check_call(path: Path, call: ast.Call) -> None:
    called = ast.unparse(call.func)
    place = f"{path.name}:{call.lineno}"
    assert called not in ("pickle.load", "pickle.loads", "eval", "exec", "os.system"), place
    keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if called == "torch.load":
        assert keywords.get("weights_only") == "True", place
    assert keywords.get("shell", "False") == "False", place
