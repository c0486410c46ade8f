"""Checkpoints of the notebook course: the numbers of the original, or one clear sentence.

The original is computed anew: torchvision's ResNet-50 as the course cuts it, and the LSTM from its
equations, on the tensors of the checkpoint itself.
"""

from __future__ import annotations

import json
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet50

from captioning.bundle import Captioner
from captioning.commands import import_
from captioning.imports.course import import_course, read_vocabulary
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX

WORDS = ["<start>", "<end>", "<unk>", "a", "dog", "on", "grass", ".", "the", "man"]
E, H = 6, 8


class Vocabulary:
    """As the course defines it; the whole object is pickled."""

    def __init__(self, words, **attributes):
        self.vocab_threshold, self.vocab_file = 4, "./vocab.pkl"
        self.start_word, self.end_word, self.unk_word = words[:3]
        self.word2idx = {word: index for index, word in enumerate(words)}
        self.idx2word = dict(enumerate(words))
        self.idx = len(words)
        vars(self).update(attributes)


Vocabulary.__module__ = "vocabulary"


def write_vocabulary(path, words=WORDS, **attributes):
    """Pickle it under the name it has in the course."""
    real, sys.modules["vocabulary"] = sys.modules["vocabulary"], sys.modules[__name__]
    try:
        path.write_bytes(pickle.dumps(Vocabulary(words, **attributes)))
    finally:
        sys.modules["vocabulary"] = real
    return path


