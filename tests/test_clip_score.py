"""CLIP-S and RefCLIP-S: worked by hand, and equal to open_clip's own similarity."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
from clip_judges import UNLIKE, write_clip
from torch.nn import functional as F

from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT, Clip
from captioning.evaluation.clip_score import (
    clip_s,
    prompted,
    ref_clip_s,
    reference_similarity,
)
from captioning.features.vectors import look_at
from data_loader import CaptionDataset, open_image

CAPTIONS = ["A red ball.", "a blue box on the left", "There is a green ball on a white sheet."]


def unit(*degrees: float) -> torch.Tensor:
    """Vectors of length 1 in the plane."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


class Plane(Clip):
    """Reads "PROMPT ANGLE" as the unit vector of that angle; remembers what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def text_vectors(self, texts):
        self.read += texts
        return unit(*(float(text.split()[-1]) for text in texts))


@pytest.fixture(scope="module")
def clip(tiny_vocabulary, tmp_path_factory) -> Clip:
    return load_clip(write_clip(tmp_path_factory.mktemp("clip") / "small", tiny_vocabulary))


# ---- by hand ----


def test_clip_s_by_hand():
    pictures = unit(0, 0, 0, 30, 0)
    captions = unit(0, 60, 90.1, -30, 180)
    assert clip_s(pictures, captions).tolist() == pytest.approx([2.5, 1.25, 0, 1.25, 0], abs=1e-6)
    assert clip_s(pictures, captions, 2.0).tolist() == pytest.approx([2, 1, 0, 1, 0], abs=1e-6)


def test_a_cosine_beyond_1_is_none():
    """Vectors of length 1 in single precision may have a product a little above 1."""
    vector = torch.full((1, 3), 3**-0.5) * (1 + 1e-6)
    assert (vector * vector).sum() > 1
    assert clip_s(vector, vector).item() == 2.5
    assert Plane().similarity(vector, -vector).item() == -1


def test_ref_clip_s_by_hand():
    """The harmonic mean of 2.5 x cosine and a cosine that is not multiplied by 2.5."""
    score, nearest = torch.tensor([1.25, 2.0, 2.5, 0, 1, 0]), torch.tensor([0.75, 0.5, 1, 1, 0, 0])
    expected = [2 * 1.25 * 0.75 / 2, 2 * 2 * 0.5 / 2.5, 2 * 2.5 / 3.5, 0, 0, 0]
    result = ref_clip_s(score, nearest)
    assert result.tolist() == pytest.approx(expected) and result.isfinite().all()


def test_the_nearest_reference_counts():
    plane = Plane()
    references = [["0", "50", "90"], ["180"], ["10", "170"]]
    nearest = reference_similarity(plane, unit(40, 40, 90), references, "depicts ")
    cosines = [math.cos(math.radians(degrees)) for degrees in (10, 140, 80)]
    assert cosines[1] < 0  # counts as 0
    assert nearest.tolist() == pytest.approx([cosines[0], 0, cosines[2]], abs=1e-6)
    assert plane.read == [f"depicts {angle}" for some in references for angle in some]


def test_a_whole_ref_clip_s_by_hand():
    """cos 60 = 1/2 with the picture, cos 0 = 1 with a reference: 2 x 1.25 x 1 / 2.25."""
    captions = unit(60, 60, 120)
    fits = clip_s(unit(0, 0, 0), captions)
    nearest = reference_similarity(Plane(), captions, [["0", "60"], ["240"], ["120"]])
    assert ref_clip_s(fits, nearest).tolist() == pytest.approx([2.5 / 2.25, 0, 0], abs=1e-6)


# ---- as open_clip has it ----


def own_vectors(network, transform, tokens, files):
    """Vectors as a page about open_clip makes them."""
    images = torch.stack([transform(open_image(file)) for file in files])
    with torch.no_grad():
        return (
            network.encode_image(images, normalize=True),
            network.encode_text(tokens, normalize=True),
        )


def files_of(dataset: CaptionDataset) -> list:
    return [dataset.folder / name for name in dataset.file_names]


def test_equals_the_similarity_of_open_clip(clip, dataset: CaptionDataset):
    files = files_of(dataset)[: len(CAPTIONS)]
    tokens = clip.tokenizer([PROMPT + text for text in CAPTIONS])
    images, texts = own_vectors(clip.network, clip.transform, tokens, files)
    cosines = (images * texts).sum(1)
    assert cosines.min() > 0.1 and cosines.std() > 0.01  # so that the comparison says something
    ours = look_at(clip, files), clip.text_vectors([PROMPT + text for text in CAPTIONS])
    torch.testing.assert_close(clip_s(*ours), 2.5 * cosines, atol=1e-5, rtol=0)
    people = [["A box."], ["A red ball.", "The ball's colour is blue."], CAPTIONS]
    own = [
        max(
            0,
            *(
                float(F.cosine_similarity(texts[row], vector, 0))
                for vector in clip.network.encode_text(
                    clip.tokenizer([PROMPT + text for text in some]), normalize=True
                )
            ),
        )
        for row, some in enumerate(people)
    ]
    nearest = reference_similarity(clip, ours[1], people)
    assert nearest.tolist() == pytest.approx(own, abs=1e-5) and own[2] == pytest.approx(1)
    whole = [2 * s * n / (s + n) for s, n in zip((2.5 * cosines).tolist(), own, strict=True)]
    assert ref_clip_s(clip_s(*ours), nearest).tolist() == pytest.approx(whole, abs=1e-5)


def test_equals_open_clip_with_its_own_tokenizer_and_picture_encoder(dataset: CaptionDataset):
    """Byte pairs, a context of 77 and a vision transformer, all small and with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = {"layers": 1, "width": 16, "head_width": 8, "image_size": 32, "patch_size": 16}
        text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        network = open_clip.CLIP(12, vision, text).eval()
    tokenizer = open_clip.SimpleTokenizer()
    look = {"size": 32, "resize_mode": "shortest", "interpolation": "bicubic"}
    clip = Clip("own", network, tokenizer, look)
    files = files_of(dataset)[: len(CAPTIONS)]
    images, texts = own_vectors(network, clip.transform, tokenizer(CAPTIONS), files)
    ours = clip.text_vectors(CAPTIONS)
    torch.testing.assert_close(ours, texts, atol=1e-5, rtol=0)
    assert (ours[0] - ours[1]).norm() > 0.05
    torch.testing.assert_close(look_at(clip, files), images, atol=1e-5, rtol=0)


