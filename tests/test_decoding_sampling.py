"""Greedy search and sampling: probabilities, supports, seeds, lengths."""

from __future__ import annotations

import math

import pytest
import torch
from decoding_toys import (
    DECODERS,
    NETWORKS,
    MarkovDecoder,
    assert_well_formed,
    every_caption,
    forced_logprobs,
    make_config,
    make_decoder,
    make_features,
    pick,
)

from captioning.decoding.generation import generate
from captioning.decoding.sampling import draw_words
from model import VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_logprobs_equal_a_teacher_forced_pass(kind, method):
    decoder, features = make_decoder(kind, 11), make_features(3)
    changes = {"temperature": 0.7, "top_p": 0.8} if method == "sample" else {}
    num_samples = 1 if method == "greedy" else 3
    config = make_config(method=method, num_samples=num_samples, **changes)
    generation = generate(decoder, features, config)
    forced = forced_logprobs(decoder, features, generation.tokens)
    torch.testing.assert_close(generation.logprobs, forced, rtol=1e-5, atol=1e-5)
    assert_well_formed(generation, config)


@pytest.mark.parametrize("kind", NETWORKS)
def test_logprobs_equal_forward(kind):
    """One pass over <start> and the sampled words gives their log-probabilities again."""
    decoder, features = make_decoder(kind, 2), make_features(3)
    generation = generate(decoder, features, make_config(method="sample", num_samples=4))
    tokens = generation.tokens
    inputs = torch.cat([torch.full_like(tokens[:, :1], START_IDX), tokens[:, :-1]], 1)
    output = decoder(features, inputs)
    logprobs = output.logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1)
    logprobs = logprobs.masked_fill(tokens == PAD_IDX, 0.0)
    torch.testing.assert_close(generation.logprobs, logprobs, rtol=1e-5, atol=1e-5)
    assert logprobs.requires_grad and not generation.logprobs.requires_grad
    if kind == "attention":
        weights = output.attention_weights * (tokens != PAD_IDX)[..., None]
        torch.testing.assert_close(generation.attention_weights, weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_step_equals_forward(kind):
    decoder, features = make_decoder(kind, 4), make_features(2)
    captions = torch.randint(4, 12, (6, 7), generator=torch.Generator().manual_seed(0))
    forward = decoder(features, captions).logits
    state, columns = decoder.init_state(features, rows_per_image=3), []
    for words in captions.split(1, dim=1):
        logits, state = decoder.step(words, state)
        columns.append(logits)
    torch.testing.assert_close(torch.cat(columns, 1), forward, rtol=1e-5, atol=1e-5)


def test_sampling_frequencies_match_the_probabilities():
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.1])
    generator = torch.Generator().manual_seed(1)
    for temperature in (1.0, 2.0, 0.5):
        expected = probabilities ** (1 / temperature)
        expected = expected / expected.sum()
        logprobs = probabilities.log().expand(20_000, 4)
        drawn = draw_words(logprobs, temperature, generator=generator)
        counts = torch.bincount(drawn, minlength=4)
        chi_square = ((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum()
        assert chi_square < 16.3  # 3 degrees of freedom, p = 0.001


def test_whole_captions_come_with_their_probability():
    decoder, features = MarkovDecoder(3), make_features(1)
    decoder.impossible[START_IDX] = True  # nothing is suppressed: probabilities sum to one
    features = VisualFeatures(features.regions.expand(20, -1, -1))
    config = make_config(method="sample", num_samples=1000, max_length=2, suppress_unk=False)
    generation = generate(decoder, features, config)
    counts = {}
    for row in generation.tokens.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    for score, words in every_caption(decoder, pick(features, 0), config):
        expected = 20_000 * math.exp(score)
        tolerance = 4 * math.sqrt(expected) + 1
        key = tuple(words + [PAD_IDX] * (2 - len(words)))
        assert abs(counts.get(key, 0) - expected) < tolerance


def test_top_k_and_top_p_keep_the_right_words():
    logprobs = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().expand(2048, 4)

    def support(**changes) -> set[int]:
        generator = torch.Generator().manual_seed(0)
        return set(draw_words(logprobs, generator=generator, **changes).tolist())

    assert support() == {0, 1, 2, 3}
    assert support(top_k=1) == {1}
    assert support(top_k=2) == {1, 3}
    assert support(top_k=99) == {0, 1, 2, 3}
    assert support(top_p=0.05) == {1}  # at least one word
    assert support(top_p=0.45) == {1, 3}
    assert support(top_p=0.75) == {1, 3, 2}
    assert support(top_k=3, top_p=0.7) == {1, 3}  # of 0.4, 0.3, 0.2 renormalised: 0.44, 0.33
    assert support(top_p=0.75, temperature=0.3) == {1, 3}  # sharper first, then the nucleus


@pytest.mark.parametrize("temperature", [1e-2, 1e-3])
def test_cold_sampling_is_greedy(temperature):
    decoder, features = MarkovDecoder(8), make_features(4)
    greedy = generate(decoder, features, make_config())
    cold = generate(decoder, features, make_config(method="sample", temperature=temperature))
    assert torch.equal(greedy.tokens, cold.tokens)
    torch.testing.assert_close(greedy.logprobs, cold.logprobs)  # reported at temperature one


def test_seed_decides_the_samples():
    decoder, features = MarkovDecoder(9), make_features(3)

    def draw(seed):
        config = make_config(method="sample", num_samples=5, seed=seed)
        return generate(decoder, features, config).tokens.tolist()

    assert draw(1) == draw(1) != draw(2)
    torch.manual_seed(0)
    first = draw(None)
    assert draw(None) != first
    torch.manual_seed(0)
    assert draw(None) == first


def test_samples_are_image_major_and_best_first():
    decoder, features = MarkovDecoder(10), make_features(3)
    generation = generate(decoder, features, make_config(method="sample", num_samples=6))
    scores = generation.scores.view(3, 6)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    forced = forced_logprobs(decoder, features, generation.tokens)
    torch.testing.assert_close(generation.logprobs, forced)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_search_stops_when_all_captions_have_ended(method):
    decoder = MarkovDecoder(0)
    decoder.by_step[2, END_IDX] = 50.0  # every caption ends with its third word at the latest
    generation = generate(decoder, make_features(4), make_config(method=method, max_length=30))
    assert decoder.num_steps == 3
    assert generation.tokens.shape[1] <= 3


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_captions_without_an_end_are_cut_at_the_greatest_length(method):
    decoder = MarkovDecoder(0, alphabet=(4, 5, 6, 7))
    config = make_config(method=method, max_length=6)
    generation = generate(decoder, make_features(2), config)
    assert decoder.num_steps == 6  # no wasted call
    assert generation.tokens.shape == (2, 6)
    assert_well_formed(generation, config)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_forbidden_words_never_appear_even_when_most_probable(method):
    decoder = MarkovDecoder(0, alphabet=(0, 1, 2, 3, 4, 5))
    decoder.by_step[:, [PAD_IDX, START_IDX, UNK_IDX]] += 20
    config = make_config(method=method)
    generation = generate(decoder, make_features(5), config)
    assert_well_formed(generation, config)
    assert generation.logprobs[:, 0].max() < -5  # the model's own, not renormalised
    with_unk = generate(decoder, make_features(5), make_config(method=method, suppress_unk=False))
    assert (with_unk.tokens == UNK_IDX).any()


@pytest.mark.parametrize("max_length", [1, 4, 7])
def test_groups_of_words(max_length):
    """A decoder that writes two words per step: words after <end> inside a group do not count."""
    decoder, features = MarkovDecoder(6, group_size=2), make_features(8)
    config = make_config(max_length=max_length)
    generation = generate(decoder, features, config)
    assert_well_formed(generation, config)
    assert decoder.num_steps == math.ceil(generation.tokens.shape[1] / 2)
