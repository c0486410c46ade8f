"""`features clip`: a vector a picture, kept and read again; `clip-weights`: weights on demand."""

from __future__ import annotations

import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from clip_cases import VIT, add_tag, at_home, no_connections, tiny_models, write_small
from conftest import write_data
from faulty_server import serve

from captioning.clip.loading import load_clip
from captioning.features.extract import ExtractOptions, extract_with
from captioning.features.pictures import list_data
from captioning.features.store import FeatureStore
from captioning.features.vectors import (
    look_at,
    read_vectors,
    vector_looker,
    vector_signature,
    vectors_of,
)
from captioning.features.writer import WriteOptions
from data_loader import UnreadableImageError, open_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_vocabulary):
    return write_small(tmp_path_factory.mktemp("clip") / "small", tiny_vocabulary)


@pytest.fixture(scope="module")
def clip(folder):
    return load_clip(str(folder))


@pytest.fixture(scope="module")
def store(clip, tiny_data, tmp_path_factory):
    """The vectors of train and val."""
    path = tmp_path_factory.mktemp("store") / "vectors.h5"
    options = ExtractOptions(batch_size=5, write=WriteOptions(half=False))
    extract_with(vector_looker(clip), list_data(tiny_data, ["train", "val"]), path, options)
    return path


@pytest.fixture
def run(run_cli):
    """Run `features ...`: exit code, stdout, stderr."""
    return partial(run_cli, "features")


# ---- the command ----


