"""A teacher's captions as a file to learn from: complete, resumable, in parts, refused by name."""

from __future__ import annotations

import json
import resource
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from conftest import quiet, rows_of

from captioning.bundle import Caption, Captioner
from captioning.ensemble import Ensemble
from captioning.evaluation import distill as module
from captioning.evaluation.distill import (
    DistillOptions,
    choose,
    distill,
    distill_config,
    text_of,
)
from captioning.evaluation.distilled import (
    join_parts,
    open_partial,
    partial_path,
    what_differs,
)
from captioning.evaluation.evaluate import answer_split, load_split
from captioning.features.extract import extract
from captioning.features.pictures import list_data
from data_loader import read_annotations
from vocabulary import END_IDX, tokenize


def told(words, score=-1.0):
    """A caption as a teacher says it, of known words without a full stop."""
    return Caption(" ".join(words).capitalize() + ".", list(words), score, score)


@pytest.fixture
def teacher(tiny_captioner):
    """An untrained captioner whose captions have several words."""
    with torch.no_grad():
        tiny_captioner.decoder.output.bias[END_IDX] = -2.0
    return tiny_captioner


@pytest.fixture
def bundle(teacher, tmp_path):
    teacher.save(tmp_path / "teacher")
    return tmp_path / "teacher"


def write(teacher, data, output, split="train", search=None, **options):
    """`distill` with a search of two beams and batches of five; train has 24 pictures."""
    options = {"batch_size": 5, "teacher": "tiny"} | options
    config = distill_config(teacher, **({"beam_size": 2} | (search or {})))
    return distill(teacher, data, split, output, config, DistillOptions(**options))


def read(path):
    return json.loads(path.read_text("utf-8"))


# ------------------------------------------------------------------------------ what is written


def test_the_file_holds_what_the_teacher_says_and_can_be_learned_from(
    teacher, bundle, tiny_data, tmp_path, tiny_experiment, run_cli
):
    output = tmp_path / "new folder" / "said.json"
    flags = ("--model", bundle, "--data", tiny_data, "--device", "cpu", "--json")
    code, out, _ = run_cli("distill", *flags, "--beam_size", 3, "--output", output)
    summary, content = json.loads(out), read(output)
    assert code == 0 and not partial_path(output).exists()

    dataset, config = load_split(teacher, tiny_data, "train"), distill_config(teacher, beam_size=3)
    answers = answer_split(teacher, dataset, config).samples
    said = {image_id: [] for image_id in dataset.image_ids}
    for one in content["annotations"]:
        said[one["image_id"]].append(one)
    for image_id, some in said.items():
        expected = [one for one in answers[image_id] if tokenize(one["caption"])]
        assert [one["caption"] for one in some] == [one["caption"] for one in expected]
        for one, other in zip(some, expected, strict=True):
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-5)
            assert one["score"] == one["logprob"]  # no length penalty
    assert [one["id"] for one in content["annotations"]] == [*range(1, summary["captions"] + 1)]

    info = content["info"]
    assert info["teacher"] == str(bundle) and info["split"] == "train"
    assert info["vocabulary_hash"] == teacher.vocabulary.content_hash
    assert info["generation"]["num_samples"] == 3 and len(info["weights_hash"]) == 16
    logprobs = [one["logprob"] for one in content["annotations"]]
    assert summary["pictures"] == 24 and summary["captions"] == len(logprobs) > 60
    assert summary["mean_logprob"] == pytest.approx(sum(logprobs) / len(logprobs), abs=1e-4)
    assert summary["distinct_per_picture"] == pytest.approx(len(logprobs) / 24, abs=1e-4)

    coco = read_annotations(tiny_data, "train", output)
    assert len(coco.imgs) == 24
    student = replace(tiny_experiment, train_captions=str(output), init_from=str(bundle))
    student.training.num_epochs = 2
    quiet(student)
    rows = rows_of(tmp_path / "model", "step")
    assert rows[-1]["loss"] < rows[0]["loss"]
    code, out, _ = run_cli("distill", *flags[:-1], "--output", tmp_path / "2.json", "--split=val")
    assert code == 0 and out.startswith(f"{tmp_path / '2.json'}: 8 pictures, ")


