"""Downloads that break, lie and go on, and archives that nobody vouches for."""

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

from captioning.datasets import download
from captioning.datasets.download import DownloadError, fetch
from captioning.disk import in_bytes

ROOT = Path(__file__).parent.parent
CONTENT = bytes(range(256)) * 2000  # 512,000 bytes
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files["data.zip"] = CONTENT
        yield running


def get(server: Server, path: Path, **known) -> Path:
    """Without bars and without long pauses."""
    return fetch(f"{server.url}/data.zip", path, progress=False, wait=0.001, **known)


def ranges(server: Server) -> list[str]:
    return [asked for _, asked in server.asked]


def rest_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_loaded_once_and_checked(server, tmp_path):
    path = tmp_path / "new" / "data.zip"
    assert get(server, path, size=len(CONTENT), checksum=SHA) == path
    assert path.read_bytes() == CONTENT and rest_of(path.parent) == ["data.zip"]
    get(server, path, size=len(CONTENT), checksum=SHA)
    assert len(server.asked) == 1
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DownloadError, match="SHA256 .* found, .* expected; remove it"):
        get(server, path, checksum=SHA)
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest().upper()
    get(server, tmp_path / "other.zip", checksum=md5)


def test_a_broken_download_goes_on_where_it_broke(server, tmp_path):
    server.faults["data.zip"] = [("break", 100_000), ("status", 503), ("break", 50_000)]
    path = get(server, tmp_path / "data.zip", checksum=SHA)
    assert path.read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=100000-", "bytes=100000-", "bytes=150000-"]


def test_many_breaks_are_fine_as_long_as_bytes_come(server, tmp_path):
    server.faults["data.zip"] = [("break", 40_000)] * 12
    get(server, tmp_path / "data.zip", checksum=SHA, retries=2)
    assert len(server.asked) == 13


def test_giving_up_keeps_what_came(server, tmp_path):
    server.faults["data.zip"] = [("break", 100_000), *[("break", 0)] * 3]
    with pytest.raises(DownloadError, match=r"broke off after 100,000 of 512,000.*3 tries.*kept"):
        get(server, tmp_path / "data.zip", retries=3)
    assert rest_of(tmp_path) == ["data.zip.part", "data.zip.part.json"]
    get(server, tmp_path / "data.zip", checksum=SHA)
    assert ranges(server)[-1] == "bytes=100000-" and rest_of(tmp_path) == ["data.zip"]


def test_a_server_without_ranges_starts_over_and_ends(server, tmp_path):
    server.ranges = False
    server.faults["data.zip"] = [("break", 300_000), ("break", 200_000)]
    assert get(server, tmp_path / "a.zip", checksum=SHA).read_bytes() == CONTENT
    server.faults["data.zip"] = [("break", 200_000)] * 9
    with pytest.raises(DownloadError, match="3 tries"):
        get(server, tmp_path / "b.zip", retries=3)
    assert len(server.asked) == 3 + 4  # the first try brought something


def test_a_file_that_changed_is_not_glued_together(server, tmp_path):
    changed = CONTENT[::-1]
    server.faults["data.zip"] = [("break", 100_000), *[("status", 500)] * 2]
    with pytest.raises(DownloadError, match="500"):
        get(server, tmp_path / "data.zip", retries=2)
    server.files["data.zip"] = changed
    assert get(server, tmp_path / "data.zip").read_bytes() == changed


