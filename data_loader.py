"""Pictures and captions in batches: safe opening, transforms, batching, and a position to resume.

Reads the course's data-set layout (`images/`, `annotations/captions_SPLIT.json` in COCO's format)
through pycocotools. Two ways to batch: *padded* (S captions of each picture, which share one look
at it) and *length* (one caption a row, all of equal length, so that nothing is padded).

Every random choice follows from (seed, epoch, picture): the number of workers changes nothing,
and a run can stop and go on in the middle of an epoch.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from pycocotools.coco import COCO
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from vocabulary import PAD_IDX, Packed, Vocabulary, pack_ids, unpack_ids

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # MPO comes with JPEG
MAX_PIXELS = 89_000_000  # larger pictures are refused before they are decoded
NATIVE_SIDE = 1024  # longest side that `fit` native shows as it is; larger pictures are shrunk
MAX_RATIO = 200  # of the sides: a thinner strip would grow beyond all bounds when it is resized
_SIDED = re.compile(r"\b(left|right)", re.IGNORECASE)  # also leftmost, right-hand; not bright


class UnreadableImageError(ValueError):
    """A file that cannot be used as a picture; the message names the file and the reason."""


def open_image(source: str | Path | BinaryIO, name: str = "") -> Image.Image:
    """Open a picture by its content; RGB, upright (EXIF), of an animation the first frame.

    Args:
        source (str | Path | BinaryIO): a file or an open binary stream.
        name (str): what to call it in messages; the path by default.

    Raises:
        UnreadableImageError: missing, empty, truncated, too large, or not a picture.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source, "r", FORMATS) as image:
            short, long = sorted(image.size)
            if short * long > MAX_PIXELS or long > short * MAX_RATIO:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a damaged file can make Pillow raise nearly anything
        raise UnreadableImageError(f"{name or source}: {_reason(error, source)}") from error


