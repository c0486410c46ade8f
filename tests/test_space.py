"""Object relations and spatial positions: numbers by hand, slow loops, padding, missing boxes."""

from __future__ import annotations

import math

import pytest
import torch

from captioning.boxes import grid_areas, mirror_boxes
from captioning.config import TransformerConfig
from captioning.decoders.space import (
    KINDS,
    RelationBias,
    SpatialPosition,
    boxes_of,
    embed_geometry,
    needs_boxes,
    pair_geometry,
)
from model import VisualFeatures

PADDED = (0.0, 0.0, 0.0, 0.0)
DIM, GRID = 6, 3


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def make_boxes(pictures=2, regions=4, seed=0):
    first, size = torch.rand(2, pictures, regions, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat([first / 2, first / 2 + 0.05 + 0.4 * size], -1)


# ---- object relations ----


def test_geometry_worked_by_hand():
    left, right = (0.0, 0.0, 0.2, 0.4), (0.5, 0.2, 0.9, 0.4)  # centres (.1, .2), (.7, .3)
    found = pair_geometry(torch.tensor([[left, right]]))[0]
    assert found.shape == (2, 2, 4) and found.dtype == torch.float32
    close(found[0, 1], torch.tensor([0.6 / 0.2, 0.1 / 0.4, 0.2 / 0.4, 0.4 / 0.2]).log())
    close(found[1, 0], torch.tensor([0.6 / 0.4, 0.1 / 0.2, 0.4 / 0.2, 0.2 / 0.4]).log())
    close(found[0, 0], torch.tensor([1e-3, 1e-3, 1, 1]).log())  # distances have a floor
    more = pair_geometry(torch.tensor([[left, right]]), plus_one=True)[0]
    close(more[0, 1], torch.tensor([0.6 / 1.2, 0.1 / 1.4, 1.2 / 1.4, 1.4 / 1.2]).log())


def slow_embedding(boxes, plus_one):
    """(P, P, 64) from the equations, one number after the other."""
    extra = 1 if plus_one else 0
    rows = []
    for m in boxes.tolist():
        for n in boxes.tolist():
            (mw, mh), (nw, nh) = ((b[2] - b[0] + extra, b[3] - b[1] + extra) for b in (m, n))
            (mx, my), (nx, ny) = (((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (m, n))
            numbers = [max(abs(mx - nx) / mw, 1e-3), max(abs(my - ny) / mh, 1e-3), mw / nw, mh / nh]
            angles = [100 * math.log(x) / 1000 ** (k / 8) for x in numbers for k in range(8)]
            rows.append([*map(math.sin, angles), *map(math.cos, angles)])
    return torch.tensor(rows).unflatten(0, (len(boxes), len(boxes)))


@pytest.mark.parametrize("plus_one", [False, True])
def test_embedding_and_bias_equal_a_slow_computation(plus_one):
    boxes = make_boxes()
    embedding = embed_geometry(pair_geometry(boxes, plus_one))
    assert embedding.shape == (2, 4, 4, 64)
    for one, some in zip(embedding, boxes, strict=True):
        close(one, slow_embedding(some, plus_one), 1e-3)  # angles reach 700: float32 ends here
    torch.manual_seed(0)
    relations = RelationBias(3).requires_grad_(False)
    bias = relations(embedding)
    assert bias.shape == (2, 3, 4, 4)
    weight, shift = relations.gate.weight, relations.gate.bias
    floored = 0
    for picture in range(2):
        for head in range(3):
            for m in range(4):
                for n in range(4):
                    gate = float(embedding[picture, m, n] @ weight[head] + shift[head])
                    floored += gate <= 1e-6
                    expected = math.log(max(gate, 0, 1e-6))
                    assert float(bias[picture, head, m, n]) == pytest.approx(expected, abs=1e-3)
    assert 0 < floored < 2 * 3 * 16  # both sides of the floor were met


def test_added_to_logits_it_is_the_papers_weighting():
    gates, logits = torch.rand(5, 5) + 0.1, torch.randn(5, 5)
    relations = RelationBias(1)
    with torch.no_grad():  # a head that reads the first number of the embedding
        relations.gate.weight.zero_()[0, 0] = 1
        relations.gate.bias.zero_()
    embedding = torch.zeros(1, 5, 5, 64)
    embedding[0, ..., 0] = gates
    found = (relations(embedding)[0, 0] + logits).softmax(-1)
    weighted = gates * logits.exp()
    close(found, weighted / weighted.sum(-1, keepdim=True))


@pytest.mark.parametrize("plus_one", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        PADDED,
        (0.5, 0.5, 0.5, 0.5),
        (0.9, 0.9, 0.1, 0.1),
        (1.0, 1.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, 1.0),
    ],
)
def test_padded_and_odd_boxes_give_finite_numbers_and_gradients(box, plus_one):
    boxes = make_boxes(1)
    boxes[0, 2:] = torch.tensor(box)
    boxes.requires_grad_()
    relations = RelationBias(2)
    bias = relations(embed_geometry(pair_geometry(boxes, plus_one)))
    assert bias.isfinite().all()
    bias.square().sum().backward()
    for tensor in (boxes, relations.gate.weight, relations.gate.bias):
        assert tensor.grad.isfinite().all()
    assert relations.gate.weight.grad.abs().sum() > 0


def test_relations_see_scale_and_place_only_between_boxes_and_no_side():
    boxes = make_boxes()
    geometry = pair_geometry(boxes)
    close(pair_geometry(boxes / 2 + 0.25), geometry, 1e-3)
    assert (pair_geometry(boxes / 2 + 0.25, True) - pair_geometry(boxes, True)).abs().max() > 0.1
    close(pair_geometry(mirror_boxes(boxes)), geometry, 1e-3)  # they cannot tell left from right


def test_bias_is_single_precision_under_autocast():
    torch.manual_seed(0)
    relations, embedding = RelationBias(2), embed_geometry(pair_geometry(make_boxes()))
    with torch.autocast("cpu", torch.bfloat16):
        bias = relations(embedding)
        heads = torch.randn(3, 2, 2, 4, 5).bfloat16()
        found = torch.nn.functional.scaled_dot_product_attention(*heads, bias)
    assert bias.dtype == torch.float32 and found.isfinite().all()
    close(bias.exp(), relations(embedding).exp(), 0.02)


# ---- positions ----


def slow_position(module, x, box):
    """One region of D numbers, written out."""
    if module.kind == "box_coord":
        first, second = module.edges[0], module.edges[2]
        inner = (first.weight @ box + first.bias).clamp(min=0)
        return x + second.weight @ inner + second.bias
    areas = [
        [
            max(0, min(box[2], (j + 1) / GRID) - max(box[0], j / GRID))
            * max(0, min(box[3], (i + 1) / GRID) - max(box[1], i / GRID))
            * GRID**2
            for j in range(GRID)
        ]
        for i in range(GRID)
    ]
    if module.kind == "g2":
        return x + module.cells.weight @ torch.tensor(sum(areas, [])) + module.cells.bias
    rows = torch.tensor([sum(row) for row in areas])
    columns = torch.tensor([sum(column) for column in zip(*areas, strict=True)])
    parts = ((module.regions, x), (module.rows, rows), (module.columns, columns))
    return sum(layer.weight @ value + layer.bias for layer, value in parts)


@pytest.mark.parametrize("kind", KINDS)
def test_positions_equal_a_slow_computation(kind):
    torch.manual_seed(1)
    module = SpatialPosition(kind, DIM, GRID, "cell", 0.0)
    x, boxes = torch.randn(2, 4, DIM), make_boxes()
    found = module(x, boxes)
    for picture in range(2):
        for region in range(4):
            expected = slow_position(module, x[picture, region], boxes[picture, region])
            close(found[picture, region], expected, 1e-5)
    found.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in module.parameters())


def test_gxg_counts_rows_and_columns_of_the_grid():
    module = SpatialPosition("gxg", GRID, GRID, "cell", 0.0)
    box = torch.tensor([[[0.0, 0.0, 1.0, 1 / 3]]])  # the upper of three rows, all columns
    with torch.no_grad():
        for layer in (module.regions, module.rows, module.columns):
            layer.weight.zero_()
            layer.bias.zero_()
        module.rows.weight.copy_(torch.eye(GRID))
        close(module(torch.randn(1, 1, GRID), box)[0, 0], torch.tensor([3.0, 0, 0]))
        module.columns.weight.copy_(10 * torch.eye(GRID))  # x itself does not come through
        close(module(torch.randn(1, 1, GRID), box)[0, 0], torch.tensor([13.0, 10, 10]))


@pytest.mark.parametrize("kind", KINDS)
def test_padded_regions_and_dropout(kind):
    x, boxes = torch.randn(1, 3, DIM), make_boxes(1, 3)
    boxes[0, 1:] = torch.tensor(PADDED)
    module = SpatialPosition(kind, DIM, GRID, "box", 0.5)
    found = module(x, boxes)
    assert found.isfinite().all() and (found == 0).any()  # dropped
    assert not (module.eval()(x, boxes) == 0).any()
    close(module(x, boxes)[0, 2], module(x[:, 2:], boxes[:, 2:])[0, 0])


def test_the_share_is_taken():
    x, boxes = torch.zeros(1, 4, DIM), make_boxes(1)
    torch.manual_seed(0)
    module = SpatialPosition("g2", DIM, GRID, "box", 0.0)
    close(module(x, boxes), module.cells(grid_areas(boxes, GRID, "box")))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="position: 'polar' received, one of .'gxg', 'g2', 'box_c"):
        SpatialPosition("polar", DIM, GRID, "cell", 0.0)


# ---- boxes or none ----


def test_who_needs_boxes():
    assert not needs_boxes(TransformerConfig())
    assert needs_boxes(TransformerConfig(relations=True))
    assert all(needs_boxes(TransformerConfig(position=kind)) for kind in KINDS)
    assert not needs_boxes(TransformerConfig(relations_plus_one=True, position_grid=4))


def test_features_without_boxes_are_refused_with_advice():
    regions, boxes = torch.randn(2, 4, 5), make_boxes()
    assert boxes_of(VisualFeatures(regions, None, boxes)) is boxes
    with pytest.raises(ValueError, match="boxes: none received.*`features extract`.*`features reg"):
        boxes_of(VisualFeatures(regions))
    with pytest.raises(ValueError, match=r"shape \(2, 3, 4\) received, \(2, 4, 4\) expected"):
        boxes_of(VisualFeatures(regions, None, boxes[:, :3]))
