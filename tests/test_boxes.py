"""Grid areas against an exact rasterisation, mirrored boxes, and odd boxes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.boxes import SHARES, grid_areas, mirror_boxes
from model import grid_boxes

NAN = float("nan")


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def areas_of(*edges, grid=2, share="cell"):
    return grid_areas(torch.tensor([edges]), grid, share)[0]


@st.composite
def lattice_boxes(draw):
    """A grid, points that divide each of its cells, and boxes (also empty ones) on these points."""
    grid, fine = draw(st.integers(1, 13)), draw(st.integers(1, 5))
    point = st.integers(0, grid * fine)
    edges = draw(st.lists(st.tuples(point, point, point, point), min_size=1, max_size=4))
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in edges]
    return grid, fine, boxes


def rasterise(grid, fine, boxes):
    """Count the points of every cell that lie in every box: exact, (boxes, grid * grid)."""
    side = grid * fine
    pictures = torch.zeros(len(boxes), side, side, dtype=torch.float64)
    for picture, (left, top, right, bottom) in zip(pictures, boxes, strict=True):
        picture[top:bottom, left:right] = 1
    cells = pictures.reshape(-1, grid, fine, grid, fine).sum((2, 4))  # row, column
    return cells.flatten(1)


@settings(max_examples=150, deadline=None)
@given(lattice_boxes())
def test_areas_equal_an_exact_rasterisation(case):
    grid, fine, boxes = case
    counts = rasterise(grid, fine, boxes)
    fractions = torch.tensor(boxes, dtype=torch.float64) / (grid * fine)
    found = grid_areas(fractions, grid)
    assert found.shape == (len(boxes), grid * grid) and found.dtype == torch.float32
    close(found, (counts / fine**2).float())
    total = counts.sum(1, keepdim=True)
    shares = torch.where(total > 0, counts / total.clamp(min=1), 0.0)
    close(grid_areas(fractions, grid, "box"), shares.float())


@settings(max_examples=50, deadline=None)
@given(lattice_boxes(), st.sampled_from(SHARES))
def test_a_mirrored_box_covers_the_mirrored_cells(case, share):
    grid, fine, boxes = case
    boxes = torch.tensor(boxes) / (grid * fine)
    rows = grid_areas(boxes, grid, share).unflatten(-1, (grid, grid))
    close(grid_areas(mirror_boxes(boxes), grid, share), rows.flip(-1).flatten(-2), 5e-5)
    close(mirror_boxes(mirror_boxes(boxes)), boxes, 1e-6)


def test_numbers_worked_by_hand():
    # left half of nothing, upper half; the upper left cell is covered from its middle on
    assert areas_of(0.25, 0, 1, 0.5).tolist() == [0.5, 1, 0, 0]
    close(areas_of(0.25, 0, 1, 0.5, share="box"), torch.tensor([1 / 3, 2 / 3, 0, 0]))
    # the vertical index is the slow one: a box in the lower left corner is entry 2 of 4
    assert areas_of(0, 0.75, 0.5, 1).tolist() == [0, 0, 0.5, 0]
    assert areas_of(0.1, 0.2, 0.6, 0.4, grid=1, share="box").tolist() == [1]
    close(mirror_boxes(torch.tensor([0.1, 0.2, 0.4, 0.9])), torch.tensor([0.6, 0.2, 0.9, 0.9]))


def test_a_grid_covers_itself_cell_by_cell():
    for grid in (1, 3, 12, 14):
        close(grid_areas(grid_boxes(grid, grid), grid), torch.eye(grid * grid), 5e-6)


def test_leading_dimensions_are_kept():
    boxes = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([boxes[..., :2] / 2, 0.5 + boxes[..., 2:] / 2], -1)
    found = grid_areas(boxes, 4, "box")
    assert found.shape == (2, 3, 5, 16)
    close(found.sum(-1), torch.ones(2, 3, 5))
    close(found[1, 2], grid_areas(boxes[1, 2], 4, "box"), 0)
    assert grid_areas(torch.zeros(2, 0, 4), 3).shape == (2, 0, 9)
    assert grid_areas(boxes.half(), 4).dtype == torch.float32


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(
    "edges",
    [
        (0.0, 0.0, 0.0, 0.0),  # padding
        (0.3, 0.1, 0.3, 0.9),  # a line
        (0.8, 0.1, 0.2, 0.9),  # left and right have changed places
        (0.8, 0.9, 0.2, 0.1),  # and top and bottom too: not a positive product of two negatives
        (1.0, 0.0, 1.0, 0.0),  # mirrored padding
        (1.2, 0.1, 1.9, 0.9),  # beside the picture
    ],
)
def test_a_box_without_area_in_the_picture_gives_zeros(edges, share):
    assert areas_of(*edges, grid=5, share=share).tolist() == [0] * 25


@pytest.mark.parametrize("share", SHARES)
def test_what_lies_outside_is_cut_off_and_nan_stays_in_its_row(share):
    cut, inside = (-3.0, 0.5, 0.5, 9.0), (0.0, 0.5, 0.5, 1.0)
    close(areas_of(*cut, share=share), areas_of(*inside, share=share), 0)
    found = grid_areas(torch.tensor([inside, (0.1, NAN, 0.5, 0.5), inside]), 2, share)
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
    assert found[0].tolist() == [0, 0, 1, 0]


def test_refusals_name_the_argument():
    box = torch.rand(3, 4)
    with pytest.raises(ValueError, match=r"boxes: shape \(3, 5\) received, \(\.\.\., 4\)"):
        grid_areas(torch.rand(3, 5), 2)
    with pytest.raises(ValueError, match="boxes: shape"):
        mirror_boxes(torch.tensor(1.0))
    with pytest.raises(ValueError, match="grid: 0 received, at least 1"):
        grid_areas(box, 0)
    with pytest.raises(ValueError, match="share: 'area' received, one of .'cell', 'box'."):
        grid_areas(box, 2, "area")