def _reason(error: Exception, source: str | Path | BinaryIO) -> str:
    """In a few words, why a file is no picture."""
    if isinstance(error, Image.DecompressionBombError):
        return f"{error}; at most {MAX_PIXELS:,} in all and sides of 1 to {MAX_RATIO} allowed"
    if isinstance(error, OSError) and error.strerror:  # missing, a folder, no permission
        return error.strerror.lower()
    if isinstance(error, UnidentifiedImageError):
        empty = isinstance(source, str | Path) and Path(source).stat().st_size == 0
        return f"not a picture ({'empty file' if empty else 'content of no known format'})"
    return f"damaged or truncated picture ({error})"


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette, CMYK to RGB; 16 bits rescaled to 8; transparency laid over white."""
    if image.mode.startswith(("I", "F")):
        values = image.convert("F")
        low, high = values.getextrema()
        tops = [65535] if image.mode.startswith("I;16") else [1, 255, 65535]
        top, low = next((top for top in tops if high <= top), high), min(low, 0)
        scale = 255 / (top - low)
        image = values.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
        image.info.pop("transparency", None)  # a value of the 16 bits
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def shrink(image: Image.Image, max_side: int = NATIVE_SIDE) -> Image.Image:
    """The picture with its longer side at most `max_side` pixels, proportions kept."""
    factor = max_side / max(image.size)
    if factor >= 1:
        return image
    size = tuple(max(1, round(side * factor)) for side in image.size)
    return image.resize(size, Image.Resampling.BILINEAR)


def _resize(image_size: int, resize_size: int, fit: str, how: str) -> v2.Transform:
    if fit not in ("stretch", "crop", "native"):
        raise ValueError(f"fit: {fit!r} received, 'stretch', 'crop' or 'native' expected")
    if 0 < resize_size < image_size:
        allowed = f"0 or at least image_size ({image_size})"
        raise ValueError(f"resize_size: {resize_size} received, {allowed} expected")
    size = resize_size or round(image_size * 256 / 224)
    return v2.Resize((size, size) if fit == "stretch" else size, v2.InterpolationMode(how))


def _transform(steps: list[v2.Transform]) -> v2.Compose:
    to_tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([*steps, *to_tensor, v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


def train_transform(
    image_size: int = 224,
    resize_size: int = 0,
    fit: str = "crop",
    flip: bool = True,
    interpolation: str = "bilinear",
) -> v2.Compose:
    """Resize, random crop, random flip, normalise: PIL picture -> (3, image_size, image_size).

    Args:
        image_size (int): side of the result in pixels.
        resize_size (int): (shorter) side before cropping; 0: 256 / 224 of `image_size`.
        fit (str): "crop" keeps the proportions, "stretch" makes the whole picture square, "native"
            leaves its size as it is: (3, H, W), unless its longer side exceeds `NATIVE_SIDE`.
        flip (bool): mirror every second picture.
        interpolation (str): "bilinear" or "bicubic", with antialias.
    """
    flips = [v2.RandomHorizontalFlip()] if flip else []
    resize = _resize(image_size, resize_size, fit, interpolation)
    crop = [v2.Lambda(shrink)] if fit == "native" else [resize, v2.RandomCrop(image_size)]
    return _transform([*crop, *flips])


def eval_transform(
    image_size: int = 224, resize_size: int = 0, fit: str = "crop", interpolation: str = "bilinear"
) -> v2.Compose:
    """The same without chance: "stretch" shows the whole picture, "crop" cuts out the middle."""
    if fit == "stretch":
        return _transform([_resize(image_size, image_size, fit, interpolation)])
    resize = _resize(image_size, resize_size, fit, interpolation)
    native = fit == "native"
    return _transform([v2.Lambda(shrink)] if native else [resize, v2.CenterCrop(image_size)])


class Item(NamedTuple):
    """One picture of a batch to be: which, with which captions, and in which epoch."""

    image: int
    captions: tuple[int, ...]  # positions in `CaptionDataset.captions[image]`
    epoch: int


@dataclass
class Batch:
    """B pictures and N = B x S captions, image-major: row n belongs to picture n // S."""

    images: Tensor | list[Tensor] | None  # (B, 3, H, W) normalised, a list of B for unequal sizes
    features: Tensor | None  # (B, P, F) regions that were computed before, in place of pictures
    captions: Tensor  # (N, T) ids `<start> .. <end> <pad>`
    token_mask: Tensor  # (N, T) bool, True = a word, `<start>` or `<end>`, not `<pad>`
    image_ids: list[int]  # B ids of the annotation file
    references: list[list[list[int]]]  # all captions of each picture, as ids
    skipped: list[str]  # messages about pictures that could not be read and are left out
    region_mask: Tensor | None = None  # (B, P) bool, True = a region; None: all are
    boxes: Tensor | None = None  # (B, P, 4) left, top, right, bottom of the regions in 0..1

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on another device."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        moved: dict = {k: v.to(device, non_blocking=True) for k, v in tensors.items()}
        if isinstance(self.images, list):
            moved["images"] = [image.to(device, non_blocking=True) for image in self.images]
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
    usual = [folder / f"captions_{split}.json", folder / f"images_{split}.json"]
    path = Path(file) if file else next(filter(Path.is_file, usual), usual[0])
    if not path.is_file():
        found = sorted(p.stem.removeprefix("captions_") for p in folder.glob("captions_*.json"))
        there = "" if file else f" (splits found there: {found or 'none'})"
        raise FileNotFoundError(f"{path}: no such file{there}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it reads
            coco = COCO(str(path))
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path}: not a COCO annotation file ({error!r})") from error
    if problem := next(_problems(coco), ""):
        raise ValueError(f"{path}: {problem}")
    return coco


def _problems(coco: COCO) -> Iterator[str]:
    """What is wrong with the entries of a COCO caption file."""
    images, captions = coco.dataset.get("images", []), coco.dataset.get("annotations", [])
    if not images:
        yield "no images in it, at least one expected"
    for kind, entries in (("image", images), ("annotation", captions)):
        ids = Counter(entry["id"] for entry in entries)
        yield from (f"{kind} id {i!r} appears {n} times" for i, n in ids.items() if n > 1)
    for image in images:
        if not isinstance(name := image.get("file_name"), str):
            yield f"image {image['id']!r}: file_name {name!r} found, text expected"
    for one in captions:
        if not isinstance(caption := one.get("caption"), str):
            yield f"annotation {one['id']!r}: caption {caption!r} found, text expected"
        elif not caption.isascii() and _is_broken(caption):
            yield f"annotation {one['id']!r}: caption {caption!r} holds half a character"
        if one["image_id"] not in coco.imgs:
            yield f"annotation {one['id']!r}: image_id {one['image_id']!r} is not among the images"


