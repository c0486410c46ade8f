"""The work behind `python -m captioning score`: two files in, one table out.

Nothing is printed here; `captioning/cli.py` decides between the table, JSON on stdout and a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioning.evaluation.caption_files import read_candidates, read_references
from captioning.evaluation.finecapeval import image_key, read_finecapeval, score_finecapeval
from captioning.evaluation.metrics import score_captions
from captioning.evaluation.ngrams import DocumentFrequency
from captioning.files import read_json
from vocabulary import Vocabulary

CORPUS = "corpus"
BUNDLE_TABLE = "document_frequency.safetensors"  # a model bundle keeps its training set's here


def score_files(
    references: Path,
    candidates: Path,
    metrics: list[str] | None = None,
    document_frequency: str = CORPUS,
    tokenizer: str = "ptb",
) -> dict[str, Any]:
    """Score a COCO results file against a COCO caption annotation file.

    Args:
        references (Path): annotation file with the reference captions.
        candidates (Path): results file `[{"image_id", "caption"}]`, one caption for every image
            with references.
        metrics (list[str] | None): metric names; None for those that need no Java.
        document_frequency (str): "corpus", or a table saved by `DocumentFrequency.save`, or a model
            bundle that holds one; the latter two add `CIDEr_train_df`.
        tokenizer (str): "ptb", or "none" for captions that are tokenised already.

    Returns:
        dict: the result of `score_captions`; its settings also name the three inputs (file names
            without folders).

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file or an option is not what it should be; one sentence says which and why.
    """
    table = load_document_frequency(document_frequency)
    people = read_references(references)
    result = score_captions(
        people.captions,
        read_candidates(candidates),
        metrics,
        tokenizer,
        table,
        people.file_names,
    )
    result["settings"] |= {
        "references": Path(references).name,
        "candidates": Path(candidates).name,
        "document_frequency": CORPUS if table is None else Path(document_frequency).name,
    }
    return result


def score_finecapeval_files(table: str | Path, candidates: str | Path) -> dict[str, Any]:
    """Score captions by the phrases of FineCapEval.

    Args:
        table (str | Path): the CSV file.
        candidates (str | Path): `{image: caption}`, as the published predictions are, or a COCO
            results file whose ids are the names; names with or without folder and ending.

    Returns:
        dict: what `score_finecapeval` gives, and `settings`.

    Raises:
        FileNotFoundError, ValueError: a file, or captions of other images.
    """
    entries = read_finecapeval(table)
    record = read_json(candidates, "file of captions")
    said = record if isinstance(record, dict) else read_candidates(candidates)
    for name, caption in said.items():
        if not isinstance(caption, str):
            raise ValueError(f"{candidates}: {name!r} has {caption!r}, a caption expected")
    captions = {image_key(str(name)): caption for name, caption in said.items()}
    result = score_finecapeval(entries, captions)
    settings = {"finecapeval": Path(table).name, "candidates": Path(candidates).name}
    counts = {"num_images": len(captions), "num_references": len(entries), "tokenizer": "ptb"}
    return result | {"settings": settings | counts}


def load_document_frequency(source: str) -> DocumentFrequency | None:
    """The table `--document_frequency` names.

    Args:
        source (str): "corpus" (None is returned: the references' own), a table file, or a model
            bundle's folder.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the folder is no bundle with document frequencies, or the file is no table.
    """
    if source == CORPUS:
        return None
    path = Path(source)
    if not path.is_dir():
        return DocumentFrequency.load(path)
    for name in (BUNDLE_TABLE, "vocabulary.json"):
        if not (path / name).is_file():
            raise ValueError(
                f"document_frequency: the folder {path} has no {name}; 'corpus', a table file or a "
                "model bundle with document frequencies expected"
            )
    from captioning.rewards.frequency import NgramFrequency  # torch, for bundles only

    vocabulary = Vocabulary.load(path / "vocabulary.json")
    return NgramFrequency.load(path / BUNDLE_TABLE, vocabulary).to_words(vocabulary)


def format_table(result: dict[str, Any], columns: Sequence[str] = ()) -> str:
    """A small text table of overall scores.

    Args:
        result (dict): what `score_captions` or `leave_one_out` returned.
        columns (Sequence[str]): metrics to show, in this order; empty for all.

    Returns:
        str: one line per metric with four decimals (unscaled; counts as they are), then one line
            saying what was scored.
    """
    overall = result["overall"]
    names = list(columns) or list(overall)
    width = max(map(len, names))
    lines = [
        f"{name:<{width}}  {overall[name]:8{'d' if isinstance(overall[name], int) else '.4f'}}"
        for name in names
    ]
    settings = result["settings"]
    lines.append(
        f"{settings['num_images']} images, {settings['num_references']} references, "
        f"tokenizer {settings['tokenizer']}"
    )
    return "\n".join(lines)
