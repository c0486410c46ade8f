"""Encoder and attention: shapes, what is frozen, equations by hand; see also `decoder_cases`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from model import (
    Attention,
    DecoderWithAttention,
    EncoderCNN,
    VisualFeatures,
    doubly_stochastic_penalty,
    grid_boxes,
)
from vocabulary import START_IDX

WORDS, FEATURES, REGIONS = 11, 6, 5


def make_decoder():
    torch.manual_seed(1)
    return DecoderWithAttention(WORDS, FEATURES, 8, 10, 7)


def make_features(pictures=3, masked=False):
    generator = torch.Generator().manual_seed(2)
    regions = torch.randn(pictures, REGIONS, FEATURES, generator=generator)
    mask = torch.rand(pictures, REGIONS, generator=generator) < 0.6 if masked else None
    if masked:
        mask[:, 0] = True
    return VisualFeatures(regions, mask)


def make_captions(rows, length=6):
    captions = torch.randint(4, WORDS, (rows, length), generator=torch.Generator().manual_seed(3))
    captions[:, 0] = START_IDX
    return captions


# ---- encoder ----


@pytest.mark.parametrize(
    ("backbone", "cut", "size", "dim"),
    [
        ("resnet18", "", 64, 512),
        ("resnet18", "layer3", 64, 256),
        ("resnet18", "layer1", 48, 64),
        ("mobilenet_v2", "6", 64, 32),
    ],
)
def test_shapes_of_regions_and_boxes(backbone, cut, size, dim):
    encoder = EncoderCNN(backbone, cut=cut)
    features = encoder(torch.randn(2, 3, size, size))
    assert encoder.feature_dim == dim == features.regions.shape[2]
    assert features.regions.shape[:2] == features.boxes.shape[:2]
    assert len(features) == 2 and features.region_mask is None and features.boxes.shape[2] == 4


def test_regions_run_row_by_row_like_their_boxes():
    assert grid_boxes(2, 3).tolist()[4] == pytest.approx([1 / 3, 1 / 2, 2 / 3, 1])
    encoder = EncoderCNN("resnet18", cut="layer1")
    images = torch.zeros(1, 3, 32, 64)
    with torch.no_grad():
        grid = encoder.body(images)
        features = encoder(images)
    assert grid.shape[2:] == (8, 16)
    assert torch.equal(features.regions[0, 16 * 3 + 5], grid[0, :, 3, 5])
    assert features.boxes[0, 16 * 3 + 5].tolist() == pytest.approx([5 / 16, 3 / 8, 6 / 16, 4 / 8])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cut": "layer9"}, "cut: 'layer9' received, one of .*'layer4'.* expected for resnet18"),
        ({"cut": "layer2", "trainable": "layer3"}, "trainable: 'layer3' received, one of"),
        ({"trainable": "some"}, "trainable: 'some' received, one of .*'none', 'all'"),
        ({"weights": "imagnet"}, "weights: 'imagnet' received, 'imagenet' or a state dict"),
        ({"backbone": "resnet19"}, "resnet19"),
    ],
)
def test_encoder_refuses_unknown_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        EncoderCNN(**arguments)


@pytest.mark.parametrize(
    ("trainable", "blocks"), [("none", []), ("layer2", ["layer2"]), ("all", None)]
)
def test_only_the_chosen_blocks_are_trained(trainable, blocks):
    encoder = EncoderCNN("resnet18", cut="layer2", trainable=trainable)
    names = {name.split(".")[0] for name, p in encoder.body.named_parameters() if p.requires_grad}
    assert names == (set(blocks) if blocks is not None else {"conv1", "bn1", "layer1", "layer2"})
    encoder.set_trainable("none")
    assert not any(p.requires_grad for p in encoder.parameters())


def batch_norms(encoder):
    return {n: m for n, m in encoder.named_modules() if isinstance(m, nn.BatchNorm2d)}


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_batch_norms_stay_as_they_are(freeze):
    encoder = EncoderCNN("resnet18", cut="layer2", trainable="layer2", freeze_batch_norm=freeze)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    weight = encoder.body.layer2[0].conv1.weight
    old_weight = weight.clone()
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1)
    encoder(torch.randn(4, 3, 32, 32)).regions.square().mean().backward()
    optimizer.step()
    assert not torch.equal(weight, old_weight)
    changed = {n for n, v in encoder.named_buffers() if not torch.equal(v, before[n])}
    assert all(name.startswith("body.layer2") for name in changed)
    assert bool(changed) is not freeze
    for name, module in batch_norms(encoder).items():
        assert module.training is (name.startswith("body.layer2") and not freeze)


def test_frozen_encoder_gives_the_same_in_training_mode():
    encoder, images = EncoderCNN("resnet18", cut="layer1"), torch.randn(2, 3, 32, 32)
    assert torch.equal(encoder.train()(images).regions, encoder.eval()(images).regions)


def test_state_dicts_with_torchvision_names_are_loaded():
    source = EncoderCNN("mobilenet_v2", cut="3")
    state = {f"features.{name}": value for name, value in source.body.state_dict().items()}
    copy = EncoderCNN("mobilenet_v2", state | {"classifier.1.bias": torch.zeros(3)}, cut="3")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(source.eval()(images).regions, copy.eval()(images).regions)
    del state["features.0.0.weight"]
    with pytest.raises(KeyError, match=r"0\.0\.weight"):
        EncoderCNN("mobilenet_v2", state, cut="3")
    with pytest.raises(RuntimeError, match="size mismatch"):
        state["features.0.0.weight"] = torch.zeros(32, 3, 5, 5)
        EncoderCNN("mobilenet_v2", state, cut="3")


def test_mean_counts_regions_of_the_mask_only():
    regions = torch.tensor([[[1.0], [2.0], [9.0]], [[4.0], [0.0], [0.0]]])
    assert VisualFeatures(regions).mean().flatten().tolist() == pytest.approx([4, 4 / 3])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert VisualFeatures(regions, mask).mean().flatten().tolist() == pytest.approx([1.5, 4])


# ---- attention ----


def test_attention_by_hand_on_three_vectors():
    """One hidden number h = 2, scores v * tanh(region + h): the weights are their softmax."""
    attention = Attention(feature_dim=1, hidden_dim=1, attention_dim=1)
    with torch.no_grad():
        attention.project_regions.weight.fill_(1), attention.project_regions.bias.fill_(0)
        attention.project_hidden.weight.fill_(1), attention.project_hidden.bias.fill_(0)
        attention.score.weight.fill_(3)
    regions, hidden = torch.tensor([[[-3.0], [-2.0], [1.0]]]), torch.tensor([[2.0]])
    scores = [3 * math.tanh(x + 2) for x in (-3, -2, 1)]
    total = sum(map(math.exp, scores))
    expected = [math.exp(s) / total for s in scores]
    context, weights = attention(regions, attention.project_regions(regions), hidden)
    assert weights[0].tolist() == pytest.approx(expected)
    by_hand = sum(w * x for w, x in zip(expected, (-3, -2, 1), strict=True))
    assert context.item() == pytest.approx(by_hand)
    mask = torch.tensor([[True, False, True]])
    _, weights = attention(regions, attention.project_regions(regions), hidden, mask)
    total = math.exp(scores[0]) + math.exp(scores[2])
    by_hand = [math.exp(scores[0]) / total, 0, math.exp(scores[2]) / total]
    assert weights[0].tolist() == pytest.approx(by_hand)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_sums_to_one_and_respects_the_mask(masked):
    features = make_features(masked=masked)
    output = make_decoder()(features, make_captions(6))
    assert output.attention_weights.shape == (6, 6, REGIONS)
    assert torch.allclose(output.attention_weights.sum(-1), torch.ones(6, 6))
    if masked:
        hidden = ~features.region_mask.repeat_interleave(2, 0).unsqueeze(1).expand(-1, 6, -1)
        assert hidden.any() and (output.attention_weights[hidden] == 0).all()


def test_doubly_stochastic_penalty_by_hand():
    # two words that count look (1, 0) and (0.5, 0.5), a third one does not count
    weights = torch.tensor([[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]])
    mask = torch.tensor([[True, True, False]])
    expected = ((1 - 1.5) ** 2 + (1 - 0.5) ** 2) / 2
    assert doubly_stochastic_penalty(weights, mask).item() == pytest.approx(expected)
    even = torch.full((2, 4, 4), 0.25)  # four words, four regions, all looked at equally
    assert doubly_stochastic_penalty(even, torch.ones(2, 4, dtype=torch.bool)).item() == 0
