"""What augmentation is worth: a decoder learns from one view of each picture, three, or new ones.

The encoder is frozen in all arms. `store` learns from a feature store (one view, no crop, no flip),
`views` remembers three random views of each picture, `pictures` looks at a new random view in each
epoch. Three seeds, the picture book (3,000 pictures) or real photos (640). Test with beam 1 and 5;
the epoch was chosen on val. Finished runs of the same settings are not repeated.

Usage: python benchmarks/augmentation.py [--seeds 0 1 2] [--arms store views pictures]
       python benchmarks/augmentation.py --book flickr8k --data DIR --weights FILE
Prints the table and writes results/augmentation.json (both books beside each other).
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from captioning.bench.bundles import SEARCHES, is_finished, test_bundle
from captioning.bench.recipes import experiment_of
from captioning.commands import features
from captioning.config import Experiment
from captioning.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "augmentation.json"
EYES = ROOT / "models" / "picturebook_eyes" / "model.safetensors"
RECIPES = {"picturebook": "picturebook", "flickr8k": "flickr8k_mobilenet"}
VIEWS = {"store": 0, "views": 3, "pictures": 0}
TITLES = {
    "store": "one view (a feature store)",
    "views": "three views, remembered",
    "pictures": "a new view in each epoch",
}


def settings(arguments: argparse.Namespace, arm: str, seed: int) -> Experiment:
    """One run: the book's recipe with a frozen encoder."""
    changes = {
        "data": str(arguments.data),
        "output": str(arguments.work / f"{arguments.book}_{arm}_{seed}"),
        "seed": seed,
        "loader.cache_views": VIEWS[arm],
        "encoder.weights": str(arguments.weights),
        "encoder.trainable": "none",
        "encoder.trainable_from_epoch": 0,
    }
    if arm == "store":
        changes["loader.features"] = str(arguments.work / f"{arguments.book}.h5")
    return experiment_of(ROOT / "recipes" / f"{RECIPES[arguments.book]}.yaml", changes)


def make_store(arguments: argparse.Namespace, experiment: Experiment) -> None:
    """The features of all pictures as the captioner sees them in evaluation, once."""
    path = arguments.work / f"{arguments.book}.h5"
    if path.is_file():
        return
    encoder, transform = experiment.encoder, experiment.transform
    flags = ["extract", "--data", str(arguments.data), "--encoder", encoder.backbone]
    flags += ["--weights", str(arguments.weights), "--padding", encoder.padding]
    flags += ["--cut", encoder.cut, "--fit", transform.fit, "--output", str(path)]
    flags += ["--image_size", str(transform.image_size)]
    flags += ["--resize_size", str(transform.resize_size)]
    features.run(features.parser().parse_args(flags))


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and seeds of CIDEr, and the minutes."""
    scores = {
        search: {
            "mean": statistics.fmean(run["test"][search]["CIDEr"] for run in runs),
            "seeds": [run["test"][search]["CIDEr"] for run in runs],
        }
        for search in SEARCHES
    }
    minutes = [run["minutes"] for run in runs]
    return scores | {"minutes": minutes, "best_epoch": [run["best_epoch"] for run in runs]}


def table(record: dict[str, Any]) -> str:
    """Markdown: one row for each book and arm."""
    lines = ["| each picture is seen as | data | CIDEr, beam 1 | beam 5 |", "|---|---|---:|---:|"]
    for book, arms in record.items():
        for arm, row in arms["arms"].items():
            cells = [
                f"{row[s]['mean']:.3f} ± {statistics.stdev(row[s]['seeds']):.3f}" for s in SEARCHES
            ]
            lines.append(f"| {TITLES[arm]} | {book} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--book", choices=[*RECIPES], default="picturebook")
    parser.add_argument("--data", type=Path, default=Path("data/picturebook"))
    parser.add_argument("--weights", type=Path, default=EYES)
    parser.add_argument("--work", type=Path, default=Path("build/augmentation"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="*", default=[*VIEWS])
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    make_store(arguments, settings(arguments, "pictures", 0))
    arms = {}
    for arm in arguments.arms:
        runs = []
        for seed in arguments.seeds:
            experiment = settings(arguments, arm, seed)
            if not is_finished(Path(experiment.output), experiment):
                train(experiment, overwrite=True, progress=arguments.progress)
            runs.append(test_bundle(Path(experiment.output), arguments.data))
        arms[arm] = summarise(runs)
    record = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    record[arguments.book] = {"seeds": arguments.seeds, "arms": arms}
    if [*arms] == [*VIEWS] and len(arguments.seeds) > 1:
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        print(table(record))


if __name__ == "__main__":
    main()
