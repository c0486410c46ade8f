"""Where a report may be written: it replaces nothing but a report."""

from __future__ import annotations

from pathlib import Path

MARKER = "report.json"  # what tells a report from any other folder


def check_folder(output: str | Path, overwrite: bool = False) -> None:
    """Refuse a place that must not be written, before the work is done.

    Args:
        output (str | Path): folder to be.
        overwrite (bool): a report that stands there may be replaced.

    Raises:
        FileExistsError: something stands there that may not be replaced.
        NotADirectoryError: a file stands there or on the way to it.
    """
    output = Path(output)
    for path in (output, *output.absolute().parents):
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"{path}: a file, a folder expected")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / MARKER).is_file():
        raise FileExistsError(f"{output}: a folder without {MARKER}, so no report; left alone")
    if not overwrite:
        raise FileExistsError(f"{output}: a report stands there; --overwrite replaces it")
