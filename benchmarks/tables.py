"""The tables of the README, made from `benchmarks/results/`: nothing in them is typed by hand.

Usage: python benchmarks/tables.py          (writes them between the markers in README.md)
       python benchmarks/tables.py --check  (exit code 1 if they differ)
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import clip_tables  # beside this file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def picturebook(record: dict[str, Any]) -> str:
    """Model x search x metric, with the people first."""
    columns = {
        "CIDEr": "CIDEr",
        "Bleu_4": "BLEU-4",
        "ROUGE_L": "ROUGE-L",
        "object_f1": "object F1",
        "colour_accuracy": "colours right",
        "relation_accuracy": "relations right",
    }
    lines = ["| captions by | " + " | ".join(columns.values()) + " |", "|---|" + "---|" * 6]
    rows = {"people (leave-one-out)": record["human_leave_one_out"]}
    rows |= {f"attention model, {name}": row for name, row in record["model_scores"].items()}
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in columns) + " |")
    ratio = record["ratio_beam_5_to_human"]
    beam = record["model_scores"]["beam 5"]
    return "\n".join(lines) + (
        f"\n\nBeam 5 reaches {ratio['CIDEr']:.0%} of the human CIDEr and {ratio['object_f1']:.0%} "
        f"of the human object F1, after {record['training_minutes']:.1f} minutes of training "
        f"(seed {record['seed']}). On combinations of thing, colour and relation that training "
        f"never showed its CIDEr is {beam['CIDEr_novel']:.2f}, on the others "
        f"{beam['CIDEr_seen']:.2f}.\n"
    )


def flickr8k(record: dict[str, Any]) -> str:
    """Models and baselines on real photos, and whether the best baseline is beaten."""
    from flickr8k import table  # beside this file

    won = record["models"]["fine_tuned"]["minus_best_baseline"]
    other = record["whole_photo"]["models_minus_consensus"]["fine_tuned"]
    return f"{table(record)}\n\n" + (
        f"The fine-tuned model is {won['mean']:.3f} CIDEr above the best baseline (bootstrap over "
        f"photos, 95 %: {won['low']:.3f} to {won['high']:.3f}); above the consensus from squeezed "
        f"photos it is {other['mean']:.3f} ({other['low']:.3f} to {other['high']:.3f}). The 35,000 "
        "further captions that come with the data were "
        f"{'' if record['corpus_captions_used'] else 'not '}used.\n"
    )


def metric_agreement(record: dict[str, Any]) -> str:
    """Largest difference per image, and how the tokenizer agrees."""
    sets = record["scoring"].values()
    worst = max(one[key]["per_image"] for one in sets for key in record["metrics"])
    agreed = [one["identical_captions"] for one in record["tokenizer"].values()]
    images = sum(one["num_images"] for one in sets)
    return (
        "| checked against coco-caption's numbers | |\n|---|---|\n"
        f"| largest difference of any metric for any of {images} captions | {worst:.0e} |\n"
        f"| captions our tokenizer splits exactly like Stanford's PTB | {min(agreed):.2%} |\n"
    )


def self_critical_picturebook(record: dict[str, Any]) -> str:
    """Cross-entropy against rewards, with what must not get worse beside it."""
    from self_critical import table

    one, five = (record["self_critical_against_longer"][key] for key in ("beam 1", "beam 5"))
    ratios = [f"{value:.2f}" for value in one["CIDEr_ratio"] + five["CIDEr_ratio"]]
    parts = [
        f"Against cross-entropy given extra time CIDEr is {one['CIDEr_ratio_of_means']:.2f} times",
        f"as high with beam 1, {five['CIDEr_ratio_of_means']:.2f} times with beam 5 (single seeds",
        f"and searches: {min(ratios)} to {max(ratios)}); the facts score changes by",
        f"{one['facts_change']:+.3f} and {five['facts_change']:+.3f}, the share of bad endings by",
        f"{one['bad_endings_change']:+.4f} and {five['bad_endings_change']:+.4f}.",
    ]
    silent = record["arms"]["self_critical"]["beam 5"]["setting_accuracy"]["seeds"].count(0.0)
    parts.append(
        f"The model of {silent} of the seeds stopped naming the setting (beach, snow, ...): CIDEr "
        "pays for the consensus, not for completeness."
    )
    return f"{table(record)}\n\n{' '.join(parts)}\n"


def self_critical_flickr8k(record: dict[str, Any]) -> str:
    """The same on real photos."""
    from self_critical import table

    return f"{table(record)}\n"


def self_critical_step(record: dict[str, Any]) -> str:
    """Cost of a step and of its stages."""
    titles = {
        "cross_entropy": "cross-entropy",
        "leave_one_out": "self-critical, leave-one-out baseline",
        "greedy": "self-critical, greedy baseline",
    }
    lines = ["| step of 10 pictures x 5 captions | ms | times cross-entropy |", "|---|---:|---:|"]
    for name, title in titles.items():
        row = record[name]
        lines.append(f"| {title} | {row['median_ms']:.0f} | {row['times_cross_entropy']:.2f} |")
    stages = record["stages_of_leave_one_out"]
    total = sum(stages.values())
    told = ", ".join(f"{name[3:]} {100 * ms / total:.1f} %" for name, ms in stages.items())
    return "\n".join(lines) + f"\n\nWhere the time of the second row goes: {told}.\n"


def cider_reward(record: dict[str, Any]) -> str:
    """The reward beside coco-caption's, and what its table costs once."""
    one, tables = record["scoring"], record["tables"]
    built, read = tables["frequencies_from_ids"], tables["frequencies_from_text"]
    parts = [
        f"The reward of {one['captions']} captions with {one['references_each']} references each",
        f"takes {one['reward_ms']['median']:.1f} ms, {one['times_as_fast']:.0f} times as fast as",
        "`pycocoevalcap` in the same process; they differ by at most",
        f"{one['largest_difference']:.0e}. The table of document frequencies of",
        f"{built['num_captions']:,} captions takes {built['seconds']['median']:.0f} s from ids",
        f"(peak {built['peak_mb'] / 1000:.1f} GB) and {read['seconds']['median']:.0f} s from",
        "sentences, nearly all of it tokenising.",
    ]
    return " ".join(parts) + "\n"


