"""The drawn things of the picture book: complete, tight, mirrored exactly, in the named colour."""

import colorsys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from captioning.datasets.picturebook.brush import (
    PALETTE,
    Box,
    Brush,
    Limb,
    Oval,
    Poly,
    shade,
    tones,
)
from captioning.datasets.picturebook.scene import CATEGORIES, COLOURS, POSES
from captioning.datasets.picturebook.sprites import draw_sprite, pose_scale

DESIGNS = [(category, pose) for category in CATEGORIES for pose in POSES[category]]
NAMED_ANCHORS = {
    "girl": {"hand", "hip"},
    "boy": {"hand", "hip"},
    "horse": {"seat"},
    "bicycle": {"seat"},
    "chair": {"seat", "top"},
    "table": {"seat", "top"},
    "car": {"top"},
    "bus": {"top"},
    "house": {"top"},
    "kite": {"string"},
    "lighthouse": {"lamp"},
}


def _dominant(image: Image.Image) -> str:
    """The palette colour that most pixels are nearest to, by hue; "white" for bright and pale."""
    votes: Counter[str] = Counter()
    hues = {n: colorsys.rgb_to_hsv(*(v / 255 for v in PALETTE[n]))[0] for n in COLOURS[:-1]}
    for count, (r, g, b, a) in image.getcolors(maxcolors=image.width * image.height):
        chroma = max(r, g, b) - min(r, g, b)
        if a and chroma < 50 and min(r, g, b) > 175:
            votes["white"] += count
        elif a and chroma > 85:
            hue = colorsys.rgb_to_hsv(r / 255, g / 255, b / 255)[0]
            gaps = {n: min(abs(hue - h), 1 - abs(hue - h)) for n, h in hues.items()}
            votes[min(gaps, key=gaps.get)] += count
    return votes.most_common(1)[0][0]


def _same_size(first: Image.Image, second: Image.Image) -> tuple[Image.Image, Image.Image]:
    size = (max(first.width, second.width), max(first.height, second.height))
    return first.resize(size), second.resize(size)


@pytest.mark.parametrize(("category", "pose"), DESIGNS)
def test_every_colour_is_tight_anchored_and_mirrored(category: str, pose: str) -> None:
    for detail, colour in enumerate(COLOURS):
        right = draw_sprite(category, colour, pose, 90, "right", detail)
        left = draw_sprite(category, colour, pose, 90, "left", detail)
        width, height = right.image.size
        assert right.image.getchannel("A").getbbox() == (0, 0, width, height)
        assert abs(height - 90) <= 3
        assert {"base", "top"} | NAMED_ANCHORS.get(category, set()) <= set(right.anchors)
        for name, (x, y) in right.anchors.items():
            assert -1 <= x <= width + 1 and -1 <= y <= height + 1, name
            assert left.anchors[name] == pytest.approx((width - x, y))
        assert right.anchors["base"][1] == height
        mirrored = right.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert mirrored.tobytes() == left.image.tobytes()


@pytest.mark.parametrize(("category", "pose"), DESIGNS)
def test_the_named_colour_dominates(category: str, pose: str) -> None:
    for detail, colour in enumerate(COLOURS):
        assert _dominant(draw_sprite(category, colour, pose, 120, detail=detail).image) == colour


@pytest.mark.parametrize("category", CATEGORIES)
def test_poses_differ_and_each_has_many_parts(category: str) -> None:
    sprites = [draw_sprite(category, "blue", pose, 100).image for pose in POSES[category]]
    for i, first in enumerate(sprites):
        assert len(first.quantize(16).getcolors()) >= 6
        for second in sprites[:i]:
            change = ImageChops.difference(*(p.convert("L") for p in _same_size(first, second)))
            changed = sum(change.point(lambda v: 255 * (v > 25)).histogram()[255:])
            assert changed > 0.08 * change.width * change.height


