"""Settings of `train-clip`: a small CLIP from scratch, or a grammar judge on top of a CLIP."""

from __future__ import annotations

from dataclasses import dataclass, field

from captioning.config import EncoderConfig
from captioning.config_rewards import CLIP_NAMES, CLIP_PROMPT
from captioning.settings import setting


@dataclass
class ClipConfig:
    """How a CLIP, or a grammar judge, is trained."""

    data: str = setting("data/picturebook", "data-set folder (images/, annotations/)")
    output: str = setting("models/my_clip", "folder that is written")
    seed: int = setting(0, "of weights, order, crops and negatives", 0)
    device: str = setting("auto", "auto, cpu, cuda, ...")
    objective: str = setting(
        "contrastive",
        "contrastive: a small CLIP, pictures and captions in one space; grammar: the text encoder "
        "of clip and a head that tells captions from broken ones",
        choices=("contrastive", "grammar"),
    )
    clip: str = setting("", f"CLIP whose text encoder is tuned (grammar): {CLIP_NAMES}")
    prompt: str = setting(
        CLIP_PROMPT, "said before captions: half of them (contrastive), all (grammar)"
    )
    train_split: str = setting("train", "split that is learned from")
    val_split: str = setting("val", "split that decides which weights are the best")
    min_count: int = setting(3, "a word needs this count in train (contrastive)", 1)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    image_size: int = setting(128, "side of the encoder's input in pixels", 32, 1024)
    features: str = setting(
        "", "store of the encoder's grids in place of pictures (contrastive), of vectors (grammar)"
    )
    num_views: int = setting(3, "random views of a picture that are remembered, without a store", 1)
    embed_dim: int = setting(128, "size of the common space", 1, 4096)
    width: int = setting(128, "size of words and cells inside, a multiple of num_heads", 1, 4096)
    num_heads: int = setting(4, "of each attention", 1, 64)
    vision_layers: int = setting(2, "attention layers over the cells of the grid", 1, 48)
    text_layers: int = setting(3, "layers of the text encoder", 1, 48)
    context_length: int = setting(32, "most words of a text, the ends counted", 4, 512)
    dropout: float = setting(0.1, "share of the grid's numbers dropped while training", 0, 0.95)
    num_epochs: int = setting(20, "passes over the pictures", 1, 100_000)
    batch_size: int = setting(
        256, "pictures a step; each caption is told from those of all others", 2
    )
    learning_rate: float = setting(3e-3, "largest step size", 1e-9, 10)
    weight_decay: float = setting(0.3, "pull of matrices towards zero", 0, 10)
    precision: str = setting("bf16", "bf16 or fp32", choices=("bf16", "fp32"))