def test_without_a_version_nothing_is_continued(server, tmp_path):
    server.versions = False
    server.faults["data.zip"] = [("break", 100_000)]
    assert get(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert ranges(server) == ["", ""]


def test_a_wrong_piece_is_thrown_away(server, tmp_path):
    server.faults["data.zip"] = [("break", 100_000), ("piece", 7)]
    assert get(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=100000-", ""]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    etag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    (tmp_path / "data.zip.part").write_bytes(CONTENT + b"more")
    note = {"version": etag, "total": 0}
    (tmp_path / "data.zip.part.json").write_text(json.dumps(note), "utf-8")
    assert get(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT) + 4}-", ""]


@pytest.mark.parametrize("note", ["", "{}", "[1]", '{"version": "x", "total": "many"}'])
def test_a_part_of_unknown_origin_is_thrown_away(server, tmp_path, note):
    (tmp_path / "data.zip.part").write_bytes(b"who knows")
    (tmp_path / "data.zip.part.json").write_text(note, "utf-8")
    assert get(server, tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_complete_part_is_checked_without_asking(server, tmp_path):
    (tmp_path / "data.zip.part").write_bytes(CONTENT)
    note = {"version": "", "total": len(CONTENT)}
    (tmp_path / "data.zip.part.json").write_text(json.dumps(note), "utf-8")
    assert get(server, tmp_path / "data.zip", checksum=SHA).read_bytes() == CONTENT
    assert server.asked == [] and rest_of(tmp_path) == ["data.zip"]


def test_wrong_bytes_are_named_and_removed(server, tmp_path):
    server.files["data.zip"] = b"x" + CONTENT[1:]
    with pytest.raises(DownloadError, match=f"SHA256 .* found, {SHA[7:]} expected; it is thrown"):
        get(server, tmp_path / "data.zip", size=len(CONTENT), checksum=SHA)
    assert rest_of(tmp_path) == []


def test_another_length_is_refused_before_a_byte_is_written(server, tmp_path):
    with pytest.raises(DownloadError, match="512,000 bytes offered, 600,000 expected"):
        get(server, tmp_path / "data.zip", size=600_000)
    assert rest_of(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (("status", 404), "answers 404"),
        (("status", 403), "answers 403"),
        (("html", "<html>Please log in</html>"), "an HTML page came"),
        (("redirect", "nowhere"), "answers 404"),
        (("status", 204), "answers 204"),
    ],
)
def test_a_refusal_is_final(server, tmp_path, fault, message):
    server.faults["data.zip"] = [fault]
    with pytest.raises(DownloadError, match=message):
        get(server, tmp_path / "data.zip")
    assert rest_of(tmp_path) == []
    assert len([path for path, _ in server.asked if path == "data.zip"]) == 1


def test_an_empty_file_is_refused(server, tmp_path):
    server.files["data.zip"] = b""
    with pytest.raises(DownloadError, match="an empty file came"):
        get(server, tmp_path / "data.zip")


def test_errors_that_pass_are_tried_again(server, tmp_path):
    server.faults["data.zip"] = [("status", 500), ("status", 429), ("redirect", "real.zip")]
    server.files["real.zip"] = CONTENT
    server.faults["real.zip"] = [("break", 9_000)]
    assert get(server, tmp_path / "data.zip", checksum=SHA).read_bytes() == CONTENT
    assert ("data.zip", "bytes=9000-") in server.asked  # and so to real.zip, or from there


def test_a_file_without_a_length(server, tmp_path):
    server.faults["data.zip"] = [("chunked", 77_000), ("chunked", 0)]
    assert get(server, tmp_path / "data.zip").read_bytes() == CONTENT
    assert len(server.asked) == 2
    server.faults["data.zip"] = [("chunked", 0)]
    with pytest.raises(DownloadError, match="more than the 1,000 bytes expected"):
        get(server, tmp_path / "other.zip", size=1000)


def test_nobody_there(tmp_path):
    with serve() as server:
        address = server.url
    with pytest.raises(DownloadError, match=r"cannot be reached \(.*refused.*2 tries"):
        fetch(f"{address}/x", tmp_path / "x", retries=2, wait=0.001, progress=False)
    with pytest.raises(ValueError, match="url: 'file:///etc/passwd' received, http"):
        fetch("file:///etc/passwd", tmp_path / "x")


def test_a_small_disk_is_noticed_before_it_is_full(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match=r"512\.00 kB needed, 1\.00 kB free"):
        get(server, tmp_path / "data.zip")
    assert not (tmp_path / "data.zip.part").exists()


def test_a_full_disk_leaves_a_part_to_go_on_with(server, tmp_path, monkeypatch):
    code = (
        "import resource, sys\n"
        "from captioning.datasets.download import fetch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))\n"
        "fetch(sys.argv[1], sys.argv[2], progress=False)\n"
    )
    done = run_python(code, f"{server.url}/data.zip", tmp_path / "data.zip")
    assert "could not be written (File too large); what came so far is kept" in done.stderr
    assert (tmp_path / "data.zip.part").stat().st_size == 200_000
    get(server, tmp_path / "data.zip", checksum=SHA)
    assert ranges(server) == ["", "bytes=200000-"]


def test_ctrl_c_leaves_a_part_to_go_on_with(server, tmp_path, monkeypatch):
    blocks = iter([CONTENT[:100_000]])

    def interrupted(response):
        try:
            return next(blocks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(download, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path / "data.zip")
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "*")
    get(server, tmp_path / "data.zip", checksum=SHA)
    assert ranges(server) == ["", "bytes=100000-"]


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_kill_9_leaves_a_part_to_go_on_with(server, tmp_path):
    code = (
        "import os, signal, sys\n"
        "from captioning.datasets import download\n"
        "read, download.CHUNK = download._read, 100_000\n"
        "def dying(response, blocks=[]):\n"
        "    blocks.append(1)\n"
        "    if len(blocks) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(response)\n"
        "download._read = dying\n"
        "download.fetch(sys.argv[1], sys.argv[2], progress=False)\n"
    )
    done = run_python(code, f"{server.url}/data.zip", tmp_path / "data.zip")
    assert done.returncode == -signal.SIGKILL
    kept = (tmp_path / "data.zip.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert get(server, tmp_path / "data.zip", checksum=SHA).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={kept}-"]


def test_the_bar_is_on_stderr(server, tmp_path, capsys):
    fetch(f"{server.url}/data.zip", tmp_path / "data.zip", checksum=SHA)
    out, err = capsys.readouterr()
    assert out == "" and "data.zip" in err


def test_bytes_for_people():
    said = [in_bytes(number) for number in (0, 999, 1500, 252872794, 13510573713)]
    assert said == ["0 bytes", "999 bytes", "1.50 kB", "252.87 MB", "13.51 GB"]
