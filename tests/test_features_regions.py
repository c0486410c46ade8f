"""`features regions --detector`: which boxes are kept, what stands for them, and the store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from conftest import draw
from feature_cases import SIGNATURE
from safetensors.torch import save_file
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from captioning.features import detector as module
from captioning.features.detector import (
    build_detector,
    choose_regions,
    find_regions,
    is_published,
)
from captioning.features.detector_settings import DetectorConfig
from captioning.features.merge import merge_stores
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter, WriteOptions

NAME = "fasterrcnn_mobilenet_v3_large_320_fpn"
TINY = DetectorConfig(NAME, "none", detector_size=32, min_regions=3, max_regions=6)
FLAGS = [f"--detector={NAME}", "--detector_weights=none", "--detector_size=32"]


class Backbone(torch.nn.Sequential):
    """Two layers, under the name that torchvision's detectors give to maps."""

    out_channels = 8

    def forward(self, images):
        return {"0": super().forward(images)}


def tiny_detector(name=NAME, num_classes=91, **_):
    """One that has opinions; they make no sense, but differ from place to place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = FasterRCNN(
            Backbone(torch.nn.Conv2d(3, 8, 8, stride=8), torch.nn.BatchNorm2d(8)),
            num_classes=num_classes,
            min_size=64,
            max_size=128,
            rpn_anchor_generator=AnchorGenerator(((8, 16, 32),), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        )
    with torch.no_grad():
        for layer in (detector.roi_heads.box_predictor.cls_score, detector.rpn.head.cls_logits):
            layer.weight.mul_(100)
    return detector


@pytest.fixture
def tiny(monkeypatch):
    """It takes the place of torchvision's, which are slow without a graphics card."""
    monkeypatch.setattr(module, "get_model", tiny_detector)


@pytest.fixture
def detector(tiny):
    return build_detector(TINY)


@pytest.fixture(scope="module")
def image():
    return torch.rand(3, 45, 60, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def find(detector, image, config=TINY):
    return find_regions(detector, image, config)


# ---- which boxes ----

BOXES = torch.tensor(
    [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 20, 10, 30], [20, 20, 30, 30.0]]
)  # the first two lie upon each other
SCORES = torch.tensor([0.5, 0.9, 0.3, 0.1, 0.3])


@pytest.mark.parametrize(
    ("labels", "low", "high", "threshold", "chosen"),
    [
        ([0, 0, 0, 0, 0], 1, 5, 0.2, [1, 2, 4]),  # the surer of two that overlap, equals in order
        ([0, 1, 0, 0, 0], 1, 5, 0.2, [1, 0, 2, 4]),  # of different classes both
        ([0, 0, 0, 0, 0], 1, 2, 0.2, [1, 2]),
        ([0, 0, 0, 0, 0], 1, 5, 0.95, [1]),  # at least one
        ([0, 0, 0, 0, 0], 4, 5, 0.95, [1, 2, 4, 3]),  # less sure ones fill up
        ([0, 0, 0, 0, 0], 5, 5, 0.2, [1, 2, 4, 3, 0]),  # then those that overlap
        ([0, 0, 0, 0, 0], 9, 9, 0.2, [1, 2, 4, 3, 0]),
        ([0, 0, 0, 0, 0], 1, 5, 0.3, [1, 2, 4]),  # the threshold itself is enough
    ],
)
def test_choice_of_regions(labels, low, high, threshold, chosen):
    config = replace(TINY, min_regions=low, max_regions=high, score_threshold=threshold)
    places = choose_regions(BOXES, SCORES, torch.tensor(labels), 0.5, config)
    assert places.tolist() == chosen
    empty = choose_regions(BOXES[:0], SCORES[:0], torch.tensor([]).long(), 0.5, config)
    assert empty.tolist() == []


def test_surest_region_is_torchvisions(detector, image):
    with torch.inference_mode():
        theirs = detector([image])[0]  # boxes in pixels
    ours = find(detector, image)
    assert len(ours.regions) == 6 and ours.scores.tolist() == sorted(ours.scores, reverse=True)
    assert torch.allclose(ours.scores[0], theirs["scores"][0], atol=1e-6)
    assert torch.allclose(
        ours.boxes[0] * torch.tensor([60, 45, 60, 45]), theirs["boxes"][0], atol=1e-3
    )
    assert (ours.boxes[:, :2] < ours.boxes[:, 2:]).all() and len(set(ours.scores.tolist())) == 6


def test_vectors_are_the_box_heads_of_these_boxes(detector, image):
    found = find(detector, image)
    with torch.inference_mode():
        images, _ = detector.transform([image])
        height, width = images.image_sizes[0]
        boxes = found.boxes * torch.tensor([width, height, width, height])
        maps = detector.backbone(images.tensors)
        pooled = detector.roi_heads.box_roi_pool(maps, [boxes], [(height, width)])
        vectors = torch.relu(
            detector.roi_heads.box_head.fc7(
                torch.relu(detector.roi_heads.box_head.fc6(pooled.flatten(1)))
            )
        )
    assert found.regions.shape == (6, 1024)
    assert torch.allclose(found.regions, vectors, atol=1e-4)