def test_clip_and_info(run, clip, folder, tiny_data, tmp_path):
    output = tmp_path / "v.h5"
    arguments = ["clip", f"--clip={folder}", f"--data={tiny_data}", f"--output={output}"]
    code, out, _ = run(*arguments, "--device=cpu", "--json")
    result = json.loads(out)
    assert code == 0 and result["pictures"] == result["regions"] == 40
    assert result["feature_dim"] == 8
    kept = FeatureStore(output)
    assert kept.dtype == np.float32 and kept.signature == vector_signature(clip)
    for picture in list_data(tiny_data, ["test"]):
        regions = kept.read(picture.image_id)[0]
        seen = clip.image_vectors(clip.transform(open_image(picture.path))[None])
        assert regions.shape == (1, 8) and torch.allclose(regions, seen, atol=1e-6)
    kept.close()
    code, out, _ = run("info", output, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["pictures"] == 40
    assert facts["signature"]["encoder"] == {"backbone": "clip", "output": "vector"}
    assert facts["signature"]["transform"]["interpolation"] == "bilinear"
    assert facts["signature"]["weights_hash"] == clip.weights_hash
    code, out, err = run(*arguments, "--device=cpu")
    assert code == 1 and out == "" and "exists already; --overwrite replaces it" in err
    assert run(*arguments, "--device=cpu", "--overwrite", "--splits=val")[0] == 0
    assert len(FeatureStore(output)) == 8
    code, _, err = run(*arguments, "--overwrite", "--dtype=float16")
    assert code == 2 and "dtype: 'float16' received, float32 expected" in err
    assert len(FeatureStore(output)) == 8


def test_clip_of_open_clip_and_a_plain_folder(run, tiny_data, tmp_path):
    (tmp_path / "photos").mkdir()
    for picture in list_data(tiny_data, ["val"])[:3]:
        shutil.copy(picture.path, tmp_path / "photos" / picture.name)
    output = tmp_path / "v.h5"
    with tiny_models(tmp_path) as files:
        name = f"{VIT}:{files[VIT]}"
        flags = [f"--clip={name}", f"--data={tmp_path / 'photos'}", f"--output={output}"]
        code, _, err = run("clip", *flags, "--device=cpu")
        assert code == 0, err
        judge = load_clip(name)
        pictures = list_data(tiny_data, ["val"])[:3]
        numbered = [one._replace(image_id=number) for number, one in enumerate(pictures, 1)]
        expected = look_at(judge, [one.path for one in pictures])
        assert torch.allclose(read_vectors(output, judge, numbered), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["clip", "--output=v.h5"], 2, "clip"),
        (["clip", "--clip=CLIP"], 2, "output"),
        (["clip", "--clip=CLIP", "--output=v.h5", "--precision=bf16"], 2, "fp32 expected: scores"),
        (["clip", "--clip=CLIP", "--output=v.h5", "--batch_size=0"], 2, "batch_size: 0 received"),
        (["clip", "--clip=no/clip", "--output=v.h5"], 1, "no/clip: no such CLIP"),
        (["clip", "--clip=RN50", "--output=v.h5"], 1, "RN50:TAG (tags: openai"),
        (["clip", "--clip=RN50:openai", "--output=v.h5"], 1, "features clip-weights RN50:openai`"),
        (["clip-weights", "CLIP"], 2, "a folder has its weights in it"),
        (["clip-weights", "RN50:mine"], 1, "RN50 has no such tag"),
        (["clip-weights"], 2, "clip"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(run, folder, tiny_data, monkeypatch, tmp_path, arguments, code, part):
    at_home(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = [argument.replace("CLIP", str(folder)) for argument in arguments]
    data = [f"--data={tiny_data}", "--device=cpu"] if arguments[0] == "clip" else []
    with no_connections(monkeypatch):
        found, out, err = run(*arguments, *data)
    assert (found, out) == (code, "") and part in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_clip_weights(run, monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    kept = at_home(monkeypatch, tmp_path)
    with serve() as server, tiny_models(tmp_path) as files:
        server.files["tiny.pt"] = files[VIT].read_bytes()
        add_tag(monkeypatch, url=f"{server.url}/tiny.pt")
        code, out, _ = run("clip-weights", f"{VIT}:mine")
        assert code == 0 and out == f"{kept / 'tiny.pt'}\n"
        assert run("clip-weights", f"{VIT}:mine")[:2] == (code, out) and len(server.asked) == 1
        assert (kept / "tiny.pt").read_bytes() == files[VIT].read_bytes()


# ---- reading them again ----


def test_vectors_of_a_store_are_those_of_the_pictures(clip, store, tiny_data):
    pictures = list_data(tiny_data, ["val", "train"])[::-2]  # another order, and not all
    read, looked = vectors_of(clip, pictures, store), vectors_of(clip, pictures)
    assert torch.equal(read, read_vectors(store, clip, pictures))
    assert read.shape == (16, 8) and read.dtype == torch.float32
    assert torch.allclose(read, looked, atol=1e-6)
    assert torch.allclose(read.norm(dim=-1), torch.ones(16), atol=1e-5)
    assert len(torch.unique((read * 1e4).round(), dim=0)) > 4  # they do differ


def test_many_pictures_are_looked_at_in_batches(clip, tiny_data):
    pictures = list_data(tiny_data, ["train", "val", "test"])
    files = [one.path for one in (*pictures, *pictures)]  # 80, more than a batch
    vectors = look_at(clip, files)
    assert vectors.shape == (80, 8) and torch.allclose(vectors[:40], vectors[40:], atol=1e-6)
    assert torch.allclose(vectors[[3, 77]], look_at(clip, [files[3], files[77]]), atol=1e-6)


def test_another_clip_refuses_the_store(clip, store, tiny_vocabulary, tiny_data, tmp_path):
    pictures = list_data(tiny_data, ["val"])
    other = load_clip(str(write_small(tmp_path / "other", tiny_vocabulary, seed=1)))
    with pytest.raises(
        ValueError,
        match="vectors.h5: made with other weights: weights_hash .* as in the CLIP .*other; "
        "`features clip` makes one",
    ):
        vectors_of(other, pictures, store)
    again = load_clip(str(write_small(tmp_path / "again", tiny_vocabulary)))  # the same weights
    assert vectors_of(again, pictures, store).shape == (8, 8)
    again.preprocess = again.preprocess | {"interpolation": "bicubic"}
    with pytest.raises(ValueError, match="transform.interpolation 'bilinear', not 'bicubic'"):
        vectors_of(again, pictures, store)
    with pytest.raises(FileNotFoundError, match="no.h5"):
        vectors_of(clip, pictures, tmp_path / "no.h5")


def test_a_store_of_a_grid_is_no_store_of_vectors(run, clip, folder, tiny_data, tmp_path):
    output = tmp_path / "grid.h5"
    flags = ["--encoder=clip", f"--clip_model={folder}", "--image_size=32", "--device=cpu"]
    assert run("extract", f"--data={tiny_data}", *flags, f"--output={output}")[0] == 0
    with pytest.raises(ValueError, match="grid.h5: made with encoder"):
        vectors_of(clip, list_data(tiny_data, ["val"]), output)


def test_missing_and_other_pictures(clip, store, tiny_data, own_data):
    with pytest.raises(ValueError, match="8 of 8 pictures are missing, the first is 900"):
        vectors_of(clip, list_data(tiny_data, ["test"]), store)
    for picture in list_data(own_data, ["val"]):
        picture.path.write_bytes(list_data(own_data, ["test"])[0].path.read_bytes())
    with pytest.raises(ValueError, match="picture 50. was not the file .*val_00..png"):
        vectors_of(clip, list_data(own_data, ["val"]), store)


def test_unreadable_pictures(run, clip, folder, tmp_path):
    data = write_data(tmp_path / "data", train=110, val=1, test=1)
    pictures, output = list_data(data, ["train"])[:12], tmp_path / "v.h5"
    pictures[7].path.write_bytes(b"no picture")
    flags = [f"--clip={folder}", f"--data={data}", "--splits=train", f"--output={output}"]
    code, out, err = run("clip", *flags, "--device=cpu")
    assert code == 0 and "109 pictures" in out and "left out: " in err and "train_007.png" in err
    with pytest.raises(ValueError, match="v.h5: picture 107: .*train_007.png: not a picture"):
        vectors_of(clip, pictures, output)
    with pytest.raises(UnreadableImageError, match="train_007.png: not a picture"):
        vectors_of(clip, pictures)
    read, looked = (
        vectors_of(clip, pictures, output, skip=True),
        vectors_of(clip, pictures, skip=True),
    )
    assert torch.allclose(read, looked, atol=1e-6) and read.shape == (12, 8)
    blank = [i for i in range(12) if not looked[i].any()]
    assert blank == [i for i in range(12) if not read[i].any()] == [7]


def test_a_picture_that_is_missing_is_named(clip, own_data):
    pictures = list_data(own_data, ["val"])
    pictures[2].path.unlink()
    with pytest.raises(UnreadableImageError, match="val_002.png: no such file"):
        vectors_of(clip, pictures)
