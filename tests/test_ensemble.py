"""Several captioners as one: its probabilities, its searches, and what does not go together."""

from __future__ import annotations

import json

import pytest
import torch
from decoding_toys import forced_logprobs, make_config, make_decoder, make_features
from PIL import Image
from tiny_bundles import WORDS, tiny_bundle

from captioning.bundle import Captioner
from captioning.cli import main
from captioning.decoding.generation import generate
from captioning.ensemble import (
    Ensemble,
    EnsembleDecoder,
    EnsembleFeatures,
    load_captioner,
    parse_models,
)
from model import VisualFeatures
from vocabulary import Vocabulary

SEARCHES = [
    {"method": "greedy"},
    {"method": "beam", "num_samples": 2, "no_repeat": True},
    {"method": "diverse_beam", "num_beam_groups": 3, "num_samples": 3},
    {"method": "sample", "num_samples": 3},
]


def both(features: VisualFeatures, other: VisualFeatures | None = None) -> EnsembleFeatures:
    return EnsembleFeatures.of([features, other or features])


def red(width: int = 48, height: int = 40) -> Image.Image:
    return Image.linear_gradient("L").resize((width, height)).convert("RGB")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory):
    """Three bundles of the same words: two that see alike, one that sees otherwise."""
    folder = tmp_path_factory.mktemp("shelf")
    tiny_bundle(folder / "one")
    tiny_bundle(folder / "two", kind="rnn")
    cropped = tiny_bundle(folder / "cropped", fit="crop")
    with torch.no_grad():  # other eyes as well
        for parameter in cropped.encoder.parameters():
            parameter.mul_(1.1)
    cropped.save(folder / "cropped", half=True)
    return folder


