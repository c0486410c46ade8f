"""Transformers of ImageCaptioning.pytorch and of two systems built on it under our names.

All are the Annotated Transformer: norms before the blocks that divide by the unbiased deviation,
word vectors times the root of their size, sinusoids for the places of words and none for regions.
There queries, keys and values are three layers; here what one input passes stands in one table. A
batch norm before the layer of the regions is folded into it; one after its ReLU changes what every
layer adds to, so no layer can take it up.

Source: github.com/ruotianluo/ImageCaptioning.pytorch, captioning/models/TransformerModel.py (and
cachedTransformer.py: the same tensors, the same numbers); github.com/yahoo/
object_relation_transformer, models/RelationTransformerModel.py; github.com/YuanEZhou/satic,
models/SAT.py (the same tensors; `K` words are said at once).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from captioning.config import TransformerConfig
from captioning.decoders.attention import sinusoids
from captioning.imports.self_critical_tensors import Converter, State, regions
from captioning.imports.weights import Linear, Weights, named

TOGETHER = "files of one training expected"
HEADS = 8  # where the infos do not say
POSITIONS = 500  # so many are compared: no caption is longer
EMBEDDING, OUTPUT = "model.tgt_embed.0.lut.weight", "model.generator.proj"  # a row for each word
# what other transformers of that repository are, and why they do not fit
OTHERS = {
    "aoa": "its words come from an LSTM, and its regions pass no feed-forward layers",
    "m2transformer": "a network of another package, with norms after the blocks; ours stand before",
    "bert": "Hugging Face's BERT: norms after the blocks, GELU, learned places of words",
}


def transformer(weights: Weights) -> State:
    """The tensors but for those with a row for each word.

    Raises:
        ValueError: a tensor is missing, does not fit, or has no place here.
    """
    embedded, after = regions(weights)
    if after is not None:
        raise ValueError(
            f"{weights.path}: a batch norm after the ReLU of the regions found (use_bn 2), which "
            "cannot be folded into a layer; use_bn 0 or 1 expected"
        )
    check_positions(weights)
    state = {f"encoder.{name}": value for name, value in embedded.items()}
    for number in range(count_layers(weights, "encoder")):
        state |= region_layer(weights, number)
    for number in range(count_layers(weights, "decoder")):
        state |= word_layer(weights, number)
    ends = (("model.encoder.norm", "encoder.norm"), ("model.decoder.norm", "norm"))
    return state | {k: v for theirs, ours in ends for k, v in norm(weights, theirs, ours).items()}


def count_layers(weights: Weights, stack: str) -> int:
    """Layers of a stack, at least one: that one is then missed by name."""
    mark = f"model.{stack}.layers."
    return max(len({name.split(".")[3] for name in weights.left if name.startswith(mark)}), 1)


def norm(weights: Weights, theirs: str, ours: str) -> State:
    """A layer norm: its scale and its shift."""
    return named(ours, (weights.take(f"{theirs}.a_2", 1), weights.take(f"{theirs}.b_2", 1)))


def side_by_side(layers: list[Linear]) -> Linear:
    """One layer that gives what several give, side by side."""
    return torch.cat([weight for weight, _ in layers]), torch.cat([bias for _, bias in layers])


def feed_forward(weights: Weights, theirs: str, ours: str) -> State:
    """Two layers; ReLU and dropout stand between them here."""
    first, second = (weights.linear(f"{theirs}.feed_forward.{part}") for part in ("w_1", "w_2"))
    return named(f"{ours}.feedforward.0", first) | named(f"{ours}.feedforward.3", second)


def region_layer(weights: Weights, number: int) -> State:
    """Regions look at regions, also by where they lie if the checkpoint has the layers for it."""
    theirs, ours = f"model.encoder.layers.{number}", f"encoder.layers.{number}"
    *asked, joined = (weights.linear(f"{theirs}.self_attn.linears.{i}") for i in range(4))
    state = named(f"{ours}.attention.query_key_value", side_by_side(asked))
    state |= named(f"{ours}.attention.output.project", joined)
    for place, name in enumerate(("attention_norm", "feedforward_norm")):
        state |= norm(weights, f"{theirs}.sublayer.{place}.norm", f"{ours}.{name}")
    geometry, heads = f"{theirs}.self_attn.WGs", []
    while f"{geometry}.{len(heads)}.weight" in weights:
        heads.append(weights.linear(f"{geometry}.{len(heads)}"))  # (1, 64), (1)
    if heads:
        state |= named(f"{ours}.relations.gate", side_by_side(heads))
    return state | feed_forward(weights, theirs, ours)


def word_layer(weights: Weights, number: int) -> State:
    """Words look at words, then at regions."""
    theirs, ours = f"model.decoder.layers.{number}", f"layers.{number}"
    *asked, joined = (weights.linear(f"{theirs}.self_attn.linears.{i}") for i in range(4))
    query, key, value, seen = (weights.linear(f"{theirs}.src_attn.linears.{i}") for i in range(4))
    state = named(f"{ours}.words.query_key_value", side_by_side(asked))
    state |= named(f"{ours}.words.output.project", joined)
    state |= named(f"{ours}.regions.attention.query", query)
    state |= named(f"{ours}.regions.attention.key_value", side_by_side([key, value]))
    state |= named(f"{ours}.regions.attention.output.project", seen)
    for place, name in enumerate(("word_norm", "region_norm", "feedforward_norm")):
        state |= norm(weights, f"{theirs}.sublayer.{place}.norm", f"{ours}.{name}")
    return state | feed_forward(weights, theirs, ours)


def check_positions(weights: Weights) -> None:
    """The table of positions is a constant; ours is the same.

    Raises:
        ValueError: it holds other numbers.
    """
    name = "model.tgt_embed.1.pe"
    table = weights.take(name, 3)[0, :POSITIONS].float()  # (positions, D)
    if not torch.allclose(table, sinusoids(*table.shape), atol=1e-3):
        raise ValueError(f"{weights.path}: {name!r} holds other numbers than sinusoids")


TRANSFORMERS: dict[str, Converter] = {
    "transformer": ("transformer", transformer, "encoder.embed_regions.0"),
    "relation_transformer": ("transformer", transformer, "encoder.embed_regions.0"),
    "sat": ("transformer", transformer, "encoder.embed_regions.0"),
}


def check_options(options: dict[str, Any], path: Path) -> None:
    """Refuse what no tensor shows and no setting of ours gives.

    Raises:
        ValueError: the option, and why.
    """
    if options["caption_model"] == "sat" and not is_group_size(options.get("K")):
        raise ValueError(f"{path}: K {options.get('K')!r} found, 1 to 32 words at once expected")
    if options["caption_model"] != "relation_transformer":
        return
    if options.get("legacy_extra_skip"):
        reason = "its layers add the regions once more inside the attention, which ours do not"
        raise ValueError(f"{path}: legacy_extra_skip found: {reason}; a model without it expected")
    if not options.get("box_trignometric_embedding", True):
        reason = "geometry as four plain numbers found, as 64 sines and cosines expected"
        raise ValueError(f"{path}: box_trignometric_embedding off: {reason}")


def is_group_size(value: Any) -> bool:
    """Whether that many words can be said at once."""
    return type(value) is int and 1 <= value <= 32


def transformer_settings(state: State, options: dict[str, Any], path: Path) -> TransformerConfig:
    """Sizes as the tensors have them; heads and dropout as the infos say.

    Args:
        state (State): of `transformer`.
        options (dict[str, Any]): of the training.
        path (Path): of the checkpoint.

    Raises:
        ValueError: the number of heads does not divide the size; relations are missing or too many.
    """
    relations = state.get("encoder.layers.0.relations.gate.weight")
    if (relations is not None) != (options["caption_model"] == "relation_transformer"):
        found = f"{'no' if relations is None else 'object'} relations found"
        told = f"{found}, but caption_model is {options['caption_model']}"
        raise ValueError(f"{path}: {told}: {TOGETHER}")
    inner, width = state["layers.0.feedforward.0.weight"].shape
    heads = options.get("num_att_heads", HEADS) if relations is None else len(relations)
    if type(heads) is not int or heads < 1 or width % heads:
        raise ValueError(f"{path}: {heads!r} heads cannot share vectors of {width} numbers")
    layers = [name for name in state if name.endswith("feedforward_norm.weight")]
    num_layers = sum(name.startswith("layers") for name in layers)
    return TransformerConfig(
        model_dim=width,
        feedforward_dim=inner,
        num_heads=heads,
        encoder_layers=len(layers) - num_layers,
        num_layers=num_layers,
        dropout=dropout_of(options, "dropout", 0.1),
        region_dropout=dropout_of(options, "drop_prob_lm", 0.5),
        norm="annotated",
        relations=relations is not None,
        relations_plus_one=relations is not None,
        group_size=options["K"] if options["caption_model"] == "sat" else 1,
    )


def dropout_of(options: dict[str, Any], name: str, default: float) -> float:
    """An option that is a share of dropped numbers, or the default."""
    value = options.get(name)
    return float(value) if type(value) in (int, float) and 0 <= value <= 0.95 else default


def sizes_claimed(config: TransformerConfig, options: dict[str, Any]) -> list[tuple[str, int]]:
    """Options that tell a size, and the size found; the younger name counts where both stand."""
    found = [
        ("d_model", "input_encoding_size", config.model_dim),
        ("d_ff", "rnn_size", config.feedforward_dim),
        ("N_enc", "num_layers", config.encoder_layers),
        ("N_dec", "num_layers", config.num_layers),
    ]
    return [(young if young in options else old, size) for young, old, size in found]
