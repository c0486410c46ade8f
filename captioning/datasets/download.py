"""Downloads that go on where they broke off and are checked before they get their name.

Bytes are collected in `NAME.part`; `NAME.part.json` remembers which version of the file they belong
to, so that two versions are never glued together. Whatever ends a download (a broken connection, a
full disk, Ctrl-C, kill -9), the next call continues it.

Source: RFC 9110, "HTTP Semantics": sections 14.2 (Range), 13.1.5 (If-Range), 14.4 (Content-Range),
15.5.17 (416).
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from captioning.disk import check_space, in_bytes
from captioning.files import write_atomically

CHUNK = 1 << 18  # bytes read at once, at most
TIMEOUT = 60  # seconds without a byte after which a connection counts as broken
LONGEST_WAIT = 60  # seconds between two tries
TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(OSError):
    """A file that cannot be had from its address; the message says what came instead."""


class WrongFileError(DownloadError):
    """A file of another size or with other bytes than the one expected."""


class _BrokenError(Exception):
    """The connection ended before the file did; another try may help."""

    def __init__(self, reason: object, wait: float = 0) -> None:
        super().__init__(str(reason))
        self.wait = wait  # seconds the server asks for


@dataclass(frozen=True)
class _Target:
    """Where a file comes from, where it is collected, and what is known about it."""

    url: str
    part: Path
    size: int  # 0: unknown

    @property
    def note(self) -> Path:
        return self.part.with_name(self.part.name + ".json")

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def forget(self) -> None:
        """Drop the bytes first: a note without bytes is harmless, the reverse is not."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def fetch(
    url: str,
    path: str | Path,
    size: int = 0,
    checksum: str = "",
    retries: int = 5,
    wait: float = 1.0,
    progress: bool = True,
) -> Path:
    """Download one file, or the rest of it; a file that is there is only checked.

    Args:
        url (str): http or https address.
        path (str | Path): the file to write.
        size (int): its bytes, 0 when unknown; the length the server announces is checked always.
        checksum (str): "sha256:..." or "md5:..." in hexadecimal digits, "" when unknown.
        retries (int): tries without a new byte after which it gives up.
        wait (float): seconds before the second of them, doubled for each further one.
        progress (bool): show a bar on stderr.

    Returns:
        Path: the file, complete and checked.

    Raises:
        ValueError: neither an http nor an https address.
        DownloadError: the server refuses, sends something else, or cannot be reached.
        OSError: the disk is full or the folder cannot be written; what came so far is kept.
    """
    if not re.match(r"https?://[^/]", url):
        raise ValueError(f"url: {url!r} received, http://... or https://... expected")
    path = Path(path)
    if path.exists():
        with _hint("; remove it to have it downloaded again"):
            check_file(path, size, checksum, progress)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    target = _Target(url, path.with_name(path.name + ".part"), size)
    with make_bar(path.name, size, "B", progress) as bar:
        _collect(target, retries, wait, bar)
    with _hint("; it is thrown away, the next try starts anew", forget=target):
        check_file(target.part, size, checksum, progress, name=url)
    with open(target.part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(target.part, path)
    target.note.unlink(missing_ok=True)
    return path


def check_file(
    path: str | Path, size: int = 0, checksum: str = "", progress: bool = True, name: str = ""
) -> None:
    """Compare a file with what is known about it.

    Args:
        path (str | Path): the file.
        size (int): bytes it must have; 0 when unknown.
        checksum (str): "sha256:..." or "md5:..."; "" when unknown.
        progress (bool): show a bar on stderr.
        name (str): what it is called in messages; the path by default.

    Raises:
        WrongFileError: it is another file.
    """
    path = Path(path)
    found = path.stat().st_size
    if size and found != size:
        raise WrongFileError(f"{name or path}: {found:,} bytes found, {size:,} expected")
    kind, _, expected = checksum.partition(":")
    if not expected:
        return
    digest = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as file, make_bar(f"checking {path.stem}", found, "B", progress) as bar:
        while block := file.read(1 << 20):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != expected.lower():
        raise WrongFileError(
            f"{name or path}: {kind.upper()} {digest.hexdigest()} found, {expected} expected"
        )


@contextlib.contextmanager
def _hint(advice: str, forget: _Target | None = None) -> Iterator[None]:
    """Add to the message about a wrong file what becomes of it."""
    try:
        yield
    except DownloadError as error:
        if forget:
            forget.forget()
        raise type(error)(f"{error}{advice}") from error


def make_bar(title: str, total: int, unit: str, progress: bool = True) -> tqdm:
    """A bar on stderr; where nobody watches it writes a line now and then only."""
    seconds = 0.5 if sys.stderr.isatty() else 30
    shown = {"unit": unit, "unit_scale": unit == "B", "mininterval": seconds, "leave": False}
    return tqdm(total=total or None, desc=title, disable=not progress, **shown)


# --- one file, in as many tries as it takes ------------------------------------------------------


def _collect(target: _Target, retries: int, wait: float, bar: tqdm) -> None:
    """Try until the file is complete; tries that brought new bytes are not counted."""
    most, failures = target.have() if _read_note(target) else 0, 0
    while True:
        try:
            _receive(target, bar)
            return
        except _BrokenError as error:
            reason, pause = error, error.wait
        failures = 0 if target.have() > most else failures + 1
        most = max(most, target.have())
        if failures >= retries:
            kept = f"; {in_bytes(most)} are kept for the next try" if _read_note(target) else ""
            raise DownloadError(f"{target.url}: {reason} ({retries} tries){kept}")
        bar.set_postfix_str(f"trying again: {reason}")
        time.sleep(min(max(pause, wait * 2 ** max(failures - 1, 0)), LONGEST_WAIT))


def _receive(target: _Target, bar: tqdm) -> None:
    """One request, and what it brings.

    Raises:
        _BrokenError: it broke off.
        DownloadError: what comes is not the file.
    """
    note = _read_note(target)
    have = target.have() if note else 0
    if have and have == note["total"]:
        return
    headers = {"User-Agent": "captioning-course", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": note["version"]}
    with _open(target, headers) as response:
        if response.status == 206:
            start, total = _range_of(response)
            if start != have or total != (note["total"] or total):
                target.forget()
                raise _BrokenError("the server sent another piece than asked for")
        elif response.status == 200:  # no ranges there, or the file has changed since
            start, total = 0, _begin(target, response)
        else:
            raise DownloadError(f"{target.url}: the server answers {response.status}")
        check_space(target.part.parent, total - start)
        bar.total, bar.n = total or None, start
        bar.set_postfix_str("", refresh=False)
        _append(target, response, total, bar)


@contextlib.contextmanager
def _open(target: _Target, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """Ask for a file; errors of the network are told from refusals."""
    try:
        request = urllib.request.Request(target.url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            yield response
    except urllib.error.HTTPError as error:
        with error:  # it holds a connection
            if error.code == 416:  # the piece begins behind the end of the file
                target.forget()
                raise _BrokenError("what was there is longer than the file") from error
            said = f"the server answers {error.code} {error.reason}"
            if error.code in TRY_AGAIN:
                after = error.headers.get("Retry-After", "")
                raise _BrokenError(said, int(after) if after.isdecimal() else 0) from error
            raise DownloadError(f"{target.url}: {said}") from error
    except urllib.error.URLError as error:
        raise _BrokenError(f"cannot be reached ({error.reason})") from error
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _BrokenError(f"no answer ({error})") from error


def _begin(target: _Target, response: http.client.HTTPResponse) -> int:
    """Check the head of a whole file and make a fresh start; the bytes it will have, or 0."""
    kind = response.headers.get_content_type()
    if kind == "text/html" and not target.url.endswith((".html", ".htm")):
        raise DownloadError(f"{target.url}: an HTML page came ({response.url}), a file expected")
    length = response.headers.get("Content-Length") or ""
    total = int(length) if length.isdecimal() else 0
    if target.size and total and total != target.size:
        raise WrongFileError(f"{target.url}: {total:,} bytes offered, {target.size:,} expected")
    total = total or target.size
    target.forget()
    version = response.headers.get("ETag") or ""
    if not version or version.startswith("W/"):  # a weak one does not promise equal bytes
        version = response.headers.get("Last-Modified") or ""
    text = json.dumps({"version": version, "total": total})
    write_atomically(target.note, lambda temporary: temporary.write_text(text, "utf-8"))
    return total


def _append(target: _Target, response: http.client.HTTPResponse, total: int, bar: tqdm) -> None:
    """Write what comes behind what is there.

    Raises:
        OSError: it cannot be written; what could be is kept.
    """
    try:
        with target.part.open("ab") as file:
            while block := _read(response):
                file.write(block)
                bar.update(len(block))
    except OSError as error:
        reason = error.strerror or error
        kept = "what came so far is kept, the next try continues it"
        raise OSError(f"{target.part}: could not be written ({reason}); {kept}") from error
    have = target.have()
    if not have:
        raise DownloadError(f"{target.url}: an empty file came")
    if have < total:
        raise _BrokenError(f"the connection broke off after {have:,} of {total:,} bytes")
    if total and have > total:
        target.forget()
        raise DownloadError(f"{target.url}: more than the {total:,} bytes expected came")


def _read(response: http.client.HTTPResponse) -> bytes:
    """What has come, without waiting for more: nothing is lost when the rest never comes."""
    try:
        return response.read1(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _BrokenError(f"the connection broke off ({error})") from error


def _range_of(response: http.client.HTTPResponse) -> tuple[int, int]:
    """First byte of a piece and the size of the whole; -1 where the server does not say."""
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range") or "")
    return (int(said[1]), int(said[2])) if said else (-1, -1)


def _read_note(target: _Target) -> dict[str, Any]:
    """Version and size of the file that the bytes so far belong to; empty: start anew."""
    try:
        note = json.loads(target.note.read_text("utf-8"))
        have, total = target.have(), int(note["total"])
        usable = have == total or (note["version"] and (have < total or not total))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return note if have and usable else {}
