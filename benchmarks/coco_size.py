"""A corpus as large as COCO through vocabulary, loader and one epoch: seconds, and memory summed
over the training process and its two workers.

123,287 pictures of 8 x 8 pixels, 616,435 distinct captions (six of every picture have five, a few
hundred have six) of Zipf-distributed words, 25,000 word types. The work runs in a process of its
own, watched from outside ten times a second. Two sums are reported: resident memory (pages that
processes share count once for each: what `top` adds up to) and proportional memory (shared pages
count once in all: what the machine has to have). The same sums before any data is read are the
baseline: what Python and PyTorch take with two idle workers.

Usage: python benchmarks/coco_size.py [--batch_size 64]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

from PIL import Image

from captioning.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "build" / "coco_size"
RESULTS = Path(__file__).parent / "results" / "coco_size.json"
NUM_PICTURES, NUM_CAPTIONS, NUM_WORDS = 123_287, 616_435, 25_000
LIMIT_GB = 3.0
STAGES = ["imports", "annotations", "vocabulary", "dataset", "epoch"]
ARM = """
import sys, time
from data_loader import CaptionDataset, CaptionLoader, eval_transform, read_annotations
from vocabulary import Vocabulary

def say(stage):
    print(stage, round(time.perf_counter() - began, 2), flush=True)

data, batch_size, began = sys.argv[1], int(sys.argv[2]), time.perf_counter()
say("imports")
annotations = read_annotations(data, "train")
say("annotations")
vocabulary = Vocabulary.build((a["caption"] for a in annotations.anns.values()), min_count=5)
say("vocabulary")
dataset = CaptionDataset(data, "train", vocabulary, eval_transform(32), annotations=annotations)
del annotations
say("dataset")
loader = CaptionLoader(dataset, batch_size, num_workers=2)
words = rows = 0
for batch in loader:
    words, rows = words + int(batch.token_mask.sum()), rows + len(batch.captions)
say("epoch")
print("result", len(vocabulary), len(dataset), rows, words, flush=True)
"""


def word(rank: int) -> str:
    """A made-up word for a rank: letters only."""
    letters = ""
    while rank >= 0:
        letters, rank = chr(ord("a") + rank % 26) + letters, rank // 26 - 1
    return letters


def write_data() -> None:
    """Pictures and captions, once."""
    if (DATA / "annotations" / "captions_train.json").is_file():
        return
    rng = random.Random(0)
    (DATA / "annotations").mkdir(parents=True, exist_ok=True)
    words, weights = (
        [word(i) for i in range(NUM_WORDS)],
        list(accumulate(1 / (i + 1) for i in range(NUM_WORDS))),
    )
    captions = {" ".join(words[i : i + 10]).capitalize() + "." for i in range(0, NUM_WORDS, 10)}
    while len(captions) < NUM_CAPTIONS:
        length = max(6, min(25, round(rng.gauss(10.5, 2.4))))
        text = " ".join(rng.choices(words, cum_weights=weights, k=length))
        captions.add(text.capitalize() + ("." if rng.random() < 0.7 else ""))
    texts = sorted(captions)
    rng.shuffle(texts)
    images = []
    for i in range(NUM_PICTURES):
        name = f"{i // 1000:03}/{i:06}.png"
        path = DATA / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i % 256, i // 256 % 256, 40)).save(path)
        images.append({"id": i, "file_name": name, "width": 8, "height": 8})
    annotations = [
        {"id": i, "image_id": i % NUM_PICTURES, "caption": text} for i, text in enumerate(texts)
    ]
    record = json.dumps({"images": images, "annotations": annotations})
    path = DATA / "annotations" / "captions_train.json"
    write_atomically(path, lambda file: file.write_text(record, "utf-8"))


def memory_of(root: int) -> tuple[float, float, int]:
    """Resident and proportional GB summed over a process and its descendants, and their number."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = entry.read_text().split(" (", 1)
            parents[int(pid)] = int(rest.rsplit(") ", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):  # it has ended
            continue
    family, found = {root}, True
    while found:
        found = {pid for pid, parent in parents.items() if parent in family} - family
        family |= found
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in family:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            key, *rest = line.split()
            if key in sums:
                sums[key] += int(rest[0])
    return sums["Rss:"] / 2**20, sums["Pss:"] / 2**20, len(family)


def watch(batch_size: int) -> dict:
    """Run the arm and remember the largest sums of each stage."""
    command = [sys.executable, "-c", ARM, str(DATA), str(batch_size)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log, peaks, began = DATA / "stages.txt", {}, time.perf_counter()
    with log.open("w") as file, subprocess.Popen(command, stdout=file, env=environment) as process:
        while process.poll() is None:
            done = len([line for line in log.read_text().splitlines() if " " in line])
            resident, proportional, number = memory_of(process.pid)
            peak = peaks.setdefault(STAGES[min(done, len(STAGES) - 1)], [0.0, 0.0, 0])
            peak[:] = map(max, peak, (resident, proportional, number))
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"error: the measured process ended with {process.returncode}")
    lines = dict(line.split(maxsplit=1) for line in log.read_text().splitlines())
    words, pictures, rows, tokens = map(int, lines.pop("result").split())
    stages = {
        name: {
            "seconds_since_start": float(lines[name]),
            "resident_gb": round(peak[0], 3),
            "proportional_gb": round(peak[1], 3),
            "processes": peak[2],
        }
        for name, peak in peaks.items()
    }
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "vocabulary": words,
        "pictures_loaded": pictures,
        "captions_in_batches": rows,
        "tokens_in_batches": tokens,
        "peak_resident_gb": max(one["resident_gb"] for one in stages.values()),
        "peak_proportional_gb": max(one["proportional_gb"] for one in stages.values()),
        "stages": stages,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=64, help="pictures a batch")
    arguments = parser.parse_args()
    write_data()
    record = {
        "corpus": {"pictures": NUM_PICTURES, "captions": NUM_CAPTIONS, "word_types": NUM_WORDS},
        "workers": 2,
        **watch(arguments.batch_size),
    }
    record["share_of_limit"] = round(record["peak_resident_gb"] / LIMIT_GB, 2)
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(RESULTS, lambda file: file.write_text(text, "utf-8"))
    print(text)


if __name__ == "__main__":
    main()
