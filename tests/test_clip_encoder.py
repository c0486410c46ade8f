"""CLIP as the eyes of a captioner: the numbers are open_clip's own, at any picture size."""

from __future__ import annotations

import numpy as np
import open_clip
import pytest
import torch
from clip_cases import (
    RESNET,
    VIT,
    add_tag,
    no_connections,
    pictures,
    shake,
    tiny_models,
    write_small,
)
from conftest import quiet, small_experiment
from open_clip.transformer import QuickGELU
from PIL import Image
from torch import nn

from captioning.bundle import Captioner, transforms_of
from captioning.clip.loading import load_clip
from captioning.config import EncoderConfig, TransformConfig
from captioning.encoders.clip import EncoderCLIP, kind_of, places_for
from captioning.encoders.cnn import build_encoder
from captioning.features.pictures import list_data
from captioning.features.signature import make_signature
from captioning.features.store import FeatureStore, check_signature, weights_hash
from data_loader import IMAGENET_MEAN, IMAGENET_STD, eval_transform, open_image, train_transform
from model import grid_boxes


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with tiny_models(tmp_path_factory.mktemp("models")) as files:
        yield files


def eyes(model: str, weights: object = "none", **more: object) -> EncoderConfig:
    return EncoderConfig(backbone="clip", clip_model=str(model), weights=str(weights), **more)


@pytest.fixture(params=["vit", "resnet", "small"])
def config(request, models, tmp_path, tiny_vocabulary):
    """Of each kind of encoder, with weights from a file."""
    if request.param == "small":
        return eyes(write_small(tmp_path / "small", tiny_vocabulary), "imagenet")
    name = {"vit": VIT, "resnet": RESNET}[request.param]
    return eyes(name, models[name])


def for_clip(images: torch.Tensor) -> torch.Tensor:
    """Pictures that were normalised for ImageNet, as CLIP wants them."""
    pixels = images * torch.tensor(IMAGENET_STD).view(3, 1, 1)
    pixels = pixels + torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
    own = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in own)
    return (pixels - mean) / std


