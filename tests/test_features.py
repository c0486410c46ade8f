"""The feature store: what is written is read, whatever happens to the writer in between."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from feature_cases import SIGNATURE, append_all, assert_made_up, made_up, write_store
from torch.utils.data import DataLoader

from captioning import disk
from captioning.features import writer
from captioning.features.place import check_disk, part_folder
from captioning.features.store import FeatureStore, check_store
from captioning.features.writer import DONE, StoreWriter, WriteOptions

ROOT = Path(__file__).parent.parent
IDS = [7, 3, 100_000_000_000, 12, 4]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stores" / "f.h5"


# ---- written and read ----


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("feature_dim", [1, 8, 5000])  # the last is large enough for a hole
def test_what_is_written_is_read(path, half, feature_dim):
    store = FeatureStore(write_store(path, IDS, feature_dim, half))
    assert_made_up(store, IDS, feature_dim)
    assert store.feature_dim == feature_dim and store.image_ids == IDS
    assert store.signature == SIGNATURE and store.file_names[0] == "7.jpg"
    assert store.max_regions == max(len(made_up(i)[0]) for i in IDS)
    assert store.num_regions(3) == len(made_up(3)[0])
    assert 3 in store and 5 not in store
    assert [p.name for p in path.parent.iterdir()] == ["f.h5"]  # nothing is left lying around
    store.close()


def test_large_stores_are_not_copied_at_the_end(path, monkeypatch):
    """All bytes of the features go through `_copy` only for stores of a few kilobytes."""
    copied = []
    real = writer._copy
    monkeypatch.setattr(writer, "_copy", lambda *a: copied.append(a[2:]) or real(*a))
    write_store(path, range(10), 20_000)
    features = sum(len(made_up(i)[0]) for i in range(10)) * 40_000
    assert copied == [(0, writer.HEAD), (writer.HEAD + features, None)]


def test_layout_is_plain_hdf5(path):
    write_store(path, IDS)
    with h5py.File(path) as file:
        assert file["image_ids"].dtype == np.int64 and file["offsets"].dtype == np.int64
        assert file["regions"].dtype == np.float16 and file["boxes"].dtype == np.float32
        assert file["offsets"][0] == 0 and file["offsets"][-1] == len(file["regions"])
        assert file["sizes"].shape == (len(IDS), 2)
        assert file.attrs["format"] == 1 and json.loads(file.attrs["signature"]) == SIGNATURE


def test_store_without_boxes(path):
    with StoreWriter(path, SIGNATURE, 8, has_boxes=False) as one:
        one.append(1, made_up(1)[0])
        with pytest.raises(ValueError, match="no boxes expected"):
            one.append(2, *made_up(2))
        one.finish()
    store = FeatureStore(path)
    assert store.read(1)[1] is None and store.size_of(1) == (0, 0) and store.checksum_of(1) == -1
    store.close()


class Reading:
    """A data set over a store."""

    def __init__(self, store):
        self.store = store

    def __len__(self):
        return len(self.store)

    def __getitem__(self, place):
        image_id = self.store.image_ids[place]
        return image_id, self.store.read(image_id)


def test_workers_read_from_a_store_that_their_parent_has_open(path):
    store = FeatureStore(write_store(path, range(8)))
    store.read(0)
    loader = DataLoader(
        Reading(store), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    for image_id, (regions, _) in loader:
        assert np.array_equal(regions.numpy(), made_up(image_id)[0].astype(np.float32))
    assert_made_up(store, range(8))
    store.close()
    assert_made_up(pickle.loads(pickle.dumps(store)), range(8))


def test_replaced_file_is_noticed(path):
    store = FeatureStore(write_store(path, IDS))
    path.unlink()
    write_store(path, IDS[::-1])
    with pytest.raises(ValueError, match="picture 7 is not readable .the file was replaced"):
        store.read(7)


# ---- killed, stopped, full disk ----

SLOW_WRITER = """
import sys, time
from feature_cases import SIGNATURE, append_all
from captioning.features import writer
writer.FLUSH_SECONDS = 0.0
with writer.StoreWriter(sys.argv[1], SIGNATURE, 8) as one:
    for image_id in range(1000):
        append_all(one, [image_id])
        time.sleep(0.001)
