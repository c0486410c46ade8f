"""Learning rates by hand, against PyTorch's, and as they reach the optimizer."""

from __future__ import annotations

import copy
import math
import random
import signal
from pathlib import Path

import pytest
import torch
from conftest import quiet, rows_of
from test_resume import assert_same_run

import captioning.training.loop
from captioning.config import TrainingConfig
from captioning.training.checkpoint import load_checkpoint, save_checkpoint
from captioning.training.run import prepare_run
from captioning.training.schedules import (
    check_schedule,
    learning_rate_factor,
    noam_factor,
    plateau_factor,
    sampling_probability,
)

STATE = "checkpoint/state.pt"


def factors_of(config: TrainingConfig, steps: int, steps_per_epoch: int = 1) -> list[float]:
    place = (steps, steps_per_epoch, config)
    return [learning_rate_factor(step, *place) for step in range(steps)]


def test_learning_rates_by_hand():
    warm = TrainingConfig(warmup_steps=4, schedule="linear")
    assert factors_of(warm, 8) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    cosine = TrainingConfig(schedule="cosine")
    assert factors_of(cosine, 4) == pytest.approx([1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    assert factors_of(TrainingConfig(schedule="constant"), 3) == [1, 1, 1]


def test_reductions_are_counted_from_their_epoch():
    step = TrainingConfig(schedule="step", decay_every=2, decay_rate=0.5)
    assert factors_of(step, 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert factors_of(step, 6, steps_per_epoch=2) == [1, 1, 1, 1, 0.5, 0.5]
    step.decay_from = 3
    assert factors_of(step, 9) == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_warm_up_and_then_reductions():
    """As transformer_step of the reference: in small, with epochs of two steps."""
    config = TrainingConfig(schedule="step", warmup_steps=4, decay_from=3, decay_rate=0.5)
    expected = [0.25, 0.5, 0.75, *[1] * 9, *[0.5] * 6, *[0.25] * 2]
    assert factors_of(config, 20, steps_per_epoch=2) == expected


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "step", "noam", "plateau"])
def test_every_schedule_rises_in_the_same_way(schedule):
    config = TrainingConfig(schedule=schedule, warmup_steps=4)
    assert factors_of(config, 12)[:4] == [0.25, 0.5, 0.75, 1]
    assert all(0 <= factor <= 1 for factor in factors_of(config, 12))


@pytest.mark.parametrize(("warmup", "peak"), [(20_000, 3.125e-4), (10_000, 4.4194e-4)])
def test_noam_is_the_formula_of_the_paper(warmup, peak):
    assert 512**-0.5 * warmup**-0.5 == pytest.approx(peak, rel=1e-4)
    config = TrainingConfig(schedule="noam", warmup_steps=warmup)
    for t in (1, 2, 3333, warmup - 1, warmup, warmup + 1, 170_000):
        published = 512**-0.5 * min(t**-0.5, t * warmup**-1.5)
        factor = learning_rate_factor(t - 1, 180_000, 11_000, config)
        assert 512**-0.5 * warmup**-0.5 * factor == pytest.approx(published, rel=1e-12)
    assert noam_factor(warmup - 1, warmup) == 1 and noam_factor(4 * warmup - 1, warmup) == 0.5


def test_a_plateau_by_hand():
    """Two worse or equal scores are borne, the third reduces, and counting begins again."""
    scores = [0.5, 0.6, 0.6, 0.5, 0.4, 0.5, 0.5, 0.7, 0.1, 0.1, 0.1]
    factors = [plateau_factor(scores[:n], 2, 0.5) for n in range(len(scores) + 1)]
    assert factors == [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_plateau_is_that_of_pytorch(patience):
    rng = random.Random(patience)
    for _ in range(20):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="max", factor=0.7, patience=patience, threshold=0.0
        )
        scores: list[float] = []
        for _ in range(30):
            scores.append(rng.choice([0.1, 0.2, 0.3, 0.4, rng.random(), math.nan]))
            theirs.step(scores[-1])
            rate = optimizer.param_groups[0]["lr"]
            assert plateau_factor(scores, patience, 0.7) == pytest.approx(rate, abs=1e-6)


def test_scheduled_sampling_rises_to_its_setting():
    config = TrainingConfig(scheduled_sampling=0.4)
    assert [sampling_probability(s, 5, config) for s in range(5)] == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )


