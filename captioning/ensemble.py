"""Several captioners that speak with one voice: each word is chosen by the mean of their opinions.

An `Ensemble` is a captioner whose encoder and decoder stand for those of its members, so every
search, and whatever else takes a captioner, works with it. The probability of a word is the
weighted mean of the members' probabilities; the members may be of any kind and see pictures of any
size, but they must know the same words under the same ids.

Source: R. Luo's ImageCaptioning.pytorch (`eval_ensemble`), for the mean of softmaxes.
Departures: there only decoders of one family go together, the vocabulary of the first is taken
without a look at the others, and weights need not sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import to_pil_image

from captioning.bundle import Captioner, Images
from captioning.decoders.groups import teacher_force_groups
from model import State, VisualFeatures


@dataclass
class EnsembleInput:
    """The same pictures, prepared for each member.

    Args:
        members (list): what each member's `prepare` gave.
    """

    members: list[Images]


@dataclass
class EnsembleFeatures(VisualFeatures):
    """What each member sees in the same B pictures; for others it looks like the first one's.

    Args:
        members (list[VisualFeatures]): one of each member.
    """

    members: list[VisualFeatures] = field(default_factory=list)

    @classmethod
    def of(cls, members: list[VisualFeatures]) -> EnsembleFeatures:
        """The features of an ensemble, from those of its members."""
        first = members[0]
        return cls(first.regions, first.region_mask, first.boxes, members)


class EnsembleDecoder(nn.Module):
    """Decoders side by side; their `logits` are the log of the mean of their probabilities.

    It keeps the contract of a decoder but for `attention_weights`: the members look at regions of
    their own.

    Args:
        members (Sequence[nn.Module]): decoders of the same vocabulary.
        weights (Sequence[float]): of their probabilities, with a sum of 1.

    Raises:
        ValueError: the members write different numbers of words per step.
    """

    def __init__(self, members: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        sizes = sorted({member.group_size for member in members})
        if len(sizes) > 1:
            raise ValueError(f"group_size: {sizes} received, equal sizes expected in an ensemble")
        self.group_size = sizes[0]
        self.members = nn.ModuleList(members)
        self.register_buffer("log_weights", torch.tensor(weights).log())

    def init_state(self, features: EnsembleFeatures, rows_per_image: int = 1) -> State:
        """The members' states, their tensors under names like `0.hidden`."""
        pairs = zip(self.members, features.members, strict=True)
        return join_states([member.init_state(seen, rows_per_image) for member, seen in pairs])

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Known words (N, G) -> logits (N, G, V) of the words to say, state after the last."""
        opinions, states = [], []
        for number, member in enumerate(self.members):
            logits, after = member.step(tokens, state_of(state, number))
            opinions.append(logits.float().log_softmax(-1) + self.log_weights[number])
            states.append(after)
        return torch.stack(opinions).logsumexp(0), join_states(states)

    forward = teacher_force_groups  # (features, captions[:, :-1]) -> logits (N, T, V)


def join_states(states: Sequence[State]) -> State:
    """One state out of those of several decoders."""
    return {
        part: {
            f"{number}.{name}": tensor
            for number, state in enumerate(states)
            for name, tensor in state[part].items()
        }
        for part in ("image", "words")
    }


def state_of(state: State, number: int) -> State:
    """The state of one of the decoders again."""
    prefix = f"{number}."
    return {
        part: {
            name.removeprefix(prefix): tensor
            for name, tensor in tensors.items()
            if name.startswith(prefix)
        }
        for part, tensors in state.items()
    }


class Ensemble(Captioner):
    """Several captioners as one. Decoding defaults are those of the first.

    Args:
        members (Sequence[Captioner]): at least one; all on one device.
        weights (Sequence[float]): of the members' probabilities, at least 0, scaled to a sum of 1;
            none: all equal.
        names (Sequence[str]): what the members are called in messages.

    Raises:
        ValueError: the members' vocabularies differ; no weight for a member, or a negative one.
    """

    def __init__(
        self,
        members: Sequence[Captioner],
        weights: Sequence[float] = (),
        names: Sequence[str] = (),
    ) -> None:
        self.members = list(members)
        self.names = list(names) or [f"member {n}" for n in range(1, len(self.members) + 1)]
        check_vocabularies(self.members, self.names)
        shares = normalized(weights or [1.0] * len(self.members), len(self.members))
        super().__init__(
            encoder=nn.ModuleList([member.encoder for member in self.members]),
            decoder=EnsembleDecoder([member.decoder for member in self.members], shares),
            vocabulary=self.members[0].vocabulary,
            experiment=self.members[0].experiment,
            record={"ensemble": dict(zip(self.names, shares, strict=True))},
        )

    def parts(self) -> list[Captioner]:
        """The members."""
        return self.members

    @property
    def sees_alike(self) -> bool:
        """Whether a picture prepared for one member is prepared for all."""
        first, *others = (member.experiment.transform for member in self.members)
        geometry = (first.image_size, first.resize_size, first.fit)
        return all(geometry == (one.image_size, one.resize_size, one.fit) for one in others)

    def eval_transform(self) -> v2.Transform:
        """Picture -> tensor: the members' own, or, where they differ, the picture as it is."""
        if self.sees_alike:
            return super().eval_transform()
        return v2.PILToTensor()  # `look` prepares it for each of them

    def prepare(self, pictures: Sequence[Image.Image]) -> EnsembleInput:
        """The input of every encoder, on the captioner's device."""
        return EnsembleInput([member.prepare(pictures) for member in self.members])

    def look(self, images: EnsembleInput | Images | VisualFeatures) -> EnsembleFeatures:
        """What every member sees.

        Args:
            images (EnsembleInput | Images | VisualFeatures): what `prepare` gave; pictures that
                `eval_transform` gave, as a batch or one by one; or features for all members.

        Raises:
            ValueError: the members cannot share these pictures or features.
        """
        if isinstance(images, EnsembleInput):
            pairs = zip(self.members, images.members, strict=True)
            return EnsembleFeatures.of([member.look(own) for member, own in pairs])
        if isinstance(images, VisualFeatures):
            self.check_features(images)
        elif images[0].dtype == torch.uint8:
            return self.look(self.prepare([to_pil_image(image.cpu()) for image in images]))
        elif not self.sees_alike:
            raise ValueError(
                f"images: prepared pictures received, but {', '.join(self.names)} prepare theirs "
                "in different ways; `prepare` does it for each"
            )
        return EnsembleFeatures.of([member.look(images) for member in self.members])

    def save(self, folder: str | Path, half: bool = False) -> None:
        """An ensemble is no bundle.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{folder}: an ensemble is not saved; its members are bundles already")

    def check_features(self, features: VisualFeatures) -> None:
        """Refuse features of another size than a member learned from.

        Raises:
            ValueError: names the member.
        """
        found = features.regions.shape[-1]
        for name, member in zip(self.names, self.members, strict=True):
            if member.encoder.feature_dim != found:
                expected = f"{member.encoder.feature_dim} expected by {name}"
                raise ValueError(f"features: {found} numbers a region received, {expected}")


def check_vocabularies(members: Sequence[Captioner], names: Sequence[str]) -> None:
    """Refuse members that know different words, or the same under different ids.

    Raises:
        ValueError: names the first member that differs, and both hashes.
    """
    hashes = [member.vocabulary.content_hash for member in members]
    for name, found in zip(names, hashes, strict=True):
        if found != hashes[0]:
            raise ValueError(
                f"{name}: vocabulary {found} found, {hashes[0]} as of {names[0]} expected (the "
                "members of an ensemble share one vocabulary)"
            )


def normalized(weights: Sequence[float], number: int) -> list[float]:
    """Weights with a sum of 1.

    Raises:
        ValueError: not as many as members, one is negative or not finite, or all are 0.
    """
    usable = all(math.isfinite(weight) and weight >= 0 for weight in weights)
    if len(weights) != number or not usable or not sum(weights) > 0:
        allowed = f"{number} numbers of at least 0 expected, not all of them 0"
        raise ValueError(f"model_weights: {list(weights)} received, {allowed}")
    return [weight / sum(weights) for weight in weights]


def parse_models(models: Sequence[str], weights: str = "") -> tuple[list[str], list[float]]:
    """Bundles and weights as they are typed: `A,B` and `0.7,0.3`.

    Args:
        models (Sequence[str]): bundles; a text with commas is several, unless it names a folder.
        weights (str): as many numbers, separated by commas; none: all equal.

    Returns:
        tuple[list[str], list[float]]: folders, and weights with a sum of 1.

    Raises:
        ValueError: a name is empty, or the weights do not fit.
    """
    folders: list[str] = []
    for text in models:
        folders += [text] if Path(text).is_dir() else [one.strip() for one in text.split(",")]
    if not folders or not all(folders):
        raise ValueError(f"model: {','.join(models)!r} received, bundles like A or A,B expected")
    try:
        numbers = [float(one) for one in weights.split(",")] if weights else [1.0] * len(folders)
    except ValueError:
        raise ValueError(f"model_weights: {weights!r} received, numbers expected") from None
    return folders, normalized(numbers, len(folders))


def load_captioner(
    models: Sequence[str], weights: str = "", device: str = "auto"
) -> Captioner | Ensemble:
    """Read one bundle, or several as an ensemble.

    Args:
        models, weights: see `parse_models`.
        device (str): see `pick_device`.

    Raises:
        FileNotFoundError, ValueError: a bundle cannot be read, or they do not go together.
    """
    folders, shares = parse_models(models, weights)
    members = [Captioner.load(folder, device) for folder in folders]
    return members[0] if len(members) == 1 else Ensemble(members, shares, folders)
