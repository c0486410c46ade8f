"""The recurrent captioners of self-critical training: FC, Att2in, Att2in2, Up-Down, adaptive.

All of them are one shell, `RecurrentDecoder`: words become vectors, and vectors become the words'
share of the LSTM's gates, in one product for all known words; a loop over the words adds what
depends on the memory; one product gives the logits. A kind says what it sees of a picture (`look`,
once a picture) and what one word does to its memory (`advance`).

kind       regions                 picture in the gates   memory                 looks with
fc         -                       first input            maxout LSTM            -
att2in     as they are             -                      maxout LSTM            h of the last word
att2in2    Linear, ReLU, dropout   -                      maxout LSTM            h of the last word
updown     Linear, ReLU, dropout   mean, at every word    two LSTMs              h of the first one
adaptive   Linear, ReLU, dropout   mean, at every word    LSTM with a sentinel   its own new h

`fc` is Show and Tell with the maxout LSTM; Show and Tell with torch's LSTM is `model.DecoderRNN`
(kind `rnn`). Regions are compared with `model.Attention`. Shapes: as in `model.py`, and C = 4H or
5H numbers that control an LSTM, in the order input, forget, output gate, what may be written (and
the sentinel's gate).

Source: S. J. Rennie et al., "Self-Critical Sequence Training for Image Captioning", CVPR 2017,
section 2 (fc, att2in); P. Anderson et al., "Bottom-Up and Top-Down Attention for Image Captioning
and Visual Question Answering", CVPR 2018, section 3.2, eq. 2 to 7 (updown); J. Lu et al., "Knowing
When to Look", CVPR 2017, the adaptive attention model, eq. 9 to 13 (adaptive). Layers, dropout and
first weights follow ImageCaptioning.pytorch (R. Luo), whose weights fit in.

Departures: from the papers: dropout; words (but for fc and att2in), regions and means (but for
att2in) pass a ReLU; adaptive has a layer with tanh before the output. From ImageCaptioning.pytorch:
masked regions leave the softmax (there their weights are cut after it and the rest is scaled to a
sum of one: the same numbers); the score of a region has no bias, which no softmax can see; no
dropout inside the attention; adaptive's sentinel is as wide as the memory, not as a word, so that
the two sizes may differ; the products of one LSTM are joined where they can be.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from captioning.config import DecoderConfig
from model import Attention, State, VisualFeatures, teacher_force

Parts = dict[str, Tensor]


class Reading(NamedTuple):
    """What reading a word gave; of G words: `output` and `looked` are (N, G, ...).

    Args:
        output (Tensor): what the logits are made of, (N, H).
        memory (Parts): after the word, (N, H) each.
        looked (Parts): `attention_weights` (N, P) and the like, or nothing.
    """

    output: Tensor
    memory: Parts
    looked: Parts


def layer(
    input_dim: int, output_dim: int, activation: nn.Module, dropout: float = 0.0
) -> nn.Sequential:
    """A linear map, an activation, dropout."""
    return nn.Sequential(nn.Linear(input_dim, output_dim), activation, nn.Dropout(dropout))


def remember(gates: Tensor, candidate: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """What every LSTM does with its gates.

    Args:
        gates (Tensor): input, forget and output gate before the sigmoid, (N, 3H).
        candidate (Tensor): what may be written into the cell, (N, H).
        cell (Tensor): before the word, (N, H).

    Returns:
        tuple[Tensor, Tensor]: hidden and cell state after the word, (N, H) each.
    """
    write, keep, show = gates.sigmoid().chunk(3, -1)
    cell = keep * cell + write * candidate
    return show * cell.tanh(), cell


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The usual LSTM: gates (N, 4H), cell (N, H) -> hidden, cell."""
    size = cell.shape[-1]
    return remember(gates[:, : 3 * size], gates[:, 3 * size :].tanh(), cell)


