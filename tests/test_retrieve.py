"""`retrieve`: whose captions are asked for, ranks as counted elsewhere, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from clip_cases import write_small

from captioning.bundle import Captioner
from captioning.clip.loading import load_clip
from captioning.clip.model import Clip
from captioning.evaluation.retrieval import format_retrieval, rank_pairs, recall_table
from captioning.evaluation.retrieve_command import captions_of_model, first_references, retrieve
from captioning.features.pictures import list_data
from captioning.features.vectors import vectors_of
from captioning.training.checkpoint import CONTENT, save_checkpoint
from captioning.training.last_weights import load_weights_of
from data_loader import read_annotations

WAYS = ("text_to_image", "image_to_text")
TESTED = [*range(900, 908)]  # pictures of conftest's split test


@pytest.fixture
def clip(tmp_path, tiny_vocabulary) -> Path:
    """A CLIP with random weights."""
    return write_small(tmp_path / "clip", tiny_vocabulary, context_length=20)


@pytest.fixture
def ask(run_cli, clip, tiny_data):
    """Run `retrieve` on the test split: exit code, what it printed as JSON (or said), stderr."""

    def call(*flags: object, json_too: bool = True):
        usual = (f"--clip={clip}", f"--data={tiny_data}", "--device=cpu")
        code, out, err = run_cli("retrieve", *usual, *flags, *(["--json"] if json_too else []))
        return code, json.loads(out) if json_too and out else out, err

    return call


@pytest.fixture
def results(tmp_path) -> Path:
    """A results file: captions of one's own for the test split, in another order."""
    path = tmp_path / "results.json"
    said = [{"image_id": i, "caption": f"a red ball {i % 3 * 'that is '} {i}"} for i in TESTED]
    path.write_text(json.dumps(said[::-1]), "utf-8")
    return path


def check(result: dict, clip: Path, data: Path, captions: dict[int, str]) -> None:
    """A result is what `rank_pairs` says of these captions, which stand there without a prompt."""
    judge, pictures = load_clip(str(clip)), list_data(data, ["test"])
    pictures = [one for one in pictures if one.image_id in captions]
    texts = [captions[one.image_id] for one in pictures]
    ranks = rank_pairs(vectors_of(judge, pictures), judge.text_vectors(texts))
    assert set(result) == {"overall", "per_image", "settings"}
    rows = result["per_image"]
    assert [row["image_id"] for row in rows] == [one.image_id for one in pictures]
    assert [row["file_name"] for row in rows] == [one.name for one in pictures]
    assert [row["caption"] for row in rows] == texts
    for way in WAYS:
        found = getattr(ranks, way)
        assert [row[f"{way}_rank"] for row in rows] == found.tolist()
        assert result["overall"][way] == recall_table(found)
    settings = result["settings"]
    assert (settings["split"], settings["num_images"], settings["prompt"]) == (
        "test",
        len(rows),
        "",
    )
    assert settings["clip"] == {"name": str(clip), "weights": judge.weights_hash}
    assert set(rows[0]) == {"image_id", "file_name", "caption", *(f"{way}_rank" for way in WAYS)}


# ------------------------------------------------------------------------------- whose captions


def test_the_first_caption_that_people_wrote(ask, clip, tiny_data):
    code, result, err = ask("--references")
    coco = read_annotations(tiny_data, "test")
    captions = {i: coco.imgToAnns[i][0]["caption"] for i in coco.imgs}
    assert (code, err) == (0, "") and sorted(captions) == TESTED
    check(result, clip, tiny_data, captions)
    assert result["settings"]["references"] is True and "checkpoint" not in result["settings"]
    assert set(result["settings"]) & {"model", "results"} == set()


def test_captions_of_a_results_file(ask, clip, tiny_data, results):
    code, result, err = ask(f"--results={results}")
    said = {one["image_id"]: one["caption"] for one in json.loads(results.read_text("utf-8"))}
    assert (code, err) == (0, "")
    check(result, clip, tiny_data, said)
    assert result["settings"]["results"] == str(results)


