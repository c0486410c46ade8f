"""The pre-trained eyes: labels from scenes, average precision by hand, weights that load."""

from __future__ import annotations

import json

import pytest
import torch

from captioning.config import EncoderConfig
from captioning.datasets.picturebook.pictures import make_picture
from captioning.datasets.picturebook.scene import CATEGORIES, SETTINGS, Entity, Scene
from captioning.encoders.cnn import build_encoder
from captioning.training import eyes
from captioning.training.eyes_settings import EyesConfig


def test_labels_name_categories_coloured_categories_and_the_setting():
    entities = [Entity(0, "dog", "red"), Entity(1, "boat", "blue", count=2)]
    labels = eyes.labels_of(Scene(1, "beach", entities, []))
    assert labels.shape == (eyes.NUM_LABELS,)
    kinds = [CATEGORIES[i] for i in labels[: len(CATEGORIES)].nonzero().flatten()]
    assert kinds == ["dog", "boat"]
    pairs = labels[len(CATEGORIES) : len(CATEGORIES) + len(eyes.PAIRS)]
    assert [eyes.PAIRS[i] for i in pairs.nonzero().flatten()] == [("dog", "red"), ("boat", "blue")]
    assert SETTINGS[int(labels[-len(SETTINGS) :].argmax())] == "beach"


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    truth = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert eyes.average_precision(scores, truth) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_the_soft_maximum_lies_between_mean_and_maximum():
    encoder = build_encoder(EncoderConfig("resnet18", weights="none", cut="layer1"))
    model = eyes.Recogniser(encoder).eval()
    images = torch.randn(2, 3, 32, 32)
    votes = model.vote(encoder(images).regions)
    logits = model(images)
    assert (logits <= votes.amax(1) + 1e-5).all() and (logits >= votes.mean(1) - 1e-5).all()


def test_trained_weights_load_and_are_not_overwritten(tmp_path, monkeypatch):
    def drawn(config, number, start):
        made = [make_picture(9, "extra", i, image_size=32) for i in range(start, start + number)]
        pixels = [torch.tensor(list(image.tobytes()), dtype=torch.uint8) for image, _ in made]
        pictures = torch.stack([p.view(32, 32, 3).permute(2, 0, 1) for p in pixels])
        return pictures, torch.stack([eyes.labels_of(scene) for _, scene in made])

    monkeypatch.setattr(eyes, "draw_pictures", drawn)
    config = EyesConfig(
        output=str(tmp_path / "eyes"), cut="layer1", num_pictures=6, num_test_pictures=4,
        num_epochs=1, batch_size=3, image_size=32, device="cpu", precision="fp32",
    )  # fmt: skip
    scores = eyes.train_eyes(config)
    assert set(scores) == {"category_map", "coloured_category_map", "setting_accuracy"}
    assert json.loads((tmp_path / "eyes" / "eyes.json").read_text())["scores"] == scores
    weights = tmp_path / "eyes" / "model.safetensors"
    build_encoder(EncoderConfig("resnet18", weights=str(weights), cut="layer1"))
    before = weights.read_bytes()
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        eyes.train_eyes(config)
    assert weights.read_bytes() == before
