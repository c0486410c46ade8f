"""The girl and the boy of the picture book, in all their poses."""

from __future__ import annotations

from captioning.datasets.picturebook.brush import (
    CLOUD,
    HAIR,
    SKIN,
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
    shade,
    tones,
)

# Far leg, near leg: from hip over knee to ankle; where the toes point is to the right.
_LEGS = {
    "standing": (((5, 26), (5, 16), (5, 6)), ((-6, 26), (-6, 16), (-6, 6))),
    "walking": (((1, 26), (-6, 17), (-16, 9)), ((1, 26), (9, 17), (14, 6))),
    "sitting": (((2, 26), (27, 27), (29, 8)), ((0, 25), (22, 26), (23, 6))),
    "riding": (((0, 26), (17, 20), (14, -3)), ((0, 26), (17, 17), (11, -6))),
    "holding": (((6, 26), (6, 16), (7, 6)), ((-6, 26), (-6, 16), (-7, 6))),
}
# Far arm, near arm: from shoulder over elbow to hand.
_ARMS = {
    "standing": (((9, 52), (16, 43), (20, 33)), ((-9, 52), (-17, 43), (-20, 33))),
    "walking": (((8, 52), (18, 44), (25, 45)), ((-9, 52), (-18, 44), (-25, 39))),
    "sitting": (((8, 52), (16, 44), (24, 37)), ((-7, 52), (-8, 42), (6, 36))),
    "riding": (((8, 52), (20, 47), (32, 46)), ((-5, 52), (8, 44), (27, 43))),
    "holding": (((8, 52), (20, 51), (31, 58)), ((-9, 52), (-17, 43), (-19, 33))),
}


