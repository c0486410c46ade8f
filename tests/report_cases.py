"""Results and data for the tests of the report: made up, but of the shape that `evaluate` gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

# what a page must show as it stands
ODD_CAPTIONS = (
    '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">',
    "</script> \"quotes\" & 'apostrophes' \\u2028 \u2028 `${window.hacked = 1}` &lt;b&gt;",
    "👩‍👩‍👧 a frisbee 🥏 and a family",
    "כלב רץ על החוף עם כדור אדום",
    "long " * 600,
    "",
    "x" * 3000,
)
ODD_ID = "a/b?c=%zz#</script>&"


def caption_of(rng: random.Random) -> str:
    words = "a red blue green ball box dog kite on the sheet left".split()
    return " ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "."


def result_of(data: Path, seed: int = 0, odd: bool = True, split: str = "train") -> dict[str, Any]:
    """A result on a split of `data`; the second picture's caption names what is not there."""
    path = data / "annotations" / f"captions_{split}.json"
    rng = random.Random(seed)
    rows = []
    for image in json.loads(path.read_text("utf-8"))["images"]:
        row = {"image_id": image["id"], "file_name": image["file_name"], "caption": caption_of(rng)}
        row |= {"CIDEr": rng.uniform(0, 3), "Bleu_4": rng.random(), "words": rng.randint(4, 9)}
        rows.append(row | {"CHAIRi": 0.0, "hallucinated": []})
    rows[1] |= {"caption": "Two teddy-bears and a Frisbee.", "CHAIRi": 1.0}
    rows[1]["hallucinated"] = ["teddy bears (teddy bear)", "frisbee"]
    if odd:
        for row, caption in zip(rows[2:], ODD_CAPTIONS, strict=False):
            row["caption"] = caption
    keys = ("CIDEr", "Bleu_4", "words", "CHAIRi")
    settings = {
        "data": str(data),
        "split": split,
        "model": "models/tiny",
        "generation": {"method": "beam", "beam_size": 5, "no_repeat": True},
    }
    overall = {key: sum(row[key] for row in rows) / len(rows) for key in keys}
    return {"overall": overall, "per_image": rows, "settings": settings}


def save(path: Path, record: Any) -> Path:
    path.write_text(json.dumps(record), "utf-8")
    return path


def save_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path
