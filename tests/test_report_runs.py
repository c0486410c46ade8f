"""What a report reads: results, captions, names, and the pictures and references behind them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from report_cases import result_of, save, save_lines

from captioning.evaluation.report.page import page_data
from captioning.evaluation.report.pictures import find_data, pair_pictures
from captioning.evaluation.report.runs import Entry, model_of, read_runs


@pytest.fixture
def result(tiny_data, tmp_path) -> Path:
    return save(tmp_path / "first.json", result_of(tiny_data))


# ---- reading ----


def test_a_result(result):
    (run,) = read_runs([result])
    assert run.name == "tiny" and run.settings["split"] == "train" and len(run.entries) == 24
    entry = run.entries[101]
    assert entry.hallucinated == ["teddy bears (teddy bear)", "frisbee"]
    assert set(entry.scores) == {"CIDEr", "Bleu_4", "words", "CHAIRi"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", run.day)


def test_lines_of_caption_and_their_samples(tmp_path):
    rows = [
        {"file": name, "caption": f"{name} {i}", "logprob": -i} for name in "ab" for i in (1, 2)
    ]
    (run,) = read_runs([save_lines(tmp_path / "lines.jsonl", rows)])
    assert run.by_path and run.overall == {} and run.name == "lines"
    assert run.entries["a"] == Entry(
        "a 1", "a", {"logprob": -1}, samples=[{"caption": "a 2", "logprob": -2}]
    )
    (single,) = read_runs([save_lines(tmp_path / "one.jsonl", rows[:1])])
    assert list(single.entries) == ["a"]


def test_a_coco_results_file(tmp_path):
    (run,) = read_runs([save(tmp_path / "c.json", [{"image_id": 7, "caption": "A dog."}])])
    assert run.entries == {7: Entry("A dog.")} and not run.by_path


def test_samples_come_without_the_best_and_nan_is_nothing(tiny_data, tmp_path):
    record = result_of(tiny_data)
    row = record["per_image"][0]
    row["samples"] = [{"caption": row["caption"], "CIDEr": 1.0}, {"caption": "Other"}, "Third", 4]
    row |= {"CIDEr": float("nan"), "Bleu_4": float("inf"), "flag": True, "boxes": [1]}
    (run,) = read_runs([save(tmp_path / "r.json", record)])
    entry = run.entries[100]
    assert entry.samples == [{"caption": "Other"}, {"caption": "Third"}]
    scored = {"caption": "Two", "logprob": -1.0, "Bleu_1": 0.5, "CIDEr": 1 / 3}
    row["samples"] = [scored]
    runs = read_runs([save(tmp_path / "r.json", record)])
    data = page_data(runs, pair_pictures(runs, find_data(runs)[0]))
    assert data["runs"][0]["samples"] == {
        "0": [{"caption": "Two", "CIDEr": 0.33333, "logprob": -1.0}]
    }
    assert entry.scores == {"CIDEr": None, "Bleu_4": None, "words": row["words"], "CHAIRi": 0.0}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty"),
        ("{", "not JSON"),
        ('{"file": "a", "caption": "b"}\n{"file', "line 2 is not JSON"),
        ('{"file": "a", "caption": "b"}\n{"caption": "b"}', "line 2 names no 'file'"),
        ('{"file": "a", "caption": "b"}\n[]', "line 2 names no 'file'"),
        ('{"file": "a", "caption": null}', "'caption' is None, a string expected"),
        ("{}", "no list 'per_image'"),
        ('{"per_image": []}', "no list 'per_image'"),
        ('{"per_image": [3]}', "per_image[0]: image_id is None"),
        ('{"per_image": [{"image_id": true}]}', "image_id is True"),
        ('{"per_image": [{"image_id": 1}]}', "'caption' is None"),
        ('{"per_image": [{"image_id": 1, "caption": ""}], "overall": 3}', "'overall' is 3"),
        ('{"per_image": [' + '{"image_id": 1, "caption": ""},' * 2 + '{"image_id": 2}]}', "second"),
        ("[]", "no captions"),
        ("[1]", "has no 'image_id'"),
        ("3", "a list"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_files_that_are_no_runs(tmp_path, text, part):
    path = tmp_path / "odd.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError) as error:
        read_runs([path])
    assert part in str(error.value) and "odd.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_places_that_hold_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json: no such file"):
        read_runs([tmp_path / "nowhere.json"])
    with pytest.raises(ValueError, match="a folder, a file with results"):
        read_runs([tmp_path])
    (tmp_path / "picture.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match="not a text file"):
        read_runs([tmp_path / "picture.json"])


def test_names(tiny_data, tmp_path, result):
    other = save(tmp_path / "second.json", result_of(tiny_data, 1))
    assert [run.name for run in read_runs([result, other])] == ["first", "second"]  # one model
    assert [run.name for run in read_runs([result, result])] == ["first A", "first B"]
    assert [run.name for run in read_runs([result, other], ["x", "y"])] == ["x", "y"]
    assert model_of({"model": "models/a,models/b.2/"}) == "a + b.2" and model_of({}) == ""
    for names in (["x"], ["x", ""], ["x", "y", "z"]):
        with pytest.raises(ValueError, match="names: .* received, one for each of 2 files"):
            read_runs([result, other], names)
    with pytest.raises(ValueError, match="3 files received, one or two expected"):
        read_runs([result] * 3)


# ---- pictures and references ----


def test_references_and_files_of_the_data(tiny_data, result):
    runs = read_runs([result])
    known, note = find_data(runs)
    first = pair_pictures(runs, known)[0]
    assert note == "" and first.key == 100 and first.file == "train_000.png"
    assert first.path == tiny_data / "images" / "train_000.png" and len(first.references) == 3


def test_the_data_that_the_caller_names(tiny_data, tmp_path):
    record = result_of(tiny_data) | {"settings": {}}
    runs = read_runs([save(tmp_path / "r.json", record)])
    assert find_data(runs)[0].files == {}  # `score` does not know it
    known, _ = find_data(runs, tiny_data)  # all splits
    assert len(known.files) == 40 and len(pair_pictures(runs, known)[0].references) == 3
    assert len(find_data(runs, tiny_data, "val")[0].files) == 8


def test_pictures_without_captions(tmp_path):
    (tmp_path / "annotations").mkdir()
    images = [{"id": 1, "file_name": "a.jpg"}]
    save(tmp_path / "annotations" / "images_test.json", {"images": images})
    known, _ = find_data([], tmp_path, "test")
    assert known.files == {1: "a.jpg"} and known.references == {}


def test_data_that_does_not_fit(tiny_data, own_data, tmp_path, result):
    runs = read_runs([result])
    with pytest.raises(FileNotFoundError, match="data: .*nowhere: no such folder"):
        find_data(runs, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no captions_test2.json"):
        find_data(runs, tiny_data, "test2")
    with pytest.raises(ValueError, match="knows none of the 24 pictures"):
        pair_pictures(runs, find_data(runs, tiny_data, "val")[0])
    path = own_data / "annotations" / "captions_val.json"
    path.write_text(path.read_text("utf-8").replace("500", "100"), "utf-8")
    with pytest.raises(
        ValueError, match=r"image 100 is in captions_train.json and in captions_val"
    ):
        find_data([], own_data)
    save(own_data / "annotations" / "images_odd.json", {"images": [{"id": 1}]})
    with pytest.raises(ValueError, match="images_odd.json: 'images' with 'id' and 'file_name'"):
        find_data([], own_data, "odd")


def test_data_that_is_gone_is_a_note(own_data, tmp_path):
    path = save(tmp_path / "r.json", result_of(own_data))
    own_data.rename(tmp_path / "elsewhere")
    runs = read_runs([path])
    known, note = find_data(runs)
    assert "no such folder (--data names it); no pictures and references" in note
    assert pair_pictures(runs, known)[0].path is None


def test_two_runs_are_paired(tiny_data, tmp_path, result):
    record = result_of(tiny_data, 1)
    record["per_image"] = record["per_image"][:0:-1]
    runs = read_runs([result, save(tmp_path / "second.json", record)])
    pictures = pair_pictures(runs, find_data(runs)[0])
    assert [picture.key for picture in pictures] == [*range(100, 124)]  # the first run's order
    assert pictures[0].entries[1] is None
    assert pictures[5].entries[1].caption == record["per_image"][-5]["caption"]
    record["per_image"] = [row | {"image_id": -row["image_id"]} for row in record["per_image"]]
    runs = read_runs([result, save(tmp_path / "second.json", record)])
    with pytest.raises(ValueError, match="first and second have no picture in common"):
        pair_pictures(runs, find_data(runs)[0])


def test_captioned_files_are_known_by_path(tiny_data, tmp_path, monkeypatch):
    rows = [
        {"file": str(path), "caption": path.name}
        for path in sorted((tiny_data / "images").glob("test*"))
    ]
    absolute = save_lines(tmp_path / "a.jsonl", rows)
    monkeypatch.chdir(tiny_data)
    rows = [row | {"file": os.path.relpath(row["file"])} for row in rows]
    runs = read_runs([absolute, save_lines(tmp_path / "b.jsonl", rows)])
    loose = pair_pictures(runs, find_data(runs)[0])
    assert [picture.file for picture in loose] == [f"test_{i:03}.png" for i in range(8)]
    assert loose[0].references == [] and all(all(picture.entries) for picture in loose)
    known = pair_pictures(runs, find_data(runs, tiny_data)[0])
    assert known[0].key == 900 and len(known[0].references) == 3
