"""What the tests of `data coco` share: a server with miniature archives, and requests to it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from faulty_server import Server, serve
from mini_coco import (
    TRAIN,
    VAL,
    archives,
    name_of,
    picture,
    zipped,
)

from captioning.datasets import coco_parts
from captioning.datasets.coco_parts import KNOWN, Request
from data_loader import read_annotations


@pytest.fixture(name="server")
def coco_server(monkeypatch: pytest.MonkeyPatch):
    """COCO in small, with its own sizes and checksums."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(coco_parts, "ANNOTATION_SPACE", 1000)
    with serve() as running:
        running.files = archives(2014) | archives(2017)
        for path, content in running.files.items():
            known = (len(content), "sha256:" + hashlib.sha256(content).hexdigest())
            monkeypatch.setitem(KNOWN, path, known)
        yield running


def request_of(server: Server, output: Path, **settings) -> Request:
    return Request(output, mirror=server.url, progress=False, **settings)


def ids_of(output: Path, split: str) -> set[int]:
    return set(read_annotations(output, split).imgs)


def cut(server: Server, half: str, number: int) -> None:
    """Cut one picture of an archive off."""
    path = f"zips/{half}2014.zip"
    numbers = TRAIN if half == "train" else VAL
    pictures = {f"{half}2014/{name_of(half, n)}": picture(n) for n in numbers}
    pictures[f"{half}2014/{name_of(half, number)}"] = picture(number)[:-200]
    server.files[path] = zipped(pictures)


# --- the data set ------------------------------------------------------------------------------
