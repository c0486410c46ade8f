"""The tensors of ImageCaptioning.pytorch under our names, in our order.

Batch norms of the regions are folded into the layers that read them, which is exact: attention
takes a weighted mean with weights that sum to one, so what is added to every region is added to
the mean. The score of a region has a bias there, which no softmax can see.

Source: github.com/ruotianluo/ImageCaptioning.pytorch, captioning/models: AttModel.py (att2in,
att2in2, newfc, updown), FCModel.py (fc, the maxout LSTM), ShowTellModel.py (show_tell).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from captioning.imports.weights import Linear, Weights, named

State = dict[str, Tensor]
# the kind of our decoder, how its tensors are read, which one regions meet first
Converter = tuple[str, Callable[[Weights], State], str]
Norm = tuple[Tensor, Tensor]  # what a batch norm multiplies by, and what it adds


def maxout(weights: Weights, core: str = "core") -> State:
    """The gates of the maxout LSTM: input, forget, output, two candidates, there and here."""
    words, memory = weights.linear(f"{core}.i2h"), weights.linear(f"{core}.h2h")
    return named("words_to_gates", words) | named("memory_to_gates", memory)


def fc(weights: Weights) -> State:
    """The picture is the first word."""
    return named("image_to_embedding", weights.linear("img_embed")) | maxout(weights)


def newfc(weights: Weights) -> State:
    """The same under other names."""
    return named("image_to_embedding", weights.linear("fc_embed")) | maxout(weights, "_core")


def show_tell(weights: Weights) -> State:
    """torch's LSTM, which has no biases there.

    Raises:
        ValueError: it is another network of torch.
    """
    state = named("image_to_embedding", weights.linear("img_embed"))
    for layer in range(sum(name.startswith("core.weight_hh_l") for name in weights.left)):
        state[f"lstm.weight_ih_l{layer}"] = weights.take(f"core.weight_ih_l{layer}", 2)
        memory = weights.take(f"core.weight_hh_l{layer}", 2)
        if len(memory) != 4 * memory.shape[1]:
            found = {3: "a GRU", 1: "a plain RNN"}.get(len(memory) // memory.shape[1], "another")
            raise ValueError(f"{weights.path}: {found} found, an LSTM expected (rnn_type)")
        state[f"lstm.weight_hh_l{layer}"] = memory
        for name in (f"bias_ih_l{layer}", f"bias_hh_l{layer}"):
            given = f"core.{name}" in weights
            state[f"lstm.{name}"] = (
                weights.take(f"core.{name}") if given else memory.new_zeros(len(memory))
            )
    return state


def attention(weights: Weights, norm: Norm | None = None) -> State:
    """What compares regions with the memory; old checkpoints have it one level higher."""
    place = "core" if "core.h2att.weight" in weights else "core.attention"
    score, _ = weights.linear(f"{place}.alpha_net")
    return {
        **named("attention.project_regions", fold(weights.linear("ctx2att"), norm)),
        **named("attention.project_hidden", weights.linear(f"{place}.h2att")),
        "attention.score.weight": score,
    }


def regions(weights: Weights) -> tuple[State, Norm | None]:
    """The layer regions pass, with the batch norm before it; and the batch norm after it."""
    place = int("att_embed.0.running_var" in weights)
    before = batch_norm(weights, "att_embed.0") if place else None
    linear = fold(weights.linear(f"att_embed.{place}"), before)
    last = f"att_embed.{place + 3}"
    after = batch_norm(weights, last) if f"{last}.running_var" in weights else None
    return named("embed_regions.0", linear), after


def att2in(weights: Weights) -> State:
    """Regions and words as they are."""
    state = attention(weights) | named("context_to_candidates", weights.linear("core.a2c"))
    return state | maxout(weights)


def att2in2(weights: Weights) -> State:
    """Regions and words through a layer or a ReLU first."""
    state, norm = regions(weights)
    context = fold(weights.linear("core.a2c"), norm)
    state |= attention(weights, norm) | named("context_to_candidates", context)
    return state | maxout(weights)


def updown(weights: Weights) -> State:
    """Two of torch's LSTMs; what one of them reads stands side by side in one table.

    The first reads the second's output, the mean region and the word; the second what was seen and
    the first's output.
    """
    state, norm = regions(weights)
    first, second = lstm_cell(weights, "core.att_lstm"), lstm_cell(weights, "core.lang_lstm")
    size = second[1].shape[1]
    spoken, mean, words = first[0].split([size, size, first[0].shape[1] - 2 * size], 1)
    context, heard = second[0].split([size, second[0].shape[1] - size], 1)
    context, bias = fold((context, second[2]), norm)
    memory = torch.cat([spoken, first[1]], 1)  # (4H, 2H)
    language = torch.cat([context, heard, second[1]], 1)  # (4H, 3H)
    return {
        **state,
        **attention(weights, norm),
        **named("embed_mean.0", weights.linear("fc_embed.0")),
        "mean_to_gates.weight": mean,
        **named("words_to_gates", (words, first[2])),
        **named("memory_to_gates", (memory, torch.zeros_like(first[2]))),
        **named("language_gates", (language, bias)),
    }


def lstm_cell(weights: Weights, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Tables of torch's LSTMCell for input and memory, and its bias, with the gates in our order.

    torch has input, forget, candidate, output; here the candidate is last.
    """
    bias = weights.take(f"{name}.bias_ih", 1) + weights.take(f"{name}.bias_hh", 1)
    tables = weights.take(f"{name}.weight_ih", 2), weights.take(f"{name}.weight_hh", 2), bias
    order = (0, 1, 3, 2)
    return tuple(torch.cat([table.chunk(4)[gate] for gate in order]) for table in tables)


