"""What a teacher says of the pictures of a split, written down as captions to learn from.

A student that learns from the captions of a trained captioner, in place of those of people, finds
them easier: the teacher says the same of the same things, in the same order. All beams of a search
are kept, they take the place of the several captions that people wrote of a picture.

Whatever ends a run (Ctrl-C, kill -9, a full disk), the same call goes on behind the last whole
batch, and the file is the one that a run without a break writes, byte for byte.

Sources: Y. Kim, A. Rush, "Sequence-Level Knowledge Distillation", EMNLP 2016, arXiv:1606.07947 (the
student learns what the teacher's beam search says); Y. Zhou et al., "Semi-Autoregressive
Transformer for Image Captioning", ICCV Workshops 2021, arXiv:2106.09436 (on captions; its code
keeps all five beams).

Departures: an empty caption, the second of two equal captions of a picture, and one that a text
cannot hold (with `<unk>`) are left out and counted; the file is in COCO's format.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from captioning.bundle import Caption, Captioner, visual_input
from captioning.config import GenerationConfig
from captioning.evaluation.distilled import (
    LEFT_OUT,
    Entry,
    append,
    caption_set,
    nothing_is_lost,
    open_partial,
    partial_path,
    pictures_hash,
    summarize,
    write_captions,
)
from captioning.evaluation.evaluate import load_split
from captioning.features.store import weights_hash
from captioning.files import check_free
from data_loader import Batch, CaptionDataset, ignore_interrupts, mix_seeds
from vocabulary import tokenize


@dataclass(frozen=True)
class DistillOptions:
    """How captions are collected.

    Args:
        teacher (str): what the captioner is called in the file, usually its folder.
        features (str | Path): a feature store in place of the pictures, see `load_split`.
        part (tuple[int, int]): (k, n): every n-th picture from the k-th on, k from 1; see
            `join_parts`.
        batch_size (int): pictures at once; it decides the last digits of a probability.
        num_workers (int): processes that read pictures.
        max_pictures (int): only the first so many; 0 takes all.
        keep_repeated (bool): keep equal captions of a picture (samples then count as often as they
            were drawn).
        overwrite (bool): replace an existing file, and work that was begun differently.
        progress (bool): show a bar on stderr.
    """

    teacher: str = ""
    features: str | Path = ""
    part: tuple[int, int] = (1, 1)
    batch_size: int = 32
    num_workers: int = 0
    max_pictures: int = 0
    keep_repeated: bool = False
    overwrite: bool = False
    progress: bool = False


def distill_config(captioner: Captioner, **overrides: Any) -> GenerationConfig:
    """The teacher's search: its own defaults, but all beams are kept, and samples are repeatable.

    Args:
        captioner (Captioner): the teacher.
        **overrides: settings of `GenerationConfig`; `num_samples` is the number of beams unless it
            is given (1 for greedy search), `seed` is 0. With a `beam_size` but no `method`, a
            teacher that is greedy or draws samples by itself searches with beams.

    Raises:
        ValueError: a setting is unknown, out of range, or at odds with another one.
    """
    own = asdict(captioner.experiment.generation)
    if "beam_size" in overrides and own["method"] in ("greedy", "sample"):
        overrides.setdefault("method", "beam")
    known = own | {"num_samples": None} | overrides
    if known["num_samples"] is None:
        overrides["num_samples"] = 1 if known["method"] == "greedy" else known["beam_size"]
    if known["method"] == "sample" and known["seed"] is None:
        overrides["seed"] = 0
    return captioner.generation_config(**overrides)


def distill(
    captioner: Captioner,
    data: str | Path,
    split: str,
    output: str | Path,
    config: GenerationConfig,
    options: DistillOptions = DistillOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Write the teacher's captions of a split as a COCO caption file; goes on with a broken run.

    Args:
        captioner (Captioner): the teacher.
        data (str | Path): data-set folder; human captions are not needed.
        split (str): which split.
        output (str | Path): the file; `train --train_captions FILE` learns from it. Its `info` says
            what made it, each annotation has a `logprob` (natural log) and a `score`.
        config (GenerationConfig): how captions are searched for, see `distill_config`.
        options (DistillOptions): the rest.

    Returns:
        dict: what `summarize` gives, `seconds` and how many pictures were `resumed`.

    Raises:
        FileNotFoundError, ValueError: data, a store or a setting; no picture could be captioned.
        FileExistsError: the file is there already, or its beginning was made differently.
        OSError, KeyboardInterrupt: a full disk, Ctrl-C; the message says what is kept.
    """
    began, partial = time.perf_counter(), partial_path(output)
    _check_options(config, options)
    check_free(output, options.overwrite)
    dataset = load_split(captioner, data, split, options.features)
    places = _places(dataset, options)
    record = _record(captioner, dataset, data, split, config, options)
    begun = (partial, record, [dataset.image_ids[place] for place in places], options.overwrite)
    with open_partial(*begun) as growing, nothing_is_lost(partial):
        file, record, entries = growing
        resumed = len(entries)
        show = {"desc": "captioning", "unit": "picture", "disable": not options.progress}
        with tqdm(total=len(places), initial=resumed, **show) as bar:
            for more in _say(captioner, dataset, places[resumed:], config, options):
                append(file, partial, more)
                entries += more
                bar.update(len(more))
        pictures = [
            {"id": dataset.image_ids[place], "file_name": dataset.file_names[place]}
            for place in places
        ]
        captions = caption_set(record, pictures, entries)
        write_captions(output, captions)
    partial.unlink(missing_ok=True)
    seconds = round(time.perf_counter() - began, 3)
    return summarize(captions, output) | {"seconds": seconds, "resumed": resumed}


