"""Where the time of a training step goes, stage by stage, on the CPU and on CUDA."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class Stages:
    """Milliseconds of the named stages of a step; a stage that runs twice is added up.

    On CUDA the host only puts work into a queue, so events in that queue are read, once, at the
    end: measuring does not hold anything up.

    Args:
        device (torch.device): where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spans: list[tuple[str, float, float]] = []

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what happens inside, under a name."""
        start = self._now()
        yield
        self._spans.append((name, start, self._now()))

    def _now(self):
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read(self) -> dict[str, float]:
        """`ms_NAME` of every stage since the last call; on CUDA this waits for the device."""
        if self._cuda:
            torch.cuda.synchronize()
        times: dict[str, float] = {}
        for name, start, end in self._spans:
            ms = start.elapsed_time(end) if self._cuda else (end - start) * 1000
            times[f"ms_{name}"] = round(times.get(f"ms_{name}", 0.0) + ms, 3)
        self._spans = []
        return times
