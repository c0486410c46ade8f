"""Where CLIPs lie: bundles that look through one, folders that must not be written over, judges."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from clip_cases import write_small
from torch import nn

from captioning.bench.matrix_file import read_matrix
from captioning.bench.store import check_judges_of
from captioning.bundle import Captioner
from captioning.config import EncoderConfig
from captioning.encoders.cnn import build_encoder
from captioning.features.store import weights_hash
from captioning.training.clip_steps import check_place


def test_a_bundle_that_looks_through_a_small_clip_stands_alone(
    tiny_experiment, tiny_vocabulary, tmp_path
):
    folder = write_small(tmp_path / "clip", tiny_vocabulary)
    tiny_experiment.encoder = EncoderConfig("clip", "", clip_model=str(folder))
    tiny_experiment.transform.fit = "stretch"
    captioner = Captioner.build(tiny_experiment, tiny_vocabulary)
    captioner.save(tmp_path / "bundle")
    shutil.rmtree(folder)
    moved = shutil.move(tmp_path / "bundle", tmp_path / "moved")
    again = Captioner.load(moved, "cpu")
    images = torch.rand(2, 3, 32, 32)
    seen, before = again.look(images).regions, captioner.train(False).look(images).regions
    torch.testing.assert_close(seen, before)
    assert seen.std() > 0 and Path(again.experiment.encoder.clip_model).parent == Path(moved)
    again.save(moved)  # over itself
    assert Captioner.load(moved, "cpu").look(images).regions.equal(seen)


@pytest.mark.parametrize(("name", "value"), [("cut", "layer3"), ("padding", "tensorflow")])
def test_settings_that_would_do_nothing_are_refused(name, value):
    config = EncoderConfig("clip", "none", clip_model="RN50", **{name: value})
    with pytest.raises(ValueError, match=f"encoder.{name}: '{value}' received, '.*' expected"):
        build_encoder(config)


class QuickGELU(nn.GELU):
    """Another activation, without weights."""


def test_the_same_weights_with_another_activation_are_another_encoder():
    plain, quick = nn.Sequential(nn.Linear(2, 2), nn.GELU()), nn.Sequential(nn.Linear(2, 2))
    quick.append(QuickGELU())
    quick.load_state_dict(plain.state_dict())
    assert weights_hash(plain) != weights_hash(quick)


@pytest.mark.parametrize("own", ["grammar.json", "open_clip_config.json"])
def test_a_model_of_another_kind_is_never_written_over(tmp_path, own):
    for kind in ("config.json", "open_clip_config.json", "grammar.json"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / kind).touch()
        if kind == own:
            check_place(str(folder), own, False)
            (folder / "model.safetensors").touch()
            with pytest.raises(FileExistsError, match="--overwrite replaces it"):
                check_place(str(folder), own, False)
            check_place(str(folder), own, True)
        else:
            with pytest.raises(FileExistsError, match=f"{kind}: a model of another kind"):
                check_place(str(folder), own, True)
    check_place(str(tmp_path / "new"), own, False)


def test_judges_that_are_not_there_are_named_before_any_training(tmp_path):
    text = (
        "recipe: recipes/picturebook_clip_mle.yaml\ncells: {one: {}}\nevaluate:\n"
        "  {metrics: [clip_s, grammar], clip: C, vectors: V.h5, grammar: G}\n"
    )
    (tmp_path / "m.yaml").write_text(text, "utf-8")
    matrix = read_matrix(tmp_path / "m.yaml")
    with pytest.raises(FileNotFoundError, match="evaluate.vectors: no store V.h5; .*features clip"):
        check_judges_of(matrix)
    matrix.evaluate["vectors"] = ""
    with pytest.raises(FileNotFoundError, match="evaluate.grammar: no folder G"):
        check_judges_of(matrix)
    matrix.evaluate["grammar"] = str(tmp_path)
    check_judges_of(matrix)