def _is_broken(text: str) -> bool:
    """Whether a text holds half a character (a lone surrogate, as cut JSON escapes leave it)."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


class Features(Protocol):
    """What takes the place of the pictures: a feature store."""

    unreadable: dict[int, str]  # pictures without features, and why

    def read(self, image_id: int) -> tuple[Tensor, Tensor | None]:
        """Regions (P, F) and boxes (P, 4) of a picture."""
        ...


class CaptionDataset(Dataset):
    """The pictures of one split with all their captions.

    Args:
        data (str | Path): data-set folder.
        split (str): train, val, test or any other name in use there.
        vocabulary (Vocabulary): turns captions into ids.
        transform (v2.Compose): picture -> (3, H, W).
        max_length (int): most words of a caption kept.
        seed (int): seed of crops and flips.
        sided_transform (v2.Compose | None): the one, without a flip, for pictures whose captions
            say left or right; None: no difference.
        annotations (COCO | None): what `read_annotations` gave, if it was read already.
        max_pictures (int): the first so many pictures only; 0 takes all.
        features (Features | None): where regions come from in place of the pictures.
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
        features: Features | None = None,
    ) -> None:
        coco = annotations or read_annotations(data, split)
        self.folder, self.split, self.vocabulary = Path(data) / "images", split, vocabulary
        self.features = features
        self.transform, self.sided_transform, self.seed = transform, sided_transform, seed
        self.image_ids = sorted(coco.imgs)[: max_pictures or None]
        self.file_names = [coco.imgs[image_id]["file_name"] for image_id in self.image_ids]
        written = ([a["caption"] for a in coco.imgToAnns.get(i, [])] for i in self.image_ids)
        self.texts = Packed([t for t in some if re.search(r"\w", t)] for some in written)
        num_written = sum(len(coco.imgToAnns.get(i, [])) for i in self.image_ids)
        self.num_wordless = num_written - sum(map(len, self.texts))  # left out
        encoded = ([vocabulary.encode(t, max_length) for t in some] for some in self.texts)
        self.captions = Packed(encoded, pack_ids, unpack_ids)
        self.sided = [any(map(_SIDED.search, some)) for some in self.texts]
        self.views: list[Tensor] = []  # features (pictures, P, F) of random views, remembered
        self.unreadable: dict[int, str] = {}  # pictures without features, and why

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, item: Item | int) -> tuple[Item, Any]:
        """The transformed picture (3, H, W); regions and boxes in its place, where there are
        features or views; or a message why there is neither."""
        item = item if isinstance(item, Item) else Item(item, (), 0)
        if self.features is not None:
            image_id = self.image_ids[item.image]
            why = self.features.unreadable.get(image_id)
            return item, why or self.features.read(image_id)
        if self.views:
            view = self.views[item.epoch % len(self.views)]
            return item, self.unreadable.get(item.image, (view[item.image], None))
        return item, self.open(item, self.folder / self.file_names[item.image])

    def open(self, item: Item, source: Path | BinaryIO, name: str = "") -> Tensor | str:
        """The transformed picture (3, H, W) of a file or stream, or a message why there is none."""
        try:
            image = open_image(source, name)
        except UnreadableImageError as error:
            return str(error)
        sided = self.sided_transform is not None and self.sided[item.image]
        with torch.random.fork_rng(devices=[]):  # the same crop for any number of workers
            torch.default_generator.manual_seed(mix_seeds(self.seed, item.epoch, item.image))
            return (self.sided_transform if sided else self.transform)(image)

    def collate(self, items: Sequence[tuple[Item, Any]]) -> Batch:
        """Put what `__getitem__` gave into a batch; unreadable pictures are left out and named."""
        good = [(item, image) for item, image in items if not isinstance(image, str)]
        rows = [self.captions[item.image][c] for item, _ in good for c in item.captions]
        captions = torch.full((len(rows), max(map(len, rows), default=1)), PAD_IDX)
        for row, ids in zip(captions, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids)
        seen, remembered = [image for _, image in good], bool(self.views or self.features)
        regions, mask, boxes = pad_regions(seen) if good and remembered else (None, None, None)
        equal = len({image.shape for image in seen}) == 1 if good and not remembered else False
        return Batch(
            images=torch.stack(seen) if equal else None if remembered or not good else seen,
            features=regions,
            region_mask=mask,
            boxes=boxes,
            captions=captions,
            token_mask=captions != PAD_IDX,
            image_ids=[self.image_ids[item.image] for item, _ in good],
            references=[self.captions[item.image] for item, _ in good],
            skipped=[image for _, image in items if isinstance(image, str)],
        )


