"""Caption a whole split, freely running as in real use, and score it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset
from tqdm import tqdm

from captioning.bundle import Captioner, transforms_of, visual_input
from captioning.config import GenerationConfig
from captioning.datasets.picturebook.lexicon import category_words
from captioning.datasets.picturebook.scene import load_scenes
from captioning.evaluation.chair import ObjectWords, chair, read_objects
from captioning.evaluation.facts import score_facts
from captioning.evaluation.fluency import fluency
from captioning.evaluation.metrics import choose_metrics, score_captions
from data_loader import CaptionDataset, UnreadableImageError


def load_split(captioner: Captioner, data: str | Path, split: str) -> CaptionDataset:
    """A split, prepared as the captioner was trained to see it, without chance."""
    transform = transforms_of(captioner.experiment.transform)["eval"]
    longest = captioner.experiment.vocabulary.max_length
    return CaptionDataset(data, split, captioner.vocabulary, transform, max_length=longest)


def caption_dataset(
    captioner: Captioner,
    dataset: CaptionDataset,
    config: GenerationConfig,
    batch_size: int = 32,
    num_workers: int = 0,
    progress: bool = False,
    max_pictures: int = 0,
    part: tuple[int, int] = (0, 1),
) -> dict[int, str]:
    """The best caption of every picture of a split.

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

    Returns:
        dict[int, str]: image id to caption.

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
    captions: dict[int, str] = {}
    with tqdm(total=len(chosen), desc="captioning", unit="picture", disable=not progress) as bar:
        for batch in loader:
            if batch.skipped:
                raise UnreadableImageError(batch.skipped[0])
            inputs = visual_input(batch.to(captioner.device))
            result, _ = captioner.generate(inputs, config)
            best = captioner.to_captions(result)[:: config.num_samples]
            captions.update(zip(batch.image_ids, (c.text for c in best), strict=True))
            bar.update(len(batch))
    return captions


def evaluate(
    captioner: Captioner,
    data: str | Path,
    split: str = "test",
    metrics: Sequence[str] | None = None,
    batch_size: int = 32,
    progress: bool = False,
    max_pictures: int = 0,
    **overrides: Any,
) -> dict[str, Any]:
    """Captions and scores of a split, in the shape every result of this project has.

    On data with `scenes_SPLIT.json` the facts are checked too, with `instances_SPLIT.json` CHAIR.

    Args:
        captioner (Captioner): the model.
        data (str | Path): data-set folder.
        split (str): which split.
        metrics (Sequence[str] | None): metric flags; None takes those that need no Java.
        batch_size (int): pictures at once.
        progress (bool): show a bar on stderr.
        max_pictures (int): only the first so many; 0 takes all.
        **overrides: settings of `GenerationConfig`, e.g. `beam_size=5`.

    Returns:
        dict: `overall`, `per_image`, `settings`.

    Raises:
        FileNotFoundError, ValueError: data, a setting or a metric; refused before any captioning.
        UnreadableImageError: see `caption_dataset`.
    """
    for name, number, least in (("batch_size", batch_size, 1), ("max_pictures", max_pictures, 0)):
        if number < least:
            raise ValueError(f"{name}: {number} received, {least} or more expected")
    config = captioner.generation_config(**overrides)
    choose_metrics(metrics)
    dataset = load_split(captioner, data, split)
    for file_name, texts in zip(dataset.file_names, dataset.texts, strict=True):
        if not texts:
            raise ValueError(f"{file_name}: no caption in split {split!r} to compare with")
    captions = caption_dataset(
        captioner, dataset, config, batch_size, progress=progress, max_pictures=max_pictures
    )
    result = score_split(dataset, captions, data, metrics)
    result["settings"]["generation"] = dict(vars(config))
    result["settings"]["split"] = split
    return result


def score_split(
    dataset: CaptionDataset,
    captions: dict[int, str],
    data: str | Path,
    metrics: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score given captions of a split (or of its first pictures): metrics, fluency, facts, CHAIR.

    Args:
        dataset (CaptionDataset): see `load_split`.
        captions (dict[int, str]): image id to caption.
        data (str | Path): data-set folder.
        metrics (Sequence[str] | None): metric flags; None takes those that need no Java.

    Returns:
        dict: what `score_captions` gives, and in `overall` and `per_image` what `fluency` gives; in
        `overall` also what `score_facts` and `chair` give, where the data has what they need.
    """
    ids = [i for i in dataset.image_ids if i in captions]
    texts = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    names = dict(zip(dataset.image_ids, dataset.file_names, strict=True))
    result = score_captions({i: texts[i] for i in ids}, captions, metrics, file_names=names)
    checked = fluency({i: captions[i] for i in ids})
    result["overall"] |= checked["overall"]
    for entry, more in zip(result["per_image"], checked["per_image"], strict=True):
        entry |= more
    add_object_scores(result, captions, Path(data) / "annotations", dataset.split)
    return result


def add_object_scores(
    result: dict[str, Any], captions: dict[int, str], folder: Path, split: str
) -> None:
    """Add the facts (where there are scenes) and CHAIR (where there are instances) to a result."""
    ids = [entry["image_id"] for entry in result["per_image"]]
    scenes_path, instances_path = (
        folder / f"scenes_{split}.json",
        folder / f"instances_{split}.json",
    )
    if scenes_path.is_file():
        scenes = load_scenes(scenes_path)
        _check_known(ids, scenes, scenes_path)
        facts = score_facts({i: captions[i] for i in ids}, {i: scenes[i] for i in ids})
        result["overall"] |= facts["overall"]
    if instances_path.is_file():
        objects, categories = read_objects(instances_path)
        _check_known(ids, objects, instances_path)
        words = ObjectWords(categories, category_words() if scenes_path.is_file() else None)
        hallucination = chair({i: captions[i] for i in ids}, {i: objects[i] for i in ids}, words)
        result["overall"] |= {k: hallucination["overall"][k] for k in ("CHAIRi", "CHAIRs")}


def _check_known(ids: Sequence[int], known: Mapping[int, Any], path: Path) -> None:
    missing = [image_id for image_id in ids if image_id not in known]
    if missing:
        raise ValueError(f"{path}: image {missing[0]!r} is not in it, but among the captions")
