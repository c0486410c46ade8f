"""Odd pictures, transforms, annotation files, and batches that can be stopped and gone on with."""

from __future__ import annotations

import io
import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_pictures import BLUE, RED, two_halves, write_bad, write_good
from PIL import Image

from data_loader import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    CaptionDataset,
    Item,
    UnreadableImageError,
    eval_transform,
    open_image,
    read_annotations,
    to_rgb,
    train_transform,
)

# ---- opening pictures ----


def near(pixel, colour, tolerance=12):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, colour, strict=True))


def test_good_pictures_open_as_rgb(tmp_path):
    for name in write_good(tmp_path):
        image = open_image(tmp_path / name)
        assert image.mode == "RGB", name
        assert image.size == ((1, 1) if name == "one.png" else (16, 16)), name


@pytest.mark.parametrize(
    "name", ["plain.jpg", "cmyk.jpg", "really_a_jpeg.txt", "no_suffix", "moving.gif"]
)
def test_colours_and_sides_are_kept(tmp_path, name):
    write_good(tmp_path)
    image = open_image(tmp_path / name)
    assert near(image.getpixel((2, 8)), RED) and near(image.getpixel((13, 8)), BLUE)


def test_16_bit_grey_is_rescaled_not_cut(tmp_path):
    write_good(tmp_path)
    values = np.asarray(open_image(tmp_path / "grey16.png"))[..., 0].flatten().astype(int)
    assert abs(values - np.arange(256)).max() <= 1
    dim = np.full((4, 4), 128 * 257, np.uint16)  # no picture is stretched to its own extremes
    Image.fromarray(dim).save(tmp_path / "dim.png")
    assert open_image(tmp_path / "dim.png").getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], np.int32), (0, 255)),
        (np.array([[0, 65535]], np.int32), (0, 255)),
        (np.array([[0.0, 1.0]], np.float32), (0, 255)),
        (np.array([[-1.0, 1.0]], np.float32), (0, 255)),
        (np.array([[0.0, 1e6]], np.float32), (0, 255)),
        (np.array([[0, 0]], np.int32), (0, 0)),
    ],
)
def test_other_ranges_of_wide_pixels(values, expected):
    image = to_rgb(Image.fromarray(values))
    assert tuple(image.getpixel((x, 0))[0] for x in (0, 1)) == expected


def test_16_bit_grey_with_a_transparent_value(tmp_path):
    ramp = np.array([[0, 30000, 65535]], np.uint16)
    Image.fromarray(ramp).save(tmp_path / "grey.png", transparency=30000)
    assert open_image(tmp_path / "grey.png").getpixel((2, 0)) == (255, 255, 255)


def test_transparency_is_laid_over_white(tmp_path):
    write_good(tmp_path)
    half = open_image(tmp_path / "half clear.png").getpixel((2, 8))
    assert near(half, tuple((c * 128 + 255 * 127) // 255 for c in RED), 2)
    palette = open_image(tmp_path / "palette.png")
    assert palette.getpixel((2, 8)) == (255, 255, 255) and near(palette.getpixel((13, 8)), BLUE)


def test_exif_rotation_is_applied(tmp_path):
    write_good(tmp_path)
    image = open_image(tmp_path / "turned.jpg")  # a quarter turn clockwise: the left goes up
    assert near(image.getpixel((8, 2)), RED, 30) and near(image.getpixel((8, 13)), BLUE, 30)


def test_bad_pictures_are_refused_by_name_in_one_line(tmp_path):
    for name, reason in write_bad(tmp_path).items():
        with warnings.catch_warnings(), pytest.raises(UnreadableImageError) as caught:
            warnings.simplefilter("error")
            open_image(tmp_path / name)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / name}: ") and reason in message
        assert "\n" not in message


def test_streams_get_the_name_they_are_given():
    with pytest.raises(UnreadableImageError, match=r"^upload\.png: not a picture"):
        open_image(io.BytesIO(b"nothing"), name="upload.png")
    data = io.BytesIO()
    two_halves().save(data, "PNG")
    assert open_image(io.BytesIO(data.getvalue())).size == (16, 16)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]),
    st.randoms(use_true_random=False),
    st.integers(1, 30),
)
def test_damaged_bytes_never_raise_anything_else(kind, rng, number):
    data = io.BytesIO()
    two_halves(24, 24).save(data, kind)
    broken = bytearray(data.getvalue())
    for _ in range(number):
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    if rng.random() < 0.3:
        del broken[rng.randrange(len(broken)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert open_image(io.BytesIO(bytes(broken)), "broken").mode == "RGB"
        except UnreadableImageError as error:
            assert str(error).startswith("broken: ")


# ---- transforms ----


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (1, 1), (200, 1)])
def test_transforms_give_squares(fit, size):
    image = Image.new("RGB", size, RED)
    for transform in (train_transform(32, 0, fit), eval_transform(32, 0, fit)):
        assert transform(image).shape == (3, 32, 32)