def test_captions_of_a_model(ask, clip, tiny_data, tiny_bundle):
    code, result, _ = ask(f"--model={tiny_bundle}", "--method=beam", "--beam_size=3")
    captioner = Captioner.load(tiny_bundle, "cpu")
    pictures = list_data(tiny_data, ["test"])
    found = captioner.caption([one.path for one in pictures], method="beam", beam_size=3)
    said = {one.image_id: text for one, text in zip(pictures, found, strict=True)}
    assert code == 0
    check(result, clip, tiny_data, said)
    settings = result["settings"]
    assert (settings["model"], settings["checkpoint"]) == (str(tiny_bundle), "best")


def test_captions_are_compared_without_a_prompt(clip, tiny_data, monkeypatch):
    real, read = Clip.text_vectors, []
    monkeypatch.setattr(Clip, "text_vectors", lambda self, t: read.extend(t) or real(self, t))
    captions = first_references(tiny_data, "test")
    retrieve(load_clip(str(clip)), tiny_data, "test", captions)
    assert read == [captions[i].rstrip(".") for i in TESTED]
    assert any(text.endswith(".") for text in captions.values())


def test_pictures_that_nobody_described_are_left_out(ask, own_data, clip):
    path = own_data / "annotations" / "captions_test.json"
    record = json.loads(path.read_text("utf-8"))
    kept = [one for one in record["annotations"] if one["image_id"] not in (901, 905)]
    path.write_text(json.dumps(record | {"annotations": kept}), "utf-8")
    code, result, _ = ask("--references", f"--data={own_data}")
    assert code == 0 and result["settings"]["num_images"] == 6
    check(result, clip, own_data, first_references(own_data, "test"))
    path.write_text(json.dumps(record | {"annotations": []}), "utf-8")
    code, out, err = ask("--references", f"--data={own_data}")
    assert (code, out) == (
        1,
        "",
    ) and err == f"error: {own_data}: split 'test' has no human captions\n"


@pytest.mark.parametrize(
    "given", [(), ("references", "results"), ("model", "references", "results")]
)
def test_exactly_one_source_is_named(ask, tiny_bundle, results, given):
    flags = {"references": "--references", "results": f"--results={results}"}
    flags |= {"model": f"--model={tiny_bundle}"}
    code, out, err = ask(*(flags[name] for name in given))
    names = [f"--{name}" for name in ("model", "results", "references") if name in given]
    said = ", ".join(names) or "none"
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert f"error: --model, --results, --references: {said} received, one expected" in err


# --------------------------------------------------------------------------------- last weights


