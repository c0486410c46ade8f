"""The drawn things of the picture book: one function that draws any category, colour and pose.

Anchors are pixels of the sprite. All sprites have "base" (bottom centre, where they touch the
ground) and "top" (the middle of the upper surface a thing can stand on). People add "hand" and
"hip" (the bottom, which meets a seat); what can be ridden or sat on adds "seat"; a kite "string".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from captioning.datasets.picturebook import sprites_animals as animals
from captioning.datasets.picturebook import sprites_buildings as buildings
from captioning.datasets.picturebook import sprites_crafts as crafts
from captioning.datasets.picturebook import sprites_farm as farm
from captioning.datasets.picturebook import sprites_people as people
from captioning.datasets.picturebook import sprites_toys as toys
from captioning.datasets.picturebook import sprites_vehicles as vehicles
from captioning.datasets.picturebook.brush import PALETTE, Brush, lit
from captioning.datasets.picturebook.scene import CATEGORIES, POSES

Painter = Callable[[Brush, str, str, int], None]

NUM_DETAILS = 30  # details repeat after this many


@dataclass(frozen=True)
class Sprite:
    """A drawn thing, cropped to its visible pixels.

    Args:
        image (Image): RGBA.
        anchors (dict): name to (x, y) in pixels of `image`.
    """

    image: Image.Image
    anchors: dict[str, tuple[float, float]]


def draw_sprite(
    category: str,
    colour: str,
    pose: str,
    height: int,
    facing: str = "right",
    detail: int = 0,
) -> Sprite:
    """Draws one thing.

    Args:
        category (str): one of `CATEGORIES`.
        colour (str): one of `COLOURS`.
        pose (str): one of `POSES[category]`; "" for the first.
        height (int): of the sprite in pixels; at least 8.
        facing (str): "right", or "left" for the mirror image.
        detail (int): varies skin, hair and small features.

    Returns:
        Sprite: the picture and its anchors.

    Raises:
        ValueError: an unknown name, or a height below 8.
    """
    pose = pose or POSES.get(category, ("",))[0]
    _check("category", category, CATEGORIES)
    _check("colour", colour, tuple(PALETTE))
    _check("pose", pose, POSES[category])
    _check("facing", facing, ("left", "right"))
    if height < 8:
        raise ValueError(f"height is {height}; it must be at least 8 pixels")
    detail %= NUM_DETAILS
    left, bottom, right, top = _extent(category, pose, detail)
    scale = (height - 2 * _edge(height)) / (top - bottom)
    extent = (left, bottom, right, top)
    sprite = _paint(category, colour, pose, detail, extent, scale, _edge(height))
    return _mirrored(sprite) if facing == "left" else sprite


def pose_scale(category: str, pose: str) -> float:
    """How tall a pose is beside the first pose of its category, drawn to the same scale."""
    heights = [
        top - bottom
        for _, bottom, _, top in (_extent(category, p, 0) for p in (pose, POSES[category][0]))
    ]
    return heights[0] / heights[1]


def _check(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")


def _painter(category: str) -> Painter:
    painters: dict[str, Painter] = {
        "girl": people.paint_girl,
        "boy": people.paint_boy,
        "dog": animals.paint_dog,
        "cat": animals.paint_cat,
        "horse": farm.paint_horse,
        "bird": farm.paint_bird,
        "rabbit": farm.paint_rabbit,
        "car": vehicles.paint_car,
        "bus": vehicles.paint_bus,
        "bicycle": vehicles.paint_bicycle,
        "boat": crafts.paint_boat,
        "plane": crafts.paint_plane,
        "balloon": crafts.paint_balloon,
        "house": buildings.paint_house,
        "lighthouse": buildings.paint_lighthouse,
        "chair": buildings.paint_chair,
        "table": buildings.paint_table,
        "ball": toys.paint_ball,
        "kite": toys.paint_kite,
        "teddy": toys.paint_teddy,
    }
    return painters[category]


@lru_cache(maxsize=2048)
def _extent(category: str, pose: str, detail: int) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a design in design units, without its outline."""
    scale, reach = 1.5, 130
    size = 2 * reach * 3 // 2
    brush = Brush((size, size), scale, (size / 2, size * 0.8), edge=0)
    _painter(category)(brush, "blue", pose, detail)
    x0, y0, x1, y1 = brush.image.getbbox()
    ox, oy = brush.origin
    return (x0 - ox) / scale, (oy - y1) / scale, (x1 - ox) / scale, (oy - y0) / scale


def _edge(height: int) -> float:
    """Outline width in pixels of a sprite this tall: small things keep a visible one."""
    return 1.2 + 0.011 * height


def _paint(
    category: str,
    colour: str,
    pose: str,
    detail: int,
    extent: tuple[float, float, float, float],
    scale: float,
    edge: float,
) -> Sprite:
    left, bottom, right, top = extent
    pad = math.ceil(edge) + 2
    width = math.ceil((right - left) * scale) + 2 * pad
    height = round((top - bottom) * scale) + 2 * pad
    origin = (pad - left * scale, pad + top * scale)
    brush = Brush((width, height), scale, origin, edge)
    _painter(category)(brush, colour, pose, detail)
    x0, y0, x1, y1 = brush.image.getbbox()
    image = lit(brush.image.crop((x0, y0, x1, y1)))
    anchors = {name: (x - x0, y - y0) for name, (x, y) in brush.anchors.items()}
    anchors.setdefault("base", (image.width / 2, float(image.height)))
    anchors.setdefault("top", (image.width / 2, 0.0))
    return Sprite(image, anchors)


def _mirrored(sprite: Sprite) -> Sprite:
    width = sprite.image.width
    return Sprite(
        sprite.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        {name: (width - x, y) for name, (x, y) in sprite.anchors.items()},
    )
