"""The shipped captioner of the picture book against the people of the picture book.

Prints a table and writes `results/picturebook.json`: leave-one-out score of the human captions,
the model with several searches scored against the same sets of four captions, the ratio of both,
the facts, seen against held-out combinations, and what the captions of the book are like.

Usage: python benchmarks/picturebook.py [--model models/picturebook_xe] [--data data/picturebook]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean as mean
from typing import Any

from captioning.bundle import Captioner
from captioning.datasets.picturebook.scene import load_scenes
from captioning.datasets.ready import ready_data
from captioning.evaluation.evaluate import evaluate, load_split
from captioning.evaluation.facts import score_facts
from captioning.evaluation.metrics import leave_one_out, score_captions
from captioning.training.history import read_history
from data_loader import read_annotations
from vocabulary import tokenize

RESULTS = Path(__file__).parent / "results" / "picturebook.json"
SEARCHES = {
    "greedy": {"method": "greedy"},
    "beam 3": {"method": "beam", "beam_size": 3},
    "beam 5": {"method": "beam", "beam_size": 5},
    "sample": {"method": "sample", "seed": 0},
}
KEYS = ("CIDEr", "Bleu_4", "ROUGE_L", "object_f1", "object_precision", "object_recall",
        "colour_accuracy", "relation_accuracy", "setting_accuracy")  # fmt: skip


def human_scores(texts: dict[int, list[str]], data: Path) -> dict[str, float]:
    """Leave-one-out scores and facts of the five human captions of every test picture."""
    scores = leave_one_out(texts)["overall"]
    facts = score_facts(texts, load_scenes(data / "annotations" / "scenes_test.json"))["overall"]
    return {key: (scores | facts)[key] for key in KEYS}


def against_four(texts: dict[int, list[str]], captions: dict[int, str]) -> dict[str, Any]:
    """Scores of a model the way people are scored: five times against four, averaged."""
    rounds = [
        score_captions({i: some[:k] + some[k + 1 :] for i, some in texts.items()}, captions)
        for k in range(5)
    ]
    overall = {key: mean(r["overall"][key] for r in rounds) for key in rounds[0]["overall"]}
    entries = zip(*(r["per_image"] for r in rounds), strict=True)
    ciders = {some[0]["image_id"]: mean(entry["CIDEr"] for entry in some) for some in entries}
    return {"overall": overall, "CIDEr": ciders}


def seen_and_novel(ciders: dict[int, float], data: Path) -> dict[str, float]:
    """Mean CIDEr of pictures whose combination train shows, and of the others."""
    scenes = load_scenes(data / "annotations" / "scenes_test.json")
    groups: dict[str, list[float]] = {"seen": [], "novel": []}
    for image_id, value in ciders.items():
        groups["novel" if scenes[image_id].novel else "seen"].append(value)
    return {name: mean(values) for name, values in groups.items()}


def about_the_book(data: Path) -> dict[str, Any]:
    """Words of the training captions, and the share of test with held-out combinations."""
    texts = [a["caption"] for a in read_annotations(data, "train").anns.values()]
    scenes = load_scenes(data / "annotations" / "scenes_test.json").values()
    lengths = [len(tokenize(text)) for text in texts]
    return {
        "captions": len(texts),
        "different_words": len({word for text in texts for word in tokenize(text)}),
        "words_a_caption": {"least": min(lengths), "mean": mean(lengths), "most": max(lengths)},
        "held_out_share_of_test": mean(scene.novel for scene in scenes),
    }


def training_minutes(model: Path) -> float:
    """Minutes of all epochs, validation included, from the log."""
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
    test = load_split(captioner, data, "test")
    texts = dict(zip(test.image_ids, test.texts, strict=True))
    human = human_scores(texts, data)
    searches = {}
    for name, settings in SEARCHES.items():
        result = evaluate(captioner, data, "test", progress=True, **settings)
        captions = {entry["image_id"]: entry["caption"] for entry in result["per_image"]}
        fair = against_four(texts, captions)
        scores = result["overall"] | fair["overall"]
        searches[name] = {key: scores[key] for key in (*KEYS, "CHAIRi")}
        searches[name] |= {f"CIDEr_{k}": v for k, v in seen_and_novel(fair["CIDEr"], data).items()}
        searches[name]["CIDEr_against_five"] = result["overall"]["CIDEr"]
    best = searches["beam 5"]
    record = {
        "book": about_the_book(data),
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
