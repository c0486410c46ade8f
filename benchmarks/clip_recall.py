"""What a small CLIP finds after minutes of training: captions and pictures of a test split.

Usage: python benchmarks/clip_recall.py --config recipes/picturebook_clip.yaml --name picturebook
       python benchmarks/clip_recall.py --config recipes/flickr8k_clip.yaml --name flickr8k \\
           --data DATA --weights FILE

Trains one for each seed in this process and ranks the first human caption of each test picture
against all others. The baseline is chance: 1, 5 and 10 of the number of pictures. Writes
benchmarks/results/clip_recall.json, one entry for each name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from captioning.bench.recipes import read_yaml
from captioning.bench.summary import spread
from captioning.clip.loading import load_clip
from captioning.clip.settings import ClipConfig
from captioning.datasets.ready import ready_data
from captioning.evaluation.retrieve_command import WAYS, first_references, retrieve
from captioning.settings import from_dict
from captioning.training.clip import train_clip

RESULTS = Path(__file__).parent / "results" / "clip_recall.json"
CUTOFFS = (1, 5, 10)


def measure(config: ClipConfig, seeds: list[int], test_split: str) -> dict[str, Any]:
    """Train and rank for each seed."""
    ready_data(config.data, progress=False)
    captions = first_references(config.data, test_split)
    tables, minutes, parameters = [], [], 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            best = train_clip(replace(config, output=folder, seed=seed), True, progress=False)
            found = retrieve(load_clip(folder), config.data, test_split, captions)
        tables.append(found["overall"])
        minutes.append(best["minutes"])
        parameters = best["parameters"]
        print(f"seed {seed}: {best['minutes']:.1f} minutes, {json.dumps(found['overall'])}")
    number = len(captions)
    recall = {
        way: {f"R{k}": spread([table[way][f"R{k}"] for table in tables]) for k in CUTOFFS}
        for way in WAYS
    }
    return {
        "pictures": number,
        "recall": recall,
        "median_rank": {way: [table[way]["median_rank"] for table in tables] for way in WAYS},
        "chance": {f"R{k}": k / number for k in CUTOFFS},
        "times_chance_R1": {
            way: statistics.fmean(table[way]["R1"] for table in tables) * number for way in WAYS
        },
        "minutes": minutes,
        "parameters": parameters,
        "threads": torch.get_num_threads(),
        "seeds": seeds,
    }


def main() -> None:
    """Measure, show and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, help="recipe of train-clip")
    parser.add_argument("--name", required=True, help="entry of the results")
    parser.add_argument("--data", default="", help="data-set folder; empty: the recipe's")
    parser.add_argument("--weights", default="", help="weights of the encoder; empty: the recipe's")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    config = from_dict(ClipConfig, read_yaml(arguments.config, "recipe"))
    if arguments.data:
        config = replace(config, data=arguments.data)
    if arguments.weights:
        config = replace(config, encoder=replace(config.encoder, weights=arguments.weights))
    record = measure(config, [int(seed) for seed in arguments.seeds.split(",")], arguments.split)
    record["recipe"] = arguments.config
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    kept[arguments.name] = record
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
    for way in WAYS:
        shown = ", ".join(f"R{k} {record['recall'][way][f'R{k}']['mean']:.3f}" for k in CUTOFFS)
        print(f"{way}: {shown}; R1 is {record['times_chance_R1'][way]:.0f} times chance")


if __name__ == "__main__":
    main()
