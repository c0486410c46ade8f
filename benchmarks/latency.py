"""Captions word by word and in groups, with and without a cache, at COCO's size.

What is measured, and how, says `captioning/bench/latency.py`. Models with random weights and a CNN,
batches of 1, 8 and 32, greedy search and beam 3; on two quiet cores it takes some minutes.

Usage: python benchmarks/latency.py [--rounds 15] [--threads 2]
Prints the table; writes results/latency.json and images/latency.png.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from captioning.cli import main as captioning

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    settings = vars(parser.parse_args()) | {
        "device": "cpu",
        "output": ROOT / "benchmarks" / "results" / "latency.json",
        "plot": ROOT / "images" / "latency.png",
    }
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return captioning(["bench", "latency", *flags, "--overwrite"])


if __name__ == "__main__":
    sys.exit(main())
