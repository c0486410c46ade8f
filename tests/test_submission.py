"""Zip files for the COCO server: what is refused before one is written."""

from __future__ import annotations

import pytest

from captioning.evaluation.submission import check_submission_name, write_submission

METRICS = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
FLUENCY = ["bad_endings", "repetition", "words", "distinct_captions"]
TOGETHER = ["perplexity", "vocabulary_size", "novel_captions", "pictures_per_second"]


def test_captions_of_some_pictures_are_no_submission(tmp_path):
    captions = {"val": {1: "a dog"}, "test": {3: "a cat"}}
    whole = {"val": [1], "test": [3]}
    for ids, part in (
        ({"val": [1, 2], "test": [3]}, "captions of 1 of the 2 val pictures and of 0 others"),
        ({"val": [1], "test": [4]}, "captions of 0 of the 1 test pictures and of 1 others"),
    ):
        with pytest.raises(ValueError, match=part):
            write_submission(tmp_path / "r.zip", "a", captions, ids)
    with pytest.raises(ValueError, match="image id 'x' found, a number expected"):
        odd = {"val": {"x": "a dog"}, "test": {3: "a cat"}}
        write_submission(tmp_path / "r.zip", "a", odd, whole | {"val": ["x"]})
    assert not list(tmp_path.iterdir())
    write_submission(tmp_path / "r.zip", "a", captions, whole)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "-a", "a\n", "ä", "a" * 101])
def test_names_that_the_files_cannot_carry(name):
    with pytest.raises(ValueError, match="a name of letters, digits"):
        check_submission_name(name)


# ---- score ----
