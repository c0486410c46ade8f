"""Learning rate and sampling probability as functions of the step: nothing to save or lose.

Only schedule plateau needs more than the step: the validation scores so far, which the run keeps.

Source: half-cosine of I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, equation 5, no restarts;
A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 5.3, equation 3 (noam);
the linear ramp of S. Bengio et al., "Scheduled Sampling", NeurIPS 2015, section 2.4.

Departures: `learning_rate` is the peak of noam, so that it means the same in every schedule; the
paper's scale is in `noam_factor`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from captioning.config import TrainingConfig


def check_schedule(config: TrainingConfig, total_steps: int) -> None:
    """Refuse a warm-up that the run never leaves.

    Raises:
        ValueError: `warmup_steps` is not below the steps of the run.
    """
    if config.warmup_steps >= total_steps:
        raise ValueError(
            f"training.warmup_steps: {config.warmup_steps} received, fewer than the "
            f"{total_steps} steps of this run expected"
        )


def learning_rate_factor(
    step: int,
    total_steps: int,
    steps_per_epoch: int,
    config: TrainingConfig,
    scores: Sequence[float] = (),
) -> float:
    """What the learning rates are multiplied by at a step: rise, then the schedule.

    Args:
        step (int): steps made so far, 0, 1, ...
        total_steps (int): steps of the whole run.
        steps_per_epoch (int): steps of an epoch.
        config (TrainingConfig): the schedule's settings.
        scores (Sequence[float]): CIDEr of each validation so far (schedule plateau).

    Returns:
        float: 0 .. 1.
    """
    if config.schedule == "noam":
        return noam_factor(step, config.warmup_steps)
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        epochs = step // steps_per_epoch - config.decay_from
        return config.decay_rate ** max(0, epochs // config.decay_every)
    if config.schedule == "plateau":
        return plateau_factor(scores, config.patience, config.decay_rate)
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    done = min(1.0, done)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def noam_factor(step: int, warmup_steps: int) -> float:
    """Rises linearly to 1 at the end of the warm-up, then falls with the inverse root of the step.

    The paper multiplies by `s * d^-0.5 * min(t^-0.5, t * w^-1.5)` with t = 1, 2, ..., w steps of
    warm-up, d the model's size and a scale s of 1. That is this factor times a peak of
    `s * d^-0.5 * w^-0.5`: 3.125e-4 for d = 512 and w = 20,000; 4.42e-4 for w = 10,000.

    Args:
        step (int): steps made so far, t - 1.
        warmup_steps (int): w, at least 1.

    Source: A. Vaswani et al. 2017, section 5.3, equation 3.
    """
    t = step + 1
    return min(t / warmup_steps, math.sqrt(warmup_steps / t))


def plateau_factor(scores: Sequence[float], patience: int, rate: float) -> float:
    """`rate` once for each time that the scores stopped rising.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` with mode max, threshold 0 and cooldown 0:
    `patience` scores in a row without a new best one are borne, the next one reduces, and the
    count begins again.

    Args:
        scores (Sequence[float]): in the order of the validations; NaN is never a new best one.
        patience (int): see above.
        rate (float): factor of a reduction.
    """
    best, waited, reductions = -math.inf, 0, 0
    for score in scores:
        best, waited = (score, 0) if score > best else (best, waited + 1)
        if waited > patience:
            reductions, waited = reductions + 1, 0
    return rate**reductions


def sampling_probability(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Chance that a word comes from the decoder itself: rises evenly from 0 to the setting."""
    return config.scheduled_sampling * step / max(1, total_steps - 1)
