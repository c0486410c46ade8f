"""CLIP by name: what is loaded, that nothing is downloaded unasked, and vectors as open_clip's."""

from __future__ import annotations

import gc
import json
import logging
import pickle

import open_clip
import pytest
import torch
from clip_cases import (
    RESNET,
    VIT,
    add_tag,
    at_home,
    no_connections,
    pictures,
    shake,
    shapes_seen,
    tiny_models,
    write_small,
)
from faulty_server import serve
from open_clip.transformer import QuickGELU

from captioning.clip.loading import CONFIG, load_clip, save_small
from captioning.clip.names import ClipName, download_weights, find_weights, parse_name
from vocabulary import PAD_IDX, Vocabulary

TEXTS = [
    "A red ball.",
    "A blue box on the left of a white sheet, and nothing else is there at all",
    "",
    "green " * 100,
    "wow !☺ !☺ !☺ yes sir",  # the "!" of "!☺" has id 0, as padding has
]

LEFT_OPEN = pytest.mark.filterwarnings("ignore::ResourceWarning")  # by open_clip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    with tiny_models(tmp_path_factory.mktemp("models")) as files:
        yield files


@pytest.fixture
def folder(tmp_path, tiny_vocabulary):
    return write_small(tmp_path / "small", tiny_vocabulary)


@pytest.fixture
def server(monkeypatch, models):
    monkeypatch.setenv("no_proxy", "*")
    with serve() as running:
        running.files["tiny.pt"] = models[VIT].read_bytes()
        yield running


def full_state(name, files):
    return torch.load(files[name], weights_only=True)["state_dict"]


# ---- names ----


