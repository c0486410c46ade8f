"""A run that was killed or interrupted ends with the same weights as one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import quiet, small_experiment, tiny_flags
from safetensors.torch import load_file

from captioning.config import Experiment
from captioning.training.checkpoint import load_checkpoint, save_checkpoint
from captioning.training.history import read_history
from captioning.training.loop import train
from data_loader import CaptionDataset, CaptionLoader, eval_transform

ROOT = Path(__file__).parent.parent
SLOW_RUN = """
import sys, time, torch
from test_resume import RUNS
from captioning.training.loop import train
torch.set_num_threads(1)
experiment = RUNS[sys.argv[3]](sys.argv[1], sys.argv[2])
experiment.loader.num_workers = int(sys.argv[4])
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


def rewarded(data: str, output: str) -> Experiment:
    """Self-critical training, three epochs of six steps; it starts from the bundle `start`."""
    settings = {"num_epochs": 3, "save_every_steps": 2, "objective": "reinforce"}
    experiment = small_experiment(Path(data), Path(output), **settings)
    experiment.loader.batch_size = 4
    experiment.init_from = str(Path(output).parent / "start")
    return experiment


def rewarded_with_more(data: str, output: str) -> Experiment:
    """A greedy baseline, dropout in the draws, human captions, a pull to the start; three batches
    a step and four steps an epoch, the last of one batch only.
    """
    experiment = rewarded(data, output)
    experiment.training.accumulate = 3
    experiment.loader.batch_size, experiment.loader.max_pictures = 2, 20
    experiment.self_critical.baseline, experiment.self_critical.dropout = "greedy", True
    experiment.self_critical.cross_entropy_weight = 0.2
    experiment.self_critical.kl_weight = 0.1
    return experiment


RUNS = {"cross-entropy": longer, "rewarded": rewarded, "rewarded with more": rewarded_with_more}


def speaking_bundle(data: Path, output: Path) -> Path:
    """A captioner that says something right, for training on a reward."""
    settings = {"num_epochs": 12, "learning_rate": 0.03, "early_stopping": 3}
    experiment = small_experiment(data, output, **settings)
    experiment.loader.batch_size, experiment.loader.cache_views = 4, 1
    train(experiment, progress=False)
    return output


@pytest.fixture(scope="module")
def start_bundle(tiny_data, tmp_path_factory) -> Path:
    """It, for the runs here."""
    return speaking_bundle(tiny_data, tmp_path_factory.mktemp("begin") / "start")


@pytest.fixture(scope="module")
def undisturbed(tiny_data, start_bundle, tmp_path_factory) -> Callable[[str], Path]:
    """The bundle of a run of some kind that nobody disturbed, made when it is wanted first."""
    outputs: dict[str, Path] = {}

    def find(kind: str) -> Path:
        if kind not in outputs:
            folder = tmp_path_factory.mktemp("whole")
            (folder / "start").symlink_to(start_bundle)
            train(RUNS[kind](str(tiny_data), str(folder / "model")), progress=False)
            outputs[kind] = folder / "model"
        return outputs[kind]

    return find


@pytest.fixture
def output(start_bundle, tmp_path) -> Path:
    """Where a disturbed run writes; the start of runs on a reward lies beside it."""
    (tmp_path / "start").symlink_to(start_bundle)
    return tmp_path / "model"


def start(arguments: list[str]) -> subprocess.Popen:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
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
    for one, other in zip(states[0]["random"], states[1]["random"], strict=True):
        assert torch.equal(one["cpu"], other["cpu"])
    assert states[0]["loader"] == states[1]["loader"]
    for state in states:
        assert state["progress"].pop("minutes") > 0  # the only thing a clock decides
    assert states[0]["progress"] == states[1]["progress"]
    weights = [load_file(p / "model.safetensors") for p in (output, expected)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    rows = [read_history(p / "history.jsonl") for p in (output, expected)]
    for some in rows:
        for row in some:
            clocks = ("words_per_second", "minutes", *(name for name in row if "ms_" in name))
            for clock in clocks:
                row.pop(clock, None)
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("kind", "workers", "step"),
    [
        ("cross-entropy", 0, 17),
        ("cross-entropy", 2, 17),
        ("rewarded", 0, 9),
        ("rewarded with more", 2, 7),
    ],
)
def test_killed_in_the_middle_of_an_epoch(tiny_data, output, undisturbed, kind, workers, step):
    process = start(["-c", SLOW_RUN, str(tiny_data), str(output), kind, str(workers)])
    try:
        wait_for_steps(process, output / "history.jsonl", step)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    state = load_checkpoint(output / "checkpoint" / "state.pt", "cpu")
    assert state["loader"]["epoch"] == 1 and state["loader"]["position"] > 0  # mid-epoch
    experiment = RUNS[kind](str(tiny_data), str(output))
    experiment.loader.num_workers = workers
    train(experiment, resume=True, progress=False)
    assert_same_run(output, undisturbed(kind))