"""


def test_killed_writer_goes_on(path):
    """Killed in earnest, several times, each time when a few more pictures are complete."""
    done = path.with_name("f.h5.part") / "done.raw"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    kept = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, path], env=environment)
        enough, deadline = (kept + 5) * DONE.itemsize, time.monotonic() + 60
        while not (done.exists() and done.stat().st_size >= enough):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not path.exists()
        with StoreWriter(path, SIGNATURE, 8) as one:
            assert len(one.done) >= kept + 5
            kept = len(one.done)
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, range(kept + 3))
        one.finish()
    assert_made_up(FeatureStore(path), range(kept + 3))


def test_torn_ends_are_cut_off(path):
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, IDS[:3])
    for name, junk in (("regions", b"x" * 21), ("boxes", b"y" * 5), ("done", b"z" * 39)):
        with open(one.folder / f"{name}.raw", "ab") as file:
            file.write(junk)
    with StoreWriter(path, SIGNATURE, 8) as one:
        assert one.done == set(IDS[:3])
        append_all(one, IDS)
        one.finish()
    assert_made_up(FeatureStore(path), IDS)


@pytest.mark.parametrize("name", ["regions", "boxes"])
def test_pictures_whose_numbers_never_reached_the_disk_are_dropped(path, name):
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, IDS)
    file = one.folder / f"{name}.raw"
    os.truncate(file, file.stat().st_size - 1)
    with StoreWriter(path, SIGNATURE, 8) as one:
        assert one.done == set(IDS[:-1])
        append_all(one, IDS)
        one.finish()
    assert_made_up(FeatureStore(path), IDS)


@pytest.mark.parametrize("feature_dim", [8, 5000])
def test_stopped_while_it_is_put_in_place(path, monkeypatch, feature_dim):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write_atomically", lambda path, write: write(path))
    monkeypatch.setattr(writer.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_store(path, IDS, feature_dim)
    assert not path.exists()
    monkeypatch.undo()
    with StoreWriter(path, SIGNATURE, feature_dim) as one:
        assert one.done == set(IDS)
        one.finish()
    assert_made_up(FeatureStore(path), IDS, feature_dim)


def test_full_disk_keeps_what_is_complete(path, monkeypatch):
    write_store(path, [1, 2])
    before, real, calls = path.read_bytes(), writer._write_all, []

    def fill_up(file, array):
        calls.append(1)
        if len(calls) == 8:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, array)

    monkeypatch.setattr(writer, "_write_all", fill_up)
    options = WriteOptions(overwrite=True)
    with (
        pytest.raises(OSError, match="No space left on device.*are kept.*goes on from there"),
        StoreWriter(path, SIGNATURE, 8, options=options) as one,
    ):
        append_all(one, range(20))
    assert path.read_bytes() == before
    monkeypatch.undo()
    with StoreWriter(path, SIGNATURE, 8, options=options) as one:
        assert one.done == {0, 1, 2}
        append_all(one, range(20))
        one.finish()
    assert_made_up(FeatureStore(path), range(20))


def test_list_of_what_is_complete_survives_a_full_disk(path, monkeypatch):
    """A record that was written half, and a caller that goes on all the same."""
    real, calls = writer._write_all, []

    def fill_up(file, array):
        if array.dtype == DONE:
            calls.append(1)
        if len(calls) == 1 and array.dtype == DONE:
            file.write(b"half a record")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, array)

    monkeypatch.setattr(writer, "_write_all", fill_up)
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, [1, 2])
        with pytest.raises(OSError, match="No space left"):
            one.flush()
        append_all(one, [3])
    with StoreWriter(path, SIGNATURE, 8) as one:
        assert one.done == {1, 2, 3}
        one.finish()
    assert_made_up(FeatureStore(path), [1, 2, 3])


def test_output_and_part_are_refused(path):
    write_store(path, IDS)
    with pytest.raises(FileExistsError, match="exists already; --overwrite replaces it"):
        StoreWriter(path, SIGNATURE, 8)
    with pytest.raises(IsADirectoryError, match="a folder, the name of a file to write expected"):
        StoreWriter(path.parent, SIGNATURE, 8)
    other = path.with_name("g.h5")
    with StoreWriter(other, SIGNATURE, 8) as one:
        append_all(one, IDS)
    with pytest.raises(FileExistsError, match="begun with feature_dim 8, not 9; --overwrite"):
        StoreWriter(other, SIGNATURE, 9)
    with StoreWriter(other, SIGNATURE, 9, options=WriteOptions(overwrite=True)) as one:
        assert not one.done


def test_two_writers_at_once_are_refused(path):
    if writer.fcntl is None:
        pytest.skip("no locks on this system")
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, IDS)
        with pytest.raises(BlockingIOError, match="another process is writing there"):
            StoreWriter(path, SIGNATURE, 8)
        one.finish()
    assert_made_up(FeatureStore(path), IDS)


def test_too_little_room_is_refused(path, monkeypatch):
    usage = SimpleNamespace(free=disk.SPARE + 1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    check_disk(path, 1000)
    with pytest.raises(
        OSError, match="1.50 kB needed, 67.11 MB free .*, of which 67.11 MB are spared"
    ):
        check_disk(path, 1500)
    part_folder(path).mkdir(parents=True)
    (part_folder(path) / "regions.raw").write_bytes(b"1" * 500)  # of an earlier run
    check_disk(path, 1500)


# ---- refused numbers ----

ONE = made_up(1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((ONE[0][:, :7], ONE[1]), r"shape \(\d, 7\) found, \(at least one region, 8\) expected"),
        ((ONE[0][:0], ONE[1][:0]), r"shape \(0, 8\) found"),
        ((ONE[0][0], ONE[1]), r"shape \(8,\) found"),
        ((ONE[0] * np.nan, ONE[1]), "NaN in the features"),
        ((ONE[0] + np.inf, ONE[1]), "infinite numbers in the features"),
        ((np.full((1, 8), 7e4), ONE[1][:1]), "features up to 70000 do not fit float16"),
        ((ONE[0], None), "boxes expected, as for the other pictures"),
        ((ONE[0], ONE[1][:, :3]), r"boxes of shape \(\d, 3\) found"),
        ((ONE[0], ONE[1] * np.nan), "NaN or infinite numbers in the boxes"),
        ((ONE[0], ONE[1] * 300), "a box from .* to .*, 0 to 1 expected"),
        ((ONE[0], ONE[1][:, ::-1]), "right or bottom edge comes before"),
    ],
)
def test_bad_numbers_are_refused_and_leave_no_trace(path, arrays, message):
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, IDS[:2])
        with pytest.raises(ValueError, match=message):
            one.append(1, *arrays)
        with pytest.raises(ValueError, match="appended twice"):
            one.append(IDS[0], *ONE)
        append_all(one, IDS)
        one.finish()
    assert_made_up(FeatureStore(path), IDS)


def test_empty_store_is_refused(path):
    with (
        pytest.raises(ValueError, match="no picture to write"),
        StoreWriter(path, SIGNATURE, 8) as one,
    ):
        one.finish()
    assert not path.parent.exists() or not list(path.parent.iterdir())


def test_odd_names_and_long_records(path):
    """A name that is no text, and more messages than an HDF5 attribute holds."""
    record = {"unreadable": {number: "a picture" * 9 for number in range(10, 3000)}}
    with StoreWriter(path, SIGNATURE, 8) as one:
        append_all(one, [1, 2])
        one.finish({1: "Füße \udcff.png", 2: "b.png"}, record)
    store = FeatureStore(path)
    assert store.file_names == ["Füße \\xff.png", "b.png"] and len(store.unreadable) == 2990
    store.close()


# ---- refused files ----


def test_missing_and_foreign_files(tmp_path, path):
    with pytest.raises(FileNotFoundError, match="no such feature store"):
        FeatureStore(path)
    for name, content in (("empty", b""), ("text", b"hello " * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: not a complete feature store"):
            FeatureStore(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["labels"] = [1, 2]
    with pytest.raises(ValueError, match=r"\(format None found, 1 expected\)"):
        FeatureStore(tmp_path / "other.h5")


def test_truncated_file(path):
    content = write_store(path, IDS, 5000).read_bytes()
    for length in (100, 3000, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a complete feature store"):
            FeatureStore(path)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("image_ids", 1, 7, "an image id appears twice"),
        ("offsets", -1, 10_000, "offsets end at 10000, but there are"),
        ("offsets", 1, 0, "a picture without regions"),
        ("format", None, 2, r"\(format 2 found, 1 expected\)"),
        ("signature", None, "{", "not a complete feature store"),
    ],
)
def test_damaged_index(path, name, place, value, message):
    write_store(path, IDS)
    with h5py.File(path, "r+") as file:
        if place is None:
            file.attrs[name] = value
        else:
            file[name][place] = value
    with pytest.raises(ValueError, match=message):
        FeatureStore(path)


def test_reading_refuses_nan_and_unknown_pictures(path):
    write_store(path, IDS)
    with h5py.File(path, "r+") as file:
        file["regions"][0, 3] = np.nan
    store = FeatureStore(path)
    with pytest.raises(ValueError, match="features of picture 7 are not finite numbers"):
        store.read(7)
    with pytest.raises(ValueError, match="features of picture 7 are not finite numbers"):
        check_store(store, IDS)
    with pytest.raises(ValueError, match="no picture 8 among its 5"):
        store.read(8)
    store.read(3)
    store.close()
