"""What sails and flies in the picture book: the boat, the plane and the hot-air balloon."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    GLASS,
    INK,
    STEEL,
    TYRE,
    WOOD,
    Blob,
    Box,
    Brush,
    Limb,
    Oval,
    Poly,
    Ring,
    Tones,
    far,
    mix,
    shade,
    tones,
    trim,
)

_CANVAS = Tones((255, 250, 240), (232, 226, 224), CLOUD, (120, 112, 132))


def _glass(paint: Tones) -> Tones:
    return Tones(GLASS, shade(GLASS, -0.15), CLOUD, paint.line)


def paint_boat(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A sailing boat, or a little steamer with a funnel."""
    paint = tones(colour)
    stripe = paint.dark if colour == "white" else CLOUD
    if pose == "sailing":
        b.part(tones(WOOD), Limb(((0, 20), (0, 106)), 4.5))
        b.part(
            _CANVAS,
            Poly(((-5, 100), (-5, 34), (-48, 34), (-26, 66))),
            dark=(Poly(((-5, 60), (-5, 30), (-50, 30))),),
        )
        sail = (Poly(((5, 98), (44, 34), (5, 34))),)
        b.part(paint, *sail, dark=(Poly(((5, 34), (50, 34), (30, 58))),))
        b.inside(
            (Poly(((-5, 100), (-5, 34), (-48, 34), (-26, 66))),), paint.base, Box(-60, 50, 0, 62)
        )
        b.part(trim(colour), Poly(((0, 108), (18, 102), (0, 96))), edge=0.8)
        hull = (
            Blob(((-56, 26), (-40, 4), (-10, 0), (30, 2), (48, 12), (58, 28), (20, 24), (-20, 23))),
        )
        b.part(paint, *hull, dark=(Oval(10, 0, 60, 8),))
        b.inside(hull, stripe, Limb(((-60, 19), (0, 16), (60, 21)), 4))
        b.anchor("top", 0, 25)
    else:
        puff = Tones((244, 246, 250), (214, 220, 232), CLOUD, (140, 148, 170))
        b.part(puff, Oval(-18, 92, 9, 8), Oval(-30, 101, 11, 9), Oval(-46, 106, 13, 10))
        b.part(paint, Poly(((-16, 56), (-19, 88), (1, 88), (-1, 56))), dark=(Box(-8, 50, 6, 90),))
        b.inside((Box(-19, 56, 1, 88),), stripe, Box(-19, 72, 1, 79))
        b.part(_CANVAS, Box(-38, 28, 26, 58, 4), dark=(Box(8, 20, 30, 60),))
        b.part(paint, Box(-42, 56, 30, 63, 3))
        for x in (-27, -9):
            b.part(_glass(paint), Oval(x, 45, 6.5, 6.5), edge=0.8)
        b.part(_glass(paint), Box(6, 38, 20, 52, 2), edge=0.8)
        hull = (
            Blob(((-64, 34), (-54, 6), (-20, 0), (30, 1), (52, 12), (68, 40), (34, 30), (-20, 28))),
        )
        b.part(paint, *hull, dark=(Oval(10, 0, 74, 9),))
        b.inside(hull, stripe, Limb(((-66, 25), (0, 21), (70, 30)), 4))
        for x in (-34, -14, 6, 26):
            b.flat(paint.line, Oval(x, 13, 3.4, 3.4))
        b.part(tones("red" if colour != "red" else "orange"), Ring(42, 22, 8, 4), edge=0.6)
        b.anchor("top", -4, 64)
    b.anchor("seat", -12, 26)


