"""Draws a laid-out scene: background, shadows, things, strings; then boxes and polygons."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from captioning.datasets.picturebook.layout import Layout, Piece, lay_out
from captioning.datasets.picturebook.masks import to_instance, visible_masks
from captioning.datasets.picturebook.scene import Scene
from captioning.datasets.picturebook.scenery import PAGE
from captioning.datasets.picturebook.settings import ZONES, draw_setting
from captioning.datasets.picturebook.sprites import Sprite, draw_sprite

FACTOR = 3  # the picture is drawn this many times larger, then reduced
MIN_VISIBLE = 0.6  # share of a thing that must be seen
SHADOWS = {
    "day": ((66, 58, 92), 0.34),
    "indoors": ((84, 60, 54), 0.34),
    "night": ((28, 26, 58), 0.5),
}


def draw_scene(scene: Scene, rng: random.Random, image_size: int = 128) -> Image.Image:
    """Lay out and draw a scene, and fill in `scene.instances`.

    Args:
        scene (Scene): what to draw; its instances are replaced.
        rng (random.Random): chooses the background's details and the places of things.
        image_size (int): width and height in pixels, at least 32.

    Returns:
        Image.Image: RGB, image_size x image_size.

    Raises:
        ValueError: image_size below 32.
    """
    if image_size < 32:
        raise ValueError(f"image_size is {image_size}; expected at least 32")
    large = image_size * FACTOR
    canvas = draw_setting(scene.setting, rng, large)
    layout, sprites, corners = _visible_layout(scene, rng, image_size)
    light = ZONES[scene.setting].light
    _draw_shadows(canvas, layout, light, image_size)
    if light == "night":
        _draw_halo(canvas, sprites, corners, image_size)
    _draw_pieces(canvas, layout, sprites, corners)
    return _finish(canvas.reduce(FACTOR), rng)


def _visible_layout(
    scene: Scene, rng: random.Random, image_size: int
) -> tuple[Layout, list[Sprite], list[tuple[int, int]]]:
    """A layout in which nothing important is hidden; sets the scene's instances."""
    scale = image_size * FACTOR / PAGE
    best = None
    for _ in range(6):
        layout = lay_out(scene, rng)
        sprites = [_sprite(piece, scale) for piece in layout.pieces]
        corners = [_corner(p, s, scale) for p, s in zip(layout.pieces, sprites, strict=True)]
        alphas = [(s.image.getchannel("A"), c) for s, c in zip(sprites, corners, strict=True)]
        masks = visible_masks(alphas, image_size, FACTOR)
        least = min(share for _, share in masks)
        if best is None or least > best[0]:
            best = (least, layout, sprites, corners, masks)
        if least >= MIN_VISIBLE:
            break
    _, layout, sprites, corners, masks = best
    scene.instances = [
        to_instance(piece.entity.entity_id, mask)
        for piece, (mask, _) in zip(layout.pieces, masks, strict=True)
    ]
    scene.instances.sort(key=lambda instance: (instance.entity_id, instance.bbox[0]))
    return layout, sprites, corners


def _sprite(piece: Piece, scale: float) -> Sprite:
    entity = piece.entity
    height = max(8, round(piece.height * scale))
    return draw_sprite(
        entity.category, entity.colour, entity.pose, height, entity.facing, piece.detail
    )


def _corner(piece: Piece, sprite: Sprite, scale: float) -> tuple[int, int]:
    """The upper left pixel of a sprite in the large picture."""
    x = round(piece.x * scale - sprite.image.width / 2)
    return x, round(piece.bottom * scale) - sprite.image.height


