"""The dog and the cat of the picture book."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    INK,
    Blob,
    Brush,
    Limb,
    Oval,
    Poly,
    Tones,
    eye,
    far,
    shade,
    tones,
    trim,
)

_ROSE = (240, 130, 140)
_LIP = (150, 66, 92)


def pale(colour: str) -> tuple[int, int, int]:
    """The colour of bellies and muzzles."""
    return (246, 232, 222) if colour == "white" else shade(tones(colour).base, 0.66)


def paint_dog(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A dog: floppy ears, a muzzle, a collar, the tongue out."""
    paint = tones(colour)
    if pose == "sitting":
        b.part(paint, Limb(((-18, 10), (-36, 12), (-42, 28)), 9, 6))
        b.part(far(paint), Limb(((20, 40), (24, 6)), 11))
        body = Blob(((6, 60), (24, 50), (24, 28), (16, 8), (-18, 3), (-30, 16), (-18, 38)))
        b.part(paint, body, dark=(Oval(6, 2, 40, 12),))
        b.inside((body,), pale(colour), Oval(22, 36, 9, 20))
        b.part(paint, Oval(-12, 17, 17, 15), Oval(-6, 5, 13, 5.5))
        b.part(paint, Limb(((9, 36), (10, 6)), 11), Oval(13, 5, 8, 5.5))
        _dog_head(b, paint, colour, 14, 74, flying=False)
        return
    if pose == "running":
        away = (((14, 34), (32, 24), (42, 12)), ((-24, 34), (-34, 20), (-50, 16)))
        near = (((18, 36), (36, 30), (52, 26)), ((-26, 36), (-44, 30), (-56, 22)))
        tail = ((-30, 48), (-46, 56), (-62, 54))
    else:
        away = (((20, 34), (22, 20), (22, 6)), ((-18, 34), (-15, 20), (-16, 6)))
        near = (((12, 34), (11, 20), (10, 6)), ((-28, 36), (-31, 20), (-28, 6)))
        tail = ((-30, 46), (-44, 54), (-44, 76))
    b.part(paint, Limb(tail, 10, 6))
    for leg in away:
        b.part(far(paint), Limb(leg, 11, 9), Oval(leg[-1][0] + 2, leg[-1][1] - 1, 7, 5))
    shapes = [Oval(-8, 41, 31, 17), Limb(((10, 44), (22, 60)), 26)]
    for leg in near:
        shapes += [Limb(leg, 13, 10), Oval(leg[-1][0] + 2, leg[-1][1] - 1, 8, 5)]
    b.part(paint, *shapes, dark=(Oval(-8, 24, 26, 8),))
    b.flat(paint.base, *shapes[2:])
    b.flat(paint.dark, Oval(-18, 48, 9, 7, 20))
    _dog_head(b, paint, colour, 26, 74, flying=pose == "running")


def _dog_head(b: Brush, paint: Tones, colour: str, x: float, y: float, flying: bool) -> None:
    accent = trim(colour, dark="blue")
    b.part(accent, Limb(((x - 18, y - 16), (x - 4, y - 22), (x + 12, y - 20)), 6.5))
    b.part(tones((255, 214, 90)), Oval(x - 2, y - 26, 4, 4), edge=0.7)
    b.part(far(paint), Blob(((x + 8, y + 14), (x + 20, y + 18), (x + 24, y + 4), (x + 14, y + 4))))
    b.part(tones(_ROSE), Oval(x + 17, y - 19, 5, 8))
    b.part(paint, Oval(x, y, 22, 20), Oval(x + 17, y - 8, 15, 11))
    b.flat(pale(colour), Oval(x + 18, y - 9, 13, 9))
    b.flat(paint.light, Oval(x - 2, y + 14, 9, 3.5))
    b.flat(INK, Oval(x + 28, y - 4, 6, 4.6))
    b.flat((150, 150, 170), Oval(x + 27, y - 2.4, 2, 1.2))
    b.stroke(INK, ((x + 7, y - 13), (x + 17, y - 16.5), (x + 27, y - 11)), 1.8)
    eye(b, x + 9, y + 5, 4.4, CLOUD)
    if flying:
        ear = ((x - 10, y + 17), (x, y + 12), (x - 12, y - 2), (x - 34, y + 2), (x - 32, y + 14))
    else:
        ear = ((x - 16, y + 18), (x - 3, y + 14), (x - 5, y - 8), (x - 16, y - 18), (x - 24, y - 4))
    b.part(far(paint), Blob(ear))


