"""A run that was killed or interrupted ends with the same weights as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import small_experiment
from safetensors.torch import load_file

from captioning.config import Experiment
from captioning.training.checkpoint import load_checkpoint
from captioning.training.history import read_history
from captioning.training.loop import train

ROOT = Path(__file__).parent.parent
STEPS_PER_EPOCH = 12
SLOW_RUN = """
import sys, time, torch
from conftest import small_experiment
from test_resume import longer
from captioning.training.loop import train
torch.set_num_threads(1)
experiment = longer(sys.argv[1], sys.argv[2])
experiment.loader.num_workers = int(sys.argv[3])
train(experiment, progress=False, on_step=lambda run, row: time.sleep(0.05))
"""


def longer(data: str, output: str) -> Experiment:
    """Three epochs of twelve steps, with everything that must be saved: dropout, warm-up, a
    thawed encoder with its batch norms, scheduled sampling, remembered views at the start.
    """
    settings = {"num_epochs": 3, "save_every_steps": 5, "warmup_steps": 3}
    experiment = small_experiment(Path(data), Path(output), **settings, scheduled_sampling=0.3)
    experiment.loader.batch_size = 2
    experiment.encoder.trainable = "layer1"
    experiment.encoder.trainable_from_epoch = 1
    experiment.encoder.freeze_batch_norm = False
    experiment.loader.cache_views = 1
    return experiment


@pytest.fixture(scope="module")
def uninterrupted(tiny_data, tmp_path_factory) -> Path:
    """The bundle of a run nobody disturbed."""
    output = tmp_path_factory.mktemp("whole") / "model"
    train(longer(str(tiny_data), str(output)), progress=False)
    return output


def start(arguments: list[str]) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_steps(process: subprocess.Popen, history: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = read_history(history) if history.exists() else []
        if sum(row["kind"] == "step" for row in rows) >= number:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    raise AssertionError(f"no {number} steps within two minutes")


def assert_same_run(output: Path, expected: Path) -> None:
    states = [load_checkpoint(p / "checkpoint" / "state.pt", "cpu") for p in (output, expected)]
    for name, value in states[1]["networks"].items():
        assert torch.equal(states[0]["networks"][name], value), name
    assert torch.equal(states[0]["random"]["cpu"], states[1]["random"]["cpu"])
    assert states[0]["loader"] == states[1]["loader"]
    for state in states:
        assert state["progress"].pop("minutes") > 0  # the only thing a clock decides
    assert states[0]["progress"] == states[1]["progress"]
    weights = [load_file(p / "model.safetensors") for p in (output, expected)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    rows = [read_history(p / "history.jsonl") for p in (output, expected)]
    for some in rows:
        for row in some:
            for clock in ("words_per_second", "minutes"):
                row.pop(clock, None)
    assert rows[0] == rows[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_of_an_epoch(tiny_data, tmp_path, uninterrupted, workers):
    output = tmp_path / "model"
    process = start(["-c", SLOW_RUN, str(tiny_data), str(output), str(workers)])
    try:
        wait_for_steps(process, output / "history.jsonl", 17)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    state = load_checkpoint(output / "checkpoint" / "state.pt", "cpu")
    assert state["loader"]["epoch"] == 1 and state["loader"]["position"] > 0  # mid-epoch
    experiment = longer(str(tiny_data), str(output))
    experiment.loader.num_workers = workers
    train(experiment, resume=True, progress=False)
    assert_same_run(output, uninterrupted)


@pytest.mark.parametrize("step", [1, 12, 17, 36])
def test_interrupted_runs_save_and_go_on(tiny_data, tmp_path, uninterrupted, step):
    """Ctrl-C at the first step, at the end of an epoch, in the middle of one, at the very end."""
    output = tmp_path / "model"
    experiment = longer(str(tiny_data), str(output))

    def interrupt(run, row):
        if run.step == step:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    message = rf"stopped after step {step} of 36; the state is saved.*--resume goes on"
    with pytest.raises(KeyboardInterrupt, match=message):
        train(experiment, progress=False, on_step=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    train(experiment, resume=True, progress=False)
    assert_same_run(output, uninterrupted)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_views_remembered_after_a_resume_are_those_of_the_whole_run(tiny_data, tmp_path, epoch):
    """A frozen encoder and two views: epoch 4 needs view 0 of two, not the only one there is."""
    outputs = [tmp_path / "whole", tmp_path / "broken"]
    for output in outputs:
        experiment = small_experiment(tiny_data, output, num_epochs=6, save_every_steps=1)
        experiment.loader.cache_views = 2

        def interrupt(run, row, output=output):
            if output.name == "broken" and run.step == 3 * epoch + 1:
                signal.raise_signal(signal.SIGINT)

        if output.name == "whole":
            train(experiment, progress=False)
            continue
        with pytest.raises(KeyboardInterrupt):
            train(experiment, progress=False, on_step=interrupt)
        train(experiment, resume=True, progress=False)
    assert_same_run(outputs[1], outputs[0])


def test_a_finished_run_that_is_resumed_stays_as_it_is(uninterrupted, tiny_data):
    before = (uninterrupted / "model.safetensors").read_bytes()
    train(longer(str(tiny_data), str(uninterrupted)), resume=True, progress=False)
    assert (uninterrupted / "model.safetensors").read_bytes() == before


def test_ctrl_c_on_the_command_line(tiny_data, tmp_path):
    output = tmp_path / "model"
    flags = {
        "data": tiny_data,
        "output": output,
        "device": "cpu",
        "loader.batch_size": 2,
        "transform.image_size": 32,
        "vocabulary.min_count": 2,
        "encoder.backbone": "resnet18",
        "encoder.weights": "none",
        "encoder.cut": "layer1",
        "decoder.hidden_dim": 16,
        "training.num_epochs": 1000,
        "training.save_every": 1000,
    }
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    process = start(["-m", "captioning", "train", *arguments])
    try:
        wait_for_steps(process, output / "history.jsonl", 2)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1 and printed == ""
    assert "the state is saved, the same command with --resume goes on" in errors
    assert "Traceback" not in errors
    state = load_checkpoint(output / "checkpoint" / "state.pt", "cpu")
    rows = [row for row in read_history(output / "history.jsonl") if row["kind"] == "step"]
    assert state["progress"]["step"] == len(rows)
