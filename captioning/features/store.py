"""The feature store: regions, boxes and sizes of many pictures in one HDF5 file, read one by one.

Layout, N pictures with P regions each (P may differ), R = sum of all P:

| name | shape | what |
|---|---|---|
| `image_ids` | (N,) int64 | ids of the annotation files |
| `offsets` | (N + 1,) int64 | picture n has rows `offsets[n]` to `offsets[n + 1]` of the next 3 |
| `regions` | (R, F) float16 or float32 | the features |
| `boxes` | (R, 4) float32, optional | left, top, right, bottom in 0..1 |
| `scores` | (R,) float32, optional | how sure the detector was of the region |
| `sizes` | (N, 2) int64 | width and height of the picture in pixels, 0 0 = unknown |
| `checksums` | (N,) int64, optional | CRC-32 of the picture file, -1 = unknown |
| `file_names` | (N,) text, optional | the picture's name in its folder |
| `record` | text, optional | JSON: how it was made, and which pictures could not be read |

Attributes: `format` = 1, `signature` (JSON) says what made the features.
Nothing is compressed, so reading a picture is one read from one place.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from captioning.config import EncoderConfig, TransformConfig
from captioning.features.signature import FORMAT, describe_maker, first_difference, make_signature

NUM_PROBES = 16  # pictures whose files are compared with the store before it is used


class FeatureStore:
    """A store that is open for reading; each process opens the file for itself, when it reads.

    Args:
        path (str | Path): the .h5 file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no feature store, a damaged one, or one of another format.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened: tuple[int, h5py.File, dict[str, h5py.Dataset]] | None = None  # by a process
        if not self.path.is_file():
            raise FileNotFoundError(f"{path}: no such feature store")
        try:
            self._stamp = self._read_stamp()
            with h5py.File(self.path, "r", locking=False) as file:
                self._read_index(file)
        except (OSError, KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split()).strip("'\"")
            raise ValueError(f"{path}: not a complete feature store ({reason})") from error
        self._rows = {image_id: row for row, image_id in enumerate(self.image_ids)}
        self._check_index()

    def _read_index(self, file: h5py.File) -> None:
        """Everything but regions, boxes and scores."""
        found = file.attrs.get("format")
        if found != FORMAT:
            raise ValueError(f"format {found} found, {FORMAT} expected")
        self.signature: dict[str, Any] = json.loads(file.attrs["signature"])
        self.record: dict[str, Any] = json.loads(
            file["record"].asstr()[()] if "record" in file else "{}"
        )
        self.image_ids: list[int] = file["image_ids"][:].tolist()
        self.offsets: np.ndarray = file["offsets"][:]
        self.sizes: np.ndarray = file["sizes"][:]
        self.checksums: list[int] = file["checksums"][:].tolist() if "checksums" in file else []
        names = file["file_names"].asstr()[:].tolist() if "file_names" in file else []
        self.file_names: list[str] = names
        unreadable = self.record.get("unreadable", {})
        self.unreadable: dict[int, str] = {int(key): why for key, why in unreadable.items()}
        self.shape: tuple[int, int] = file["regions"].shape
        self.dtype: np.dtype = file["regions"].dtype
        self.has_boxes = "boxes" in file
        self.has_scores = "scores" in file
        there = [name for name in ("boxes", "scores") if name in file]
        self._kinds = {name: (file[name].shape, file[name].dtype) for name in there}

    def _check_index(self) -> None:
        """Refuse a file whose parts do not fit together."""
        number, num_regions = len(self.image_ids), self.shape[0] if self.shape else 0
        boxes, scores = (self._kinds.get(name) for name in ("boxes", "scores"))
        problem = ""
        if not number:
            problem = "no picture in it"
        elif len(self._rows) < number:
            problem = "an image id appears twice"
        elif self.offsets.shape != (number + 1,) or self.sizes.shape != (number, 2):
            problem = (
                f"{number} image ids, but {len(self.offsets)} offsets, {len(self.sizes)} sizes"
            )
        elif len(self.shape) != 2 or self.dtype not in (np.float16, np.float32):
            problem = f"regions {self.shape} of {self.dtype} found, (R, F) of floats expected"
        elif self.offsets[0] != 0 or self.offsets[-1] != num_regions:
            problem = f"offsets end at {self.offsets[-1]}, but there are {num_regions} regions"
        elif (np.diff(self.offsets) < 1).any():
            problem = "a picture without regions"
        elif boxes not in (None, ((num_regions, 4), np.float32)):
            problem = f"boxes {boxes} found, ({num_regions}, 4) of float32 expected"
        elif scores not in (None, ((num_regions,), np.float32)):
            problem = f"scores {scores} found, ({num_regions},) of float32 expected"
        elif len(self.checksums) not in (0, number) or len(self.file_names) not in (0, number):
            problem = "checksums or file names of other pictures"
        if problem:
            raise ValueError(f"{self.path}: damaged feature store ({problem})")

    def __len__(self) -> int:
        return len(self.image_ids)

    def __contains__(self, image_id: int) -> bool:
        return image_id in self._rows

    @property
    def feature_dim(self) -> int:
        """F, the size of a region's vector."""
        return self.shape[1]

    @property
    def max_regions(self) -> int:
        """The largest P of any picture."""
        return int(np.diff(self.offsets).max())

    def num_regions(self, image_id: int) -> int:
        """P of one picture."""
        row = self._row(image_id)
        return int(self.offsets[row + 1] - self.offsets[row])

    def size_of(self, image_id: int) -> tuple[int, int]:
        """Width and height of the picture in pixels, (0, 0) when unknown."""
        width, height = self.sizes[self._row(image_id)].tolist()
        return width, height

    def checksum_of(self, image_id: int) -> int:
        """`file_checksum` of the picture's file, -1 when unknown."""
        row = self._row(image_id)
        return self.checksums[row] if self.checksums else -1

    def read(self, image_id: int) -> tuple[Tensor, Tensor | None]:
        """Features of one picture.

        Args:
            image_id (int): one of `image_ids`.

        Returns:
            tuple: regions (P, F) float32; boxes (P, 4) float32, left, top, right, bottom in 0..1,
            or None in a store without boxes.

        Raises:
            ValueError: no such picture in the store, or its features are not numbers.
        """
        regions, boxes = self.read_raw(image_id)
        values = torch.from_numpy(regions).float()  # (P, F)
        if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
            raise ValueError(f"{self.path}: features of picture {image_id} are not finite numbers")
        return values, None if boxes is None else torch.from_numpy(boxes)

    def read_raw(self, image_id: int) -> tuple[np.ndarray, np.ndarray | None]:
        """The same as it is stored: (P, F) float16 or float32, and (P, 4) or None."""
        names = ["regions", "boxes"] if self.has_boxes else ["regions"]
        regions, *boxes = self._read_arrays(image_id, names)
        return regions, boxes[0] if boxes else None

    def scores_of(self, image_id: int) -> Tensor | None:
        """(P,) float32, how sure the detector was of each region; None in a store without scores.

        Raises:
            ValueError: no such picture in the store, or it cannot be read.
        """
        if not self.has_scores:
            return None
        return torch.from_numpy(self._read_arrays(image_id, ["scores"])[0])

    def _read_arrays(self, image_id: int, names: Sequence[str]) -> list[np.ndarray]:
        """A picture's rows of these datasets."""
        row = self._row(image_id)
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        try:
            arrays = self._arrays()
            return [arrays[name][part] for name in names]
        except (OSError, KeyError, RuntimeError) as error:  # damaged or removed while in use
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.path}: picture {image_id} is not readable ({reason})"
            ) from error

    def describe(self) -> dict[str, Any]:
        """What the store holds, for people and for JSON."""
        regions = np.diff(self.offsets)
        return {
            "pictures": len(self),
            "regions": self.shape[0],
            "regions_of_a_picture": [int(regions.min()), int(regions.max())],
            "feature_dim": self.feature_dim,
            "dtype": self.dtype.name,
            "boxes": self.has_boxes,
            "scores": self.has_scores,
            "sizes": int((self.sizes > 0).all(1).sum()),
            "bytes": self.path.stat().st_size,
            "signature": self.signature,
            "record": self.record,
        }

    def _row(self, image_id: int) -> int:
        if image_id not in self._rows:
            raise ValueError(f"{self.path}: no picture {image_id!r} among its {len(self)}")
        return self._rows[image_id]

    def _arrays(self) -> dict[str, h5py.Dataset]:
        """What is read, opened by this very process: a worker must not share its parent's."""
        if self._opened is None or self._opened[0] != os.getpid():
            if self._read_stamp() != self._stamp:
                raise OSError("the file was replaced since its index was read")
            file = h5py.File(self.path, "r", locking=False)
            names = ["regions", *self._kinds]
            self._opened = os.getpid(), file, {name: file[name] for name in names}
        return self._opened[2]

    def _read_stamp(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Close the file of this process; a later read opens it again."""
        if self._opened is not None and self._opened[0] == os.getpid():
            self._opened[1].close()
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}


# ---------------------------------------------------------------------- what made the features


def weights_hash(encoder: nn.Module) -> str:
    """16 hex digits that stand for an encoder's weights.

    The order of the names does not matter. Numbers are compared in half precision, so that a
    bundle that stores its weights so is still the encoder that made the features. Counters of batch
    norms are left out, they change nothing in evaluation.
    """
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        value = value.detach().cpu()
        value = (value.half() if value.is_floating_point() else value.long()).contiguous()
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    if any(type(module).__name__ == "QuickGELU" for module in encoder.modules()):
        digest.update(b"QuickGELU")  # CLIP with and without it: the same weights, other numbers
    return digest.hexdigest()[:16]


def file_checksum(path: Path) -> int:
    """The number that `checksums` holds for a picture file.

    Raises:
        OSError: it cannot be read.
    """
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


# ------------------------------------------------------------------------------------- checks


def check_signature(
    store: FeatureStore, encoder: EncoderConfig, transform: TransformConfig, weights: str
) -> None:
    """Refuse a store that another encoder made than the settings or the bundle have.

    Args:
        store (FeatureStore): the store.
        encoder (EncoderConfig): the CNN; backbone `features` takes any store of its `feature_dim`.
        transform (TransformConfig): from picture to input.
        weights (str): `weights_hash` of the encoder, empty for backbone `features`.

    Raises:
        ValueError: the first difference with both values.
    """
    if encoder.backbone == "features":
        if encoder.feature_dim not in (0, store.feature_dim):
            raise ValueError(
                f"{store.path}: regions have {store.feature_dim} numbers, "
                f"encoder.feature_dim is {encoder.feature_dim}"
            )
        return
    expected = make_signature(encoder, transform, weights)
    if difference := first_difference(store.signature, expected):
        made = describe_maker(difference, "the settings of the model")
        raise ValueError(f"{store.path}: {made}")


def check_store(
    store: FeatureStore,
    image_ids: Sequence[int],
    feature_dim: int = 0,
    files: Sequence[Path] | None = None,
) -> None:
    """Refuse a store that does not hold these pictures, or holds others under their ids.

    Pictures that could not be read when the store was made may be missing: `store.unreadable`.

    Args:
        store (FeatureStore): the store.
        image_ids (Sequence[int]): pictures that will be asked for.
        feature_dim (int): F of the model; 0 takes any.
        files (Sequence[Path] | None): the picture file of each id; a few of those that exist are
            compared with the checksums in the store.

    Raises:
        ValueError: what is missing or different, with an example and the number; NaN in one of the
            pictures that are read for a trial.
    """
    if feature_dim not in (0, store.feature_dim):
        raise ValueError(
            f"{store.path}: regions have {store.feature_dim} numbers, the model takes {feature_dim}"
        )
    missing = [i for i in image_ids if i not in store and i not in store.unreadable]
    if missing:
        raise ValueError(
            f"{store.path}: {len(missing)} of {len(image_ids)} pictures are missing, "
            f"the first is {missing[0]}"
        )
    paths = files or [None] * len(image_ids)
    probes = [pair for pair in zip(image_ids, paths, strict=True) if pair[0] in store]
    for image_id, path in probes[:: max(1, len(probes) // NUM_PROBES)]:
        store.read(image_id)
        known = store.checksum_of(image_id)
        if path and known >= 0 and path.is_file() and file_checksum(path) != known:
            raise ValueError(
                f"{store.path}: picture {image_id} was not the file {path} when its features were "
                "computed; extract the features of this data set"
            )
