"""What `test_processes.py` does in two processes, and what it does once more in one.

`accelerate launch ... two_processes.py MODE FOLDER`; the folder holds `data`, `damaged`, `many`,
`bad` (data sets) and `start` (a bundle), and gets what the processes find out.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import small_experiment, tiny_flags

from captioning.cli import main
from captioning.config import Experiment
from captioning.training.loop import train, validate_run
from captioning.training.run import Run, prepare_run
from captioning.training.update import take_step

PICTURES = 8  # in a batch of all processes together
STOP = 5  # the step after which one process is interrupted

REWARDED = {"training.objective": "reinforce"}
TWICE = {"training.accumulate": 2}
LAST_OF_NINE = {"loader.max_pictures": 9, "first_batch": 1}  # one picture: a process has none
LAST_OF_ELEVEN = {"loader.max_pictures": 11, "first_batch": 1}  # three pictures: two and one
CASES: dict[str, dict[str, Any]] = {
    "cross-entropy": {"training.label_smoothing": 0.1, "training.attention_penalty": 1.0},
    "cross-entropy, equal lengths": {"loader.batching": "length", **TWICE},
    "cross-entropy, three pictures": LAST_OF_ELEVEN | {"training.attention_penalty": 1.0},
    "cross-entropy, one picture": LAST_OF_NINE,
    "cross-entropy, two batches, one picture in the second": TWICE
    | {"loader.max_pictures": 9, "training.attention_penalty": 1.0},
    "encoder": {"encoder.trainable": "layer1"},
    "leave_one_out": REWARDED | {"self_critical.baseline": "leave_one_out"},
    "greedy": REWARDED | {"self_critical.baseline": "greedy"},
    "beam": REWARDED | {"self_critical.baseline": "beam"},
    "none": REWARDED | {"self_critical.baseline": "none"},
    "normalised": REWARDED | TWICE | {"self_critical.normalize_advantage": True},
    "everything": REWARDED
    | TWICE
    | {
        "encoder.trainable": "layer1",
        "self_critical.baseline": "greedy",
        "self_critical.bleu_weight": 1.0,
        "self_critical.diversity_weight": 0.5,
        "self_critical.cross_entropy_weight": 0.3,
        "self_critical.entropy_weight": 0.1,
        "self_critical.kl_weight": 0.1,
    },
    "ppo": {"training.objective": "ppo", "self_critical.kl_weight": 0.1},
    "risk": {"training.objective": "risk"},
    "best_of_n": {"training.objective": "best_of_n", **TWICE},
    "rewarded, three pictures": REWARDED | LAST_OF_ELEVEN,
    "rewarded, one picture": REWARDED | LAST_OF_NINE,
    "rewarded, half of the pictures unreadable": REWARDED | {"data": "damaged"},
    "no picture at all": REWARDED | {"data": "damaged", "first_batch": 1},
}
VALIDATED = (0, 7, 1)  # validation pictures: all eight, an odd number, fewer than processes

Found = tuple[dict[str, torch.Tensor], dict[str, Any] | None]  # changes of weights, row of the log


def change(experiment: Experiment, settings: dict[str, Any]) -> Experiment:
    """Put settings with dotted names into an experiment."""
    for name, value in settings.items():
        *parts, last = name.split(".")
        place = experiment
        for part in parts:
            place = getattr(place, part)
        setattr(place, last, value)
    return experiment


def one_step_of(folder: Path, case: str, processes: int) -> Found:
    """One step of plain gradient descent of size 1, without dropout, away from the start."""
    settings = dict(CASES[case])
    first = settings.pop("first_batch", 0)
    data = folder / settings.pop("data", "data")
    experiment = small_experiment(data, folder / "nowhere", optimizer="sgd", learning_rate=1.0)
    experiment.decoder.dropout = 0.0
    experiment.training.schedule, experiment.training.grad_clip = "constant", 0.0
    experiment.training.encoder_learning_rate = 1.0
    experiment.loader.batch_size = PICTURES // processes
    experiment.init_from = str(folder / "start")
    run = prepare_run(change(experiment, settings))
    run.captioner.train()
    leave_the_start(run)
    batches = list(run.loader)[first : first + experiment.training.accumulate]
    before = {name: p.detach().clone() for name, p in parameters_of(run)}
    row = take_step(run, batches)
    return {name: p.detach() - before[name] for name, p in parameters_of(run)}, row


def parameters_of(run: Run) -> list[tuple[str, torch.nn.Parameter]]:
    return [(n, p) for n, p in run.captioner.networks().named_parameters() if p.requires_grad]


def moving_means(run: Run) -> dict[str, torch.Tensor]:
    state = run.captioner.networks().state_dict()
    return {name: value.clone() for name, value in state.items() if "running" in name}


def leave_the_start(run: Run) -> None:
    """Weights a little beside the starting policy, so that ratios and KL divergence matter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in run.captioner.decoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def scores_of(folder: Path, number: int) -> dict[str, Any]:
    """What validation says of the start, on the first so many pictures."""
    experiment = small_experiment(folder / "data", folder / "nowhere", val_pictures=number)
    experiment.init_from = str(folder / "start")
    return validate_run(prepare_run(experiment))


