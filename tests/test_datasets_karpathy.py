"""Conversions of Karpathy's files and of those of Flickr8k and Flickr30k."""

from __future__ import annotations

import json
import zipfile

import pytest
from conftest import quiet, small_experiment, write_data
from dataset_cases import all_captions, karpathy_coco, karpathy_flickr, said, write_json

from captioning.datasets.flickr import read_flickr
from captioning.datasets.karpathy import convert_karpathy, read_karpathy
from captioning.datasets.layout import Record

# ---- Karpathy ----


def test_karpathy_of_coco(tmp_path):
    splits = read_karpathy(write_json(tmp_path / "dataset_coco.json", karpathy_coco()))
    assert [*splits] == ["train", "val", "test"]
    assert [r.image_id for r in splits["train"]] == [1001, 1002, 1004]  # restval is train
    assert splits["val"][0] == Record(
        "val2014/COCO_val2014_000000000003.jpg", 1003, ["A dog 3.", "Ein Hündchen 3."]
    )


def test_karpathy_of_flickr_trains(tmp_path, tiny_data):
    file = write_json(tmp_path / "dataset_flickr8k.json", karpathy_flickr(tiny_data))
    output = tmp_path / "data"
    info = convert_karpathy(file, tiny_data / "images", output)
    assert info["counts"] == {"train": 24, "val": 8, "test": 8} and info["name"] == "flickr8k"
    assert "non-commercial" in info["licence"]
    captioner = quiet(small_experiment(output, tmp_path / "model", num_epochs=1))
    assert captioner.record["epoch"] == 1


def test_karpathy_in_an_archive(tmp_path):
    archive = tmp_path / "caption_datasets.zip"
    text = json.dumps(karpathy_coco())
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("dataset_coco.json", text)
        file.writestr("__MACOSX/._dataset_coco.json", "x")
    assert len(read_karpathy(archive)["train"]) == 3
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("dataset_flickr8k.json", text)
    assert len(read_karpathy(archive, "dataset_coco.json")["train"]) == 3
    with pytest.raises(ValueError, match=r"member: none received, one of \['dataset_coco.json', "):
        read_karpathy(archive)
    with pytest.raises(FileNotFoundError, match="no dataset_x.json in it, one of"):
        read_karpathy(archive, "dataset_x.json")
    with pytest.raises(ValueError, match="is not a zip archive"):
        read_karpathy(write_json(tmp_path / "plain.json", karpathy_coco()), "dataset_coco.json")


def test_karpathy_without_raw_joins_the_tokens(tmp_path):
    record = karpathy_coco()
    sentences = record["images"][2]["sentences"]
    sentences[0].pop("raw")
    sentences[1]["raw"] = "  "
    sentences.append({"raw": "", "tokens": []})
    splits = read_karpathy(write_json(tmp_path / "k.json", record))
    assert splits["train"][1].captions == ["a dog 2", "ein hündchen 2"]


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("split", None, r"images\[0\]: split None found, text expected"),
        ("filename", 3, r"images\[0\]: filename 3 found, text expected"),
        ("cocoid", "7", r"cocoid or imgid '7' found, a whole number expected"),
        ("sentences", "A dog.", "sentences 'A dog.' found, a list expected"),
        ("sentences", ["A dog."], "sentence 'A dog.' found, one with raw or tokens expected"),
        ("sentences", [{"raw": 3}], "sentence {'raw': 3} found, one with raw or tokens"),
    ],
)
def test_karpathy_names_the_entry_that_is_wrong(tmp_path, field, value, part):
    record = karpathy_coco()
    record["images"][0][field] = value
    with pytest.raises(ValueError, match=part):
        read_karpathy(write_json(tmp_path / "k.json", record))


@pytest.mark.parametrize("text", ["", "[]", "3", '{"images": 3}', '{"images": []}', "{}", "PK"])
def test_karpathy_refuses_other_files(tmp_path, text):
    path = tmp_path / "k.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="k.json"):
        read_karpathy(path)
    path.write_text(json.dumps(karpathy_coco())[:300])
    with pytest.raises(ValueError, match="k.json: not a whole JSON file"):
        read_karpathy(path)
    with pytest.raises(FileNotFoundError, match="no such Karpathy split file"):
        read_karpathy(tmp_path / "none.json")


# ---- Flickr ----

SPOKEN = {
    "10_a.jpg": ["Two dogs | one #1 ball .", "A dog ."],
    "9#b.jpg": ['A "sign" .', "Ein Füß ."],
}


