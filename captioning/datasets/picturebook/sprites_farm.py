"""The horse, the bird and the rabbit of the picture book."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    Blob,
    Box,
    Brush,
    Limb,
    Oval,
    Poly,
    Tones,
    eye,
    far,
    mix,
    tones,
)
from captioning.datasets.picturebook.sprites_animals import pale

_ROSE = (240, 130, 140)
_LIP = (150, 66, 92)


def paint_horse(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A horse: long head, mane, hooves."""
    paint = tones(colour)
    mane = tones(mix(paint.line, paint.dark, 0.25))
    if pose == "running":
        away = (((20, 54), (40, 50), (46, 30)), ((-28, 52), (-34, 30), (-54, 22)))
        near = (((14, 54), (40, 42), (62, 42)), ((-32, 54), (-48, 38), (-66, 18)))
        tail = ((-36, 70), (-54, 76), (-76, 64))
    else:
        away = (((20, 50), (22, 30), (21, 7)), ((-22, 50), (-19, 30), (-19, 7)))
        near = (((11, 50), (9, 30), (10, 7)), ((-31, 52), (-35, 30), (-32, 7)))
        tail = ((-36, 68), (-53, 62), (-53, 28))
    b.part(mane, Limb(tail, 9, 13))
    for leg in away:
        _horse_leg(b, far(paint), leg)
    b.part(far(paint), Poly(((36, 106), (44, 119), (46, 102))))
    b.part(mane, Blob(((30, 118), (10, 104), (2, 78), (10, 68), (24, 94), (40, 112))))
    for leg in near:
        _horse_leg(b, paint, leg)
    legs = tuple(Limb(leg[:2], 16, 11) for leg in near)
    body = (
        Oval(-9, 60, 31, 17),
        Limb(((9, 62), (23, 80), (31, 100)), 31, 20),
        Limb(((33, 102), (48, 92), (62, 76)), 22, 15),
    )
    b.part(paint, *body, *legs, dark=(Oval(-8, 44, 30, 8),))
    b.flat(paint.base, *legs)
    b.part(tones(pale(colour))._replace(line=paint.line), Oval(62, 77, 10.5, 9, -40), edge=0.5)
    b.flat(paint.line, Oval(66, 79, 1.9, 2.6))
    b.stroke(paint.line, ((57, 71), (62, 70), (66, 72)), 1.6)
    b.part(paint, Poly(((26, 108), (30, 124), (38, 109))))
    b.part(mane, Blob(((23, 112), (34, 119), (43, 110), (42, 100), (34, 106), (23, 100))), edge=0.8)
    b.part(mane, Limb(((23, 106), (14, 92), (7, 74)), 10, 6), edge=0.8)
    eye(b, 43, 97, 4.6, CLOUD)
    b.anchor("seat", -9, 76)
    b.anchor("top", -9, 76)


def _horse_leg(b: Brush, paint: Tones, leg: tuple) -> None:
    b.part(paint, Limb(leg, 14, 8))
    x, y = leg[-1]
    hoof = ((x - 4.5, y), (x + 4.5, y), (x + 7.5, y - 7), (x - 6, y - 7))
    b.part(tones((88, 66, 62)), Poly(hoof))