def paint_plane(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A plane: a fat propeller plane or a slim jet."""
    paint = tones(colour)
    if pose == "propeller":
        _propeller_plane(b, paint, trim(colour), colour)
    else:
        _jet(b, paint, colour)
    b.anchor("top", -10, 80)


def _propeller_plane(b: Brush, paint: Tones, accent: Tones, colour: str) -> None:
    for x in (-4, 30):
        b.part(tones(STEEL), Limb(((x, 30), (x + 4, 12)), 5), edge=0.7)
        b.part(tones(TYRE), Oval(x + 5, 9, 9, 9), edge=0.7)
        b.flat(STEEL, Oval(x + 5, 9, 4, 4))
    b.part(
        paint, Poly(((-86, 58), (-90, 96), (-72, 96), (-54, 60))), light=(Box(-92, 82, -60, 89),)
    )
    body = Blob(
        (
            (62, 52),
            (52, 72),
            (20, 76),
            (-30, 68),
            (-84, 62),
            (-88, 54),
            (-30, 32),
            (20, 26),
            (52, 32),
        )
    )
    b.part(_glass(paint), Oval(8, 74, 22, 16))
    b.inside((Oval(8, 74, 22, 16),), CLOUD, Limb(((-4, 72), (6, 92)), 5))
    b.part(paint, body, dark=(Oval(-10, 24, 80, 14),))
    b.inside(
        (body,),
        CLOUD if colour != "white" else paint.dark,
        Limb(((-90, 57), (-20, 56), (70, 58)), 5),
    )
    b.part(accent, Limb(((-66, 58), (-88, 52)), 11, 9))
    b.part(far(paint), Limb(((14, 46), (-22, 30)), 22, 17), light=())
    b.flat(paint.base, Limb(((14, 48), (-21, 32.5)), 16, 11))
    b.part(tones((150, 104, 70)), Oval(70, 52, 4, 36), edge=0.8)
    b.ball(accent, Oval(65, 52, 10, 11))


def _jet(b: Brush, paint: Tones, colour: str) -> None:
    b.part(far(paint), Poly(((8, 62), (-26, 92), (-42, 92), (-24, 60))))
    b.part(
        paint,
        Poly(((-70, 58), (-100, 98), (-82, 98), (-44, 64))),
        light=(Poly(((-100, 98), (-82, 98), (-74, 90), (-94, 90))),),
    )
    body = Blob(
        (
            (98, 46),
            (84, 60),
            (50, 66),
            (-40, 66),
            (-96, 62),
            (-90, 52),
            (-50, 36),
            (50, 34),
            (86, 38),
        )
    )
    b.part(paint, body, dark=(Oval(0, 32, 100, 9),))
    b.inside(
        (body,), CLOUD if colour != "white" else paint.dark, Limb(((-100, 46), (110, 46)), 4.5)
    )
    b.part(_glass(paint), Poly(((68, 56), (72, 63), (84, 59), (90, 53))), edge=0.8)
    for x in (-46, -28, -10, 8, 26, 44):
        b.part(_glass(paint), Oval(x, 56, 5.5, 5.5), edge=0.6)
    b.part(far(paint), Poly(((-78, 54), (-104, 44), (-92, 42), (-60, 48))))
    b.part(tones(STEEL), Box(-18, 12, 22, 30, 8), edge=0.9)
    b.flat(INK, Oval(20, 21, 4, 8))
    b.part(
        paint,
        Poly(((22, 44), (-44, 8), (-64, 8), (-26, 44))),
        light=(Poly(((22, 44), (-44, 8), (-50, 8), (12, 44))),),
    )


def paint_balloon(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A hot-air balloon with a basket on ropes."""
    paint = tones(colour)
    other = paint.dark if colour == "white" else CLOUD
    for x in (-9, 9):
        b.stroke((110, 92, 84), ((x * 1.5, 34), (x, 14)), 1.8)
    skin = (
        Blob(
            (
                (0, 102),
                (26, 94),
                (38, 70),
                (30, 48),
                (15, 32),
                (-15, 32),
                (-30, 48),
                (-38, 70),
                (-26, 94),
            )
        ),
    )
    b.part(paint, *skin)
    if pose == "striped":
        b.inside(skin, other, Oval(0, 66, 27, 44))
        b.inside(skin, paint.base, Oval(0, 66, 13, 46))
        b.inside(skin, mix(paint.base, paint.dark, 0.8), Oval(38, 64, 9, 50, 12))
    else:
        b.inside(skin, paint.dark, Oval(36, 56, 14, 50, 14))
        b.inside(skin, other, Box(-40, 66, 40, 73))
        b.inside(
            skin,
            paint.line,
            *(Poly(((x - 7, 66), (x + 7, 66), (x, 56))) for x in range(-36, 37, 14)),
        )
    b.inside(
        skin, shade(paint.base, 0.65) if colour != "white" else CLOUD, Oval(-20, 84, 5, 10, -32)
    )
    b.part(far(paint), Box(-15, 29, 15, 35, 3))
    wicker = tones((206, 150, 92))
    b.part(tones((255, 190, 80)), Poly(((-3, 20), (3, 20), (0, 30))), edge=0.4)
    b.part(wicker, Box(-12, 0, 12, 16, 4), dark=(Box(5, -2, 14, 20),))
    b.flat(wicker.light, Box(-12, 12, 12, 15, 1))
    b.stroke(wicker.line, ((-10, 6), (10, 6)), 1.4)
    b.anchor("seat", 0, 15)