def test_what_is_meant(folder, models):
    assert (
        parse_name(str(folder)) == ClipName(str(folder), "") and parse_name(str(folder)).is_folder
    )
    assert parse_name("ViT-B-32:openai") == ClipName("ViT-B-32", "openai")
    file = models[VIT]
    assert parse_name(f"{VIT}:{file}") == ClipName(VIT, str(file))
    assert find_weights(parse_name(f"{VIT}:{file}")) == file
    assert not parse_name(f"{VIT}:{file}").is_folder


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("RN50", ValueError, r"'RN50' received, RN50:TAG \(tags: openai, .*\) or RN50:FILE"),
        ("RN50:", ValueError, "'RN50:' received, RN50:TAG"),
        ("RN5000:openai", ValueError, r"no model 'RN5000' \(.*, \.\.\.\), and no folder"),
        (":openai", ValueError, "open_clip has no model ''"),
        ("my_clip", FileNotFoundError, "my_clip: no such CLIP; a folder that `train-clip` wrote"),
        ("", FileNotFoundError, "clip: no such CLIP; a folder"),
        ("RN50:mine", ValueError, r"no file 'mine', and RN50 has no such tag \(openai, "),
        ("RN50:no/such.pt", ValueError, "no file 'no/such.pt', and RN50"),
        (
            "RN50:openai",
            FileNotFoundError,
            "RN50:openai: .* not on this machine; `python -m captioning features clip-weights "
            "RN50:openai` downloads them, RN50:FILE takes a file",
        ),
    ],
)
def test_weights_that_are_not_there(monkeypatch, tmp_path, text, error, message):
    at_home(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    with no_connections(monkeypatch), pytest.raises(error, match=message) as caught:
        load_clip(text)
    assert "\n" not in str(caught.value)


def test_weights_that_the_hub_keeps_are_found(monkeypatch, tmp_path, models):
    at_home(monkeypatch, tmp_path)
    add_tag(monkeypatch, hf_hub="somebody/some-clip/", url="https://nowhere.invalid/old.pt")
    kept = tmp_path / "hub" / "models--somebody--some-clip"
    for name in ("open_clip_pytorch_model.bin", "open_clip_model.safetensors"):  # the better last
        (kept / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
        (kept / "refs").mkdir(exist_ok=True)
        (kept / "refs" / "main").write_text("abc")
        (kept / "snapshots" / "abc" / name).write_bytes(models[VIT].read_bytes())
        with no_connections(monkeypatch):
            assert find_weights(parse_name(f"{VIT}:mine")).name == name
            assert download_weights(parse_name(f"{VIT}:mine")).name == name


def test_a_file_called_like_a_tag_is_the_file(monkeypatch, tmp_path, models):
    at_home(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    add_tag(monkeypatch, url="http://127.0.0.1:9/tiny.pt", quick_gelu=True)
    (tmp_path / "mine").write_bytes(models[VIT].read_bytes())
    with no_connections(monkeypatch):
        clip = load_clip(f"{VIT}:mine")
    state = full_state(VIT, models)
    assert torch.equal(clip.network.text_projection, state["text_projection"])


# ---- downloads that were asked for ----


def test_weights_are_downloaded_once_and_then_used_offline(monkeypatch, tmp_path, server, models):
    kept = at_home(monkeypatch, tmp_path)
    add_tag(monkeypatch, url=f"{server.url}/tiny.pt", quick_gelu=True)
    name = parse_name(f"{VIT}:mine")
    with pytest.raises(FileNotFoundError, match=f"features clip-weights {VIT}:mine` downloads"):
        load_clip(f"{VIT}:mine")
    assert server.asked == []
    assert download_weights(name) == kept / "tiny.pt"
    assert (kept / "tiny.pt").read_bytes() == models[VIT].read_bytes()
    assert download_weights(name) == kept / "tiny.pt"
    assert [path for path, _ in server.asked] == ["tiny.pt"]
    with no_connections(monkeypatch):
        clip = load_clip(f"{VIT}:mine")
    assert clip.preprocess["mean"] == (0.1, 0.2, 0.3) and clip.preprocess["size"] in (32, (32, 32))
    assert any(isinstance(layer, QuickGELU) for layer in clip.network.modules())
    assert torch.equal(clip.network.logit_scale, full_state(VIT, models)["logit_scale"])


@LEFT_OPEN
def test_a_server_that_fails_is_one_sentence(monkeypatch, tmp_path, server):
    kept = at_home(monkeypatch, tmp_path)
    add_tag(monkeypatch, url=f"{server.url}/tiny.pt")
    server.faults["tiny.pt"] = [("status", 500)]
    with pytest.raises(OSError, match=f"{VIT}:mine: could not be downloaded .*500") as caught:
        download_weights(parse_name(f"{VIT}:mine"))
    assert str(caught.value).endswith(f"is used as {VIT}:FILE") and "\n" not in str(caught.value)
    assert not list(kept.iterdir())
    del caught
    gc.collect()
    assert download_weights(parse_name(f"{VIT}:mine")) == kept / "tiny.pt"


@LEFT_OPEN
def test_a_broken_download_is_not_taken_for_the_weights(monkeypatch, tmp_path, server):
    """open_clip compares the end of such an address with the checksum of what came."""
    kept = at_home(monkeypatch, tmp_path)
    server.files["mlfoundations/tiny-0123abcd.pt"] = b"half of it"
    add_tag(monkeypatch, url=f"{server.url}/mlfoundations/tiny-0123abcd.pt")
    for _ in range(2):  # also the second time
        with pytest.raises(OSError, match="could not be downloaded .*checksum"):
            download_weights(parse_name(f"{VIT}:mine"))
    assert len(server.asked) == 2 and not list(kept.iterdir())


# ---- loading ----


def test_small_folder_is_read_as_it_was_written(folder, tiny_vocabulary):
    clip = load_clip(str(folder))
    assert clip.name == str(folder) and clip.tokenizer.vocabulary.words == tiny_vocabulary.words
    assert clip.text_vectors(["a"]).shape == (1, 8)
    half = {name: value.half() for name, value in clip.network.state_dict().items()}
    again = write_small(folder.parent / "again", tiny_vocabulary)  # the same random weights
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert all(value.dtype == torch.float32 for value in clip.network.parameters())
    assert all(  # half precision loses nothing a second time
        torch.equal(value, half[name].float())
        for name, value in clip.network.state_dict().items()
        if value.is_floating_point()
    )
    save_small(folder, clip.network, tiny_vocabulary, json.loads((folder / CONFIG).read_text()))
    assert load_clip(str(folder)).weights_hash == clip.weights_hash


def test_words_of_a_small_clip(folder, tiny_vocabulary):
    tokens = load_clip(str(folder)).tokenizer(["a red ball", "ball " * 40, "zebra"])
    assert tokens.shape == (3, 12) and tokens.dtype == torch.int64
    assert tiny_vocabulary.decode(tokens[0].tolist()) == "A red ball."
    assert (tokens[0, 5:] == PAD_IDX).all() and tokens[1, -1] == 2 and tokens[2, 1] == 3


def test_damaged_small_folders(folder, tiny_vocabulary, tmp_path):
    weights, config = folder / "model.safetensors", json.loads((folder / CONFIG).read_text())
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="model.safetensors: not a complete .safetensors file"):
        load_clip(str(folder))
    weights.write_bytes(whole)
    more = Vocabulary([*tiny_vocabulary.words[4:], "zebra"])
    more.save(folder / "vocabulary.json")
    with pytest.raises(
        ValueError, match="model.safetensors: does not fit open_clip_config.json an"
    ):
        load_clip(str(folder))
    tiny_vocabulary.save(folder / "vocabulary.json")
    config["model_cfg"]["embed_dim"] = 10
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit .*size mismatch"):
        load_clip(str(folder))
    del config["model_cfg"]["vision_cfg"]["width"]
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"open_clip_config.json: not the settings .*'width'"):
        load_clip(str(folder))
    (folder / CONFIG).write_text('{"model_cfg": {}}')
    with pytest.raises(ValueError, match="'model_cfg' and 'preprocess_cfg' expected"):
        load_clip(str(folder))
    (folder / CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match=r"small: no CLIP \(no open_clip_config.json"):
        load_clip(str(folder))


@pytest.mark.parametrize("name", [VIT, RESNET])
@pytest.mark.parametrize("shape", ["state_dict", "module", "bare", "safetensors"])
def test_checkpoint_files_of_open_clip(models, tmp_path, name, shape):
    state = full_state(name, models)
    path = models[name]
    if shape == "module":
        path = tmp_path / "several_gpus.pt"
        torch.save({"state_dict": {f"module.{key}": v for key, v in state.items()}}, path)
    elif shape == "bare":
        torch.save(state, path := tmp_path / "bare.pth")
    elif shape == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path := tmp_path / "w.safetensors")
    clip = load_clip(f"{name}:{path}")
    found = clip.network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert not any(isinstance(layer, QuickGELU) for layer in clip.network.modules())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_checkpoint_files_that_do_not_fit(models, tmp_path):
    path = tmp_path / "w.pt"
    with pytest.raises(ValueError, match=f"{RESNET}.pt: no weights of {VIT} .*state_dict"):
        load_clip(f"{VIT}:{models[RESNET]}")
    torch.save({"state_dict": {"encoder.weight": torch.zeros(2)}}, path)
    with pytest.raises(ValueError, match=f"w.pt: no weights of {VIT} .*Missing key") as caught:
        load_clip(f"{VIT}:{path}")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    path.write_bytes(models[VIT].read_bytes()[:10_000])
    with pytest.raises(ValueError, match="w.pt: no weights of"):
        load_clip(f"{VIT}:{path}")


