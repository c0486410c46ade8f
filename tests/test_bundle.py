"""Bundles: what is saved comes back, and what does not fit is refused with both sizes."""

from __future__ import annotations

import json

import pytest
import torch
from odd_pictures import two_halves
from safetensors.torch import load_file, save_file

from captioning.bundle import Captioner, pick_device
from captioning.config import DecoderConfig
from captioning.decoders.build import build_decoder
from captioning.files import write_atomically
from data_loader import UnreadableImageError
from vocabulary import Vocabulary

FILES = {"model.safetensors", "config.json", "vocabulary.json"}


def pictures():
    return [two_halves(40, 40), two_halves(50, 30).rotate(90, expand=True), two_halves(20, 60)]


def edit(bundle, **changes):
    path = bundle / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for name, value in changes.items():
        *parts, last = name.split("__")
        place = config
        for part in parts:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path.write_text(json.dumps(config), "utf-8")


def refused(bundle):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        Captioner.load(bundle, "cpu")
    message = str(caught.value)
    assert "\n" not in message and str(bundle) in message
    return message


# ---- round trip ----


def test_a_loaded_bundle_says_the_same(tiny_captioner, tmp_path):
    tiny_captioner.record = {"epoch": 3}
    tiny_captioner.save(tmp_path / "a" / "b")
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == FILES
    loaded = Captioner.load(tmp_path / "a" / "b", "cpu")
    assert loaded.record == {"epoch": 3} and loaded.experiment == tiny_captioner.experiment
    for method in ("greedy", "beam"):
        expected = tiny_captioner.describe(pictures(), method=method)
        found = loaded.describe(pictures(), method=method)
        assert found == expected


def test_half_precision_is_half_as_large_and_says_nearly_the_same(tiny_captioner, tmp_path):
    tiny_captioner.save(tmp_path / "whole")
    tiny_captioner.save(tmp_path / "half", half=True)
    sizes = [(tmp_path / n / "model.safetensors").stat().st_size for n in ("whole", "half")]
    assert 0.45 < sizes[1] / sizes[0] < 0.6
    half = Captioner.load(tmp_path / "half", "cpu")
    assert {p.dtype for p in half.networks().parameters()} == {torch.float32}
    images = tiny_captioner.prepare(pictures())
    exact, rounded = (c.encoder(images).regions for c in (tiny_captioner, half))
    assert not torch.equal(exact, rounded) and torch.allclose(exact, rounded, atol=1e-2, rtol=1e-2)


def test_one_liner_takes_files_pictures_and_lists(tiny_bundle, tmp_path):
    path = tmp_path / "a photo.png"
    two_halves(40, 40).save(path)
    captioner = Captioner.load(tiny_bundle, "cpu")
    text = captioner.caption(path)
    assert isinstance(text, str) and text == captioner.caption(str(path))
    assert captioner.caption([path, two_halves(40, 40)]) == [text, text]
    assert captioner.caption(two_halves(40, 40).convert("RGBA")) == text
    assert isinstance(captioner.caption(two_halves(40, 40).convert("L"), beam_size=1), str)
    assert captioner.caption([]) == []
    with pytest.raises(UnreadableImageError, match=r"nothing\.jpg: no such file"):
        captioner.caption(tmp_path / "nothing.jpg")


def test_several_captions_of_each_picture(tiny_captioner):
    described = tiny_captioner.describe(pictures(), beam_size=3, num_samples=2)
    assert [len(captions) for captions in described] == [2, 2, 2]
    for first, second in described:
        assert first.score >= second.score
        assert first.logprob == pytest.approx(first.score, abs=1e-4)  # no length penalty
        assert len(first.attention_weights) == len(first.words)


def test_batch_equals_single(tiny_captioner):
    together = tiny_captioner.describe(pictures())
    for picture, captions in zip(pictures(), together, strict=True):
        alone = tiny_captioner.describe([picture])[0]
        assert [c.text for c in alone] == [c.text for c in captions]
        assert alone[0].logprob == pytest.approx(captions[0].logprob, abs=1e-4)


def test_overrides_are_checked(tiny_captioner):
    with pytest.raises(ValueError, match="beam: unknown setting, one of"):
        tiny_captioner.caption(two_halves(), beam=3)
    with pytest.raises(ValueError, match="beam_size: 0 received, 1 to 1000 expected"):
        tiny_captioner.caption(two_halves(), beam_size=0)


