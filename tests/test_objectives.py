"""Objectives of self-critical training: numbers worked by hand, and what holds for all of them."""

import math

import pytest
import torch

from captioning.training.objectives import (
    advantages,
    best_of_n,
    drop_worst,
    entropy_bonus,
    kl_to_start,
    leave_one_out,
    max_margin,
    mean_logprobs,
    multi_margin,
    normalise,
    ppo,
    reinforce,
    risk,
    sequence_nll,
    softmax_margin,
    word_mask,
)
from vocabulary import END_IDX, PAD_IDX

OF_PICTURES = [sequence_nll, risk, max_margin, multi_margin, softmax_margin, best_of_n]
LN2 = math.log(2)


def by_words(logprobs, mask, reward, num_samples):
    advantage = advantages(reward, leave_one_out(reward, num_samples))
    return reinforce(logprobs, mask, advantage)


def by_ratios(logprobs, mask, reward, num_samples):
    advantage = advantages(reward, leave_one_out(reward, num_samples))
    return ppo(logprobs, logprobs.detach(), mask, advantage, clip=0.2)


ALL = [by_words, by_ratios, *OF_PICTURES]


def three_captions(requires_grad=False):
    """One picture; mean probabilities a word 1/2, 1/8, 1/4; the second caption is the best."""
    logprobs = torch.tensor([[0.5, 0.5], [0.125, 0.9], [0.25, 0.9]]).log()
    mask = torch.tensor([[True, True], [True, False], [True, False]])
    return logprobs.requires_grad_(requires_grad), mask, torch.tensor([1.0, 4.0, 3.0])


def random_captions(num_pictures=4, num_samples=3, length=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = num_pictures * num_samples
    logprobs = -torch.rand(rows, length, generator=generator) * 3
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    return logprobs, torch.arange(length) < lengths, torch.rand(rows, generator=generator)


# Masks, baselines, advantages


def test_the_mask_ends_with_the_first_end():
    tokens = torch.tensor(
        [
            [5, 6, END_IDX, PAD_IDX],
            [5, END_IDX, 7, END_IDX],  # whatever follows does not count
            [5, 6, 7, 8],  # cut at the longest length
            [END_IDX, PAD_IDX, PAD_IDX, PAD_IDX],
            [PAD_IDX, PAD_IDX, PAD_IDX, PAD_IDX],
        ]
    )
    assert word_mask(tokens).int().tolist() == [
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 1],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_mean_logprobs():
    logprobs, mask, _ = three_captions()
    empty = torch.zeros_like(mask[:1])
    rows = mean_logprobs(torch.cat([logprobs, logprobs[:1]]), torch.cat([mask, empty]))
    assert rows.tolist() == pytest.approx([-LN2, -3 * LN2, -2 * LN2, 0])


def test_leave_one_out():
    reward = torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0])
    baseline = leave_one_out(reward, 3)
    assert baseline.tolist() == [4.0, 3.5, 1.5, 1.5, 1.5, 0.0]
    assert advantages(reward, baseline).tolist() == [-3.0, -1.5, 4.5, -1.5, -1.5, 3.0]


def test_leave_one_out_refuses_what_has_no_other_sample():
    with pytest.raises(ValueError, match="num_samples: 1 received, at least 2 expected"):
        leave_one_out(torch.ones(4), 1)
    with pytest.raises(ValueError, match=r"5 values received, a multiple of num_samples \(2\)"):
        leave_one_out(torch.ones(5), 2)


def test_leave_one_out_forgets_a_constant_and_follows_the_pictures():
    _, _, reward = random_captions()
    advantage = advantages(reward, leave_one_out(reward, 3))
    shifted = advantages(reward + 7, leave_one_out(reward + 7, 3))
    torch.testing.assert_close(shifted, advantage, atol=2e-6, rtol=0)
    turned = reward.view(4, 3).flip(0).flatten()
    other_order = advantages(turned, leave_one_out(turned, 3))
    torch.testing.assert_close(other_order, advantage.view(4, 3).flip(0).flatten())
    assert advantage.view(4, 3).sum(1).abs().max() < 1e-6  # what one gains the others lose


