"""Everything a training run consists of, made and checked before the first step."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pycocotools.coco import COCO

from captioning.bundle import Captioner, load_weights
from captioning.config import Experiment, GenerationConfig
from captioning.datasets.shard_loader import ShardLoader
from captioning.decoding.generation import check_config
from captioning.features.checked import open_for_training
from captioning.rewards.build import check_clip_settings
from captioning.rewards.mixture import Reward
from captioning.settings import validate, walk
from captioning.training.checkpoint import restore_random_state
from captioning.training.cross_entropy import CrossEntropy
from captioning.training.data import build_datasets, build_loader, captions_hash
from captioning.training.distillation import Teacher, check_distillation, load_teacher
from captioning.training.memory import keep_freed_memory
from captioning.training.processes import Processes, join_processes
from captioning.training.schedules import check_schedule
from captioning.training.self_critical import SelfCritical, describe_signature
from captioning.training.update import Objective
from data_loader import CaptionDataset, CaptionLoader, UnreadableImageError, read_annotations
from vocabulary import Vocabulary

# Settings that may differ between a run and its continuation: they do not change the result.
FREE_ON_RESUME = {
    "device",
    "output",
    "loader.num_workers",
    "training.print_every",
    "training.save_every",
    "training.save_every_steps",
}
MAX_UNREADABLE = 0.01  # share of the training pictures


@dataclass
class Run:
    """A run in progress.

    Args:
        experiment (Experiment): its settings.
        captioner (Captioner): the networks as they are now (the best ones are in the bundle).
        optimizer (torch.optim.Optimizer): group 0 is the decoder, group 1 the encoder.
        scaler (torch.amp.GradScaler): for fp16; does nothing otherwise.
        loader (CaptionLoader | ShardLoader): training batches and the position in them.
        val_set (CaptionDataset): pictures that are captioned after each epoch.
        objective (Objective): what is minimised.
        processes (Processes): those that work on this run together.
        teacher (Teacher | None): whose probabilities are learned from as well.
        step (int): steps made.
        best (float): best validation CIDEr so far.
        best_epoch (int): the epoch (1, 2, ...) it was reached in.
        scores (list[float]): CIDEr of each validation so far; the start's, if any, is the first.
        minutes (float): time of the epochs so far, validation included.
        history_rows (int): rows of the log that belong to the state.
        collapsed (int): steps in a row in which the captions had no variety.
        unreadable (set[str]): messages about pictures that were skipped.
    """

    experiment: Experiment
    captioner: Captioner
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    loader: CaptionLoader | ShardLoader
    val_set: CaptionDataset
    objective: Objective | None = None
    processes: Processes = field(default_factory=Processes)
    teacher: Teacher | None = None
    step: int = 0
    best: float = float("-inf")
    best_epoch: int = 0
    scores: list[float] = field(default_factory=list)
    minutes: float = 0.0
    history_rows: int = 0
    collapsed: int = 0
    unreadable: set[str] = field(default_factory=set)

    @cached_property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        settings = self.experiment.training
        numbers = (self.loader.batches_in(epoch) for epoch in range(settings.num_epochs))
        return sum(math.ceil(number / settings.accumulate) for number in numbers)

    @cached_property
    def captions_hash(self) -> str:
        """What stands for the captions to learn from; tar shards hold pictures only."""
        return captions_hash(self.loader.dataset)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in one epoch, on average: those of tar shards differ a little."""
        return max(1, round(self.total_steps / self.experiment.training.num_epochs))

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return self.loader.epoch

    def state_dict(self, random: list[dict[str, Any]]) -> dict[str, Any]:
        """What a checkpoint holds; `random`: the generators' state in each process."""
        return {
            "experiment": asdict(self.experiment),
            "vocabulary": self.captioner.vocabulary.content_hash,
            "pictures": len(self.loader.dataset),
            "captions": self.captions_hash,
            "networks": self.captioner.networks().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loader": self.loader.state_dict(),
            "random": random,
            "reward": self.objective.signature(),
            "features": features_signature(self.loader.dataset),
            "teacher": self.teacher and self.teacher.weights_hash,
            "progress": {
                "step": self.step,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "scores": self.scores,
                "minutes": self.minutes,
                "history_rows": self.history_rows,
                "collapsed": self.collapsed,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: it belongs to other settings or other data; the message says which.
        """
        check_same_run(state, self)
        self.captioner.networks().load_state_dict(state["networks"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        restore_random_state(state["random"][self.processes.rank])


def flatten(record: dict, prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with dotted names."""
    flat = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def check_same_run(state: dict[str, Any], run: Run) -> None:
    """Refuse to continue a run with other settings, pictures, captions or words.

    A setting that a checkpoint is too old to know had what is its default now; captions that it
    does not know are not compared.

    Raises:
        ValueError: the first difference: its name, what was saved, what was received.
    """
    defaults, given = flatten(asdict(Experiment())), flatten(asdict(run.experiment))
    saved = defaults | flatten(state["experiment"])
    saved["pictures"], given["pictures"] = state["pictures"], len(run.loader.dataset)
    if "captions" in state:
        saved["captions"], given["captions"] = state["captions"], run.captions_hash
    saved["words"], given["words"] = state["vocabulary"], run.captioner.vocabulary.content_hash
    saved["processes"], given["processes"] = len(state["random"]), run.processes.size
    given["features"] = features_signature(run.loader.dataset)
    saved["features"] = state.get("features")
    given["teacher"] = run.teacher and run.teacher.weights_hash
    saved["teacher"] = state.get("teacher")
    for settings, signature in ((saved, state.get("reward")), (given, run.objective.signature())):
        settings["reward"] = signature and describe_signature(signature)
    for name in given:
        if name not in FREE_ON_RESUME and saved.get(name) != given[name]:
            raise ValueError(
                f"{name}: {given[name]!r} received, but the run to resume had {saved.get(name)!r}"
            )


def features_signature(dataset: CaptionDataset) -> dict[str, Any] | None:
    """What made the features that take the place of the pictures; None for pictures."""
    return None if dataset.features is None else dataset.features.signature


def seed_everything(seed: int) -> None:
    """Seed torch on all devices (the loader has seeds of its own)."""
    torch.manual_seed(seed)


def prepare_run(experiment: Experiment, reward: Reward | None = None) -> Run:
    """Read the data, build vocabulary, networks and optimizer, and refuse what cannot work.

    Args:
        experiment (Experiment): all settings.
        reward (Reward | None): a reward of one's own, in place of the settings'.

    Raises:
        FileNotFoundError, ValueError: data, weights or a setting; the message names it.
    """
    validate(experiment)
    check_names_and_phases(experiment, reward)
    check_distillation(experiment)
    experiment, store = open_for_training(experiment)
    keep_freed_memory()
    processes, device = join_processes(experiment.device)
    seed_everything(experiment.seed)
    data, split = experiment.data, experiment.loader.train_split
    train = read_annotations(data, split, experiment.train_captions)
    if not train.anns:
        file = experiment.train_captions
        where = f"{file}: the file" if file else f"{data}: split {split!r}"
        raise ValueError(f"{where} has no captions to learn from")
    captioner = _initial_captioner(experiment, train)
    try:
        check_config(experiment.generation, captioner.vocabulary)
    except ValueError as error:
        raise ValueError(f"generation.{error}") from error
    dataset, val_set = build_datasets(experiment, captioner, train, store)
    loader = build_loader(experiment, dataset, (processes.rank, processes.size))
    captioner.to(device)
    if not processes.is_main:  # equal weights from here on, but dropout of its own
        seed_everything(experiment.seed + 1_000_003 * processes.rank)
    optimizer = build_optimizer(captioner, experiment)
    half = experiment.training.precision == "fp16" and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=half)
    run = Run(experiment, captioner, optimizer, scaler, loader, val_set, processes=processes)
    check_schedule(experiment.training, run.total_steps)
    run.teacher = load_teacher(experiment, captioner, dataset)
    run.objective = make_objective(run, reward)
    return run


def make_objective(run: Run, reward: Reward | None = None) -> Objective:
    """What the settings say is to be minimised.

    Raises:
        ValueError: a reward of one's own is given, but the objective is cross-entropy.
    """
    if run.experiment.training.objective != "cross_entropy":
        return SelfCritical(run, reward)
    if reward is not None:
        raise ValueError(
            "reward: received, but training.objective is cross_entropy; reinforce, say, expected"
        )
    return CrossEntropy(run.teacher)


def check_names_and_phases(experiment: Experiment, reward: Reward | None = None) -> None:
    """Refuse a thaw that never comes, rewards without a start, noam without a warm-up, a log in
    the model's place. With a `reward` of one's own, that of the settings is not asked.

    Raises:
        ValueError: the setting, what it is, what is allowed.
    """
    encoder, settings = experiment.encoder, experiment.training
    if encoder.trainable != "none" and encoder.trainable_from_epoch >= settings.num_epochs:
        raise ValueError(
            f"encoder.trainable_from_epoch: {encoder.trainable_from_epoch} received, fewer than "
            f"the {settings.num_epochs} epochs of this run expected (or encoder.trainable none)"
        )
    if settings.objective != "cross_entropy" and not experiment.init_from:
        raise ValueError(
            f"init_from: none received, a bundle trained with cross-entropy expected for objective "
            f"{settings.objective!r}: a captioner that says nothing right yet is never rewarded"
        )
    if settings.objective != "cross_entropy" and reward is None:
        check_clip_settings(experiment.self_critical)
    if settings.schedule == "noam" and not settings.warmup_steps:
        raise ValueError(
            "training.warmup_steps: 0 received, at least 1 expected with training.schedule noam, "
            "which falls the slower the longer it rose"
        )
    if settings.schedule == "plateau" and 0 < settings.early_stopping <= settings.patience + 1:
        raise ValueError(
            f"training.early_stopping: {settings.early_stopping} received, 0 or at least "
            f"{settings.patience + 2} expected with schedule plateau: the run would end before a "
            "reduced learning rate is tried"
        )
    if settings.keep == "last" and settings.early_stopping:
        raise ValueError(
            f"training.early_stopping: {settings.early_stopping} received, 0 expected with "
            "training.keep last, which waits for no best epoch"
        )
    sizes, groups = experiment.decoder.transformer, experiment.decoder.transformer.group_size
    if sizes.hide_starts and settings.objective != "cross_entropy":
        raise ValueError(
            "decoder.transformer.hide_starts: True received, False expected with objective "
            f"{settings.objective!r}: what is drawn must be what a search would say"
        )
    if experiment.decoder.kind == "transformer" and groups > 1 and settings.scheduled_sampling:
        raise ValueError(
            f"training.scheduled_sampling: {settings.scheduled_sampling:g} received, 0 expected "
            f"with group_size {groups}: words of a group are said without knowing each other"
        )
    name = settings.log_file
    if Path(name).name != name or not name.endswith(".jsonl"):
        raise ValueError(f"training.log_file: {name!r} received, a plain name.jsonl expected")


def _initial_captioner(experiment: Experiment, train: COCO) -> Captioner:
    """A new captioner, or the one of `init_from` with its words and weights."""
    if not experiment.init_from:
        captions = [one["caption"] for one in _counted(experiment, train).anns.values()]
        vocabulary = Vocabulary.build(captions, experiment.vocabulary.min_count)
        return Captioner.build(experiment, vocabulary)
    start = Captioner.load(experiment.init_from, "cpu")
    check_same_architecture(experiment, start.experiment)
    captioner = Captioner.build(experiment, start.vocabulary, load_weights=False)
    load_weights(captioner.networks(), Path(experiment.init_from) / "model.safetensors")
    if "features" in start.record:
        captioner.record["features"] = start.record["features"]
    return captioner


def _counted(experiment: Experiment, train: COCO) -> COCO:
    """The captions whose words are counted: the training split's, where it has any."""
    # Not those of `train_captions`: a teacher says few of the words that people use, and who learns
    # from it is compared with others that have all of them.
    if experiment.train_captions:
        with contextlib.suppress(FileNotFoundError):  # pictures of which nobody wrote
            people = read_annotations(experiment.data, experiment.loader.train_split)
            return people if people.anns else train
    return train


def check_same_architecture(experiment: Experiment, start: Experiment) -> None:
    """Refuse to put the weights of one network into another one.

    Raises:
        ValueError: the first setting that differs: its name, what it is, what the bundle has.
    """
    unlike = {"weights", "trainable", "trainable_from_epoch", "freeze_batch_norm", "dropout"}
    unlike |= {"clip_model"}  # a folder that may have moved: sizes and stores tell what it is
    unlike |= {"flip", "resize_size", "transformer.dropout", "transformer.region_dropout"}
    unlike |= {"transformer.group_size", "transformer.hide_starts"}  # the weights are the same
    for part in ("encoder", "decoder", "transform"):
        theirs = dict((name, value) for name, _, value in walk(getattr(start, part)))
        for name, _, value in walk(getattr(experiment, part)):
            if name not in unlike and theirs[name] != value:
                raise ValueError(
                    f"{part}.{name}: {value!r} received, but {experiment.init_from} (init_from) "
                    f"has {theirs[name]!r}"
                )


def build_optimizer(captioner: Captioner, experiment: Experiment) -> torch.optim.Optimizer:
    """Decoder and encoder with their own learning rates; frozen weights are left out."""
    settings = experiment.training
    encoder = [p for p in captioner.encoder.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(captioner.decoder.parameters()), "base_lr": settings.learning_rate}
    ]
    if encoder:
        groups.append({"params": encoder, "base_lr": settings.encoder_learning_rate})
    for group in groups:
        group["lr"] = group["base_lr"]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    betas = {"betas": (0.9, settings.adam_beta2)}
    more = {"momentum": 0.9} if settings.optimizer == "sgd" else betas
    kind = kinds[settings.optimizer]
    return kind(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, **more)


def validation_config(experiment: Experiment) -> GenerationConfig:
    """Greedy search: fast, and free-running like every search."""
    longest = experiment.generation.max_length
    return GenerationConfig(method="greedy", max_length=longest)


def note_unreadable(run: Run, messages: list[str]) -> list[str]:
    """Remember pictures that were skipped; returns those not seen before.

    Raises:
        UnreadableImageError: more than 1 % of the training pictures cannot be read.
    """
    new = [message for message in messages if message not in run.unreadable]
    run.unreadable |= set(new)
    total = len(run.loader.dataset)
    if len(run.unreadable) > MAX_UNREADABLE * total:
        raise UnreadableImageError(
            f"{len(run.unreadable)} of {total} training pictures cannot be read, at most "
            f"{MAX_UNREADABLE:.0%} is tolerated; the last: {messages[-1]}"
        )
    return new
