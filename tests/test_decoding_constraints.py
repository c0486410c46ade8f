"""What may be said next: every rule, alone and together, in every search."""

from __future__ import annotations

import math

import pytest
import torch
from decoding_toys import (
    ALPHABET,
    BAD,
    WORDS,
    MarkovDecoder,
    assert_well_formed,
    every_caption,
    forced_logprobs,
    make_config,
    make_decoder,
    make_features,
    may_follow,
    pick,
    words_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from captioning.decoding.constraints import BAD_ENDINGS, constraints_of
from captioning.decoding.generation import check_config, generate
from captioning.decoding.sampling import sample_from_uniform
from vocabulary import END_IDX, PAD_IDX, UNK_IDX

RULES = {
    "no_repeat": {"no_repeat": True},
    "block_trigrams": {"block_trigrams": True},
    "remove_bad_endings": {"remove_bad_endings": True},
    "min_length": {"min_length": 5},
    "start_words": {"start_words": "a a dog"},
    "unk": {"suppress_unk": False, "no_repeat": True},
    "all": {
        "no_repeat": True,
        "block_trigrams": True,
        "remove_bad_endings": True,
        "min_length": 6,
        "start_words": "on",
        "length_normalization": "average",
    },
}
SEVERAL = {
    "greedy": {},
    "sample": {"num_samples": 4},
    "beam": {"beam_size": 4, "num_samples": 2},
    "diverse_beam": {"beam_size": 6, "num_beam_groups": 3, "num_samples": 3},
}
NORMALIZATIONS = [{}, {"length_penalty": 1.5}, {"length_normalization": "average"}]
RULE = pytest.mark.parametrize("rule", RULES)
METHOD = pytest.mark.parametrize("method", SEVERAL)
SIZE = pytest.mark.parametrize("size", [1, 3])  # words said at once


def talkative(seed: int = 0, size: int = 1) -> MarkovDecoder:
    """A toy of four words that ends late and likes to say the same again."""
    decoder = MarkovDecoder(seed, alphabet=ALPHABET, group_size=size)
    decoder.table += 2 * torch.eye(len(decoder.table))
    decoder.by_step[:, END_IDX] -= 1
    return decoder


def settings_of(method: str, rule: str, **more) -> dict:
    return SEVERAL[method] | {"max_length": 12} | RULES[rule] | more


def say(decoder, features, method: str, **changes):
    return generate(decoder, features, make_config(method=method, **changes), vocabulary=WORDS)


def assert_obeys(generation, config) -> None:
    """Every rule of the config, for every caption."""
    start = [WORDS.index(word) for word in config.start_words.split()]
    for row in range(len(generation.tokens)):
        said = [word for word in words_of(generation, row) if word != END_IDX]
        assert said[: len(start)] == start
        assert config.min_length <= len(said) <= config.max_length
        free = said[max(0, len(start) - 1) :]
        trigrams = list(zip(said, said[1:], said[2:], strict=False))
        if config.no_repeat:
            assert all(a != b for a, b in zip(free, free[1:], strict=False)), said
        if config.block_trigrams:
            assert len(set(trigrams)) == len(trigrams), said
        if config.remove_bad_endings:
            assert not said or said[-1] not in BAD, said
        assert not (config.suppress_unk and UNK_IDX in said)


@RULE
@METHOD
@SIZE
def test_every_caption_obeys_every_rule(method, rule, size):
    """Of several pictures and several captions each; without the rule they would not.

    Also within a group: there the second word knows the first, if the decoder does not.
    """
    decoder, features = talkative(size=size), make_features(6)
    changes = settings_of(method, rule)
    config = make_config(method=method, **changes)
    generation = say(decoder, features, method, **changes)
    assert_well_formed(generation, config)
    assert_obeys(generation, config)
    forced = forced_logprobs(decoder, features, generation.tokens)  # the model's own, of any word
    torch.testing.assert_close(generation.logprobs, forced, rtol=1e-5, atol=1e-5)
    if rule != "unk":
        free = say(decoder, features, method, **SEVERAL[method], max_length=12)
        with pytest.raises(AssertionError):
            assert_obeys(free, config)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_rules_of_many_rows_equal_plain_python(data):
    """Also where the model, or the rules, leave little or nothing to say."""
    length, rows = data.draw(st.integers(0, 7)), data.draw(st.integers(1, 4))
    word = st.sampled_from([4, 5, 6, 7])
    said = data.draw(st.lists(st.lists(word, min_size=length, max_size=length), min_size=rows))
    config = make_config(
        max_length=8,
        min_length=data.draw(st.sampled_from([0, 3, 8])),
        start_words=data.draw(st.sampled_from(["", "on", "a dog on a"])),
        no_repeat=data.draw(st.booleans()),
        block_trigrams=data.draw(st.booleans()),
        remove_bad_endings=data.draw(st.booleans()),
        suppress_unk=data.draw(st.booleans()),
    )
    possible = data.draw(st.sets(word))
    start = {WORDS.index(one) for one in config.start_words.split()}
    rules = constraints_of(config, WORDS)
    logprobs = torch.rand(len(said), len(WORDS)).log()
    for impossible in set(range(len(WORDS))) - possible - start - {END_IDX}:
        logprobs[:, impossible] = -math.inf
    logprobs[:, rules.forbidden] = -math.inf
    before = [{w: p for w, p in enumerate(r) if p > -math.inf} for r in logprobs.tolist()]
    tokens = torch.tensor(said, dtype=torch.long).view(len(said), length)
    after = rules.apply(logprobs, tokens).tolist()
    for row, given_words, found in zip(said, before, after, strict=True):
        assert {w: p for w, p in enumerate(found) if p > -math.inf} == may_follow(
            row, given_words, config
        )


@RULE
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_wide_beam_finds_the_exact_best_captions(rule, normalization):
    changes = RULES[rule] | normalization | {"beam_size": 60, "num_samples": 3, "max_length": 4}
    changes |= {"min_length": 3} if "min_length" in changes else {}
    decoder, features = talkative(3), make_features(2, 3)
    generation = say(decoder, features, "beam", **changes)
    config = make_config(method="beam", **changes)
    for image in range(2):
        expected = every_caption(decoder, pick(features, image), config)[:3]
        for rank, (score, words) in enumerate(expected):
            assert words_of(generation, 3 * image + rank) == words
            assert generation.scores[3 * image + rank].item() == pytest.approx(score, abs=1e-4)


@RULE
@pytest.mark.parametrize("method", ["beam", "diverse_beam"])
def test_beam_of_one_is_greedy(rule, method):
    for seed in range(4):
        decoder, features = talkative(seed), make_features(3, seed)
        greedy = say(decoder, features, "greedy", **settings_of("greedy", rule))
        one = {"beam_size": 1, "num_beam_groups": 1, "num_samples": 1}
        beam = say(decoder, features, method, **settings_of(method, rule, **one))
        assert torch.equal(greedy.tokens, beam.tokens)
        torch.testing.assert_close(greedy.logprobs, beam.logprobs)
        torch.testing.assert_close(greedy.scores, beam.scores)
        torch.testing.assert_close(greedy.attention_weights, beam.attention_weights)


@RULE
def test_beam_is_never_worse_than_greedy(rule):
    for seed in range(3):
        decoder, features = talkative(seed), make_features(4, seed)
        greedy = say(decoder, features, "greedy", **settings_of("greedy", rule))
        for beam_size in (2, 5):
            more = {"beam_size": beam_size, "num_samples": 1}
            beam = say(decoder, features, "beam", **settings_of("beam", rule, **more))
            assert (beam.scores >= greedy.scores - 1e-5).all()


@RULE
@pytest.mark.parametrize("method", ["greedy", "beam", "diverse_beam"])
def test_batch_equals_single(rule, method):
    decoder, features = talkative(5), make_features(4, 5)
    changes = settings_of(method, rule)
    together = say(decoder, features, method, **changes)
    number = changes.get("num_samples", 1)
    for image in range(4):
        alone = say(decoder, pick(features, image), method, **changes)
        width = alone.tokens.shape[1]
        rows = slice(number * image, number * (image + 1))
        assert torch.equal(together.tokens[rows, :width], alone.tokens)
        assert together.tokens[rows, width:].eq(PAD_IDX).all()
        torch.testing.assert_close(together.scores[rows], alone.scores)


@RULE
@pytest.mark.parametrize("method", ["beam", "diverse_beam"])
def test_early_stop_changes_nothing(monkeypatch, rule, method):
    """The bound that closes an image holds for every rule, penalty and normalisation."""
    decoder, features = talkative(1), make_features(5)
    for more in NORMALIZATIONS:
        changes = settings_of(method, rule, **more)
        stopped = say(decoder, features, method, **changes)
        with monkeypatch.context() as patch:
            patch.setattr("captioning.decoding.beam.close_decided", lambda running, *_: running)
            complete = say(decoder, features, method, **changes)
        assert torch.equal(stopped.tokens, complete.tokens)
        torch.testing.assert_close(stopped.scores, complete.scores)


@pytest.mark.parametrize("rule", ["all", "start_words"])
@METHOD
@SIZE
def test_rare_looks_at_the_device_change_nothing(monkeypatch, rule, method, size):
    """On an accelerator the search asks only every few words whether captions have ended."""
    decoder, features = talkative(2, size), make_features(4)
    changes = settings_of(method, rule)
    often = say(decoder, features, method, **changes)
    steps, decoder.num_steps = decoder.num_steps, 0
    for module in ("beam", "sampling"):
        monkeypatch.setattr(
            f"captioning.decoding.{module}.is_check",
            lambda step, device, size=1: step % max(1, 4 // size) == 0,
        )
    rarely = say(decoder, features, method, **changes)
    assert steps <= decoder.num_steps <= steps + math.ceil(3 / size)  # three words too many
    assert torch.equal(often.tokens, rarely.tokens)
    torch.testing.assert_close(often.logprobs, rarely.logprobs)
    torch.testing.assert_close(often.attention_weights, rarely.attention_weights)


@METHOD
def test_a_dead_end_is_left_by_the_end(method):
    """One word, never twice in a row: `<end>` comes before the fewest words are said."""
    decoder = MarkovDecoder(0, alphabet=(END_IDX, 4))
    changes = {"no_repeat": True, "min_length": 5, "remove_bad_endings": True}
    generation = say(decoder, make_features(2), method, **changes, **SEVERAL[method])
    spoken = [words_of(generation, row) for row in range(len(generation.tokens))]
    assert [words for words in spoken if words][0] == [4, END_IDX]
    assert all(words in ([4, END_IDX], []) for words in spoken)


@METHOD
def test_a_model_that_cannot_end_still_leaves_a_dead_end(method):
    decoder = MarkovDecoder(0, alphabet=(4,))
    generation = say(decoder, make_features(2), method, no_repeat=True, **SEVERAL[method])
    assert words_of(generation, 0) == [4, END_IDX]
    assert not generation.logprobs.isnan().any()


@METHOD
def test_what_is_cut_at_the_greatest_length_ends_well(method):
    """The words that must not end a caption are the likeliest ones, and `<end>` never comes."""
    decoder = talkative()
    decoder.by_step[:, [*BAD]] += 30
    decoder.by_step[:, END_IDX] -= 30
    changes = {"remove_bad_endings": True, "max_length": 5} | SEVERAL[method]
    generation = say(decoder, make_features(3), method, **changes)
    last = generation.tokens[:, -1]
    assert generation.tokens.shape[1] == 5 and set(last.tolist()) <= {5, 7}
    assert set(generation.tokens[:, :-1].flatten().tolist()) <= BAD


def test_samples_with_given_numbers_obey_too():
    decoder, features = talkative(), make_features(3)
    config = make_config(method="sample", max_length=12, no_repeat=True, block_trigrams=True)
    tokens, _ = sample_from_uniform(decoder, features, config, torch.rand(12, 12))
    assert tokens.shape[0] == 12
    for row in tokens.tolist():
        said = [word for word in row if word not in (PAD_IDX, END_IDX)]
        assert all(a != b for a, b in zip(said, said[1:], strict=False))


def test_rules_that_are_off_cost_nothing(monkeypatch):
    def refuse(*_):
        raise AssertionError("applied")

    monkeypatch.setattr("captioning.decoding.constraints.Constraints.apply", refuse)
    for method, changes in SEVERAL.items():
        say(make_decoder("rnn"), make_features(2), method, **changes)


@pytest.mark.parametrize("kind", ["rnn", "attention"])
@METHOD
def test_networks_obey(kind, method):
    decoder, features = make_decoder(kind, 1, vocab_size=len(WORDS)), make_features(3)
    changes = settings_of(method, "all")
    generation = say(decoder, features, method, **changes)
    assert_obeys(generation, make_config(method=method, **changes))
    forced = forced_logprobs(decoder, features, generation.tokens)
    torch.testing.assert_close(generation.logprobs, forced, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start_words": "a zebra"}, "start_words: 'zebra' is not among the 64 known words"),
        ({"start_words": "<unk>"}, "start_words: '<' is not among"),
        ({"start_words": "..."}, r"start_words: '...' received, 1 to 8 words \(max_length\)"),
        ({"start_words": "a " * 9}, r"1 to 8 words \(max_length\) expected"),
        ({"min_length": 9}, r"min_length: 9 received, at most max_length \(8\) expected"),
        ({"num_samples": 2}, "sample, beam and diverse_beam give several"),
        (
            {"method": "diverse_beam", "beam_size": 5, "num_beam_groups": 2},
            r"num_beam_groups: 2 received, a number that divides beam_size \(5\) expected",
        ),
        (
            {"method": "diverse_beam", "num_beam_groups": 3, "num_samples": 4},
            "num_samples: 4 received, at most 3 expected from diverse_beam search",
        ),
        (
            {"method": "diverse_beam", "beam_size": 124, "num_beam_groups": 2},
            "beam_size: 124 received, 1 to 122 expected",
        ),
        ({"diversity_penalty": -1.0}, "diversity_penalty: -1.0 received"),
        ({"length_normalization": "none"}, "length_normalization: 'none' received"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        generate(MarkovDecoder(), make_features(1), make_config(**changes), vocabulary=WORDS)


@pytest.mark.parametrize("changes", [{"remove_bad_endings": True}, {"start_words": "a"}])
def test_settings_about_words_need_the_vocabulary(changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name}: no vocabulary received"):
        generate(MarkovDecoder(), make_features(1), make_config(**changes))
    check_config(make_config(**changes))  # nothing wrong with the setting itself
    check_config(make_config(**changes), WORDS)


def test_start_words_are_read_like_captions():
    """Case, punctuation and blanks do not matter; blanks alone mean nothing."""
    assert constraints_of(make_config(start_words="  A dog. "), WORDS).start == [4, 5]
    assert not constraints_of(make_config(start_words="  ")).is_active


def test_a_vocabulary_without_bad_endings_has_nothing_to_remove():
    known = constraints_of(make_config(remove_bad_endings=True), WORDS).bad_endings
    assert set(known) == BAD and {"with", "is", "her"} < BAD_ENDINGS
