"""Learning a small CLIP: its loss by hand and as open_clip has it, its batches, its schedule."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from clip_cases import write_small
from tiny_clips import SIZES

from captioning.clip.loading import load_clip
from captioning.clip.settings import ClipConfig
from captioning.training.clip import Pairs, batches, contrastive_loss, info_nce
from captioning.training.clip_steps import Optimizer
from captioning.training.update import TrainingError

# ------------------------------------------------------------------------------------- the loss


def test_the_loss_by_hand():
    """Similarities 1 s / 0 s with s = cos 45 degrees: two rows, two columns, each halved."""
    s = math.sqrt(0.5)
    seen = torch.tensor([[3.0, 0.0], [0.0, 0.5]])  # lengths do not matter
    read = torch.tensor([[2.0, 0.0], [7.0, 7.0]])
    rows = math.log(math.exp(1) + math.exp(s)) - 1, math.log(1 + math.exp(s)) - s
    columns = math.log(math.exp(1) + 1) - 1, math.log(2 * math.exp(s)) - s
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert expected == pytest.approx(0.4912, abs=1e-4)
    assert info_nce(seen, read, torch.tensor(0.0)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
def test_the_loss_is_that_of_open_clip(scale):
    torch.manual_seed(0)
    seen, read = torch.randn(7, 5), torch.randn(7, 5)
    unit = (F.normalize(seen, dim=-1), F.normalize(read, dim=-1))
    theirs = open_clip.ClipLoss()(*unit, torch.tensor(scale))
    ours = info_nce(seen, read, torch.tensor(math.log(scale)))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_similarities_are_multiplied_by_100_at_most():
    torch.manual_seed(0)
    seen, read = torch.randn(4, 5), torch.randn(4, 5)
    most = info_nce(seen, read, torch.tensor(math.log(100.0)))
    assert info_nce(seen, read, torch.tensor(9.0)).item() == pytest.approx(most.item())
    assert info_nce(seen, read, torch.tensor(1.0)).item() != pytest.approx(most.item())


def test_one_batch_is_learned_by_heart(tmp_path, tiny_vocabulary):
    clip = load_clip(str(write_small(tmp_path / "clip", tiny_vocabulary, **SIZES)))
    network, texts = clip.network, ["a red ball.", "a blue box.", "a green ball.", "a red box."]
    torch.manual_seed(0)
    grids = torch.randn(4, 64, 64)
    learned = [p for name, p in network.named_parameters() if "visual.encoder" not in name]
    learned = [p.requires_grad_() for p in learned]
    optimizer = torch.optim.Adam(learned, 3e-3)
    first = contrastive_loss(network, clip.tokenizer, grids, texts, "fp32").item()
    for _ in range(60):
        loss = contrastive_loss(network, clip.tokenizer, grids, texts, "fp32")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first > 1 and loss.item() < 0.02


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 30])
def test_the_learning_rate_rises_and_falls_for_any_number_of_steps(steps):
    """torch's schedule divides by zero for ten steps in all."""
    matrix, bias = (torch.nn.Parameter(torch.ones(*size)) for size in ((2, 2), (2,)))
    optimizer = Optimizer([matrix, bias], ClipConfig(learning_rate=0.1), steps)
    assert [group["weight_decay"] for group in optimizer.adam.param_groups] == [0.3, 0.0]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.schedule.get_last_lr()[0])
        optimizer.step(matrix.sum() + bias.sum(), 0)
    assert all(0 < rate <= 0.1 for rate in rates)
    if steps == 30:
        assert rates[0] < 0.01 and rates[-1] < 0.01 and max(rates) > 0.09
        assert rates.index(max(rates)) in (2, 3)


def test_a_loss_that_is_no_number_changes_no_weight():
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = Optimizer([matrix], ClipConfig(learning_rate=0.1), 5)
    assert optimizer.step(matrix.sum(), 0) == 4
    before = matrix.clone()
    with pytest.raises(TrainingError, match="epoch 3: the loss is nan"):
        optimizer.step(matrix.sum() * math.nan, 2)
    assert matrix.equal(before) and not before.equal(torch.ones(2, 2))


# ---------------------------------------------------------------------------------- the batches


@pytest.fixture
def pairs() -> Pairs:
    """21 pictures, of two views each; grids and captions say which picture they belong to."""
    views = [torch.arange(21.0).view(-1, 1, 1) + 100 * view for view in range(2)]
    return Pairs(views, [[f"{row} {word}" for word in ("one", "two")] for row in range(21)])


def test_every_picture_stands_in_a_batch_once_with_a_caption_of_its_own(pairs):
    config = ClipConfig(batch_size=8, seed=5)
    for epoch in range(3):
        made = batches(pairs, epoch, config, prompted=0)
        assert [len(texts) for _, texts in made] == [8, 8, 5]
        rows = torch.cat([grids for grids, _ in made]).flatten().tolist()
        assert sorted(rows) == [row + 100 * (epoch % 2) for row in range(21)]
        said = [text.split() for _, texts in made for text in texts]
        assert [int(number) for number, _ in said] == [row % 100 for row in rows]
        assert {word for _, word in said} == {"one", "two"}


@pytest.mark.parametrize(("share", "least", "most"), [(0, 0, 0), (1, 21, 21), (0.5, 4, 17)])
def test_a_share_of_the_captions_stands_behind_the_prompt(pairs, share, least, most):
    config = ClipConfig(batch_size=8, prompt="Look: ")
    texts = [text for _, some in batches(pairs, 0, config, share) for text in some]
    number = sum(text.startswith("Look: ") for text in texts)
    assert least <= number <= most
    usual = [some for _, some in batches(pairs, 0, config)]
    assert usual == [some for _, some in batches(pairs, 0, config, 0.5)]


def test_batches_follow_from_seed_and_epoch(pairs):
    def said(epoch: int, seed: int) -> list[list[str]]:
        return [texts for _, texts in batches(pairs, epoch, ClipConfig(batch_size=8, seed=seed))]

    assert said(1, 0) == said(1, 0)
    assert said(1, 0) != said(0, 0) and said(1, 0) != said(1, 1)


def test_a_picture_that_would_be_alone_in_the_last_batch_is_left_out(pairs):
    made = batches(pairs, 0, ClipConfig(batch_size=20))
    assert [len(texts) for _, texts in made] == [20]
    assert [len(texts) for _, texts in batches(pairs, 0, ClipConfig(batch_size=21))] == [21]
