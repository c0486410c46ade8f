"""A tiny CLIP and a tiny grammar judge with random weights, for tests of rewards and metrics."""

from __future__ import annotations

from pathlib import Path

import torch

from captioning.clip.grammar import new_grammar
from captioning.clip.loading import build_small, save_small, small_config
from captioning.clip.model import PROMPT, Clip
from captioning.clip.settings import ClipConfig
from captioning.config import EncoderConfig
from captioning.encoders.cnn import build_encoder
from vocabulary import Vocabulary, tokenize

IMAGE_SIZE = 32
NUM_CELLS = 64  # of layer1: 8 x 8
ALIKE, UNLIKE = 5.0, -5.0  # cosines of pictures and texts above 0, below 0


def with_prompt(vocabulary: Vocabulary) -> Vocabulary:
    """A vocabulary that has the words of the prompt, too."""
    known = vocabulary.words[4:]
    return Vocabulary([*known, *(word for word in tokenize(PROMPT) if word not in known)])


def write_clip(folder: Path, vocabulary: Vocabulary, seed: int = 0, lean: float = ALIKE) -> str:
    """A CLIP with random weights that knows these words; the folder.

    All texts lean towards one direction, and so do all pictures, or away from it.
    """
    sizes = {"embed_dim": 12, "width": 16, "num_heads": 2, "vision_layers": 1, "text_layers": 1}
    settings = ClipConfig(image_size=IMAGE_SIZE, context_length=24, **sizes)
    config = small_config(settings, {"backbone": "resnet18", "cut": "layer1"}, NUM_CELLS)
    words = with_prompt(vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = build_encoder(EncoderConfig(backbone="resnet18", weights="none", cut="layer1"))
        network = build_small(config["model_cfg"], words, encoder)
    with torch.no_grad():
        network.ln_final.bias[0], network.visual.after.bias[0] = abs(lean), lean
        network.text_projection[0] = network.visual.output.weight[:, 0] = torch.eye(12)[0]
    save_small(folder, network, words, config)
    return str(folder)


@torch.no_grad()
def write_grammar(folder: Path, clip: Clip, prompt: str = PROMPT, head: int = 0) -> str:
    """A judge whose text encoder is not that of its CLIP any more; the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(head)
        grammar = new_grammar(clip, prompt)
        grammar.head.output.weight.mul_(3)
        torch.manual_seed(0)
        for parameter in grammar.clip.network.parameters():
            parameter.add_(0.3 * parameter.abs().mean() * torch.randn_like(parameter))
    grammar.save(folder)
    return str(folder)