def maxout_lstm(
    gates: Tensor, cell: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """An LSTM that writes the larger of two candidates, neither squeezed by a tanh.

    Args:
        gates (Tensor): three gates and two candidates, (N, 5H).
        cell (Tensor): (N, H).
        context (Tensor | None): what the picture adds to the two candidates, (N, 2H).

    Returns:
        tuple[Tensor, Tensor]: hidden and cell state, (N, H) each.

    Source: Rennie et al. 2017, section 2, FC models; with context: Attention Model (Att2in).
    """
    size = cell.shape[-1]
    candidates = gates[:, 3 * size :]
    if context is not None:
        candidates = candidates + context
    return remember(gates[:, : 3 * size], torch.maximum(*candidates.chunk(2, -1)), cell)


def per_image(rows: Tensor, features: Tensor) -> Tensor:
    """(N, ...) seen as (B, S, ...), B as in `features`: row n belongs to picture n // S."""
    return rows.unflatten(0, (len(features), -1))


class RecurrentDecoder(nn.Module):
    """The shell of the family.

    Args:
        vocab_size, feature_dim (int): V, F.
        config (DecoderConfig): E, H, A and the dropout (0..1), which acts on word vectors (not on
            plain ones) and before the output.
    """

    group_size = 1
    num_gates = 5  # C = num_gates x H
    plain = False  # word vectors and regions as they are, without ReLU and dropout
    carried: tuple[str, ...] = ("hidden", "cell")  # the memory
    read: tuple[str, ...] = ("hidden",)  # what of it adds to the gates

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__()
        embed_dim, self.hidden_dim = config.embed_dim, config.hidden_dim
        gates_dim = self.num_gates * self.hidden_dim
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        rectify = nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout))
        self.rectify = nn.Identity() if self.plain else rectify
        self.words_to_gates = nn.Linear(embed_dim, gates_dim)
        self.memory_to_gates = nn.Linear(len(self.read) * self.hidden_dim, gates_dim)
        self.finish: nn.Module = nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.hidden_dim, vocab_size)
        if self.plain:
            nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
            nn.init.uniform_(self.output.weight, -0.1, 0.1)
            nn.init.zeros_(self.output.bias)

    def look(self, features: VisualFeatures) -> Parts:
        """What is computed once a picture, B rows each; `gates` (B, C) add to every word's."""
        return {}

    def advance(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """Read a word: the gates (N, C) it makes with the memory, the picture, the memory."""
        raise NotImplementedError

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """A picture looked at, and an empty memory for every row."""
        rows = len(features) * rows_per_image
        empty = features.regions.new_zeros(rows, self.hidden_dim)
        return {"image": self.look(features), "words": dict.fromkeys(self.carried, empty)}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Known words (N, G) -> logits (N, G, V) of the word after each, state after the last.

        The new state of a kind that looks at regions tells where: `attention_weights` (N, G, P).
        """
        image, words = state["image"], self.rectify(self.embedding(tokens))  # (N, G, E)
        gates = self.words_to_gates(words)  # (N, G, C)
        if "gates" in image:
            shared = image["gates"][:, None, None]  # (B, 1, 1, C)
            gates = (per_image(gates, shared) + shared).flatten(0, 1)
        outputs, memory, looked = self.read_words(gates, image, state["words"])
        logits = self.output(self.dropout(self.finish(outputs)))
        return logits, {"image": image, "words": memory | looked}

    def read_words(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """One word after the other, from the share (N, G, C) that each has in the gates."""
        readings = []
        for share in gates.unbind(1):
            known = torch.cat([memory[name] for name in self.read], -1)
            readings.append(self.advance(share + self.memory_to_gates(known), image, memory))
            memory = readings[-1].memory
        looked = {
            name: torch.stack([one.looked[name] for one in readings], 1)
            for name in readings[-1].looked
        }
        return Reading(torch.stack([one.output for one in readings], 1), memory, looked)

    forward = teacher_force  # (features, captions[:, :-1]) -> logits (N, T, V), weights (N, T, P)


class DecoderFC(RecurrentDecoder):
    """Show and Tell with the maxout LSTM: the mean region is its first word."""

    plain = True

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__(vocab_size, feature_dim, config)
        self.image_to_embedding = nn.Linear(feature_dim, config.embed_dim)

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """Show the picture to the LSTM, once for all its rows; its output there is not used."""
        memory = super().init_state(features)["words"]
        image = self.image_to_embedding(features.mean()).unsqueeze(1)  # (B, 1, E)
        memory = self.read_words(self.words_to_gates(image), {}, memory).memory
        words = {name: part.repeat_interleave(rows_per_image, 0) for name, part in memory.items()}
        return {"image": {}, "words": words}  # (N, H)

    def advance(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """The maxout LSTM."""
        hidden, cell = maxout_lstm(gates, memory["cell"])
        return Reading(hidden, {"hidden": hidden, "cell": cell}, {})


class LookingDecoder(RecurrentDecoder):
    """The shell of the kinds that attend to regions."""

    sees_mean = True  # the mean region adds to the gates of every word

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__(vocab_size, feature_dim, config)
        sizes = (feature_dim, self.hidden_dim)
        self.region_dim = feature_dim if self.plain else self.hidden_dim
        rectified = layer(*sizes, nn.ReLU(), config.dropout)
        self.embed_regions = nn.Identity() if self.plain else rectified
        self.attention = Attention(self.region_dim, self.hidden_dim, config.attention_dim)
        if self.sees_mean:
            self.embed_mean = layer(*sizes, nn.ReLU(), config.dropout)
            gates_dim = self.num_gates * self.hidden_dim
            self.mean_to_gates = nn.Linear(self.hidden_dim, gates_dim, bias=False)  # words have one

    def look(self, features: VisualFeatures) -> Parts:
        """Regions (B, P, H or F) and what attention compares them by (B, P, A)."""
        regions = self.embed_regions(features.regions)
        image = {"regions": regions, "projected": self.attention.project_regions(regions)}
        if features.region_mask is not None:
            image["mask"] = features.region_mask
        if self.sees_mean:
            image["gates"] = self.mean_to_gates(self.embed_mean(features.mean()))
        return image

    def attend(self, image: Parts, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden (N, H) -> context (N, H or F), weights of the regions (N, P)."""
        return self.attention(image["regions"], image["projected"], hidden, image.get("mask"))


class DecoderAtt2in2(LookingDecoder):
    """Att2in2: what was seen goes into the candidates of the maxout LSTM, and nowhere else."""

    sees_mean = False

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__(vocab_size, feature_dim, config)
        self.context_to_candidates = nn.Linear(self.region_dim, 2 * self.hidden_dim)

    def advance(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """Look with the output of the word before, then the maxout LSTM."""
        context, weights = self.attend(image, memory["hidden"])
        hidden, cell = maxout_lstm(gates, memory["cell"], self.context_to_candidates(context))
        return Reading(hidden, {"hidden": hidden, "cell": cell}, {"attention_weights": weights})


class DecoderAtt2in(DecoderAtt2in2):
    """Att2in: the same with word vectors and regions as they are."""

    plain = True


class DecoderUpDown(LookingDecoder):
    """Up-Down: one LSTM decides where to look, a second one what to say.

    The first reads the second's last output, the mean region and the word (eq. 2), the second what
    was seen and the first's output (eq. 6).
    """

    num_gates = 4
    carried = ("language_hidden", "hidden", "language_cell", "cell")
    read = ("language_hidden", "hidden")

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__(vocab_size, feature_dim, config)
        self.language_gates = nn.Linear(3 * self.hidden_dim, 4 * self.hidden_dim)

    def advance(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """First LSTM, look (eq. 3 to 5), second LSTM."""
        hidden, cell = lstm(gates, memory["cell"])
        context, weights = self.attend(image, hidden)
        gates = self.language_gates(torch.cat([context, hidden, memory["language_hidden"]], -1))
        spoken, language_cell = lstm(gates, memory["language_cell"])
        after = dict(zip(self.carried, (spoken, hidden, language_cell, cell), strict=True))
        return Reading(spoken, after, {"attention_weights": weights})


class DecoderAdaptive(LookingDecoder):
    """Adaptive attention: beside the regions there is a sentinel, what the memory knows already.

    Regions and sentinel share one softmax, so `attention_weights` (N, G, P) of the regions and
    `sentinel` (N, G, 1), beta of the paper, add up to one: a word that needs no look has a large
    sentinel and small weights.
    """

    def __init__(self, vocab_size: int, feature_dim: int, config: DecoderConfig) -> None:
        super().__init__(vocab_size, feature_dim, config)
        sizes, dropout = (self.hidden_dim, self.hidden_dim), config.dropout
        self.embed_sentinel = layer(*sizes, nn.ReLU(), dropout)
        self.project_sentinel = nn.Linear(self.hidden_dim, config.attention_dim)
        self.embed_hidden = layer(*sizes, nn.Tanh(), dropout)
        self.finish = layer(*sizes, nn.Tanh())

    def advance(self, gates: Tensor, image: Parts, memory: Parts) -> Reading:
        """LSTM, sentinel (eq. 9, 10), look or remember (eq. 11, 12)."""
        gates, gate = gates.split([4 * self.hidden_dim, self.hidden_dim], -1)
        hidden, cell = lstm(gates, memory["cell"])
        sentinel = self.embed_sentinel(self.dropout(gate.sigmoid() * cell.tanh()))
        query = self.embed_hidden(self.dropout(hidden))  # (N, H)
        context, weights, share = self.attend_or_not(image, query, sentinel)
        looked = {"attention_weights": weights, "sentinel": share}
        return Reading(context + query, {"hidden": hidden, "cell": cell}, looked)

    def attend_or_not(
        self, image: Parts, query: Tensor, sentinel: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Query and sentinel (N, H) -> context (N, H), weights (N, P), sentinel's share (N, 1)."""
        regions, projected = image["regions"], image["projected"]
        compared = per_image(self.attention.project_hidden(query), regions)  # (B, S, A)
        known = per_image(self.project_sentinel(sentinel), regions)  # (B, S, A)
        mixed = torch.tanh(projected.unsqueeze(1) + compared.unsqueeze(2))  # (B, S, P, A)
        scores = self.attention.score(mixed).squeeze(-1)  # (B, S, P)
        if "mask" in image:
            scores = scores.masked_fill(~image["mask"].unsqueeze(1), float("-inf"))
        own = self.attention.score(torch.tanh(known + compared))  # (B, S, 1)
        shares = torch.cat([scores, own], -1).softmax(-1)  # (B, S, P + 1)
        weights, share = shares[..., :-1], shares[..., -1:]
        context = weights @ regions + share * per_image(sentinel, regions)  # (B, S, H)
        return context.flatten(0, 1), weights.flatten(0, 1), share.flatten(0, 1)
