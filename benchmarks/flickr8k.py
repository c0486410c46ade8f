"""The recipe for real photos against captions that are only borrowed, on 80 test photos.

Run: python benchmarks/flickr8k.py --data DIR --weights FILE (or with CAPTIONING_REFERENCE_DATA set)

For three seeds the recipe is trained with a frozen and with a fine-tuned encoder; the baselines see
the same frozen features. Whatever is chosen (k, the best epoch, every setting of the recipe) is
chosen on val; test is looked at once. Runs whose result lies in the work folder are not repeated.
Writes benchmarks/results/flickr8k.json and prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from captioning.bundle import transforms_of  # noqa: E402
from captioning.commands.train import parser as train_parser  # noqa: E402
from captioning.config import Experiment  # noqa: E402
from captioning.encoders.cnn import build_encoder  # noqa: E402
from captioning.evaluation.baselines import (  # noqa: E402
    CaptionPool,
    consensus_captions,
    most_frequent_caption,
    nearest_pictures,
)
from captioning.evaluation.evaluate import evaluate  # noqa: E402
from captioning.evaluation.metrics import leave_one_out, score_captions  # noqa: E402
from captioning.evaluation.significance import mean_scores, paired_bootstrap  # noqa: E402
from captioning.files import write_atomically  # noqa: E402
from captioning.settings import from_dict, to_dict  # noqa: E402
from captioning.training.loop import train  # noqa: E402
from data_loader import CaptionDataset  # noqa: E402
from vocabulary import Vocabulary  # noqa: E402

RECIPE = ROOT / "recipes" / "flickr8k_mobilenet.yaml"
RESULT = Path(__file__).parent / "results" / "flickr8k.json"
METRICS = ("CIDEr", "Bleu_4", "ROUGE_L")
MODELS = {"frozen": ["--encoder.trainable", "none"], "fine_tuned": []}
NEIGHBOURS = (1, 2, 3, 5, 8, 10, 15, 20, 30, 40, 60, 80, 100)
TITLES = {
    "most_frequent": "most frequent caption",
    "nearest": "nearest photo's caption",
    "consensus": "consensus caption of {k} neighbours",
    "frozen": "attention model, frozen encoder",
    "fine_tuned": "attention model, fine-tuned encoder",
    "people": "people (each against the other four)",
}


def settings(arguments: argparse.Namespace, kind: str, seed: int) -> Experiment:
    """The recipe with the data, the weights and the seed of one run."""
    given = ["--data", str(arguments.data), "--encoder.weights", str(arguments.weights)]
    folder = ["--output", str(arguments.work / f"{kind}_{seed}"), "--seed", str(seed)]
    flags = ["--config", str(RECIPE), *given, *folder, *MODELS[kind], *arguments.more]
    record = train_parser().parse_args(flags).as_dict()
    return from_dict(Experiment, {name: record[name] for name in to_dict(Experiment())})


def run_once(arguments: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
    """Train and test one model, or read what an earlier call found."""
    experiment = settings(arguments, kind, seed)
    path = Path(experiment.output) / "test.json"
    if path.is_file():
        return json.loads(path.read_text("utf-8"))
    began, cpu_began, load = time.perf_counter(), time.process_time(), os.getloadavg()[0]
    captioner = train(experiment, overwrite=True, progress=arguments.progress)
    minutes, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    record = {
        "minutes": round(minutes / 60, 2),
        "core_minutes": round(cpu / 60, 2),  # what the machine's other work does not lengthen
        "load_before_and_after": [round(load, 1), round(os.getloadavg()[0], 1)],
        "threads": torch.get_num_threads(),
        "best_epoch": captioner.record["epoch"],
        "val_greedy_CIDEr": captioner.record["validation"]["CIDEr"],
        "val": evaluate(captioner, experiment.data, "val")["overall"],
        **test_scores(evaluate(captioner, experiment.data, "test")),
    }
    write_atomically(path, lambda file: file.write_text(json.dumps(record, indent=1), "utf-8"))
    return record


def test_scores(result: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a result: the metrics of the table, and CIDEr of each photo."""
    return {
        "test": {key: result["overall"][key] for key in METRICS},
        "CIDEr_per_image": {str(e["image_id"]): e["CIDEr"] for e in result["per_image"]},
    }


@torch.inference_mode()
def mean_features(experiment: Experiment, dataset: CaptionDataset) -> torch.Tensor:
    """(M, F) the mean region of every picture, as the frozen encoder sees it."""
    encoder = build_encoder(experiment.encoder).eval()
    pictures = (dataset[i][1] for i in range(len(dataset)))
    return torch.cat([encoder(picture.unsqueeze(0)).mean() for picture in pictures])


