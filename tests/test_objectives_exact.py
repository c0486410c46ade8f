"""REINFORCE against the truth, for a toy policy with so few captions that they can all be listed.

Its expected gradient is exact, and so is the gradient it should be.
"""

import itertools

import pytest
import torch

from captioning.training.objectives import (
    advantages,
    leave_one_out,
    reinforce,
    word_mask,
)
from vocabulary import END_IDX, PAD_IDX

WORDS = (END_IDX, 4, 5)
LONGEST = 3


def all_captions():
    """(15, 3) every caption of at most three of these words, `<end>` included unless cut."""
    rows = set()
    for words in itertools.product(WORDS, repeat=LONGEST):
        length = words.index(END_IDX) + 1 if END_IDX in words else LONGEST
        rows.add(words[:length] + (PAD_IDX,) * (LONGEST - length))
    return torch.tensor(sorted(rows))


def policy_logprobs(table, tokens):
    """Log-probability of each word from a table (step, last word, next word)."""
    place = torch.full((6,), 0)
    place[[END_IDX, 4, 5]] = torch.arange(3)
    words = place[tokens]  # (N, T); the first step follows row 0
    before = torch.cat([torch.zeros_like(words[:, :1]), words[:, :-1]], dim=1)
    logprobs = table.log_softmax(-1)[torch.arange(LONGEST), before]  # (N, T, 3)
    return logprobs.gather(2, words.unsqueeze(2)).squeeze(2)


@pytest.fixture
def toy():
    """The table of a random policy, its captions, their probabilities and rewards."""
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(LONGEST, 3, 3, generator=generator, dtype=torch.float64)
    tokens = all_captions()
    reward = torch.rand(len(tokens), generator=generator, dtype=torch.float64)
    logprobs = policy_logprobs(table, tokens).masked_fill(~word_mask(tokens), 0)
    return table.requires_grad_(), tokens, logprobs.sum(1).exp(), reward


def gradient_of_expected_reward(table, tokens, reward):
    logprobs = policy_logprobs(table, tokens).masked_fill(~word_mask(tokens), 0)
    return torch.autograd.grad((logprobs.sum(1).exp() * reward).sum(), table)[0]


def test_the_toy_policy_says_nothing_else(toy):
    _, tokens, probabilities, _ = toy
    assert len(tokens) == 15  # 1 + 2 + 4 with <end>, 8 cut
    assert probabilities.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_reinforce_is_unbiased_for_any_constant_baseline(toy, constant):
    table, tokens, probabilities, reward = toy
    expected = gradient_of_expected_reward(table, tokens, reward)
    advantage = advantages(reward, torch.tensor([constant], dtype=torch.float64))
    total, _ = reinforce(
        policy_logprobs(table, tokens), word_mask(tokens), probabilities * advantage
    )
    ours = torch.autograd.grad(total, table)[0]
    torch.testing.assert_close(-ours, expected)
    assert expected.abs().max() > 0.01


def test_leave_one_out_is_unbiased_over_all_pairs(toy):
    table, tokens, probabilities, reward = toy
    pairs = torch.cartesian_prod(torch.arange(15), torch.arange(15))  # (225, 2)
    rows = pairs.flatten()
    weight = probabilities[pairs].prod(1).repeat_interleave(2)  # of a pair, for both its rows
    pair_reward = reward[rows]
    advantage = advantages(pair_reward, leave_one_out(pair_reward, 2))
    logprobs, mask = policy_logprobs(table, tokens)[rows], word_mask(tokens)[rows]
    total, _ = reinforce(logprobs, mask, weight * advantage)
    ours = torch.autograd.grad(total / 2, table)[0]  # two samples a picture
    torch.testing.assert_close(-ours, gradient_of_expected_reward(table, tokens, reward))


def test_without_the_end_step_the_gradient_is_wrong(toy):
    table, tokens, probabilities, reward = toy
    words_only = word_mask(tokens) & (tokens != END_IDX)
    total, _ = reinforce(policy_logprobs(table, tokens), words_only, probabilities * reward)
    ours = torch.autograd.grad(total, table)[0]
    exact = gradient_of_expected_reward(table, tokens, reward)
    assert (ours + exact).abs().max() > 0.01
