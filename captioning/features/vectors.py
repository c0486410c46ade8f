"""One vector a picture: what CLIP makes of the whole of it, kept in a store or looked at now.

A store of such vectors is an ordinary feature store with one region of D numbers a picture. They
are of length 1, and single precision, because scores are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from captioning.clip.model import Clip
from captioning.features.looker import Found, Looker, Seen
from captioning.features.pictures import Picture
from captioning.features.signature import describe_maker, first_difference
from captioning.features.store import FeatureStore, check_store
from data_loader import UnreadableImageError, open_image

BATCH = 64  # pictures at once


def vector_signature(clip: Clip) -> dict[str, Any]:
    """What a store says of the CLIP that made its vectors."""
    look = {key: clip.preprocess[key] for key in sorted(clip.preprocess)}
    look = {key: list(v) if isinstance(v, list | tuple) else v for key, v in look.items()}
    encoder = {"backbone": "clip", "output": "vector"}
    return {"encoder": encoder, "transform": look, "weights_hash": clip.weights_hash}


def vector_looker(clip: Clip) -> Looker:
    """CLIP's picture encoder for `features clip`."""

    def look(batch: Sequence[Seen]) -> list[Found]:
        vectors = clip.image_vectors(torch.stack([seen.image for seen in batch])).cpu()
        return [Found(vector[None]) for vector in vectors]

    dim = clip.text_vectors(["a"]).shape[1]
    return Looker(look, clip.transform, vector_signature(clip), dim, (1, 1), has_boxes=False)


def look_at(
    clip: Clip, files: Sequence[Path], progress: bool = False, skip: bool = False
) -> Tensor:
    """The vectors of picture files, (P, D), on the CPU; arguments as for `vectors_of`.

    Raises:
        UnreadableImageError: one of them is no picture.
    """
    found: dict[int, Tensor] = {}
    starts = range(0, len(files), BATCH)
    for start in tqdm(starts, desc="vectors", unit=f"x{BATCH}", disable=not progress):
        images: dict[int, Tensor] = {}
        for place in range(start, min(start + BATCH, len(files))):
            try:
                images[place] = clip.transform(open_image(files[place]))
            except UnreadableImageError:
                if not skip:
                    raise
        if images:
            vectors = clip.image_vectors(torch.stack([*images.values()])).cpu()
            found |= dict(zip(images, vectors, strict=True))
    blank = torch.zeros_like(next(iter(found.values()), torch.zeros(1)))
    return torch.stack([found.get(place, blank) for place in range(len(files))])


def open_vectors(
    path: str | Path, clip: Clip, pictures: Sequence[Picture], skip: bool = False
) -> FeatureStore:
    """A store of the vectors of pictures; arguments as for `vectors_of`.

    Raises:
        FileNotFoundError: there is no such store.
        ValueError: another CLIP made it, or pictures are missing or other ones.
    """
    store = FeatureStore(path)
    if difference := first_difference(store.signature, vector_signature(clip)):
        made = describe_maker(difference, f"the CLIP {clip.name}")
        raise ValueError(f"{path}: {made}; `features clip` makes one")
    ids = [picture.image_id for picture in pictures]
    unreadable = [i for i in ids if i in store.unreadable]
    if unreadable and not skip:
        raise ValueError(f"{path}: picture {unreadable[0]}: {store.unreadable[unreadable[0]]}")
    check_store(store, ids, files=[picture.path for picture in pictures])
    return store


def read_vectors(
    path: str | Path, clip: Clip, pictures: Sequence[Picture], skip: bool = False
) -> Tensor:
    """What `open_vectors` opens, (P, D), on the CPU."""
    store = open_vectors(path, clip, pictures, skip)
    ids, blank = [picture.image_id for picture in pictures], torch.zeros(1, store.feature_dim)
    return torch.cat([blank if i in store.unreadable else store.read(i)[0] for i in ids])


def vectors_of(
    clip: Clip,
    pictures: Sequence[Picture],
    store: str | Path = "",
    progress: bool = False,
    skip: bool = False,
) -> Tensor:
    """The vectors of pictures: from a store where one is named, else looked at now.

    Args:
        clip (Clip): whose picture encoder.
        pictures (Sequence[Picture]): P pictures.
        store (str | Path): feature store; empty for none.
        progress (bool): show a bar on stderr.
        skip (bool): an unreadable picture gets zeros.

    Returns:
        Tensor: (P, D), length 1 each, float32, on the CPU.

    Raises:
        FileNotFoundError, ValueError, UnreadableImageError: see `read_vectors` and `look_at`.
    """
    if store:
        return read_vectors(store, clip, pictures, skip)
    return look_at(clip, [picture.path for picture in pictures], progress, skip)
