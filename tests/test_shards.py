"""Tar shards: written whole, read once, shuffled, dealt out to readers, resumed exactly."""

from __future__ import annotations

import itertools
import json
import shutil
import tarfile

import pytest
import torch
from conftest import quiet, rows_of, small_experiment, stop_and_resume, write_data
from PIL import Image

from captioning.cli import main
from captioning.datasets.shard_loader import ShardLoader
from captioning.datasets.shards import Shard, index_of, read_index, read_shard, write_shards
from data_loader import CaptionDataset, eval_transform
from vocabulary import Vocabulary


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """24 training pictures in 6 shards of 4; val and test as pictures."""
    folder = tmp_path_factory.mktemp("shards")
    data = write_data(folder / "data")
    output = folder / "sharded"
    command = ["data", "shards", str(data), "--output", str(output), "--pictures", "4"]
    assert main(command) == 0
    return output


@pytest.fixture
def dataset(sharded):
    record = json.loads((sharded / "annotations" / "captions_train.json").read_text())
    vocabulary = Vocabulary.build([a["caption"] for a in record["annotations"]], 1)
    return CaptionDataset(sharded, "train", vocabulary, eval_transform(32))


def make_loader(sharded, dataset, **settings):
    settings = {"batch_size": 3, "captions_per_image": 2, "shuffle_buffer": 3, **settings}
    return ShardLoader(dataset, read_index(sharded, "train"), **settings)


def test_shards_hold_the_files_bytes_and_captions(sharded):
    shards = read_index(sharded, "train")
    assert [shard.pictures for shard in shards] == [4] * 6
    assert not list((sharded / "images").glob("train*")), "streamed pictures are not copied"
    assert len(list((sharded / "images").glob("val*"))) == 8
    ids = [image_id for shard in shards for image_id, _, _ in read_shard(shard)]
    assert sorted(ids) == [*range(100, 124)] and ids != sorted(ids)
    with tarfile.open(shards[0].path) as tar:
        names = tar.getnames()
        said = json.load(tar.extractfile(names[0]))
    assert names[0].endswith(".json") and names[1].endswith(".png")
    assert set(said) == {"image_id", "file_name", "captions"} and said["captions"]


@pytest.mark.parametrize("workers, processes", [(0, 1), (2, 1), (0, 2), (2, 3)])
def test_every_picture_comes_once_an_epoch(sharded, dataset, workers, processes):
    orders = []
    for epoch in range(2):
        ids, lengths = [], set()
        for rank in range(processes):
            settings = {"num_workers": workers, "part": (rank, processes)}
            loader = make_loader(sharded, dataset, **settings)
            loader.epoch = epoch
            batches = list(loader)
            lengths.add(len(batches))
            assert len(batches) == len(loader) and loader.epoch == epoch + 1
            ids += [image_id for batch in batches for image_id in batch.image_ids]
            assert all(len(batch.captions) == 2 * len(batch) for batch in batches)
        assert sorted(ids) == dataset.image_ids
        assert len(lengths) == 1, "all processes take as many steps"
        orders.append(ids)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("workers", [0, 4])  # 4: readers with unequal numbers of pictures
def test_a_loader_goes_on_from_any_position(sharded, dataset, workers):
    def signature(batch):
        return batch.image_ids, batch.captions.tolist()

    whole = [signature(b) for b in make_loader(sharded, dataset, num_workers=workers)]
    for position in range(0, len(whole) + 1, 1 if workers == 0 else 2):
        first = make_loader(sharded, dataset, num_workers=workers)
        begun = [signature(b) for b in itertools.islice(first, position)]
        second = make_loader(sharded, dataset, num_workers=workers)
        second.load_state_dict({**first.state_dict(), "position": position, "epoch": 0})
        assert begun + [signature(b) for b in second] == whole


