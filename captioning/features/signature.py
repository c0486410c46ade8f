"""What made the features of a store, as a dictionary that is kept in it and compared later."""

from __future__ import annotations

from typing import Any

from captioning.config import EncoderConfig, TransformConfig

FORMAT = 1  # of the file; raised when older programs could not read it


def make_signature(
    encoder: EncoderConfig, transform: TransformConfig, weights: str
) -> dict[str, Any]:
    """What made the features, in the settings that change them.

    Args:
        encoder (EncoderConfig): the CNN; where its weights came from does not matter.
        transform (TransformConfig): from picture to input; settings that its `fit` ignores are 0.
        weights (str): `weights_hash` of the encoder.
    """
    resize_size = transform.resize_size or round(transform.image_size * 256 / 224)
    # What older stores could not have is named only where it is used.
    other = transform.fit != "native" and transform.interpolation != "bilinear"
    how = {"interpolation": transform.interpolation} if other else {}
    return {
        "encoder": {
            "backbone": encoder.backbone,
            "cut": encoder.cut,
            "grid": encoder.grid,
            "padding": encoder.padding,
        },
        "transform": {
            "fit": transform.fit,
            "image_size": 0 if transform.fit == "native" else transform.image_size,
            "resize_size": resize_size if transform.fit == "crop" else 0,
            **how,
        },
        "weights_hash": weights,
    }


def imported_signature(source: str) -> dict[str, Any]:
    """The signature of features that somebody else computed."""
    encoder = {"backbone": "features", "source": source}
    return {"encoder": encoder, "transform": {}, "weights_hash": ""}


def describe_maker(difference: str, whose: str) -> str:
    """What a store was made with, for people: the difference, and whose signature has another."""
    other = "other weights: " if difference.startswith("weights_hash ") else ""
    return f"made with {other}{difference} as in {whose}"


def first_difference(found: Any, expected: Any, name: str = "") -> str:
    """Where two signatures differ first, with both values; empty if they are equal."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            inner = f"{name}.{key}" if name else key
            if difference := first_difference(found.get(key), expected.get(key), inner):
                return difference
        return ""
    return "" if found == expected else f"{name} {found!r}, not {expected!r}"
