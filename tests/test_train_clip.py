"""A small CLIP from scratch: what it looks at, its folder, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import write_data
from tiny_clips import flags_of, tiny_settings

from captioning.bundle import transforms_of
from captioning.clip.loading import load_clip
from captioning.clip.settings import ClipConfig
from captioning.config import EncoderConfig, TransformConfig
from captioning.encoders.cnn import build_encoder
from captioning.features.pictures import list_data
from captioning.features.signature import make_signature
from captioning.features.store import weights_hash
from captioning.features.writer import StoreWriter
from captioning.training import clip as training
from captioning.training.clip import (
    gather,
    train_clip,
)
from captioning.training.looking import see_view
from captioning.training.update import TrainingError
from data_loader import CaptionDataset, open_image
from vocabulary import Vocabulary

FILES = {"open_clip_config.json", "vocabulary.json", "model.safetensors"}


def quiet(config: ClipConfig, **how: object) -> dict:
    return train_clip(config, progress=False, **how)


def weights_of(folder: Path | str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def record_of(folder: Path | str) -> dict:
    return json.loads((Path(folder) / "open_clip_config.json").read_text("utf-8"))["record"]


def encoder_of(config: ClipConfig) -> torch.nn.Module:
    """The encoder with random weights that a run of this seed looks through."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_encoder(config.encoder).eval()


# ----------------------------------------------------------------------------------- what is seen


def test_views_are_remembered_in_half_precision_and_gaps_are_zeros(own_data, tiny_vocabulary):
    (own_data / "images" / "train_003.png").write_text("no picture")
    kinds = transforms_of(TransformConfig(image_size=32))
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, kinds["train"])
    look = training.grid_looker(encoder_of(tiny_settings("", "")), "fp32")
    first, again, second = (see_view(dataset, look, number) for number in (0, 0, 1))
    assert first.shape == (24, 64, 64) and first.dtype == torch.float16
    assert first.equal(again) and not first.equal(second)  # another crop
    assert list(dataset.unreadable) == [3]
    assert not first[3].any() and all(row.any() for i, row in enumerate(first) if i != 3)


def test_unreadable_pictures_and_those_without_captions_are_left_out(own_data, tiny_vocabulary):
    (own_data / "images" / "train_003.png").write_text("no picture")
    path = own_data / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    own = {100: "...", 107: "!"}  # captions without a word
    record["annotations"] = [
        one | {"caption": own.get(one["image_id"], one["caption"])} for one in record["annotations"]
    ]
    path.write_text(json.dumps(record), "utf-8")
    config = tiny_settings(own_data, own_data / "clip")
    encoder = encoder_of(config)
    kept = gather(config, "train", encoder, tiny_vocabulary, 2, False)
    texts = {one["image_id"]: [] for one in record["annotations"]}
    for one in record["annotations"]:
        texts[one["image_id"]].append(one["caption"])
    left = [i for i in range(24) if i not in (0, 3, 7)]
    assert kept.texts == [texts[100 + i] for i in left]
    assert [view.shape for view in kept.views] == [(21, 64, 64)] * 2
    assert all(row.any() for view in kept.views for row in view)
    best = quiet(config)
    assert set(best["text_to_image"]) == set(best["image_to_text"])


@pytest.mark.parametrize("more", [{}, {"grid": 4}, {"padding": "tensorflow"}])
def test_pictures_are_looked_at_later_as_they_were_in_validation(tiny_data, tmp_path, more):
    """What `load_clip` prepares and sees is what the best weights were chosen by."""
    config = tiny_settings(tiny_data, tmp_path / "clip", num_epochs=1)
    config.encoder = replace(config.encoder, **more)
    quiet(config)
    clip, pictures = load_clip(config.output), list_data(tiny_data, ["val"])
    images = torch.stack([clip.transform(open_image(one.path)) for one in pictures])
    seen = clip.network.visual.encoder(images).regions
    (then,) = gather(config, "val", encoder_of(config), Vocabulary([]), 0, False).views
    assert seen.shape == then.shape and (seen.shape[1] == 64) is (not more)
    assert torch.allclose(seen, then.float(), atol=5e-3)
    assert clip.image_vectors(images).shape == (8, 16)


# -------------------------------------------------------------------------------------- the run


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    """Settings, rows and result of a run."""
    config, rows = tiny_settings(tiny_data, tmp_path_factory.mktemp("clip") / "a", num_epochs=3), []
    return config, rows, quiet(config, on_epoch=rows.append)