def pad_regions(
    pairs: Sequence[tuple[Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Regions and boxes of B pictures in one batch; shorter ones are filled up with zeros.

    Args:
        pairs (Sequence): regions (P, F) and boxes (P, 4) or None of each; P may differ.

    Returns:
        tuple: regions (B, P, F), region_mask (B, P) or None when all have as many, boxes (B, P, 4)
        or None when one has none.
    """
    regions = nn.utils.rnn.pad_sequence([one for one, _ in pairs], batch_first=True)
    boxes = [box for _, box in pairs if box is not None]
    padded = (
        nn.utils.rnn.pad_sequence(boxes, batch_first=True) if len(boxes) == len(pairs) else None
    )
    number = torch.tensor([len(one) for one, _ in pairs])  # (B,)
    mask = torch.arange(regions.shape[1]) < number[:, None]
    return regions, None if mask.all() else mask, padded


def ignore_interrupts(worker: int) -> None:  # which are for the process that reads from it
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def mix_seeds(*numbers: int) -> int:
    """One seed out of several numbers."""
    return random.Random(repr(numbers)).getrandbits(62)


def draw_captions(number: int, wanted: int, rng: random.Random) -> tuple[int, ...]:
    """`wanted` of a picture's captions by position: none twice before all were once."""
    picked: list[int] = []
    while (missing := wanted - len(picked)) > 0:
        picked += rng.sample(range(number), min(number, missing))
    return tuple(picked)


def padded_batches(
    captions: Sequence[Sequence], batch_size: int, captions_per_image: int, seed: int, epoch: int
) -> list[list[Item]]:
    """Every picture once, in random order, with `captions_per_image` of its captions each.

    A picture with fewer captions repeats some of them; one without any is left out.
    """
    rng = random.Random(mix_seeds(seed, epoch))
    order = [image for image, some in enumerate(captions) if some]
    rng.shuffle(order)
    items = []
    for image in order:
        picked = draw_captions(len(captions[image]), captions_per_image, rng)
        items.append(Item(image, picked, epoch))
    return [items[i : i + batch_size] for i in range(0, len(items), batch_size)]


def length_batches(
    captions: Sequence[Sequence], batch_size: int, seed: int, epoch: int
) -> list[list[Item]]:
    """Every caption once, in batches of captions of equal length, in random order."""
    rng = random.Random(mix_seeds(seed, epoch))
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
        num_workers (int): processes that read pictures; 0 reads them in this one.
        seed (int): seed of the order and of the captions drawn.
        part (tuple[int, int]): (k, n): the k-th of n processes that share batches n times as large.

    Raises:
        ValueError: an argument is out of range, or no picture has a caption.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        batch_size: int = 32,
        captions_per_image: int = 5,
        batching: str = "padded",
        num_workers: int = 0,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batching not in ("padded", "length"):
            raise ValueError(f"batching: {batching!r} received, 'padded' or 'length' expected")
        for name, n in (("batch_size", batch_size), ("captions_per_image", captions_per_image)):
            if n < 1:
                raise ValueError(f"{name}: {n} received, 1 or more expected")
        if not any(dataset.captions):
            raise ValueError(f"split {dataset.split!r}: no captions, training needs some")
        self.dataset, self.batch_size, self.num_workers = dataset, batch_size, num_workers
        self.captions_per_image, self.batching, self.seed = captions_per_image, batching, seed
        self.part, self.epoch, self.position, self._batches = part, 0, 0, (-1, [])

    def batches(self) -> list[list[Item]]:
        """What the current epoch's batches consist of: this process's part; the first has most."""
        if self._batches[0] != self.epoch:
            rank, size = self.part
            whole, chance = (self.dataset.captions, self.batch_size * size), (self.seed, self.epoch)
            if self.batching == "length":
                made = length_batches(*whole, *chance)
            else:
                made = padded_batches(*whole, self.captions_per_image, *chance)
            parts = [b[-(-len(b) * rank // size) : -(-len(b) * (rank + 1) // size)] for b in made]
            self._batches = self.epoch, parts
        return self._batches[1]

    def batches_in(self, epoch: int) -> int:
        """Batches of a whole epoch; all have as many."""
        return len(self.batches())

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.batches())

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the current epoch; afterwards the loader stands at the start of the next."""
        for batch in DataLoader(
            self.dataset,
            batch_sampler=self.batches()[self.position :],
            collate_fn=self.dataset.collate,
            num_workers=0 if self.dataset.views else self.num_workers,
            worker_init_fn=ignore_interrupts,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),  # leaves torch's own generator alone
        ):
            self.position += 1
            yield batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: the epoch, and the batches of it that were handed out."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position given by `state_dict`."""
        self.epoch, self.position = state["epoch"], state["position"]
