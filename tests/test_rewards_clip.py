"""CLIP-S, RefCLIP-S and grammar as rewards, and the published mixtures of them from settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from clip_judges import UNLIKE, write_clip, write_grammar
from reward_cases import make_batch, to_tokens

from captioning.clip.grammar import Grammar, load_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT, Clip
from captioning.config import SelfCriticalConfig
from captioning.evaluation.clip_score import clip_s, ref_clip_s, reference_similarity
from captioning.features.extract import ExtractOptions, extract_with
from captioning.features.pictures import Picture
from captioning.features.vectors import look_at, vector_looker
from captioning.features.writer import WriteOptions
from captioning.rewards.build import build_rewards, check_clip_settings, weights_of
from captioning.rewards.clip import (
    ClipReward,
    GrammarReward,
    PictureVectors,
    RefClipReward,
    write_out,
)
from data_loader import CaptionDataset

TEXTS = ["a red ball", "the ball 's colour is green", "there is a blue box", "a box on the left"]
SENTENCES = ["a red ball", "the ball's colour is green", "there is a blue box", "a box on the left"]


@pytest.fixture(scope="module")
def clip_folder(tiny_vocabulary, tmp_path_factory) -> str:
    return write_clip(tmp_path_factory.mktemp("clip") / "small", tiny_vocabulary)


@pytest.fixture(scope="module")
def clip(clip_folder) -> Clip:
    return load_clip(clip_folder)


@pytest.fixture(scope="module")
def grammar_folder(clip, tmp_path_factory) -> str:
    return write_grammar(tmp_path_factory.mktemp("grammar") / "judge", clip)


@pytest.fixture(scope="module")
def grammar(clip, grammar_folder) -> Grammar:
    return load_grammar(grammar_folder, clip)


@pytest.fixture
def pictures(clip, dataset: CaptionDataset) -> PictureVectors:
    return PictureVectors(dataset.image_ids, look_at(clip, files_of(dataset)))


@pytest.fixture
def tokens(dataset: CaptionDataset) -> torch.Tensor:
    """`TEXTS` as ids."""
    return to_tokens([[dataset.vocabulary.index(w) for w in text.split()] for text in TEXTS])


def files_of(dataset: CaptionDataset) -> list:
    return [dataset.folder / name for name in dataset.file_names]


class Deaf(Clip):
    """Remembers what it is asked to read, and knows one direction only."""

    def __init__(self) -> None:
        self.read, self.name, self.__dict__["weights_hash"] = [], "deaf", "0" * 16

    def text_vectors(self, texts):
        self.read += texts
        return torch.tensor([[1.0, 0.0]]).expand(len(texts), -1)


# ---- words ----


def test_ids_become_lower_case_words_without_a_full_stop(tokens, tiny_vocabulary):
    assert write_out(tokens, tiny_vocabulary) == SENTENCES
    cut = tokens[1:2, :3]  # no <end>
    assert write_out(cut, tiny_vocabulary) == ["the ball's"]


def test_the_prompt_stands_before_each_caption(tokens, dataset: CaptionDataset):
    deaf, vectors = Deaf(), torch.tensor([[0.6, 0.8], [-0.6, 0.8]])
    known = PictureVectors([7, 8], vectors)
    reward = ClipReward(deaf, known, dataset.vocabulary, "It shows ", 2.0)
    values = reward(tokens, make_batch([7, 8]))
    assert values.tolist() == pytest.approx([1.2, 1.2, 0, 0]) and values.dtype == torch.float32
    assert deaf.read == [f"It shows {text}" for text in SENTENCES]
    assert reward.signature() == {
        "metric": "CLIP-S",
        "clip": "deaf",
        "weights": "0" * 16,
        "scale": 2.0,
        "prompt": "It shows",
    }
    usual = ClipReward(deaf, known, dataset.vocabulary).signature()
    assert (usual["prompt"], usual["scale"]) == ("A photo depicts", 2.5)


# ---- the numbers ----


def test_the_reward_is_the_metric_of_the_same_captions(clip, pictures, tokens, dataset):
    ids = dataset.image_ids[:4]
    values = ClipReward(clip, pictures, dataset.vocabulary)(tokens, make_batch(ids))
    written = [PROMPT + dataset.vocabulary.decode(row) for row in tokens]  # as evaluate has them
    assert written[1] == "A photo depicts The ball's colour is green."
    metric = clip_s(look_at(clip, files_of(dataset)[:4]), clip.text_vectors(written))
    assert values.tolist() == pytest.approx(metric.tolist(), abs=1e-6)
    assert values.min() > 0.5 and values.std() > 0.05


def test_rows_belong_to_their_pictures(clip, pictures, tokens, dataset: CaptionDataset):
    """Two samples of each of two pictures, which are not the first ones of the data set."""
    reward, ids = ClipReward(clip, pictures, dataset.vocabulary), dataset.image_ids
    batch, single = [ids[9], ids[2]], [ids[9], ids[9], ids[2], ids[2]]
    values = reward(tokens, make_batch(batch))
    torch.testing.assert_close(values, reward(tokens, make_batch(single)), atol=1e-6, rtol=0)
    swapped = reward(tokens, make_batch(batch[::-1]))
    assert ((values - swapped).abs() > 1e-4).all()
    expected = pictures.vectors[[9, 9, 2, 2]]
    assert torch.equal(pictures.of(make_batch(batch), 2), expected)


def test_ref_clip_s_has_the_references_of_its_own_picture(clip, pictures, tokens, dataset):
    people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    ids = [dataset.image_ids[place] for place in (5, 1)]
    half = ClipReward(clip, pictures, dataset.vocabulary)
    reward = RefClipReward(half, people)
    values = reward(tokens, make_batch(ids))
    texts = clip.text_vectors([PROMPT + text for text in SENTENCES])
    nearest = reference_similarity(clip, texts, [people[i] for i in (ids[0], *ids, ids[1])])
    assert nearest.std() > 1e-3
    own = [people[ids[0]], people[ids[0]], people[ids[1]], people[ids[1]]]
    nearest = reference_similarity(clip, texts, own)
    expected = ref_clip_s(half(tokens, make_batch(ids)), nearest)
    assert values.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    other = RefClipReward(half, people | {ids[0]: people[ids[1]], ids[1]: people[ids[0]]})
    assert not torch.allclose(values, other(tokens, make_batch(ids)), atol=1e-4)
    assert reward.signature() == half.signature() | {"metric": "RefCLIP-S"}


def test_grammar_is_the_judges_opinion_behind_its_own_prompt(clip, tokens, dataset, tmp_path):
    values = []
    for prompt in ("A photo depicts ", "there is "):
        folder = write_grammar(tmp_path / prompt.split()[0], clip, prompt)
        judge = load_grammar(folder, clip)
        reward = GrammarReward(judge, dataset.vocabulary)
        values.append(reward(tokens, make_batch([1])))
        states = judge.clip.text_states([prompt + text for text in SENTENCES])
        expected = judge.head(states).softmax(1)[:, 1]
        torch.testing.assert_close(values[-1], expected, atol=1e-6, rtol=0)
        assert reward.signature()["prompt"] == prompt.strip()
    assert not torch.allclose(*values, atol=1e-3)


def test_the_judges_head_is_in_its_signature(clip, dataset, tmp_path):
    signatures = []
    for head in (0, 1):
        judge = load_grammar(write_grammar(tmp_path / str(head), clip, head=head), clip)
        signatures.append(GrammarReward(judge, dataset.vocabulary).signature())
        assert list(signatures[-1]) == ["metric", "weights", "prompt"]
    assert signatures[0]["weights"] != signatures[1]["weights"]


@pytest.mark.parametrize("words", [[], [0, 0]])
def test_captions_without_words_get_nothing(clip, grammar, pictures, dataset, words):
    ids = dataset.image_ids[:1]
    tokens = to_tokens([[4, 5], words])
    half = ClipReward(clip, pictures, dataset.vocabulary)
    people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    for reward in (half, RefClipReward(half, people), GrammarReward(grammar, dataset.vocabulary)):
        some, none = reward(tokens, make_batch(ids)).tolist()
        assert some > 0.1 and none == 0


def test_no_gradient(clip, grammar, pictures, tokens, dataset: CaptionDataset):
    people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    half = ClipReward(clip, pictures, dataset.vocabulary)
    for network in (clip.network, grammar.clip.network, grammar.head):
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert not network.training
    clip.network.text_projection.requires_grad_(True)
    with torch.enable_grad():
        for reward in (half, RefClipReward(half, people)):
            assert not reward(tokens, make_batch(dataset.image_ids[:2])).requires_grad
    clip.network.text_projection.requires_grad_(False)


def test_wrong_pictures_are_refused(clip, pictures, tokens, dataset: CaptionDataset):
    half = ClipReward(clip, pictures, dataset.vocabulary)
    for reward in (half, RefClipReward(half, {})):
        with pytest.raises(ValueError, match="^image_ids: 4711 received, one of the 24 pictures"):
            reward(tokens, make_batch([dataset.image_ids[0], 4711]))
        with pytest.raises(ValueError, match="tokens: 4 captions for 3 pictures received"):
            reward(tokens, make_batch(dataset.image_ids[:3]))


# ---- weights and mixtures ----


@pytest.mark.parametrize(
    ("mixture", "paper", "released"),
    [
        ("cider", {"cider": 1}, {"cider": 1}),
        ("clips", {"clip": 1}, {"clip": 2}),
        ("clips_cider", {"clip": 1, "cider": 1}, {"clip": 2, "cider": 1}),
        ("clips_grammar", {"clip": 1, "grammar": 2}, {"clip": 2, "grammar": 1}),
    ],
)
def test_published_mixtures(mixture, paper, released):
    assert weights_of(SelfCriticalConfig(mixture=mixture)) == paper
    config = SelfCriticalConfig(mixture=mixture, mixture_weights="released")
    assert weights_of(config) == released


def test_weights_of_ones_own():
    config = SelfCriticalConfig(cider_weight=0.5, bleu_weight=2, clip_weight=3, grammar_weight=0.1)
    assert weights_of(config) == {"cider": 0.5, "bleu": 2, "clip": 3, "grammar": 0.1}
    assert weights_of(SelfCriticalConfig()) == {"cider": 1}
    assert weights_of(SelfCriticalConfig(cider_weight=0, ref_clip_weight=1)) == {"ref_clip": 1}


def test_weights_that_say_nothing_or_two_things_are_refused():
    message = "cider_weight, bleu_weight, clip_weight, .*grammar_weight: 0 received for all"
    with pytest.raises(ValueError, match=message):
        weights_of(SelfCriticalConfig(cider_weight=0))
    for name, value in (("clip", 1.0), ("cider", 2.0), ("cider", 0.0), ("bleu", 0.5)):
        config = SelfCriticalConfig(mixture="clips", **{f"{name}_weight": value})
        message = f"^self_critical.{name}_weight: {value:g} received, but .*mixture 'clips' has"
        with pytest.raises(ValueError, match=message):
            weights_of(config)


def with_clip(model: str = "", **settings) -> SelfCriticalConfig:
    """Settings of a reward; those of `clip` have a name that begins with clip_."""
    own = {"clip_vectors": "vectors", "clip_grammar": "grammar", "clip_text": "text"}
    inner = {own[name]: settings.pop(name) for name in [*settings] if name in own}
    config = SelfCriticalConfig(**settings)
    config.clip = replace(config.clip, model=model, **inner)
    return config


@pytest.mark.parametrize("name", ["clip", "ref_clip", "grammar"])
def test_a_weight_without_a_clip_is_refused(name):
    config = with_clip(**{f"{name}_weight": 1.0})
    message = f"^self_critical.clip.model: none received, a CLIP expected with {name}_weight"
    with pytest.raises(ValueError, match=message):
        check_clip_settings(config)


@pytest.mark.parametrize(
    "settings",
    [
        {"grammar_weight": 1.0},
        {"mixture": "clips_grammar"},
        {"clip_weight": 1.0, "clip_text": "grammar"},
        {"ref_clip_weight": 1.0, "clip_text": "grammar"},
    ],
)
def test_grammar_without_a_judge_is_refused(settings):
    with pytest.raises(ValueError, match="^self_critical.clip.grammar: none received"):
        check_clip_settings(with_clip("somewhere", **settings))
    check_clip_settings(with_clip("somewhere", clip_grammar="there", **settings))
    check_clip_settings(with_clip(clip_text="grammar"))  # nobody reads


# ---- from settings to rewards ----


def build(config: SelfCriticalConfig, dataset: CaptionDataset):
    return build_rewards(config, dataset, "tiny train", "cpu")


def test_all_rewards_of_a_data_set(
    clip_folder, grammar_folder, clip, grammar, pictures, tokens, dataset
):
    weights = {"clip_weight": 0.5, "ref_clip_weight": 2, "grammar_weight": 3}
    config = with_clip(clip_folder, clip_grammar=grammar_folder, **weights)
    mixture, frequency = build(config, dataset)
    assert [*mixture.rewards] == ["CIDEr-D", "CLIP-S", "RefCLIP-S", "grammar"]
    assert frequency.num_documents == 24
    batch = make_batch(dataset.image_ids[2:4])
    parts = mixture.parts(tokens, batch)
    half = ClipReward(clip, pictures, dataset.vocabulary)
    judge = GrammarReward(grammar, dataset.vocabulary)
    people = dict(zip(dataset.image_ids, dataset.texts, strict=True))
    assert torch.equal(parts["CLIP-S"], half(tokens, batch))
    assert torch.equal(parts["RefCLIP-S"], RefClipReward(half, people)(tokens, batch))
    assert torch.equal(parts["grammar"], judge(tokens, batch))
    total = parts["CIDEr-D"] + 0.5 * parts["CLIP-S"] + 2 * parts["RefCLIP-S"]
    torch.testing.assert_close(mixture(tokens, batch), total + 3 * parts["grammar"])
    signature = mixture.signature()
    assert json.loads(json.dumps(signature)) == signature
    assert signature["CLIP-S"] == {"weight": 0.5, **half.signature()}
    assert signature["CLIP-S"]["clip"] == clip_folder
    assert signature["CLIP-S"]["weights"] == clip.weights_hash
    assert signature["grammar"]["weights"] == grammar.weights_hash != clip.weights_hash


def test_a_clip_alone_counts_no_ngrams(clip_folder, dataset: CaptionDataset):
    mixture, frequency = build(with_clip(clip_folder, mixture="clips"), dataset)
    assert [*mixture.rewards] == ["CLIP-S"] and frequency is None


def test_the_tuned_text_encoder_reads_where_it_is_asked_for(
    clip_folder, grammar_folder, clip, grammar, tokens, dataset
):
    given = {"clip_grammar": grammar_folder, "mixture": "clips_grammar"}
    batch, values, signatures = make_batch(dataset.image_ids[:1]), [], []
    for reader, text in ((clip, "clip"), (grammar.clip, "grammar")):
        mixture, _ = build(with_clip(clip_folder, clip_text=text, **given), dataset)
        values.append(mixture.parts(tokens, batch)["CLIP-S"])
        signatures.append(mixture.signature()["CLIP-S"])
        texts = reader.text_vectors([PROMPT + text for text in SENTENCES])
        expected = clip_s(look_at(clip, files_of(dataset)[:1]).expand(4, -1), texts)
        torch.testing.assert_close(values[-1], expected, atol=1e-6, rtol=0)
    assert not torch.allclose(*values, atol=1e-2)
    assert signatures[0]["weights"] != signatures[1]["weights"]


def test_prompt_and_scale_of_the_settings(clip_folder, clip, tokens, dataset: CaptionDataset):
    config = with_clip(clip_folder, mixture="clips")
    config.clip.prompt, config.clip.scale = "there is ", 2.0
    values = build(config, dataset)[0](tokens, make_batch(dataset.image_ids[:1]))
    texts = clip.text_vectors([f"there is {text}" for text in SENTENCES])
    expected = clip_s(look_at(clip, files_of(dataset)[:1]).expand(4, -1), texts, 2.0)
    torch.testing.assert_close(values, expected, atol=1e-6, rtol=0)


def test_a_judge_of_another_clip_is_refused(tiny_vocabulary, grammar_folder, dataset, tmp_path):
    other = write_clip(tmp_path / "other", tiny_vocabulary, seed=1)
    config = with_clip(other, clip_grammar=grammar_folder, mixture="clips_grammar")
    with pytest.raises(ValueError, match="judge: made from .*small with weights .* not from .*oth"):
        build(config, dataset)


# ---- vectors ----


def write_store(clip: Clip, dataset: CaptionDataset, path, number: int = 24) -> str:
    """The vectors of the first pictures, as `features clip` keeps them."""
    names = zip(dataset.image_ids, dataset.file_names, strict=True)
    pictures = [Picture(i, dataset.folder / name, name) for i, name in names][:number]
    options = ExtractOptions(write=WriteOptions(half=False))
    extract_with(vector_looker(clip), pictures, path, options)
    return str(path)


def test_a_store_takes_the_place_of_the_pictures(clip_folder, clip, dataset, tokens, tmp_path):
    store = write_store(clip, dataset, tmp_path / "vectors.h5")
    looked, _ = build(with_clip(clip_folder, mixture="clips"), dataset)
    dataset.folder = tmp_path / "nowhere"
    read, _ = build(with_clip(clip_folder, clip_vectors=store, mixture="clips"), dataset)
    batch = make_batch(dataset.image_ids[20:22])
    torch.testing.assert_close(read(tokens, batch), looked(tokens, batch), atol=1e-5, rtol=0)


def test_stores_that_do_not_fit_are_refused(
    clip_folder, clip, tiny_vocabulary, dataset: CaptionDataset, tmp_path
):
    store = write_store(clip, dataset, tmp_path / "vectors.h5")
    other = write_clip(tmp_path / "other", tiny_vocabulary, lean=UNLIKE)
    with pytest.raises(ValueError, match="vectors.h5: .*weights"):
        build(with_clip(other, clip_vectors=store, mixture="clips"), dataset)
    few = write_store(clip, dataset, tmp_path / "few.h5", number=20)
    with pytest.raises(ValueError, match="few.h5: 4 of 24 pictures are missing"):
        build(with_clip(clip_folder, clip_vectors=few, mixture="clips"), dataset)
    with pytest.raises(FileNotFoundError, match="none.h5"):
        gone = str(tmp_path / "none.h5")
        build(with_clip(clip_folder, clip_vectors=gone, mixture="clips"), dataset)


def test_pictures_that_are_not_there(clip_folder, own_data, tiny_vocabulary, tokens, monkeypatch):
    """A few may be unreadable, as in other runs; without any, a store is wanted."""
    own = CaptionDataset(own_data, "train", tiny_vocabulary, None)
    files = files_of(own)
    files[0].unlink()
    files[1].write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{files[0].name}: cannot be looked at, as 2 of 24 pict"):
        build(with_clip(clip_folder, mixture="clips"), own)
    monkeypatch.setattr("captioning.rewards.clip_build.MAX_UNREADABLE", 0.1)
    mixture, _ = build(with_clip(clip_folder, mixture="clips"), own)
    values = mixture(tokens, make_batch(own.image_ids[:4])).tolist()
    assert values[:2] == [0, 0] and min(values[2:]) > 0.1
    for file in files[1:]:
        file.unlink()
    with pytest.raises(ValueError, match="none of the pictures is there .*self_critical.clip.vect"):
        build(with_clip(clip_folder, mixture="clips"), own)
