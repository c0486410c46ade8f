"""`features extract`, `merge` and `info`: the numbers are the encoder's, nothing is done twice."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from conftest import write_data
from PIL import Image

from captioning.config import EncoderConfig, TransformConfig
from captioning.encoders.cnn import build_encoder
from captioning.features import extract as module
from captioning.features.extract import ExtractOptions, extract, shard_path
from captioning.features.merge import merge_stores
from captioning.features.pictures import list_data, list_splits, number_files, read_sizes
from captioning.features.store import FeatureStore, check_signature, check_store, weights_hash
from captioning.features.writer import WriteOptions
from data_loader import UnreadableImageError, eval_transform, open_image, shrink

ENCODER = EncoderConfig("resnet18", "none", cut="layer1", grid=2)
TRANSFORM = TransformConfig(image_size=32)
EXACT = WriteOptions(half=False)


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_encoder(ENCODER).eval()


@pytest.fixture(scope="module")
def pictures(tiny_data):
    return list_data(tiny_data, ["train", "val"])


def look(encoder, path, transform):
    """What the encoder says of one picture file."""
    show = eval_transform(transform.image_size, transform.resize_size, transform.fit)
    with torch.inference_mode():
        return encoder(show(open_image(path))[None])


def assert_same(one, other, tolerance=0.0):
    """Two stores hold the same."""
    assert one.image_ids == other.image_ids and one.signature == other.signature
    assert one.file_names == other.file_names and one.checksums == other.checksums
    assert np.array_equal(one.sizes, other.sizes)
    for image_id in one.image_ids:
        for mine, theirs in zip(one.read(image_id), other.read(image_id), strict=True):
            assert torch.allclose(mine, theirs, rtol=tolerance, atol=tolerance)


# ---- what is looked at ----


@pytest.mark.parametrize("fit", ["crop", "stretch", "native"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_store_holds_what_the_encoder_says(encoder, pictures, tmp_path, fit, num_workers):
    transform = TransformConfig(image_size=32, fit=fit)
    options = ExtractOptions(batch_size=5, num_workers=num_workers, write=EXACT)
    result = extract(pictures, encoder, ENCODER, transform, tmp_path / "f.h5", options)
    assert result["pictures"] == 32 and result["regions"] == 32 * 4 and result["resumed"] == 0
    store = FeatureStore(tmp_path / "f.h5")
    assert store.image_ids == [p.image_id for p in pictures] and store.feature_dim == 64
    for picture in pictures[::5]:
        seen = look(encoder, picture.path, transform)
        regions, boxes = store.read(picture.image_id)
        assert torch.allclose(regions, seen.regions[0], atol=1e-5)
        assert torch.equal(boxes, seen.boxes[0])
        assert store.size_of(picture.image_id) == open_image(picture.path).size
    check_signature(store, ENCODER, transform, weights_hash(encoder))
    check_store(store, store.image_ids, 64, [p.path for p in pictures])
    store.close()


def test_half_precision_is_the_default(encoder, pictures, tmp_path):
    for name, options in (("half", ExtractOptions()), ("exact", ExtractOptions(write=EXACT))):
        extract(pictures[:4], encoder, ENCODER, TRANSFORM, tmp_path / name, options)
    half, exact = FeatureStore(tmp_path / "half"), FeatureStore(tmp_path / "exact")
    assert half.dtype == np.float16 and exact.dtype == np.float32
    assert_same(half, exact, 1e-3)


def test_bf16_is_close(encoder, pictures, tmp_path):
    for precision in ("bf16", "fp32"):
        options = ExtractOptions(precision=precision, write=EXACT)
        extract(pictures[:4], encoder, ENCODER, TRANSFORM, tmp_path / precision, options)
    stores = [FeatureStore(tmp_path / name) for name in ("bf16", "fp32")]
    exact = stores[1].read(pictures[0].image_id)[0]
    rounded = stores[0].read(pictures[0].image_id)[0]
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_native_needs_a_grid(pictures, tmp_path):
    config = EncoderConfig("resnet18", "none", cut="layer1")
    with pytest.raises(ValueError, match="grid: 0 received, 1 or more expected with fit native"):
        extract(
            pictures, build_encoder(config), config, TransformConfig(fit="native"), tmp_path / "f"
        )


def test_large_pictures_are_shrunk_and_keep_their_size_in_the_store(encoder, tmp_path):
    assert shrink(Image.new("RGB", (50, 100)), 40).size == (20, 40)
    assert shrink(Image.new("RGB", (3, 500)), 40).size == (1, 40)
    assert shrink(small := Image.new("RGB", (40, 10)), 40) is small
    Image.effect_noise((200, 100), 90).save(tmp_path / "large.png")
    shown = []
    hook = encoder.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].shape))
    files = number_files(tmp_path, [tmp_path / "large.png"])
    native = TransformConfig(fit="native")
    extract(files, encoder, ENCODER, native, tmp_path / "f.h5", ExtractOptions(max_side=50))
    hook.remove()
    assert shown[-1] == (1, 3, 25, 50)
    assert FeatureStore(tmp_path / "f.h5").size_of(1) == (200, 100)


# ---- which pictures ----


def test_splits_and_sizes(tiny_data, own_data):
    assert list_splits(tiny_data) == ["test", "train", "val"]
    assert len(list_data(tiny_data, list_splits(tiny_data))) == 40
    assert len(read_sizes(tiny_data, ["val"])) == 8
    annotations = own_data / "annotations"
    record = json.loads((annotations / "captions_val.json").read_text())
    (annotations / "images_more.json").write_text(json.dumps({"images": record["images"][:3]}))
    assert len(list_data(own_data, ["val", "more"])) == 8  # the same pictures once
    record["images"][1]["file_name"] = "other.png"
    (annotations / "images_more.json").write_text(json.dumps({"images": record["images"][:3]}))
    with pytest.raises(FileNotFoundError, match="no captions_SPLIT.json or images_SPLIT.json"):
        list_splits(own_data / "images")
    with pytest.raises(ValueError, match="picture 501 is val_001.png in split val and other.png"):
        list_data(own_data, ["val", "more"])


# ---- stopped, broken pictures, shards ----


class Stopping(torch.nn.Module):
    """An encoder with a Ctrl-C after some batches."""

    def __init__(self, encoder, number):
        super().__init__()
        self.encoder, self.left = encoder, number

    def forward(self, images):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.encoder(images)

    def state_dict(self):
        return self.encoder.state_dict()


def test_stopped_run_goes_on(encoder, pictures, tmp_path):
    options = ExtractOptions(batch_size=4, write=EXACT)
    extract(pictures, encoder, ENCODER, TRANSFORM, tmp_path / "whole.h5", options)
    arguments = ENCODER, TRANSFORM, tmp_path / "f.h5", options
    with pytest.raises(KeyboardInterrupt, match="12 of 32 pictures are kept in .*f.h5.part"):
        extract(pictures, Stopping(encoder, 4), *arguments)  # one look tells the sizes
    assert not (tmp_path / "f.h5").exists()
    rest = Stopping(encoder, 6)  # the sizes again, and 20 pictures
    assert extract(pictures, rest, *arguments)["resumed"] == 12 and rest.left == 0
    assert_same(FeatureStore(tmp_path / "f.h5"), FeatureStore(tmp_path / "whole.h5"))


def test_part_of_other_weights_or_pictures_is_refused(encoder, pictures, tmp_path):
    arguments = ENCODER, TRANSFORM, tmp_path / "f.h5", ExtractOptions(batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        extract(pictures, Stopping(encoder, 3), *arguments)
    with pytest.raises(FileExistsError, match="begun with signature.weights_hash"):
        extract(pictures, build_encoder(ENCODER), *arguments)
    with pytest.raises(FileExistsError, match="begun with plan.pictures"):
        extract(pictures[1:], encoder, *arguments)


def test_unreadable_pictures_are_named_and_remembered(encoder, tmp_path):
    data = write_data(tmp_path / "data", train=110, val=1, test=1)
    pictures = list_data(data, ["train"])
    pictures[7].path.write_bytes(b"")
    result = extract(pictures, encoder, ENCODER, TRANSFORM, tmp_path / "f.h5")
    assert result["pictures"] == 109 and "train_007.png: not a pict" in result["unreadable"][0]
    store = FeatureStore(tmp_path / "f.h5")
    assert list(store.unreadable) == [107] and 107 not in store
    check_store(store, [p.image_id for p in pictures], 64, [p.path for p in pictures])
    pictures[9].path.unlink()
    with pytest.raises(UnreadableImageError, match="2 of 110 pictures cannot be read, at most 1%"):
        extract(pictures, encoder, ENCODER, TRANSFORM, tmp_path / "g.h5")
    assert not (tmp_path / "g.h5").exists()


def test_shards_are_the_whole(encoder, pictures, tmp_path):
    whole, output = tmp_path / "whole.h5", tmp_path / "f.h5"
    extract(pictures, encoder, ENCODER, TRANSFORM, whole, ExtractOptions(write=EXACT))
    for number in (1, 2, 3):
        options = ExtractOptions(shard=(number, 3), batch_size=7, write=EXACT)
        extract(pictures, encoder, ENCODER, TRANSFORM, output, options)
    parts = [shard_path(output, (number, 3)) for number in (3, 1, 2)]
    assert parts[0].name == "f.3-of-3.h5"
    assert merge_stores(parts, output)["pictures"] == 32
    assert_same(FeatureStore(output), FeatureStore(whole), 1e-5)
    with pytest.raises(ValueError, match="shard 1, 2 of 3 is missing"):
        merge_stores(parts[:1], tmp_path / "g.h5")
    with pytest.raises(ValueError, match="shard 3, as is .*f.3-of-3.h5"):
        merge_stores([parts[0], *parts], tmp_path / "g.h5")
    with pytest.raises(ValueError, match="f.3-of-3.h5: one of the stores to merge"):
        merge_stores(parts, parts[0])
    other = extract(
        pictures[:30], encoder, ENCODER, TRANSFORM, tmp_path / "o.h5", ExtractOptions(shard=(1, 3))
    )
    with pytest.raises(ValueError, match="o.1-of-3.h5: shard 1 of 3 of other pictures than"):
        merge_stores([parts[0], other["output"], parts[2]], tmp_path / "g.h5")
    with pytest.raises(ValueError, match="shard: 33 parts received, but there are 32 pictures"):
        extract(pictures, encoder, ENCODER, TRANSFORM, output, ExtractOptions(shard=(1, 33)))


def test_stores_of_splits_are_merged_when_they_fit(encoder, pictures, tmp_path):
    train, val = tmp_path / "train.h5", tmp_path / "val.h5"
    extract(pictures[:24], encoder, ENCODER, TRANSFORM, train)
    extract(pictures[24:], encoder, ENCODER, TRANSFORM, val)
    assert merge_stores([train, val], tmp_path / "both.h5")["pictures"] == 32
    with pytest.raises(ValueError, match="picture 100 is in .*train.h5 as well"):
        merge_stores([train, tmp_path / "both.h5"], tmp_path / "g.h5")
    grey = TransformConfig(image_size=32, fit="stretch")
    extract(pictures[24:], encoder, ENCODER, grey, tmp_path / "other.h5")
    with pytest.raises(ValueError, match="other.h5: transform.fit 'stretch', not 'crop' as "):
        merge_stores([train, tmp_path / "other.h5"], tmp_path / "g.h5")
    assert not (tmp_path / "g.h5").exists()


def test_too_little_room(encoder, pictures, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "check_disk", lambda path, number: asked.append(number))
    extract(pictures, encoder, ENCODER, TRANSFORM, tmp_path / "f.h5")
    assert asked == [32 * 4 * (64 * 2 + 16)]


# ---- the command ----


@pytest.fixture
def run(run_cli):
    """Run `features ...`: exit code, stdout, stderr."""
    return partial(run_cli, "features")


SMALL = ["--encoder=resnet18", "--weights=none", "--cut=layer1", "--image_size=32"]


def test_extract_and_info(run, tiny_data, tmp_path):
    output = tmp_path / "f.h5"
    arguments = ["extract", f"--data={tiny_data}", *SMALL, f"--output={output}"]
    code, out, err = run(*arguments, "--splits=val", "--grid=3", "--json")
    result = json.loads(out)
    assert code == 0 and result["pictures"] == 8 and result["regions"] == 72
    assert "pictures/s" in err and f"{output}: about " in err and " kB will be written" in err
    code, out, err = run(*arguments)
    assert code == 1 and out == "" and "exists already; --overwrite replaces it" in err
    assert run(*arguments, "--overwrite")[0] == 0
    code, out, _ = run("info", output, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["pictures"] == 40 and facts["sizes"] == 40
    assert facts["signature"]["encoder"]["cut"] == "layer1"
    code, out, _ = run("info", output)
    assert code == 0 and "pictures " in out and '"fit": "crop"' in out
    native = ["--fit=native", "--grid=2", "--overwrite"]
    code, _, err = run(*arguments, *native)
    assert code == 2 and "--image_size: not with fit 'native'" in err
    code, _, err = run(*arguments[:-2], arguments[-1], *native, "--resize_size=40")
    assert code == 2 and "--resize_size: not with fit 'native'" in err
    assert FeatureStore(output).signature == facts["signature"]


def test_extract_with_the_encoder_of_a_bundle(
    run, tiny_bundle, tiny_captioner, tiny_data, tmp_path
):
    output = tmp_path / "f.h5"
    arguments = ["extract", f"--data={tiny_data}", f"--model={tiny_bundle}", f"--output={output}"]
    assert run(*arguments, "--device=cpu")[0] == 0
    store, settings = FeatureStore(output), tiny_captioner.experiment
    check_signature(
        store, settings.encoder, settings.transform, weights_hash(tiny_captioner.encoder)
    )
    code, _, err = run(*arguments, "--grid=3", "--overwrite")
    assert code == 2 and "--grid: not with --model, whose settings are known" in err


def test_extract_from_a_plain_folder(run, tiny_data, tmp_path):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("b.png", "more/a.png"):
        Image.new("RGB", (40, 30), "red").save(tmp_path / "photos" / name)
    output = tmp_path / "f.h5"
    arguments = ["extract", f"--data={tmp_path / 'photos'}", *SMALL, f"--output={output}"]
    assert run(*arguments)[0] == 0
    store = FeatureStore(output)
    assert store.image_ids == [1, 2] and store.file_names == ["b.png", "more/a.png"]
    code, _, err = run(*arguments, "--splits=val", "--overwrite")
    assert code == 2 and "holds no annotations/" in err


def test_merge_from_the_command_line(run, tiny_data, tmp_path):
    output = tmp_path / "f.h5"
    arguments = ["extract", f"--data={tiny_data}", *SMALL, f"--output={output}"]
    assert run(*arguments, "--shard=2/2")[0] == 0
    code, _, err = run("merge", tmp_path / "f.2-of-2.h5", "--output", output)
    assert code == 1 and "shard 1 of 2 is missing" in err
    assert run(*arguments, "--shard=1/2")[0] == 0
    code, out, _ = run("merge", *sorted(tmp_path.glob("f.*.h5")), "--output", output)
    assert code == 0 and "f.h5: 40 pictures" in out
    check_store(FeatureStore(output), [p.image_id for p in list_data(tiny_data, ["train"])])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "kind"),
        (["extract"], "output"),
        (["extract", "--output=f.h5"], "--model and --encoder: neither received, one expected"),
        (["extract", "--output=f.h5", "--model=a", "--encoder=b"], "both received, one expected"),
        (["extract", "--output=f.h5", "--encoder=resnet7"], "backbone: 'resnet7' received, one of"),
        (["extract", "--output=f.h5", "--encoder=features"], "'features' received, a network"),
        (["extract", "--output=f.h5", *SMALL, "--fit=big"], "fit: 'big' received"),
        (["extract", "--output=f.h5", *SMALL, "--shard=0/2"], "shard: '0/2' received, i/n with i"),
        (["extract", "--output=f.h5", *SMALL, "--shard=two"], "shard: 'two' received"),
        (["extract", "--output=f.h5", *SMALL, "--batch_size=0"], "batch_size: 0 received, 1 or"),
        (["extract", "--output=f.h5", *SMALL, "--precision=fp8"], "precision: 'fp8' received"),
        (["extract", "--output=f.h5", *SMALL, "--dtype=int8"], "dtype: 'int8' received"),
        (["extract", "--output=f.h5", "--model=m", "--fit=crop"], "--fit: not with --model"),
        (["import", "--output=f.h5"], "--att or --fc, and --tsv: neither received"),
        (["import", "--output=f.h5", "--fc=a", "--tsv=b"], "both received, one of the two"),
        (["import", "--output=f.h5", "--box=a"], "--box: boxes are those of --att"),
        (["merge", "--output=f.h5"], "stores"),
        (["info"], "store"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_exit_code_2(run, tiny_data, monkeypatch, tmp_path, arguments, part):
    monkeypatch.chdir(tmp_path)
    data = [f"--data={tiny_data}"] if "extract" in arguments else []
    code, out, err = run(*arguments, *data)
    assert code == 2 and out == "" and part in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