def test_a_run_writes_a_clip(run, tiny_data):
    config, rows, best = run
    assert {path.name for path in Path(config.output).iterdir()} == FILES
    assert [row["epoch"] for row in rows] == [1, 2, 3] and all(row["loss"] > 0 for row in rows)
    scores = [row["text_to_image"]["sum"] + row["image_to_text"]["sum"] for row in rows]
    assert best["epoch"] == 1 + scores.index(max(scores))  # the first of equals
    assert best["minutes"] == rows[-1]["minutes"] > 0
    record = record_of(config.output)
    assert record["settings"]["batch_size"] == 8 and record["settings"]["data"] == str(tiny_data)
    assert record["validation"] == best | {"minutes": rows[best["epoch"] - 1]["minutes"]}
    clip = load_clip(config.output)
    assert sum(p.numel() for p in clip.network.parameters()) == best["parameters"]
    vectors = clip.text_vectors(["A photo depicts a red ball.", "a blue box", "a blue box"])
    assert vectors.shape == (3, 16) and vectors[1].equal(vectors[2])
    assert not torch.allclose(vectors[0], vectors[1])


def test_the_words_are_those_of_the_captions_and_of_the_prompt(run, tiny_data):
    words = Vocabulary.load(Path(run[0].output) / "vocabulary.json").words
    assert {"photo", "depicts", "red", "nothing"} <= set(words)
    assert len(set(words)) == len(words)
    frequent = replace(run[0], min_count=60, prompt="Look: a look at")
    assert [*training.words_of(frequent).words[4:]] == ["a", "is", "look", "at"]


def test_the_cnn_stays_as_it_was(run):
    config = run[0]
    seen = load_clip(config.output).network.visual.encoder
    assert weights_hash(seen) == weights_hash(encoder_of(config))


def test_equal_seeds_give_equal_weights(run, tmp_path):
    config, rows, best = run
    again = quiet(replace(config, output=str(tmp_path / "again")))
    assert weights_of(tmp_path / "again") == weights_of(config.output)
    assert {**again, "minutes": 0} == {**best, "minutes": 0}
    quiet(replace(config, output=str(tmp_path / "other"), seed=1))
    assert weights_of(tmp_path / "other") != weights_of(config.output)


def test_half_precision_learns_as_well(run, tmp_path):
    config, rows, _ = run
    half = []
    quiet(replace(config, output=str(tmp_path / "half"), precision="bf16"), on_epoch=half.append)
    assert [row["loss"] for row in half] == pytest.approx([row["loss"] for row in rows], rel=0.05)
    assert [row["loss"] for row in half] != [row["loss"] for row in rows]


# ------------------------------------------------------------------------------------- a store


def write_grids(path: Path, config: ClipConfig, encoder: torch.nn.Module, data: Path) -> Path:
    """The grids of all pictures, as `features extract --fit stretch` keeps them."""
    transform = TransformConfig(image_size=config.image_size, fit="stretch")
    look = transforms_of(transform)["eval"]
    signature = make_signature(config.encoder, transform, weights_hash(encoder))
    with StoreWriter(path, signature, 64, has_boxes=False) as writer:
        for one in list_data(data, ["train", "val"]):
            with torch.no_grad():
                seen = encoder(look(open_image(one.path))[None]).regions[0]
            writer.append(one.image_id, seen.numpy(), None, (32, 32))
        writer.finish()
    return path


def test_a_store_of_grids_takes_the_place_of_the_pictures(own_data, tmp_path):
    config = tiny_settings(own_data, tmp_path / "clip")
    store = write_grids(tmp_path / "grids.h5", config, encoder_of(config), own_data)
    looked = gather(config, "val", encoder_of(config), Vocabulary([]), 0, False)
    shutil.rmtree(own_data / "images")
    stored = replace(config, features=str(store), num_views=3)
    read = gather(stored, "val", encoder_of(config), Vocabulary([]), 0, False)
    assert torch.allclose(read.views[0].float(), looked.views[0].float(), atol=5e-3)
    assert len(gather(stored, "train", encoder_of(config), Vocabulary([]), 3, False).views) == 1
    assert quiet(stored)["epoch"] in (1, 2)
    assert load_clip(str(tmp_path / "clip")).text_vectors(["a"]).shape == (1, 16)


def test_a_store_of_another_encoder_is_refused(tiny_data, tmp_path):
    config = tiny_settings(tiny_data, tmp_path / "clip")
    store = write_grids(tmp_path / "grids.h5", config, encoder_of(config), tiny_data)
    stored = replace(config, features=str(store))
    with pytest.raises(ValueError, match=r"grids.h5: made with other weights: weights_hash '"):
        quiet(replace(stored, seed=1))  # other random weights
    with pytest.raises(ValueError, match=r"grids.h5: made with transform.image_size 32, not 64"):
        quiet(replace(stored, image_size=64))
    with pytest.raises(FileNotFoundError, match="no.h5: no such feature store"):
        quiet(replace(stored, features=str(tmp_path / "no.h5")))
    assert not (tmp_path / "clip").exists()


# ------------------------------------------------------------------------------ stopped, refused


