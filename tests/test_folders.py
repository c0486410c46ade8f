"""Folders that appear whole or not at all, and what is left when a process ends in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from captioning import folders
from captioning.folders import whole_folder

ROOT = Path(__file__).parent.parent
DEAD = 999999999  # no process has this number


def allow(output, overwrite):
    if Path(output).exists() and not overwrite:
        raise FileExistsError(f"{output}: in use")


def fill(output, text, overwrite=True):
    with whole_folder(output, allow, overwrite) as folder:
        (folder / "a.txt").write_text(text)


def content(output):
    return {path.name: path.read_text() for path in output.iterdir()}


def test_a_folder_appears_and_is_replaced(tmp_path, monkeypatch):
    output = tmp_path / "deep" / "er"
    fill(output, "first")
    (output / "b.txt").touch()
    with pytest.raises(FileExistsError, match="er: in use"):
        fill(output, "second", overwrite=False)
    assert content(output) == {"a.txt": "first", "b.txt": ""}
    monkeypatch.chdir(output)
    fill(".", "second")  # a place without a name
    assert content(output) == {"a.txt": "second"} and os.listdir(output.parent) == ["er"]


def test_behind_a_link_the_folder_is_replaced(tmp_path):
    fill(tmp_path / "real", "first")
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink() and content(tmp_path / "real") == {"a.txt": "second"}
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


@pytest.mark.parametrize("move", [1, 2])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_stop_between_the_moves_is_taken_back(tmp_path, monkeypatch, move, error):
    output = tmp_path / "page"
    fill(output, "first")
    rename, calls = Path.rename, []

    def stopping(self, target):
        calls.append(target)
        if len(calls) == move:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopping)
    with pytest.raises(type(error)) as caught:
        fill(output, "second")
    if isinstance(error, OSError):
        assert str(caught.value) == f"{output}: could not be written (No space left on device)"
    assert content(output) == {"a.txt": "first"} and os.listdir(tmp_path) == ["page"]


def test_a_kill_between_the_moves_is_repaired_by_the_next_one(tmp_path):
    output = tmp_path / "page"
    fill(output, "first")
    code = (
        "import os, signal, sys; from pathlib import Path; from captioning.folders import *\n"
        "move = Path.rename\n"
        "def die(self, to):\n"
        "    move(self, to)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.rename = die\n"
        "with whole_folder(sys.argv[1], lambda *_: None, True): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(output)], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not output.exists() and len(os.listdir(tmp_path)) == 2
    with pytest.raises(FileExistsError, match="in use"):  # it is back before it is asked for
        fill(output, "second", overwrite=False)
    assert content(output) == {"a.txt": "first"} and os.listdir(tmp_path) == ["page"]


def test_only_what_is_dead_and_of_this_place_is_removed(tmp_path):
    running = f".page.{os.getppid()}.part"
    kept = {running, f".page2.{DEAD}.part", ".page.part", f"page.{DEAD}.part"}
    gone = {f".page.{DEAD}.part", f".page.{os.getpid()}.part", ".page.99999999999999999999.part"}
    for name in kept | gone:
        (tmp_path / name).mkdir()
    folders.remove_abandoned(tmp_path / "page")
    assert set(os.listdir(tmp_path)) == kept
