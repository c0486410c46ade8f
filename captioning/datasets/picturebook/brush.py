"""A small drawing kit over Pillow: shapes in design units, painted as outlined, shaded parts.

Design units: x runs to the right from the middle of the sprite, y runs up from the ground, and a
sprite is about 100 units tall. Light falls from the upper left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

RGB = tuple[int, int, int]
Point = tuple[float, float]

# Body colour, shade and outline, by eye: multiplication turns yellow to mud, white to nothing.
_PAINTS: dict[str, tuple[RGB, RGB, RGB]] = {
    "red": ((222, 52, 48), (184, 34, 44), (124, 18, 34)),
    "orange": ((247, 138, 32), (222, 106, 20), (158, 66, 10)),
    "yellow": ((252, 212, 48), (240, 178, 30), (176, 112, 10)),
    "green": ((58, 166, 84), (38, 132, 72), (18, 84, 52)),
    "blue": ((52, 120, 224), (36, 88, 186), (18, 46, 116)),
    "purple": ((136, 80, 188), (104, 56, 156), (62, 28, 102)),
    "pink": ((248, 142, 184), (230, 106, 156), (162, 52, 102)),
    "white": ((248, 249, 252), (206, 217, 235), (104, 120, 156)),
}
PALETTE: dict[str, RGB] = {name: paint[0] for name, paint in _PAINTS.items()}


class Tones(NamedTuple):
    """One paint: its body colour, the side in shade, the lit side, and the outline."""

    base: RGB
    dark: RGB
    light: RGB
    line: RGB


SKIN: tuple[RGB, ...] = (
    (255, 220, 190),
    (176, 116, 78),
    (240, 194, 154),
    (122, 78, 54),
    (214, 160, 116),
)
HAIR: tuple[RGB, ...] = (
    (104, 64, 40),
    (62, 50, 62),
    (226, 176, 92),
    (78, 52, 44),
    (176, 92, 48),
    (74, 58, 58),
)
INK: RGB = (44, 42, 58)  # eyes, noses, mouths
CLOUD: RGB = (255, 255, 255)
GLASS: RGB = (180, 222, 244)
STEEL: RGB = (176, 186, 200)
TYRE: RGB = (62, 64, 80)
WOOD: RGB = (176, 128, 88)
SLATE: RGB = (104, 104, 124)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`share` (0..1) of the second colour in the first."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def shade(colour: RGB, amount: float) -> RGB:
    """A colour made lighter (amount > 0) or darker and a little cooler (amount < 0).

    Args:
        colour (tuple): red, green, blue, 0 to 255.
        amount (float): -1 (nearly black) to 1 (white).

    Returns:
        tuple: the new colour.
    """
    if amount >= 0:
        return mix(colour, (255, 255, 255), amount)
    return mix(colour, (28, 20, 48), -amount)


@lru_cache(maxsize=512)
def tones(colour: str | RGB) -> Tones:
    """The paint of a colour, named (one of `PALETTE`) or mixed (red, green, blue)."""
    if isinstance(colour, str):
        base, dark, line = _PAINTS[colour]
        return Tones(base, dark, shade(base, 0.0 if colour == "white" else 0.42), line)
    return Tones(colour, shade(colour, -0.2), shade(colour, 0.4), shade(colour, -0.58))


def far(paint: Tones) -> Tones:
    """The paint of a part on the side away from the reader: in shade."""
    return paint._replace(base=paint.dark, dark=paint.dark)


def trim(colour: str, light: str = "yellow", dark: str = "red") -> Tones:
    """A small accent (collar, bow, lamp): `light`, or `dark` where that would not stand out."""
    return tones(dark if colour in (light, "orange", "white") else light)


class Oval(NamedTuple):
    """An ellipse around (x, y), turned anticlockwise by `turn` degrees."""

    x: float
    y: float
    rx: float
    ry: float
    turn: float = 0.0


class Box(NamedTuple):
    """A rectangle from (x0, y0), lower left, to (x1, y1), upper right, with corner radius r."""

    x0: float
    y0: float
    x1: float
    y1: float
    r: float = 0.0


class Poly(NamedTuple):
    """A polygon with straight sides."""

    points: tuple[Point, ...]


class Blob(NamedTuple):
    """A closed smooth curve through the points."""

    points: tuple[Point, ...]


class Limb(NamedTuple):
    """A thick smooth stroke through the points, round at the ends, from `width` to `end` wide."""

    points: tuple[Point, ...]
    width: float
    end: float | None = None


class Ring(NamedTuple):
    """A circle's rim around (x, y), open in the middle; r is its outer radius."""

    x: float
    y: float
    r: float
    width: float


Shape = Oval | Box | Poly | Blob | Limb | Ring


