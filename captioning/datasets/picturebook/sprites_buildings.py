"""The house, the lighthouse and the furniture of the picture book."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    INK,
    WOOD,
    Blob,
    Box,
    Brush,
    Limb,
    Oval,
    Poly,
    Tones,
    far,
    mix,
    shade,
    tones,
    trim,
)

_ROOF = Tones((112, 90, 98), (88, 68, 80), (140, 116, 122), (54, 38, 54))
_ROOFS = (
    _ROOF,
    Tones((94, 98, 118), (72, 76, 98), (124, 130, 150), (44, 46, 66)),
    Tones((140, 104, 84), (112, 80, 64), (170, 132, 108), (72, 48, 40)),
)
_DOORS = ((150, 98, 66), (92, 110, 130), (206, 168, 110))
_WARM = Tones((255, 232, 150), (250, 206, 110), (255, 246, 206), (92, 70, 70))
_ROCK = Tones((148, 150, 164), (118, 120, 138), (180, 182, 194), (82, 84, 104))


def _window(b: Brush, x: float, y: float, w: float, h: float) -> None:
    b.part(tones(CLOUD), Box(x - w - 2, y - h - 2, x + w + 2, y + h + 2, 1.5), edge=0.8)
    b.flat(_WARM.base, Box(x - w, y - h, x + w, y + h))
    b.flat(_WARM.light, Poly(((x - w, y), (x, y + h), (x - w, y + h))))
    b.flat(CLOUD, Box(x - 1, y - h, x + 1, y + h), Box(x - w, y - 1, x + w, y + 1))


def paint_house(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A broad cottage, or a tall town house."""
    paint = tones(colour)
    wood = tones(_DOORS[detail % len(_DOORS)])
    rim = _ROOFS[detail // 2 % len(_ROOFS)]
    if pose == "cottage":
        b.part(tones((190, 112, 92)), Box(22, 66, 36, 100), dark=(Box(30, 60, 40, 110),))
        b.part(rim, Box(19, 97, 39, 103, 1))
        wall, roof = Box(-48, 0, 48, 54), Poly(((-60, 48), (-40, 90), (40, 90), (60, 48)))
        b.part(paint, wall, dark=(Box(-50, 40, 50, 60), Box(38, 0, 60, 60)))
        b.part(rim, roof)
        for k, y in enumerate((56, 68, 80)):
            arcs = [Oval(x + 6 * (k % 2), y, 5.5, 5) for x in range(-60, 61, 13)]
            b.inside((roof,), rim.light if k == 2 else rim.dark, *arcs)
        for x in (-30, 30):
            _window(b, x, 26, 8.5, 9)
            b.part(far(paint), Box(x - 12, 9, x + 12, 14, 1), edge=0.7)
            b.flat((250, 120, 150), *(Oval(x + dx, 16, 2.6, 2.6) for dx in (-8, 0, 8)))
        door, top = Box(-9, 0, 9, 36, 8), (0, 91)
    else:
        wall, roof = Box(-32, 0, 32, 92), Poly(((-40, 88), (0, 128), (40, 88)))
        b.part(tones((190, 112, 92)), Box(14, 100, 26, 126))
        b.part(rim, Box(11, 124, 29, 129, 1))
        b.part(paint, wall, dark=(Box(22, 0, 40, 100), Box(-50, 80, 50, 100)))
        b.part(rim, roof, light=(Poly(((-46, 86), (0, 132), (0, 124), (-36, 88))),))
        for x in (-16, 16):
            for y in (76, 52):
                _window(b, x, y, 7.5, 8)
        b.part(tones(CLOUD), Oval(0, 102, 9, 9), edge=0.8)
        b.flat(_WARM.base, Oval(0, 102, 6.5, 6.5))
        _window(b, 15, 20, 8, 9)
        b.part(far(paint), Box(-24, 30, -2, 35, 1), edge=0.8)
        door, top = Box(-21, 0, -5, 29, 3), (0, 126)
    b.part(wood, door)
    x = (door.x0 + door.x1) / 2
    b.flat(_WARM.base, Box(x - 4, door.y1 - 13, x + 4, door.y1 - 5, 2))
    b.flat((255, 220, 110), Oval(door.x1 - 4, 14, 1.8, 1.8))
    b.part(_ROCK, Box(door.x0 - 4, -3, door.x1 + 4, 2, 1), edge=0.7)
    b.anchor("top", *top)


def paint_lighthouse(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A lighthouse on its rock: banded, or plain with the keeper's hut."""
    paint = tones(colour)
    other = (176, 192, 218) if colour == "white" else CLOUD
    b.part(
        _ROCK,
        Oval(-18, 4, 18, 8),
        Oval(16, 3, 24, 7),
        Oval(0, 7, 18, 8),
        dark=(Oval(10, -4, 40, 7),),
    )
    tower = (Poly(((-19, 8), (19, 8), (12, 72), (-12, 72))),)
    b.part(paint, *tower)
    if pose == "banded":
        b.inside(tower, other, Box(-30, 22, 30, 33), Box(-30, 48, 30, 58))
        windows = ((0, 40.5),)
    else:
        windows = ((0, 60), (2, 44), (0, 28))
    b.inside(tower, mix(paint.base, paint.line, 0.28), Poly(((9, 4), (30, 4), (30, 80), (5, 80))))
    if pose == "banded":
        shady = mix(other, (110, 124, 160), 0.3)
        clip = (Poly(((9, 4), (30, 4), (30, 80), (5, 80))),)
        for y0, y1 in ((22, 33), (48, 58)):
            k = 19 - (y0 - 8) * 7 / 64
            k1 = 19 - (y1 - 8) * 7 / 64
            b.inside(clip, shady, Poly(((0, y0), (k, y0), (k1, y1), (0, y1))))
    for x, y in windows:
        b.part(_WARM._replace(line=paint.line), Box(x - 4, y - 5, x + 4, y + 5, 3.5), edge=0.8)
    b.part(tones((122, 84, 66)), Box(-6, 6, 6, 19, 5), edge=0.8)
    if pose == "plain":
        b.part(paint, Box(16, 6, 42, 22), dark=(Box(32, 0, 50, 30),))
        b.part(_ROOF, Poly(((11, 21), (29, 36), (47, 21))))
        b.part(_WARM, Box(25, 10, 33, 18), edge=0.7)
    b.part(_WARM, Box(-9, 76, 9, 92), edge=0.9)
    b.flat(CLOUD, Oval(0, 84, 5, 5))
    b.stroke(_ROOF.line, ((-4.5, 76), (-4.5, 92)), 1.2)
    b.stroke(_ROOF.line, ((4.5, 76), (4.5, 92)), 1.2)
    b.part(_ROOF, Box(-18, 71, 18, 77, 1.5))
    b.part(
        _ROOF,
        Poly(((-13, 92), (0, 107), (13, 92))),
        Limb(((0, 104), (0, 112)), 2.5),
        light=(Poly(((-13, 92), (0, 107), (-5, 92))),),
    )
    b.anchor("lamp", 0, 84)


def paint_chair(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A wooden chair with a cushion, or an armchair."""
    paint = tones(colour)
    if pose == "armchair":
        for x in (-32, 32):
            b.part(tones(WOOD), Box(x - 5, 0, x + 5, 12, 2))
        b.part(
            far(paint),
            Blob(((-34, 30), (-38, 76), (-26, 98), (0, 100), (26, 98), (38, 76), (34, 30))),
        )
        b.flat(
            paint.base,
            Blob(((-28, 40), (-31, 76), (-21, 91), (0, 93), (18, 91), (27, 76), (24, 40))),
        )
        b.flat(paint.dark, Oval(-10, 76, 2.2, 2.2), Oval(10, 76, 2.2, 2.2), Oval(0, 64, 2.2, 2.2))
        b.part(paint, Box(-34, 8, 34, 34, 5), dark=(Box(-40, 4, 40, 18),))
        b.part(paint, Box(-28, 34, 28, 48, 6), light=(Limb(((-22, 45), (14, 45)), 3),))
        for x in (-36, 36):
            b.part(paint, Box(x - 10, 8, x + 10, 56, 10), dark=(Box(x + 3, 0, x + 12, 60),))
            b.flat(paint.dark, Oval(x, 47, 5, 5))
        b.anchor("seat", 2, 47)
        b.anchor("top", 2, 47)
        return
    for x in (-6, 38):
        b.part(far(paint), Limb(((x, 48), (x, 13)), 7))
    for y in (66, 80, 95):
        b.part(paint, Limb(((-28, y), (-7, y + 7)), 8))
    b.part(far(paint), Limb(((-5, 106), (-7, 52)), 8))
    b.part(paint, Limb(((-32, 102), (-27, 3)), 9))
    b.part(paint, Limb(((25, 44), (27, 3)), 9))
    b.part(far(paint), Limb(((-26, 20), (26, 20)), 6))
    seat = (Poly(((-31, 43), (29, 43), (44, 54), (-10, 54))), Box(-31, 37, 29, 43, 1))
    b.part(paint, *seat, dark=(Box(-40, 34, 36, 42),))
    cushion = trim(colour)
    b.part(cushion, Blob(((-20, 46), (24, 46), (34, 53), (-8, 54))), edge=0.8)
    b.anchor("seat", 4, 50)
    b.anchor("top", 4, 50)


def paint_table(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A round table with a cloth, or a square one with a drawer."""
    paint = tones(colour)
    wood = tones(WOOD)
    if pose == "round":
        b.part(wood, Limb(((0, 60), (0, 14)), 13), dark=(Box(2, 0, 10, 70),))
        for x in (-26, 26):
            b.part(wood, Limb(((0, 16), (x * 0.6, 12), (x, 3)), 9, 7))
        scallops = tuple(
            Oval(x, 52 - 4 * (1 - (x / 60) ** 2), 11.5, 13) for x in (-48, -29, -10, 10, 29, 48)
        )
        b.part(
            paint,
            *scallops,
            Poly(((-60, 74), (60, 74), (58, 54), (-58, 54))),
            dark=(Poly(((24, 76), (70, 76), (70, 30), (32, 30))),),
        )
        b.flat(
            shade(paint.base, 0.75) if colour != "white" else (150, 178, 226),
            *(Oval(x, 52, 3.4, 3.4) for x in (-48, -29, -10, 10, 29, 48)),
        )
        b.part(paint._replace(base=shade(paint.base, 0.3)), Oval(0, 74, 60, 13))
    else:
        for x in (-38, 40):
            b.part(far(paint), Limb(((x, 60), (x, 14)), 8))
        for x in (-50, 50):
            b.part(paint, Limb(((x, 60), (x, 4)), 11, 9))
        b.part(far(paint), Box(-52, 52, 52, 70))
        b.part(paint, Box(-18, 54, 18, 67, 2), edge=0.7)
        b.flat(INK, Oval(0, 60.5, 3, 3))
        b.part(paint, Box(-60, 66, 60, 74, 2))
        b.part(
            paint._replace(base=shade(paint.base, 0.3)),
            Poly(((-60, 74), (60, 74), (48, 88), (-48, 88))),
        )
    b.anchor("top", 0, 77)
    b.anchor("seat", 0, 77)