@pytest.mark.parametrize("protocol", ["zip", "pickle"])
def test_code_in_a_checkpoint_is_not_run(models, tmp_path, protocol):
    path, trace = tmp_path / "w.pt", tmp_path / "trace"
    state = full_state(VIT, models) | {"logit_scale": Malicious(trace)}
    if protocol == "zip":
        torch.save({"state_dict": state}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(trace), protocol=2))
    with pytest.raises(ValueError, match=f"w.pt: no weights of {VIT}"):
        load_clip(f"{VIT}:{path}")
    assert not trace.exists()


def test_open_clip_keeps_quiet(models, caplog, capfd):
    with caplog.at_level(logging.INFO):
        load_clip(f"{VIT}:{models[VIT]}")
    assert caplog.records == [] and capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == 0


# ---- vectors ----


@pytest.fixture(params=["vit", "resnet", "small"])
def clip(request, models, tmp_path, tiny_vocabulary):
    if request.param == "small":
        made = load_clip(str(write_small(tmp_path / "small", tiny_vocabulary)))
        shake(made.network, 0)
        return made
    name = {"vit": VIT, "resnet": RESNET}[request.param]
    return load_clip(f"{name}:{models[name]}")


@torch.no_grad()
def test_text_vectors_are_those_of_open_clip(clip):
    seen = shapes_seen(clip.network.transformer)
    for texts in (TEXTS, *[[text] for text in TEXTS]):
        tokens = clip.tokenizer(texts)
        expected = clip.network.encode_text(tokens, normalize=True)
        seen.clear()
        assert torch.allclose(clip.text_vectors(texts), expected, atol=1e-5)
        last = int((tokens != 0).any(0).nonzero().max()) + 1
        assert seen == [(len(texts), last, clip.network.positional_embedding.shape[1])]
    assert seen[0][1] < clip.network.context_length  # padding was cut


