"""Do captions read like whole sentences? Two checks that need no language model and no reference.

A caption *ends badly* when its last word wants another one ("a dog on a"), and *repeats itself*
when one, two or three words are followed at once by the same words ("flying flying", "the sky the
sky"). Both are what a captioner learns when the reward pays for n-grams but not for sentences.
Compare with people's captions of the same data rather than with zero: 0.4 % of the picture book's
and 1 % of Flickr8k's end with such a word ("a car behind her"), and none repeats itself.

Captions are checked as text (`fluency`, for results) or as word ids (`bad_endings`, `repetitions`,
for training); the two agree.

Source: the two lists of words of R. Luo's ImageCaptioning.pytorch, one of which keeps `<end>` from
following them (`remove_bad_endings`) while the other trims finished captions.
Departures: the lists are united, and captions are judged, not changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captioning.decoding.constraints import BAD_ENDINGS
from captioning.evaluation.caption_files import ImageId
from vocabulary import END_IDX, PAD_IDX, Vocabulary, tokenize

LONGEST_REPEAT = 3  # words


def ends_badly(words: Sequence[str]) -> bool:
    """Whether the last of these words wants another one; not so for no words at all."""
    return bool(words) and words[-1] in BAD_ENDINGS


def repeats_itself(words: Sequence[str]) -> bool:
    """Whether a run of 1 to 3 words is followed at once by the same run."""
    return any(
        words[start : start + length] == words[start + length : start + 2 * length]
        for length in range(1, LONGEST_REPEAT + 1)
        for start in range(len(words) - 2 * length + 1)
    )


def fluency(captions: Mapping[ImageId, str]) -> dict[str, Any]:
    """Check one caption per image.

    Args:
        captions (Mapping): image id to its caption, as written.

    Returns:
        dict: `overall`: `bad_endings` and `repetition` (shares of the captions, 0..1), `words`
        (mean length), `distinct_captions` (different ones / all, 0..1); `per_image`: a list of
        `image_id`, `bad_endings` and `repetition` (0 or 1), `words`.

    Raises:
        ValueError: there are no captions.
    """
    if not captions:
        raise ValueError("captions: none received, at least one expected")
    per_image, different = [], set()
    for image_id, caption in captions.items():
        words = tokenize(caption)
        different.add(tuple(words))
        entry = {"image_id": image_id, "bad_endings": int(ends_badly(words))}
        per_image.append(entry | {"repetition": int(repeats_itself(words)), "words": len(words)})
    overall = {
        key: sum(entry[key] for entry in per_image) / len(per_image)
        for key in ("bad_endings", "repetition", "words")
    }
    overall["distinct_captions"] = len(different) / len(per_image)
    return {"overall": overall, "per_image": per_image}


def bad_endings(tokens: Tensor, vocabulary: Vocabulary) -> Tensor:
    """`ends_badly` for word ids.

    Args:
        tokens (Tensor): (N, T) ids without `<start>`: words, `<end>`, `<pad>`.
        vocabulary (Vocabulary): what the ids mean.

    Returns:
        Tensor: (N,) bool, on the device of `tokens`.
    """
    length = _is_word(tokens).sum(1, keepdim=True)  # (N, 1)
    last = tokens.gather(1, (length - 1).clamp(min=0))
    bad = [vocabulary.index(word) for word in sorted(BAD_ENDINGS) if word in vocabulary]
    is_bad = torch.isin(last, torch.tensor(bad, dtype=tokens.dtype, device=tokens.device))
    return (is_bad & (length > 0)).squeeze(1)


def repetitions(tokens: Tensor) -> Tensor:
    """`repeats_itself` for word ids.

    Args:
        tokens (Tensor): (N, T) ids without `<start>`: words, `<end>`, `<pad>`.

    Returns:
        Tensor: (N,) bool, on the device of `tokens`.
    """
    is_word = _is_word(tokens)
    found = torch.zeros_like(is_word[:, 0])
    for length in range(1, min(LONGEST_REPEAT, tokens.shape[1] // 2) + 1):
        same = (tokens[:, length:] == tokens[:, :-length]) & is_word[:, length:]
        found |= same.unfold(1, length, 1).all(-1).any(1)  # `length` times in a row
    return found


def _is_word(tokens: Tensor) -> Tensor:
    """(N, T) True for the words before the first `<end>`."""
    return ((tokens == END_IDX).cumsum(1) == 0) & (tokens != PAD_IDX)
