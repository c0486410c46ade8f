"""A grammar judge: its two losses, what it learns, its folder, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from clip_cases import write_small
from conftest import write_data
from tiny_clips import SIZES, flags_of, tiny_settings

from captioning.clip.grammar import Grammar, load_grammar, new_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT, Clip
from captioning.clip.settings import ClipConfig
from captioning.datasets.picturebook.writer import write_picturebook
from captioning.features.pictures import list_data
from captioning.features.store import weights_hash
from captioning.features.vectors import vectors_of
from captioning.training import grammar as training
from captioning.training.clip import info_nce
from captioning.training.grammar import (
    batches,
    described,
    grammar_loss,
    precision_and_recall,
    score_grammar,
    train_grammar,
)
from captioning.training.update import TrainingError
from data_loader import read_annotations
from vocabulary import Vocabulary, join_words, tokenize

WIDTHS = SIZES | {"width": 32, "context_length": 16}


def quiet(config: ClipConfig, **how: object) -> dict:
    return train_grammar(config, progress=False, **how)


def words_of(data: Path) -> Vocabulary:
    """The words of the training captions, and those of the prompt."""
    captions = [one["caption"] for one in read_annotations(data, "train").anns.values()]
    return Vocabulary.build([*captions, PROMPT], min_count=1)


def settings_for(data: Path, clip: Path, output: Path, **more: object) -> ClipConfig:
    """Settings of a run of 16 pictures a step."""
    usual = {"objective": "grammar", "clip": str(clip), "learning_rate": 5e-3, "batch_size": 16}
    return tiny_settings(data, output, **(usual | {"weight_decay": 0.01} | more))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 120 pictures of few kinds of sentences, and a CLIP with random weights."""
    folder = tmp_path_factory.mktemp("grammar")
    write_data(folder / "data", train=120, val=20, test=2)
    write_small(folder / "clip", words_of(folder / "data"), **WIDTHS)
    write_small(folder / "other", words_of(folder / "data"), seed=1, **WIDTHS)
    return folder


@pytest.fixture(scope="module")
def run(place):
    """Settings, rows and result of a run that learns something."""
    config = settings_for(place / "data", place / "clip", place / "judge", num_epochs=10)
    rows: list[dict] = []
    return config, rows, quiet(config, on_epoch=rows.append)


@pytest.fixture
def clip(place) -> Clip:
    return load_clip(str(place / "clip"))


def files_of(folder: Path | str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# ------------------------------------------------------------------------------------ the scores


def test_precision_and_recall_by_hand():
    """5 whole captions, 3 of which are called whole; 3 broken ones, one of which is."""
    good = torch.tensor([True, True, True, False, False])
    bad = torch.tensor([True, False, False])
    expected = {"precision": 3 / 4, "recall": 3 / 5, "f1": 2 / 3, "accuracy": 5 / 8}
    assert precision_and_recall(good, bad) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([1, 1], [0, 0], (1, 1, 1, 1)),
        ([0, 0], [1, 1], (0, 0, 0, 0)),
        ([0, 0], [0, 0], (0, 0, 0, 0.5)),
        ([1, 1], [1, 1], (0.5, 1, 2 / 3, 0.5)),  # recall, not precision, is that of yes-sayers
        ([1, 0, 0, 0], [0] * 4, (1, 0.25, 0.4, 0.625)),
        ([], [], (0, 0, 0, 0)),
    ],
)
def test_precision_and_recall_at_the_ends(good, bad, expected):
    found = precision_and_recall(*(torch.tensor(one, dtype=torch.bool) for one in (good, bad)))
    assert tuple(found.values()) == pytest.approx(expected)
    assert [*found] == ["precision", "recall", "f1", "accuracy"]


# -------------------------------------------------------------------------------------- the loss

GOOD, BAD = ["a red ball", "a blue box", "a green ball"], ["a red", "box blue a", "ball ball"]


def test_both_losses_are_those_of_the_judge_as_it_is_used_later(clip):
    grammar = new_grammar(clip, "Look: ")
    torch.manual_seed(0)
    vectors = torch.randn(3, 16)
    with torch.no_grad():
        loss = grammar_loss(grammar, vectors, GOOD, BAD, "fp32").item()
    whole, broken = grammar.probability(GOOD), grammar.probability(BAD)
    judged = -torch.cat([whole.log(), (1 - broken).log()]).mean().item()
    read = grammar.clip.text_vectors([f"Look: {text}" for text in GOOD])
    found = info_nce(vectors, read, grammar.clip.network.logit_scale).item()
    assert loss == pytest.approx(judged + found, rel=1e-4)


