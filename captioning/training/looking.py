"""Looking at pictures while training: half precision, freezing, and views that are remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from captioning.bundle import Captioner, visual_input
from data_loader import Batch, CaptionDataset, Item
from model import VisualFeatures

if TYPE_CHECKING:
    from captioning.training.run import Run


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Half precision for the operations that stand it; nothing for fp32."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def encode(captioner: Captioner, batch: Batch, precision: str) -> VisualFeatures:
    """Features of a batch: those it brings, or what the encoder sees now, in single precision."""
    with autocast(captioner.device, precision):
        features = captioner.look(visual_input(batch))
    return VisualFeatures(features.regions.float(), features.region_mask, features.boxes)


def freeze_or_thaw(run: Run, progress: bool = True) -> None:
    """Train the encoder from its epoch on; until then its features may be remembered."""
    settings, dataset = run.experiment, run.loader.dataset
    waiting = run.epoch < settings.encoder.trainable_from_epoch
    trainable = "none" if waiting else settings.encoder.trainable
    run.captioner.encoder.set_trainable(trainable)
    if trainable != "none":
        dataset.views = []
    elif settings.loader.cache_views:
        cache_views(run, progress)


@torch.no_grad()
def cache_views(run: Run, progress: bool) -> None:
    """Compute the features of the random views of all training pictures that are due, once.

    The order and the batches are always the same, so a resumed run sees identical numbers.
    """
    dataset, wanted = run.loader.dataset, run.experiment.loader.cache_views

    def look(batch: Batch) -> Tensor:
        batch = batch.to(run.captioner.device)
        return encode(run.captioner, batch, run.experiment.training.precision).regions

    while len(dataset.views) < min(run.epoch + 1, wanted):
        views, dataset.views = dataset.views, []  # read pictures, not features
        dataset.views = [*views, see_view(dataset, look, len(views), progress)]


@torch.no_grad()
def see_view(
    dataset: CaptionDataset, look: Callable[[Batch], Tensor], number: int, progress: bool = False
) -> Tensor:
    """The features of one view of every picture of a data set.

    Args:
        dataset (CaptionDataset): which pictures; those that cannot be read are noted in
            `dataset.unreadable`.
        look (Callable): a batch of B pictures -> features (B, P, F).
        number (int): which random view, 0, 1, ...
        progress (bool): show a bar on stderr.

    Returns:
        Tensor: (pictures, P, F) in half precision; zeros for an unreadable picture.
    """
    starts = range(0, len(dataset), 32)
    rows: list[Tensor | None] = []
    for start in tqdm(starts, desc=f"view {number + 1}", leave=False, disable=not progress):
        images = range(start, min(start + 32, len(dataset)))
        read = [dataset[Item(image, (), number)] for image in images]
        dataset.unreadable |= {item.image: why for item, why in read if isinstance(why, str)}
        batch = dataset.collate(read)
        seen = iter(look(batch).half().cpu() if len(batch) else ())  # (P, F) each
        rows += [None if image in dataset.unreadable else next(seen) for image in images]
    blank = torch.zeros_like(next((row for row in rows if row is not None), torch.zeros(1, 1)))
    return torch.stack([blank if row is None else row for row in rows])
