"""`data coco` on a COCO of eighteen pictures, from a server that breaks off."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from faulty_server import Server, serve
from mini_coco import (
    CATEGORIES,
    TRAIN,
    VAL,
    archives,
    name_of,
    numbers_of,
    picture,
    zipped,
)

from captioning import cli
from captioning.datasets import coco_parts
from captioning.datasets.coco import CORRUPT, prepare
from captioning.datasets.coco_parts import KNOWN, Request
from captioning.datasets.instances import load_instances
from captioning.evaluation.pointing import read_boxes
from data_loader import open_image, read_annotations

ROOT = Path(__file__).parent.parent
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """COCO in small, with its own sizes and checksums."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(coco_parts, "ANNOTATION_SPACE", 1000)
    with serve() as running:
        running.files = archives(2014) | archives(2017)
        for path, content in running.files.items():
            known = (len(content), "sha256:" + hashlib.sha256(content).hexdigest())
            monkeypatch.setitem(KNOWN, path, known)
        yield running


def request_of(server: Server, output: Path, **settings) -> Request:
    return Request(output, mirror=server.url, progress=False, **settings)


def ids_of(output: Path, split: str) -> set[int]:
    return set(read_annotations(output, split).imgs)


def cut(server: Server, half: str, number: int) -> None:
    """Cut one picture of an archive off."""
    path = f"zips/{half}2014.zip"
    numbers = TRAIN if half == "train" else VAL
    pictures = {f"{half}2014/{name_of(half, n)}": picture(n) for n in numbers}
    pictures[f"{half}2014/{name_of(half, number)}"] = picture(number)[:-200]
    server.files[path] = zipped(pictures)


# --- the data set ------------------------------------------------------------------------------


def test_karpathys_split(server, tmp_path):
    server.faults["zips/train2014.zip"] = [("break", 1500), ("status", 503)]
    output = tmp_path / "coco"
    info = prepare(request_of(server, output))
    assert info == json.loads((output / "info.json").read_text("utf-8"))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert info["captions"] == {"train": 50, "val": 15, "test": 10}
    assert (info["name"], info["version"], info["split"]) == ("coco", "2014", "karpathy")
    assert info["folders"] == ["train2014", "val2014"] and info["notes"] == []
    assert sorted(path.name for path in output.iterdir()) == ["annotations", "images", "info.json"]
    assert ids_of(output, "train") == numbers_of("train", "restval")
    assert ids_of(output, "val") == numbers_of("val") and ids_of(output, "test") == set(VAL[7:])
    captions = read_annotations(output, "val").imgToAnns[104]
    assert [one["caption"] for one in captions] == [f"A Man (no. 104), said {i}." for i in range(5)]
    for split in ("train", "val", "test"):
        for row in read_annotations(output, split).dataset["images"]:
            assert open_image(output / "images" / row["file_name"]).size == (24, 18)
            assert (row["width"], row["height"]) == (24, 18)


def test_instances_are_reduced(server, tmp_path):
    prepare(request_of(server, tmp_path / "coco", parts=("annotations",)))
    for split, numbers in {
        "train": numbers_of("train", "restval"),
        "val": numbers_of("val"),
        "test": numbers_of("test"),
    }.items():
        path = tmp_path / "coco" / "annotations" / f"instances_{split}.json"
        coco = load_instances(path)
        assert set(coco.imgs) == numbers
        assert {one["image_id"] for one in coco.anns.values()} == numbers - {30}
        assert all("segmentation" not in one for one in coco.anns.values())
        assert coco.dataset["categories"] == CATEGORIES
        assert all(
            boxes == {"dog" if number % 2 else "person": [(0.25, 0.5, 0.75, 1.0)]} or number == 30
            for number, boxes in read_boxes(path).items()
        )


def test_the_official_split(server, tmp_path):
    output = tmp_path / "coco"
    info = prepare(request_of(server, output, split="official"))
    assert info["counts"] == {"train": 6, "val": 9, "test": 3}
    assert ids_of(output, "train") == set(TRAIN) and ids_of(output, "val") == set(VAL)
    names = {path.name for path in (output / "annotations").iterdir()}
    assert names == {
        *("captions_train.json", "captions_val.json", "images_test.json"),
        *("instances_train.json", "instances_val.json"),
    }
    for row in read_annotations(output, "test").dataset["images"]:
        open_image(output / "images" / row["file_name"])
    assert not any("caption_datasets" in path for path, _ in server.asked)


