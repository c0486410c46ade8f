"""ImageCaptioning.pytorch in small: its checkpoint files, and its networks from their equations.

The networks are computed on the tensors of a checkpoint itself, without any code of ours, so that
tests can compare what an imported captioner says.
"""

from __future__ import annotations

import argparse
import pickle

import numpy as np
import torch
from torch import nn

WORDS = ["a", "man", "riding", "wave", "on", "dog", "the", "UNK"]  # index 1, 2, ...
E, R, A, F = 6, 8, 5, 7  # word vector, memory, comparison, region
POOLED = ("fc", "newfc", "show_tell")
RECTIFIED = ("att2in2", "updown", "topdown")
UPDOWN = ("updown", "topdown")
VISIBLE = (4, 2, 3)  # regions of three pictures


def checkpoint(model, use_bn=0, layers=1, fc_size=None):
    """A state dict as the original writes it, with random numbers."""
    torch.manual_seed(sum(map(ord, model)) + use_bn)
    rows, core = len(WORDS) + 1, "_core" if model == "newfc" else "core"
    parts = {"embed.0" if model in RECTIFIED else "embed": nn.Embedding(rows, E)}
    parts["logit"] = nn.Linear(R, rows)
    if model in UPDOWN:
        parts["core.att_lstm"] = nn.LSTMCell(E + 2 * R, R)
        parts["core.lang_lstm"] = nn.LSTMCell(2 * R, R)
        parts["fc_embed.0"] = nn.Linear(fc_size or F, R)
    elif model == "show_tell":
        parts["core"] = nn.LSTM(E, R, layers, bias=False)
    else:
        parts |= {f"{core}.i2h": nn.Linear(E, 5 * R), f"{core}.h2h": nn.Linear(R, 5 * R)}
    if model in POOLED:
        parts["fc_embed" if model == "newfc" else "img_embed"] = nn.Linear(F, E)
    else:
        seen = F if model == "att2in" else R
        parts |= {"ctx2att": nn.Linear(seen, A), "core.attention.h2att": nn.Linear(R, A)}
        parts["core.attention.alpha_net"] = nn.Linear(A, 1)
    if model in ("att2in", "att2in2"):
        parts["core.a2c"] = nn.Linear(seen, 2 * R)
    if model in RECTIFIED:
        parts |= {"att_embed.0": nn.BatchNorm1d(F)} if use_bn else {}
        parts[f"att_embed.{int(use_bn > 0)}"] = nn.Linear(F, R)
        parts |= {"att_embed.4": nn.BatchNorm1d(R)} if use_bn == 2 else {}
    state = {}
    for name, part in parts.items():
        for key, value in part.state_dict().items():
            loud = 3 * value  # so that the choice between words is clear
            fresh = torch.rand(value.shape) + 0.5
            state[f"{name}.{key}"] = fresh if isinstance(part, nn.BatchNorm1d) else loud
    return state


