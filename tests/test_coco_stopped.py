"""`data coco` on a small disk, stopped, killed, run twice, and from the command line."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from coco_cases import coco_server, cut, ids_of, request_of  # noqa: F401 (fixture `server`)
from mini_coco import (
    TRAIN,
    VAL,
    numbers_of,
)

from captioning import cli
from captioning.datasets import coco_parts
from captioning.datasets.coco import prepare
from captioning.datasets.coco_parts import KNOWN

ROOT = Path(__file__).parent.parent
Usage = namedtuple("Usage", "total used free")


def test_a_small_disk_is_noticed_before_anything_is_loaded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match="kB needed, 1.00 kB free on this disk"):
        prepare(request_of(server, tmp_path))
    assert server.asked == []


def test_room_is_counted_with_what_is_there(server, tmp_path):
    sizes = {path: size for path, (size, _) in KNOWN.items() if path in server.files}
    train, val = sizes["zips/train2014.zip"], sizes["zips/val2014.zip"]
    small = sizes["caption_datasets.zip"] + sizes["annotations/annotations_trainval2014.zip"]
    request = request_of(server, tmp_path)
    steps = coco_parts.make_plan(request)
    assert [step.state for step in steps] == ["missing"] * 4
    most = 1000 + small + max(2 * train, train + 2 * val)  # train's archive goes before val's comes
    assert coco_parts.space_needed(request, steps) == most
    kept = request_of(server, tmp_path, keep_archives=True)
    assert coco_parts.space_needed(kept, steps) == 1000 + small + 2 * train + 2 * val
    server.faults["zips/val2014.zip"] = [("status", 404)]
    server.faults["caption_datasets.zip"] = [("break", 100)]
    with pytest.raises(OSError, match="404"):
        prepare(request)
    assert not (tmp_path / "downloads" / "train2014.zip").exists()
    (tmp_path / "downloads" / "val2014.zip.part").write_bytes(b"x" * 100)
    steps = {step.part: step for step in coco_parts.make_plan(request)}
    states = {part: step.state for part, step in steps.items()}
    assert states == {
        **{"karpathy": "downloaded", "annotations": "downloaded"},
        **{"train_images": "there", "val_images": "begun"},
    }
    assert steps["val_images"].to_load == val - 100 and steps["train_images"].to_unpack == 0


def test_a_second_run_is_kept_out(server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "downloads").mkdir()
    with (tmp_path / "downloads" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another run is at work there"):
            prepare(request_of(server, tmp_path))


DYING = """
import os, signal, sys
from pathlib import Path
from captioning.datasets import coco, coco_parts, download, unpack
place, number, output, url = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
coco_parts.ANNOTATION_SPACE = 1000
module = {"_read": download, "_unpack": unpack}[place]
original, calls = getattr(module, place), []
def dying(*arguments, **named):
    calls.append(1)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
setattr(module, place, dying)
coco.prepare(coco_parts.Request(output, mirror=url, any_version=True, progress=False))
"""


@pytest.mark.parametrize(
    ("place", "number"),
    [("_read", 2), ("_read", 6), ("_unpack", 4), ("_unpack", 12)],
)
def test_kill_9_anywhere(server, tmp_path, place, number):
    output = tmp_path / "coco"
    command = [sys.executable, "-c", DYING, place, str(number), str(output), server.url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (output / "info.json").exists()
    info = prepare(request_of(server, output))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2} and info["notes"] == []
    assert ids_of(output, "train") == numbers_of("train", "restval")
    files = {path.name for path in (output / "images").rglob("*.jpg")}
    assert len(files) == len(TRAIN) + len(VAL)
    left = {path.name for path in output.rglob("*") if path.name.endswith(".part")}
    assert not left and not (output / "downloads").exists()


def test_stopped_while_the_split_is_replaced(server, tmp_path, monkeypatch):
    prepare(request_of(server, tmp_path))
    official = request_of(server, tmp_path, split="official", overwrite=True)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("captioning.datasets.coco.write_layout", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(official)
    info = prepare(request_of(server, tmp_path))  # not taken for complete, and no question asked
    assert info["split"] == "karpathy" and ids_of(tmp_path, "test") == numbers_of("test")
    assert {path.name for path in (tmp_path / "annotations").glob("instances_*")} == {
        f"instances_{split}.json" for split in ("train", "val", "test")
    }


def test_stopped_when_further_pictures_are_unpacked(server, tmp_path, monkeypatch):
    prepare(request_of(server, tmp_path, parts=("val_images",)))

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("captioning.datasets.coco._mend", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(request_of(server, tmp_path))
    assert prepare(request_of(server, tmp_path))["counts"]["train"] == 10


# --- the command -------------------------------------------------------------------------------


def run(*flags: object) -> int:
    return cli.main(["data", "coco", *map(str, flags)])


def test_the_command(server, tmp_path, monkeypatch, capsys):
    flags = ("--output", tmp_path / "coco", "--mirror", server.url)
    assert run(*flags, "--dry_run") == 0
    out, _ = capsys.readouterr()
    assert server.asked == [] and not (tmp_path / "coco").exists()
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "missing" in rows["train_images"] and f"{server.url}/zips/train2014.zip" in out
    assert "to load:" in out and "free" in out
    assert run(*flags) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["counts"] == {"train": 10, "val": 3, "test": 2}
    assert "val_images" in err and "needed" in err
    assert run(*flags) == 0
    assert f"{tmp_path / 'coco'} is complete" in capsys.readouterr().err


def test_wrong_usage_of_the_command(tmp_path, monkeypatch, capsys):
    flags = ("--output", tmp_path / "coco")
    for wrong in (("--split", "x"), ("--mirror", "ftp://x"), ("--karpathy", tmp_path / "no")):
        assert run(*flags, *wrong) == 2
        assert "received" in (said := capsys.readouterr().err) or "does not exist" in said
    assert not (tmp_path / "coco").exists()


def test_ctrl_c_says_how_to_go_on(server, tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("captioning.datasets.coco.unpack_pictures", interrupted)
    assert run("--output", tmp_path, "--mirror", server.url) == 1
    assert "stopped; the same command goes on from here" in capsys.readouterr().err
