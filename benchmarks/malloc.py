"""What `keep_freed_memory` saves: seconds of a training step of 64 pictures with and without it.

Blocks above 32 MB are what glibc returns to the system at once; small batches gain nothing.

The switch cannot be taken back, so each arm is a process of its own; the arms alternate. Prints
median and range and the ratio; writes `results/malloc.json`.

Usage: python benchmarks/malloc.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "malloc.json"
ROUNDS = 3
ARM = """
import json, resource, sys, time, torch
from captioning.training.memory import keep_freed_memory
from model import EncoderCNN
if sys.argv[1] == "kept":
    keep_freed_memory()
encoder = EncoderCNN("resnet18", cut="layer3", trainable="all", freeze_batch_norm=False)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
images, times = torch.randn(64, 3, 128, 128), []
for step in range(6):
    if step == 2:
        before = faults()
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        encoder(images).regions.float().square().mean().backward()
    times.append(time.perf_counter() - began)
print(json.dumps([times[2:], (faults() - before) // 4]))
"""


def main() -> None:
    """Measure, print, write."""
    times: dict[str, list[float]] = {"returned": [], "kept": []}
    faults: dict[str, int] = {}
    for _ in range(ROUNDS):
        for arm in times:
            done = subprocess.run(
                [sys.executable, "-c", ARM, arm], capture_output=True, text=True, check=True
            )
            seconds, faults[arm] = json.loads(done.stdout)
            times[arm] += seconds
    record = {
        arm: {
            "median_s": round(statistics.median(values), 4),
            "min_s": round(min(values), 4),
            "max_s": round(max(values), 4),
            "page_faults_a_step": faults[arm],
        }
        for arm, values in times.items()
    }
    record["times_as_fast"] = round(
        statistics.median(times["returned"]) / statistics.median(times["kept"]), 2
    )
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
