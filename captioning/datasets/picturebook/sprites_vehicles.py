"""What drives in the picture book: the car, the bus and the bicycle."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    GLASS,
    INK,
    STEEL,
    TYRE,
    Blob,
    Box,
    Brush,
    Limb,
    Oval,
    Poly,
    Ring,
    Tones,
    shade,
    tones,
)

_LAMP = (255, 226, 120)
_STOP = (214, 60, 60)


def _wheel(b: Brush, x: float, y: float, r: float, hub: Tones) -> None:
    b.part(tones(TYRE)._replace(line=(30, 30, 44)), Oval(x, y, r, r))
    b.flat(STEEL, Oval(x, y, r * 0.58, r * 0.58))
    b.flat(hub.base, Oval(x, y, r * 0.36, r * 0.36))
    b.flat(CLOUD, Oval(x - r * 0.12, y + r * 0.14, r * 0.13, r * 0.13))


def _pane(b: Brush, paint: Tones, *shapes: Box | Poly | Blob) -> None:
    """Windows, each with a streak of light."""
    glass = Tones(GLASS, shade(GLASS, -0.15), CLOUD, paint.line)
    b.part(glass, *shapes, edge=0.7)
    streaks = []
    for shape in shapes:
        points = (
            ((shape.x0, shape.y0), (shape.x1, shape.y1)) if isinstance(shape, Box) else shape[0]
        )
        x0, x1 = min(p[0] for p in points), max(p[0] for p in points)
        y0, y1 = min(p[1] for p in points), max(p[1] for p in points)
        m, w = x0 + 0.3 * (x1 - x0), 0.16 * (x1 - x0)
        streaks.append(Poly(((m, y0), (m + w, y0), (m + w + 6, y1), (m + 6, y1))))
    b.inside(shapes, CLOUD, *streaks)


def paint_car(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A car: a saloon with a boot, or a short round hatchback."""
    paint = tones(colour)
    if pose == "saloon":
        nose, tail, wheels, roof = 84, -84, (-50, 50), (-6, 78)
        cabin = Poly(((-54, 44), (-36, 76), (26, 76), (52, 44)))
        panes = (
            Poly(((-42, 48), (-30, 70), (-8, 70), (-8, 48))),
            Poly(((0, 48), (0, 70), (22, 70), (40, 48))),
        )
        body = (Box(tail, 16, nose, 50, 15), cabin)
    else:
        nose, tail, wheels, roof = 64, -62, (-36, 38), (-14, 92)
        cabin = Blob(((-58, 40), (-58, 70), (-44, 90), (-12, 92), (18, 86), (36, 58), (40, 40)))
        panes = (
            Poly(((-48, 56), (-44, 76), (-36, 82), (-16, 83), (-16, 56))),
            Poly(((-8, 56), (-8, 83), (14, 79), (28, 56))),
        )
        body = (Box(tail, 16, nose, 58, 17), cabin)
    for x in (tail + 2, nose - 2):
        b.part(tones(STEEL), Box(x - 7, 16, x + 7, 25, 4))
    b.part(
        paint,
        *body,
        dark=(Box(tail - 5, 10, nose + 5, 28),),
        light=(Limb(((tail + 10, 46), (nose - 20, 46)), 3),),
    )
    _pane(b, paint, *panes)
    door = -4
    b.stroke(paint.line, ((door, 20), (door, 70)), 1.6)
    b.stroke(paint.line, ((door + 8, 38), (door + 18, 38)), 3)
    b.part(tones(_LAMP), Oval(nose - 7, 38, 6.5, 7.5), edge=0.8)
    b.part(tones(_STOP), Box(tail, 32, tail + 7, 44, 2), edge=0.8)
    for x in wheels:
        b.flat(paint.line, Oval(x, 18, 20, 20))
        _wheel(b, x, 16, 16, paint)
    b.anchor("top", *roof)
    b.anchor("seat", roof[0], roof[1])


