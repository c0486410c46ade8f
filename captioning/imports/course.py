"""Checkpoints of the notebook course (ResNet-50, LSTM), read into a captioner of ours.

Its encoder is torchvision's ResNet-50 up to the average pooling, then a Linear to the size of a
word vector; its decoder an LSTM that reads that vector first, then the words. Here the pooling is
the mean of the regions and the Linear belongs to the decoder (`model.DecoderRNN`): same numbers.

Source: github.com/iamirmasoud/image_captioning, model.py, vocabulary.py, gradio_main.py.
"""

from __future__ import annotations

from pathlib import Path

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
from captioning.decoders.build import build_decoder
from captioning.encoders.cnn import build_encoder
from captioning.imports.unpickle import Record, load_plain_pickle
from captioning.imports.weights import Rows, Weights, fill, named, word_tables
from model import EncoderCNN
from vocabulary import SPECIAL_WORDS, Vocabulary

# Where the parts of the ResNet stand in the course's `nn.Sequential`.
PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}

SAME = "files of one training expected"

DIFFERENCES = (
    "The original also crops and mirrors pictures at random when it captions them, so that two "
    "looks at a picture give two captions. Here the shorter side becomes 256 pixels and the middle "
    "224 x 224 are seen, always; size and normalisation are the original's.",
    "The original must say `<start>` first; here it is given, and it is never said.",
    "`<pad>` is not a word of the original: its probability is zero.",
    "The default search is the original's: greedy, at most 19 words with `<end>`, `<unk>` may be "
    "said. `--method beam` usually gives better captions.",
    "Punctuation is among the words. Training here goes on without it: our tokenizer drops it.",
)


def import_course(
    encoder_file: str | Path, decoder_file: str | Path, vocabulary_file: str | Path
) -> Captioner:
    """A captioner from three files of the course.

    Args:
        encoder_file (str | Path): `models/encoder-3.pkl`, a state dict.
        decoder_file (str | Path): `models/decoder-3.pkl`, a state dict.
        vocabulary_file (str | Path): `vocab.pkl`, a pickled `Vocabulary`.

    Returns:
        Captioner: for pictures of any size, with the course's inference transform less its chance.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, would run code, or does not fit the others.
    """
    vocabulary, rows = read_vocabulary(vocabulary_file)
    encoder, decoder = Weights(encoder_file), Weights(decoder_file)
    _check_order(encoder, decoder)
    words, image = decoder.take("embed.weight", 2), encoder.linear("embed")
    output, num_words = decoder.linear("linear"), len(rows) - rows.count(None)
    lstm = {name: decoder.take(name) for name in [*decoder.left] if name.startswith("lstm.")}
    decoder.finish("the course's decoder")
    if not len(words) == len(output[0]) == num_words:
        found = f"{len(words)} words read and {len(output[0])} said"
        raise ValueError(f"{decoder_file}: {found}, but {vocabulary_file} has {num_words}; {SAME}")
    if len(image[0]) != words.shape[1]:
        sizes = f"{len(image[0])} numbers of a picture, but {decoder_file} reads {words.shape[1]}"
        raise ValueError(f"{encoder_file}: {sizes}; {SAME}")
    num_layers = max(sum(name.startswith("lstm.weight_hh_l") for name in lstm), 1)
    experiment = _experiment(vocabulary, words.shape[1], output[0].shape[1], num_layers)
    ours = build_decoder(experiment.decoder, len(vocabulary), image[0].shape[1])
    tables = word_tables(words, output, rows, rows)
    fill(ours, tables | lstm | named("image_to_embedding", image), decoder.path)
    trunk = build_encoder(experiment.encoder, load_weights=False)
    if image[0].shape[1] != trunk.feature_dim:
        sizes = f"'embed' reads {image[0].shape[1]} numbers, a ResNet-50 gives {trunk.feature_dim}"
        raise ValueError(f"{encoder_file}: {sizes}")
    fill(trunk.body, _trunk(trunk, encoder), encoder.path)
    record = {
        "imported": "the notebook course (github.com/iamirmasoud/image_captioning)",
        "original": {"vocab_threshold": vocabulary.min_count},
    }
    return Captioner(trunk, ours, vocabulary, experiment, record).train(False)


