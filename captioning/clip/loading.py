"""A CLIP from its name: built, filled with weights that are on this machine, and checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from captioning.clip.model import Clip
from captioning.clip.names import ClipName, find_weights, parse_name, pretrained_of, quiet_open_clip
from captioning.clip.tower import GridTower
from captioning.clip.words import WordTokenizer
from captioning.config import EncoderConfig
from captioning.encoders.cnn import build_encoder, read_state_dict
from captioning.files import read_json, write_atomically
from vocabulary import Vocabulary

CONFIG = "open_clip_config.json"
PREPROCESS = ("mean", "std", "interpolation", "resize_mode")


def load_clip(text: str, device: str = "cpu") -> Clip:
    """A CLIP that can judge.

    Args:
        text (str): see `names.parse_name`.
        device (str): a device of torch.

    Raises:
        FileNotFoundError: the weights are not on this machine; the message says how to get them.
        ValueError: no such model, or weights that do not fit it.
    """
    name = parse_name(text)
    clip = _load_small(text) if name.is_folder else _load_open_clip(text, name)
    return clip.to(device)


def _load_open_clip(text: str, name: ClipName) -> Clip:
    import open_clip

    if needs_tokenizer(open_clip.get_model_config(name.model), name.model):
        raise ValueError(
            f"clip: {text!r} received, but {name.model} has a tokenizer that would be downloaded; "
            "a model with CLIP's own words expected, e.g. ViT-B-32"
        )
    path = find_weights(name)
    known = {} if Path(name.weights).is_file() else pretrained_of(name)
    try:
        with quiet_open_clip():
            network = open_clip.create_model(
                name.model,
                pretrained=str(path.absolute()),  # never taken for a tag, which is downloaded
                **tag_settings(known),
            )
            tokenizer = open_clip.get_tokenizer(name.model)
    except Exception as error:  # open_clip lets through whatever torch and the file raise
        reason = " ".join(str(error).split())[:300]
        if "TorchScript" in reason:
            reason = "a TorchScript archive, a program that is not run; its state dict expected"
        raise ValueError(f"{path}: no weights of {name.model} ({reason})") from error
    return Clip(text, network, tokenizer, open_clip.get_model_preprocess_cfg(network))


def needs_tokenizer(config: dict[str, Any], model: str) -> bool:
    """Whether a model of open_clip reads other words than CLIP's, which come with open_clip."""
    return bool(config["text_cfg"].get("hf_tokenizer_name")) or "siglip" in model.lower()


def tag_settings(known: dict[str, Any]) -> dict[str, Any]:
    """How `open_clip.create_model` builds a model for a tag's weights, see `pretrained_of`."""
    return {
        "force_quick_gelu": known.get("quick_gelu", False),
        "force_preprocess_cfg": {key: known[key] for key in PREPROCESS if key in known},
    }


# --------------------------------------------------------------------------------- small ones


def build_small(
    model: dict[str, Any], vocabulary: Vocabulary, encoder: nn.Module | None = None
) -> nn.Module:
    """A small CLIP with random weights.

    Args:
        model (dict): `embed_dim`; `vision_cfg`: `image_size`, `encoder` (settings of
            `EncoderConfig`), `num_cells` and the sizes of `GridTower`; `text_cfg` as in open_clip.
        vocabulary (Vocabulary): of its texts.
        encoder (nn.Module | None): the CNN to look through; None makes one.

    Returns:
        nn.Module: an `open_clip.CLIP`.
    """
    import open_clip

    vision = dict(model["vision_cfg"])
    encoder = encoder or build_encoder(EncoderConfig(**vision["encoder"]), load_weights=False)
    sizes = {key: vision[key] for key in ("width", "layers", "heads", "dropout")}
    text = {**model["text_cfg"], "vocab_size": len(vocabulary)}
    stand_in = {"layers": 1, "width": 8, "head_width": 8, "image_size": 8, "patch_size": 8}
    network = open_clip.CLIP(model["embed_dim"], stand_in, text)
    cells = vision["num_cells"], encoder.feature_dim
    network.visual = GridTower(encoder, *cells, model["embed_dim"], **sizes)
    return network


def _load_small(folder: str) -> Clip:
    config = read_config(folder)
    vocabulary = Vocabulary.load(Path(folder) / "vocabulary.json")
    path = Path(folder) / "model.safetensors"
    state = read_state_dict(path)
    try:
        network = build_small(config["model_cfg"], vocabulary)
        network.load_state_dict(state)
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"{Path(folder) / CONFIG}: not the settings of a CLIP ({error})"
        ) from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: does not fit {CONFIG} and vocabulary.json ({reason})") from error
    return small_clip(folder, network, vocabulary, config)


def small_clip(
    name: str, network: nn.Module, vocabulary: Vocabulary, config: dict[str, Any]
) -> Clip:
    """A network of `build_small` as a judge."""
    tokenizer = WordTokenizer(vocabulary, network.context_length)
    return Clip(name, network, tokenizer, config["preprocess_cfg"])


def read_config(folder: str | Path) -> dict[str, Any]:
    """What `open_clip_config.json` of a folder holds.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is something else.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no CLIP (no {CONFIG} in it)")
    config = read_json(path)
    if not isinstance(config, dict) or not {"model_cfg", "preprocess_cfg"} <= set(config):
        raise ValueError(f"{path}: 'model_cfg' and 'preprocess_cfg' expected")
    return config


def save_small(
    folder: str | Path, network: nn.Module, vocabulary: Vocabulary, config: dict[str, Any]
) -> None:
    """Write a small CLIP, weights in half precision; every file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "vocabulary.json", vocabulary.save)
    save_half(folder / "model.safetensors", network)
    text = json.dumps(config, indent=1)
    write_atomically(folder / CONFIG, lambda path: path.write_text(text, "utf-8"))


def save_half(path: Path, network: nn.Module) -> None:
    """Write the weights of a network, in half precision."""
    state = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    write_atomically(path, lambda file: save_file(state, file))


def small_config(settings: Any, encoder: dict[str, Any], num_cells: int) -> dict[str, Any]:
    """`open_clip_config.json` of the settings of `train-clip`."""
    from open_clip.transform import PreprocessCfg

    from data_loader import IMAGENET_MEAN, IMAGENET_STD

    vision = {
        "image_size": settings.image_size,
        "encoder": encoder,
        "num_cells": num_cells,
        "width": settings.width,
        "layers": settings.vision_layers,
        "heads": settings.num_heads,
        "dropout": settings.dropout,
    }
    text = {
        "context_length": settings.context_length,
        "width": settings.width,
        "heads": settings.num_heads,
        "layers": settings.text_layers,
        "pool_type": "eos",
        "eos_id": 2,  # END_IDX
    }
    look = PreprocessCfg(settings.image_size, "RGB", IMAGENET_MEAN, IMAGENET_STD, "bilinear")
    look.resize_mode = "squash"
    return {
        "model_cfg": {"embed_dim": settings.embed_dim, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": asdict(look),
    }
