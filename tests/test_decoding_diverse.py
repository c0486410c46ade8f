"""Diverse beam search, compared with the same search in plain Python lists."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from decoding_toys import (
    ALPHABET,
    DECODERS,
    WORDS,
    MarkovDecoder,
    assert_well_formed,
    divided,
    forced_logprobs,
    make_config,
    make_decoder,
    make_features,
    may_follow,
    next_logprobs,
    pick,
    words_of,
)

from captioning.decoding.generation import generate
from vocabulary import END_IDX


def diverse(decoder, features, beam_size: int, groups: int, **changes):
    sizes = {"beam_size": beam_size, "num_beam_groups": groups}
    config = make_config(method="diverse_beam", **sizes, **changes)
    return generate(decoder, features, config, vocabulary=WORDS), config


def plain_search(decoder, features, config) -> list[tuple[float, list[int]]]:
    """Scores and words of one image: groups of lists (ranked by, sum, words), no early stop."""
    width = config.beam_size // config.num_beam_groups
    open_ones = [[(0.0, 0.0, [])] for _ in range(config.num_beam_groups)]
    ended = [[] for _ in open_ones]
    for length in range(1, config.max_length + 1):
        taken = Counter()
        for group, beams in enumerate(open_ones):
            rows = next_logprobs(decoder, features, [said for *_, said in beams]) if beams else []
            candidates = []
            for (rank, total, said), logprobs in zip(beams, rows, strict=True):
                for word, logprob in may_follow(said, logprobs, config).items():
                    is_forced = len(said) < len(config.start_words.split())
                    cost = 0 if is_forced else config.diversity_penalty * taken[word]
                    candidates.append((rank + logprob - cost, total + logprob, [*said, word]))
            chosen = sorted(candidates, reverse=True)[:width]
            taken.update(said[-1] for *_, said in chosen)
            is_last = length == config.max_length
            open_ones[group] = [c for c in chosen if c[2][-1] != END_IDX and not is_last]
            ended[group] += [c for c in chosen if c[2][-1] == END_IDX or is_last]
    kept = math.ceil(config.num_samples / config.num_beam_groups)
    pool, again = [], []
    for captions in ended:
        captions = sorted(captions, key=lambda c: divided(c[0], c[2], config), reverse=True)
        for _, total, said in captions[:kept]:
            one = (divided(total, said, config), said)
            (again if one[1] in [words for _, words in pool] else pool).append(one)
    best = (sorted(pool, reverse=True) + sorted(again, reverse=True))[: config.num_samples]
    return sorted(best, reverse=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_samples": 3},
        {"num_samples": 6, "diversity_penalty": 2.0},
        {"num_samples": 2, "diversity_penalty": 0.0},
        {"num_samples": 5, "length_penalty": 1.0},
        {"num_samples": 3, "length_normalization": "average"},
        {
            "num_samples": 3,
            "start_words": "a dog",  # they cost nothing: at 9 nats each, long captions would win
            "length_normalization": "average",
            "diversity_penalty": 9.0,
        },
        {"num_samples": 3, "no_repeat": True, "block_trigrams": True, "min_length": 4},
        {"num_samples": 4, "remove_bad_endings": True, "suppress_unk": False},
    ],
)
@pytest.mark.parametrize("groups", [2, 3, 6])
def test_equals_plain_lists(groups, changes):
    for seed in range(3):
        decoder, features = MarkovDecoder(seed, alphabet=ALPHABET), make_features(2, seed)
        generation, config = diverse(decoder, features, 6, groups, **changes)
        assert_well_formed(generation, config)
        number = config.num_samples
        for image in range(2):
            expected = plain_search(decoder, pick(features, image), config)
            rows = range(image * number, (image + 1) * number)
            assert [words_of(generation, row) for row in rows] == [words for _, words in expected]
            scores = [score for score, _ in expected]
            assert generation.scores[list(rows)].tolist() == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_one_group_is_beam_search(kind, penalty):
    decoder, features = make_decoder(kind, 4), make_features(3)
    one, config = diverse(decoder, features, 4, 1, num_samples=3, diversity_penalty=penalty)
    beam = generate(decoder, features, make_config(method="beam", beam_size=4, num_samples=3))
    assert torch.equal(one.tokens, beam.tokens)
    torch.testing.assert_close(one.scores, beam.scores)
    assert_well_formed(one, config)


@pytest.mark.parametrize("kind", DECODERS)
def test_without_a_penalty_all_groups_find_the_same(kind):
    decoder, features = make_decoder(kind, 4), make_features(3)
    found, _ = diverse(decoder, features, 6, 3, num_samples=3, diversity_penalty=0.0)
    tokens = found.tokens.view(3, 3, -1)
    assert (tokens == tokens[:, :1]).all()


@pytest.mark.parametrize("kind", DECODERS)
def test_a_penalty_makes_groups_differ(kind):
    """A great one keeps every word of an earlier group from its place, and is not in the scores."""
    decoder, features = make_decoder(kind, 4, vocab_size=30), make_features(3)
    changes = {"num_samples": 4, "diversity_penalty": 100.0, "min_length": 6, "max_length": 6}
    if kind.startswith("markov"):
        decoder = MarkovDecoder(4, alphabet=range(1, 30), group_size=decoder.group_size)
    found, config = diverse(decoder, features, 4, 4, **changes)
    for words in found.tokens.view(3, 4, 6).unbind(0):
        assert all(len(set(column)) == 4 for column in words.T.tolist())
    assert_well_formed(found, config)
    forced = forced_logprobs(decoder, features, found.tokens)
    torch.testing.assert_close(found.logprobs, forced, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", DECODERS)
def test_pictures_of_a_batch_cost_each_other_nothing(kind):
    decoder, features = make_decoder(kind, 6), make_features(5, 6)
    changes = {"num_samples": 4, "diversity_penalty": 1.0}
    together, _ = diverse(decoder, features, 8, 4, **changes)
    for image in range(5):
        alone, _ = diverse(decoder, pick(features, image), 8, 4, **changes)
        rows = slice(4 * image, 4 * image + 4)
        assert torch.equal(together.tokens[rows, : alone.tokens.shape[1]], alone.tokens)
        torch.testing.assert_close(together.scores[rows], alone.scores)
        if alone.attention_weights is not None:
            looked = together.attention_weights[rows, : alone.tokens.shape[1]]
            torch.testing.assert_close(looked, alone.attention_weights)


def test_the_tree_can_be_traced():
    trace: list = []
    config = make_config(method="diverse_beam", beam_size=4, num_beam_groups=2)
    generate(MarkovDecoder(2), make_features(2), config, trace)
    assert all(entry[key].shape == (2, 4) for entry in trace for key in entry)
    for entry in trace:  # a group's beams come from its own
        assert (entry["parents"][:, :2] < 2).all() and (entry["parents"][:, 2:] >= 2).all()