def test_a_split_without_captions_and_a_store_give_the_same(
    teacher, own_data, tmp_path, tiny_experiment
):
    write(teacher, own_data, tmp_path / "all.json", "val", max_pictures=6)
    folder = own_data / "annotations"
    images = read(folder / "captions_val.json")["images"]
    (folder / "captions_val.json").unlink()
    (folder / "images_val.json").write_text(json.dumps({"images": images}))
    write(teacher, own_data, tmp_path / "images.json", "val", max_pictures=6)
    assert (tmp_path / "images.json").read_bytes() == (tmp_path / "all.json").read_bytes()

    store = tmp_path / "store.h5"
    looks = (teacher.encoder, tiny_experiment.encoder, tiny_experiment.transform)
    extract(list_data(own_data, ["train", "val"]), *looks, store)
    write(teacher, own_data, tmp_path / "stored.json", "val", max_pictures=6, features=store)
    ours, theirs = read(tmp_path / "stored.json"), read(tmp_path / "all.json")
    assert len(ours["images"]) == 6 and ours["images"] == theirs["images"]
    for one, other in zip(ours["annotations"], theirs["annotations"], strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=0.05)  # stored in halves
    assert ours["info"]["features_signature"]["transform"]["image_size"] == 32


@pytest.mark.parametrize(
    "words",
    ["a dog 's ball", "it is n't a dog", "one can not see it", "gon na", "'s 's dog", "a - dog"],
)
def test_words_survive_being_written_or_are_left_out(words):
    words = words.split()
    text = text_of(told(words))
    assert text is None if "-" in words else tokenize(text) == words
    assert text_of(told(["a", "<unk>"])) is None


def test_what_cannot_be_learned_from_is_counted():
    some = [told("a dog".split()), told([]), told(["a", "<unk>"]), told("a dog".split(), -2.0)]
    some.append(told(["cut"], float("-inf")))  # the search found fewer than were asked for
    assert choose(some) == {
        "captions": [{"caption": "A dog.", "logprob": -1.0, "score": -1.0}],
        **{"empty": 2, "repeated": 1, "unwritable": 1},
    }
    assert len(choose(some, keep_repeated=True)["captions"]) == 2


def test_all_beams_are_kept_and_samples_are_repeatable(teacher, tiny_data, tmp_path):
    assert distill_config(teacher).num_samples == teacher.experiment.generation.beam_size
    assert distill_config(teacher, method="greedy").num_samples == 1
    drawn = distill_config(teacher, method="sample", beam_size=4)
    assert (drawn.num_samples, drawn.seed) == (4, 0)
    for own in ("greedy", "sample"):
        teacher.experiment.generation.method = own
        assert distill_config(teacher, length_penalty=0.5).method == own
        search = distill_config(teacher, beam_size=3)
        assert (search.method, search.beam_size, search.num_samples) == ("beam", 3, 3)
    teacher.experiment.generation.method = "beam"
    with pytest.raises(ValueError, match="num_samples: 9 received, at most 2 expected"):
        distill_config(teacher, num_samples=9)
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        search = {"method": "sample", "num_samples": 4, "seed": seed}
        write(teacher, tiny_data, tmp_path / name, search=search, keep_repeated=True)
        texts.append([one["caption"] for one in read(tmp_path / name)["annotations"]])
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(ValueError, match="seed: none received"):
        config = replace(drawn, seed=None)
        distill(teacher, tiny_data, "train", tmp_path / "d", config)


def test_the_settings_of_all_members_of_an_ensemble_are_told(teacher, bundle, tiny_data, tmp_path):
    second = Captioner.load(bundle, "cpu")
    second.experiment.transform.flip = not teacher.experiment.transform.flip
    both = Ensemble([teacher, second])
    write(both, tiny_data, tmp_path / "said.json", "val", max_pictures=2)
    info = read(tmp_path / "said.json")["info"]
    assert info["transform"] == [asdict(one.experiment.transform) for one in (teacher, second)]
    assert info["decoder"] == 2 * [asdict(teacher.experiment.decoder)]
    other = {**info, "transform": info["transform"][::-1]}
    assert what_differs(info, other).startswith("transform.0.flip ")


