"""Latency: what is compared says the same words, and times are put together as described."""

from __future__ import annotations

import json
from functools import partial
from itertools import count

import pytest
import torch
from decoder_cases import config_of, make_features
from PIL import Image
from tiny_bundles import tiny_bundle

from captioning.bench import latency, latency_models
from captioning.bench.latency import Plan, alternate, measure_latency, spread, timed
from captioning.bench.latency_models import (
    Sizes,
    Uncached,
    random_captioners,
    split_inputs,
    synthetic_inputs,
)
from captioning.bench.latency_table import format_table
from captioning.config import GenerationConfig
from captioning.decoders.build import build_decoder
from captioning.decoding.generation import generate

TINY = Sizes(2, 16, 32, 2, num_words=40, feature_dim=8, max_length=7, backbone="features")
PLAN = Plan((1, 3), (1, 2), rounds=2)


@pytest.fixture
def ticks(monkeypatch):
    """A clock that is one second later whenever somebody looks."""
    clock = count()
    monkeypatch.setattr(latency.time, "perf_counter", lambda: float(next(clock)))


# ---------------------------------------------------------------------------------------- no cache


@pytest.mark.parametrize("group_size", [1, 2, 3])
@pytest.mark.parametrize("option", ["plain", "relations_memory", "meshed", "x_linear", "g2"])
def test_without_cache_the_words_and_their_probabilities_are_the_same(option, group_size):
    config = config_of(f"transformer {option}")
    config.transformer.group_size = group_size
    torch.manual_seed(1)
    decoder = build_decoder(config, 13, 6).eval()
    with torch.no_grad():
        decoder.output.weight.mul_(4)  # words are told apart
    for settings in ({"method": "greedy"}, {"method": "beam", "beam_size": 3}):
        asked = GenerationConfig(max_length=7, **settings)
        ours, theirs = (
            generate(form, make_features(), asked) for form in (decoder, Uncached(decoder))
        )
        assert torch.equal(ours.tokens, theirs.tokens)
        torch.testing.assert_close(ours.logprobs, theirs.logprobs)
        torch.testing.assert_close(ours.attention_weights, theirs.attention_weights)


def test_without_cache_everything_is_read_anew(monkeypatch):
    captioner = random_captioners([2], TINY)["K = 2"]
    read, projected = [], []
    decoder, looking = captioner.decoder, captioner.decoder.layers[0].regions
    whole, project = decoder.read, looking.project
    monkeypatch.setattr(decoder, "read", lambda t, s: (read.append(t.shape[1]), whole(t, s))[1])
    monkeypatch.setattr(looking, "project", lambda x: (projected.append(0), project(x))[1])
    config = GenerationConfig(max_length=7)
    features = synthetic_inputs(captioner, 2)
    generate(Uncached(decoder), features, config)
    assert (read, len(projected)) == ([2, 4, 6, 8], 4)
    generate(decoder, features, config)
    assert (read[4:], len(projected)) == ([2, 2, 2, 2], 5)


# ------------------------------------------------------------------------------------------ models


def test_random_models_share_their_weights_and_never_end():
    state = torch.get_rng_state()
    models = random_captioners([1, 3], TINY)
    assert torch.equal(state, torch.get_rng_state())  # nobody else's random numbers change
    assert [(n, m.decoder.group_size) for n, m in models.items()] == [("K = 1", 1), ("K = 3", 3)]
    first, second = (model.decoder.state_dict() for model in models.values())
    assert all(torch.equal(first[name], second[name]) for name in first)
    for model in models.values():
        found, _ = model.generate(synthetic_inputs(model, 3), model.experiment.generation)
        assert found.tokens.shape == (3, 7) and not (found.tokens == 2).any()


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        ([], "group_sizes: none received"),
        ([0], "group_sizes: 0 received"),
        ([2, 2], "group_sizes: 2 received twice"),
        ([8], "group_sizes: 8 received, different whole numbers from 1 to 7 expected"),
    ],
)
def test_group_sizes_that_cannot_be_are_refused(groups, part):
    with pytest.raises(ValueError, match=part):
        random_captioners(groups, TINY)


def test_inputs_of_a_split(tiny_data, tmp_path):
    captioner = tiny_bundle(tmp_path)
    first = split_inputs(tiny_data, "test")(captioner, 3)
    file = tiny_data / "images" / "test_000.png"
    assert first.shape == (3, 3, 32, 32)
    assert torch.equal(first[:1], captioner.prepare([Image.open(file).convert("RGB")]))
    with pytest.raises(ValueError, match="8 pictures found in split 'test', 9 expected"):
        split_inputs(tiny_data, "test")(captioner, 9)
    blind = random_captioners([1], TINY)["K = 1"]
    with pytest.raises(ValueError, match="features: none received"):
        split_inputs(tiny_data, "test")(blind, 1)


