"""Scenery made by people: the street, the living room and the harbour at night."""

from __future__ import annotations

import math
import random

from captioning.datasets.picturebook.scenery import PAGE, Canvas, Colour, mix

# --- street ------------------------------------------------------------------------------------


def facades(canvas: Canvas, rng: random.Random, base: float) -> None:
    """A closed row of pale flat house fronts with flat roofs, cut off by the edges of the page."""
    tints = ["#e6d3c3", "#d5d9d2", "#e3d9c2", "#d2d3de", "#e2cfd0", "#cfd9dc"]
    x, last = rng.uniform(-14, -4), ""
    while x < PAGE:
        width, top = rng.uniform(20, 32), rng.uniform(20, 36)
        tint = rng.choice([t for t in tints if t != last])
        last = tint
        canvas.box(x, top, x + width, base, tint)
        canvas.box(x - 0.4, top - 1.6, x + width + 0.4, top + 0.8, mix(tint, "#ffffff", 0.4))
        canvas.box(x, top + 0.8, x + width, top + 1.4, mix(tint, "#9a8f8a", 0.3))
        _facade_windows(canvas, rng, x, width, top, base, tint)
        x += width


def _facade_windows(
    canvas: Canvas,
    rng: random.Random,
    x: float,
    width: float,
    top: float,
    base: float,
    tint: Colour,
) -> None:
    columns = 3 if width > 25 else 2
    step = width / columns
    pane, frame = mix(tint, "#a9bccb", 0.55), mix(tint, "#ffffff", 0.5)
    y = top + 6
    while y + 9 < base - 13:
        for i in range(columns):
            left = x + step * (i + 0.5) - 2.3
            canvas.box(left - 0.6, y - 0.6, left + 5.2, y + 7.4, frame)
            canvas.box(left, y, left + 4.6, y + 6.8, pane)
            canvas.box(left + 2.05, y, left + 2.55, y + 6.8, frame)
        y += 12.5
    canvas.box(x, base - 13.5, x + width, base - 12.6, mix(tint, "#ffffff", 0.5))
    shop = mix(tint, rng.choice(["#b9a08e", "#9fb0a6", "#a3a3b8"]), 0.4)
    canvas.box(x + 2, base - 9.6, x + width - 8, base - 1.5, pane)
    canvas.box(x + width - 6.5, base - 9.6, x + width - 2, base, shop)
    stripes = max(4, round((width - 9) / 2.4))
    for i in range(stripes):
        left = x + 1.4 + i * (width - 8.8) / stripes
        canvas.box(
            left,
            base - 12.4,
            left + (width - 8.8) / stripes + 0.1,
            base - 8.8,
            mix(shop, "#ffffff", 0.15 + 0.5 * (i % 2)),
        )


def road_marks(canvas: Canvas, rng: random.Random, y: float, colour: Colour) -> None:
    """A dashed line along the road."""
    x = rng.uniform(-14, 0)
    while x < PAGE:
        canvas.polygon(
            [(x + 0.6, y - 0.5), (x + 9, y - 0.5), (x + 8.4, y + 0.6), (x, y + 0.6)], colour
        )
        x += 17


def slabs(canvas: Canvas, rng: random.Random, top: float, colour: Colour) -> None:
    """Joints between paving stones."""
    x = rng.uniform(-16, 0)
    while x < PAGE + 20:
        canvas.line([(x, top), (64 + (x - 64) * 1.18, PAGE)], 0.3, (*colour, 150))
        x += 14
    canvas.line([(0, top + 5.5), (PAGE, top + 5.5)], 0.3, (*colour, 150))


def street_lamp(canvas: Canvas, x: float, base: float, height: float, colour: str) -> None:
    """An old street lamp."""
    pole = mix(colour, "#ffffff", 0.2)
    canvas.box(x - 0.6, base - height, x + 0.6, base, pole)
    canvas.box(x - 1.6, base - 3, x + 1.6, base, pole, radius=0.6)
    canvas.polygon(
        [(x - 1.5, base - height), (x + 1.5, base - height), (x + 2.3, base - height - 5)]
        + [(x - 2.3, base - height - 5)],
        "#fbefc6",
    )
    canvas.polygon(
        [(x - 2.9, base - height - 5), (x + 2.9, base - height - 5), (x, base - height - 7.6)], pole
    )


# --- living room -------------------------------------------------------------------------------


def wallpaper(canvas: Canvas, rng: random.Random, bottom: float, colour: Colour) -> None:
    """Stripes, dots or sprigs on the wall."""
    kind, step = rng.choice(["stripes", "dots", "sprigs"]), rng.uniform(9, 12)
    soft = (*colour, 110)
    columns = int(PAGE / step) + 2
    for i in range(columns):
        if kind == "stripes":
            canvas.box(i * step, 0, i * step + step * 0.4, bottom, soft)
            continue
        for j in range(int(bottom / step) + 1):
            x, y = (i + 0.5 * (j % 2)) * step, (j + 0.5) * step
            canvas.ellipse(x, y, 0.8, 0.8, soft)
            if kind == "sprigs":
                canvas.ellipse(x - 1.2, y - 1.2, 0.9, 0.45, soft)
                canvas.ellipse(x + 1.2, y - 1.2, 0.9, 0.45, soft)


