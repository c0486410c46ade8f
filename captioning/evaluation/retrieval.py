"""Can a picture be found by its caption, and a caption by its picture?

Every text is compared with all pictures, and every picture with all texts; the *rank* of a pair
is the place of its own picture (or text) in that list. A captioner that says what sets a picture
apart gets low ranks, one that writes the same sentence everywhere gets high ones. The vectors are
made elsewhere, e.g. by CLIP; here they are only compared.

Candidates as similar as the right one stand before it (ties are pessimistic), so that a sentence
written for 100 pictures does not find each of them first. Three pairs, the first two of which look
the same and are described by the same sentence:

    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rank_pairs(vectors, vectors).text_to_image  # tensor([2, 2, 1]), hence R1 = 1/3

Sorting leaves the order of equal similarities to chance and would find one of the two.

Source: J. Cho et al., "Fine-grained Image Captioning with CLIP Reward", Findings of NAACL 2022
(text-to-image retrieval), and `compute_retrieval` of their `tools/eval_clip_retrieval.py`, whose
median is also that of `evaluation.py` in fartashf/vsepp.
Departures: ranks are counted instead of sorted, a block of pictures at a time, and the N x N
similarities are never held at once; ties are pessimistic; shares are not multiplied by 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

TIE = 1e-6  # cosine: equal vectors differ by about 1e-7 after products of other blocks
TOLERANCE = 1e-3  # of the length of a vector
WAYS = ("text_to_image", "image_to_text")
CUTOFFS = (1, 5, 10, 50)
COLUMNS = {f"R{cutoff}": ".3f" for cutoff in CUTOFFS} | {
    "sum": ".3f",
    "median_rank": ".0f",
    "mean_rank": ".1f",
}


@dataclass(frozen=True)
class Ranks:
    """Where the right candidate of each pair stands, 1 being first.

    Args:
        text_to_image (Tensor): (N,) int64, place of a text's own picture among all pictures.
        image_to_text (Tensor): (N,) int64, place of a picture's own text among all texts.
    """

    text_to_image: Tensor
    image_to_text: Tensor


@torch.no_grad()
def rank_pairs(image_vectors: Tensor, text_vectors: Tensor, block_bytes: int = 64 * 2**20) -> Ranks:
    """Rank the right candidate of each pair, in both directions, in one pass over the pictures.

    A rank is 1 + the number of other candidates at least as similar, which means not more than
    `TIE` less similar. Cosines are computed in float32 whatever autocast says; on a GPU PyTorch's
    `float32_matmul_precision` has to be "highest", its default.

    Args:
        image_vectors (Tensor): (N,D) float32 or float64, each of length 1.
        text_vectors (Tensor): (N,D) the same; row n belongs to picture n.
        block_bytes (int): size of the similarities held at once, >= 1; working memory is twice
            that, and at least 8 N bytes (one picture).

    Returns:
        Ranks: two (N,) int64 tensors on the device of the vectors.

    Raises:
        ValueError: the shapes differ or are not (N,D), there are no pairs, the numbers are of
            another type, a vector is not of length 1 or not finite (the message names its row),
            or `block_bytes` is below 1.
    """
    _check(image_vectors, text_vectors)
    if block_bytes < 1:
        raise ValueError(f"block_bytes: {block_bytes} received, 1 or more expected")
    images, texts = image_vectors.float(), text_vectors.float()
    number = len(images)
    rows = min(number, max(1, block_bytes // (4 * number)))
    pieces = zip(images.split(rows), texts.split(rows), strict=True)
    least = torch.cat([(image * text).sum(1) for image, text in pieces]) - TIE  # (N,)
    text_to_image, image_to_text = least.new_ones(2, number, dtype=torch.int64)
    scratch = images.new_empty(2, rows, number)
    for start in range(0, number, rows):
        block = slice(start, start + rows)
        size = len(images[block])
        similarities, found = scratch[:, :size]  # (size,N) each
        torch.mm(images[block], texts.T, out=similarities)
        similarities.diagonal(start).fill_(-torch.inf)  # a pair does not compete with itself
        # 0 and 1 as float32 are added up far faster than as bool, and exactly below 2**24
        text_to_image += torch.ge(similarities, least, out=found).sum(0).long()
        torch.ge(similarities, least[block, None], out=found)
        image_to_text[block] += found.sum(1).long()
    return Ranks(text_to_image, image_to_text)


def recall_table(ranks: Tensor) -> dict[str, float]:
    """Sum up the ranks of one direction.

    Args:
        ranks (Tensor): (N,) whole numbers from 1, see `Ranks`.

    Returns:
        dict: `R1`, `R5`, `R10`, `R50`: shares of the ranks not above that number, 0..1;
        `median_rank`: the published one, floor of the median of the ranks counted from 0, plus 1
        (of the ranks 1 and 2 it is 1, not 1.5); `mean_rank`; `sum` = R1 + R5 + R10, 0..3.

    Raises:
        ValueError: there are no ranks, or they are not (N,) whole numbers from 1.
    """
    if ranks.ndim != 1 or not len(ranks):
        raise ValueError(f"ranks: shape {tuple(ranks.shape)} received, (N,) with N >= 1 expected")
    if ranks.is_floating_point() or ranks.min() < 1:
        raise ValueError(
            f"ranks: {ranks.dtype} from {ranks.min()} received, integers from 1 expected"
        )
    ordered = ranks.sort().values - 1
    middle = ordered[(len(ranks) - 1) // 2] + ordered[len(ranks) // 2]  # twice the median
    table = {f"R{cutoff}": (ranks <= cutoff).double().mean().item() for cutoff in CUTOFFS}
    table["median_rank"] = float(middle // 2 + 1)
    table["mean_rank"] = ranks.double().mean().item()
    return table | {"sum": table["R1"] + table["R5"] + table["R10"]}


def retrieval(image_vectors: Tensor, text_vectors: Tensor) -> dict[str, dict[str, float]]:
    """Rank the pairs and sum up both directions.

    Args:
        image_vectors (Tensor): (N,D), see `rank_pairs`.
        text_vectors (Tensor): (N,D), see `rank_pairs`.

    Returns:
        dict: `text_to_image` and `image_to_text`, each a `recall_table`.

    Raises:
        ValueError: see `rank_pairs`.
    """
    ranks = rank_pairs(image_vectors, text_vectors)
    return {
        "text_to_image": recall_table(ranks.text_to_image),
        "image_to_text": recall_table(ranks.image_to_text),
    }


def format_retrieval(table: Mapping[str, Mapping[str, float]]) -> str:
    """A Markdown table of a result of `retrieval`, one row for each direction.

    Args:
        table (Mapping): as `retrieval` returns it.

    Returns:
        str: four lines, without a newline at the end.
    """
    lines = [["retrieval", *(name.replace("_", " ") for name in COLUMNS)]]
    lines.append(["---", *["---:"] * len(COLUMNS)])
    for direction in ("text_to_image", "image_to_text"):
        numbers = [format(table[direction][name], digits) for name, digits in COLUMNS.items()]
        lines.append([direction.replace("_", " "), *numbers])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _check(image_vectors: Tensor, text_vectors: Tensor) -> None:
    """What `rank_pairs` refuses about its vectors."""
    named = {"image_vectors": image_vectors, "text_vectors": text_vectors}
    for name, vectors in named.items():
        if vectors.ndim != 2 or not len(vectors):
            shape = tuple(vectors.shape)
            raise ValueError(f"{name}: shape {shape} received, (N,D) with N >= 1 expected")
        if vectors.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: {vectors.dtype} received, float32 or float64 expected")
    if image_vectors.shape != text_vectors.shape:
        shapes = f"{tuple(image_vectors.shape)} and {tuple(text_vectors.shape)}"
        raise ValueError(f"image_vectors, text_vectors: {shapes} received, the same shape expected")
    for name, vectors in named.items():
        lengths = torch.linalg.vector_norm(vectors, dim=1)  # (N,)
        is_unit = (lengths - 1).abs() <= TOLERANCE  # False for NaN as well
        if not is_unit.all():
            row = int(is_unit.int().argmin())
            raise ValueError(
                f"{name}: row {row} of length {lengths[row].item():.6g} received, "
                f"1 expected (within {TOLERANCE})"
            )
