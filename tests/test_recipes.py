"""Recipes: understood, consistent with each other, and faithful to the published schedules."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clip_cases import write_small
from jsonargparse import Namespace

from captioning.bench.recipes import read_yaml
from captioning.bundle import Captioner
from captioning.clip.grammar import new_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT
from captioning.clip.settings import ClipConfig
from captioning.commands import distill, features, train_clip
from captioning.commands.train import parser
from captioning.config import EncoderConfig, Experiment, SelfCriticalConfig
from captioning.datasets.picturebook.writer import write_picturebook
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter
from captioning.rewards.build import weights_of
from captioning.settings import from_dict
from captioning.training.clip import check_sizes
from captioning.training.history import read_history
from captioning.training.loop import train
from captioning.training.run import check_names_and_phases, check_same_architecture
from data_loader import read_annotations
from vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in (ROOT / "recipes").glob("*.yaml") if "eyes" not in path.stem)
JUDGES = [path for path in FILES if "objective" in read_yaml(path, "recipe")]  # of train-clip
RECIPES = [path for path in FILES if path not in JUDGES]
CLIPS = [path.stem for path in RECIPES if path.stem.startswith("coco_clip_")]
COCO = [p.stem for p in RECIPES if p.stem.startswith("coco_") and p.stem not in CLIPS]
COCO_PICTURES, BOOK_PICTURES = 113_287, 3_000  # of train


@functools.cache
def parse(name: str) -> dict[str, Any]:
    record = parser().parse_args(["--config", str(ROOT / "recipes" / f"{name}.yaml")]).as_dict()
    return {key: record[key] for key in vars(Experiment())}


def read(name: str) -> Experiment:
    return from_dict(Experiment, parse(name))


def read_judge(name: str) -> ClipConfig:
    path = ROOT / "recipes" / f"{name}.yaml"
    record = train_clip.parser().parse_args(["--config", str(path)]).as_dict()
    return from_dict(ClipConfig, {key: record[key] for key in vars(ClipConfig())})


def typed_features(path: Path) -> list[Namespace]:
    """The commands that make stores, as the head of a recipe says."""
    head = path.read_text("utf-8").replace("\\\n", "").replace("\n#", "\n").replace("#", "")
    typed = re.findall(r"features ([a-z-]+ --.+)", head)
    return [features.parser().parse_args(words.split()) for words in typed]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_understood_and_says_how_to_run_it(path):
    experiment = read(path.stem)
    text = path.read_text("utf-8")
    assert text.startswith("# ") and f"train --config recipes/{path.name}" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    if path.stem.startswith("coco_"):
        assert experiment.output == f"models/{path.stem}" and "CIDEr" in text


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_store_can_be_made_as_a_recipe_says(path):
    experiment, typed = read(path.stem), typed_features(path)
    store, judge = experiment.loader.features, experiment.self_critical.clip
    assert typed or not store or "Starts from" in path.read_text("utf-8")
    for flags in typed:
        own = flags[flags.kind]
        assert own.data in ("", experiment.data)
        if flags.kind == "clip":
            assert (own.clip, own.output) == (judge.model, judge.vectors)
        else:
            assert own.output == store


STAGES = {
    "coco_fc": ("_scst", "_nsc"),
    "coco_att2in": ("_scst", "_nsc"),
    "coco_updown": ("_scst", "_nsc"),
    "coco_transformer": ("_scst", "_nsc"),
    "coco_object_relation": ("_scst",),
    "coco_spatial": ("_scst",),
    **{f"coco_satic_k{size}": ("_nsc",) for size in (2, 4, 6)},
}
SATIC = [path.stem for path in RECIPES if re.search(r"_satic_k\d$", path.stem)]


def test_the_stages_of_every_decoder():
    assert sorted(COCO) == sorted(f"{n}{stage}" for n in STAGES for stage in ("", *STAGES[n]))
    kinds = {"fc", "att2in2", "updown", "transformer"}
    assert {read(name).decoder.kind for name in COCO} == kinds
    options = [read(name).decoder.transformer for name in ("coco_object_relation", "coco_spatial")]
    assert [one.relations for one in options] == [True, False]
    assert [one.position for one in options] == ["none", "gxg"]
    assert [one.cross_attention for one in options] == ["dot_product", "x_linear"]


@pytest.mark.parametrize("name", [name for name in COCO if name.endswith(("_scst", "_nsc"))])
def test_the_second_stage_fits_the_first(name):
    second = read(name)
    first = read(Path(second.init_from).name)
    check_same_architecture(second, first)
    assert first.output == second.init_from
    assert second.loader.features == first.loader.features
    assert second.vocabulary.max_length == first.vocabulary.max_length
    baseline = {"scst": "greedy", "nsc": "leave_one_out"}[name.rpartition("_")[2]]
    assert second.self_critical.baseline == baseline
    rate, schedule = second.training.learning_rate, second.training.schedule
    if second.decoder.kind == "transformer":
        assert 5e-6 <= rate <= 2e-5 and schedule in ("constant", "plateau")
        assert second.training.adam_beta2 == first.training.adam_beta2 == 0.98
    else:
        assert schedule == "constant" and rate == 5e-5


@pytest.mark.parametrize("name", SATIC)
def test_words_in_groups_as_published(name):
    """Zhou et al. 2021: initial weights, distilled captions, then reward on people's captions."""
    first = read(name)
    second = read(f"{name}_nsc" if name.startswith("coco") else f"{name}_scst")
    assert first.decoder.transformer.group_size == int(name[-1])
    assert first.training.objective == "cross_entropy" and first.training.label_smoothing == 0
    if name.startswith("coco"):
        teacher = read(Path(first.init_from).name)
        assert teacher.output == first.init_from and teacher.training.objective == "reinforce"
        assert (first.training.num_epochs, first.training.warmup_steps) == (15, 20_000)
        assert (second.training.num_epochs, second.training.learning_rate) == (25, 1e-5)
        assert second.training.schedule == "constant"
    else:
        teacher = Captioner.load(ROOT / first.init_from).experiment
        first.encoder.feature_dim = teacher.encoder.feature_dim  # the run reads it from the store
        assert second.init_from == first.output
        second.encoder.feature_dim = first.encoder.feature_dim
        check_same_architecture(second, first)
    check_same_architecture(first, teacher)
    assert teacher.decoder.transformer.group_size == 1
    assert second.decoder == first.decoder and not second.train_captions
    assert (
        second.self_critical.baseline == "leave_one_out" and second.self_critical.num_samples == 5
    )