def test_too_few_proposals_are_filled_up_with_the_whole_picture(detector, image):
    detector.rpn._post_nms_top_n["testing"] = 2
    found = find(detector, image)
    assert found.boxes.shape == (3, 4) and found.boxes[2].tolist() == [0, 0, 1, 1]
    assert found.scores[2] == 0 < found.scores[1]
    detector.rpn.score_thresh = 2.0  # not one proposal
    found = find(detector, image)
    assert found.boxes.tolist() == [[0, 0, 1, 1]] and found.regions.shape == (1, 1024)


def test_the_same_picture_gives_the_same_numbers(detector, image):
    for one, other in zip(find(detector, image), find(detector, image), strict=True):
        assert torch.equal(one, other)


# ---- weights ----


def test_weight_files(detector, image, tmp_path):
    with torch.no_grad():
        detector.backbone[0].weight.mul_(2)  # not what others begin with
    state = detector.state_dict()
    save_file(state, tmp_path / "a.safetensors")
    torch.save({k: v for k, v in state.items() if "batches" not in k}, tmp_path / "frozen.pth")
    expected = find(detector, image).regions
    for name in ("a.safetensors", "frozen.pth"):
        read = build_detector(replace(TINY, detector_weights=str(tmp_path / name)))
        assert torch.equal(find(read, image).regions, expected)
    given = replace(TINY, detector_weights=str(tmp_path / "a.safetensors"))
    with pytest.raises(ValueError, match="knows 91 classes, num_classes is 5; --num_classes 91 ex"):
        build_detector(replace(given, num_classes=5))
    with pytest.raises(ValueError, match="a.safetensors does not fit fasterrcnn_mobilenet_v3_lar"):
        del state["rpn.head.cls_logits.weight"]
        save_file(state, tmp_path / "a.safetensors")
        build_detector(given)
    (tmp_path / "a.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match="a.safetensors: not a complete .safetensors file"):
        build_detector(given)
    with pytest.raises(FileNotFoundError, match="'nowhere' received, COCO_V1, .*none or a file ex"):
        build_detector(replace(TINY, detector_weights="nowhere"))


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route")

    monkeypatch.setattr(module, "get_model", refuse)
    published = replace(TINY, detector_weights="COCO_V1")
    with pytest.raises(FileNotFoundError, match="not download COCO_V1 .*no route.*--detector_weig"):
        build_detector(published)
    with pytest.raises(ValueError, match="COCO_V1 knows 91 classes, num_classes is 7"):
        build_detector(replace(published, num_classes=7))


def test_published_files_are_known_by_their_hash(tmp_path):
    path = tmp_path / "renamed.pth"
    path.write_bytes(b"weights")
    start = hashlib.sha256(b"weights").hexdigest()[:8]
    assert is_published(path, f"https://somewhere/detector_coco-{start}.pth")
    assert not is_published(path, "https://somewhere/detector_coco-00000000.pth")
    assert not is_published(path, "https://somewhere/detector.pth")


def test_batch_norms_of_the_oldest_weights_add_nothing(monkeypatch, tmp_path):
    layers = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    torch.save(layers.state_dict(), tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()
    published = {"COCO_V1": SimpleNamespace(url=f"https://somewhere/w-{digest[:8]}.pth")}
    for detector, epsilon in (("fasterrcnn_resnet50_fpn_v2", 1e-5), ("maskrcnn_resnet50_fpn", 0)):
        config = DetectorConfig(detector, str(tmp_path / "w.pth"))
        module._load_file(layers, config, published)
        assert layers[0].eps == epsilon


# ---- the store ----


@pytest.fixture
def run(run_cli):
    """Run `features ...`: exit code, stdout, stderr."""
    return partial(run_cli, "features")


@pytest.fixture
def photos(tmp_path):
    """Three pictures in a plain folder."""
    (tmp_path / "photos").mkdir()
    for number, colour in enumerate(("red", "blue", "green")):
        draw(colour, "ball", "left", 50, 40 + number).save(tmp_path / "photos" / f"{colour}.png")
    return tmp_path / "photos"


def test_regions_of_any_folder(run, photos, tiny, tmp_path):
    flags = ["regions", f"--data={photos}", *FLAGS, "--min_regions=2", "--max_regions=4"]
    output = [f"--output={tmp_path / 'f.h5'}", "--dtype=float32"]
    code, out, err = run(*flags, *output, "--json")
    assert code == 0 and json.loads(out)["pictures"] == 3
    assert "f.h5: about 24.70 kB to 49.39 kB will be written" in err  # 3 pictures, 2 to 4 regions
    store = FeatureStore(tmp_path / "f.h5")
    assert store.file_names == ["blue.png", "green.png", "red.png"] and store.feature_dim == 1024
    assert store.describe()["scores"] is True and store.size_of(2) == (50, 42)
    regions, boxes = store.read(2)
    scores = store.scores_of(2)
    assert len(regions) == len(boxes) == len(scores) == 4 and scores.min() >= 0.2
    assert store.signature["encoder"] == {"backbone": "features", "source": NAME}
    assert store.signature["regions"]["size"] == [32, 64]
    for number in (1, 2):
        shard = [f"--output={tmp_path / 'g.h5'}", "--dtype=float32", f"--shard={number}/2"]
        assert run(*flags, *shard, f"--num_workers={number - 1}")[0] == 0
    merge_stores(sorted(tmp_path.glob("g.*.h5")), tmp_path / "g.h5")
    merged = FeatureStore(tmp_path / "g.h5")
    assert torch.equal(merged.scores_of(2), scores) and torch.equal(merged.read(2)[1], boxes)
    assert torch.equal(merged.read(2)[0], regions)
    other = [f"--output={tmp_path / 'o.h5'}", "--score_threshold=0.3", "--dtype=float32"]
    assert run(*flags, *other)[0] == 0
    with pytest.raises(ValueError, match="regions.score_threshold 0.3, not 0.2 as"):
        merge_stores([tmp_path / "f.h5", tmp_path / "o.h5"], tmp_path / "h.h5")


def test_unreadable_picture_is_named(run, photos, tmp_path):
    whole = (photos / "green.png").read_bytes()
    (photos / "green.png").write_bytes(whole[: len(whole) // 2])
    flags = ["regions", f"--data={photos}", *FLAGS, f"--output={tmp_path / 'f.h5'}"]
    code, out, err = run(*flags)
    assert code == 1 and out == "" and "1 of 3 pictures cannot be read" in err
    assert "green.png: damaged or truncated picture" in err and not (tmp_path / "f.h5").exists()
    (photos / "green.png").write_bytes(whole)
    code, out, _ = run(*flags)  # goes on
    assert code == 0 and "f.h5: 3 pictures (1 from an earlier run), 30 regions" in out


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ([], "--detector and --boxes: neither received, one expected"),
        ([*FLAGS, "--boxes=instances"], "both received, one expected"),
        (["--detector=yolo"], "detector: 'yolo' received, one of ['fasterrcnn_resnet50_fpn_v2'"),
        ([*FLAGS, "--min_regions=9", "--max_regions=8"], "min_regions: 9 received, at most max_re"),
        ([*FLAGS, "--min_regions=0"], "min_regions: 0 received, 1 to 1000 expected"),
        ([*FLAGS, "--score_threshold=1.5"], "score_threshold: 1.5 received, 0 to 1 expected"),
        ([*FLAGS, "--encoder=resnet18"], "--encoder: not with --detector, which looks by itself"),
        ([*FLAGS, "--whole_picture=false"], "--whole_picture: not with --detector"),
        ([*FLAGS, "--shard=3/2"], "shard: '3/2' received"),
        (["--boxes=all"], "boxes: 'all' received, instances expected"),
        (["--boxes=instances", "--max_regions=3"], "--max_regions: not with --boxes"),
        (["--boxes=instances"], "holds no annotations/, so there are no boxes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(run, photos, tmp_path, flags, part):
    code, out, err = run("regions", f"--data={photos}", *flags, f"--output={tmp_path / 'f.h5'}")
    assert code == 2 and out == "" and part in err and err.count("\n") == 1
    assert [*tmp_path.iterdir()] == [photos]


def test_scores_in_a_store(tmp_path):
    path, boxes = tmp_path / "f.h5", np.array([[0, 0, 1, 1]] * 2)
    rated = partial(StoreWriter, path, SIGNATURE, 4, has_scores=True, options=WriteOptions(False))
    with rated() as writer:
        for scores, message in (
            (None, "scores expected, as for the other pictures"),
            (np.ones(3), r"scores of shape \(3,\) found, \(2,\) expected"),
            (np.array([1, np.nan]), "NaN or infinite numbers in the scores"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.append(1, np.ones((2, 4)), boxes, scores=scores)
        writer.append(1, np.ones((2, 4)), boxes, scores=np.array([0.5, 0.25]))
        writer.append(2, np.ones((2, 4)), boxes, scores=np.array([0.1, 0.2]))
    scores = path.with_name("f.h5.part") / "scores.raw"
    scores.write_bytes(scores.read_bytes()[:-1])  # the disk lost something
    with rated() as writer:
        assert writer.done == {1}
        writer.append(3, np.ones((1, 4)), boxes[:1], scores=np.array([1.0]))
        writer.finish()
    store = FeatureStore(path)
    assert store.scores_of(1).tolist() == [0.5, 0.25] and store.scores_of(3).tolist() == [1]
    assert len(store.read(1)) == 2  # who does not ask for scores sees none
    with StoreWriter(tmp_path / "g.h5", SIGNATURE, 4, options=WriteOptions(False)) as plain:
        with pytest.raises(ValueError, match="no scores expected"):
            plain.append(1, np.ones((2, 4)), boxes, scores=np.ones(2))
        plain.append(1, np.ones((2, 4)), boxes)
        plain.finish()
    assert FeatureStore(tmp_path / "g.h5").scores_of(1) is None
    with pytest.raises(ValueError, match="g.h5: scores False, not True as .*f.h5"):
        merge_stores([path, tmp_path / "g.h5"], tmp_path / "h.h5")
