"""History and checkpoints: what a kill, a full disk or a stranger's file can and cannot do."""

from __future__ import annotations

import os
import pickle
import subprocess

import pytest
import torch
from conftest import quiet

from captioning.training import checkpoint as checkpoint_module
from captioning.training.checkpoint import load_checkpoint, save_checkpoint
from captioning.training.history import History, read_history

STATE = "checkpoint/state.pt"


def test_history_goes_on_behind_the_rows_that_count(tmp_path):
    path = tmp_path / "history.jsonl"
    history = History(path, tensorboard=False)
    for step in range(4):
        history.add("step", step, loss=1.5)
    history.close()
    with path.open("a") as file:
        file.write('{"kind": "st')  # cut by a kill
    assert [row["step"] for row in read_history(path)] == [0, 1, 2, 3]
    again = History(path, rows=2, tensorboard=False)
    again.add("step", 2, loss=0.5)
    again.close()
    assert [row["loss"] for row in read_history(path)] == [1.5, 1.5, 0.5]
    path.write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"history\.jsonl: line 2 is not JSON"):
        read_history(path)


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_with_code_is_refused_and_not_run(tiny_experiment, tmp_path):
    tiny_experiment.training.num_epochs = 1
    quiet(tiny_experiment)
    folder = tmp_path / "model"
    trap = str(tmp_path / "trap")
    torch.save({"experiment": Evil(trap)}, folder / STATE)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    for content in (None, pickle.dumps(Evil(trap)), b"", b"text", before[folder / STATE][:999]):
        if content is not None:
            (folder / STATE).write_bytes(content)
            before[folder / STATE] = content
        with pytest.raises(ValueError, match=r"state\.pt: damaged, or not a checkpoint"):
            quiet(tiny_experiment, resume=True)
        assert not os.path.exists(trap)
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_a_checkpoint_of_something_else(tmp_path):
    torch.save({"model": torch.zeros(3)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="not a checkpoint of this course"):
        load_checkpoint(tmp_path / "state.pt", torch.device("cpu"))


@pytest.mark.parametrize("moment", ["while writing", "before the move"])
def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path, monkeypatch, moment):
    path = tmp_path / "state.pt"
    save_checkpoint(path, {"number": 1})
    old = path.read_bytes()

    class Crash(BaseException):
        pass

    def crash(*_):
        raise Crash

    def half(state, temporary):
        temporary.write_bytes(b"half")
        raise Crash

    for _ in range(20):
        with monkeypatch.context() as patch, pytest.raises(Crash):
            if moment == "while writing":
                patch.setattr(checkpoint_module.torch, "save", half)
            else:
                patch.setattr(os, "replace", crash)
            save_checkpoint(path, {"number": 2})
        assert path.read_bytes() == old
    (tmp_path / ".state.pt.123.part").write_bytes(b"left by a killed process")
    save_checkpoint(path, {"number": 3})
    assert torch.load(path, weights_only=True) == {"number": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let the test mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_the_old_checkpoint_stays(small_disk):
    path = small_disk / "state.pt"
    save_checkpoint(path, {"numbers": torch.zeros(50_000)})
    old = path.read_bytes()
    with pytest.raises(OSError, match=r"state\.pt: could not be written \(.*\); what stood") as e:
        save_checkpoint(path, {"numbers": torch.zeros(250_000)})
    assert "\n" not in str(e.value)
    assert path.read_bytes() == old and [p.name for p in small_disk.iterdir()] == ["state.pt"]


def test_a_full_disk_while_the_bundle_is_written(small_disk, tiny_captioner):
    (small_disk / "filler").write_bytes(b"\0" * 900_000)
    with pytest.raises(OSError, match=r"model\.safetensors: could not be written"):
        tiny_captioner.save(small_disk / "bundle")
    assert not (small_disk / "bundle" / "model.safetensors").exists()


def test_a_full_disk_while_the_history_is_written(small_disk):
    history = History(small_disk / "history.jsonl", tensorboard=False)
    with pytest.raises(OSError, match=r"history\.jsonl: could not be written \(No space left"):
        for step in range(5000):
            history.add("step", step, text="x" * 1000)
    history.close()