@pytest.mark.parametrize("name", SATIC)
def test_distilled_captions_can_be_made_as_a_recipe_says(name):
    text = (ROOT / "recipes" / f"{name}.yaml").read_text("utf-8")
    (typed,) = re.findall(r"captioning distill (--.+)", text.replace(" \\\n#  ", ""))
    flags, experiment = distill.parser().parse_args(typed.split()), read(name)
    assert (flags.model, flags.data) == (experiment.init_from, experiment.data)
    assert flags.features == experiment.loader.features and flags.beam_size == 5
    assert flags.split == "train" and f"train_captions: {flags.output}\n" in text


@pytest.mark.parametrize("name", [n for n in STAGES if read(n).training.schedule == "noam"])
def test_the_peak_of_noam_is_the_published_one(name):
    """Vaswani et al. 2017, equation 3, where the rise ends."""
    experiment = read(name)
    settings, width = experiment.training, experiment.decoder.transformer.model_dim
    peak = width**-0.5 * settings.warmup_steps**-0.5
    assert settings.learning_rate == pytest.approx(peak, rel=1e-3)
    epochs = settings.warmup_steps * experiment.loader.batch_size / COCO_PICTURES
    assert epochs < settings.num_epochs / 5


@pytest.mark.parametrize("name", COCO)
def test_the_store_of_a_recipe_is_named_after_its_regions(name):
    experiment = read(name)
    store, encoder = Path(experiment.loader.features).stem, experiment.encoder
    made_elsewhere = encoder.backbone == "features"
    assert store == ("regions" if made_elsewhere else f"{encoder.backbone}_grid{encoder.grid}")
    assert made_elsewhere == (experiment.decoder.kind == "transformer")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A small picture book with a store of made-up features, and room for the runs."""
    folder = tmp_path_factory.mktemp("recipes")
    write_picturebook(folder / "book", train=24, val=4, test=2, image_size=32, workers=1)
    rng = np.random.default_rng(0)
    with StoreWriter(folder / "f.h5", imported_signature("test"), 6, True) as writer:
        for picture in list_data(folder / "book", list_splits(folder / "book")):
            boxes = np.array([[0, 0, 0.5, 1], [0.4, 0.1, 1, 1], [0.3, 0.3, 0.6, 0.6]], np.float32)
            writer.append(picture.image_id, rng.random((3, 6), np.float32), boxes, (32, 32))
        writer.finish()
    return folder


def shrink(experiment: Experiment) -> None:
    """Sizes and a warm-up for a run of two or three steps."""
    decoder = experiment.decoder
    decoder.embed_dim = decoder.hidden_dim = decoder.attention_dim = 8
    sizes = decoder.transformer
    sizes.model_dim = sizes.feedforward_dim = 16
    sizes.num_heads, sizes.encoder_layers, sizes.num_layers = 2, 1, 1
    sizes.position_grid = 3
    settings = experiment.training
    settings.num_epochs, settings.warmup_steps = 1, min(1, settings.warmup_steps)
    experiment.vocabulary.min_count = 1
    experiment.loader.batch_size = min(12, experiment.loader.batch_size)


def run_small(book: Path, name: str, start: str = "") -> tuple[Experiment, list[dict]]:
    """Train a recipe, shrunk, on the small picture book: its settings then, and its steps."""
    experiment = read(name)
    experiment.data, experiment.device = str(book / "book"), "cpu"
    experiment.output = str(book / name)
    experiment.init_from = str(book / start) if start else ""
    if experiment.train_captions:
        experiment.train_captions = str(book / "book" / "annotations" / "captions_train.json")
    experiment.loader.features, experiment.loader.num_workers = str(book / "f.h5"), 0
    experiment.encoder = EncoderConfig(backbone="features", weights="none")
    judge = experiment.self_critical.clip
    judge.model, judge.vectors = judge.model and str(book / "clip"), ""
    judge.grammar = judge.grammar and str(book / "judge")
    shrink(experiment)
    train(experiment, overwrite=True, progress=False)
    rows = read_history(book / name / "history.jsonl")
    return experiment, [row for row in rows if row["kind"] == "step"]


@pytest.mark.parametrize("name", STAGES)
def test_the_stages_of_a_recipe_run_on_the_picture_book(book, name):
    for stage in ("", *STAGES[name]):
        experiment, steps = run_small(book, name + stage, name if stage else "")
        assert len(steps) == math.ceil(24 / experiment.loader.batch_size)
        assert all(row["loss"] == row["loss"] for row in steps)
        assert ("reward" in steps[0]) is bool(stage)
        baseline = experiment.self_critical.baseline if stage else None
        assert (Captioner.load(experiment.output).reward or {}).get("baseline") == baseline


# ---------------------------------------------------------------------------------- CLIP's rewards

REWARDED = [path.stem for path in RECIPES if read(path.stem).self_critical.mixture]
STARTS = sorted({Path(read(name).init_from).name for name in REWARDED})
NAMES = {"cider": "CIDEr-D", "clip": "CLIP-S", "grammar": "grammar"}  # of rewards in bundles


@pytest.mark.parametrize("path", JUDGES, ids=lambda path: path.stem)
def test_a_recipe_of_train_clip_is_understood_and_says_how_to_run_it(path):
    config, text = read_judge(path.stem), path.read_text("utf-8")
    assert text.startswith("# ") and f"train-clip --config recipes/{path.name}" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    data, _, name = path.stem.partition("_")
    assert config.data == f"data/{data}"
    assert config.output == (
        f"models/my_{name}" if data == "picturebook" else f"models/{path.stem}"
    )
    assert bool(config.clip) is (config.objective == "grammar") is path.stem.endswith("grammar")
    if config.objective == "contrastive":
        check_sizes(config)
        weights = config.encoder.weights
        assert weights.startswith("data/") or (ROOT / weights).is_file()  # one's own, or shipped
    typed = typed_features(path)
    assert bool(typed) is bool(config.features)
    for flags in typed:
        own = flags[flags.kind]
        assert flags.kind == ("clip" if config.clip else "extract")
        assert (own.clip, own.data, own.output) == (config.clip, config.data, config.features)


def test_the_grammar_judge_is_taught_as_published():
    config = read_judge("coco_grammar")
    assert config.clip == "ViT-B-32:openai" and config.objective == "grammar"
    assert (config.num_epochs, config.batch_size) == (30, 1600)
    assert (config.learning_rate, config.weight_decay) == (1e-4, 0.01)


def test_the_grid_of_clip_is_the_one_that_the_recipe_trains_on():
    experiment = read("coco_clip_mle")
    (typed,) = typed_features(ROOT / "recipes" / "coco_clip_mle.yaml")
    made, encoder, look = typed[typed.kind], experiment.encoder, experiment.transform
    for name, value in (
        ("encoder", encoder.backbone),
        ("clip_model", encoder.clip_model),
        ("weights", encoder.weights),
        ("grid", encoder.grid),
        ("fit", look.fit),
        ("image_size", look.image_size),
        ("interpolation", look.interpolation),
    ):
        assert (made[name] or type(value)()) == value, name


@pytest.mark.parametrize("name", ["coco_clip_mle", *REWARDED])
def test_the_warm_up_ends_long_before_the_run(name):
    """The released settings of Cho et al. 2022 warm up for longer than they train."""
    experiment = read(name)
    number = COCO_PICTURES if name.startswith("coco_") else BOOK_PICTURES
    steps = experiment.training.num_epochs * math.ceil(number / experiment.loader.batch_size)
    assert experiment.training.warmup_steps < steps / 5


def test_the_clip_recipes_are_a_family():
    mixtures = SelfCriticalConfig.__dataclass_fields__["mixture"].metadata["choices"]
    assert sorted(CLIPS) == sorted(f"coco_clip_{one}" for one in ("mle", *filter(None, mixtures)))
    first = read("coco_clip_mle")
    assert first.training.objective == "cross_entropy" and not first.init_from
    assert (first.training.num_epochs, first.loader.batch_size) == (25, 200)
    assert (first.loader.captions_per_image, first.generation.method) == (5, "greedy")


@pytest.mark.parametrize("name", [name for name in CLIPS if name in REWARDED])
def test_rewards_of_clip_as_published(name):
    """Cho et al. 2022: what is paid, what it is compared to, and how slowly it is learned."""
    first, second = read("coco_clip_mle"), read(name)
    assert second.init_from == first.output
    check_same_architecture(second, first)
    check_names_and_phases(second)
    for part in ("encoder", "decoder", "transform", "vocabulary", "generation"):
        assert getattr(second, part) == getattr(first, part)
    assert second.loader.features == first.loader.features
    reward, settings = second.self_critical, second.training
    assert (f"coco_clip_{reward.mixture}", reward.mixture_weights) == (name, "paper")
    assert (reward.baseline, reward.num_samples) == ("greedy", 5)
    assert (settings.objective, settings.optimizer) == ("reinforce", "adam")
    assert (settings.learning_rate, settings.schedule, settings.warmup_steps) == (
        5e-6,
        "constant",
        0,
    )
    assert settings.keep == ("best" if reward.mixture == "cider" else "last")
    weights = weights_of(reward)
    assert (reward.clip.model == "ViT-B-32:openai") is ("clip" in weights)
    assert bool(reward.clip.vectors) is ("clip" in weights)
    judge = read_judge("coco_grammar")
    if "grammar" in weights:
        assert (reward.clip.grammar, reward.clip.model) == (judge.output, judge.clip)
        assert (reward.clip.vectors, reward.clip.text) == (judge.features, "grammar")


@pytest.mark.parametrize("name", [name for name in REWARDED if name not in CLIPS])
def test_rewards_on_the_picture_book_continue_what_they_name(name):
    second = read(name)
    first = read(Path(second.init_from).name)
    check_same_architecture(second, first)
    check_names_and_phases(second)
    assert second.loader.features == first.loader.features


@pytest.fixture(scope="module")
def judged(book):
    """The small picture book with a small CLIP and a grammar judge, both with random weights."""
    captions = [one["caption"] for one in read_annotations(book / "book", "train").anns.values()]
    write_small(book / "clip", Vocabulary.build([*captions, PROMPT], 1), context_length=40)
    new_grammar(load_clip(str(book / "clip")), PROMPT).save(book / "judge")
    return book


@pytest.mark.parametrize("start", STARTS)
def test_what_clip_rewards_runs_on_the_picture_book(judged, start):
    _, steps = run_small(judged, start)
    assert steps and "reward" not in steps[0]
    for name in REWARDED:
        if Path(read(name).init_from).name != start:
            continue
        experiment, steps = run_small(judged, name, start)
        assert len(steps) == math.ceil(24 / experiment.loader.batch_size)
        assert all(math.isfinite(row["loss"]) for row in steps)
        paid = {NAMES[one]: w for one, w in weights_of(experiment.self_critical).items()}
        kept = Captioner.load(experiment.output).reward
        assert {one: own["weight"] for one, own in kept["reward"].items()} == paid
        assert kept["baseline"] == experiment.self_critical.baseline
        assert len(paid) == 1 or {f"reward {one}" for one in paid} <= set(steps[0])
