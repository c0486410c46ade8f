"""`score`: COCO files in, the reference tools' numbers out, and a sentence for every bad file."""

from __future__ import annotations

import json

import pytest
import torch
from metric_cases import fixture_case, reference_cases, write_coco_files
from reward_cases import make_batch

from captioning.evaluation.caption_files import read_candidates, read_references
from captioning.evaluation.ngrams import DocumentFrequency
from captioning.evaluation.score_command import format_table, score_files
from captioning.rewards.cider import CiderReward
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.references import PackedReferences
from vocabulary import Vocabulary

CASES = [fixture_case(), *reference_cases()]
IMAGES = [{"id": 1, "file_name": "a.jpg"}, {"id": 2}]
CAPTIONS = [{"image_id": 1, "caption": "A dog."}, {"image_id": 2, "caption": "A cat."}]


def write(path, record):
    path.write_text(record if isinstance(record, str) else json.dumps(record), "utf-8")
    return path


@pytest.fixture
def files(tmp_path):
    references = write(tmp_path / "refs.json", {"images": IMAGES, "annotations": CAPTIONS})
    return references, write(tmp_path / "results.json", CAPTIONS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scoring_files_reproduces_the_reference_scores(case, tmp_path):
    metrics = ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    metrics += ["cider_plain"] * ("CIDEr_plain" in case.corpus)
    references, candidates = write_coco_files(case, tmp_path)
    result = score_files(references, candidates, metrics, "corpus", "none")
    assert [key.lower() for key in result["overall"]] == metrics
    for key, value in result["overall"].items():
        assert value == pytest.approx(case.corpus[key], abs=1e-6)
        for entry in result["per_image"]:
            expected = case.per_image[key][entry["image_id"]]
            assert entry[key] == pytest.approx(expected, abs=1e-6)
            assert entry["file_name"] == f"{entry['image_id']}.jpg"
    json.dumps(result, allow_nan=False)


def test_the_table_shows_four_decimals_and_what_was_scored(files):
    result = score_files(*files, ["bleu_1", "cider"])
    lines = format_table(result).splitlines()
    assert lines == [
        "Bleu_1    1.0000",
        "CIDEr     5.0000",  # of four orders, one and two agree, three and four are empty
        "2 images, 2 references, tokenizer ptb",
    ]
    assert format_table(result, ["CIDEr"]).splitlines()[0] == "CIDEr    5.0000"
    assert result["settings"]["references"] == "refs.json"  # no folder of anybody's machine
    assert result["settings"]["document_frequency"] == "corpus"


def test_a_table_adds_the_training_frequencies(files, tmp_path):
    table = DocumentFrequency.from_references({1: [["a", "dog"]], 2: [["a", "dog"]], 3: [["a"]]})
    table.save(tmp_path / "table.json")
    result = score_files(*files, ["cider"], str(tmp_path / "table.json"))
    assert list(result["overall"]) == ["CIDEr", "CIDEr_train_df"]
    assert result["settings"]["document_frequency"] == "table.json"
    with pytest.raises(FileNotFoundError, match="document_frequency: .*nowhere does not exist"):
        score_files(*files, ["cider"], str(tmp_path / "nowhere"))


def test_a_bundle_gives_exactly_its_reward(tmp_path):
    """Also for captions with words that the bundle does not know."""
    people = {
        1: ["A dog sees the red ball.", "the dog, with a grey ball"],
        2: ["A cat on a mat", "the cat sees a purple mat!"],
        3: ["A ball on the mat"],
    }
    said = {1: "a dog with a big ball", 2: "the cat", 3: "A ball on the mat."}
    vocabulary = Vocabulary("a dog cat the red ball sees on mat with".split())
    encoded = [[vocabulary.encode(text) for text in texts] for texts in people.values()]
    frequency = NgramFrequency.build([*encoded, [vocabulary.encode("a dog")]], vocabulary, "more")
    reward = CiderReward(PackedReferences([*people], encoded, vocabulary), frequency)
    captions = [vocabulary.encode(text)[1:] for text in said.values()]
    expected = [
        reward(torch.tensor([c]), make_batch([i])).item()
        for i, c in zip(said, captions, strict=True)
    ]

    bundle = tmp_path / "bundle"
    bundle.mkdir()
    with pytest.raises(ValueError, match="bundle has no document_frequency.safetensors"):
        score_files(bundle, bundle, None, str(bundle))
    frequency.save(bundle / "document_frequency.safetensors")
    with pytest.raises(ValueError, match="bundle has no vocabulary.json"):
        score_files(bundle, bundle, None, str(bundle))
    vocabulary.save(bundle / "vocabulary.json")
    annotations = [{"image_id": i, "caption": t} for i, texts in people.items() for t in texts]
    images = [{"id": i} for i in people]
    references = write(tmp_path / "refs.json", {"images": images, "annotations": annotations})
    results = [{"image_id": i, "caption": text} for i, text in said.items()]
    candidates = write(tmp_path / "results.json", results)
    result = score_files(references, candidates, ["cider_train_df"], str(bundle))
    scores = [entry["CIDEr_train_df"] for entry in result["per_image"]]
    assert scores == pytest.approx(expected, abs=1e-6) and min(scores) > 0.5
    assert result["settings"]["document_frequency"] == "bundle"
    assert result["settings"]["cider_train_df"]["num_documents"] == 4
    Vocabulary(["a", "dog"]).save(bundle / "vocabulary.json")
    with pytest.raises(ValueError, match="document_frequency.safetensors: .*count them again"):
        score_files(references, candidates, ["cider_train_df"], str(bundle))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("{", "references: .*refs.json is not JSON"),
        ([], "has no list 'images'"),
        ({"images": IMAGES}, "has no list 'annotations'"),
        ({"images": [*IMAGES, {"id": 1}], "annotations": CAPTIONS}, "lists image 1 twice"),
        ({"images": [{}], "annotations": []}, r"images\[0\] of .* has no 'id'"),
        ({"images": IMAGES, "annotations": [{"image_id": 1}]}, r"annotations\[0\] .* no 'caption'"),
        ({"images": IMAGES, "annotations": [{"caption": "a"}]}, "has no 'image_id'"),
        ({"images": IMAGES, "annotations": [{"image_id": 3, "caption": "a"}]}, "image 3, which"),
        ({"images": IMAGES, "annotations": [{"image_id": 1, "caption": 5}]}, "is 5, a string"),
        ({"images": [{"id": None}], "annotations": []}, "'id' is None, a number or a string"),
        ({"images": IMAGES, "annotations": []}, "holds no captions"),
    ],
)
def test_bad_reference_files_are_named(tmp_path, record, message):
    with pytest.raises(ValueError, match=message) as error:
        read_references(write(tmp_path / "refs.json", record))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("caption: a dog", "candidates: .*results.json is not JSON"),
        ({"overall": {}}, "holds a JSON object; a list"),
        ([], "holds no captions"),
        (["a dog"], "entry 0 of .* has no 'image_id'"),
        ([{"image_id": 1}], "entry 0 of .* has no 'caption'"),
        ([*CAPTIONS, CAPTIONS[0]], "entry 2 of .* is a second caption for image 1"),
        ([{"image_id": 1, "caption": None}], "'caption' is None, a string expected"),
    ],
)
def test_bad_candidate_files_are_named(tmp_path, record, message):
    with pytest.raises(ValueError, match=message) as error:
        read_candidates(write(tmp_path / "results.json", record))
    assert "\n" not in str(error.value)


def test_missing_files_and_ids_that_do_not_fit(files, tmp_path):
    references, candidates = files
    with pytest.raises(FileNotFoundError, match="references: .*none.json does not exist"):
        score_files(tmp_path / "none.json", candidates)
    with pytest.raises(FileNotFoundError, match="candidates: .*none.json does not exist"):
        score_files(references, tmp_path / "none.json")
    with pytest.raises(ValueError, match="is a folder"):
        score_files(tmp_path, candidates)
    write(candidates, CAPTIONS[:1])
    with pytest.raises(ValueError, match="image 2 without a caption"):
        score_files(references, candidates)
    write(candidates, [*CAPTIONS, {"image_id": 3, "caption": "a"}])
    with pytest.raises(ValueError, match="image 3 not among the 2 images"):
        score_files(references, candidates)


def test_an_empty_caption_is_scored_zero(files):
    references, candidates = files
    write(candidates, [CAPTIONS[0], {"image_id": 2, "caption": ""}])
    result = score_files(references, candidates)
    assert [result["per_image"][1][key] for key in result["overall"]] == [0] * 6
    assert result["overall"]["CIDEr"] == pytest.approx(2.5)
