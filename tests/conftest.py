"""Small things every test can ask for: a data set, a run that takes seconds, a bundle."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matrix_runs import matrix, matrix_place, trainings  # noqa: F401 - fixtures
from PIL import Image, ImageDraw
from torch import Tensor, nn

from captioning.bundle import Captioner
from captioning.cli import main
from captioning.config import (
    DecoderConfig,
    EncoderConfig,
    Experiment,
    GenerationConfig,
    LoaderConfig,
    TrainingConfig,
    TransformConfig,
    VocabularyConfig,
)
from captioning.training.history import read_history
from captioning.training.loop import train
from captioning.training.run import Run
from data_loader import CaptionDataset, train_transform
from model import VisualFeatures
from vocabulary import Vocabulary

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (20, 160, 40)}
SHAPES = ("ball", "box")
SIDES = ("left", "right")


def draw(colour: str, shape: str, side: str, width: int, height: int) -> Image.Image:
    """A ball or a box in one half of a white picture."""
    image = Image.new("RGB", (width, height), "white")
    x = width // 8 if side == "left" else width // 2 + width // 8
    place = (x, height // 4, x + width // 4, height - height // 4)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "ball" else pen.rectangle)(place, fill=COLOURS[colour])
    return image


def captions_of(colour: str, shape: str, side: str, number: int) -> list[str]:
    """Captions of such a picture; every second picture has one that names the side."""
    said = [
        f"A {colour} {shape}.",
        f"There is a {colour} {shape} on a white sheet.",
        f"A {shape} that is {colour}",
        f"The {shape}'s colour is {colour}, and nothing else is there.",
        f"A {colour} {shape} on the {side}.",
    ]
    return said[:3] if number % 2 else said[2 - number % 3 :]


def write_split(folder: Path, split: str, number: int, first_id: int, rng: random.Random) -> None:
    """`number` pictures of one split with three to five captions each."""
    images, annotations = [], []
    for i in range(number):
        chosen = (rng.choice([*COLOURS]), rng.choice(SHAPES), rng.choice(SIDES))
        size = rng.randint(40, 64), rng.randint(40, 64)
        name = f"{split}_{i:03}.png"
        draw(*chosen, *size).save(folder / "images" / name)
        images.append({"id": first_id + i, "file_name": name, "width": size[0], "height": size[1]})
        for text in captions_of(*chosen, i):
            number_so_far = first_id * 10 + len(annotations)
            entry = {"id": number_so_far, "image_id": first_id + i, "caption": text}
            annotations.append(entry)
    record = {"images": images, "annotations": annotations}
    path = folder / "annotations" / f"captions_{split}.json"
    path.write_text(json.dumps(record), "utf-8")


def write_data(folder: Path, train: int = 24, val: int = 8, test: int = 8) -> Path:
    """A whole data-set folder."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    rng = random.Random(0)
    for split, number, first_id in (("train", train, 100), ("val", val, 500), ("test", test, 900)):
        write_split(folder, split, number, first_id, rng)
    return folder


def small_experiment(data: Path, output: Path, **training: object) -> Experiment:
    """A run of two epochs of three steps with a tiny network."""
    settings = {"num_epochs": 2, "learning_rate": 5e-3, **training}
    return Experiment(
        data=str(data),
        output=str(output),
        device="cpu",
        loader=LoaderConfig(batch_size=8, captions_per_image=2),
        transform=TransformConfig(image_size=32),
        vocabulary=VocabularyConfig(min_count=2),
        encoder=EncoderConfig(backbone="resnet18", weights="none", cut="layer1"),
        decoder=DecoderConfig(embed_dim=16, hidden_dim=24, attention_dim=12),
        training=TrainingConfig(**settings),
        generation=GenerationConfig(beam_size=2, max_length=8),
    )


def quiet(experiment: Experiment, **arguments: object) -> Captioner:
    """Train without bars."""
    return train(experiment, progress=False, **arguments)


