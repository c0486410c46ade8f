"""Do our metrics and our tokenizer give the numbers of the reference tools, and how fast is CIDEr?

    CAPTIONING_REFERENCE_DATA=FOLDER python benchmarks/metric_agreement.py

Needs `FOLDER/data/metric_reference` (scores of the official tools) and, to compare the speed,
pycocoevalcap and `FOLDER/data/flickr8k_1k`. Prints three tables and writes
`benchmarks/results/metric_agreement.json`. Exit code 1 when a metric differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from captioning.evaluation.cider import CiderScorer, cider
from captioning.evaluation.java import java_metrics_available
from captioning.evaluation.metrics import score_captions
from captioning.evaluation.rouge import longest_common_subsequence
from vocabulary import tokenize

TOLERANCE = 1e-6
METRICS = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "CIDEr_plain"]
REFERENCE_KEYS = {"CIDEr": "CIDEr-D"}  # our CIDEr is what the reference calls CIDEr-D
RESULT = Path(__file__).parent / "results" / "metric_agreement.json"


def sets(folder: Path, suffix: str) -> Iterator[tuple[str, dict, dict, dict]]:
    """Name, references, candidates and reference scores of each set."""
    datasets = json.loads((folder / "scores.json").read_text("utf-8"))["datasets"]
    for name, scores in datasets.items():
        file_name, _, candidates = name.partition("/")
        record = json.loads((folder / f"{file_name}{suffix}.json").read_text("utf-8"))
        yield name, record["refs"], record[candidates or "cands"], scores


def measure_scoring(folder: Path, metrics: list[str]) -> dict[str, dict]:
    """Largest difference to the reference on its own tokens, per image and over the set."""
    table = {}
    for name, references, candidates, scores in sets(folder, "_tokenized"):
        result = score_captions(references, candidates, metrics, tokenizer="none")
        table[name] = {"num_images": len(references)}
        for key in metrics:
            theirs = scores["per_image"][REFERENCE_KEYS.get(key, key)]
            table[name][key] = {
                "per_image": max(abs(e[key] - theirs[e["image_id"]]) for e in result["per_image"]),
                "corpus": abs(
                    result["overall"][key] - scores["corpus"][REFERENCE_KEYS.get(key, key)]
                ),
            }
    return table


def measure_tokenizer(folder: Path, metrics: list[str]) -> tuple[dict[str, dict], Counter]:
    """How often our tokenizer agrees with PTB, and what its differences do to the scores."""
    table, differences = {}, Counter()
    tokenized = {name: (refs, cands) for name, refs, cands, _ in sets(folder, "_tokenized")}
    for name, references, candidates, scores in sets(folder, ""):
        ptb_references, ptb_candidates = tokenized[name]
        pairs = [(candidates[i], ptb_candidates[i]) for i in candidates]
        for image_id, captions in references.items():
            pairs += zip(captions, ptb_references[image_id], strict=True)
        same, common, total = 0, 0, 0
        for raw, ptb in pairs:
            ours, theirs = tokenize(raw), ptb.split()
            same += ours == theirs
            common += 2 * longest_common_subsequence(ours, theirs)
            total += len(ours) + len(theirs)
            missing, extra = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
            if missing or extra:
                differences[(" ".join(missing), " ".join(extra))] += 1
        overall = score_captions(references, candidates, metrics)["overall"]
        corpus = scores["corpus"]
        table[name] = {
            "num_captions": len(pairs),
            "identical_captions": same / len(pairs),
            "identical_tokens": common / total,
            "corpus_difference": {
                key: overall[key] - corpus[REFERENCE_KEYS.get(key, key)] for key in metrics
            },
        }
    return table, differences


def measure_speed(folder: Path, repeats: int) -> dict | None:
    """CIDEr against pycocoevalcap's in this process, alternating; processor time, one thread.

    Two uses: `evaluation` scores one caption per image once; `reward` scores five per image against
    references that stay the same, as reinforcement does (pycocoevalcap has to start anew).
    """
    if importlib.util.find_spec("pycocoevalcap") is None:
        return None
    from pycocoevalcap.cider.cider import Cider

    references = {}
    for split in ("train", "val", "test"):
        path = folder / "annotations" / f"captions_{split}.json"
        for annotation in json.loads(path.read_text("utf-8"))["annotations"]:
            references.setdefault(annotation["image_id"], []).append(
                tokenize(annotation["caption"])
            )
    candidates = {i: texts.pop() for i, texts in references.items()}
    joined = {i: [" ".join(text) for text in texts] for i, texts in references.items()}
    proposed = {i: [" ".join(text)] for i, text in candidates.items()}
    scorer = CiderScorer(references)

    def our_reward() -> None:
        for _ in range(5):
            for image_id, candidate in candidates.items():
                scorer.score(image_id, candidate)

    def their_reward() -> None:
        for _ in range(5):
            Cider().compute_score(joined, proposed)

    uses = {
        "evaluation": (
            lambda: cider(references, candidates),
            lambda: Cider().compute_score(joined, proposed),
        ),
        "reward": (our_reward, their_reward),
    }
    difference = abs(cider(references, candidates)[0] - Cider().compute_score(joined, proposed)[0])
    result = {
        "num_images": len(references),
        "references_per_image": 4,
        "repeats": repeats,
        "difference": float(difference),
    }
    return result | {name: _compare_times(*pair, repeats) for name, pair in uses.items()}


def _compare_times(ours: Callable, theirs: Callable, repeats: int) -> dict:
    times: dict[Callable, list[float]] = {ours: [], theirs: []}
    for _ in range(repeats):
        for side, taken in times.items():
            start = time.process_time()
            side()
            taken.append(time.process_time() - start)
    ratios = sorted(b / a for a, b in zip(times[ours], times[theirs], strict=True))
    return {
        "seconds_ours_median": statistics.median(times[ours]),
        "seconds_pycocoevalcap_median": statistics.median(times[theirs]),
        "times_faster_median": statistics.median(ratios),
        "times_faster_range": [ratios[0], ratios[-1]],
    }


def format_tables(record: dict) -> str:
    """The three tables as text."""
    metrics = record["metrics"]
    lines = ["Largest difference of one image's score (our metrics on the reference's tokens)"]
    lines.append(f"{'set':<24}" + "".join(f"{key:>12}" for key in metrics))
    for name, row in record["scoring"].items():
        lines.append(f"{name:<24}" + "".join(f"{row[key]['per_image']:>12.1e}" for key in metrics))
    lines += ["", "Our tokenizer against PTB, and what it changes in the score of the whole set"]
    lines.append(
        f"{'set':<24}{'captions':>12}{'tokens':>12}" + "".join(f"{k:>12}" for k in metrics)
    )
    for name, row in record["tokenizer"].items():
        lines.append(
            f"{name:<24}{row['identical_captions']:>12.4f}{row['identical_tokens']:>12.5f}"
            + "".join(f"{row['corpus_difference'][key]:>+12.5f}" for key in metrics)
        )
    speed = record["cider_speed"]
    for use in ("evaluation", "reward") if speed else ():
        row, (low, high) = speed[use], speed[use]["times_faster_range"]
        lines.append(
            f"\nCIDEr, {use}: {row['times_faster_median']:.1f} times as fast as pycocoevalcap "
            f"({low:.1f} to {high:.1f} in {speed['repeats']} repeats; {speed['num_images']} images "
            f"with {speed['references_per_image']} references each; "
            f"{row['seconds_ours_median']:.2f} s to {row['seconds_pycocoevalcap_median']:.2f} s)"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="timings of each side (default 9)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print N token differences"
    )
    options = parser.parse_args(arguments)
    folder = Path(os.environ.get("CAPTIONING_REFERENCE_DATA", "")) / "data"
    reference = folder / "metric_reference"
    if not (reference / "scores.json").is_file():
        print(
            "metric_agreement: set CAPTIONING_REFERENCE_DATA to the folder that holds "
            "data/metric_reference/scores.json",
            file=sys.stderr,
        )
        return 2
    unavailable = java_metrics_available("METEOR")
    if unavailable:
        print(f"metric_agreement: without METEOR ({unavailable})", file=sys.stderr)
    metrics = [key for key in METRICS if key != "METEOR" or not unavailable]
    tokenizer, differences = measure_tokenizer(reference, metrics)
    record = {
        "tolerance": TOLERANCE,
        "metrics": metrics,
        "scoring": measure_scoring(reference, metrics),
        "tokenizer": tokenizer,
        "cider_speed": measure_speed(folder / "flickr8k_1k", options.repeats),
        "versions": {"python": platform.python_version(), "nltk": version("nltk")},
    }
    if record["cider_speed"]:
        record["versions"]["pycocoevalcap"] = version("pycocoevalcap")
    worst = max(row[key]["per_image"] for row in record["scoring"].values() for key in metrics)
    record["largest_difference"] = worst
    print(format_tables(record))
    for (theirs, ours), count in differences.most_common(options.show):
        print(f"{count:6d}  PTB {theirs!r}  ours {ours!r}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
