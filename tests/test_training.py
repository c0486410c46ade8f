"""Cross-entropy training: what is refused before it starts, what is learned, and what is kept."""

from __future__ import annotations

import json
import math

import pytest
import torch
from conftest import quiet, rows_of
from odd_pictures import two_halves

from captioning.bundle import Captioner
from captioning.training.checkpoint import load_checkpoint
from captioning.training.cross_entropy import caption_loss
from captioning.training.run import prepare_run
from captioning.training.update import TrainingError, take_step
from data_loader import CaptionDataset, UnreadableImageError
from model import DecoderOutput

STATE = "checkpoint/state.pt"

# ---- the loss ----


def test_loss_by_hand():
    """Two rows of two targets, the last one <pad>: the mean over the three that count."""
    logits = torch.tensor(
        [[[0.0, 0, 0, 0, 1], [0, 0, 2, 0, 0]], [[0, 0, 0, 0, 3], [9, 9, 9, 9, 9]]]
    )
    captions = torch.tensor([[1, 4, 2], [1, 2, 0]])
    terms = [
        math.log(4 + math.e) - 1,
        math.log(4 + math.e**2) - 2,
        math.log(4 + math.e**3),
    ]
    loss, plain = caption_loss(DecoderOutput(logits), captions)
    assert loss.item() == plain.item() == pytest.approx(sum(terms) / 3)


def test_label_smoothing_by_hand():
    logits = torch.tensor([[[0.0, 0, 0, 0, 1]]])
    total = math.log(4 + math.e)
    loss, plain = caption_loss(DecoderOutput(logits), torch.tensor([[1, 4]]), label_smoothing=0.2)
    assert plain.item() == pytest.approx(total - 1)
    assert loss.item() == pytest.approx(0.8 * (total - 1) + 0.2 * (total - 1 / 5))


def test_attention_penalty_is_added():
    logits, captions = torch.zeros(1, 2, 5), torch.tensor([[1, 4, 0]])
    weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # the second word does not count
    loss, plain = caption_loss(DecoderOutput(logits, weights), captions, attention_penalty=3)
    assert loss.item() == pytest.approx(plain.item() + 3 * (0 + 1) / 2)


# ---- a run ----


def test_a_run_learns_and_writes_its_bundle(tiny_experiment, tmp_path):
    tiny_experiment.training.num_epochs = 8
    tiny_experiment.training.learning_rate = 0.02
    seen = []
    captioner = quiet(tiny_experiment, on_epoch=lambda run, row: seen.append(row["CIDEr"]))
    folder = tmp_path / "model"
    names = {p.name for p in folder.iterdir()} - {"tensorboard"}
    expected = {"config.json", "model.safetensors", "vocabulary.json", "README.md"}
    assert names == expected | {"history.jsonl", "checkpoint"}
    steps, epochs = rows_of(folder, "step"), rows_of(folder, "epoch")
    assert [row["step"] for row in steps] == [*range(1, 25)]
    losses = [row["loss"] for row in steps]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    for row in steps:
        assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))
        assert row["words_per_second"] > 0 and row["grad_norm"] > 0
    assert [row["epoch"] for row in epochs] == [*range(1, 9)]
    assert [row["CIDEr"] for row in epochs] == seen
    best = max(seen)
    assert captioner.record["validation"]["CIDEr"] == best
    assert captioner.record["epoch"] == 1 + seen.index(best) == epochs[-1]["best_epoch"]
    assert f"| best epoch | {captioner.record['epoch']} |" in (folder / "README.md").read_text()
    image = two_halves(40, 40)
    assert Captioner.load(folder, "cpu").caption(image) == captioner.caption(image)


