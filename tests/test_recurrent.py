"""The recurrent family: what is built, and every kind's equations worked out plainly."""

from __future__ import annotations

import pytest
import torch
from decoder_cases import SIZES, WORDS, close, make_captions, make_decoder, make_features
from torch import nn

from captioning.config import DecoderConfig
from captioning.decoders.build import RECURRENT, build_decoder
from captioning.decoders.recurrent import maxout_lstm
from model import DecoderRNN, DecoderWithAttention

KINDS = ["fc", "att2in", "att2in2", "updown", "adaptive"]


def test_all_kinds_are_built():
    assert [*RECURRENT] == KINDS
    assert isinstance(build_decoder(DecoderConfig("rnn"), 9, 4), DecoderRNN)
    assert isinstance(build_decoder(DecoderConfig("attention"), 9, 4), DecoderWithAttention)
    decoder = make_decoder("updown", 0.25)
    assert decoder.embedding.weight.shape == (WORDS, 8) and decoder.output.in_features == 10
    assert decoder.attention.score.in_features == 7 and decoder.dropout.p == 0.25


class Plain:
    """A decoder's weights under their names, for one row: `self("output", h)` is W h + b."""

    def __init__(self, decoder):
        self.weights = dict(decoder.named_parameters())

    def __call__(self, name, vector):
        return self.weights[f"{name}.weight"] @ vector + self.weights.get(f"{name}.bias", 0)

    def word(self, token):
        return self.weights["embedding.weight"][token]

    def gates(self, word, memory):
        return self("words_to_gates", word) + self("memory_to_gates", memory)

    def score(self, region, query):
        compared = torch.tanh(
            self("attention.project_regions", region) + self("attention.project_hidden", query)
        )
        return self("attention.score", compared)

    def context(self, regions, query):
        weights = torch.cat([self.score(region, query) for region in regions]).softmax(0)
        return sum(weight * region for weight, region in zip(weights, regions, strict=True))


def update(i, f, o, candidate, cell):
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * candidate
    return torch.sigmoid(o) * torch.tanh(cell), cell


def fc(net, regions, tokens):
    h = c = torch.zeros(10)
    for x in [net("image_to_embedding", regions.mean(0)), *map(net.word, tokens)]:
        i, f, o, a, b = net.gates(x, h).split(10)
        h, c = update(i, f, o, torch.maximum(a, b), c)
        yield net("output", h)


def att2in(net, regions, tokens, words=None):
    h = c = torch.zeros(10)
    for x in words or map(net.word, tokens):
        i, f, o, a, b = net.gates(x, h).split(10)
        more_a, more_b = net("context_to_candidates", net.context(regions, h)).split(10)
        h, c = update(i, f, o, torch.maximum(a + more_a, b + more_b), c)
        yield net("output", h)


def att2in2(net, regions, tokens):
    embedded = [net("embed_regions.0", region).relu() for region in regions]
    yield from att2in(net, embedded, tokens, [net.word(token).relu() for token in tokens])


def updown(net, regions, tokens):
    mean = net("mean_to_gates", net("embed_mean.0", regions.mean(0)).relu())
    regions = [net("embed_regions.0", region).relu() for region in regions]
    h1 = c1 = h2 = c2 = torch.zeros(10)
    for token in tokens:
        i, f, o, g = (net.gates(net.word(token).relu(), torch.cat([h2, h1])) + mean).split(10)
        h1, c1 = update(i, f, o, g.tanh(), c1)
        seen = net.context(regions, h1)
        i, f, o, g = net("language_gates", torch.cat([seen, h1, h2])).split(10)
        h2, c2 = update(i, f, o, g.tanh(), c2)
        yield net("output", h2)


def adaptive(net, regions, tokens):
    mean = net("mean_to_gates", net("embed_mean.0", regions.mean(0)).relu())
    regions = [net("embed_regions.0", region).relu() for region in regions]
    h = c = torch.zeros(10)
    for token in tokens:
        i, f, o, g, gate = (net.gates(net.word(token).relu(), h) + mean).split(10)
        h, c = update(i, f, o, g.tanh(), c)
        sentinel = net("embed_sentinel.0", torch.sigmoid(gate) * torch.tanh(c)).relu()
        query = net("embed_hidden.0", h).tanh()
        key = net("project_sentinel", sentinel) + net("attention.project_hidden", query)
        own = net("attention.score", key.tanh())
        shares = torch.cat([*(net.score(region, query) for region in regions), own]).softmax(0)
        mixed = sum(s * v for s, v in zip(shares, [*regions, sentinel], strict=True))
        yield net("output", net("finish.0", mixed + query).tanh())


BY_HAND = {"fc": fc, "att2in": att2in, "att2in2": att2in2, "updown": updown, "adaptive": adaptive}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_equations(kind):
    decoder, features, captions = make_decoder(kind, loud=1.5), make_features(), make_captions()
    logits = decoder(features, captions).logits
    for row, tokens in enumerate(captions):
        picture = row // 2
        regions = features.regions[picture, : SIZES[picture]]
        steps = [*BY_HAND[kind](Plain(decoder), regions, tokens)]
        close(logits[row], torch.stack(steps[-6:]), 1e-5)  # fc: the picture's own step is dropped


def test_maxout_lstm_in_numbers():
    gates = torch.tensor([[0.0, 0.0, 0.0, 3.0, -2.0]])  # all three gates half open
    hidden, cell = maxout_lstm(gates, torch.tensor([[4.0]]))
    close(cell, torch.tensor([[0.5 * 4 + 0.5 * 3]]))  # the larger candidate, without a tanh
    close(hidden, 0.5 * torch.tensor([[3.5]]).tanh())
    _, cell = maxout_lstm(gates, torch.tensor([[4.0]]), torch.tensor([[-1.0, 9.0]]))
    close(cell, torch.tensor([[0.5 * 4 + 0.5 * 7]]))  # the picture moved the second one up


def test_first_weights_of_plain_words():
    for kind in KINDS:
        decoder = make_decoder(kind)
        is_uniform = decoder.embedding.weight.abs().max() <= 0.1
        assert is_uniform == (kind in ("fc", "att2in")) == (decoder.output.bias == 0).all()
        assert isinstance(decoder.rectify, nn.Identity) == is_uniform
