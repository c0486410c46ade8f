"""How long captions take: words one by one against words in groups, with and without a cache.

All models are measured in one process, in turn, round after round, and are compared round by round:
what slows the machine down for a while slows all of them. Before anything is timed, the captions
with and without the cache are compared word by word.

The time of a batch has four spans, each within the next:

    decoder      the search without the region encoder
    search       the search: regions look at regions, then all words
    captioning   search and writing the words down as text (what the paper on groups times)
    end_to_end   from the numbers of a picture: CNN, search, text (where there is a CNN)

Source: Y. Zhou et al., "Semi-Autoregressive Transformer for Image Captioning", ICCV Workshops 2021,
arXiv:2106.09436, section 4 (latency), whose word-by-word model has no cache.

Departures: that model is measured with a cache too, and speed is told against it first.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from captioning.bench.latency_models import Inputs, Uncached, check_sizes, synthetic_inputs
from captioning.bundle import Captioner, Images
from captioning.config import GenerationConfig
from captioning.decoders.transformer import DecoderTransformer
from captioning.decoding.beam import check_width
from captioning.decoding.generation import generate
from captioning.decoding.scoring import forbidden_words
from model import VisualFeatures
from vocabulary import PAD_IDX

LARGEST_BATCH, MOST_ROUNDS = 4096, 1000
FEWEST_ROUNDS = 3  # of a case, however long they take
NAMES = {True: "cached", False: "uncached"}

Result = TypeVar("Result")
Spent = tuple[float, float]  # seconds: of the whole, of the region encoder in it
Spans = dict[str, list[float]]  # seconds of every round


@dataclass(frozen=True)
class Plan:
    """What is measured, and how often.

    Args:
        batch_sizes (tuple[int, ...]): pictures at once.
        beam_sizes (tuple[int, ...]): 1 is greedy search.
        rounds (int): every arm is measured so often in each case (batch and beam).
        seconds (float): a case begins no further round after so many, once it has three.
    """

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    beam_sizes: tuple[int, ...] = (1, 3)
    rounds: int = 15
    seconds: float = 60.0


def measure_latency(
    captioners: Mapping[str, Captioner],
    plan: Plan | None = None,
    inputs: Inputs = synthetic_inputs,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time the captions of several models, for all batches and beams of a plan.

    Transformers are measured with and without their cache; other decoders carry a state and have no
    such choice.

    Args:
        captioners (Mapping[str, Captioner]): names to models, all on one device.
        plan (Plan | None): not given: all of COCO's.
        inputs (Inputs): what they look at; see `latency_models.py`.
        say (Callable | None): is given a line after every case.

    Returns:
        dict: `plan`; `machine`; `models`: `name`, `kind`, `group_size`, `parameters` of the
        decoder; `baseline`: the name of the first that says word by word (else of the first);
        `cases`, see `measure_case`.

    Raises:
        ValueError: a size does not fit; the words with and without the cache differ.
    """
    plan = plan or Plan()
    check_plan(captioners, plan)
    sizes = {name: one.decoder.group_size for name, one in captioners.items()}
    baseline = next((name for name, size in sizes.items() if size == 1), next(iter(sizes)))
    loads, cases = [load_average()], []
    for batch_size in plan.batch_sizes:
        seen = {name: inputs(captioner, batch_size) for name, captioner in captioners.items()}
        for beam_size in plan.beam_sizes:
            began = time.perf_counter()
            case = measure_case(captioners, seen, beam_size, plan, baseline)
            cases.append({"batch_size": batch_size, "beam_size": beam_size} | case)
            if say:
                spent = time.perf_counter() - began
                say(f"batch {batch_size}, beam {beam_size}: {case['rounds']} rounds, {spent:.0f} s")
    loads.append(load_average())
    return {
        "plan": asdict(plan),
        "machine": describe_machine(next(iter(captioners.values())).device) | {"load": loads},
        "models": [_describe(name, captioner) for name, captioner in captioners.items()],
        "baseline": baseline,
        "cases": cases,
    }


