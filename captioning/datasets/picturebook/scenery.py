"""The scenery of the picture book: skies, hills, trees, waves - nothing that has a category.

Every function paints on a `Canvas` in page units (the page is 128 units wide and high).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from PIL import Image, ImageColor, ImageDraw

PAGE = 128.0
Colour = str | tuple[int, ...]
Point = tuple[float, float]


def mix(first: Colour, second: Colour, share: float) -> tuple[int, int, int]:
    """Blend two colours; `share` is how much of `second` there is, from 0 to 1."""
    one, two = _rgb(first), _rgb(second)
    return tuple(round(a + (b - a) * share) for a, b in zip(one, two, strict=True))


def _rgb(colour: Colour) -> tuple[int, ...]:
    return ImageColor.getrgb(colour)[:3] if isinstance(colour, str) else colour[:3]


class Canvas:
    """A square RGB picture to paint on in page units; colours may have an alpha from 0 to 255."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.scale = size / PAGE
        self.image = Image.new("RGB", (size, size), "white")
        self.pen = ImageDraw.Draw(self.image, "RGBA")

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, radius=0.0) -> None:
        """Fill a rectangle, with round corners when `radius` is given."""
        s = self.scale
        corners = (x0 * s, y0 * s, x1 * s - 1, y1 * s - 1)
        if corners[2] < corners[0] or corners[3] < corners[1]:
            return
        if radius:
            self.pen.rounded_rectangle(corners, radius * s, fill=colour)
        else:
            self.pen.rectangle(corners, fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill an ellipse around a centre."""
        s = self.scale
        self.pen.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=colour)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        s = self.scale
        self.pen.polygon([(x * s, y * s) for x, y in points], fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round joints."""
        s = self.scale
        path = [(x * s, y * s) for x, y in points]
        self.pen.line(path, fill=colour, width=max(1, round(width * s)), joint="curve")

    def gradient(self, y0: float, y1: float, top: Colour, bottom: Colour) -> None:
        """Fill the full width from y0 to y1 with a smooth change of colour."""
        first, last = round(y0 * self.scale), min(self.size, round(y1 * self.scale))
        rows = last - first
        data = bytes(v for i in range(rows) for v in mix(top, bottom, i / max(1, rows - 1)))
        column = Image.frombytes("RGB", (1, rows), data)
        self.image.paste(column.resize((self.size, rows), Image.Resampling.NEAREST), (0, first))

    def hills(
        self,
        rng: random.Random,
        y: float,
        height: float,
        colour: Colour,
        bottom_colour: Colour | None = None,
        waves: float = 1.4,
    ) -> None:
        """Fill everything below a rolling line around `y`, `height` units up and down."""
        phase, phase2 = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
        steps = [i * PAGE / 64 for i in range(65)]
        turn = 2 * math.pi * waves / PAGE
        ridge = [
            (
                x,
                y
                + height
                * (0.65 * math.sin(x * turn + phase) + 0.35 * math.sin(x * turn * 2.3 + phase2)),
            )
            for x in steps
        ]
        if bottom_colour is None:
            self.polygon([*ridge, (PAGE, PAGE), (0, PAGE)], colour)
            return
        mask = Image.new("L", (self.size, self.size), 0)
        s = self.scale
        ImageDraw.Draw(mask).polygon(
            [(px * s, py * s) for px, py in [*ridge, (PAGE, PAGE), (0, PAGE)]], fill=255
        )
        ground = Canvas(self.size)
        ground.gradient(0, y - height, colour, colour)
        ground.gradient(y - height, PAGE, colour, bottom_colour)
        self.image.paste(ground.image, (0, 0), mask)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Lay a soft round light over the picture; `strength` from 0 to 1."""
        pixels = max(2, round(2 * radius * self.scale))
        disc = Image.radial_gradient("L").resize((pixels, pixels))
        mask = disc.point(lambda v: round(max(0, 255 - 1.42 * v) * strength))
        corner = (round(x * self.scale - pixels / 2), round(y * self.scale - pixels / 2))
        self.image.paste(Image.new("RGB", (pixels, pixels), _rgb(colour)), corner, mask)


# --- sky ---------------------------------------------------------------------------------------


def sun(canvas: Canvas, x: float, y: float, radius: float, time: str) -> None:
    """A sun with a halo, its colour by the time of day."""
    colours = {"day": "#fff0b0", "morning": "#ffe7a8", "evening": "#ffc98f", "winter": "#fff6d8"}
    colour = colours[time]
    canvas.glow(x, y, radius * 2.6, "#fffbe6", 0.75)
    canvas.ellipse(x, y, radius, radius, colour)
    canvas.ellipse(x, y, radius * 0.78, radius * 0.78, mix(colour, "#ffffff", 0.35))


def cloud(canvas: Canvas, x: float, y: float, size: float) -> None:
    """A puffy cloud, white and a little transparent."""
    for dx, dy, r in (
        (-1.2, 0.25, 0.55),
        (-0.45, -0.15, 0.75),
        (0.45, -0.05, 0.65),
        (1.2, 0.3, 0.5),
    ):
        canvas.ellipse(
            x + dx * size, y + dy * size, r * size, r * size * 0.72, (255, 255, 255, 215)
        )
    canvas.ellipse(x, y + 0.45 * size, 1.5 * size, 0.38 * size, (255, 255, 255, 215))


def stars(canvas: Canvas, rng: random.Random, bottom: float, count: int) -> None:
    """Small stars, a few with four points."""
    for _ in range(count):
        x, y = rng.uniform(1, 127), rng.uniform(1, bottom)
        if rng.random() < 0.15:
            r = rng.uniform(1.2, 1.9)
            points = [(x, y - r), (x + r / 4, y - r / 4), (x + r, y), (x + r / 4, y + r / 4)]
            points += [(x, y + r), (x - r / 4, y + r / 4), (x - r, y), (x - r / 4, y - r / 4)]
            canvas.polygon(points, "#fff4c9")
        else:
            r = rng.uniform(0.3, 0.6)
            canvas.ellipse(x, y, r, r, (255, 248, 220, rng.randint(120, 230)))


def moon(canvas: Canvas, rng: random.Random, x: float, y: float, radius: float) -> None:
    """A full moon with craters and a halo."""
    canvas.glow(x, y, radius * 3.2, "#fff3cc", 0.45)
    canvas.ellipse(x, y, radius, radius, "#fbf0c8")
    for _ in range(4):
        angle, far = rng.uniform(0, 6.3), rng.uniform(0.15, 0.6) * radius
        size = rng.uniform(0.1, 0.2) * radius
        cx, cy = x + far * math.cos(angle), y + far * math.sin(angle)
        canvas.ellipse(cx, cy, size, size, "#eadfb2")


# --- land --------------------------------------------------------------------------------------


def leafy_tree(
    canvas: Canvas, rng: random.Random, x: float, base: float, height: float, colour: Colour
) -> None:
    """A tree with a round crown."""
    canvas.box(x - height * 0.05, base - height * 0.4, x + height * 0.05, base, "#a98d72")
    crown = base - height * 0.65
    dark, light = mix(colour, "#6f8f7c", 0.25), mix(colour, "#f4f2c0", 0.3)
    for dx, dy, r in ((-0.2, 0.08, 0.24), (0.2, 0.08, 0.24), (0.0, -0.1, 0.3)):
        canvas.ellipse(x + dx * height, crown + dy * height, r * height, r * height, dark)
    for dx, dy, r in ((-0.2, 0.04, 0.18), (0.12, 0.02, 0.2), (-0.03, -0.15, 0.22)):
        canvas.ellipse(x + dx * height, crown + dy * height, r * height, r * height, colour)
    for _ in range(5):
        dx, dy = rng.uniform(-0.25, 0.2), rng.uniform(-0.3, 0.1)
        canvas.ellipse(x + dx * height, crown + dy * height, 0.05 * height, 0.04 * height, light)


def fir(canvas: Canvas, rng: random.Random, x: float, base: float, height: float) -> None:
    """A fir tree with snow on its branches."""
    green = mix("#86a596", "#a9c0c4", rng.uniform(0.1, 0.7))
    canvas.box(x - height * 0.04, base - height * 0.14, x + height * 0.04, base, "#9b8778")
    for low, high, half in ((0.1, 0.52, 0.27), (0.34, 0.76, 0.21), (0.58, 1.0, 0.15)):
        y0, y1 = base - low * height, base - high * height
        w = half * height
        canvas.polygon([(x - w, y0), (x, y1), (x + w, y0)], green)
        snow = [
            (x - w * 0.55, y0 - (y0 - y1) * 0.45),
            (x, y1),
            (x + w * 0.55, y0 - (y0 - y1) * 0.45),
        ]
        snow += [(x + w * 0.2, y0 - (y0 - y1) * 0.38), (x - w * 0.15, y0 - (y0 - y1) * 0.55)]
        canvas.polygon(snow, "#f3f6fa")


def peaks(canvas: Canvas, rng: random.Random, base: float, colour: Colour) -> None:
    """Far mountains with white tops."""
    x = rng.uniform(-20, 0)
    while x < PAGE:
        half, height = rng.uniform(18, 30), rng.uniform(14, 28)
        top = (x + half, base - height)
        canvas.polygon([(x, base + 6), top, (x + 2 * half, base + 6)], colour)
        cap = [
            (top[0] - half * 0.3, base - height * 0.72),
            top,
            (top[0] + half * 0.3, base - height * 0.72),
        ]
        cap += [
            (top[0] + half * 0.08, base - height * 0.62),
            (top[0] - half * 0.1, base - height * 0.78),
        ]
        canvas.polygon(cap, "#f2f4f8")
        x += half * rng.uniform(0.9, 1.4)


def path(canvas: Canvas, rng: random.Random, top: float, colour: Colour) -> None:
    """A winding path from the bottom of the page to the hills."""
    x, sway = rng.uniform(30, 98), rng.uniform(-18, 18)
    left, right = [], []
    for i in range(17):
        t = i / 16
        y = PAGE + (top - PAGE) * t
        centre = x + sway * math.sin(t * 3.4)
        half = 11 * (1 - t) ** 1.3 + 1.2
        left.append((centre - half, y))
        right.append((centre + half, y))
    canvas.polygon(left + right[::-1], colour)


def grass_tufts(
    canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int, colour: Colour
) -> None:
    """Little strokes of grass."""
    for _ in range(count):
        x, y = rng.uniform(0, PAGE), rng.uniform(top, bottom)
        for lean in (-1.1, 0, 1.1):
            canvas.line([(x, y), (x + lean, y - rng.uniform(1.6, 2.8))], 0.45, colour)


def flowers(canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int) -> None:
    """Small flowers with a yellow eye."""
    tints = ["#fdfaf2", "#f6c6cf", "#f7df9b", "#cfc3ea", "#f9e6ee"]
    for _ in range(count):
        x, y = rng.uniform(1, 127), rng.uniform(top, bottom)
        r = 0.55 + 0.45 * (y - top) / (bottom - top)
        tint = rng.choice(tints)
        for dx, dy in ((-r, 0), (r, 0), (0, -r), (0, r)):
            canvas.ellipse(x + dx * 0.8, y + dy * 0.8, r * 0.75, r * 0.75, tint)
        canvas.ellipse(x, y, r * 0.5, r * 0.5, "#e9b95c")


def snow_marks(
    canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int, colour: Colour
) -> None:
    """Shallow dents in the snow."""
    for _ in range(count):
        x, y, w = rng.uniform(0, PAGE), rng.uniform(top, bottom), rng.uniform(2, 6)
        canvas.ellipse(x, y, w, 0.45, (*colour, 120))


def flakes(canvas: Canvas, rng: random.Random, count: int) -> None:
    """Falling snow behind the things of the picture."""
    for _ in range(count):
        r = rng.uniform(0.4, 0.95)
        canvas.ellipse(rng.uniform(0, PAGE), rng.uniform(0, 110), r, r, (255, 255, 255, 220))


# --- sea ---------------------------------------------------------------------------------------


def ripples(
    canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int, colour: Colour
) -> None:
    """Short lines of light on water, longer the nearer they are."""
    for _ in range(count):
        y = rng.uniform(top, bottom)
        near = (y - top) / (bottom - top)
        x, w = rng.uniform(0, PAGE), 1.5 + 4 * near * rng.random()
        canvas.ellipse(x, y, w, 0.22 + 0.25 * near, (*colour, 170))


def island(canvas: Canvas, rng: random.Random, x: float, y: float) -> None:
    """A far island on the horizon."""
    half = rng.uniform(9, 16)
    points = [(x - half, y)]
    points += [(x - half + half * i / 4, y - rng.uniform(1.5, 4.5)) for i in range(1, 8)]
    canvas.polygon([*points, (x + half, y)], "#a9c3b4")


def palm(
    canvas: Canvas, rng: random.Random, x: float, base: float, height: float, lean: int
) -> None:
    """A palm at the edge of the page, leaning towards the middle (`lean` is 1 or -1)."""
    trunk = [(x + lean * 7 * (i / 8) ** 1.7, base - height * i / 8) for i in range(9)]
    for i, (one, two) in enumerate(zip(trunk, trunk[1:], strict=False)):
        canvas.line([one, two], 3.4 - 0.15 * i, mix("#b89a73", "#a58763", i % 2))
    top_x, top_y = trunk[-1]
    leaf = mix("#93b98a", "#a9c48f", rng.random())
    for angle in (-160, -125, -60, -25, 15, 165):
        turn = math.radians(angle + rng.uniform(-8, 8))
        length = rng.uniform(13, 17)
        spine = [
            (top_x + length * t * math.cos(turn), top_y + length * t * math.sin(turn) + 8 * t * t)
            for t in (0, 0.25, 0.5, 0.75, 1)
        ]
        upper = [
            (px, py - 1.7 * math.sin(math.pi * i / 4) - 0.3) for i, (px, py) in enumerate(spine)
        ]
        lower = [(px, py + 1.5 * math.sin(math.pi * i / 4)) for i, (px, py) in enumerate(spine)]
        canvas.polygon(upper + lower[::-1], leaf)
        canvas.line(spine, 0.4, mix(leaf, "#6f9370", 0.6))


def pebbles(
    canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int, colour: Colour
) -> None:
    """Specks in the sand."""
    for _ in range(count):
        r = rng.uniform(0.25, 0.6)
        canvas.ellipse(rng.uniform(0, PAGE), rng.uniform(top, bottom), r * 1.4, r, (*colour, 140))


def shells(canvas: Canvas, rng: random.Random, top: float, bottom: float, count: int) -> None:
    """Fans of shell on the beach."""
    for _ in range(count):
        x, y, r = rng.uniform(2, 126), rng.uniform(top, bottom), rng.uniform(1.2, 1.9)
        tint = rng.choice(["#fbeee6", "#f3cfc0", "#f7e3d3"])
        fan = [
            (x + r * math.cos(a), y - r * abs(math.sin(a)))
            for a in (0, 0.5, 1.05, 1.57, 2.1, 2.64, 3.14)
        ]
        canvas.polygon([*fan, (x, y + r * 0.6)], tint)
        for px, py in fan[1:-1:2]:
            canvas.line([(x, y + r * 0.5), (px, py)], 0.3, mix(tint, "#b98f7c", 0.5))
