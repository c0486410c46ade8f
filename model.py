"""The models of the course: a CNN that looks at pictures, and LSTM decoders that describe them.

`EncoderCNN` turns a picture into a grid of feature vectors; `DecoderRNN` (Show and Tell) reads
their mean once; `DecoderWithAttention` (Show, Attend and Tell) looks again before every word.

Shapes: B pictures, S captions of each, N = B x S rows (row n belongs to picture n // S), T or G
words, P regions, F feature size, V vocabulary size, E embedding, H hidden and A attention size.

Source: O. Vinyals et al., "Show and Tell", CVPR 2015, section 3.1; K. Xu et al., "Show, Attend
and Tell", ICML 2015, sections 3 and 4.
Departures: the encoder can be cut and thawed anywhere; dropout on word vectors and output.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights

State = dict[str, dict[str, Tensor]]


@dataclass
class VisualFeatures:
    """What an encoder says of B pictures.

    Args:
        regions (Tensor): (B, P, F) one vector a region; a CNN's regions are the cells of its grid.
        region_mask (Tensor | None): (B, P) bool, True = the region counts; None when all do.
        boxes (Tensor | None): (B, P, 4) left, top, right, bottom in 0..1 of the picture.
    """

    regions: Tensor
    region_mask: Tensor | None = None
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return self.regions.shape[0]

    def mean(self) -> Tensor:
        """(B, F): the average of the regions that count, one global vector a picture."""
        if self.region_mask is None:
            return self.regions.mean(1)
        weight = self.region_mask.to(self.regions.dtype).unsqueeze(-1)  # (B, P, 1)
        return (self.regions * weight).sum(1) / weight.sum(1).clamp(min=1)


class DecoderOutput(NamedTuple):
    """`logits` (N, T, V); `attention_weights` (N, T, P), or None without attention."""

    logits: Tensor
    attention_weights: Tensor | None = None


def grid_boxes(height: int, width: int) -> Tensor:
    """(height x width, 4) left, top, right, bottom of a grid's cells, row by row, in 0..1."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    edges = [x / width, y / height, (x + 1) / width, (y + 1) / height]
    return torch.stack(edges, -1).reshape(-1, 4)