def test_a_negative_similarity_of_a_whole_clip_is_0(
    tiny_vocabulary, dataset: CaptionDataset, tmp_path
):
    clip = load_clip(write_clip(tmp_path / "clip", tiny_vocabulary, lean=UNLIKE))
    images = look_at(clip, files_of(dataset)[: len(CAPTIONS)])
    texts = clip.text_vectors([PROMPT + text for text in CAPTIONS])
    assert (clip.similarity(images, texts) < -0.1).all()
    assert clip_s(images, texts).tolist() == [0, 0, 0]


def test_half_precision_around_it_changes_nothing(clip, dataset: CaptionDataset):
    files = files_of(dataset)[:2]
    alone = look_at(clip, files), clip.text_vectors(CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        inside = look_at(clip, files), clip.text_vectors(CAPTIONS)
    assert all(torch.equal(*pair) for pair in zip(alone, inside, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_scores_of_the_cpu(tiny_vocabulary, dataset: CaptionDataset, tmp_path):
    folder, files = write_clip(tmp_path / "clip", tiny_vocabulary), files_of(dataset)
    scores = []
    for device in ("cpu", "cuda"):
        judge = load_clip(folder, device)
        images = look_at(judge, files[: len(CAPTIONS)]).to(device)
        scores.append(clip_s(images, judge.text_vectors(CAPTIONS)).cpu())
    torch.testing.assert_close(*scores, atol=1e-4, rtol=0)


def test_the_full_stop_behind_our_captions_is_not_read():
    assert prompted("A red ball.") == "A photo depicts A red ball"
    assert prompted(" A red ball ", "") == "A red ball"
