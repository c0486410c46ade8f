"""Small decoders of every kind and option, and three pictures for them, two with fewer regions."""

from __future__ import annotations

import torch

from captioning.config import DecoderConfig, TransformerConfig
from captioning.decoders.build import RECURRENT, build_decoder
from model import VisualFeatures, grid_boxes
from vocabulary import START_IDX

OPTIONS = {  # of the transformer
    "plain": {},
    "annotated": {"norm": "annotated"},
    "no_encoder": {"encoder_layers": 0},
    "aoa": {"attention_on_attention": True},
    "memory": {"memory_slots": 3},
    "meshed": {"memory_slots": 2, "meshed": True},
    "relations": {"relations": True},
    "relations_memory": {"relations": True, "relations_plus_one": True, "memory_slots": 2},
    "gxg": {"position": "gxg", "position_grid": 4},
    "g2": {"position": "g2", "position_grid": 4, "area_share": "box"},
    "box_coord": {"position": "box_coord"},
    "x_linear": {"cross_attention": "x_linear", "position": "gxg", "position_grid": 3},
    "x_linear_meshed": {"cross_attention": "x_linear", "meshed": True},
}
GROUPED = {  # words said at once, and options that they must get on with
    "2": {"group_size": 2},
    "3": {"group_size": 3},
    "4": {"group_size": 4, "position": "gxg", "position_grid": 4, "relations": True},
    "6": {"group_size": 6, "cross_attention": "x_linear"},
    "3 meshed": {"group_size": 3, "memory_slots": 2, "meshed": True},
}
KINDS = ["rnn", "rnn 2", "attention", *RECURRENT, *(f"transformer {name}" for name in OPTIONS)]
BLIND = ("rnn", "rnn 2", "fc")  # those that see the mean of the regions only
LOOKING = [kind for kind in KINDS if kind not in BLIND]
TRANSFORMERS = [kind for kind in KINDS if kind.startswith("transformer")]
WORDS, FEATURES, REGIONS = 13, 6, 5
SIZES = (5, 2, 3)  # regions of the three pictures: all, and fewer


def config_of(kind, dropout=0.0):
    """Settings of a kind: of the transformer with an option, of the rnn with its layers."""
    name, _, option = kind.partition(" ")
    sizes = {"model_dim": 12, "feedforward_dim": 16, "num_heads": 3, "encoder_layers": 2}
    more = {"num_layers": 2, "dropout": dropout, "region_dropout": dropout}
    transformer = TransformerConfig(**sizes | more | (OPTIONS | GROUPED).get(option, {}))
    lstm = {"embed_dim": 8, "hidden_dim": 10, "attention_dim": 7, "dropout": dropout}
    lstm["num_layers"] = int(option) if option and name == "rnn" else 1
    return DecoderConfig(name, **lstm, transformer=transformer)


def make_decoder(kind, dropout=0.0, seed=1, loud=1.0):
    torch.manual_seed(seed)
    decoder = build_decoder(config_of(kind, dropout), WORDS, FEATURES)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if not kind.startswith("transformer") or parameter is decoder.output.weight:
                parameter.mul_(loud)  # (a transformer's norms would undo it elsewhere)
    return decoder


def make_features(ragged=True, pictures=3):
    regions = torch.randn(pictures, REGIONS, FEATURES, generator=torch.Generator().manual_seed(2))
    boxes = grid_boxes(1, REGIONS).expand(pictures, -1, -1)
    if not ragged:
        return VisualFeatures(regions, None, boxes)
    mask = torch.arange(REGIONS) < torch.tensor(SIZES)[:, None]  # (B, P)
    return VisualFeatures(regions * mask[..., None], mask, boxes * mask[..., None])


def make_captions(rows=6, length=6):
    captions = torch.randint(4, WORDS, (rows, length), generator=torch.Generator().manual_seed(3))
    captions[:, 0] = START_IDX
    return captions


def alone(features, picture):
    """One picture without padding and without a mask."""
    size = REGIONS if features.region_mask is None else SIZES[picture]
    rows = slice(picture, picture + 1)
    return VisualFeatures(features.regions[rows, :size], None, features.boxes[rows, :size])


def close(found, expected, tolerance=3e-6):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
