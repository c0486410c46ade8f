"""What `bench latency` measures: models of any group size, decoders without a cache, their inputs.

The transformers with random weights have COCO's size and the same weights for every group size K,
which adds none. `<end>` is impossible for them, so that all captions have equally many words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from captioning.bundle import Captioner, Images, visual_input
from captioning.config import (
    DecoderConfig,
    EncoderConfig,
    Experiment,
    GenerationConfig,
    TransformConfig,
    TransformerConfig,
)
from captioning.decoders.build import build_decoder
from captioning.decoders.transformer import DecoderTransformer
from captioning.encoders.cnn import build_encoder
from captioning.evaluation.evaluate import load_split
from captioning.settings import validate
from data_loader import UnreadableImageError
from model import State, VisualFeatures, grid_boxes
from vocabulary import END_IDX, SPECIAL_WORDS, Vocabulary

IMPOSSIBLE = -1e4  # the bias of a word that is never said
GRID = 7  # rows and columns of the regions, where no CNN says how many there are
Inputs = Callable[[Captioner, int], Images | VisualFeatures]  # of so many pictures


@dataclass(frozen=True)
class Sizes:
    """Of the transformers with random weights; not changed: COCO's.

    Args:
        num_layers (int): of the decoder, and as many of the region encoder.
        model_dim, feedforward_dim, num_heads (int): see `TransformerConfig`.
        num_words (int): V, special words included.
        feature_dim (int): F of the regions, where no CNN looks.
        max_length (int): words of every caption.
        backbone (str): CNN that looks at the pictures; "features": none.
        image_size (int): pixels of a side of the pictures.
        seed (int): of the weights.
    """

    num_layers: int = 6
    model_dim: int = 512
    feedforward_dim: int = 2048
    num_heads: int = 8
    num_words: int = 9488
    feature_dim: int = 2048
    max_length: int = 16
    backbone: str = "resnet50"
    image_size: int = 224
    seed: int = 0


def random_captioners(
    group_sizes: Sequence[int], sizes: Sizes | None = None, device: torch.device | str = "cpu"
) -> dict[str, Captioner]:
    """Transformers with the same random weights that say K words at once, one for each K.

    Args:
        group_sizes (Sequence[int]): K.
        sizes (Sizes | None): of all of them.
        device (torch.device | str): where the weights are.

    Returns:
        dict[str, Captioner]: "K = 1", ... to captioners that share encoder and vocabulary.

    Raises:
        ValueError: a size is out of range, or a group is longer than a caption.
    """
    sizes = sizes or Sizes()
    check_sizes("group_sizes", group_sizes, sizes.max_length)
    experiments = [_experiment(group_size, sizes) for group_size in group_sizes]
    vocabulary = Vocabulary([f"w{i}" for i in range(sizes.num_words - len(SPECIAL_WORDS))])
    captioners: dict[str, Captioner] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sizes.seed)
        encoder = build_encoder(experiments[0].encoder, load_weights=False)
        for experiment in experiments:
            decoder = build_decoder(experiment.decoder, sizes.num_words, encoder.feature_dim)
            for first in [*captioners.values()][:1]:
                decoder.load_state_dict(first.decoder.state_dict())
            torch.nn.init.constant_(decoder.output.bias[END_IDX : END_IDX + 1], IMPOSSIBLE)
            captioner = Captioner(encoder, decoder, vocabulary, experiment)
            name = f"K = {experiment.decoder.transformer.group_size}"
            captioners[name] = captioner.to(device).train(False)
    return captioners


def check_sizes(name: str, values: Sequence[int], most: int) -> None:
    """Refuse a list of sizes that is empty, repeats itself or leaves its range.

    Args:
        name (str): what they are called.
        values (Sequence[int]): the sizes.
        most (int): the largest allowed.

    Raises:
        ValueError: the first that does not fit.
    """
    allowed = f"different whole numbers from 1 to {most} expected"
    for place, value in enumerate(values):
        if type(value) is not int or not 1 <= value <= most or value in values[:place]:
            again = " twice" if value in values[:place] else ""
            raise ValueError(f"{name}: {value!r} received{again}, {allowed}")
    if not values:
        raise ValueError(f"{name}: none received, {allowed}")


def _experiment(group_size: int, sizes: Sizes) -> Experiment:
    """The settings of one of them.

    Raises:
        ValueError: a size is out of range.
    """
    transformer = TransformerConfig(
        model_dim=sizes.model_dim,
        feedforward_dim=sizes.feedforward_dim,
        num_heads=sizes.num_heads,
        encoder_layers=sizes.num_layers,
        num_layers=sizes.num_layers,
        group_size=group_size,
    )
    dim = sizes.feature_dim if sizes.backbone == "features" else 0
    experiment = Experiment(
        transform=TransformConfig(image_size=sizes.image_size),
        encoder=EncoderConfig(backbone=sizes.backbone, weights="none", feature_dim=dim),
        decoder=DecoderConfig("transformer", transformer=transformer),
        generation=GenerationConfig(max_length=sizes.max_length),
    )
    validate(experiment)
    return experiment


# ---------------------------------------------------------------------------------------- no cache


class Uncached:
    """A transformer that reads its whole caption anew at every step, as published code does.

    The regions' keys and values are computed anew at every step too; what the region encoder gives
    is kept, and logits are computed of the last group only. The words are the same.

    Source: the decoding of ImageCaptioning.pytorch (R. Luo) and of SATIC (Y. Zhou et al.), whose
    `core` decodes the whole prefix.

    Departures: there the regions are repeated for every beam; here they are worked on once a
    picture, which makes this form faster than the published one.

    Args:
        decoder (DecoderTransformer): the network.
    """

    def __init__(self, decoder: DecoderTransformer) -> None:
        self.decoder, self.group_size = decoder, decoder.group_size

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """Regions look at regions; no word is read."""
        image = {f"level_{i}": one for i, one in enumerate(self.decoder.encoder(features))}
        if features.region_mask is not None:
            image["mask"] = features.region_mask
        rows = len(features) * rows_per_image
        read = torch.zeros(rows, 0, dtype=torch.long, device=features.regions.device)
        return {"image": image, "words": {"read": read}}

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """As `DecoderTransformer.step`: (N, G) -> logits (N, G, V), state."""
        decoder, image = self.decoder, state["image"]
        levels = [one for name, one in image.items() if name != "mask"]
        seen = {f"layer_{i}": one.regions.project(levels) for i, one in enumerate(decoder.layers)}
        if "mask" in image:
            seen["mask"] = image["mask"]
        nothing = levels[-1].new_zeros(len(tokens), 0, 2 * levels[-1].shape[-1])  # (N, 0, 2D)
        past = dict.fromkeys((f"layer_{i}" for i in range(decoder.num_layers)), nothing)
        read = torch.cat([state["words"]["read"], tokens], 1)
        x, _, weights = decoder.read(read, {"image": seen, "words": past})
        new = slice(-tokens.shape[1], None)
        looked = weights[-1][:, :, new].mean(1)  # (N, G, P)
        words = {"read": read, "attention_weights": looked}
        return decoder.output(x[:, new]), {"image": image, "words": words}


# ------------------------------------------------------------------------------------------ inputs


def synthetic_inputs(captioner: Captioner, number: int) -> Images | VisualFeatures:
    """Random numbers in place of so many pictures, or of regions for those that cannot look.

    Args:
        captioner (Captioner): the model.
        number (int): B.

    Returns:
        Images | VisualFeatures: the same every time.
    """
    generator = torch.Generator().manual_seed(number)
    experiment = captioner.experiment
    if experiment.encoder.backbone != "features":
        side = experiment.transform.image_size
        images = torch.randn(number, 3, side, side, generator=generator).to(captioner.device)
        return list(images) if experiment.transform.fit == "native" else images
    regions = torch.randn(number, GRID**2, captioner.encoder.feature_dim, generator=generator)
    boxes = grid_boxes(GRID, GRID).expand(number, -1, -1)
    return VisualFeatures(regions.to(captioner.device), None, boxes.to(captioner.device))


def split_inputs(data: str | Path, split: str = "test", features: str | Path = "") -> Inputs:
    """The first pictures of a split, or their features from a store, in place of random numbers.

    Args:
        data (str | Path): data-set folder.
        split (str): which split.
        features (str | Path): feature store, for those that cannot look at pictures.

    Returns:
        Inputs: a function like `synthetic_inputs`; it raises what `load_split` does, ValueError
        where the split has fewer pictures, UnreadableImageError where one cannot be read.
    """

    def first(captioner: Captioner, number: int) -> Images | VisualFeatures:
        looks = captioner.experiment.encoder.backbone != "features"
        if not looks and not features:
            raise ValueError(f"features: none received, a feature store of {data} expected")
        dataset = load_split(captioner, data, split, "" if looks else features)
        if len(dataset) < number:
            found = f"{len(dataset)} pictures found in split {split!r}"
            raise ValueError(f"{data}: {found}, {number} expected (the largest batch)")
        batch = dataset.collate([dataset[i] for i in range(number)])
        if batch.skipped:
            raise UnreadableImageError(batch.skipped[0])
        return visual_input(batch.to(captioner.device))

    return first
