"""Training from the first step to the bundle: epochs, validation, checkpoints, interruptions.

The objective (cross-entropy or a reward) is one object; everything here is the same for both. The
weights kept are those whose *freely running* captions of the validation split have the best CIDEr;
a low loss under teacher forcing does not promise good captions.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from captioning.bundle import Captioner
from captioning.config import Experiment
from captioning.evaluation.evaluate import caption_dataset
from captioning.evaluation.metrics import score_captions
from captioning.rewards.mixture import Reward
from captioning.training.checkpoint import load_checkpoint, random_state, save_checkpoint
from captioning.training.history import History
from captioning.training.looking import freeze_or_thaw
from captioning.training.output import check_output, keep_if_best, prepare_output
from captioning.training.run import Run, note_unreadable, prepare_run, validation_config
from captioning.training.self_critical import describe_signature
from captioning.training.update import TrainingError, take_step
from data_loader import Batch

NUM_KEPT = 6  # validation captions kept in the log after each epoch


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is finished before the run is saved.

    A second Ctrl-C interrupts at once. Outside the main thread nothing is changed.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)

    def handler(signum: int, frame: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handler)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def train(
    experiment: Experiment,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    on_step: Callable[[Run, dict[str, Any]], None] | None = None,
    on_epoch: Callable[[Run, dict[str, Any]], None] | None = None,
    reward: Reward | None = None,
) -> Captioner:
    """Train a captioner and write its bundle.

    Args:
        experiment (Experiment): all settings; `output` is the bundle.
        resume (bool): go on from the checkpoint in `output`.
        overwrite (bool): replace what is in `output`.
        progress (bool): bars and notes on stderr.
        on_step (Callable | None): called with the run and the row of the log after each step.
        on_epoch (Callable | None): the same after each epoch, with the validation scores; a run
            that starts from a bundle begins with one for epoch 0, the start.
        reward (Reward | None): a reward of your own, `(tokens (N, T), batch) -> (N,)`, in place of
            the one in the settings.

    Returns:
        Captioner: with the weights that the bundle holds (`training.keep`: the best or the last).

    Raises:
        FileNotFoundError, FileExistsError, ValueError: refused before anything starts.
        TrainingError: the loss became NaN or the captions collapsed; what was saved is intact.
        KeyboardInterrupt: after Ctrl-C, with the state saved; the message says how to go on.
    """
    run = prepare_run(experiment, reward)
    progress = progress and run.processes.is_main
    folder = Path(experiment.output)
    checkpoint = folder / "checkpoint" / "state.pt"
    check_output(experiment, resume, overwrite)
    run.processes.wait()
    if run.processes.is_main:
        prepare_output(experiment, overwrite)
    if resume:
        run.load_state_dict(load_checkpoint(checkpoint, torch.device("cpu")))
    log = folder / experiment.training.log_file if run.processes.is_main else None
    history = History(log, run.history_rows)
    if run.processes.is_main:
        say_what_is_trained(run, progress)
    try:
        with stop_on_interrupt() as stop, name_lost_processes(run, checkpoint):
            if experiment.init_from and not resume:
                validate_and_keep(run, history, folder, progress, on_epoch)
            while not finished(run):
                began = time.perf_counter()
                train_epoch(run, history, checkpoint, stop, progress, on_step)
                run.minutes += (time.perf_counter() - began) / 60
                validate_and_keep(run, history, folder, progress, on_epoch)
                if run.epoch % experiment.training.save_every == 0 or finished(run):
                    save(run, history, checkpoint)
    finally:
        history.close()
    run.processes.wait()
    return Captioner.load(folder, str(run.captioner.device))


def say_what_is_trained(run: Run, progress: bool) -> None:
    """Captions that cannot be learned from; the objective's signature and the GPU's name."""
    if run.loader.dataset.num_wordless:
        note(f"{run.loader.dataset.num_wordless} training captions without a word are left out")
    if progress and (signature := run.objective.signature()):
        note(describe_signature(signature))
    if progress and run.captioner.device.type == "cuda":
        note(f"training on {torch.cuda.get_device_name(run.captioner.device)}")


def validate_run(run: Run) -> dict[str, Any]:
    """Caption the validation pictures freely, each in one of the processes, and score them."""
    config = validation_config(run.experiment)
    part = (run.processes.rank, run.processes.size)
    own = caption_dataset(run.captioner, run.val_set, config, batch_size=64, part=part)
    run.captioner.train()
    captions = dict(itertools.chain.from_iterable(c.items() for c in run.processes.gather(own)))
    row: dict[str, Any] = {}
    if run.processes.is_main:  # one judge: the same scores, to the last bit, in all processes
        references = dict(zip(run.val_set.image_ids, run.val_set.texts, strict=True))
        samples = [captions[i] for i in run.val_set.image_ids[:NUM_KEPT]]
        row = score_captions(references, captions)["overall"]
        row = {**row, "different_captions": len(set(captions.values())), "samples": samples}
    return run.processes.gather(row)[0]


def validate_and_keep(
    run: Run,
    history: History,
    folder: Path,
    progress: bool,
    on_epoch: Callable[[Run, dict[str, Any]], None] | None,
) -> None:
    """Score the captioner as it is now, log it, and write the bundle when it is the best."""
    began = time.perf_counter()
    row = validate_run(run)
    run.scores.append(row["CIDEr"])
    keep_if_best(run, row, folder)
    run.minutes += (time.perf_counter() - began) / 60
    row["minutes"] = round(run.minutes, 3)
    history.add("epoch", run.step, epoch=run.epoch, best_epoch=run.best_epoch, **row)
    if progress:
        note(f"epoch {run.epoch}: CIDEr {row['CIDEr']:.3f}; {row['samples'][0]}")
    if on_epoch is not None:
        on_epoch(run, row)


def finished(run: Run) -> bool:
    """All epochs are done, or too many of them brought nothing better."""
    settings = run.experiment.training
    waited = run.epoch - run.best_epoch
    return run.epoch >= settings.num_epochs or 0 < settings.early_stopping <= waited


def train_epoch(
    run: Run,
    history: History,
    checkpoint: Path,
    stop: threading.Event,
    progress: bool,
    on_step: Callable[[Run, dict[str, Any]], None] | None = None,
) -> None:
    """The rest of the current epoch."""
    settings = run.experiment.training
    run.captioner.train()
    freeze_or_thaw(run, progress)
    title = f"epoch {run.epoch + 1}/{settings.num_epochs}"
    start = run.loader.position
    bar = tqdm(total=len(run.loader), initial=start, desc=title, unit="batch", disable=not progress)
    with bar:
        for batches in groups(run.loader, settings.accumulate, len(run.loader) - start):
            row = timed_step(run, batches)
            if row is not None:
                history.add("step", run.step, epoch=run.epoch + 1, **row)
                if on_step is not None:
                    on_step(run, row)
                if run.step % settings.print_every == 0:
                    bar.set_postfix(run.objective.postfix(row))
            bar.update(len(batches))
            stopped = compare_notes(run, batches, stop.is_set())
            if stopped or checkpoint_is_due(run):
                save(run, history, checkpoint)
            if stopped:
                raise KeyboardInterrupt(
                    f"stopped after step {run.step} of {run.total_steps}; {what_is_saved(run)}"
                )


def compare_notes(run: Run, batches: list[Batch], stop: bool) -> bool:
    """Whether any process was asked to stop; pictures that any of them could not read are named.

    Raises:
        UnreadableImageError: too many of them, in all processes together.
    """
    notes = run.processes.gather((stop, [m for batch in batches for m in batch.skipped]))
    for message in note_unreadable(run, [m for _, messages in notes for m in messages]):
        if run.processes.is_main:
            note(f"skipped {message}")
    return any(stop for stop, _ in notes)


def what_is_saved(run: Run) -> str:
    """What Ctrl-C leaves behind; see `save`."""
    if run.collapsed:
        return (
            "its captions have no variety at the moment, so the checkpoint from before, if there "
            "is one, was kept, and the same command with --resume goes on from there"
        )
    return "the state is saved, the same command with --resume goes on"


def timed_step(run: Run, batches: list[Batch]) -> dict[str, Any] | None:
    """`take_step` with words per second in its row.

    Raises:
        TrainingError: NaN, or a policy that says the same few captions over and over.
    """
    began = time.perf_counter()
    row = take_step(run, batches)
    if row is not None:
        seconds = time.perf_counter() - began
        row["words_per_second"] = round(row.pop("num_words") / seconds, 1)
        run.objective.check(run, row)
    return row


def groups(batches: Iterable[Batch], size: int, number: int) -> Iterator[list[Batch]]:
    """`number` batches in lists of `size`; the last one may be shorter.

    A list is handed out before the iterator is asked for more, or a loader would stand in the next
    epoch while the last step of this one is taken.
    """
    iterator = iter(batches)
    for start in range(0, number, size):
        yield list(itertools.islice(iterator, min(size, number - start)))
    next(iterator, None)


def checkpoint_is_due(run: Run) -> bool:
    """Each so many steps, and before the validation of an epoch that is to be saved."""
    settings, every = run.experiment.training, run.experiment.training.save_every_steps
    ends = run.loader.position == len(run.loader)
    return (every > 0 and run.step % every == 0) or (
        ends and (run.epoch + 1) % settings.save_every == 0
    )


def save(run: Run, history: History, checkpoint: Path) -> None:
    """Write the checkpoint that belongs to the rows written so far; never a collapsed one."""
    run.history_rows = history.rows
    random = run.processes.gather(random_state())
    if run.processes.is_main and not run.collapsed:
        save_checkpoint(checkpoint, run.state_dict(random))


@contextlib.contextmanager
def name_lost_processes(run: Run, checkpoint: Path) -> Iterator[None]:
    """One sentence when another process ended in the middle of an exchange.

    Raises:
        TrainingError: in place of the communication library's error.
    """
    try:
        yield
    except RuntimeError as error:
        if run.processes.size == 1:
            raise
        if not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
            raise
        kept = "--resume goes on with the last checkpoint" if checkpoint.is_file() else "none saved"
        raise TrainingError(f"another process of this run has ended ({kept})") from error


def note(message: str) -> None:
    """A line on stderr that does not break a progress bar."""
    tqdm.write(message, file=sys.stderr)