def test_warm_up_must_be_shorter_than_the_run():
    check_schedule(TrainingConfig(warmup_steps=5), 6)
    with pytest.raises(ValueError, match=r"warmup_steps: 6 received, fewer than the 6 steps"):
        check_schedule(TrainingConfig(warmup_steps=6), 6)


# ---- in a run ----


def test_a_plateau_needs_time_to_be_seen(tiny_experiment):
    settings = tiny_experiment.training
    settings.schedule, settings.patience, settings.early_stopping = "plateau", 2, 3
    with pytest.raises(ValueError, match="early_stopping: 3 received, 0 or at least 4 expected"):
        prepare_run(tiny_experiment)
    settings.early_stopping = 4
    prepare_run(tiny_experiment)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_beta2_reaches_the_optimizer(tiny_experiment, name):
    settings = tiny_experiment.training
    settings.optimizer = name
    assert prepare_run(tiny_experiment).optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    settings.adam_beta2 = 0.98
    assert prepare_run(tiny_experiment).optimizer.param_groups[0]["betas"] == (0.9, 0.98)


def test_noam_rates_reach_the_optimizer(tiny_experiment, tmp_path):
    settings = tiny_experiment.training
    settings.schedule, settings.warmup_steps, settings.learning_rate = "noam", 2, 0.01
    rates = []
    quiet(tiny_experiment, on_step=lambda run, _: rates.append(run.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.005, *(0.01 * math.sqrt(2 / t) for t in range(2, 7))])
    assert [row["learning_rate"] for row in rows_of(tmp_path / "model", "step")] == rates


@pytest.fixture
def falling(monkeypatch):
    """Validation that gets worse from epoch to epoch: the rate is halved in the fourth."""

    def validate(run):
        run.captioner.train()
        return {"CIDEr": 1 - 0.1 * run.epoch, "samples": ["x"]}

    monkeypatch.setattr(captioning.training.loop, "validate_run", validate)


def on_a_plateau(experiment, output):
    """Epochs of three steps; a second validation in a row without a better CIDEr reduces."""
    experiment = copy.deepcopy(experiment)
    experiment.output = str(output)
    settings = experiment.training
    settings.schedule, settings.patience, settings.decay_rate = "plateau", 1, 0.5
    settings.num_epochs, settings.learning_rate = 4, 0.008
    return experiment


def rates_of(folder) -> list[float]:
    return [row["learning_rate"] for row in rows_of(folder, "step")]


def test_a_plateau_is_remembered_by_a_checkpoint(tiny_experiment, tmp_path, falling):
    """Stopped in the epoch before the reduction, just before its validation, and after it."""
    quiet(on_a_plateau(tiny_experiment, tmp_path / "whole"))
    assert rates_of(tmp_path / "whole") == [0.008] * 9 + [0.004] * 3
    for step in (7, 9, 11):
        broken = on_a_plateau(tiny_experiment, tmp_path / f"broken_{step}")

        def interrupt(run, row, step=step):
            if run.step == step:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            quiet(broken, on_step=interrupt)
        quiet(broken, resume=True)
        progress = load_checkpoint(Path(broken.output) / STATE, "cpu")["progress"]
        assert progress["scores"] == [0.9, 0.8, 0.7, 0.6]
        assert_same_run(Path(broken.output), tmp_path / "whole")


def test_the_start_of_a_run_counts_as_its_first_score(
    tiny_experiment, tiny_bundle, tmp_path, falling
):
    experiment = on_a_plateau(tiny_experiment, tmp_path / "model")
    experiment.init_from, experiment.training.num_epochs = str(tiny_bundle), 3
    quiet(experiment)
    assert rates_of(tmp_path / "model") == [0.008] * 6 + [0.004] * 3


def test_a_checkpoint_from_before_these_settings_is_resumed(tiny_experiment, tmp_path):
    quiet(tiny_experiment)
    path = tmp_path / "model" / STATE
    state = load_checkpoint(path, "cpu")
    del state["progress"]["scores"], state["experiment"]["decoder"]["transformer"]
    for name in ("adam_beta2", "decay_from", "patience"):
        del state["experiment"]["training"][name]
    save_checkpoint(path, state)
    quiet(tiny_experiment, resume=True)
    tiny_experiment.training.adam_beta2 = 0.98
    message = r"adam_beta2: 0\.98 received, but the run to resume had 0\.999$"
    with pytest.raises(ValueError, match=message):
        quiet(tiny_experiment, resume=True)
