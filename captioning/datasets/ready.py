"""The data set a lesson or a recipe asks for: there, drawn now, or a sentence on how to get it."""

from __future__ import annotations

from pathlib import Path

from captioning.datasets.picturebook.writer import write_picturebook


def ready_data(data: str | Path = "data/picturebook", progress: bool = True) -> Path:
    """The data-set folder; a missing folder called `picturebook` is drawn first (90 seconds).

    Args:
        data (str | Path): a folder with `annotations/captions_SPLIT.json` and `images/`.
        progress (bool): show a bar while drawing.

    Raises:
        FileNotFoundError: any other folder is missing or holds no annotations.
    """
    folder = Path(data)
    if not folder.exists() and folder.name == "picturebook":
        write_picturebook(folder, progress=progress)
    if not (folder / "annotations").is_dir():
        raise FileNotFoundError(
            f"{folder}: no data set here; a folder with images/ and annotations/ (captions_train"
            ".json and so on) expected (`python -m captioning data --help`: how to make one), or "
            "data/picturebook, which is drawn on the spot"
        )
    return folder
