"""An imported captioner becomes a bundle: whole or not at all, with a card that says whence."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from captioning.bundle import Captioner
from captioning.decoders.build import describe_sizes
from captioning.files import write_atomically
from captioning.folders import whole_folder
from captioning.settings import validate


def check_place(output: str | Path, overwrite: bool = False) -> None:
    """Refuse a place that must not be written, before the work is done.

    Raises:
        FileExistsError: something stands there that may not be replaced.
    """
    output = Path(output)
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output}: a file stands there, a folder for the bundle expected")
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / "config.json").is_file() or not (output / "model.safetensors").is_file():
        raise FileExistsError(f"{output}: holds files but no model bundle; left alone")
    if not overwrite:
        raise FileExistsError(f"{output}: holds a model bundle already; --overwrite replaces it")


def write_imported(
    captioner: Captioner,
    output: str | Path,
    files: Sequence[str | Path],
    differences: Sequence[str],
    overwrite: bool = False,
) -> None:
    """Write the bundle of an imported captioner.

    Args:
        captioner (Captioner): with `record["imported"]`, the name of the system it comes from.
        output (str | Path): folder to make.
        files (Sequence[str | Path]): what it was made from; names and hashes go into the bundle.
        differences (Sequence[str]): sentences about what is not as in the original.
        overwrite (bool): a bundle that stands there may be replaced.

    Raises:
        FileExistsError: see `check_place`.
        OSError: the disk is full, or the place cannot be written; what stood there is intact.
        ValueError: a size is beyond the limits of the settings.
    """
    output = Path(output)
    validate(captioner.experiment)
    captioner.record["files"] = [{"name": Path(f).name, "sha256": _hash(Path(f))} for f in files]
    with whole_folder(output, check_place, overwrite) as folder:
        captioner.save(folder)
        card = import_card(captioner, Path(os.path.realpath(output)).name, differences)
        write_atomically(folder / "README.md", lambda path: path.write_text(card, "utf-8"))


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_card(captioner: Captioner, name: str, differences: Sequence[str]) -> str:
    """Markdown for `README.md` in the bundle."""
    experiment, record = captioner.experiment, captioner.record
    encoder, decoder = experiment.encoder, experiment.decoder
    parameters = sum(p.numel() for p in captioner.networks().parameters())
    files = "\n".join(f"| `{file['name']}` | `{file['sha256']}` |" for file in record["files"])
    facts = "\n".join(f"| {key} | {value} |" for key, value in record.get("original", {}).items())
    sees = "regions from a feature store" if encoder.backbone == "features" else encoder.backbone
    return f"""# {name}

An image captioner, imported from {record["imported"]}: {sees}, then {decoder.kind} decoder
({describe_sizes(decoder)}), {parameters:,} parameters,
{len(captioner.vocabulary)} words. The weights are not ours: their authors' terms hold.

| made from | SHA-256 |
|---|---|
{files}

| what the original says of itself | |
|---|---|
{facts}

Given the same features of a picture, every word has the probability that the original gives it.
What differs:

{"".join(f"* {sentence}{chr(10)}" for sentence in differences)}"""