def test_the_release_of_2017(server, tmp_path):
    info = prepare(request_of(server, tmp_path / "k", year=2017))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2} and info["version"] == "2017"
    assert ids_of(tmp_path / "k", "train") == numbers_of("train", "restval")
    for split in info["counts"]:
        for row in read_annotations(tmp_path / "k", split).dataset["images"]:
            open_image(tmp_path / "k" / "images" / row["file_name"])
    instances = load_instances(tmp_path / "k" / "annotations" / "instances_test.json")
    assert set(instances.imgs) == numbers_of("test") and len(instances.anns) == 2
    info = prepare(request_of(server, tmp_path / "o", year=2017, split="official"))
    assert info["counts"] == {"train": 13, "val": 2, "test": 3}
    with pytest.raises(FileExistsError, match="holds the data set 'coco 2017'"):
        prepare(request_of(server, tmp_path / "k"))


def test_the_same_call_again_asks_nobody(server, tmp_path):
    first = prepare(request_of(server, tmp_path))
    asked = len(server.asked)
    assert prepare(request_of(server, tmp_path)) == first
    assert prepare(request_of(server, tmp_path, parts=("annotations",))) == first
    assert len(server.asked) == asked


def test_another_split_replaces_the_annotations_only(server, tmp_path):
    prepare(request_of(server, tmp_path))
    with pytest.raises(FileExistsError, match="holds the karpathy split; --overwrite"):
        prepare(request_of(server, tmp_path, split="official"))
    server.asked.clear()
    settings = {"split": "official", "parts": ("train_images", "val_images"), "overwrite": True}
    info = prepare(request_of(server, tmp_path, **settings))
    assert not any(path.startswith("zips/") for path, _ in server.asked)
    assert info["counts"] == {"train": 6, "val": 9}
    assert info["notes"] == ["3 pictures of test2014 left out, not fetched"]
    names = {path.name for path in (tmp_path / "annotations").iterdir()}
    assert "captions_test.json" not in names and "instances_test.json" not in names


def test_pictures_can_follow_later(server, tmp_path):
    info = prepare(request_of(server, tmp_path, parts=("annotations",)))
    assert info["counts"]["train"] == 10 and info["pictures"] == "none"
    info = prepare(request_of(server, tmp_path, parts=("val_images",)))
    assert info["counts"] == {"train": 4, "val": 3, "test": 2}
    assert info["notes"] == ["6 pictures of train2014 left out, not fetched"]
    info = prepare(request_of(server, tmp_path))
    assert info["counts"]["train"] == 10 and info["notes"] == []
    (tmp_path / "images" / "val2014" / name_of("val", VAL[0])).unlink()
    prepare(request_of(server, tmp_path))
    open_image(tmp_path / "images" / "val2014" / name_of("val", VAL[0]))


def test_archives_can_be_kept(server, tmp_path):
    prepare(request_of(server, tmp_path, keep_archives=True))
    names = {path.name for path in (tmp_path / "downloads").iterdir()}
    assert names == {
        *("train2014.zip", "val2014.zip"),
        *("annotations_trainval2014.zip", "caption_datasets.zip"),
    }
    asked = len(server.asked)
    shutil.rmtree(tmp_path / "images")
    prepare(request_of(server, tmp_path))
    assert len(server.asked) == asked and not (tmp_path / "downloads").exists()


# --- parts that are there ----------------------------------------------------------------------


def test_every_part_can_be_a_local_file(tmp_path):
    here = tmp_path / "here"
    for path, content in archives().items():
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).write_bytes(content)
    local = {
        "karpathy": here / "caption_datasets.zip",
        "annotations": here / "annotations" / "annotations_trainval2014.zip",
        "train_images": here / "zips" / "train2014.zip",
        "val_images": here / "zips" / "val2014.zip",
    }
    info = prepare(
        Request(tmp_path / "a", local=local, mirror="http://127.0.0.1:1", progress=False)
    )
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert all(path.is_file() for path in local.values())  # nothing of the user's is removed
    for path in local.values():
        shutil.unpack_archive(path, here / "open")
    local |= {"karpathy": here / "open" / "dataset_coco.json", "annotations": here / "open"}
    local |= {"train_images": here / "open", "val_images": here / "open" / "val2014"}
    info = prepare(Request(tmp_path / "b", local=local, progress=False))
    assert info["counts"] == {"train": 10, "val": 3, "test": 2}
    assert (tmp_path / "b/images/train2014").resolve() == here / "open" / "train2014"
    assert prepare(Request(tmp_path / "b", local=local, progress=False)) == info
    # an archive in place of a linked folder is not unpacked into that folder
    zips = local | {"train_images": here / "zips" / "train2014.zip"}
    prepare(Request(tmp_path / "b", local=zips, progress=False))
    assert not (tmp_path / "b/images/train2014").is_symlink()
    assert not list((here / "open").rglob(".*"))
    # a picture in a folder that is not ours is never replaced
    bad = here / "open" / "train2014" / name_of("train", CORRUPT)
    bad.write_bytes(b"broken")
    info = prepare(Request(tmp_path / "c", local=local, progress=False))
    assert info["counts"]["train"] == 9 and bad.read_bytes() == b"broken"
    assert info["notes"] == [f"{bad.name} is corrupt and left out (in a folder that is not ours)"]