@torch.no_grad()
def test_image_vectors_are_those_of_open_clip(clip):
    images = pictures(4)
    expected = clip.network.encode_image(images, normalize=True)
    vectors = clip.image_vectors(images)
    assert torch.allclose(vectors, expected, atol=1e-6)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4), atol=1e-6)
    assert (vectors[0] - vectors[1]).abs().max() > 1e-4  # of pictures that differ


def test_sentences_are_read_once_in_batches_and_keep_their_order(clip):
    words = ["red", "blue", "ball", "box", "white", "sheet", "a", "there"]
    different = [f"{a} {b} {c}" for a in words for b in words for c in words[:5]]
    texts = [*different, *different[::-3]]
    tokens, seen = clip.tokenizer(texts), shapes_seen(clip.network.transformer)
    vectors = clip.text_vectors(texts)
    assert [shape[0] for shape in seen] == [256, 64]
    assert vectors.shape == (len(texts), clip.network.text_projection.shape[1])
    expected = clip.network.encode_text(tokens, normalize=True)
    assert torch.allclose(vectors, expected, atol=1e-5)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(texts)), atol=1e-5)
    seen.clear()
    assert len(clip.text_vectors(["a red ball"] * 9)) == 9 and [s[0] for s in seen] == [1]


def test_nothing_to_read(clip):
    vectors = clip.text_vectors([])
    assert vectors.shape == (0, clip.network.text_projection.shape[1])
    assert vectors.dtype == torch.float32


def test_single_precision_whatever_is_around(clip):
    images = pictures(2)
    text, image = clip.text_vectors(TEXTS), clip.image_vectors(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(clip.text_vectors(TEXTS), text)
        assert torch.equal(clip.image_vectors(images), image)
        rough = clip.network.encode_image(images, normalize=True)
    assert text.dtype == image.dtype == torch.float32
    assert not torch.equal(rough.float(), image)  # what is around would have changed them


def test_nothing_has_a_gradient(clip):
    images = pictures(2).requires_grad_()
    for vectors in (clip.image_vectors(images), clip.text_vectors(["a"])):
        assert not vectors.requires_grad
    assert not any(weight.requires_grad for weight in clip.network.parameters())
    assert not any(layer.training for layer in clip.network.modules())


def test_similarity_is_the_cosine_of_each_pair(clip):
    one, other = clip.image_vectors(pictures(2)), clip.text_vectors(["a red ball", "a blue box"])
    expected = [float(torch.dot(one[i], other[i])) for i in range(2)]
    assert clip.similarity(one, other).tolist() == pytest.approx(expected, abs=1e-6)
    same = torch.tensor([[0.6, 0.8001]])
    assert clip.similarity(same, same).item() == 1 and clip.similarity(same, -same).item() == -1


def test_pictures_are_prepared_as_open_clip_does(models):
    from PIL import Image

    clip = load_clip(f"{VIT}:{models[VIT]}")
    image = Image.effect_noise((50, 40), 80).convert("RGB")
    expected = open_clip.create_model_and_transforms(VIT)[2](image)
    assert torch.equal(clip.transform(image), expected) and expected.shape == (3, 32, 32)