def paint_girl(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A girl with pigtails, in a dress of the colour."""
    paint, skin, hair = tones(colour), tones(SKIN[detail % 5]), tones(HAIR[detail % 6])
    for side in (-1, 1):
        b.part(hair, Limb(((17 * side, 82), (28 * side, 76), (28 * side, 56)), 12, 6))
    b.part(hair, Oval(0, 76, 22, 21))
    _legs(b, skin, _away(skin), pose, shoe=paint.dark)
    _arm(b, far(paint), _away(skin), _ARMS[pose][0])
    skirt = {
        "sitting": ((-10, 56), (9, 56), (11, 41), (21, 35), (22, 20), (0, 17), (-17, 19)),
        "riding": ((-10, 56), (9, 56), (11, 40), (13, 30), (9, 18), (0, 17), (-16, 20)),
    }.get(pose, ((-9, 57), (9, 57), (13, 44), (23, 22), (11, 19), (-11, 19), (-23, 22), (-13, 44)))
    dots = [Oval(x, y, 2.3, 2.3) for x, y in ((-4, 47), (4, 40), (-9, 36), (1, 30), (-13, 27))]
    hem = ((-26, 23), (-10, 20), (10, 20), (28, 23))
    shadow = Poly(((6, 60), (30, 60), (30, 16), (13, 16), (8, 40)))
    b.part(
        paint,
        Poly(skirt),
        dark=(shadow,),
        light=(Limb(hem, 2.2), *(dots if detail % 3 == 1 else ())),
    )
    b.part(tones(CLOUD), Oval(2, 56.5, 8, 4), edge=0.6)
    _arm(b, paint, skin, _ARMS[pose][1])
    b.ball(skin, Oval(0, 75, 20, 19))
    fringe = ((-22, 70), (-20, 88), (-6, 97), (10, 96), (20, 88), (22, 70), (17, 80), (6, 87))
    b.part(hair, Blob((*fringe, (-8, 85), (-16, 78))), edge=0.7)
    b.flat(hair.light, Limb(((-13, 89), (-5, 93), (3, 93)), 2.4))
    for side in (-1, 1):
        bow = (Oval(19 * side, 88, 5, 4.5), Oval(25 * side, 81, 4.5, 5))
        b.part(paint, *bow)
        b.flat(paint.line, Oval(21.5 * side, 84, 2, 2))
    _face(b, skin)
    _anchors(b, pose)


def paint_boy(b: Brush, colour: str, pose: str, detail: int) -> None:
    """A boy with a cap and a shirt of the colour."""
    paint, skin, hair = tones(colour), tones(SKIN[detail % 5]), tones(HAIR[(detail + 1) % 6])
    shorts = tones(mix(paint.dark, paint.line, 0.35))
    _arm(b, far(paint), _away(skin), _ARMS[pose][0])
    _legs(b, skin, _away(skin), pose, shoe=CLOUD)
    for leg, cloth in zip(_LEGS[pose], (far(shorts), shorts), strict=True):
        (x0, y0), (x1, y1), _ = leg
        b.part(cloth, Limb(((x0, y0), (x0 * 0.35 + x1 * 0.65, y0 * 0.35 + y1 * 0.65)), 13))
    shirt = Box(-13, 26, 12, 57, 6)
    pattern = (
        (Box(-20, 32, 20, 35), Box(-20, 40, 20, 43)),
        (Oval(-1, 40, 6, 6),),
        (Box(-20, 36, 20, 44),),
    )[detail % 3]
    b.part(paint, shirt, dark=(Poly(((5, 60), (20, 60), (20, 20), (8, 20))),), light=pattern)
    _arm(b, paint, skin, _ARMS[pose][1])
    b.part(skin, Oval(-19, 72, 5, 5.5))
    b.part(hair, Oval(-3, 76, 19.5, 17))
    b.ball(skin, Oval(1, 74, 19.5, 18.5))
    b.part(hair, Blob(((-20, 82), (-20, 72), (-14, 74), (-11, 82), (-14, 88))), edge=0.6)
    cap = Blob(((-21, 80), (-18, 92), (-6, 99), (8, 98), (19, 90), (21, 80), (8, 84), (-8, 84)))
    b.part(paint, cap, dark=(Oval(20, 84, 9, 22),), light=(Oval(-10, 94, 5, 3.5, 30),))
    b.part(far(paint), Limb(((6, 83), (20, 81), (33, 78)), 7, 4))
    b.part(paint, Oval(-1, 99, 3, 2.2), edge=0.7)
    _face(b, skin)
    _anchors(b, pose)


def _away(skin: Tones) -> Tones:
    """The skin of the limbs on the far side."""
    return skin._replace(base=mix(skin.base, skin.dark, 0.4))


def _legs(b: Brush, near: Tones, away: Tones, pose: str, shoe: tuple[int, int, int]) -> None:
    for leg, skin in zip(_LEGS[pose], (away, near), strict=True):
        b.part(skin, Limb(leg, 8, 7))
        x, y = leg[-1]
        b.part(tones(CLOUD), Box(x - 4, y - 1, x + 4, y + 3, 1), edge=0.6)
        b.part(tones(shoe), Oval(x + 2, y - 2, 7.5, 4.4), light=(Box(x - 7, y - 7, x + 12, y - 4),))


def _arm(b: Brush, cloth: Tones, skin: Tones, arm: tuple) -> None:
    shoulder, elbow, hand = arm
    b.part(skin, Limb((elbow, hand), 6.5), Oval(*hand, 4.6, 4.6))
    b.part(cloth, Limb((shoulder, elbow), 11, 10))


def _face(b: Brush, skin: Tones) -> None:
    blush = mix(skin.base, (240, 90, 90), 0.38)
    b.flat(blush, Oval(-9, 66, 4, 3), Oval(15, 66, 3.4, 3))
    for x in (-4.5, 10.5):
        if sum(skin.base) < 400:  # dark eyes need a bright ground on dark skin
            b.flat(mix(skin.base, CLOUD, 0.85), Oval(x - 0.4, 73, 4.7, 5.2))
        eye(b, x, 73, 3.7)
    b.flat(skin.dark, Oval(4.5, 68.5, 2, 1.5))
    b.stroke(shade(skin.line, -0.3), ((-2, 64.5), (3.5, 61.5), (9, 64.5)), 1.8)


def _anchors(b: Brush, pose: str) -> None:
    far_arm, near_arm = _ARMS[pose]
    b.anchor("hand", *(far_arm[-1] if pose in ("holding", "riding", "walking") else near_arm[-1]))
    b.anchor("hip", 0, 20)