@pytest.mark.parametrize(
    ("kind", "step", "steps"),
    [
        *(("cross-entropy", step, 36) for step in (1, 12, 17, 36)),
        ("rewarded", 9, 18),
        *(("rewarded with more", step, 12) for step in (4, 6)),
    ],
)
def test_interrupted_runs_save_and_go_on(tiny_data, output, undisturbed, kind, step, steps):
    """Ctrl-C at the first step, at the end of an epoch, in the middle of one, at the very end."""
    experiment = RUNS[kind](str(tiny_data), str(output))

    def interrupt(run, row):
        if run.step == step:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    message = rf"stopped after step {step} of {steps}; the state is saved.*--resume goes on"
    with pytest.raises(KeyboardInterrupt, match=message):
        train(experiment, progress=False, on_step=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    train(experiment, resume=True, progress=False)
    assert_same_run(output, undisturbed(kind))


def test_the_last_step_of_an_epoch_belongs_to_it(undisturbed):
    """Also when it has fewer batches than the others."""
    rows = [row for row in read_history(undisturbed("rewarded with more") / "history.jsonl")]
    order = [(row["kind"], row["epoch"]) for row in rows]
    epochs = [[("step", epoch)] * 4 + [("epoch", epoch)] for epoch in (1, 2, 3)]
    assert order == [("epoch", 0), *sum(epochs, [])]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cider_weight", 2.0, "self_critical.cider_weight: 2.0 received, but the run to resume"),
        ("baseline", "greedy", "self_critical.baseline: 'greedy' received, but the run to resume"),
        ("count_end", False, "self_critical.count_end: False received, but the run to resume had"),
    ],
)
def test_another_reward_is_refused(undisturbed, tiny_data, name, value, message):
    folder = undisturbed("rewarded")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    experiment = rewarded(str(tiny_data), str(folder))
    setattr(experiment.self_critical, name, value)
    with pytest.raises(ValueError) as caught:
        train(experiment, resume=True, progress=False)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_reward_of_ones_own_in_place_of_the_saved_one_is_refused(undisturbed, tiny_data):
    experiment = rewarded(str(tiny_data), str(undisturbed("rewarded")))
    message = r"^reward: '.*short_ones.*' received, but the run to resume had '.*CIDEr-D.*'$"

    def short_ones(tokens, batch):
        return -(tokens > 0).sum(1).float()

    with pytest.raises(ValueError, match=message):
        train(experiment, resume=True, progress=False, reward=short_ones)


def test_other_captions_of_the_same_name_are_refused(tiny_experiment, tiny_data, tmp_path):
    """The same words, pictures and settings: only what is said of which picture differs."""
    file, state = tmp_path / "said.json", tmp_path / "model" / "checkpoint" / "state.pt"
    record = json.loads((tiny_data / "annotations" / "captions_train.json").read_text("utf-8"))
    file.write_text(json.dumps(record))
    tiny_experiment.train_captions, tiny_experiment.training.num_epochs = str(file), 1
    quiet(tiny_experiment)
    quiet(tiny_experiment, resume=True)
    first, *_, last = record["annotations"]
    first["caption"], last["caption"] = last["caption"], first["caption"]
    file.write_text(json.dumps(record))
    before = state.read_bytes()
    message = "^captions: '[0-9a-f]{16}' received, but the run to resume had '[0-9a-f]{16}'$"
    with pytest.raises(ValueError, match=message):
        quiet(tiny_experiment, resume=True)
    assert state.read_bytes() == before

    older = load_checkpoint(state, "cpu")
    del older["captions"]
    save_checkpoint(state, older)
    quiet(tiny_experiment, resume=True)


def test_ctrl_c_without_variety_says_that_the_checkpoint_from_before_is_kept(tiny_data, output):
    experiment = rewarded(str(tiny_data), str(output))

    def interrupt(run, row):
        if run.step == 8:
            run.collapsed = 1
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="step 8 .* no variety .* from before.* was kept"):
        train(experiment, progress=False, on_step=interrupt)
    state = load_checkpoint(output / "checkpoint" / "state.pt", "cpu")
    assert state["progress"]["step"] == 6


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


def test_a_finished_run_that_is_resumed_stays_as_it_is(undisturbed, tiny_data):
    folder = undisturbed("cross-entropy")
    before = (folder / "model.safetensors").read_bytes()
    train(longer(str(tiny_data), str(folder)), resume=True, progress=False)
    assert (folder / "model.safetensors").read_bytes() == before


class AskWorkers(CaptionDataset):
    """Says, in place of a picture, what a worker does with Ctrl-C."""

    def __getitem__(self, item):
        return item, signal.getsignal(signal.SIGINT).name


def test_workers_leave_ctrl_c_to_the_process_that_reads_from_them(tiny_data, tiny_vocabulary):
    dataset = AskWorkers(tiny_data, "train", tiny_vocabulary, eval_transform(32))
    batch = next(iter(CaptionLoader(dataset, 24, num_workers=1)))
    assert batch.skipped == ["SIG_IGN"] * 24


def test_ctrl_c_on_the_command_line(tiny_data, tmp_path):
    """As a terminal sends it: to the workers that read pictures as well."""
    output = tmp_path / "model"
    often = {"loader.batch_size": 2, "loader.num_workers": 2}
    long = {"training.num_epochs": 1000, "training.save_every": 1000}
    arguments = tiny_flags(data=tiny_data, output=output, **often, **long)
    process = start(["-m", "captioning", "train", *arguments])
    try:
        wait_for_steps(process, output / "history.jsonl", 2)
        os.killpg(process.pid, signal.SIGINT)
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