def grids_of_open_clip(visual: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last stage as open_clip gives it, (B, P, F)."""
    found = visual.forward_intermediates(
        for_clip(images), indices=1, normalize_intermediates=True, intermediates_only=True
    )
    return found["image_intermediates"][-1].flatten(2).transpose(1, 2)


# ---- regions ----


@pytest.fixture(scope="module")
def rn50():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = build_encoder(eyes("RN50")).eval()
    shake(encoder.body, 0)
    return encoder


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(448, 448), (448, 320)])
def test_rn50_grid(rn50, height, width):
    images = pictures(1, height, width)
    features = rn50(images)
    assert rn50.feature_dim == 2048 and features.region_mask is None
    rows, columns = height // 32, width // 32
    assert features.regions.shape == (1, rows * columns, 2048)
    assert torch.equal(features.boxes, grid_boxes(rows, columns)[None])
    expected = grids_of_open_clip(rn50.body, images)
    assert 0.05 < expected.std() < 50
    assert torch.allclose(features.regions, expected, atol=1e-4)


@torch.inference_mode()
def test_picture_files_reach_clip_as_its_own_transform_shows_them(models):
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    encoder = build_encoder(eyes(VIT, models[VIT])).eval()
    own = open_clip.create_model_and_transforms(VIT, str(models[VIT]))
    shown = eval_transform(32, 32, "crop", "bicubic")(image)[None]
    expected = own[0].visual.forward_intermediates(own[2](image)[None], indices=1)
    expected = expected["image_intermediates"][-1].flatten(2).transpose(1, 2)
    found = own[0].visual.ln_post(expected)
    assert torch.allclose(encoder(shown).regions, found, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", [VIT, RESNET])
def test_tiny_models_at_their_own_size(models, name):
    encoder, images = build_encoder(eyes(name, models[name])).eval(), pictures(3)
    features = encoder(images)
    assert encoder.feature_dim == features.regions.shape[2] == {VIT: 32, RESNET: 256}[name]
    assert torch.allclose(features.regions, grids_of_open_clip(encoder.body, images), atol=1e-4)
    assert not torch.allclose(features.regions[0], features.regions[1], atol=1e-3)
    for row in range(3):  # neighbours change nothing
        alone = encoder(images[row : row + 1])
        assert torch.allclose(alone.regions[0], features.regions[row], atol=1e-5)


@torch.inference_mode()
def test_vit_at_other_sizes(models):
    encoder = build_encoder(eyes(VIT, models[VIT])).eval()
    for height, width in ((48, 24), (64, 64), (39, 47)):  # what fills no patch is cut off
        features = encoder(pictures(2, height, width))
        rows, columns = height // 8, width // 8
        assert features.regions.shape == (2, rows * columns, 32)
        assert torch.equal(features.boxes[0], grid_boxes(rows, columns))
    cut = encoder(pictures(2, 39, 47)[:, :, :32, :40]).regions
    assert torch.allclose(cut, encoder(pictures(2, 39, 47)).regions, atol=1e-5)


def test_places_are_interpolated_as_open_clip_does():
    learned = torch.randn(1 + 16, 5, generator=torch.Generator().manual_seed(0))
    assert places_for(learned, (4, 4)) is learned
    visual = nn.Module()
    visual.grid_size = (6, 6)
    network = nn.Module()
    network.visual = visual
    state = {"visual.positional_embedding": learned}
    visual.positional_embedding = nn.Parameter(torch.zeros(37, 5))
    open_clip.model.resize_pos_embed(state, network)
    assert torch.allclose(
        places_for(learned, (6, 6)), state["visual.positional_embedding"], atol=1e-6
    )
    wide = places_for(learned, (2, 6))
    assert wide.shape == (13, 5) and torch.equal(wide[0], learned[0])
    ramp = torch.arange(4.0).repeat_interleave(4)[:, None]  # grows from row to row
    rows = places_for(torch.cat([torch.zeros(1, 1), ramp]), (8, 3))[1:].view(8, 3)
    assert (rows.diff(dim=0) > 0).all() and torch.allclose(rows[:, :1], rows, atol=1e-5)


@torch.inference_mode()
def test_grid_pools(models, config):
    plain, pooled = build_encoder(config).eval(), build_encoder(config).eval()
    pooled.grid = 2
    images = pictures(2, 64, 64) if config.clip_model in (VIT, RESNET) else pictures(2)
    grid = plain(images).regions
    side = round(grid.shape[1] ** 0.5)
    quarters = grid.view(2, 2, side // 2, 2, side // 2, -1).mean((2, 4)).flatten(1, 2)
    found = pooled(images)
    assert torch.allclose(found.regions, quarters, atol=1e-5)
    assert torch.equal(found.boxes[1], grid_boxes(2, 2))
    config.grid = 2
    assert torch.equal(build_encoder(config).eval()(images).regions, found.regions)


@torch.inference_mode()
def test_small_clip_shows_the_grid_of_its_cnn(tmp_path, tiny_vocabulary):
    folder = str(write_small(tmp_path / "small", tiny_vocabulary))
    encoder, visual = build_encoder(eyes(folder)).eval(), load_clip(folder).network.visual
    assert encoder.feature_dim == 64
    for height, width in ((32, 32), (48, 24)):
        images = pictures(2, height, width)
        features, expected = encoder(images), visual.encoder(images)  # normalised as for ImageNet
        assert features.regions.shape == (2, height * width // 16, 64)
        assert torch.allclose(features.regions, expected.regions, atol=1e-5)
        assert torch.equal(features.boxes[0], grid_boxes(height // 4, width // 4))


# ---- what is trained, and what is refused ----


def test_frozen_and_thawed(config):
    frozen = build_encoder(config).train()
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert not frozen(pictures(2)).regions.requires_grad
    config.trainable = "all"
    thawed = build_encoder(config).train()
    assert thawed.training and not any(layer.training for layer in thawed.body.modules())
    norms = [m for m in thawed.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    regions = thawed(pictures(2)).regions
    assert torch.allclose(regions, frozen(pictures(2)).regions, atol=1e-4)
    regions.square().sum().backward()
    first = next(m for m in thawed.body.modules() if isinstance(m, nn.Conv2d))
    assert first.weight.grad.abs().max() > 0
    assert all(torch.equal(n.running_mean, b) for n, b in zip(norms, before, strict=True))
    thawed.set_trainable("none")
    assert not any(weight.requires_grad for weight in thawed.parameters())
    with pytest.raises(ValueError, match="trainable: 'layer4' received, one of .'none', 'all'."):
        thawed.set_trainable("layer4")


@pytest.mark.parametrize("weights", ["none", "imagenet", "openai"])
@pytest.mark.parametrize("model", ["RN5000", ""])
def test_unknown_models(model, weights):
    with pytest.raises(ValueError, match=f"encoder.clip_model: '{model}' received, a folder of"):
        build_encoder(eyes(model, weights))


def test_unknown_weights(models, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with no_connections(monkeypatch):
        with pytest.raises(ValueError, match="no file 'imagenet', and RN50 has no such tag"):
            build_encoder(EncoderConfig(backbone="clip", clip_model="RN50"))
        with pytest.raises(FileNotFoundError, match="features clip-weights RN50:openai` downloads"):
            build_encoder(eyes("RN50", "openai"))
        with pytest.raises(ValueError, match="no weights of Tiny-ViT"):
            build_encoder(eyes(VIT, models[RESNET]))


def test_other_picture_encoders_are_refused():
    with pytest.raises(ValueError, match="clip_model: a picture encoder Linear received, CLIP's"):
        kind_of(nn.Linear(1, 1))
    attentive = open_clip.transformer.VisionTransformer(
        16, 8, 16, 1, 2, 4.0, attentional_pool=True, output_dim=8
    )
    with pytest.raises(ValueError, match="a picture encoder VisionTransformer received"):
        EncoderCLIP(attentive, IMAGENET_MEAN, IMAGENET_STD)


# ---- a captioner ----


@pytest.mark.parametrize("trainable", ["none", "all"])
def test_captioner_learns_end_to_end(tiny_data, tmp_path, config, trainable):
    experiment = small_experiment(tiny_data, tmp_path / "model", num_epochs=1)
    config.trainable, experiment.encoder = trainable, config
    before = build_encoder(config)
    captioner = quiet(experiment)
    captioner.train(False)
    start, end = before.state_dict(), captioner.encoder.state_dict()
    changed = [name for name in start if not torch.equal(start[name], end[name])]
    assert bool(changed) == (trainable == "all")
    assert not any("running" in name for name in changed)
    captioner.save(tmp_path / "bundle")
    loaded = Captioner.load(tmp_path / "bundle", "cpu")
    images = pictures(2)
    with torch.inference_mode():
        assert torch.equal(loaded.encoder(images).regions, captioner.encoder(images).regions)
    files = sorted((tiny_data / "images").glob("val*"))[:3]
    said = loaded.caption(files, beam_size=2)
    assert said == captioner.caption(files, beam_size=2) and len(said) == 3


def test_a_bundle_sees_as_the_weights_of_its_tag_did(
    models, tiny_data, tiny_vocabulary, tmp_path, monkeypatch
):
    """The tag says which GELU and which mean belong to the weights, which come from the bundle."""
    monkeypatch.setenv("HOME", str(tmp_path))
    add_tag(monkeypatch, url="http://127.0.0.1:9/tiny.pt", quick_gelu=True)
    kept = tmp_path / ".cache" / "clip" / "tiny.pt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(models[VIT].read_bytes())
    experiment = small_experiment(tiny_data, tmp_path / "model")
    experiment.encoder = eyes(VIT, "mine")
    captioner = Captioner.build(experiment, tiny_vocabulary).train(False)
    assert any(isinstance(layer, QuickGELU) for layer in captioner.encoder.modules())
    captioner.save(tmp_path / "bundle")
    kept.unlink()
    with no_connections(monkeypatch):
        loaded = Captioner.load(tmp_path / "bundle", "cpu")
    with torch.inference_mode():
        expected = captioner.encoder(pictures(2)).regions
        assert torch.equal(loaded.encoder(pictures(2)).regions, expected)
        plain = build_encoder(eyes(VIT, models[VIT])).eval()  # the same weights, built plainly
        assert not torch.allclose(plain(pictures(2)).regions, expected, atol=1e-3)


def test_regions_through_a_store(run_cli, config, tiny_data, tmp_path):
    output = tmp_path / "f.h5"
    flags = ["--encoder=clip", f"--clip_model={config.clip_model}", f"--weights={config.weights}"]
    flags += ["--image_size=32", "--interpolation=bicubic", "--device=cpu", f"--output={output}"]
    code, out, err = run_cli("features", "extract", f"--data={tiny_data}", *flags)
    assert code == 0, err
    encoder, store = build_encoder(config).eval(), FeatureStore(output)
    transform = TransformConfig(image_size=32, interpolation="bicubic")
    check_signature(store, config, transform, weights_hash(encoder))
    assert store.dtype == np.float16 and store.signature["encoder"]["backbone"] == "clip"
    for picture in list_data(tiny_data, ["val"])[:3]:
        image = eval_transform(32, interpolation="bicubic")(open_image(picture.path))
        with torch.inference_mode():
            seen = encoder(image[None])
        regions, boxes = store.read(picture.image_id)
        assert torch.allclose(regions, seen.regions[0], rtol=1e-3, atol=1e-3)
        assert torch.equal(boxes, seen.boxes[0])
    store.close()
    experiment = small_experiment(tiny_data, tmp_path / "model", num_epochs=1)
    experiment.encoder, experiment.loader.features = config, str(output)
    with pytest.raises(ValueError, match="interpolation 'bicubic', not None"):
        quiet(experiment)
    experiment.transform = transform
    captioner = quiet(experiment)
    assert isinstance(captioner.caption(list_data(tiny_data, ["val"])[0].path), str)


# ---- interpolation ----


def test_bicubic_changes_pictures():
    image = Image.effect_noise((50, 40), 90).convert("RGB")
    shown = {}
    for how in ("bilinear", "bicubic"):
        made = transforms_of(TransformConfig(image_size=32, interpolation=how, flip=False))
        for kind, transform in made.items():
            torch.manual_seed(0)
            shown[how, kind] = transform(image)
    for kind in ("train", "sided", "eval"):
        assert (shown["bilinear", kind] - shown["bicubic", kind]).abs().max() > 0.05
    assert torch.equal(eval_transform(32)(image), shown["bilinear", "eval"])
    for fit in ("crop", "stretch"):
        one, other = (eval_transform(32, 0, fit, how)(image) for how in ("bilinear", "bicubic"))
        assert one.shape == other.shape == (3, 32, 32) and not torch.allclose(one, other)
    torch.manual_seed(0)
    sided = train_transform(32, flip=False, interpolation="bicubic")(image)
    assert torch.equal(sided, shown["bicubic", "sided"])


def test_signature_names_only_what_older_stores_could_not_have():
    old = {
        "encoder": {"backbone": "resnet50", "cut": "", "grid": 0, "padding": "torch"},
        "transform": {"fit": "crop", "image_size": 224, "resize_size": 256},
        "weights_hash": "w",
    }
    assert make_signature(EncoderConfig(), TransformConfig(), "w") == old
    bicubic = make_signature(EncoderConfig(), TransformConfig(interpolation="bicubic"), "w")
    assert bicubic == old | {"transform": old["transform"] | {"interpolation": "bicubic"}}
    native = TransformConfig(fit="native", interpolation="bicubic")  # nothing is resized
    found = make_signature(EncoderConfig(), native, "w")["transform"]
    assert found == {"fit": "native", "image_size": 0, "resize_size": 0}
