"""A captioner in one piece: encoder, decoder, vocabulary and settings, saved and loaded together.

`Captioner.load("models/picturebook_xe").caption("photo.jpg")` needs no data set and no other file.
A bundle is a folder: `model.safetensors`, `config.json`, `vocabulary.json`, `history.jsonl`,
`README.md`. Nothing in it is pickled; loading checks sizes and hashes and says what differs.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
import torchvision
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms import v2

from captioning.config import Experiment, GenerationConfig, TransformConfig
from captioning.decoders.build import build_decoder
from captioning.decoding.generation import Generation, check_config, generate
from captioning.encoders.cnn import build_encoder
from captioning.files import write_atomically
from captioning.settings import from_dict
from data_loader import Batch, eval_transform, open_image, to_rgb, train_transform
from model import VisualFeatures
from vocabulary import Vocabulary

CLIP_FOLDER = "clip"  # in a bundle: the settings of the small CLIP that it looks through
FORMAT = 1  # of config.json; raised when older programs could not read it
Images = Tensor | list[Tensor]  # (B, 3, H, W), or B pictures (3, H, W) of unequal sizes


@dataclass(frozen=True)
class Caption:
    """One caption of one picture.

    Args:
        text (str): the sentence.
        words (list[str]): its words.
        logprob (float): natural log of its probability, `<end>` included.
        score (float): what the search ranked it by.
        attention_weights (Tensor | None): (T, P) where the decoder looked for each word.
    """

    text: str
    words: list[str]
    logprob: float
    score: float
    attention_weights: Tensor | None = field(default=None, repr=False, compare=False)


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" takes CUDA, else Apple's MPS, else the CPU.

    Raises:
        ValueError: the name is no device, or the device is not there.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if accelerator is None else accelerator
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device: {name!r} is not available on this machine") from error
    return device


def visual_input(batch: Batch) -> Images | VisualFeatures:
    """What a captioner looks at: the batch's pictures, or the features it brings instead."""
    if batch.features is None:
        return batch.images
    return VisualFeatures(batch.features.float(), batch.region_mask, batch.boxes)


def transforms_of(config: TransformConfig) -> dict:
    """The transforms a config describes: `train`, `sided` (train without the flip) and `eval`."""
    geometry, how = (config.image_size, config.resize_size, config.fit), config.interpolation
    return {
        "train": train_transform(*geometry, config.flip, how),
        "sided": train_transform(*geometry, False, how),
        "eval": eval_transform(*geometry, how),
    }


