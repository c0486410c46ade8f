"""`features regions --boxes instances`: what a CNN sees inside the boxes of an annotation file."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import draw, write_data

from captioning.boxes import mirror_boxes
from captioning.config import (
    DecoderConfig,
    EncoderConfig,
    Experiment,
    TransformConfig,
    TransformerConfig,
)
from captioning.encoders.cnn import build_encoder
from captioning.encoders.precomputed import Precomputed
from captioning.features.checked import check_for
from captioning.features.extract import ExtractOptions, extract_with
from captioning.features.pictures import list_data
from captioning.features.region_boxes import pool_regions, read_instances
from captioning.features.regions import box_looker
from captioning.features.signature import imported_signature
from captioning.features.store import FeatureStore
from captioning.features.writer import StoreWriter, WriteOptions
from data_loader import eval_transform, open_image

WHOLE = [0.0, 0.0, 1.0, 1.0]
ENCODER = EncoderConfig("resnet18", "none", cut="layer1")  # a cell is 4 pixels
STRETCH = TransformConfig(image_size=32, fit="stretch")
NATIVE = TransformConfig(fit="native")
EXACT = ExtractOptions(batch_size=3, write=WriteOptions(half=False))


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_encoder(ENCODER).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


# ---- pooling ----


@torch.inference_mode()
def test_a_region_is_the_mean_of_what_its_box_covers(encoder, images):
    grid = encoder.body(images)  # (2, 64, 8, 16)
    boxes = [torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 1.0, 0.125]]), torch.zeros(0, 4)]
    seen = pool_regions(encoder, images, boxes)
    assert seen.regions.shape == (2, 3, 64)
    assert seen.region_mask.tolist() == [[True] * 3, [True, False, False]]
    assert torch.allclose(seen.regions[0, 0], grid[0, :, 4:, 4:8].mean((1, 2)), atol=1e-5)
    assert torch.allclose(seen.regions[0, 1], grid[0, :, 0].mean(1), atol=1e-5)
    for row, place in ((0, 2), (1, 0)):  # the whole picture comes last
        assert torch.allclose(seen.regions[row, place], grid[row].mean((1, 2)), atol=1e-5)
        assert seen.boxes[row, place].tolist() == WHOLE
    alone = pool_regions(encoder, images[:1], boxes[:1], whole_picture=False)
    assert alone.region_mask is None and torch.equal(alone.boxes[0], boxes[0])
    assert torch.allclose(alone.regions[0], seen.regions[0, :2], atol=1e-5)


@torch.inference_mode()
def test_mirrored_maps_in_mirrored_boxes_say_the_same(encoder, images):
    mirror = SimpleNamespace(body=lambda images: encoder.body(images).flip(3))
    boxes = [torch.tensor([[0.1, 0.2, 0.33, 0.9], [0.8, 0.05, 0.81, 0.06]]) for _ in images]
    plain = pool_regions(encoder, images, boxes)
    mirrored = pool_regions(mirror, images, [mirror_boxes(one) for one in boxes])
    assert torch.allclose(plain.regions, mirrored.regions, atol=1e-5)
    assert plain.regions[:, 0].std() > 0.01  # the boxes see different things
    assert not torch.allclose(plain.regions[:, 0], plain.regions[:, 2], atol=1e-2)


def test_boxes_that_are_missing(encoder, images):
    with pytest.raises(ValueError, match="boxes: of 1 pictures received, 2 expected"):
        pool_regions(encoder, images, [torch.zeros(0, 4)])
    some = [torch.tensor([WHOLE]), torch.zeros(0, 4)]
    with pytest.raises(ValueError, match="boxes: none for picture 1, 1 or more expected"):
        pool_regions(encoder, images, some, whole_picture=False)


# ---- instances files ----


def instance(image_id, box, **more):
    return {"image_id": image_id, "category_id": 1, "bbox": box, "iscrowd": 0, **more}


@pytest.fixture
def data(tmp_path):
    """Six pictures; the things of the first two, in `instances_val.json`."""
    folder = write_data(tmp_path / "data", train=1, val=6, test=1)
    write_instances(
        folder,
        [
            instance(501, [0, 0, 10, 20]),
            instance(500, [5, 5, 2, 8]),
            instance(500, [1, 1, 30, 30], iscrowd=1),
            instance(500, [7, 7, 0, 9]),  # without area
            instance(500, [-20, 0, 10, 10]),  # outside
            instance(500, [-4, -4, 1000, 1000]),
        ],
    )
    return folder


def write_instances(folder, annotations, **changes):
    record = json.loads((folder / "annotations" / "captions_val.json").read_text())
    numbered = [one | {"id": number} for number, one in enumerate(annotations)]
    images = [image | changes for image in record["images"]]
    record = {"images": images, "annotations": numbered}
    record["categories"] = [{"id": 1, "name": "ball"}]
    path = folder / "annotations" / "instances_val.json"
    path.write_text(json.dumps(record), "utf-8")


def test_boxes_of_an_instances_file(data):
    given = read_instances(data, ["val"])
    width, height = given.sizes[500]
    assert (width, height) == open_image(data / "images" / "val_000.png").size
    expected = [[5 / width, 5 / height, 7 / width, 13 / height], WHOLE]  # in the file's order
    assert torch.allclose(given.boxes[500], torch.tensor(expected))
    assert given.boxes[505].shape == (0, 4) and given.left_out == 2


@pytest.mark.parametrize(
    ("annotations", "changes", "message"),
    [
        ([instance(500, [1, 2, 3])], {}, r"annotation 0: bbox \[1, 2, 3\] found, left, top, width"),
        ([instance(500, None)], {}, "annotation 0: bbox None found"),
        ([instance(500, [0, 0, float("nan"), 1])], {}, r"annotation 0: bbox \[0, 0, nan, 1\]"),
        ([], {"width": None}, r"image 500: width and height \(None, \d+\) found, pixels expected"),
        ([], {"height": 0}, "image 500: width and height"),
    ],
)
def test_odd_instances_files(data, annotations, changes, message):
    write_instances(data, annotations, **changes)
    with pytest.raises(ValueError, match=f"instances_val.json: {message}"):
        read_instances(data, ["val"])
    with pytest.raises(
        FileNotFoundError, match="instances_train.json: no such file, so split 'train'"
    ):
        read_instances(data, ["train"])


# ---- the store ----


@pytest.mark.parametrize("transform", [STRETCH, NATIVE], ids=["stretch", "native"])
def test_store_of_boxes(encoder, data, tmp_path, transform):
    pictures, given = list_data(data, ["val"]), read_instances(data, ["val"])
    looker = box_looker(encoder, ENCODER, transform, pictures, given, EXACT)
    extract_with(looker, pictures, tmp_path / "f.h5", EXACT)
    store = FeatureStore(tmp_path / "f.h5")
    assert [store.num_regions(i) for i in store.image_ids] == [3, 2, 1, 1, 1, 1]
    show = eval_transform(transform.image_size, 0, transform.fit)
    for picture in pictures[:3]:
        image = show(open_image(picture.path))[None]
        with torch.inference_mode():
            seen = pool_regions(encoder, image, [given.boxes[picture.image_id]])
        regions, boxes = store.read(picture.image_id)
        assert torch.allclose(regions, seen.regions[0], atol=1e-5)
        assert torch.equal(boxes, seen.boxes[0]) and boxes[-1].tolist() == WHOLE
    assert store.signature["regions"] == {"boxes": "instances", "whole_picture": True}
    assert store.describe()["scores"] is False


def test_pictures_and_boxes_that_do_not_go_together(encoder, data, tmp_path):
    pictures, given = list_data(data, ["val"]), read_instances(data, ["val"])
    look_at = partial(box_looker, encoder, ENCODER)
    with pytest.raises(ValueError, match="fit: 'crop' received, stretch or native expected"):
        look_at(TransformConfig(), pictures, given, EXACT)
    with pytest.raises(ValueError, match="val_002.png: no box, as for 4 of 6 pictures; --whole_p"):
        look_at(STRETCH, pictures, given, EXACT, whole_picture=False)
    with pytest.raises(ValueError, match="none of the 1 pictures is in the instances files"):
        look_at(STRETCH, list_data(data, ["train"]), given, EXACT)
    looker = look_at(STRETCH, pictures[:2], given, EXACT, whole_picture=False)
    assert looker.num_regions == (1.5, 1.5) and looker.num_bytes(2, False) == (816, 816)
    width, height = given.sizes[501]
    draw("red", "ball", "left", height + 5, width).save(pictures[1].path)  # lies on its side
    with pytest.raises(ValueError, match=f"val_001.png: {height + 5} x {width} pixels found, but"):
        extract_with(looker, pictures[:2], tmp_path / "g.h5", EXACT)
    draw("red", "ball", "left", 3 * width, 3 * height).save(pictures[1].path)  # only larger
    assert extract_with(looker, pictures[:2], tmp_path / "g.h5", EXACT)["regions"] == 3


def test_a_stopped_run_goes_on_with_the_same_boxes_only(encoder, data, tmp_path):
    pictures, given = list_data(data, ["val"]), read_instances(data, ["val"])
    looker = box_looker(encoder, ENCODER, NATIVE, pictures, given, EXACT)

    def look(batch):
        if batch[0].picture == pictures[4]:
            raise KeyboardInterrupt
        return looker.look(batch)

    with pytest.raises(KeyboardInterrupt, match="4 of 6 pictures are kept"):
        extract_with(replace(looker, look=look), pictures, tmp_path / "f.h5", EXACT)
    moved = given._replace(boxes=given.boxes | {505: torch.tensor([[0.0, 0.0, 0.5, 0.5]])})
    other = box_looker(encoder, ENCODER, NATIVE, pictures, moved, EXACT)
    with pytest.raises(FileExistsError, match="an unfinished store, begun with plan.boxes"):
        extract_with(other, pictures, tmp_path / "f.h5", EXACT)
    assert extract_with(looker, pictures, tmp_path / "f.h5", EXACT)["resumed"] == 4


def test_command(run_cli, data, tmp_path):
    flags = ["features", "regions", f"--data={data}", "--boxes=instances", "--splits=val"]
    eyes = ["--encoder=resnet18", "--weights=none", "--cut=layer1"]
    code, out, err = run_cli(*flags, *eyes, f"--output={tmp_path / 'f.h5'}", "--json")
    result = json.loads(out)
    assert code == 0 and (result["pictures"], result["regions"]) == (6, 9)
    assert result["boxes_left_out"] == 2 and result["pictures_without_boxes"] == 4
    assert "note: 2 boxes without area are left out" in err
    assert "note: 4 of 6 pictures have no box; they are one region each" in err
    assert FeatureStore(tmp_path / "f.h5").signature["transform"]["fit"] == "native"
    code, _, err = run_cli(*flags, *eyes, "--fit=crop", f"--output={tmp_path / 'g.h5'}")
    assert code == 1 and "fit: 'crop' received" in err and err.count("\n") == 1
    code, _, err = run_cli(*flags, f"--output={tmp_path / 'g.h5'}")
    assert code == 2 and "--model and --encoder: neither received, one expected" in err
    for size, fit in (("image_size", "native"), ("max_side", "stretch")):  # would change nothing
        typed = [*flags, *eyes, f"--{size}=64", f"--output={tmp_path / 'g.h5'}"]
        code, _, err = run_cli(*typed, *([] if fit == "native" else [f"--fit={fit}"]))
        assert code == 2 and f"--{size}: not with fit '{fit}', where it changes nothing" in err
    assert not (tmp_path / "g.h5").exists()


# ---- who may learn from it ----


def spatial(**settings):
    decoder = DecoderConfig(kind="transformer", transformer=TransformerConfig(**settings))
    return Experiment(encoder=EncoderConfig("features", feature_dim=4), decoder=decoder)


def write_store(path, signature, boxes=None):
    with StoreWriter(path, signature, 4, boxes is not None) as writer:
        writer.append(1, torch.ones(1, 4).numpy(), boxes)
        writer.finish()
    return FeatureStore(path)


def test_a_decoder_that_needs_boxes_refuses_a_store_without(tmp_path):
    signature, box = imported_signature("ours"), torch.tensor([WHOLE]).numpy()
    bare = write_store(tmp_path / "bare.h5", signature)
    boxed = write_store(tmp_path / "boxed.h5", signature, box)
    check = partial(check_for, encoder=Precomputed(4), learned_from=None, image_ids=[1], files=[])
    for settings, message in (
        ({"position": "gxg"}, "bare.h5: a store without boxes, which decoder.transformer.position"),
        ({"relations": True}, "which decoder.transformer.relations true needs; one of `features r"),
    ):
        with pytest.raises(ValueError, match=message):
            check(bare, spatial(**settings))
        check(boxed, spatial(**settings))
    check(bare, spatial())
    other = spatial(position="gxg")
    check(bare, replace(other, decoder=replace(other.decoder, kind="updown")))


def test_a_captioner_that_looks_itself_refuses_regions_of_boxes(tmp_path, encoder):
    signature = imported_signature("ours") | {"regions": {"boxes": "instances"}}
    store = write_store(tmp_path / "f.h5", signature)
    experiment = Experiment(encoder=ENCODER, transform=STRETCH)
    with pytest.raises(ValueError, match="f.h5: regions of boxes, which encoder.backbone 'resnet1"):
        check_for(store, experiment, encoder, None, [1], [])
