"""FineCapEval: both scorings by hand, the table and its errors, and a small picture book."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer

from captioning.datasets.picturebook.writer import write_picturebook
from captioning.evaluation.cider import cider
from captioning.evaluation.finecapeval import (
    CRITERIA,
    Entry,
    found_words,
    image_key,
    mark_phrases,
    phrase_score,
    read_finecapeval,
    score_finecapeval,
    substring_score,
)
from vocabulary import tokenize

HEADER = "image,caption,background,object,relation\n"
ROW = "a.jpg,A dog runs.,grass,dog,runs\n"
KEYS = [f"FineCapEval_{name}{suffix}" for suffix in ("", "_substring") for name in CRITERIA]
PHRASES = st.lists(st.text(max_size=12) | st.sampled_from(["in", "two happy dogs", "?!"]))


def entry(image="a.jpg", caption="A dog.", background=(), object=(), relation=()) -> Entry:
    return Entry(image, caption, tuple(background), tuple(object), tuple(relation))


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- scoring ----


@pytest.mark.parametrize(
    ("phrases", "caption", "words", "substrings"),
    [
        (["red ball"], "a red box", 1 / 2, 1 / 2),
        (["red ball", "box"], "a red box", 3 / 4, 3 / 4),  # the mean over phrases, not over words
        (["in"], "a king smiles", 0, 1),  # inside another word
        (["happy"], "a happy dog", 1, 0),  # the stem is "happi"
        (["beautiful"], "a beautiful dog", 1, 1),  # the stem "beauti" happens to be a part of it
        (["beauties"], "a beauty", 1, 0),
        (["snow"], "Snow falls", 1, 0),  # the published prediction keeps its case
        (["SNOW"], "snow falls", 1, 1),  # its phrases do not
        (["running"], "two dogs run", 1, 1),
        (["runs"], "he is running", 1, 1),
        (["run"], "he ran", 0, 0),
        (["a dog's tail"], "the dogs are", 1 / 4, 3 / 4),  # "a" in "are", "'s" without its mark
        (["T-shirt"], "a t-shirt", 1, 0),  # "tshirt"
        (["x", "dog"], "a dog", 1, 1),  # one character is left out
        (["x"], "x", 0, 0),
        (["?!", "dog"], "a dog", 1, 1 / 2),  # no word in it: left out, or a phrase that scores 0
        (["dog dog cat"], "a dog", 2 / 3, 2 / 3),
        (["dog"], "", 0, 0),
        ([], "a dog", 0, 0),
    ],
)
def test_scores_by_hand(phrases, caption, words, substrings):
    assert phrase_score(phrases, caption) == pytest.approx(words)
    assert substring_score(phrases, caption) == pytest.approx(substrings)


@given(PHRASES, st.text(max_size=20))
def test_scores_are_shares(phrases, caption):
    assert 0 <= phrase_score(phrases, caption) <= 1
    assert 0 <= substring_score(phrases, caption) <= 1


@given(st.text(min_size=2, max_size=20).filter(tokenize))
def test_a_phrase_finds_itself(phrase):
    assert phrase_score([phrase], phrase) == 1


@given(
    st.text("aAsgnoty0 -.'", min_size=2, max_size=15) | st.sampled_from(["I cannot", "Two  dogs"]),
    st.text("asgnoty0 ", max_size=30),
)
def test_substrings_as_published(phrase, caption):
    stems = [PorterStemmer().stem(word) for word in NLTKWordTokenizer().tokenize(phrase.lower())]
    words = " ".join(re.sub("[^a-zA-Z0-9]", "", stem) for stem in stems).split()
    expected = sum(word in caption for word in words) / max(len(words), 1)
    assert substring_score([phrase], caption) == pytest.approx(expected)


def test_words_of_a_phrase():
    found = [("two", False), ("happy", True), ("dogs", True)]
    assert found_words("two happy dogs", "The Dog is HAPPY.") == found
    assert found_words("...", "a dog") == []


def test_marks_of_a_caption():
    row = entry(
        background=["snowy street"], object=["happy dogs", "the street"], relation=["dogs on", "a"]
    )
    assert mark_phrases("A happy dog, on the STREET.", row) == [
        ("a", ""),  # a phrase of one character does not count
        ("happy", "object"),
        ("dog", "object"),  # in a relation as well
        ("on", "relation"),
        ("the", "object"),
        ("street", "background"),
    ]


def test_means_over_people_and_then_over_images():
    rows = [
        entry("a.jpg", "a dog on a street", ["street"], ["dog"], ["on"]),
        entry("b.jpg", "a cat", [], ["cat"]),
        entry("a.jpg", "two dogs", ["road", "wet street", "town"], ["dogs", "two"]),
    ]
    result = score_finecapeval(rows, {"b": "a king", "a": "Dogs on the street"})
    first, second = result["per_image"]
    assert first.pop("image") == "a.jpg" and first.pop("caption") == "Dogs on the street"
    assert second.pop("image") == "b.jpg" and second.pop("caption") == "a king"
    background = (1 + 0 + 1 / 2 + 0) / 4  # street; road, wet street, town
    words = [background, (1 + 1 + 0) / 3, 1]  # dog; dogs, two
    substrings = [background, 0, 1]  # "dog" does not stand in "Dogs"
    assert [first[key] for key in KEYS] == pytest.approx(words + substrings)
    assert [second[key] for key in KEYS] == [0] * 6
    assert set(result["overall"]) == {*KEYS, "FineCapEval_overall"} == set(first)
    for key, value in result["overall"].items():
        assert value == pytest.approx((first[key] + second[key]) / 2)


def test_overall_is_cider():
    """Two images without a common word: 10 for the very words of one, 0 for the other."""
    rows = [entry("a.jpg", "A red dog runs."), entry("b.jpg", "Two cats sit there!")]
    result = score_finecapeval(rows, {"a": "a red dog runs", "b": "nothing"})
    assert [one["FineCapEval_overall"] for one in result["per_image"]] == pytest.approx([10, 0])
    assert result["overall"]["FineCapEval_overall"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("name", "key"),
    [("a.jpg", "a"), ("COCO_val2014_000000391895.jpg", "COCO_val2014_000000391895")]
    + [("a.b.png", "a"), ("a", "a")],
)
def test_key_of_an_image(name, key):
    assert image_key(name) == key


@pytest.mark.parametrize(
    ("names", "captions", "sentence"),
    [
        ([], {}, "entries: none received, at least one expected"),
        (["a.jpg", "b.jpg"], {"a": ""}, "candidates: image 'b' without a caption; one for every"),
        (["a.jpg"], {"a": "", "c": ""}, "candidates: image 'c' not among the 1 images"),
        (["a.jpg", "b.jpg", "c.jpg"], {"a": ""}, "candidates: 2 images ('b', 'c') without"),
        (
            ["a.1.jpg", "a.2.jpg"],
            {"a": ""},
            "entries: images 'a.1.jpg' and 'a.2.jpg' received, names that differ before the first",
        ),
    ],
)
def test_images_and_captions_that_do_not_match(names, captions, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        score_finecapeval([entry(name) for name in names], captions)


# ---- reading ----


def test_columns_in_any_order_and_a_byte_order_mark(tmp_path):
    table = "relation,id,object, image,caption,background\nruns,7,dog,a.jpg,A dog runs.,grass\n"
    expected = [Entry("a.jpg", "A dog runs.", ("grass",), ("dog",), ("runs",))]
    assert read_finecapeval(write(tmp_path, table)) == expected
    assert read_finecapeval(write(tmp_path, "\ufeff" + HEADER + ROW)) == expected
    for end in ("\r\n", "\r"):
        assert read_finecapeval(write(tmp_path, (HEADER + ROW).replace("\n", end))) == expected


def test_phrases_are_split_and_stripped(tmp_path):
    row = r"a.jpg,é,wet street \; ; grass\;\; ,a\b\;Dog;cat,\;" + "\n"
    (one,) = read_finecapeval(write(tmp_path, HEADER + row))
    assert one == Entry("a.jpg", "é", ("wet street", "; grass"), ("a\\b", "Dog;cat"), ())


def test_commas_newlines_and_quotation_marks(tmp_path):
    row = ["a.jpg", 'A "red", old\ndog.', "grass, wet\\;sky", "dog", "on\nit"]
    with (tmp_path / "table.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER.strip().split(","), row])
    (one,) = read_finecapeval(tmp_path / "table.csv")
    assert (one.caption, one.background, one.relation) == (row[1], ("grass, wet", "sky"), (row[4],))


@pytest.mark.parametrize(
    "row",
    ["b.jpg,,x,y,z", "b.jpg,a,,y,z", "b.jpg,a,x,  ,z", "b.jpg,a,x,y,", "b.jpg,a,x,y", "b.jpg", ""]
    + ["b.jpg,a,x,y,NaN", "b.jpg,a,None,y,z", ",,,,"],
)
def test_rows_without_one_of_the_texts_are_skipped(tmp_path, row):
    entries = read_finecapeval(write(tmp_path, f"{HEADER}{ROW}{row}\n{ROW}"))
    assert [one.image for one in entries] == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "line 1 lacks the column(s) image, caption, background, object, relation"),
        ("image,caption,object,relations\n", "line 1 lacks the column(s) background, relation"),
        ('[{"image_id": 1}]', "line 1 lacks the column(s) image, caption"),
        (HEADER, "no row has all of caption, background, object, relation, at least one needed"),
        (HEADER + "a.jpg,,x,y,z\n", "no row has all of caption"),
        (HEADER + ROW + 'a.jpg,"A dog,x,y,z\n', "line 3 is not CSV (unexpected end of data)"),
        (HEADER + 'a.jpg,"A" dog,x,y,z\n', "line 2 is not CSV ("),
        (HEADER + 'a.jpg,"A\ndog",x,y,z\n.jpg,"a\n",x,y,z\n', "line 4 has the image '.jpg', a"),
        (HEADER + "a.jpg,A dog, a cat,x,y,z\n", "line 2 has 6 cells, 5 expected as in the header;"),
        ((HEADER + "a.jpg,café").encode("latin-1"), "line 2 is not UTF-8 text ("),
        ((HEADER + ROW).encode("utf-16"), "line 1 is not UTF-8 text ("),
        (HEADER + ROW + "a.jpg,A\0 dog,x,y,z\n", "line 3 holds a NUL byte, text expected"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, content, sentence):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {sentence}")) as caught:
        read_finecapeval(path)
    assert "\n" not in str(caught.value)


def test_no_such_table(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: no such FineCapEval")):
            read_finecapeval(path)


# ---- the picture book ----


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> list[Entry]:
    folder = tmp_path_factory.mktemp("book") / "book"
    write_picturebook(folder, 2, 2, 6, image_size=32, workers=1, progress=False)
    return read_finecapeval(folder / "annotations" / "finecapeval_test.csv")


def test_own_captions_beat_those_of_other_pictures(book):
    keys = list(dict.fromkeys(image_key(row.image) for row in book))
    assert len(keys) == 6 and len(book) == 30
    people = [[row.caption for row in book if image_key(row.image) == key] for key in keys]
    for person in range(5):
        said = [captions[person] for captions in people]
        own = score_finecapeval(book, dict(zip(keys, said, strict=True)))
        others = score_finecapeval(book, dict(zip(keys, said[1:] + said[:1], strict=True)))
        for key, score in own["overall"].items():
            assert score > others["overall"][key], (person, key)


def test_own_phrases_are_marked(book):
    """Whoever wrote the caption took the phrases about things from it."""
    for row in book:
        marks = [criterion for _, criterion in mark_phrases(row.caption, row)]
        assert "object" in marks and "" in marks


def test_the_overall_score_of_the_picture_book_is_cider(book):
    references, candidates = {}, {}
    for row in book:
        references.setdefault(image_key(row.image), []).append(tokenize(row.caption))
        candidates[image_key(row.image)] = row.caption
    expected, _ = cider(references, {key: tokenize(text) for key, text in candidates.items()})
    result = score_finecapeval(book, candidates)
    assert result["overall"]["FineCapEval_overall"] == pytest.approx(expected)


def test_a_file_of_predictions_is_scored_from_the_command_line(run_cli, tmp_path):
    table = tmp_path / "fine.csv"
    rows = ["image,caption,background,object,relation"]
    rows += ["a.jpg,A dog on a beach.,on a beach,dog,on", "b.jpg,A cat.,indoors,cat,alone"]
    table.write_text("\n".join(rows), "utf-8")
    said = {"a": "A dog.", "b": "A cat indoors."}
    candidates, asked = tmp_path / "said.json", ("score", "--finecapeval", table, "--candidates")
    candidates.write_text(json.dumps(said), "utf-8")
    code, out, _ = run_cli(*asked, candidates, "--json")
    result = json.loads(out)
    # background: "a" of "on a beach", then all of "indoors"
    assert code == 0 and result["overall"]["FineCapEval_background"] == pytest.approx(
        (1 / 3 + 1) / 2
    )
    assert result["overall"]["FineCapEval_object"] == 1 and result["settings"]["num_images"] == 2
    listed = [{"image_id": f"x/{key}.jpg", "caption": text} for key, text in said.items()]
    candidates.write_text(json.dumps(listed), "utf-8")
    assert json.loads(run_cli(*asked, candidates, "--json")[1])["overall"] == result["overall"]
    candidates.write_text(json.dumps({"a": 3, "b": "x"}), "utf-8")
    code, _, error = run_cli(*asked, candidates)
    assert code == 1 and "'a' has 3, a caption expected" in error
    assert run_cli("score", "--candidates", candidates)[0] == 2
    code, _, error = run_cli(*asked, candidates, "--metrics", "cider")
    assert code == 2 and "--metrics: not with --finecapeval" in error