def token_lines() -> list[str]:
    rows = [(n, i, t) for n, texts in SPOKEN.items() for i, t in enumerate(texts)]
    return [f"{name}#{i}\t{text}" for name, i, text in rows]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(token_lines()) + "\n",
        "\ufeff" + "\r\n".join(token_lines()),
        "image_name| comment_number| comment\n"
        + "\n".join(f"{n}| {i}| {t}" for n, some in SPOKEN.items() for i, t in enumerate(some)),
        "image,caption\n"
        + "\n".join(
            n + ',"' + t.replace('"', '""') + '"' for n, some in SPOKEN.items() for t in some
        ),
    ],
    ids=["token", "token with BOM", "bars", "csv"],
)
def test_three_forms_of_flickr(tmp_path, text):
    path = tmp_path / "captions"
    path.write_text(text, "utf-8")
    splits, notes = read_flickr(path, val=0, test=0)
    assert said(splits) == {"train": SPOKEN} and notes == []
    assert [r.image_id for r in splits["train"]] == [1, 2]


def test_the_line_of_flickr30k_that_lacks_a_bar(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text(
        "image_name| comment_number| comment\n2.jpg| 3| A dog .\n2.jpg| 4   A dog runs .\n"
    )
    assert all_captions(read_flickr(path, val=0, test=0)[0]) == {
        "2.jpg": ["A dog .", "A dog runs ."]
    }


def test_split_lists_of_flickr(tmp_path):
    path = tmp_path / "t.token"
    path.write_text("".join(f"{i}.jpg#{c}\tDog {i} .\n" for i in range(6) for c in range(2)))
    lists = {"train": "0.jpg\n1.jpg\n\n", "val": "2.jpg\n", "test": "3\n9.jpg\n"}
    files = {}
    for split, text in lists.items():
        files[split] = tmp_path / f"{split}.txt"
        files[split].write_text(text)
    splits, notes = read_flickr(path, files)
    assert {s: [r.file_name for r in some] for s, some in splits.items()} == {
        "train": ["0.jpg", "1.jpg"],
        "val": ["2.jpg"],
        "test": ["3.jpg"],
    }
    assert notes == [
        "2 pictures left out, in no split list: 4.jpg, 5.jpg",
        "1 listed picture left out, without a caption: 9",
    ]
    files["test"].write_text("2.jpg\n")
    with pytest.raises(ValueError, match="test.txt: 2 is in the list of 'val' as well"):
        read_flickr(path, files)
    files["test"].write_text("77.jpg\n")
    with pytest.raises(ValueError, match="test.txt: none of its pictures has a caption"):
        read_flickr(path, files)


def test_odd_lines_of_flickr(tmp_path):
    path = tmp_path / "t.token"
    good = "".join(f"{i}.jpg#0\tA dog .\n" for i in range(200))
    path.write_text(good + "what is this?\n3.jpg#1\t \n")
    splits, notes = read_flickr(path, val=0, test=0)
    assert len(splits["train"]) == 200
    assert notes == [
        "1 line left out, not understood: line 201",
        "1 line left out, without a caption: line 202",
    ]
    path.write_text("0.jpg#0\tA dog .\nwhat is this?\n")
    with pytest.raises(ValueError, match=r"1 of 2 lines are not understood \(\['line 2'\]\)"):
        read_flickr(path)
    path.write_text("hello\n")
    with pytest.raises(ValueError, match="first line 'hello' found, NAME.jpg#0<TAB>caption"):
        read_flickr(path)
    path.write_bytes(b"0.jpg#0\tcaf\xe9\n")
    with pytest.raises(ValueError, match="not utf-8 text .*another encoding, e.g. cp1252"):
        read_flickr(path)
    assert all_captions(read_flickr(path, encoding="cp1252", val=0, test=0)[0])["0.jpg"] == ["café"]


# ---- real captions ----


def test_real_flickr_captions_survive_both_ways(tmp_path, reference_data):
    folder = reference_data / "data" / "flickr8k_1k"
    splits = read_karpathy(folder / "dataset_flickr8k.json")
    record = json.loads((folder / "annotations" / "captions_val.json").read_text("utf-8"))
    names = {image["id"]: image["file_name"] for image in record["images"]}
    expected: dict[str, list[str]] = {}
    for annotation in record["annotations"]:
        expected.setdefault(names[annotation["image_id"]], []).append(annotation["caption"].strip())
    assert said(splits)["val"] == expected
    lines = [
        f"{r.file_name}#{i}\t{text}\n"
        for some in splits.values()
        for r in some
        for i, text in enumerate(r.captions)
    ]
    (tmp_path / "f.token").write_text("".join(lines), "utf-8")
    again, notes = read_flickr(tmp_path / "f.token")
    assert all_captions(again) == all_captions(splits) and notes == []


def test_converted_twice_is_the_same(tmp_path):
    data = write_data(tmp_path / "data", 6, 2, 2)
    file = write_json(tmp_path / "dataset_flickr8k.json", karpathy_flickr(data))
    for name in ("one", "two"):
        convert_karpathy(file, data / "images", tmp_path / name, pictures="copy")
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*")]
    assert len(files) == 14
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()
