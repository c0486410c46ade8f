"""CIDEr-D as a reward: what a step's captions cost, and what the tables behind it cost once.

Scoring: 600 captions (6 of each of 100 pictures) against 5 references each, with the references and
document frequencies of a corpus as large as COCO's (566,000 captions of 113,200 pictures), beside
`pycocoevalcap`'s Cider on the same captions; both take turns in this process and have to agree.
Tables: seconds and peak memory, in processes of their own, of the document frequencies from word
ids, from sentences (tokenised by the vocabulary), and of everything a `CiderReward` holds.

The captions are made up: 25,000 word types, Zipf-distributed, drawn independently, 6 to 25 words;
independent words make more different n-grams than people do. Prints and writes
`results/cider_reward.json`.

Usage: python benchmarks/cider_reward.py [--rounds 15]
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
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.cider.cider_scorer import CiderScorer

from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.references import PackedReferences
from vocabulary import END_IDX, PAD_IDX, SPECIAL_WORDS, START_IDX, Vocabulary

RESULTS = Path(__file__).parent / "results" / "cider_reward.json"
NUM_PICTURES, CAPTIONS, NUM_WORDS = 113_200, 5, 25_000
PICTURES, SAMPLES = 100, 6  # of a step
OWN_WORDS = 0.3  # share of a candidate's words that are not its reference's
ARMS = {
    "frequencies_from_ids": "document frequencies from word ids",
    "frequencies_from_text": "document frequencies from sentences",
    "whole_reward_from_ids": "references, document frequencies and norms from word ids",
}


def peak_mb() -> float:
    """Largest memory of this process so far (ru_maxrss would count its parent's as well)."""
    status = Path("/proc/self/status").read_text("utf-8")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if "VmHWM" in line)


def word(rank: int) -> str:
    """A made-up word for a rank: letters only."""
    letters = ""
    while rank >= 0:
        letters, rank = chr(ord("a") + rank % 26) + letters, rank // 26 - 1
    return "x" + letters


def make_vocabulary() -> Vocabulary:
    """All word types, the most frequent first."""
    return Vocabulary([word(rank) for rank in range(NUM_WORDS)])


def draw_words(number: int, generator: torch.Generator) -> torch.Tensor:
    """Ids of Zipf-distributed words."""
    chance = (1 / torch.arange(1, NUM_WORDS + 1, dtype=torch.float64)).cumsum(0)
    drawn = torch.rand(number, generator=generator, dtype=torch.float64) * chance[-1]
    return torch.searchsorted(chance, drawn).clamp(max=NUM_WORDS - 1) + len(SPECIAL_WORDS)


def make_pictures(number: int, seed: int = 0) -> Iterator[list[list[int]]]:
    """For each picture its captions as word ids."""
    generator = torch.Generator().manual_seed(seed)
    shared = list(range(NUM_WORDS + len(SPECIAL_WORDS)))  # one object a word, as in a vocabulary
    for first in range(0, number, 1000):
        size = (min(1000, number - first), CAPTIONS)
        lengths = torch.randn(size, generator=generator).mul(2).add(10.5).round().clamp(6, 25)
        words = iter(draw_words(int(lengths.sum()), generator).tolist())
        for some in lengths.int().tolist():
            yield [[shared[next(words)] for _ in range(length)] for length in some]


def framed(caption: list[int]) -> list[int]:
    """`<start> .. <end>`."""
    return [START_IDX, *caption, END_IDX]


# ------------------------------------------------------------------------------- the tables


