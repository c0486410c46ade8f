"""What self-critical training minimises: rewards of whole captions turned into gradients of words.

A caption is drawn from the model, a metric gives it a reward, and the log-probability of its words
is pushed up or down. Every objective returns `(total, count)`, two scalars: the sum that is
minimised and the number it has to be divided by. Sums of several batches and processes are added
first and divided once, so the size of a batch never changes the meaning of a step.

`reinforce` and `ppo` weigh every word by the advantage of its caption and count words, `<end>`
included. The others compare the captions of one picture with each other:

| objective | term of a picture; s mean log-probability a word, c cost = -reward, * the best one |
|---|---|
| sequence_nll | -log softmax(s) of * |
| risk | sum of softmax(p) x c, p the probability of a caption; costs scaled to 0..1 |
| max_margin | largest relu(c - c* - s* + s), halved |
| multi_margin | mean of relu(c - c* - s* + s) |
| softmax_margin | -log softmax(s + c) of *; costs scaled to 0..1 |
| best_of_n | -log p of the words of *, divided by the words of all captions |

Source: R. Luo's ImageCaptioning.pytorch, whose `structure` losses and PPO these are; after
S. Edunov et al., "Classical Structured Prediction Losses for Sequence to Sequence Learning", NAACL
2018, arXiv:1711.04956, figure 1, equations 3 to 7.
Departures from the paper, all of them Luo's: `risk` is a softmax over probabilities, not over their
logarithms (so nearly uniform: a bad caption costs only where it was probable); `max_margin` takes
the largest violation, not the caption with the best score, and half of it; `multi_margin` is a
mean, not a sum. Departures from Luo's code: margins use log-probabilities, as with his
`struc_use_logsoftmax` (a decoder here gives nothing else for a caption); captions of equal cost
scale to 0, not to 0/0; entropy and diversity may be added to the reward by the caller.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vocabulary import END_IDX, PAD_IDX

SMALLEST_SPREAD = 1e-6  # added to a standard deviation before dividing by it


def word_mask(tokens: Tensor) -> Tensor:
    """The words of each caption that count: everything up to its first `<end>`, which counts too.

    Args:
        tokens (Tensor): (N, T) ids without `<start>`; a caption that was cut has no `<end>`.

    Returns:
        Tensor: (N, T) bool, True for words and the first `<end>`.
    """
    is_end = tokens == END_IDX
    ends_before = is_end.long().cumsum(1) - is_end.long()  # (N, T)
    return (ends_before == 0) & (tokens != PAD_IDX)


def mean_logprobs(logprobs: Tensor, mask: Tensor) -> Tensor:
    """Mean log-probability of the words of each caption, (N,) in nats; 0 for one without words.

    Times -advantage it is a caption's own loss, which `drop_worst` wants.
    """
    return _masked(logprobs, mask).sum(1) / mask.sum(1).clamp(min=1)


# Baselines and advantages


def leave_one_out(reward: Tensor, num_samples: int) -> Tensor:
    """The mean reward of the picture's other samples: unbiased, and free.

    Args:
        reward (Tensor): (N,), image-major.
        num_samples (int): captions of each picture, >= 2.

    Returns:
        Tensor: (N,) what each reward is compared to.

    Raises:
        ValueError: there is no other sample, or N is no multiple of `num_samples`.

    Source: R. Luo, "A Better Variant of Self-Critical Sequence Training", 2020, arXiv:2003.09971,
    after A. Mnih, D. Rezende, "Variational Inference for Monte Carlo Objectives", ICML 2016.
    """
    rewards = _by_picture(_upcast(reward), num_samples)  # (B, S)
    others = rewards.sum(1, keepdim=True) - rewards
    return (others / (num_samples - 1)).flatten()  # (N,)


def advantages(reward: Tensor, baseline: Tensor) -> Tensor:
    """How much better than expected each caption is.

    Args:
        reward (Tensor): (N,), image-major.
        baseline (Tensor): (N,), or (B,): one for each picture, such as the reward of its greedy
            caption (S. J. Rennie et al., "Self-Critical Sequence Training for Image Captioning",
            CVPR 2017).

    Returns:
        Tensor: (N,) reward - baseline, without gradient.

    Raises:
        ValueError: N is no multiple of the baseline's length.
    """
    if len(baseline) == 0 or len(reward) % len(baseline):
        raise ValueError(
            f"baseline: {len(baseline)} values received, {len(reward)} or one for each picture "
            "expected"
        )
    rows = _upcast(baseline).repeat_interleave(len(reward) // len(baseline))  # (N,)
    return (_upcast(reward) - rows).detach()


def normalise(advantage: Tensor, total: Tensor, squares: Tensor, count: Tensor) -> Tensor:
    """Shift and scale advantages to mean 0 and standard deviation 1 over a whole step.

    The three sums are those of all batches and processes of the step, so that every caption is
    measured with one ruler.

    Args:
        advantage (Tensor): (N,) of one batch.
        total (Tensor): scalar, the sum of all advantages of the step.
        squares (Tensor): scalar, the sum of their squares.
        count (Tensor): scalar, their number.

    Returns:
        Tensor: (N,); zero where all advantages of the step are equal.
    """
    mean = total / count
    # In single precision a spread below a thousandth of the mean would be rounding, or below zero.
    variance = (squares / count - mean.square()).maximum(1e-6 * mean.square())
    return (_upcast(advantage) - mean) / (variance.sqrt() + SMALLEST_SPREAD)


# Objectives of words


def reinforce(logprobs: Tensor, mask: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
    """REINFORCE: every word of a caption is pushed by the caption's advantage.

    Args:
        logprobs (Tensor): (N, T) log-probability of each word, with gradient.
        mask (Tensor): (N, T) bool, see `word_mask`.
        advantage (Tensor): (N,).

    Returns:
        tuple[Tensor, Tensor]: total = -sum of advantage x log-probability, count = words.

    Source: M. Ranzato et al., "Sequence Level Training with Recurrent Neural Networks", ICLR 2016
    (rewards of whole captions); Rennie et al. 2017 (the self-critical advantage).
    """
    weighted = advantage.detach().unsqueeze(1) * _masked(logprobs, mask)  # (N, T)
    return -weighted.sum(), mask.sum()


def ppo(
    logprobs: Tensor, old_logprobs: Tensor, mask: Tensor, advantage: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """Proximal policy optimisation: a word gains nothing from leaving the old model too far.

    Args:
        logprobs (Tensor): (N, T) log-probability of each word, with gradient.
        old_logprobs (Tensor): (N, T) the same under the old model.
        mask (Tensor): (N, T) bool, see `word_mask`.
        advantage (Tensor): (N,).
        clip (float): largest useful change of a word's probability ratio, > 0.

    Returns:
        tuple[Tensor, Tensor]: total = -sum of min(ratio x advantage, clipped ratio x advantage),
        count = words.

    Raises:
        ValueError: `clip` is not positive.

    Source: J. Schulman et al., "Proximal Policy Optimization Algorithms", 2017, arXiv:1707.06347,
    equation 7.
    """
    if not clip > 0:
        raise ValueError(f"clip: {clip} received, above 0 expected")
    change = _masked(logprobs, mask) - _masked(old_logprobs, mask).detach()
    ratio = change.exp()  # (N, T), 1 where nothing counts
    advantage = advantage.detach().unsqueeze(1)  # (N, 1)
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return -_masked(gain, mask).sum(), mask.sum()


# Objectives of pictures: the captions of one picture compete


def sequence_nll(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy among the captions of a picture, the best one being right.

    Args:
        logprobs (Tensor): (N, T) log-probability of each word, with gradient.
        mask (Tensor): (N, T) bool, see `word_mask`.
        reward (Tensor): (N,), image-major.
        num_samples (int): captions of each picture, >= 2.

    Returns:
        tuple[Tensor, Tensor]: total over pictures, count = pictures.

    Raises:
        ValueError: fewer than two captions a picture, or N is no multiple of `num_samples`.

    Source: Edunov et al. 2018, equation 3.
    """
    scores, costs = _scores_and_costs(logprobs, mask, reward, num_samples)
    return F.cross_entropy(scores, costs.argmin(1), reduction="sum"), _count(scores)


