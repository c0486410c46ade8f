"""From the settings of a decoder to the network."""

from __future__ import annotations

from torch import nn

from captioning.config import DecoderConfig
from captioning.decoders.recurrent import (
    DecoderAdaptive,
    DecoderAtt2in,
    DecoderAtt2in2,
    DecoderFC,
    DecoderUpDown,
)
from captioning.decoders.transformer import DecoderTransformer
from model import DecoderRNN, DecoderWithAttention

RECURRENT = {
    "fc": DecoderFC,
    "att2in": DecoderAtt2in,
    "att2in2": DecoderAtt2in2,
    "updown": DecoderUpDown,
    "adaptive": DecoderAdaptive,
}

TITLES = {
    "rnn": "Show and Tell (LSTM)",
    "fc": "FC (maxout LSTM)",
    "attention": "Show, Attend and Tell",
    "att2in": "Att2in",
    "att2in2": "Att2in2",
    "updown": "Up-Down",
    "adaptive": "adaptive attention",
    "transformer": "transformer",
}


def describe_sizes(config: DecoderConfig) -> str:
    """The sizes of a decoder, for the cards of bundles."""
    if config.kind != "transformer":
        return f"embed_dim {config.embed_dim}, hidden_dim {config.hidden_dim}"
    sizes = config.transformer
    layers = f"encoder_layers {sizes.encoder_layers}, num_layers {sizes.num_layers}"
    return f"model_dim {sizes.model_dim}, feedforward_dim {sizes.feedforward_dim}, {layers}"


def build_decoder(config: DecoderConfig, vocab_size: int, feature_dim: int) -> nn.Module:
    """The decoder of a config, with random weights."""
    sizes = (vocab_size, feature_dim, config.embed_dim, config.hidden_dim)
    if config.kind == "rnn":
        return DecoderRNN(*sizes, config.num_layers, config.dropout)
    if config.kind == "attention":
        return DecoderWithAttention(*sizes, config.attention_dim, config.dropout)
    if config.kind == "transformer":
        return DecoderTransformer(vocab_size, feature_dim, config)
    return RECURRENT[config.kind](vocab_size, feature_dim, config)
