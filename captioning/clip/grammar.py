"""Does a sentence read like a caption? A head on CLIP's text encoder that learned broken captions.

The text encoder is a copy that was tuned together with the head, so sentences have other vectors
here than in the CLIP it came from. Each has its use: `Grammar.clip` judges as the published code
does when grammar is rewarded, the untouched CLIP measures.

Source: J. Cho et al., "Fine-grained Image Captioning with CLIP Reward", Findings of NAACL 2022,
section 3.2, and its released code (the head: two layers without bias on the state before the
projection).
Departures: a sentence is judged behind the prompt that its captions were learned behind; the
released code learns without the prompt and judges with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captioning.clip.loading import save_half
from captioning.clip.model import Clip, single_precision
from captioning.encoders.cnn import read_state_dict
from captioning.features.store import weights_hash
from captioning.files import read_json, write_atomically

CONFIG = "grammar.json"
FORMAT = 1
GOOD = 1  # the class of whole sentences


class GrammarHead(nn.Module):
    """States of the text encoder (N, W) -> logits of broken and good, (N, 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, 2, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """(N, W) -> (N, 2)."""
        return self.output(self.hidden(states).relu())


@dataclass
class Grammar:
    """A tuned text encoder with its head.

    Args:
        clip (Clip): the text encoder; it cannot look at pictures.
        head (GrammarHead): on its states.
        prompt (str): what its training said before each caption.
        base_hash (str): `Clip.weights_hash` of the CLIP it came from.
        record (dict): settings and scores of its training.
    """

    clip: Clip
    head: GrammarHead
    prompt: str
    base_hash: str
    record: dict[str, Any] = field(default_factory=dict)

    @torch.no_grad()
    def probability(self, captions: Sequence[str]) -> Tensor:
        """How probable it is that each caption (without prompt) is whole: (N,), 0..1, float32."""
        states = self.clip.text_states([self.prompt + caption for caption in captions])
        with single_precision(self.clip.device):
            return self.head(states).softmax(-1)[:, GOOD]

    @cached_property
    def weights_hash(self) -> str:
        """16 hex digits that stand for the weights, those of the head too."""
        return weights_hash(self.networks())

    def networks(self) -> nn.ModuleDict:
        """What is stored."""
        return nn.ModuleDict({"text": self.clip.network, "head": self.head})

    def to(self, device: torch.device | str) -> Grammar:
        """Move the weights; returns itself."""
        self.clip.to(device)
        self.head.to(device)
        return self

    def save(self, folder: str | Path) -> None:
        """Write it, weights in half precision; every file whole or not at all."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_half(folder / "model.safetensors", self.networks())
        record = {"format": FORMAT, "base": self.clip.name, "base_hash": self.base_hash}
        text = json.dumps(record | {"prompt": self.prompt, "record": self.record}, indent=1)
        write_atomically(folder / CONFIG, lambda path: path.write_text(text, "utf-8"))


def text_only(clip: Clip) -> Clip:
    """A copy of a CLIP's text encoder.

    Raises:
        ValueError: its text encoder is another one than that of open_clip's class CLIP.
    """
    if not hasattr(clip.network, "token_embedding"):
        raise ValueError(
            f"clip: {clip.name} received, a model with CLIP's own text encoder expected for grammar"
        )
    visual, clip.network.visual = clip.network.visual, nn.Identity()
    try:
        network = copy.deepcopy(clip.network)
    finally:
        clip.network.visual = visual
    return Clip(clip.name, network, clip.tokenizer)


def new_grammar(clip: Clip, prompt: str) -> Grammar:
    """A grammar judge with an untrained head, on a copy of a CLIP's text encoder."""
    text = text_only(clip)
    head = GrammarHead(text.network.ln_final.weight.shape[0]).to(clip.device)
    return Grammar(text, head, prompt, clip.weights_hash)


def load_grammar(folder: str | Path, clip: Clip) -> Grammar:
    """A grammar judge that `train-clip` wrote.

    Args:
        folder (str | Path): where.
        clip (Clip): the CLIP it came from.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it came from another CLIP, or is damaged.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder}: no grammar judge (no {CONFIG} in it)")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or not {"base_hash", "prompt"} <= set(config):
        raise ValueError(f"{folder / CONFIG}: 'base_hash' and 'prompt' expected")
    if config["base_hash"] != clip.weights_hash:
        raise ValueError(
            f"{folder}: made from {config.get('base')} with weights {config['base_hash']}, not "
            f"from {clip.name} with {clip.weights_hash}"
        )
    grammar = new_grammar(clip, config["prompt"])
    grammar.record = config.get("record", {})
    try:
        grammar.networks().load_state_dict(read_state_dict(folder / "model.safetensors"))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder / 'model.safetensors'}: does not fit ({reason})") from error
    grammar.head.eval().requires_grad_(False)
    return grammar.to(clip.device)
