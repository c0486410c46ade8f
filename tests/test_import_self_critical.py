"""Checkpoints of ImageCaptioning.pytorch: the numbers of the original, or one clear sentence."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path

import pytest
import self_critical_original
import torch
from self_critical_original import (
    POOLED,
    RECTIFIED,
    WORDS,
    A,
    E,
    F,
    R,
    checkpoint,
    features_of,
    original_greedy,
    original_steps,
    write,
)
from torch import nn

from captioning.bundle import Captioner
from captioning.commands import import_
from captioning.commands.flags import UsageError
from captioning.decoding.generation import generate
from captioning.imports.self_critical import import_self_critical
from model import VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX

CASES = [(model, 0) for model in (*POOLED, "att2in", *RECTIFIED)]
CASES += [("att2in2", 1), ("att2in2", 2), ("updown", 1), ("updown", 2)]


def run(*arguments):
    return import_.run(import_.parser().parse_args([str(one) for one in arguments]))


# ---- the original's numbers ----


@pytest.mark.parametrize(("model", "use_bn"), CASES)
def test_every_step_has_the_probabilities_of_the_original(tmp_path, capsys, model, use_bn):
    state = checkpoint(model, use_bn)
    files = write(tmp_path, state, caption_model=model, use_bn=use_bn)
    assert run("--from", "self-critical", *files, "--output", tmp_path / "new") == 0
    captioner = Captioner.load(tmp_path / "new", "cpu")
    assert captioner.vocabulary.words[4:] == tuple(WORDS[:-1])
    att, mask, fc = features_of(model)
    features = VisualFeatures(att, mask.bool())

    ids = torch.randint(1, len(WORDS) + 1, (3, 6), generator=torch.Generator().manual_seed(1))
    step = original_steps(state, model, fc, att, mask)
    inputs = torch.cat([torch.zeros(3, 1, dtype=torch.long), ids], 1)  # (3, 7), 0 is the start
    expected = torch.stack([step(index) for index in inputs.unbind(1)], 1)  # (3, 7, V + 1)

    ours = [END_IDX, *(captioner.vocabulary.index(word) for word in WORDS)]  # of index 0, 1, ...
    assert ours[-1] == UNK_IDX and len(set(ours)) == len(ours)
    tokens = torch.tensor(ours)[inputs]
    tokens[:, 0] = START_IDX
    with torch.no_grad():
        logprobs = captioner.decoder(features, tokens).logits.log_softmax(-1)
    torch.testing.assert_close(logprobs[..., ours], expected, rtol=0, atol=1e-5)
    assert (logprobs[..., [PAD_IDX, START_IDX]] < -1000).all()
    assert expected.std() > 0.5  # not a vague distribution that anything would give


@pytest.mark.parametrize(("model", "use_bn"), CASES)
def test_greedy_captions_are_those_of_the_original(tmp_path, model, use_bn):
    state = checkpoint(model, use_bn)
    captioner = import_self_critical(*write(tmp_path, state, caption_model=model))
    att, mask, fc = features_of(model)
    config = captioner.generation_config(method="greedy", suppress_unk=False)
    assert config.max_length == 9
    found = generate(captioner.decoder, VisualFeatures(att, mask.bool()), config).tokens
    said = [captioner.vocabulary.decode_words(row) for row in found.tolist()]
    expected = original_greedy(original_steps(state, model, fc, att, mask), 3, 9)
    assert [[word.replace("<unk>", "UNK") for word in row] for row in said] == expected
    assert sum(map(len, expected)) > 3


def test_several_layers_of_show_tell(tmp_path):
    state = checkpoint("show_tell", layers=3)
    captioner = import_self_critical(*write(tmp_path, state, caption_model="show_tell"))
    assert captioner.experiment.decoder.num_layers == 3
    att, mask, fc = features_of("show_tell")
    step = original_steps(state, "show_tell", fc, att, mask)
    expected = torch.stack([step(torch.full((3,), i)) for i in (0, 2, 5)], 1)
    tokens = torch.tensor([[START_IDX, 5, 8]]).expand(3, -1)
    with torch.no_grad():
        logprobs = captioner.decoder(VisualFeatures(fc[:, None]), tokens).logits.log_softmax(-1)
    ours = [END_IDX, *range(4, 11), UNK_IDX]
    torch.testing.assert_close(logprobs[..., ours], expected, rtol=0, atol=1e-5)


def same_numbers(tmp_path, state, expected_state, model, **options):
    """Two checkpoints become decoders with equal tensors."""
    found = import_self_critical(*write(tmp_path, state, caption_model=model, **options))
    expected = import_self_critical(*write(tmp_path, expected_state, caption_model=model))
    expected = expected.decoder.state_dict()
    for name, value in found.decoder.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    return found


@pytest.mark.parametrize("model", ["att2in", "att2in2"])
def test_old_names_of_the_attention(tmp_path, model):
    state = checkpoint(model)
    old = {name.replace("core.attention.", "core."): value for name, value in state.items()}
    assert old.keys() != state.keys()
    same_numbers(tmp_path, old, state, model)


def test_names_of_several_devices_and_counts_of_batches(tmp_path):
    state = checkpoint("att2in2", use_bn=1)
    old = {f"module.{name}": v for name, v in state.items() if "num_batches" not in name}
    same_numbers(tmp_path, old, state, "att2in2")


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_old_versions_of_torch(tmp_path, zipped):
    state = checkpoint("fc")
    model, infos = write(tmp_path, state, protocol=0, caption_model="fc")
    torch.save(state, model, _use_new_zipfile_serialization=zipped)
    captioner = import_self_critical(model, infos)
    torch.testing.assert_close(
        captioner.decoder.words_to_gates.weight.detach(), state["core.i2h.weight"]
    )


def test_boxes_at_the_end_of_the_regions_are_not_in_the_mean(tmp_path):
    """With use_box the regions have five numbers more than the global vector."""
    state = checkpoint("updown", fc_size=F - 5)
    captioner = import_self_critical(*write(tmp_path, state, caption_model="updown", use_box=1))
    att, mask, fc = features_of("updown")
    step = original_steps(state, "updown", fc[:, : F - 5], att, mask)
    with torch.no_grad():
        tokens = torch.full((3, 1), START_IDX)
        logits = captioner.decoder(VisualFeatures(att, mask.bool()), tokens).logits
    expected = step(torch.zeros(3, dtype=torch.long))
    found = logits[:, 0].log_softmax(-1)[:, [END_IDX, *range(4, 11), UNK_IDX]]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_vocabulary_without_the_unknown_word(tmp_path):
    files = write(tmp_path, checkpoint("fc"), said=[*WORDS[:-1], "zebra"], caption_model="fc")
    captioner = import_self_critical(*files)
    assert captioner.vocabulary.words[-1] == "zebra"
    _, _, fc = features_of("fc")
    with torch.no_grad():
        tokens = torch.full((3, 1), START_IDX)
        logits = captioner.decoder(VisualFeatures(fc[:, None]), tokens).logits
    assert (logits.softmax(-1)[..., UNK_IDX] == 0).all()


# ---- the bundle ----


def test_the_bundle_says_where_it_comes_from(tmp_path, capsys):
    files = write(
        tmp_path, checkpoint("updown"), caption_model="topdown", use_box=0, norm_att_feat=1
    )
    output = tmp_path / "new"
    assert run("--from", "self-critical", *files, "--output", output, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["output"] == str(output) and shown["words"] == len(WORDS) + 3
    captioner = Captioner.load(output, "cpu")
    expected = {"caption_model": "topdown", "epoch": 2, "iter": 30, "best_val_score": 1.25}
    assert captioner.record["original"] == expected | {"use_box": 0, "norm_att_feat": 1}
    assert captioner.experiment.encoder.backbone == "features"
    assert captioner.experiment.encoder.feature_dim == F
    assert captioner.experiment.decoder.dropout == 0.5
    card = (output / "README.md").read_text("utf-8")
    for part in ("ImageCaptioning.pytorch", "`model.pth`", "`infos.pkl`", "best_val_score | 1.25"):
        assert part in card
    assert "divided by its length" in card and "mean of the regions" in card
    assert "cannot look at a picture" in card and str(tmp_path) not in card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["infos.pkl", "model.pth", "new"]


def test_an_encoder_of_the_user_takes_the_place_of_the_features(tmp_path, capsys, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(self_critical_original, "F", 128)
    files = write(tmp_path, checkpoint("att2in2"), caption_model="att2in2")
    output = tmp_path / "new"
    encoder = ["--encoder.backbone", "resnet18", "--encoder.weights", "none"]
    flags = [*encoder, "--encoder.cut", "layer2", "--transform.image_size", "64"]
    assert run("--from", "self-critical", *files, "--output", output, *flags) == 0
    shown = capsys.readouterr().out
    assert "A resnet18 stands in" in shown and f"caption --model {output} PHOTO.jpg" in shown
    captioner = Captioner.load(output, "cpu")
    assert isinstance(captioner.caption(Image.new("RGB", (70, 60), "red")), str)
    flags = ["--encoder.backbone", "resnet18", "--encoder.weights", "none", "--overwrite"]
    with pytest.raises(ValueError, match="encoder: resnet18 gives 512 numbers a region, .* 128"):
        run("--from", "self-critical", *files, "--output", output, *flags)
    assert Captioner.load(output, "cpu").experiment.encoder.cut == "layer2"


# ---- what does not fit ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption_model": "adaatt"}, r"infos\.pkl: caption_model 'adaatt' found, one of"),
        ({"caption_model": ["fc"]}, r"infos\.pkl: caption_model \['fc'\] found"),
        ({"caption_model": "fc"}, r"model\.pth: no tensor 'img_embed.weight' in it"),
        ({"caption_model": "att2in"}, r"model\.pth: tensor 'att_embed.0.weight' has no place in"),
        ({"caption_model": "updown"}, r"model\.pth: no tensor 'core.att_lstm.bias_ih' in it"),
        ({"rnn_size": 512}, r"rnn_size 8 found, .*infos\.pkl says 512: files of one training"),
        ({"att_hid_size": 512}, r"att_hid_size 5 found, .*infos\.pkl says 512"),
        ({"said": WORDS[:5]}, r"8 words read and 8 said, but .*infos\.pkl has 5: files of one"),
        ({"said": ["a", "a", *WORDS[2:]]}, r"infos\.pkl: words: 'a' appears twice"),
        ({"said": ["<pad>", *WORDS[1:]]}, r"infos\.pkl: word '<pad>' is one of our special words"),
        ({"said": ["wav@@", *WORDS[1:]]}, r"infos\.pkl: 'wav@@' is a piece of a word"),
        ({"said": [7, *WORDS[1:]]}, r"infos\.pkl: 'vocab' does not give a word to every index"),
        ({"said": []}, r"infos\.pkl: 'vocab' does not give a word to every index"),
    ],
)
def test_files_of_different_models_are_refused(tmp_path, change, message):
    files = write(tmp_path, checkpoint("att2in2"), **{"caption_model": "att2in2"} | change)
    with pytest.raises(ValueError, match=message) as info:
        run("--from", "self-critical", *files, "--output", tmp_path / "new")
    assert "\n" not in str(info.value) and not (tmp_path / "new").exists()


def changed(**tensors):
    """A checkpoint of att2in2 with other tensors; None takes one away."""
    state = checkpoint("att2in2") | tensors
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (changed(**{"logit.0.weight": torch.zeros(R, R)}), "several layers before the words"),
        (changed(**{"len_logit.weight": torch.zeros(R, R)}), "'len_logit.weight' has no place"),
        (changed(**{"ctx2att.bias": None}), "no tensor 'ctx2att.bias' in it"),
        (changed(**{"ctx2att.bias": torch.zeros(A + 1)}), "5 rows and 6 biases found"),
        (changed(**{"core.i2h.weight": torch.zeros(5 * R)}), r"has size \(40,\), 2 dimensions"),
        (changed(**{"core.h2h.weight": torch.zeros(5 * R, R + 1)}), r"\(40, 9\) found, \(40, 8\)"),
        (changed(**{"core.a2c.bias": torch.full((2 * R,), float("nan"))}), "NaN or infinite"),
        (changed(**{"core.a2c.bias": torch.zeros(2, device="meta")}), "not a plain table"),
        ({3: torch.zeros(2)}, "3 is not a plain table of numbers"),
        ({"model": checkpoint("att2in2")}, "a state dict .* expected"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, state, message):
    files = write(tmp_path, state, caption_model="att2in2")
    with pytest.raises(ValueError, match=rf"model\.pth: .*{message}") as info:
        import_self_critical(*files)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(("kind", "found"), [(nn.GRU, "a GRU"), (nn.RNN, "a plain RNN")])
def test_only_the_lstm_of_show_tell_is_read(tmp_path, kind, found):
    state = {name: v for name, v in checkpoint("show_tell").items() if "core" not in name}
    state |= {f"core.{name}": v for name, v in kind(E, R, bias=False).state_dict().items()}
    with pytest.raises(ValueError, match=rf"model\.pth: {found} found, an LSTM expected"):
        import_self_critical(*write(tmp_path, state, caption_model="show_tell"))


def test_contradicting_sizes_of_updown_are_one_sentence(tmp_path):
    state = checkpoint("updown")
    state["core.att_lstm.weight_ih"] = torch.zeros(4 * R, R)
    with pytest.raises(ValueError, match=r"model\.pth: its tensors do not fit together") as info:
        import_self_critical(*write(tmp_path, state, caption_model="updown"))
    assert "\n" not in str(info.value)


def test_damaged_missing_and_exchanged_files(tmp_path):
    model, infos = write(tmp_path, checkpoint("fc"), caption_model="fc")
    with pytest.raises(ValueError, match=r"model\.pth: a zip file \(weights\?\) found"):
        import_self_critical(infos, model)
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weight file"):
        import_self_critical(tmp_path / "none.pth", infos)
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such pickle"):
        import_self_critical(model, tmp_path / "none.pkl")
    for path, reason in ((model, "not a readable weight file"), (infos, "not a whole")):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"{path.name}: {reason}") as info:
            import_self_critical(model, infos)
        assert "\n" not in str(info.value)
        path.write_bytes(whole)


def test_a_pickled_network_is_refused(tmp_path):
    model, infos = write(tmp_path, {}, caption_model="fc")
    torch.save(nn.Linear(2, 2), model)
    with pytest.raises(ValueError, match=r"model\.pth: refused, it holds more than tensors"):
        import_self_critical(model, infos)


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ({"vocab": {}}, "'opt' and 'vocab' expected"),
        ([1, 2], "'opt' and 'vocab' expected"),
        ({"vocab": {}, "opt": {}}, "a Namespace in 'opt'"),
        ({"vocab": [], "opt": argparse.Namespace()}, "a table of words in 'vocab'"),
        ({"vocab": {}, "opt": argparse.Namespace()}, "caption_model None found"),
    ],
)
def test_other_pickles_are_no_infos(tmp_path, infos, message):
    model, path = write(tmp_path, checkpoint("fc"), caption_model="fc")
    path.write_bytes(pickle.dumps(infos))
    with pytest.raises(ValueError, match=rf"infos\.pkl: .*{message}"):
        import_self_critical(model, path)


# ---- the command ----


def test_an_existing_output_is_kept_unless_told(tmp_path, capsys):
    files = write(tmp_path, checkpoint("fc"), caption_model="fc")
    call = ["--from", "self-critical", *files, "--output"]
    assert run(*call, tmp_path / "new") == 0
    (tmp_path / "new" / "history.jsonl").write_text("mine")
    with pytest.raises(FileExistsError, match="new: holds a model bundle already; --overwrite"):
        run(*call, tmp_path / "new")
    assert (tmp_path / "new" / "history.jsonl").read_text() == "mine"
    write(tmp_path, checkpoint("newfc"), caption_model="newfc")
    assert run(*call, tmp_path / "new", "--overwrite") == 0
    assert Captioner.load(tmp_path / "new").record["original"]["caption_model"] == "newfc"
    assert not (tmp_path / "new" / "history.jsonl").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("mine")
    for place, message in (("photos", "no model bundle; left alone"), ("model.pth", "a file")):
        with pytest.raises(FileExistsError, match=message):
            run(*call, tmp_path / place, "--overwrite")
    assert (tmp_path / "photos" / "a.jpg").read_text() == "mine"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["infos.pkl", "model.pth", "new", "photos"]


def test_a_failing_disk_leaves_the_old_bundle(tmp_path, monkeypatch):
    files = write(tmp_path, checkpoint("fc"), caption_model="fc")
    call = ["--from", "self-critical", *files, "--output", tmp_path / "new", "--overwrite"]
    assert run(*call) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}

    def full(self, folder):
        (folder / "vocabulary.json").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Captioner, "save", full)
    with pytest.raises(OSError, match="new: could not be written .No space left"):
        run(*call)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["infos.pkl", "model.pth", "new"]


def test_a_move_that_fails_is_taken_back(tmp_path, monkeypatch):
    files = write(tmp_path, checkpoint("fc"), caption_model="fc")
    call = ["--from", "self-critical", *files, "--output", tmp_path / "new", "--overwrite"]
    assert run(*call) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    move = Path.rename

    def rename(self, target):
        if self.name.endswith(".part"):
            raise OSError(13, "Permission denied")
        return move(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="new: could not be written .Permission denied"):
        run(*call)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["infos.pkl", "model.pth", "new"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["self-critical", "model.pth"],
            r"files: 1 received, 2 expected \(model\.pth infos\.pkl\)",
        ),
        (["course", "a.pkl", "b.pkl"], r"files: 2 received, 3 expected \(encoder-3\.pkl"),
        (["course", "a", "b", "c", "--encoder.backbone", "resnet18"], "course brings its own"),
        (["course", "a", "b", "c", "--transform.fit", "stretch"], "brings its own"),
        (["self-critical", "a", "b", "--transform.fit", "stretch"], "names no network"),
        (["self-critical", "a", "b", "--encoder.grid", "7"], "names no network to look"),
        (["self-critical", "a", "b", "--encoder.grid", "-1"], "grid: -1 received"),
        (["self-critical", "a", "b", "--encoder.backbone", "vgg"], "backbone: 'vgg' received"),
    ],
)
def test_wrong_usage(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        run("--from", *arguments, "--output", tmp_path / "new")