def beam_updown(record: dict[str, Any]) -> str:
    """Beam search beside the usual one that sorts everything and never stops."""
    cases = {"captions_end": "captions of about 11 words", "no_caption_ends": "no caption ends"}
    lines = ["| beam 5 of Up-Down, 10 pictures | times as fast as sorting | pictures/s |"]
    lines.append("|---|---:|---:|")
    for name, title in cases.items():
        row = record[name]
        faster, low, high = row["times_faster"]["median"], *row["times_faster"]["range"]
        speed = row["pictures_per_second"]["ours"]
        lines.append(f"| {title} | {faster:.1f} ({low:.1f} to {high:.1f}) | {speed:.1f} |")
    return "\n".join(lines) + (
        "\n\nThe other search is the usual one: `torch.sort` over beams x vocabulary at every "
        "step, never stopping early (`benchmarks/beam_updown.py`: 512 units, 9,488 words, 36 "
        "regions).\n"
    )


def decoders(record: dict[str, Any]) -> str:
    """The decoders side by side on the picture book."""
    from decoders import table

    number = len(record["seeds"])
    note = "one seed: differences of 0.03 may be chance" if number == 1 else f"{number} seeds"
    return f"{table(record)}\n\n({note[0].upper()}{note[1:]}.)\n"


def augmentation(record: dict[str, Any]) -> str:
    """One view, three, or ever new ones."""
    from augmentation import table

    return f"{table(record)}\n"


