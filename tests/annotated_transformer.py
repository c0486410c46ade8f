"""The transformer captioner of ImageCaptioning.pytorch in small; with relations, or in groups.

As `self_critical_original`: checkpoints with the original's names and random numbers, and what the
original says, computed on those tensors from the equations, without any code of ours. Nothing is
cached and nothing is clever: every caption is read anew for every word.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from self_critical_original import VISIBLE, WORDS, F, features_of, layer, normed

D, INNER, ENCODERS, DECODERS = 16, 12, 2, 3  # sizes, layers for regions, layers for words
SIZES = {"input_encoding_size": D, "rnn_size": INNER, "num_layers": 6, "max_length": 9}
YOUNG = {"d_model": D, "d_ff": INNER, "N_enc": ENCODERS, "N_dec": DECODERS, "num_att_heads": 4}
MODELS = {"transformer": 4, "relation_transformer": 8, "sat": 8}  # heads


def options_of(model, **changes):
    """What the infos say: the younger code names each size, the older one has one for both."""
    known = {"caption_model": model, "drop_prob_lm": 0.5, "use_bn": 0}
    if model == "transformer":
        return known | SIZES | YOUNG | {"dropout": 0.1} | changes
    more = {"K": 3} if model == "sat" else {"use_box": 1}
    return known | SIZES | {"num_layers": ENCODERS} | more | changes


def checkpoint(model="transformer", use_bn=0, feature_dim=F):
    """A state dict as the original writes it, with random numbers."""
    generator = torch.Generator().manual_seed(len(model) + use_bn)
    layers = DECODERS if model == "transformer" else ENCODERS
    state = {}

    def table(name, *size, spread=1.0, middle=0.0):
        state[name] = torch.randn(size, generator=generator) * spread + middle

    def linear(name, inner, outer, spread=0.0):
        table(f"{name}.weight", outer, inner, spread=spread or inner**-0.5)
        table(f"{name}.bias", outer, spread=0.3)

    def norm(name):
        table(f"{name}.a_2", D, spread=0.3, middle=1.0)
        table(f"{name}.b_2", D, spread=0.3)

    def batch_norm(name, size):
        for part, middle in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 2)):
            table(f"{name}.{part}", size, spread=0.3, middle=middle)
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def block(name, attentions):
        for attention in attentions:
            for i in range(4):
                linear(f"{name}.{attention}.linears.{i}", D, D, spread=0.5)
        linear(f"{name}.feed_forward.w_1", D, INNER)
        linear(f"{name}.feed_forward.w_2", INNER, D)
        for i in range(len(attentions) + 1):
            norm(f"{name}.sublayer.{i}.norm")

    if use_bn:
        batch_norm("att_embed.0", feature_dim)
    linear(f"att_embed.{int(use_bn > 0)}", feature_dim, D)
    if use_bn == 2:
        batch_norm("att_embed.4", D)
    for i in range(ENCODERS):
        block(f"model.encoder.layers.{i}", ["self_attn"])
        for head in range(8 if model == "relation_transformer" else 0):
            linear(f"model.encoder.layers.{i}.self_attn.WGs.{head}", 64, 1)
    norm("model.encoder.norm")
    for i in range(layers):
        block(f"model.decoder.layers.{i}", ["self_attn", "src_attn"])
    norm("model.decoder.norm")
    table("model.tgt_embed.0.lut.weight", len(WORDS) + 1, D, spread=0.5)
    state["model.tgt_embed.1.pe"] = places(5000)[None]
    linear("model.generator.proj", D, len(WORDS) + 1, spread=0.5)
    return state


@cache
def places(length):
    """Sines and cosines in turn, of ever longer waves."""
    angles = [[t / 10000 ** (2 * pair / D) for pair in range(D // 2)] for t in range(length)]
    return torch.tensor([[f(a) for a in row for f in (math.sin, math.cos)] for row in angles])


# ---- the network ----


def layer_norm(w, name, x):
    """The deviation divides by D - 1, and 1e-6 stands outside of the root."""
    middle = x - x.mean(-1, keepdim=True)
    deviation = (middle.square().sum(-1, keepdim=True) / (D - 1)).sqrt()
    return w[f"{name}.a_2"] * middle / (deviation + 1e-6) + w[f"{name}.b_2"]


def attend(w, name, asking, asked, visible, heads, geometry=None):
    """Head by head; `visible` (..., Q, P) is true where a question sees a key."""
    query, key, value = (
        layer(w, f"{name}.linears.{i}", x) for i, x in enumerate((asking, asked, asked))
    )
    size, found = D // heads, []
    for head in range(heads):
        own = slice(head * size, (head + 1) * size)
        scores = query[..., own] @ key[..., own].transpose(1, 2) / math.sqrt(size)
        scores = scores.masked_fill(~visible, -1e9)
        if geometry is not None:
            weight = layer(w, f"{name}.WGs.{head}", geometry)[..., 0].relu()
            scores = scores + weight.clamp(min=1e-6).log()
        found.append(scores.softmax(-1) @ value[..., own])
    return layer(w, f"{name}.linears.3", torch.cat(found, -1))


def feed(w, name, x):
    return layer(w, f"{name}.feed_forward.w_2", layer(w, f"{name}.feed_forward.w_1", x).relu())


def geometry_of(boxes):
    """(B, P, 4) -> (B, P, P, 64): where the second region lies as the first one sees it."""
    left, top, right, bottom = boxes.unbind(-1)
    x, y, width, height = (left + right) / 2, (top + bottom) / 2, right - left + 1, bottom - top + 1
    rows = []
    for middle, size in ((x, width), (y, height)):
        far = (middle[:, :, None] - middle[:, None]).abs() / size[:, :, None]
        rows.append(far.clamp(min=1e-3).log())
    rows += [(size[:, :, None] / size[:, None]).log() for size in (width, height)]
    angles = [100 * row / 1000 ** (k / 8) for row in rows for k in range(8)]
    return torch.stack([a.sin() for a in angles] + [a.cos() for a in angles], -1)


def encode(w, att, mask, heads, boxes=None):
    """Regions (B, P, F), mask (B, P) of ones and zeros -> what words look at, (B, P, D)."""
    place = int("att_embed.0.running_var" in w)
    x = layer(w, f"att_embed.{place}", normed(w, "att_embed.0", att) if place else att).relu()
    x = x * mask[..., None]  # there only the regions that count pass the layer
    geometry = None if boxes is None else geometry_of(boxes)
    for i in range(ENCODERS):
        name = f"model.encoder.layers.{i}"
        known = layer_norm(w, f"{name}.sublayer.0.norm", x)
        visible = mask[:, None].bool()
        x = x + attend(w, f"{name}.self_attn", known, known, visible, heads, geometry)
        x = x + feed(w, name, layer_norm(w, f"{name}.sublayer.1.norm", x))
    return layer_norm(w, "model.encoder.norm", x)


def decode(w, memory, mask, indices, heads, at_once=1):
    """Indices (B, T), 0 first -> log-probabilities of the words to say, (B, T, V + 1)."""
    length = indices.shape[1]
    x = w["model.tgt_embed.0.lut.weight"][indices] * math.sqrt(D)
    x = x + w["model.tgt_embed.1.pe"][:, :length]
    ends = [(i // at_once + 1) * at_once for i in range(length)]  # of each word's group
    before = torch.tensor([[[j < end for j in range(length)] for end in ends]])
    number = 0
    while f"model.decoder.layers.{number}.feed_forward.w_1.weight" in w:
        name = f"model.decoder.layers.{number}"
        known = layer_norm(w, f"{name}.sublayer.0.norm", x)
        x = x + attend(w, f"{name}.self_attn", known, known, before, heads)
        known = layer_norm(w, f"{name}.sublayer.1.norm", x)
        x = x + attend(w, f"{name}.src_attn", known, memory, mask[:, None].bool(), heads)
        x = x + feed(w, name, layer_norm(w, f"{name}.sublayer.2.norm", x))
        number += 1
    return layer(w, "model.generator.proj", layer_norm(w, "model.decoder.norm", x)).log_softmax(-1)


def original_steps(w, memory, mask, heads):
    """A function that reads one index a row and gives the log-probabilities of the next."""
    said = []

    def step(index):
        said.append(index)
        return decode(w, memory, mask, torch.stack(said, 1), heads)[:, -1]

    return step


def picture_regions():
    """Regions of three pictures (the last ones of some are padding), masks and boxes."""
    att, mask, _ = features_of("transformer")
    corners = torch.rand(3, max(VISIBLE), 2, 2, generator=torch.Generator().manual_seed(6))
    boxes = torch.cat([corners.amin(2), corners.amax(2)], -1)  # left, top, right, bottom
    return att, mask, boxes * mask[..., None]