def decoder_state(layers=1):
    """A state dict of the course's decoder, with random numbers."""
    torch.manual_seed(layers)
    rows = len(WORDS)
    parts = {"embed": nn.Embedding(rows, E), "lstm": nn.LSTM(E, H, layers)}
    parts["linear"] = nn.Linear(H, rows)
    return {f"{n}.{k}": 3 * v for n, part in parts.items() for k, v in part.state_dict().items()}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The three files, and the network behind the first."""
    folder = tmp_path_factory.mktemp("course")
    torch.manual_seed(0)
    trunk = nn.Sequential(*list(resnet50().children())[:-1])
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of a training, and no explosion
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.6, 1.0)
    embed = nn.Linear(2048, E)
    state = {f"resnet.{name}": value for name, value in trunk.state_dict().items()}
    state |= {f"embed.{name}": 2 * value for name, value in embed.state_dict().items()}
    files = [folder / "encoder-3.pkl", folder / "decoder-3.pkl", folder / "vocab.pkl"]
    torch.save(state, files[0])
    torch.save(decoder_state(), files[1])
    write_vocabulary(files[2])

    @torch.no_grad()
    def embedding(images):
        return trunk.eval()(images).flatten(1) @ state["embed.weight"].T + state["embed.bias"]

    return SimpleNamespace(files=files, embedding=embedding)


def pictures(number):
    """Prepared pictures, each brighter and of more contrast than the one before."""
    images = torch.randn(number, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    step = torch.arange(number)[:, None, None, None]
    return images * (1 + 2 * step) + step


@pytest.fixture
def small_encoder(tmp_path):
    """The beginning and the end of an encoder: enough to be taken for one."""
    state = {"resnet.0.weight": torch.zeros(64, 3, 7, 7), "embed.bias": torch.zeros(E)}
    torch.save(state | {"embed.weight": torch.zeros(E, 2048)}, tmp_path / "small.pkl")
    return tmp_path / "small.pkl"


def lstm_cell(w, layer, x, h, c):
    gates = x @ w[f"lstm.weight_ih_l{layer}"].T + w[f"lstm.bias_ih_l{layer}"]
    gates = gates + h @ w[f"lstm.weight_hh_l{layer}"].T + w[f"lstm.bias_hh_l{layer}"]
    i, f, g, o = gates.chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def original_steps(w, embedding):
    """A function that reads a vector a row and gives the log-probabilities of the next word."""
    layers = sum("weight_hh_l" in name for name in w)
    state = [(torch.zeros(len(embedding), H),) * 2 for _ in range(layers)]

    def step(x):
        for k in range(layers):
            state[k] = lstm_cell(w, k, x, *state[k])
            x = state[k][0]
        return (x @ w["linear.weight"].T + w["linear.bias"]).log_softmax(1)

    step(embedding)  # would say `<start>`
    return step


def run(*arguments):
    return import_.run(import_.parser().parse_args([str(one) for one in arguments]))


# ---- the original's numbers ----


@pytest.fixture(scope="module")
def bundle(original, tmp_path_factory):
    """The bundle the command makes."""
    output = tmp_path_factory.mktemp("models") / "course"
    assert run("--from", "course", *original.files, "--output", output) == 0
    return output


@pytest.fixture(scope="module")
def captioner(bundle):
    return Captioner.load(bundle, "cpu")


def test_every_step_has_the_probabilities_of_the_original(original, captioner):
    images = pictures(2)
    w, ids = decoder_state(), torch.tensor([[0, 3, 4, 5, 6, 7, 2], [0, 8, 9, 2, 3, 3, 0]])
    embedding = original.embedding(images)
    assert (embedding[0] - embedding[1]).abs().max() > 0.1
    step = original_steps(w, embedding)
    expected = torch.stack([step(w["embed.weight"][i]) for i in ids.unbind(1)], 1)
    ours = [START_IDX, END_IDX, UNK_IDX, *range(4, 11)]
    with torch.no_grad():
        features = captioner.encoder(images)
        logits = captioner.decoder(features, torch.tensor(ours)[ids]).logits
    logprobs = logits.log_softmax(-1)
    torch.testing.assert_close(logprobs[..., ours], expected, rtol=0, atol=1e-5)
    assert (logprobs[..., PAD_IDX] < -1000).all()
    assert expected.std() > 0.5 and (expected[0, 0] - expected[1, 0]).abs().max() > 0.01


def test_greedy_captions_are_those_of_the_original(original, captioner):
    images, w = pictures(3), decoder_state()
    step, index, rows = original_steps(w, original.embedding(images)), torch.zeros(3).long(), []
    for _ in range(19):
        logprobs = step(w["embed.weight"][index])
        logprobs[:, 0] = float(
            "-inf"
        )  # the original may say `<start>` again, which is then skipped
        index = logprobs.argmax(1)
        rows.append(index)
    expected = []
    for row in torch.stack(rows, 1).tolist():
        row = row[: row.index(1)] if 1 in row else row
        expected.append([WORDS[i] for i in row])
    config = captioner.generation_config()
    assert (config.method, config.max_length, config.suppress_unk) == ("greedy", 19, False)
    result, _ = captioner.generate(images, config)
    assert [captioner.vocabulary.decode_words(row) for row in result.tokens.tolist()] == expected
    assert sum(map(len, expected)) > 3


def test_two_layers(original, tmp_path):
    path = tmp_path / "decoder.pkl"
    torch.save(decoder_state(layers=2), path, _use_new_zipfile_serialization=False)
    captioner = import_course(original.files[0], path, original.files[2])
    assert captioner.experiment.decoder.num_layers == 2
    images, w = pictures(1), decoder_state(layers=2)
    expected = original_steps(w, original.embedding(images))(w["embed.weight"][:1])
    with torch.no_grad():
        features = captioner.encoder(images)
        logits = captioner.decoder(features, torch.tensor([[START_IDX]])).logits
    found = logits[:, 0].log_softmax(-1)[:, [START_IDX, END_IDX, UNK_IDX, *range(4, 11)]]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_picture_is_seen_as_in_the_course_without_its_chance(captioner):
    """Shorter side 256, the middle 224 x 224, ImageNet's mean and spread."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    picture = Image.fromarray(pixels)
    small = picture.resize((round(400 * 256 / 300), 256), Image.BILINEAR)
    left, top = (small.width - 224) // 2, (256 - 224) // 2
    middle = np.asarray(small.crop((left, top, left + 224, top + 224)), np.float32) / 255
    expected = (middle - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    found = captioner.prepare([picture])[0].permute(1, 2, 0).numpy()
    assert found.shape == (224, 224, 3)
    assert np.abs(found - expected).mean() < 0.01
    assert captioner.caption(picture) == captioner.caption(picture)


def test_the_bundle_says_where_it_comes_from(original, bundle, captioner):
    card = (bundle / "README.md").read_text("utf-8")
    for part in ("course", "`encoder-3.pkl`", "crops and mirrors", "resnet50", "vocab_threshold"):
        assert part in card
    assert str(original.files[0].parent) not in card
    assert captioner.vocabulary.words[4:] == tuple(WORDS[3:])
    assert captioner.vocabulary.min_count == 4
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["course"]
    config = json.loads((bundle / "config.json").read_text())
    assert [file["name"] for file in config["record"]["files"]] == [p.name for p in original.files]


# ---- the vocabulary ----


def test_special_words_are_found_by_their_names(tmp_path):
    words = ["x", "</s>", "<s>", "y", "<pad>", "<oov>"]
    names = {"start_word": "<s>", "end_word": "</s>", "unk_word": "<oov>", "vocab_threshold": None}
    vocabulary, rows = read_vocabulary(write_vocabulary(tmp_path / "v.pkl", words, **names))
    assert vocabulary.words[4:] == ("x", "y") and rows == [4, 2, 1, 5, 0, 3]


@pytest.mark.parametrize(
    ("words", "attributes", "message"),
    [
        (WORDS, {"word2idx": None}, "without a table 'word2idx'"),
        (WORDS, {"word2idx": {3: 0}}, "without a table 'word2idx'"),
        (WORDS, {"word2idx": {"<start>": 1, "a": 2}}, "does not number its words from 0 to 1"),
        (WORDS, {"word2idx": {"<start>": 0, "a": True}}, "does not number its words"),
        (WORDS, {"word2idx": {"<start>": [0]}}, "does not number its words"),
        (WORDS, {"word2idx": {"<start>": 0, "a": 1}}, "the word '<end>' is not in it"),
        (WORDS, {"unk_word": ["<unk>"]}, r"the word \['<unk>'\] is not in it"),
        (["<s>", "<end>", "<unk>", "<start>"], {}, "'<start>' appears twice"),
    ],
)
def test_odd_vocabularies_are_refused(tmp_path, words, attributes, message):
    path = write_vocabulary(tmp_path / "v.pkl", words, **attributes)
    with pytest.raises(ValueError, match=rf"v\.pkl: .*{message}") as info:
        read_vocabulary(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("content", [{"word2idx": {}}, 3, None, [WORDS]])
def test_other_pickles_are_no_vocabulary(tmp_path, content):
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"v\.pkl: \w+ found, the course's Vocabulary expected"):
        read_vocabulary(tmp_path / "v.pkl")


# ---- what does not fit ----


def test_a_vocabulary_of_another_training(original, tmp_path):
    path = write_vocabulary(tmp_path / "v.pkl", WORDS[:-1])
    with pytest.raises(
        ValueError, match=r"decoder-3\.pkl: 10 words read and 10 said, but .* has 9"
    ):
        import_course(*original.files[:2], path)


def test_files_in_another_order(original):
    encoder, decoder, vocabulary = original.files
    with pytest.raises(ValueError, match=r"decoder-3\.pkl: no tensor 'resnet.0.weight'.*order"):
        import_course(decoder, encoder, vocabulary)
    with pytest.raises(ValueError, match=r"encoder-3\.pkl: a zip file \(weights\?\) found"):
        import_course(vocabulary, decoder, encoder)
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such weight file"):
        import_course(encoder.with_name("none.pkl"), decoder, vocabulary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lstm.weight_hh_l0": torch.zeros(4 * H, H + 1)}, r"lstm.weight_hh_l0 \(32, 9\) found"),
        ({"attention.weight": torch.zeros(1)}, "'attention.weight' has no place in the course's"),
        ({"linear.bias": torch.zeros(3)}, "'linear': 10 rows and 3 biases found"),
        ({"embed.weight": torch.zeros(10)}, r"'embed.weight' has size \(10,\)"),
        ({"linear.weight": torch.full((10, H), torch.inf)}, "'linear.weight' holds NaN or inf"),
    ],
)
def test_a_decoder_that_does_not_fit(original, small_encoder, tmp_path, change, message):
    path = tmp_path / "decoder.pkl"
    torch.save(decoder_state() | change, path)
    with pytest.raises(ValueError, match=rf"decoder\.pkl: .*{message}") as info:
        import_course(small_encoder, path, original.files[2])
    assert "\n" not in str(info.value)


