"""What COCO consists of, where its archives are, and which of them are still to be fetched.

Source: https://cocodataset.org/#download (archives); A. Karpathy, L. Fei-Fei, "Deep Visual-Semantic
Alignments for Generating Image Descriptions", CVPR 2015 (splits).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioning.files import read_json

ADDRESS = "http://images.cocodataset.org/"  # official, and not https: hence the SHA-256
KARPATHY = "https://cs.stanford.edu/people/karpathy/deepimagesent/"
PATHS = {
    "karpathy": "caption_datasets.zip",
    "test_info": "annotations/image_info_test{}.zip",
    "annotations": "annotations/annotations_trainval{}.zip",
    "train_images": "zips/train{}.zip",
    "val_images": "zips/val{}.zip",
    "test_images": "zips/test{}.zip",
}
SPLITS = {  # to the parts it needs, small ones first: what is wrong with them shows early
    "karpathy": ("karpathy", "annotations", "train_images", "val_images"),
    "official": ("test_info", "annotations", "train_images", "val_images", "test_images"),
}
YEARS = (2014, 2017)
ANNOTATION_SPACE = 400_000_000  # bytes of the annotation files to be written, generously
DONE = ".complete"  # in a folder of pictures: how many were unpacked

# Bytes and SHA-256 as listed in tensorflow_datasets/url_checksums/coco_captions.txt of the
# repository tensorflow/datasets (commit 2a3f49a).
KNOWN: dict[str, tuple[int, str]] = {
    "zips/train2014.zip": (
        13510573713,
        "sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    ),
    "zips/val2014.zip": (
        6645013297,
        "sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0",
    ),
    "zips/test2014.zip": (
        6660437059,
        "sha256:ead40c62230cb2cf70ff4c8b4c70abdc260a7556e77b3282621d06d8e2e35bdf",
    ),
    "annotations/annotations_trainval2014.zip": (
        252872794,
        "sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009",
    ),
    "annotations/image_info_test2014.zip": (
        763464,
        "sha256:7cecc66f6b09c1671c1896a1bcc1f35eb09b7fcf00a5c18420a5f0f5983dc8c9",
    ),
    "zips/train2017.zip": (
        19336861798,
        "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
    "zips/val2017.zip": (
        815585330,
        "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05",
    ),
    "zips/test2017.zip": (
        6646970404,
        "sha256:c7908c3c9f94ba2f3340ebbeec58c25db6be8774f18d68c2f15d0e369d95baba",
    ),
    "annotations/annotations_trainval2017.zip": (
        252907541,
        "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    ),
    "annotations/image_info_test2017.zip": (
        1144034,
        "sha256:e52f412dd7195ac8f98d782b44c6dd30ea10241e9f42521f67610fbe055a74f8",
    ),
    "caption_datasets.zip": (
        36745453,
        "sha256:4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817",
    ),
}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        output (Path): data-set folder.
        split (str): "karpathy" or "official".
        year (int): 2014 or 2017.
        parts (tuple[str, ...]): which pictures to fetch, such as "val_images"; empty: all of the
            split; "annotations" alone: none. Annotations always come along.
        local (Mapping[str, Path]): parts that are there: archives, folders, JSON files.
        mirror (str): another address with the folders zips/ and annotations/; "": the official one.
        any_version (bool): accept archives that are not the known ones.
        keep_archives (bool): leave the downloads where they are.
        overwrite (bool): replace the annotations of another split.
        allow_missing (bool): go on when more than 1 % of the pictures are not there.
        progress (bool): show bars on stderr.

    Raises:
        ValueError: a value that is not allowed.
    """

    output: Path
    split: str = "karpathy"
    year: int = 2014
    parts: tuple[str, ...] = ()
    local: Mapping[str, Path] = field(default_factory=dict)
    mirror: str = ""
    any_version: bool = False
    keep_archives: bool = False
    overwrite: bool = False
    allow_missing: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        allowed = [("split", self.split, list(SPLITS)), ("year", self.year, list(YEARS))]
        allowed += [("parts", part, list(SPLITS.get(self.split, ()))) for part in self.parts]
        for name, value, values in allowed:
            if value not in values:
                raise ValueError(f"{name}: {value!r} received, one of {values} expected")
        for part, path in self.local.items():
            if not path.exists():
                raise ValueError(f"{part}: {path} does not exist, a file or a folder expected")
            if part not in SPLITS[self.split]:
                raise ValueError(
                    f"{part}: {path} received, but --split {self.split} has no use for it"
                )

    @property
    def downloads(self) -> Path:
        return self.output / "downloads"

    @property
    def info(self) -> Path:
        return self.output / "info.json"

    def wanted(self) -> list[str]:
        """The parts that are needed, in order."""
        asked = set(self.parts or SPLITS[self.split])
        return [part for part in SPLITS[self.split] if part in asked or not is_pictures(part)]

    def folder(self, part: str) -> Path:
        """Where the pictures of a part go."""
        return self.output / "images" / f"{part.removesuffix('_images')}{self.year}"

    def url(self, path: str) -> str:
        """The address of what is at a path of `PATHS`."""
        official = KARPATHY if path == PATHS["karpathy"] else ADDRESS
        return (self.mirror.rstrip("/") + "/" if self.mirror else official) + path


