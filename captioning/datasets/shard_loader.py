"""Batches from tar shards: streamed, shuffled, split over processes and workers, resumable.

A *reader* is one worker of one process. Each epoch the shards are shuffled and dealt out to the
readers; a reader streams through its shards and draws the next picture from a buffer, so pictures
come in random order though the files are read from front to back. Everything follows from (seed,
epoch, reader): a run that stops in the middle of an epoch goes on with the very next batch, given
the same number of processes and workers.

Processes may have unequal numbers of pictures; those that are through hand out empty batches until
the last one is, because a step of training is taken together.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from captioning.datasets.shards import Shard, read_shard
from data_loader import (
    Batch,
    CaptionDataset,
    Item,
    draw_captions,
    ignore_interrupts,
    mix_seeds,
)


class ShardReader(IterableDataset):
    """The rest of an epoch, batch by batch, as one process's workers read it.

    Args:
        loader (ShardLoader): whose settings these are, as they are now.
    """

    def __init__(self, loader: ShardLoader) -> None:
        self.dataset, self.batch_size = loader.dataset, loader.batch_size
        self.captions_per_image, self.buffer = loader.captions_per_image, loader.shuffle_buffer
        self.chance = (loader.seed, loader.epoch)
        self.shards = loader.shards_of_readers()
        self.skip, self.first = loader.batches_done()
        self.places = {image_id: i for i, image_id in enumerate(loader.dataset.image_ids)}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number = 0 if worker is None else (worker.id + self.first) % len(self.shards)
        items: list[tuple[Item, Any]] = []
        skip = self.skip[number] * self.batch_size
        for position, sample in enumerate(self.shuffled(number)):
            if position < skip:
                continue
            items.append(self.open(*sample))
            if len(items) == self.batch_size:
                yield self.dataset.collate(items)
                items = []
        if items:
            yield self.dataset.collate(items)

    def shuffled(self, number: int) -> Iterator[tuple[int, str, bytes]]:
        """This reader's pictures, each drawn from a buffer of those that come next."""
        rng = random.Random(mix_seeds(*self.chance, number, "buffer"))
        buffer: list[tuple[int, str, bytes]] = []
        for shard in self.shards[number]:
            for sample in read_shard(shard):
                if sample[0] not in self.places:
                    raise ValueError(
                        f"{shard.path}: picture {sample[0]} is not in the annotations of split "
                        f"{self.dataset.split!r}"
                    )
                buffer.append(sample)
                if len(buffer) > self.buffer:
                    yield draw(buffer, rng)
        while buffer:
            yield draw(buffer, rng)

    def open(self, image_id: int, name: str, content: bytes) -> tuple[Item, Any]:
        """The transformed picture with some of its captions chosen."""
        place = self.places[image_id]
        rng = random.Random(mix_seeds(*self.chance, place, "captions"))
        there = len(self.dataset.captions[place])
        item = Item(place, draw_captions(there, self.captions_per_image, rng), self.chance[1])
        return item, self.dataset.open(item, io.BytesIO(content), name)


def draw(buffer: list, rng: random.Random) -> Any:
    """Take one of a list out, at random; the last one fills its place."""
    place = rng.randrange(len(buffer))
    buffer[place], buffer[-1] = buffer[-1], buffer[place]
    return buffer.pop()


