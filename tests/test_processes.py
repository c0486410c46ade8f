"""Two processes do exactly what one does, write once, and survive the loss of one of them.

The processes are started by `accelerate launch` and talk over the CPU. One start answers most
questions, because starting takes longer than all the rest; see `two_processes.py`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import quiet, rows_of, write_data
from test_resume import ROOT, assert_same_run, speaking_bundle, wait_for_steps
from test_training import many_pictures
from two_processes import CASES, PICTURES, VALIDATED, one_step_of, scores_of

from captioning.bundle import Captioner
from captioning.config import Experiment
from captioning.settings import from_dict
from captioning.training.checkpoint import load_checkpoint
from captioning.training.processes import Processes, join_processes
from data_loader import CaptionDataset, CaptionLoader, eval_transform
from vocabulary import Vocabulary

PAIRS = [(0, 2), (1, 2)]
LAUNCH = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1".split()
LAUNCH += "--mixed_precision no --dynamo_backend no".split()


def launch(mode: str, folder: Path) -> subprocess.Popen:
    """Start two processes, in a process group of their own as in a terminal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = [str(ROOT / "tests" / "two_processes.py"), mode, str(folder)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, *LAUNCH, "--main_process_port", str(port), *script],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, seconds: float = 400) -> str:
    """Wait for it; what it said on stderr."""
    try:
        return process.communicate(timeout=seconds)[1]
    finally:
        process.kill()
        process.communicate()


# ---- the folder that all processes work in ----


def damage(folder: Path, batch_size: int, pictures: range, batches: range) -> None:
    """Make pictures at some places of some batches (of the first two epochs) unreadable."""
    vocabulary = Vocabulary(["red"])
    dataset = CaptionDataset(folder, "train", vocabulary, eval_transform(32))
    loader = CaptionLoader(dataset, batch_size)
    for batch in batches:
        for place in pictures:
            item = loader.batches()[batch][place]
            (folder / "images" / dataset.file_names[item.image]).write_bytes(b"")


def write_bad(folder: Path) -> None:
    """104 pictures; one of each process cannot be read."""
    many_pictures(write_data(folder), 104)
    path = folder / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    for number, image in enumerate(record["images"]):
        image["file_name"] = f"train_{number:03}.png"
        if not (folder / "images" / image["file_name"]).exists():
            (folder / "images" / image["file_name"]).hardlink_to(folder / "images" / "val_000.png")
    path.write_text(json.dumps(record))
    dataset = CaptionDataset(folder, "train", Vocabulary(["red"]), eval_transform(32))
    for part in PAIRS:
        item = CaptionLoader(dataset, 26, part=part).batches()[0][3]
        name = folder / "images" / dataset.file_names[item.image]
        name.unlink()
        name.write_bytes(b"")


