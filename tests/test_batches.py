"""Batches: everything once, the same for any number of workers, from any position."""

from __future__ import annotations

import json
import pickle
import random
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_loader import (
    CaptionDataset,
    CaptionLoader,
    eval_transform,
    length_batches,
    pad_regions,
    padded_batches,
    read_annotations,
)
from vocabulary import END_IDX, PAD_IDX, START_IDX, Packed


def captions_with_lengths(rng, number):
    """Made-up captions: for each picture zero to six lists of ids."""
    return [[[1] * rng.randint(2, 6) for _ in range(rng.randint(0, 6))] for _ in range(number)]


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 7), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_padded_batches_hold_every_picture_once(seed, batch_size, number, epoch):
    captions = captions_with_lengths(random.Random(seed), 13)
    batches = padded_batches(captions, batch_size, number, seed, epoch)
    items = [item for batch in batches for item in batch]
    assert sorted(item.image for item in items) == [i for i, some in enumerate(captions) if some]
    assert all(len(batch) == batch_size for batch in batches[:-1])
    for item in items:
        there = len(captions[item.image])
        assert len(item.captions) == number and item.epoch == epoch
        assert len(set(item.captions)) == min(number, there)  # none twice before all were once
        assert set(item.captions) <= set(range(there))
    assert batches == padded_batches(captions, batch_size, number, seed, epoch)


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_length_batches_hold_every_caption_once_among_equals(seed, batch_size, epoch):
    captions = captions_with_lengths(random.Random(seed), 13)
    batches = length_batches(captions, batch_size, seed, epoch)
    pairs = [(item.image, *item.captions) for batch in batches for item in batch]
    assert sorted(pairs) == [(i, c) for i, some in enumerate(captions) for c in range(len(some))]
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({len(captions[item.image][item.captions[0]]) for item in batch}) == 1


def test_order_changes_from_epoch_to_epoch():
    captions = captions_with_lengths(random.Random(1), 20)
    for make in (
        lambda e: padded_batches(captions, 4, 2, 0, e),
        lambda e: length_batches(captions, 4, 0, e),
    ):
        orders = [[item.image for batch in make(epoch) for item in batch] for epoch in (0, 1)]
        assert orders[0] != orders[1]


@pytest.mark.parametrize("batching", ["padded", "length"])
def test_batches_are_well_formed(dataset, batching):
    per_image = 3 if batching == "padded" else 1
    for batch in CaptionLoader(dataset, 5, per_image, batching):
        rows = len(batch) * per_image
        assert batch.images.shape == (len(batch), 3, 32, 32) and batch.features is None
        assert len(batch.captions) == rows and (batch.captions[:, 0] == START_IDX).all()
        assert torch.equal(batch.token_mask, batch.captions != PAD_IDX)
        assert ((batch.captions == END_IDX).sum(1) == 1).all()
        if batching == "length":
            assert batch.token_mask.all()
        for row in range(rows):  # image-major: row n belongs to picture n // S
            words = batch.captions[row][batch.token_mask[row]].tolist()
            assert words in batch.references[row // per_image]
        for image_id, references in zip(batch.image_ids, batch.references, strict=True):
            assert references == dataset.captions[dataset.image_ids.index(image_id)]


def same_batches(one, two):
    assert len(one) == len(two) > 0
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.captions, b.captions)
        assert a.image_ids == b.image_ids and a.references == b.references


def test_workers_change_nothing(dataset):
    same_batches([*CaptionLoader(dataset, 5, 2)], [*CaptionLoader(dataset, 5, 2, num_workers=2)])


