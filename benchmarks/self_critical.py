"""What self-critical training adds to a captioner that cross-entropy cannot improve any further.

For three seeds: a cross-entropy model trained to its validation plateau (`start`), the same model
given extra minutes with cross-entropy (`longer`; at least as many as the next arm has), and given
self-critical training. Test is captioned with beam 1 and beam 5; every choice was made on val.
Finished runs of the same settings are not repeated, so arms may be run one by one
(`--arms longer --seeds 1`), also side by side.

Usage: python benchmarks/self_critical.py [--data data/picturebook] [--work build/self_critical]
       python benchmarks/self_critical.py --book flickr8k --data DIR --weights FILE
Writes results/self_critical_BOOK.json when all arms of two seeds or more are there, and prints the
table.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from captioning.bench.bundles import SEARCHES, is_finished, test_bundle
from captioning.bench.recipes import experiment_of
from captioning.config import Experiment
from captioning.datasets.ready import ready_data
from captioning.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FROZEN = {"encoder.trainable": "none"}
ARMS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {  # recipe and changes to it
    "picturebook": {
        "start": ("picturebook", {}),
        "longer": (
            "picturebook",
            {
                "encoder.trainable_from_epoch": 0,
                "training.num_epochs": 8,
                "training.learning_rate": 5e-4,
                "training.encoder_learning_rate": 2e-4,
                "training.warmup_steps": 20,
            },
        ),
        "self_critical": ("picturebook_scst", {}),
    },
    "flickr8k": {
        "start": ("flickr8k_mobilenet", FROZEN),
        "longer": (
            "flickr8k_mobilenet",
            FROZEN | {"training.learning_rate": 3e-4, "training.num_epochs": 6},
        ),
        "self_critical": (
            "flickr8k_mobilenet",
            FROZEN
            | {
                "loader.captions_per_image": 1,
                "training.objective": "reinforce",
                "training.learning_rate": 2e-4,
                "training.num_epochs": 6,
            },
        ),
    },
}


def settings(arguments: argparse.Namespace, arm: str, seed: int) -> Experiment:
    """One run: its recipe, seed, data, start and place."""
    recipe, changes = ARMS[arguments.book][arm]
    output = str(arguments.work / f"{arguments.book}_{arm}_{seed}")
    changes = changes | {"data": str(arguments.data), "output": output, "seed": seed}
    if arguments.weights:
        changes["encoder.weights"] = str(arguments.weights)
    if arm != "start":
        changes["init_from"] = str(start_of(arguments, seed))
    return experiment_of(ROOT / "recipes" / f"{recipe}.yaml", changes)


def start_of(arguments: argparse.Namespace, seed: int) -> Path:
    """The cross-entropy model of a seed; seed 0 of the picture book is the shipped one."""
    if arguments.book == "picturebook" and seed == 0:
        return Path("models/picturebook_xe")
    return arguments.work / f"{arguments.book}_start_{seed}"


def run_once(arguments: argparse.Namespace, arm: str, seed: int) -> dict[str, Any] | None:
    """Train and test one model; a finished one with the same settings is only tested."""
    experiment = settings(arguments, arm, seed)
    shipped = arm == "start" and start_of(arguments, seed).parent == Path("models")
    folder = start_of(arguments, seed) if shipped else Path(experiment.output)
    if not (shipped or is_finished(folder, experiment)):
        if arm not in arguments.arms or seed not in arguments.seeds:
            return None
        train(experiment, overwrite=True, progress=arguments.progress)
    return test_bundle(folder, arguments.data, keep=not shipped)


def summarise(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds of everything measured."""
    scores = {}
    for search in SEARCHES:
        tested = [run["test"][search] for run in runs.values()]
        values = {key: [one[key] for one in tested] for key in tested[0]}
        scores[search] = {
            key: {"mean": statistics.fmean(v), "std": statistics.stdev(v), "seeds": v}
            for key, v in values.items()
        }
    kept = ("minutes", "best_epoch", "val_CIDEr")
    more = {key: [run[key] for run in runs.values()] for key in kept}
    return scores | more


def compare(arms: dict[str, Any]) -> dict[str, Any]:
    """Self-critical against the longer cross-entropy run, seed by seed."""
    result = {}
    for search in SEARCHES:
        ours, theirs = arms["self_critical"][search], arms["longer"][search]
        seeds = ours["CIDEr"]["seeds"], theirs["CIDEr"]["seeds"]
        result[search] = {
            "CIDEr_ratio": [a / b for a, b in zip(*seeds, strict=True)],
            "CIDEr_ratio_of_means": ours["CIDEr"]["mean"] / theirs["CIDEr"]["mean"],
        }
        for key in ("facts", "bad_endings"):
            if key in ours:
                result[search][f"{key}_change"] = ours[key]["mean"] - theirs[key]["mean"]
    return result


def table(record: dict[str, Any]) -> str:
    """Markdown: arms x searches, mean and standard deviation."""
    shown = {"CIDEr": "CIDEr", "Bleu_4": "BLEU-4", "facts": "facts", "object_f1": "object F1"}
    shown |= {"colour_accuracy": "colours right", "relation_accuracy": "relations right"}
    shown |= {"bad_endings": "bad endings", "words": "words", "distinct_captions": "distinct"}
    known = [k for k in shown if k in record["arms"]["start"]["beam 1"]]
    lines = ["| trained with | search | " + " | ".join(shown[k] for k in known) + " |"]
    lines.append("|---|---|" + "---:|" * len(known))
    titles = {
        "start": "cross-entropy, to its plateau",
        "longer": "cross-entropy, with extra minutes",
        "self_critical": "self-critical, leave-one-out baseline",
    }
    for arm, title in titles.items():
        for search in SEARCHES:
            if arm in record["arms"]:
                row = record["arms"][arm][search]
                cells = (f"{row[k]['mean']:.3f} ± {row[k]['std']:.3f}" for k in known)
                lines.append(f"| {title} | {search} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--book", choices=[*ARMS], default="picturebook")
    parser.add_argument("--data", type=Path, default=Path("data/picturebook"))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--work", type=Path, default=Path("build/self_critical"))
    parser.add_argument("--arms", nargs="*", default=None)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--progress", action="store_true")
    arguments = parser.parse_args()
    arguments.arms = list(ARMS[arguments.book]) if arguments.arms is None else arguments.arms
    ready_data(arguments.data)
    arguments.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[int, Any]] = {}
    for arm in ARMS[arguments.book]:
        for seed in (0, 1, 2):
            if record := run_once(arguments, arm, seed):
                found.setdefault(arm, {})[seed] = record
    done = set.intersection(*(set(found.get(arm, {})) for arm in ARMS[arguments.book]))
    if len(done) < 2:
        print(f"finished: { {arm: sorted(runs) for arm, runs in found.items()} }")
        return
    complete = {
        arm: summarise({seed: run for seed, run in runs.items() if seed in done})
        for arm, runs in found.items()
    }
    record = {
        "seeds": sorted(done),
        "arms": complete,
        "self_critical_against_longer": compare(complete),
    }
    path = RESULTS / f"self_critical_{arguments.book}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(table(record))
    print(json.dumps(record["self_critical_against_longer"], indent=1))


if __name__ == "__main__":
    main()
