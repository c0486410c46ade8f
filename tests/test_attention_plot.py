"""Attention maps: put back where the encoder looked, smooth, and refused when shapes do not fit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from captioning.config import TransformConfig
from captioning.plotting.attention import Frame, attention_overlay, heat_map, seen_frame
from data_loader import eval_transform
from model import grid_boxes


def test_stretch_sees_everything() -> None:
    assert seen_frame(640, 200, TransformConfig(fit="stretch")) == (0, 0, 1, 1)


def test_crop_sees_the_middle_worked_by_hand() -> None:
    # 400 x 200 -> shorter side 256: 512 x 256; the middle 224 starts at (144, 16)
    frame = seen_frame(400, 200, TransformConfig(image_size=224, fit="crop"))
    assert frame == pytest.approx((144 / 512, 16 / 256, 368 / 512, 240 / 256))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(20, 400),
    height=st.integers(20, 400),
    resize=st.sampled_from([0, 32, 40, 64]),
)
def test_crop_frame_is_what_the_transform_cuts(width: int, height: int, resize: int) -> None:
    """A ramp from left to right (top to bottom) tells where the cut picture starts and ends."""
    config = TransformConfig(image_size=32, resize_size=resize, fit="crop")
    frame = seen_frame(width, height, config)
    for axis, length in ((0, width), (1, height)):
        ramp = torch.linspace(0, 1, length).numpy()
        ramp = ramp[None, :].repeat(height, 0) if axis == 0 else ramp[:, None].repeat(width, 1)
        picture = Image.fromarray((ramp * 255).astype("uint8")).convert("RGB")
        seen = eval_transform(32, resize, "crop")(picture)[0] * 0.229 + 0.485  # (32, 32)
        line = seen[16] if axis == 0 else seen[:, 16]
        tolerance = 1.2 / 32 * (frame[axis + 2] - frame[axis]) + 2 / length
        assert float(line[0]) == pytest.approx(frame[axis], abs=tolerance)
        assert float(line[-1]) == pytest.approx(frame[axis + 2], abs=tolerance)


def test_heat_is_highest_where_the_weight_is_and_smooth() -> None:
    weights = torch.zeros(4, 4)
    weights[1, 2] = 1.0  # row 1, column 2
    heat = heat_map(weights.flatten(), size=80)
    row, column = divmod(int(heat.argmax()), 80)
    assert 20 <= row < 40 and 40 <= column < 60
    assert float(heat.max()) == 1.0
    steps = torch.cat([heat.diff(dim=0).abs().flatten(), heat.diff(dim=1).abs().flatten()])
    assert float(steps.max()) < 0.1, "edges of the cells are visible"


def test_boxes_give_the_same_map_as_their_grid() -> None:
    weights = torch.rand(9)
    assert torch.equal(heat_map(weights), heat_map(weights, grid_boxes(3, 3)))


def test_a_wide_grid_needs_its_boxes() -> None:
    weights = torch.zeros(8)
    weights[3] = 1.0  # last of the four cells in the upper row
    heat = heat_map(weights, grid_boxes(2, 4), size=40)
    row, column = divmod(int(heat.argmax()), 40)
    assert row < 20 and column >= 30
    with pytest.raises(ValueError, match="square grid"):
        heat_map(weights)


@pytest.mark.parametrize(
    ("weights", "boxes", "words"),
    [
        (torch.ones(4), torch.rand(3, 4), "boxes"),
        (torch.zeros(4), None, "above zero"),
        (torch.tensor([1.0, float("nan"), 0, 0]), None, "finite"),
        (torch.ones(2, 2), None, "shape"),
    ],
)
def test_what_does_not_fit_is_refused(weights, boxes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        heat_map(weights, boxes)


def test_overlay_glows_in_the_frame_only() -> None:
    picture = Image.new("RGB", (200, 100), (90, 140, 200))
    weights = torch.tensor([1.0, 0, 0, 0])  # upper left cell of the middle square
    overlay = attention_overlay(picture, weights, frame=Frame(0.25, 0.0, 0.75, 1.0))
    assert overlay.size == picture.size and overlay.mode == "RGB"
    bright, outside, other = (overlay.getpixel(p) for p in ((60, 10), (10, 10), (130, 80)))
    assert bright[0] > 180, "hot colours are red and yellow"
    assert outside[0] < 90 and other[0] < 90, "the rest fades"
    assert overlay.getpixel((50, 50)) == (255, 255, 255), "left edge of the frame"
    assert picture.getpixel((60, 10)) == (90, 140, 200), "the picture given stays as it was"


def test_one_pixel_picture() -> None:
    assert attention_overlay(Image.new("RGB", (1, 1)), torch.ones(4)).size == (1, 1)