def test_colours_are_told_apart() -> None:
    for i, name in enumerate(COLOURS):
        for other in COLOURS[:i]:
            gap = sum(abs(a - b) for a, b in zip(PALETTE[name], PALETTE[other], strict=True))
            assert gap >= 90, (name, other)


@settings(max_examples=25, deadline=None)
@given(
    design=st.sampled_from(DESIGNS),
    colour=st.sampled_from(COLOURS),
    height=st.integers(min_value=8, max_value=260),
    detail=st.integers(min_value=0, max_value=1000),
)
def test_the_same_request_draws_the_same_sprite(
    design: tuple[str, str], colour: str, height: int, detail: int
) -> None:
    category, pose = design
    first = draw_sprite(category, colour, pose, height, detail=detail)
    again = draw_sprite(category, colour, pose, height, detail=detail)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.anchors == again.anchors
    assert abs(first.image.height - height) <= 3 + 0.03 * height  # outlines do not scale


def test_detail_changes_people_but_not_their_clothes() -> None:
    faces = {
        draw_sprite("girl", "red", "standing", 100, detail=k).image.tobytes() for k in range(5)
    }
    assert len(faces) == 5


def test_a_seated_person_fits_the_seat_of_a_chair() -> None:
    chair = draw_sprite("chair", "red", "wooden", 100)
    girl = draw_sprite("girl", "red", "sitting", 100)
    assert 40 < chair.anchors["seat"][1] < 65  # the seat is half way up
    assert girl.anchors["hip"][1] > 70  # the bottom is near the lower end


def test_pose_scale_compares_with_the_first_pose() -> None:
    assert pose_scale("dog", "standing") == 1.0
    assert pose_scale("house", "tall") > 1.1
    assert pose_scale("rabbit", "running") < 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dragon", "red", "", 50), "category is 'dragon'; choose one of girl, boy"),
        (("dog", "beige", "", 50), "colour is 'beige'; choose one of red, orange"),
        (("dog", "red", "flying", 50), "pose is 'flying'; choose one of standing, running"),
        (("dog", "red", "", 50, "up"), "facing is 'up'; choose one of left, right"),
        (("dog", "red", "", 7), "height is 7; it must be at least 8 pixels"),
    ],
)
def test_wrong_requests_say_what_is_allowed(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError) as error:
        draw_sprite(*arguments)
    assert str(error.value).startswith(message)


def test_brush_paints_at_the_design_points() -> None:
    brush = Brush((40, 40), scale=2.0, origin=(20.0, 40.0), edge=0.0)
    red = tones((200, 0, 0))
    brush.part(red, Box(-5, 0, 5, 10), dark=(Oval(5, 0, 3, 3),))
    assert brush.image.getbbox() == (10, 20, 31, 40)  # 2 pixels a unit, both ends painted
    assert brush.image.getpixel((15, 25)) == (200, 0, 0, 255)
    assert brush.image.getpixel((29, 38)) == (*red.dark, 255)
    brush.anchor("top", 0, 10)
    assert brush.anchors["top"] == (20.0, 20.0)


def test_outlines_grow_outwards_and_shade_stays_inside() -> None:
    for shape in (Oval(0, 10, 6, 6), Oval(0, 10, 6, 4, 30), Poly(((-5, 5), (5, 5), (0, 15)))):
        plain, lined = (Brush((60, 60), 2.0, (30.0, 50.0), edge) for edge in (0.0, 3.0))
        for brush in (plain, lined):
            brush.part(tones("blue"), shape, dark=(Limb(((-20, 8), (20, 8)), 3),))
        a, b = plain.image.getbbox(), lined.image.getbbox()
        assert b[0] < a[0] and b[1] < a[1] and b[2] > a[2] and b[3] > a[3]
        assert plain.image.getpixel((2, 34)) == (0, 0, 0, 0)  # the shade is clipped to the part


def test_shade_keeps_ends() -> None:
    assert shade((10, 20, 30), 0) == (10, 20, 30)
    assert shade((10, 20, 30), 1) == (255, 255, 255)
    assert sum(shade((200, 100, 50), -0.5)) < 350