def test_a_baseline_of_each_picture_serves_its_rows():
    reward = torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    advantage = advantages(reward, torch.tensor([0.5, 3.0]))
    assert advantage.tolist() == [0.5, 1.5, 0.0, 1.0]
    assert not advantage.requires_grad
    for baseline in (torch.zeros(3), torch.zeros(0)):
        with pytest.raises(ValueError, match=f"baseline: {len(baseline)} values received, 4 or"):
            advantages(reward, baseline)


def test_normalise_over_a_whole_step():
    # 1, 3 here and 5, 7 in another batch: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5.
    sums = (torch.tensor(16.0), torch.tensor(1.0 + 9 + 25 + 49), torch.tensor(4))
    expected = torch.tensor([-3.0, -1.0]) / math.sqrt(5)
    torch.testing.assert_close(normalise(torch.tensor([1.0, 3.0]), *sums), expected)


@pytest.mark.parametrize("value", [0.0, 2.0, 0.1, -7.3])
def test_normalise_leaves_equal_advantages_near_zero(value):
    for count in (4, 1000):
        advantage = torch.full((count,), value)
        sums = (advantage.sum(), advantage.square().sum(), torch.tensor(count))
        assert normalise(advantage, *sums).abs().max() < 0.01


# Objectives of words


def test_reinforce():
    logprobs = torch.tensor([[-1.0, -2.0, -9.0], [-0.5, -9.0, -9.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    total, count = reinforce(logprobs, mask, torch.tensor([2.0, -1.0]))
    assert total.item() == 5.5  # -(2 x -3 - 1 x -0.5)
    assert count.item() == 3
    total.backward()
    assert logprobs.grad.tolist() == [[-2, -2, 0], [1, 0, 0]]


def test_ppo_takes_the_worse_of_ratio_and_clipped_ratio():
    old = torch.full((2, 3), 0.5).log()
    logprobs = torch.tensor([[0.75, 0.5, 0.25]] * 2).log().requires_grad_()  # ratios 3/2, 1, 1/2
    mask = torch.ones(2, 3, dtype=torch.bool)
    total, count = ppo(logprobs, old, mask, torch.tensor([1.0, -1.0]), clip=0.2)
    # Praised: 1.2 + 1 + 0.5; blamed: -1.5 - 1 - 0.8.
    assert total.item() == pytest.approx(-(2.7 - 3.3))
    assert count.item() == 6
    total.backward()
    expected = torch.tensor([[0, -1, -0.5], [1.5, 1, 0]])  # 0 where the clip was worse
    torch.testing.assert_close(logprobs.grad, expected)


def test_ppo_begins_as_reinforce():
    logprobs, mask, reward = random_captions()
    gradients = []
    for objective in (by_words, by_ratios):
        leaf = logprobs.clone().requires_grad_()
        objective(leaf, mask, reward, 3)[0].backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_ppo_refuses_a_clip_without_width():
    with pytest.raises(ValueError, match="clip: 0 received, above 0 expected"):
        ppo(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1).bool(), torch.ones(1), 0)


# Objectives of pictures


def hand_worked():
    # s: ln 1/2, ln 1/8, ln 1/4; c: -1, -4, -3, scaled 1, 0, 1/3; caption probabilities 1/4, 1/8,
    # 1/4; violations 3 - (ln 1/8 - ln 1/2) = 3 + 2 ln 2, 0, 1 + ln 2.
    a, b, third = math.exp(0.25), math.exp(0.125), math.exp(1 / 3)
    return {
        sequence_nll: (math.log(7), 1),  # (1/8) / (7/8)
        risk: ((a + a / 3) / (2 * a + b), 1),
        max_margin: ((3 + 2 * LN2) / 2, 1),
        multi_margin: ((4 + 3 * LN2) / 3, 1),
        softmax_margin: (math.log((math.e / 2 + 1 / 8 + third / 4) * 8), 1),
        best_of_n: (3 * LN2, 4),  # one word of the best caption, four words in all
    }


@pytest.mark.parametrize("objective", OF_PICTURES)
def test_objectives_of_pictures_by_hand(objective):
    expected, expected_count = hand_worked()[objective]
    total, count = objective(*three_captions(), 3)
    assert total.item() == pytest.approx(expected, rel=1e-6)
    assert count.item() == expected_count


def test_the_margins_push_apart_the_best_and_its_rivals():
    logprobs, mask, reward = three_captions(requires_grad=True)
    max_margin(logprobs, mask, reward, 3)[0].backward()
    # Half a violation; the first caption's mean has two words.
    assert logprobs.grad.tolist() == [[0.25, 0.25], [-0.5, 0], [0, 0]]
    logprobs, mask, reward = three_captions(requires_grad=True)
    multi_margin(logprobs, mask, reward, 3)[0].backward()
    expected = torch.tensor([[1 / 6, 1 / 6], [-2 / 3, 0], [1 / 3, 0]])
    torch.testing.assert_close(logprobs.grad, expected)


def test_a_lead_that_is_large_enough_costs_nothing():
    logprobs = torch.tensor([[-1.0], [-2.0]])  # leads by 1
    mask = torch.ones(2, 1, dtype=torch.bool)
    for objective in (max_margin, multi_margin):
        assert objective(logprobs, mask, torch.tensor([1.0, 0.5]), 2)[0] == 0
        assert objective(logprobs, mask, torch.tensor([3.0, 0.5]), 2)[0] == 0.75  # 1.5 short


@pytest.mark.parametrize("objective", OF_PICTURES)
def test_equal_rewards_are_no_division_by_zero(objective):
    logprobs, mask, _ = three_captions(requires_grad=True)
    total, _ = objective(logprobs, mask, torch.full((3,), 0.3), 3)
    total.backward()
    assert total.isfinite() and logprobs.grad.isfinite().all()


def test_equally_good_captions_all_teach():
    logprobs, mask, _ = three_captions(requires_grad=True)
    best_of_n(logprobs, mask, torch.tensor([2.0, 1.0, 2.0]), 3)[0].backward()
    assert logprobs.grad.tolist() == [[-1, -1], [0, 0], [-1, 0]]


@pytest.mark.parametrize("objective", OF_PICTURES)
def test_objectives_of_pictures_refuse_single_captions(objective):
    logprobs, mask, reward = three_captions()
    with pytest.raises(ValueError, match="num_samples: 1 received, at least 2 expected"):
        objective(logprobs, mask, reward, 1)
    with pytest.raises(ValueError, match=r"3 values received, a multiple of num_samples \(2\)"):
        objective(logprobs, mask, reward, 2)


# All objectives


@pytest.mark.parametrize("objective", ALL)
def test_a_step_makes_the_best_caption_more_probable(objective):
    reward = torch.tensor([0.2, 0.9, 0.1])
    logits = torch.zeros(3, requires_grad=True)  # captions of one word each
    logprobs = logits.log_softmax(0).unsqueeze(1)
    total, count = objective(logprobs, torch.ones(3, 1, dtype=torch.bool), reward, 3)
    (total / count).backward()
    after = (logits - 0.1 * logits.grad).softmax(0)
    assert after[1] > 1 / 3 + 1e-4
    assert after[1] == after.max()


@pytest.mark.parametrize("objective", ALL)
def test_pictures_add_up_in_any_order(objective):
    captions = random_captions()
    total, count = objective(*captions, 3)
    reversed_rows = [x.unflatten(0, (4, 3)).flip(0).flatten(0, 1) for x in captions]
    torch.testing.assert_close(objective(*reversed_rows, 3)[0], total)
    halves = [objective(*(x[rows] for x in captions), 3) for rows in (slice(0, 6), slice(6, 12))]
    torch.testing.assert_close(halves[0][0] + halves[1][0], total)
    assert halves[0][1] + halves[1][1] == count


@pytest.mark.parametrize("objective", ALL)
def test_only_differences_of_rewards_matter(objective):
    logprobs, mask, reward = random_captions()
    total = objective(logprobs, mask, reward, 3)[0]
    torch.testing.assert_close(
        objective(logprobs, mask, reward + 2, 3)[0], total, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("objective", ALL)
def test_what_does_not_count_may_be_impossible(objective):
    logprobs, mask, reward = random_captions()
    mask[4] = False  # a caption without words
    clean = logprobs.masked_fill(~mask, -1.0).requires_grad_()
    dirty = logprobs.masked_fill(~mask, -math.inf).requires_grad_()
    totals = [objective(x, mask, reward, 3)[0] for x in (clean, dirty)]
    for total in totals:
        total.backward()
    assert totals[0] == totals[1] and totals[0].isfinite()
    torch.testing.assert_close(dirty.grad, clean.grad, equal_nan=False)
    assert not dirty.grad[~mask].any()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("objective", ALL)
def test_half_precision_is_summed_in_single(objective, half):
    logprobs, mask, reward = random_captions(num_pictures=200)
    logprobs, reward = logprobs.to(half), reward.to(half)
    total, count = objective(logprobs, mask, reward, 3)
    assert total.dtype == torch.float32
    expected, expected_count = objective(logprobs.float(), mask, reward.float(), 3)
    torch.testing.assert_close(total, expected)
    assert count == expected_count


# What is added


def test_kl_to_start():
    start = torch.tensor([0.5, 0.5]).log().expand(1, 2, 2)
    logits = torch.tensor([0.25, 0.75]).log().repeat(1, 2, 1).requires_grad_()
    total, count = kl_to_start(logits, start, torch.tensor([[True, False]]))
    # ln(2) / 2 + ln(2/3) / 2; not KL(now || start), which is 0.1308.
    assert total.item() == pytest.approx(math.log(4 / 3) / 2, rel=1e-5)
    assert count.item() == 1
    total.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[[-0.25, 0.25], [0, 0]]]))  # now - start


