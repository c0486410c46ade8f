"""Writing a feature store picture by picture, so that a killed run goes on where it was.

HDF5 does not survive a process that dies while it writes. So features are first appended to plain
files in the folder `OUTPUT.part`, and a list of what is complete is appended after them, once they
are on the disk. In an HDF5 file a contiguous array is nothing but its bytes in a row: at the end
the rest of the file is put before and behind the bytes that are there already, and the file gets
its name. Nothing is copied, the disk needs no room for a second store.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import h5py
import numpy as np

from captioning.features.numbers import checked_boxes, checked_regions, checked_scores
from captioning.features.place import part_folder
from captioning.features.signature import FORMAT, first_difference
from captioning.files import check_free, read_json, write_atomically

try:
    import fcntl
except ImportError:  # Windows: two runs with one output are not kept apart there
    fcntl = None  # type: ignore[assignment]

HEAD = 65536  # bytes kept free before the regions for what HDF5 writes at the start of a file
FLUSH_SECONDS, FLUSH_BYTES = 5.0, 256 * 2**20  # after so much, what was appended is made safe
DONE = np.dtype([(n, "<i8") for n in ("image_id", "num_regions", "width", "height", "checksum")])
BOX_BYTES, SCORE_BYTES = 16, 4  # four float32, one


@dataclass(frozen=True)
class WriteOptions:
    """How a store is written.

    Args:
        half (bool): features as float16 (half the size), else float32.
        overwrite (bool): replace an existing output, and work begun with other settings.
        progress (bool): show a bar on stderr.
    """

    half: bool = True
    overwrite: bool = False
    progress: bool = False


class StoreWriter:
    """Appends pictures to a store that is being made; use it in a `with` statement.

    Work that an earlier process left in `OUTPUT.part` is taken over: `done` holds its picture ids.

    Args:
        output (str | Path): the .h5 file to be.
        signature (dict): what makes the features, see `signature.make_signature`.
        feature_dim (int): F, >= 1.
        has_boxes (bool): whether every picture or none brings boxes.
        plan (Mapping | None): what else is meant, as JSON; a part of another plan is refused.
        options (WriteOptions): see there.
        has_scores (bool): whether every picture or none brings scores of its regions.

    Raises:
        FileExistsError: the output is there already, or a part that was begun differently.
        BlockingIOError: another process is writing this output.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        output: str | Path,
        signature: Mapping[str, Any],
        feature_dim: int,
        has_boxes: bool = True,
        plan: Mapping[str, Any] | None = None,
        options: WriteOptions = WriteOptions(),  # noqa: B008 (frozen)
        has_scores: bool = False,
    ) -> None:
        self.output, self.folder = Path(output), part_folder(output)
        self.dtype = np.dtype(np.float16 if options.half else np.float32)
        self.settings = {
            "format": FORMAT,
            "signature": dict(signature),
            "feature_dim": feature_dim,
            "dtype": self.dtype.name,
            "has_boxes": has_boxes,
            "has_scores": has_scores,
            "plan": dict(plan or {}),
        }
        self._bytes = {"regions": feature_dim * self.dtype.itemsize}  # of a region, in each file
        self._bytes |= {"boxes": BOX_BYTES} if has_boxes else {}
        self._bytes |= {"scores": SCORE_BYTES} if has_scores else {}
        check_free(output, options.overwrite)
        self._files: dict[str, BinaryIO] = {}
        try:
            self._open(options.overwrite)
        except BaseException:
            self._close_files()
            raise

    # ------------------------------------------------------------------------------ beginning

    def _open(self, overwrite: bool) -> None:
        """Begin `OUTPUT.part`, or take over what is complete in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("done", *self._bytes):
            path = self.folder / f"{name}.raw"
            path.touch()
            self._files[name] = open(path, "r+b", buffering=0)
            if name == "done":
                self._lock()
        settings = self.folder / "settings.json"
        if settings.exists():
            difference = first_difference(read_json(settings), self.settings)
            if difference and not overwrite and self._size("done"):
                raise FileExistsError(
                    f"{self.folder}: an unfinished store, begun with {difference}; "
                    "--overwrite begins anew"
                )
            if difference:
                self._files["done"].truncate(0)
        else:
            self._files["done"].truncate(0)
        text = json.dumps(self.settings, indent=1)
        write_atomically(settings, lambda path: path.write_text(text, "utf-8"))
        self._take_over()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._files["done"], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{self.folder}: another process is writing there") from error

    def _take_over(self) -> None:
        """Find what is complete and cut off what is not."""
        content = self._files["done"].read()
        rows = np.frombuffer(content[: len(content) // DONE.itemsize * DONE.itemsize], DONE)
        ends = np.cumsum(rows["num_regions"], dtype=np.int64)
        fits = ends >= 1
        for name in self._bytes:
            fits &= self._end(name, ends) <= self._size(name)
        number = int(fits.sum()) if fits.all() else int(fits.argmin())
        self.rows = [tuple(row) for row in rows[:number].tolist()]
        self.done = {row[0] for row in self.rows}
        self.num_regions = int(ends[number - 1]) if number else 0
        self._pending: list[tuple[int, ...]] = []
        self._pending_bytes, self._flushed = 0, time.monotonic()
        self._cut("done", number * DONE.itemsize)
        self._cut_appended()

    def _cut_appended(self) -> None:
        """Cut off what is not part of a whole picture."""
        number = self.num_regions + sum(row[1] for row in self._pending)
        for name in self._bytes:
            self._cut(name, self._end(name, number))

    def _end(self, name: str, number: Any) -> Any:
        """Where the first `number` regions (or numbers of them, an array) end in a file."""
        return (HEAD if name == "regions" else 0) + number * self._bytes[name]

    def _size(self, name: str) -> int:
        return os.fstat(self._files[name].fileno()).st_size

    def _cut(self, name: str, size: int) -> None:
        self._files[name].truncate(size)
        self._files[name].seek(size)

    # ------------------------------------------------------------------------------ pictures

    def append(
        self,
        image_id: int,
        regions: np.ndarray,
        boxes: np.ndarray | None = None,
        size: tuple[int, int] = (0, 0),
        checksum: int = -1,
        scores: np.ndarray | None = None,
    ) -> None:
        """Add one picture.

        Args:
            image_id (int): not in `done` yet.
            regions (np.ndarray): (P, F) numbers, P >= 1.
            boxes (np.ndarray | None): (P, 4) left, top, right, bottom in 0..1.
            size (tuple[int, int]): width and height in pixels, (0, 0) when unknown.
            checksum (int): `store.file_checksum` of the picture file, -1 when unknown.
            scores (np.ndarray | None): (P,) how sure a detector is of each region.

        Raises:
            ValueError: sizes or numbers that cannot be; the message says which.
            OSError: the disk is full; what was complete before is kept.
        """
        if image_id in self.done:
            raise ValueError(f"picture {image_id}: appended twice")
        values = checked_regions(regions, self.settings["feature_dim"], self.dtype)
        parts = {"regions": values}
        given = {"boxes": (boxes, checked_boxes), "scores": (scores, checked_scores)}
        for name, (array, checked) in given.items():
            if (name in self._bytes) != (array is not None):
                expected = name if array is None else f"no {name}"
                raise ValueError(f"{expected} expected, as for the other pictures of this store")
            if array is not None:
                parts[name] = checked(array, len(values))
        try:
            for name, array in parts.items():
                _write_all(self._files[name], array)
        except OSError as error:
            self._cut_appended()
            raise self._failed(error) from error
        self._pending.append((image_id, len(values), *size, checksum))
        self.done.add(image_id)
        self._pending_bytes += values.nbytes
        waited = time.monotonic() - self._flushed
        if waited > FLUSH_SECONDS or self._pending_bytes > FLUSH_BYTES:
            self.flush()

    def _failed(self, error: OSError) -> OSError:
        reason = error.strerror or str(error).partition(" (")[0]  # HDF5 tells the whole story
        return OSError(
            f"{self.output}: could not be written ({reason}); the pictures that are complete are "
            f"kept in {self.folder}, the same command goes on from there"
        )

    def flush(self) -> None:
        """Make what was appended safe: first the features on the disk, then the list of them."""
        if self._pending:
            try:
                for name in self._bytes:
                    os.fsync(self._files[name].fileno())
                self._cut("done", len(self.rows) * DONE.itemsize)  # what failed half-way before
                _write_all(self._files["done"], np.array(self._pending, DONE))
                os.fsync(self._files["done"].fileno())
            except OSError as error:
                raise self._failed(error) from error
            self.rows += self._pending
            self.num_regions += sum(row[1] for row in self._pending)
        self._pending, self._pending_bytes, self._flushed = [], 0, time.monotonic()

    # ------------------------------------------------------------------------------ the end

    def finish(
        self, file_names: Mapping[int, str] | None = None, record: dict[str, Any] | None = None
    ) -> None:
        """Put the store in place.

        Args:
            file_names (Mapping[int, str] | None): the name of every picture, by id.
            record (dict | None): what else is to be remembered, as JSON.

        Raises:
            ValueError: no picture was appended.
            OSError: the disk is full; the pictures are kept.
        """
        self.flush()
        if not self.rows:
            raise ValueError(f"{self.output}: no picture to write, at least one expected")
        frame, regions = self.folder / "frame.h5", self.folder / "regions.raw"
        try:
            start = self._write_frame(frame, file_names, record or {})
            length = self.num_regions * self._bytes["regions"]
            with open(frame, "r+b") as around:
                if start == HEAD:
                    _copy(around, self._files["regions"], 0, HEAD)
                    _copy(around, self._files["regions"], HEAD + length, None)
                    whole = regions
                else:  # a few kilobytes are put elsewhere by HDF5
                    _copy(self._files["regions"], around, HEAD, length, start)
                    whole = frame
                os.fsync(around.fileno())
            os.fsync(self._files["regions"].fileno())
            self._close_files()
            os.replace(whole, self.output)
        except OSError as error:
            raise self._failed(error) from error
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write_frame(
        self, path: Path, file_names: Mapping[int, str] | None, record: dict[str, Any]
    ) -> int:
        """The HDF5 file with a hole in place of the regions; where the hole begins."""
        shape = (self.num_regions, self.settings["feature_dim"])
        rows = np.array(self.rows, DONE)
        with h5py.File(
            path, "w", locking=False, alignment_threshold=HEAD, alignment_interval=HEAD
        ) as file:  # an array of HEAD bytes or more begins at a multiple of HEAD
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_layout(h5py.h5d.CONTIGUOUS)
            layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            kind, space = h5py.h5t.py_create(self.dtype), h5py.h5s.create_simple(shape)
            start = h5py.h5d.create(file.id, b"regions", kind, space, layout).get_offset()
            file["image_ids"] = rows["image_id"]
            file["offsets"] = np.concatenate([[0], np.cumsum(rows["num_regions"])])
            file["sizes"] = np.stack([rows["width"], rows["height"]], 1)
            file["checksums"] = rows["checksum"]
            for name, shape_of_one in (("boxes", (4,)), ("scores", ())):
                if name in self._bytes:
                    array = np.fromfile(self.folder / f"{name}.raw", np.float32)
                    file[name] = array.reshape(-1, *shape_of_one)
            if file_names is not None:
                names = [_text(file_names[image_id]) for image_id in rows["image_id"].tolist()]
                file.create_dataset("file_names", data=names, dtype=h5py.string_dtype())
            file.attrs["signature"] = json.dumps(self.settings["signature"])
            file.create_dataset("record", data=json.dumps(record), dtype=h5py.string_dtype())
            file.attrs["format"] = FORMAT
        return int(start)

    def summary(self) -> dict[str, Any]:
        """What a finished store is: output, pictures, regions, feature_dim, bytes."""
        return {
            "output": str(self.output),
            "pictures": len(self.rows),
            "regions": self.num_regions,
            "feature_dim": self.settings["feature_dim"],
            "bytes": self.output.stat().st_size,
        }

    def _close_files(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._files["done"].closed:
            with contextlib.suppress(OSError):  # the disk is full, and the error says so already
                self.flush()
        self._close_files()
        if not self.rows:
            shutil.rmtree(self.folder, ignore_errors=True)  # nothing to go on from


# ------------------------------------------------------------------------------------ helpers


def _text(name: str) -> str:
    """A file name that may hold bytes which are no text, as HDF5 can keep it."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _write_all(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array to an unbuffered file, which may take it in pieces."""
    view = memoryview(np.ascontiguousarray(array).view(np.uint8).reshape(-1))
    while len(view):
        view = view[file.write(view) :]


def _copy(
    source: BinaryIO, target: BinaryIO, start: int, length: int | None, to: int | None = None
) -> None:
    """Bytes from `start` on into another file, to the same place or to `to`."""
    source.seek(start)
    target.seek(start if to is None else to)
    left = math.inf if length is None else length
    while left and (block := source.read(int(min(left, 2**24)))):
        view = memoryview(block)
        while len(view):
            view = view[target.write(view) :]
        left -= len(block)
    target.flush()
