"""The six places of the picture book: where things may stand or float, and how each is painted.

All coordinates are page units: the page is 128 units wide and high, whatever its size in pixels,
and y grows downwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from captioning.datasets.picturebook import scenery, townscape
from captioning.datasets.picturebook.scenery import PAGE, Canvas, mix

Range = tuple[float, float]


@dataclass(frozen=True)
class Zones:
    """Where the bottoms of things may be, in page units.

    Args:
        horizon (float): where the ground (or the sea, or the floor) begins.
        stand (tuple): smallest and largest y of the feet of people, animals, toys, furniture.
        far (tuple): the same for buildings, which stand further back.
        road (tuple): the same for cars, buses and bicycles.
        water (tuple | None): the same for boats; None where there is no water.
        light (str): "day", "night" or "indoors".
    """

    horizon: float
    stand: Range
    far: Range
    road: Range
    water: Range | None = None
    light: str = "day"


ZONES: dict[str, Zones] = {
    "meadow": Zones(66, (103, 121), (92, 104), (100, 114)),
    "beach": Zones(50, (104, 121), (90, 100), (102, 114), water=(68, 80)),
    "snow": Zones(64, (103, 121), (92, 104), (100, 114)),
    "street": Zones(78, (112, 122), (87, 90), (99, 108)),
    "living room": Zones(84, (103, 122), (98, 106), (103, 118), light="indoors"),
    "harbour at night": Zones(58, (108, 122), (99, 105), (108, 118), water=(76, 89), light="night"),
}


def draw_setting(setting: str, rng: random.Random, size: int) -> Image.Image:
    """Paint one background.

    Args:
        setting (str): a key of `ZONES`.
        rng (random.Random): chooses the time of day, the tints and where the scenery is.
        size (int): width and height in pixels.

    Returns:
        Image.Image: RGB, size x size.

    Raises:
        ValueError: unknown setting.
    """
    if setting not in PAINTERS:
        raise ValueError(f"setting is {setting!r}; expected one of {', '.join(PAINTERS)}")
    canvas = Canvas(size)
    PAINTERS[setting](canvas, rng)
    return canvas.image


SKIES: dict[str, list[tuple[str, str]]] = {  # top and bottom of the sky, by time of day
    "day": [("#a9d6ea", "#eaf6f2"), ("#b7dcf0", "#fbf4e2"), ("#9fd0e2", "#f1f4e6")],
    "morning": [("#c4dcea", "#fdeccd"), ("#cfe3e6", "#fbe3cf")],
    "evening": [("#c5b9dc", "#fbd9c0"), ("#b8bfe0", "#fde0c8"), ("#d6bcd4", "#fbe2bb")],
    "winter": [("#b4cde2", "#e9eef3"), ("#c3d3e6", "#f5ebe8"), ("#b3c3de", "#efe3ea")],
}


def _sky(canvas: Canvas, rng: random.Random, horizon: float, *times: str) -> str:
    time = rng.choice(times)
    top, bottom = rng.choice(SKIES[time])
    canvas.gradient(0, horizon, top, bottom)
    return time


def _meadow(canvas: Canvas, rng: random.Random) -> None:
    time = _sky(canvas, rng, 80, "day", "day", "morning", "evening")
    scenery.sun(canvas, rng.uniform(12, 116), rng.uniform(11, 24), 8, time)
    for _ in range(rng.randint(1, 3)):
        scenery.cloud(canvas, rng.uniform(6, 122), rng.uniform(8, 38), rng.uniform(5, 9))
    grass = rng.choice(["#c3d69b", "#bdd59f", "#cbd893", "#b9cf93"])
    canvas.hills(rng, rng.uniform(52, 58), 6, mix(grass, "#b9d3cf", 0.6))
    canvas.hills(rng, rng.uniform(60, 66), 5, mix(grass, "#c5d9c2", 0.35))
    for _ in range(rng.randint(2, 5)):
        x, height = rng.choice([rng.uniform(-2, 34), rng.uniform(94, 130)]), rng.uniform(14, 26)
        scenery.leafy_tree(canvas, rng, x, rng.uniform(70, 76), height, mix(grass, "#7fa878", 0.55))
    canvas.hills(rng, rng.uniform(74, 80), 3, grass, bottom_colour=mix(grass, "#e9e2a4", 0.35))
    if rng.random() < 0.45:
        scenery.path(canvas, rng, 78, mix("#efe2bf", grass, 0.15))
    scenery.grass_tufts(canvas, rng, 82, 127, 26, mix(grass, "#7fa35f", 0.5))
    scenery.flowers(canvas, rng, 86, 127, rng.randint(12, 24))


def _beach(canvas: Canvas, rng: random.Random) -> None:
    time = _sky(canvas, rng, 50, "day", "day", "morning", "evening")
    scenery.sun(canvas, rng.uniform(14, 114), rng.uniform(10, 26), 8, time)
    for _ in range(rng.randint(1, 3)):
        scenery.cloud(canvas, rng.uniform(6, 122), rng.uniform(8, 34), rng.uniform(4, 8))
    sea = rng.choice(["#8cc6d0", "#93c9cc", "#86bdd0"])
    canvas.gradient(50, 90, mix(sea, "#5f9fb8", 0.35), mix(sea, "#d8efe8", 0.45))
    scenery.ripples(canvas, rng, 53, 82, 26, mix(sea, "#ffffff", 0.55))
    if rng.random() < 0.5:
        scenery.island(canvas, rng, rng.choice([rng.uniform(8, 36), rng.uniform(92, 120)]), 51)
    sand = rng.choice(["#f3e2b8", "#f1dcb2", "#f5e5c4"])
    canvas.hills(rng, 84, 2.4, mix(sea, "#ffffff", 0.8), waves=2.2)
    canvas.hills(rng, 86, 2.2, mix(sand, "#c9a978", 0.35), waves=2.0)
    canvas.hills(rng, 88, 2.2, sand, waves=2.0, bottom_colour=mix(sand, "#e7c48d", 0.5))
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        scenery.palm(canvas, rng, 6 if side < 0 else 122, 104, rng.uniform(52, 66), -side)
    scenery.pebbles(canvas, rng, 92, 127, 40, mix(sand, "#b98f5a", 0.45))
    scenery.shells(canvas, rng, 94, 126, rng.randint(3, 7))


def _snow(canvas: Canvas, rng: random.Random) -> None:
    time = _sky(canvas, rng, 80, "winter")
    if rng.random() < 0.5:
        scenery.sun(canvas, rng.uniform(14, 114), rng.uniform(12, 24), 7, time)
    snow = rng.choice(["#e3ebf3", "#e6e9f2", "#dfeaf0"])
    scenery.peaks(canvas, rng, 66, mix("#a9bccf", snow, 0.35))
    canvas.hills(rng, rng.uniform(58, 64), 5, mix(snow, "#a7bfd6", 0.4))
    for _ in range(rng.randint(4, 8)):
        x = rng.choice([rng.uniform(-2, 46), rng.uniform(82, 130)])
        scenery.fir(canvas, rng, x, rng.uniform(70, 78), rng.uniform(16, 30))
    canvas.hills(rng, rng.uniform(74, 79), 3.5, mix(snow, "#c2d1e2", 0.3))
    canvas.hills(rng, rng.uniform(86, 92), 3, snow, bottom_colour=mix(snow, "#c9d6e6", 0.6))
    scenery.snow_marks(canvas, rng, 94, 127, 14, mix(snow, "#a9bdd4", 0.5))
    scenery.flakes(canvas, rng, rng.choice([30, 60, 90]))


def _street(canvas: Canvas, rng: random.Random) -> None:
    time = _sky(canvas, rng, 80, "day", "morning", "evening")
    scenery.sun(canvas, rng.uniform(14, 114), rng.uniform(8, 13), 6, time)
    for _ in range(rng.randint(0, 2)):
        scenery.cloud(canvas, rng.uniform(6, 122), rng.uniform(6, 24), rng.uniform(4, 7))
    townscape.facades(canvas, rng, 84)
    stone = rng.choice(["#ddd5cb", "#d9d6d2", "#e2d8c8"])
    canvas.box(0, 83, PAGE, 91, mix(stone, "#b9b2ab", 0.25))
    canvas.box(0, 90, PAGE, 92, mix(stone, "#8f8b8a", 0.5))
    road = rng.choice(["#b4b3b8", "#aeb2b8", "#b9b4b2"])
    canvas.gradient(92, 111, mix(road, "#8d8e97", 0.25), road)
    townscape.road_marks(canvas, rng, 100.5, mix(road, "#ffffff", 0.7))
    canvas.box(0, 110, PAGE, 112.5, mix(stone, "#ffffff", 0.35))
    canvas.box(0, 112, PAGE, 113.2, mix(stone, "#8f8b8a", 0.35))
    canvas.gradient(113, PAGE, stone, mix(stone, "#c9b8a3", 0.4))
    townscape.slabs(canvas, rng, 113, mix(stone, "#a59b90", 0.45))
    for x in rng.sample([10, 36, 64, 92, 118], rng.randint(1, 2)):
        townscape.street_lamp(canvas, x + rng.uniform(-4, 4), 88, rng.uniform(44, 52), "#8b8f98")


def _living_room(canvas: Canvas, rng: random.Random) -> None:
    wall = rng.choice(["#f3e3cd", "#e3e7d9", "#efdcd6", "#dde6ea", "#ece0ee"])
    canvas.gradient(0, 84, mix(wall, "#ffffff", 0.25), wall)
    townscape.wallpaper(canvas, rng, 84, mix(wall, "#c3a78f", 0.25))
    slots = [20, 64, 106]
    rng.shuffle(slots)
    townscape.window(canvas, rng, slots[0], rng.uniform(30, 34))
    townscape.picture_frame(canvas, rng, slots[1], rng.uniform(24, 34))
    if rng.random() < 0.5:
        townscape.wall_clock(canvas, rng, slots[2], rng.uniform(18, 28))
    elif rng.random() < 0.7:
        townscape.picture_frame(canvas, rng, slots[2], rng.uniform(24, 36))
    canvas.box(0, 81, PAGE, 85, mix(wall, "#ffffff", 0.6))
    canvas.box(0, 84.4, PAGE, 85.2, mix(wall, "#a08a76", 0.5))
    wood = rng.choice(["#d9bd98", "#d3b494", "#dcc3a4", "#cfb59c"])
    canvas.gradient(85, PAGE, mix(wood, "#b8946c", 0.25), wood)
    townscape.floorboards(canvas, rng, 85, mix(wood, "#a27f58", 0.5))
    townscape.rug(canvas, rng, rng.uniform(52, 76), rng.uniform(108, 113))


def _harbour(canvas: Canvas, rng: random.Random) -> None:
    top, bottom = rng.choice(
        [("#26335f", "#66709e"), ("#2b3164", "#7a6c9c"), ("#22385c", "#5f7d9c")]
    )
    canvas.gradient(0, 60, top, bottom)
    scenery.stars(canvas, rng, 52, rng.randint(30, 55))
    moon_x = rng.uniform(14, 114)
    scenery.moon(canvas, rng, moon_x, rng.uniform(12, 22), 8)
    townscape.far_shore(canvas, rng, 58, mix(bottom, "#2a3157", 0.55))
    canvas.gradient(58, 98, mix(bottom, "#3d4f86", 0.5), mix(top, "#44618f", 0.55))
    townscape.moon_path(canvas, rng, moon_x, 59, 96)
    scenery.ripples(canvas, rng, 61, 94, 26, mix(bottom, "#8f9fc6", 0.5))
    stone = rng.choice(["#8f88a0", "#94899a", "#8a8aa2"])
    canvas.box(0, 93, PAGE, 100, mix(stone, "#4b4a68", 0.55))
    canvas.gradient(95.5, PAGE, mix(stone, "#b7a6a4", 0.35), mix(stone, "#6b6787", 0.45))
    townscape.quay_stones(canvas, rng, 96, mix(stone, "#5e5a78", 0.55))
    townscape.bollards(canvas, rng, 96)
    for x in rng.sample([9, 40, 88, 119], 2):
        townscape.harbour_lamp(canvas, rng, x + rng.uniform(-3, 3), 98, rng.uniform(44, 50))


PAINTERS: dict[str, Callable[[Canvas, random.Random], None]] = {
    "meadow": _meadow,
    "beach": _beach,
    "snow": _snow,
    "street": _street,
    "living room": _living_room,
    "harbour at night": _harbour,
}
