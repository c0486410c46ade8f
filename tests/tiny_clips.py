"""Settings of trainings of `train-clip` that take a second."""

from __future__ import annotations

from pathlib import Path

from captioning.clip.settings import ClipConfig
from captioning.config import EncoderConfig

SIZES = {"width": 16, "num_heads": 2, "vision_layers": 1, "text_layers": 1, "embed_dim": 16}


def tiny_settings(data: Path | str, output: Path | str, **more: object) -> ClipConfig:
    """Two epochs of three steps, for the 24 pictures of conftest's data, with a tiny network."""
    settings = {
        **SIZES,
        "image_size": 32,
        "context_length": 16,
        "num_views": 1,
        "num_epochs": 2,
        "batch_size": 8,
        "min_count": 1,
        "precision": "fp32",
        "encoder": EncoderConfig("resnet18", weights="none", cut="layer1"),
    }
    return ClipConfig(data=str(data), output=str(output), device="cpu", **(settings | more))


def flags_of(config: ClipConfig) -> list[str]:
    """What to type for such settings."""
    names = [name for name in vars(config) if name != "encoder"]
    usual, encoder = ClipConfig(), config.encoder
    typed = [f"--{n}={v}" for n in names if (v := getattr(config, n)) != getattr(usual, n)]
    names = ("backbone", "weights", "cut")
    return [*typed, *(f"--encoder.{name}={getattr(encoder, name)}" for name in names)]