def borrowed(experiment: Experiment, work: Path) -> dict[str, Any]:
    """The three baselines, or what an earlier call found; k of the consensus is the best on val."""
    path = work / f"baselines_{experiment.transform.fit}.json"
    if path.is_file():
        return json.loads(path.read_text("utf-8"))
    transform, nothing = transforms_of(experiment.transform)["eval"], Vocabulary([])
    splits = {
        split: CaptionDataset(experiment.data, split, nothing, transform)
        for split in ("train", "val", "test")
    }
    vectors = {split: mean_features(experiment, dataset) for split, dataset in splits.items()}
    captions = splits["train"].texts
    pool, common = CaptionPool(captions), most_frequent_caption(captions)
    near = {s: nearest_pictures(vectors[s], vectors["train"], max(NEIGHBOURS)) for s in splits}

    def score(split: str, texts: list[str]) -> dict[str, Any]:
        dataset = splits[split]
        references = dict(zip(dataset.image_ids, dataset.texts, strict=True))
        return score_captions(references, dict(zip(dataset.image_ids, texts, strict=True)))

    on_val = {
        k: score("val", consensus_captions(near["val"], pool, k))["overall"]["CIDEr"]
        for k in NEIGHBOURS
    }
    best_k = max(on_val, key=on_val.__getitem__)
    test = {
        "most_frequent": [common] * len(splits["test"]),
        "nearest": consensus_captions(near["test"], pool, 1),
        "consensus": consensus_captions(near["test"], pool, best_k),
    }
    references = dict(zip(splits["test"].image_ids, splits["test"].texts, strict=True))
    people = leave_one_out(references)["overall"]
    record = {
        "scores": {name: test_scores(score("test", texts)) for name, texts in test.items()},
        "most_frequent_caption": common,
        "k": best_k,
        "val_CIDEr_of_k": {str(k): value for k, value in on_val.items()},
        "people": {key: people[key] for key in METRICS},
    }
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write_text(json.dumps(record, indent=1), "utf-8"))
    return record


def summary(runs: list[dict[str, Any]], best: dict[str, float]) -> dict[str, Any]:
    """Mean and spread over seeds, and the interval of the difference to the best baseline."""
    ours = mean_scores([run["CIDEr_per_image"] for run in runs])
    values = {key: [run["test"][key] for run in runs] for key in METRICS}
    spread = {k: statistics.stdev(v) if len(v) > 1 else 0.0 for k, v in values.items()}
    return {
        "mean": {key: statistics.mean(v) for key, v in values.items()},
        "standard_deviation": spread,
        "minutes": [run["minutes"] for run in runs],
        "core_minutes": [run["core_minutes"] for run in runs if "core_minutes" in run],
        "minus_best_baseline": paired_bootstrap(ours, best)._asdict(),
    }


def table(result: dict[str, Any]) -> str:
    """The result in Markdown."""
    lines = ["| captions of 80 test photos | CIDEr | BLEU-4 | ROUGE-L | core minutes |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for name, record in result["baselines"]["scores"].items():
        cells = [f"{record['test'][key]:.3f}" for key in METRICS]
        title = TITLES[name].format(k=result["baselines"]["k"])
        lines.append(f"| {title} | {' | '.join(cells)} | |")
    whole = result["whole_photo"]
    cells = [f"{whole['consensus']['test'][key]:.3f}" for key in METRICS]
    title = f"consensus caption of {whole['k']} neighbours, photo squeezed into a square"
    lines.append(f"| {title} | {' | '.join(cells)} | |")
    for name, record in result["models"].items():
        mean, spread = record["mean"], record["standard_deviation"]
        cells = [f"{mean[key]:.3f} ± {spread[key]:.3f}" for key in METRICS]
        minutes = max(record["core_minutes"], default=float("nan"))
        lines.append(f"| {TITLES[name]} | {' | '.join(cells)} | {minutes:.1f} |")
    cells = [f"{result['baselines']['people'][key]:.3f}" for key in METRICS]
    lines.append(f"| {TITLES['people']} | {' | '.join(cells)} | |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The flags; what is not known goes to the recipe."""
    shared = Path(os.environ.get("CAPTIONING_REFERENCE_DATA", "data"))
    weights = shared / "weights" / "mobilenet_v2_imagenet.safetensors"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared / "data" / "flickr8k_1k")
    parser.add_argument("--weights", type=Path, default=weights, help="MobileNetV2, state dict")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=[*MODELS])
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "flickr8k")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: all cores")
    parser.add_argument("--progress", action="store_true", help="bars and notes on stderr")
    parser.add_argument("--train_only", action="store_true", help="no baselines, no result file")
    arguments, arguments.more = parser.parse_known_args()
    return arguments


def main() -> None:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    runs = {
        kind: {str(seed): run_once(arguments, kind, seed) for seed in arguments.seeds}
        for kind in arguments.models
    }
    if arguments.train_only:
        return
    recipe = settings(arguments, "fine_tuned", arguments.seeds[0])
    baselines = borrowed(recipe, arguments.work)
    whole = to_dict(recipe)
    whole["transform"]["fit"] = "stretch"
    squeezed = borrowed(from_dict(Experiment, whole), arguments.work)
    best = max(baselines["scores"], key=lambda name: baselines["scores"][name]["test"]["CIDEr"])
    best_scores = baselines["scores"][best]["CIDEr_per_image"]
    record = to_dict(recipe)
    record["encoder"]["weights"] = arguments.weights.name
    record["data"] = arguments.data.name
    del record["output"], record["seed"]
    result = {
        "models": {k: summary(list(some.values()), best_scores) for k, some in runs.items()},
        "best_baseline": best,
        "baselines": baselines,
        "whole_photo": {
            "k": squeezed["k"],
            "consensus": squeezed["scores"]["consensus"],
            "models_minus_consensus": {
                kind: paired_bootstrap(
                    mean_scores([run["CIDEr_per_image"] for run in some.values()]),
                    squeezed["scores"]["consensus"]["CIDEr_per_image"],
                )._asdict()
                for kind, some in runs.items()
            },
        },
        "runs": runs,
        "corpus_captions_used": False,
        "settings": record,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, torch {torch.__version__}",
    }
    RESULT.parent.mkdir(exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    write_atomically(RESULT, lambda file: file.write_text(text, "utf-8"))
    print(table(result))
    for name, one in result["models"].items():
        low, mean, high = (one["minus_best_baseline"][key] for key in ("low", "mean", "high"))
        print(f"{TITLES[name]} - best baseline: {mean:+.3f} (95 %: {low:+.3f} to {high:+.3f})")


if __name__ == "__main__":
    main()
