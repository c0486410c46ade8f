"""Self-critical training with CLIP as the judge: what is logged, kept, resumed and refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from clip_judges import write_clip, write_grammar
from conftest import quiet, rows_of, small_experiment, stop_and_resume, write_data
from safetensors.torch import load_file
from test_resume import assert_same_run

from captioning.bundle import Captioner
from captioning.clip.loading import load_clip
from captioning.config import Experiment
from captioning.rewards.build import MIXTURES
from captioning.rewards.frequency import FILE_NAME
from captioning.training.checkpoint import load_checkpoint
from captioning.training.run import prepare_run
from captioning.training.stages import Stages
from vocabulary import END_IDX

NAMES = {"cider": "CIDEr-D", "clip": "CLIP-S", "grammar": "grammar"}


@pytest.fixture(scope="module")
def judges(tiny_vocabulary, tmp_path_factory) -> tuple[str, str]:
    """Folders of a CLIP and of a grammar judge."""
    folder = tmp_path_factory.mktemp("judges")
    clip = write_clip(folder / "clip", tiny_vocabulary)
    return clip, write_grammar(folder / "grammar", load_clip(clip))


@pytest.fixture(scope="module")
def start(tiny_data, tmp_path_factory) -> Path:
    """A captioner that says something right."""
    output = tmp_path_factory.mktemp("start") / "model"
    experiment = small_experiment(tiny_data, output, num_epochs=8, learning_rate=0.03)
    experiment.loader.batch_size, experiment.loader.cache_views = 4, 1
    quiet(experiment)
    return output


@pytest.fixture
def rewarded(tiny_data, start, judges, tmp_path) -> Experiment:
    """Two epochs of three steps for CLIP-S."""
    return settings_for(tiny_data, tmp_path / "model", start, judges)


def settings_for(data: Path, output: Path, start: Path, judges: tuple[str, str]) -> Experiment:
    how = {"objective": "reinforce", "learning_rate": 1e-3, "num_epochs": 2}
    experiment = small_experiment(data, output, **how)
    experiment.init_from = str(start)
    reward = experiment.self_critical
    reward.num_samples, reward.mixture = 3, "clips"
    reward.clip.model, reward.clip.grammar = judges
    return experiment


def cider_of(folder: Path) -> list[float]:
    return [row["CIDEr"] for row in rows_of(folder, "epoch")]


def bundle_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "checkpoint" / "state.pt", torch.device("cpu"))["networks"]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value.to(other[k].dtype), other[k]) for k, value in one.items())


# ---- every mixture ----


@pytest.mark.parametrize("baseline", ["greedy", "leave_one_out"])
@pytest.mark.parametrize("mixture", ["cider", "clips", "clips_cider", "clips_grammar"])
def test_an_epoch_with_every_mixture(rewarded, tmp_path, judges, mixture, baseline):
    rewarded.training.num_epochs = 1
    reward = rewarded.self_critical
    reward.mixture, reward.baseline = mixture, baseline
    reward.mixture_weights = "released" if baseline == "greedy" else "paper"
    quiet(rewarded)
    weights = {NAMES[k]: w for k, w in MIXTURES[reward.mixture_weights][mixture].items()}
    rows = rows_of(tmp_path / "model", "step")
    assert len(rows) == 3
    for row in rows:
        assert math.isfinite(row["loss"]) and row["grad_norm"] > 0
        parts = {key: row[key] for key in row if key.startswith("reward ")}
        assert set(parts) == ({f"reward {name}" for name in weights} if len(weights) > 1 else set())
        if parts:
            total = sum(weight * parts[f"reward {name}"] for name, weight in weights.items())
            assert row["reward"] == pytest.approx(total, abs=1e-5)
            assert all(value > 0.05 for value in parts.values())
        same = row["reward"] == pytest.approx(row["baseline"], abs=1e-5)
        assert same == (baseline == "leave_one_out")
    captioner = Captioner.load(tmp_path / "model", "cpu")
    signature = captioner.reward["reward"]
    assert {name: one["weight"] for name, one in signature.items()} == weights
    if "CLIP-S" in weights:
        known = {"clip": judges[0], "weights": load_clip(judges[0]).weights_hash}
        assert signature["CLIP-S"].items() >= known.items()
    assert (tmp_path / "model" / FILE_NAME).exists() == ("CIDEr-D" in weights)


def test_a_run_for_clip_alone_needs_no_table_of_ngrams(rewarded, tmp_path, tiny_data):
    captioner = quiet(rewarded)
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names and not any("frequency" in name for name in names)
    config = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert list(config["reward"]["reward"]) == ["CLIP-S"]
    said = captioner.caption(sorted((tiny_data / "images").iterdir())[:2])
    assert len(said) == 2


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_part_is_the_mean_over_all_captions_of_a_step(rewarded, tmp_path, accumulate):
    """Whatever the number of batches; the draws follow from picture and epoch alone."""
    rewarded.self_critical.mixture = "clips_grammar"
    rewarded.training.num_epochs, rewarded.training.accumulate = 1, accumulate
    rewarded.loader.batch_size = 24 // accumulate
    rewarded.training.learning_rate = 1e-9
    run = prepare_run(rewarded)
    run.captioner.train()
    batch, stages = next(iter(run.loader)), Stages(torch.device("cpu"))
    prepared = run.objective.prepare(run, batch, stages, True)
    tokens, reward = prepared.values["tokens"], prepared.values["reward"]
    assert not reward.requires_grad and (tokens == END_IDX).any()
    parts = run.objective.reward.parts(tokens, batch)
    torch.testing.assert_close(reward, parts["CLIP-S"] + 2 * parts["grammar"])
    for name, values in parts.items():
        assert prepared.sums[f"reward {name}"].item() == pytest.approx(values.sum().item())
    quiet(rewarded)
    (row,) = rows_of(tmp_path / "model", "step")
    batches = list(prepare_run(rewarded).loader)
    assert len(batches) == accumulate
    sums = [run.objective.prepare(run, one, stages, True).sums for one in batches]
    for name in parts:
        mean = sum(some[f"reward {name}"].item() for some in sums) / 72
        assert row[f"reward {name}"] == pytest.approx(mean, rel=1e-4)


def test_clip_s_is_learned(rewarded, tmp_path):
    rewarded.training.num_epochs, rewarded.training.learning_rate = 10, 0.02
    rewarded.self_critical.stop_entropy = rewarded.self_critical.stop_distinct = 0.0
    quiet(rewarded)
    rows = [row["reward"] for row in rows_of(tmp_path / "model", "step")]
    assert sum(rows[-4:]) / 4 > sum(rows[:4]) / 4 + 0.1  # CLIP-S, 0..2.5


# ---- which weights are kept ----


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_last_weights_are_kept_where_they_are_wanted(rewarded, tmp_path, start, keep):
    """Training that ruins the captions: the start had the best CIDEr."""
    rewarded.training.learning_rate, rewarded.training.keep = 0.3, keep
    quiet(rewarded)
    folder = tmp_path / "model"
    scores = cider_of(folder)
    assert len(scores) == 3 and scores[-1] < scores[0] - 0.05
    record = Captioner.load(folder, "cpu").record
    epochs = rows_of(folder, "epoch")
    assert not equal(last_weights(folder), bundle_weights(start))
    if keep == "last":
        assert equal(last_weights(folder), bundle_weights(folder))
        assert (record["epoch"], record["validation"]["CIDEr"]) == (2, scores[-1])
        assert [row["best_epoch"] for row in epochs] == [0, 1, 2]
    else:
        assert equal(bundle_weights(start), bundle_weights(folder))
        assert record["epoch"] == 0 and epochs[-1]["best_epoch"] == 0


def test_the_last_weights_are_those_of_the_end_after_a_resume(rewarded, tmp_path):
    rewarded.training.keep = "last"
    stop_and_resume(rewarded)
    assert equal(last_weights(tmp_path / "model"), bundle_weights(tmp_path / "model"))


def test_nobody_waits_for_a_best_epoch_and_keeps_the_last(rewarded, tmp_path):
    rewarded.training.keep, rewarded.training.early_stopping = "last", 2
    with pytest.raises(ValueError, match="^training.early_stopping: 2 received, 0 expected with"):
        quiet(rewarded)
    assert not (tmp_path / "model").exists()


# ---- resuming ----


def test_a_resumed_run_ends_bit_for_bit_as_an_undisturbed_one(rewarded, tmp_path):
    rewarded.self_critical.mixture, rewarded.self_critical.baseline = "clips_grammar", "greedy"
    rewarded.self_critical.clip.text = "grammar"
    quiet(rewarded)
    rewarded.output = str(tmp_path / "broken")
    stop_and_resume(rewarded)
    assert_same_run(tmp_path / "broken", tmp_path / "model")
    rows = rows_of(tmp_path / "broken", "step")
    assert len(rows) == 6 and rows[0]["reward CLIP-S"] != rows[-1]["reward CLIP-S"]


@pytest.fixture
def own_judges(judges, tmp_path) -> tuple[str, str]:
    """Copies, to be changed."""
    return tuple(shutil.copytree(one, tmp_path / Path(one).name) for one in judges)


@pytest.mark.parametrize("changed", ["clip", "grammar"])
def test_another_judge_in_the_same_place_is_refused(
    rewarded, own_judges, tiny_vocabulary, tmp_path, changed
):
    reward = rewarded.self_critical
    reward.clip.model, reward.clip.grammar = map(str, own_judges)
    reward.mixture = "clips_grammar" if changed == "grammar" else "clips"
    reward.clip.grammar = reward.clip.grammar if changed == "grammar" else ""
    rewarded.training.num_epochs = 1
    quiet(rewarded)
    before = (tmp_path / "model" / "checkpoint" / "state.pt").read_bytes()
    quiet(rewarded, resume=True)
    if changed == "clip":
        write_clip(own_judges[0], tiny_vocabulary, seed=1)
    else:
        write_grammar(own_judges[1], load_clip(reward.clip.model), head=1)
    message = r"^reward: '.*CLIP-S \(clip .*, weights .*' received, but the run to resume had '.*'$"
    with pytest.raises(ValueError, match=message):
        quiet(rewarded, resume=True)
    assert (tmp_path / "model" / "checkpoint" / "state.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value"), [("model", "COPY"), ("scale", 2.0), ("prompt", "there is ")]
)
def test_another_setting_of_the_judge_is_refused(rewarded, own_judges, name, value):
    rewarded.training.num_epochs = 1
    quiet(rewarded)
    value = str(own_judges[0]) if value == "COPY" else value
    setattr(rewarded.self_critical.clip, name, value)
    with pytest.raises(ValueError, match=f"^self_critical.clip.{name}: .* but the run to resume"):
        quiet(rewarded, resume=True)


# ---- pictures ----


def test_an_unreadable_picture_does_not_stop_the_run(start, judges, tmp_path):
    """One of 110: fewer than 1 %, as in every other run."""
    data = write_data(tmp_path / "data", train=110, val=2, test=1)
    (data / "images" / "train_000.png").write_bytes(b"no picture")
    experiment = settings_for(data, tmp_path / "model", start, judges)
    experiment.training.num_epochs, experiment.loader.batch_size = 1, 22
    runs = []
    quiet(experiment, on_step=lambda run, row: runs.append(run))
    assert len(runs) == 5 and len(runs[-1].unreadable) == 1
    rows = rows_of(tmp_path / "model", "step")
    assert all(math.isfinite(row["loss"]) and row["reward"] > 0.05 for row in rows)


# ---- refused before anything is written ----


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        ("clip", "model", "", "self_critical.clip.model: none received"),
        ("clip", "model", "no/such/folder", "no/such/folder"),
        ("clip", "vectors", "no.h5", "no.h5"),
        ("clip", "text", "tuned", "self_critical.clip.text: 'tuned' received, one of"),
        ("", "cider_weight", 0.5, "self_critical.cider_weight: 0.5 received, but self_critical.mi"),
        ("", "mixture", "clips_bleu", "self_critical.mixture: 'clips_bleu' received, one of"),
    ],
)
def test_wrong_settings_are_refused(rewarded, tmp_path, place, name, value, message):
    config = rewarded.self_critical
    setattr(config.clip if place else config, name, value)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        quiet(rewarded)
    assert not (tmp_path / "model").exists()


def test_a_judge_of_sentences_is_asked_for(rewarded, tmp_path):
    rewarded.self_critical.mixture, rewarded.self_critical.clip.grammar = "clips_grammar", ""
    with pytest.raises(ValueError, match="^self_critical.clip.grammar: none received"):
        quiet(rewarded)
    assert not (tmp_path / "model").exists()


def test_who_brings_a_reward_needs_no_weights(rewarded, tmp_path):
    """The settings' reward is not asked then, so it may be none."""
    rewarded.self_critical.mixture, rewarded.self_critical.cider_weight = "", 0.0
    rewarded.training.num_epochs = 1

    def ended(tokens, batch):
        return (tokens == END_IDX).any(1).float()

    quiet(rewarded, reward=ended)
    rows = rows_of(tmp_path / "model", "step")
    assert len(rows) == 3 and all(0 <= row["reward"] <= 1 for row in rows)
    with pytest.raises(ValueError, match="0 received for all"):
        quiet(rewarded, overwrite=True)