def test_wrong_local_files_are_named(server, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"images": [{"filename": "x.jpg", "split": "train", "cocoid": 7}]}', "utf-8")
    local = {"karpathy": bad}
    with pytest.raises(ValueError, match="1 of the 1 pictures of Karpathy's split are not in it"):
        prepare(request_of(server, tmp_path / "a", local=local))
    assert not any(path.startswith("zips/") for path, _ in server.asked)  # before the long way
    bad.write_text('{"images": [{"filename": "x.jpg", "split": "x", "cocoid": 7}]}', "utf-8")
    with pytest.raises(ValueError, match="split 'x' found, train, val or test expected"):
        prepare(request_of(server, tmp_path / "b", local=local))
    with pytest.raises(FileNotFoundError, match="no captions_train2014.json in it"):
        prepare(request_of(server, tmp_path / "c", local={"annotations": tmp_path}))
    with pytest.raises(ValueError, match="bad.json: damaged, or not a zip archive"):
        prepare(request_of(server, tmp_path / "d", local={"train_images": bad}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "random"}, "split: 'random' received, one of .'karpathy', 'official'. expected"),
        ({"year": 2015}, "year: 2015 received"),
        ({"parts": ("test_images",)}, "parts: 'test_images' received"),
        ({"local": {"karpathy": Path("nowhere")}}, "karpathy: nowhere does not exist"),
        ({"local": {"test_images": ROOT}}, "--split karpathy has no use for it"),
    ],
)
def test_wrong_requests(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        Request(tmp_path, **settings)


def test_other_data_is_not_touched(server, own_data, tmp_path):
    with pytest.raises(FileExistsError, match="holds other files"):
        prepare(request_of(server, own_data))
    (own_data / "info.json").write_text('{"name": "mine", "version": 1}', "utf-8")
    with pytest.raises(FileExistsError, match="holds the data set 'mine 1'"):
        prepare(request_of(server, own_data))
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(FileExistsError, match="a file stands there"):
        prepare(request_of(server, tmp_path / "file"))
    assert server.asked == []


# --- what goes wrong on the way ----------------------------------------------------------------


def test_without_karpathys_file_there_is_advice(server, tmp_path):
    del server.files["caption_datasets.zip"]
    with pytest.raises(OSError, match="answers 404.*--karpathy FILE .*or choose --split official"):
        prepare(request_of(server, tmp_path))
    assert len(server.asked) == 1


def test_wrong_bytes_are_refused_unless_any_version_will_do(server, tmp_path):
    cut(server, "train", CORRUPT)
    with pytest.raises(OSError, match=r"bytes offered.*--train_images takes a copy you have"):
        prepare(request_of(server, tmp_path))
    server.files["zips/train2014.zip"] += b"x"  # behind the archive
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert info["counts"]["train"] == 9


def test_the_corrupt_picture_is_replaced(server, tmp_path):
    cut(server, "train", CORRUPT)
    name = name_of("train", CORRUPT)
    server.files[f"train2014/{name}"] = picture(CORRUPT)
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert info["notes"] == [f"{name} was corrupt and is replaced by a fresh copy"]
    open_image(tmp_path / "images" / "train2014" / name)
    assert info["counts"]["train"] == 10 and not (tmp_path / "downloads").exists()


@pytest.mark.parametrize("fresh", [None, b"no picture either"])
def test_the_corrupt_picture_is_left_out(server, tmp_path, fresh):
    cut(server, "train", CORRUPT)
    if fresh:
        server.files[f"train2014/{name_of('train', CORRUPT)}"] = fresh
    info = prepare(request_of(server, tmp_path, any_version=True))
    assert len(info["notes"]) == 1 and "is corrupt and left out (" in info["notes"][0]
    assert CORRUPT not in ids_of(tmp_path, "train") and info["counts"]["train"] == 9
    path = tmp_path / "annotations" / "instances_train.json"
    assert CORRUPT not in load_instances(path).imgs


def test_missing_pictures_stop_it(server, tmp_path):
    pictures = {f"val2014/{name_of('val', number)}": picture(number) for number in VAL[1:]}
    server.files["zips/val2014.zip"] = zipped(pictures)
    with pytest.raises(FileNotFoundError, match="1 of 15 pictures are not there.*allow_missing"):
        prepare(request_of(server, tmp_path, any_version=True))
    info = prepare(request_of(server, tmp_path, any_version=True, allow_missing=True))
    assert info["counts"]["train"] == 9 and "1 picture left out, not there" in info["notes"][0]


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
