"""Caption a whole split, freely running as in real use, and score it."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Subset
from tqdm import tqdm

from captioning.bundle import Caption, Captioner, visual_input
from captioning.config import GenerationConfig
from captioning.datasets.shards import index_of
from captioning.decoding.generation import Generation
from captioning.evaluation.compare import check_settings, references_hash
from captioning.evaluation.diversity import novel_share, training_captions, vocabulary_size
from captioning.evaluation.metrics import choose_metrics
from captioning.evaluation.perplexity import Loss, reference_loss
from captioning.evaluation.picture_metrics import Judges, PictureMetrics, separate
from captioning.evaluation.several import add_samples
from captioning.evaluation.split_scores import score_split
from captioning.features.checked import check_for
from captioning.features.store import FeatureStore
from data_loader import CaptionDataset, UnreadableImageError
from model import VisualFeatures
from vocabulary import PAD_IDX, SPECIAL_WORDS, UNK_IDX


def load_split(
    captioner: Captioner, data: str | Path, split: str, features: str | Path = ""
) -> CaptionDataset:
    """A split, prepared as the captioner was trained to see it, without chance.

    Args:
        captioner (Captioner): the model.
        data (str | Path): data-set folder.
        split (str): which split.
        features (str | Path): a feature store that takes the place of the pictures.

    Raises:
        FileNotFoundError, ValueError: no such split or store; a store of another encoder, or one
            that lacks pictures.
    """
    longest = captioner.experiment.vocabulary.max_length
    store = FeatureStore(features) if features else None
    arguments = (data, split, captioner.vocabulary, captioner.eval_transform(), longest)
    dataset = CaptionDataset(*arguments, features=store)
    there = store is not None or (dataset.folder / dataset.file_names[0]).is_file()
    if not there and index_of(data, split).is_file():
        raise ValueError(
            f"{data}: split {split!r} lies in tar shards, which are for training; name the data "
            "set they were written from"
        )
    if store is not None:
        files = [dataset.folder / name for name in dataset.file_names]
        for part in captioner.parts():
            known = part.record.get("features")
            check_for(store, part.experiment, part.encoder, known, dataset.image_ids, files)
    return dataset


class Said(NamedTuple):
    """What a captioner said of a batch of B pictures.

    Args:
        image_ids (list[int]): the pictures.
        captions (list[Caption]): N = B * num_samples, image-major, best first.
        lengths (list[int]): N; words with a probability, `<end>` included where there is one.
        features (VisualFeatures): what the encoder saw.
        reading (float): seconds of waiting for pictures.
        captioning (float): seconds of encoder, search and writing the words down.
    """

    image_ids: list[int]
    captions: list[Caption]
    lengths: list[int]
    features: VisualFeatures
    reading: float
    captioning: float


def caption_batches(
    captioner: Captioner,
    dataset: CaptionDataset,
    config: GenerationConfig,
    batch_size: int = 32,
    num_workers: int = 0,
    progress: bool = False,
    max_pictures: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Said]:
    """Caption the pictures of a split, batch after batch.

    Args:
        captioner (Captioner): the model.
        dataset (CaptionDataset): see `load_split`.
        config (GenerationConfig): how captions are searched for.
        batch_size (int): pictures at once.
        num_workers (int): processes that read pictures.
        progress (bool): show a bar on stderr.
        max_pictures (int): only the first so many; 0 takes all.
        part (tuple[int, int]): (k, n): every n-th picture from the k-th on, so that n processes
            caption each picture once.

    Raises:
        UnreadableImageError: a picture cannot be read; a score with pictures left out would not
            be comparable.
    """
    chosen = range(min(max_pictures or len(dataset), len(dataset)))[part[0] :: part[1]]
    loader = torch.utils.data.DataLoader(
        Subset(dataset, chosen),
        batch_size,
        collate_fn=dataset.collate,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),
    )
    with tqdm(total=len(chosen), desc="captioning", unit="picture", disable=not progress) as bar:
        began = time.perf_counter()
        for batch in loader:
            if batch.skipped:
                raise UnreadableImageError(batch.skipped[0])
            read = time.perf_counter()
            inputs = visual_input(batch.to(captioner.device))
            result, features = captioner.generate(inputs, config)
            rows = (result.tokens.cpu(), result.logprobs.cpu(), result.scores.cpu())
            captions = captioner.to_captions(Generation(*rows))
            lengths = (rows[0] != PAD_IDX).sum(dim=1).tolist()
            seconds = read - began, time.perf_counter() - read
            yield Said(batch.image_ids, captions, lengths, features, *seconds)
            bar.update(len(batch))
            began = time.perf_counter()


def caption_dataset(
    captioner: Captioner, dataset: CaptionDataset, config: GenerationConfig, **how: Any
) -> dict[int, str]:
    """The best caption of every picture of a split: image id to caption.

    Args:
        captioner, dataset, config, **how: see `caption_batches`.
    """
    captions: dict[int, str] = {}
    for said in caption_batches(captioner, dataset, config, **how):
        best = said.captions[:: config.num_samples]
        captions.update(zip(said.image_ids, (one.text for one in best), strict=True))
    return captions


@dataclass
class Answers:
    """What a captioner said of a whole split, and how long it took.

    Args:
        samples (dict): image id to its captions, best first: `caption`, `logprob` (natural log of
            its probability) and `caption_perplexity` (exp of minus the mean `logprob` of a word).
        loss (Loss): of the human captions, where it was asked for.
        reading, captioning (list[float]): seconds of each batch, see `Said`.
    """

    samples: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    loss: Loss = field(default_factory=Loss)
    reading: list[float] = field(default_factory=list)
    captioning: list[float] = field(default_factory=list)

    def add(self, said: Said) -> None:
        """Note a batch."""
        per_image = len(said.captions) // len(said.image_ids)
        rows: list[dict[str, Any]] = [{"caption": one.text} for one in said.captions]
        for row, one, length in zip(rows, said.captions, said.lengths, strict=True):
            if length:  # a search may find fewer captions than were asked for: "" stands for none
                row["logprob"] = one.logprob
                row["caption_perplexity"] = Loss(-one.logprob, length).perplexity()
        for place, image_id in enumerate(said.image_ids):
            self.samples[image_id] = rows[place * per_image : (place + 1) * per_image]
        self.reading.append(said.reading)
        self.captioning.append(said.captioning)

    def speed(self) -> dict[str, float]:
        """Pictures a second, reading apart; of single pictures also the median time of one."""
        speed = {"pictures_per_second": len(self.samples) / sum(self.captioning)}
        if len(self.captioning) == len(self.samples):
            speed["latency_ms"] = 1000 * statistics.median(self.captioning)
        return speed

    def settings(self) -> dict[str, Any]:
        """What the numbers rest on: seconds, and the words behind the perplexity."""
        seconds = {"reading": sum(self.reading), "captioning": sum(self.captioning)}
        settings: dict[str, Any] = {"seconds": seconds}
        if self.loss.words:
            words = {"words": self.loss.words, "unknown_words": self.loss.unknown}
            settings["perplexity"] = words | {"unknown_as": SPECIAL_WORDS[UNK_IDX]}
        return settings


def answer_split(
    captioner: Captioner,
    dataset: CaptionDataset,
    config: GenerationConfig,
    perplexity: bool = False,
    **how: Any,
) -> Answers:
    """All captions of every picture of a split.

    Args:
        captioner, dataset, config, **how: see `caption_batches`.
        perplexity (bool): measure the loss of the human captions too; every picture has some.
    """
    places = {image_id: place for place, image_id in enumerate(dataset.image_ids)}
    longest = captioner.experiment.vocabulary.max_length
    answers = Answers()
    for said in caption_batches(captioner, dataset, config, **how):
        answers.add(said)
        if perplexity:
            people = [dataset.texts[places[image_id]] for image_id in said.image_ids]
            references = [[dataset.vocabulary.encode(t) for t in some] for some in people]
            loss = reference_loss(captioner.decoder, said.features, references, longest)
            answers.loss = answers.loss.plus(loss)
    return answers


def evaluate(
    captioner: Captioner,
    data: str | Path,
    split: str = "test",
    metrics: Sequence[str] | None = None,
    batch_size: int = 32,
    progress: bool = False,
    max_pictures: int = 0,
    num_workers: int = 0,
    perplexity: bool = True,
    earlier: Mapping[str, Any] | None = None,
    features: str | Path = "",
    judges: Judges | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Captions and scores of a split, in the shape every result of this project has.

    A split without human captions gets what needs none.

    Args:
        captioner (Captioner): the model.
        data (str | Path): data-set folder.
        split (str): which split.
        metrics (Sequence[str] | None): metric flags; None takes those that need no Java.
        batch_size (int): pictures at once.
        progress (bool): show a bar on stderr.
        max_pictures (int): only the first so many; 0 takes all.
        num_workers (int): processes that read pictures.
        perplexity (bool): measure the perplexity of the human captions.
        earlier (Mapping | None): a result that this one is to be compared with.
        features (str | Path): a feature store in place of the pictures, see `load_split`.
        judges (Judges | None): what the metrics of `picture_metrics` need.
        **overrides: settings of `GenerationConfig`, e.g. `beam_size=5`.

    Returns:
        dict: `overall`: what `score_split` gives; `perplexity`; `vocabulary_size` and
        `novel_captions` (different words, and the share of captions that are no training caption
        of the data); `pictures_per_second`, and `latency_ms` with batches of one. `per_image`: what
        `score_split` gives, `logprob` and `caption_perplexity` (see `Answers`). With several
        captions a picture, `vocabulary_size` and `novel_captions` are about all of them, and what
        `add_samples` gives joins. `settings`: how all this was made.

    Raises:
        FileNotFoundError, ValueError: data, a setting, a metric, or an earlier result of other
            pictures; refused before any captioning.
        UnreadableImageError: see `caption_batches`.
    """
    how = {"batch_size": batch_size, "num_workers": num_workers, "max_pictures": max_pictures}
    _check_numbers(how)
    config = captioner.generation_config(**overrides)
    metrics, with_pictures = separate(metrics)
    if metrics or not with_pictures:
        choose_metrics(metrics)
    dataset = load_split(captioner, data, split, features)
    where = (dataset, data, str(captioner.device), max_pictures)
    more = PictureMetrics(with_pictures, judges or Judges(), *where)
    perplexity = _has_references(dataset) and perplexity
    people, about = _references_of(dataset, data, max_pictures, earlier)
    training = training_captions(data)
    answers = answer_split(captioner, dataset, config, perplexity, progress=progress, **how)
    best = {image_id: some[0]["caption"] for image_id, some in answers.samples.items()}
    result = score_split(dataset, best, data, metrics)
    more.add(result)
    for entry in result["per_image"]:
        entry |= answers.samples[entry["image_id"]][0]
    if config.num_samples > 1:
        add_samples(result, people, answers.samples)
    result["overall"] |= _statistics(answers, training)
    made = {"features": str(features), "generation": dict(vars(config)), **how}
    made |= {"device": str(captioner.device), "versions": captioner.to_dict()["versions"]}
    result["settings"] |= about | made | answers.settings()
    return result