@pytest.mark.parametrize(
    "changes",
    [
        {"loader.batching": "length"},
        {"decoder.kind": "rnn"},
        {"training.optimizer": "sgd"},
        {"training.label_smoothing": 0.1, "training.attention_penalty": 1.0},
        {"training.scheduled_sampling": 0.5},
        {"encoder.trainable": "layer1", "encoder.freeze_batch_norm": False},
        {"training.precision": "bf16"},
        {"training.half_precision": True, "loader.max_pictures": 9},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_kind_of_run_goes_through(tiny_experiment, tmp_path, changes):
    tiny_experiment.training.num_epochs = 1
    for name, value in changes.items():
        part, setting = name.split(".")
        setattr(getattr(tiny_experiment, part), setting, value)
    quiet(tiny_experiment)
    assert all(math.isfinite(row["loss"]) for row in rows_of(tmp_path / "model", "step"))


def test_same_seed_same_run_other_seed_other_run(tiny_experiment, tmp_path):
    losses = []
    for number, seed in enumerate((0, 0, 1)):
        tiny_experiment.seed, tiny_experiment.output = seed, str(tmp_path / str(number))
        torch.manual_seed(number)  # what happened before does not matter
        quiet(tiny_experiment)
        losses.append([row["loss"] for row in rows_of(tmp_path / str(number), "step")])
    assert losses[0] == losses[1] != losses[2]


def test_encoder_is_thawed_at_its_epoch(tiny_experiment):
    tiny_experiment.encoder.trainable, tiny_experiment.encoder.trainable_from_epoch = "layer1", 1
    sums = []

    def look(run, row):
        sums.append([p.sum().item() for p in run.captioner.encoder.parameters()])

    quiet(tiny_experiment, on_step=look)
    assert sums[0] == sums[1] == sums[2] != sums[3]


def test_views_are_computed_once_and_then_remembered(tiny_experiment, tmp_path, monkeypatch):
    tiny_experiment.loader.cache_views, tiny_experiment.training.num_epochs = 2, 4
    views, opened = [], []
    original = CaptionDataset.__getitem__

    def count(self, item):
        opened.append(self.split if not self.views else "remembered")
        return original(self, item)

    monkeypatch.setattr(CaptionDataset, "__getitem__", count)
    quiet(tiny_experiment, on_step=lambda run, row: views.append(len(run.loader.dataset.views)))
    assert views == [1] * 3 + [2] * 9
    assert opened.count("train") == 2 * 24 and opened.count("remembered") == 4 * 24
    assert all(math.isfinite(row["loss"]) for row in rows_of(tmp_path / "model", "step"))


def test_init_from_starts_with_the_words_and_weights_of_a_bundle(
    tiny_experiment, tiny_bundle, tiny_captioner
):
    tiny_experiment.init_from = str(tiny_bundle)
    tiny_experiment.vocabulary.min_count = 1  # not used: the words come from the bundle
    run = prepare_run(tiny_experiment)
    assert run.captioner.vocabulary == tiny_captioner.vocabulary
    for name, value in tiny_captioner.networks().state_dict().items():
        assert torch.equal(run.captioner.networks().state_dict()[name], value)


def test_early_stopping(tiny_experiment, tmp_path, monkeypatch):
    import captioning.training.loop as module

    scores = iter([0.1, 0.3, 0.3, 0.2, 0.9, 0.9])

    def scored(run):
        run.captioner.train()
        return {"CIDEr": next(scores), "samples": ["x"]}

    monkeypatch.setattr(module, "validate_run", scored)
    tiny_experiment.training.num_epochs, tiny_experiment.training.early_stopping = 6, 2
    captioner = quiet(tiny_experiment)
    assert captioner.record["epoch"] == 2
    assert [row["CIDEr"] for row in rows_of(tmp_path / "model", "epoch")] == [0.1, 0.3, 0.3, 0.2]


# ---- refused before anything is written ----


def change(experiment, name, value):
    *parts, last = name.split(".")
    place = experiment
    for part in parts:
        place = getattr(place, part)
    setattr(place, last, value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("training.warmup_steps", 6, "training.warmup_steps: 6 received, fewer than the 6 steps"),
        (
            "training.schedule",
            "noam",
            "training.warmup_steps: 0 received, at least 1 expected with",
        ),
        ("training.patience", 0, "training.patience: 0 received, at least 1 expected"),
        ("loader.train_split", "trane", "captions_trane.json: no such file (splits found there:"),
        ("loader.val_split", "dev", "captions_dev.json: no such file"),
        ("data", "nowhere", "nowhere/annotations/captions_train.json: no such file"),
        ("vocabulary.min_count", 999, "min_count: 999 received, but none of the"),
        ("training.learning_rate", -1, "training.learning_rate: -1 received"),
        ("loader.batch_size", 0, "loader.batch_size: 0 received"),
        ("encoder.cut", "layer7", "cut: 'layer7' received"),
        ("encoder.trainable", "layer7", "trainable: 'layer7' received"),
        ("encoder.weights", "eyes.pth", "eyes.pth: no such weight file"),
        ("transform.resize_size", 8, "resize_size: 8 received, 0 or at least image_size (32)"),
        ("device", "gpu", "device: 'gpu' is not available"),
        ("init_from", "nowhere", "nowhere: not a model bundle (no such folder)"),
        ("train_captions", "more.json", "more.json: no such file"),
    ],
)
def test_refused_in_one_sentence_before_anything_is_written(
    tiny_experiment, tmp_path, name, value, message
):
    change(tiny_experiment, name, value)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        quiet(tiny_experiment)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("split", "change", "message"),
    [
        ("train", {"images": [], "annotations": []}, "no images in it"),
        ("train", {"annotations": []}, "split 'train' has no captions to learn from"),
        ("val", {"annotations": []}, "val_000.png: no caption in split 'val'"),
    ],
)
def test_empty_splits_are_refused(own_data, tiny_experiment, tmp_path, split, change, message):
    path = own_data / "annotations" / f"captions_{split}.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(record | change))
    tiny_experiment.data = str(own_data)
    with pytest.raises(ValueError) as caught:
        quiet(tiny_experiment)
    assert message in str(caught.value) and not (tmp_path / "model").exists()