def paint_bus(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A bus: a long city bus, or a school bus with a bonnet."""
    paint = tones(colour)
    band = (70, 92, 140) if colour == "white" else CLOUD
    if pose == "city":
        body = (Box(-92, 15, 92, 98, 13),)
        panes = tuple(Box(x, 52, x + 26, 82, 4) for x in (-84, -52, -20, 12))
        door, front, wheels = 48, 92, (-56, 38)
    else:
        body = (Box(-92, 15, 60, 98, 13), Box(36, 15, 92, 56, 12))
        panes = tuple(Box(x, 54, x + 24, 80, 4) for x in (-84, -55, -26))
        door, front, wheels = 8, 92, (-56, 62)
    b.part(tones(STEEL), Box(-96, 14, 97, 22, 3))
    b.part(paint, *body, dark=(Box(-100, 10, 100, 30),), light=(Limb(((-80, 93), (50, 93)), 3.5),))
    if pose == "city":
        b.inside(body, band, Box(-100, 38, 100, 45))
        b.part(tones(_LAMP), Box(-30, 86, 30, 95, 3), edge=0.7)
        for x in (-20, -6, 8):
            b.flat(INK, Box(x, 89, x + 9, 92))
        _pane(b, paint, *panes, Box(78, 50, 94, 84, 4))
        _pane(b, paint, Box(door, 22, door + 12, 82, 3), Box(door + 14, 22, door + 26, 82, 3))
    else:
        for y in (35, 45):
            b.inside(body, INK if colour != "white" else (70, 92, 140), Box(-100, y, 100, y + 4))
        b.part(tones(_LAMP), Box(40, 97, 52, 102, 2), Box(-84, 97, -72, 102, 2), edge=0.8)
        _pane(b, paint, *panes, Poly(((40, 58), (40, 84), (58, 84), (58, 58))))
        _pane(b, paint, Box(door, 22, door + 22, 82, 3))
        b.stroke(paint.line, ((66, 50), (86, 50)), 2)
    b.part(tones(_LAMP), Oval(front - 5, 32, 6, 7), edge=0.8)
    b.part(tones(_STOP), Box(-92, 30, -86, 44, 2), edge=0.8)
    for x in wheels:
        b.flat(paint.line, Oval(x, 18, 20, 20))
        _wheel(b, x, 16, 16, paint)
    b.anchor("top", -10, 99)


def paint_bicycle(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A bicycle, with or without a basket of flowers."""
    paint = tones(colour)
    tyre = tones(TYRE)
    rear, front, crank, saddle, head = (-42, 26), (42, 26), (-4, 22), (-18, 62), (28, 64)
    for x, y in (rear, front):
        for dx, dy in ((22, 0), (0, 22), (15, 15), (15, -15)):
            b.stroke(STEEL, ((x - dx, y - dy), (x + dx, y + dy)), 1.2)
        b.part(tyre, Ring(x, y, 27, 6), edge=0.5)
        b.part(paint, Ring(x, y, 21.5, 4.5), edge=0.5)
        b.part(tones(STEEL), Oval(x, y, 4.5, 4.5), edge=0.7)
    frame = (
        (rear, crank),
        (crank, saddle),
        (saddle, rear),
        (crank, head),
        (saddle, head),
        (head, front),
    )
    bars = (((28, 64), (24, 78)),)
    b.part(tones(STEEL), Limb((saddle, (-20, 70)), 5), *(Limb(bar, 6) for bar in bars))
    b.part(paint, *(Limb(tube, 7) for tube in frame))
    b.flat(paint.light, Limb(((-14, 60), (22, 62)), 2))
    b.part(tones(STEEL), Ring(*crank, 9, 3.5), edge=0.7)
    b.part(tyre, Limb(((crank), (4, 12)), 3.5), Limb(((-1, 11), (10, 11)), 5), edge=0.5)
    b.part(
        tones((122, 78, 56)), Blob(((-36, 74), (-28, 77), (-8, 74), (-6, 70), (-24, 68), (-35, 68)))
    )
    if pose == "basket":
        b.part(tones((122, 78, 56)), Limb(((22, 79), (14, 82), (6, 78)), 6))
        wicker = tones((226, 176, 110))
        for x, y, petal in ((40, 76, "pink"), (52, 78, "yellow"), (62, 75, "red")):
            b.part(tones(petal if petal != colour else "white"), Oval(x, y, 6, 6), edge=0.7)
            b.flat((255, 236, 150), Oval(x, y, 2, 2))
        b.part(wicker, Poly(((34, 74), (68, 74), (63, 50), (39, 50))))
        for y in (58, 66):
            b.stroke(wicker.line, ((37, y), (65, y)), 1.6)
        for x in (46, 56):
            b.stroke(wicker.line, ((x, 52), (x, 72)), 1.4)
    else:
        b.part(tones(TYRE), Limb(((24, 79), (40, 82), (44, 70), (36, 66)), 6))
        b.part(tones(_STOP), Oval(-38, 60, 4, 4), edge=0.7)
        b.part(tones(_LAMP), Oval(40, 58, 5, 5), edge=0.7)
    b.anchor("seat", -20, 75)
    b.anchor("top", -20, 75)
    b.anchor("hand", 30, 79)
