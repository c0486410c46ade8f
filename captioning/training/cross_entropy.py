"""Cross-entropy training, end to end on pictures: predict each next word of the human captions.

The weights kept are those whose *freely running* captions of the validation split have the best
CIDEr; a low loss under teacher forcing does not promise good captions.

Source: O. Vinyals et al., "Show and Tell", CVPR 2015, equation 13; label smoothing after
C. Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, section 7.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from captioning.bundle import Captioner, write_atomically
from captioning.config import Experiment, TrainingConfig
from captioning.evaluation.evaluate import caption_dataset
from captioning.evaluation.metrics import score_captions
from captioning.training.card import model_card
from captioning.training.checkpoint import load_checkpoint, save_checkpoint
from captioning.training.history import History
from captioning.training.looking import autocast, encode, freeze_or_thaw
from captioning.training.run import Run, note_unreadable, prepare_run, validation_config
from captioning.training.schedules import learning_rate_factor, sampling_probability
from data_loader import Batch
from model import DecoderOutput, doubly_stochastic_penalty
from vocabulary import PAD_IDX

BUNDLE_FILES = ("model.safetensors", "config.json", "vocabulary.json", "README.md")
NUM_SAMPLES = 6  # validation captions kept in the log after each epoch


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what is kept."""


def caption_loss(
    output: DecoderOutput,
    captions: Tensor,
    label_smoothing: float = 0.0,
    attention_penalty: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all words that count, and the loss that is minimised.

    Args:
        output (DecoderOutput): logits (N, T, V) for the inputs `captions[:, :-1]`.
        captions (Tensor): (N, T + 1) ids `<start> .. <end> <pad>`.
        label_smoothing (float): share of probability spread over all words, 0..1.
        attention_penalty (float): weight of the doubly stochastic penalty.

    Returns:
        tuple[Tensor, Tensor]: scalars: loss with smoothing and penalty, plain cross-entropy (nats
        a word; its exponential is the perplexity).
    """
    targets = captions[:, 1:]  # (N, T)
    logits = output.logits.float().flatten(0, 1)  # (N * T, V)
    loss = F.cross_entropy(
        logits, targets.flatten(), ignore_index=PAD_IDX, label_smoothing=label_smoothing
    )
    plain = loss
    if label_smoothing:
        with torch.no_grad():
            plain = F.cross_entropy(logits, targets.flatten(), ignore_index=PAD_IDX)
    if attention_penalty and output.attention_weights is not None:
        penalty = doubly_stochastic_penalty(output.attention_weights.float(), targets != PAD_IDX)
        loss = loss + attention_penalty * penalty
    return loss, plain.detach()


def train_step(run: Run, batch: Batch) -> dict[str, float]:
    """One step of the optimizer.

    Returns:
        dict[str, float]: loss (nats a word), perplexity, learning_rate, grad_norm.

    Raises:
        TrainingError: loss or gradient is NaN or infinite; no weight was changed by it.
    """
    settings: TrainingConfig = run.experiment.training
    steps = (run.step, run.total_steps)
    factor = learning_rate_factor(*steps, len(run.loader), settings)
    for group in run.optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    device = run.captioner.device
    batch = batch.to(device)
    features = encode(run.captioner, batch, settings.precision)
    with autocast(device, settings.precision):
        chance = sampling_probability(*steps, settings)
        output = run.captioner.decoder(features, batch.captions[:, :-1], chance)
    smoothing, penalty = settings.label_smoothing, settings.attention_penalty
    loss, plain = caption_loss(output, batch.captions, smoothing, penalty)
    advice = (
        f"a lower training.learning_rate (now {settings.learning_rate * factor:.2g}) or "
        "training.grad_clip usually helps; what was saved before is intact"
    )
    if not math.isfinite(loss.item()):
        raise TrainingError(f"step {run.step + 1}: the loss is {loss.item()}; {advice}")
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
    limit = settings.grad_clip or math.inf
    grad_norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    if not (run.scaler.is_enabled() or math.isfinite(grad_norm)):  # the scaler skips such a step
        raise TrainingError(f"step {run.step + 1}: the gradient is {float(grad_norm)}; {advice}")
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    return {
        "loss": plain.item(),
        "perplexity": math.exp(min(plain.item(), 50)),
        "learning_rate": settings.learning_rate * factor,
        "grad_norm": float(grad_norm) if math.isfinite(grad_norm) else None,
    }


def validate_run(run: Run) -> dict[str, Any]:
    """Caption the validation pictures freely and score them."""
    config = validation_config(run.experiment)
    captions = caption_dataset(run.captioner, run.val_set, config, batch_size=64)
    references = dict(zip(run.val_set.image_ids, run.val_set.texts, strict=True))
    scores = score_captions(references, captions)["overall"]
    samples = [captions[i] for i in run.val_set.image_ids[:NUM_SAMPLES]]
    run.captioner.train()
    return {**scores, "different_captions": len(set(captions.values())), "samples": samples}


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


def prepare_output(experiment: Experiment, resume: bool, overwrite: bool) -> Path:
    """The bundle folder, refused when it holds a model already and nothing was said about it.

    Raises:
        FileExistsError: there is a bundle or a checkpoint, and neither flag was given.
        FileNotFoundError: there is nothing to resume.
    """
    folder = Path(experiment.output)
    checkpoint = folder / "checkpoint" / "state.pt"
    if resume and overwrite:
        raise ValueError("resume and overwrite: both received, at most one expected")
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint to resume from")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder}: a file stands there, a folder for the bundle expected")
    used = [name for name in (*BUNDLE_FILES, "checkpoint/state.pt") if (folder / name).exists()]
    if used and not (resume or overwrite):
        raise FileExistsError(
            f"{folder}: holds {used[0]} already; --resume goes on with it, --overwrite starts anew"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for path in (*(folder / name for name in BUNDLE_FILES), checkpoint):
            path.unlink(missing_ok=True)
        (folder / experiment.training.log_file).unlink(missing_ok=True)
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    return checkpoint


def train(
    experiment: Experiment,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    on_step: Callable[[Run, dict[str, Any]], None] | None = None,
    on_epoch: Callable[[Run, dict[str, Any]], None] | None = None,
) -> Captioner:
    """Train a captioner and write its bundle.

    Args:
        experiment (Experiment): all settings; `output` is the bundle.
        resume (bool): go on from the checkpoint in `output`.
        overwrite (bool): replace what is in `output`.
        progress (bool): bars and notes on stderr.
        on_step (Callable | None): called with the run and the row of the log after each step.
        on_epoch (Callable | None): the same after each epoch, with the validation scores.

    Returns:
        Captioner: with the best weights, as the bundle holds them.

    Raises:
        FileNotFoundError, FileExistsError, ValueError: refused before anything starts.
        TrainingError: the loss became NaN; what was saved is intact.
        KeyboardInterrupt: after Ctrl-C, with the state saved; the message says how to go on.
    """
    run = prepare_run(experiment)
    checkpoint = prepare_output(experiment, resume, overwrite)
    if resume:
        run.load_state_dict(load_checkpoint(checkpoint, torch.device("cpu")))
    folder = Path(experiment.output)
    history = History(folder / experiment.training.log_file, run.history_rows)
    run.captioner.train()
    if run.loader.dataset.num_wordless:
        note(f"{run.loader.dataset.num_wordless} training captions without a word are left out")
    try:
        with stop_on_interrupt() as stop:
            while not finished(run):
                began = time.perf_counter()
                train_epoch(run, history, checkpoint, stop, progress, on_step)
                row = validate_run(run)
                keep_if_best(run, row, folder)
                run.minutes += (time.perf_counter() - began) / 60
                row["minutes"] = round(run.minutes, 3)
                history.add("epoch", run.step, epoch=run.epoch, best_epoch=run.best_epoch, **row)
                if progress:
                    note(f"epoch {run.epoch}: CIDEr {row['CIDEr']:.3f}; {row['samples'][0]}")
                if on_epoch is not None:
                    on_epoch(run, row)
                if run.epoch % experiment.training.save_every == 0 or finished(run):
                    save(run, history, checkpoint)
    finally:
        history.close()
    return Captioner.load(folder, str(run.captioner.device))


def finished(run: Run) -> bool:
    """All epochs are done, or too many of them brought nothing better."""
    settings = run.experiment.training
    waited = run.epoch - run.best_epoch
    return run.epoch >= settings.num_epochs or (
        0 < settings.early_stopping <= waited and run.best_epoch > 0
    )


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
    freeze_or_thaw(run, progress)
    title = f"epoch {run.epoch + 1}/{settings.num_epochs}"
    start = run.loader.position
    bar = tqdm(total=len(run.loader), initial=start, desc=title, unit="step", disable=not progress)
    with bar:
        for batch in run.loader:
            for message in note_unreadable(run, batch.skipped):
                note(f"skipped {message}")
            if len(batch):
                began = time.perf_counter()
                row = train_step(run, batch)
                words = int(batch.token_mask[:, 1:].sum())
                row["words_per_second"] = round(words / (time.perf_counter() - began), 1)
                history.add("step", run.step, epoch=run.epoch + 1, **row)
                if on_step is not None:
                    on_step(run, row)
                if run.step % settings.print_every == 0:
                    speed = f"{row['words_per_second']:.0f}"
                    bar.set_postfix({"loss": f"{row['loss']:.3f}", "words/s": speed})
            bar.update()
            if stop.is_set() or checkpoint_is_due(run):
                save(run, history, checkpoint)
            if stop.is_set():
                raise KeyboardInterrupt(
                    f"stopped after step {run.step} of {run.total_steps}; the state is saved, "
                    "the same command with --resume goes on"
                )


def checkpoint_is_due(run: Run) -> bool:
    """Each so many steps, and before the validation of an epoch that is to be saved."""
    settings, every = run.experiment.training, run.experiment.training.save_every_steps
    ends = run.loader.position == len(run.loader)
    return (every > 0 and run.step % every == 0) or (
        ends and (run.epoch + 1) % settings.save_every == 0
    )


def save(run: Run, history: History, checkpoint: Path) -> None:
    """Write the checkpoint that belongs to the rows written so far."""
    run.history_rows = history.rows
    save_checkpoint(checkpoint, run.state_dict())


def keep_if_best(run: Run, row: dict[str, Any], folder: Path) -> None:
    """Write the bundle when the validation CIDEr is the best so far."""
    if row["CIDEr"] <= run.best:
        return
    run.best, run.best_epoch = row["CIDEr"], run.epoch
    scores = {key: value for key, value in row.items() if key != "samples"}
    run.captioner.record = {
        "epoch": run.epoch,
        "step": run.step,
        "seed": run.experiment.seed,
        "validation": scores,
        "data": run.experiment.data,
    }
    run.captioner.save(folder, run.experiment.training.half_precision)
    card = model_card(run.captioner, folder.name)
    write_atomically(folder / "README.md", lambda path: path.write_text(card, "utf-8"))


def note(message: str) -> None:
    """A line on stderr that does not break a progress bar."""
    tqdm.write(message, file=sys.stderr)
