"""Which numbers may go into a feature store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BOX_SLACK = 1e-4  # boxes may leave the picture by so much (rounding) and are cut off


@contextlib.contextmanager
def naming(source: str | Path) -> Iterator[None]:
    """Put the name of a file in front of what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def checked_regions(regions: np.ndarray, feature_dim: int, dtype: np.dtype) -> np.ndarray:
    """(P, F) features of one picture in the type of the store.

    Raises:
        ValueError: another shape, no region, NaN, or numbers beyond the type.
    """
    if regions.ndim != 2 or regions.shape[1] != feature_dim or len(regions) < 1:
        raise ValueError(
            f"features of shape {regions.shape} found, "
            f"(at least one region, {feature_dim}) expected"
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(regions, dtype)
    if np.isfinite(values).all():
        return values
    if not np.isfinite(regions).all():
        kind = "NaN" if np.isnan(regions).any() else "infinite numbers"
        raise ValueError(f"{kind} in the features")
    largest = float(np.abs(regions).max())
    raise ValueError(f"features up to {largest:g} do not fit {dtype.name}; use --dtype float32")


def checked_boxes(boxes: np.ndarray, number: int) -> np.ndarray:
    """(P, 4) float32 boxes inside the picture.

    Raises:
        ValueError: another shape, no numbers, outside of the picture, or turned inside out.
    """
    if boxes.shape != (number, 4):
        raise ValueError(f"boxes of shape {boxes.shape} found, ({number}, 4) expected")
    values = np.asarray(boxes, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("NaN or infinite numbers in the boxes")
    if values.min() < -BOX_SLACK or values.max() > 1 + BOX_SLACK:
        raise ValueError(f"a box from {values.min():g} to {values.max():g}, 0 to 1 expected")
    if (values[:, :2] > values[:, 2:]).any():
        raise ValueError("a box whose right or bottom edge comes before its left or top one")
    return np.ascontiguousarray(values.clip(0, 1), np.float32)


def checked_scores(scores: np.ndarray, number: int) -> np.ndarray:
    """(P,) float32 scores.

    Raises:
        ValueError: another shape, or no numbers.
    """
    if scores.shape != (number,):
        raise ValueError(f"scores of shape {scores.shape} found, ({number},) expected")
    if not np.isfinite(scores).all():
        raise ValueError("NaN or infinite numbers in the scores")
    return np.ascontiguousarray(scores, np.float32)
