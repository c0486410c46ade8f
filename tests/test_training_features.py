"""Training from a feature store: the same as from pictures, and refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import quiet, rows_of, small_experiment, stop_and_resume
from PIL import Image
from safetensors.torch import save_file

from captioning.bundle import Captioner
from captioning.cli import main
from captioning.encoders.cnn import build_encoder
from captioning.features.extract import ExtractOptions, extract
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter, WriteOptions


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A CNN's weights as a file, so that store and run see with the same eyes."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "eyes.safetensors"
    save_file(build_encoder(small_experiment("", "").encoder).body.state_dict(), path)
    return path


@pytest.fixture
def experiment(tiny_data, tmp_path, weights):
    """Settings without any chance in what a picture looks like."""
    settings = small_experiment(tiny_data, tmp_path / "model")
    settings.encoder.weights = str(weights)
    settings.transform = replace(settings.transform, fit="stretch", resize_size=32, flip=False)
    return settings


@pytest.fixture
def store(experiment, tiny_data, tmp_path):
    """The features of all pictures in single precision."""
    path = tmp_path / "features.h5"
    pictures = list_data(tiny_data, list_splits(tiny_data))
    encoder, options = build_encoder(experiment.encoder), ExtractOptions(write=WriteOptions(False))
    extract(pictures, encoder, experiment.encoder, experiment.transform, path, options)
    return path


def test_a_store_gives_the_run_that_the_pictures_give(experiment, store, tmp_path, tiny_data):
    pictures = quiet(experiment)
    experiment = replace(experiment, output=str(tmp_path / "stored"))
    experiment.loader = replace(experiment.loader, features=str(store), num_workers=2)
    stored = quiet(experiment)
    ours, theirs = stored.networks().state_dict(), pictures.networks().state_dict()
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, atol=1e-4), name
    photo = tiny_data / "images" / "val_000.png"
    assert stored.caption(photo) == pictures.caption(photo)  # no store is needed any more
    assert Captioner.load(tmp_path / "stored").experiment.loader.features == str(store)


def test_a_store_is_resumed_bit_for_bit(experiment, store, tmp_path):
    experiment.loader.features = str(store)
    whole = quiet(experiment)

    experiment = replace(experiment, output=str(tmp_path / "parts"))
    experiment.training.save_every_steps = 1
    resumed = stop_and_resume(experiment)
    ours, theirs = resumed.networks().state_dict(), whole.networks().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_rewards_work_from_a_store_too(experiment, store, tmp_path):
    experiment.loader.features = str(store)
    quiet(experiment)
    second = replace(experiment, init_from=experiment.output, output=str(tmp_path / "second"))
    second.training = replace(second.training, objective="reinforce", num_epochs=1)
    quiet(second)
    assert all(row["reward"] >= 0 for row in rows_of(tmp_path / "second", "step"))


@pytest.fixture
def ragged(tiny_data, tmp_path):
    return write_ragged(tiny_data, tmp_path / "ragged.h5", "test")


def write_ragged(tiny_data, path, source):
    """Regions made elsewhere: 2 to 5 of a picture, with boxes."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, imported_signature(source), 6, True) as writer:
        for picture in list_data(tiny_data, list_splits(tiny_data)):
            number = int(rng.integers(2, 6))
            boxes = np.tile(np.array([[0.0, 0.0, 0.5, 1.0]], np.float32), (number, 1))
            writer.append(picture.image_id, rng.random((number, 6), np.float32), boxes, (32, 32))
        writer.finish()
    return path


@pytest.mark.parametrize("kind", ["attention", "updown"])
def test_regions_made_elsewhere_train_and_evaluate(
    ragged, tiny_data, tmp_path, experiment, kind, capsys
):
    experiment.encoder = replace(experiment.encoder, backbone="features", weights="none", cut="")
    experiment.decoder = replace(experiment.decoder, kind=kind)
    experiment.loader.features = str(ragged)
    captioner = quiet(experiment)
    assert captioner.experiment.encoder.feature_dim == 6
    command = ["evaluate", "--model", experiment.output, "--data", str(tiny_data), "--json"]
    assert main([*command, "--features", str(ragged)]) == 0
    assert main(command) == 1
    assert "cannot look at pictures itself" in capsys.readouterr().err
    other = write_ragged(tiny_data, tmp_path / "other.h5", "another detector")
    assert main([*command, "--features", str(other)]) == 1
    told = "made with encoder.source 'another detector', not 'test' as in the store the model"
    assert told in capsys.readouterr().err
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30)).save(photo)
    assert main(["caption", "--model", experiment.output, str(photo)]) == 1
    assert "--features F.h5" in capsys.readouterr().err


def refuse(experiment, match):
    with pytest.raises(ValueError, match=match):
        quiet(experiment)


def test_a_store_of_another_encoder_is_refused(experiment, store, tmp_path):
    experiment.loader.features = str(store)
    experiment.transform.image_size, experiment.transform.resize_size = 48, 48
    refuse(experiment, "image_size 32, not 48")
    experiment.transform.image_size, experiment.transform.resize_size = 32, 32
    state = {k: v + 1 for k, v in build_encoder(experiment.encoder).body.state_dict().items()}
    save_file(state, tmp_path / "other.safetensors")
    experiment.encoder.weights = str(tmp_path / "other.safetensors")
    refuse(experiment, "weights_hash")


def test_settings_that_need_pictures_are_refused(experiment, store, ragged):
    experiment.loader.features = str(store)
    experiment.encoder.trainable = "layer1"
    refuse(experiment, "encoder.trainable: 'layer1' received, none expected with loader.features")
    experiment.encoder.trainable, experiment.loader.cache_views = "none", 2
    refuse(experiment, "cache_views: 2 received, 0 expected")
    experiment.loader = replace(experiment.loader, cache_views=0, features="")
    experiment.encoder = replace(experiment.encoder, backbone="features")
    refuse(experiment, "loader.features: none received, a feature store expected")
    experiment.loader.features = str(ragged)
    experiment.encoder.feature_dim = 7
    refuse(experiment, "6 numbers, encoder.feature_dim is 7")


def test_pictures_missing_in_the_store_are_counted(experiment, tiny_data, tmp_path, ragged):
    with StoreWriter(tmp_path / "few.h5", imported_signature("test"), 6, False) as writer:
        for picture in list_data(tiny_data, ["train"])[:-3]:
            writer.append(picture.image_id, np.ones((2, 6), np.float32), None, (32, 32))
        writer.finish()
    experiment.encoder = replace(experiment.encoder, backbone="features")
    experiment.loader.features = str(tmp_path / "few.h5")
    refuse(experiment, "3 of 24 pictures are missing, the first is 121")
    assert len(FeatureStore(ragged)) == 40


def test_a_native_store_of_smaller_pictures_is_refused(experiment, tiny_data, tmp_path):
    experiment.transform = replace(experiment.transform, fit="native")
    experiment.encoder = replace(experiment.encoder, grid=2)
    pictures, encoder = list_data(tiny_data, list_splits(tiny_data)), experiment.encoder
    made = (pictures, build_encoder(encoder), encoder, experiment.transform)
    for side, name in ((40, "small.h5"), (1024, "native.h5")):
        extract(*made, tmp_path / name, ExtractOptions(max_side=side))
    experiment.loader.features = str(tmp_path / "small.h5")
    refuse(experiment, "made with max_side 40, not 1024 as the model looks")
    experiment.loader.features = str(tmp_path / "native.h5")
    captioner = quiet(experiment)
    assert captioner.caption(tiny_data / "images" / "val_000.png")