def layer(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def normed(w, name, x):
    """Batch norm in evaluation, where the checkpoint has one."""
    if f"{name}.running_var" not in w:
        return x
    spread = (w[f"{name}.running_var"] + 1e-5).sqrt()
    return (x - w[f"{name}.running_mean"]) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def maxout(w, core, x, h, c, seen=0):
    gates = layer(w, f"{core}.i2h", x) + layer(w, f"{core}.h2h", h)
    i, f, o = gates[:, : 3 * R].sigmoid().chunk(3, 1)
    a, b = (gates[:, 3 * R :] + seen).chunk(2, 1)
    c = f * c + i * torch.maximum(a, b)
    return o * c.tanh(), c


def usual(w, core, x, h, c, end=""):
    """torch's LSTM: input, forget, candidate, output."""
    gates = x @ w[f"{core}.weight_ih{end}"].T + h @ w[f"{core}.weight_hh{end}"].T
    gates = gates + w.get(f"{core}.bias_ih{end}", 0) + w.get(f"{core}.bias_hh{end}", 0)
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def attend(w, h, v, mask):
    """Softmax over all regions, then the mask, then scaled to one again."""
    mixed = torch.tanh(layer(w, "ctx2att", v) + layer(w, "core.attention.h2att", h)[:, None])
    weight = layer(w, "core.attention.alpha_net", mixed)[..., 0].softmax(1) * mask
    return ((weight / weight.sum(1, keepdim=True))[..., None] * v).sum(1)


def regions_of(w, model, att, mask):
    if model not in RECTIFIED:
        return att
    place = int("att_embed.0.running_var" in w)
    embedded = layer(w, f"att_embed.{place}", normed(w, "att_embed.0", att) if place else att)
    return normed(w, f"att_embed.{place + 3}", embedded.relu()) * mask[..., None]


def original_steps(w, model, fc, att, mask):
    """A function that reads one index a row and gives the log-probabilities of the next."""
    layers = max(sum("weight_hh_l" in name for name in w), 1)
    state = [(torch.zeros(len(fc), R), torch.zeros(len(fc), R)) for _ in range(max(layers, 2))]
    v = regions_of(w, model, att, mask)

    def core(x):
        h, c = state[0]
        if model in POOLED[:2]:
            state[0] = maxout(w, "_core" if model == "newfc" else "core", x, h, c)
        elif model == "show_tell":
            for k in range(layers):
                state[k] = usual(w, "core", x, *state[k], end=f"_l{k}")
                x = state[k][0]
            return x
        elif model in UPDOWN:
            mean = layer(w, "fc_embed.0", fc).relu()
            state[0] = usual(w, "core.att_lstm", torch.cat([state[1][0], mean, x], 1), h, c)
            seen = attend(w, state[0][0], v, mask)
            state[1] = usual(w, "core.lang_lstm", torch.cat([seen, state[0][0]], 1), *state[1])
            return state[1][0]
        else:
            state[0] = maxout(w, "core", x, h, c, layer(w, "core.a2c", attend(w, h, v, mask)))
        return state[0][0]

    if model in POOLED:
        core(layer(w, "fc_embed" if model == "newfc" else "img_embed", fc))

    def step(index):
        words = (
            w["embed.0.weight"][index].relu() if model in RECTIFIED else w["embed.weight"][index]
        )
        return layer(w, "logit", core(words)).log_softmax(1)

    return step


def original_greedy(step, rows, length):
    """Indices until 0, which ends a caption."""
    index, said, open_rows = torch.zeros(rows, dtype=torch.long), [], torch.ones(rows, dtype=bool)
    for _ in range(length):
        index = step(index).argmax(1) * open_rows
        open_rows = open_rows & (index > 0)
        said.append(index)
    return [[WORDS[i - 1] for i in row if i] for row in torch.stack(said, 1).tolist()]


# ---- files and features ----


def write(folder, state, protocol=2, said=WORDS, **options):
    """`model.pth` and `infos.pkl`."""
    known = {"rnn_size": R, "input_encoding_size": E, "att_hid_size": A, "drop_prob_lm": 0.5}
    options = argparse.Namespace(**known | {"max_length": 9, "rnn_type": "lstm"} | options)
    words = {str(index): word for index, word in enumerate(said, 1)}
    infos = {"iter": 30, "epoch": 2, "vocab": words, "opt": options, "loader_state_dict": None}
    infos["best_val_score"] = np.float64(1.25)
    torch.save(state, folder / "model.pth")
    (folder / "infos.pkl").write_bytes(pickle.dumps(infos, protocol))
    return folder / "model.pth", folder / "infos.pkl"


def features_of(model):
    """Regions of three pictures, their masks, and the global vector the original is given."""
    att = torch.randn(3, max(VISIBLE), F, generator=torch.Generator().manual_seed(5))
    mask = (torch.arange(max(VISIBLE)) < torch.tensor(VISIBLE)[:, None]).float()
    att = att * mask[..., None]
    return att, mask, att.sum(1) / mask.sum(1, keepdim=True)
