"""Where a feature store is written, and whether there is room for it."""

from __future__ import annotations

from pathlib import Path

from captioning.disk import check_space


def part_folder(output: str | Path) -> Path:
    """Where an unfinished store is."""
    return Path(f"{output}.part")


def check_disk(output: str | Path, num_bytes: int) -> None:
    """Refuse to begin what cannot fit; what `OUTPUT.part` holds already is not asked for again.

    Raises:
        OSError: how much is needed and how much is free.
    """
    begun = sum(f.stat().st_size for f in part_folder(output).glob("*.raw"))
    check_space(output, num_bytes - begun)