class ShardLoader:
    """Batches of a data set in shards; offers what `data_loader.CaptionLoader` offers.

    Args:
        dataset (CaptionDataset): captions, transforms; its pictures are in the shards.
        shards (list[Shard]): see `captioning.datasets.shards.read_index`.
        batch_size (int): pictures a batch of one process, >= 1.
        captions_per_image (int): S, captions of a picture in one batch, >= 1.
        num_workers (int): processes that read; 0 reads in this one.
        seed (int): of the order and of the captions drawn.
        part (tuple[int, int]): (k, n): the k-th of n processes.
        shuffle_buffer (int): pictures in memory to draw the next one from, >= 1.

    Raises:
        ValueError: fewer shards than readers, or other numbers of pictures than the annotations.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        shards: list[Shard],
        batch_size: int = 32,
        captions_per_image: int = 5,
        num_workers: int = 0,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
        shuffle_buffer: int = 1000,
    ) -> None:
        self.dataset, self.shards, self.batch_size = dataset, shards, batch_size
        self.captions_per_image, self.num_workers, self.seed = captions_per_image, num_workers, seed
        self.part, self.shuffle_buffer, self.epoch, self.position = part, shuffle_buffer, 0, 0
        self.workers, self._lengths = max(1, num_workers), {}
        names = [(shard.path.name, shard.pictures) for shard in shards]
        self.contents = hashlib.sha256(repr(names).encode()).hexdigest()[:16]
        if len(shards) < part[1] * self.workers:
            raise ValueError(
                f"{len(shards)} shards for {part[1]} processes x {self.workers} workers; at least "
                "one for each expected: write smaller shards or use fewer workers"
            )
        total, expected = sum(s.pictures for s in shards), sum(map(bool, dataset.captions))
        if total != expected or not total:
            raise ValueError(
                f"split {dataset.split!r}: {total} pictures in the shards, {expected} pictures "
                "with captions in the annotations"
            )

    def shards_of_readers(
        self, rank: int | None = None, epoch: int | None = None
    ) -> list[list[Shard]]:
        """For each worker of a process its shards of an epoch, in order; None: this, now."""
        rank = self.part[0] if rank is None else rank
        epoch = self.epoch if epoch is None else epoch
        order, (_, processes) = list(self.shards), self.part
        random.Random(mix_seeds(self.seed, epoch, "shards")).shuffle(order)
        readers = processes * self.workers  # neighbours go to different processes
        return [order[rank + worker * processes :: readers] for worker in range(self.workers)]

    def batches_of_readers(self, rank: int | None = None, epoch: int | None = None) -> list[int]:
        """How many batches each worker of a process hands out in an epoch."""
        numbers = [sum(s.pictures for s in some) for some in self.shards_of_readers(rank, epoch)]
        return [-(-number // self.batch_size) for number in numbers]

    def batches_done(self) -> tuple[list[int], int]:
        """How many batches of the current epoch came from each worker, and whose turn it is.

        Workers take turns; one that is through is passed over.
        """
        left, done = self.batches_of_readers(), [0] * self.workers
        turns = itertools.cycle(range(self.workers))
        worker = next(turns)
        for _ in range(self.position if any(left) else 0):
            while any(left) and not left[worker]:
                worker = next(turns)
            if any(left):
                left[worker], done[worker] = left[worker] - 1, done[worker] + 1
                worker = next(turns)
        return done, worker

    def batches_in(self, epoch: int) -> int:
        """Batches of a whole epoch: of the process that has most. Epochs differ a little."""
        if epoch not in self._lengths:
            numbers = (self.batches_of_readers(rank, epoch) for rank in range(self.part[1]))
            self._lengths[epoch] = max(map(sum, numbers))
        return self._lengths[epoch]

    def __len__(self) -> int:
        """Batches of the current epoch."""
        return self.batches_in(self.epoch)

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch; afterwards the loader stands at the start of the next."""
        number = len(self)
        batches = DataLoader(
            ShardReader(self),
            batch_size=None,
            num_workers=self.num_workers,
            worker_init_fn=ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),
        )
        for batch in batches:
            self.position += 1
            yield batch
        while self.position < number:  # the other processes are not through
            self.position += 1
            yield self.dataset.collate([])
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, how many readers there are, and which shards."""
        readers = {"workers": self.workers, "processes": self.part[1], "shards": self.contents}
        return {"epoch": self.epoch, "position": self.position, **readers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position given by `state_dict`.

        Raises:
            ValueError: another number of readers, who would read in another order; other shards.
        """
        if state.get("shards") != self.contents:
            raise ValueError(
                f"split {self.dataset.split!r}: other shards than those of the run to resume"
            )
        if state.get("workers") != self.workers:
            raise ValueError(
                f"loader.num_workers: {self.workers} received, but the run to resume read its "
                f"shards with {state.get('workers')}"
            )
        self.epoch, self.position = state["epoch"], state["position"]