def test_head_and_text_encoder_learn_and_the_clip_does_not(clip):
    grammar = new_grammar(clip, PROMPT)
    grammar.clip.network.requires_grad_(True)
    grammar_loss(grammar, torch.randn(3, 16), GOOD, BAD, "fp32").backward()
    text = dict(grammar.clip.network.named_parameters())
    assert not any(name.startswith("visual") for name in text)
    for name in ("token_embedding.weight", "text_projection", "logit_scale", "ln_final.bias"):
        assert text[name].grad.abs().sum() > 0, name
    assert all(p.grad.abs().sum() > 0 for p in grammar.head.parameters())
    assert all(p.grad is None and not p.requires_grad for p in clip.network.parameters())


def test_the_clip_it_starts_from_is_the_same_afterwards(clip, place):
    config = settings_for(place / "data", place / "clip", place / "none")
    train = described(config, clip, "val", False)
    grammar, before = new_grammar(clip, PROMPT), weights_hash(clip.network)
    assert weights_hash(grammar.clip.network) == weights_hash(new_grammar(clip, "").clip.network)
    tuned = weights_hash(grammar.networks())
    rows = [*training.epochs(config, grammar, train, train, ["a", "ball"], False)]
    assert len(rows) == 2 and weights_hash(clip.network) == before
    assert weights_hash(grammar.networks()) != tuned


def test_one_batch_is_learned_by_heart(clip):
    grammar = new_grammar(clip, PROMPT)
    torch.manual_seed(0)
    vectors = torch.randn(3, 16)
    learned = [*grammar.clip.network.requires_grad_(True).parameters()]
    optimizer = torch.optim.Adam([*learned, *grammar.head.parameters()], 3e-3)
    for _ in range(60):
        loss = grammar_loss(grammar, vectors, GOOD, BAD, "fp32")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert grammar.probability(GOOD).min() > 0.9 and grammar.probability(BAD).max() < 0.1


def test_batches_have_every_picture_once_and_a_broken_copy_of_its_caption(clip, place):
    config = settings_for(place / "data", place / "clip", place / "none", batch_size=7, seed=2)
    val = described(config, clip, "val", False)
    known = ["nonsense"]
    made = batches(val, known, 0, config)
    assert [len(rows) for rows, _, _ in made] == [7, 7, 6]
    assert sorted(row for rows, _, _ in made for row in rows) == [*range(20)]
    for rows, good, bad in made:
        for row, text, broken in zip(rows, good, bad, strict=True):
            assert tokenize(text) in val.captions[row] and text == join_words(tokenize(text), False)
            assert broken != text
            assert set(tokenize(broken)) <= {*tokenize(text), "nonsense"}
    assert made == batches(val, known, 0, config) != batches(val, known, 1, config)
    assert made != batches(val, known, 0, replace(config, seed=3))
    alone = batches(val, known, 0, replace(config, batch_size=19))
    assert [len(rows) for rows, _, _ in alone] == [19]


# --------------------------------------------------------------------------------------- the run


def test_whole_captions_are_told_from_broken_ones(run):
    _, rows, best = run
    assert [row["epoch"] for row in rows] == [*range(1, 11)]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert best["accuracy"] > 0.8 and best["precision"] > 0.8 and best["recall"] > 0.8
    assert best["f1"] == max(row["f1"] for row in rows)
    assert best["epoch"] == 1 + [row["f1"] for row in rows].index(best["f1"])
    assert best["minutes"] == rows[-1]["minutes"] > 0
    assert set(best["text_to_image"]) == set(best["image_to_text"]) > {"R1", "sum"}


def test_other_sentences_are_judged(run, clip):
    judge = load_grammar(run[0].output, clip)
    whole = ["there is a red box on a white sheet", "a green ball"]
    broken = ["sheet a box white on red is there", "green a", "is blue box that a"]
    assert judge.probability(whole).min() > 0.6 > 0.3 > judge.probability(broken).max()


def test_captions_of_the_picture_book_are_learned(tmp_path):
    sizes = {"train": 30, "val": 10, "test": 2, "image_size": 32}
    write_picturebook(tmp_path / "book", **sizes, workers=1, progress=False)
    widths = WIDTHS | {"context_length": 32}
    write_small(tmp_path / "clip", words_of(tmp_path / "book"), **widths)
    config = settings_for(tmp_path / "book", tmp_path / "clip", tmp_path / "judge", num_epochs=40)
    rows: list[dict] = []
    quiet(replace(config, batch_size=8, val_split="train"), on_epoch=rows.append)
    assert rows[0]["accuracy"] < 0.56 < 0.6 < rows[-1]["accuracy"]  # other negatives than learned
    assert rows[-1]["loss"] < rows[0]["loss"] - 1


