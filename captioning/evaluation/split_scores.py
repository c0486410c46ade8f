"""Scores of given captions of a split: metrics, fluency, facts, CHAIR."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.datasets.picturebook.lexicon import category_words
from captioning.datasets.picturebook.scene import load_scenes
from captioning.evaluation.chair import ObjectWords, chair, read_objects
from captioning.evaluation.facts import score_facts
from captioning.evaluation.fluency import fluency
from captioning.evaluation.metrics import score_captions
from data_loader import CaptionDataset


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
        dict: what `score_captions` gives (no metrics where none are asked for, or the split has no
        human captions), and in
        `overall` and `per_image` what `fluency` and `add_object_scores` give.
    """
    ids = [i for i in dataset.image_ids if i in captions]
    texts = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    names = dict(zip(dataset.image_ids, dataset.file_names, strict=True))
    if any(texts.values()) and metrics != []:
        result = score_captions({i: texts[i] for i in ids}, captions, metrics, file_names=names)
    else:
        rows = [{"image_id": i, "file_name": names[i], "caption": captions[i]} for i in ids]
        number = sum(len(texts[i]) for i in ids)
        settings = {"metrics": [], "tokenizer": "ptb", "num_images": len(ids)}
        settings["num_references"] = number
        result = {"overall": {}, "per_image": rows, "settings": settings}
    checked = fluency({i: captions[i] for i in ids})
    result["overall"] |= checked["overall"]
    for entry, more in zip(result["per_image"], checked["per_image"], strict=True):
        entry |= more
    add_object_scores(result, captions, Path(data) / "annotations", dataset.split)
    return result


def add_object_scores(
    result: dict[str, Any], captions: dict[int, str], folder: Path, split: str
) -> None:
    """Add the facts (where there are scenes) and CHAIR (where there are instances) to a result.

    Each picture gets `facts` and `object_f1`; `CHAIRi` and `hallucinated`, the words of its caption
    that name what is not there.
    """
    rows = result["per_image"]
    said = {entry["image_id"]: captions[entry["image_id"]] for entry in rows}
    scenes_path = folder / f"scenes_{split}.json"
    instances_path = folder / f"instances_{split}.json"
    if scenes_path.is_file():
        scenes = load_scenes(scenes_path)
        _check_known(said, scenes, scenes_path)
        facts = score_facts(said, {i: scenes[i] for i in said})
        result["overall"] |= facts["overall"]
        for entry, own in zip(rows, facts["per_image"], strict=True):
            entry |= {key: own[key] for key in ("facts", "object_f1")}
    if instances_path.is_file():
        objects, categories = read_objects(instances_path)
        _check_known(said, objects, instances_path)
        words = ObjectWords(categories, category_words() if scenes_path.is_file() else None)
        hallucination = chair(said, {i: objects[i] for i in said}, words)
        result["overall"] |= {k: hallucination["overall"][k] for k in ("CHAIRi", "CHAIRs")}
        for entry, own in zip(rows, hallucination["per_image"], strict=True):
            entry["CHAIRi"] = own["CHAIRi"]
            entry["hallucinated"] = [label.partition(" (")[0] for label in own["hallucinated"]]


def _check_known(ids: Iterable[int], known: Mapping[int, Any], path: Path) -> None:
    missing = [image_id for image_id in ids if image_id not in known]
    if missing:
        raise ValueError(f"{path}: image {missing[0]!r} is not in it, but among the captions")
