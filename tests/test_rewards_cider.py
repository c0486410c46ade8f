"""CIDEr-D on tensors: by hand, by property, and equal to the readable and the reference scores."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import fixture_case, reference_cases
from pycocoevalcap.cider.cider import Cider
from reward_cases import (
    VOCABULARY,
    data_sets,
    framed,
    ids_of,
    make_batch,
    make_reward,
    pack,
    people_as_ids,
    readable_scorer,
    to_tokens,
    word_ids,
)

from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.references import PackedReferences
from vocabulary import END_IDX, PAD_IDX, Vocabulary

CASES = [fixture_case(), *reference_cases()]
A, DOG, CAT = ids_of("a dog cat")


def score(reward: CiderReward, captions: list[list[int]], image_ids: list, width: int = 0):
    return reward(to_tokens(captions, width), make_batch(image_ids)).tolist()


# ---- worked by hand ----


def test_cider_by_hand():
    reward = make_reward({1: [[A, DOG]], 2: [[A, CAT]]}, count_end=False)
    # df of "a" is 2 of 2 pictures: weight 0. "dog" and "a dog" weigh log 2 each.
    assert score(reward, [[A, DOG]], [1]) == pytest.approx([10 * (1 + 1) / 4])
    # "a dog dog": dog twice, clipped to once; bigrams "a dog", "dog dog"; one bigram too many
    clipped = 10 * (1 / 2 + 1 / math.sqrt(2)) / 4 * math.exp(-1 / 72)
    assert score(reward, [[A, DOG, DOG]], [1]) == pytest.approx([clipped])
    assert score(reward, [[A, CAT]], [1]) == [0]


def test_the_end_is_a_word_or_not():
    people = {1: [[A, DOG]], 2: [[A, CAT]]}
    batch = make_batch([1])
    with_end, without_end = make_reward(people), make_reward(people, count_end=False)
    ended, cut = torch.tensor([[A, DOG, END_IDX]]), torch.tensor([[A, DOG]])
    # "dog", "a dog", "dog <end>" and "a dog <end>" weigh log 2, "a" and "<end>" nothing
    assert with_end(ended, batch).item() == pytest.approx(10 * 3 / 4)
    bigrams = 1 / math.sqrt(2)  # "a dog" of "a dog" and "dog <end>"
    expected = 10 * (1 + bigrams) / 4 * math.exp(-1 / 72)
    assert with_end(cut, batch).item() == pytest.approx(expected)
    assert without_end(ended, batch).item() == without_end(cut, batch).item() == pytest.approx(5)


def test_references_are_averaged_whatever_their_number():
    people = {1: [[A, DOG], [8, 9]], 2: [[A, CAT], [7, 10], [7, 10]], 3: [[A]]}
    one, two, three = score(
        make_reward(people, count_end=False), [[A, DOG], [7, 10], [A]], [1, 2, 3]
    )
    assert (one, two) == pytest.approx((10 * 2 / 4 / 2, 10 * 2 / 4 * 2 / 3))
    assert three == 0  # "a" is in every picture


# ---- the readable twin, and the reference implementations ----


@settings(deadline=None, max_examples=100)
@given(data_sets, st.booleans())
def test_rewards_equal_the_readable_metric(data, count_end):
    people = {10 * i: references for i, (references, _) in enumerate(data)}
    samples = [caption for _, some in data for caption in some]  # two for each picture
    reward, scorer = make_reward(people, count_end), readable_scorer(people, count_end)
    image_ids = [i for i in people for _ in range(2)]
    expected = [scorer.score(i, caption) for i, caption in zip(image_ids, samples, strict=True)]
    assert score(reward, samples, list(people)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rewards_equal_the_reference_scores(case):
    """Frequencies of the references, without `<end>`: how these scores were computed."""
    texts = [*case.candidates.values(), *(t for some in case.references.values() for t in some)]
    vocabulary = Vocabulary(sorted({word for text in texts for word in text.split()}))
    people = {i: [ids_of(t, vocabulary) for t in some] for i, some in case.references.items()}
    reward = CiderReward(*pack(people, False, vocabulary))
    captions = [ids_of(case.candidates[i], vocabulary) for i in people]
    expected = [case.per_image["CIDEr"][i] for i in people]
    assert score(reward, captions, list(people)) == pytest.approx(expected, abs=1e-6)


def test_rewards_equal_pycocoevalcap_on_random_captions():
    rng = random.Random(4)

    def caption() -> list[int]:
        return [rng.choice([4, 4, 5, 6, 7, 8, 9]) for _ in range(rng.randint(1, 9))]

    people = {i: [caption() for _ in range(rng.randint(1, 6))] for i in range(30)}
    samples = {i: caption() for i in people}
    text = {i: [" ".join(map(str, c)) for c in some] for i, some in people.items()}
    result = {i: [" ".join(map(str, c))] for i, c in samples.items()}
    mean, expected = Cider().compute_score(text, result)
    found = score(make_reward(people, count_end=False), [*samples.values()], [*people])
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert sum(found) / 30 == pytest.approx(mean, abs=1e-6) and mean > 0.5


# ---- properties ----


@settings(deadline=None, max_examples=50)
@given(data_sets, st.integers(0, 6), st.integers(4, 9))
def test_pad_columns_and_what_stands_behind_the_end_do_not_matter(data, extra, noise):
    people = {i: references for i, (references, _) in enumerate(data)}
    samples = [caption for _, some in data for caption in some]
    reward, batch = make_reward(people), make_batch(list(people))
    tokens = to_tokens(samples)
    wider = to_tokens(samples, tokens.shape[1] + extra)
    torch.testing.assert_close(reward(wider, batch), reward(tokens, batch), atol=1e-6, rtol=0)
    noisy = wider.masked_fill(wider == PAD_IDX, noise)
    torch.testing.assert_close(reward(noisy, batch), reward(wider, batch), atol=0, rtol=0)


@settings(deadline=None, max_examples=50)
@given(data_sets, st.randoms(use_true_random=False))
def test_every_caption_is_scored_for_itself(data, shuffler):
    people = {i: references for i, (references, _) in enumerate(data)}
    reward = make_reward(people)
    alone = [[score(reward, [c], [i])[0] for c in data[i][1]] for i in people]
    order = shuffler.sample([*people], len(people))
    flipped = [caption for i in order for caption in reversed(data[i][1])]
    expected = [value for i in order for value in reversed(alone[i])]
    assert score(reward, flipped, order) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(data_sets, st.lists(word_ids, min_size=1, max_size=7))
def test_rewards_lie_between_0_and_10_and_nothing_gets_nothing(data, caption):
    people = {i: references for i, (references, _) in enumerate(data)}
    reward = make_reward(people)
    for values in (score(reward, [caption, []] * len(people), [*people]),):
        assert all(math.isfinite(value) and 0 <= value <= 10 + 1e-5 for value in values)
        assert values[1::2] == [0] * len(people)


# ---- numbers and shapes ----


def test_the_reward_is_float32_without_gradient_on_its_device():
    reward = make_reward(people_as_ids())
    tokens = to_tokens([ids_of("a dog sees a ball")] * 4, 9)
    values = reward(tokens, make_batch([7, 8]))
    assert (values.dtype, values.shape, values.device) == (torch.float32, (4,), tokens.device)
    assert not values.requires_grad and values[0] == values[1] > values[2] == values[3] > 0
    assert torch.equal(reward(tokens.int(), make_batch([7, 8])), values)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_around_it_changes_nothing(precision):
    reward = make_reward(people_as_ids())
    tokens, batch = to_tokens([ids_of("a dog sees the ball"), ids_of("the dog")]), make_batch([7])
    with torch.autocast("cpu", precision):
        inside = reward(tokens, batch)
    assert torch.equal(inside, reward(tokens, batch)) and inside.dtype == torch.float32


def test_a_table_of_another_corpus_is_used_and_not_changed():
    people = people_as_ids()
    captions = [[framed(caption) for caption in some] for some in people.values()]
    corpus = captions + [[framed(ids_of("a dog"))], [framed(ids_of("a ball"))]] * 3
    table = NgramFrequency.build(corpus, VOCABULARY, "more")
    before = table.keys.clone(), table.counts.clone()
    reward = CiderReward(PackedReferences([*people], captions, VOCABULARY), table)
    unseen = to_tokens([ids_of("and and mat dog ball on"), ids_of("a dog sees the red ball")])
    values = reward(unseen, make_batch([7]))
    assert torch.equal(table.keys, before[0]) and torch.equal(table.counts, before[1])
    assert values[1] != make_reward(people)(unseen, make_batch([7]))[1]
    assert reward.signature() == {
        "metric": "CIDEr-D",
        "n": 4,
        "sigma": 6.0,
        "corpus": "more",
        "num_documents": 9,
        "end_token": "yes",
    }


def test_many_repeats_are_counted():
    people = {1: [[A, DOG] * 100], 2: [[CAT]]}
    scorer = readable_scorer(people)
    samples = [[A, DOG] * 90, [DOG] * 150]
    expected = [scorer.score(1, caption) for caption in samples]
    assert score(make_reward(people), samples, [1]) == pytest.approx(expected, abs=1e-6)


# ---- what is refused ----


def test_unknown_pictures_and_odd_numbers_of_captions_are_refused():
    reward = make_reward({**people_as_ids(), 10: []})
    for image_id in (55, 10):
        with pytest.raises(ValueError, match=f"image_ids: {image_id} received, one of the 3"):
            score(reward, [[A]], [image_id])
    with pytest.raises(ValueError, match="tokens: 3 captions for 2 pictures received"):
        score(reward, [[A], [A], [A]], [7, 8])
    with pytest.raises(ValueError, match="tokens: 1 captions for 0 pictures received"):
        score(reward, [[A]], [])


def test_references_and_frequencies_have_to_fit():
    people = people_as_ids()
    references, _ = pack(people, True)
    with pytest.raises(ValueError, match="count_end False received, True"):
        CiderReward(references, pack(people, False)[1])
    other = Vocabulary([*VOCABULARY.words[4:], "more"])
    with pytest.raises(ValueError, match=f"{other.content_hash} found, {VOCABULARY.content_hash}"):
        CiderReward(references, pack(people, True, other)[1])
    with pytest.raises(ValueError, match="an id received twice"):
        PackedReferences([1, 1], [[framed([A])]] * 2, VOCABULARY)
    with pytest.raises(ValueError, match="captions: none received"):
        PackedReferences([1, 2], [[], []], VOCABULARY)
