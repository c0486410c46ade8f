"""Who may import whom, read from the source without importing any of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEAVES = ("vocabulary", "data_loader", "model")
PACKAGE = sorted((ROOT / "captioning").rglob("*.py"))
SOURCES = [*(ROOT / f"{leaf}.py" for leaf in LEAVES), *PACKAGE]
# Commands talk; everything else returns.
MAY_PRINT = {"captioning/cli.py", "captioning/__main__.py", "captioning/demo/app.py"}


def name_of(path: Path) -> str:
    """captioning/training/run.py -> captioning.training.run"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def imports(path: Path, at_import_time: bool = False) -> set[str]:
    """Modules a file names in import statements; optionally only those that run on import."""
    tree = ast.parse(path.read_text("utf-8"))
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else module for one in inner}
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_typing_only(node)
        if not (at_import_time and late):
            todo += ast.iter_child_nodes(node)
    return found


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name in MODULES}


def test_there_is_something_to_check():
    assert len(MODULES) > 30 and "captioning.training.run" in MODULES
    assert "captioning.config" in imports(MODULES["captioning.training.run"])
    late = imports(ROOT / "captioning" / "commands" / "train.py") - imports(
        ROOT / "captioning" / "commands" / "train.py", True
    )
    assert "captioning.training.loop" in late


def test_leaves_import_nothing_of_the_package():
    assert ours(imports(ROOT / "vocabulary.py")) == set()
    assert ours(imports(ROOT / "model.py")) == set()
    assert ours(imports(ROOT / "data_loader.py")) == {"vocabulary"}


def test_model_needs_torch_torchvision_and_python_only():
    tops = {name.partition(".")[0] for name in imports(ROOT / "model.py")}
    assert tops - set(sys.stdlib_module_names) == {"torch", "torchvision"}


# {config, datasets, encoders, decoders, decoding, plotting} <- bundle <- {rewards, evaluation}
# <- training <- bench <- {cli, demo}
LAYERS = [
    {"files", "folders", "disk", "workers", "settings", "boxes"},
    {"config", "config_rewards", "datasets", "features", "encoders", "clip"}
    | {"decoders", "decoding", "plotting"},
    {"bundle", "ensemble", "picture_files"},
    {"rewards", "evaluation", "imports"},
    {"training"},
    {"bench"},
    {"commands", "cli", "demo", "widgets", "course", "__main__"},
]
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}


@pytest.mark.parametrize("name", [name for name in MODULES if name.count(".")])
def test_imports_point_one_way(name):
    own = LAYER_OF[name.split(".")[1]]
    for other in ours(imports(MODULES[name], at_import_time=True)):
        if other.count("."):
            assert LAYER_OF[other.split(".")[1]] <= own, f"{name} imports {other}"


def test_no_cycles():
    edges = {name: ours(imports(path, at_import_time=True)) for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_package_files_are_empty():
    for path in PACKAGE:
        if path.name == "__init__.py":
            assert path.read_text("utf-8") == "", path
    folders = {path.parent for path in PACKAGE}
    assert all((folder / "__init__.py").is_file() for folder in folders)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_functions_return_and_scripts_print(path):
    tree = ast.parse(path.read_text("utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    prints = [call.lineno for call in calls if call.func.id == "print"]
    script = any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in tree.body)
    is_command = path.parent.name == "commands"
    if str(path.relative_to(ROOT)) not in MAY_PRINT and not script and not is_command:
        assert not prints, f"{path}: print in line {prints}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path):
    if path.name != "__init__.py":
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_importing_downloads_and_prints_nothing():
    """All modules in one fresh process that cannot open a connection."""
    code = (
        "import socket, importlib\n"
        "def refuse(*_, **__): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        f"for name in {sorted(set(MODULES) - {'captioning.__main__'})!r}:\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and done.stderr == ""