def coco_size(record: dict[str, Any]) -> str:
    """Memory of a corpus as large as COCO."""
    corpus = record["corpus"]
    return (
        f"A corpus of COCO's size ({corpus['pictures']:,} pictures, {corpus['captions']:,} "
        f"different captions, {corpus['word_types']:,} word types) goes through vocabulary, loader "
        f"and one epoch of batches with {record['workers']} workers in "
        f"{record['seconds']:.0f} s and "
        f"{record['peak_resident_gb']:.1f} GB of memory summed over the three processes "
        f"({record['peak_proportional_gb']:.1f} GB when shared pages count once).\n"
    )


def feature_store(record: dict[str, Any]) -> str:
    """Random reads beside a folder of compressed files."""
    shapes = {"grid_14x14": "grid of 14 x 14", "regions_36": "36 regions"}
    lines = [
        "| a picture read at random, times as fast as a folder of `.npz` | float16 | float32 |",
        "|---|---:|---:|",
    ]
    for shape, title in shapes.items():
        for state in ("warm", "cold"):
            row = record[shape][state]
            half, single = (
                row[f"store_{kind}"]["times_as_fast"] for kind in ("float16", "float32")
            )
            lines.append(f"| {title} of 2,048, {state} cache | {half:.1f} | {single:.1f} |")
    size = record["grid_14x14"]["megabytes"]
    return "\n".join(lines) + (
        f"\n\n{record['pictures']} grids take {size['npz']:.0f} MB as `.npz`, "
        f"{size['store_float16']:.0f} MB in a float16 store (`benchmarks/feature_store.py`).\n"
    )


def report_page(record: dict[str, Any]) -> str:
    """How fast the page of 5,000 pictures opens."""
    naive = record["naive page"]["median_s"]
    return (
        f"The page of `report` with {record['pictures']:,} pictures, two runs and "
        f"{record['references_per_picture']} references each is drawn and ready "
        f"{record['report']['median_s']:.1f} s after it is opened; a page that builds all cards at "
        f"once takes {naive:.0f} s (`benchmarks/report_page.py`).\n"
    )


def coco_time(record: dict[str, Any]) -> str:
    """Seconds and hours of the recipes for COCO."""
    from coco_time import table

    return f"{table(record)}\n"


def space(record: dict[str, Any]) -> str:
    """The matrix of lesson 5."""
    from captioning.bench.summary import format_tables

    return f"{format_tables(record)}\n"


def groups(record: dict[str, Any]) -> str:
    """The matrix of lesson 6: K words at once, each training, mean and deviation over seeds."""
    trainings = {
        "people": "people's captions",
        "taught": "the teacher's",
        "rewarded": "then rewarded",
    }
    scores = {"CIDEr": "CIDEr", "repetition": "say something twice", "facts": "facts"}
    searches = list(record["searches"])
    titles = [f"{title}, {search}" for title in scores.values() for search in searches]
    lines = [f"| K | trained on | {' | '.join(titles)} |", "|---:|---|" + "---:|" * len(titles)]
    for name, cell in record["cells"].items():
        size, _, training = name.partition(" ")
        if training in trainings:
            told = [cell["tests"][search][score] for score in scores for search in searches]
            values = " | ".join(f"{one['mean']:.3f} ± {one['std']:.3f}" for one in told)
            lines.append(f"| {size[1:]} | {trainings[training]} | {values} |")
    return "\n".join(lines) + "\n"


def transformer(record: dict[str, Any]) -> str:
    """What the cache saves, and what a self-critical step costs."""
    cache, step, memory = record["cache"], record["step"], record["step_memory"]
    lines = ["| greedy search, 16 words | ms with cache | prefix anew | as published |"]
    lines.append("|---|---:|---:|---:|")
    for batch, row in cache.items():
        others = (row[name] for name in ("prefix_anew", "as_published"))
        told = [f"{o['times']:.1f} ({o['lower']:.1f} to {o['upper']:.1f})" for o in others]
        lines.append(f"| {batch} | {row['cached']['median_ms']:.0f} | " + " | ".join(told) + " |")
    own = step["self_critical"]
    return "\n".join(lines) + (
        "\n\n(Times the cached search, median and quartiles.) A self-critical step of 10 pictures "
        f"x 5 captions of 16 words takes {own['times']:.2f} times as long as cross-entropy "
        f"({own['lower']:.2f} to {own['upper']:.2f}) and {memory['times_cross_entropy']:.2f} times "
        "the memory it adds.\n"
    )


