"""Random reads of picture features: the feature store beside a folder of compressed .npz files.

Both hold the same made-up arrays of COCO's kinds (a 14 x 14 grid or 36 regions of 2,048 numbers,
non-negative, half of them zero, as after a ReLU); a read ends with a float32 tensor in memory. The
arms alternate within one process and read the same pictures in the same random order. *Cold*: the
system is asked to forget its cached pages of all files before every round (`posix_fadvise`; what
the disk itself remembers stays). *Warm*: everything was read before. Writes
`results/feature_store.json`.

Usage: python benchmarks/feature_store.py [--pictures 200] [--rounds 15] [--reads 40] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioning.features.signature import imported_signature
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter, WriteOptions

RESULTS = Path(__file__).parent / "results" / "feature_store.json"
SHAPES = {"grid_14x14": (196, 2048), "regions_36": (36, 2048)}


def make_features(picture: int, shape: tuple[int, int]) -> np.ndarray:
    """(P, F) float32, always the same for a picture."""
    values = np.random.default_rng(picture).standard_normal(shape, np.float32)
    return np.maximum(values, 0)


def write_all(folder: Path, pictures: int, shape: tuple[int, int]) -> dict[str, list[Path]]:
    """The files of every arm."""
    names = {"npz": [folder / f"{i}.npz" for i in range(pictures)]}
    for arm, half in (("store_float32", False), ("store_float16", True)):
        names[arm] = [folder / f"{arm}.h5"]
        options = WriteOptions(half=half)
        with StoreWriter(
            names[arm][0], imported_signature("made up"), shape[1], False, options=options
        ) as writer:
            for i in range(pictures):
                writer.append(i, make_features(i, shape))
            writer.finish()
    for i, path in enumerate(names["npz"]):
        np.savez_compressed(path, feat=make_features(i, shape))
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # or its pages could not be forgotten
    return names


def forget(paths: list[Path]) -> None:
    """Ask the system to drop its cached pages of these files."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_arms(files: dict[str, list[Path]]) -> dict[str, Callable[[int], Tensor]]:
    """Picture -> float32 tensor, by every way."""

    def read_npz(picture: int) -> Tensor:
        with np.load(files["npz"][picture], allow_pickle=False) as loaded:
            return torch.from_numpy(loaded["feat"])

    arms: dict[str, Callable[[int], Tensor]] = {"npz": read_npz}
    for arm in ("store_float32", "store_float16"):
        store = FeatureStore(files[arm][0])
        arms[arm] = lambda picture, store=store: store.read(picture)[0]
    return arms


def check_equal(arms: dict[str, Callable[[int], Tensor]], pictures: int) -> None:
    """All ways give the same numbers (float16 up to its rounding)."""
    for picture in range(0, pictures, max(1, pictures // 10)):
        truth = arms["npz"](picture)
        assert torch.equal(arms["store_float32"](picture), truth)
        assert torch.allclose(arms["store_float16"](picture), truth, rtol=1e-3, atol=1e-6)


def measure(
    files: dict[str, list[Path]], pictures: int, rounds: int, reads: int, cold: bool
) -> dict[str, Any]:
    """Milliseconds a picture: median and quartiles over rounds; how often faster than npz."""
    arms = make_arms(files)
    check_equal(arms, pictures)
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for arm in arms if not cold else ():
        for picture in range(pictures):
            arms[arm](picture)
    for number in range(rounds):
        order = rng.permutation(pictures)[:reads].tolist()
        names = list(arms)
        for arm in names[number % 3 :] + names[: number % 3]:
            if cold:
                forget(files[arm])
            began = time.perf_counter()
            for picture in order:
                arms[arm](picture)
            times[arm].append(1000 * (time.perf_counter() - began) / len(order))
    record = {}
    for arm, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4)
        record[arm] = {
            "median_ms": round(middle, 3),
            "lower_ms": round(low, 3),
            "upper_ms": round(high, 3),
            "times_as_fast": round(statistics.median(times["npz"]) / middle, 1),
        }
    return record


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reads", type=int, default=40)
    parser.add_argument("--folder", help="where the files are made; the disk that is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # as in a worker of a DataLoader
    record: dict[str, Any] = {"pictures": arguments.pictures, "threads": 1}
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            files = write_all(Path(folder), arguments.pictures, shape)
            sizes = {arm: sum(p.stat().st_size for p in paths) for arm, paths in files.items()}
            one: dict[str, Any] = {"shape": shape}
            one["megabytes"] = {arm: round(size / 1e6, 1) for arm, size in sizes.items()}
            amount = arguments.pictures, arguments.rounds, arguments.reads
            for state in ("warm", "cold"):
                one[state] = measure(files, *amount, cold=state == "cold")
            record[name] = one
    states = [record[name][state] for name in SHAPES for state in ("warm", "cold")]
    record["least_times_as_fast"] = {
        arm: min(one[arm]["times_as_fast"] for one in states)
        for arm in ("store_float16", "store_float32")
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
