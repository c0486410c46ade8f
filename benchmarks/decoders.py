"""The recurrent decoders side by side on the picture book: same eyes, same data, same settings.

Every decoder learns from a feature store of the picture book's pre-trained eyes (they stay frozen,
no augmentation): cross-entropy first, then FC, Att2in2 and Up-Down also self-critical training with
the leave-one-out and with the greedy baseline. Test is captioned with beam 1 and beam 5; the epoch
was chosen on val. Finished runs of the same settings are not repeated.

Usage: python benchmarks/decoders.py [--seeds 0 1 2] [--kinds updown] [--stages xe nsc scst]
Prints the table; writes results/decoders.json when all kinds are asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from captioning.bench.bundles import KEYS, SEARCHES, is_finished, test_bundle
from captioning.bench.recipes import experiment_of
from captioning.commands import features
from captioning.config import Experiment
from captioning.datasets.ready import ready_data
from captioning.decoders.build import TITLES
from captioning.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "decoders.json"
STAGES = {"xe": "cross-entropy", "scst": "greedy baseline", "nsc": "leave-one-out"}
KINDS = [kind for kind in TITLES if kind != "transformer"]
REFINED = ("fc", "att2in2", "updown")  # those with all three stages


def settings(arguments: argparse.Namespace, kind: str, stage: str, seed: int) -> Experiment:
    """One run: the picture book's recipe with another decoder, from the store."""
    recipe = "picturebook" if stage == "xe" else "picturebook_scst"
    changes = {
        "data": str(arguments.data),
        "output": str(folder_of(arguments, kind, stage, seed)),
        "seed": seed,
        "loader.features": str(arguments.work / "eyes.h5"),
        "loader.cache_views": 0,
        "encoder.trainable": "none",
        "encoder.trainable_from_epoch": 0,
        "decoder.kind": kind,
        "training.half_precision": False,
    }
    if stage != "xe":
        changes["init_from"] = str(folder_of(arguments, kind, "xe", seed))
        baseline = {"scst": "greedy", "nsc": "leave_one_out"}[stage]
        changes["self_critical.baseline"] = baseline
    return experiment_of(ROOT / "recipes" / f"{recipe}.yaml", changes)


def folder_of(arguments: argparse.Namespace, kind: str, stage: str, seed: int) -> Path:
    """Where a run's bundle is."""
    return arguments.work / f"{kind}_{stage}_{seed}"


def make_store(arguments: argparse.Namespace) -> None:
    """The features of the picture book, once."""
    if (arguments.work / "eyes.h5").is_file():
        return
    flags = ["extract", "--data", str(arguments.data)]
    flags += ["--encoder", "resnet18", "--cut", "layer3", "--fit", "stretch"]
    flags += ["--weights", str(ROOT / "models/picturebook_eyes/model.safetensors")]
    flags += ["--image_size", "128", "--output", str(arguments.work / "eyes.h5")]
    features.run(features.parser().parse_args(flags))


def run_once(arguments: argparse.Namespace, kind: str, stage: str, seed: int) -> dict[str, Any]:
    """Train and test one model; a finished one with the same settings is only read."""
    experiment = settings(arguments, kind, stage, seed)
    folder = Path(experiment.output)
    if not is_finished(folder, experiment):
        train(experiment, overwrite=True, progress=arguments.progress)
    return test_bundle(folder, arguments.data)


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    scores = {
        search: {
            key: {
                "mean": statistics.fmean(run["test"][search][key] for run in runs),
                "seeds": [run["test"][search][key] for run in runs],
            }
            for key in KEYS
            if key in runs[0]["test"][search]
        }
        for search in SEARCHES
    }
    return scores | {
        "parameters": runs[0]["parameters"],
        "minutes": [run["minutes"] for run in runs],
        "best_epoch": [run["best_epoch"] for run in runs],
    }


def table(record: dict[str, Any]) -> str:
    """Markdown: one row for each decoder and stage."""
    lines = [
        "| decoder | trained with | CIDEr, beam 1 | beam 5 | facts | colours right |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, row in record["runs"].items():
        kind, _, stage = name.partition(" ")
        one, five = row["beam 1"], row["beam 5"]
        spread = [
            f"{score['mean']:.3f}"
            + (f" ± {statistics.stdev(score['seeds']):.3f}" if len(score["seeds"]) > 1 else "")
            for score in (one["CIDEr"], five["CIDEr"])
        ]
        lines.append(
            f"| {TITLES[kind]} | {STAGES[stage]} | {spread[0]} | {spread[1]} | "
            f"{five['facts']['mean']:.3f} | {five['colour_accuracy']['mean']:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/picturebook"))
    parser.add_argument("--work", type=Path, default=Path("build/decoders"))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--stages", nargs="*", default=[*STAGES])
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    ready_data(arguments.data)
    arguments.work.mkdir(parents=True, exist_ok=True)
    make_store(arguments)
    runs = {}
    for kind in arguments.kinds:
        for stage in arguments.stages if kind in REFINED else ["xe"]:
            found = [run_once(arguments, kind, stage, seed) for seed in arguments.seeds]
            runs[f"{kind} {stage}"] = summarise(found)
    record = {"seeds": arguments.seeds, "threads": os.cpu_count(), "runs": runs}
    print(table(record))
    if {*arguments.kinds} == {*KINDS}:
        RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
