"""Tensors of a checkpoint, taken out by name, and put into a network of ours.

Whatever is missing, left over or of another size is named in one sentence, so that a checkpoint is
either understood to the last number or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from captioning.encoders.cnn import read_state_dict

IMPOSSIBLE = -1e4  # logit of a word the checkpoint cannot say: its probability is exactly zero
Rows = Sequence[int | None]
Linear = tuple[Tensor, Tensor]  # weight (out, in), bias (out)


class Weights:
    """The tensors of a checkpoint file; each is taken out once.

    Args:
        path (str | Path): a file of `torch.save(network.state_dict())`, also an old one, whatever
            its suffix; it is read without running code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds more than tensors (a whole network, say), or a tensor that
            is no table of finite numbers.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.left: dict[str, Tensor] = {}
        for name, value in read_state_dict(self.path).items():
            strange = value.is_meta or value.is_quantized or value.is_complex()
            if strange or not isinstance(name, str) or value.layout != torch.strided:
                raise ValueError(f"{self.path}: {name!r} is not a plain table of numbers")
            if not value.isfinite().all():
                raise ValueError(f"{self.path}: {name!r} holds NaN or infinite numbers")
            self.left[name.removeprefix("module.")] = value  # of several devices

    def __contains__(self, name: str) -> bool:
        return name in self.left

    def take(self, name: str, dims: int | None = None) -> Tensor:
        """A tensor of so many dimensions.

        Raises:
            ValueError: there is none of this name, or it has others.
        """
        if name not in self.left:
            raise ValueError(f"{self.path}: no tensor {name!r} in it")
        tensor = self.left.pop(name)
        if dims not in (None, tensor.dim()):
            found = f"has size {tuple(tensor.shape)}, {dims} dimensions expected"
            raise ValueError(f"{self.path}: {name!r} {found}")
        return tensor

    def linear(self, name: str) -> Linear:
        """Weight and bias of a layer.

        Raises:
            ValueError: one is missing, or they are not of one layer.
        """
        weight, bias = self.take(f"{name}.weight", 2), self.take(f"{name}.bias", 1)
        if len(weight) != len(bias):
            sizes = f"{len(weight)} rows and {len(bias)} biases found"
            raise ValueError(f"{self.path}: {name!r}: {sizes}, as many expected")
        return weight, bias

    def finish(self, what: str) -> None:
        """Refuse what was not asked for; counts of batches, which nothing depends on, may be left.

        Raises:
            ValueError: a tensor is left.
        """
        left = [name for name in self.left if not name.endswith("num_batches_tracked")]
        if left:
            raise ValueError(f"{self.path}: tensor {left[0]!r} has no place in {what}")


def named(name: str, linear: Linear) -> dict[str, Tensor]:
    """Weight and bias under the names of a layer."""
    return {f"{name}.weight": linear[0], f"{name}.bias": linear[1]}


def pick_rows(table: Tensor, rows: Rows, missing: float = 0.0) -> Tensor:
    """A table in another order.

    Args:
        table (Tensor): (V, ...) a row for each word.
        rows (Rows): for each new row the old one it repeats; None: `missing` throughout.
        missing (float): the numbers of such a row.

    Returns:
        Tensor: (len(rows), ...).
    """
    known = torch.tensor([row is not None for row in rows])
    picked = table[torch.tensor([row or 0 for row in rows])].clone()
    picked[~known] = missing
    return picked


def word_tables(embedding: Tensor, output: Linear, read: Rows, said: Rows) -> dict[str, Tensor]:
    """The tables of a decoder of ours that have a row for each word.

    Args:
        embedding (Tensor): (V, E) vectors of the words that are read.
        output (Linear): (V, H) and (V), scores of the words that are said.
        read (Rows): for each of our words the row of `embedding`, or None for a zero vector.
        said (Rows): for each of our words the row of `output`, or None for a word that is never
            said: its probability is zero, that of all others stays what it was.
    """
    return {
        "embedding.weight": pick_rows(embedding, read),
        "output.weight": pick_rows(output[0], said),
        "output.bias": pick_rows(output[1], said, IMPOSSIBLE),
    }


def fill(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy tensors into a network.

    Raises:
        ValueError: a name or a size differs; the message names the tensor and both sizes.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in sorted(expected | found):
        if found.get(name) != expected.get(name):
            sizes = f"{found.get(name)} found, {expected.get(name)} expected"
            raise ValueError(f"{path}: its tensors do not fit together: {name} {sizes}")
    network.load_state_dict(state)
