"""Pictures and captions in batches: safe opening, transforms, batching, and a position to resume.

Reads the course's data-set layout (`images/`, `annotations/captions_SPLIT.json` in COCO's format)
through pycocotools. Two ways to batch: *padded* (S captions of each picture, which share one look
at it) and *length* (one caption a row, all of equal length, so that nothing is padded).

Every random choice (order, crop, flip, which captions) follows from (seed, epoch, picture): the
number of workers changes nothing, and a run can stop and go on in the middle of an epoch.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from pycocotools.coco import COCO
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from vocabulary import PAD_IDX, Vocabulary, tokenize

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "MPO")
MAX_PIXELS = 100_000_000  # larger pictures are refused before they are decoded


class UnreadableImageError(ValueError):
    """A file that cannot be used as a picture; the message names the file and the reason."""


def open_image(source: str | Path | BinaryIO, name: str = "") -> Image.Image:
    """Open a picture by its content and bring it to RGB, upright.

    EXIF rotation is applied, transparency is laid over white, grey, palette and CMYK become RGB,
    16 bits are rescaled to 8; of an animation the first frame is taken.

    Args:
        source (str | Path | BinaryIO): a file or an open binary stream.
        name (str): what to call it in messages; the path by default.

    Raises:
        UnreadableImageError: missing, empty, truncated, too large, or not a picture.
    """
    name = name or str(source)
    try:
        with Image.open(source, formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width} x {image.height}"
                raise UnreadableImageError(f"{name}: {size} pixels, at most {MAX_PIXELS:,} allowed")
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except UnreadableImageError:
        raise
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise UnreadableImageError(f"{name}: a folder, not a picture") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"{name}: not a picture ({_content(source)})") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{name}: more than {MAX_PIXELS:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what damaged files raise
        raise UnreadableImageError(f"{name}: damaged or truncated picture ({error})") from error


def _content(source: str | Path | BinaryIO) -> str:
    """Two words on what a file that is no picture holds."""
    if isinstance(source, str | Path):
        return "empty file" if Path(source).stat().st_size == 0 else "content of no known format"
    return "content of no known format"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more: rescale to 8
        values = image.convert("F")
        low, high = values.getextrema()
        tops = [65535] if image.mode.startswith("I;16") else [1, 255, 65535]
        top = next((top for top in tops if high <= top), high)
        low = min(low, 0)
        scale = 255 / (top - low)
        image = values.point(lambda value: value * scale - low * scale).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


# ------------------------------------------------------------------------------------- transforms


def _to_tensor() -> list:
    normalise = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), normalise]


def _resize(size: int, fit: str) -> v2.Transform:
    if fit not in ("stretch", "crop"):
        raise ValueError(f"fit: {fit!r} received, 'stretch' or 'crop' expected")
    return v2.Resize((size, size) if fit == "stretch" else size, antialias=True)


def train_transform(
    image_size: int = 224, resize_size: int = 0, fit: str = "crop", flip: bool = True
) -> v2.Compose:
    """Resize, random crop, random flip, normalise: PIL picture -> (3, image_size, image_size).

    Args:
        image_size (int): side of the result in pixels.
        resize_size (int): side (fit "stretch") or shorter side (fit "crop") before cropping;
            0 takes the usual 256 / 224 of `image_size`.
        fit (str): "crop" keeps the proportions, "stretch" makes the whole picture square.
        flip (bool): mirror every second picture.
    """
    steps = [_resize(resize_size or round(image_size * 256 / 224), fit), v2.RandomCrop(image_size)]
    return v2.Compose([*steps, *([v2.RandomHorizontalFlip()] if flip else []), *_to_tensor()])


def eval_transform(image_size: int = 224, resize_size: int = 0, fit: str = "crop") -> v2.Compose:
    """The same without chance, for validation, inference and the demo.

    "stretch" shows the whole picture (nothing that a caption names is cut away); "crop" resizes
    the shorter side to `resize_size` and takes the middle.
    """
    if fit == "stretch":
        return v2.Compose([_resize(image_size, fit), *_to_tensor()])
    shorter = resize_size or round(image_size * 256 / 224)
    return v2.Compose([_resize(shorter, fit), v2.CenterCrop(image_size), *_to_tensor()])


# ---------------------------------------------------------------------------------------- data set


class Item(NamedTuple):
    """One picture of a batch to be: which, with which captions, and in which epoch."""

    image: int
    captions: tuple[int, ...]  # positions in `CaptionDataset.captions[image]`
    epoch: int


@dataclass
class Batch:
    """B pictures and N = B x S captions, image-major: row n belongs to picture n // S.

    Args:
        images (Tensor | None): (B, 3, H, W) normalised; None when there are features.
        features (Tensor | None): (B, P, F) regions that were computed before.
        captions (Tensor): (N, T) ids `<start> .. <end> <pad>`.
        token_mask (Tensor): (N, T) bool, True = a word, `<start>` or `<end>`, not `<pad>`.
        image_ids (list[int]): B ids of the annotation file.
        references (list[list[list[int]]]): all captions of each picture, as ids.
        skipped (list[str]): messages about pictures of this batch that could not be read.
    """

    images: Tensor | None
    features: Tensor | None
    captions: Tensor
    token_mask: Tensor
    image_ids: list[int]
    references: list[list[list[int]]]
    skipped: list[str]

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on another device."""
        names = ("images", "features", "captions", "token_mask")
        tensors = {name: getattr(self, name) for name in names}
        moved = {k: v.to(device, non_blocking=True) for k, v in tensors.items() if v is not None}
        return replace(self, **moved)


