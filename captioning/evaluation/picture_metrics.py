"""Metrics of `evaluate` that need more than references: CLIP, a grammar judge, a phrase table.

| flag | scores |
|---|---|
| `clip_s` | `CLIP_S`: how well captions fit their pictures |
| `refclip_s` | `RefCLIP_S`: the same, and how near they are to a reference |
| `retrieval` | `text_to_image_R1`, `_R5`, `_R10`, `image_to_text_...`: is it found by its caption |
| `grammar` | `grammar`: how probable it is that captions are whole sentences |
| `finecapeval` | `FineCapEval_overall`, `_background`, `_object`, `_relation`, `..._substring` |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captioning.clip.grammar import Grammar, load_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT, Clip
from captioning.evaluation.clip_score import (
    SCALE,
    clip_s,
    prompted,
    ref_clip_s,
    reference_similarity,
)
from captioning.evaluation.finecapeval import (
    Entry,
    image_key,
    read_finecapeval,
    score_finecapeval,
)
from captioning.evaluation.retrieval import WAYS, rank_pairs, recall_table
from captioning.features.pictures import Picture
from captioning.features.vectors import open_vectors, vectors_of
from data_loader import CaptionDataset
from vocabulary import join_words, tokenize

FLAGS = ("clip_s", "refclip_s", "retrieval", "grammar", "finecapeval")
LOOKING = ("clip_s", "refclip_s", "retrieval")
WITH_CLIP = (*LOOKING, "grammar")
RECALLS = ("R1", "R5", "R10")


@dataclass(frozen=True)
class Judges:
    """What these metrics need, by name.

    Args:
        clip (str): a CLIP, see `captioning.clip.names.parse_name`.
        vectors (str): store of its picture vectors; empty: pictures are looked at.
        grammar (str): folder of a grammar judge.
        finecapeval (str): CSV file; empty: `finecapeval_SPLIT.csv` beside the captions.
    """

    clip: str = ""
    vectors: str = ""
    grammar: str = ""
    finecapeval: str = ""


def separate(names: Sequence[str] | None) -> tuple[list[str] | None, list[str]]:
    """Flags of metrics that compare with references, and those of this module.

    Args:
        names (Sequence[str] | None): flags or keys; None for the usual ones.
    """
    if names is None:
        return None, []
    flags = [name.strip().lower() for name in names]
    own = [flag for flag in FLAGS if flag in flags]
    return [name for name, flag in zip(names, flags, strict=True) if flag not in FLAGS], own


def check_judges(flags: Sequence[str], judges: Judges) -> None:
    """Refuse metrics without their judge.

    Raises:
        ValueError: the metric, and the flag that is missing.
    """
    for flag in flags:
        if flag in WITH_CLIP and not judges.clip:
            raise ValueError(
                f"metrics: {flag} needs a CLIP; --clip names one (a folder that `train-clip` "
                "wrote, or e.g. ViT-B-32:openai)"
            )
        if flag == "grammar" and not judges.grammar:
            raise ValueError("metrics: grammar needs a grammar judge; --grammar names its folder")


class PictureMetrics:
    """These metrics for the pictures of a split; all that can be refused is refused here.

    Args:
        flags (Sequence[str]): which.
        judges (Judges): with what.
        dataset (CaptionDataset): pictures and human captions.
        data (str | Path): data-set folder.
        device (str): where CLIP runs.
        max_pictures (int): only the first so many pictures will have captions; 0: all.

    Raises:
        FileNotFoundError, ValueError: a judge is missing, or does not fit.
    """

    def __init__(
        self,
        flags: Sequence[str],
        judges: Judges,
        dataset: CaptionDataset,
        data: str | Path,
        device: str = "cpu",
        max_pictures: int = 0,
    ) -> None:
        check_judges(flags, judges)
        self.flags, self.judges, self.dataset = list(flags), judges, dataset
        self.people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
        self.names = dict(zip(dataset.image_ids, dataset.file_names, strict=True))
        if "refclip_s" in flags and not all(self.people.values()):
            raise ValueError(f"metrics: refclip_s needs human captions in split {dataset.split!r}")
        self.clip: Clip | None = None
        self.grammar: Grammar | None = None
        if any(flag in WITH_CLIP for flag in flags):
            self.clip = load_clip(judges.clip, device)
        if "grammar" in flags:
            self.grammar = load_grammar(judges.grammar, self.clip)
        self.entries: list[Entry] = []
        if "finecapeval" in flags:
            usual = Path(data) / "annotations" / f"finecapeval_{dataset.split}.csv"
            self.table = Path(judges.finecapeval) if judges.finecapeval else usual
            self.entries = read_finecapeval(self.table)
            self._check_entries()
        self.looks = any(flag in LOOKING for flag in flags)
        if self.looks and judges.vectors:
            ids = dataset.image_ids[: max_pictures or None]
            open_vectors(judges.vectors, self.clip, self._pictures(ids))

    def add(self, result: dict[str, Any]) -> None:
        """Score the captions of a result and add what comes out to it."""
        rows = result["per_image"]
        if self.looks:
            self._add_clip(result["overall"], rows)
        if self.grammar is not None:
            chances = self.grammar.probability([_plain(row["caption"]) for row in rows])
            _add(result["overall"], rows, "grammar", chances.tolist())
        if self.entries:
            self._add_finecapeval(result["overall"], rows)
        result["settings"] |= self.settings()

    def settings(self) -> dict[str, Any]:
        """What the numbers rest on."""
        made: dict[str, Any] = {}
        if self.clip is not None:
            made["clip_name"] = self.clip.name
            weights, prompt = self.clip.weights_hash, PROMPT.strip()
            made["clip"] = {"weights": weights, "prompt": prompt, "scale": SCALE}
        if self.grammar is not None:
            weights, prompt = self.grammar.weights_hash, self.grammar.prompt.strip()
            made["grammar_name"] = self.judges.grammar
            made["grammar"] = {"weights": weights, "prompt": prompt}
        if self.entries:
            made["finecapeval"] = self.table.name
        return made

    def _pictures(self, ids: Sequence[int]) -> list[Picture]:
        folder = self.dataset.folder
        return [Picture(i, folder / self.names[i], self.names[i]) for i in ids]

    def _check_entries(self) -> None:
        """Refuse a table of other pictures."""
        keys = Counter(image_key(name) for name in self.names.values())
        twice = [entry.image for entry in self.entries if keys[image_key(entry.image)] > 1]
        if twice:
            raise ValueError(
                f"{self.table}: image {twice[0]!r} stands for several pictures of split "
                f"{self.dataset.split!r}, whose names are equal up to the first dot"
            )
        odd = [entry.image for entry in self.entries if image_key(entry.image) not in keys]
        if odd:
            raise ValueError(
                f"{self.table}: image {odd[0]!r} is not among the pictures of split "
                f"{self.dataset.split!r}"
            )

    def _add_clip(self, overall: dict[str, float], rows: list[dict[str, Any]]) -> None:
        clip, ids = self.clip, [row["image_id"] for row in rows]
        images = vectors_of(clip, self._pictures(ids), self.judges.vectors).to(clip.device)
        texts = clip.text_vectors([prompted(row["caption"]) for row in rows])
        speaks = [float(bool(tokenize(row["caption"]))) for row in rows]
        fits = clip_s(images, texts) * torch.tensor(speaks, device=clip.device)
        if "clip_s" in self.flags:
            _add(overall, rows, "CLIP_S", fits.tolist())
        if "refclip_s" in self.flags:
            nearest = reference_similarity(clip, texts, [self.people[i] for i in ids])
            _add(overall, rows, "RefCLIP_S", ref_clip_s(fits, nearest).tolist())
        if "retrieval" in self.flags:
            bare = clip.text_vectors([prompted(row["caption"], "") for row in rows])  # as published
            ranks = rank_pairs(images, bare)
            for way in WAYS:
                table = recall_table(getattr(ranks, way))
                overall |= {f"{way}_{key}": table[key] for key in RECALLS}

    def _add_finecapeval(self, overall: dict[str, float], rows: list[dict[str, Any]]) -> None:
        keys = {image_key(self.names[row["image_id"]]): row for row in rows}
        known = {image_key(entry.image) for entry in self.entries}
        asked = self.entries
        if len(rows) < len(self.dataset):  # the first pictures only
            asked = [entry for entry in self.entries if image_key(entry.image) in keys]
        said = {key: row["caption"] for key, row in keys.items() if key in known}
        if not said:  # none of the first pictures is in the table
            return
        scored = score_finecapeval(asked, said)
        overall |= scored["overall"]
        for one in scored["per_image"]:
            own: Mapping[str, Any] = {k: v for k, v in one.items() if k.startswith("FineCapEval")}
            keys[image_key(one["image"])] |= own


def _plain(caption: str) -> str:
    """A caption as the grammar judge learned them: words, no capital, no full stop."""
    return join_words(tokenize(caption), False)


def _add(
    overall: dict[str, float], rows: list[dict[str, Any]], key: str, values: list[float]
) -> None:
    """A score of each picture, and its mean."""
    overall[key] = sum(values) / len(values)
    for row, value in zip(rows, values, strict=True):
        row[key] = value