def _references_of(
    dataset: CaptionDataset,
    data: str | Path,
    max_pictures: int,
    earlier: Mapping[str, Any] | None,
) -> tuple[dict[int, list[str]], dict[str, Any]]:
    """The human captions of the pictures, and what a result says of them.

    Raises:
        ValueError: an earlier result is about others.
    """
    texts = zip(dataset.image_ids, dataset.texts, strict=True)
    people = dict(itertools.islice(texts, max_pictures or None))
    about = {"data": str(data), "split": dataset.split}
    about["references_hash"] = references_hash(people)
    if earlier is not None:
        known = {"num_images": len(people), "tokenizer": "ptb"}
        check_settings(about | known, earlier["settings"])
    return people, about


def _check_numbers(how: dict[str, int]) -> None:
    """Refuse a batch of nothing and negative numbers."""
    for name, number in how.items():
        least = 1 if name == "batch_size" else 0
        if number < least:
            raise ValueError(f"{name}: {number} received, {least} or more expected")


def _has_references(dataset: CaptionDataset) -> bool:
    """Whether there are human captions to compare with: for all pictures or for none.

    Raises:
        ValueError: some pictures have none; the first of them is named.
    """
    missing = [n for n, some in zip(dataset.file_names, dataset.texts, strict=True) if not some]
    if 0 < len(missing) < len(dataset):
        raise ValueError(f"{missing[0]}: no caption in split {dataset.split!r} to compare with")
    return not missing


def _statistics(answers: Answers, training: Sequence[str] | None) -> dict[str, float]:
    """What `evaluate` says of all captions together, and of the time they took."""
    overall: dict[str, float] = {}
    if answers.loss.words:
        overall["perplexity"] = answers.loss.perplexity()
    said = [sample["caption"] for some in answers.samples.values() for sample in some]
    overall["vocabulary_size"] = vocabulary_size(said)
    if training:
        overall["novel_captions"] = novel_share(said, training)
    return overall | answers.speed()
