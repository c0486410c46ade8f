"""ROUGE-L: the longest common subsequence of a caption and its references.

Source: C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, section 3.1
(equations 2 to 4).
Departures: as in coco-caption, beta is 1.2, and the best precision and the best recall may come
from different references. A caption without words scores 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from captioning.evaluation.ngrams import Token

BETA = 1.2  # recall weighs BETA squared times as much as precision


def longest_common_subsequence(first: Sequence[Token], second: Sequence[Token]) -> int:
    """Number of tokens in the longest sequence that both contain in this order, gaps allowed."""
    lengths = [0] * (len(second) + 1)  # best length within first[:i] and second[:j], for each j
    for token in first:
        diagonal = 0  # lengths[j - 1] before this row changed it
        for j, other in enumerate(second, 1):
            above = lengths[j]
            if token == other:
                lengths[j] = diagonal + 1
            elif lengths[j - 1] > above:
                lengths[j] = lengths[j - 1]
            diagonal = above
    return lengths[-1]


def rouge_l_of_caption(candidate: Sequence[Token], references: Sequence[Sequence[Token]]) -> float:
    """ROUGE-L of one caption, 0..1.

    Args:
        candidate (Sequence[Token]): tokens of the caption.
        references (Sequence[Sequence[Token]]): tokens of its references, one or more.
    """
    common = [longest_common_subsequence(candidate, reference) for reference in references]
    if max(common) == 0:
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(
        length / len(reference)
        for length, reference in zip(common, references, strict=True)
        if reference
    )
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def rouge_l(
    references: Mapping[Hashable, Sequence[Sequence[Token]]],
    candidates: Mapping[Hashable, Sequence[Token]],
) -> tuple[float, dict[Hashable, float]]:
    """ROUGE-L of one candidate per image.

    Args:
        references (Mapping): image id to its tokenised reference captions, one or more.
        candidates (Mapping): image id to the tokenised caption to be scored; the same ids.

    Returns:
        tuple: the mean over images, and the score of each image; 0..1.
    """
    per_image = {
        image_id: rouge_l_of_caption(candidate, references[image_id])
        for image_id, candidate in candidates.items()
    }
    return sum(per_image.values()) / len(per_image), per_image
