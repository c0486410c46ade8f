"""Retrieval among as many pictures as COCO has: memory and seconds, and speed beside sorting.

Large: 100,000 pictures against 100,000 texts, both directions, in a process of its own. Peak
resident memory is that of the whole process, vectors (2 x 0.19 GB) and PyTorch included; the full
matrix alone, which the published evaluation holds, would be `full_matrix_gb`. GB are 2**30 bytes.

Against the baseline: 5,000 pairs, the published size, with the published method written out anew
(the whole matrix, then `numpy.argsort` of each row, in both directions). Both take turns in one
process; each round gives one ratio. On such unrelated vectors a few similarities are within the
tolerance of a tie without being equal, so some ranks are a little worse than the sorted ones; how
many is reported.

The vectors are random, of 512 numbers and length 1: neither method's work depends much on
what they hold. Processor seconds are summed over threads, seconds are those of a clock. Prints and
writes `results/retrieval.json`.

Usage: python benchmarks/retrieval.py [--number 100000] [--rounds 7] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captioning.evaluation.retrieval import rank_pairs, recall_table
from captioning.files import write_atomically

RESULTS = Path(__file__).parent / "results" / "retrieval.json"
NUMBER, PUBLISHED, DIM = 100_000, 5_000, 512
LIMIT_GB = 2.0


def peak_gb() -> float:
    """Largest memory of this process so far (ru_maxrss would count its parent's as well)."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) / 2**20 for line in status.splitlines() if "VmHWM" in line)


def make_vectors(number: int, seed: int) -> Tensor:
    """(N,D) random vectors of length 1, made in place: no copy counts as ours."""
    vectors = torch.randn(number, DIM, generator=torch.Generator().manual_seed(seed))
    return vectors.div_(torch.linalg.vector_norm(vectors, dim=1, keepdim=True))


def run_large(number: int) -> dict[str, Any]:
    """All pairs once, in this process."""
    images, texts = make_vectors(number, 0), make_vectors(number, 1)
    before = peak_gb()
    began, used = time.perf_counter(), time.process_time()
    ranks = rank_pairs(images, texts)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    return {
        "pairs": number,
        "dim": DIM,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "peak_resident_gb": round(peak_gb(), 3),
        "before_gb": round(before, 3),
        "full_matrix_gb": round(4 * number**2 / 2**30, 1),
        "share_of_limit": round(peak_gb() / LIMIT_GB, 2),
        "median_rank": recall_table(ranks.text_to_image)["median_rank"],
    }


def sorted_ranks(image_vectors: Tensor, text_vectors: Tensor) -> list[np.ndarray]:
    """The baseline: the whole matrix, each of its rows and columns sorted; ranks from 1."""
    similarities = (image_vectors @ text_vectors.T).numpy()
    both = []
    for matrix in (similarities.T, similarities):
        ranks = np.zeros(len(matrix), dtype=np.int64)
        for index, row in enumerate(matrix):
            ranks[index] = np.where(np.argsort(row)[::-1] == index)[0][0] + 1
        both.append(ranks)
    return both


def timed(method: Any, *vectors: Tensor) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    method(*vectors)
    return time.perf_counter() - began


def compare(rounds: int) -> dict[str, Any]:
    """Ours and the baseline in turn, on the published size."""
    vectors = make_vectors(PUBLISHED, 0), make_vectors(PUBLISHED, 1)
    ours, sorting, ratios = [], [], []
    ranks, expected = rank_pairs(*vectors), sorted_ranks(*vectors)  # warms up as well
    for _ in range(rounds):
        ours.append(timed(rank_pairs, *vectors))
        sorting.append(timed(sorted_ranks, *vectors))
        ratios.append(sorting[-1] / ours[-1])
    found = torch.cat([ranks.text_to_image, ranks.image_to_text])
    difference = found - torch.from_numpy(np.concatenate(expected))
    return {
        "pairs": PUBLISHED,
        "dim": DIM,
        "baseline": "whole matrix, numpy.argsort of each row, both directions",
        "rounds": rounds,
        "seconds": spread(ours),
        "baseline_seconds": spread(sorting),
        "times_as_fast": spread(ratios),
        "share_of_ranks_that_differ": round((difference != 0).double().mean().item(), 4),
        "largest_difference_of_ranks": difference.abs().max().item(),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median and range."""
    chosen = {"median": statistics.median(values), "low": min(values), "high": max(values)}
    return {name: round(value, 3) for name, value in chosen.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=NUMBER, help="pairs of the large run")
    parser.add_argument("--rounds", type=int, default=7, help="of the comparison")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    parser.add_argument("--arm", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        print(json.dumps(run_large(arguments.number)))
        return
    command = [sys.executable, __file__, "--arm", "--number", str(arguments.number)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    record = {
        "large": json.loads(done.stdout),
        "published_size": compare(arguments.rounds),
        "machine": {
            "processor_threads": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(arguments.output, lambda file: file.write_text(text, "utf-8"))
    print(text)


if __name__ == "__main__":
    main()