# ------------------------------------------------------------------------------------------- times


def test_a_part_is_timed_within_the_whole(ticks):
    part = torch.nn.Identity()
    cpu = torch.device("cpu")
    assert timed(lambda: None, cpu, part) == (1, 0)
    assert timed(lambda: (part(0), part(0)), cpu, part) == (5, 2)
    assert not part._forward_hooks and not part._forward_pre_hooks


def test_arms_take_turns_until_the_time_is_up(ticks):
    order = []
    arms = {name: partial(order.append, name) for name in "ab"}
    assert {name: len(found) for name, found in alternate(arms, 2, 0).items()} == {"a": 2, "b": 2}
    assert order == list("abab")
    assert len(alternate(arms, 9, 0)["a"]) == 3  # three in any case
    assert len(alternate(arms, 9, 3)["a"]) == 6  # a look at the clock before each from then on


def test_spread_by_hand():
    values = spread([0.005, 0.001, 0.002, 0.004, 0.003], 1000)
    assert values == {"median": 3.0, "lower": 2.0, "upper": 4.0}


def test_spans_lie_within_each_other(ticks, tmp_path):
    """A second a look at the clock: a search has three, one of them in the region encoder."""
    models = random_captioners([1, 2], TINY) | {"eyes": tiny_bundle(tmp_path, "transformer")}
    record = measure_latency(models, Plan((2,), (1,), rounds=2, seconds=1000))
    assert record["baseline"] == "K = 1"
    [case] = record["cases"]
    arms = {(arm["model"], arm["cache"]): arm for arm in case["arms"]}
    assert [*arms] == [(n, c) for n in models for c in (True, False)] and case["rounds"] == 2
    for (name, _), arm in arms.items():
        seconds = {"decoder": 2, "search": 3, "captioning": 4}
        seconds |= {"end_to_end": 5} if name == "eyes" else {}
        spans = arm["spans"]
        for key, scale in (("batch_ms", 1000), ("picture_ms", 500)):
            medians = {span: one[key]["median"] for span, one in spans.items()}
            assert medians == {span: scale * value for span, value in seconds.items()}
        assert spans["search"]["faster_than_uncached"] == {"median": 1, "lower": 1, "upper": 1}
    assert "faster_than_cached" not in arms["eyes", True]["spans"]["end_to_end"]
    assert arms["K = 1", True]["words"] == 7
    assert case["parts"]["K = 1"].keys() == {"detokenising", "region_encoder"}
    assert case["parts"]["eyes"].keys() == {"detokenising", "region_encoder", "cnn"}


def test_speed_is_the_time_of_the_baseline_by_the_own():
    own, cached, uncached = [2.0, 4.0], [4.0, 12.0], [8.0, 16.0]
    spans = {("a", True): {"search": cached}, ("a", False): {"search": uncached}}
    [one] = latency._compare({"search": own}, spans, "a", 4).values()
    assert one["picture_ms"] == {"median": 750, "lower": 625, "upper": 875}
    assert one["faster_than_cached"] == {"median": 2.5, "lower": 2.25, "upper": 2.75}
    assert one["faster_than_uncached"]["median"] == 4


def test_other_words_without_the_cache_are_refused(monkeypatch):
    def wrong(self, tokens, state):
        logits, state = right(self, tokens, state)
        return logits.flip(-1), state

    right = Uncached.step
    monkeypatch.setattr(Uncached, "step", wrong)
    with pytest.raises(ValueError, match="K = 2: batch 1, beam 1: other words"):
        measure_latency(random_captioners([2], TINY), PLAN)