def read_annotations(data: str | Path, split: str, file: str | Path = "") -> COCO:
    """The COCO object of `DATA/annotations/captions_SPLIT.json` (or `images_SPLIT.json`).

    Args:
        data (str | Path): data-set folder.
        split (str): train, val, test or any other name in use there.
        file (str | Path): read this caption file instead; its pictures are in `DATA/images`.

    Raises:
        FileNotFoundError: neither file exists; the message lists the splits that do.
        ValueError: the file is not in COCO's format, or the split is empty.
    """
    folder = Path(data) / "annotations"
    paths = [folder / f"captions_{split}.json", folder / f"images_{split}.json"]
    paths = [Path(file)] if file else paths
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        found = sorted(p.stem.removeprefix("captions_") for p in folder.glob("captions_*.json"))
        raise FileNotFoundError(f"{paths[0]}: no such file (splits found there: {found or 'none'})")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it reads
            coco = COCO(str(path))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path}: not a COCO annotation file ({error!r})") from error
    if not coco.imgs:
        raise ValueError(f"{path}: no images in it, at least one expected")
    return coco


class CaptionDataset(Dataset):
    """The pictures of one split with all their captions.

    Args:
        data (str | Path): data-set folder.
        split (str): train, val, test or any other name in use there.
        vocabulary (Vocabulary): turns captions into ids.
        transform (v2.Compose): picture -> (3, H, W).
        max_length (int): most words of a caption kept.
        seed (int): seed of crops and flips.
        sided_transform (v2.Compose | None): used in place of `transform` for pictures whose
            captions say left or right (a transform that does not flip); None: no difference.
        annotations (COCO | None): what `read_annotations` gave, if it was read already.
        max_pictures (int): the first so many pictures only; 0 takes all.

    Raises:
        FileNotFoundError, ValueError: see `read_annotations`.
    """

    def __init__(
        self,
        data: str | Path,
        split: str,
        vocabulary: Vocabulary,
        transform: v2.Compose,
        max_length: int = 20,
        seed: int = 0,
        sided_transform: v2.Compose | None = None,
        annotations: COCO | None = None,
        max_pictures: int = 0,
    ) -> None:
        coco = annotations or read_annotations(data, split)
        self.folder, self.split, self.vocabulary = Path(data) / "images", split, vocabulary
        self.transform, self.sided_transform, self.seed = transform, sided_transform, seed
        self.image_ids = sorted(coco.imgs)[: max_pictures or None]
        self.file_names = [coco.imgs[image_id]["file_name"] for image_id in self.image_ids]
        self.texts = [[a["caption"] for a in coco.imgToAnns.get(i, [])] for i in self.image_ids]
        self.captions = [[vocabulary.encode(t, max_length) for t in some] for some in self.texts]
        self.sided = [any({"left", "right"} & {*tokenize(t)} for t in some) for some in self.texts]
        self.views: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, item: Item | int) -> tuple[Item, Tensor | str]:
        """The transformed picture (or its features, once `views` holds them: one tensor
        (pictures, P, F) for each random view), or the message that tells why there is none.
        """
        item = item if isinstance(item, Item) else Item(item, (), 0)
        if self.views:
            return item, self.views[item.epoch % len(self.views)][item.image]
        try:
            image = open_image(self.folder / self.file_names[item.image])
        except UnreadableImageError as error:
            return item, str(error)
        sided = self.sided_transform is not None and self.sided[item.image]
        with torch.random.fork_rng(devices=[]):  # the same crop for any number of workers
            torch.manual_seed(_mix(self.seed, item.epoch, item.image))
            return item, (self.sided_transform if sided else self.transform)(image)

    def collate(self, items: Sequence[tuple[Item, Tensor | str]]) -> Batch:
        """Put what `__getitem__` gave into a batch; unreadable pictures are left out and named."""
        good = [(item, image) for item, image in items if not isinstance(image, str)]
        rows = [self.captions[item.image][c] for item, _ in good for c in item.captions]
        captions = torch.full((len(rows), max(map(len, rows), default=1)), PAD_IDX)
        for row, ids in zip(captions, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        stacked = torch.stack([image for _, image in good]) if good else None
        return Batch(
            images=None if self.views else stacked,
            features=stacked if self.views else None,
            captions=captions,
            token_mask=captions != PAD_IDX,
            image_ids=[self.image_ids[item.image] for item, _ in good],
            references=[self.captions[item.image] for item, _ in good],
            skipped=[image for _, image in items if isinstance(image, str)],
        )


def _mix(*numbers: int) -> int:
    """One seed out of several numbers."""
    return random.Random(repr(numbers)).getrandbits(62)


# ----------------------------------------------------------------------------------------- batches


def padded_batches(
    captions: Sequence[Sequence], batch_size: int, captions_per_image: int, seed: int, epoch: int
) -> list[list[Item]]:
    """Every picture once, in random order, with `captions_per_image` of its captions each.

    A picture with fewer captions repeats some; one without any is left out.
    """
    rng = random.Random(_mix(seed, epoch))
    order = [image for image, some in enumerate(captions) if some]
    rng.shuffle(order)
    items = []
    for image in order:
        choice, count = range(len(captions[image])), captions_per_image
        enough = len(choice) >= count
        picked = rng.sample(choice, count) if enough else rng.choices(choice, k=count)
        items.append(Item(image, tuple(picked), epoch))
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def length_batches(
    captions: Sequence[Sequence], batch_size: int, seed: int, epoch: int
) -> list[list[Item]]:
    """Every caption once, in batches of captions of equal length, in random order."""
    rng = random.Random(_mix(seed, epoch))
    by_length: dict[int, list[Item]] = {}
    for image, some in enumerate(captions):
        for position, ids in enumerate(some):
            by_length.setdefault(len(ids), []).append(Item(image, (position,), epoch))
    batches = []
    for _, items in sorted(by_length.items()):
        rng.shuffle(items)
        batches += [items[i : i + batch_size] for i in range(0, len(items), batch_size)]
    rng.shuffle(batches)
    return batches


class CaptionLoader:
    """Batches of a data set, epoch after epoch, from a position that can be saved and restored.

    Args:
        dataset (CaptionDataset): what to read.
        batch_size (int): pictures (padded) or captions (length) a batch, >= 1.
        captions_per_image (int): S, captions of a picture in one batch (padded only), >= 1.
        batching (str): "padded" or "length".
        shuffle (bool): False reads the pictures once in order, without captions being drawn.
        num_workers (int): processes that read pictures; 0 reads them in this one.
        seed (int): seed of the order and of the captions drawn.

    Raises:
        ValueError: a number is out of range, `batching` is unknown, or no picture has a caption.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        batch_size: int = 32,
        captions_per_image: int = 5,
        batching: str = "padded",
        shuffle: bool = True,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        if batching not in ("padded", "length"):
            raise ValueError(f"batching: {batching!r} received, 'padded' or 'length' expected")
        for name, number in (
            ("batch_size", batch_size),
            ("captions_per_image", captions_per_image),
        ):
            if number < 1:
                raise ValueError(f"{name}: {number} received, 1 or more expected")
        if shuffle and not any(dataset.captions):
            raise ValueError(f"split {dataset.split!r}: no captions, training needs some")
        self.dataset, self.batch_size, self.num_workers = dataset, batch_size, num_workers
        self.captions_per_image, self.batching = captions_per_image, batching
        self.shuffle, self.seed = shuffle, seed
        self.epoch, self.position = 0, 0
        self._batches = (-1, [])

    def batches(self) -> list[list[Item]]:
        """What the batches of the current epoch consist of."""
        if not self.shuffle:
            items = [Item(image, (), 0) for image in range(len(self.dataset))]
            return [items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size)]
        if self._batches[0] != self.epoch:
            captions, size = self.dataset.captions, self.batch_size
            if self.batching == "length":
                made = length_batches(captions, size, self.seed, self.epoch)
            else:
                number = self.captions_per_image
                made = padded_batches(captions, size, number, self.seed, self.epoch)
            self._batches = (self.epoch, made)
        return self._batches[1]

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batches())

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch; afterwards the loader stands at the start of the next."""
        left = self.batches()[self.position :]
        loader = DataLoader(
            self.dataset,
            batch_sampler=left,
            collate_fn=self.dataset.collate,
            num_workers=0 if self.dataset.views else self.num_workers,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),  # leaves torch's own generator alone
        )
        for batch in loader:
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch, and the batches of it that were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position given by `state_dict`."""
        self.epoch, self.position = state["epoch"], state["position"]
