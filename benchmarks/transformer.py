"""The transformer at COCO's size: what the cache saves, and what a self-critical step costs.

6 + 6 layers, 512, 2,048, 8 heads, 9,488 words, 49 regions of 2,048 numbers, 16 words, random
weights, single precision, one process; arms alternate.

*Cache.* Greedy decoding with the cache, against decoding the whole prefix anew at each step in two
forms: `as_published` also computes the regions' keys and values anew for each word (as
ImageCaptioning.pytorch, whose search works so), `prefix_anew` keeps them. Both compute the logits
of the last word only; all three give the same words (asserted). Times are given with the region
encoder, which all three run once, and without it (its own time is taken off, round by round).

*Step.* 10 pictures x 5 captions of exactly 16 words, the steps training takes (`take_step`),
against cross-entropy of the same size. Memory is measured in processes of its own, on Linux: how
far a step raises the resident set above what stood there before it (weights, moments, program).

Usage: python benchmarks/transformer.py [--rounds 15] [--threads 2]
Prints the ratios; writes results/transformer.json.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from self_critical_step import FEATURE_DIM, NUM_WORDS, make_batch, make_run  # beside this file
from torch import Tensor

from captioning.bench.latency_models import Uncached
from captioning.config import DecoderConfig
from captioning.decoders.build import build_decoder
from captioning.decoders.transformer import DecoderTransformer
from captioning.files import write_atomically
from captioning.training.memory import keep_freed_memory
from captioning.training.update import take_step
from model import VisualFeatures
from vocabulary import END_IDX, START_IDX

RESULTS = Path(__file__).parent / "results" / "transformer.json"
REGIONS, WORDS, PICTURES = 49, 16, 10
OBJECTIVES = {"cross_entropy": "cross_entropy", "self_critical": "reinforce"}


def make_decoder() -> DecoderTransformer:
    """Random weights; no caption ends."""
    torch.manual_seed(0)
    decoder = build_decoder(DecoderConfig("transformer"), NUM_WORDS, FEATURE_DIM).eval()
    with torch.no_grad():
        decoder.output.bias[END_IDX] = -1e4
    return decoder


@torch.inference_mode()
def look(decoder: DecoderTransformer, features: VisualFeatures) -> None:
    """What all searches do once: regions look at regions."""
    decoder.encoder(features)


@torch.inference_mode()
def cached(decoder: DecoderTransformer | Uncached, features: VisualFeatures) -> Tensor:
    """One word after another: the past is kept."""
    state = decoder.init_state(features)
    words = [torch.full((len(features), 1), START_IDX)]
    for _ in range(WORDS):
        logits, state = decoder.step(words[-1], state)
        words.append(logits.argmax(-1))
    return torch.cat(words, 1)


@torch.inference_mode()
def prefix_anew(decoder: DecoderTransformer, features: VisualFeatures) -> Tensor:
    """All words again for each new one; the regions' keys and values are kept."""
    start = decoder.init_state(features)
    words = torch.full((len(features), 1), START_IDX)
    for _ in range(WORDS):
        last = decoder.read(words, start)[0][:, -1:]
        words = torch.cat([words, decoder.output(last).argmax(-1)], 1)
    return words


@torch.inference_mode()
def as_published(decoder: DecoderTransformer, features: VisualFeatures) -> Tensor:
    """The same, and the regions' keys and values again too."""
    return cached(Uncached(decoder), features)


