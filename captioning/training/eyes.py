"""Pre-trained eyes: a CNN that learns to name the objects and colours of drawn pictures.

ImageNet's weights cannot be downloaded offline. As ImageNet does for photos, this recipe teaches a
`resnet18`, cut before its last stage, to see: the pictures come from other seeds than the picture
book's, only labels of whole pictures are given, and no caption is read.

Every cell of the grid votes for every label, and a picture's score is the soft maximum of the
votes, so that the cell that shows a thing learns to say so.

Source: the pooling is P. O. Pinheiro, R. Collobert, "From Image-level to Pixel-level Labeling with
Convolutional Networks", CVPR 2015, equation 6 (log-sum-exp).
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm import tqdm

from captioning.bundle import pick_device
from captioning.datasets.picturebook.pictures import iterate_pictures
from captioning.datasets.picturebook.scene import CATEGORIES, COLOURS, SETTINGS, Scene
from captioning.files import check_free, write_atomically
from captioning.training.eyes_settings import EyesConfig
from captioning.training.memory import keep_freed_memory
from captioning.workers import in_processes
from data_loader import IMAGENET_MEAN, IMAGENET_STD
from model import EncoderCNN

PAIRS = tuple((category, colour) for category in CATEGORIES for colour in COLOURS)
NUM_LABELS = len(CATEGORIES) + len(PAIRS) + len(SETTINGS)
SHARPNESS = 5.0  # of the soft maximum: 0 is the mean of the votes, large is the highest vote


def labels_of(scene: Scene) -> Tensor:
    """(NUM_LABELS,) zeros and ones: the categories, the coloured categories, the setting."""
    kinds = {entity.category for entity in scene.entities}
    pairs = {(entity.category, entity.colour) for entity in scene.entities}
    truth = [category in kinds for category in CATEGORIES]
    truth += [pair in pairs for pair in PAIRS]
    truth += [setting == scene.setting for setting in SETTINGS]
    return torch.tensor(truth, dtype=torch.float32)


def _draw(arguments: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    seed, count, image_size, start = arguments
    pictures, labels = [], []
    for picture, scene in iterate_pictures(seed, count, image_size, start):
        pictures.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        labels.append(labels_of(scene))
    return torch.stack(pictures), torch.stack(labels)


def draw_pictures(config: EyesConfig, number: int, start: int) -> tuple[Tensor, Tensor]:
    """`number` pictures (M, 3, H, W) uint8 and their labels (M, NUM_LABELS)."""
    chunk = 50
    jobs = [
        (config.picture_seed, min(chunk, start + number - i), config.image_size, i)
        for i in range(start, start + number, chunk)
    ]
    drawn = in_processes(_draw, jobs, config.workers, chunk=1)
    parts = list(tqdm(drawn, total=len(jobs), desc="drawing", unit="x50"))
    pictures, labels = zip(*parts, strict=True)
    return torch.cat(pictures), torch.cat(labels)


class Recogniser(nn.Module):
    """The encoder and a vote of every cell for every label."""

    def __init__(self, encoder: EncoderCNN) -> None:
        super().__init__()
        self.encoder = encoder
        self.vote = nn.Linear(encoder.feature_dim, NUM_LABELS)
        nn.init.constant_(self.vote.bias, -3.0)  # most labels are absent from most pictures

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, NUM_LABELS)."""
        votes = self.vote(self.encoder(images).regions).float()  # (B, P, labels)
        cells = math.log(votes.shape[1])
        return (torch.logsumexp(SHARPNESS * votes, 1) - cells) / SHARPNESS


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Mean over labels of the area under the precision-recall curve (M pictures, L labels)."""
    values = []
    for score, real in zip(scores.T, truth.T, strict=True):
        if real.sum() > 0:
            hits = real[score.argsort(descending=True)]
            precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
            values.append(float((precision * hits).sum() / hits.sum()))
    return sum(values) / len(values)


@torch.no_grad()
def score_recogniser(model: Recogniser, pictures: Tensor, labels: Tensor) -> dict[str, float]:
    """Mean average precision for categories and coloured categories, accuracy of settings."""
    model.eval()
    device = next(model.parameters()).device
    normalise = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    logits = torch.cat(
        [model(normalise(part.to(device).float() / 255)).cpu() for part in pictures.split(128)]
    )
    sizes = [len(CATEGORIES), len(PAIRS), len(SETTINGS)]
    scores, truth = logits.split(sizes, 1), labels.split(sizes, 1)
    return {
        "category_map": average_precision(scores[0], truth[0]),
        "coloured_category_map": average_precision(scores[1], truth[1]),
        "setting_accuracy": float((scores[2].argmax(1) == truth[2].argmax(1)).float().mean()),
    }


def augment(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror some pictures and shift all by up to 8 pixels (labels do not name sides)."""
    flip = torch.rand(len(pictures), generator=generator) < 0.5
    pictures = torch.where(
        flip[:, None, None, None].to(pictures.device), pictures.flip(3), pictures
    )
    x, y = torch.randint(0, 17, (2,), generator=generator).tolist()
    height, width = pictures.shape[2:]
    return F.pad(pictures, (8, 8, 8, 8), mode="replicate")[:, :, y : y + height, x : x + width]


def train_eyes(config: EyesConfig, overwrite: bool = False) -> dict[str, float]:
    """Train the recogniser and write the encoder's weights in half precision.

    Returns:
        dict[str, float]: scores on the further pictures.

    Raises:
        FileExistsError: `output` holds weights already and `overwrite` is False.
    """
    check_free(Path(config.output) / "model.safetensors", overwrite)
    keep_freed_memory()
    torch.manual_seed(config.seed)
    device = pick_device(config.device)
    pictures, labels = draw_pictures(config, config.num_pictures, 1)
    held_out = draw_pictures(config, config.num_test_pictures, config.num_pictures + 1)
    encoder = EncoderCNN(config.backbone, cut=config.cut, trainable="all", freeze_batch_norm=False)
    model = Recogniser(encoder).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    steps = config.num_epochs * math.ceil(len(pictures) / config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, steps)
    generator = torch.Generator().manual_seed(config.seed)
    normalise = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    half = config.precision == "bf16"
    scores: dict[str, float] = {}
    for epoch in range(config.num_epochs):
        model.train()
        order = torch.randperm(len(pictures), generator=generator)
        bar = tqdm(order.split(config.batch_size), desc=f"epoch {epoch + 1}", unit="step")
        for rows in bar:
            images = normalise(augment(pictures[rows].to(device), generator).float() / 255)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = model(images)
            loss = F.binary_cross_entropy_with_logits(logits, labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.4f}")
        scores = score_recogniser(model, *held_out)
        tqdm.write(json.dumps({"epoch": epoch + 1, **scores}), file=sys.stderr)
        save_eyes(model.encoder, config, scores, epoch + 1)
    return scores


def save_eyes(
    encoder: EncoderCNN, config: EyesConfig, scores: dict[str, float], epoch: int
) -> None:
    """Write `model.safetensors` (half precision, torchvision's names) and what it is."""
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in encoder.body.state_dict().items()
    }
    write_atomically(folder / "model.safetensors", lambda path: save_file(state, path))
    record = {"settings": asdict(config), "epoch": epoch, "scores": scores}
    text = json.dumps(record, indent=1)
    write_atomically(folder / "eyes.json", lambda path: path.write_text(text, "utf-8"))