def test_pixels_are_those_of_the_files(sharded, dataset):
    batch = next(iter(make_loader(sharded, dataset)))
    place = dataset.image_ids.index(batch.image_ids[0])
    source = sharded.parent / "data" / "images" / dataset.file_names[place]
    assert torch.equal(batch.images[0], dataset.open(dataset_item(place), source))


def dataset_item(place):
    from data_loader import Item

    return Item(place, (), 0)


def test_writing_goes_on_where_it_was_stopped(tmp_path, tiny_data):
    writing = write_shards(tiny_data, "train", tmp_path, pictures=5)
    first = next(writing)
    writing.close()  # as Ctrl-C would
    assert not index_of(tmp_path, "train").exists()
    stamp = first.path.stat().st_mtime_ns
    assert len(list(write_shards(tiny_data, "train", tmp_path, pictures=5))) == 5
    assert first.path.stat().st_mtime_ns == stamp
    assert [shard.pictures for shard in read_index(tmp_path, "train")] == [5, 5, 5, 5, 4]
    with pytest.raises(FileExistsError, match="holds shards with pictures 5, 7 asked for"):
        next(write_shards(tiny_data, "train", tmp_path, pictures=7))


def test_shards_may_lie_on_several_disks(tmp_path, tiny_data):
    disks = [tmp_path / "disk1", tmp_path / "disk2"]
    list(write_shards(tiny_data, "train", tmp_path / "data", pictures=8, folders=disks))
    shards = read_index(tmp_path / "data", "train")
    assert [shard.path.parent.name for shard in shards] == ["disk1", "disk2", "disk1"]
    shards[1].path.unlink()
    with pytest.raises(FileNotFoundError, match=r"disk2.*no such shard.*index.json names it"):
        read_index(tmp_path / "data", "train")


