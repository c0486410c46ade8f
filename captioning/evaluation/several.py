"""Several captions of each picture: how good the best of them is, and how good they all are.

The oracle picks the best of n captions by the score itself, so it is an upper limit for any way to
choose; the average is what one caption drawn from the n would get. Both are means over pictures of
scores of single captions, also for BLEU, whose usual overall value is computed from summed counts.

Source: A. K. Vijayakumar et al., "Diverse Beam Search", AAAI 2018 (oracle accuracy); the same
numbers are `oracle_*` and `avg_*` in R. Luo's ImageCaptioning.pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.diversity import diversity
from captioning.evaluation.metrics import score_tokens
from vocabulary import tokenize

Samples = Mapping[ImageId, Sequence[dict[str, Any]]]
Round = dict[ImageId, dict[str, float]]  # image id to the scores of its k-th caption


def add_samples(
    result: dict[str, Any], references: Mapping[ImageId, Sequence[str]], samples: Samples
) -> None:
    """Add all captions of each picture to a result that has the scores of the best ones.

    `overall` and each picture get what `diversity` and (where there are metrics)
    `oracle_and_average` give; each picture gets `samples`, its captions with their scores.

    Args:
        result (dict): `overall`, `per_image`, `settings`.
        references (Mapping): image id to its human captions; empty lists where there are none.
        samples (Mapping): image id to its n captions, best first, as many for each: dicts with
            `caption` and whatever else is known of it.
    """
    rows = {entry["image_id"]: entry for entry in result["per_image"]}
    metrics = result["settings"]["metrics"]
    texts = {i: [one["caption"] for one in some] for i, some in samples.items()}
    found = [diversity(texts, references if metrics else None)]
    rounds: list[Round] = []
    if metrics:
        best = {image_id: {key: entry[key] for key in metrics} for image_id, entry in rows.items()}
        rounds = [best, *score_rounds(references, texts, metrics, first=1)]
        found.append(oracle_and_average(rounds))
    for part in found:
        result["overall"] |= part["overall"]
        for entry in part["per_image"]:
            rows[entry["image_id"]] |= entry
    for image_id, entry in rows.items():
        scores = [scored[image_id] for scored in rounds] or [{} for _ in samples[image_id]]
        entry["samples"] = [a | b for a, b in zip(samples[image_id], scores, strict=True)]


def score_rounds(
    references: Mapping[ImageId, Sequence[str]],
    samples: Mapping[ImageId, Sequence[str]],
    metrics: Sequence[str],
    first: int = 0,
) -> list[Round]:
    """Score the captions of each picture, the k-th of all pictures together in round k.

    Args:
        references (Mapping): image id to its human captions.
        samples (Mapping): image id to its n captions, as many for each.
        metrics (Sequence[str]): keys of `METRICS`, as `choose_metrics` returns them.
        first (int): the first round; earlier ones are known already.

    Returns:
        list[Round]: rounds `first` to n - 1.
    """
    tokens = {i: [tokenize(text) for text in references[i]] for i in samples}
    num_samples = len(next(iter(samples.values())))
    rounds = []
    for k in range(first, num_samples):
        said = {i: tokenize(texts[k]) for i, texts in samples.items()}
        scores = score_tokens(tokens, said, metrics)
        rounds.append({i: {key: scores[key][1][i] for key in metrics} for i in samples})
    return rounds


def oracle_and_average(rounds: Sequence[Round]) -> dict[str, Any]:
    """The best and the mean score of each picture's captions, and the means of both.

    Args:
        rounds (Sequence[Round]): see `score_rounds`, one or more.

    Returns:
        dict: `overall`: `oracle_KEY` and `average_KEY` for every metric; `per_image`: a list of
        `image_id` and the same.
    """
    metrics = list(next(iter(rounds[0].values())))
    per_image = []
    for image_id in rounds[0]:
        values = {key: [scores[image_id][key] for scores in rounds] for key in metrics}
        entry: dict[str, Any] = {"image_id": image_id}
        entry |= {f"oracle_{key}": max(some) for key, some in values.items()}
        entry |= {f"average_{key}": sum(some) / len(some) for key, some in values.items()}
        per_image.append(entry)
    keys = [key for key in per_image[0] if key != "image_id"]
    overall = {key: sum(entry[key] for entry in per_image) / len(per_image) for key in keys}
    return {"overall": overall, "per_image": per_image}