# ----------------------------------------------------------------------- what is to be done


def _check_options(config: GenerationConfig, options: DistillOptions) -> None:
    number, total = options.part
    if not 1 <= number <= total:
        raise ValueError(f"part: {number}/{total} received, 1/{total} to {total}/{total} expected")
    for name, least in (("batch_size", 1), ("num_workers", 0), ("max_pictures", 0)):
        if (found := getattr(options, name)) < least:
            raise ValueError(f"{name}: {found} received, {least} or more expected")
    if config.method == "sample" and config.seed is None:
        raise ValueError(
            "seed: none received, a number expected: a run that goes on draws what it would have "
            "drawn without a break"
        )


def _places(dataset: CaptionDataset, options: DistillOptions) -> range:
    """The pictures of this part by their position in the split."""
    number, total = options.part
    places = range(min(options.max_pictures or len(dataset), len(dataset)))
    if len(places) < total:
        raise ValueError(f"part: {total} parts received, but there are {len(places)} pictures")
    return places[number - 1 :: total]


def _record(
    captioner: Captioner,
    dataset: CaptionDataset,
    data: str | Path,
    split: str,
    config: GenerationConfig,
    options: DistillOptions,
) -> dict[str, Any]:
    """What makes the captions: the `info` of the file, but for the counts."""
    names = list(zip(dataset.image_ids, dataset.file_names, strict=True))
    store, settings = dataset.features, [part.experiment for part in captioner.parts()]
    return {
        "description": "captions said by a teacher, to be learned from (distillation)",
        "teacher": options.teacher,
        "weights_hash": weights_hash(captioner.networks()),
        # One for each member of an ensemble; the same weights can say K words at once.
        "decoder": [asdict(one.decoder) for one in settings],
        "transform": [asdict(one.transform) for one in settings],
        "vocabulary_hash": captioner.vocabulary.content_hash,
        "data": str(data),
        "split": split,
        "pictures_hash": pictures_hash(names[: options.max_pictures or None]),
        "features": str(options.features),
        "features_signature": None if store is None else store.signature,
        "generation": asdict(config),
        "batch_size": options.batch_size,
        "keep_repeated": options.keep_repeated,
        "part": list(options.part),
    }


# ----------------------------------------------------------------------------- captioning


def _say(
    captioner: Captioner,
    dataset: CaptionDataset,
    places: range,
    config: GenerationConfig,
    options: DistillOptions,
) -> Iterator[list[Entry]]:
    """What the teacher says of some pictures of a split, batch after batch."""
    batches = DataLoader(
        Subset(dataset, places),
        options.batch_size,
        collate_fn=dataset.collate,
        num_workers=options.num_workers,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator().manual_seed(0),  # leaves torch's own generator alone
    )
    starts = range(0, len(places), options.batch_size)
    for start, batch in zip(starts, batches, strict=True):
        ids = [dataset.image_ids[p] for p in places[start : start + options.batch_size]]
        said = _say_batch(captioner, batch, config, options.keep_repeated)
        reasons = iter(batch.skipped)  # in the order of the pictures that are missing
        yield [said[i] if i in said else {"image_id": i, "unreadable": next(reasons)} for i in ids]


def _say_batch(
    captioner: Captioner, batch: Batch, config: GenerationConfig, keep_repeated: bool
) -> dict[int, Entry]:
    """By image id, what the teacher says of the pictures of a batch."""
    if not len(batch):
        return {}
    if config.seed is not None:  # draws of its own for each batch, also after a break
        config = replace(config, seed=mix_seeds(config.seed, batch.image_ids[0]))
    result, _ = captioner.generate(visual_input(batch.to(captioner.device)), config)
    captions, each = captioner.to_captions(result), config.num_samples
    rows = (captions[n : n + each] for n in range(0, len(captions), each))
    return {
        image_id: {"image_id": image_id} | choose(some, keep_repeated)
        for image_id, some in zip(batch.image_ids, rows, strict=True)
    }


def choose(captions: Iterable[Caption], keep_repeated: bool = False) -> dict[str, Any]:
    """The captions of a picture that can be learned from, and how many others there are.

    Args:
        captions (Iterable[Caption]): best first.
        keep_repeated (bool): an equal caption is no reason to leave one out.

    Returns:
        dict: `captions` (dicts of `caption`, `logprob`, `score`), `empty` (also: fewer were found
        than asked for), `repeated`, `unwritable` (its words do not survive being written and read).
    """
    kept: list[dict[str, Any]] = []
    left_out = dict.fromkeys(LEFT_OUT, 0)
    for one in captions:
        if not one.words or one.score == -math.inf:
            left_out["empty"] += 1
        elif (text := text_of(one)) is None:
            left_out["unwritable"] += 1
        elif not keep_repeated and text in [other["caption"] for other in kept]:
            left_out["repeated"] += 1
        else:
            numbers = {"logprob": round(one.logprob, 6), "score": round(one.score, 6)}
            kept.append({"caption": text} | numbers)
    return {"captions": kept} | left_out


def text_of(caption: Caption) -> str | None:
    """A text that is read as the same words: the sentence, else the words with spaces, else none.

    A clitic at an odd place ("a 's dog") is read correctly only where it stands alone.
    """
    texts = (caption.text, " ".join(caption.words))
    return next((text for text in texts if tokenize(text) == caption.words), None)
