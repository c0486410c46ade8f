"""One picture from a seed: thought up, drawn, and nothing written."""

from __future__ import annotations

import random
from collections.abc import Iterator

from PIL import Image

from captioning.datasets.picturebook.drawing import draw_scene
from captioning.datasets.picturebook.sampling import sample_scene
from captioning.datasets.picturebook.scene import Scene


def picture_rng(seed: int, split: str, index: int, purpose: str) -> random.Random:
    """The source of chance of one picture for one purpose, the same on every machine."""
    return random.Random(f"picturebook/{seed}/{split}/{index}/{purpose}")


def make_picture(
    seed: int,
    split: str,
    index: int,
    image_id: int | None = None,
    novel: bool = False,
    image_size: int = 128,
) -> tuple[Image.Image, Scene]:
    """Think up and draw one picture.

    Args:
        seed (int): of the whole data set.
        split (str): "train", "val", "test" or any other word.
        index (int): number of the picture in its split, from 1.
        image_id (int | None): goes into the scene; None for `index`.
        novel (bool): whether the picture is about a held-out combination.
        image_size (int): width and height in pixels.

    Returns:
        tuple: the picture (RGB) and its scene with instances.
    """
    rng = picture_rng(seed, split, index, "scene")
    scene = sample_scene(index if image_id is None else image_id, rng, novel)
    image = draw_scene(scene, picture_rng(seed, split, index, "drawing"), image_size)
    return image, scene


def iterate_pictures(
    seed: int, count: int, image_size: int = 128, start: int = 1
) -> Iterator[tuple[Image.Image, Scene]]:
    """Pictures and scenes that are in no written data set, for training a recogniser.

    Args:
        seed (int): another seed than that of the data set.
        count (int): number of pictures.
        image_size (int): width and height in pixels.
        start (int): number of the first picture, so that several workers can share a seed.

    Returns:
        Iterator: of (RGB picture, scene with instances); none shows a held-out combination.
    """
    for index in range(start, start + count):
        yield make_picture(seed, "extra", index, image_size=image_size)
