"""`caption --features`: the pictures of a store, captioned by who learned from such features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import draw
from feature_cases import made_up

from captioning.bundle import Captioner
from captioning.config import DecoderConfig, EncoderConfig, Experiment, GenerationConfig
from captioning.features.signature import imported_signature
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter
from captioning.picture_files import caption_store, open_for_captions
from model import VisualFeatures
from vocabulary import Vocabulary

SIGNATURE = imported_signature("detector")
IDS = [7, 3, 12, 5, 40]


def write_store(path, signature=SIGNATURE, named=True, **record):
    """Pictures with 1 to 6 regions."""
    with StoreWriter(path, signature, 8) as writer:
        for image_id in IDS:
            writer.append(image_id, *made_up(image_id))
        names = {image_id: f"photos/{image_id}.jpg" for image_id in IDS} if named else None
        writer.finish(names, record)
    return path


@pytest.fixture
def captioner(tmp_path):
    """One that learned from regions, as a bundle."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        experiment = Experiment(
            encoder=EncoderConfig(backbone="features", feature_dim=8),
            decoder=DecoderConfig(kind="updown", embed_dim=8, hidden_dim=16, attention_dim=8),
            generation=GenerationConfig(method="greedy", max_length=6),
        )
        words = Vocabulary("a boy with the red kite is near two green dogs".split())
        captioner = Captioner.build(experiment, words)
    with torch.no_grad():
        for parameter in captioner.decoder.parameters():
            parameter.mul_(6)  # regions make a difference
    captioner.record["features"] = SIGNATURE
    captioner.save(tmp_path / "model")
    return captioner


def expected(captioner, image_id):
    """The caption of one picture alone."""
    regions, boxes = (torch.from_numpy(part).float()[None] for part in made_up(image_id))
    config = captioner.generation_config()
    result, _ = captioner.generate(VisualFeatures(regions, None, boxes), config)
    return captioner.to_captions(result)[0].text


def test_every_picture_of_a_store(run_cli, captioner, tmp_path):
    store = write_store(tmp_path / "f.h5")
    texts = [expected(captioner, image_id) for image_id in IDS]
    assert len(set(texts)) > 2
    flags = ["caption", f"--model={tmp_path / 'model'}", f"--features={store}", "--device=cpu"]
    code, out, err = run_cli(*flags, "--batch_size=3")
    lines = [f"photos/{image_id}.jpg: {text}" for image_id, text in zip(IDS, texts, strict=True)]
    assert code == 0 and out.splitlines() == lines and err == ""
    code, out, _ = run_cli(*flags, "--json", "--method=beam", "--num_samples=2", "--beam_size=3")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and len(rows) == 10 and rows[2]["file"] == rows[3]["file"] == "photos/3.jpg"


def test_names_and_pictures_without_features(run_cli, captioner, tmp_path):
    left_out = {"unreadable": {9: "9.jpg: empty file"}}
    store = write_store(tmp_path / "f.h5", named=False, **left_out)
    code, out, err = run_cli("caption", f"--model={tmp_path / 'model'}", f"--features={store}")
    assert code == 1 and [line.partition(":")[0] for line in out.splitlines()] == [*map(str, IDS)]
    assert err == f"error: {store}: left out: 9.jpg: empty file\n"


def test_a_store_of_other_features_is_refused(run_cli, captioner, tmp_path):
    other = write_store(tmp_path / "other.h5", imported_signature("another detector"))
    model = f"--model={tmp_path / 'model'}"
    code, out, err = run_cli("caption", model, f"--features={other}")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "encoder.source 'another detector', not 'detector' as in the store the model" in err
    code, _, err = run_cli("caption", model, "--features=nowhere.h5")
    assert code == 1 and "nowhere.h5: no such feature store" in err
    with StoreWriter(tmp_path / "wide.h5", SIGNATURE, 9) as writer:
        writer.append(1, np.ones((1, 9)), np.array([[0, 0, 1, 1]]))
        writer.finish()
    with pytest.raises(ValueError, match="wide.h5: regions have 9 numbers"):
        open_for_captions(captioner, tmp_path / "wide.h5")
    with pytest.raises(ValueError, match="batch_size: 0 received, 1 or more expected"):
        next(caption_store(captioner, FeatureStore(other), 0))


@pytest.mark.parametrize(
    ("more", "found"), [([], "neither"), (["photo.jpg", "--features=f.h5"], "both")]
)
def test_pictures_or_a_store(run_cli, more, found):
    code, out, err = run_cli("caption", "--model=m", *more)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert f"paths and --features: {found} received, one of the two expected" in err


def test_a_store_of_ones_own_encoder_gives_what_the_photos_give(run_cli, tiny_bundle, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(("red", "green")):
        draw(colour, "box", "right", 60, 40 + 9 * number).save(photos / f"{colour}.png")
    flags = [f"--model={tiny_bundle}", "--device=cpu"]
    store = ["--output", tmp_path / "f.h5", "--dtype=float32", f"--data={photos}"]
    assert run_cli("features", "extract", *flags, *store)[0] == 0
    _, seen, _ = run_cli("caption", *flags, photos)
    code, stored, _ = run_cli("caption", *flags, f"--features={tmp_path / 'f.h5'}")
    assert code == 0 and stored == seen.replace(f"{photos}/", "") and stored.count("\n") == 2