def test_unreadable_pictures_are_named(teacher, own_data, tmp_path, bundle, run_cli):
    (own_data / "images" / "train_003.png").write_bytes(b"no picture")
    output = tmp_path / "said.json"
    flags = ("--model", bundle, "--data", own_data, "--output", output, "--device", "cpu")
    code, out, err = run_cli("distill", *flags)
    assert code == 0 and "1 unreadable" in out and "left out: " in err and "train_003" in err
    content = read(output)
    assert len(content["images"]) == 24 and len(content["info"]["unreadable"]) == 1
    assert 103 not in {one["image_id"] for one in content["annotations"]}
    for picture in (own_data / "images").glob("val_*"):
        picture.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no caption to learn from .*\(8 unreadable, the first"):
        write(teacher, own_data, tmp_path / "none.json", "val")


# ------------------------------------------------------------------------------ going on


def interrupted(monkeypatch, teacher, batches, error=KeyboardInterrupt):
    """The teacher falls silent after some batches."""
    generate, left = Captioner.generate, [batches]

    def count(*arguments):
        if not left[0]:
            raise error
        left[0] -= 1
        return generate(*arguments)

    monkeypatch.setattr(Captioner, "generate", count)


@pytest.mark.parametrize("method", ["beam", "sample"])
def test_a_stopped_run_goes_on_to_the_same_bytes(teacher, tiny_data, tmp_path, monkeypatch, method):
    search = {"method": method}
    write(teacher, tiny_data, tmp_path / "whole.json", search=search)
    output = tmp_path / "parts.json"
    with monkeypatch.context() as patch:
        interrupted(patch, teacher, 3)
        with pytest.raises(KeyboardInterrupt, match=r"stopped; .*json\.partial\.jsonl, the same"):
            write(teacher, tiny_data, output, search=search)
    partial = partial_path(output)
    assert not output.exists() and len(partial.read_text().splitlines()) == 4
    assert write(teacher, tiny_data, output, search=search)["resumed"] == 15
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not partial.exists()


def test_whatever_a_kill_leaves_is_taken_up(teacher, tiny_data, tmp_path, monkeypatch):
    write(teacher, tiny_data, tmp_path / "whole.json")
    output, partial = tmp_path / "parts.json", partial_path(tmp_path / "parts.json")
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_captions", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(OSError, match="full; what was said so far is kept in"):
            write(teacher, tiny_data, output)
    content = partial.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for size, done in ((0, 0), (20, 0), (ends[0], 0), (ends[2] - 1, 1), (ends[2] + 9, 2)):
        partial.write_bytes(content[:size])
        assert write(teacher, tiny_data, output)["resumed"] == 5 * done
        assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
        output.unlink()
    partial.write_bytes(content[: ends[1]] + b"\0" * 50 + b"\n" + content[ends[1] :])
    assert write(teacher, tiny_data, output)["resumed"] == 5


def test_other_work_is_not_mixed_in(teacher, tiny_data, tmp_path, monkeypatch):
    output = tmp_path / "said.json"
    with monkeypatch.context() as patch:
        interrupted(patch, teacher, 2)
        with pytest.raises(KeyboardInterrupt):
            write(teacher, tiny_data, output)
    kept = partial_path(output).read_bytes()
    for options, match in (
        ({"batch_size": 4}, "batch_size 5, not 4; --overwrite begins anew"),
        ({"search": {"beam_size": 3}}, "generation.beam_size 2, not 3"),
        ({"split": "val"}, "split 'train', not 'val'"),
    ):
        with pytest.raises(FileExistsError, match=match):
            write(teacher, tiny_data, output, **options)
    with torch.no_grad():
        teacher.decoder.output.bias[END_IDX] = -3.0
    with pytest.raises(FileExistsError, match="weights_hash"):
        write(teacher, tiny_data, output)
    with open_partial(partial_path(output), json.loads(kept.splitlines()[0]), range(100, 124)):
        with pytest.raises(BlockingIOError, match="another process is writing there"):
            write(teacher, tiny_data, output)
    assert partial_path(output).read_bytes() == kept
    assert write(teacher, tiny_data, output, overwrite=True)["resumed"] == 0
    with pytest.raises(FileExistsError, match="exists already; --overwrite replaces it"):
        write(teacher, tiny_data, output)


@pytest.mark.parametrize(
    "line",
    [
        *("5", "null", "[1, 2]", "[]", '{"image_id": 100}', '[{"image_id": 99}]'),
        *("the first batch again", "half of its batch", "without captions", "without numbers"),
    ],
)
def test_a_damaged_line_is_said_anew(teacher, tiny_data, tmp_path, monkeypatch, line):
    write(teacher, tiny_data, tmp_path / "whole.json")
    output, partial = tmp_path / "parts.json", partial_path(tmp_path / "parts.json")
    with monkeypatch.context() as patch:
        interrupted(patch, teacher, 3)
        with pytest.raises(KeyboardInterrupt):
            write(teacher, tiny_data, output)
    lines = partial.read_text("utf-8").splitlines()
    batch = json.loads(lines[2])
    damages = {
        "the first batch again": lines[1],
        "half of its batch": json.dumps(batch[:2]),
        "without captions": json.dumps([{"image_id": one["image_id"]} for one in batch]),
        "without numbers": json.dumps([one | {"captions": [{"caption": "A."}]} for one in batch]),
    }
    lines[2] = damages.get(line, line)
    partial.write_text("".join(f"{one}\n" for one in lines), "utf-8")
    assert write(teacher, tiny_data, output)["resumed"] == 5
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_a_full_disk_loses_nothing(teacher, tiny_data, tmp_path):
    write(teacher, tiny_data, tmp_path / "whole.json")
    output = tmp_path / "parts.json"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        with pytest.raises(OSError, match=r"could not be written \(.*; what was said so far is"):
            write(teacher, tiny_data, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 0 < write(teacher, tiny_data, output)["resumed"] < 24
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()


# ------------------------------------------------------------------------------ parts


@pytest.fixture
def parts(teacher, tiny_data, tmp_path):
    """Three parts of 8 pictures; with batches of one the last digits are those of the whole."""
    files = [tmp_path / f"part{k}.json" for k in (1, 2, 3)]
    for k, file in enumerate(files, 1):
        write(teacher, tiny_data, file, part=(k, 3), batch_size=1)
    return files


def test_parts_joined_in_any_order_are_the_whole(teacher, tiny_data, tmp_path, parts, run_cli):
    write(teacher, tiny_data, tmp_path / "whole.json", batch_size=1)
    output = tmp_path / "joined.json"
    code, out, _ = run_cli("distill", "--join", *parts[::-1], "--output", output, "--json")
    assert code == 0 and json.loads(out)["pictures"] == 24
    assert output.read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert [one["id"] for one in read(parts[1])["images"]] == [*range(101, 124, 3)]


def test_parts_that_do_not_belong_together_are_refused(teacher, tiny_data, tmp_path, parts):
    output = tmp_path / "joined.json"

    def refused(match, files, error=ValueError):
        with pytest.raises(error, match=match):
            join_parts(files, output)
        assert not output.exists()

    refused("part 2 of 3 is missing", [parts[0], parts[2]])
    refused("part1.json: part 1 of 3, as is .*part1.json", [*parts, parts[0]])
    refused("none received", [])
    refused("no such file", [*parts[:2], tmp_path / "part4.json"], FileNotFoundError)
    refused("not a caption file as", [tiny_data / "annotations" / "captions_val.json"])
    with pytest.raises(ValueError, match="one of the parts to join"):
        join_parts([*parts, output], output)
    write(teacher, tiny_data, tmp_path / "half.json", part=(2, 2), batch_size=1)
    refused("part 2 of 2, one of 3", [parts[0], tmp_path / "half.json"])
    changed = read(parts[1])
    gone = changed["images"].pop()["id"]
    changed["annotations"] = [one for one in changed["annotations"] if one["image_id"] != gone]
    changed["info"]["captions"] = len(changed["annotations"])
    shutil.copy(parts[1], tmp_path / "kept.json")
    parts[1].write_text(json.dumps(changed))
    refused("does not give the pictures they were dealt from", parts)
    with torch.no_grad():
        teacher.decoder.output.bias[END_IDX] = -3.0
    write(teacher, tiny_data, parts[1], part=(2, 3), batch_size=1, overwrite=True)
    refused("part2.json: weights_hash .* as in .*part1.json", parts)


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--model=m", "--join", "a", "b"], "--model and --join: both received"),
        ([], "--model and --join: neither received"),
        (["--model=m", "--part=6/5"], "part: '6/5' received, i/n with i from 1 to n expected"),
        (["--model=m", "--batch_size=0"], "batch_size: 0 received, 1 or more expected"),
        *(
            (["--join", "a", f"--{flag}"], f"--{flag.split('=')[0]}: received, but --join captions")
            for flag in ("beam_size=3", "part=1/2", "max_pictures=3", "split=val", "features=f.h5")
        ),
        (["--join", "a", "--keep_repeated"], "--keep_repeated: received, but --join captions"),
    ],
)
def test_wrong_usage(run_cli, tmp_path, flags, part):
    code, out, err = run_cli("distill", *flags, "--output", tmp_path / "x.json")
    assert code == 2 and out == "" and part in err and err.count("\n") == 1


def test_more_parts_than_pictures_are_refused(teacher, tiny_data, tmp_path):
    with pytest.raises(ValueError, match="part: 30 parts received, but there are 24 pictures"):
        write(teacher, tiny_data, tmp_path / "x.json", part=(1, 30))
    with pytest.raises(ValueError, match="part: 3/2 received, 1/2 to 2/2 expected"):
        write(teacher, tiny_data, tmp_path / "x.json", part=(3, 2))
