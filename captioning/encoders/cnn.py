"""Weight files for the CNN encoder of `model.py`: reading, checking, and what settings add to it.

`model.py` only takes state dicts; which file they come from is decided here.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from captioning.config import EncoderConfig
from captioning.encoders.precomputed import Precomputed
from model import EncoderCNN


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a .pth/.pt file without running its code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete .safetensors file ({error})") from error
    except (RuntimeError, EOFError, OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200] or "it ends too early"
        raise ValueError(f"{path}: not a readable weight file ({reason})") from error
    except Exception as error:  # pickle.UnpicklingError: code in the file, which is not run
        raise ValueError(f"{path}: refused, it holds more than tensors") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: a state dict (names and tensors) expected")
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


def pad_like_tensorflow(module: nn.Module) -> None:
    """Let stride-2 convolutions pad 0 before and 1 after, as TensorFlow's SAME does for even sizes.

    Weights that were converted from TensorFlow see the picture shifted without it.
    """
    for convolution in module.modules():
        if isinstance(convolution, nn.Conv2d) and convolution.stride == (2, 2):
            convolution.padding = (0, 0)
            convolution.register_forward_pre_hook(_pad_after)


def _pad_after(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (F.pad(inputs[0], (0, 1, 0, 1)),)


def build_encoder(config: EncoderConfig, load_weights: bool = True) -> nn.Module:
    """The encoder of a config, frozen or thawed as it says.

    Args:
        config (EncoderConfig): backbone, weights, cut and what is trained.
        load_weights (bool): False leaves the weights random (a bundle brings its own).

    Returns:
        nn.Module: an `EncoderCNN`, `EncoderCLIP` or `Precomputed`: pictures -> `VisualFeatures`.

    Raises:
        FileNotFoundError, ValueError: the weights cannot be read or do not fit the backbone.
    """
    if config.backbone == "features":
        return Precomputed(config.feature_dim)
    if config.backbone == "clip":
        from captioning.encoders.clip import build_clip_encoder  # open_clip takes seconds to import

        for name, usual in (("cut", ""), ("padding", "torch")):
            if getattr(config, name) != usual:
                raise ValueError(
                    f"encoder.{name}: {getattr(config, name)!r} received, {usual!r} expected with "
                    "backbone clip"
                )
        how = (config.grid, config.trainable, load_weights)
        return build_clip_encoder(config.clip_model, config.weights, *how)
    weights = None
    if load_weights and config.weights not in ("none", ""):
        named = config.weights == "imagenet"
        weights = config.weights if named else read_state_dict(config.weights)
    arguments = (config.backbone, weights, config.cut, config.trainable, config.freeze_batch_norm)
    try:
        encoder = EncoderCNN(*arguments)
    except KeyError as error:
        raise ValueError(
            f"encoder.weights: {config.weights} lacks tensor {error}, which {config.backbone} has"
        ) from error
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise ValueError(f"encoder.weights: {config.weights} does not fit: {detail}") from error
    except OSError as error:
        raise FileNotFoundError(
            f"encoder.weights: torchvision could not download the ImageNet weights ({error}); "
            "name a weight file with --encoder.weights FILE, or none"
        ) from error
    if config.padding == "tensorflow":
        pad_like_tensorflow(encoder.body)
    if config.grid:  # no weights of its own, so every weight file fits with and without it
        encoder.body.add_module("grid", nn.AdaptiveAvgPool2d(config.grid))
    return encoder