def risk(logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """Expected cost, weights being a softmax over the captions' probabilities, costs in 0..1.

    Arguments, returns and errors are those of `sequence_nll`.

    Source: Luo; Edunov et al. 2018, equation 4, weigh by the probabilities themselves, divided by
    their sum.
    """
    _, costs = _scores_and_costs(logprobs, mask, reward, num_samples)
    probabilities = _by_picture(_masked(logprobs, mask).sum(1).exp(), num_samples)  # (B, S)
    return (probabilities.softmax(1) * _rescale(costs)).sum(), _count(costs)


def max_margin(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Half the largest violation: the best caption should lead by the difference of the costs.

    Arguments, returns and errors are those of `sequence_nll`.

    Source: Luo; Edunov et al. 2018, equation 5, compare with the most probable caption.
    """
    violations = _violations(logprobs, mask, reward, num_samples)
    return violations.amax(1).sum() / 2, _count(violations)


def multi_margin(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Mean violation: the best caption should lead each by the difference of their costs.

    Arguments, returns and errors are those of `sequence_nll`.

    Source: Luo; Edunov et al. 2018, equation 6, take the sum.
    """
    violations = _violations(logprobs, mask, reward, num_samples)
    return violations.mean(1).sum(), _count(violations)


def softmax_margin(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """`sequence_nll` with costs (in 0..1) added to the scores: bad captions must be less probable.

    Arguments, returns and errors are those of `sequence_nll`.

    Source: Edunov et al. 2018, equation 7; K. Gimpel, N. Smith, "Softmax-Margin CRFs", NAACL 2010.
    """
    scores, costs = _scores_and_costs(logprobs, mask, reward, num_samples)
    loss = F.cross_entropy(scores + _rescale(costs), costs.argmin(1), reduction="sum")
    return loss, _count(scores)


def best_of_n(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Learn from the best caption of each picture as if it were human; equally good ones all teach.

    Arguments and errors are those of `sequence_nll`.

    Returns:
        tuple[Tensor, Tensor]: total = -sum of the best captions' log-probabilities, count = words
        of *all* captions.

    Source: Luo.
    """
    rewards = _by_picture(reward, num_samples)  # (B, S)
    is_best = (rewards == rewards.amax(1, keepdim=True)).flatten()  # (N,)
    return -_masked(logprobs, mask & is_best.unsqueeze(1)).sum(), mask.sum()


# What is added to an objective


def kl_to_start(logits: Tensor, start_logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How far the model has left the one it started from: KL(start || now) of every word.

    Args:
        logits (Tensor): (N, T, V) of the model now, with gradient.
        start_logits (Tensor): (N, T, V) of the model the run started from, for the same words.
        mask (Tensor): (N, T) bool, see `word_mask`.

    Returns:
        tuple[Tensor, Tensor]: total = sum of nats, >= 0, to be minimised; count = words.

    Source: Luo's PPO, which keeps this direction, KL(old || new).
    """
    now = _upcast(logits[mask]).log_softmax(-1)  # (words, V)
    start = _upcast(start_logits[mask]).detach().log_softmax(-1)
    probabilities = start.exp()
    # A word that is impossible at the start adds nothing, though its logarithm is -inf.
    possible = probabilities > 0
    difference = start.masked_fill(~possible, 0.0) - now.masked_fill(~possible, 0.0)
    return (probabilities * difference).sum(), mask.sum()


def entropy_bonus(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of the model's choice of every word: to be *subtracted* from what is minimised.

    Args:
        logits (Tensor): (N, T, V), with gradient.
        mask (Tensor): (N, T) bool, see `word_mask`.

    Returns:
        tuple[Tensor, Tensor]: total = sum of nats, each in 0..log V; count = words.

    Departures: Luo adds the entropy of a caption to its reward, without gradient.
    """
    logprobs = _upcast(logits[mask]).log_softmax(-1)  # (words, V)
    finite = logprobs.masked_fill(logprobs.isneginf(), 0.0)
    return -(logprobs.exp() * finite).sum(), mask.sum()


def drop_worst(losses: Tensor, rate: float) -> Tensor:
    """Which captions to keep when those with the largest loss are left out.

    Args:
        losses (Tensor): (N,).
        rate (float): share to leave out, 0 <= rate < 1.

    Returns:
        Tensor: (N,) bool, True for exactly ceil((1 - rate) x N) of them; of equal losses the first
        are kept, and NaN counts as the largest.

    Raises:
        ValueError: `rate` lies outside its range.

    Source: Luo. Departures: he rounds down, which can leave nothing.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate: {rate} received, 0 to below 1 expected")
    num_dropped = math.floor(rate * len(losses) + 1e-9)  # 0.29 x 100 is 28.999999999999996
    order = losses.argsort(stable=True)
    keep = torch.ones(len(losses), dtype=torch.bool, device=losses.device)
    keep[order[len(losses) - num_dropped :]] = False
    return keep


def _upcast(values: Tensor) -> Tensor:
    """Half precision to single: sums over words and pictures need the digits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """Zero where nothing counts, also for -inf and in the gradient, which a product is not."""
    return _upcast(values).masked_fill(~mask, 0.0)


def _by_picture(values: Tensor, num_samples: int) -> Tensor:
    """Rows (N,) as (B, S)."""
    if num_samples < 2:
        raise ValueError(f"num_samples: {num_samples} received, at least 2 expected")
    if len(values) % num_samples:
        raise ValueError(
            f"reward: {len(values)} values received, a multiple of num_samples ({num_samples}) "
            "expected"
        )
    return values.view(-1, num_samples)


def _count(by_picture: Tensor) -> Tensor:
    """The number of pictures as a scalar tensor."""
    return torch.tensor(len(by_picture), device=by_picture.device)


def _scores_and_costs(
    logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int
) -> tuple[Tensor, Tensor]:
    """Mean log-probability and cost of each caption, both (B, S)."""
    costs = -_by_picture(_upcast(reward).detach(), num_samples)
    return _by_picture(mean_logprobs(logprobs, mask), num_samples), costs


def _rescale(costs: Tensor) -> Tensor:
    """Costs (B, S) as 0 (best) to 1 (worst) of each picture; 0 where all are equal."""
    above_best = costs - costs.amin(1, keepdim=True)
    largest = above_best.amax(1, keepdim=True)
    return above_best / largest.masked_fill(largest == 0, 1.0)


def _violations(logprobs: Tensor, mask: Tensor, reward: Tensor, num_samples: int) -> Tensor:
    """By how much each caption comes too close to the best one of its picture, (B, S), >= 0."""
    scores, costs = _scores_and_costs(logprobs, mask, reward, num_samples)
    best = costs.argmin(1, keepdim=True)  # (B, 1)
    lead = scores.gather(1, best) - scores
    return F.relu(costs - costs.gather(1, best) - lead)