@lru_cache(maxsize=4096)
def _curve(points: tuple[Point, ...], closed: bool, steps: int = 6) -> tuple[Point, ...]:
    """Points on the Catmull-Rom spline through `points`."""
    n = len(points)
    out: list[Point] = []
    for i in range(n if closed else n - 1):
        if closed:
            p0, p1, p2, p3 = (points[(i + k - 1) % n] for k in range(4))
        else:
            p0, p1, p2, p3 = (points[min(max(i + k - 1, 0), n - 1)] for k in range(4))
        for step in range(steps):
            t = step / steps
            a = -0.5 * t**3 + t**2 - 0.5 * t
            b = 1.5 * t**3 - 2.5 * t**2 + 1
            c = -1.5 * t**3 + 2 * t**2 + 0.5 * t
            d = 0.5 * t**3 - 0.5 * t**2
            out.append(
                (
                    a * p0[0] + b * p1[0] + c * p2[0] + d * p3[0],
                    a * p0[1] + b * p1[1] + c * p2[1] + d * p3[1],
                )
            )
    if not closed:
        out.append(points[-1])
    return tuple(out)


@lru_cache(maxsize=4096)
def _ring(oval: Oval) -> tuple[Point, ...]:
    """Points around a turned ellipse."""
    cos, sin = math.cos(math.radians(oval.turn)), math.sin(math.radians(oval.turn))
    ring = []
    for k in range(28):
        u = oval.rx * math.cos(2 * math.pi * k / 28)
        v = oval.ry * math.sin(2 * math.pi * k / 28)
        ring.append((oval.x + u * cos - v * sin, oval.y + u * sin + v * cos))
    return tuple(ring)


