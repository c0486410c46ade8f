"""`evaluate` as a whole: what a result holds, the files it writes, and what it refuses at once."""

from __future__ import annotations

import json
import sys
import zipfile

import pytest
import torch
from conftest import small_experiment
from torch import nn

from captioning.bundle import Captioner
from captioning.cli import main
from captioning.evaluation.evaluate import evaluate, load_split, score_split
from captioning.evaluation.perplexity import Loss, reference_loss
from model import DecoderOutput, VisualFeatures
from vocabulary import END_IDX, PAD_IDX, START_IDX, UNK_IDX, tokenize

METRICS = ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"]
FLUENCY = ["bad_endings", "repetition", "words", "distinct_captions"]
TOGETHER = ["perplexity", "vocabulary_size", "novel_captions", "pictures_per_second"]


@pytest.fixture(scope="module")
def captioner(tiny_data, tiny_vocabulary, tmp_path_factory):
    """An untrained captioner whose words are chosen clearly."""
    experiment = small_experiment(tiny_data, tmp_path_factory.mktemp("none"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        captioner = Captioner.build(experiment, tiny_vocabulary).train(False)
    with torch.no_grad():
        for parameter in captioner.decoder.parameters():
            parameter.mul_(3)
    return captioner


@pytest.fixture(scope="module")
def bundle(captioner, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "small"
    captioner.save(folder)
    return folder


@pytest.fixture
def run(bundle, capsys, monkeypatch):
    """`evaluate` in this process, nobody at the terminal: exit code, stdout, stderr."""

    class Nobody:
        def __getattr__(self, name):
            raise AssertionError(f"stdin.{name} was used")

    monkeypatch.setattr(sys, "stdin", Nobody())

    def call(*arguments, command="evaluate"):
        known = ["--model", bundle, "--device", "cpu"] if command == "evaluate" else []
        code = main([command, *map(str, known), *map(str, arguments)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def read(path):
    return json.loads(path.read_text("utf-8"))


# ---- perplexity ----


class Undecided(nn.Module):
    """A decoder that finds all words equally likely."""

    def forward(self, features, captions):
        return DecoderOutput(torch.zeros(*captions.shape, 50))


def test_who_knows_nothing_hesitates_between_all_words():
    """Two pictures with three and one captions; the longest has more words than are counted."""
    ids = [START_IDX, 7, UNK_IDX, END_IDX]
    long = [START_IDX, 8, 9, 10, 11, 12, END_IDX]
    features = VisualFeatures(torch.zeros(2, 1, 4))
    loss = reference_loss(Undecided(), features, [[ids, ids, long], [ids]], max_length=4)
    assert (loss.words, loss.unknown) == (3 * 3 + 4, 3)  # of the long one four words, no <end>
    assert loss.perplexity() == pytest.approx(50)


def test_perplexity_of_no_words_and_of_the_impossible():
    assert Loss().perplexity() == 0
    assert json.dumps(Loss(1e9, 1).perplexity(), allow_nan=False)


def test_perplexity_word_by_word(captioner, tiny_data):
    """The same number from one picture, one caption and one step at a time."""
    result = evaluate(captioner, tiny_data, "test", ["cider"], batch_size=3)
    dataset = load_split(captioner, tiny_data, "test")
    losses, unknown = [], 0
    with torch.no_grad():
        for place, texts in enumerate(dataset.texts):
            features = captioner.encoder(dataset[place][1][None])
            for text in texts:
                state = captioner.decoder.init_state(features)
                ids = captioner.vocabulary.encode(text)
                unknown += ids.count(UNK_IDX)
                for word, following in zip(ids, ids[1:], strict=False):
                    logits, state = captioner.decoder.step(torch.tensor([[word]]), state)
                    losses.append(-logits[0, 0].log_softmax(-1)[following].item())
    expected = torch.tensor(losses, dtype=torch.float64).mean().exp().item()
    assert result["overall"]["perplexity"] == pytest.approx(expected, rel=1e-5)
    settings = result["settings"]["perplexity"]
    assert settings == {"words": len(losses), "unknown_words": unknown, "unknown_as": "<unk>"}
    assert expected > 2 and "perplexity" not in result["per_image"][0]


def test_the_perplexity_of_a_caption_is_that_of_its_own_words(captioner, tiny_data):
    result = evaluate(captioner, tiny_data, "test", ["cider"], method="greedy", perplexity=False)
    dataset = load_split(captioner, tiny_data, "test")
    generation, _ = captioner.generate(
        torch.stack([dataset[i][1] for i in range(len(dataset))]),
        captioner.generation_config(method="greedy"),
    )
    assert "perplexity" not in result["overall"]
    for entry, row, words in zip(
        result["per_image"], generation.logprobs, generation.tokens, strict=True
    ):
        number = int((words != PAD_IDX).sum())
        assert entry["logprob"] == pytest.approx(row.sum().item(), abs=1e-4)
        assert entry["caption_perplexity"] == pytest.approx((-row.sum() / number).exp().item())


# ---- what a result holds ----


def test_one_caption_a_picture(captioner, tiny_data):
    result = evaluate(captioner, tiny_data, "test", batch_size=5)
    assert list(result["overall"]) == [*METRICS, *FLUENCY, *TOGETHER]
    assert result["overall"]["pictures_per_second"] > 0
    settings = result["settings"]
    assert (settings["data"], settings["split"]) == (str(tiny_data), "test")
    assert (settings["num_images"], settings["batch_size"], settings["device"]) == (8, 5, "cpu")
    assert settings["generation"]["beam_size"] == 2 and "torch" in settings["versions"]
    assert set(settings["seconds"]) == {"reading", "captioning"}
    entry = result["per_image"][0]
    assert (entry["image_id"], entry["file_name"]) == (900, "test_000.png")
    json.dumps(result, allow_nan=False)


def test_single_pictures_have_a_latency(captioner, tiny_data):
    overall = evaluate(captioner, tiny_data, "test", ["cider"], 1, max_pictures=2)["overall"]
    assert overall["latency_ms"] > 0


def test_several_captions_a_picture(captioner, tiny_data):
    how = {"method": "sample", "num_samples": 3, "seed": 1, "temperature": 1.5}
    result = evaluate(captioner, tiny_data, "test", ["cider", "bleu_4"], **how)
    overall = result["overall"]
    for key in ("Div_1", "Div_2", "mBLEU_4", "self_CIDEr"):
        assert 0 <= overall[key] <= 1
    for key in ("Bleu_4", "CIDEr"):
        assert overall[f"oracle_{key}"] >= overall[f"average_{key}"]
    assert overall["oracle_CIDEr"] >= overall["CIDEr"]
    said = set()
    for entry in result["per_image"]:
        samples = entry["samples"]
        said |= {sample["caption"] for sample in samples}
        assert [s["caption"] for s in samples][0] == entry["caption"] and len(samples) == 3
        assert samples[0]["logprob"] == max(sample["logprob"] for sample in samples)
        assert entry["oracle_CIDEr"] == max(sample["CIDEr"] for sample in samples)
    assert overall["vocabulary_size"] == len({word for text in said for word in tokenize(text)})


def test_a_split_without_captions_gets_what_needs_none(captioner, own_data):
    annotations = own_data / "annotations"
    record = read(annotations / "captions_test.json")
    (annotations / "images_extra.json").write_text(json.dumps({"images": record["images"]}))
    (annotations / "captions_train.json").unlink()  # nothing to be novel against
    result = evaluate(captioner, own_data, "extra", num_samples=2)
    expected = [*FLUENCY, "Div_1", "Div_2", "mBLEU_4", "vocabulary_size", "pictures_per_second"]
    assert list(result["overall"]) == expected
    assert result["settings"]["metrics"] == [] and result["settings"]["num_references"] == 0
    assert set(result["per_image"][0]["samples"][0]) == {"caption", "logprob", "caption_perplexity"}


def test_pictures_without_captions_among_others_are_named(captioner, own_data, no_captioning):
    path = own_data / "annotations" / "captions_test.json"
    record = read(path)
    record["annotations"] = [a for a in record["annotations"] if a["image_id"] != 903]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="test_003.png: no caption in split 'test'"):
        evaluate(captioner, own_data, "test")


def test_what_is_not_in_the_picture_is_named_word_by_word(captioner, own_data):
    path = own_data / "annotations" / "captions_test.json"
    record = read(path)
    objects = [{"id": 1, "image_id": 900, "category_id": 1, "bbox": [0, 0, 1, 1]}]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    instances = {"images": record["images"], "annotations": objects, "categories": categories}
    (own_data / "annotations" / "instances_test.json").write_text(json.dumps(instances))
    dataset = load_split(captioner, own_data, "test")
    captions = {900: "A dog and two kittens.", 901: "A house."}
    result = score_split(dataset, captions, own_data, ["cider"])
    first, second = result["per_image"]
    assert (first["hallucinated"], first["CHAIRi"]) == (["kittens"], 0.5)
    assert second["hallucinated"] == [] and result["overall"]["CHAIRs"] == 0.5


# ---- the command: splits and files ----


def test_all_splits_and_their_files(run, own_data, tmp_path):
    annotations = own_data / "annotations"
    record = read(annotations / "captions_val.json")
    (annotations / "images_more.json").write_text(json.dumps({"images": record["images"]}))
    record["annotations"][0]["caption"] = "A zebra."
    (annotations / "captions_val.json").write_text(json.dumps(record))
    files = ["--output", tmp_path / "{split}.json", "--results", tmp_path / "of_{split}.json"]
    limit = ["--max_pictures", 3, "--metrics", "cider"]
    code, out, err = run("--data", own_data, "--split", "all", *files, *limit)
    assert code == 0
    headings = [line for line in out.splitlines() if line.endswith(":")]
    assert headings == ["train:", "val:", "test:", "more:"]
    assert "note: more: no human captions, so captions only and no scores" in err
    assert "of the human words are unknown and count as <unk>" in err
    for split, first_id in (("train", 100), ("val", 500), ("test", 900), ("more", 500)):
        result = read(tmp_path / f"{split}.json")
        assert set(result) == {"overall", "per_image", "settings"}
        assert result["settings"]["split"] == split
        assert result["settings"]["model"].endswith("small")
        rows = read(tmp_path / f"of_{split}.json")
        expected = [{k: row[k] for k in ("image_id", "caption")} for row in result["per_image"]]
        assert rows == expected
        assert [row["image_id"] for row in rows] == [first_id, first_id + 1, first_id + 2]


def test_json_of_several_splits_is_one_object(run, tiny_data):
    limit = ["--max_pictures", 2, "--metrics", "cider", "--perplexity", "false"]
    code, out, _ = run("--data", tiny_data, "--split", "val, test", "--json", *limit)
    results = json.loads(out)
    assert code == 0 and list(results) == ["val", "test"]
    assert "perplexity" not in results["test"]["overall"]


def test_an_ensemble_of_twins_says_the_same(run, bundle, tiny_data):
    limit = ["--max_pictures", 2, "--metrics", "cider", "--json", "--data", tiny_data]
    alone = json.loads(run(*limit)[1])
    pair = ["--model", f"{bundle},{bundle}", "--model_weights", "0.3,0.7"]
    both = json.loads(run(*limit, *pair)[1])
    assert both["settings"]["model"] == f"{bundle},{bundle}"
    assert both["overall"]["CIDEr"] == alone["overall"]["CIDEr"]
    assert both["overall"]["perplexity"] == pytest.approx(alone["overall"]["perplexity"])


def test_existing_files_are_refused_before_any_captioning(run, tiny_data, tmp_path, no_captioning):
    there = tmp_path / "there.json"
    there.write_text("kept")
    for flag in ("--output", "--results"):
        code, out, err = run("--data", tiny_data, flag, there)
        assert code == 1 and out == "" and "exists already; --overwrite replaces it" in err
    zipped = ["--submission", "mine", "--submission_file", there, "--split", "val,test"]
    code, _, err = run("--data", tiny_data, *zipped)
    assert code == 1 and "there.json: exists already" in err
    assert there.read_text() == "kept"


def test_overwriting_and_an_interruption(run, tiny_data, tmp_path, monkeypatch):
    output = tmp_path / "result.json"
    output.write_text("old")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    arguments = ["--data", tiny_data, "--output", output, "--overwrite", "--max_pictures", 2]
    with monkeypatch.context() as patch:
        patch.setattr("captioning.evaluation.evaluate.score_split", interrupt)
        code, out, err = run(*arguments)
    assert code == 1 and out == "" and err.endswith("stopped\n")
    assert output.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert run(*arguments)[0] == 0
    assert len(read(output)["per_image"]) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--split", "val,test", "--output", "r.json"], "a name with {split} in it expected for"),
        (["--split", "val,test", "--compare", "r.json"], "compare: 'r.json' received, a name with"),
        (["--output", "r.json", "--results", "./r.json"], "named for two different files"),
        (["--split", "val,val"], "split: 'val,val' received, different names of splits"),
        (["--split", ""], "split: '' received, different names"),
        (["--submission", "my model", "--split", "val,test"], "submission: 'my model' received"),
        (["--submission", "mine"], "split: test received, one split whose name begins with val"),
        (["--submission", "m", "--max_pictures", "3"], "max_pictures: 3 received, 0 expected"),
        (["--num_workers", "-1"], "num_workers: -1 received, 0 or more expected"),
        (["--model_weights", "1,2"], "model_weights: [1.0, 2.0] received, 1 numbers"),
        (["--perplexity", "perhaps"], "perplexity"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage(run, tiny_data, no_captioning, arguments, part):
    code, out, err = run("--data", tiny_data, *arguments)
    assert code == 2 and out == "" and part in err and err.count("\n") == 1


def test_a_split_that_is_missing_is_named_before_the_others_begin(run, tiny_data, no_captioning):
    code, out, err = run("--data", tiny_data, "--split", "val,tset")
    assert code == 1 and out == "" and "captions_tset.json: no such file" in err


# ---- comparison ----


def test_compare_with_an_earlier_result(run, tiny_data, tmp_path, monkeypatch):
    earlier = tmp_path / "earlier.json"
    known = ["--data", tiny_data, "--metrics", "cider", "--max_pictures", 4]
    assert run(*known, "--output", earlier)[0] == 0
    code, out, _ = run(*known, "--compare", earlier)
    assert code == 0 and "means of 4 pictures" in out
    code, out, _ = run(*known, "--compare", earlier, "--json")
    one = json.loads(out)["comparison"]["metrics"]["CIDEr"]
    assert code == 0 and (one["difference"], one["p"]) == (0, 1)
    monkeypatch.setattr("captioning.evaluation.evaluate.caption_batches", None)
    for more, part in (
        (["--split", "val"], "split: 'val' and 'test' received"),
        (["--max_pictures", 3], "pictures: 3 and 4 received"),
    ):
        code, out, err = run(*known, *more, "--compare", earlier)
        assert code == 1 and out == "" and part in err
    code, _, err = run(*known, "--compare", tmp_path / "nowhere.json")
    assert code == 1 and "nowhere.json: no such result of an evaluation" in err


# ---- COCO's server ----


def test_the_zip_file_holds_both_sets(run, tiny_data, tmp_path):
    target = tmp_path / "results.zip"
    sent = ["--submission", "my-model_2.0", "--submission_file", target, "--split", "val,test"]
    code, _, err = run("--data", tiny_data, *sent, "--metrics", "cider")
    assert code == 0 and "note: COCO's val2014 has 40504 pictures, this data set 8" in err
    with zipfile.ZipFile(target) as file:
        assert file.namelist() == [
            "captions_val2014_my-model_2.0_results.json",
            "captions_test2014_my-model_2.0_results.json",
        ]
        for name, first_id in zip(file.namelist(), (500, 900), strict=True):
            rows = json.loads(file.read(name))
            assert [row["image_id"] for row in rows] == [first_id + i for i in range(8)]
            assert all(set(row) == {"image_id", "caption"} for row in rows)


def test_score_tells_wrong_usage_and_keeps_files(run, tmp_path):
    references, candidates = tmp_path / "refs.json", tmp_path / "results.json"
    rows = [{"image_id": i, "caption": f"a dog {i}"} for i in (1, 2)]
    images = [{"id": 1}, {"id": 2}]
    references.write_text(json.dumps({"images": images, "annotations": rows}))
    candidates.write_text(json.dumps(rows))
    known = ["--references", references, "--candidates", candidates]
    for more, part in (
        (["--metrics", "cidre"], "metrics: 'cidre' received, some of"),
        (["--metrics", "cider_train_df"], "needs the document frequencies of a training set"),
        (["--tokenizer", "none?"], "tokenizer: 'none?' received, one of ['ptb', 'none']"),
    ):
        code, out, err = run(*known, *more, command="score")
        assert code == 2 and out == "" and part in err and err.count("\n") == 1
    output = tmp_path / "new" / "scores.json"
    assert run(*known, "--output", output, command="score")[0] == 0
    code, out, err = run(*known, "--output", output, command="score")
    assert code == 1 and out == "" and "exists already; --overwrite replaces it" in err
    assert run(*known, "--output", output, "--overwrite", command="score")[0] == 0
    missing = ["--document_frequency", tmp_path / "nowhere"]
    assert run(*known, *missing, command="score")[0] == 1