def x_linear(record: dict[str, Any]) -> str:
    """X-linear attention in chunks beside the plain form."""
    memory, seconds = record["peak_mb"], record["processor_seconds"]
    return (
        f"X-linear attention over {record['captions']} captions x {record['words']} words x "
        f"{record['regions']} regions x {record['model_dim']}, forward and backward: "
        f"{memory['ours']['median']:.0f} MB against {memory['plain']['median']:.0f} MB of the "
        f"plain form ({memory['ours_to_plain']:.2f} times), {seconds['ours_to_plain']:.2f} times "
        "its processor time (`benchmarks/x_linear.py`).\n"
    )


def latency(record: dict[str, Any]) -> str:
    """Words one by one and in groups, with and without a cache."""
    from captioning.bench.latency_table import format_spread

    base = record["baseline"]
    names = [model["name"] for model in record["models"]]
    heads = ["batch", "search", f"{base}, ms a picture", f"{base} without cache"]
    heads += [name for name in names if name != base]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for case in record["cases"]:
        arms = {(arm["model"], arm["cache"]): arm["spans"]["search"] for arm in case["arms"]}
        beam = case["beam_size"]
        cells = [str(case["batch_size"]), "greedy" if beam == 1 else f"beam {beam}"]
        cells.append(f"{arms[base, True]['picture_ms']['median']:.0f}")
        others = [(base, False), *((name, True) for name in names if name != base)]
        cells += [format_spread(arms[one]["faster_than_cached"]) for one in others]
        lines.append("| " + " | ".join(cells) + " |")
    first = [arm for arm in record["cases"][0]["arms"] if arm["cache"] and arm["model"] != base]

    def told(span: str, other: str) -> str:
        ratios = [arm["spans"][span][f"faster_than_{other}"]["median"] for arm in first]
        both = zip(ratios, first, strict=True)
        return ", ".join(f"{ratio:.2f} times ({arm['model']})" for ratio, arm in both)

    return "\n".join(lines) + (
        f"\n\n(Times as fast as {base} with cache, region encoder included: median and quartiles; "
        f"{record['machine']['threads']} threads.) In the first line of the table, with CNN and "
        f"text: {told('end_to_end', 'cached')}; against {base} without cache "
        f"{told('search', 'uncached')}, with CNN and text {told('end_to_end', 'uncached')}.\n"
    )


TABLES = {
    "augmentation": augmentation,
    "beam_updown": beam_updown,
    "coco_size": coco_size,
    "coco_time": coco_time,
    "decoders": decoders,
    "feature_store": feature_store,
    "latency": latency,
    "report_page": report_page,
    "cider_reward": cider_reward,
    "picturebook": picturebook,
    "flickr8k": flickr8k,
    "groups": groups,
    "metric_agreement": metric_agreement,
    "self_critical_picturebook": self_critical_picturebook,
    "self_critical_flickr8k": self_critical_flickr8k,
    "self_critical_step": self_critical_step,
    "space": space,
    "clip": clip_tables.clip,
    "clip_recall": clip_tables.clip_recall,
    "retrieval": clip_tables.retrieval,
    "transformer": transformer,
    "x_linear": x_linear,
}


def fill(text: str) -> str:
    """A page with all its tables made anew."""

    def table(match: re.Match) -> str:
        name = match.group(2)
        record = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        return match.group(1) + TABLES[name](record) + match.group(4)

    return MARKED.sub(table, text)


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    page = ROOT / "README.md"
    before = page.read_text("utf-8")
    after = fill(before)
    if parser.parse_args().check:
        return int(before != after)
    page.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