def test_kl_is_zero_at_the_start_and_survives_impossible_words():
    logits = torch.tensor([[[0.3, -1.0, -math.inf], [math.nan] * 3]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    total, _ = kl_to_start(logits, logits.detach(), mask)
    total.backward()
    assert total.item() == pytest.approx(0, abs=1e-7)
    assert logits.grad.isfinite().all()


def test_entropy():
    logits = torch.zeros(1, 3, 4)
    logits[0, 1, 2:] = -math.inf  # two words left
    total, count = entropy_bonus(logits, torch.tensor([[True, True, False]]))
    assert total.item() == pytest.approx(math.log(4) + LN2)
    assert count.item() == 2


def test_more_entropy_means_flatter():
    logits = torch.tensor([[[2.0, 0.0, -math.inf]]], requires_grad=True)
    entropy_bonus(logits, torch.ones(1, 1, dtype=torch.bool))[0].backward()
    assert logits.grad[0, 0, 0] < 0 < logits.grad[0, 0, 1]
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_logits_are_summed_in_single(half):
    logits, start = torch.randn(2, 20, 30, 50, generator=torch.Generator().manual_seed(0)).to(half)
    mask = torch.ones(20, 30, dtype=torch.bool)
    torch.testing.assert_close(
        kl_to_start(logits, start, mask), kl_to_start(logits.float(), start.float(), mask)
    )
    torch.testing.assert_close(entropy_bonus(logits, mask), entropy_bonus(logits.float(), mask))


def test_drop_worst():
    losses = torch.tensor([3.0, 1.0, 2.0, math.nan])
    assert drop_worst(losses, 0).all()
    assert drop_worst(losses, 0.25).tolist() == [True, True, True, False]
    assert drop_worst(losses, 0.3).tolist() == [True, True, True, False]  # ceil(2.8) = 3 stay
    assert drop_worst(losses, 0.9).tolist() == [False, True, False, False]  # ceil(0.4) = 1
    assert drop_worst(torch.ones(4), 0.5).tolist() == [True, True, False, False]


@pytest.mark.parametrize("percent", range(0, 100, 7))
def test_drop_worst_keeps_exactly_as_many_as_promised(percent):
    for count in (1, 3, 10, 100, 1000):
        kept = int(drop_worst(torch.zeros(count), percent / 100).sum())
        assert kept == -((percent - 100) * count // 100)  # ceil in whole numbers


@pytest.mark.parametrize("rate", [-0.1, 1, math.nan])
def test_drop_worst_refuses_to_drop_everything(rate):
    with pytest.raises(ValueError, match=f"rate: {rate} received, 0 to below 1 expected"):
        drop_worst(torch.ones(3), rate)