@dataclass(frozen=True)
class Step:
    """One part on its way: where it comes from, and the bytes it still takes."""

    part: str
    url: str
    archive: Path
    size: int  # of the archive; 0: unknown
    checksum: str
    state: str  # "there", "given", "downloaded", "begun" or "missing"
    to_load: int
    to_unpack: int


def is_pictures(part: str) -> bool:
    return part.endswith("_images")


def make_plan(request: Request) -> list[Step]:
    """The parts in order; nothing is written and no address is asked.

    Raises:
        FileExistsError: the output holds something else.
        ValueError: its `info.json` cannot be read.
    """
    _check_output(request)
    return [_step(request, part) for part in request.wanted()]


def is_complete(request: Request, steps: list[Step]) -> bool:
    """Whether the data set is there with all that is asked for."""
    folders = {request.folder(s.part).name for s in steps if is_pictures(s.part)}
    there = all(step.state == "there" for step in steps if is_pictures(step.part))
    info = _read_info(request)
    return there and info.get("split") == request.split and folders <= set(info.get("folders", []))


def space_needed(request: Request, steps: list[Step]) -> int:
    """Bytes of disk the rest takes at its worst moment; unpacked archives go at once."""
    used, most = ANNOTATION_SPACE, 0
    for step in steps:
        used += step.to_load + step.to_unpack
        most = max(most, used)
        if is_pictures(step.part) and step.state not in ("there", "given"):
            used -= 0 if request.keep_archives else step.size
    return most


def _step(request: Request, part: str) -> Step:
    path = PATHS[part].format(request.year)
    archive = request.downloads / Path(path).name
    size, checksum = (0, "") if request.any_version else KNOWN[path]
    state, have = "missing", 0
    if is_pictures(part) and is_there(request, part):
        state = "there"
    elif part in request.local:
        state = "given"
    elif archive.is_file():
        state, size = "downloaded", size or archive.stat().st_size
    elif (begun := archive.with_name(archive.name + ".part")).is_file():
        state, have = "begun", begun.stat().st_size
    to_load = max(0, size - have) if state in ("begun", "missing") else 0
    to_unpack = 0 if state == "there" else _left_to_unpack(request, part, size)
    return Step(part, request.url(path), archive, size, checksum, state, to_load, to_unpack)


def _left_to_unpack(request: Request, part: str, size: int) -> int:
    """Bytes the pictures will take; those of a zip archive are as large as the archive."""
    given, folder = request.local.get(part), request.folder(part)
    if not is_pictures(part) or (given and given.is_dir()):
        return 0
    there = sum(one.stat().st_size for one in folder.iterdir()) if folder.is_dir() else 0
    return max(0, (given.stat().st_size if given else size) - there)


def is_there(request: Request, part: str) -> bool:
    """Whether all pictures of a part are unpacked, or linked to."""
    folder, given = request.folder(part), request.local.get(part)
    if folder.is_symlink():
        return folder.is_dir() and (given is None or folder.samefile(given_folder(request, part)))
    try:
        number = int((folder / DONE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return sum(not one.name.startswith(".") for one in folder.iterdir()) >= number


def given_folder(request: Request, part: str) -> Path:
    """The folder of pictures that was given, or that of the part's name in it."""
    given = request.local[part]
    inner = given / request.folder(part).name
    return inner if inner.is_dir() else given


def _read_info(request: Request) -> dict[str, Any]:
    info = read_json(request.info) if request.info.exists() else {}
    return info if isinstance(info, dict) else {}


def _check_output(request: Request) -> None:
    """Refuse to touch what is not ours.

    Raises:
        FileExistsError: a file, another data set, or another split without `overwrite`.
    """
    output, info = request.output, _read_info(request)
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output}: a file stands there, a folder for the data set expected")
    if not info:
        strange = output.is_dir() and any(output.iterdir()) and not request.downloads.is_dir()
        if strange:
            raise FileExistsError(f"{output}: holds other files, a new or an empty folder expected")
        return
    held = f"{info.get('name')} {info.get('version')}"
    if held != f"coco {request.year}":
        raise FileExistsError(f"{output}: holds the data set {held!r}, another output expected")
    if info.get("split") not in ("", request.split) and not request.overwrite:
        raise FileExistsError(
            f"{output}: holds the {info.get('split')} split; --overwrite writes the annotations of "
            f"the {request.split} split instead, the pictures stay"
        )