def whole_run(folder: Path, output: str, **arguments: Any) -> None:
    """Self-critical training with everything that must be saved, also in several processes:
    dropout, accumulated batches, an encoder that thaws and whose batch norms learn, a rate that
    follows the validations.
    """
    settings = {"num_epochs": 3, "save_every_steps": 2, "objective": "reinforce", "accumulate": 2}
    settings |= {"schedule": "plateau", "patience": 1}
    experiment = small_experiment(folder / "data", folder / output, **settings)
    experiment.loader.batch_size, experiment.loader.max_pictures = 2, 18  # 3 steps, the last short
    experiment.init_from = str(folder / "start")
    experiment.self_critical.dropout = True
    experiment.self_critical.cross_entropy_weight = 0.2
    experiment.encoder.trainable, experiment.encoder.trainable_from_epoch = "layer1", 1
    experiment.encoder.freeze_batch_norm = False
    train(experiment, progress=False, **arguments)


def interrupt(run: Run, row: dict[str, Any]) -> None:
    """Ctrl-C in one process only."""
    if run.step == STOP and not run.processes.is_main:
        signal.raise_signal(signal.SIGINT)


def message_of(action: Callable[[], Any]) -> str:
    """What an action says when it ends."""
    try:
        action()
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def command_line(folder: Path) -> dict[str, Any]:
    """`train` as it is typed: its exit code, and what this process printed."""
    settings = {"loader.batch_size": 13, "training.num_epochs": 2}
    flags = tiny_flags(data=folder / "many", output=folder / "typed", **settings)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(["train", *flags])
    return {"code": code, "stdout": output.getvalue(), "stderr": errors.getvalue()}


def bad_pictures(folder: Path) -> None:
    """Two unreadable pictures of 104, in different processes: too many only together."""
    experiment = small_experiment(folder / "bad", folder / "refused")
    experiment.loader.batch_size = 26
    train(experiment, progress=False)


def everything(folder: Path) -> dict[str, Any]:
    """All that needs no disturbance from outside."""
    found: dict[str, Any] = {"steps": {case: one_step_of(folder, case, 2) for case in CASES}}
    found["scores"] = {number: scores_of(folder, number) for number in VALIDATED}
    found["norms"], found["kept"] = {}, []
    whole_run(
        folder,
        "whole",
        on_step=lambda run, row: found["norms"].update(moving_means(run)),
        on_epoch=lambda run, row: found["kept"].append(run.scores[-1]),
    )
    found["interrupted"] = message_of(lambda: whole_run(folder, "broken", on_step=interrupt))
    whole_run(folder, "broken", resume=True)
    found["used"] = message_of(lambda: whole_run(folder, "whole"))
    found["typed"] = command_line(folder)
    found["bad"] = message_of(lambda: bad_pictures(folder))
    return found


def slow_run(folder: Path) -> None:
    """A run that leaves time to be disturbed; the file `pid_RANK` says which process this is."""
    (folder / f"pid_{os.environ['RANK']}").write_text(str(os.getpid()))
    whole_run(folder, "slow", on_step=lambda run, row: time.sleep(0.2))


if __name__ == "__main__":
    torch.set_num_threads(1)
    mode, place = sys.argv[1], Path(sys.argv[2])
    if mode == "everything":
        torch.save(everything(place), place / f"found_{os.environ['RANK']}.pt")
    elif mode == "slow":
        slow_run(place)
    else:
        whole_run(place, "slow", resume=True)