@pytest.fixture
def pair(shelf) -> Ensemble:
    return load_captioner([str(shelf / "one"), str(shelf / "two")], device="cpu")


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["method"])
@pytest.mark.parametrize("kind", ["rnn", "attention"])
def test_two_copies_are_the_one(kind, search):
    decoder, features = make_decoder(kind, 3), make_features(4)
    config = make_config(**search)
    alone = generate(decoder, features, config)
    for weights in ([0.5, 0.5], [0.9, 0.1]):
        twice = generate(EnsembleDecoder([decoder, decoder], weights), both(features), config)
        assert torch.equal(twice.tokens, alone.tokens)
        torch.testing.assert_close(twice.logprobs, alone.logprobs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(twice.scores, alone.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["method"])
def test_a_member_without_weight_has_no_say(search):
    first, second = make_decoder("attention", 3), make_decoder("rnn", 4)
    features, others = make_features(4), make_features(4, seed=9)
    ensemble = EnsembleDecoder([first, second], [1.0, 0.0])
    together = generate(ensemble, both(features, others), make_config(**search))
    alone = generate(first, features, make_config(**search))
    assert torch.equal(together.tokens, alone.tokens)
    torch.testing.assert_close(together.logprobs, alone.logprobs)


def test_probabilities_are_averaged():
    """Not log-probabilities, and not logits: word by word, over captions both are forced to say."""
    members = [make_decoder("attention", 1), make_decoder("rnn", 2)]
    features, others = make_features(3), make_features(3, seed=5)
    tokens = torch.randint(4, 12, (6, 5), generator=torch.Generator().manual_seed(0))
    ensemble, seen = EnsembleDecoder(members, [0.7, 0.3]), both(features, others)
    found = forced_logprobs(ensemble, seen, tokens)
    first = forced_logprobs(members[0], features, tokens)
    second = forced_logprobs(members[1], others, tokens)
    torch.testing.assert_close(found.exp(), 0.7 * first.exp() + 0.3 * second.exp())

    start = torch.ones_like(tokens[:, :1])
    logits = ensemble(seen, torch.cat([start, tokens[:, :-1]], 1)).logits
    whole = logits.log_softmax(-1).gather(2, tokens[..., None]).squeeze(-1)
    torch.testing.assert_close(whole, found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("search", SEARCHES[:3], ids=lambda search: search["method"])
def test_batch_equals_single(search):
    ensemble = EnsembleDecoder([make_decoder("attention", 1), make_decoder("rnn", 2)], [0.4, 0.6])
    features, others, config = make_features(4), make_features(4, seed=5), make_config(**search)
    together = generate(ensemble, both(features, others), config)
    number = config.num_samples
    for image in range(4):
        one = slice(image, image + 1)
        seen = both(VisualFeatures(features.regions[one]), VisualFeatures(others.regions[one]))
        alone = generate(ensemble, seen, config)
        rows = slice(image * number, (image + 1) * number)
        assert torch.equal(together.tokens[rows, : alone.tokens.shape[1]], alone.tokens)


def test_an_ensemble_is_a_captioner(pair, shelf):
    captions = pair.describe([red(), red(30, 60)], beam_size=3, num_samples=2)
    assert [len(some) for some in captions] == [2, 2]
    assert captions[0][0].logprob >= captions[0][1].logprob
    assert isinstance(pair.caption(red()), str)
    assert pair.experiment.generation.max_length == 6 and pair.device.type == "cpu"
    single = load_captioner([str(shelf / "one")], device="cpu")
    assert type(single) is Captioner
    twice = load_captioner([f"{shelf}/one,{shelf}/one"], "2,1", "cpu")
    assert twice.caption(red()) == single.caption(red())
    with pytest.raises(ValueError, match="an ensemble is not saved"):
        pair.save(shelf / "saved")


def test_members_see_pictures_in_their_own_way(shelf):
    """One squeezes the picture, the other crops it: `prepare` does both, a shared batch is none."""
    names = [str(shelf / "one"), str(shelf / "cropped")]
    mixed = load_captioner(names, device="cpu")
    singles = [Captioner.load(name, "cpu") for name in names]
    pictures = [red(), red(30, 60)]
    seen = mixed.look(mixed.prepare(pictures))
    for member, single in zip(seen.members, singles, strict=True):
        expected = single.encoder(single.prepare(pictures)).regions
        torch.testing.assert_close(member.regions, expected)
    raw = [mixed.eval_transform()(picture) for picture in pictures]  # as a data set hands them out
    for member, again in zip(seen.members, mixed.look(raw).members, strict=True):
        torch.testing.assert_close(member.regions, again.regions)
    with pytest.raises(ValueError, match="one, .*cropped prepare theirs in different ways"):
        mixed.look(singles[0].prepare(pictures))


def test_members_that_see_alike_share_pictures_and_features(pair):
    prepared = pair.members[0].prepare([red()])
    assert torch.equal(pair.eval_transform()(red())[None], prepared)
    shared, own = pair.look(prepared), pair.look(pair.prepare([red()]))
    for one, other in zip(shared.members, own.members, strict=True):
        torch.testing.assert_close(one.regions, other.regions)
    regions = VisualFeatures(torch.rand(2, 3, pair.members[0].encoder.feature_dim))
    assert len(pair.look(regions)) == 2
    with pytest.raises(ValueError, match="7 numbers a region received, 128 expected by .*one"):
        pair.look(VisualFeatures(torch.rand(2, 3, 7)))


def test_other_words_are_refused_by_name_and_hash(shelf, tmp_path):
    strange = Captioner.load(shelf / "one", "cpu")
    strange.vocabulary = Vocabulary(list(reversed(WORDS)))  # as many, under other ids
    strange.save(tmp_path / "strange")
    found, expected = strange.vocabulary.content_hash, Vocabulary(WORDS).content_hash
    message = f"strange: vocabulary {found} found, {expected} as of .*one expected"
    with pytest.raises(ValueError, match=message):
        load_captioner([str(shelf / "one"), str(tmp_path / "strange")], device="cpu")


@pytest.mark.parametrize(
    ("models", "weights", "message"),
    [
        ("A,B", "1", r"model_weights: \[1.0\] received, 2 numbers of at least 0 expected"),
        ("A,B", "1,-1", r"\[1.0, -1.0\] received"),
        ("A,B", "0,0", "not all of them 0"),
        ("A,B", "1,nan", r"\[1.0, nan\] received"),
        ("A,B", "1,inf", r"\[1.0, inf\] received"),
        ("A,B", "1;2", "model_weights: '1;2' received, numbers expected"),
        ("A,", "", "model: 'A,' received, bundles like A or A,B expected"),
        ("", "", "model: '' received"),
    ],
)
def test_what_is_typed_wrongly_is_named(models, weights, message):
    with pytest.raises(ValueError, match=message):
        parse_models([models], weights)


def test_names_and_weights_as_typed(tmp_path, monkeypatch):
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_models(["a,b"]) == (["a,b"], [1.0])  # a folder of that name
    assert parse_models(["a, c", "d"], "2,1,1") == (["a", "c", "d"], [0.5, 0.25, 0.25])


def test_decoders_must_take_steps_of_one_size():
    first, second = make_decoder("rnn"), make_decoder("rnn")
    second.group_size = 2
    with pytest.raises(ValueError, match=r"group_size: \[1, 2\] received, equal sizes expected"):
        EnsembleDecoder([first, second], [0.5, 0.5])


def test_caption_with_an_ensemble(shelf, tmp_path, capsys):
    red().save(tmp_path / "red.png")
    pictures = [str(tmp_path / "red.png"), "--device", "cpu", "--json"]

    def caption(*arguments: str) -> str:
        assert main(["caption", *arguments, *pictures]) == 0
        return json.loads(capsys.readouterr().out)["caption"]

    one, two = str(shelf / "one"), str(shelf / "two")
    assert caption("--model", f"{one},{two}", "--model_weights", "1,0") == caption("--model", one)
    assert caption("--model", f"{one},{two}", "--model_weights", "0,1") == caption("--model", two)
    assert main(["caption", "--model", f"{one},{two}", "--model_weights", "1", *pictures]) == 2
    assert "model_weights: [1.0] received, 2 numbers" in capsys.readouterr().err
    assert main(["caption", "--model", f"{one},{tmp_path}/none", *pictures]) == 1
    assert "none: not a model bundle (no such folder)" in capsys.readouterr().err


def test_captions_that_do_not_exist_are_not_printed(shelf, tmp_path, capsys):
    """Of one word, and not of none: there are as many captions as words, and one more is asked."""
    red().save(tmp_path / "red.png")
    more = str(len(WORDS) + 1)
    flags = ["--max_length", "1", "--min_length", "1", "--beam_size", more, "--num_samples", more]
    bundle = ["--model", str(shelf / "one"), "--device", "cpu"]
    assert main(["caption", str(tmp_path / "red.png"), *bundle, *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(set(lines)) == len(WORDS)
