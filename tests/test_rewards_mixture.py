"""BLEU-4 and diversity on tensors, weighted sums of rewards, and rewards from settings."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_cases import fixture_case, reference_cases
from reward_cases import (
    captions,
    data_sets,
    ids_of,
    make_batch,
    make_reward,
    pack,
    people_as_ids,
    to_tokens,
)

from captioning.config import SelfCriticalConfig
from captioning.evaluation.bleu import bleu
from captioning.evaluation.cider import CiderScorer
from captioning.evaluation.ngrams import DocumentFrequency
from captioning.rewards.bleu import BleuReward
from captioning.rewards.build import build_rewards, whole_captions
from captioning.rewards.diversity import marginal_diversity, pairwise_cider, self_cider
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.mixture import Mixture
from data_loader import CaptionDataset
from vocabulary import END_IDX, START_IDX, Vocabulary

# ---- BLEU ----


def bleu_4(people: dict, samples: list[list[int]], count_end: bool = False) -> list[float]:
    reward = BleuReward(pack(people, count_end)[0])
    return reward(to_tokens(samples), make_batch([*people])).tolist()


def test_bleu_by_hand():
    people = {1: [[4, 5, 6, 7, 8], [4, 5, 6]], 2: [[4, 5, 6, 7, 8, 9, 10, 11]]}
    same, short = bleu_4(people, [[4, 5, 6, 7, 8], [4, 5, 6, 7, 8]])
    assert same == pytest.approx(1) and short == pytest.approx(math.exp(1 - 8 / 5))
    # with <end> at the wrong place all 6 words, 4 of 5 bigrams, 3 of 4, 2 of 3 are right
    _, ended = bleu_4(people, [[4, 5, 6, 7, 8]] * 2, count_end=True)
    precision = (6 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    assert ended == pytest.approx(precision * math.exp(1 - 9 / 6))


def test_bleu_clips_by_the_largest_count_of_one_reference_and_takes_the_closest_length():
    people = {1: [[4, 4, 5, 6], [4, 5, 4, 5, 4, 6]], 2: [[4]]}
    value, _ = bleu_4(people, [[4, 4, 4, 4, 5], [4]])
    expected, _ = bleu({1: people[1]}, {1: [4, 4, 4, 4, 5]})
    assert value == pytest.approx(expected[3], rel=1e-6)  # lengths 4 and 6: 4, no penalty


@settings(deadline=None, max_examples=80)
@given(data_sets, st.booleans())
def test_bleu_equals_the_readable_metric(data, count_end):
    people = {i: references for i, (references, _) in enumerate(data)}
    samples = [caption for _, some in data for caption in some]
    end = [END_IDX] * count_end
    expected = [
        bleu({0: [[*c, *end] for c in people[row // 2]]}, {0: [*sample, *end]})[0][3]
        if sample
        else 0.0
        for row, sample in enumerate(samples)
    ]
    assert bleu_4(people, samples, count_end) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", [fixture_case(), *reference_cases()], ids=lambda case: case.name)
def test_bleu_equals_the_reference_scores(case):
    texts = [*case.candidates.values(), *(t for some in case.references.values() for t in some)]
    vocabulary = Vocabulary(sorted({word for text in texts for word in text.split()}))
    people = {i: [ids_of(t, vocabulary) for t in some] for i, some in case.references.items()}
    reward = BleuReward(pack(people, False, vocabulary)[0])
    tokens = to_tokens([ids_of(case.candidates[i], vocabulary) for i in people])
    expected = [case.per_image["Bleu_4"][i] for i in people]
    assert reward(tokens, make_batch([*people])).tolist() == pytest.approx(expected, abs=1e-6)


# ---- diversity ----


def table_of(people: dict) -> NgramFrequency:
    return pack(people, True)[1]


def test_diversity_by_hand():
    table = table_of(people_as_ids())
    same, other = ids_of("a dog sees the ball"), ids_of("mat on red cat and")
    tokens = to_tokens([same, same, same, other])
    equal, different = self_cider(tokens, 2, table).tolist()
    assert equal == pytest.approx(0, abs=1e-4)
    # the two only share <end>, which all pictures have: a kernel of ones on the diagonal
    assert different == pytest.approx(1)
    # three eigenvalues of the kernel [[1, 1, 0], [1, 1, 0], [0, 0, 1]] are 2, 1 and 0
    three = self_cider(tokens[[0, 1, 3]], 3, table).item()
    assert three == pytest.approx(-math.log(math.sqrt(2) / (math.sqrt(2) + 1)) / math.log(3))
    added = marginal_diversity(tokens[[0, 1, 3]], 3, table).tolist()
    assert added == pytest.approx([three - 1, three - 1, three], abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(st.lists(captions.filter(bool), min_size=3, max_size=5))
def test_diversity_equals_the_readable_metric_on_all_pairs(samples):
    people = people_as_ids()
    readable = DocumentFrequency.from_references(people, END_IDX)
    kernel = torch.tensor(
        [
            [CiderScorer({0: [one]}, readable, plain=True).score(0, two) / 10 for one in samples]
            for two in samples
        ],
        dtype=torch.float64,
    )
    table, number = table_of(people), len(samples)
    twice = to_tokens(samples + samples[::-1])  # two pictures
    pairs = pairwise_cider(twice, number, table)
    torch.testing.assert_close(pairs[0], kernel, atol=1e-9, rtol=0)
    torch.testing.assert_close(pairs[1], kernel.flip(0, 1), atol=1e-9, rtol=0)

    def diversity(matrix: torch.Tensor) -> float:
        roots = torch.linalg.eigvalsh(matrix).clamp(min=0).sqrt()
        if roots.sum() == 0:
            return 0.0
        return -math.log(roots.max() / roots.sum()) / math.log(len(matrix))

    values = self_cider(twice, number, table).tolist()
    assert values == pytest.approx([diversity(kernel)] * 2, abs=1e-4)
    assert all(-1e-6 <= value <= 1 + 1e-6 for value in values)
    for left_out, added in enumerate(marginal_diversity(twice, number, table)[:number].tolist()):
        others = [i for i in range(number) if i != left_out]
        expected = diversity(kernel) - diversity(kernel[others][:, others])
        assert added == pytest.approx(expected, abs=1e-4)


def test_diversity_of_few_or_wordless_captions_is_nothing():
    table = table_of(people_as_ids())
    tokens = to_tokens([ids_of("a dog"), ids_of("the cat"), [], []])
    assert self_cider(tokens, 1, table).tolist() == [0] * 4
    assert self_cider(tokens[2:], 2, table).tolist() == [0]
    for number in (1, 2):
        assert marginal_diversity(tokens, number, table).tolist() == [0] * 4
    assert marginal_diversity(tokens[[2, 3, 2]], 3, table).tolist() == [0] * 3
    with pytest.raises(ValueError, match="num_samples: 3 received, a divisor of the 4 captions"):
        self_cider(tokens, 3, table)


def test_half_precision_around_diversity_and_bleu_changes_nothing():
    references, table = pack(people_as_ids(), True)
    tokens = to_tokens([ids_of("a dog sees the ball"), ids_of("a dog"), ids_of("the red ball")])
    values = [
        lambda: self_cider(tokens, 3, table),
        lambda: marginal_diversity(tokens, 3, table),
        lambda: BleuReward(references)(tokens, make_batch([7])),
    ]
    for value in values:
        with torch.autocast("cpu", torch.bfloat16):
            inside = value()
        assert torch.equal(inside, value()) and inside.dtype == torch.float32


# ---- mixtures ----


def shortness(tokens, batch):
    """A reward as somebody writes it in a cell."""
    return -(tokens == 5).sum(dim=1) / len(batch)


def test_a_mixture_is_the_weighted_sum():
    cider = make_reward(people_as_ids())
    mixture = Mixture({"CIDEr-D": (0.5, cider), "shortness": (2, shortness)})
    tokens, batch = to_tokens([ids_of("a dog dog"), ids_of("the cat")]), make_batch([7])
    values = mixture(tokens, batch)
    expected = 0.5 * cider(tokens, batch) + torch.tensor([-4.0, 0.0])
    assert torch.equal(values, expected) and values.dtype == torch.float32
    parts = mixture.parts(tokens, batch)
    assert [*parts] == ["CIDEr-D", "shortness"] and parts["shortness"].tolist() == [-2, 0]
    signature = mixture.signature()
    assert signature["shortness"] == {"weight": 2}
    assert signature["CIDEr-D"] == {"weight": 0.5, **cider.signature()}
    assert json.loads(json.dumps(signature)) == signature


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda tokens, batch: torch.zeros(3), r"\(3,\) received, .* shape \(2,\) expected"),
        (lambda tokens, batch: torch.zeros(2, 1), r"\(2, 1\) received"),
        (lambda tokens, batch: torch.tensor(1.0), r"\(\) received"),
        (lambda tokens, batch: [0.0, 1.0], "list received"),
        (lambda tokens, batch: None, "NoneType received"),
        (lambda tokens, batch: torch.tensor([0, math.nan]), "NaN or infinite"),
        (lambda tokens, batch: torch.tensor([0, math.inf]), "NaN or infinite"),
    ],
)
def test_a_reward_that_is_not_one_number_a_caption_is_named(reward, message):
    mixture = Mixture({"fine": (1.0, shortness), "odd": (1.0, reward)})
    with pytest.raises(ValueError, match=f"reward 'odd': {message}"):
        mixture(to_tokens([[5], [6]]), make_batch([1]))


def test_a_mixture_needs_rewards_and_weights():
    with pytest.raises(ValueError, match="rewards: none received"):
        Mixture({})
    with pytest.raises(ValueError, match="weight nan of 'odd' received"):
        Mixture({"odd": (math.nan, shortness)})


# ---- from settings ----


def test_rewards_of_a_data_set(dataset: CaptionDataset):
    config = SelfCriticalConfig(cider_weight=1.0, bleu_weight=0.5)
    mixture, frequency = build_rewards(config, dataset, "tiny train", "cpu")
    assert frequency.num_documents == len(dataset) == 24 and frequency.corpus == "tiny train"
    assert [*mixture.signature()] == ["CIDEr-D", "BLEU-4"]
    people = {
        image_id: [dataset.vocabulary.encode(text)[1:-1] for text in texts]
        for image_id, texts in zip(dataset.image_ids, dataset.texts, strict=True)
    }
    scorer = CiderScorer(people, DocumentFrequency.from_references(people, END_IDX))
    chosen = dataset.image_ids[3:6]
    samples = [people[dataset.image_ids[0]][0], people[dataset.image_ids[1]][1]] * 3
    values = mixture.parts(to_tokens(samples), make_batch(chosen))["CIDEr-D"].tolist()
    expected = [scorer.score(chosen[row // 2], caption) for row, caption in enumerate(samples)]
    assert values == pytest.approx(expected, abs=1e-6) and max(values) > 0.3
    only, same = build_rewards(SelfCriticalConfig(), dataset, "other", "cpu", frequency)
    assert [*only.rewards] == ["CIDEr-D"] and same is frequency
    empty = NgramFrequency.build([[[START_IDX, END_IDX]]], dataset.vocabulary, "one picture")
    assert len(empty) == 0
    assert build_rewards(SelfCriticalConfig(), dataset, "other", "cpu", empty)[1] is empty


def test_references_are_not_cut(tiny_data, tiny_vocabulary):
    short, whole = (
        CaptionDataset(tiny_data, "train", tiny_vocabulary, None, max_length=length)
        for length in (4, 50)
    )
    assert short.captions != whole.captions
    assert whole_captions(short) == whole_captions(whole) == whole.captions


def test_settings_that_ask_for_nothing_or_for_two_things_are_refused(dataset: CaptionDataset):
    nothing = SelfCriticalConfig(cider_weight=0, bleu_weight=0)
    with pytest.raises(ValueError, match="cider_weight, bleu_weight, .*: 0 received for all"):
        build_rewards(nothing, dataset, "c", "cpu")
    config = SelfCriticalConfig(count_end=False)
    _, frequency = build_rewards(config, dataset, "c", "cpu")
    assert not frequency.count_end
    with pytest.raises(ValueError, match="count_end False received, True"):
        build_rewards(SelfCriticalConfig(), dataset, "c", "cpu", frequency)