def paint_bird(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A bird: beak, wings, tail feathers and a crest."""
    paint = tones(colour)
    beak = tones("yellow" if colour in ("orange", "red") else "orange")
    if pose == "flying":
        b.part(far(paint), Blob(((6, 52), (16, 80), (36, 96), (40, 76), (24, 50))))
        for dy in (-8, 0, 8):
            b.part(far(paint), Limb(((-24, 40), (-56, 40 + dy)), 9, 10))
        body = (Oval(0, 42, 34, 19, 8), Oval(30, 52, 19, 18))
        x, y = 32, 52
    else:
        for x in (2, 14):
            b.part(beak, Limb(((x, 22), (x, 3)), 4), Limb(((x - 6, 2), (x + 9, 2)), 4), edge=0.8)
        for dy in (-6, 4):
            b.part(far(paint), Limb(((-20, 38), (-52, 28 + dy)), 10, 9))
        body = (Oval(0, 42, 31, 27, 20), Oval(14, 68, 22, 20))
        x, y = 16, 69
    for dx, dy in ((-10, 26), (-2, 30)):
        b.part(paint, Limb(((x - 4, y + 14), (x + dx, y + dy)), 6, 5))
    b.part(beak, Poly(((x + 16, y + 8), (x + 38, y - 2), (x + 16, y - 9))))
    b.part(paint, *body)
    b.stroke(beak.line, ((x + 21, y - 1.5), (x + 33, y - 1.5)), 1.5)
    b.inside(body, pale(colour), Oval(x - 1, y - 36, 24, 20, 20))
    b.flat(mix(paint.base, (250, 90, 110), 0.35), Oval(x + 3, y - 7, 4, 3))
    eye(b, x + 9, y + 4, 5.4, CLOUD)
    if pose == "flying":
        wing = (
            (12, 46),
            (6, 72),
            (-14, 100),
            (-34, 104),
            (-28, 88),
            (-38, 82),
            (-26, 68),
            (-14, 40),
        )
        feathers = (((-30, 92), (-10, 62)), ((-30, 76), (-10, 54)))
    else:
        wing = ((10, 50), (-6, 60), (-24, 50), (-40, 30), (-22, 26), (-2, 30))
        feathers = (((-28, 34), (-8, 42)), ((-18, 30), (0, 37)))
    b.part(far(paint), Blob(wing))
    for feather in feathers:
        b.stroke(paint.line, feather, 1.8)


def paint_rabbit(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A rabbit: long ears, a fluffy white tail."""
    paint = tones(colour)
    fluff = tones((250, 250, 255))._replace(line=(130, 140, 170))
    if pose == "running":
        tail, head, ears = (-42, 44), (30, 52), ((8, 80, 32), (22, 84, 14))
        b.part(far(paint), Limb(((14, 32), (30, 20), (44, 18)), 10, 8))
        b.part(far(paint), Limb(((-24, 30), (-40, 16), (-56, 14)), 13, 9))
        near = (
            Limb(((16, 32), (32, 14), (42, 8)), 11, 9),
            Limb(((-26, 32), (-40, 8), (-54, 4)), 15, 10),
        )
        body = (Oval(-8, 38, 34, 18, 12), *near)
        shadow = Oval(-6, 20, 34, 8, 10)
    else:
        tail, head, ears = (-34, 18), (14, 54), ((6, 86, 10), (22, 86, -10))
        b.part(far(paint), Limb(((20, 30), (24, 6)), 10))
        body = (Oval(-6, 26, 27, 25), Limb(((13, 28), (16, 6)), 11), Oval(19, 5, 8, 5))
        shadow = Oval(-2, 2, 40, 10)
    x, y = tail
    b.part(fluff, Oval(x, y, 9, 9), Oval(x - 6, y + 4, 6, 6), Oval(x - 5, y - 5, 6, 6))
    x, y = head
    for ex, ey, turn in ears[1:]:
        _rabbit_ear(b, far(paint), ex, ey, turn)
    b.part(paint, *body, dark=(shadow,))
    if pose == "sitting":
        b.part(paint, Oval(-13, 19, 18, 16), dark=(Oval(-8, 8, 18, 10),))
        b.part(paint, Oval(-4, 5, 17, 5.5))
    _rabbit_ear(b, paint, *ears[0])
    b.ball(paint, Oval(x, y, 22, 19))
    b.flat(pale(colour), Oval(x + 6, y - 9, 8, 6.5), Oval(x + 15, y - 8, 7, 6))
    b.part(tones(CLOUD), Box(x + 9, y - 17.5, x + 15, y - 10.5, 1), edge=0.5)
    b.flat((232, 92, 120), Oval(x + 12, y - 4, 3.6, 2.8))
    b.stroke(_LIP, ((x + 6, y - 9.5), (x + 9, y - 11), (x + 12, y - 8)), 1.2)
    b.stroke(_LIP, ((x + 12, y - 8), (x + 15, y - 11), (x + 18, y - 9.5)), 1.2)
    b.flat(mix(paint.base, (250, 90, 110), 0.35), Oval(x - 5, y - 6, 4.5, 3.2))
    for dx in (0, 15):
        eye(b, x + dx, y + 5, 4, CLOUD)


def _rabbit_ear(b: Brush, paint: Tones, x: float, y: float, turn: float) -> None:
    b.part(paint, Oval(x, y, 7.5, 23, turn))
    b.flat(_ROSE, Oval(x, y - 1, 3.6, 17, turn))
