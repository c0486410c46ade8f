"""Beam 5 of Up-Down at COCO's size, against the usual batched search with a full sort.

Run: python benchmarks/beam_updown.py [--repeats 15] [--threads 1]

Both searches use the same decoder (random weights; 512 units, 9,488 words, 36 regions), the same 10
pictures and this process, in turn. `sort_never_stopping` is how captioning code usually does it:
`torch.sort` over beams x vocabulary at every step, always up to the greatest length, an ended beam
put last by taking 1000 off its sum. It is written without the loops over pictures and beams, and
without the table of all words' log-probabilities, that usually come with it.

Two cases: captions end after about 11 words, as trained decoders end them, and no caption ends, so
that nothing is gained by stopping early. Beside the time on the clock stands the processor's, which
other programs on the machine disturb less. Writes benchmarks/results/beam_updown.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from beam_search import Captions, batched, measure  # beside this file
from torch import Tensor

from captioning.config import DecoderConfig, GenerationConfig
from captioning.decoders.recurrent import DecoderUpDown
from captioning.decoding.scoring import forbidden_words, length_factor, word_logprobs
from captioning.files import write_atomically
from model import VisualFeatures
from vocabulary import END_IDX, START_IDX

RESULT = Path(__file__).parent / "results" / "beam_updown.json"
NUM_IMAGES, NUM_REGIONS, FEATURE_DIM, VOCAB_SIZE, HIDDEN_DIM = 10, 36, 2048, 9488, 512
# So loud that a word has about the log-probability that models/picturebook_xe gives its own (-0.8),
# and with an <end> after which a picture is done as soon as there (10 to 12 steps in the mean).
LOUDNESS, END_WEIGHT, END_AT_TEN = 165.0, 60.0, 16.0
SEED = 0


def make_decoder(ends: bool) -> DecoderUpDown:
    """Random weights, but one unit of the second LSTM counts words, and `<end>` listens to it.

    Args:
        ends (bool): False makes `<end>` impossible.
    """
    torch.manual_seed(SEED)
    sizes = {"embed_dim": HIDDEN_DIM, "hidden_dim": HIDDEN_DIM, "attention_dim": HIDDEN_DIM}
    decoder = DecoderUpDown(VOCAB_SIZE, FEATURE_DIM, DecoderConfig("updown", **sizes)).eval()
    with torch.no_grad():
        decoder.output.weight.mul_(LOUDNESS)
        counter = slice(0, None, HIDDEN_DIM)  # unit 0 in each of the four gates
        decoder.language_gates.weight[counter] = 0
        decoder.language_gates.bias[counter] = torch.tensor([-2.2, 20.0, 20.0, 20.0])  # 0.1 a word
        decoder.output.weight[:, 0] = 0
        decoder.output.weight[END_IDX, 0] = END_WEIGHT
        decoder.output.bias[END_IDX] = END_AT_TEN - END_WEIGHT * math.tanh(1) if ends else -1e4
    return decoder


@torch.no_grad()
def sort_never_stopping(
    decoder: DecoderUpDown, features: VisualFeatures, config: GenerationConfig
) -> Captions:
    """The usual batched beam search."""
    num_images, size, forbidden = len(features), config.beam_size, forbidden_words(True)
    state = decoder.init_state(features)
    logits, state = decoder.step(torch.full((num_images, 1), START_IDX), state)  # one row a picture
    state = choose_rows(state, torch.arange(num_images).repeat_interleave(size))
    logprobs = word_logprobs(logits[:, 0], forbidden).unsqueeze(1)  # (B,1,V)
    sums = torch.zeros(num_images, 1)
    said = torch.zeros(num_images, 1, 0, dtype=torch.long)  # (B,K,t)
    best, captions = torch.full((num_images,), float("-inf")), [[]] * num_images
    for step in range(config.max_length):
        candidates = (sums.unsqueeze(-1) + logprobs).flatten(1)  # (B,K*V)
        sums, order = torch.sort(candidates, dim=-1, descending=True)
        sums, order = sums[:, :size], order[:, :size]
        parents, words = order // logprobs.shape[-1], order % logprobs.shape[-1]  # (B,K)
        said = torch.cat([said.take_along_dim(parents[..., None], 1), words[..., None]], -1)
        is_end = (words == END_IDX) | (step + 1 == config.max_length)
        scores = sums / length_factor(step + 1, config.length_penalty)
        score, place = scores.masked_fill(~is_end, float("-inf")).max(1)  # (B,)
        for image in (score > best).nonzero().flatten().tolist():
            captions[image] = said[image, place[image]].tolist()
        best = torch.maximum(best, score)
        sums = sums - 1000.0 * is_end
        if step + 1 < config.max_length:
            rows = torch.arange(num_images)[:, None] * size + (parents if step else 0)
            state = choose_rows(state, (rows + torch.zeros_like(parents)).flatten())
            logits, state = decoder.step(words.reshape(-1, 1), state)
            logprobs = word_logprobs(logits[:, 0], forbidden).view(num_images, size, -1)
    return list(zip(captions, best.tolist(), strict=True))


def choose_rows(state: dict, rows: Tensor) -> dict:
    """The state with these rows of words."""
    words = {name: value.index_select(0, rows) for name, value in state["words"].items()}
    return {"image": state["image"], "words": words}


def count_rows(search: Callable, decoder: DecoderUpDown, *arguments) -> int:
    """Rows the decoder reads in all steps of a search."""
    with patch.object(decoder, "step", wraps=decoder.step) as step:
        search(decoder, *arguments)
    return sum(len(call.args[0]) for call in step.call_args_list)


def processor_seconds(search: Callable, spent: list[float]) -> Callable:
    """The search, adding to a list what each run of it took of the processor."""

    def run(*arguments) -> None:
        start = time.process_time()
        search(*arguments)
        spent.append(time.process_time() - start)

    return run


def paired(seconds: dict[str, list[float]]) -> dict[str, float | list[float]]:
    """How many times longer the usual search took than ours, run by run."""
    ratios = [usual / own for own, usual in zip(*seconds.values(), strict=True)]
    return {"median": statistics.median(ratios), "range": [min(ratios), max(ratios)]}


def run_case(ends: bool, config: GenerationConfig, repeats: int) -> dict:
    """Captions and times of both searches."""
    decoder = make_decoder(ends)
    features = VisualFeatures(torch.randn(NUM_IMAGES, NUM_REGIONS, FEATURE_DIM).relu())
    searches = {"ours": batched, "sort_never_stopping": sort_never_stopping}
    ours, usual = (search(decoder, features, config) for search in searches.values())
    gains = [a[1] - b[1] for a, b in zip(ours, usual, strict=True)]
    assert min(gains) > -1e-3, f"the usual search found a better caption: {gains}"
    rows = {name: count_rows(one, decoder, features, config) for name, one in searches.items()}
    spent = {name: [] for name in searches}
    timed = {name: processor_seconds(one, spent[name]) for name, one in searches.items()}
    seconds = measure(timed, decoder, features, config, repeats=repeats)
    lengths = [len(words) for words, _ in ours]
    return {
        "times_faster": paired(seconds),
        "times_less_processor_time": paired(spent),
        "pictures_per_second": {
            name: NUM_IMAGES / statistics.median(runs) for name, runs in seconds.items()
        },
        "seconds_range": {name: [min(runs), max(runs)] for name, runs in seconds.items()},
        "caption_lengths": [min(lengths), statistics.median(lengths), max(lengths)],
        "decoder_rows": rows,
        "mean_word_logprob": sum(score for _, score in ours) / sum(lengths),
        "equal_captions": sum(a[0] == b[0] for a, b in zip(ours, usual, strict=True)),
        "better_score_of_ours": max(gains),
    }


def main() -> None:
    """Both cases, printed and written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="runs of each search")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    arguments = parser.parse_args()
    repeats = arguments.repeats
    torch.set_num_threads(arguments.threads)
    config = GenerationConfig(method="beam", beam_size=5, max_length=20)
    load_before = os.getloadavg()[0]
    result = {
        "captions_end": run_case(True, config, repeats),
        "no_caption_ends": run_case(False, config, repeats),
        "settings": {
            "decoder": "DecoderUpDown, random weights",
            "hidden_dim": HIDDEN_DIM,
            "num_images": NUM_IMAGES,
            "num_regions": NUM_REGIONS,
            "feature_dim": FEATURE_DIM,
            "vocab_size": VOCAB_SIZE,
            "beam_size": config.beam_size,
            "max_length": config.max_length,
            "repeats": repeats,
            "seed": SEED,
            "threads": torch.get_num_threads(),
            "load_before_and_after": [load_before, os.getloadavg()[0]],
            "torch": torch.__version__,
            "machine": platform.machine(),
        },
    }
    text = json.dumps(result, indent=2) + "\n"
    write_atomically(RESULT, lambda path: path.write_text(text, "utf-8"))
    print(text)


if __name__ == "__main__":
    main()
