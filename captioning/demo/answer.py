"""What the page does, without the page: bundles on a shelf, a picture in, captions and maps out."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from captioning.bundle import Caption, Captioner
from captioning.decoders.build import TITLES
from captioning.plotting.attention import Frame, attention_overlay, seen_frame
from data_loader import open_image

DEFAULT_BUNDLE = "picturebook_xe"
SHOWN_SIZE = (640, 900)  # least and greatest longer side of a picture under an attention map


class Shelf:
    """The model bundles of a folder; each is read when it is first asked for.

    Args:
        models (Path): folder of bundles.
        device (str): where they run (see `captioning.bundle.pick_device`).
        capacity (int): how many stay in memory.
    """

    def __init__(self, models: Path, device: str = "auto", capacity: int = 3) -> None:
        self.models, self.device, self.capacity = Path(models), device, capacity
        self._loaded: OrderedDict[tuple[str, int], Captioner] = OrderedDict()
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The bundles that can look at pictures: the shipped one first, then by name."""
        configs = [path for path in self.models.glob("*/config.json") if sees_pictures(path)]
        found = sorted(path.parent.name for path in configs)
        return sorted(found, key=lambda name: name != DEFAULT_BUNDLE)

    def get(self, name: str) -> Captioner:
        """A bundle, from memory when it is there and its files are still the same.

        Raises:
            FileNotFoundError: there is no such bundle; the message tells how to make one.
            ValueError: its files do not fit together.
        """
        names = self.names()
        if not names:
            raise FileNotFoundError(no_models(self.models))
        if name not in names:
            raise FileNotFoundError(f"model: {name!r} received, one of {names} expected")
        folder = self.models / name
        with self._lock:
            key = (name, (folder / "config.json").stat().st_mtime_ns)
            if key not in self._loaded:
                self._loaded[key] = Captioner.load(folder, self.device)
                while len(self._loaded) > self.capacity:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


def sees_pictures(config: Path) -> bool:
    """Whether a bundle has an encoder; those trained on features made elsewhere have none."""
    try:
        encoder = json.loads(config.read_text("utf-8"))["experiment"]["encoder"]
        return encoder["backbone"] != "features"
    except (OSError, ValueError, KeyError, TypeError):
        return True  # damaged: `Captioner.load` says how


def no_models(models: Path) -> str:
    """The sentence for a folder without a bundle, with the command that makes one."""
    recipe = "python -m captioning train --config recipes/picturebook.yaml"
    return f"No trained model in {models}/ yet. Make one with: {recipe}"


def facts(captioner: Captioner) -> dict[str, str]:
    """What a reader wants to know about a model, label by label."""
    experiment, record = captioner.experiment, captioner.record
    transform = experiment.transform
    side = f"{transform.image_size} × {transform.image_size} px"
    cut = experiment.encoder.cut
    networks = captioner.networks()
    table = {
        "Encoder": experiment.encoder.backbone + (f", cut after {cut}" if cut else ""),
        "Decoder": TITLES[experiment.decoder.kind],
        "Parameters": f"{sum(p.numel() for p in networks.parameters()) / 1e6:.1f} million",
        "Vocabulary": f"{len(captioner.vocabulary):,} words",
        "Sees": "pictures of any size" if transform.fit == "native" else side,
    }
    score = record.get("validation", {}).get("CIDEr")
    if score is not None:
        table["CIDEr (val)"] = f"{score:.2f}"
    return table


@dataclass
class Answer:
    """Captions of one picture, and all that the page shows about them.

    Args:
        model (str): name of the bundle.
        picture (Image.Image): the decoded picture, its longer side within `SHOWN_SIZE`.
        captions (list[Caption]): best first.
        boxes (Tensor | None): (P, 4) the encoder's regions in 0..1 of what it saw.
        frame (Frame): the part of the picture that it saw.
        ms (int): time from file to captions.
    """

    model: str
    picture: Image.Image
    captions: list[Caption]
    boxes: Tensor | None
    frame: Frame
    ms: int

    @property
    def has_attention(self) -> bool:
        """Whether the decoder tells where it looked."""
        return any(caption.attention_weights is not None for caption in self.captions)

    def to_dict(self) -> dict[str, Any]:
        """What programs get."""
        captions = [{"caption": c.text, "logprob": round(c.logprob, 4)} for c in self.captions]
        return {"model": self.model, "captions": captions, "ms": self.ms}

    def sharpest_word(self) -> int:
        """The word of the best caption for which the decoder looked most at one place."""
        weights = self.captions[0].attention_weights
        if weights is None or not len(weights):
            return 0
        return int(weights.amax(1).argmax())

    def overlay(self, row: int, word: int) -> Image.Image | None:
        """The picture with the attention of a word, or None when there is none to show."""
        caption = self.captions[row]
        if caption.attention_weights is None or not 0 <= word < len(caption.attention_weights):
            return None
        weights = caption.attention_weights[word]
        return attention_overlay(self.picture, weights, self.boxes, self.frame)


def describe(captioner: Captioner, model: str, path: str, **settings) -> Answer:
    """Caption a picture file.

    Args:
        captioner (Captioner): the model.
        model (str): its name.
        path (str): the picture.
        **settings: of `GenerationConfig`.

    Raises:
        UnreadableImageError: the file is no usable picture.
        ValueError: a setting is out of range, or settings contradict each other.
    """
    config = captioner.generation_config(**settings)
    start = time.perf_counter()
    picture = open_image(path, name=Path(path).name)
    result, features = captioner.generate(captioner.prepare([picture]), config)
    captions = captioner.to_captions(result)
    ms = round(1000 * (time.perf_counter() - start))
    frame = seen_frame(*picture.size, captioner.experiment.transform)
    boxes = None if features.boxes is None else features.boxes[0].cpu()
    return Answer(model, shown(picture), captions, boxes, frame, ms)


def shown(picture: Image.Image) -> Image.Image:
    """The picture in a size at which an attention map over it looks smooth and stays small."""
    least, greatest = SHOWN_SIZE
    scale = min(max(1, least / max(picture.size)), greatest / max(picture.size))
    size = [max(1, round(side * scale)) for side in picture.size]
    return picture.resize(size, Image.Resampling.LANCZOS)
