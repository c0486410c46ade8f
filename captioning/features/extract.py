"""From picture files to a feature store: which pictures, through which network, and how fast.

What a CNN that is not trained any more says of a picture is always the same, so it is computed
once. `transform.fit native` shows the network every picture at its own size, one at a time, as the
published grid features were made; the others show batches of equal squares. `extract` keeps an
encoder's grid; `extract_with` keeps what any `Looker` sees (see `features/regions.py`).
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from captioning.config import EncoderConfig, Experiment, TransformConfig
from captioning.disk import in_bytes
from captioning.encoders.cnn import build_encoder
from captioning.features.looker import Found, Looker, Seen, looking, split_features
from captioning.features.numbers import naming
from captioning.features.pictures import Picture, list_data
from captioning.features.place import check_disk
from captioning.features.signature import make_signature
from captioning.features.store import file_checksum, weights_hash
from captioning.features.writer import StoreWriter, WriteOptions
from captioning.files import check_free
from data_loader import (
    NATIVE_SIDE,
    UnreadableImageError,
    eval_transform,
    ignore_interrupts,
    open_image,
    shrink,
)

MAX_UNREADABLE = 0.01  # share of the pictures
NATIVE_TRIAL = (64, 64)  # height and width of a picture that shows what comes out


@dataclass(frozen=True)
class ExtractOptions:
    """How pictures are looked at; nothing here but `precision` and `max_side` changes numbers.

    Args:
        batch_size (int): pictures at once, >= 1; `fit` native looks at one at a time.
        num_workers (int): processes that read pictures beside this one.
        precision (str): fp32, or bf16: half precision where it is safe.
        max_side (int): with `fit` native larger pictures are shrunk to this longer side in pixels,
            which bounds the memory; another one than NATIVE_SIDE fits no captioner of ours.
        shard (tuple[int, int]): (i, n): the i-th of n parts of equal size, i from 1.
        write (WriteOptions): how the store is written.
    """

    batch_size: int = 16
    num_workers: int = 0
    precision: str = "fp32"
    max_side: int = NATIVE_SIDE
    shard: tuple[int, int] = (1, 1)
    write: WriteOptions = field(default_factory=WriteOptions)


def shard_path(output: str | Path, shard: tuple[int, int]) -> Path:
    """`F.h5` and (2, 4) -> `F.2-of-4.h5`; the output itself if there is one part only."""
    path, (number, total) = Path(output), shard
    return path if total == 1 else path.with_name(f"{path.stem}.{number}-of-{total}{path.suffix}")


# ------------------------------------------------------------------------------ reading


class _Pictures(Dataset):
    """Opened and transformed pictures."""

    def __init__(self, pictures: Sequence[Picture], looker: Looker) -> None:
        self.pictures, self.transform = pictures, looker.transform
        self.max_side = looker.max_side  # not the looker: workers need no network

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> Seen:
        picture = self.pictures[place]
        try:
            image = open_image(picture.path)
            checksum = file_checksum(picture.path)
        except (UnreadableImageError, OSError) as error:
            return Seen(picture, str(error))
        shown = shrink(image, self.max_side) if self.max_side else image
        return Seen(picture, self.transform(shown), image.size, checksum)


def _batches(
    pictures: Sequence[Picture], looker: Looker, options: ExtractOptions
) -> Iterator[list[Seen]]:
    """The pictures in order, opened."""
    yield from DataLoader(
        _Pictures(pictures, looker),
        batch_size=1 if looker.one_by_one else options.batch_size,
        collate_fn=list,
        num_workers=options.num_workers,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator().manual_seed(0),  # leaves torch's own generator alone
    )


# ------------------------------------------------------------------------------ looking


def _grid_looker(
    encoder: nn.Module,
    encoder_config: EncoderConfig,
    transform: TransformConfig,
    options: ExtractOptions,
) -> Looker:
    """An encoder's grid as regions."""
    device = next(encoder.eval().parameters()).device

    def see(images: Tensor, precision: str) -> list[Found]:
        with looking(device, precision):
            return split_features(encoder(images.to(device)))

    native, side = transform.fit == "native", transform.image_size
    trial = see(torch.zeros(1, 3, *(NATIVE_TRIAL if native else (side, side))), "fp32")[0]
    num_regions, feature_dim = trial.regions.shape
    return Looker(
        lambda batch: see(torch.stack([seen.image for seen in batch]), options.precision),
        eval_transform(side, transform.resize_size, transform.fit, transform.interpolation),
        make_signature(encoder_config, transform, weights_hash(encoder)),
        feature_dim,
        (num_regions, num_regions),
        has_boxes=trial.boxes is not None,
        one_by_one=native,
        max_side=options.max_side if native else 0,
    )