@dataclass
class Captioner:
    """Pictures in, sentences out.

    Args:
        encoder (nn.Module): pictures -> VisualFeatures.
        decoder (nn.Module): VisualFeatures and words -> logits (DESIGN: decoders).
        vocabulary (Vocabulary): the words behind the ids.
        experiment (Experiment): the settings it was built and trained with.
        record (dict): what is known about its training (scores, seed, versions).
        reward (dict | None): signature of the reward it was trained on, if any.
    """

    encoder: nn.Module
    decoder: nn.Module
    vocabulary: Vocabulary
    experiment: Experiment
    record: dict = field(default_factory=dict)
    reward: dict | None = None

    @classmethod
    def build(
        cls, experiment: Experiment, vocabulary: Vocabulary, load_weights: bool = True
    ) -> Captioner:
        """A captioner with an untrained decoder.

        Raises:
            FileNotFoundError, ValueError: the encoder's weights are missing or do not fit.
        """
        looks = experiment.encoder.backbone != "features"
        if looks and experiment.transform.fit == "native" and not experiment.encoder.grid:
            raise ValueError(
                "encoder.grid: 0 received, 1 or more expected with transform.fit native"
            )
        encoder = build_encoder(experiment.encoder, load_weights)
        decoder = build_decoder(experiment.decoder, len(vocabulary), encoder.feature_dim)
        return cls(encoder, decoder, vocabulary, experiment)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.decoder.parameters()).device

    def to(self, device: torch.device | str) -> Captioner:
        """Move the weights."""
        self.encoder.to(device)
        self.decoder.to(device)
        return self

    def train(self, mode: bool = True) -> Captioner:
        """Training mode for both networks, or evaluation mode."""
        self.encoder.train(mode)
        self.decoder.train(mode)
        return self

    def networks(self) -> nn.ModuleDict:
        """Both networks under the names of the weight file (`encoder.`, `decoder.`)."""
        return nn.ModuleDict({"encoder": self.encoder, "decoder": self.decoder})

    def parts(self) -> list[Captioner]:
        """The captioners this one consists of: itself (an ensemble has several)."""
        return [self]

    # ------------------------------------------------------------------------------ inference

    def generation_config(self, **overrides) -> GenerationConfig:
        """The bundle's decoding defaults with some settings replaced.

        Raises:
            ValueError: a setting is unknown or out of range.
        """
        known = asdict(self.experiment.generation)
        unknown = sorted(set(overrides) - set(known))
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown setting, one of {sorted(known)} expected")
        config = replace(self.experiment.generation, **overrides)
        check_config(config, self.vocabulary)
        return config

    def eval_transform(self) -> v2.Transform:
        """Picture -> the encoder's input, without chance."""
        return transforms_of(self.experiment.transform)["eval"]

    def prepare(self, pictures: Sequence[Image.Image]) -> Images:
        """The encoder's input, on the captioner's device."""
        transform = self.eval_transform()
        images = [transform(picture).to(self.device) for picture in pictures]
        return images if self.experiment.transform.fit == "native" else torch.stack(images)

    def look(self, images: Images | VisualFeatures) -> VisualFeatures:
        """What the encoder sees in prepared pictures; features are handed on as they are."""
        if isinstance(images, VisualFeatures):
            return images
        if isinstance(images, Tensor):
            return self.encoder(images)
        seen = [self.encoder(image[None]) for image in images]  # one by one: sizes differ
        boxes = torch.cat([one.boxes for one in seen])  # (B, P, 4)
        return VisualFeatures(torch.cat([one.regions for one in seen]), None, boxes)

    @torch.inference_mode()
    def generate(
        self, images: Images | VisualFeatures, config: GenerationConfig
    ) -> tuple[Generation, VisualFeatures]:
        """Captions as ids for prepared pictures (or features), and the features they came from."""
        self.train(False)
        features = self.look(images)
        return generate(self.decoder, features, config, vocabulary=self.vocabulary), features

    def describe(self, pictures: Sequence[Image.Image], **overrides) -> list[list[Caption]]:
        """Captions of RGB pictures, `num_samples` of each, best first.

        Args:
            pictures (Sequence[Image.Image]): B pictures as `data_loader.open_image` gives them.
            **overrides: settings of `GenerationConfig`, e.g. `beam_size=3`.

        Returns:
            list[list[Caption]]: B lists.
        """
        config = self.generation_config(**overrides)
        if not pictures:
            return []
        result, _ = self.generate(self.prepare(pictures), config)
        captions = self.to_captions(result)
        per_image = len(captions) // len(pictures)
        return [captions[i : i + per_image] for i in range(0, len(captions), per_image)]

    def to_captions(self, result: Generation) -> list[Caption]:
        """The N rows of a generation as sentences."""
        captions = []
        for row, ids in enumerate(result.tokens.tolist()):
            words = self.vocabulary.decode_words(ids)
            weights = result.attention_weights
            captions.append(
                Caption(
                    text=self.vocabulary.decode(ids),
                    words=words,
                    logprob=float(result.logprobs[row].sum()),
                    score=float(result.scores[row]),
                    attention_weights=None if weights is None else weights[row, : len(words)].cpu(),
                )
            )
        return captions

    def caption(self, picture: str | Path | Image.Image | Sequence, **overrides) -> str | list[str]:
        """The best caption of a picture (file or PIL image), or a list of them for a list.

        Raises:
            UnreadableImageError: a file is not a picture; the message names it.
        """
        if isinstance(picture, str | Path | Image.Image):
            return self.caption([picture], **overrides)[0]
        opened = [to_rgb(p) if isinstance(p, Image.Image) else open_image(p) for p in picture]
        return [captions[0].text for captions in self.describe(opened, **overrides)]

    # ------------------------------------------------------------------------------ files

    def save(self, folder: str | Path, half: bool = False) -> None:
        """Write the bundle; every file is replaced whole or not at all.

        Args:
            folder (str | Path): the bundle, made if needed.
            half (bool): store the weights in half precision.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.networks().state_dict()
        dtype = torch.float16 if half else None
        state = {
            name: value.detach()
            .to("cpu", dtype if value.is_floating_point() else None)
            .contiguous()
            for name, value in state.items()
        }
        if self.experiment.encoder.backbone == "clip":
            keep_clip(self.experiment.encoder.clip_model, folder)
        write_atomically(folder / "vocabulary.json", self.vocabulary.save)
        write_atomically(folder / "model.safetensors", lambda path: save_file(state, path))
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        write_atomically(folder / "config.json", lambda path: path.write_text(text, "utf-8"))

    def to_dict(self) -> dict:
        """What `config.json` holds."""
        return {
            "format": FORMAT,
            "vocabulary": {"size": len(self.vocabulary), "hash": self.vocabulary.content_hash},
            "reward": self.reward,
            "experiment": asdict(self.experiment),
            "record": self.record,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
            },
        }

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Captioner:
        """Read a bundle.

        Raises:
            FileNotFoundError: the folder or one of its files is missing.
            ValueError: the files do not belong together; the message says what was found and
                what was expected.
        """
        folder = Path(folder)
        config = _read_config(folder)
        vocabulary = Vocabulary.load(folder / "vocabulary.json")
        _check_vocabulary(folder, config["vocabulary"], vocabulary)
        try:
            experiment = from_dict(Experiment, config["experiment"])
            if (folder / CLIP_FOLDER).is_dir():
                experiment.encoder.clip_model = str(folder / CLIP_FOLDER)
            captioner = cls.build(experiment, vocabulary, load_weights=False)
        except ValueError as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from error
        captioner.record, captioner.reward = config.get("record", {}), config.get("reward")
        load_weights(captioner.networks(), folder / "model.safetensors")
        return captioner.to(pick_device(device)).train(False)


def keep_clip(model: str, folder: Path) -> None:
    """Keep the settings of a small CLIP whose eyes a captioner has; weights are in the bundle."""
    kept = folder / CLIP_FOLDER
    if not Path(model).is_dir() or Path(model).resolve() == kept.resolve():
        return
    kept.mkdir(exist_ok=True)
    for name in ("open_clip_config.json", "vocabulary.json"):
        content = (Path(model) / name).read_bytes()
        write_atomically(kept / name, lambda path, content=content: path.write_bytes(content))


def _read_config(folder: Path) -> dict:
    for name in ("config.json", "vocabulary.json", "model.safetensors"):
        if not (folder / name).is_file():
            what = "no such folder" if not folder.is_dir() else f"no {name} in it"
            raise FileNotFoundError(f"{folder}: not a model bundle ({what})")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else None
        raise ValueError(f"{path}: format {found!r} found, {FORMAT} expected")
    if not isinstance(config.get("experiment"), dict):
        raise ValueError(f"{path}: a mapping 'experiment' expected")
    vocabulary = config.get("vocabulary")
    if not isinstance(vocabulary, dict) or not {"size", "hash"} <= set(vocabulary):
        raise ValueError(f"{path}: 'vocabulary' with 'size' and 'hash' expected")
    return config


def _check_vocabulary(folder: Path, expected: dict, vocabulary: Vocabulary) -> None:
    """Refuse a vocabulary the model was not trained with, also one of equal size."""
    if len(vocabulary) != expected["size"]:
        raise ValueError(
            f"{folder}: vocabulary.json has {len(vocabulary)} words, the model was trained "
            f"with {expected['size']}"
        )
    if vocabulary.content_hash != expected["hash"]:
        raise ValueError(
            f"{folder}: vocabulary.json has hash {vocabulary.content_hash}, the model was trained "
            f"with {expected['hash']}: as many words, but not the same ones"
        )


def load_weights(networks: nn.Module, path: Path) -> None:
    """Copy a weight file into networks of the same sizes.

    Raises:
        ValueError: the file is damaged, or a name or size differs; the message gives both sizes.
    """
    expected = {name: tuple(value.shape) for name, value in networks.state_dict().items()}
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a complete weight file ({error})") from error
    for name in expected:
        if name not in found:
            raise ValueError(f"{path}: tensor {name!r} is missing")
        if found[name] != expected[name]:
            raise ValueError(
                f"{path}: {name!r} has size {found[name]}, the settings ask for {expected[name]}"
            )
    extra = sorted(set(found) - set(expected))
    if extra:
        raise ValueError(f"{path}: tensor {extra[0]!r} has no place in this architecture")
    networks.load_state_dict(load_file(path))