def check_plan(captioners: Mapping[str, Captioner], plan: Plan) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: no model; a size, the rounds or a limit out of range; a beam wider than a
            vocabulary.
    """
    if not captioners:
        raise ValueError("models: none received, at least one expected")
    check_sizes("batch_sizes", plan.batch_sizes, LARGEST_BATCH)
    check_sizes("beam_sizes", plan.beam_sizes, 10**9)  # the settings know their own limit
    if not 2 <= plan.rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds: {plan.rounds} received, 2 to {MOST_ROUNDS} expected")
    if not plan.seconds >= 0:
        raise ValueError(f"seconds: {plan.seconds} received, 0 or more expected")
    for captioner in captioners.values():
        for beam_size in plan.beam_sizes:
            config = search_config(captioner, beam_size)
            words = len(captioner.vocabulary) - len(forbidden_words(config.suppress_unk))
            check_width(config, words)


def search_config(captioner: Captioner, beam_size: int) -> GenerationConfig:
    """The captioner's own settings, but for the beam."""
    method = "beam" if beam_size > 1 else "greedy"
    return captioner.generation_config(method=method, beam_size=beam_size, num_samples=1)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Where was measured: threads, device and versions."""
    on_cuda = device.type == "cuda"
    return {
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if on_cuda else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def load_average() -> list[float] | None:
    """Processes that wanted to run in the last 1, 5 and 15 minutes, where that is known."""
    return [round(one, 2) for one in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _describe(name: str, captioner: Captioner) -> dict[str, Any]:
    parameters = sum(one.numel() for one in captioner.decoder.parameters())
    kind, group_size = captioner.experiment.decoder.kind, captioner.decoder.group_size
    return {"name": name, "kind": kind, "group_size": group_size, "parameters": parameters}


# ----------------------------------------------------------------------------------------- one case


@torch.inference_mode()
def measure_case(
    captioners: Mapping[str, Captioner],
    seen: Mapping[str, Images | VisualFeatures],
    beam_size: int,
    plan: Plan,
    baseline: str,
) -> dict[str, Any]:
    """All models with one batch and one beam.

    Args:
        captioners (Mapping[str, Captioner]): names to models.
        seen (Mapping): what each looks at.
        beam_size (int): 1 is greedy search.
        plan (Plan): its rounds and seconds count.
        baseline (str): the model that the others are compared with.

    Returns:
        dict: `rounds`; `arms`, a list: `model`, `cache`, `words` (mean of a caption, `<end>`
        included), `spans` (see the head of this file) with `batch_ms`, `picture_ms`, and
        `faster_than_cached` and `faster_than_uncached` (the baseline's time by the arm's, round by
        round); `parts`: by model the `cnn`, the `region_encoder` and `detokenising`, ms of a batch.
        All numbers but `words` are `median`, `lower` and `upper` (quartiles).

    Raises:
        ValueError: the words with and without the cache differ.
    """
    began = time.perf_counter()
    arms: dict[tuple[str, str], Callable[[], Spent]] = {}
    words, cnn_of, cnns = {}, {}, {}
    for name, captioner in captioners.items():
        captioner.train(False)
        features = captioner.look(seen[name])
        tokens = _add_searches(arms, name, captioner, features, beam_size)
        words[name] = float((tokens != PAD_IDX).sum(1).float().mean())
        write = partial(_write, captioner, tokens)
        write()
        arms[name, "detokenising"] = partial(timed, write, captioner.device)
        if not isinstance(seen[name], VisualFeatures):  # several may share a CNN: timed once
            cnn_of[name] = cnns.setdefault(id(captioner.encoder), name)
            if cnn_of[name] == name:
                look = partial(captioner.look, seen[name])
                arms[name, "cnn"] = partial(timed, look, captioner.device)
    left = plan.seconds - (time.perf_counter() - began)  # all has run once: that warms up
    spent = alternate(arms, plan.rounds, left)
    pictures = len(next(iter(seen.values())))
    spans = {
        (name, cache): _spans(spent, name, cache, cnn_of.get(name))
        for name in captioners
        for cache in (True, False)
        if (name, NAMES[cache]) in spent
    }
    return {
        "rounds": len(next(iter(spent.values()))),
        "arms": [
            {"model": name, "cache": cache, "words": words[name]}
            | {"spans": _compare(mine, spans, baseline, pictures)}
            for (name, cache), mine in spans.items()
        ],
        "parts": {name: _parts(spent, name, cnn_of.get(name)) for name in captioners},
    }


def _add_searches(
    arms: dict[tuple[str, str], Callable[[], Spent]],
    name: str,
    captioner: Captioner,
    features: VisualFeatures,
    beam_size: int,
) -> Tensor:
    """Add a model's searches; the words (B, T) that all of them find.

    Raises:
        ValueError: they do not find the same.
    """
    decoder, config = captioner.decoder, search_config(captioner, beam_size)
    has_cache = isinstance(decoder, DecoderTransformer)
    forms = {True: decoder} | ({False: Uncached(decoder)} if has_cache else {})
    found = {}
    for cache, form in forms.items():
        search = partial(generate, form, features, config, vocabulary=captioner.vocabulary)
        found[cache] = search().tokens
        encoder = decoder.encoder if has_cache else None
        arms[name, NAMES[cache]] = partial(timed, search, captioner.device, encoder)
    if has_cache and not torch.equal(found[True], found[False]):
        raise ValueError(
            f"{name}: batch {len(features)}, beam {beam_size}: other words found with the cache "
            "than without it, the same expected (two captions of almost equal probability?)"
        )
    return found[True]


def _write(captioner: Captioner, tokens: Tensor) -> list[str]:
    """Words as text."""
    return [captioner.vocabulary.decode(ids) for ids in tokens.tolist()]


def timed(run: Callable[[], Any], device: torch.device, part: nn.Module | None = None) -> Spent:
    """Seconds of a run, and those of them in calls of a network that it uses.

    Args:
        run (Callable): what is timed.
        device (torch.device): where it computes; its work is waited for.
        part (nn.Module | None): the network.

    Returns:
        tuple[float, float]: both.
    """
    marks: list[float] = []

    def mark(*_: Any) -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        marks.append(time.perf_counter())

    hooks = []
    if part is not None:
        hooks = [part.register_forward_pre_hook(mark), part.register_forward_hook(mark)]
    try:
        mark()
        run()
        mark()
    finally:
        for hook in hooks:
            hook.remove()
    first, *inner, last = marks
    return last - first, sum(inner[1::2]) - sum(inner[::2])


def alternate(
    arms: Mapping[Any, Callable[[], Result]], rounds: int, seconds: float
) -> dict[Any, list[Result]]:
    """Run all arms in turn, again and again.

    Args:
        arms (Mapping): names to functions that measure themselves.
        rounds (int): how often.
        seconds (float): no further round begins after so many, once there are `FEWEST_ROUNDS`.

    Returns:
        dict: for each arm what it gave in every round.
    """
    results: dict[Any, list[Result]] = {name: [] for name in arms}
    began = time.perf_counter()
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > seconds:
            break
        for name, run in arms.items():
            results[name].append(run())
    return results


# ----------------------------------------------------------------------------------------- numbers


def _spans(
    spent: Mapping[tuple[str, str], list[Spent]], name: str, cache: bool, cnn: str | None
) -> Spans:
    """The spans of an arm, see the head of this file."""
    rounds, text = spent[name, NAMES[cache]], spent[name, "detokenising"]
    spans = {"decoder": [whole - inner for whole, inner in rounds]} if rounds[0][1] else {}
    spans["search"] = [whole for whole, _ in rounds]
    spans["captioning"] = [a + b for a, (b, _) in zip(spans["search"], text, strict=True)]
    if cnn is not None:
        looks = zip(spans["captioning"], spent[cnn, "cnn"], strict=True)
        spans["end_to_end"] = [a + b for a, (b, _) in looks]
    return spans


def _parts(
    spent: Mapping[tuple[str, str], list[Spent]], name: str, cnn: str | None
) -> dict[str, dict[str, float]]:
    """What all searches of a model have in common, ms of a batch."""
    parts = {"detokenising": [whole for whole, _ in spent[name, "detokenising"]]}
    if any(inner := [inner for _, inner in spent[name, "cached"]]):
        parts["region_encoder"] = inner
    if cnn is not None:
        parts["cnn"] = [whole for whole, _ in spent[cnn, "cnn"]]
    return {part: spread(values, 1000) for part, values in parts.items()}


def _compare(
    mine: Spans, all_spans: Mapping[tuple[str, bool], Spans], baseline: str, pictures: int
) -> dict[str, Any]:
    """An arm's spans in milliseconds, and beside those of the baseline."""
    record: dict[str, Any] = {}
    for span, values in mine.items():
        record[span] = {"batch_ms": spread(values, 1000)}
        record[span]["picture_ms"] = spread(values, 1000 / pictures)
        for cache, name in NAMES.items():
            theirs = all_spans.get((baseline, cache), {}).get(span)
            if theirs:
                ratios = [other / own for own, other in zip(values, theirs, strict=True)]
                record[span][f"faster_than_{name}"] = spread(ratios)
    return record


def spread(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Median and quartiles of at least two values, times `scale`."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    numbers = {"median": median, "lower": lower, "upper": upper}
    return {name: round(scale * value, 4) for name, value in numbers.items()}
