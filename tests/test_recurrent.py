"""The recurrent family: the decoders' contract, and every kind's equations worked out plainly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import learn_by_heart, small_experiment
from odd_pictures import two_halves
from torch import nn

from captioning.bundle import Captioner
from captioning.config import DecoderConfig, GenerationConfig
from captioning.decoders.build import RECURRENT, build_decoder
from captioning.decoders.recurrent import maxout_lstm
from captioning.decoding.generation import generate
from model import DecoderRNN, DecoderWithAttention, VisualFeatures
from vocabulary import START_IDX

KINDS = ["fc", "att2in", "att2in2", "updown", "adaptive"]
LOOKING = KINDS[1:]
WORDS, FEATURES, REGIONS = 13, 6, 5
SIZES = (5, 2, 3)  # regions of the three pictures: all, and fewer


def make_decoder(kind, dropout=0.0, seed=1, loud=1.0):
    torch.manual_seed(seed)
    config = DecoderConfig(kind, embed_dim=8, hidden_dim=10, attention_dim=7, dropout=dropout)
    decoder = build_decoder(config, WORDS, FEATURES)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(loud)
    return decoder


def make_features(ragged=True, pictures=3):
    regions = torch.randn(pictures, REGIONS, FEATURES, generator=torch.Generator().manual_seed(2))
    if not ragged:
        return VisualFeatures(regions)
    mask = torch.arange(REGIONS) < torch.tensor(SIZES)[:, None]  # (B, P)
    return VisualFeatures(regions * mask[..., None], mask)


def make_captions(rows=6, length=6):
    captions = torch.randint(4, WORDS, (rows, length), generator=torch.Generator().manual_seed(3))
    captions[:, 0] = START_IDX
    return captions


def alone(features, picture):
    """One picture without padding and without a mask."""
    size = REGIONS if features.region_mask is None else SIZES[picture]
    return VisualFeatures(features.regions[picture : picture + 1, :size])


def close(found, expected, tolerance=1e-6):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_all_kinds_are_built():
    assert [*RECURRENT] == KINDS
    assert isinstance(build_decoder(DecoderConfig("rnn"), 9, 4), DecoderRNN)
    assert isinstance(build_decoder(DecoderConfig("attention"), 9, 4), DecoderWithAttention)
    decoder = make_decoder("updown", 0.25)
    assert decoder.embedding.weight.shape == (WORDS, 8) and decoder.output.in_features == 10
    assert decoder.attention.score.in_features == 7 and decoder.dropout.p == 0.25


# ---- the contract ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_step_equals_forward(kind, ragged):
    decoder, features, captions = make_decoder(kind), make_features(ragged), make_captions()
    whole = decoder(features, captions)
    assert whole.logits.shape == (6, 6, WORDS) and whole.logits.isfinite().all()
    for size in (1, 2):  # words at once
        state = decoder.init_state(features, rows_per_image=2)
        for t in range(0, 6, size):
            logits, state = decoder.step(captions[:, t : t + size], state)
            close(logits, whole.logits[:, t : t + size])
            if kind != "fc":
                weights = state["words"]["attention_weights"]
                close(weights, whole.attention_weights[:, t : t + size])
        assert all(len(value) == 6 for value in state["words"].values())
        assert all(len(value) == 3 for value in state["image"].values())  # once a picture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_batch_equals_single_and_rows_do_not_meet(kind, ragged):
    decoder, features, captions = make_decoder(kind), make_features(ragged), make_captions()
    whole = decoder(features, captions)
    for row in range(6):  # row n belongs to picture n // 2
        one = decoder(alone(features, row // 2), captions[row : row + 1])
        close(whole.logits[row : row + 1], one.logits)
        if kind != "fc":
            size = one.attention_weights.shape[-1]
            close(whole.attention_weights[row : row + 1, :, :size], one.attention_weights)


@pytest.mark.parametrize("kind", KINDS)
def test_search_may_reorder_the_words_state(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    _, state = decoder.step(captions[:, :3], decoder.init_state(features, 2))
    order = torch.tensor([1, 0, 3, 3, 4, 4])  # within the rows of each picture
    words = {name: value.index_select(0, order) for name, value in state["words"].items()}
    moved, _ = decoder.step(captions[order, 3:4], {"image": state["image"], "words": words})
    plain, _ = decoder.step(captions[:, 3:4], state)
    close(moved, plain[order])


@pytest.mark.parametrize("kind", KINDS)
def test_beam_search(kind):
    decoder, features = make_decoder(kind, loud=3.0).eval(), make_features()
    config = GenerationConfig("beam", beam_size=1, max_length=7)
    greedy = generate(decoder, features, replace(config, method="greedy"))
    narrow = generate(decoder, features, config)
    assert torch.equal(narrow.tokens, greedy.tokens)
    close(narrow.logprobs, greedy.logprobs)
    config = replace(config, beam_size=3, num_samples=2)
    wide = generate(decoder, features, config)
    assert (wide.scores[::2] >= greedy.scores - 1e-6).all()
    for picture in range(3):
        one, rows = generate(decoder, alone(features, picture), config), slice(2 * picture, None)
        tokens, scores = wide.tokens[rows][:2], wide.scores[rows][:2]
        assert torch.equal(tokens[:, : one.tokens.shape[1]], one.tokens)
        close(scores, one.scores, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only(kind):
    decoder, features, captions = make_decoder(kind, 0.5), make_features(), make_captions()
    decoder.train()
    assert not torch.equal(decoder(features, captions)[0], decoder(features, captions)[0])
    decoder.eval()
    assert torch.equal(decoder(features, captions)[0], decoder(features, captions)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_scheduled_sampling_feeds_the_decoders_own_words(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    other = captions.clone()
    other[:, 1:] = WORDS + 3 - other[:, 1:]  # 4..12 -> 12..4

    def logits(given, chance):
        torch.manual_seed(5)
        return decoder(features, given, chance).logits

    plain, always = logits(captions, 0.0), logits(captions, 1.0)
    close(logits(captions, 1e-9), plain)
    close(always[:, 0], plain[:, 0])  # the first word is always <start>
    assert not torch.allclose(always, plain)
    assert torch.equal(always, logits(other, 1.0))  # the words given no longer matter


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind):
    decoder = make_decoder(kind, loud=2.0)
    decoder(make_features(), make_captions()).logits.square().sum().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_can_be_overfitted(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions(3, 5)
    learn_by_heart(decoder, features, captions, 0.03, steps=200)


@pytest.mark.parametrize("kind", LOOKING)
def test_attention_weights_are_shares_of_the_regions_that_count(kind):
    decoder, features = make_decoder(kind, loud=3.0), make_features()
    _, state = decoder.step(make_captions(), decoder.init_state(features, 2))
    weights = state["words"]["attention_weights"]  # (N, T, P)
    shares = weights.sum(-1, keepdim=True) + state["words"].get("sentinel", 0)
    close(shares, torch.ones(6, 6, 1))
    hidden = ~features.region_mask.repeat_interleave(2, 0)[:, None].expand_as(weights)
    assert (weights[hidden] == 0).all() and (weights[~hidden] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_the_padding_does_not_matter(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    noise = torch.where(features.region_mask[..., None], features.regions, 77.0)
    dirty = decoder(VisualFeatures(noise, features.region_mask), captions).logits
    close(dirty, decoder(features, captions).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_near(kind):
    decoder, features, captions = make_decoder(kind), make_features(), make_captions()
    with torch.autocast("cpu", torch.bfloat16):
        half = decoder(features, captions).logits
    close(half.float(), decoder(features, captions).logits, 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_keeps_it(kind, tiny_data, tiny_vocabulary, tmp_path):
    experiment = small_experiment(tiny_data, tmp_path / "unused")
    experiment.decoder.kind = kind
    torch.manual_seed(4)
    captioner = Captioner.build(experiment, tiny_vocabulary).train(False)
    captioner.save(tmp_path / kind)
    loaded = Captioner.load(tmp_path / kind, "cpu")
    assert type(loaded.decoder) is RECURRENT[kind]
    pictures = [two_halves(40, 40), two_halves(20, 60)]
    expected, found = captioner.describe(pictures), loaded.describe(pictures)
    assert found == expected
    has_weights = expected[0][0].attention_weights is not None
    assert has_weights == (kind != "fc")


# ---- the equations ----


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
