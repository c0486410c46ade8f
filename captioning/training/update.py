"""One step of the optimizer, whatever the objective: prepare, divide, backward, sum, clip, step.

An objective first says what its loss has to be divided by (words, pictures, ...). These counts are
added up over the accumulated batches and over all processes *before* any gradient is computed, so
a step over 4 x 8 pictures, in one process or two, has the gradient of one batch of 32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from captioning.training.schedules import learning_rate_factor
from captioning.training.stages import Stages
from data_loader import Batch
from model import VisualFeatures

if TYPE_CHECKING:
    from captioning.rewards.frequency import NgramFrequency
    from captioning.training.run import Run

Sums = dict[str, Tensor]  # name -> scalar


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what is kept."""


@dataclass
class Prepared:
    """A batch with all that is needed of it before the gradient.

    Args:
        batch (Batch): on the device.
        sums (dict[str, Tensor]): scalars to be added up over batches and processes.
        features (VisualFeatures | None): the encoder's output, where it is kept.
        values (dict[str, Any]): what the objective wants to find again.
    """

    batch: Batch
    sums: Sums
    features: VisualFeatures | None = None
    values: dict[str, Any] | None = None


class Objective(Protocol):
    """What is minimised."""

    counted: tuple[str, ...]  # names of `Prepared.sums`; "pictures" and "words" are among them
    logged: tuple[str, ...]  # names of the sums that `loss` gives; "loss" is one of them
    frequency: NgramFrequency | None  # the table behind the reward, kept in the bundle

    def prepare(self, run: Run, batch: Batch, stages: Stages, keep: bool) -> Prepared:
        """Everything before the gradient; `keep`: the only batch of this step."""
        ...

    def loss(self, run: Run, prepared: Prepared, totals: Sums) -> tuple[Tensor, Sums]:
        """The batch's share of the loss (scalar), given the counts of the whole step."""
        ...

    def row(self, totals: dict[str, float]) -> dict[str, float]:
        """What the log says of a step."""
        ...

    def check(self, run: Run, row: dict[str, Any]) -> None:
        """Raise `TrainingError` when going on makes no sense."""
        ...

    def postfix(self, row: dict[str, Any]) -> dict[str, str]:
        """What the progress bar says of a step."""
        ...

    def signature(self) -> dict[str, Any] | None:
        """What a bundle remembers of a reward; None without one."""
        ...


def take_step(run: Run, batches: Sequence[Batch]) -> dict[str, Any] | None:
    """One step of the optimizer over one or more batches.

    Returns:
        dict | None: the row of the log: what the objective says, learning_rate, grad_norm,
        num_words (learned from in this step) and ms_... of the stages; None when no process had
        a picture.

    Raises:
        TrainingError: loss or gradient is NaN or infinite; no weight was changed by it.
    """
    objective, device = run.objective, run.captioner.device
    factor = set_learning_rates(run)
    stages = Stages(device)
    keep = len(batches) == 1
    parts = [objective.prepare(run, b.to(device), stages, keep) for b in batches if len(b)]
    totals = add_up([part.sums for part in parts], objective.counted, device)
    totals = run.processes.sum(totals)
    known = dict(zip(objective.counted, totals, strict=True))
    if len(parts) < len(batches) and not known["pictures"]:
        return None
    run.optimizer.zero_grad(set_to_none=True)
    logged = []
    with stages("update"):
        for part in parts:
            loss, sums = objective.loss(run, part, known)
            run.scaler.scale(loss).backward()
            logged.append({name: value.detach() for name, value in sums.items()})
        parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
        more = add_up(logged, objective.logged, device)
        trained = [p for p in parameters if p.requires_grad]
        more = run.processes.sum_gradients(trained, more)
        numbers = dict(zip(objective.counted, totals.tolist(), strict=True))
        numbers |= dict(zip(objective.logged, more.tolist(), strict=True))
        grad_norm = finish_step(run, parameters, numbers["loss"], factor)
        if run.processes.size > 1:
            run.processes.average(moving_means(run))
    row = objective.row(numbers)
    row |= {"learning_rate": run.experiment.training.learning_rate * factor}
    row["grad_norm"] = grad_norm if math.isfinite(grad_norm) else None
    return row | {"num_words": int(numbers["words"])} | stages.read()


def moving_means(run: Run) -> list[Tensor]:
    """What the batch norms that learn remember of the pictures they saw."""
    norms = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
    modules = [m for m in run.captioner.networks().modules() if isinstance(m, norms) and m.training]
    pairs = [(m.running_mean, m.running_var) for m in modules if m.running_mean is not None]
    return [tensor for pair in pairs for tensor in pair]


def set_learning_rates(run: Run) -> float:
    """Put the learning rates of this step into the optimizer; returns their common factor."""
    settings = run.experiment.training
    place = (run.step, run.total_steps, run.steps_per_epoch)
    factor = learning_rate_factor(*place, settings, run.scores)
    for group in run.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return factor


def add_up(parts: Sequence[Sums], names: Sequence[str], device: torch.device) -> Tensor:
    """(len(names),) the sums over some batches; zeros when there is none."""
    rows = [torch.stack([part[name].float() for name in names]) for part in parts]
    return torch.stack(rows).sum(0) if rows else torch.zeros(len(names), device=device)


def finish_step(run: Run, parameters: list[Tensor], loss: float, factor: float) -> float:
    """Check the loss, clip the gradient, change the weights; the gradient's norm.

    Raises:
        TrainingError: see `take_step`.
    """
    settings = run.experiment.training
    advice = (
        f"a lower training.learning_rate (now {settings.learning_rate * factor:.2g}) or "
        "training.grad_clip usually helps; what was saved before is intact"
    )
    if not math.isfinite(loss):
        raise TrainingError(f"step {run.step + 1}: the loss is {loss}; {advice}")
    run.scaler.unscale_(run.optimizer)
    by_value = settings.grad_clip_by == "value"
    limit = math.inf if by_value else settings.grad_clip or math.inf
    grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))  # the norm before it
    if by_value and settings.grad_clip:
        torch.nn.utils.clip_grad_value_(parameters, settings.grad_clip)
    if not (run.scaler.is_enabled() or math.isfinite(grad_norm)):  # the scaler skips such a step
        raise TrainingError(f"step {run.step + 1}: the gradient is {grad_norm}; {advice}")
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    return grad_norm
