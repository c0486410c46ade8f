"""Zip archives that nobody vouches for: pictures unpacked safely, files read where they lie.

Nothing is written outside the folder asked for, every file appears whole or not at all, and
unpacking that was stopped goes on with the files that are missing. A zip archive holds a CRC-32 of
each file, which is checked always.
"""

from __future__ import annotations

import contextlib
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from captioning.datasets.download import make_bar
from captioning.disk import check_space

PICTURES = (".jpg", ".jpeg", ".png")
_CHUNK = 1 << 20


def unpack_pictures(archive: str | Path, folder: str | Path, progress: bool = True) -> int:
    """Put all pictures of an archive into one folder, whatever folders they are in there.

    Args:
        archive (str | Path): a zip archive.
        folder (str | Path): is made; a file that is there with the right CRC stays as it is.
        progress (bool): show a bar on stderr.

    Returns:
        int: the number of pictures.

    Raises:
        ValueError: not a whole zip archive, no pictures in it, or names that are not safe.
        OSError: the disk is full or the folder cannot be written; running it again goes on.
    """
    folder = Path(folder)
    with _opened(archive) as unzipped:
        members = _pictures_of(unzipped, archive)
        missing = [m for name, m in members.items() if not _fits(folder / name, m)]
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, sum(member.file_size for member in missing))
        with make_bar(folder.name, len(members), "file", progress) as bar:
            bar.update(len(members) - len(missing))
            for member in missing:
                _unpack(unzipped, member, folder)
                bar.update()
    return len(members)


def find_member(archive: str | Path, name: str) -> str:
    """The full name in an archive of the file called `name`; empty when there is none.

    Raises:
        ValueError: not a whole zip archive, or the name occurs twice.
    """
    with _opened(archive) as unzipped:
        found = [
            one
            for one in unzipped.namelist()
            if PurePosixPath(one).name == name and "__MACOSX" not in one
        ]
    if len(found) > 1:
        raise ValueError(f"{archive}: {name} found {len(found)} times in it, once expected")
    return found[0] if found else ""


@contextlib.contextmanager
def open_member(archive: str | Path, name: str) -> Iterator[BinaryIO]:
    """A file of an archive as a stream, without unpacking it.

    Raises:
        ValueError: not a whole zip archive, or the file in it is damaged.
    """
    with _opened(archive) as unzipped, unzipped.open(name) as stream:
        yield stream


@contextlib.contextmanager
def _opened(archive: str | Path) -> Iterator[zipfile.ZipFile]:
    """An open archive; what can be wrong with one becomes one sentence."""
    try:
        with zipfile.ZipFile(archive) as unzipped:
            yield unzipped
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{archive}: damaged, or not a zip archive ({error})") from error
    except RuntimeError as error:  # zipfile's word for a password
        raise ValueError(f"{archive}: cannot be unpacked ({error})") from error


def _pictures_of(unzipped: zipfile.ZipFile, archive: str | Path) -> dict[str, zipfile.ZipInfo]:
    """Pictures by file name; every name of the archive is looked at before anything is written."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in unzipped.infolist():
        path = PurePosixPath(member.filename)
        if problem := _problem(member, path):
            raise ValueError(f"{archive}: {member.filename!r}: {problem}; nothing was unpacked")
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if member.is_dir() or hidden or path.suffix.lower() not in PICTURES:
            continue
        if path.name in found:
            raise ValueError(f"{archive}: two pictures are called {path.name}, one expected")
        found[path.name] = member
    if not found:
        raise ValueError(f"{archive}: no pictures in it ({', '.join(PICTURES)} expected)")
    return found


def _problem(member: zipfile.ZipInfo, path: PurePosixPath) -> str:
    """Why a name of an archive is refused; empty when it is not."""
    if (
        not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in member.filename
        or ":" in path.parts[0]
    ):
        return "a name that leads out of the folder"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device, plain files expected"
    return ""


def _fits(path: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file is there and whole."""
    if not path.is_file() or path.stat().st_size != member.file_size:
        return False
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            crc = zlib.crc32(block, crc)
    return crc == member.CRC


def _unpack(unzipped: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """One file under a passing name, then in its place; no fsync, as the CRC tells on resuming."""
    path = folder / PurePosixPath(member.filename).name
    temporary = folder / ".unpacking.part"  # always the same: a killed run leaves one at most
    try:
        with unzipped.open(member) as source, temporary.open("wb") as file:
            while block := source.read(_CHUNK):
                file.write(block)
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"{path}: could not be unpacked ({reason}); what is unpacked stays, "
            "the next try continues"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