def batch_norm(weights: Weights, name: str) -> Norm:
    """What a batch norm does in evaluation: x * scale + shift."""
    scale, shift = weights.take(f"{name}.weight", 1), weights.take(f"{name}.bias", 1)
    mean, variance = (weights.take(f"{name}.running_{part}", 1) for part in ("mean", "var"))
    scale = scale.double() / (variance.double() + 1e-5).sqrt()
    return scale, shift.double() - mean.double() * scale


def fold(linear: Linear, norm: Norm | None) -> Linear:
    """The layer that does to x what `linear` does to x * scale + shift."""
    if norm is None:
        return linear
    weight, bias = linear[0].double(), linear[1].double()
    return (weight * norm[0]).float(), (bias + weight @ norm[1]).float()


# by caption_model
RECURRENT: dict[str, Converter] = {
    "fc": ("fc", fc, "image_to_embedding"),
    "newfc": ("fc", newfc, "image_to_embedding"),
    "show_tell": ("rnn", show_tell, "image_to_embedding"),
    "att2in": ("att2in", att2in, "attention.project_regions"),
    "att2in2": ("att2in2", att2in2, "embed_regions.0"),
    "updown": ("updown", updown, "embed_regions.0"),
    "topdown": ("updown", updown, "embed_regions.0"),
}


def to_our_names(weights: Weights, converter: Converter) -> tuple[str, State, int]:
    """The tensors of a model, but for those with a row for each word.

    Args:
        weights (Weights): of the checkpoint.
        converter (Converter): of its caption_model.

    Returns:
        tuple[str, State, int]: kind of our decoder, its tensors, size of a region's vector.

    Raises:
        ValueError: a tensor is missing, or sizes contradict each other.
    """
    kind, convert, first = converter
    try:
        state = convert(weights)
    except (RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{weights.path}: its tensors do not fit together ({reason})") from error
    feature_dim = state[f"{first}.weight"].shape[1]
    mean = state.get("embed_mean.0.weight")
    if mean is not None and mean.shape[1] == feature_dim - 5:  # boxes: not in the mean vector
        state["embed_mean.0.weight"] = torch.nn.functional.pad(mean, (0, 5))
    return kind, state, feature_dim
