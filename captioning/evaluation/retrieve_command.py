"""The work behind `python -m captioning retrieve`: captions in, ranks of pictures and texts out.

Captions are compared without the prompt of CLIP-S, as in the published evaluation, and without the
full stop that is written behind them here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from captioning.bundle import Captioner
from captioning.clip.model import Clip
from captioning.evaluation.caption_files import check_same_images, read_candidates
from captioning.evaluation.clip_score import prompted
from captioning.evaluation.evaluate import caption_dataset, load_split
from captioning.evaluation.retrieval import WAYS, rank_pairs, recall_table
from captioning.features.pictures import list_data
from captioning.features.vectors import vectors_of
from data_loader import read_annotations


def first_references(data: str | Path, split: str) -> dict[int, str]:
    """The first human caption of each picture of a split; pictures without one are left out.

    Raises:
        FileNotFoundError, ValueError: no such split, or no captions in it.
    """
    coco = read_annotations(data, split)
    captions = {i: coco.imgToAnns[i][0]["caption"] for i in coco.imgs if coco.imgToAnns.get(i)}
    if not captions:
        raise ValueError(f"{data}: split {split!r} has no human captions")
    return captions


def captions_of_file(path: str | Path, data: str | Path, split: str) -> dict[Hashable, str]:
    """The captions of a COCO results file, one for each picture of the split.

    Raises:
        FileNotFoundError, ValueError: no such file, or it is about other pictures.
    """
    captions = read_candidates(path)
    check_same_images({i: ["-"] for i in read_annotations(data, split).imgs}, captions)
    return captions


def captions_of_model(
    captioner: Captioner, data: str | Path, split: str, features: str = "", **search: Any
) -> dict[int, str]:
    """What a captioner says of a split; arguments as for `evaluate`."""
    config = captioner.generation_config(**search)
    dataset = load_split(captioner, data, split, features)
    return caption_dataset(captioner, dataset, config, progress=True)


def retrieve(
    judge: Clip,
    data: str | Path,
    split: str,
    captions: Mapping[Hashable, str],
    vectors: str = "",
) -> dict[str, Any]:
    """Rank pictures by captions, and captions by pictures.

    Args:
        judge (Clip): what compares.
        data (str | Path): data-set folder.
        split (str): whose pictures.
        captions (Mapping): picture id to its caption; other pictures of the split are left out.
        vectors (str): store of CLIP's picture vectors; empty: pictures are looked at.

    Returns:
        dict: `overall`: `text_to_image` and `image_to_text`, see `recall_table`; `per_image`:
        `image_id`, `file_name`, `caption` and its rank both ways; `settings`.

    Raises:
        FileNotFoundError, ValueError: no such split, picture or store.
    """
    pictures = [one for one in list_data(data, [split]) if one.image_id in captions]
    images = vectors_of(judge, pictures, vectors).to(judge.device)
    texts = [captions[one.image_id] for one in pictures]
    ranks = rank_pairs(images, judge.text_vectors([prompted(text, "") for text in texts]))
    found = {way: getattr(ranks, way) for way in WAYS}
    rows = [
        {"image_id": one.image_id, "file_name": one.name, "caption": text}
        | {f"{way}_rank": int(found[way][place]) for way in WAYS}
        for place, (one, text) in enumerate(zip(pictures, texts, strict=True))
    ]
    settings = {"data": str(data), "split": split, "num_images": len(rows), "prompt": ""}
    settings["clip"] = {"name": judge.name, "weights": judge.weights_hash}
    overall = {way: recall_table(found[way]) for way in WAYS}
    return {"overall": overall, "per_image": rows, "settings": settings}
