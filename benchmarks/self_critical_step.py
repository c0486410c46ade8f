"""What a self-critical step costs beside a cross-entropy step of the same pictures and captions.

Attention LSTM (embed_dim 512, hidden_dim 512, attention_dim 512), vocabulary 9,488, 36 regions of
2,048 numbers, 10 pictures x 5 captions of exactly 16 words, single precision, one process. Both
steps are the ones training takes (`take_step`: optimizer and clipping included); they alternate.
Prints where the time goes, stage by stage, the ratio to cross-entropy for every baseline, and
writes `results/self_critical_step.json`.

Usage: python benchmarks/self_critical_step.py [--rounds 15] [--pictures 10] [--device auto]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from captioning.bundle import Captioner, pick_device
from captioning.config import DecoderConfig, Experiment
from captioning.decoders.build import build_decoder
from captioning.training.memory import keep_freed_memory
from captioning.training.run import Run, make_objective
from captioning.training.update import take_step
from data_loader import Batch
from vocabulary import END_IDX, SPECIAL_WORDS, START_IDX, Vocabulary

RESULTS = Path(__file__).parent / "results" / "self_critical_step.json"
NUM_WORDS, REGIONS, FEATURE_DIM, WORDS, CAPTIONS = 9_488, 36, 2_048, 16, 5
CORPUS = 5_000  # pictures behind the document frequencies


def zipf_captions(pictures: int, vocabulary: Vocabulary, seed: int) -> list[list[str]]:
    """Five captions of each picture, their words distributed as in language."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, NUM_WORDS - len(SPECIAL_WORDS) + 1)
    size = (pictures, CAPTIONS, WORDS - 4)
    ids = rng.choice(len(chance), size, p=chance / chance.sum()) + len(SPECIAL_WORDS)
    return [[" ".join(vocabulary.words[i] for i in one) for one in some] for some in ids]


def make_run(
    objective: str, baseline: str, device: torch.device, decoder: DecoderConfig | None = None
) -> Run:
    """A run on features that are made up, with everything else as in training."""
    experiment = Experiment(init_from="none", device=str(device))
    sizes = DecoderConfig(embed_dim=512, hidden_dim=512, attention_dim=512)
    experiment.decoder = sizes = decoder or sizes
    experiment.training.objective, experiment.training.schedule = objective, "constant"
    experiment.training.learning_rate = 1e-5
    experiment.self_critical.baseline = baseline
    experiment.generation.max_length = WORDS
    vocabulary = Vocabulary([f"w{i}" for i in range(NUM_WORDS - len(SPECIAL_WORDS))])
    torch.manual_seed(0)
    decoder = build_decoder(sizes, len(vocabulary), FEATURE_DIM)
    with torch.no_grad():
        decoder.output.bias[END_IDX] = -1e4  # no caption ends early: exactly 16 words
    captioner = Captioner(nn.Identity(), decoder, vocabulary, experiment).to(device).train()
    texts = zipf_captions(CORPUS, vocabulary, 0)
    dataset = SimpleNamespace(
        image_ids=[*range(CORPUS)],
        texts=texts,
        captions=[[vocabulary.encode(t) for t in some] for some in texts],
        vocabulary=vocabulary,
    )
    loader = SimpleNamespace(dataset=dataset, epoch=0, batches=lambda: [])
    optimizer = torch.optim.Adam([{"params": list(decoder.parameters()), "base_lr": 1e-5}])
    scaler = torch.amp.GradScaler(device.type, enabled=False)
    run = SteadyRun(experiment, captioner, optimizer, scaler, loader, dataset)
    run.objective = make_objective(run)
    return run


class SteadyRun(Run):
    """A run of any number of steps."""

    total_steps, steps_per_epoch = 10**6, 10**6


def make_batch(run: Run, pictures: int, device: torch.device, regions: int = REGIONS) -> Batch:
    """The same batch for all arms."""
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(4, NUM_WORDS, (pictures * CAPTIONS, WORDS), generator=generator)
    captions = torch.cat([torch.full_like(words[:, :1], START_IDX), words], 1)
    return Batch(
        images=None,
        features=torch.randn(pictures, regions, FEATURE_DIM, generator=generator),
        captions=captions,
        token_mask=torch.ones_like(captions, dtype=torch.bool),
        image_ids=[*range(pictures)],
        references=run.loader.dataset.captions[:pictures],
        skipped=[],
    ).to(device)


def wait_for(device: torch.device) -> None:
    """Let the device finish what is queued."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and quartiles in milliseconds."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {
        name: round(1000 * value, 1)
        for name, value in (("median_ms", middle), ("lower_ms", low), ("upper_ms", high))
    }


def measure(rounds: int, pictures: int, device: torch.device) -> dict[str, Any]:
    """Alternate the arms; medians, ratios to cross-entropy, stages of the leave-one-out step."""
    arms = {"cross_entropy": make_run("cross_entropy", "none", device)}
    for baseline in ("leave_one_out", "greedy", "none"):
        arms[baseline] = make_run("reinforce", baseline, device)
    batch = make_batch(arms["leave_one_out"], pictures, device)
    times: dict[str, list[float]] = {name: [] for name in arms}
    stages: list[dict[str, float]] = []
    for number in range(rounds + 2):
        for name, run in arms.items():
            wait_for(device)
            began = time.perf_counter()
            row = take_step(run, [batch])
            wait_for(device)
            if number < 2:  # warm-up
                continue
            times[name].append(time.perf_counter() - began)
            if name == "leave_one_out":
                assert row["num_words"] == pictures * CAPTIONS * WORDS and row["words"] == WORDS
                stages.append({k: v for k, v in row.items() if k.startswith("ms_")})
    record: dict[str, Any] = {name: summary(values) for name, values in times.items()}
    base = statistics.median(times["cross_entropy"])
    for name in times:
        record[name]["times_cross_entropy"] = round(statistics.median(times[name]) / base, 3)
    middle = {k: round(statistics.median(s[k] for s in stages), 2) for k in stages[0]}
    record["stages_of_leave_one_out"] = middle
    record["reward_share"] = round(middle["ms_reward"] / sum(middle.values()), 4)
    return record


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=int, default=10)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    keep_freed_memory()
    device = pick_device(arguments.device)
    record = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "pictures": arguments.pictures,
        **measure(arguments.rounds, arguments.pictures, device),
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
