"""CLIPs for tests, made without training: a small folder, and models of open_clip that are tiny."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import factory, pretrained
from torch import Tensor, nn

from captioning.clip.loading import build_small, save_small, small_config
from captioning.clip.names import quiet_open_clip
from captioning.clip.settings import ClipConfig
from captioning.config import EncoderConfig
from vocabulary import Vocabulary

VIT, RESNET = "Tiny-ViT", "Tiny-RN"
VISION = {
    VIT: {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    RESNET: {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None},
}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
EYES = {"backbone": "resnet18", "cut": "layer1"}  # 8 x 8 cells of 64 numbers for 32 pixels


def shake(network: nn.Module, seed: int) -> nn.Module:
    """Weights and statistics that are neither 0 nor 1, so that nothing can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                most = 1 if name.endswith("weight") else 0.1
                value += most * torch.rand(value.shape, generator=generator)
            elif name.endswith("embedding") or name.endswith("embedding.weight"):
                value += 0.5 * torch.randn(value.shape, generator=generator)
    return network


def write_small(folder: Path, vocabulary: Vocabulary, seed: int = 0, **sizes: int) -> Path:
    """What `train-clip` would write for pictures of 32 pixels, with random weights."""
    settings = ClipConfig(
        encoder=EncoderConfig(weights="none", **EYES),
        image_size=32,
        **({"embed_dim": 8, "width": 16, "num_heads": 2, "context_length": 12} | sizes),
    )
    config = small_config(settings, EYES, num_cells=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_small(config["model_cfg"], vocabulary)
    save_small(folder, network, vocabulary, config)
    return folder


@contextlib.contextmanager
def tiny_models(folder: Path) -> Iterator[dict[str, Path]]:
    """`VIT` and `RESNET` are models of open_clip for a while; a checkpoint of each in `folder`."""
    before = copy.copy(factory._MODEL_CONFIGS), [*factory._MODEL_CONFIG_PATHS]
    for name, vision in VISION.items():
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}
        (folder / f"{name}.json").write_text(json.dumps(config), "utf-8")
        open_clip.add_model_config(folder / f"{name}.json")
    files = {}
    for seed, name in enumerate(VISION):
        files[name] = folder / f"{name}.pt"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with quiet_open_clip():
                network = shake(open_clip.create_model(name), seed)
        torch.save({"epoch": 1, "state_dict": network.state_dict()}, files[name])
    try:
        yield files
    finally:
        factory._MODEL_CONFIGS.clear()
        factory._MODEL_CONFIGS.update(before[0])
        factory._MODEL_CONFIG_PATHS[:] = before[1]


def add_tag(monkeypatch: pytest.MonkeyPatch, model: str = VIT, **more: object) -> None:
    """`MODEL:mine` is a set of weights that open_clip knows, with a look and a GELU of its own."""
    known = {"url": "", "hf_hub": "", "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7)}
    monkeypatch.setitem(pretrained._PRETRAINED, model, {"mine": known | more})


def at_home(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Downloads are kept in `folder`, where open_clip itself looks; returns where in it."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    return folder / ".cache" / "clip"


@contextlib.contextmanager
def no_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever asks the network fails, and so does the test, even where the error is caught."""
    asked = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("a connection was opened")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield
    assert asked == []


def shapes_seen(layer: nn.Module) -> list[tuple[int, ...]]:
    """Filled with the shape of each input of a layer, as long as the layer lives."""
    seen: list[tuple[int, ...]] = []
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    return seen


def pictures(number: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """(B, 3, H, W) of numbers as normalised pictures have them."""
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(number))
