"""Learning a teacher's probabilities: the divergence by hand, and a teacher that never changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import quiet, rows_of, small_experiment, stop_and_resume

from captioning.bundle import Captioner
from captioning.config import TransformerConfig
from captioning.features.extract import ExtractOptions, extract
from captioning.features.pictures import list_data, list_splits
from captioning.features.writer import WriteOptions
from captioning.training.checkpoint import load_checkpoint
from captioning.training.distillation import distillation_loss, load_teacher
from captioning.training.run import prepare_run
from captioning.training.update import take_step
from vocabulary import PAD_IDX, Vocabulary


@pytest.fixture
def taught(tiny_experiment, tiny_bundle):
    """A student without dropout that learns from people and from a teacher."""
    settings = replace(
        tiny_experiment.training,
        distillation_teacher=str(tiny_bundle),
        distillation_weight=0.5,
        distillation_temperature=2.0,
    )
    decoder = replace(tiny_experiment.decoder, dropout=0.0)
    return replace(tiny_experiment, training=settings, decoder=decoder)


def weights(captioner):
    return captioner.networks().state_dict()


def same(first, second):
    ours, theirs = weights(first), weights(second)
    return all(torch.equal(ours[name], theirs[name]) for name in theirs)


def learned(folder):
    """What the history says, but for the time it took."""
    timed = ("words_per_second", "minutes")
    return [
        {k: v for k, v in row.items() if k not in timed and not k.startswith("ms_")}
        for kind in ("step", "epoch")
        for row in rows_of(folder, kind)
    ]


# ------------------------------------------------------------------------------ the number


def softened(logits, temperature):
    exponentials = [math.exp(value / temperature) for value in logits]
    return [value / sum(exponentials) for value in exponentials]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_divergence_is_the_one_of_a_plain_loop(temperature):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, requires_grad=True), torch.randn(2, 3, 5)
    teacher.requires_grad_()
    targets = torch.tensor([[4, 2, PAD_IDX], [4, 4, 2]])
    total = 0.0
    for row in range(2):
        for column in range(3):
            if targets[row, column] != PAD_IDX:
                p = softened(teacher[row, column].tolist(), temperature)
                q = softened(student[row, column].tolist(), temperature)
                total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    loss = distillation_loss(student, teacher, targets, temperature)
    assert loss.item() == pytest.approx(temperature**2 * total, rel=1e-5)
    halves = distillation_loss(student.bfloat16(), teacher.bfloat16(), targets, temperature)
    assert halves.dtype == torch.float32

    loss.backward()
    assert teacher.grad is None and not student.grad[0, 2].any()
    p, q = (softened(one[0, 0].tolist(), temperature) for one in (teacher, student))
    slope = [temperature * (b - a) for a, b in zip(p, q, strict=True)]  # Hinton's (2), times T^2
    assert student.grad[0, 0].tolist() == pytest.approx(slope, abs=1e-6)
    assert distillation_loss(teacher, teacher, targets, temperature).item() == 0


def test_a_step_adds_the_weighted_mean_and_leaves_the_teacher_alone(taught, tiny_bundle):
    run = prepare_run(taught)
    batch = next(iter(run.loader))
    run.captioner.train()
    prepared = run.objective.prepare(run, batch, None, True)
    totals = {name: prepared.sums[name] for name in run.objective.counted}
    loss, sums = run.objective.loss(run, prepared, totals)
    mask = batch.token_mask[:, 1:]
    with torch.no_grad():
        features = run.captioner.look(batch.images)
        student = run.captioner.decoder(features, batch.captions[:, :-1]).logits[mask] / 2
        start = Captioner.load(tiny_bundle, "cpu")
        seen = start.look(batch.images)
        teacher = start.decoder(seen, batch.captions[:, :-1]).logits[mask] / 2
        p, q = teacher.softmax(-1), student.softmax(-1)
        expected = 4 * (p * (p / q).log()).sum() / mask.sum()
    assert sums["distillation"].item() == pytest.approx(expected.item(), rel=1e-4) and expected > 0
    assert loss.item() == pytest.approx((sums["loss"] + 0.5 * expected).item(), rel=1e-5)

    for _ in range(2):
        row = take_step(run, [batch])
    assert row["distillation"] > 0 and math.exp(row["loss"]) == pytest.approx(row["perplexity"])
    assert same(run.teacher.captioner, start) and not run.teacher.captioner.decoder.training
    assert all(p.grad is None for p in run.teacher.captioner.networks().parameters())


def test_who_is_taught_by_himself_has_nothing_to_learn(taught, tiny_bundle):
    taught.init_from = str(tiny_bundle)
    run = prepare_run(taught)
    run.captioner.train()
    row = take_step(run, [next(iter(run.loader))])
    assert row["distillation"] == 0


def test_a_taught_student_comes_closer(taught, tmp_path):
    taught.training = replace(taught.training, distillation_weight=20.0, num_epochs=4)
    quiet(taught)
    rows = rows_of(tmp_path / "model", "step")
    assert rows[-1]["distillation"] < 0.7 * rows[0]["distillation"]


# ------------------------------------------------------------------------------ the run


def test_weight_zero_is_the_run_without_a_teacher(tiny_experiment, tmp_path):
    tiny_experiment.training.num_epochs = 1
    plain = quiet(tiny_experiment)
    off = replace(tiny_experiment, output=str(tmp_path / "off"))
    settings = {"distillation_teacher": "nowhere", "distillation_temperature": 5.0}
    off.training = replace(off.training, **settings)
    assert same(quiet(off), plain)
    assert learned(tmp_path / "off") == learned(tmp_path / "model")
    assert "distillation" not in learned(tmp_path / "off")[0]


def test_a_teacher_draws_nothing_from_the_students_chance(taught, tmp_path):
    taught.decoder = replace(taught.decoder, dropout=0.3)
    taught.training = replace(taught.training, distillation_weight=1e-30, num_epochs=1)
    faint = quiet(taught)
    plain = replace(taught, output=str(tmp_path / "plain"))
    plain.training = replace(taught.training, distillation_weight=0.0)
    assert same(faint, quiet(plain))


def test_any_decoder_is_taught_and_resumed_exactly(taught, tmp_path):
    sizes = TransformerConfig(16, 32, 2, 1, 1, group_size=2)
    taught.decoder = replace(taught.decoder, kind="transformer", transformer=sizes)
    whole = quiet(taught)
    again = replace(taught, output=str(tmp_path / "again"))
    again.training = replace(taught.training, save_every_steps=1)
    assert same(stop_and_resume(again), whole)
    ours, theirs = (
        [row["distillation"] for row in rows_of(tmp_path / name, "step")]
        for name in ("again", "model")
    )
    assert ours == theirs and all(value > 0 for value in ours)
    state = load_checkpoint(tmp_path / "model" / "checkpoint" / "state.pt", torch.device("cpu"))
    assert set(state["networks"]) == set(weights(whole))  # no teacher in it


def test_another_teacher_of_the_same_name_is_noticed(taught, tiny_bundle, tiny_captioner):
    taught.training.num_epochs = 1
    quiet(taught)
    with torch.no_grad():
        tiny_captioner.decoder.output.bias += 1
    tiny_captioner.save(tiny_bundle)
    with pytest.raises(ValueError, match="teacher: '[0-9a-f]{16}' received, but the run to resume"):
        quiet(taught, resume=True)


def test_from_a_store_the_teacher_gets_the_students_features(
    tiny_experiment, tiny_data, tmp_path, taught, tiny_bundle
):
    student = taught
    student.training.num_epochs = 1
    looks = Captioner.load(tiny_bundle, "cpu").encoder, student.encoder, student.transform
    options = ExtractOptions(write=WriteOptions(False))
    pictures = list_data(tiny_data, list_splits(tiny_data))
    extract(pictures, *looks, tmp_path / "store.h5", options)
    student.init_from = str(tiny_bundle)
    student.loader = replace(student.loader, features=str(tmp_path / "store.h5"))
    quiet(student)
    first = rows_of(tmp_path / "model", "step")[0]
    assert first["distillation"] == pytest.approx(0, abs=1e-6)

    other = Captioner.load(tiny_bundle, "cpu")
    with torch.no_grad():
        next(other.encoder.parameters()).add_(1)
    other.save(tmp_path / "other")
    student.training = replace(student.training, distillation_teacher=str(tmp_path / "other"))
    student.output = str(tmp_path / "second")
    with pytest.raises(ValueError, match="weights_hash .*other, training.distillation_teacher"):
        quiet(student)


# ------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("part", "settings", "match"),
    [
        ("training", {"distillation_teacher": ""}, "distillation_teacher: none received, a bundle"),
        ("training", {"objective": "reinforce"}, "distillation_weight: 0.5 received, 0 expected"),
        ("training", {"scheduled_sampling": 0.2}, "scheduled_sampling: 0.2 received, 0 expected"),
        ("training", {"distillation_teacher": "nowhere"}, "nowhere: not a model bundle"),
        ("loader", {"cache_views": 2}, "cache_views: 2 received, 0 expected with training.dist"),
        ("transform", {"image_size": 48}, "transform.image_size 32 found, 48 as of the student"),
        ("transform", {"fit": "stretch"}, "transform.fit 'crop' found, 'stretch' as of"),
        ("vocabulary", {"min_count": 9}, "vocabulary .* found, .* of the student expected"),
    ],
)
def test_what_cannot_work_is_refused(taught, tiny_bundle, part, settings, match):
    changed = replace(taught, **{part: replace(getattr(taught, part), **settings)})
    if "objective" in settings:
        changed.init_from = str(tiny_bundle)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        prepare_run(changed)


def test_rewards_take_no_teacher_even_at_weight_zero(taught, tiny_bundle):
    taught.init_from = str(tiny_bundle)
    taught.training = replace(taught.training, objective="reinforce", distillation_weight=0.0)
    with pytest.raises(ValueError, match="distillation_teacher: .* received, none expected with"):
        prepare_run(taught)


def test_a_teacher_without_eyes_cannot_look_at_pictures(taught, tiny_data, tmp_path, dataset):
    blind = small_experiment(tiny_data, tmp_path)
    blind.encoder = replace(blind.encoder, backbone="features", cut="", feature_dim=6)
    student = Captioner.load(taught.training.distillation_teacher, "cpu")
    Captioner.build(blind, Vocabulary(student.vocabulary.words[4:])).save(tmp_path / "blind")
    taught.training = replace(taught.training, distillation_teacher=str(tmp_path / "blind"))
    with pytest.raises(ValueError, match="a teacher that cannot look at pictures itself"):
        load_teacher(taught, student, dataset)
