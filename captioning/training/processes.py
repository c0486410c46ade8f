"""One process or several (`accelerate launch`): who writes, and how numbers are added up.

Each process takes its part of every batch. Gradients and counts are summed over all of them before
a step is divided and taken, so two processes do exactly what one does with batches twice as large
(up to rounding). The default, `Processes()`, is a single process and needs nothing installed.

Departures: gradients are summed in one call after the backward pass instead of by DistributedData-
Parallel, which averages per process (wrong for word means of batches of unequal length), and which
neither follows an encoder that thaws during the run nor the two networks of a captioner.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captioning.bundle import pick_device


@dataclass(frozen=True)
class Processes:
    """The processes of a run as one of them sees them.

    Args:
        rank (int): which one this is, 0 .. size - 1.
        size (int): how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Only this one writes files, shows bars and prints."""
        return self.rank == 0

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum over all processes of a tensor they all have, on every one of them."""
        if self.size == 1:
            return numbers
        from accelerate.utils import reduce

        return reduce(numbers, "sum")

    def gather(self, value: Any) -> list[Any]:
        """One value of each process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        from accelerate.utils import gather_object

        return gather_object([value])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else any(self.gather(flag))

    def wait(self) -> None:
        """Go on when all have come so far."""
        self.any(False)

    def sum_gradients(self, parameters: Sequence[Tensor], more: Tensor) -> Tensor:
        """Sum all gradients in place, and a vector with them, in one exchange.

        Args:
            parameters (Sequence[Tensor]): those that are trained; a missing gradient is zero.
            more (Tensor): (K,) further numbers.

        Returns:
            Tensor: (K,) their sums.
        """
        if self.size == 1:
            return more
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters]
        flat = self.sum(torch.cat([*(g.flatten() for g in gradients), more.to(gradients[0].dtype)]))
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return flat[start:]


def join_processes(device: str) -> tuple[Processes, torch.device]:
    """Meet the other processes of a launcher, if there are any; the device this one works on.

    Args:
        device (str): as in the settings; with several processes "auto" and "cuda" mean one CUDA
            device each.

    Raises:
        ValueError: the device is not there, or one named device is asked for by several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(), pick_device(device)
    if device.startswith("cuda:"):
        raise ValueError(
            f"device: {device!r} received with several processes, auto, cuda or cpu expected"
        )
    from accelerate import PartialState

    use_cpu = device == "cpu" or not torch.cuda.is_available()
    state = PartialState(cpu=use_cpu)
    where = torch.device("cpu") if use_cpu else state.device
    return Processes(state.process_index, state.num_processes), where


def is_main_process() -> bool:
    """Whether this process is the one that prints (also before `join_processes`)."""
    return int(os.environ.get("RANK", "0")) == 0
