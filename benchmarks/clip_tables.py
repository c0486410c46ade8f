"""The README's tables about CLIP, for `tables.py`."""

from __future__ import annotations

from typing import Any

CLIP_COLUMNS = {
    "CIDEr": "CIDEr",
    "CLIP_S": "CLIP-S",
    "RefCLIP_S": "RefCLIP-S",
    "text_to_image_R1": "finds its picture",
    "text_to_image_R5": "in 5",
    "FineCapEval_overall": "fine: overall",
    "FineCapEval_background": "background",
    "FineCapEval_object": "object",
    "FineCapEval_relation": "relation",
    "facts": "facts",
    "repetition": "repeat themselves",
    "bad_endings": "bad endings",
    "words": "words",
}


def clip(record: dict[str, Any]) -> str:
    """The matrix of lesson 7: what each reward does, mean and deviation over seeds."""
    parts = []
    for search in record["searches"]:
        lines = [f"| {search}: rewarded with | {' | '.join(CLIP_COLUMNS.values())} |"]
        lines.append("|---|" + "---:|" * len(CLIP_COLUMNS))
        for name, cell in record["cells"].items():
            told = [cell["tests"][search][score] for score in CLIP_COLUMNS]
            values = " | ".join(f"{one['mean']:.2f} ± {one['std']:.2f}" for one in told)
            lines.append(f"| {name} | {values} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def clip_recall(record: dict[str, Any]) -> str:
    """What small CLIPs find, beside chance."""
    titles = {
        "picturebook": "picture book, 3,000 pictures to learn from",
        "flickr8k": "Flickr8k, 640 photos to learn from",
    }
    heads = [f"{way} R{k}" for way in ("text to image", "image to text") for k in (1, 5, 10)]
    lines = [
        f"| learned from | test pictures | {' | '.join(heads)} | chance R1, R5, R10 | minutes |"
    ]
    lines.append("|---|---:|" + "---:|" * (len(heads) + 2))
    for name, title in titles.items():
        row = record[name]
        told = [row["recall"][way][f"R{k}"] for way in row["recall"] for k in (1, 5, 10)]
        values = " | ".join(_spread(one) for one in told)
        chance = ", ".join(f"{row['chance'][f'R{k}']:.3f}" for k in (1, 5, 10))
        minutes = f"{max(row['minutes']):.1f}"
        lines.append(f"| {title} | {row['pictures']} | {values} | {chance} | {minutes} |")
    return "\n".join(lines) + "\n"


def _spread(one: dict[str, Any]) -> str:
    """Mean and, of several seeds, deviation."""
    return f"{one['mean']:.3f}" + ("" if one["std"] is None else f" ± {one['std']:.3f}")


def retrieval(record: dict[str, Any]) -> str:
    """Memory and time of ranking, with the whole matrix as baseline."""
    large, small = record["large"], record["published_size"]
    faster = small["times_as_fast"]
    parts = [
        f"{large['pairs']:,} x {large['pairs']:,} vectors of {large['dim']} are ranked both ways",
        f"in {large['peak_resident_gb']:.1f} GB of memory in all and {large['seconds'] / 60:.1f}",
        f"minutes (the matrix alone would take {large['full_matrix_gb']:.0f} GB). At the published",
        f"{small['pairs']:,} it is {faster['median']:.1f} times as fast ({faster['low']:.1f} to",
        f"{faster['high']:.1f}) as sorting the whole matrix (`benchmarks/retrieval.py`).",
    ]
    return " ".join(parts) + "\n"
