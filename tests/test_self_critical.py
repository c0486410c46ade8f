"""Self-critical training: what is drawn, what the gradient is, what is logged, refused and kept."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from conftest import quiet, rows_of
from safetensors.torch import load_file

from captioning.config import GenerationConfig
from captioning.decoding.random_numbers import uniform_numbers
from captioning.decoding.sampling import invert_distribution, sample_from_uniform
from captioning.decoding.scoring import forbidden_words
from captioning.rewards.frequency import NgramFrequency
from captioning.training.policy import policy_logprobs, set_dropout
from captioning.training.run import Run, prepare_run
from captioning.training.self_critical import describe_signature, different_captions
from captioning.training.stages import Stages
from captioning.training.update import TrainingError, take_step
from model import VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX, Vocabulary


@pytest.fixture
def rewarded(tiny_experiment, tiny_bundle):
    """Settings of a run on a reward, from an untrained start."""
    tiny_experiment.init_from = str(tiny_bundle)
    tiny_experiment.training.objective = "reinforce"
    tiny_experiment.training.learning_rate = 1e-3
    tiny_experiment.self_critical.num_samples = 3
    return tiny_experiment


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in run.captioner.networks().state_dict().items()}


# ---- random numbers and draws ----


def test_uniform_numbers_follow_from_their_key():
    both = uniform_numbers([(0, 1, 7), (0, 1, 8)], (3, 4))
    assert both.shape == (2, 3, 4)
    assert torch.equal(both[1:], uniform_numbers([(0, 1, 8)], (3, 4)))
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0], uniform_numbers([(1, 1, 7)], (3, 4))[0])


def test_uniform_numbers_are_uniform_and_unrelated():
    numbers = uniform_numbers([(0, 0, i) for i in range(400)], (50,))
    assert 0 <= numbers.min() and numbers.max() < 1
    share = torch.histc(numbers, 20, 0, 1) / numbers.numel()
    assert (share - 0.05).abs().max() < 0.006  # four standard deviations
    related = torch.corrcoef(numbers.T) - torch.eye(50)
    assert related.abs().max() < 0.25  # 1,225 pairs of 400 numbers: five standard deviations


def test_inverted_distribution_by_hand():
    logprobs = torch.tensor([0.5, 0.0, 0.3, 0.2]).log().expand(5, 4)
    numbers = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81])
    assert invert_distribution(logprobs, numbers).tolist() == [0, 0, 2, 2, 3]
    assert invert_distribution(logprobs, torch.ones(5)).tolist() == [3] * 5
    # at temperature 1/2 probabilities are 25 : 9 : 4, that is 0.658, 0.237, 0.105
    assert invert_distribution(logprobs, numbers, 0.5).tolist() == [0, 0, 0, 2, 2]


def test_draws_follow_the_policy(tiny_captioner):
    """The first word of 4,000 draws is distributed as the log-probabilities say."""
    decoder = tiny_captioner.decoder
    features = VisualFeatures(torch.randn(1, 4, 64))
    search = GenerationConfig(method="sample", max_length=2, temperature=0.7)
    uniform = uniform_numbers([0], (4000, 2)).flatten(0, 1)
    with torch.no_grad():
        tokens, _ = sample_from_uniform(decoder, features, search, uniform)
        logits, logprobs = policy_logprobs(decoder, features, tokens, 0.7)
    expected = logits[0, 0].softmax(-1)
    counted = torch.bincount(tokens[:, 0], minlength=len(expected)) / 4000
    assert (counted - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5
    assert expected[[PAD_IDX, START_IDX, UNK_IDX]].sum() == 0
    chosen = expected.log()[tokens[:, 0]]
    torch.testing.assert_close(logprobs[:, 0], chosen, rtol=0, atol=1e-5)


def test_a_picture_draws_the_same_in_any_company(tiny_captioner):
    features = torch.randn(3, 4, 64)
    search = GenerationConfig(method="sample", max_length=6)
    uniform = uniform_numbers([1, 2, 3], (2, 6))
    decoder = tiny_captioner.decoder
    with torch.no_grad():
        together, _ = sample_from_uniform(
            decoder, VisualFeatures(features), search, uniform.flatten(0, 1)
        )
        alone, _ = sample_from_uniform(decoder, VisualFeatures(features[1:2]), search, uniform[1])
    assert torch.equal(together[2:4, : alone.shape[1]], alone)
    assert (together[2:4, alone.shape[1] :] == PAD_IDX).all()


# ---- the gradient ----


def plain_loss(decoder, features, tokens, advantage, forbidden):
    """REINFORCE, word by word, with nothing but `step`."""
    total, words = 0.0, 0
    samples = len(tokens) // len(features)
    for row, caption in enumerate(tokens.tolist()):
        picture = VisualFeatures(features.regions[row // samples].unsqueeze(0))
        state, word = decoder.init_state(picture), START_IDX
        for target in caption:
            if target == PAD_IDX:
                break
            logits, state = decoder.step(torch.tensor([[word]]), state)
            allowed = [i for i in range(logits.shape[-1]) if i not in forbidden]
            logits = logits[0, 0, allowed]
            total = total - advantage[row] * logits.log_softmax(-1)[allowed.index(target)]
            words, word = words + 1, target
            if target == END_IDX:
                break
    return total / words


def test_the_gradient_is_that_of_a_plain_implementation(rewarded):
    """Also with a policy that is far from uniform, captions of any length, `<end>` included."""
    run = prepare_run(rewarded)
    with torch.no_grad():
        run.captioner.decoder.output.bias[END_IDX] = 1.5
        run.captioner.decoder.output.weight.mul_(3)
    batch = next(iter(run.loader))
    stages = Stages(torch.device("cpu"))
    prepared = run.objective.prepare(run, batch, stages, True)
    tokens, advantage = prepared.values["tokens"], prepared.values["advantage"]
    lengths = (tokens != PAD_IDX).sum(1)
    assert lengths.min() < lengths.max() and (tokens == END_IDX).any()
    loss, _ = run.objective.loss(run, prepared, prepared.sums)
    parameters = list(run.captioner.decoder.parameters())
    ours = torch.autograd.grad(loss, parameters)
    twin = copy.deepcopy(run.captioner.decoder).eval()
    features = VisualFeatures(prepared.features.regions)
    plain = plain_loss(twin, features, tokens, advantage, forbidden_words(True))
    theirs = torch.autograd.grad(plain, list(twin.parameters()))
    assert loss.item() == pytest.approx(plain.item(), abs=1e-5)
    assert max(float(g.abs().max()) for g in theirs) > 1e-3
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_words_after_the_end_do_not_count(tiny_captioner):
    features = VisualFeatures(torch.randn(1, 4, 64))
    tokens = torch.tensor([[5, END_IDX, PAD_IDX], [5, 6, END_IDX]])
    _, logprobs = policy_logprobs(tiny_captioner.decoder, features, tokens)
    assert logprobs[0, 2] == 0 and (logprobs[0, :2] < 0).all() and (logprobs[1] < 0).all()


def test_dropout_only_where_it_is_asked_for(rewarded):
    run = prepare_run(rewarded)
    run.captioner.train()
    batch, stages = next(iter(run.loader)), Stages(torch.device("cpu"))

    def twice():
        results = []
        for _ in range(2):
            prepared = run.objective.prepare(run, batch, stages, True)
            loss, _ = run.objective.loss(run, prepared, prepared.sums)
            results.append(loss.item())
        return results

    first, second = twice()
    assert first == second
    rewarded.self_critical.dropout = True
    first, second = twice()
    assert first != second


def test_encoder_sees_each_picture_once_and_learns_when_thawed(rewarded, monkeypatch):
    rewarded.encoder.trainable = "layer1"
    rewarded.self_critical.baseline = "greedy"
    run = prepare_run(rewarded)
    run.captioner.train()
    run.captioner.encoder.set_trainable("layer1")
    seen = []
    forward = run.captioner.encoder.forward
    monkeypatch.setattr(
        run.captioner.encoder, "forward", lambda images: seen.append(len(images)) or forward(images)
    )
    before = weights(run)
    batch = next(iter(run.loader))
    take_step(run, [batch])
    assert seen == [len(batch)]
    after = weights(run)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("encoder.body.layer1") for name in changed)
    assert any(name.startswith("decoder.") for name in changed)


@pytest.mark.parametrize("objective", ["cross_entropy", "reinforce", "risk", "best_of_n"])
def test_accumulated_batches_are_one_large_batch(rewarded, objective):
    rewarded.training.objective = objective
    rewarded.decoder.dropout = 0.0
    rewarded.training.optimizer, rewarded.training.grad_clip = "sgd", 0
    rewarded.training.learning_rate, rewarded.training.schedule = 1.0, "constant"
    results = []
    for size, number in ((12, 1), (4, 3)):
        rewarded.loader.batch_size, rewarded.training.accumulate = size, number
        run = prepare_run(rewarded)
        run.captioner.train()
        batches = iter(run.loader)
        row = take_step(run, [next(batches) for _ in range(number)])
        results.append((weights(run), row))
    (whole, row), (summed, other) = results
    assert row["loss"] == pytest.approx(other["loss"], abs=1e-6)
    for name, value in whole.items():
        torch.testing.assert_close(value, summed[name], rtol=0, atol=1e-6)


def test_normalised_advantages_are_those_of_the_whole_step(rewarded):
    """The step over two batches is the step over one, so both used the same mean and spread."""
    rewarded.self_critical.normalize_advantage = True
    test_accumulated_batches_are_one_large_batch(rewarded, "reinforce")


# ---- learning ----


def says_end(tokens, batch):
    return (tokens == END_IDX).any(1).float()


def test_a_reward_of_ones_own_is_learned(rewarded, tmp_path):
    rewarded.training.num_epochs, rewarded.training.learning_rate = 12, 0.02
    rewarded.self_critical.stop_entropy = 0.0
    quiet(rewarded, reward=says_end)
    rows = rows_of(tmp_path / "model", "step")
    first, last = rows[:5], rows[-5:]
    assert sum(r["reward"] for r in first) / 5 < 0.9
    assert sum(r["reward"] for r in last) / 5 > 0.99
    config = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert list(config["reward"]["reward"]) == ["says_end"]


@pytest.mark.parametrize("baseline", ["leave_one_out", "greedy", "beam", "none"])
def test_every_baseline_raises_cider(rewarded, tmp_path, baseline):
    rewarded.self_critical.baseline = baseline
    rewarded.training.num_epochs, rewarded.training.learning_rate = 8, 0.02
    quiet(rewarded)
    rows = rows_of(tmp_path / "model", "step")
    first, last = (sum(r["reward"] for r in some) / 4 for some in (rows[:4], rows[-4:]))
    assert last > first + 0.08  # CIDEr-D, 0..10


@pytest.mark.parametrize(
    "objective",
    ["ppo", "risk", "max_margin", "multi_margin", "softmax_margin", "best_of_n", "sequence_nll"],
)
def test_every_objective_takes_finite_steps(rewarded, objective):
    rewarded.training.objective = objective
    rewarded.self_critical.entropy_weight = rewarded.self_critical.kl_weight = 0.1
    rewarded.self_critical.diversity_weight = 0.5
    rewarded.self_critical.cross_entropy_weight = 0.2
    rewarded.self_critical.drop_worst = 0.3
    rewarded.self_critical.bleu_weight = 1.0
    run = prepare_run(rewarded)
    run.captioner.train()
    before = weights(run)
    batches = iter(run.loader)
    rows = [take_step(run, [next(batches)]) for _ in range(2)]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6) and rows[1]["kl"] > 0
    changed = weights(run)
    assert not torch.equal(before["decoder.output.weight"], changed["decoder.output.weight"])


# ---- what is logged ----


def test_the_log_says_what_happened(rewarded, tmp_path):
    quiet(rewarded)
    rows = rows_of(tmp_path / "model", "step")
    assert len(rows) == 6
    for row in rows:
        assert row["reward"] == pytest.approx(row["baseline"], abs=1e-5)  # leave-one-out
        assert 0 <= row["ended"] <= 1 and 0 <= row["bad_endings"] <= 1
        assert 1 <= row["distinct"] <= 3 and row["words"] <= 8
        assert 0 < row["entropy"] < math.log(40)
        assert {"ms_encode", "ms_sample", "ms_reward", "ms_update", "grad_norm"} <= set(row)
    epochs = rows_of(tmp_path / "model", "epoch")
    assert [row["epoch"] for row in epochs] == [0, 1, 2]


def test_different_captions_by_hand():
    tokens = torch.tensor([[4, 2], [4, 2], [5, 2], [4, 2], [5, 2], [6, 2]])
    assert different_captions(tokens, 3).tolist() == [2, 3]
    assert different_captions(tokens[:4], 1).tolist() == [1, 1, 1, 1]


def test_tensorboard_gets_the_diagnostics(rewarded, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    quiet(rewarded)
    events = accumulator.EventAccumulator(str(tmp_path / "model" / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"step/reward", "step/baseline", "step/entropy", "step/bad_endings"} <= set(tags)
    assert len(events.Scalars("step/reward")) == 6


def test_signature_is_printed_and_kept(rewarded, tmp_path, capsys):
    from captioning.bundle import Captioner
    from captioning.training.loop import train

    train(rewarded, progress=True)
    said = capsys.readouterr().err
    for part in ("objective reinforce", "CIDEr-D", "sigma 6", "end_token yes", "leave_one_out"):
        assert part in said
    captioner = Captioner.load(tmp_path / "model", "cpu")
    assert captioner.reward["reward"]["CIDEr-D"]["num_documents"] == 24
    assert describe_signature(captioner.reward) in said
    table = tmp_path / "model" / "document_frequency.safetensors"
    assert NgramFrequency.load(table, captioner.vocabulary).num_documents == 24


# ---- refused, and stopped ----


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        ("self_critical", "num_samples", 1, "num_samples: 1 received, at least 2 expected"),
        ("self_critical", "cider_weight", 0.0, "cider_weight, bleu_weight, .* 0 received for all"),
        ("self_critical", "baseline", "mean", "self_critical.baseline: 'mean' received, one of"),
        ("self_critical", "document_frequency", "no.safetensors", "no.safetensors"),
        ("training", "objective", "reinforced", "training.objective: 'reinforced' received, one"),
        ("loader", "batching", "length", "loader.batching: 'length' received, 'padded' expected"),
        ("decoder", "hidden_dim", 32, "decoder.hidden_dim: 32 received, but .* has 24"),
        ("transform", "image_size", 64, "transform.image_size: 64 received, but .* has 32"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    rewarded, tmp_path, place, name, value, message
):
    setattr(getattr(rewarded, place), name, value)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        quiet(rewarded)
    assert not (tmp_path / "model").exists()


def test_a_reward_needs_a_start(rewarded):
    rewarded.init_from = ""
    with pytest.raises(ValueError, match="init_from: none received, a bundle trained with cross-"):
        quiet(rewarded)


def test_a_table_of_another_vocabulary_is_refused(rewarded, tmp_path):
    other = Vocabulary.build(["a dog and a cat"], min_count=1)
    captions = [[other.encode("a dog and a cat")], [other.encode("a dog")]]
    NgramFrequency.build(captions, other, "elsewhere").save(tmp_path / "table.safetensors")
    rewarded.self_critical.document_frequency = str(tmp_path / "table.safetensors")
    with pytest.raises(ValueError, match=other.content_hash):
        quiet(rewarded)


def test_a_reward_that_is_nan_stops_and_names_it(rewarded, tmp_path):
    def broken(tokens, batch):
        return torch.full((len(tokens),), float("nan"))

    with pytest.raises(ValueError, match="reward 'broken': NaN or infinite"):
        quiet(rewarded, reward=broken)


def test_a_collapsed_policy_is_stopped_with_the_last_good_checkpoint(rewarded, tmp_path):
    """Rewarded for one and the same word, every caption becomes that word."""
    rewarded.training.num_epochs, rewarded.training.learning_rate = 60, 0.05
    rewarded.training.save_every_steps = 4

    def favourite(tokens, batch):
        return (tokens == 7).float().sum(1)

    with pytest.raises(TrainingError, match=r"for 20 steps the captions have had no variety"):
        quiet(rewarded, reward=favourite)
    rows = rows_of(tmp_path / "model", "step")  # the step that is refused is not in the log
    assert all(r["entropy"] < 0.02 or (r["distinct"] - 1) / 2 < 0.05 for r in rows[-19:])
    state = torch.load(tmp_path / "model" / "checkpoint" / "state.pt", weights_only=True)
    assert state["progress"]["collapsed"] == 0
    assert state["progress"]["step"] <= rows[-19]["step"]
    assert load_file(tmp_path / "model" / "model.safetensors")


def test_set_dropout_leaves_other_layers_in_training_mode(tiny_captioner):
    decoder = tiny_captioner.decoder.train()
    set_dropout(decoder, False)
    assert decoder.training and not decoder.dropout.training
    set_dropout(decoder, True)
    assert decoder.dropout.training