def test_rnn_bundles(tiny_captioner, tiny_vocabulary, tmp_path):
    config = DecoderConfig(kind="rnn", embed_dim=8, hidden_dim=9, num_layers=2)
    decoder = build_decoder(config, len(tiny_vocabulary), tiny_captioner.encoder.feature_dim)
    tiny_captioner.decoder, tiny_captioner.experiment.decoder = decoder.eval(), config
    tiny_captioner.save(tmp_path / "rnn")
    loaded = Captioner.load(tmp_path / "rnn", "cpu")
    assert loaded.describe(pictures()) == tiny_captioner.describe(pictures())
    assert loaded.describe(pictures())[0][0].attention_weights is None


def test_unknown_devices():
    for name in ("gpu", "cuda:77", ""):
        with pytest.raises(ValueError, match=f"device: '{name}' is not available"):
            pick_device(name)


# ---- refused ----


def test_not_a_bundle(tiny_bundle, tmp_path):
    assert "not a model bundle (no such folder)" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "not a model bundle (no config.json in it)" in refused(tmp_path / "empty")
    assert "not a model bundle (no such folder)" in refused(tiny_bundle / "config.json")
    for name in FILES:
        content = (tiny_bundle / name).read_bytes()
        (tiny_bundle / name).unlink()
        assert f"no {name} in it" in refused(tiny_bundle)
        (tiny_bundle / name).write_bytes(content)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "{}", "\ufeff{}"])
def test_damaged_config(tiny_bundle, text):
    (tiny_bundle / "config.json").write_text(text, "utf-8")
    assert "config.json: " in refused(tiny_bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2 found, 1 expected"),
        ({"format": None}, "format None found, 1 expected"),
        ({"experiment": 3}, "a mapping 'experiment' expected"),
        ({"vocabulary__size": None}, "'vocabulary' with 'size' and 'hash' expected"),
        ({"experiment__loader__colour": 1}, "config.json: loader.colour: unknown setting"),
        ({"experiment__decoder__kind": "gpt"}, "config.json: decoder.kind: 'gpt' received"),
        ({"experiment__encoder__cut": "layer9"}, "cut: 'layer9' received"),
    ],
)
def test_config_that_does_not_fit(tiny_bundle, changes, message):
    edit(tiny_bundle, **changes)
    assert message in refused(tiny_bundle)


def test_other_sizes_name_both(tiny_bundle):
    edit(tiny_bundle, experiment__decoder__hidden_dim=25)
    message = refused(tiny_bundle)
    assert "model.safetensors" in message and "has size" in message
    assert "24" in message and "25" in message


def test_other_vocabularies_name_both_sizes_or_hashes(tiny_bundle, tiny_vocabulary):
    words, size = list(tiny_vocabulary.words[4:]), len(tiny_vocabulary)
    Vocabulary([*words, "zebra"]).save(tiny_bundle / "vocabulary.json")
    assert f"has {size + 1} words, the model was trained with {size}" in refused(tiny_bundle)
    other = Vocabulary([*words[:-1], "zebra"])
    other.save(tiny_bundle / "vocabulary.json")
    message = refused(tiny_bundle)
    assert other.content_hash in message and tiny_vocabulary.content_hash in message
    path = tiny_bundle / "vocabulary.json"
    path.write_text(path.read_text("utf-8").replace("zebra", "yak"), "utf-8")
    assert "edited or damaged" in refused(tiny_bundle)


def test_missing_and_extra_tensors(tiny_bundle):
    path = tiny_bundle / "model.safetensors"
    state = load_file(path)
    save_file({k: v for k, v in state.items() if k != "decoder.gate.bias"}, path)
    assert "tensor 'decoder.gate.bias' is missing" in refused(tiny_bundle)
    save_file(state | {"decoder.more": torch.zeros(2)}, path)
    assert "tensor 'decoder.more' has no place" in refused(tiny_bundle)


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_weights(tiny_bundle, keep):
    path = tiny_bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a complete weight file" in refused(tiny_bundle)


# ---- writing ----


def test_write_atomically_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError) as caught:
        write_atomically(path, fail)
    expected = f"{path}: could not be written (No space left on device); what stood there is intact"
    assert str(caught.value) == expected
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_write_atomically_cleans_up_after_an_interrupt(tmp_path):
    def interrupt(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", interrupt)
    assert [*tmp_path.iterdir()] == []
