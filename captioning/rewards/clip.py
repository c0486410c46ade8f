"""CLIP-S, RefCLIP-S and grammar as rewards: no references needed, or not only references.

A reward gets word ids. They are written out as lower-case words behind the prompt, and read by
CLIP in single precision without gradient; the vectors of all pictures are made once, before
training. `captioning/evaluation/clip_score.py` is the same as a metric.

CLIP alone rewards what CLIP likes: a caption that repeats the right words scores better than a
sentence. Lesson 7 shows it, and what helps: CIDEr-D or grammar beside it, or a penalty for leaving
the start (`self_critical.kl_weight`).

Source: J. Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
EMNLP 2021, section 3; J. Cho et al., "Fine-grained Image Captioning with CLIP Reward", Findings of
NAACL 2022, section 3.
Departures: a caption without words gets 0, whatever CLIP makes of the bare prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captioning.clip.grammar import Grammar
from captioning.clip.model import PROMPT, Clip
from captioning.evaluation.clip_score import SCALE, clip_s, nearest_similarity, ref_clip_s
from captioning.rewards.ngrams import has_words, samples_per_picture
from vocabulary import Vocabulary, join_words

if TYPE_CHECKING:
    from data_loader import Batch


def write_out(tokens: Tensor, vocabulary: Vocabulary) -> list[str]:
    """Word ids (N, T) as lower-case sentences without a full stop."""
    return [join_words(vocabulary.decode_words(row), False) for row in tokens.tolist()]


class PictureVectors:
    """The vectors of the pictures that will be asked for, on the device.

    Args:
        image_ids (Sequence): P ids.
        vectors (Tensor): (P, D), length 1 each.
    """

    def __init__(self, image_ids: Sequence[Hashable], vectors: Tensor) -> None:
        self.vectors = vectors
        self._rows = {image_id: row for row, image_id in enumerate(image_ids)}

    def of(self, batch: Batch, samples: int) -> Tensor:
        """(N, D) for N = B x `samples` captions, image-major.

        Raises:
            ValueError: a picture is not among them.
        """
        try:
            rows = [self._rows[image_id] for image_id in batch.image_ids]
        except KeyError as error:
            raise ValueError(
                f"image_ids: {error.args[0]!r} received, one of the {len(self._rows)} pictures "
                "with a vector expected"
            ) from error
        index = torch.tensor(rows, device=self.vectors.device)
        return self.vectors[index].repeat_interleave(samples, 0)


class ClipReward:
    """CLIP-S of captions, 0 to `scale`.

    Args:
        clip (Clip): reads the captions; the tuned one of a grammar judge is possible.
        pictures (PictureVectors): made by the same CLIP, on its device.
        vocabulary (Vocabulary): what the ids mean.
        prompt (str): said before each caption.
        scale (float): of the cosine.
    """

    def __init__(
        self,
        clip: Clip,
        pictures: PictureVectors,
        vocabulary: Vocabulary,
        prompt: str = PROMPT,
        scale: float = SCALE,
    ) -> None:
        self.clip, self.pictures, self.vocabulary = clip, pictures, vocabulary
        self.prompt, self.scale = prompt, scale

    def signature(self) -> dict:
        """What a reader needs to compute the same numbers again."""
        return {
            "metric": "CLIP-S",
            "clip": self.clip.name,
            "weights": self.clip.weights_hash,
            "scale": self.scale,
            "prompt": self.prompt.strip(),
        }

    def read(self, tokens: Tensor) -> Tensor:
        """The vectors of captions behind the prompt, (N, D)."""
        texts = write_out(tokens, self.vocabulary)
        return self.clip.text_vectors([self.prompt + text for text in texts])

    @torch.no_grad()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """CLIP-S of N = B x S captions.

        Args:
            tokens (Tensor): word ids as `Generation.tokens` has them, image-major, (N, T).
            batch (Batch): its `image_ids` (B) say whose captions these are.

        Returns:
            Tensor: float32, (N,).

        Raises:
            ValueError: a picture has no vector, or N is no multiple of B.
        """
        samples = samples_per_picture(tokens, batch)
        scores = clip_s(self.pictures.of(batch, samples), self.read(tokens), self.scale)
        return scores.to(tokens.device) * has_words(tokens)


class RefClipReward:
    """RefCLIP-S of captions: how well they fit the picture and the nearest reference.

    Args:
        reward (ClipReward): the other half.
        references (Mapping): picture id to its captions, as written.
    """

    def __init__(self, reward: ClipReward, references: Mapping[Hashable, Sequence[str]]) -> None:
        self.reward, self.references = reward, references
        self._read: dict[Hashable, Tensor] = {}  # the vectors (R, D) of references that were read

    def signature(self) -> dict:
        """As `ClipReward.signature`."""
        return self.reward.signature() | {"metric": "RefCLIP-S"}

    @torch.no_grad()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """RefCLIP-S of N captions, see `ClipReward`."""
        samples, reward = samples_per_picture(tokens, batch), self.reward
        texts = reward.read(tokens)
        picture = clip_s(reward.pictures.of(batch, samples), texts, reward.scale)
        people = [self._vectors(image_id) for image_id in batch.image_ids for _ in range(samples)]
        nearest = nearest_similarity(texts, people)
        return ref_clip_s(picture, nearest).to(tokens.device) * has_words(tokens)

    def _vectors(self, image_id: Hashable) -> Tensor:
        """The references of a picture; each is read once in a run."""
        if image_id not in self._read:
            texts = [self.reward.prompt + text for text in self.references[image_id]]
            self._read[image_id] = self.reward.clip.text_vectors(texts)
        return self._read[image_id]


class GrammarReward:
    """The probability that a caption is a whole sentence, 0 to 1.

    Args:
        grammar (Grammar): the judge; its own prompt is used.
        vocabulary (Vocabulary): what the ids mean.
    """

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        self.grammar, self.vocabulary = grammar, vocabulary

    def signature(self) -> dict:
        """As `ClipReward.signature`."""
        judge = self.grammar
        prompt = judge.prompt.strip()
        return {"metric": "grammar", "weights": judge.weights_hash, "prompt": prompt}

    @torch.no_grad()
    def __call__(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Of N captions (N, T), float32, (N,)."""
        chances = self.grammar.probability(write_out(tokens, self.vocabulary))
        return chances.to(tokens.device) * has_words(tokens)
