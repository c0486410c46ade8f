"""How much a captioner varies: between the captions of one picture, and from what it was taught.

Of the n captions of each picture: Div-1 and Div-2 (different words, and pairs of words, by the
number of words), mBLEU-4 (BLEU-4 of each caption with the others of its picture as references: the
higher, the more alike) and self-CIDEr (see `captioning/rewards/diversity.py`). Of all captions
together: the number of different words, and the share that is no training caption.

Source: R. Shetty, M. Rohrbach, L. A. Hendricks, M. Fritz, B. Schiele, "Speaking the Same Language:
Matching Machine to Human Captions by Adversarial Training", ICCV 2017 (Div-n, mBLEU, vocabulary and
novel captions, as its authors' code counts them); Q. Wang and A. B. Chan, "Describing like Humans:
On Diversity in Image Captioning", CVPR 2019 (self-CIDEr).
Departures: a caption that is generated twice and novel counts twice, in the share as in the number
it is a share of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from captioning.evaluation.bleu import bleu
from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.ngrams import count_ngrams
from captioning.rewards.diversity import self_cider
from captioning.rewards.frequency import NgramFrequency
from data_loader import read_annotations
from vocabulary import PAD_IDX, SPECIAL_WORDS, Vocabulary, tokenize

CHUNK = 1 << 23  # numbers of one kernel computation held in memory at once

Tokens = dict[ImageId, list[list[str]]]


def diversity(
    samples: Mapping[ImageId, Sequence[str]],
    references: Mapping[ImageId, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """How different the captions of each picture are from each other.

    Args:
        samples (Mapping): image id to its n captions, as written; n is 2 or more and the same for
            all.
        references (Mapping | None): human captions, whose document frequencies weigh the words in
            self-CIDEr; None leaves it out.

    Returns:
        dict: `overall`: `Div_1`, `Div_2`, `mBLEU_4`, `self_CIDEr` (0..1; mBLEU-4 is the mean over
        the n rounds of a corpus BLEU, the others are means over the pictures); `per_image`: a list
        of `image_id` and the same (mBLEU-4: the mean over the picture's captions).

    Raises:
        ValueError: no pictures, or not the same number of captions, two or more, for each.
    """
    sizes = sorted({len(texts) for texts in samples.values()})
    if len(sizes) != 1 or sizes[0] < 2:
        raise ValueError(
            f"samples: {sizes or 'no'} captions a picture received, the same number, 2 or more, "
            "for each expected"
        )
    tokens = {image_id: [tokenize(text) for text in texts] for image_id, texts in samples.items()}
    per_image = {
        image_id: {f"Div_{order}": distinct_ngrams(some, order) for order in (1, 2)}
        for image_id, some in tokens.items()
    }
    mutual_overall, mutual = mutual_bleu(tokens)
    for image_id, entry in per_image.items():
        entry["mBLEU_4"] = mutual[image_id]
    if references is not None:
        for image_id, value in self_ciders(tokens, references).items():
            per_image[image_id]["self_CIDEr"] = value
    keys = next(iter(per_image.values()))
    overall = {k: sum(entry[k] for entry in per_image.values()) / len(per_image) for k in keys}
    overall["mBLEU_4"] = mutual_overall
    entries = [{"image_id": image_id} | entry for image_id, entry in per_image.items()]
    return {"overall": overall, "per_image": entries}


def distinct_ngrams(captions: Sequence[Sequence[str]], order: int) -> float:
    """Different n-grams of some captions, by the number of their words; 0 without words.

    Args:
        captions (Sequence): tokenised captions of one picture.
        order (int): n, >= 1.
    """
    different = {g for caption in captions for g in count_ngrams(caption, order)[order - 1]}
    num_words = sum(map(len, captions))
    return len(different) / num_words if num_words else 0.0


def mutual_bleu(tokens: Tokens) -> tuple[float, dict[ImageId, float]]:
    """BLEU-4 of each caption against the other captions of its picture.

    Args:
        tokens (dict): image id to its n tokenised captions, n >= 2.

    Returns:
        tuple: corpus BLEU of the k-th captions of all pictures, mean over k; and for each picture
            the mean over its captions.
    """
    num_samples = len(next(iter(tokens.values())))
    total, per_image = 0.0, dict.fromkeys(tokens, 0.0)
    for k in range(num_samples):
        others = {i: captions[:k] + captions[k + 1 :] for i, captions in tokens.items()}
        overall, scores = bleu(others, {i: captions[k] for i, captions in tokens.items()})
        total += overall[3] / num_samples
        for image_id, values in scores.items():
            per_image[image_id] += values[3] / num_samples
    return total, per_image


def self_ciders(
    tokens: Tokens, references: Mapping[ImageId, Sequence[str]]
) -> dict[ImageId, float]:
    """Self-CIDEr of the captions of each picture, words weighed by how rare people use them.

    Args:
        tokens (dict): image id to its n tokenised captions.
        references (Mapping): image id to its human captions, as written.
    """
    known = {word for some in tokens.values() for caption in some for word in caption}
    vocabulary = Vocabulary(sorted(known - set(SPECIAL_WORDS)))  # no other word is in any kernel
    people = [[vocabulary.encode(text) for text in texts] for texts in references.values()]
    frequency = NgramFrequency.build(people, vocabulary, "references", count_end=False)
    num_samples = len(next(iter(tokens.values())))
    longest = max(1, max(len(caption) for some in tokens.values() for caption in some))
    rows = torch.full((len(tokens) * num_samples, longest), PAD_IDX)  # (N,T)
    for row, caption in zip(rows, (c for some in tokens.values() for c in some), strict=True):
        row[: len(caption)] = torch.tensor([vocabulary.index(word) for word in caption])
    pictures = max(1, CHUNK // (4 * num_samples * num_samples * longest))
    parts = rows.split(pictures * num_samples)
    values = torch.cat([self_cider(part, num_samples, frequency) for part in parts])
    return dict(zip(tokens, values.tolist(), strict=True))


def vocabulary_size(captions: Iterable[str]) -> int:
    """Number of different words in some captions."""
    return len({word for caption in captions for word in tokenize(caption)})


def novel_share(captions: Sequence[str], training: Iterable[str]) -> float:
    """Share of captions whose words, in order, are those of no training caption, 0..1.

    Args:
        captions (Sequence[str]): generated captions, one or more.
        training (Iterable[str]): training captions; half a million take seconds, since only those
            with the same letters are compared word by word.
    """
    letters = {_letters(caption) for caption in captions}
    alike = {caption for caption in training if _letters(caption) in letters}
    known = {tuple(tokenize(caption)) for caption in alike}
    return sum(tuple(tokenize(caption)) not in known for caption in captions) / len(captions)


def training_captions(data: str | Path) -> list[str] | None:
    """The captions of a data set's split `train`, as written; None where there is none."""
    if not (Path(data) / "annotations" / "captions_train.json").is_file():
        return None
    return [one["caption"] for one in read_annotations(data, "train").dataset["annotations"]]


def _letters(caption: str) -> str:
    return re.sub(r"\W+", "", caption.lower())
