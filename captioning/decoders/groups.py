"""Words in groups: what a semi-autoregressive decoder reads, and how its captions are learned.

A caption's words are said K at a time. Group g reads the K words of group g - 1; group 0 reads K
`<start>`. With K = 3:

    read   <start> <start> <start> |  w1   w2   w3  | ...
    said     w1      w2      w3    |  w4   w5   w6  | ...

Source: Y. Zhou et al., "Semi-Autoregressive Transformer for Image Captioning", ICCV Workshops 2021,
arXiv:2106.09436, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model import DecoderOutput, VisualFeatures, teacher_force
from vocabulary import START_IDX


def group_inputs(captions: Tensor, group_size: int) -> Tensor:
    """What a decoder reads for given captions: K starts, then words, in whole groups.

    Args:
        captions (Tensor): `<start>` and the words known, (N, T).
        group_size (int): K; with 1 the answer is `captions`.

    Returns:
        Tensor: (N, T'), T' the first multiple of K from T on. What is said on reading row t is the
        word after word t of `captions`, for any K; the last T' - T rows are for no word of them.
    """
    if group_size == 1:
        return captions
    whole = captions.shape[1] + -captions.shape[1] % group_size
    starts = torch.full_like(captions[:, :1], START_IDX).expand(-1, group_size - 1)
    return torch.cat([starts, captions], 1)[:, :whole]


def teacher_force_groups(
    decoder: nn.Module, features: VisualFeatures, captions: Tensor, sampling_probability: float = 0
) -> DecoderOutput:
    """The `forward` of decoders with a `group_size`: `teacher_force` of `model.py` for any K.

    Args:
        decoder (nn.Module): with `init_state`, `step` and `group_size`.
        features (VisualFeatures): of B pictures.
        captions (Tensor): `<start>` and the words known, (N, T).
        sampling_probability (float): see `teacher_force`.

    Returns:
        DecoderOutput: logits (N, T, V) of the next words; weights (N, T, P) where it looks.

    Raises:
        ValueError: words of its own (scheduled sampling) are asked for in groups.
    """
    if decoder.group_size == 1:
        return teacher_force(decoder, features, captions, sampling_probability)
    if sampling_probability:
        raise ValueError(
            f"sampling_probability: {sampling_probability} received, 0 expected with group_size "
            f"{decoder.group_size}"
        )
    length = captions.shape[1]
    output = teacher_force(decoder, features, group_inputs(captions, decoder.group_size))
    weights = output.attention_weights
    return DecoderOutput(
        output.logits[:, :length], None if weights is None else weights[:, :length]
    )
