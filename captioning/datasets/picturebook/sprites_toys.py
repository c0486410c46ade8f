"""The ball, the kite and the teddy of the picture book."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    INK,
    WOOD,
    Blob,
    Brush,
    Limb,
    Oval,
    Poly,
    Tones,
    eye,
    far,
    mix,
    tones,
    trim,
)
from captioning.datasets.picturebook.sprites_animals import pale


def paint_ball(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A beach ball with curved panels, or a ball with spots."""
    paint = tones(colour)
    other = (150, 178, 226) if colour == "white" else CLOUD
    skin = (Oval(0, 50, 48, 48),)
    b.part(paint, *skin)
    if pose == "striped":
        b.inside(skin, other, Blob(((-10, 74), (-34, 62), (-50, 30), (-30, 6), (-22, 40))))
        b.inside(skin, other, Blob(((-10, 74), (12, 50), (16, 6), (44, 8), (36, 48))))
        b.inside(skin, other, Blob(((-10, 74), (16, 86), (34, 100), (4, 104), (-10, 90))))
        b.part(paint, Oval(-10, 75, 8, 6.5, 20), edge=0.7)
    else:
        spots = (
            (-12, 62, 11, 11),
            (24, 70, 9, 11),
            (12, 34, 11, 11),
            (-26, 26, 9, 10),
            (-40, 54, 5, 10),
            (40, 38, 6, 10),
            (2, 92, 10, 5),
            (8, 6, 10, 5),
        )
        b.inside(skin, other, *(Oval(*spot) for spot in spots))
    shadow = Blob(((50, 60), (46, 20), (10, -2), (-26, 6), (8, 12), (34, 34)))
    b.inside(skin, mix(paint.dark, paint.line, 0.15), shadow)
    b.flat(CLOUD, Oval(-24, 80, 8, 4.5, 40))


def paint_kite(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A kite with a tail of bows, or a delta with streamers."""
    paint = tones(colour)
    accent = trim(colour, light="yellow", dark="blue")
    pale_side = pale(colour) if colour != "white" else (190, 206, 236)
    if pose == "diamond":
        tail = ((4, 36), (-8, 26), (4, 16), (-8, 4))
        b.stroke(paint.line, tail, 2)
        for x, y in ((-5, 27), (1, 15), (-7, 3)):
            b.part(
                accent,
                Poly(((x, y), (x - 9, y + 5), (x - 9, y - 4))),
                Poly(((x, y), (x + 9, y + 4), (x + 9, y - 5))),
                edge=0.7,
            )
        top, left, right, low = (4, 106), (-28, 78), (36, 76), (4, 36)
        cross = (4, 77)
        b.part(paint, Poly((top, right, low, left)))
        b.flat(pale_side, Poly((left, cross, top)))
        b.flat(paint.dark, Poly((right, cross, low)))
        b.flat(accent.base, Oval(4, 77, 6, 6))
        b.stroke(paint.line, (left, right), 2)
        b.stroke(paint.line, (top, low), 2)
        b.anchor("string", *low)
        b.anchor("tail", -8, 4)
        return
    for x in (-34, 34):
        b.part(accent, Limb(((x, 52), (x - 6, 36), (x + 3, 22), (x - 4, 8)), 6, 5), edge=0.8)
    b.part(far(paint), Limb(((0, 50), (5, 30), (-4, 16), (3, 0)), 8, 6), edge=0.8)
    b.part(paint, Poly(((0, 100), (62, 46), (24, 54), (0, 42), (-24, 54), (-62, 46))))
    b.flat(paint.dark, Poly(((0, 100), (62, 46), (24, 54), (0, 42))))
    b.flat(pale_side, Poly(((0, 100), (-14, 52), (-24, 54), (-36, 68))))
    b.part(accent, Poly(((0, 92), (9, 60), (0, 48), (-9, 60))), edge=0.8)
    b.part(tones(WOOD), Limb(((0, 98), (0, 44)), 2), edge=0.4)
    b.anchor("string", 0, 46)
    b.anchor("tail", 3, 0)


def paint_teddy(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A teddy bear: round ears, a bow tie, a stitched belly patch."""
    paint = tones(colour)
    soft = Tones(pale(colour), pale(colour), CLOUD, paint.line)
    if pose == "standing":
        for x in (-12, 12):
            b.part(paint, Limb(((x, 24), (x * 1.2, 9)), 19), Oval(x * 1.35, 7, 12, 7))
        b.part(paint, Limb(((14, 44), (28, 50), (36, 66)), 14))
        b.part(paint, Limb(((-14, 44), (-28, 36), (-32, 24)), 14))
        b.flat(soft.base, Oval(36, 66, 4.5, 4.5), Oval(-32, 23, 4.5, 4.5))
        middle = 32
    else:
        middle = 27
        for x in (-15, 15):
            b.part(paint, Limb(((x, 40), (x * 2, 24)), 14))
    b.ball(paint, Oval(0, middle, 23, 24))
    b.part(soft, Oval(0, middle - 1, 14, 15), edge=0.7)
    b.stroke(paint.base, ((0, middle + 10), (0, middle - 12)), 1.3)
    for y in (-6, 0, 6):
        b.stroke(paint.dark, ((-3.5, middle + y), (3.5, middle + y)), 1.5)
    if pose == "sitting":
        for x in (-25, 25):
            b.part(paint, Oval(x, 12, 13.5, 13))
            b.part(soft, Oval(x * 1.06, 12, 8, 8), edge=0.6)
            b.flat(
                paint.base,
                Oval(x * 1.06, 10, 3.4, 2.8),
                *(Oval(x * 1.06 + dx, 15.4, 1.6, 1.6) for dx in (-4, 0, 4)),
            )
    _teddy_head(b, paint, soft, trim(colour, dark="blue"), middle + 43)


def _teddy_head(b: Brush, paint: Tones, soft: Tones, bow: Tones, y: float) -> None:
    for x in (-21, 21):
        b.part(paint, Oval(x, y + 17, 10.5, 10.5))
        b.flat(soft.base, Oval(x * 0.98, y + 16.5, 6, 6))
    b.ball(paint, Oval(0, y, 27, 23))
    b.part(soft, Oval(0, y - 8, 12.5, 10), edge=0.6)
    b.flat(INK, Oval(0, y - 3.5, 5.4, 3.8))
    b.flat((150, 150, 170), Oval(-1.4, y - 2.4, 1.8, 1.1))
    b.stroke(INK, ((0, y - 6), (0, y - 11)), 1.5)
    b.stroke(INK, ((-5.5, y - 11), (0, y - 13.5), (5.5, y - 11)), 1.5)
    for x in (-11.5, 11.5):
        eye(b, x, y + 4, 4.4)
    wing = ((0, y - 22), (-14, y - 15), (-15, y - 30)), ((0, y - 22), (14, y - 15), (15, y - 30))
    b.part(bow, *(Poly(w) for w in wing))
    b.part(bow, Oval(0, y - 22, 4, 4), edge=0.8)
