"""One process or several (`accelerate launch`): who writes, and how numbers are added up.

Each process takes its part of every batch. Gradients and counts are summed over all of them before
a step is divided and taken, so two processes do exactly what one does with batches twice as large
(up to rounding). The default, `Processes()`, is a single process and needs nothing installed.

Departures: gradients are summed in one call after the backward pass instead of by DistributedData-
Parallel, which averages per process (wrong for word means of batches of unequal length), and which
neither follows an encoder that thaws during the run nor the two networks of a captioner. Batch
norms that learn see the pictures of their own process only; what they remember of them is averaged
after each step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
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

    def wait(self) -> None:
        """Go on when all have come so far."""
        self.gather(None)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process does what is inside, then the others do (files they need are there)."""
        if not self.is_main:
            self.wait()
        try:
            yield
        finally:  # also after an error, which the others then meet themselves
            if self.is_main:
                self.wait()

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put into each of some tensors, all of one kind, its mean over the processes."""
        if self.size == 1 or not tensors:
            return
        flat = self.sum(torch.cat([tensor.flatten() for tensor in tensors])) / self.size
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, mean in zip(tensors, flat.split(sizes), strict=True):
            tensor.copy_(mean.view_as(tensor))

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
        parts = flat.split([*(g.numel() for g in gradients), len(more)])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view_as(gradient))
        return parts[-1]


def join_processes(device: str) -> tuple[Processes, torch.device]:
    """Meet the other processes of a launcher, if there are any; the device this one works on.

    Args:
        device (str): as in the settings; with several processes "auto" and "cuda" mean one CUDA
            device each.

    Raises:
        ValueError: the device is not there, one named device is asked for by several processes, or
            they are more than the CUDA devices of this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(), pick_device(device)
    if device not in ("auto", "cuda", "cpu"):
        raise ValueError(
            f"device: {device!r} received with several processes, auto, cuda or cpu expected"
        )
    use_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    number = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not use_cpu and number > torch.cuda.device_count():
        raise ValueError(
            f"device: {device!r} received with {number} processes on this machine, which has "
            f"{torch.cuda.device_count()} CUDA devices; fewer processes or device cpu expected"
        )
    from accelerate import PartialState

    state = PartialState(cpu=use_cpu)
    where = torch.device("cpu") if use_cpu else state.device
    return Processes(state.process_index, state.num_processes), where