def window(canvas: Canvas, rng: random.Random, x: float, y: float) -> None:
    """A window with curtains; outside there is only sky and a hill."""
    top, bottom = rng.choice(
        [("#b5dbee", "#f2f4e2"), ("#c9bfe0", "#fbdfc4"), ("#bfd8e8", "#fdf0d2")]
    )
    w, h = rng.uniform(11, 14), rng.uniform(15, 18)
    canvas.box(x - w - 1.6, y - h - 1.6, x + w + 1.6, y + h + 1.6, "#fbf7ef", radius=0.8)
    for i in range(12):
        y0 = y - h + 2 * h * i / 12
        canvas.box(x - w, y0, x + w, y0 + 2 * h / 12 + 0.4, mix(top, bottom, i / 11))
    hill = [(x - w + 2 * w * i / 10, y + h * (0.52 - 0.2 * math.sin(i * 0.45))) for i in range(11)]
    canvas.polygon([*hill, (x + w, y + h), (x - w, y + h)], "#bcd0a4")
    canvas.box(x - 0.6, y - h, x + 0.6, y + h, "#fbf7ef")
    canvas.box(x - w, y - 0.6, x + w, y + 0.6, "#fbf7ef")
    canvas.box(x - w - 3, y + h + 1, x + w + 3, y + h + 3.2, "#efe6d6", radius=0.8)
    cloth = rng.choice(["#e3b9ad", "#b9c7ad", "#c9b8d2", "#e5cf9f", "#adc3cf"])
    for side in (-1, 1):
        edge, inner = x + side * (w + 3.5), x + side * (w * 0.35)
        drape = [
            (edge, y - h - 3),
            (inner, y - h - 3),
            (x + side * w * 0.75, y),
            (edge - side * 1.5, y + h + 4),
        ]
        canvas.polygon([*drape, (edge, y + h + 4)], cloth)
        for share in (0.25, 0.5, 0.75):
            fold = edge + (inner - edge) * share
            canvas.line(
                [(fold, y - h - 3), (edge + (fold - edge) * 0.45, y + h * 0.7)],
                0.4,
                mix(cloth, "#8f7a74", 0.3),
            )
    canvas.box(x - w - 5, y - h - 4, x + w + 5, y - h - 2.6, "#c9ad8d", radius=0.6)


def picture_frame(canvas: Canvas, rng: random.Random, x: float, y: float) -> None:
    """A framed picture of hills or of plain shapes."""
    w, h = rng.choice([(8, 6), (6, 8), (7, 7)])
    canvas.box(
        x - w - 1.4,
        y - h - 1.4,
        x + w + 1.4,
        y + h + 1.4,
        rng.choice(["#c7a679", "#b99a86", "#d8c6a4"]),
    )
    canvas.box(x - w, y - h, x + w, y + h, "#fbf6ea")
    inner = rng.choice(["#d5e3e8", "#f0e0cf", "#e3dcec"])
    canvas.box(x - w + 1.2, y - h + 1.2, x + w - 1.2, y + h - 1.2, inner)
    if rng.random() < 0.5:
        base = y + h - 1.2
        canvas.polygon(
            [(x - w + 1.2, base), (x - w * 0.3, y - h * 0.1), (x + w * 0.4, base)], "#a9bda7"
        )
        canvas.polygon(
            [(x - w * 0.2, base), (x + w * 0.45, y + h * 0.1), (x + w - 1.2, base)], "#c3d0ac"
        )
    else:
        for i in range(3):
            canvas.box(
                x - w * 0.6,
                y - h * 0.5 + i * h * 0.4,
                x + w * 0.6 - i * 1.4,
                y - h * 0.5 + i * h * 0.4 + 0.9,
                "#a8a3b5",
            )


def wall_clock(canvas: Canvas, rng: random.Random, x: float, y: float) -> None:
    """A round clock."""
    canvas.ellipse(x, y, 6.4, 6.4, "#b99a7c")
    canvas.ellipse(x, y, 5.2, 5.2, "#fdf8ee")
    for i in range(12):
        turn = i * math.pi / 6
        canvas.ellipse(x + 4.3 * math.sin(turn), y - 4.3 * math.cos(turn), 0.35, 0.35, "#8b7a70")
    for length, turn in ((2.6, rng.uniform(0, 6.3)), (3.8, rng.uniform(0, 6.3))):
        canvas.line(
            [(x, y), (x + length * math.sin(turn), y - length * math.cos(turn))], 0.6, "#6f625c"
        )