def test_encoder_and_decoder_of_two_trainings(original, small_encoder, tmp_path):
    path = tmp_path / "decoder.pkl"
    torch.save(decoder_state() | {"embed.weight": torch.zeros(10, E + 1)}, path)
    with pytest.raises(ValueError, match=r"small\.pkl: 6 numbers .*decoder\.pkl reads 7; files"):
        import_course(small_encoder, path, original.files[2])


def test_an_encoder_that_is_no_resnet50(original, small_encoder, tmp_path):
    with pytest.raises(ValueError, match=r"small\.pkl: no tensor 'resnet.1.weight' in it"):
        import_course(small_encoder, *original.files[1:])
    small = torch.load(small_encoder, weights_only=True)
    torch.save(small | {"embed.weight": torch.zeros(E, 512)}, small_encoder)
    with pytest.raises(
        ValueError, match=r"small\.pkl: 'embed' reads 512 numbers, a ResNet-50 gives"
    ):
        import_course(small_encoder, *original.files[1:])
    deep = torch.load(original.files[0], weights_only=True)
    deep["resnet.6.6.conv1.weight"] = torch.zeros(1)  # of a ResNet-101
    torch.save(deep, tmp_path / "deep.pkl")
    with pytest.raises(ValueError, match=r"'resnet.6.6.conv1.weight' has no place in .* ResNet-50"):
        import_course(tmp_path / "deep.pkl", *original.files[1:])
    (tmp_path / "deep.pkl").unlink()


def test_code_in_any_of_the_three_files_is_refused(original, tmp_path):
    for place, message in enumerate(["more than tensors", "more than tensors", "it asks for"]):
        files = list(original.files)
        files[place] = tmp_path / "evil.pkl"
        torch.save(nn.Linear(1, 1), files[place])
        if place == 2:
            files[place].write_bytes(b"cposix\nsystem\n(S'touch ran'\ntR.")
        with pytest.raises(ValueError, match=rf"evil\.pkl: refused, .*{message}"):
            import_course(*files)
    assert not (tmp_path / "ran").exists()


def test_half_a_file(original, tmp_path):
    for place, message in enumerate(["not a readable", "not a readable", "not a whole"]):
        files = list(original.files)
        whole = files[place].read_bytes()
        files[place] = tmp_path / "half.pkl"
        files[place].write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"half\.pkl: {message}") as info:
            import_course(*files)
        assert "\n" not in str(info.value)