class EncoderCNN(nn.Module):
    """A torchvision CNN without its classifier: pictures in, a grid of feature vectors out.

    Args:
        backbone (str): resnet18, resnet34, resnet50, resnet101, resnet152 or mobilenet_v2.
        weights (str | dict | None): "imagenet" (torchvision's IMAGENET1K_V1, which torchvision
            downloads once), a state dict with torchvision's names, or None: random weights.
        cut (str): last block kept, "layer1".."layer4" (resnet) or "0".."18" (mobilenet); "": all.
        trainable (str): "none", "all", or the first block that is trained ("layer3": layer3 on).
        freeze_batch_norm (bool): keep the batch norms of trained blocks in eval mode too, so that
            small batches do not disturb their statistics.

    Raises:
        ValueError, KeyError, RuntimeError: another value; a state dict that does not fit.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        weights: str | dict[str, Tensor] | None = None,
        cut: str = "",
        trainable: str = "none",
        freeze_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(weights, str) and weights != "imagenet":
            raise ValueError(f"weights: {weights!r} received, 'imagenet' or a state dict expected")
        imagenet = get_model_weights(backbone).IMAGENET1K_V1 if weights == "imagenet" else None
        network = get_model(backbone, weights=imagenet)
        blocks = dict(getattr(network, "features", network).named_children())
        names = [name for name in blocks if name not in ("avgpool", "fc")]  # no classifier
        if cut not in ("", *names):
            raise ValueError(f"cut: {cut!r} received, one of {names} expected for {backbone}")
        kept = names[: names.index(cut) + 1] if cut else names
        self.body = nn.Sequential(OrderedDict((name, blocks[name]) for name in kept))
        if isinstance(weights, dict):
            given = {name.removeprefix("features."): value for name, value in weights.items()}
            self.body.load_state_dict({name: given[name] for name in self.body.state_dict()})
        self.freeze_batch_norm = freeze_batch_norm
        with torch.no_grad():  # a small picture tells the feature size of any backbone and cut
            self.feature_dim = self.body.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
        self.set_trainable(trainable)

    def set_trainable(self, trainable: str) -> None:
        """Freeze and thaw: "none", "all", or the first block that is trained."""
        names = [name for name, _ in self.body.named_children()]
        first = {"none": len(names), "all": 0, **{name: i for i, name in enumerate(names)}}
        if trainable not in first:
            raise ValueError(f"trainable: {trainable!r} received, one of {[*first]} expected")
        self.trainable_blocks = names[first[trainable] :]
        for name, block in self.body.named_children():
            block.requires_grad_(name in self.trainable_blocks)
        self.train(self.training)

    def train(self, mode: bool = True) -> EncoderCNN:
        """Training mode for the trained blocks only (and not for frozen batch norms)."""
        super().train(mode)
        for name, block in self.body.named_children():
            frozen = name not in self.trainable_blocks
            for module in block.modules():
                if frozen or (self.freeze_batch_norm and isinstance(module, nn.BatchNorm2d)):
                    module.training = False
        return self

    def forward(self, images: Tensor) -> VisualFeatures:
        """(B, 3, H, W) normalised pictures -> regions (B, P, F), P = grid height x grid width."""
        grid = self.body(images)  # (B, F, h, w)
        boxes = grid_boxes(*grid.shape[2:]).to(grid.device).expand(len(grid), -1, -1)  # (B, P, 4)
        return VisualFeatures(grid.flatten(2).transpose(1, 2), None, boxes)  # (B, h * w, F)


def teacher_force(
    decoder: nn.Module, features: VisualFeatures, captions: Tensor, sampling_probability: float = 0
) -> DecoderOutput:
    """The `forward` of both decoders: words given (N, T) -> logits of the next ones (N, T, V).

    With `sampling_probability` > 0 each word after the first is, with that probability, drawn from
    the decoder's own prediction, so that training meets the decoder's own mistakes.

    Source: S. Bengio et al., "Scheduled Sampling", NeurIPS 2015, section 2.4.
    """
    state = decoder.init_state(features, rows_per_image=len(captions) // len(features))
    if sampling_probability == 0:
        logits, state = decoder.step(captions, state)
        return DecoderOutput(logits, state["words"].get("attention_weights"))
    all_logits, all_weights, tokens = [], [], captions[:, :1]
    for t in range(captions.shape[1]):
        logits, state = decoder.step(tokens, state)
        all_logits.append(logits)
        all_weights.append(state["words"].get("attention_weights"))
        if t + 1 < captions.shape[1]:
            drawn = torch.multinomial(logits[:, -1].detach().float().softmax(-1), 1)  # (N, 1)
            own = torch.rand(drawn.shape, device=drawn.device) < sampling_probability
            tokens = torch.where(own, drawn, captions[:, t + 1 : t + 2])
    weights = None if all_weights[0] is None else torch.cat(all_weights, 1)
    return DecoderOutput(torch.cat(all_logits, 1), weights)


class DecoderRNN(nn.Module):
    """Show and Tell: the LSTM reads the mean feature vector first, then the words (eq. 10 to 12).

    Sizes are V, F, E, H and the LSTM's layers; `dropout` (0..1) acts on word vectors and output.
    """

    group_size = 1

    def __init__(
        self,
        vocab_size: int,
        feature_dim: int,
        embed_dim: int = 256,
        hidden_dim: int = 512,
        num_layers: int = 1,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.image_to_embedding = nn.Linear(feature_dim, embed_dim)
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        self.lstm = nn.LSTM(embed_dim, hidden_dim, num_layers, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_dim, vocab_size)

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """Show the picture to the LSTM; its output there is not used (words follow `<start>`)."""
        image = self.image_to_embedding(features.mean()).unsqueeze(1)  # (B, 1, E)
        _, (hidden, cell) = self.lstm(image)  # (layers, B, H)
        first = {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
        words = {name: part.repeat_interleave(rows_per_image, 0) for name, part in first.items()}
        return {"image": {}, "words": words}  # (N, layers, H)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Known words (N, G) -> logits (N, G, V) of the word after each, state after the last."""
        hidden, cell = (state["words"][k].transpose(0, 1).contiguous() for k in ("hidden", "cell"))
        words = self.dropout(self.embedding(tokens))  # (N, G, E)
        outputs, (hidden, cell) = self.lstm(words, (hidden, cell))  # (N, G, H)
        after = {"hidden": hidden.transpose(0, 1), "cell": cell.transpose(0, 1)}
        return self.output(self.dropout(outputs)), {"image": state["image"], "words": after}

    forward = teacher_force  # (features, captions[:, :-1]) -> logits (N, T, V)