def stop_and_resume(experiment: Experiment, step: int = 4) -> Captioner:
    """Train, but for a stop after a step from which the run goes on."""

    class Stop(Exception):
        pass

    def stop(run: Run, row: dict) -> None:
        if run.step == step:
            raise Stop

    with pytest.raises(Stop):
        quiet(experiment, on_step=stop)
    return quiet(experiment, resume=True)


def learn_by_heart(
    decoder: nn.Module, features: VisualFeatures, captions: Tensor, learning_rate: float, steps: int
) -> None:
    """A decoder that learns can say one batch after some steps."""
    optimizer = torch.optim.Adam(decoder.parameters(), learning_rate)
    for _ in range(steps):
        logits = decoder(features, captions[:, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), captions[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert torch.equal(decoder(features, captions[:, :-1]).logits.argmax(-1), captions[:, 1:])


def tiny_flags(**more: object) -> list[str]:
    """Flags of `train` for a run of one epoch with a tiny network."""
    settings = {
        "device": "cpu",
        "loader.batch_size": 8,
        "transform.image_size": 32,
        "vocabulary.min_count": 2,
        "encoder.backbone": "resnet18",
        "encoder.weights": "none",
        "encoder.cut": "layer1",
        "decoder.hidden_dim": 16,
        "training.num_epochs": 1,
    }
    return [f"--{name}={value}" for name, value in (settings | more).items()]


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


@pytest.fixture
def no_captioning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails as soon as a picture is captioned."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a picture was captioned")

    monkeypatch.setattr("captioning.evaluation.evaluate.caption_batches", refuse)


@pytest.fixture
def displays(monkeypatch: pytest.MonkeyPatch) -> tuple[list, list]:
    """What is shown in a notebook, and what takes the place of something shown."""
    shown, updated = [], []

    def show(figure: Figure, display_id: bool) -> SimpleNamespace:
        shown.append(figure)
        return SimpleNamespace(update=updated.append)

    monkeypatch.setattr("captioning.plotting.training.get_ipython", lambda: object())
    monkeypatch.setattr("captioning.plotting.training.display", show)
    return shown, updated


def rows_of(folder: Path, kind: str) -> list[dict]:
    """The steps or the epochs of a run's history."""
    return [row for row in read_history(folder / "history.jsonl") if row["kind"] == kind]


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24, 8 and 8 pictures; nobody may write into it."""
    return write_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """The same data for one test alone, to be damaged."""
    return write_data(tmp_path / "own data")


@pytest.fixture
def tiny_experiment(tiny_data: Path, tmp_path: Path) -> Experiment:
    """Settings of a run that takes about a second."""
    return small_experiment(tiny_data, tmp_path / "model")


@pytest.fixture(scope="session")
def tiny_vocabulary(tiny_data: Path) -> Vocabulary:
    """The words of the training captions."""
    record = json.loads((tiny_data / "annotations" / "captions_train.json").read_text("utf-8"))
    return Vocabulary.build([a["caption"] for a in record["annotations"]], min_count=2)


@pytest.fixture
def dataset(tiny_data: Path, tiny_vocabulary: Vocabulary) -> CaptionDataset:
    """The training split; pictures whose captions name a side are not mirrored."""
    plain, sided = train_transform(32), train_transform(32, flip=False)
    return CaptionDataset(tiny_data, "train", tiny_vocabulary, plain, sided_transform=sided)


@pytest.fixture
def tiny_captioner(tiny_experiment: Experiment, tiny_vocabulary: Vocabulary) -> Captioner:
    """An untrained captioner, always with the same random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Captioner.build(tiny_experiment, tiny_vocabulary).train(False)


@pytest.fixture
def tiny_bundle(tiny_captioner: Captioner, tmp_path: Path) -> Path:
    """It, as a folder."""
    tiny_captioner.save(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with reference data, where there is one."""
    folder = os.environ.get("CAPTIONING_REFERENCE_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CAPTIONING_REFERENCE_DATA names no folder")
    return Path(folder)