def resident_mb() -> float:
    """Memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def build(arm: str) -> dict[str, float]:
    """One arm, in this process."""
    at_start, vocabulary = resident_mb(), make_vocabulary()
    encode = vocabulary.encode
    if arm == "frequencies_from_text":
        words = vocabulary.words
        data = [
            [" ".join(words[i] for i in caption).capitalize() + "." for caption in some]
            for some in make_pictures(NUM_PICTURES)
        ]
    else:
        data = [[framed(caption) for caption in some] for some in make_pictures(NUM_PICTURES)]
    distinct = len({hash(str(caption)) for some in data for caption in some})
    before = resident_mb()
    began = time.perf_counter()
    if arm == "frequencies_from_text":
        data = [[encode(text) for text in some] for some in data]
    if arm == "whole_reward_from_ids":
        references = PackedReferences(range(len(data)), data, vocabulary)
        frequency = NgramFrequency.of_references(references, "zipf")
        CiderReward(references, frequency)
    else:
        frequency = NgramFrequency.build(data, vocabulary, "zipf")
    return {
        "seconds": time.perf_counter() - began,
        "imports_mb": at_start,
        "before_mb": before,
        "peak_mb": peak_mb(),
        "num_captions": sum(map(len, data)),
        "distinct_captions": distinct,
        "num_ngrams": len(frequency),
    }


def measure_tables(rounds: int) -> dict[str, Any]:
    """Each arm some times, in turn, in processes of their own."""
    runs: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    for _ in range(rounds):
        for arm, found in runs.items():
            command = [sys.executable, __file__, "--arm", arm]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout))
    record = {}
    for arm, found in runs.items():
        seconds = [run.pop("seconds") for run in found]
        record[arm] = {"what": ARMS[arm], "seconds": spread(seconds, 1)}
        record[arm] |= {key: round(max(run[key] for run in found)) for key in found[0]}
    return record


# ---------------------------------------------------------------------------------- scoring


def make_candidates(pictures: list[list[list[int]]]) -> list[list[int]]:
    """Six captions of each picture: its references with some words exchanged."""
    generator = torch.Generator().manual_seed(1)
    captions = []
    for some in pictures:
        for sample in range(SAMPLES):
            caption = torch.tensor(some[sample % CAPTIONS])
            other = torch.rand(len(caption), generator=generator) < OWN_WORDS
            captions.append(torch.where(other, draw_words(len(caption), generator), caption))
    return [caption.tolist() for caption in captions]


def to_tokens(captions: list[list[int]], end: list[int]) -> torch.Tensor:
    """(N,T) ids as a decoder gives them."""
    rows = [[*caption, *end] for caption in captions]
    width = max(map(len, rows))
    return torch.tensor([row + [PAD_IDX] * (width - len(row)) for row in rows])


def as_text(caption: list[int]) -> str:
    """What the reference implementation reads: ids as words."""
    return " ".join(map(str, caption))


def largest_difference(pictures: list, candidates: list, gts: dict, res: dict) -> float:
    """Between both implementations, with the reference's frequencies: these captions' own."""
    vocabulary = make_vocabulary()
    documents = [[framed(c) for c in pictures[row // SAMPLES]] for row in range(len(candidates))]
    frequency = NgramFrequency.build(documents, vocabulary, "candidates' references", False)
    references = PackedReferences(range(len(documents)), documents, vocabulary, False)
    batch = SimpleNamespace(image_ids=list(range(len(documents))))
    ours = CiderReward(references, frequency)(to_tokens(candidates, []), batch)
    theirs = torch.from_numpy(Cider().compute_score(gts, res)[1])
    return (ours - theirs).abs().max().item()


def measure_scoring(rounds: int) -> dict[str, Any]:
    """The reward and the reference implementation, in turn."""
    vocabulary = make_vocabulary()
    words = list(make_pictures(NUM_PICTURES))
    data = [[framed(caption) for caption in some] for some in words]
    references = PackedReferences(range(NUM_PICTURES), data, vocabulary)
    reward = CiderReward(references, NgramFrequency.of_references(references, "zipf"))
    chosen = torch.randperm(NUM_PICTURES, generator=torch.Generator().manual_seed(2))[:PICTURES]
    pictures = [words[i] for i in chosen.tolist()]
    del words, data
    candidates = make_candidates(pictures)
    tokens = to_tokens(candidates, [END_IDX])
    batch = SimpleNamespace(image_ids=chosen.tolist())
    res = {row: [as_text(caption)] for row, caption in enumerate(candidates)}
    gts = {row: [as_text(c) for c in pictures[row // SAMPLES]] for row in res}
    counted = CiderScorer()
    for row in res:
        counted += (res[row][0], gts[row])
    counted.compute_doc_freq()

    def with_frequencies() -> None:
        """Without the time to count frequencies, which a reward reads from a table."""
        scorer = CiderScorer()
        scorer.document_frequency = counted.document_frequency
        for row in res:
            scorer += (res[row][0], gts[row])
        scorer.compute_cider()

    threads = torch.get_num_threads()
    arms: dict[str, tuple[int, Callable[[], Any]]] = {
        "reward_ms": (20, lambda: reward(tokens, batch)),
        "reward_one_thread_ms": (10, lambda: reward(tokens, batch)),
        "pycocoevalcap_ms": (1, lambda: Cider().compute_score(gts, res)),
        "pycocoevalcap_frequencies_given_ms": (1, with_frequencies),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(rounds + 1):
        for name, (repeats, score) in arms.items():
            torch.set_num_threads(1 if name == "reward_one_thread_ms" else threads)
            for _ in range(repeats):
                began = time.perf_counter()
                score()
                if turn:  # the first round warms up
                    times[name].append(1000 * (time.perf_counter() - began))
    torch.set_num_threads(threads)
    median = {name: statistics.median(values) for name, values in times.items()}
    held = [references.keys, references.counts, reward.documents, reward.inverse_norms]
    return {
        "captions": len(candidates),
        "references_each": CAPTIONS,
        "mean_reward": round(reward(tokens, batch).mean().item(), 3),
        "threads": threads,
        **{name: spread(values, 2) for name, values in times.items()},
        "times_as_fast": round(median["pycocoevalcap_ms"] / median["reward_ms"], 1),
        "times_as_fast_frequencies_given": round(
            median["pycocoevalcap_frequencies_given_ms"] / median["reward_ms"], 1
        ),
        "largest_difference": largest_difference(pictures, candidates, gts, res),
        "reward_tensors_mb": round(sum(one.nbytes for one in held) / 2**20),
        "table_mb": round((reward.frequency.keys.nbytes + reward.frequency.counts.nbytes) / 2**20),
    }


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Median, and the values a tenth from either end."""
    ordered = sorted(values)
    tenth = len(ordered) // 10
    chosen = {
        "median": statistics.median(ordered),
        "p10": ordered[tenth],
        "p90": ordered[-1 - tenth],
    }
    return {name: round(value, digits) for name, value in chosen.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of scoring; a third of tables")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        print(json.dumps(build(arguments.arm)))
        return
    scoring = measure_scoring(arguments.rounds)
    print(json.dumps(scoring, indent=1))
    record = {
        "scoring": scoring,
        "tables": measure_tables(max(1, arguments.rounds // 5)),
        "machine": {
            "processor_threads": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pycocoevalcap": version("pycocoevalcap"),
        },
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record["tables"], indent=1))


if __name__ == "__main__":
    main()
