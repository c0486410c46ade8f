"""Where the time of a step goes: stages are added up, and forgotten once they are read."""

from __future__ import annotations

import pytest
import torch

from captioning.training import stages as stages_module
from captioning.training.stages import Stages


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time in seconds, moved by hand."""
    now = [100.0]
    monkeypatch.setattr(stages_module.time, "perf_counter", lambda: now[0])
    return now


def test_stages_by_hand(clock):
    stages = Stages(torch.device("cpu"))
    for seconds in (0.25, 0.5):  # the same stage twice, as with accumulated batches
        with stages("sample"):
            clock[0] += seconds
        clock[0] += 7  # outside of every stage
    with stages("reward"):
        clock[0] += 0.125
    assert stages.read() == {"ms_sample": 750.0, "ms_reward": 125.0}
    assert stages.read() == {}
    with stages("sample"):
        clock[0] += 0.001
    assert stages.read() == {"ms_sample": 1.0}


def test_a_stage_that_fails_is_not_counted_and_its_error_is_passed_on(clock):
    stages = Stages(torch.device("cpu"))
    with pytest.raises(ValueError, match="no reward"), stages("reward"):
        clock[0] += 1
        raise ValueError("no reward")
    assert stages.read() == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_stages_on_cuda_count_the_work_of_the_device():
    stages = Stages(torch.device("cuda"))
    matrix = torch.randn(4096, 4096, device="cuda")
    for number in (1, 40):
        torch.cuda.synchronize()
        with stages(f"matmul_{number}"):
            for _ in range(number):
                matrix @ matrix
    times = stages.read()
    assert 0 < 4 * times["ms_matmul_1"] < times["ms_matmul_40"]