@pytest.fixture
def last(tiny_bundle, tiny_captioner) -> Captioner:
    """Another captioner, whose weights lie in the bundle's checkpoint."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        other = Captioner.build(tiny_captioner.experiment, tiny_captioner.vocabulary).train(False)
    state = dict.fromkeys(CONTENT) | {"networks": other.networks().state_dict()}
    save_checkpoint(tiny_bundle / "checkpoint" / "state.pt", state)
    return other


def test_the_last_weights_are_those_of_the_checkpoint(ask, clip, tiny_data, tiny_bundle, last):
    code, result, _ = ask(f"--model={tiny_bundle}", "--checkpoint=last", "--method=greedy")
    assert code == 0 and result["settings"]["checkpoint"] == "last"
    check(result, clip, tiny_data, captions_of_model(last, tiny_data, "test", method="greedy"))
    best = ask(f"--model={tiny_bundle}", "--checkpoint=best", "--method=greedy")[1]
    said = [[row["caption"] for row in one["per_image"]] for one in (result, best)]
    assert said[0] != said[1]
    loaded = load_weights_of(tiny_bundle, "last", "cpu").networks().state_dict()
    for name, value in last.networks().state_dict().items():
        assert loaded[name].equal(value), name


def test_without_a_checkpoint_there_are_no_last_weights(ask, tiny_bundle):
    code, out, err = ask(f"--model={tiny_bundle}", "--checkpoint=last")
    path = tiny_bundle / "checkpoint" / "state.pt"
    assert (code, out) == (1, "")
    assert err == f"error: {path}: no checkpoint, so only the best weights are there\n"
    code, out, err = ask(f"--model={tiny_bundle}", "--checkpoint=second")
    assert code == 2 and "checkpoint: 'second' received, best or last expected" in err


def test_checkpoints_of_another_network_and_damaged_ones(ask, tiny_bundle, last):
    path = tiny_bundle / "checkpoint" / "state.pt"
    state = dict.fromkeys(CONTENT) | {"networks": {"decoder.x": torch.ones(2)}}
    save_checkpoint(path, state)
    code, out, err = ask(f"--model={tiny_bundle}", "--checkpoint=last")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert f"error: {path}: not of the network of {tiny_bundle} (" in err
    path.write_bytes(b"half a fi")
    code, out, err = ask(f"--model={tiny_bundle}", "--checkpoint=last")
    assert (code, out) == (1, "") and f"error: {path}: damaged, or not a checkpoint" in err


# ----------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"image_id": i, "caption": "a"} for i in [*TESTED, 1]], "candidates: image 1 not among"),
        ([{"image_id": i, "caption": "a"} for i in TESTED[1:]], "candidates: image 900 without a"),
        ([{"image_id": str(i), "caption": "a"} for i in TESTED], "8 images ('900', '901', '902', "),
        ({"captions": []}, "a JSON object; a list"),
    ],
)
def test_results_about_other_pictures_are_refused(ask, results, entries, message):
    results.write_text(json.dumps(entries), "utf-8")
    code, out, err = ask(f"--results={results}")
    assert (code, out) == (1, "") and message in err and len(err.splitlines()) == 1


def test_a_result_is_written_and_not_overwritten(ask, tmp_path):
    output = tmp_path / "new" / "found.json"
    code, result, _ = ask("--references", f"--output={output}")
    assert code == 0 and json.loads(output.read_text("utf-8")) == result
    before = output.stat().st_mtime_ns
    code, out, err = ask("--references", "--split=val", f"--output={output}")
    assert (code, out) == (1, "") and err.startswith(f"error: {output}")
    assert "--overwrite replaces it" in err and output.stat().st_mtime_ns == before
    code, other, _ = ask("--references", "--split=val", f"--output={output}", "--overwrite")
    assert code == 0 and json.loads(output.read_text("utf-8")) == other != result
    assert other["settings"]["split"] == "val"


def test_a_clip_is_needed(ask, run_cli, tiny_data):
    code, out, err = run_cli("retrieve", f"--data={tiny_data}", "--references")
    assert (code, out) == (2, "") and "clip" in err and len(err.splitlines()) == 1
    code, out, err = ask("--references", "--clip=nowhere")
    assert (code, out) == (1, "") and len(err.splitlines()) == 1
    assert err.startswith("error: nowhere: no such CLIP; a folder that `train-clip` wrote, MODEL:")
    code, out, err = ask("--references", f"--clip={tiny_data}")
    assert code == 1 and err == f"error: {tiny_data}: no CLIP (no open_clip_config.json in it)\n"
    code, out, err = ask("--references", "--split=dev")
    assert code == 1 and "captions_dev.json: no such file (splits found there: [" in err


def test_the_table_for_people(ask):
    code, result, _ = ask("--references")
    code, out, err = ask("--references", json_too=False)
    assert (code, err) == (0, "")
    expected = f"{format_retrieval(result['overall'])}\n8 pictures and captions of split test\n"
    assert out == expected


def test_vectors_of_a_store(ask, run_cli, own_data, clip, tmp_path, tiny_vocabulary):
    store = tmp_path / "vectors.h5"
    typed = (f"--data={own_data}", f"--output={store}", "--device=cpu")
    assert run_cli("features", "clip", f"--clip={clip}", *typed)[0] == 0
    looked = ask("--references", f"--data={own_data}")[1]
    for path in (own_data / "images").iterdir():
        path.unlink()
    code, read, _ = ask("--references", f"--data={own_data}", f"--clip_vectors={store}")
    assert code == 0 and read == looked
    other = write_small(tmp_path / "other", tiny_vocabulary, seed=1, context_length=20)
    flags = ("--references", f"--data={own_data}", f"--clip={other}", f"--clip_vectors={store}")
    code, out, err = ask(*flags)
    assert (code, out) == (1, "") and "vectors.h5: made with other weights: weights_hash" in err
