"""Learning rate and sampling probability as functions of the step: nothing to save or lose.

Source: half-cosine of I. Loshchilov, F. Hutter, "SGDR", ICLR 2017, equation 5, no restarts;
the linear ramp of S. Bengio et al., "Scheduled Sampling", NeurIPS 2015, section 2.4.
"""

from __future__ import annotations

import math

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
    step: int, total_steps: int, steps_per_epoch: int, config: TrainingConfig
) -> float:
    """What the learning rates are multiplied by at a step (0, 1, ...): rise, then the schedule."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        return config.decay_rate ** (step // steps_per_epoch // config.decay_every)
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    done = min(1.0, done)
    return 1 - done if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def sampling_probability(step: int, total_steps: int, config: TrainingConfig) -> float:
    """Chance that a word comes from the decoder itself: rises evenly from 0 to the setting."""
    return config.scheduled_sampling * step / max(1, total_steps - 1)