def test_a_caption_file_without_captions_is_named(own_data, tiny_experiment, tmp_path):
    record = json.loads((own_data / "annotations" / "captions_train.json").read_text("utf-8"))
    (tmp_path / "none.json").write_text(json.dumps(record | {"annotations": []}))
    tiny_experiment.train_captions = str(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"none\.json: the file has no captions to learn from$"):
        prepare_run(tiny_experiment)


def test_words_are_those_of_people_where_there_are_any(own_data, tiny_experiment, tmp_path):
    """A teacher's captions are learned from, but their words are counted only in need."""
    tiny_experiment.data, folder = str(own_data), own_data / "annotations"
    people = prepare_run(tiny_experiment).captioner.vocabulary
    content = json.loads((folder / "captions_train.json").read_text("utf-8"))
    file = tmp_path / "said.json"
    said = [one | {"caption": "A ball."} for one in content["annotations"]]
    file.write_text(json.dumps(content | {"annotations": said}))
    tiny_experiment.train_captions = str(file)
    run = prepare_run(tiny_experiment)
    assert run.captioner.vocabulary.words == people.words
    assert {text for some in run.loader.dataset.texts for text in some} == {"A ball."}
    (folder / "captions_train.json").unlink()  # first no file at all, then pictures only
    few = prepare_run(tiny_experiment).captioner.vocabulary
    (folder / "images_train.json").write_text(json.dumps({"images": content["images"]}))
    assert prepare_run(tiny_experiment).captioner.vocabulary.words == few.words
    assert few.words[4:] == ("a", "ball")


def test_a_missing_validation_picture_is_named_before_the_first_epoch(own_data, tiny_experiment):
    (own_data / "images" / "val_003.png").unlink()
    tiny_experiment.data = str(own_data)
    with pytest.raises(FileNotFoundError, match=r"val_003\.png: no such file \(split 'val'\)"):
        quiet(tiny_experiment)


def test_existing_output_is_refused_resumed_or_replaced(tiny_experiment, tmp_path):
    tiny_experiment.training.num_epochs = 1
    with pytest.raises(FileNotFoundError, match=r"state\.pt: no checkpoint to resume from"):
        quiet(tiny_experiment, resume=True)
    assert not (tmp_path / "model").exists()
    quiet(tiny_experiment)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match=r"--resume goes on with it, --overwrite starts anew"):
        quiet(tiny_experiment)
    with pytest.raises(ValueError, match="resume and overwrite: both received"):
        quiet(tiny_experiment, resume=True, overwrite=True)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    tiny_experiment.seed = 1
    quiet(tiny_experiment, overwrite=True)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() != before
    assert len(rows_of(tmp_path / "model", "step")) == 3


def test_output_that_is_a_file(tiny_experiment, tmp_path):
    (tmp_path / "model").write_text("notes")
    with pytest.raises(FileExistsError, match="a file stands there, a folder for the bundle"):
        quiet(tiny_experiment)
    assert (tmp_path / "model").read_text() == "notes"


