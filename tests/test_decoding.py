"""Beam search, on toy decoders whose captions can all be listed, and what decoding refuses."""

from __future__ import annotations

import math

import pytest
import torch
from decoding_toys import (
    DECODERS,
    MarkovDecoder,
    assert_well_formed,
    every_caption,
    make_config,
    make_decoder,
    make_features,
    pick,
    words_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.decoding.generation import generate
from vocabulary import END_IDX, PAD_IDX, START_IDX


@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("max_length", [1, 2, 4])
@pytest.mark.parametrize("suppress_unk", [True, False])
@pytest.mark.parametrize("group_size", [1, 2, 3, 5])
def test_wide_beam_finds_the_exact_best_captions(
    length_penalty, max_length, suppress_unk, group_size
):
    for seed in range(5):
        decoder, features = MarkovDecoder(seed, group_size=group_size), make_features(3, seed)
        config = make_config(
            method="beam",
            beam_size=40,  # more than 3**3 open beginnings: nothing is pruned
            num_samples=3,
            max_length=max_length,
            length_penalty=length_penalty,
            suppress_unk=suppress_unk,
        )
        generation = generate(decoder, features, config)
        for image in range(3):
            expected = every_caption(decoder, pick(features, image), config)[:3]
            for rank, (score, words) in enumerate(expected):
                assert words_of(generation, 3 * image + rank) == words
                assert generation.scores[3 * image + rank].item() == pytest.approx(score, abs=1e-4)


def test_best_caption_by_hand():
    """Greedy takes 0.6 and then at best 0.3; the beam takes 0.4 and then 0.9."""
    decoder = MarkovDecoder(vocab_size=64)
    probabilities = torch.zeros(64, 64)
    probabilities[START_IDX, 4], probabilities[START_IDX, 5] = 0.6, 0.4
    probabilities[4, [2, 4, 5]] = torch.tensor([0.2, 0.5, 0.3])
    probabilities[5, [2, 4]] = torch.tensor([0.9, 0.1])
    probabilities[[0, 2, 3, *range(6, 64)], 2] = 1.0
    decoder.table = probabilities.log()
    decoder.by_image.zero_(), decoder.by_step.zero_()
    features = make_features(1)
    greedy = generate(decoder, features, make_config(max_length=2))
    beam = generate(decoder, features, make_config(method="beam", beam_size=2, max_length=2))
    assert words_of(greedy, 0) == [4, 4]
    assert greedy.scores.item() == pytest.approx(math.log(0.3))
    assert words_of(beam, 0) == [5, END_IDX]
    assert beam.scores.item() == pytest.approx(math.log(0.36))
    penalised = make_config(method="beam", beam_size=2, max_length=2, length_penalty=1.0)
    assert generate(decoder, features, penalised).scores.item() == pytest.approx(
        math.log(0.36) / (7 / 6)
    )


def test_fewer_possible_captions_than_asked_for():
    decoder = MarkovDecoder(alphabet=(END_IDX, 4))
    config = make_config(method="beam", beam_size=5, num_samples=5, max_length=2)
    generation = generate(decoder, make_features(2), config)  # <end>; 4 <end>; 4 4
    assert generation.scores.view(2, 5).isfinite().sum(1).tolist() == [3, 3]
    assert generation.tokens.view(2, 5, -1)[:, 3:].eq(PAD_IDX).all()


@pytest.mark.parametrize("kind", DECODERS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length_penalty=st.sampled_from([0.0, 0.6, 1.5]),
    max_length=st.integers(1, 9),
)
def test_beam_of_one_is_greedy(kind, seed, length_penalty, max_length):
    decoder, features = make_decoder(kind, seed), make_features(3, seed)
    settings = {"length_penalty": length_penalty, "max_length": max_length}
    greedy = generate(decoder, features, make_config(**settings))
    beam = generate(decoder, features, make_config(method="beam", beam_size=1, **settings))
    assert torch.equal(greedy.tokens, beam.tokens)
    torch.testing.assert_close(greedy.logprobs, beam.logprobs)
    torch.testing.assert_close(greedy.scores, beam.scores)
    assert_well_formed(greedy, make_config(**settings))
    if greedy.attention_weights is not None:
        torch.testing.assert_close(greedy.attention_weights, beam.attention_weights)


@pytest.mark.parametrize("kind", DECODERS)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    beam_size=st.integers(2, 6),
    length_penalty=st.sampled_from([0.0, 0.6, 1.5]),
)
def test_beam_is_never_worse_than_greedy(kind, seed, beam_size, length_penalty):
    decoder, features = make_decoder(kind, seed), make_features(4, seed)
    greedy = generate(decoder, features, make_config(length_penalty=length_penalty))
    config = make_config(
        method="beam", beam_size=beam_size, num_samples=2, length_penalty=length_penalty
    )
    beam = generate(decoder, features, config)
    assert (beam.scores.view(4, 2)[:, 0] >= greedy.scores - 1e-5).all()
    assert_well_formed(beam, config)


