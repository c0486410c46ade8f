"""The mirror test: do left and right change places in captions when picture and boxes do?

A caption that says "a dog left of a cat" should say of the mirror image that the dog is on the
right. Only pairs of captions are counted that both put the same two nouns side by side; what is
counted is whether the one that was on the left is now on the right. A captioner that does not know
where things are, says the same both times, or flips a coin.

Captioners that seldom name sides can be asked: which of two captions that differ in nothing but
left and right do they find likelier, of a picture and of its mirror image (`choice_test`)?

Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
Journal of the American Statistical Association 22, 1927 (the interval of a share).
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

from captioning.evaluation.facts import read_statements
from vocabulary import tokenize

Nouns = tuple[str, ...]  # categories that a noun can stand for


class Share(NamedTuple):
    """A share of `hits` in `total`, and the ends of its interval; an empty one tells nothing."""

    hits: int
    total: int
    share: float
    low: float
    high: float


class MirrorTest(NamedTuple):
    """Pictures by what became of left and right: exchanged, the same, or not to be compared."""

    flipped: list[Hashable]
    kept: list[Hashable]
    left_out: list[Hashable]

    def share(self, confidence: float = 0.95) -> Share:
        """Of the pictures that can be compared, those whose relation was exchanged."""
        return wilson_interval(len(self.flipped), len(self.flipped) + len(self.kept), confidence)


def wilson_interval(hits: int, total: int, confidence: float = 0.95) -> Share:
    """The share of hits with Wilson's score interval, which stays in 0..1 and works for few trials.

    Args:
        hits (int): 0 to `total`.
        total (int): trials; 0 gives the interval 0..1 around a share of 0.
        confidence (float): between 0 and 1.

    Raises:
        ValueError: a number is out of range.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"hits: {hits} of {total} received, 0 to {total} expected")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: {confidence} received, a number between 0 and 1 expected")
    if not total:
        return Share(0, 0, 0.0, 0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = hits / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    low, high = max(0.0, middle - reach), min(1.0, middle + reach)
    return Share(hits, total, share, min(low, share), max(high, share))  # rounding aside


def sides_said(caption: str) -> list[tuple[Nouns, Nouns]]:
    """The pairs that a caption puts side by side: who is on the left, who is on the right.

    Pairs of one noun ("a dog left of a dog") say nothing about who is where and are left out.
    """
    pairs = []
    for statement in read_statements(tokenize(caption)):
        pair = statement.subject.members, statement.object.members
        if pair[0] != pair[1] and statement.predicate in ("left of", "right of"):
            pairs.append(pair if statement.predicate == "left of" else pair[::-1])
    return pairs


def swap_sides(caption: str) -> str:
    """The caption with the words left and right exchanged, capitals kept."""
    return re.sub(r"\b(left|right)\b", _other_side, caption, flags=re.IGNORECASE)


def _other_side(match: re.Match) -> str:
    word = match.group()
    other = "right" if word.lower() == "left" else "left"
    return other.capitalize() if word[0].isupper() else other


def mirror_test(captions: Mapping[Hashable, str], mirrored: Mapping[Hashable, str]) -> MirrorTest:
    """Compare captions of pictures with those of their mirror images.

    Args:
        captions (Mapping): image id to caption.
        mirrored (Mapping): the same ids, captions of the mirror images.

    Returns:
        MirrorTest: every id in one of its lists, in the order given. Of several pairs that both
        captions name, the first one counts.

    Raises:
        ValueError: the ids differ.
    """
    _check_ids(captions, mirrored)
    result = MirrorTest([], [], [])
    for image_id, caption in captions.items():
        after = sides_said(mirrored[image_id])
        for left, right in sides_said(caption):
            if (right, left) in after:
                result.flipped.append(image_id)
                break
            if (left, right) in after:
                result.kept.append(image_id)
                break
        else:
            result.left_out.append(image_id)
    return result


def choice_test(
    likes: Mapping[Hashable, Sequence[float]], mirrored: Mapping[Hashable, Sequence[float]]
) -> MirrorTest:
    """Compare what is preferred of pictures and of their mirror images.

    Args:
        likes (Mapping): image id to the log-probabilities of a caption and of `swap_sides` of it.
        mirrored (Mapping): the same ids and captions, of the mirror images.

    Returns:
        MirrorTest: flipped where the other caption is preferred in the mirror; left out where two
        are equally likely.

    Raises:
        ValueError: the ids differ.
    """
    _check_ids(likes, mirrored)
    result = MirrorTest([], [], [])
    for image_id, (said, swapped) in likes.items():
        product = (said - swapped) * (mirrored[image_id][0] - mirrored[image_id][1])
        some = result.flipped if product < 0 else result.kept if product > 0 else result.left_out
        some.append(image_id)
    return result


def _check_ids(first: Mapping[Hashable, object], mirrored: Mapping[Hashable, object]) -> None:
    if set(first) != set(mirrored):
        odd = next(iter(set(first) ^ set(mirrored)))
        raise ValueError(f"mirrored: image {odd!r} is known only once, with its mirror expected")
