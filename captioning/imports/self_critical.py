"""Checkpoints of ImageCaptioning.pytorch (and self-critical.pytorch) become captioners of ours.

caption_model fc and newfc become kind `fc`, show_tell `rnn`, att2in, att2in2, updown (once called
topdown) and transformer the kinds of these names; so do relation_transformer of
object_relation_transformer and sat of satic, which were built on that code. There index 0 is start,
end and padding at once, and the word for all rare ones stands last.

Source: github.com/ruotianluo/ImageCaptioning.pytorch, captioning/utils/misc.py (files),
captioning/utils/opts.py (options), captioning/data/dataloader.py (features), scripts/
prepro_labels.py (words); github.com/yahoo/object_relation_transformer, dataloader.py (boxes).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from captioning.bundle import Captioner
from captioning.config import (
    DecoderConfig,
    EncoderConfig,
    Experiment,
    GenerationConfig,
    TransformConfig,
    VocabularyConfig,
)
from captioning.imports.self_critical_tensors import RECURRENT, State, to_our_names
from captioning.imports.self_critical_transformer import (
    EMBEDDING,
    OTHERS,
    OUTPUT,
    TOGETHER,
    TRANSFORMERS,
    check_options,
    dropout_of,
    sizes_claimed,
    transformer_settings,
)
from captioning.imports.unpickle import Record, load_plain_pickle
from captioning.imports.weights import Linear, Rows, Weights, fill, word_tables
from vocabulary import SPECIAL_WORDS, Vocabulary

UNKNOWN = "UNK"  # the original's word for all rare ones
FACTS = (
    *("caption_model", "epoch", "iter", "best_val_score", "use_bn", "use_box", "norm_att_feat"),
    *("cached_transformer", "legacy_extra_skip", "K"),
)
CONVERTERS = RECURRENT | TRANSFORMERS
SOURCES = {
    "relation_transformer": "yahoo/object_relation_transformer",
    "sat": "YuanEZhou/satic",
}


class Infos(NamedTuple):
    """What `infos_ID.pkl` says: the options of the training, and the words with index 1, 2, ..."""

    path: Path
    options: dict[str, Any]
    words: list[str]

    def number(self, name: str, default: int) -> int:
        """An option that is a whole number above zero, or the default."""
        value = self.options.get(name)
        return value if type(value) is int and value > 0 else default


def import_self_critical(
    model_file: str | Path,
    infos_file: str | Path,
    encoder: EncoderConfig | None = None,
    transform: TransformConfig | None = None,
) -> Captioner:
    """A captioner from a checkpoint and its infos.

    Args:
        model_file (str | Path): `model.pth`, a state dict.
        infos_file (str | Path): `infos_ID.pkl`, options and vocabulary.
        encoder (EncoderConfig | None): a CNN that stands in for the one the features came from;
            backbone `features` or None: none, the captioner reads features from a store.
        transform (TransformConfig | None): how that CNN is to see a picture.

    Returns:
        Captioner: gives the original's probabilities on the original's features.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged or would run code, the files do not fit each other, or the
            model is of another kind.
    """
    infos, weights = read_infos(infos_file), Weights(model_file)
    vocabulary, read, said = arrange_words(infos)
    config, state, feature_dim = convert(weights, infos, read, said)
    encoder = replace(encoder or EncoderConfig(backbone="features"))
    if encoder.backbone == "features":
        encoder.feature_dim = encoder.feature_dim or feature_dim
    length = infos.number("seq_length", 0)  # of the captions in training
    experiment = Experiment(
        transform=transform or TransformConfig(),
        vocabulary=VocabularyConfig(max_length=length or 16),
        encoder=encoder,
        decoder=config,
        generation=GenerationConfig(max_length=infos.number("max_length", length or 20)),
    )
    captioner = Captioner.build(experiment, vocabulary)
    if captioner.encoder.feature_dim != feature_dim:
        found = f"{encoder.backbone} gives {captioner.encoder.feature_dim} numbers a region"
        raise ValueError(f"encoder: {found}, {model_file} expects {feature_dim}")
    fill(captioner.decoder, state, weights.path)
    known = {name: infos.options.get(name) for name in FACTS}
    source = SOURCES.get(known["caption_model"], "ruotianluo/ImageCaptioning.pytorch")
    captioner.record = {
        "imported": f"{source.partition('/')[2]} (github.com/{source})",
        "original": {k: v for k, v in known.items() if isinstance(v, str | int | float) and v == v},
    }
    return captioner.train(False)


def differences(captioner: Captioner) -> list[str]:
    """Sentences about what is not as in the original, for the card."""
    options, experiment = captioner.record["original"], captioner.experiment
    backbone, kind = experiment.encoder.backbone, experiment.decoder.kind
    sentences = [
        "Index 0 of the original is start, end and padding at once. Here `<start>` and `<pad>` are "
        "words of their own; their probability is zero.",
        "The default search is a beam of 5 that never says `<unk>`, as for the original's "
        "published scores; `--method greedy --suppress_unk false` is its greedy search.",
        "The network that made the original's features is not part of it. This captioner cannot "
        "look at a picture; give it a store of such features."
        if backbone == "features"
        else f"A {backbone} stands in for the network that made the original's features: captions "
        "are as good as the two are alike, and no published score holds.",
    ]
    if kind in ("fc", "rnn", "updown"):
        sentences.append(
            "The global vector is the mean of the regions. That is the original's for bottom-up "
            "features; its ResNet vector is the mean of the last map before that is resampled to "
            "14 x 14: the same up to the resampling."
        )
    if kind in ("fc", "rnn"):
        sentences.append("A store with one region a picture, that vector, gives its numbers.")
    if kind == "transformer":
        sentences += transformer_differences(options)
    if options.get("use_box") and options["caption_model"] != "relation_transformer":
        sentences.append(
            "The last five numbers of a region are its box: left, top, right, bottom and area as "
            "shares of the picture."
        )
    if options.get("norm_att_feat"):
        sentences.append("The vector of a region is divided by its length before all else.")
    return sentences


def transformer_differences(options: dict[str, Any]) -> list[str]:
    """What is to be known of a transformer."""
    sentences = [
        "Should training go on: `region_dropout` is the original's drop_prob_lm and falls on the "
        "regions as they enter, `dropout` is its dropout and falls everywhere else, as there.",
    ]
    if options["caption_model"] == "sat":
        sentences.append(
            f"It says {options['K']} words at once (`decoder.transformer.group_size`). The "
            "original shows only the first of its start words in cross-entropy: "
            "`decoder.transformer.hide_starts`. Its searches may break their own rules where a "
            "group is longer than one word; these do not."
        )
    if options["caption_model"] == "relation_transformer":
        sentences.append(
            "Boxes come from the store, as shares of the picture, in the order of the regions; "
            "as in the original, 1 is added to their widths and heights."
        )
        if "legacy_extra_skip" not in options:
            sentences.append(
                "The infos do not say legacy_extra_skip, which the original then leaves out, and "
                "so does this. The weights its authors published after self-critical training "
                "need it; here they would give other captions."
            )
    return sentences


def read_infos(path: str | Path) -> Infos:
    """Options and words.

    Raises:
        FileNotFoundError, ValueError: see `load_plain_pickle`; or it is no infos file, or one of a
            model that is not read.
    """
    path, record = Path(path), load_plain_pickle(path)
    if not isinstance(record, dict) or not {"opt", "vocab"} <= set(record):
        raise ValueError(f"{path}: 'opt' and 'vocab' expected, as infos of a training have them")
    options, words = record["opt"], record["vocab"]
    if not isinstance(options, Record) or not isinstance(words, dict):
        raise ValueError(f"{path}: a Namespace in 'opt' and a table of words in 'vocab' expected")
    options = vars(options) | {name: record[name] for name in FACTS if name in record}
    model = options.get("caption_model")
    if not isinstance(model, str) or model not in CONVERTERS:
        reason = OTHERS.get(model) if isinstance(model, str) else None
        found = f"{model!r} found" + (f" ({reason})" if reason else "")
        raise ValueError(f"{path}: caption_model {found}, one of {[*CONVERTERS]} expected")
    check_options(options, path)
    by_index = {str(index): word for index, word in words.items()}
    listed = [by_index.get(str(index)) for index in range(1, len(words) + 1)]
    if not listed or not all(isinstance(word, str) for word in listed):
        raise ValueError(f"{path}: 'vocab' does not give a word to every index from 1 on")
    if pieces := [word for word in listed if word.endswith("@@")]:
        raise ValueError(f"{path}: {pieces[0]!r} is a piece of a word, whole words expected")
    return Infos(path, options, listed)


def arrange_words(infos: Infos) -> tuple[Vocabulary, Rows, Rows]:
    """Our vocabulary, and where each of its words stands among those the original reads and says.

    Raises:
        ValueError: a word appears twice, or is one of our special ones.
    """
    unknown = infos.words.index(UNKNOWN) + 1 if UNKNOWN in infos.words else None
    places = [place for place, _ in enumerate(infos.words, 1) if place != unknown]
    if special := sorted({*infos.words} & {*SPECIAL_WORDS}):
        raise ValueError(f"{infos.path}: word {special[0]!r} is one of our special words")
    try:
        vocabulary = Vocabulary([infos.words[place - 1] for place in places])
    except ValueError as error:
        raise ValueError(f"{infos.path}: {error}") from error
    return vocabulary, [0, 0, 0, unknown, *places], [None, None, 0, unknown, *places]


def convert(
    weights: Weights, infos: Infos, read: Rows, said: Rows
) -> tuple[DecoderConfig, State, int]:
    """The decoder's settings, its tensors under our names, and the size of a region's vector.

    Raises:
        ValueError: a tensor is missing, left, or does not fit the others or the infos.
    """
    model = infos.options["caption_model"]
    embedding, output = word_layers(weights, infos)
    kind, state, feature_dim = to_our_names(weights, CONVERTERS[model])
    weights.finish(f"{model}, the caption_model of {infos.path}")
    if kind == "transformer":
        sizes = transformer_settings(state, infos.options, weights.path)
        config = DecoderConfig(kind, transformer=sizes)
        claimed = sizes_claimed(sizes, infos.options)
    else:
        config = recurrent_settings(kind, state, embedding.shape[1], output[0].shape[1])
        config.dropout = dropout_of(infos.options, "drop_prob_lm", 0.5)
        claimed = [("input_encoding_size", config.embed_dim), ("rnn_size", config.hidden_dim)]
        if "attention.score.weight" in state:
            claimed.append(("att_hid_size", config.attention_dim))
    for name, found in claimed:
        if infos.number(name, found) != found:
            told = f"{name} {found} found, {infos.path} says {infos.options[name]}"
            raise ValueError(f"{weights.path}: {told}: {TOGETHER}")
    return config, state | word_tables(embedding, output, read, said), feature_dim


def word_layers(weights: Weights, infos: Infos) -> tuple[Tensor, Linear]:
    """The two layers with a row for each word: vectors of those read, scores of those said.

    Raises:
        ValueError: there are other numbers of words than the infos have.
    """
    if "logit.0.weight" in weights:
        raise ValueError(
            f"{weights.path}: several layers before the words, logit_layers 1 expected"
        )
    if infos.options["caption_model"] in TRANSFORMERS:
        names = EMBEDDING, OUTPUT
    else:
        plain = "embed.weight" in weights
        names = "embed.weight" if plain else "embed.0.weight", "logit"
    embedding, output = weights.take(names[0], 2), weights.linear(names[1])
    if not len(embedding) == len(output[0]) == len(infos.words) + 1:
        found = f"{len(embedding) - 1} words read and {len(output[0]) - 1} said"
        told = f"{infos.path} has {len(infos.words)}"
        raise ValueError(f"{weights.path}: {found}, but {told}: {TOGETHER}")
    return embedding, output


def recurrent_settings(kind: str, state: State, embed_dim: int, hidden_dim: int) -> DecoderConfig:
    """Sizes of a network with a memory, as its tensors have them."""
    config = DecoderConfig(kind, embed_dim, hidden_dim)
    if "attention.score.weight" in state:
        config.attention_dim = state["attention.score.weight"].shape[1]
    config.num_layers = max(sum(name.startswith("lstm.weight_hh") for name in state), 1)
    return config