def paint_cat(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A cat: pointed ears, whiskers, stripes and a curled tail."""
    paint = tones(colour)
    if pose == "sitting":
        body = Blob(((0, 58), (16, 46), (22, 20), (18, 3), (-18, 3), (-26, 18), (-14, 44)))
        b.part(paint, Limb(((-16, 8), (-40, 8), (-48, 28), (-38, 42), (-30, 34)), 10, 8))
        b.part(paint, body, dark=(Oval(-4, 2, 30, 7),))
        b.inside((body,), pale(colour), Oval(9, 34, 10, 18))
        for y in (22, 32, 42):
            b.inside((body,), paint.dark, Limb(((-30, y - 4), (-12, y + 3)), 4.5))
        b.part(paint, Limb(((4, 28), (3, 6)), 9), Oval(5, 5, 7.5, 5))
        b.part(paint, Limb(((15, 28), (17, 6)), 9), Oval(19, 5, 7.5, 5))
        _cat_head(b, paint, colour, 4, 70)
        return
    if pose == "running":
        away = (((16, 36), (30, 24), (36, 10)), ((-22, 36), (-30, 20), (-46, 12)))
        near = (((20, 38), (38, 32), (54, 24)), ((-26, 38), (-42, 28), (-56, 24)))
        tail = ((-30, 48), (-48, 58), (-62, 52), (-72, 60))
    else:
        away = (((18, 34), (19, 20), (20, 6)), ((-18, 34), (-16, 20), (-17, 6)))
        near = (((10, 34), (10, 20), (9, 6)), ((-28, 36), (-29, 20), (-28, 6)))
        tail = ((-32, 44), (-46, 54), (-44, 76), (-54, 90), (-64, 82))
    b.part(paint, Limb(tail, 9, 7))
    for leg in away:
        b.part(far(paint), Limb(leg, 9, 8), Oval(leg[-1][0] + 2, leg[-1][1] - 1, 6.5, 4.6))
    shapes = [Oval(-8, 42, 30, 15), Limb(((12, 46), (20, 56)), 22)]
    for leg in near:
        shapes += [Limb(leg, 11, 9), Oval(leg[-1][0] + 2, leg[-1][1] - 1, 7, 4.6)]
    b.part(paint, *shapes, dark=(Oval(-8, 27, 26, 7),))
    b.flat(paint.base, *shapes[2:])
    body = (Oval(-8, 42, 30, 15),)
    stripes = [Limb(((x, 60), (x + 2, 44)), 5, 3) for x in (-26, -14, -2)]
    b.inside(body, paint.dark, *stripes)
    _cat_head(b, paint, colour, 24, 70)


def _cat_head(b: Brush, paint: Tones, colour: str, x: float, y: float) -> None:
    for side in (-1, 1):
        tip = (x + 17 * side, y + 30)
        b.part(paint, Poly(((x + 20 * side, y + 4), tip, (x + 3 * side, y + 14))))
        inner = ((x + 17 * side, y + 9), (x + 15.5 * side, y + 24), (x + 7 * side, y + 13))
        b.flat(_ROSE, Poly(inner))
    b.part(paint, Oval(x, y, 23, 18.5), dark=(Oval(x, y - 20, 22, 8),))
    for dx in (-6, 0, 6):
        b.flat(paint.dark, Limb(((x + dx, y + 17), (x + dx * 0.8, y + 10)), 3.2, 2))
    b.flat(pale(colour), Oval(x - 2, y - 8, 8, 6), Oval(x + 8, y - 8, 8, 6))
    iris = (255, 224, 110) if colour in ("green", "blue", "purple", "white") else (196, 240, 150)
    for dx in (-8, 11):
        eye(b, x + dx, y + 2, 4.6, iris)
    b.flat((226, 84, 110), Poly(((x, y - 3), (x + 6, y - 3), (x + 3, y - 7))))
    b.stroke(_LIP, ((x - 2, y - 10.5), (x + 0.5, y - 12), (x + 3, y - 9)), 1.2)
    b.stroke(_LIP, ((x + 3, y - 9), (x + 5.5, y - 12), (x + 8, y - 10.5)), 1.2)
    for side in (-1, 1):
        for dy in (-3, 3):
            tip = (x + 3 + 28 * side, y - 7 + dy * 1.8)
            b.stroke(INK, ((x + 3 + 12 * side, y - 8 + dy * 0.5), tip), 1.2)
