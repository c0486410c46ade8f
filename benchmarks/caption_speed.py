"""Seconds a picture, file to sentence, for resnet50 at 224 px with beam 5, against greedy search.

Untrained weights: the work is the same (captions run to the greatest length, the slowest case).
Prints median and range, and the ratio to greedy search and to one picture at a time; writes
`results/caption_speed.json`.

Usage: python benchmarks/caption_speed.py
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from captioning.bundle import Captioner
from captioning.config import EncoderConfig, Experiment
from captioning.datasets.picturebook.pictures import make_picture
from captioning.picture_files import caption_files
from vocabulary import Vocabulary

RESULTS = Path(__file__).parent / "results" / "caption_speed.json"
NUM_PICTURES, REPEATS, NUM_WORDS = 8, 5, 9488  # as many words as COCO's usual vocabulary


def seconds_a_picture(captioner: Captioner, paths: list[Path], batch_size: int, **how) -> float:
    """Time of decoding, transforming, encoding and searching, divided by the pictures."""
    began = time.perf_counter()
    list(caption_files(captioner, paths, batch_size, **how))
    return (time.perf_counter() - began) / len(paths)


def main() -> None:
    """Measure, print, write."""
    torch.manual_seed(0)
    encoder = EncoderConfig(backbone="resnet50", weights="none")
    words = [f"word{i}" for i in range(NUM_WORDS - 4)]
    captioner = Captioner.build(Experiment(encoder=encoder), Vocabulary(words)).train(False)
    runs = {
        "beam 5, 8 pictures at once": {"batch_size": 8, "method": "beam", "beam_size": 5},
        "beam 5, one picture at a time": {"batch_size": 1, "method": "beam", "beam_size": 5},
        "greedy, 8 pictures at once": {"batch_size": 8, "method": "greedy"},
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for index in range(NUM_PICTURES):
            picture, _ = make_picture(5, "speed", index + 1, image_size=512)
            paths.append(Path(folder) / f"{index}.jpg")
            picture.save(paths[-1], quality=90)
        for repeat in range(REPEATS + 1):
            for name, how in runs.items():
                seconds = seconds_a_picture(captioner, paths, **how)
                if repeat:  # the first round warms up
                    times[name].append(seconds)
    base = statistics.median(times["greedy, 8 pictures at once"])
    record = {
        name: {
            "median_s": round(statistics.median(values), 4),
            "min_s": round(min(values), 4),
            "max_s": round(max(values), 4),
            "ratio_to_greedy": round(statistics.median(values) / base, 2),
        }
        for name, values in times.items()
    }
    record["threads"] = torch.get_num_threads()
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