def test_eval_transform_is_normalised_and_without_chance():
    image = Image.new("RGB", (40, 30), (255, 0, 128))
    result = eval_transform(32)(image)
    assert torch.equal(result, eval_transform(32)(image))
    for channel, value, mean, std in zip(
        result, (1, 0, 128 / 255), IMAGENET_MEAN, IMAGENET_STD, strict=True
    ):
        assert channel.flatten().tolist() == pytest.approx([(value - mean) / std] * 1024, abs=1e-5)


def test_stretch_shows_the_whole_picture_and_crop_its_middle():
    image = Image.new("RGB", (96, 32), "white")
    image.paste("black", (0, 0, 16, 32))  # a stripe at the left edge
    assert eval_transform(32, 0, "stretch")(image)[0, 16, 1] < 0
    assert eval_transform(32, 0, "crop")(image)[0, 16].min() > 0


def test_train_transform_scales_256_to_224_and_takes_a_given_size():
    def resized(transform):
        return transform.transforms[0].size

    assert resized(train_transform(224)) == [256]
    assert resized(train_transform(112, 0, "stretch")) == [128, 128]
    assert resized(train_transform(32, 40)) == [40] == resized(eval_transform(32, 40))


def test_transforms_refuse_what_cannot_work():
    for make in (train_transform, eval_transform):
        with pytest.raises(ValueError, match=r"resize_size: 20 received.*\(32\) expected"):
            make(32, 20)
        with pytest.raises(ValueError, match="fit: 'squash' received, 'stretch', 'crop' or"):
            make(32, 0, "squash")


# ---- annotation files ----


def damage(folder, split="train", **changes):
    """Rewrite a caption file after `changes`: functions on its images and annotations."""
    path = folder / "annotations" / f"captions_{split}.json"
    record = json.loads(path.read_text("utf-8"))
    for key, change in changes.items():
        change(record[key])
    path.write_text(json.dumps(record), "utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": lambda e: e.clear()}, "no images in it"),
        ({"images": lambda e: e.append(e[0])}, "image id 100 appears 2 times"),
        ({"annotations": lambda e: e.append(e[0])}, "annotation id 1000 appears 2 times"),
        ({"images": lambda e: e[1].pop("file_name")}, "image 101: file_name None found"),
        ({"images": lambda e: e[1].update(file_name=3)}, "image 101: file_name 3 found"),
        ({"images": lambda e: e[1].pop("id")}, "not a COCO annotation file (KeyError('id'))"),
        ({"annotations": lambda e: e[2].pop("caption")}, "annotation 1002: caption None found"),
        ({"annotations": lambda e: e[2].update(caption=["a"])}, "caption ['a'] found, text"),
        ({"annotations": lambda e: e[2].update(image_id=9)}, "image_id 9 is not among the images"),
        ({"annotations": lambda e: e[2].pop("image_id")}, "not a COCO annotation file"),
    ],
)
def test_damaged_annotations_are_named_in_one_sentence(own_data, changes, message):
    path = damage(own_data, **changes)
    with pytest.raises(ValueError) as caught:
        read_annotations(own_data, "train")
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"images": null}', '{"images": 3}', "\x00"])
def test_files_that_are_no_annotations(own_data, text):
    path = own_data / "annotations" / "captions_train.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"captions_train\.json: "):
        read_annotations(own_data, "train")


