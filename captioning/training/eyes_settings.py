"""Settings of `train-eyes`: how a small encoder for drawn pictures is trained."""

from __future__ import annotations

from dataclasses import dataclass

from captioning.settings import setting


@dataclass
class EyesConfig:
    """How the eyes are trained."""

    output: str = setting("models/picturebook_eyes", "folder of the weights")
    backbone: str = setting("resnet18", "torchvision network")
    cut: str = setting("layer3", "last block kept")
    num_pictures: int = setting(10000, "drawn pictures to learn from", 1)
    num_test_pictures: int = setting(600, "further pictures to check on", 1)
    num_epochs: int = setting(9, "passes over them", 1)
    batch_size: int = setting(64, "pictures a step", 1)
    learning_rate: float = setting(2e-3, "step size", 1e-9, 10)
    weight_decay: float = setting(0.01, "pull of all weights towards zero", 0, 1)
    image_size: int = setting(128, "side of a picture in pixels", 32, 1024)
    picture_seed: int = setting(1000, "seed of the pictures; not that of a picture book", 0)
    seed: int = setting(0, "seed of weights and order", 0)
    precision: str = setting("bf16", "bf16 or fp32", choices=("bf16", "fp32"))
    device: str = setting("auto", "auto, cpu, cuda, ...")
    workers: int = setting(2, "processes that draw", 1, 64)
