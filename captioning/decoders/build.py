"""From the settings of a decoder to the network."""

from __future__ import annotations

from torch import nn

from captioning.config import DecoderConfig
from model import DecoderRNN, DecoderWithAttention


def build_decoder(config: DecoderConfig, vocab_size: int, feature_dim: int) -> nn.Module:
    """The decoder of a config, with random weights."""
    sizes = (vocab_size, feature_dim, config.embed_dim, config.hidden_dim)
    if config.kind == "rnn":
        return DecoderRNN(*sizes, config.num_layers, config.dropout)
    return DecoderWithAttention(*sizes, config.attention_dim, config.dropout)