def test_missing_splits_are_told_apart_from_missing_folders(tiny_data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"captions_dev\.json.*\['test', 'train', 'val'\]"):
        read_annotations(tiny_data, "dev")
    with pytest.raises(FileNotFoundError, match="splits found there: none"):
        read_annotations(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match=r"other\.json: no such file$"):
        read_annotations(tiny_data, "train", tmp_path / "other.json")


def test_pictures_without_captions_are_read_from_their_own_file(own_data):
    path = own_data / "annotations" / "captions_test.json"
    record = json.loads(path.read_text("utf-8"))
    path.unlink()
    text = json.dumps({"images": record["images"]})
    (own_data / "annotations" / "images_test.json").write_text(text)
    assert len(read_annotations(own_data, "test").imgs) == 8


def test_reading_prints_nothing(tiny_data, capsys):
    read_annotations(tiny_data, "train")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


# ---- data set ----


def test_dataset_knows_all_captions(dataset, tiny_vocabulary):
    assert len(dataset) == 24 and dataset.image_ids == [*range(100, 124)]
    assert {len(texts) for texts in dataset.texts} == {3, 4, 5}
    for texts, captions in zip(dataset.texts, dataset.captions, strict=True):
        assert captions == [tiny_vocabulary.encode(text, 20) for text in texts]


def test_captions_without_words_are_left_out_and_counted(own_data, tiny_vocabulary):
    def empty(entries):
        entries[0]["caption"], entries[1]["caption"] = "", " ... "

    damage(own_data, annotations=empty)
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, eval_transform(32))
    assert dataset.num_wordless == 2
    assert all(len(ids) > 2 for some in dataset.captions for ids in some)


@pytest.mark.parametrize(
    ("caption", "sided"),
    [
        ("A dog to the LEFT of a cat.", True),
        ("the right-hand door", True),
        ("the leftmost tree", True),
        ("a bright upright lamp", False),
        ("a dog", False),
    ],
)
def test_which_captions_name_a_side(own_data, tiny_vocabulary, caption, sided):
    damage(own_data, annotations=lambda e: [a.update(caption=caption) for a in e])
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, eval_transform(32))
    assert dataset.sided == [sided] * 24


def test_pictures_with_sided_captions_are_never_mirrored(own_data, tiny_vocabulary):
    for i in range(24):
        two_halves(36, 36).save(own_data / "images" / f"train_{i:03}.png")
    plain, sided = train_transform(32), train_transform(32, flip=False)
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, plain, sided_transform=sided)
    assert 0 < sum(dataset.sided) < 24
    mirrored = {True: 0, False: 0}
    for epoch in range(10):
        for image in range(24):
            _, pixels = dataset[Item(image, (0,), epoch)]
            mirrored[dataset.sided[image]] += bool(pixels[2, 16, 0] > pixels[2, 16, 31])  # blue
    assert mirrored[True] == 0
    assert 0.3 < mirrored[False] / (10 * (24 - sum(dataset.sided))) < 0.7


def test_crops_follow_from_seed_epoch_and_picture_alone(tiny_data, tiny_vocabulary):
    def pixels(seed, epoch):
        data = CaptionDataset(tiny_data, "train", tiny_vocabulary, train_transform(32), seed=seed)
        return data[Item(1, (0,), epoch)][1]

    before = torch.get_rng_state()
    first = pixels(0, 0)
    assert torch.equal(torch.get_rng_state(), before)  # torch's own generator is left alone
    torch.manual_seed(99)
    assert torch.equal(first, pixels(0, 0))
    assert any(not torch.equal(first, pixels(0, epoch)) for epoch in range(1, 4))
    assert any(not torch.equal(first, pixels(seed, 0)) for seed in range(1, 4))


def test_native_pictures_keep_their_size_up_to_a_limit():
    for make in (train_transform, eval_transform):
        transform = make(32, 0, "native")
        assert transform(Image.new("RGB", (50, 30))).shape == (3, 30, 50)
        assert transform(Image.new("RGB", (3000, 1500))).shape == (3, 512, 1024)