def test_settings_and_data_of_a_resumed_run_must_be_the_same(tiny_experiment, own_data):
    tiny_experiment.training.num_epochs, tiny_experiment.data = 1, str(own_data)
    quiet(tiny_experiment)
    tiny_experiment.loader.num_workers = 1  # changes nothing in the result
    quiet(tiny_experiment, resume=True)
    tiny_experiment.training.learning_rate = 0.5
    message = r"training\.learning_rate: 0\.5 received, but the run to resume had 0\.005"
    with pytest.raises(ValueError, match=message):
        quiet(tiny_experiment, resume=True)
    tiny_experiment.training.learning_rate = 5e-3
    path = own_data / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    last = record["images"].pop()["id"]
    record["annotations"] = [a for a in record["annotations"] if a["image_id"] != last]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="pictures: 23 received, but the run to resume had 24"):
        quiet(tiny_experiment, resume=True)


# ---- trouble on the way ----


def test_nan_is_refused_and_changes_no_weight(tiny_experiment):
    run = prepare_run(tiny_experiment)
    run.captioner.train()
    batch = next(iter(run.loader))
    batch.images[0, 0, 0, 0] = float("nan")
    before = {name: v.clone() for name, v in run.captioner.networks().state_dict().items()}
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan; a lower training\.learning"):
        take_step(run, [batch])
    after = run.captioner.networks().state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_an_infinite_gradient_is_refused_and_changes_no_weight(tiny_experiment):
    run = prepare_run(tiny_experiment)
    run.captioner.train()
    decoder = run.captioner.decoder
    decoder.output.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = {name: v.clone() for name, v in decoder.state_dict().items()}
    with pytest.raises(TrainingError, match=r"step 1: the gradient is (nan|inf); a lower"):
        take_step(run, [next(iter(run.loader))])
    assert all(torch.equal(v, before[name]) for name, v in decoder.state_dict().items())


def test_a_run_that_explodes_keeps_what_was_saved(tiny_experiment, tmp_path):
    settings = tiny_experiment.training
    settings.optimizer, settings.learning_rate, settings.grad_clip = "sgd", 10, 0
    settings.schedule = "constant"

    def explode(run, row):
        if run.step == 5:
            run.captioner.decoder.output.weight.data.fill_(float("inf"))

    with pytest.raises(TrainingError, match="step 6: the loss is nan"):
        quiet(tiny_experiment, on_step=explode)
    state = load_checkpoint(tmp_path / "model" / STATE, torch.device("cpu"))
    assert state["progress"]["step"] == 3
    assert all(v.isfinite().all() for v in state["networks"].values())
    assert isinstance(Captioner.load(tmp_path / "model", "cpu").caption(two_halves()), str)


def many_pictures(folder, number):
    """The training split with its pictures repeated: one bad one is then below 1 %."""
    path = folder / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    images = [
        {**record["images"][i % 24], "id": 10_000 + i, "file_name": f"train_{i % 23:03}.png"}
        for i in range(number)
    ]
    images[7]["file_name"] = "train_023.png"
    annotations = [
        {"id": 10_000 + i, "image_id": image["id"], "caption": "a red ball"}
        for i, image in enumerate(images)
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


@pytest.mark.parametrize("cache_views", [0, 2])
def test_an_unreadable_picture_is_skipped_and_named(own_data, tiny_experiment, capsys, cache_views):
    many_pictures(own_data, 104)
    tiny_experiment.loader.cache_views = cache_views
    (own_data / "images" / "train_023.png").write_bytes(b"")
    tiny_experiment.data, tiny_experiment.training.num_epochs = str(own_data), 1
    tiny_experiment.loader.batch_size, tiny_experiment.loader.captions_per_image = 26, 1
    quiet(tiny_experiment)
    errors = capsys.readouterr().err
    assert errors.count("skipped") == 1 and "train_023.png: not a picture (empty file)" in errors


def test_more_than_one_percent_unreadable_pictures_stop_the_run(own_data, tiny_experiment):
    (own_data / "images" / "train_005.png").write_text("text")
    tiny_experiment.data = str(own_data)
    with pytest.raises(UnreadableImageError, match=r"1 of 24 training pictures.*train_005\.png"):
        quiet(tiny_experiment)


def test_captions_without_words_are_left_out_with_a_note(own_data, tiny_experiment, capsys):
    path = own_data / "annotations" / "captions_train.json"
    record = json.loads(path.read_text("utf-8"))
    record["annotations"][0]["caption"] = " . "
    path.write_text(json.dumps(record))
    tiny_experiment.data, tiny_experiment.training.num_epochs = str(own_data), 1
    quiet(tiny_experiment)
    assert "1 training captions without a word are left out" in capsys.readouterr().err
