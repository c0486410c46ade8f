"""Which CLIP is meant, and where its weights are: nothing is downloaded unless it is asked for.

A CLIP is named `MODEL:TAG` (a model of open_clip and one of its sets of weights, as in
`ViT-B-32:openai`), `MODEL:FILE` (a checkpoint on disk; PAC-S publishes such files), or by the
folder that `train-clip` wrote.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOWNLOAD = "python -m captioning features clip-weights"


class ClipName(NamedTuple):
    """A CLIP model.

    Args:
        model (str): name of a model of open_clip, or a folder.
        weights (str): tag or file; empty for a folder.
    """

    model: str
    weights: str

    @property
    def is_folder(self) -> bool:
        """Whether `train-clip` wrote it."""
        return not self.weights


def parse_name(text: str) -> ClipName:
    """What was typed.

    Args:
        text (str): `MODEL:TAG`, `MODEL:FILE` or a folder.

    Raises:
        ValueError: no weights are named, or open_clip has no such model.
        FileNotFoundError: it is no folder, and not of that form.
    """
    if text and Path(text).is_dir():
        return ClipName(text, "")
    import open_clip

    model, _, weights = text.partition(":")
    known = open_clip.list_models()
    if model not in known and ":" in text:
        raise ValueError(
            f"clip: {text!r} received, but open_clip has no model {model!r} ({_some(known)}), and "
            "no folder has that name"
        )
    if model in known and not weights:
        tags = open_clip.list_pretrained_tags_by_model(model)
        raise ValueError(
            f"clip: {text!r} received, {model}:TAG (tags: {_some(tags)}) or {model}:FILE expected"
        )
    if not weights:
        raise FileNotFoundError(
            f"{text or 'clip'}: no such CLIP; a folder that `train-clip` wrote, MODEL:TAG or "
            "MODEL:FILE expected, e.g. ViT-B-32:openai"
        )
    return ClipName(model, weights)


def _some(names: list[str], number: int = 6) -> str:
    """The first of some names."""
    return ", ".join(names[:number]) + (", ..." if len(names) > number else "")


def pretrained_of(name: ClipName) -> dict:
    """What open_clip knows of a tag: where it lies, and how pictures are prepared for it.

    Raises:
        ValueError: the model has no such weights, and no file has that name.
    """
    import open_clip

    found = open_clip.get_pretrained_cfg(name.model, name.weights)
    if not found:
        tags = open_clip.list_pretrained_tags_by_model(name.model)
        raise ValueError(
            f"clip: no file {name.weights!r}, and {name.model} has no such tag ({_some(tags)})"
        )
    return found


def find_weights(name: ClipName) -> Path:
    """The checkpoint of a model of open_clip, if it is on this machine.

    Raises:
        FileNotFoundError: it is not; the message says how to get it.
        ValueError: see `pretrained_of`.
    """
    if Path(name.weights).is_file():
        return Path(name.weights)
    found = _cached(pretrained_of(name))
    if found is None:
        raise FileNotFoundError(
            f"{name.model}:{name.weights}: these weights are not on this machine; `{DOWNLOAD} "
            f"{name.model}:{name.weights}` downloads them, {name.model}:FILE takes a file"
        )
    return found


def _cached(pretrained: dict) -> Path | None:
    """Where open_clip keeps a checkpoint that was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, file = pretrained.get("hf_hub", "").rpartition("/")
    if repository:
        file = file or "open_clip_pytorch_model.bin"
        safe = file.replace("_pytorch", "") if file == "open_clip_pytorch_model.bin" else file
        for one in (Path(safe).with_suffix(".safetensors").name, file):
            found = try_to_load_from_cache(repository, one)
            if isinstance(found, str):
                return Path(found)
    return _kept(pretrained)


def _kept(pretrained: dict) -> Path | None:
    """The same for a checkpoint that came from an address, not from a repository."""
    address = pretrained.get("url", "")
    kept = Path("~/.cache/clip").expanduser() / address.rpartition("/")[2]
    scripted = "openaipublic" in address  # a program with its weights, which is not run here
    return kept if address and not scripted and kept.is_file() else None


def download_weights(name: ClipName) -> Path:
    """Get the checkpoint of a tag, unless it is here; open_clip's own downloader does the work.

    Raises:
        ValueError: see `pretrained_of`.
        OSError: it cannot be had now; the message says what to do.
    """
    import open_clip

    pretrained = pretrained_of(name)
    if found := _cached(pretrained):
        return found
    path = None
    try:
        path = Path(open_clip.download_pretrained(pretrained))
        return path
    except Exception as error:  # of urllib, of huggingface_hub, of a broken checksum
        reason = " ".join(str(error).split())[:300]
        raise OSError(
            f"{name.model}:{name.weights}: could not be downloaded ({reason}); a file from "
            f"elsewhere is used as {name.model}:FILE"
        ) from error
    finally:
        broken = None if path else _kept(pretrained)
        if broken:  # a piece would be taken for the whole the next time
            broken.unlink()


@contextlib.contextmanager
def quiet_open_clip() -> Iterator[None]:
    """open_clip logs how it builds a model; who asks gets sentences of our own."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