def test_the_folder_holds_the_best_epoch(run, clip):
    config, rows, best = run
    assert set(files_of(config.output)) == {"grammar.json", "model.safetensors"}
    said = json.loads(files_of(config.output)["grammar.json"])
    assert (said["base"], said["base_hash"]) == (config.clip, clip.weights_hash)
    assert said["prompt"] == PROMPT and said["record"]["settings"]["learning_rate"] == 5e-3
    assert said["record"]["validation"] == best | {"minutes": rows[best["epoch"] - 1]["minutes"]}
    judge = load_grammar(config.output, clip)
    assert judge.record == said["record"]
    train, val = (described(config, clip, split, False) for split in ("train", "val"))
    known = sorted({word for some in train.captions for words in some for word in words})
    scores = score_grammar(judge, val, known)  # weights are kept in half precision
    assert {key: scores[key] for key in ("precision", "recall", "f1", "accuracy")} == (
        pytest.approx({key: best[key] for key in ("precision", "recall", "f1", "accuracy")}, 0.03)
    )


def test_a_judge_that_is_saved_and_loaded_says_the_same(run, clip, tmp_path):
    judge = load_grammar(run[0].output, clip)
    judge.save(tmp_path / "again")
    again = load_grammar(tmp_path / "again", clip)
    assert again.probability([*GOOD, *BAD]).equal(judge.probability([*GOOD, *BAD]))
    assert (again.prompt, again.base_hash, again.record) == (
        judge.prompt,
        judge.base_hash,
        judge.record,
    )
    fresh = new_grammar(clip, PROMPT)
    assert not torch.allclose(fresh.probability(GOOD), judge.probability(GOOD), atol=0.05)


def test_it_belongs_to_the_clip_it_came_from(run, place, tmp_path):
    other = load_clip(str(place / "other"))
    with pytest.raises(ValueError) as caught:
        load_grammar(run[0].output, other)
    message = str(caught.value)
    assert message.startswith(f"{place / 'judge'}: made from {place / 'clip'} with weights ")
    assert message.endswith(f", not from {place / 'other'} with {other.weights_hash}")
    with pytest.raises(FileNotFoundError, match=r"clip: no grammar judge \(no grammar.json in it"):
        load_grammar(place / "clip", other)


def test_a_prompt_of_ones_own_is_kept_and_said(place, clip, tmp_path):
    config = settings_for(place / "data", place / "clip", tmp_path / "judge", num_epochs=1)
    quiet(replace(config, prompt="There is "))
    judge = load_grammar(tmp_path / "judge", clip)
    assert judge.prompt == "There is "
    with torch.no_grad():
        states = judge.clip.text_states([f"There is {text}" for text in GOOD])
        expected = F.softmax(judge.head(states), -1)[:, 1]
    assert torch.allclose(judge.probability(GOOD), expected, atol=1e-6)
    bare = Grammar(judge.clip, judge.head, "", judge.base_hash)
    assert not torch.allclose(bare.probability(GOOD), expected, atol=1e-4)