def write_many(folder: Path) -> None:
    """104 pictures, one of which cannot be read, and a caption without words."""
    many_pictures(write_data(folder), 104)
    (folder / "images" / "train_023.png").write_bytes(b"")
    path = folder / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    record["annotations"].append({"id": 1, "image_id": 10_000, "caption": " . "})
    path.write_text(json.dumps(record))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets, and a captioner that says something."""
    folder = tmp_path_factory.mktemp("two")
    write_data(folder / "data")
    damage(write_data(folder / "damaged"), PICTURES, range(PICTURES // 2, PICTURES), range(1))
    damage(folder / "damaged", PICTURES, range(PICTURES), range(1, 2))
    write_many(folder / "many")
    write_bad(folder / "bad")
    speaking_bundle(folder / "data", folder / "start")
    return folder


@pytest.fixture(scope="module")
def found(place: Path) -> list[dict[str, Any]]:
    """What the two processes found out, each for itself."""
    process = launch("everything", place)
    errors = finish(process)
    assert process.returncode == 0, errors
    return [torch.load(place / f"found_{rank}.pt", weights_only=True) for rank in (0, 1)]


# ---- two processes are one ----


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("ms_")}


@pytest.mark.parametrize("case", CASES)
def test_a_step_of_two_processes_is_a_step_of_one_with_larger_batches(place, found, case):
    (changes, row), (others, other_row) = (one["steps"][case] for one in found)
    expected, expected_row = one_step_of(place, case, 1)
    if case == "no picture at all":
        assert row is None and other_row is None and expected_row is None
        assert not any(change.any() for change in [*changes.values(), *expected.values()])
        return
    assert comparable(row) == comparable(other_row)
    assert comparable(row) == pytest.approx(comparable(expected_row), rel=1e-5, abs=1e-6)
    assert any(name.startswith("encoder.") for name in expected) == ("encoder" in str(CASES[case]))
    largest = max(float(change.abs().max()) for change in expected.values())
    assert largest > 1e-4
    for name, change in expected.items():
        assert torch.equal(changes[name], others[name]), name
        assert float((changes[name] - change).abs().max()) <= 1e-5 * largest, name


def test_the_log_of_the_main_process_has_every_stage(found):
    """Also where only one of them has a picture: it is the main one."""
    for case in ("rewarded, one picture", "leave_one_out"):
        row = found[0]["steps"][case][1]
        assert {"ms_encode", "ms_sample", "ms_reward", "ms_update"} <= set(row)


@pytest.mark.parametrize("number", VALIDATED)
def test_every_validation_picture_is_captioned_once(place, found, number):
    expected = scores_of(place, number)
    assert found[0]["scores"][number] == found[1]["scores"][number] == expected
    assert expected["CIDEr"] > 0.1 or number == 1
    assert len(expected["samples"]) == min(number or 8, 6)


def test_parts_cover_every_batch_once_and_the_first_process_is_never_idle(tiny_data):
    dataset = CaptionDataset(tiny_data, "train", Vocabulary(["red"]), eval_transform(32))
    for size in (1, 2, 3, 5):
        for batching in ("padded", "length"):
            whole = CaptionLoader(dataset, 2 * size, batching=batching).batches()
            parts = [
                CaptionLoader(dataset, 2, batching=batching, part=(rank, size)).batches()
                for rank in range(size)
            ]
            assert [sum(pieces, []) for pieces in zip(*parts, strict=True)] == whole
            assert all(parts[0]) and max(len(piece) for part in parts for piece in part) == 2


def test_one_process_needs_no_others():
    alone = Processes()
    numbers = torch.tensor([1.0, 2.0])
    assert alone.sum(numbers) is numbers and alone.gather("x") == ["x"] and alone.is_main
    alone.average([numbers])
    with alone.main_first():
        assert numbers.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("device", "number", "message"),
    [
        ("cuda:0", 8, r"device: 'cuda:0' received with several processes, auto, cuda or cpu"),
        ("auto", 1, r"'auto' received with 2 processes on this machine, which has 1 CUDA devices"),
        ("cuda", 0, r"'cuda' received with 2 processes on this machine, which has 0 CUDA devices"),
    ],
)
def test_devices_that_cannot_be_shared_are_refused(monkeypatch, device, number, message):
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    with pytest.raises(ValueError, match=message):
        join_processes(device)


def test_what_batch_norms_remember_is_the_same_everywhere(place, found):
    norms, others = (one["norms"] for one in found)
    start = Captioner.load(place / "start", "cpu").networks().state_dict()
    assert len(norms) == 10 and any(not torch.equal(norms[name], start[name]) for name in norms)
    assert all(torch.equal(value, others[name]) for name, value in norms.items())


# ---- one of them writes and speaks ----


def test_the_output_of_two_processes_is_that_of_one(place, found):
    usual = {"model.safetensors", "config.json", "vocabulary.json", "README.md", "history.jsonl"}
    names = {path.name for path in (place / "whole").iterdir()} - {"tensorboard"}
    assert names == usual | {"checkpoint", "document_frequency.safetensors"}
    assert [path.name for path in (place / "whole" / "checkpoint").iterdir()] == ["state.pt"]
    boards = place / "whole" / "tensorboard"
    assert not boards.exists() or len(list(boards.iterdir())) == 1
    assert [row["step"] for row in rows_of(place / "whole", "step")] == [*range(1, 10)]
    assert [row["epoch"] for row in rows_of(place / "whole", "step")] == [1] * 3 + [2] * 3 + [3] * 3
    assert [row["epoch"] for row in rows_of(place / "whole", "epoch")] == [0, 1, 2, 3]
    assert isinstance(Captioner.load(place / "whole", "cpu"), Captioner)
    state = load_checkpoint(place / "whole" / "checkpoint" / "state.pt", "cpu")
    random, scores = state["random"], state["progress"]["scores"]
    assert len(random) == 2 and not torch.equal(random[0]["cpu"], random[1]["cpu"])
    assert scores == [row["CIDEr"] for row in rows_of(place / "whole", "epoch")]
    assert scores == found[0]["kept"] == found[1]["kept"]


def test_the_command_line_prints_once(found):
    main, other = (one["typed"] for one in found)
    assert main["code"] == other["code"] == 0
    assert other["stdout"] == other["stderr"] == ""
    assert main["stdout"].count("best epoch") == main["stdout"].count("next:") == 1
    for note in ("1 training captions without a word", "skipped", "epoch 1: CIDEr"):
        assert main["stderr"].count(note) == 1, main["stderr"]
    assert "train_023.png: not a picture (empty file)" in main["stderr"]


def test_what_one_process_refuses_all_refuse(found):
    for one in found:
        assert one["used"].startswith("FileExistsError: ") and "--overwrite" in one["used"]
        assert one["bad"].startswith(
            "UnreadableImageError: 2 of 104 training pictures cannot be read, at most 1%"
        )


# ---- disturbed ----


def test_ctrl_c_in_one_process_stops_both_and_both_go_on(place, found):
    for one in found:
        said = "KeyboardInterrupt: stopped after step 5 of 9; the state is saved"
        assert one["interrupted"].startswith(said)
    assert_same_run(place / "broken", place / "whole")


def test_resuming_with_another_number_of_processes_is_refused(place, found):
    state = load_checkpoint(place / "whole" / "checkpoint" / "state.pt", "cpu")
    experiment = from_dict(Experiment, state["experiment"])
    experiment.data, experiment.output = str(place / "data"), str(place / "whole")
    before = (place / "whole" / "history.jsonl").read_bytes()
    experiment.init_from = str(place / "start")
    message = r"^processes: 1 received, but the run to resume had 2$"
    with pytest.raises(ValueError, match=message):
        quiet(experiment, resume=True)
    assert (place / "whole" / "history.jsonl").read_bytes() == before


def start_slow(place: Path, name: str) -> tuple[Path, subprocess.Popen]:
    """A slow run with a folder of its own; it is in the middle of its second epoch."""
    folder = place / name
    folder.mkdir()
    for other in ("data", "start"):
        (folder / other).symlink_to(place / other)
    process = launch("slow", folder)
    wait_for_steps(process, folder / "slow" / "history.jsonl", 5)
    return folder, process


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "interrupted"])
def test_disturbed_runs_end_and_go_on_bit_for_bit(place, found, how):
    """A process that is killed takes the others with it; Ctrl-C in the terminal saves first."""
    folder, process = start_slow(place, how)
    began = time.monotonic()
    if how == "killed":
        os.kill(int((folder / "pid_1").read_text()), signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGINT)
    errors = finish(process, 60)
    assert process.returncode != 0 and time.monotonic() - began < 60
    state = load_checkpoint(folder / "slow" / "checkpoint" / "state.pt", "cpu")
    assert state["progress"]["step"] >= 4 and len(state["random"]) == 2
    if how == "interrupted":
        assert errors.count("the state is saved, the same command with --resume goes on") == 2
        rows = rows_of(folder / "slow", "step")
        assert state["progress"]["step"] == len(rows) < 9
    assert Captioner.load(folder / "slow", "cpu").record["step"] <= state["progress"]["step"]
    again = launch("resume", folder)
    assert (finish(again), again.returncode)[1] == 0
    assert_same_run(folder / "slow", place / "whole")