@pytest.mark.parametrize("keep", [0, 700, 5000])
def test_a_damaged_shard_is_named(sharded, tmp_path, keep):
    path = tmp_path / "cut.tar"
    path.write_bytes(read_index(sharded, "train")[0].path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut.tar: (damaged shard|\d pictures found)"):
        list(read_shard(Shard(path, 4)))


def test_wrong_numbers_are_refused(sharded, dataset, tmp_path, tiny_data):
    with pytest.raises(ValueError, match="6 shards for 4 processes x 2 workers"):
        make_loader(sharded, dataset, num_workers=2, part=(0, 4))
    with pytest.raises(ValueError, match="20 pictures in the shards, 24 pictures with captions"):
        ShardLoader(dataset, read_index(sharded, "train")[1:])
    loader = make_loader(sharded, dataset, num_workers=2)
    with pytest.raises(ValueError, match="loader.num_workers: 2 received.*with 1"):
        loader.load_state_dict(make_loader(sharded, dataset).state_dict())
    index = tmp_path / "shards" / "train" / "index.json"
    index.parent.mkdir(parents=True)
    index.write_text('{"format": 1, "shards": [{"path": "x.tar"}]}')
    with pytest.raises(ValueError, match="not an index of shards"):
        read_index(tmp_path, "train")
    assert main(["data", "shards", str(tmp_path), "--output", str(tmp_path / "o")]) == 1
    assert main(["data", "shards", str(tiny_data), "--output", "o", "--pictures", "0"]) == 2


def test_training_streams_and_resumes_bit_for_bit(sharded, tmp_path):
    experiment = small_experiment(sharded, tmp_path / "whole")
    experiment.loader.shuffle_buffer = 4
    whole = quiet(experiment)

    experiment.output = str(tmp_path / "parts")
    experiment.training.save_every_steps = 1
    resumed = stop_and_resume(experiment)
    ours, theirs = whole.networks().state_dict(), resumed.networks().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_settings_that_streams_cannot_serve_are_refused(sharded, tmp_path):
    for name, value in (("batching", "length"), ("max_pictures", 5), ("cache_views", 1)):
        experiment = small_experiment(sharded, tmp_path / name)
        setattr(experiment.loader, name, value)
        with pytest.raises(ValueError, match=f"loader.{name}: .*front to back"):
            quiet(experiment)


def test_a_picture_that_cannot_be_read_is_skipped_and_named(tmp_path):
    data = write_data(tmp_path / "data", train=8)
    (data / "images" / "train_003.png").write_bytes(b"no picture")
    list(write_shards(data, "train", data, pictures=4))
    shutil.rmtree(data / "images")
    record = json.loads((data / "annotations" / "captions_train.json").read_text())
    vocabulary = Vocabulary.build([a["caption"] for a in record["annotations"]], 1)
    dataset = CaptionDataset(data, "train", vocabulary, eval_transform(32))
    batches = list(ShardLoader(dataset, read_index(data, "train"), 8))
    assert sum(map(len, batches)) == 7
    assert ["train_003.png" in m for b in batches for m in b.skipped] == [True]


def test_shards_of_other_pictures_never_pass_for_these(tmp_path, tiny_data):
    """The same ids and names, other files: into the same folder of shards, and into another."""
    disk, other = tmp_path / "disk", write_data(tmp_path / "other")
    for path in (other / "images").glob("train*"):
        Image.new("RGB", (9, 9)).save(path)
    list(write_shards(tiny_data, "train", tmp_path / "a", pictures=24, folders=[disk]))
    list(write_shards(other, "train", tmp_path / "b", pictures=24, folders=[disk]))
    (first,), (second,) = (read_index(tmp_path / name, "train") for name in "ab")
    assert first.path != second.path
    contents = [{content for _, _, content in read_shard(shard)} for shard in (first, second)]
    assert contents[0].isdisjoint(contents[1])
    with pytest.raises(FileExistsError, match="holds shards with ids"):
        next(write_shards(other, "train", tmp_path / "a", pictures=24))


def test_another_data_set_is_not_overwritten(tmp_path, tiny_data, capsys):
    other = write_data(tmp_path / "other", train=4)
    before = (other / "annotations" / "captions_train.json").read_bytes()
    assert main(["data", "shards", str(tiny_data), "--output", str(other)]) == 1
    assert "holds something else; choose another output" in capsys.readouterr().err
    assert (other / "annotations" / "captions_train.json").read_bytes() == before


def test_missing_pictures_are_named_before_the_first_shard(own_data, tmp_path, capsys):
    for name in ("train_001.png", "val_001.png"):
        (own_data / "images" / name).rename(tmp_path / name)
        assert main(["data", "shards", str(own_data), "--output", str(tmp_path / "s")]) == 1
        assert f"{name}: no such picture" in capsys.readouterr().err
        assert not list(tmp_path.glob("s/shards/train/*.tar"))
        (tmp_path / name).rename(own_data / "images" / name)


def test_the_learning_rate_ends_at_zero_though_epochs_differ(tmp_path):
    data = write_data(tmp_path / "data", train=22)
    list(write_shards(data, "train", data, pictures=7))
    experiment = small_experiment(data, tmp_path / "model", num_epochs=5, schedule="linear")
    experiment.loader.batch_size, experiment.loader.num_workers = 5, 2
    quiet(experiment)
    rates = [row["learning_rate"] for row in rows_of(tmp_path / "model", "step")]
    assert all(a > b > 0 for a, b in itertools.pairwise(rates))
    assert rates[-1] == pytest.approx(rates[0] / len(rates))


def test_other_shards_are_not_resumed_with(sharded, dataset):
    loader = make_loader(sharded, dataset)
    with pytest.raises(ValueError, match="other shards than those of the run to resume"):
        loader.load_state_dict(loader.state_dict() | {"shards": "0"})


def test_a_split_in_shards_is_not_evaluated(sharded, tiny_bundle, capsys):
    command = ["evaluate", "--model", str(tiny_bundle), "--data", str(sharded), "--split", "train"]
    assert main(command) == 1
    assert "split 'train' lies in tar shards, which are for training" in capsys.readouterr().err