def test_equal_seeds_give_equal_weights(place, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = settings_for(place / "data", place / "clip", tmp_path / name, num_epochs=1)
        quiet(replace(config, seed=seed))
    weights = [files_of(tmp_path / name)["model.safetensors"] for name in "abc"]
    assert weights[0] == weights[1] != weights[2]


# ----------------------------------------------------------------------- a store, stopped, refused


def test_vectors_of_a_store_take_the_place_of_the_pictures(place, tmp_path, run_cli, clip):
    data, store = tmp_path / "data", tmp_path / "vectors.h5"
    shutil.copytree(place / "data", data)
    flags = (f"--data={data}", f"--output={store}", "--device=cpu")
    code, _, err = run_cli("features", "clip", f"--clip={place / 'clip'}", *flags)
    assert code == 0, err
    shutil.rmtree(data / "images")
    config = settings_for(data, place / "clip", tmp_path / "judge", features=str(store))
    kept = described(config, clip, "val", False)
    seen = vectors_of(clip, list_data(place / "data", ["val"]))
    assert torch.allclose(kept.vectors, seen, atol=1e-5)
    assert quiet(config)["epoch"] in (1, 2)
    with pytest.raises(ValueError, match="vectors.h5: made with other weights: weights_hash '"):
        quiet(replace(config, clip=str(place / "other"), output=str(tmp_path / "other")))
    assert not (tmp_path / "other").exists()


def test_a_loss_that_is_no_number_ends_it_and_leaves_what_was_written(place, tmp_path, monkeypatch):
    real, calls = training.grammar_loss, []

    def loss(*arguments: object) -> torch.Tensor:
        calls.append(arguments)
        return real(*arguments) * (math.nan if len(calls) > 8 else 1)  # in the second epoch

    monkeypatch.setattr(training, "grammar_loss", loss)
    config, kept = settings_for(place / "data", place / "clip", tmp_path / "judge"), []
    with pytest.raises(TrainingError, match="epoch 2: the loss is nan; a lower learning_rate"):
        quiet(config, on_epoch=lambda row: kept.append(files_of(config.output)))
    assert len(calls) == 9 and kept == [files_of(config.output)]
    load_grammar(config.output, load_clip(config.clip))


def test_ctrl_c_leaves_the_best_epoch(place, tmp_path, clip):
    def stop(row: dict) -> None:
        raise KeyboardInterrupt

    config = settings_for(place / "data", place / "clip", tmp_path / "judge", num_epochs=50)
    with pytest.raises(KeyboardInterrupt):
        quiet(config, on_epoch=stop)
    assert load_grammar(config.output, clip).record["validation"]["epoch"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": ""}, "clip: none received, MODEL:TAG or a folder expected for grammar"),
        ({"clip": "nowhere"}, "nowhere: no such CLIP; a folder that `train-clip` wrote, MODEL"),
        ({"clip": "ViT-B-32"}, "clip: 'ViT-B-32' received, ViT-B-32:TAG (tags: "),
        ({"features": "no.h5"}, "no.h5: no such feature store"),
        ({"val_split": "dev"}, "captions_dev.json: no such file (splits found there: ['test', "),
    ],
)
def test_settings_that_are_refused(place, tmp_path, change, message):
    config = settings_for(place / "data", place / "clip", tmp_path / "judge")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        quiet(replace(config, **change))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "judge").exists()


def test_pictures_that_nobody_described_and_broken_ones(place, tmp_path, clip):
    data = write_data(tmp_path / "data", train=4, val=2)
    path = data / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    record["annotations"] = [one for one in record["annotations"] if one["image_id"] != 102]
    path.write_text(json.dumps(record), "utf-8")
    (data / "images" / "train_002.png").unlink()  # nobody asks for it
    config = settings_for(data, place / "clip", tmp_path / "judge")
    assert described(config, clip, "train", False).vectors.shape == (3, 16)
    (data / "images" / "train_001.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"train_001.png: not a picture"):
        quiet(config)
    record["annotations"] = [one for one in record["annotations"] if one["image_id"] == 100]
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(ValueError, match=r"split 'train' has 1 pictures to learn of"):
        quiet(config)
    assert not (tmp_path / "judge").exists()


def test_the_command_trains_and_does_not_overwrite(place, tmp_path, run_cli):
    config = settings_for(place / "data", place / "clip", tmp_path / "judge", num_epochs=1)
    code, out, _ = run_cli("train-clip", *flags_of(config))
    assert code == 0 and out.startswith("best epoch 1, ") and "| image to text |" in out
    assert " (of telling whole captions from broken ones)" in out and "precision 0." in out
    assert out.splitlines()[-1] == f"{tmp_path / 'judge'}: written"
    before = files_of(config.output)
    code, out, err = run_cli("train-clip", *flags_of(config), "--seed=1")
    assert (code, out) == (1, "") and "--overwrite replaces it" in err
    assert len(err.splitlines()) == 1 and files_of(config.output) == before
    code, out, _ = run_cli("train-clip", *flags_of(config), "--seed=1", "--overwrite", "--json")
    assert code == 0 and files_of(config.output) != before
    assert {"output", "epoch", "f1", "accuracy", "text_to_image"} <= set(json.loads(out))


def test_the_command_needs_a_clip(place, tmp_path, run_cli):
    config = settings_for(place / "data", "", tmp_path / "judge")
    code, out, err = run_cli("train-clip", *flags_of(replace(config, clip="")))
    assert (code, out) == (1, "") and not (tmp_path / "judge").exists()
    assert err == "error: clip: none received, MODEL:TAG or a folder expected for grammar\n"
