"""The shipped captioner of the picture book against the people of the picture book.

Prints a table and writes `results/picturebook.json`: leave-one-out score of the human captions,
the model with several searches, the ratio of both, the facts, seen against held-out combinations.

Usage: python benchmarks/picturebook.py [--model models/picturebook_xe] [--data data/picturebook]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from captioning.bundle import Captioner
from captioning.datasets.picturebook.scene import load_scenes
from captioning.datasets.ready import ready_data
from captioning.evaluation.evaluate import evaluate, load_split
from captioning.evaluation.facts import score_facts
from captioning.evaluation.metrics import leave_one_out
from captioning.training.history import read_history

RESULTS = Path(__file__).parent / "results" / "picturebook.json"
SEARCHES = {
    "greedy": {"method": "greedy"},
    "beam 3": {"method": "beam", "beam_size": 3},
    "beam 5": {"method": "beam", "beam_size": 5},
    "sample": {"method": "sample", "seed": 0},
}
KEYS = ("CIDEr", "Bleu_4", "ROUGE_L", "object_f1", "object_precision", "object_recall",
        "colour_accuracy", "relation_accuracy", "setting_accuracy")  # fmt: skip


def human_scores(captioner: Captioner, data: Path) -> dict[str, float]:
    """Leave-one-out scores and facts of the five human captions of every test picture."""
    test = load_split(captioner, data, "test")
    texts = dict(zip(test.image_ids, test.texts, strict=True))
    scores = leave_one_out(texts)["overall"]
    facts = score_facts(texts, load_scenes(data / "annotations" / "scenes_test.json"))["overall"]
    return {key: (scores | facts)[key] for key in KEYS}


def seen_and_novel(result: dict[str, Any], data: Path) -> dict[str, float]:
    """Mean CIDEr of pictures whose combination train shows, and of the others."""
    scenes = load_scenes(data / "annotations" / "scenes_test.json")
    groups: dict[str, list[float]] = {"seen": [], "novel": []}
    for entry in result["per_image"]:
        novel = scenes[entry["image_id"]].novel
        groups["novel" if novel else "seen"].append(entry["CIDEr"])
    return {name: sum(values) / len(values) for name, values in groups.items()}


def training_minutes(model: Path) -> float:
    """Minutes of pure training steps, from the log (words / words per second is not kept)."""
    rows = [row for row in read_history(model / "history.jsonl") if row["kind"] == "epoch"]
    return rows[-1]["minutes"] if rows and "minutes" in rows[-1] else float("nan")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/picturebook_xe"))
    parser.add_argument("--data", type=Path, default=Path("data/picturebook"))
    arguments = parser.parse_args()
    data = ready_data(arguments.data)
    captioner = Captioner.load(arguments.model)
    human = human_scores(captioner, data)
    searches = {}
    for name, settings in SEARCHES.items():
        result = evaluate(captioner, data, "test", progress=True, **settings)
        searches[name] = {key: result["overall"][key] for key in KEYS}
        searches[name]["CHAIRi"] = result["overall"]["CHAIRi"]
        searches[name] |= {f"CIDEr_{k}": v for k, v in seen_and_novel(result, data).items()}
    best = searches["beam 5"]
    record = {
        "model": arguments.model.name,
        "seed": captioner.record["seed"],
        "training_minutes": round(training_minutes(arguments.model), 2),
        "human_leave_one_out": human,
        "model_scores": searches,
        "ratio_beam_5_to_human": {
            "CIDEr": best["CIDEr"] / human["CIDEr"],
            "object_f1": best["object_f1"] / human["object_f1"],
        },
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(f"{'':<10}" + "".join(f"{key:>19}" for key in KEYS))
    for name, row in {"human": human, **searches}.items():
        print(f"{name:<10}" + "".join(f"{row[key]:>19.3f}" for key in KEYS))
    print(f"ratios to human: {record['ratio_beam_5_to_human']}")


if __name__ == "__main__":
    main()