@pytest.mark.parametrize(
    ("plan", "part"),
    [
        (Plan(batch_sizes=()), "batch_sizes: none"),
        (Plan(batch_sizes=(5000,)), "batch_sizes: 5000 received"),
        (Plan(beam_sizes=(38,)), "beam_sizes?: 38 received, 1 to 37 expected"),
        (Plan(beam_sizes=(10**8,)), "beam_size: 100000000 received"),
        (Plan(rounds=1), "rounds: 1 received"),
        (Plan(seconds=float("nan")), "seconds: nan received"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan, part):
    with pytest.raises(ValueError, match=part):
        measure_latency(random_captioners([1], TINY), plan)


# ----------------------------------------------------------------------------------------- command


@pytest.fixture
def bench(run_cli, monkeypatch, tmp_path):
    """The command with tiny models, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    tiny = partial(Sizes, 2, 16, 32, 2, num_words=40, feature_dim=8)
    monkeypatch.setattr(latency_models, "Sizes", tiny)
    return partial(run_cli, "bench", "latency", "--device=cpu")


def test_the_command_writes_numbers_and_a_picture(bench, tmp_path):
    flags = ["--group_sizes=1,3", "--batch_sizes=1,2", "--rounds=2", "--backbone=features"]
    files = ["--output=a/l.json", "--plot=a/l.png"]
    code, out, err = bench(*flags, *files, "--threads=1")
    assert code == 0 and err.count(" rounds, ") == 4
    assert "all captions have 16 words" in out and "K = 1 without cache" in out
    record = json.loads((tmp_path / "a" / "l.json").read_text("utf-8"))
    assert record["machine"]["threads"] == 1 and len(record["machine"]["load"]) == 2
    assert out.endswith(format_table(record) + "\n")
    assert (tmp_path / "a" / "l.png").read_bytes().startswith(b"\x89PNG")
    code, out, err = bench(*flags, *files)
    assert (code, out) == (1, "") and "a/l.json: exists already" in err
    code, out, err = bench(*flags, *files, "--overwrite", "--json")
    assert code == 0 and json.loads(out).keys() == record.keys()


def test_bundles_of_any_kind_are_measured(bench, tiny_data, tmp_path):
    for kind in ("attention", "transformer"):
        tiny_bundle(tmp_path / kind, kind)
    flags = ["--models=attention,transformer", "--batch_sizes=2", "--beam_sizes=1", "--rounds=2"]
    code, out, _ = bench(*flags, "--json", f"--data={tiny_data}", "--split=val")
    record = json.loads(out)
    arms = [(arm["model"], arm["cache"]) for arm in record["cases"][0]["arms"]]
    assert code == 0
    assert arms == [("attention", True), ("transformer", True), ("transformer", False)]
    assert record["inputs"]["split"] == "val" and record["baseline"] == "attention"
    assert "decoder" not in record["cases"][0]["arms"][0]["spans"]  # no region encoder
    code, out, _ = bench(*flags, "--plot=x.png")
    assert code == 0 and "| 2 | 1 | transformer | no |" in out
    assert "attention with cache" in out and "without" not in out  # it has no such choice


@pytest.mark.parametrize(
    ("flags", "code", "part"),
    [
        (["--group_sizes=1,x"], 2, "group_sizes: 'x' received"),
        (["--group_sizes=17", "--backbone=features"], 2, "group_sizes: 17 received"),
        (["--batch_sizes="], 2, "batch_sizes: '' received"),
        (["--beam_sizes=0", "--backbone=features"], 2, "beam_sizes: 0 received"),
        (["--beam_sizes=39", "--backbone=features"], 2, "beam_size: 39 received, 1 to 37"),
        (["--rounds=1", "--backbone=features"], 2, "rounds: 1 received"),
        (["--backbone=vgg"], 2, "encoder.backbone: 'vgg' received"),
        (["--image_size=0"], 2, "transform.image_size: 0 received"),
        (["--threads=-1"], 2, "threads: -1 received"),
        (["--threads=2000"], 2, "threads: 2000 received"),
        (["--device=moon"], 2, "device: 'moon' is not available"),
        (["--models=no"], 1, "no: not a model bundle (no such folder)"),
        (["--models=no,no"], 2, "models: 'no,no' received, different bundles"),
        (["--models=no", "--image_size=0"], 2, "image_size: 0 received, none expected"),
        (["--data=d"], 2, "data: 'd' received, but no --models"),
        (["--models=no", "--features=f"], 2, "features: 'f' received, but no --data"),
        (["--plot=a.jpg"], 2, "plot: 'a.jpg' received"),
        (["--plot=a.png", "--output=./a.png"], 2, "another file than output"),
        (["--output=."], 1, "a folder"),
    ],
)
def test_wrong_usage_gets_one_sentence(bench, flags, code, part, tmp_path):
    before = [*tmp_path.iterdir()]
    found, out, err = bench(*flags)
    assert (found, out) == (code, "") and part in err and err.count("\n") == 1
    assert [*tmp_path.iterdir()] == before


def test_stopped_nothing_is_written(bench, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(latency, "alternate", stop)
    flags = ["--group_sizes=1", "--backbone=features", "--output=l.json", "--plot=l.png"]
    threads = torch.get_num_threads()
    assert bench(*flags, "--threads=2")[0] == 1
    assert [*tmp_path.iterdir()] == [] and torch.get_num_threads() == threads


def test_a_result_is_shown_before_a_disk_can_lose_it(bench, monkeypatch, tmp_path):
    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr("captioning.files.write_atomically", full)
    flags = ["--group_sizes=1", "--backbone=features", "--batch_sizes=1", "--rounds=2"]
    code, out, err = bench(*flags, "--output=l.json")
    assert code == 1 and "| K = 1 | yes | 16.0 |" in out and err.endswith("error: no space\n")
