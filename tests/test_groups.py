"""Words in groups: masks, the cache, searches and training of a semi-autoregressive transformer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import learn_by_heart, small_experiment
from decoder_cases import (
    GROUPED,
    WORDS,
    alone,
    close,
    config_of,
    make_captions,
    make_decoder,
    make_features,
)
from odd_pictures import two_halves

from captioning.bundle import Captioner
from captioning.config import Experiment, GenerationConfig
from captioning.decoders.attention import sees_until_itself
from captioning.decoders.groups import group_inputs
from captioning.decoding.generation import generate
from captioning.decoding.sampling import sample_from_uniform
from captioning.ensemble import EnsembleDecoder, EnsembleFeatures
from captioning.training.cross_entropy import caption_loss
from captioning.training.policy import policy_logprobs
from captioning.training.run import check_names_and_phases, check_same_architecture
from model import teacher_force
from vocabulary import END_IDX, PAD_IDX, START_IDX

KIND = pytest.mark.parametrize("kind", [f"transformer {name}" for name in GROUPED])
METHODS = {
    "greedy": {},
    "sample": {"num_samples": 3, "seed": 0},
    "beam": {"beam_size": 3, "num_samples": 2},
    "diverse_beam": {"beam_size": 4, "num_beam_groups": 2, "num_samples": 2},
}


def published_inputs(labels: list[int], size: int) -> list[int]:
    """K - 1 zeros in front, whole groups, the last column off: the published recipe, word by word.

    SATIC starts its rows `[0, w1 .. w16, 0]`; 0 stands for `<start>` here.
    """
    row = [START_IDX] * (size - 1) + labels
    return row[: math.ceil(len(labels) / size) * size][:-1]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("length", [1, 2, 5, 6, 12, 17])
def test_what_groups_read(size, length):
    captions = make_captions(2, length)
    read = group_inputs(captions, size)
    assert read.shape[1] % size == 0 and 0 <= read.shape[1] - length < size
    assert (read[:, :size] == START_IDX).all()
    for column in range(size, read.shape[1]):  # K places before the word it is to say
        assert torch.equal(read[:, column], captions[:, column - size + 1])
    if size == 1:
        assert read is captions


def test_what_groups_read_is_what_was_published():
    """For a caption of 16 words, whose inputs the publication cuts to 17, 19 and 17 columns."""
    labels = [START_IDX, *range(4, 20), PAD_IDX]
    for size, columns in ((2, 17), (4, 19), (6, 17)):
        expected = published_inputs(labels, size)
        assert len(expected) == columns
        read = group_inputs(torch.tensor([labels[:-1]]), size)[0].tolist()
        assert read[:columns] == expected


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_who_sees_whom(size):
    device = torch.device("cpu")
    for past in (0, size, 3 * size):
        for new in (2 * size, 3 * size):
            seen = sees_until_itself(new, past, device, size)
            for i in range(new):
                last = ((past + i) // size + 1) * size  # of its group
                assert seen[i].tolist() == [j < last for j in range(past + new)]
        assert sees_until_itself(size, past, device, size) is None  # one group sees all


@KIND
@pytest.mark.parametrize("length", [1, 5, 6, 7, 12])
def test_step_equals_forward(kind, length):
    """Group by group with the cache, and all at once; also lengths that K does not divide."""
    decoder, features = make_decoder(kind), make_features()
    captions = make_captions(6, length)
    whole = decoder(features, captions)
    assert whole.logits.shape == (6, length, WORDS)
    assert whole.attention_weights.shape[:2] == (6, length)
    state, size = decoder.init_state(features, 2), decoder.group_size
    read = group_inputs(captions, size)
    for t in range(0, read.shape[1], size):
        logits, state = decoder.step(read[:, t : t + size], state)
        assert logits.shape == (6, size, WORDS)
        rows = slice(t, min(t + size, length))
        close(logits[:, : rows.stop - t], whole.logits[:, rows], 1e-5)
        weights = state["words"]["attention_weights"][:, : rows.stop - t]
        close(weights, whole.attention_weights[:, rows], 1e-5)
        assert state["words"]["layer_0"].shape[1] == t + size
    heads = decoder.eval().look_at_heads(features, captions)
    close(heads[:, -1].mean(1), decoder(features, captions).attention_weights)


def test_groups_of_one_word_are_the_ordinary_decoder():
    """To the last bit: the same weights, the same numbers."""
    features, captions = make_features(), make_captions()
    decoder = make_decoder("transformer plain")
    assert decoder.group_size == 1
    assert torch.equal(
        decoder(features, captions)[0], teacher_force(decoder, features, captions)[0]
    )
    grouped = make_decoder("transformer 3")
    assert grouped.state_dict().keys() == decoder.state_dict().keys()
    grouped.load_state_dict(decoder.state_dict())
    grouped.group_size = 1
    assert torch.equal(grouped(features, captions)[0], decoder(features, captions)[0])


@KIND
def test_no_word_sees_its_own_group_or_a_later_one(kind):
    """A word changes what is said from the next group on, and nothing before."""
    decoder, features, captions = make_decoder(kind), make_features(), make_captions(6, 13)
    before, size = decoder(features, captions).logits, decoder.group_size
    for place in range(1, 13):  # of the caption: the word is said on reading row place - 1
        other = captions.clone()
        other[:, place] = 4 + (other[:, place] - 3) % 9  # another one of 4..12
        after = decoder(features, other).logits
        unaware = ((place - 1) // size + 1) * size
        close(after[:, :unaware], before[:, :unaware])
        if unaware < 13:
            assert not torch.allclose(after[:, unaware:], before[:, unaware:])


@KIND
def test_words_after_the_end_in_a_group_never_count(kind):
    """Neither in the loss nor in log-probabilities (searches: below)."""
    decoder, features = make_decoder(kind), make_features()
    size, captions = decoder.group_size, make_captions(6, 12)
    captions[:, 3], captions[:, 4:] = END_IDX, PAD_IDX
    noisy = captions.clone()
    noisy[:, 4 : 4 + size] = 7  # what a search may have said in the rest of the group
    output = decoder(features, captions[:, :-1])
    loss, _ = caption_loss(output, captions)
    again, _ = caption_loss(decoder(features, noisy[:, :-1]), captions)
    close(loss, again)
    logits, logprobs = policy_logprobs(decoder, features, captions[:, 1:])
    counts = captions[:, 1:] != PAD_IDX
    _, with_noise = policy_logprobs(decoder, features, noisy[:, 1:])
    close(with_noise * counts, logprobs)
    assert (logprobs[:, 3:] == 0).all() and (logprobs[:, :3] < 0).all()
    expected = logits[:, :3].log_softmax(-1).gather(2, captions[:, 1:4, None]).squeeze(2)
    close(logprobs[:, :3], expected)


@KIND
@pytest.mark.parametrize("method", METHODS)
def test_searches(kind, method):
    decoder, features = make_decoder(kind, loud=3.0).eval(), make_features()
    config = GenerationConfig(method, max_length=11, **METHODS[method])
    calls, step = [], decoder.step
    decoder.step = lambda *given: calls.append(1) or step(*given)
    found = generate(decoder, features, config)
    longest = found.tokens.shape[1]
    if method in ("greedy", "sample"):  # not a call more than the longest caption needs
        assert len(calls) == math.ceil(longest / decoder.group_size)
    assert (
        math.ceil(longest / decoder.group_size) <= len(calls) <= math.ceil(11 / decoder.group_size)
    )
    del decoder.step
    for row in found.tokens.tolist():  # nothing but padding after the end
        end = row.index(END_IDX) if END_IDX in row else len(row) - 1
        assert set(row[end + 1 :]) <= {PAD_IDX} and PAD_IDX not in row[: end + 1]
    with torch.no_grad():  # one pass over the captions gives their log-probabilities again
        starts = torch.full_like(found.tokens[:, :1], START_IDX)
        output = decoder(features, torch.cat([starts, found.tokens[:, :-1]], 1))
    is_word = found.tokens != PAD_IDX
    said = output.logits.log_softmax(-1).gather(2, found.tokens[..., None]).squeeze(2)
    close(found.logprobs, said.masked_fill(~is_word, 0.0), 1e-5)
    close(found.attention_weights, output.attention_weights * is_word[..., None], 1e-5)
    if method != "sample":  # a picture's captions do not depend on its neighbours
        each = len(found.tokens) // 3
        for picture in range(3):
            one = generate(decoder, alone(features, picture), config)
            rows = slice(picture * each, picture * each + each)
            assert torch.equal(found.tokens[rows, : one.tokens.shape[1]], one.tokens)


@KIND
def test_a_beam_of_one_is_greedy_and_a_wide_one_not_worse(kind):
    decoder, features = make_decoder(kind, loud=3.0).eval(), make_features()
    greedy = generate(decoder, features, GenerationConfig("greedy", max_length=10))
    narrow = generate(decoder, features, GenerationConfig("beam", beam_size=1, max_length=10))
    assert torch.equal(narrow.tokens, greedy.tokens)
    wide = generate(decoder, features, GenerationConfig("beam", beam_size=4, max_length=10))
    assert (wide.scores >= greedy.scores - 1e-6).all()


@KIND
def test_what_is_drawn_and_what_is_differentiated_is_one_policy(kind):
    decoder, features = make_decoder(kind, loud=2.0), make_features()
    uniform = torch.rand(9, 10, generator=torch.Generator().manual_seed(0))
    config = GenerationConfig("sample", max_length=10, temperature=1.3)
    with torch.no_grad():
        tokens, _ = sample_from_uniform(decoder, features, config, uniform)
    logits, logprobs = policy_logprobs(decoder, features, tokens, temperature=1.3)
    cumulated = logits.softmax(-1).cumsum(-1)  # each number falls into the word's own share
    high = cumulated.gather(2, tokens[..., None]).squeeze(2)
    low = high - logits.softmax(-1).gather(2, tokens[..., None]).squeeze(2)
    is_word = tokens != PAD_IDX
    drawn = uniform[:, : tokens.shape[1]]
    assert ((drawn >= low - 1e-5) & (drawn <= high + 1e-5))[is_word].all()
    assert logprobs.requires_grad and (logprobs[~is_word] == 0).all()


@KIND
def test_one_batch_can_be_overfitted(kind):
    decoder, features = make_decoder(kind), make_features()
    learn_by_heart(decoder, features, make_captions(3, 8), 0.01, 80)


@KIND
def test_a_bundle_keeps_groups(kind, tiny_data, tiny_vocabulary, tmp_path):
    experiment = small_experiment(tiny_data, tmp_path / "unused")
    experiment.decoder = config_of(kind)
    torch.manual_seed(4)
    captioner = Captioner.build(experiment, tiny_vocabulary).train(False)
    captioner.save(tmp_path / "bundle")
    loaded = Captioner.load(tmp_path / "bundle", "cpu")
    assert loaded.decoder.group_size == captioner.decoder.group_size > 1
    pictures = [two_halves(40, 40), two_halves(20, 60)]
    assert loaded.describe(pictures) == captioner.describe(pictures)


def test_two_decoders_of_groups_speak_together():
    """The ensemble of a decoder with itself is that decoder, in searches and word for word."""
    decoder, features = make_decoder("transformer 3", loud=3.0).eval(), make_features()
    pair = EnsembleDecoder([decoder, decoder], [0.5, 0.5]).eval()
    both, captions = EnsembleFeatures.of([features, features]), make_captions(6, 8)
    assert pair.group_size == 3
    expected = decoder(features, captions).logits.log_softmax(-1)
    close(pair(both, captions).logits, expected, 1e-5)
    config = GenerationConfig("beam", beam_size=3, max_length=9)
    found, alone_ = generate(pair, both, config), generate(decoder, features, config)
    assert torch.equal(found.tokens, alone_.tokens)


def test_start_words_are_hidden_in_training_only_if_asked_for():
    """The published code trains with all but the first start word hidden."""
    features, captions = make_features(), make_captions(6, 7)
    decoder = make_decoder("transformer 3")
    hiding = make_decoder("transformer 3")
    hiding.hides_starts = True
    for trained in (decoder, hiding):
        trained.train()
    seen, hidden = decoder(features, captions).logits, hiding(features, captions).logits
    assert not torch.allclose(seen, hidden)
    order = hiding.visible(9, 0, torch.device("cpu"))
    expected = sees_until_itself(9, 0, torch.device("cpu"), 3)
    assert not order[:, 1:3].any() and torch.equal(order[:, 3:], expected[:, 3:])
    assert order[:, 0].all()
    state, read = hiding.init_state(features, 2), group_inputs(captions, 3)
    for t in range(0, 9, 3):  # with the cache too
        logits, state = hiding.step(read[:, t : t + 3], state)
        close(logits[:, : 7 - t], hidden[:, t : t + 3], 1e-5)
    close(hiding.eval()(features, captions).logits, decoder.eval()(features, captions).logits)


@pytest.mark.parametrize("length", [2, 4])
def test_a_group_must_be_whole(length):
    decoder, features = make_decoder("transformer 3"), make_features()
    with pytest.raises(
        ValueError, match=f"tokens: {length} words received, a multiple of group_si"
    ):
        decoder.step(make_captions(6, length), decoder.init_state(features, 2))


def test_words_of_its_own_are_refused():
    decoder, features, captions = make_decoder("transformer 2"), make_features(), make_captions()
    with pytest.raises(ValueError, match="sampling_probability: 0.5 received, 0 expected"):
        decoder(features, captions, 0.5)
    experiment = Experiment()
    experiment.decoder = config_of("transformer 2")
    check_names_and_phases(experiment)
    experiment.training.scheduled_sampling = 0.25
    with pytest.raises(
        ValueError, match="scheduled_sampling: 0.25 received, 0 expected with group"
    ):
        check_names_and_phases(experiment)
    experiment.decoder = replace(experiment.decoder, kind="attention")
    check_names_and_phases(experiment)


def test_rewards_see_what_a_search_sees():
    experiment = Experiment(init_from="somewhere")
    experiment.decoder = config_of("transformer 2")
    experiment.decoder.transformer.hide_starts = True
    check_names_and_phases(experiment)
    experiment.training.objective = "reinforce"
    with pytest.raises(ValueError, match="hide_starts: True received, False expected with objecti"):
        check_names_and_phases(experiment)


def test_groups_may_start_from_weights_that_said_one_word_at_a_time():
    one, three = Experiment(), Experiment()
    one.decoder, three.decoder = config_of("transformer plain"), config_of("transformer 3")
    three.decoder.transformer.hide_starts = True
    check_same_architecture(three, one)
    three.decoder.transformer.num_layers = 3
    with pytest.raises(ValueError, match="transformer.num_layers: 3 received"):
        check_same_architecture(three, one)