def _draw_shadows(canvas: Image.Image, layout: Layout, light: str, image_size: int) -> None:
    """Soft shadows on the ground, and the dark of a hull on the water."""
    scale = image_size / PAGE
    mask = Image.new("L", (image_size, image_size), 0)
    pen = ImageDraw.Draw(mask)
    for piece in layout.pieces:
        if piece.ground == "none":
            continue
        half = piece.width * 0.46
        deep = min(3.4, 0.09 * piece.width + 0.9)
        x, y = piece.x, piece.bottom - 0.3
        box = ((x - half) * scale, (y - deep) * scale, (x + half) * scale, (y + deep) * scale)
        pen.ellipse(box, fill=255)
    colour, strength = SHADOWS[light]
    mask = mask.filter(ImageFilter.BoxBlur(0.9 * scale)).point(lambda v: round(v * strength))
    mask = mask.resize(canvas.size, Image.Resampling.BILINEAR)
    canvas.paste(Image.new("RGB", canvas.size, colour), (0, 0), mask)


def _draw_halo(
    canvas: Image.Image, sprites: list[Sprite], corners: list[tuple[int, int]], image_size: int
) -> None:
    """A faint warm light around things, so that they stand out from the night."""
    mask = Image.new("L", canvas.size, 0)
    for sprite, (x, y) in zip(sprites, corners, strict=True):
        mask.paste(255, (x, y), sprite.image.getchannel("A"))
    small = mask.reduce(FACTOR).filter(ImageFilter.GaussianBlur(2.4 * image_size / PAGE))
    small = small.point(lambda v: min(120, round(v * 0.75)))
    mask = small.resize(canvas.size, Image.Resampling.BILINEAR)
    canvas.paste(Image.new("RGB", canvas.size, (196, 190, 224)), (0, 0), mask)


def _draw_pieces(
    canvas: Image.Image, layout: Layout, sprites: list[Sprite], corners: list[tuple[int, int]]
) -> None:
    scale = canvas.width / PAGE
    pen = ImageDraw.Draw(canvas, "RGBA")
    for kite, person in layout.strings:
        start, end = kite.anchor("string", "base"), person.anchor("hand")
        pen.line(
            _sagging(start, end, scale), fill=(90, 78, 92, 255), width=max(1, round(0.6 * scale))
        )
    for piece, sprite, corner in zip(layout.pieces, sprites, corners, strict=True):
        canvas.paste(sprite.image, corner, sprite.image)
        if piece.ground == "water":
            _draw_waterline(pen, piece, scale)


def _sagging(
    start: tuple[float, float], end: tuple[float, float], scale: float
) -> list[tuple[float, float]]:
    """Points of a slack string, in pixels."""
    points = []
    for i in range(13):
        t = i / 12
        x = start[0] + (end[0] - start[0]) * t
        y = start[1] + (end[1] - start[1]) * t + 5 * t * (1 - t)
        points.append((x * scale, y * scale))
    return points


def _draw_waterline(pen: ImageDraw.ImageDraw, piece: Piece, scale: float) -> None:
    """Small waves along the hull."""
    x0, _, x1, bottom = piece.box
    steps = 7
    for i in range(steps):
        x = x0 + (x1 - x0) * (i + 0.5) / steps
        half, y = (x1 - x0) / steps * 0.55, bottom + 0.35 * (-1) ** i
        box = ((x - half) * scale, (y - 0.6) * scale, (x + half) * scale, (y + 0.6) * scale)
        pen.ellipse(box, fill=(226, 240, 246, 190))


@lru_cache(maxsize=4)
def _paper(size: int) -> Image.Image:
    """Paper grain and faint washes of water colour, twice as wide and high as the picture."""
    chance = np.random.default_rng(7)
    wide = 2 * size
    fine = chance.normal(0, 1, (wide, wide))
    wash = Image.fromarray(chance.normal(0, 1, (24, 24)).astype(np.float32))
    coarse = np.asarray(wash.resize((wide, wide), Image.Resampling.BICUBIC))
    grain = np.clip(248 + 2.2 * fine + 4.0 * coarse, 0, 255)
    return Image.fromarray(grain.astype(np.uint8))


def _finish(image: Image.Image, rng: random.Random) -> Image.Image:
    """Print the picture on paper."""
    size = image.width
    x, y = rng.randrange(size), rng.randrange(size)
    grain = _paper(size).crop((x, y, x + size, y + size))
    return ImageChops.multiply(image, Image.merge("RGB", (grain, grain, grain)))