class Attention(nn.Module):
    """Soft attention: a weight for every region, given what was said so far (eq. 4 to 6, 13)."""

    def __init__(self, feature_dim: int, hidden_dim: int, attention_dim: int) -> None:
        super().__init__()
        self.project_regions = nn.Linear(feature_dim, attention_dim)
        self.project_hidden = nn.Linear(hidden_dim, attention_dim)
        self.score = nn.Linear(attention_dim, 1, bias=False)

    def forward(
        self, regions: Tensor, projected: Tensor, hidden: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(B, P, F), (B, P, A), (N, H), (B, P) -> context (N, F), weights (N, P)."""
        query = self.project_hidden(hidden).unflatten(0, (len(regions), -1))  # (B, S, A)
        mixed = torch.tanh(projected.unsqueeze(1) + query.unsqueeze(2))  # (B, S, P, A)
        scores = self.score(mixed).squeeze(-1)  # (B, S, P)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), float("-inf"))
        weights = scores.softmax(-1)
        context = weights @ regions  # (B, S, F): no region is repeated for a picture's captions
        return context.flatten(0, 1), weights.flatten(0, 1)


class DecoderWithAttention(nn.Module):
    """Show, Attend and Tell: before every word the decoder looks at the regions again.

    Sizes are V, F, E, H, A; `dropout` (0..1) acts on the word vectors and before the output.
    """

    group_size = 1

    def __init__(
        self,
        vocab_size: int,
        feature_dim: int,
        embed_dim: int = 256,
        hidden_dim: int = 512,
        attention_dim: int = 256,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        self.attention = Attention(feature_dim, hidden_dim, attention_dim)
        self.gate = nn.Linear(hidden_dim, 1)
        self.first_hidden = nn.Linear(feature_dim, hidden_dim)
        self.first_cell = nn.Linear(feature_dim, hidden_dim)
        self.lstm = nn.LSTMCell(embed_dim + feature_dim, hidden_dim)
        self.hidden_to_embedding = nn.Linear(hidden_dim, embed_dim)
        self.context_to_embedding = nn.Linear(feature_dim, embed_dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(embed_dim, vocab_size)

    def init_state(self, features: VisualFeatures, rows_per_image: int = 1) -> State:
        """Hidden and cell state from the mean region; regions are projected once a picture."""
        regions, mean = features.regions, features.mean()  # (B, P, F), (B, F)
        image = {"regions": regions, "projected": self.attention.project_regions(regions)}
        if features.region_mask is not None:
            image["mask"] = features.region_mask
        first = {"hidden": self.first_hidden(mean).tanh(), "cell": self.first_cell(mean).tanh()}
        words = {name: part.repeat_interleave(rows_per_image, 0) for name, part in first.items()}
        return {"image": image, "words": words}  # (N, H)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Known words (N, G) -> logits (N, G, V) of the word after each, state after the last.

        The new state tells where the decoder looked: `attention_weights` (N, G, P).
        """
        image, hidden, cell = state["image"], state["words"]["hidden"], state["words"]["cell"]
        regions, projected, mask = image["regions"], image["projected"], image.get("mask")
        words = self.dropout(self.embedding(tokens))  # (N, G, E)
        hiddens, contexts, weights = [], [], []
        for word in words.unbind(1):  # (N, E)
            context, weight = self.attention(regions, projected, hidden, mask)  # (N, F), (N, P)
            context = torch.sigmoid(self.gate(hidden)) * context  # section 4.2.1: look at all?
            hidden, cell = self.lstm(torch.cat([word, context], -1), (hidden, cell))  # (N, H)
            for outputs, output in ((hiddens, hidden), (contexts, context), (weights, weight)):
                outputs.append(output)
        read = self.hidden_to_embedding(torch.stack(hiddens, 1))  # (N, G, E)
        seen = self.context_to_embedding(torch.stack(contexts, 1))  # (N, G, E)
        logits = self.output(self.dropout(torch.tanh(words + read + seen)))  # eq. 7, deep output
        after = {"hidden": hidden, "cell": cell, "attention_weights": torch.stack(weights, 1)}
        return logits, {"image": image, "words": after}

    forward = teacher_force  # (features, captions[:, :-1]) -> logits (N, T, V), weights (N, T, P)


def doubly_stochastic_penalty(attention_weights: Tensor, token_mask: Tensor) -> Tensor:
    """How unevenly a caption's words share the regions: mean of (1 - sum over t)^2 (eq. 14).

    attention_weights (N, T, P) sum to one over P; token_mask (N, T) is True for words that count.
    """
    looked = (attention_weights * token_mask.unsqueeze(-1)).sum(1)  # (N, P)
    return (1 - looked).square().mean()