def test_a_plain_beam_would_lose_to_greedy():
    """Two tempting beginnings push the greedy caption out of a beam of 2: its own slot keeps it."""
    decoder = MarkovDecoder(vocab_size=64)
    p = torch.zeros(64, 64)
    p[START_IDX, [4, 5]] = torch.tensor([0.51, 0.49])
    p[4, [6, 7, 8]] = torch.tensor([0.34, 0.33, 0.33])  # greedy goes on to 6 (0.51 * 0.34 = 0.17)
    p[5, [9, 10]] = torch.tensor([0.5, 0.5])  # these two fill the beam (0.245 each)
    p[6, END_IDX] = 1.0
    p[[9, 10], 11:64] = 1 / 53  # and then fall apart
    p[[0, 2, 3, 7, 8, *range(11, 64)], END_IDX] = 1.0
    decoder.table, decoder.impossible = p.log(), torch.zeros(64, dtype=torch.bool)
    decoder.by_image.zero_(), decoder.by_step.zero_()
    beam = generate(decoder, make_features(1), make_config(method="beam", beam_size=2))
    assert words_of(beam, 0) == [4, 6, END_IDX]
    assert beam.scores.item() == pytest.approx(math.log(0.51 * 0.34))


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_batch_equals_single(kind, method):
    decoder, features = make_decoder(kind, 3), make_features(6, 3)
    num_samples = 2 if method == "beam" else 1
    config = make_config(method=method, num_samples=num_samples, length_penalty=0.5)
    together = generate(decoder, features, config)
    for image in range(6):
        alone = generate(decoder, pick(features, image), config)
        rows = slice(num_samples * image, num_samples * (image + 1))
        width = alone.tokens.shape[1]
        assert torch.equal(together.tokens[rows, :width], alone.tokens)
        assert together.tokens[rows, width:].eq(PAD_IDX).all()
        torch.testing.assert_close(together.logprobs[rows, :width], alone.logprobs)
        torch.testing.assert_close(together.scores[rows], alone.scores)


@pytest.mark.parametrize("kind", DECODERS)
def test_beam_captions_are_distinct_and_sorted(kind):
    decoder, features = make_decoder(kind, 5), make_features(4)
    generation = generate(decoder, features, make_config(method="beam", beam_size=5, num_samples=5))
    scores = generation.scores.view(4, 5)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    for captions in generation.tokens.view(4, 5, -1).tolist():
        assert len({tuple(caption) for caption in captions}) == 5


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_early_stop_changes_nothing_but_the_number_of_steps(
    monkeypatch, num_samples, length_penalty
):
    decoder, features = MarkovDecoder(1), make_features(5)
    decoder.by_step[6:, END_IDX] += 8  # long captions are possible, but hardly probable
    config = make_config(
        method="beam",
        beam_size=4,
        num_samples=num_samples,
        max_length=30,
        length_penalty=length_penalty,
    )
    stopped = generate(decoder, features, config)
    steps, decoder.num_steps = decoder.num_steps, 0
    monkeypatch.setattr("captioning.decoding.beam.close_decided", lambda running, *_: running)
    complete = generate(decoder, features, config)
    assert steps < decoder.num_steps == 30
    assert torch.equal(stopped.tokens, complete.tokens)
    torch.testing.assert_close(stopped.scores, complete.scores)


def test_attention_is_gathered_along_the_winning_beams():
    features = make_features(4)
    for method in ("greedy", "sample", "beam"):
        config = make_config(method=method, beam_size=4, num_samples=1 if method == "greedy" else 3)
        generation = generate(MarkovDecoder(7), features, config)
        before = torch.cat(
            [torch.full_like(generation.tokens[:, :1], START_IDX), generation.tokens[:, :-1]], 1
        )
        steps = torch.arange(before.shape[1]).expand_as(before)
        expected = torch.stack([before, steps], dim=-1).float()  # what each word was chosen from
        expected[generation.tokens == PAD_IDX] = 0
        torch.testing.assert_close(generation.attention_weights, expected)


def test_trace_holds_the_tree_of_the_winner():
    trace, decoder, features = [], MarkovDecoder(2), make_features(2)
    config = make_config(method="beam", beam_size=5)
    generation = generate(decoder, features, config, trace=trace)
    assert all(entry[key].shape == (2, 5) for entry in trace for key in entry)
    for image in range(2):
        words = words_of(generation, image)
        last = trace[len(words) - 1]
        sums = generation.logprobs.sum(1)
        slot = (last["scores"][image] - sums[image]).abs().argmin().item()
        path = []
        for entry in reversed(trace[: len(words)]):
            path.append(entry["tokens"][image, slot].item())
            slot = entry["parents"][image, slot].item()
        assert path[::-1] == words
        assert slot == 0  # the root


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "magic"}, "method: 'magic' received"),
        ({"max_length": 0}, "max_length: 0 received, 1 to"),
        ({"beam_size": 0}, "beam_size: 0 received, 1 to"),
        ({"num_samples": 0}, "num_samples: 0 received, 1 to"),
        ({"num_samples": 2}, "num_samples: 2 received, at most 1 expected from greedy search"),
        (
            {"method": "beam", "num_samples": 4},
            "num_samples: 4 received, at most 3 expected from beam search",
        ),
        ({"method": "beam", "beam_size": 62}, "beam_size: 62 received, 1 to 61 expected"),
        ({"temperature": 0.0}, "temperature: 0.0 received"),
        ({"temperature": math.nan}, "temperature: nan received"),
        ({"top_k": -1}, "top_k: -1 received, at least 0 expected"),
        ({"top_p": 0.0}, "top_p: 0.0 received"),
        ({"top_p": 1.5}, "top_p: 1.5 received"),
        ({"length_penalty": -1.0}, "length_penalty: -1.0 received"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        generate(MarkovDecoder(), make_features(1), make_config(**changes))


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_nan_is_named(method):
    decoder = MarkovDecoder()
    decoder.table[:] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        generate(decoder, make_features(1), make_config(method=method))
