"""Captions with known scores: the committed fixture, and the reference data where it is present."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

FIXTURE = Path(__file__).parent / "fixtures" / "metric_fixture.json"


@dataclass(frozen=True)
class Case:
    """A set of tokenised captions and what the reference tools say about it."""

    name: str
    references: dict[str, list[str]]
    candidates: dict[str, str]
    corpus: dict[str, float]
    per_image: dict[str, dict[str, float]]


def fixture_case() -> Case:
    """The committed fixture, as `fixtures/make_metric_fixture.py` wrote it."""
    record = json.loads(FIXTURE.read_text("utf-8"))
    references, candidates = record["tokenized_references"], record["tokenized_candidates"]
    return Case("fixture", references, candidates, **record["scores"])


def reference_cases() -> list[Case]:
    """The sets of the metric reference; none when CAPTIONING_REFERENCE_DATA does not lead there."""
    folder = Path(os.environ.get("CAPTIONING_REFERENCE_DATA", "")) / "data" / "metric_reference"
    if not (folder / "scores.json").is_file():
        return []
    cases = []
    for name, scores in json.loads((folder / "scores.json").read_text("utf-8"))["datasets"].items():
        file_name, _, candidates = name.partition("/")
        record = json.loads((folder / f"{file_name}_tokenized.json").read_text("utf-8"))
        # what the reference calls CIDEr-D is our CIDEr
        corpus = {key.replace("CIDEr-D", "CIDEr"): value for key, value in scores["corpus"].items()}
        per_image = {k.replace("CIDEr-D", "CIDEr"): v for k, v in scores["per_image"].items()}
        cases.append(Case(name, record["refs"], record[candidates or "cands"], corpus, per_image))
    return cases


def write_coco_files(case: Case, folder: Path) -> tuple[Path, Path]:
    """The case as a COCO annotation file and a COCO results file (with the ids it has)."""
    annotations = [
        {"id": number, "image_id": image_id, "caption": caption}
        for number, (image_id, caption) in enumerate(
            (image_id, caption) for image_id, texts in case.references.items() for caption in texts
        )
    ]
    images = [{"id": image_id, "file_name": f"{image_id}.jpg"} for image_id in case.references]
    references, results = folder / "captions.json", folder / "results.json"
    references.write_text(json.dumps({"images": images, "annotations": annotations}), "utf-8")
    candidates = [{"image_id": i, "caption": text} for i, text in case.candidates.items()]
    results.write_text(json.dumps(candidates), "utf-8")
    return references, results
