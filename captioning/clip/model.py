"""CLIP as it is used here: sentences and pictures as vectors of one space, in single precision.

Any model of open_clip, or a small one of `train-clip`, behind the same three functions. Nothing
here has a gradient: CLIP judges, it does not learn (`captioning/training/clip.py` teaches one).

Source: A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
ICML 2021.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from captioning.config_rewards import CLIP_PROMPT
from captioning.features.store import weights_hash

PROMPT = CLIP_PROMPT  # said before a caption
BATCH = 256  # sentences at once


@dataclass
class Clip:
    """Two encoders with one space.

    Args:
        name (str): what it was called by, see `names.parse_name`.
        network (nn.Module): an `open_clip.CLIP`, or what `open_clip.create_model` gives.
        tokenizer (Callable): texts -> ids (N, T).
        preprocess (dict): open_clip's settings of its picture transform.
    """

    name: str
    network: nn.Module
    tokenizer: Callable[[Sequence[str]], Tensor]
    preprocess: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.network.float().eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.logit_scale.device

    def to(self, device: torch.device | str) -> Clip:
        """Move the weights; returns itself."""
        self.network.to(device)
        return self

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits that stand for the weights."""
        return weights_hash(self.network)

    @cached_property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """RGB picture -> (3, H, W), without chance."""
        from open_clip.transform import PreprocessCfg, image_transform_v2

        return image_transform_v2(PreprocessCfg(**self.preprocess), is_train=False)

    @torch.no_grad()
    def image_vectors(self, images: Tensor) -> Tensor:
        """Pictures as `transform` gives them (B, 3, H, W) -> vectors of length 1, (B, D)."""
        with single_precision(self.device):
            return F.normalize(self.network.encode_image(images.to(self.device)), dim=-1)

    @torch.no_grad()
    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Sentences as they stand, without a prompt -> vectors of length 1, (N, D).

        Equal sentences are read once; what is longer than the model's context is cut.
        """
        pooled = self.text_states(texts)
        with single_precision(self.device):
            return F.normalize(project_text(self.network, pooled), dim=-1)

    @torch.no_grad()
    def text_states(self, texts: Sequence[str]) -> Tensor:
        """What the text encoder says of each sentence before its projection, (N, W)."""
        places: dict[str, int] = {}
        rows = [places.setdefault(text, len(places)) for text in texts]
        different, states = [*places], []
        with single_precision(self.device):
            for start in range(0, len(different), BATCH):
                tokens = self.tokenizer(different[start : start + BATCH])
                states.append(read_text(self.network, tokens.to(self.device)))
        if not states:
            return read_text(self.network, self.tokenizer(["a"]).to(self.device))[:0]
        return torch.cat(states)[torch.tensor(rows, device=self.device)]

    def similarity(self, image_vectors: Tensor, text_vectors: Tensor) -> Tensor:
        """Cosine of each pair (N, D), (N, D) -> (N,), never beyond -1 and 1."""
        return (image_vectors * text_vectors).sum(-1).clamp(-1, 1)


def read_text(network: nn.Module, tokens: Tensor) -> Tensor:
    """The text encoder of open_clip's CLIP before its projection, with gradient where it is on.

    Sentences see only what stands before, so the padding behind the longest one is cut off first:
    five times as fast for captions in a context of 77.

    Args:
        network (nn.Module): see `Clip`.
        tokens (Tensor): (N, T) int64.

    Returns:
        Tensor: (N, W), the state at the end of each text. A model with another text encoder gives
        its vector.
    """
    if not hasattr(network, "token_embedding"):
        return network.encode_text(tokens)
    from open_clip.transformer import text_global_pool

    mask = network.attn_mask
    if mask is not None:
        columns = (tokens != 0).any(0).nonzero()  # 0 is padding, and in CLIP's own words a "!"
        tokens = tokens[:, : int(columns.max()) + 1]
        mask = mask[: tokens.shape[1], : tokens.shape[1]]
    states = network.token_embedding(tokens) + network.positional_embedding[: tokens.shape[1]]
    states = network.ln_final(network.transformer(states, attn_mask=mask))  # (N, T, W)
    return text_global_pool(states, tokens, network.text_pool_type, network.text_eos_id)


def project_text(network: nn.Module, states: Tensor) -> Tensor:
    """What `read_text` gave (N, W) -> vectors of any length, (N, D)."""
    projection = getattr(network, "text_projection", None)
    if projection is None:
        return states
    return projection(states) if isinstance(projection, nn.Linear) else states @ projection


@contextlib.contextmanager
def single_precision(device: torch.device) -> Iterator[None]:
    """Single precision for real: no autocast around it, no short mantissas on CUDA.

    Half precision changes CLIPScore by more than captioners differ.
    """
    if device.type != "cuda":
        with torch.autocast(device.type, enabled=False):
            yield
        return
    cudnn, before = torch.backends.cudnn, torch.get_float32_matmul_precision()
    kept = (cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic)
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cuda", enabled=False), cudnn.flags(*kept, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
