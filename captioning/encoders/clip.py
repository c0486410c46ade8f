"""CLIP's picture encoder as the eyes of a captioner: a grid of features, at any picture size.

Of a ResNet (RN50) the last stage is taken, without the attention pool behind it: 14 x 14 cells of
2,048 numbers for 448 x 448 pixels. Of a transformer (ViT) the patches after its last layer; its
places are interpolated when the picture has another size than it was trained with, and a picture's
edge that fills no patch is cut off. Of a small CLIP of `train-clip` the grid of its CNN, which is
what a ResNet's last stage is: its attention layers have thrown away what no sentence asked for.

Source: S. Shen et al., "How Much Can CLIP Benefit Vision-and-Language Tasks?", ICLR 2022, section
4.2 (grid features); J. Cho et al., "Fine-grained Image Captioning with CLIP Reward", Findings of
NAACL 2022, section 4.1.
Departures: the global vector is the mean of the grid, as everywhere here (the released code fills
it with noise).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioning.clip.loading import build_small, load_clip, read_config, tag_settings
from captioning.clip.names import quiet_open_clip
from captioning.clip.tower import GridTower
from data_loader import IMAGENET_MEAN, IMAGENET_STD
from model import VisualFeatures, grid_boxes
from vocabulary import Vocabulary


class EncoderCLIP(nn.Module):
    """Normalised pictures (B, 3, H, W) -> regions (B, P, F).

    The loader normalises with ImageNet's mean and deviation; CLIP's are put in their place here.

    Args:
        visual (nn.Module): `Clip.network.visual`.
        mean, std (Sequence[float]): what its pictures are normalised with.
        grid (int): average the grid into so many rows and columns; 0 leaves it as it is.
        trainable (str): "none" or "all".

    Raises:
        ValueError: another picture encoder than those named above.
    """

    def __init__(
        self,
        visual: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        grid: int = 0,
        trainable: str = "none",
    ) -> None:
        super().__init__()
        self.kind = kind_of(visual)
        self.body = visual.encoder if self.kind == "small" else visual
        if self.kind == "resnet":
            self.body.attnpool = None  # nobody looks through it
        self.grid = grid
        scale = torch.tensor(IMAGENET_STD) / torch.tensor(std)
        shift = (torch.tensor(IMAGENET_MEAN) - torch.tensor(mean)) / torch.tensor(std)
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)
        self.set_trainable(trainable)
        sizes = {
            "resnet": lambda: visual.layer4[-1].conv3.out_channels,
            "vit": lambda: visual.conv1.out_channels,
            "small": lambda: visual.encoder.feature_dim,
        }
        self.feature_dim: int = sizes[self.kind]()

    def set_trainable(self, trainable: str) -> None:
        """Freeze or thaw the whole encoder: "none" or "all".

        Raises:
            ValueError: anything else.
        """
        if trainable not in ("none", "all"):
            raise ValueError(f"trainable: {trainable!r} received, one of ['none', 'all'] expected")
        self.is_trained = trainable == "all"
        self.body.requires_grad_(self.is_trained)
        self.train(self.training)

    def train(self, mode: bool = True) -> EncoderCLIP:
        """Training mode where it is trained, but never for batch norms and dropout."""
        super().train(mode)
        self.body.train(False)  # CLIP has batch norms, whose statistics small batches would spoil
        return self

    def forward(self, images: Tensor) -> VisualFeatures:
        """See the class."""
        images = images * self.scale + self.shift
        grid = getattr(self, f"_{self.kind}")(images)  # (B, F, h, w)
        if self.grid:
            grid = F.adaptive_avg_pool2d(grid, self.grid)
        boxes = grid_boxes(*grid.shape[2:]).to(grid.device).expand(len(grid), -1, -1)
        return VisualFeatures(grid.flatten(2).transpose(1, 2), None, boxes)

    def _resnet(self, images: Tensor) -> Tensor:
        body = self.body
        return body.layer4(body.layer3(body.layer2(body.layer1(body.stem(images)))))

    def _vit(self, images: Tensor) -> Tensor:
        body = self.body
        patches = body.conv1(images)  # (B, W, h, w)
        size = patches.shape[2:]
        places = places_for(body.positional_embedding, size)
        whole = body.class_embedding.expand(len(images), 1, -1)
        states = torch.cat([whole, patches.flatten(2).transpose(1, 2)], 1) + places
        states = body.transformer(body.ln_pre(states))
        if not body.final_ln_after_pool:
            states = body.ln_post(states)
        return states[:, 1:].transpose(1, 2).unflatten(2, size)

    def _small(self, images: Tensor) -> Tensor:
        return self.body.body(images)  # the CNN's own grid, square or not


def kind_of(visual: nn.Module) -> str:
    """Which of the three it is.

    Raises:
        ValueError: none of them.
    """
    if isinstance(visual, GridTower):
        return "small"
    if hasattr(visual, "layer4") and hasattr(visual, "stem"):
        return "resnet"
    plain = hasattr(visual, "class_embedding") and getattr(visual, "attn_pool", None) is None
    if plain and hasattr(visual, "conv1"):
        return "vit"
    raise ValueError(
        f"encoder.clip_model: a picture encoder {type(visual).__name__} received, CLIP's ResNets "
        "(RN50) and plain transformers (ViT-B-32) expected"
    )


def places_for(learned: Tensor, size: tuple[int, int]) -> Tensor:
    """Positions of a ViT (1 + n x n, W) for a grid of another size, (1 + h x w, W)."""
    side = round((len(learned) - 1) ** 0.5)
    if (side, side) == tuple(size):
        return learned
    grid = learned[1:].T.unflatten(1, (side, side))[None]  # (1, W, n, n)
    grid = F.interpolate(grid, size, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([learned[:1], grid[0].flatten(1).T])


def build_clip_encoder(
    model: str, weights: str, grid: int, trainable: str, load_weights: bool
) -> EncoderCLIP:
    """The encoder that `encoder.clip_model` names.

    Args:
        model (str): of open_clip, or a folder.
        weights (str): tag or file, "none" for random ones; not used for a folder.
        grid, trainable: see `EncoderCLIP`.
        load_weights (bool): False leaves them random (a bundle brings its own).

    Raises:
        FileNotFoundError, ValueError: no such model, or no such weights.
    """
    random = not load_weights or weights in ("none", "")
    is_folder = bool(model) and Path(model).is_dir()
    if not is_folder:
        _check_model(model)
    if is_folder and not load_weights:
        config = read_config(model)
        vocabulary = Vocabulary.load(Path(model) / "vocabulary.json")
        visual = build_small(config["model_cfg"], vocabulary).visual
        preprocess = config["preprocess_cfg"]
    elif is_folder or not random:
        clip = load_clip(model if is_folder else f"{model}:{weights}")
        visual, preprocess = clip.network.visual, clip.preprocess
    else:
        visual, preprocess = _untrained(model, weights)
    return EncoderCLIP(visual, preprocess["mean"], preprocess["std"], grid, trainable)


def _check_model(model: str) -> None:
    """Refuse what open_clip does not know.

    Raises:
        ValueError: there is no such model.
    """
    import open_clip

    known = open_clip.list_models()
    if model not in known:
        raise ValueError(
            f"encoder.clip_model: {model!r} received, a folder of `train-clip` or a model of "
            "open_clip expected, e.g. RN50 or ViT-B-32"
        )


def _untrained(model: str, weights: str) -> tuple[nn.Module, dict]:
    """A model of open_clip with random weights, built and shown pictures as `weights` asks for."""
    import open_clip

    known = open_clip.get_pretrained_cfg(model, weights)
    with quiet_open_clip():
        network = open_clip.create_model(model, **tag_settings(known))
    return network.visual, open_clip.get_model_preprocess_cfg(network)
