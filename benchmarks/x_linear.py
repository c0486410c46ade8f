"""X-linear attention beside its plain form: peak memory and time of one layer's forward + backward.

75 captions (5 of each of 15 pictures) x 17 words x 100 regions x 512 numbers, dropout 0.1, single
precision, on the CPU. The plain form is the published one: it builds every (B, Q, P, D) tensor;
neither form repeats the regions of a picture for its captions.

Memory: each run is a process of its own, with the allocator's setting that training uses. It first
does the same at a small size, so that libraries are loaded, and then once in full size; counted is
the peak of resident memory (VmHWM) minus what was resident in between: tensors, scratch space of
the libraries, and holes that the allocator leaves. Time: both forms take turns in this process;
seconds on the clock, and of the processor, which tell less of what else the machine is doing.
Results and gradients are compared as well, without dropout: the largest difference of any number,
in parts of the largest number of its tensor.

Prints and writes `results/x_linear.json`.

Usage: python benchmarks/x_linear.py [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captioning.decoders.x_linear import CHUNK_BYTES, XLinearAttention
from captioning.training.memory import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "x_linear.json"
PICTURES, CAPTIONS, WORDS, REGIONS, DIM, DROPOUT = 15, 5, 17, 100, 512, 0.1


def plain(attention: XLinearAttention, words: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
    """The published form with the weights of ours."""
    mixed = torch.einsum("bqd,bpd->bqpd", attention.query(words), attention.key(memory))
    mixed = attention.dropout(attention.mix(mixed).relu())
    scores = attention.score(mixed).squeeze(-1).masked_fill(~mask.unsqueeze(1), -1e9)
    counts = mask[:, None, :, None].float()
    gate = attention.gate((mixed * counts).sum(2) / counts.sum(2)).sigmoid()
    seen = torch.einsum("bqd,bpd->bqpd", attention.value_query(words), attention.value(memory))
    return gate * torch.einsum("bqp,bqpd->bqd", scores.softmax(-1), seen)


def ours(attention: XLinearAttention, words: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
    """The form of the package."""
    return attention(words, *attention.project(memory), mask)[0]


FORMS = {"plain": plain, "ours": ours}


def take_step(form: str, pictures: int, words: int, dropout: float = DROPOUT) -> list[Tensor]:
    """Forward and backward; the result and all gradients."""
    torch.manual_seed(0)
    attention = XLinearAttention(DIM, dropout)
    given = torch.randn(pictures, words, DIM, requires_grad=True)
    memory = torch.randn(pictures, REGIONS, DIM, requires_grad=True)
    mask = torch.arange(REGIONS) < torch.randint(10, REGIONS + 1, (pictures, 1))
    result = FORMS[form](attention, given, memory, mask)
    (result * torch.randn_like(result)).sum().backward()
    return [result.detach(), *(x.grad for x in (given, memory, *attention.parameters()))]


def resident_mb(line: str) -> float:
    """VmRSS: memory of this process now; VmHWM: its largest so far."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(one.split()[1]) / 1024 for one in status.splitlines() if line in one)


def peak_mb(form: str) -> float:
    """Largest memory of a step in this process above what it holds before."""
    keep_freed_memory()
    take_step(form, 1, 1)
    before = resident_mb("VmRSS")
    take_step(form, PICTURES, CAPTIONS * WORDS)
    return resident_mb("VmHWM") - before


def measure_memory(rounds: int) -> dict[str, list[float]]:
    """Each form some times, in turn, in processes of their own."""
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form, values in found.items():
            command = [sys.executable, __file__, "--form", form]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            values.append(float(done.stdout))
    return found


def measure_time(rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds on the clock and of the processor; the first round warms up."""
    clock: dict[str, list[float]] = {form: [] for form in FORMS}
    processor: dict[str, list[float]] = {form: [] for form in FORMS}
    for turn in range(rounds + 1):
        for form in FORMS:
            began = time.perf_counter(), time.process_time()
            take_step(form, PICTURES, CAPTIONS * WORDS)
            if turn:
                clock[form].append(time.perf_counter() - began[0])
                processor[form].append(time.process_time() - began[1])
    return clock, processor


def largest_differences() -> dict[str, float]:
    """Of results and of gradients, in parts of the largest number of a tensor."""
    found, expected = (
        take_step(form, PICTURES, CAPTIONS * WORDS, 0.0) for form in ("ours", "plain")
    )
    apart = [
        float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)
    ]
    return {"result": apart[0], "gradients": max(apart[1:])}


def beside_each_other(found: dict[str, list[float]], digits: int) -> dict[str, Any]:
    """Median and range of each form, and how many times as much the plain one takes."""
    record: dict[str, Any] = {
        form: {
            name: round(choose(values), digits)
            for name, choose in (("median", statistics.median), ("min", min), ("max", max))
        }
        for form, values in found.items()
    }
    middle = {form: statistics.median(values) for form, values in found.items()}
    record["ours_to_plain"] = round(middle["ours"] / middle["plain"], 3)
    return record


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="of the timing; 1 is what a busy machine disturbs least",
    )
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.form:
        print(peak_mb(arguments.form))
        return
    keep_freed_memory()
    memory = measure_memory(arguments.rounds)
    torch.set_num_threads(arguments.threads)
    clock, processor = measure_time(arguments.rounds)
    record = {
        "captions": PICTURES * CAPTIONS,
        "pictures": PICTURES,
        "words": WORDS,
        "regions": REGIONS,
        "model_dim": DIM,
        "chunk_mb": CHUNK_BYTES / 2**20,
        "rounds": arguments.rounds,
        "peak_mb": beside_each_other(memory, 0),
        "seconds": beside_each_other(clock, 2),
        "processor_seconds": beside_each_other(processor, 2),
        "largest_difference": largest_differences(),
        "machine": {
            "threads": torch.get_num_threads(),
            "load_average": round(os.getloadavg()[1], 1),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