def alternate(arms: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each arm in turn, after two rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 2):
        for name, run in arms.items():
            began = time.perf_counter()
            run()
            if number >= 2:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def compare(seconds: dict[str, list[float]], base: str) -> dict[str, Any]:
    """Median milliseconds of each arm, and how many times the base it takes, round by round."""
    record: dict[str, Any] = {}
    for name, values in seconds.items():
        record[name] = {"median_ms": round(1000 * statistics.median(values), 1)}
        if name != base:
            ratios = [value / other for value, other in zip(values, seconds[base], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            more = {"times": middle, "lower": low, "upper": high}
            record[name] |= {key: round(value, 2) for key, value in more.items()}
    return record


def measure_cache(rounds: int) -> dict[str, Any]:
    """The three decodings at batch 1 and 32."""
    decoder, record = make_decoder(), {}
    for size in (1, 32):
        torch.manual_seed(size)
        features = VisualFeatures(torch.randn(size, REGIONS, FEATURE_DIM))
        searches = (cached, prefix_anew, as_published)
        arms = {search.__name__: partial(search, decoder, features) for search in searches}
        words = [arm() for arm in arms.values()]
        assert torch.equal(words[0], words[1]) and torch.equal(words[0], words[2])
        seconds = alternate(arms | {"encoder": partial(look, decoder, features)}, rounds)
        encoder = seconds.pop("encoder")
        alone = {
            name: [value - own for value, own in zip(values, encoder, strict=True)]
            for name, values in seconds.items()
        }
        record[f"batch {size}"] = compare(seconds, "cached")
        record[f"batch {size}, without the encoder"] = compare(alone, "cached")
    return record


def measure_steps(rounds: int) -> dict[str, Any]:
    """Seconds of a self-critical step and of a cross-entropy step; where the time goes."""
    device, decoder = torch.device("cpu"), DecoderConfig("transformer")
    runs = {
        name: make_run(objective, "leave_one_out", device, decoder)
        for name, objective in OBJECTIVES.items()
    }
    batch = make_batch(runs["self_critical"], PICTURES, device, REGIONS)
    stages = []

    def step(name: str) -> None:
        row = take_step(runs[name], [batch])
        assert row["num_words"] == PICTURES * 5 * WORDS
        if name == "self_critical":
            stages.append({key: value for key, value in row.items() if key.startswith("ms_")})

    arms = {name: partial(step, name) for name in runs}
    record = compare(alternate(arms, rounds), "cross_entropy")
    record["stages"] = {key: round(statistics.median(s[key] for s in stages)) for key in stages[0]}
    return record


def resident(name: str) -> int:
    """Bytes: "VmRSS" now, or "VmHWM", the most since it was last reset."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def step_memory(name: str) -> int:
    """Bytes by which one step raises this process above what stood there before it."""
    device = torch.device("cpu")
    run = make_run(OBJECTIVES[name], "leave_one_out", device, DecoderConfig("transformer"))
    batch = make_batch(run, PICTURES, device, REGIONS)
    take_step(run, [batch])  # makes the optimizer's moments
    run.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets VmHWM
    before = resident("VmRSS")
    take_step(run, [batch])
    return resident("VmHWM") - before


def measure_memory(repeats: int) -> dict[str, Any]:
    """Megabytes of both steps, each in processes of its own."""
    record: dict[str, Any] = {}
    for name in OBJECTIVES:
        command = [sys.executable, __file__, "--memory_of", name]
        command += ["--threads", str(torch.get_num_threads())]
        runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(repeats)]
        found = [int(run.stdout) / 1e6 for run in runs]
        record[name] = {"median_mb": round(statistics.median(found), 1)}
        record[name]["range_mb"] = [round(min(found), 1), round(max(found), 1)]
    ratio = record["self_critical"]["median_mb"] / record["cross_entropy"]["median_mb"]
    return record | {"times_cross_entropy": round(ratio, 3)}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory_of", choices=[*OBJECTIVES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(step_memory(arguments.memory_of))
        return
    memory = measure_memory(3)
    keep_freed_memory()
    record = {
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "cache": measure_cache(arguments.rounds),
        "step": measure_steps(arguments.rounds),
        "step_memory": memory,
    }
    text = json.dumps(record, indent=1) + "\n"
    write_atomically(RESULTS, lambda file: file.write_text(text, "utf-8"))
    print(text)


if __name__ == "__main__":
    main()