def floorboards(canvas: Canvas, rng: random.Random, top: float, colour: Colour) -> None:
    """Boards that run towards the reader."""
    for i in range(-6, 20):
        x = 64 + (i * 9.6 - 64) * 0.72
        canvas.line([(x, top), (64 + (x - 64) * 1.75, PAGE)], 0.35, (*colour, 150))
    for _ in range(10):
        y, x = rng.uniform(top + 3, 126), rng.uniform(0, PAGE)
        canvas.line([(x, y), (x + 5, y)], 0.3, (*colour, 110))


def rug(canvas: Canvas, rng: random.Random, x: float, y: float) -> None:
    """A round or a square rug."""
    cloth, edge = rng.choice(
        [
            ("#dcb9a9", "#c99d8f"),
            ("#b9c4b0", "#9fae98"),
            ("#b8bfd3", "#9fa8c2"),
            ("#dccfa8", "#c5b48a"),
        ]
    )
    if rng.random() < 0.6:
        for share, tint in (
            (1, edge),
            (0.9, cloth),
            (0.66, mix(cloth, "#ffffff", 0.35)),
            (0.56, cloth),
        ):
            canvas.ellipse(x, y, 46 * share, 13.5 * share, tint)
        return
    for grow, tint in ((0, edge), (1.6, mix(cloth, "#ffffff", 0.35)), (2.8, cloth)):
        low, high = y + 13 - grow * 0.8, y - 12 + grow * 0.8
        canvas.polygon(
            [
                (x - 36 + grow, high),
                (x + 36 - grow, high),
                (x + 48 - grow, low),
                (x - 48 + grow, low),
            ],
            tint,
        )
    for i in range(24):
        canvas.line([(x - 48 + i * 4.17, y + 13), (x - 48 + i * 4.17, y + 14.6)], 0.4, edge)


# --- harbour at night --------------------------------------------------------------------------


def far_shore(canvas: Canvas, rng: random.Random, y: float, colour: Colour) -> None:
    """Dark hills across the water with a few lights and their reflections."""
    phase = rng.uniform(0, 6.3)
    ridge = [
        (x * 4, y - 4 - 3 * math.sin(x * 0.21 + phase) - 1.5 * math.sin(x * 0.63 + phase))
        for x in range(33)
    ]
    canvas.polygon([*ridge, (PAGE, y), (0, y)], colour)
    for _ in range(rng.randint(9, 16)):
        x, up = rng.uniform(2, 126), rng.uniform(0.8, 3.2)
        canvas.ellipse(x, y - up, 0.5, 0.5, "#ffe3a1")
        canvas.box(x - 0.25, y + 1, x + 0.25, y + rng.uniform(4, 9), (255, 222, 150, 90))


def moon_path(canvas: Canvas, rng: random.Random, x: float, top: float, bottom: float) -> None:
    """The moon's light on the water."""
    for i in range(22):
        y = top + (bottom - top) * i / 21
        w = rng.uniform(1.2, 3.2) * (0.8 + i / 21)
        canvas.ellipse(x + rng.uniform(-1.6, 1.6), y, w, 0.45, (255, 241, 200, 150))


def quay_stones(canvas: Canvas, rng: random.Random, top: float, colour: Colour) -> None:
    """Joints between the stones of the quay, wider towards the reader."""
    rows = [top, top + 5, top + 12, top + 21, PAGE]
    for i, (y0, y1) in enumerate(zip(rows, rows[1:], strict=False)):
        canvas.line([(0, y0), (PAGE, y0)], 0.35, (*colour, 150))
        step = 11 + 3.5 * i
        x = rng.uniform(-step, 0)
        while x < PAGE:
            canvas.line([(x, y0), (64 + (x - 64) * 1.06, y1)], 0.35, (*colour, 150))
            x += step


def bollards(canvas: Canvas, rng: random.Random, y: float) -> None:
    """Posts for ropes at the edge of the quay."""
    for x in rng.sample([18, 46, 74, 102], 2):
        canvas.box(x - 1.4, y - 3.4, x + 1.4, y + 1, "#565472", radius=0.5)
        canvas.box(x - 2, y - 4.4, x + 2, y - 2.8, "#6d6b88", radius=0.7)


def harbour_lamp(canvas: Canvas, rng: random.Random, x: float, base: float, height: float) -> None:
    """A lit lamp on the quay, with its light on the stones."""
    top = base - height
    canvas.box(x - 0.6, top, x + 0.6, base, "#4f4d69")
    canvas.box(x - 1.6, base - 3, x + 1.6, base, "#4f4d69", radius=0.6)
    canvas.glow(x, top - 2.5, 15, "#ffdf9a", 0.5)
    canvas.polygon(
        [(x - 1.5, top), (x + 1.5, top), (x + 2.3, top - 5), (x - 2.3, top - 5)], "#fff1bd"
    )
    canvas.polygon([(x - 2.9, top - 5), (x + 2.9, top - 5), (x, top - 7.6)], "#4f4d69")
    canvas.ellipse(x, base + 8 + rng.uniform(0, 3), 17, 5, (255, 226, 165, 42))
