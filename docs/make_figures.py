"""Makes the pictures of the README: `python docs/make_figures.py` (after `make course`).

`images/picturebook.jpg` shows pages with one human caption each, `images/captions.jpg` the first
test pictures with the shipped model's captions; the screenshot of the page is made by
`python -m captioning.demo.screenshot images/demo.png`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from captioning.bundle import Captioner
from captioning.datasets.picturebook.contact_sheet import contact_sheet
from captioning.datasets.ready import ready_data
from captioning.evaluation.evaluate import load_split
from data_loader import open_image

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write both pictures."""
    data = ready_data(ROOT / "data" / "picturebook")
    images = ROOT / "images"
    sheet = contact_sheet(data, rows=4, columns=6, cell=220, captions=True)
    sheet.save(images / "picturebook.jpg", quality=85)
    captioner = Captioner.load(ROOT / "models" / "picturebook_xe")
    test = load_split(captioner, data, "test")
    pictures = [open_image(test.folder / name) for name in itertools.islice(test.file_names, 6)]
    captions = captioner.caption(pictures)
    pairs = zip(pictures, captions, strict=True)
    contact_sheet(pairs, rows=1, columns=6, cell=220, captions=True).save(
        images / "captions.jpg", quality=88
    )


if __name__ == "__main__":
    main()
