"""Conversions of tables, of folders with texts, and of self-critical.pytorch's labels."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_cases import all_captions, said, write_labels

from captioning.datasets.layout import Record, write_layout
from captioning.datasets.legacy import read_cocotalk
from captioning.datasets.tables import Columns, read_folder, read_table

# ---- tables ----


def table(tmp_path: Path, text: str, name: str = "t.csv", **arguments):
    path = tmp_path / name
    path.write_text(text, arguments.pop("written", "utf-8"), newline="")
    return read_table(path, **({"val": 0, "test": 0} | arguments))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'image,caption\na.jpg,"A dog, here"\na.jpg,B\nb.jpg,C\n'),
        ("t.csv", "\ufeffimage;caption\r\na.jpg;A dog, here\r\na.jpg;B\r\nb.jpg;C"),
        ("t.tsv", "Caption\tother\tFile_Name\nA dog, here\t\ta.jpg\nB\tx\ta.jpg\nC\t\tb.jpg\n"),
        ("t.txt", "filename|caption\n a.jpg | A dog, here \n.\\a.jpg|B\n./b.jpg|C\n\n"),
        (
            "t.jsonl",
            '{"image": "a.jpg", "caption": ["A dog, here", "B"]}\n\n'
            '{"image": "b.jpg", "caption": "C"}',
        ),
        (
            "t.json",
            '[{"image": "a.jpg", "captions": ["A dog, here", "B"]},'
            ' {"image": "b.jpg", "captions": "C"}]',
        ),
    ],
)
def test_tables(tmp_path, name, text):
    splits, notes = table(tmp_path, text, name)
    assert said(splits) == {"train": {"a.jpg": ["A dog, here", "B"], "b.jpg": ["C"]}}
    assert notes == [] and [r.image_id for r in splits["train"]] == [1, 2]


def test_columns_can_be_named(tmp_path):
    text = "p,one,two,part,nr\na.jpg,A,B,Training,7\nb.jpg,C,,dev,8\nc.jpg,D,E,holdout,9\n"
    columns = Columns("p", ("one", "TWO"), "part", "nr")
    splits, _ = table(tmp_path, text, columns=columns)
    assert said(splits) == {
        "train": {"a.jpg": ["A", "B"]},
        "val": {"b.jpg": ["C"]},
        "holdout": {"c.jpg": ["D", "E"]},
    }
    assert splits["holdout"][0].image_id == 9


def test_tables_without_splits_are_divided_by_picture(tmp_path):
    text = "image,caption\n" + "".join(f"{i % 40}.jpg,Caption {i}\n" for i in range(120))
    splits, _ = table(tmp_path, text, val=0.1, test=0.2, seed=1)
    assert {s: len(some) for s, some in splits.items()} == {"train": 28, "val": 4, "test": 8}
    assert all(len(texts) == 3 for texts in all_captions(splits).values())


def test_rows_without_a_caption_are_counted_and_named(tmp_path):
    text = "image,caption\na.jpg,A\nb.jpg,\nc.jpg\nc.jpg,C\nd.jpg,  \n"
    splits, notes = table(tmp_path, text)
    assert said(splits) == {"train": {"a.jpg": ["A"], "c.jpg": ["C"]}}
    assert notes == ["3 rows left out, without a caption: line 3, line 4, line 6"]
    _, notes = table(tmp_path, '{"image": "a", "caption": "A"}\n{"image": "b"}\n', "t.jsonl")
    assert notes == ["1 row left out, without a caption: line 2"]


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("t.csv", "", "t.csv: no rows in it"),
        ("t.csv", "image,caption\n", "t.csv: no rows in it"),
        ("t.csv", "image,caption\na.jpg,\n", "no row has a caption"),
        ("t.csv", "photo,caption\na.jpg,A\n", r"no picture column .* \(columns: \['photo', 'capt"),
        ("t.csv", "image,words\na.jpg,A\n", r"no caption column .* \(columns: \['image', 'words'"),
        ("t.csv", "image,caption\na.jpg,A dog, here\n", "line 2 has 3 cells, the header 2"),
        ("t.csv", 'image,caption\na.jpg,"A dog\nb.jpg,B\n', "line 3: unexpected end of data"),
        ("t.csv", "image,caption\n,A\n", "line 2: picture '' found, the name of a file"),
        ("t.jsonl", '{"image": "a"\n', "line 1 is not JSON"),
        ("t.jsonl", "[1]\n", r"line 1: \[1\] found, an object expected"),
        ("t.jsonl", '{"image": "a", "caption": NaN}', "line 1: caption nan found, text expected"),
        ("t.jsonl", '{"image": 3, "caption": "A"}', "line 1: picture 3 found, the name of a file"),
        ("t.json", "{}", "a list of objects expected"),
        ("t.json", "[", "not a JSON table"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, text, part):
    with pytest.raises(ValueError, match=part):
        table(tmp_path, text, name)


def test_settings_of_tables_that_are_refused(tmp_path):
    text = "image,caption,split,id\na.jpg,A,train,1\na.jpg,B,val,1\nb.jpg,C,,x\n"
    for columns, part in (
        (Columns(split="split"), "line 3: a.jpg is in split 'val', further up in 'train'"),
        (Columns(split="part"), r"no split column 'part' in it \(columns: \['image', 'caption'"),
        (Columns(image_id="id"), "line 4: image id 'x' found, a whole number expected"),
    ):
        with pytest.raises(ValueError, match=part):
            table(tmp_path, text, columns=columns)
    with pytest.raises(ValueError, match="line 2: column 'split' is empty"):
        table(tmp_path, "image,caption,split\na.jpg,A,\n", columns=Columns(split="split"))
    with pytest.raises(ValueError, match=r"delimiter: 'xx' received, \['comma', 'tab'"):
        table(tmp_path, text, delimiter="xx")
    with pytest.raises(ValueError, match="encoding: 'utf-9' received"):
        table(tmp_path, text, encoding="utf-9")
    with pytest.raises(ValueError, match="t.csv: not utf-8 text"):
        table(tmp_path, "image,caption\na.jpg,Füße\n", written="cp1252")
    splits, _ = table(tmp_path, "image,caption\na.jpg,Füße\n", written="cp1252", encoding="cp1252")
    assert all_captions(splits) == {"a.jpg": ["Füße"]}
    with pytest.raises(FileNotFoundError, match="none.csv: no such file"):
        read_table(tmp_path / "none.csv")


# ---- folders ----


def test_folder_of_pictures_and_texts(tmp_path):
    for name in ("a.jpg", "b.PNG", "deep/c.webp", "silent.jpg", ".hidden.jpg", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for name, text in {
        "a.txt": "A dog.\n\n  Two   dogs. \n",
        "b.txt": "\ufeffFüße.\r\n",
        "deep/c.txt": "C",
        "silent.txt": " \n",
        "lonely.txt": "Nobody.",
        ".hidden.txt": "Hidden.",
    }.items():
        (tmp_path / name).write_text(text, "utf-8", newline="")
    splits, notes = read_folder(tmp_path, val=0, test=0)
    assert said(splits) == {
        "train": {"a.jpg": ["A dog.", "Two dogs."], "b.PNG": ["Füße."], "deep/c.webp": ["C"]}
    }
    assert notes == [
        "1 picture left out, without a caption: silent.jpg",
        "1 text left out, no picture: lonely.txt",
    ]
    with pytest.raises(FileNotFoundError, match="no picture with a text of the same name"):
        read_folder(make_empty(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")


def make_empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_folders_called_like_splits_are_the_splits(tmp_path):
    for name in ("Train/a.jpg", "validation/b.jpg", "test/c.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).with_suffix(".txt").write_text(name)
    splits, _ = read_folder(tmp_path)
    assert said(splits) == {
        "train": {"Train/a.jpg": ["Train/a.jpg"]},
        "val": {"validation/b.jpg": ["validation/b.jpg"]},
        "test": {"test/c.jpg": ["test/c.jpg"]},
    }


# ---- self-critical.pytorch ----


def test_labels_become_captions_again(tmp_path):
    splits, notes = read_cocotalk(*write_labels(tmp_path))
    assert splits == {
        "train": [Record("val2014/a.jpg", 42, ["a dog", "a dog runs fast"], 640, 480)],
        "val": [Record("val2014/b.jpg", 7, ["a unk1"])],
        "test": [Record("8", 8, ["unk2 runs unk3", "dog", "fast fast fast fast"])],
    }
    assert notes == ["3 unknown words are written unk1 to unk3"]
    info = write_layout(tmp_path / "d", splits, None, {"name": "x", "notes": notes})
    assert info["pictures"] == "none" and not (tmp_path / "d" / "images").exists()


def test_pieces_of_words_are_joined(tmp_path):
    words = {"1": "a", "2": "do@@", "3": "gs", "4": "run", "5": "UNK"}
    splits, _ = read_cocotalk(*write_labels(tmp_path, bpe="codes", ix_to_word=words))
    assert splits["train"][0].captions == ["a do@@", "a dogs run"]


def test_pictures_without_labels_are_a_list_of_images(tmp_path):
    file, _ = write_labels(tmp_path, images=[{"id": 3, "file_path": "c.jpg"}])
    assert read_cocotalk(file) == ({"test": [Record("c.jpg", 3, [])]}, [])


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("label_start_ix", [1, 3], r"\(M, L\) and twice \(3,\) expected: it belongs to another"),
        ("label_start_ix", [0, 3, 4], "pointers outside the 6 rows of labels"),
        ("label_end_ix", [2, 3, 7], "pointers outside the 6 rows"),
        ("labels", [[9] * 4] * 6, "label 9 is not in ix_to_word"),
        ("labels", [1, 2, 3], r"labels \(3,\), pointers"),
        ("labels", None, "not a label file with labels"),
    ],
)
def test_damaged_labels_are_refused(tmp_path, name, value, part):
    file, labels = write_labels(tmp_path)
    with h5py.File(labels, "a") as h5:
        del h5[name]
        if value is not None:
            h5[name] = np.array(value, "uint32")
    with pytest.raises(ValueError, match=part):
        read_cocotalk(file, labels)


def test_other_files_are_no_labels(tmp_path):
    file, labels = write_labels(tmp_path)
    labels.write_bytes(labels.read_bytes()[:500])
    with pytest.raises(ValueError, match="cocotalk_label.h5: not a label file"):
        read_cocotalk(file, labels)
    with pytest.raises(FileNotFoundError, match="none.h5: no such label file"):
        read_cocotalk(file, tmp_path / "none.h5")
    for text, part in (("[]", "'images' and 'ix_to_word'"), ("{", "not a cocotalk JSON file")):
        file.write_text(text)
        with pytest.raises(ValueError, match=part):
            read_cocotalk(file)
    for entry, part in (({"id": "x"}, "id 'x' found"), (3, "3 found, an object expected")):
        file, _ = write_labels(tmp_path, images=[entry])
        with pytest.raises(ValueError, match=part):
            read_cocotalk(file)