@lru_cache(maxsize=4096)
def _normals(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Unit vectors pointing out of a closed curve, one at each point."""
    n = len(points)
    twice_area = sum(
        points[k - 1][0] * points[k][1] - points[k][0] * points[k - 1][1] for k in range(n)
    )
    sign = 1.0 if twice_area > 0 else -1.0
    out = []
    for k in range(n):
        (x0, y0), (x1, y1) = points[k - 1], points[(k + 1) % n]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        out.append((sign * (y1 - y0) / length, -sign * (x1 - x0) / length))
    return tuple(out)


@lru_cache(maxsize=4096)
def _ribbon(limb: Limb) -> tuple[tuple[Point, ...], tuple[Point, ...], tuple[float, ...]]:
    """The outline of a stroke, its middle line, and its half widths along it."""
    end = limb.width if limb.end is None else limb.end
    line = _curve(limb.points, closed=False) if len(limb.points) > 2 else limb.points
    last = len(line) - 1
    half = tuple((limb.width + (end - limb.width) * k / last) / 2 for k in range(last + 1))
    left, right = [], []
    for k, (x, y) in enumerate(line):
        (x0, y0), (x1, y1) = line[max(k - 1, 0)], line[min(k + 1, last)]
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        dx, dy = -(y1 - y0) / length * half[k], (x1 - x0) / length * half[k]
        left.append((x + dx, y + dy))
        right.append((x - dx, y - dy))
    return tuple(left + right[::-1]), line, half


class Brush:
    """Paints parts on one transparent layer.

    Args:
        size (tuple): width and height of the layer in pixels.
        scale (float): pixels per design unit.
        origin (tuple): the pixel of design point (0, 0).
        edge (float): width of the outlines in pixels.
    """

    def __init__(self, size: tuple[int, int], scale: float, origin: Point, edge: float) -> None:
        self.image = Image.new("RGBA", size, (0, 0, 0, 0))
        self.scale, self.origin, self.edge = scale, origin, edge
        self.anchors: dict[str, Point] = {}
        self._draw = ImageDraw.Draw(self.image)

    def anchor(self, name: str, x: float, y: float) -> None:
        """Remembers a point of the design by name, in pixels."""
        self.anchors[name] = self._pixel((x, y))

    def part(
        self,
        paint: Tones,
        *shapes: Shape,
        dark: Sequence[Shape] = (),
        light: Sequence[Shape] = (),
        edge: float = 1.0,
    ) -> None:
        """Paints the union of some shapes: one outline around all, then shade and light inside.

        Args:
            paint (Tones): the colours to use.
            shapes (Shape): what to fill.
            dark (Sequence): shapes in shade, clipped to the part.
            light (Sequence): lit shapes, clipped to the part.
            edge (float): outline width relative to the brush's; 0 for none.
        """
        if edge > 0:
            for shape in shapes:
                self._paint(self._draw, shape, paint.line, self.edge * edge)
        for shape in shapes:
            self._paint(self._draw, shape, paint.base, 0.0)
        if dark:
            self.inside(shapes, paint.dark, *dark)
        if light:
            self.inside(shapes, paint.light, *light)

    def ball(self, paint: Tones, oval: Oval, edge: float = 1.0) -> None:
        """Paints an ellipse that looks round: the rim away from the light is in shade."""
        self.part(paint._replace(base=paint.dark), oval, edge=edge)
        lit = (oval.x - 0.09 * oval.rx, oval.y + 0.09 * oval.ry, 0.9 * oval.rx, 0.9 * oval.ry)
        self.flat(paint.base, Oval(*lit, oval.turn))

    def flat(self, colour: RGB, *shapes: Shape) -> None:
        """Fills shapes without outline."""
        for shape in shapes:
            self._paint(self._draw, shape, colour, 0.0)

    def inside(self, clip: Sequence[Shape], colour: RGB, *shapes: Shape) -> None:
        """Fills shapes, but only where they lie inside the union of `clip`."""
        masks = []
        for group in (clip, shapes):
            mask = Image.new("L", self.image.size, 0)
            draw = ImageDraw.Draw(mask)
            for shape in group:
                self._paint(draw, shape, 255, 0.0)
            masks.append(mask)
        self.image.paste((*colour, 255), (0, 0), ImageChops.darker(*masks))

    def stroke(self, colour: RGB, points: tuple[Point, ...], width: float) -> None:
        """A thin smooth line, at least a pixel and a half wide, `width` in design units."""
        self.flat(colour, Limb(points, max(width, 1.5 / self.scale)))

    def _pixel(self, point: Point) -> Point:
        return (
            self.origin[0] + point[0] * self.scale,
            self.origin[1] - point[1] * self.scale,
        )

    def _paint(self, draw: ImageDraw.ImageDraw, shape: Shape, ink: RGB | int, grow: float) -> None:
        """Fills a shape, made larger by `grow` pixels on all sides."""
        if isinstance(shape, Limb):
            self._paint_limb(draw, shape, ink, grow)
        elif isinstance(shape, Ring):
            x, y = self._pixel((shape.x, shape.y))
            r, width = shape.r * self.scale + grow, shape.width * self.scale + 2 * grow
            draw.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=max(1, round(width)))
        elif isinstance(shape, Oval) and not shape.turn:
            x, y = self._pixel((shape.x, shape.y))
            rx, ry = shape.rx * self.scale + grow, shape.ry * self.scale + grow
            draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=ink)
        elif isinstance(shape, Box):
            x0, y1 = self._pixel((shape.x0, shape.y0))
            x1, y0 = self._pixel((shape.x1, shape.y1))
            box = (x0 - grow, y0 - grow, x1 + grow, y1 + grow)
            draw.rounded_rectangle(box, shape.r * self.scale + grow, fill=ink)
        elif isinstance(shape, Oval):
            self._paint_curve(draw, _ring(shape), ink, grow)
        elif isinstance(shape, Blob):
            self._paint_curve(draw, _curve(shape.points, closed=True), ink, grow)
        else:
            self._paint_polygon(draw, shape.points, ink, grow)

    def _paint_curve(
        self, draw: ImageDraw.ImageDraw, points: tuple[Point, ...], ink: RGB | int, grow: float
    ) -> None:
        pixels = [self._pixel(point) for point in points]
        if grow > 0:  # y points down in pixels, up in the design
            pixels = [
                (x + grow * nx, y - grow * ny)
                for (x, y), (nx, ny) in zip(pixels, _normals(points), strict=True)
            ]
        draw.polygon(pixels, fill=ink)

    def _paint_polygon(
        self, draw: ImageDraw.ImageDraw, points: Sequence[Point], ink: RGB | int, grow: float
    ) -> None:
        pixels = [self._pixel(point) for point in points]
        draw.polygon(pixels, fill=ink)
        if grow <= 0:
            return
        draw.line([*pixels, pixels[0]], fill=ink, width=round(2 * grow))
        for x, y in pixels:
            draw.ellipse((x - grow, y - grow, x + grow, y + grow), fill=ink)

    def _paint_limb(
        self, draw: ImageDraw.ImageDraw, limb: Limb, ink: RGB | int, grow: float
    ) -> None:
        extra = grow / self.scale * 2
        end = limb.width if limb.end is None else limb.end
        grown = Limb(limb.points, limb.width + extra, end + extra) if grow else limb
        outline, line, half = _ribbon(grown)
        draw.polygon([self._pixel(point) for point in outline], fill=ink)
        for k in (0, -1) if len(line) < 8 else (0, len(line) // 2, -1):
            x, y = self._pixel(line[k])
            r = half[k] * self.scale
            draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)


@lru_cache(maxsize=64)
def _light(size: tuple[int, int]) -> Image.Image:
    """A soft fall of light from the upper left, to multiply a picture with."""
    small = Image.new("RGB", (8, 8))
    small.putdata(
        [
            mix((255, 255, 255), (232, 228, 242), (x + 2 * y) / 21)
            for y in range(8)
            for x in range(8)
        ]
    )
    return small.resize(size, Image.Resampling.BILINEAR)


def lit(image: Image.Image) -> Image.Image:
    """The picture with a soft fall of light over it: a touch darker towards the lower right."""
    soft = ImageChops.multiply(image.convert("RGB"), _light(image.size))
    soft.putalpha(image.getchannel("A"))
    return soft


def eye(b: Brush, x: float, y: float, r: float, white: RGB | None = None) -> None:
    """A bright eye looking ahead; `white` None for a dark button eye."""
    if white is not None:
        b.part(tones(white)._replace(line=INK), Oval(x, y, r * 1.3, r * 1.4), edge=0.45)
        x += 0.25 * r
    b.flat(INK, Oval(x, y, r * 0.85, r * 1.1))
    b.flat(CLOUD, Oval(x - r * 0.25, y + r * 0.4, r * 0.36, r * 0.42))
