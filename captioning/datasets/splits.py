"""Which picture is learned from and which is kept for later: names of splits, and seeded ones."""

from __future__ import annotations

import random
from collections.abc import Sequence

from captioning.datasets.layout import Record

# Other people's names of the three splits; restval is Karpathy's, and it joins train.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def split_name(written: str) -> str:
    """train, val or test for their usual names; any other name stays as it is."""
    name = written.strip()
    return SPLIT_NAMES.get(name.lower(), name)


def in_usual_order(splits: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """train, val, test, then the others as they came."""
    names = [name for name in ("train", "val", "test") if name in splits]
    return {name: splits[name] for name in [*names, *(n for n in splits if n not in names)]}


def random_splits(
    records: Sequence[Record], val: float = 0.1, test: float = 0.1, seed: int = 0
) -> dict[str, list[Record]]:
    """Draw val and test by picture; the order of the records changes nothing.

    Args:
        records (Sequence[Record]): all pictures.
        val (float): share of them, 0 to 1; at least one picture unless it is 0.
        test (float): likewise.
        seed (int): other seeds draw other pictures.

    Raises:
        ValueError: a share is out of range, or nothing would be left to learn from.
    """
    for name, share in (("val", val), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"{name}: {share} received, a share of 0 to 1 expected")
    counts = [max(1, round(share * len(records))) if share else 0 for share in (val, test)]
    if sum(counts) >= len(records):
        raise ValueError(
            f"val, test: {val} and {test} received, but {len(records)} pictures would leave none "
            "to train on"
        )
    order = sorted(record.file_name for record in records)
    random.Random(seed).shuffle(order)
    chosen = dict.fromkeys(order[: counts[0]], "val")
    chosen |= dict.fromkeys(order[counts[0] : sum(counts)], "test")
    splits: dict[str, list[Record]] = {}
    for record in records:
        splits.setdefault(chosen.get(record.file_name, "train"), []).append(record)
    return in_usual_order(splits)