def stop_in(monkeypatch: pytest.MonkeyPatch, step: int) -> Counter:
    """From this step on the loss is not a number."""
    real, calls = training.contrastive_loss, Counter()

    def loss(*arguments: object) -> torch.Tensor:
        calls["steps"] += 1
        return real(*arguments) * (math.nan if calls["steps"] > step else 1)

    monkeypatch.setattr(training, "contrastive_loss", loss)
    return calls


def test_a_loss_that_is_no_number_ends_it_and_leaves_what_was_written(
    tiny_data, tmp_path, monkeypatch
):
    calls = stop_in(monkeypatch, 3)  # the first epoch has three steps
    config, kept = tiny_settings(tiny_data, tmp_path / "clip"), []
    with pytest.raises(TrainingError, match="epoch 2: the loss is nan; a lower learning_rate"):
        quiet(config, on_epoch=lambda row: kept.append(weights_of(config.output)))
    assert calls["steps"] == 4 and kept == [weights_of(config.output)]
    assert record_of(config.output)["validation"]["epoch"] == 1
    vectors = load_clip(config.output).text_vectors(["a red ball"])
    assert vectors.norm().item() == pytest.approx(1, abs=1e-5)


def test_ctrl_c_leaves_the_best_epoch(tiny_data, tmp_path):
    config, rows = tiny_settings(tiny_data, tmp_path / "clip", num_epochs=9), []

    def stop(row: dict) -> None:
        rows.append(row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(config, on_epoch=stop)
    best = max(rows, key=lambda row: (training.score_of(row), -row["epoch"]))
    assert len(rows) == 2 and record_of(config.output)["validation"]["epoch"] == best["epoch"]
    assert {path.name for path in Path(config.output).iterdir()} == FILES
    load_clip(config.output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_heads": 3}, "width: 16 received, a multiple of num_heads (3) expected"),
        ({"encoder": EncoderConfig("clip")}, "encoder: backbone 'clip', trainable 'none' rec"),
        ({"encoder": EncoderConfig("features")}, "encoder: backbone 'features', trainable 'n"),
        ({"encoder": EncoderConfig(trainable="all")}, "trainable 'all' received, a torchvision"),
        ({"val_split": "dev"}, "captions_dev.json: no such file (splits found there: ['test', "),
    ],
)
def test_settings_that_are_refused(tiny_data, tmp_path, change, message):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        quiet(tiny_settings(tiny_data, tmp_path / "clip", **change))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "clip").exists()


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_split_needs_two_pictures_with_captions(tmp_path, split, number):
    data = write_data(tmp_path / "data", **{split: max(1, number)})
    path = data / "annotations" / f"captions_{split}.json"
    if not number:
        record = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(record | {"annotations": []}), "utf-8")
    with pytest.raises(ValueError) as caught:
        quiet(tiny_settings(data, tmp_path / "clip"))
    few = f"{data}: split {split!r} has {number} pictures with captions"
    wordless = f"{data}: split 'train' has no captions to learn of"
    message = wordless if (split, number) == ("train", 0) else few
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert not (tmp_path / "clip").exists()


# -------------------------------------------------------------------------------- command line


def test_the_command_trains_and_does_not_overwrite(tiny_data, tmp_path, run_cli):
    flags = flags_of(tiny_settings(tiny_data, tmp_path / "clip"))
    code, out, err = run_cli("train-clip", *flags)
    assert code == 0 and out.startswith("best epoch ") and "| text to image |" in out
    assert out.splitlines()[-1] == f"{tmp_path / 'clip'}: written" and "precision" not in out
    assert [json.loads(line)["epoch"] for line in err.splitlines() if line[:1] == "{"] == [1, 2]
    before = weights_of(tmp_path / "clip")

    code, out, err = run_cli("train-clip", *flags, "--seed=1")
    assert (code, out) == (1, "") and "--overwrite replaces it" in err
    assert err.startswith(f"error: {tmp_path / 'clip'}") and len(err.splitlines()) == 1
    assert weights_of(tmp_path / "clip") == before

    code, out, _ = run_cli("train-clip", *flags, "--seed=1", "--overwrite", "--json")
    record = json.loads(out)
    assert code == 0 and weights_of(tmp_path / "clip") != before
    assert record["output"] == str(tmp_path / "clip") and record["epoch"] in (1, 2)
    assert {"text_to_image", "image_to_text", "minutes", "parameters"} <= set(record)


def test_wrong_values_are_wrong_usage(tmp_path, run_cli, tiny_data):
    for typed in ("--batch_size=1", "--objective=generative", "--widht=8", "--precision=fp8"):
        code, out, err = run_cli("train-clip", f"--data={tiny_data}", typed)
        assert (code, out) == (2, "") and typed[2:].partition("=")[0] in err
    code, _, err = run_cli("train-clip", f"--data={tmp_path / 'none'}")
    assert code == 1 and "none: no data set here" in err