@pytest.mark.parametrize("batching", ["padded", "length"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_position_can_be_saved_and_restored(dataset, batching, workers):
    whole = CaptionLoader(dataset, 7, 2, batching)
    for _ in whole:  # the first epoch
        pass
    expected = [*whole]
    broken = CaptionLoader(dataset, 7, 2, batching, num_workers=workers)
    for _ in broken:
        pass
    first = [*islice(broken, 2)]
    state = json.loads(json.dumps(broken.state_dict()))
    assert state == {"epoch": 1, "position": 2}
    resumed = CaptionLoader(dataset, 7, 2, batching)
    resumed.load_state_dict(state)
    same_batches(expected, first + [*resumed])
    assert resumed.state_dict() == {"epoch": 2, "position": 0}


def test_a_position_at_the_very_end_of_an_epoch(dataset):
    loader = CaptionLoader(dataset, 24, 1)
    loader.load_state_dict({"epoch": 0, "position": 1})
    assert [*loader] == [] and loader.state_dict() == {"epoch": 1, "position": 0}


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_pictures_are_left_out_of_the_batch_and_named(
    own_data, tiny_vocabulary, workers
):
    (own_data / "images" / "train_003.png").write_bytes(b"")
    (own_data / "images" / "train_007.png").unlink()
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, eval_transform(32))
    batches = [*CaptionLoader(dataset, 4, 2, num_workers=workers)]
    skipped = sorted(message for batch in batches for message in batch.skipped)
    assert len(skipped) == 2 and sum(map(len, batches)) == 22
    assert "train_003.png: not a picture (empty file)" in skipped[0]
    assert "train_007.png: no such file" in skipped[1]
    assert all(len(batch.captions) == 2 * len(batch) for batch in batches)


def test_a_batch_without_any_readable_picture_is_empty(own_data, tiny_vocabulary):
    for path in (own_data / "images").iterdir():
        path.write_bytes(b"")
    dataset = CaptionDataset(own_data, "train", tiny_vocabulary, eval_transform(32))
    batch = next(iter(CaptionLoader(dataset, 4, 2)))
    assert len(batch) == 0 and batch.images is None and len(batch.skipped) == 4


def test_to_moves_tensors_only(dataset):
    batch = next(iter(CaptionLoader(dataset, 4, 2)))
    moved = batch.to("meta")
    assert moved.images.is_meta and moved.captions.is_meta and moved.token_mask.is_meta
    assert moved.image_ids == batch.image_ids and moved.features is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: 0 received, 1 or more expected"),
        ({"captions_per_image": -1}, "captions_per_image: -1 received"),
        ({"batching": "bucket"}, "batching: 'bucket' received, 'padded' or 'length' expected"),
    ],
)
def test_loader_refuses_impossible_numbers(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        CaptionLoader(dataset, **arguments)


def test_loader_needs_captions(tiny_data, tiny_vocabulary, tmp_path):
    text = json.dumps({"images": [{"id": 1, "file_name": "a.png"}]})
    (tmp_path / "bare.json").write_text(text)
    coco = read_annotations(tiny_data, "train", tmp_path / "bare.json")
    bare = CaptionDataset(tiny_data, "bare", tiny_vocabulary, eval_transform(32), annotations=coco)
    with pytest.raises(ValueError, match="split 'bare': no captions"):
        CaptionLoader(bare)


def test_packed_captions_are_the_lists_they_were_made_from():
    rows = [["A dog.", "Zwei Männer"], [], ["ein Hund 🐕"]]
    packed = Packed(rows)
    assert len(packed) == 3 and packed == rows and packed[-1] == rows[-1] and packed[:2] == rows[:2]
    assert pickle.loads(pickle.dumps(packed)) == rows  # as workers that are not forked get it
    with pytest.raises(IndexError):
        packed[3]


def test_regions_of_unequal_number_are_filled_up_and_masked():
    pairs = [(torch.ones(3, 2), torch.ones(3, 4)), (torch.ones(1, 2), torch.ones(1, 4))]
    regions, mask, boxes = pad_regions(pairs)
    assert regions.shape == (2, 3, 2) and boxes.shape == (2, 3, 4)
    assert mask.tolist() == [[True] * 3, [True, False, False]]
    assert (regions[1, 1:] == 0).all()
    equal = pad_regions([(torch.ones(2, 2), None), (torch.ones(2, 2), torch.ones(2, 4))])
    assert equal[1] is None and equal[2] is None
