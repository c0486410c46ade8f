"""What training a CLIP and training a grammar judge have in common: steps, and the best epoch."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captioning.clip.settings import ClipConfig
from captioning.files import check_free
from captioning.training.update import TrainingError

Row = dict[str, Any]
KINDS = ("config.json", "open_clip_config.json", "grammar.json")  # a captioner, a CLIP, a judge
GRAD_CLIP = 1.0  # norm of a step's gradient


def check_place(output: str, own: str, overwrite: bool) -> None:
    """Refuse to write over a model, and over one of another kind even when told to.

    Args:
        output (str): folder to be.
        own (str): the file that tells what kind is written there.
        overwrite (bool): replace one of the same kind.

    Raises:
        FileExistsError: the first thing that stands there.
    """
    folder = Path(output)
    for kind in KINDS:
        if kind != own and (folder / kind).exists():
            raise FileExistsError(
                f"{folder / kind}: a model of another kind stands there; another output expected"
            )
    check_free(folder / "model.safetensors", overwrite)


class Optimizer:
    """AdamW that pulls matrices only towards zero; the learning rate rises, then falls to zero.

    Its first beta goes the other way, 0.95 to 0.85 and back (torch's OneCycleLR).

    Args:
        parameters (Sequence[nn.Parameter]): what learns.
        config (ClipConfig): `learning_rate`, `weight_decay`.
        steps (int): of the whole run.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], config: ClipConfig, steps: int) -> None:
        self.parameters = list(parameters)
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1]},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        rate = config.learning_rate
        self.adam = torch.optim.AdamW(groups, rate, (0.9, 0.98), weight_decay=config.weight_decay)
        rise = torch.optim.lr_scheduler.OneCycleLR
        total = steps + 1 + (steps == 9)  # of 10 in all, the rise has none, and torch divides by it
        self.schedule = rise(self.adam, rate, total, pct_start=0.1)

    def step(self, loss: Tensor, epoch: int) -> float:
        """Make one step; returns the loss.

        Raises:
            TrainingError: it is not a number; no weight was changed by it.
        """
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"epoch {epoch + 1}: the loss is {value}; a lower learning_rate helps; what was "
                "saved before is intact"
            )
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, GRAD_CLIP)
        self.adam.step()
        self.schedule.step()
        return value


def keep_best(
    rows: Iterable[Row],
    score: Callable[[Row], float],
    save: Callable[[Row], None],
    began: float,
    progress: bool,
    on_epoch: Callable[[Row], None] | None,
) -> Row:
    """Go through the epochs of a run and save the best.

    Args:
        rows (Iterable): what the epochs yield, one after the other.
        score (Callable): what is best in a row.
        save (Callable): writes the weights as they are now, with the row.
        began (float): when the run did, of `time.perf_counter`.
        progress (bool): rows on stderr.
        on_epoch (Callable | None): takes each row.

    Returns:
        dict: the best row, with the `minutes` of the whole run.
    """
    best: Row = {}
    for row in rows:
        row["minutes"] = round((time.perf_counter() - began) / 60, 3)
        if not best or score(row) > score(best):
            best = row
            save(row)
        if progress:
            tqdm.write(json.dumps(row), file=sys.stderr)
        if on_epoch is not None:
            on_epoch(row)
    return best | {"minutes": row["minutes"]}
