"""Archives that nobody vouches for."""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from captioning.datasets.unpack import find_member, open_member, unpack_pictures

ROOT = Path(__file__).parent.parent
Usage = namedtuple("Usage", "total used free")


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


PICTURES = {f"train/{i:03}.jpg": bytes([i]) * 1000 for i in range(40)}


def test_pictures_are_unpacked_once(tmp_path, monkeypatch):
    extra = {
        "train/": b"",
        "train/readme.txt": b"x",
        "__MACOSX/train/000.jpg": b"",
        "a/._1.jpg": b"",
    }
    archive = make_zip(tmp_path / "a.zip", PICTURES | extra)
    folder = tmp_path / "out"
    assert unpack_pictures(archive, folder, progress=False) == 40
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        Path(name).name: content for name, content in PICTURES.items()
    }
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "003.jpg").write_bytes(b"y" * 1000)  # the size is right, the bytes are not
    (folder / "004.jpg").unlink()
    unpack_pictures(archive, folder, progress=False)
    changed = {p.name for p in folder.iterdir() if p.stat().st_mtime_ns != times.get(p)}
    assert changed == {"003.jpg", "004.jpg"}
    assert (folder / "003.jpg").read_bytes() == PICTURES["train/003.jpg"]


def test_kill_9_while_unpacking(tmp_path):
    archive = make_zip(tmp_path / "a.zip", PICTURES)
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from captioning.datasets.unpack import unpack_pictures\n"
        "replace = Path.replace\n"
        "def dying(self, to):\n"
        "    if to.name == '017.jpg': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return replace(self, to)\n"
        "Path.replace = dying\n"
        "unpack_pictures(sys.argv[1], sys.argv[2], progress=False)\n"
    )
    folder = tmp_path / "out"
    command = [sys.executable, "-c", code, str(archive), str(folder)]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == -signal.SIGKILL
    assert len(list(folder.glob("*.jpg"))) == 17
    assert unpack_pictures(archive, folder, progress=False) == 40
    assert sorted(names_in(folder)) == [f"{i:03}.jpg" for i in range(40)]
    assert all((folder / Path(n).name).read_bytes() == c for n, c in PICTURES.items())


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "train/../../evil.jpg", "/evil.jpg", "C:/evil.jpg", "..\\evil.jpg"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", PICTURES | {name: b"x"})
    with pytest.raises(ValueError, match="leads out of the folder; nothing was unpacked"):
        unpack_pictures(archive, tmp_path / "inner" / "out", progress=False)
    assert names_in(tmp_path) == ["a.zip"]


def test_links_are_refused(tmp_path):
    link = zipfile.ZipInfo("train/link.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="a link or a device"):
        unpack_pictures(tmp_path / "a.zip", tmp_path / "out", progress=False)


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "a.zip"
    for content in (b"", b"<html>", make_zip(tmp_path / "b.zip", PICTURES).read_bytes()[:-900]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.zip: damaged, or not a zip archive"):
            unpack_pictures(path, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="no pictures in it"):
        unpack_pictures(make_zip(path, {"a.txt": b""}), tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="two pictures are called 1.jpg"):
        unpack_pictures(make_zip(path, {"1.jpg": b"", "a/1.jpg": b""}), tmp_path, progress=False)


def test_damaged_bytes_in_an_archive_are_noticed(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:  # stored: the bytes can be found
        archive.writestr("a/1.jpg", b"good" * 100)
        archive.writestr("a/x.json", b"[1]" * 100)
    path.write_bytes(path.read_bytes().replace(b"goodgood", b"goodbad!", 1).replace(b"[1]", b"[2]"))
    with pytest.raises(ValueError, match=r"a\.zip: damaged.*CRC"):
        unpack_pictures(path, tmp_path / "out", progress=False)
    assert names_in(tmp_path / "out") == []
    with pytest.raises(ValueError, match="CRC"), open_member(path, "a/x.json") as stream:
        stream.read()
    assert find_member(path, "x.json") == "a/x.json" and find_member(path, "y.json") == ""


def test_a_small_disk_is_noticed_before_unpacking(tmp_path, monkeypatch):
    archive = make_zip(tmp_path / "a.zip", PICTURES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match=r"40\.00 kB needed, 1\.00 kB free"):
        unpack_pictures(archive, tmp_path / "out", progress=False)