def extract(
    pictures: Sequence[Picture],
    encoder: nn.Module,
    encoder_config: EncoderConfig,
    transform: TransformConfig,
    output: str | Path,
    options: ExtractOptions = ExtractOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Keep an encoder's grid of pictures, see `extract_with`.

    Args:
        pictures (Sequence[Picture]): all pictures that are meant, also those of other shards.
        encoder (nn.Module): pictures -> VisualFeatures, on its device.
        encoder_config (EncoderConfig): what it is, for the store's signature.
        transform (TransformConfig): from picture to input.
        output (str | Path): the store; see `shard_path` for a shard's.
        options (ExtractOptions): how.

    Returns:
        dict: see `extract_with`.

    Raises:
        ValueError, FileExistsError, OSError, KeyboardInterrupt: see `extract_with`; a setting does
            not fit.
    """
    if transform.fit == "native" and not encoder_config.grid:
        raise ValueError("grid: 0 received, 1 or more expected with fit native")
    check_free(shard_path(output, options.shard), options.write.overwrite)
    looker = _grid_looker(encoder, encoder_config, transform, options)
    return extract_with(looker, pictures, output, options)


def extract_with(
    looker: Looker,
    pictures: Sequence[Picture],
    output: str | Path,
    options: ExtractOptions = ExtractOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Look at pictures and keep what was seen; goes on where a killed run stopped.

    Pictures that cannot be read are left out, named in the result and remembered in the store.

    Args:
        looker (Looker): what looks at them.
        pictures (Sequence[Picture]): all pictures that are meant, also those of other shards.
        output (str | Path): the store; see `shard_path` for a shard's.
        options (ExtractOptions): how.

    Returns:
        dict: output, pictures, resumed (how many of them an earlier run had done), regions,
        feature_dim, bytes, unreadable (messages).

    Raises:
        ValueError: more than 1 % of the pictures cannot be read, or numbers that cannot be stored.
        FileExistsError: the output is there already, or a part of it that was begun differently.
        OSError: there is too little room on the disk.
        KeyboardInterrupt: after Ctrl-C, with what was done kept; the message says so.
    """
    path, part = shard_path(output, options.shard), _part(pictures, options.shard)
    check_free(path, options.write.overwrite)
    _make_room(path, looker.num_bytes(len(part), options.write.half), options)
    plan, kind = _plan(pictures, looker, options), (looker.feature_dim, looker.has_boxes)
    with StoreWriter(
        path, looker.signature, *kind, plan, options.write, looker.has_scores
    ) as writer:
        resumed = len(writer.done)
        try:
            unreadable = _fill(writer, looker, part, options)
        except KeyboardInterrupt:
            kept = f"{len(writer.done)} of {len(part)} pictures are kept in {writer.folder}"
            raise KeyboardInterrupt(f"stopped; {kept}, the same command goes on") from None
        names = {picture.image_id: picture.name for picture in part}
        writer.finish(names, plan | {"unreadable": unreadable, "versions": _versions()})
    return writer.summary() | {"resumed": resumed, "unreadable": list(unreadable.values())}


def _plan(pictures: Sequence[Picture], looker: Looker, options: ExtractOptions) -> dict[str, Any]:
    """What is going to be computed, beyond the signature."""
    text = json.dumps([(picture.image_id, picture.name) for picture in pictures])
    return {
        "pictures": hashlib.sha256(text.encode()).hexdigest()[:16],
        "num_pictures": len(pictures),
        "shard": list(options.shard),
        "precision": options.precision,
        "max_side": looker.max_side,
        **looker.plan,
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _make_room(path: Path, num_bytes: tuple[int, int], options: ExtractOptions) -> None:
    """Say how large the store will be, and refuse what cannot fit."""
    check_disk(path, num_bytes[0])
    if options.write.progress:
        text = " to ".join(in_bytes(number) for number in sorted(set(num_bytes)))
        tqdm.write(f"{path}: about {text} will be written", file=sys.stderr)


def _part(pictures: Sequence[Picture], shard: tuple[int, int]) -> Sequence[Picture]:
    """The pictures of one shard."""
    number, total = shard
    if not 1 <= number <= total:
        raise ValueError(f"shard: {number}/{total} received, 1/{total} to {total}/{total} expected")
    if len(pictures) < total:
        raise ValueError(f"shard: {total} parts received, but there are {len(pictures)} pictures")
    return pictures[len(pictures) * (number - 1) // total : len(pictures) * number // total]


def _fill(
    writer: StoreWriter, looker: Looker, pictures: Sequence[Picture], options: ExtractOptions
) -> dict[int, str]:
    """Append these pictures to a store, but for those it has; why some could not be read, by id.

    Raises:
        UnreadableImageError: more than 1 % of the store's pictures cannot be read.
    """
    unreadable: dict[int, str] = {}
    total, left = len(pictures), [p for p in pictures if p.image_id not in writer.done]
    bar = tqdm(
        total=total,
        initial=len(writer.done),
        desc="features",
        unit=" pictures",
        disable=not options.write.progress,
    )
    with bar:
        for batch in _batches(left, looker, options):
            unreadable |= {s.picture.image_id: s.image for s in batch if isinstance(s.image, str)}
            if len(unreadable) > MAX_UNREADABLE * total:
                raise UnreadableImageError(
                    f"{len(unreadable)} of {total} pictures cannot be read, at most "
                    f"{MAX_UNREADABLE:.0%} allowed; the first: {next(iter(unreadable.values()))}"
                )
            good = [seen for seen in batch if not isinstance(seen.image, str)]
            if good:
                _append(writer, good, looker.look(good))
            bar.update(len(batch))
    return unreadable


def _append(writer: StoreWriter, batch: Sequence[Seen], found: Sequence[Found]) -> None:
    """Append what was seen in a batch.

    Raises:
        ValueError: numbers that cannot be stored; the message names the picture.
    """
    for seen, one in zip(batch, found, strict=True):
        regions, boxes, scores = (None if part is None else part.numpy() for part in one)
        facts = (seen.size, seen.checksum, scores)
        with naming(seen.picture.path):
            writer.append(seen.picture.image_id, regions, boxes, *facts)


def extract_first(experiment: Experiment, output: str | Path, pictures: dict[str, int]) -> Path:
    """A new store of the first pictures of some splits, as an experiment's encoder sees them.

    Args:
        experiment (Experiment): data, encoder and transform.
        output (str | Path): the store; one that is there is replaced.
        pictures (dict[str, int]): how many of each split; 0 takes all.

    Raises:
        FileNotFoundError, ValueError, OSError: see `extract`.
    """
    chosen = []
    for split, number in pictures.items():
        chosen += list_data(experiment.data, [split])[: number or None]
    encoder = build_encoder(experiment.encoder)
    options = ExtractOptions(write=WriteOptions(overwrite=True))
    extract(chosen, encoder, experiment.encoder, experiment.transform, output, options)
    return Path(output)
