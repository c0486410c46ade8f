"""What the recipes for COCO cost on this machine: a picture's features, a step of each stage.

ResNet-101 on made-up pictures of 640 x 480 (most of COCO's), one at a time as with `fit native`;
steps of 10 pictures x 5 captions of 16 words with the recipes' decoders and regions of 2,048
numbers. From these follow hours: 123,287 pictures; 11,329 steps an epoch, 30 epochs of
cross-entropy, 20 of leave-one-out. Reading pictures and validation come on top.

Usage: python benchmarks/coco_time.py [--rounds 5] [--device auto]
Prints the table and writes results/coco_time.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from self_critical_step import make_batch, make_run, wait_for

from captioning.bench.recipes import experiment_of
from captioning.bundle import pick_device
from captioning.training.memory import keep_freed_memory
from captioning.training.update import take_step
from model import EncoderCNN

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "coco_time.json"
PICTURES, STEPS = 123_287, 11_329
STAGES = {"cross_entropy": ("cross_entropy", "none", 30), "nsc": ("reinforce", "leave_one_out", 20)}
PAIRS = 10  # pictures of a step


def features_seconds(device: torch.device, rounds: int) -> float:
    """Seconds of a picture of 640 x 480 through ResNet-101."""
    encoder = EncoderCNN("resnet101").eval().to(device)
    image, times = torch.randn(1, 3, 480, 640, device=device), []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            began = time.perf_counter()
            encoder(image)
            wait_for(device)
            times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def step_seconds(name: str, device: torch.device, rounds: int) -> dict[str, float]:
    """Median seconds of a step of each stage of a recipe."""
    experiment = experiment_of(ROOT / "recipes" / f"coco_{name}.yaml")
    found = {}
    for stage, (objective, baseline, _) in STAGES.items():
        run = make_run(objective, baseline, device, experiment.decoder)
        batch = make_batch(run, PAIRS, device, experiment.encoder.grid**2)
        times = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            take_step(run, [batch])
            wait_for(device)
            times.append(time.perf_counter() - began)
        found[stage] = statistics.median(times[1:])
    return found


def table(record: dict[str, Any]) -> str:
    """Markdown: seconds and hours."""
    seconds = record["features_s"]
    lines = [
        "| | seconds | hours in all |",
        "|---|---:|---:|",
        f"| features of a picture (ResNet-101) | {seconds:.2f} | {seconds * PICTURES / 3600:.0f} |",
    ]
    titles = {"fc": "FC", "att2in": "Att2in", "updown": "Up-Down"}
    kinds = {"cross_entropy": "cross-entropy", "nsc": "leave-one-out"}
    for name, stages in record["steps_s"].items():
        for stage, value in stages.items():
            hours = value * STEPS * STAGES[stage][2] / 3600
            lines.append(
                f"| a step of {titles[name]}, {kinds[stage]} | {value:.2f} | {hours:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    device = pick_device(arguments.device)
    record = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "features_s": features_seconds(device, arguments.rounds),
        "steps_s": {
            name: step_seconds(name, device, arguments.rounds)
            for name in ("fc", "att2in", "updown")
        },
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(table(record))


if __name__ == "__main__":
    main()