def _check_order(encoder: Weights, decoder: Weights) -> None:
    """Refuse files that stand in each other's place."""
    for weights, name in ((encoder, "resnet.0.weight"), (decoder, "lstm.weight_ih_l0")):
        if name not in weights:
            order = "encoder, decoder and vocabulary of the course expected, in this order"
            raise ValueError(f"{weights.path}: no tensor {name!r} in it; {order}")


def _experiment(
    vocabulary: Vocabulary, embed_dim: int, hidden_dim: int, num_layers: int
) -> Experiment:
    """The settings that describe the course's captioner."""
    return Experiment(
        transform=TransformConfig(image_size=224, resize_size=256, fit="crop"),
        vocabulary=VocabularyConfig(min_count=max(vocabulary.min_count or 1, 1)),
        encoder=EncoderConfig(backbone="resnet50", weights="none"),
        decoder=DecoderConfig("rnn", embed_dim, hidden_dim, num_layers=num_layers, dropout=0.0),
        generation=GenerationConfig(method="greedy", max_length=19, suppress_unk=False),
    )


def _trunk(trunk: EncoderCNN, encoder: Weights) -> dict[str, Tensor]:
    """The ResNet under torchvision's names.

    Raises:
        ValueError: a tensor is missing or left.
    """
    state = {}
    for name, own in trunk.body.state_dict().items():
        part, _, rest = name.partition(".")
        theirs = f"resnet.{PLACES[part]}.{rest}"
        counts = name.endswith("num_batches_tracked")  # checkpoints before 2018 have none
        state[name] = own if counts and theirs not in encoder else encoder.take(theirs)
    encoder.finish("the course's encoder, a ResNet-50")
    return state


def read_vocabulary(path: str | Path) -> tuple[Vocabulary, Rows]:
    """The words of a `vocab.pkl`, and where each of them stands there.

    Returns:
        tuple[Vocabulary, Rows]: our vocabulary, and for each of its words the index in the file or
            None (`<pad>`).

    Raises:
        FileNotFoundError, ValueError: see `load_plain_pickle`; or it is no vocabulary.
    """
    record = load_plain_pickle(path)
    if not isinstance(record, Record) or type(record).__name__ != "Vocabulary":
        raise ValueError(f"{path}: {type(record).__name__} found, the course's Vocabulary expected")
    attributes = vars(record)
    ids = attributes.get("word2idx")
    if not isinstance(ids, dict) or not all(isinstance(word, str) for word in ids):
        raise ValueError(f"{path}: a vocabulary without a table 'word2idx' of words")
    if not all(type(i) is int for i in ids.values()) or sorted(ids.values()) != [*range(len(ids))]:
        raise ValueError(f"{path}: word2idx does not number its words from 0 to {len(ids) - 1}")
    special = [attributes.get(f"{kind}_word", f"<{kind}>") for kind in ("start", "end", "unk")]
    missing = [word for word in special if not isinstance(word, str) or word not in ids]
    if missing:
        raise ValueError(f"{path}: the word {missing[0]!r} is not in it")
    names = [SPECIAL_WORDS[0], *special]
    others = sorted((word for word in ids if word not in names), key=ids.get)
    threshold = attributes.get("vocab_threshold")
    try:
        vocabulary = Vocabulary(others, threshold if type(threshold) is int else None)
    except ValueError as error:
        raise ValueError(f"{path}: one of {SPECIAL_WORDS} is an ordinary word ({error})") from error
    return vocabulary, [ids.get(word) for word in [*names, *others]]
