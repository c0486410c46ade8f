"""Do captions read as people's do? Stutters, broken endings and length, side by side.

A reward that knows pictures but no grammar is paid for keywords: captions grow, repeat themselves
and stop in mid-sentence while the reward rises. Three numbers of `captioning.evaluation.fluency`
show it without a language model; people's captions of the same data are the measure, not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captioning.evaluation.caption_files import ImageId
from captioning.evaluation.fluency import fluency

KEYS = ("repetition", "bad_endings", "words")


def sanity(
    captions: Mapping[ImageId, str], people: Mapping[ImageId, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Stutters, endings and length of captions, and of people's.

    Args:
        captions (Mapping): image id to its caption, as written.
        people (Mapping | None): image id to people's captions of it, as written; every caption
            counts once. None: no comparison.

    Returns:
        dict: `captions` and `people` (None without any), each of `repetition` and `bad_endings`
        (shares of the captions, 0..1) and `words` (mean length).

    Raises:
        ValueError: there are no captions, or `people` has none.
    """
    report: dict[str, Any] = {"captions": _checks(captions), "people": None}
    if people is not None:
        texts = [text for some in people.values() for text in some]
        if not texts:
            raise ValueError("people: no captions received, at least one, or None, expected")
        report["people"] = _checks(dict(enumerate(texts)))
    return report


def _checks(captions: Mapping[ImageId, str]) -> dict[str, float]:
    overall = fluency(captions)["overall"]
    return {key: overall[key] for key in KEYS}
