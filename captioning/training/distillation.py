"""Token-level distillation: a student learns a teacher's probabilities of each word as well.

Cross-entropy tells which word people wrote; the teacher tells how likely it found all the others.
Both are softened by a temperature T, which shows more of the small chances, and the divergence is
multiplied by T squared, so that its gradient keeps its size when T is changed.

Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015,
arXiv:1503.02531, section 2 (temperature, T^2); word by word after Y. Kim, A. Rush, "Sequence-Level
Knowledge Distillation", EMNLP 2016, arXiv:1606.07947.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captioning.bundle import Captioner
from captioning.config import Experiment
from captioning.features.checked import check_for
from captioning.features.store import weights_hash
from captioning.training.looking import autocast, encode
from captioning.training.objectives import kl_to_start
from data_loader import Batch, CaptionDataset
from vocabulary import PAD_IDX


@dataclass
class Teacher:
    """A captioner that is asked and never changed.

    Args:
        captioner (Captioner): in evaluation mode.
        weights_hash (str): what tells it from another one.
        temperature (float): that softens teacher and student.
        precision (str): of its networks, see `autocast`.
    """

    captioner: Captioner
    weights_hash: str
    temperature: float
    precision: str

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """(N, T, V) what it says after each word of the captions; it looks with its own eyes."""
        features = encode(self.captioner, batch, self.precision)
        with autocast(self.captioner.device, self.precision):
            return self.captioner.decoder(features, batch.captions[:, :-1]).logits

    def divergence(self, student: Tensor, batch: Batch, words: Tensor) -> Tensor:
        """The batch's share of the mean divergence; see `distillation_loss`.

        Args:
            student (Tensor): (N, T, V) its logits for the same words, with gradient.
            batch (Batch): what it was asked about.
            words (Tensor): number of words the sum is divided by.
        """
        total = distillation_loss(
            student, self.logits(batch), batch.captions[:, 1:], self.temperature
        )
        return total / words


def distillation_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, temperature: float = 1.0
) -> Tensor:
    """T^2 KL(teacher || student) of all words that count, in single precision.

    Args:
        student (Tensor): (N, T, V) logits, with gradient.
        teacher (Tensor): (N, T, V) logits; no gradient reaches it.
        targets (Tensor): (N, T) ids; `<pad>` does not count.
        temperature (float): T > 0, of both softmaxes.

    Returns:
        Tensor: scalar, a sum in nats (at T = 1), >= 0.
    """
    pair = (student.float() / temperature, teacher.float() / temperature)
    return temperature**2 * kl_to_start(*pair, targets != PAD_IDX)[0]


# ------------------------------------------------------------------------------ the teacher


def check_distillation(experiment: Experiment) -> None:
    """Refuse settings of distillation that cannot work; with weight 0 no teacher needs to exist.

    Raises:
        ValueError: the setting, what it is, what is allowed.
    """
    settings, weight = experiment.training, experiment.training.distillation_weight
    teacher = settings.distillation_teacher
    if settings.objective != "cross_entropy" and (weight or teacher):
        name, value = ("weight", f"{weight:g}") if weight else ("teacher", repr(teacher))
        raise ValueError(
            f"training.distillation_{name}: {value} received, {'0' if weight else 'none'} expected "
            f"with objective {settings.objective!r}: a reward teaches there, not a teacher's words"
        )
    if not weight:
        return
    if not teacher:
        raise ValueError(
            "training.distillation_teacher: none received, a bundle expected with "
            f"training.distillation_weight {weight:g}"
        )
    for name, value, why in (
        ("loader.cache_views", experiment.loader.cache_views, "the teacher looks by itself"),
        (
            "training.scheduled_sampling",
            settings.scheduled_sampling,
            "teacher and student must have read the same words",
        ),
    ):
        if value:
            raise ValueError(
                f"{name}: {value:g} received, 0 expected with training.distillation_weight "
                f"{weight:g}: {why}"
            )


def load_teacher(
    experiment: Experiment, student: Captioner, dataset: CaptionDataset
) -> Teacher | None:
    """The teacher of the settings, refused when it cannot teach this student; None at weight 0.

    Args:
        experiment (Experiment): all settings, see `check_distillation`.
        student (Captioner): who learns, on its device.
        dataset (CaptionDataset): what it learns from.

    Raises:
        FileNotFoundError, ValueError: no such bundle; other words, other pictures or features.
    """
    settings = experiment.training
    if not settings.distillation_weight:
        return None
    with torch.random.fork_rng(devices=[]):  # the student draws the same dropout without a teacher
        teacher = Captioner.load(settings.distillation_teacher, str(student.device))
    check_teacher(settings.distillation_teacher, teacher, experiment, student, dataset)
    networks = teacher.networks().requires_grad_(False)
    temperature = settings.distillation_temperature
    return Teacher(teacher, weights_hash(networks), temperature, settings.precision)


def check_teacher(
    name: str,
    teacher: Captioner,
    experiment: Experiment,
    student: Captioner,
    dataset: CaptionDataset,
) -> None:
    """Refuse a teacher that knows other words or cannot see what the student sees.

    Args:
        name (str): what it is called in messages.
        teacher (Captioner): who teaches.
        experiment, student, dataset: see `load_teacher`.

    Raises:
        ValueError: the first difference.
    """
    known, expected = teacher.vocabulary.content_hash, student.vocabulary.content_hash
    if known != expected:
        raise ValueError(
            f"{name}: vocabulary {known} found, {expected} of the student expected (a student that "
            "starts from the teacher, init_from, has its words)"
        )
    if dataset.features is not None:
        files = [dataset.folder / one for one in dataset.file_names]
        features = teacher.record.get("features")
        parts = (teacher.experiment, teacher.encoder, features, dataset.image_ids, files)
        try:
            check_for(dataset.features, *parts)
        except ValueError as error:
            raise ValueError(f"{error} ({name}, training.distillation_teacher)") from error
        return
    if teacher.experiment.encoder.backbone == "features":
        raise ValueError(
            f"{name}: a teacher that cannot look at pictures itself; the feature store it learned "
            "from expected (loader.features)"
        )
    for setting in ("image_size", "resize_size", "fit"):  # mirrored pictures are pictures too
        theirs = getattr(teacher.experiment.transform, setting)
        if theirs != (own := getattr(experiment.transform, setting)):
            raise ValueError(
                f"{name}: transform.{setting} {theirs!r} found, {own!r} as of the student expected "
                "(both look at the same pictures)"
            )
