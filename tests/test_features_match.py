"""A store that belongs to other pictures or to another encoder is refused."""

from __future__ import annotations

import pytest
import torch
from feature_cases import SIGNATURE, append_all, made_up, write_store

from captioning.config import EncoderConfig, TransformConfig
from captioning.encoders.cnn import build_encoder
from captioning.features.signature import make_signature
from captioning.features.store import (
    FeatureStore,
    check_signature,
    check_store,
    file_checksum,
    weights_hash,
)
from captioning.features.writer import StoreWriter


@pytest.fixture
def path(tmp_path):
    return tmp_path / "f.h5"


def test_check_store(path, tmp_path):
    files = [tmp_path / f"{i}.jpg" for i in range(3)]
    for number, file in enumerate(files):
        file.write_text(f"picture {number}")
    with StoreWriter(path, SIGNATURE, 8) as one:
        for number, file in enumerate(files):
            one.append(number, *made_up(number), (5, 5), file_checksum(file))
        one.finish(record={"unreadable": {9: "9.jpg: empty file"}})
    store = FeatureStore(path)
    check_store(store, [0, 1, 2], 8, files)
    check_store(store, [0, 2, 9], 8, [files[0], files[2], tmp_path / "9.jpg"])
    check_store(store, [0], 0, [tmp_path / "is not here.jpg"])
    with pytest.raises(ValueError, match="2 of 4 pictures are missing, the first is 5"):
        check_store(store, [0, 5, 1, 6])
    with pytest.raises(ValueError, match="regions have 8 numbers, the model takes 9"):
        check_store(store, [0], 9)
    files[1].write_text("another picture")
    with pytest.raises(ValueError, match="picture 1 was not the file .*1.jpg when"):
        check_store(store, [0, 1, 2], 8, files)
    store.close()


def test_check_signature(path):
    encoder, transform = EncoderConfig(backbone="resnet18", cut="layer1"), TransformConfig()
    with StoreWriter(path, make_signature(encoder, transform, "ab12"), 8) as one:
        append_all(one, [1])
        one.finish()
    store = FeatureStore(path)
    check_signature(store, encoder, transform, "ab12")
    check_signature(store, encoder, TransformConfig(resize_size=256, flip=False), "ab12")
    check_signature(store, EncoderConfig(backbone="features", feature_dim=8), transform, "")
    for other, message in (
        ((EncoderConfig(backbone="resnet50"), transform, "ab12"), "backbone 'resnet18', not 'resn"),
        ((EncoderConfig("resnet18", cut="layer1", grid=3), transform, "ab12"), "encoder.grid 0, n"),
        ((encoder, TransformConfig(image_size=200), "ab12"), "transform.image_size 224, not 200"),
        ((encoder, TransformConfig(fit="stretch"), "ab12"), "transform.fit 'crop', not 'stretch'"),
        ((encoder, transform, "cd34"), "made with other weights: weights_hash 'ab12', not 'cd34'"),
        ((EncoderConfig("features", feature_dim=9), transform, ""), "encoder.feature_dim is 9"),
    ):
        with pytest.raises(ValueError, match=message):
            check_signature(store, *other)


def test_imported_features_do_not_pass_for_a_network(path):
    store = FeatureStore(write_store(path, [1, 2]))
    with pytest.raises(ValueError, match="encoder.backbone 'features', not 'resnet50'"):
        check_signature(store, EncoderConfig(), TransformConfig(), "ab12")


def test_weights_hash():
    encoder = build_encoder(EncoderConfig("resnet18", "none", cut="layer1"))
    first = weights_hash(encoder)
    assert len(first) == 16 and int(first, 16) >= 0
    shuffled = dict(reversed(encoder.state_dict().items()))
    encoder.state_dict = lambda: shuffled
    assert weights_hash(encoder) == first
    del encoder.state_dict
    encoder.half().float()  # as a bundle in half precision
    assert weights_hash(encoder) == first
    encoder.body.bn1.num_batches_tracked += 1
    assert weights_hash(encoder) == first
    with torch.no_grad():
        encoder.body.conv1.weight[0, 0, 0, 0] += 0.1
    assert weights_hash(encoder) != first
