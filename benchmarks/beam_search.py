"""Batched beam search against one image at a time and against a beam kept in Python lists.

Run: python benchmarks/beam_search.py

All three run in this process, in turn, on the same random attention decoder and the same images;
they must find the same captions. Writes benchmarks/results/beam_search.json.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from captioning.config import GenerationConfig  # noqa: E402
from captioning.decoding.generation import generate  # noqa: E402
from captioning.decoding.scoring import forbidden_words, length_factor, word_logprobs  # noqa: E402
from model import DecoderWithAttention, VisualFeatures  # noqa: E402
from vocabulary import END_IDX, START_IDX  # noqa: E402

RESULT = Path(__file__).parent / "results" / "beam_search.json"
NUM_IMAGES, NUM_REGIONS, FEATURE_DIM, VOCAB_SIZE = 16, 49, 512, 5000
REPEATS, SEED = 7, 0

Captions = list[tuple[list[int], float]]


def make_decoder() -> DecoderWithAttention:
    """Random weights, scaled until captions differ in words and end at various lengths."""
    torch.manual_seed(SEED)
    decoder = DecoderWithAttention(VOCAB_SIZE, FEATURE_DIM).eval()
    with torch.no_grad():
        decoder.output.weight.mul_(8)
        decoder.embedding.weight.mul_(2)
        decoder.output.bias[END_IDX] += 5
    return decoder


def batched(decoder, features: VisualFeatures, config: GenerationConfig) -> Captions:
    """All images in one search."""
    generation = generate(decoder, features, config)
    words = [[word for word in row if word] for row in generation.tokens.tolist()]
    return list(zip(words, generation.scores.tolist(), strict=True))


def one_by_one(decoder, features: VisualFeatures, config: GenerationConfig) -> Captions:
    """The same search, called once per image."""
    captions = []
    for regions in features.regions.split(1):
        captions += batched(decoder, VisualFeatures(regions), config)
    return captions


@torch.no_grad()
def python_lists(decoder, features: VisualFeatures, config: GenerationConfig) -> Captions:
    """A beam as it is often written: lists of words, one decoder call per open caption."""
    captions = []
    for regions in features.regions.split(1):
        state = decoder.init_state(VisualFeatures(regions))
        finished = [extend_greedily(decoder, state, config)]
        beams = [([], 0.0, state)]
        for step in range(config.max_length):
            candidates = []
            for words, total, state in beams:
                logprobs, after = read_word(decoder, words, state, config)
                best = logprobs.topk(config.beam_size)
                for value, word in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                    candidates.append(([*words, word], total + value, after))
            candidates = sorted(candidates, key=lambda one: -one[1])[: config.beam_size]
            is_full = step + 1 == config.max_length
            ended = [one for one in candidates if is_full or one[0][-1] == END_IDX]
            finished += [score(words, total, config) for words, total, _ in ended]
            beams = [one for one in candidates if not (is_full or one[0][-1] == END_IDX)]
            if not beams:
                break
        captions.append(max(finished, key=lambda one: one[1]))
    return captions


def extend_greedily(decoder, state: dict, config: GenerationConfig) -> tuple[list[int], float]:
    words, total = [], 0.0
    while len(words) < config.max_length and END_IDX not in words:
        logprobs, state = read_word(decoder, words, state, config)
        words, total = [*words, logprobs.argmax().item()], total + logprobs.max().item()
    return score(words, total, config)


def read_word(decoder, words: list[int], state: dict, config: GenerationConfig):
    last = torch.tensor([[words[-1] if words else START_IDX]])
    logits, state = decoder.step(last, state)
    return word_logprobs(logits[0, 0], forbidden_words(config.suppress_unk)), state


def score(words: list[int], total: float, config: GenerationConfig) -> tuple[list[int], float]:
    return words, total / length_factor(len(words), config.length_penalty)


def same(first: Captions, second: Captions) -> bool:
    """Equal words, and scores equal up to float32 rounding."""
    pairs = zip(first, second, strict=True)
    return all(a[0] == b[0] and abs(a[1] - b[1]) < 1e-3 for a, b in pairs)


def measure(
    searches: dict[str, Callable], *arguments, repeats: int = REPEATS
) -> dict[str, list[float]]:
    """Seconds of every run; the searches take turns, so that drifts hit all alike."""
    seconds = {name: [] for name in searches}
    for _ in range(repeats):
        for name, search in searches.items():
            start = time.perf_counter()
            search(*arguments)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    decoder = make_decoder()
    features = VisualFeatures(torch.randn(NUM_IMAGES, NUM_REGIONS, FEATURE_DIM))
    config = GenerationConfig(method="beam", beam_size=5, max_length=20)
    searches = {"batched": batched, "one_by_one": one_by_one, "python_lists": python_lists}
    captions = {name: search(decoder, features, config) for name, search in searches.items()}
    for name in searches:
        assert same(captions["batched"], captions[name]), f"{name} found other captions"

    seconds = measure(searches, decoder, features, config)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    lengths = [len(words) for words, _ in captions["batched"]]
    result = {
        "seconds_median": medians,
        "seconds_range": {name: [min(runs), max(runs)] for name, runs in seconds.items()},
        "times_slower_than_batched": {n: s / medians["batched"] for n, s in medians.items()},
        "batched_ms_per_image": 1000 * medians["batched"] / NUM_IMAGES,
        "equal_captions": True,
        "caption_lengths": [min(lengths), statistics.median(lengths), max(lengths)],
        "settings": {
            "decoder": "DecoderWithAttention, random weights, default sizes",
            "num_images": NUM_IMAGES,
            "num_regions": NUM_REGIONS,
            "feature_dim": FEATURE_DIM,
            "vocab_size": VOCAB_SIZE,
            "beam_size": config.beam_size,
            "max_length": config.max_length,
            "repeats": REPEATS,
            "seed": SEED,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
