"""A matrix of experiments, minute: measured once, gone on with, and never mixed up."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from clip_cases import write_small
from matrix_runs import FOLDER, MATRIX, names, times

from captioning.bench import measure
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter
from captioning.training.loop import train


def test_a_matrix_is_measured_once(matrix, trainings):
    code, out, err = matrix("--seeds", "0,1")
    assert code == 0 and names(trainings) == ["plain_0", "wide_one_0", "plain_1", "wide_one_1"]
    assert "2 of 4: wide one, seed 0: " in err
    assert err.splitlines()[-1] == f"{FOLDER / 'summary.json'}: the numbers of these tables"
    assert out.startswith("Is wider better?\n\n| cell | CIDEr | words | parameters | seconds")
    assert "| minus plain | CIDEr, over seeds | CIDEr, over pictures | words, over seeds |" in out
    record = json.loads((FOLDER / "wide_one_1.json").read_text())
    assert (record["cell"], record["seed"]) == ("wide one", 1)
    assert record["settings"]["decoder"]["hidden_dim"] == 20 and record["best_epoch"] == 1
    assert {"torch", "python"} <= set(record["versions"]) and record["minutes"] > 0
    test = record["tests"]["beam 1"]
    assert test["asked"] == {"split": "test", "method": "greedy"} and len(test["per_image"]) == 8
    assert (FOLDER / "plain_0" / "model.safetensors").is_file()
    assert not (FOLDER / "plain_0" / "checkpoint").exists()

    before, summary = times(), json.loads((FOLDER / "summary.json").read_text())
    assert summary["cells"]["wide one"]["changes"] == {"decoder.hidden_dim": 20}
    values = summary["cells"]["wide one"]["tests"]["beam 1"]["CIDEr"]["seeds"]
    assert values[1] == test["overall"]["CIDEr"]
    code, out, err = matrix("--json", "--seeds", "0,1")
    assert (code, err, trainings, times()) == (0, "", [], before) and json.loads(out) == summary


def test_only_some_cells_and_what_they_start_from(matrix, trainings):
    cells = {
        "first": {"decoder": {"hidden_dim": 20}, "training.learning_rate": 1e-3},
        "second": {},
        "third": {"from": "first", "training.objective": "reinforce", "loader.batch_size": 12},
    }
    code, _, err = matrix("--only", "second,third", "--seeds", "3", cells=cells)
    assert code == 0 and sorted(names(trainings)) == ["first_3", "second_3", "third_3"]
    settings = json.loads((FOLDER / "third_3.json").read_text())["settings"]
    assert settings["init_from"] == str(FOLDER / "first_3")
    assert settings["decoder"]["hidden_dim"] == 20  # the network is that of the start,
    assert settings["training"]["learning_rate"] == 5e-3  # the training is not
    summary = json.loads((FOLDER / "summary.json").read_text())
    assert summary["cells"]["third"]["changes"]["from"] == "first"
    assert summary["missing"] == ["first, seed 0", "second, seed 0", "third, seed 0"]

    code, _, err = matrix("--only", "thrid", cells=cells)
    assert code == 2 and "only: 'thrid' received, some of ['first', 'second', 'third']" in err
    code, _, err = matrix("--seeds", "0,x", cells=cells)
    assert code == 2 and "seeds: 'x' received, a whole number of 0 or more expected" in err


def test_what_changed_is_refused_and_then_measured_again(matrix, trainings):
    assert matrix()[0] == 0
    before = times()
    cells = {"plain": {}, "wide one": {"decoder.hidden_dim": 24}}
    code, out, err = matrix(cells=cells)
    assert code == 1 and out == "" and trainings == [] and times() == before
    assert "decoder.hidden_dim is 24 now, measured with 20; --overwrite measures it again" in err

    code, out, err = matrix("--only", "plain", cells=cells)
    assert code == 0 and "wide one, seed 0: not in the table, decoder.hidden_dim is 24" in err
    assert "| wide one" not in out and "Not measured: wide one, seed 0." in out

    code, _, err = matrix("--output", "other", cells=cells)  # its model would have to go
    assert code == 1 and f"{FOLDER / 'wide_one_0'}: holds a model of other settings" in err

    assert matrix("--overwrite", cells=cells)[0] == 0 and names(trainings) == ["wide_one_0"]
    assert times()["plain_0.json"] == before["plain_0.json"]

    like_this = {"recipe": "recipe.yaml", "title": "", "limit_seconds": 7, "scores": []}
    assert matrix(cells=cells, **like_this)[0] == 0 and trainings == []  # columns are free


def test_a_start_that_changed_changes_what_starts_from_it(matrix, trainings):
    cells = {"first": {}, "second": {"from": "first", "training.learning_rate": 1e-3}}
    assert matrix(cells=cells)[0] == 0
    cells["first"] = {"training.weight_decay": 0.1}
    code, _, err = matrix("--only", "second", "--overwrite", cells=cells)
    assert code == 0 and names(trainings) == ["first_0", "second_0"]


def test_another_search_needs_no_training(matrix, trainings):
    assert matrix()[0] == 0
    searches = MATRIX["searches"] | {"beam 2": {"method": "beam", "beam_size": 2}}
    code, out, _ = matrix(searches=searches)
    assert code == 0 and trainings == [] and "**beam 2**" in out
    record = json.loads((FOLDER / "plain_0.json").read_text())
    assert [*record["tests"]] == ["beam 1", "beam 2"]
    searches["beam 2"] = {"method": "beam", "beam_size": 3}
    code, _, err = matrix(searches=searches)
    assert code == 1 and "beam 2 is {'split': 'test', 'method': 'beam', 'beam_size': 3} now" in err
    assert matrix("--overwrite", searches=searches)[0] == 0 and trainings == []


def test_captions_are_scored_by_a_clip_as_well(matrix, trainings, tiny_vocabulary, tmp_path):
    write_small(tmp_path / "clip", tiny_vocabulary, context_length=20)
    cells = {"plain": None}
    judged = {"evaluate": {"metrics": ["cider", "clip_s"], "clip": "clip"}, "cells": cells}
    assert matrix(cells=cells)[0] == 0 and names(trainings) == ["plain_0"]
    before, first = times(), json.loads((FOLDER / "plain_0.json").read_text())["tests"]["beam 1"]
    code, out, err = matrix(**judged)  # as measured before, but for the judge
    assert (code, out, trainings, times()) == (1, "", [], before)
    now = {"split": "test", "method": "greedy", "evaluate": judged["evaluate"]}
    was = {"split": "test", "method": "greedy"}
    changed = f"error: {FOLDER / 'plain_0.json'}: beam 1 is {now} now, measured with {was}; --over"
    assert err.startswith(changed) and len(err.splitlines()) == 1

    code, out, _ = matrix("--overwrite", **judged, scores=["CIDEr", "CLIP_S"])
    assert code == 0 and trainings == [] and "| cell | CIDEr | CLIP-S |" in out
    test = json.loads((FOLDER / "plain_0.json").read_text())["tests"]["beam 1"]
    assert test["asked"] == now and set(test["overall"]) >= {"CIDEr", "CLIP_S"}
    assert "Bleu_4" in first["overall"] and "Bleu_4" not in test["overall"]
    assert test["overall"]["CIDEr"] == first["overall"]["CIDEr"]
    each = [row["CLIP_S"] for row in test["per_image"]]
    assert test["overall"]["CLIP_S"] == pytest.approx(sum(each) / 8) and 0 < max(each) <= 2.5
    assert test["settings"]["clip_name"] == "clip"

    before = times()
    assert matrix(**judged, scores=["CLIP_S"])[0] == 0 and (trainings, times()) == ([], before)
    code, _, err = matrix(cells=cells)
    assert code == 1 and f"beam 1 is {was} now, measured with {now}" in err


def test_a_clip_that_is_not_there_is_one_sentence(matrix, trainings):
    judged = {"metrics": ["clip_s"], "clip": "nowhere"}
    code, out, err = matrix(evaluate=judged, cells={"plain": None}, scores=["CLIP_S"])
    assert code == 1 and "Nothing is measured yet." in out and not times()
    assert (
        "plain, seed 0: nowhere: no such CLIP; a folder that `train-clip` wrote, MODEL:TAG" in err
    )


def test_ctrl_c_leaves_what_is_measured_and_goes_on(matrix, trainings, monkeypatch):
    def interrupted(experiment, **how):
        def stop(matrix, row):
            if experiment.decoder.hidden_dim == 20:
                os.kill(os.getpid(), signal.SIGINT)

        return train(experiment, on_step=stop, **how)

    whole = measure.train
    monkeypatch.setattr(measure, "train", interrupted)
    code, out, err = matrix()
    assert code == 1 and out == ""
    assert "stopped in wide one, seed 0; 1 of 2 are measured, the same command goes on" in err
    before = times()
    assert [*before] == ["plain_0.json"]
    monkeypatch.setattr(measure, "train", whole)
    assert matrix()[0] == 0 and trainings == [("wide_one_0", True)]
    assert times()["plain_0.json"] == before["plain_0.json"]
    assert (
        matrix("--output", "new")[0] == 0 and trainings == []
    )  # the models are there and finished
    results = [json.loads((f / "wide_one_0.json").read_text()) for f in (FOLDER, Path("new"))]
    scores = [result["tests"]["beam 1"]["overall"]["CIDEr"] for result in results]
    assert scores[0] == scores[1] and results[0]["seconds"] > 0


def test_a_killed_run_starts_again(matrix, trainings):
    folder = FOLDER / "plain_0"
    folder.mkdir(parents=True)
    (folder / measure.MARK).write_text("of other settings")
    (folder / "checkpoint").mkdir()
    for name in ("model.safetensors", "vocabulary.json", "checkpoint/state.pt"):
        (folder / name).write_text("half a fi")
    assert matrix()[0] == 0 and trainings == [("plain_0", False), ("wide_one_0", False)]


def test_a_damaged_checkpoint_fails_until_it_may_be_overwritten(matrix, trainings):
    cells = {"plain": {}}
    assert matrix(cells=cells)[0] == 0
    (FOLDER / "plain_0.json").unlink()
    (FOLDER / "plain_0" / "model.safetensors").unlink()
    (FOLDER / "plain_0" / "checkpoint").mkdir()
    (FOLDER / "plain_0" / "checkpoint" / "state.pt").write_text("half a fi")
    code, _, err = matrix(cells=cells)
    assert code == 1 and trainings == [("plain_0", True)] and "state.pt: damaged" in err
    assert matrix("--overwrite", cells=cells)[0] == 0 and trainings == [("plain_0", False)]


def test_models_of_somebody_else_and_damaged_results_are_kept(matrix, trainings):
    (FOLDER / "plain_0").mkdir(parents=True)
    (FOLDER / "plain_0" / "model.safetensors").write_text("mine")
    code, _, err = matrix()
    assert code == 1 and "plain_0: holds a model of other settings; --overwrite" in err
    (FOLDER / "plain_0" / "model.safetensors").unlink()
    (FOLDER / "plain_0.json").write_text('{"cell": "pl')
    code, _, err = matrix()
    assert code == 1 and "plain_0.json: not a result of a matrix" in err
    assert trainings == [] and not (FOLDER / "summary.json").exists()
    code, out, err = matrix("--output", "recipe.yaml")
    assert (code, trainings) == (
        1,
        [],
    ) and "recipe.yaml: no folder for results (File exists)" in err
    assert matrix("--overwrite")[0] == 0 and len(trainings) == 2


def test_a_cell_that_fails_does_not_stop_the_others(matrix, trainings):
    cells = {
        "loud": {"training.warmup_steps": 999},
        "louder": {"from": "loud"},
        "plain": {},
    }
    code, out, err = matrix(cells=cells)
    assert code == 1 and "| plain |" in out
    assert "loud, seed 0: training.warmup_steps: 999 received" in err
    assert "louder, seed 0: left out, it starts from loud" in err
    assert "Not measured: loud, seed 0; louder, seed 0." in out
    assert json.loads((FOLDER / "summary.json").read_text())["missing"]


def test_slow_cells_are_pointed_out_and_models_deleted(matrix, trainings):
    code, _, err = matrix("--only", "plain", "--delete_models", limit_seconds=1e-3)
    assert code == 0 and " s, more than the 0.001 s of limit_seconds" in err
    assert not (FOLDER / "plain_0").exists() and (FOLDER / "plain_0.json").is_file()
    assert matrix("--only", "plain")[0] == 0 and trainings == []


def test_a_score_that_is_not_measured_stops_at_the_first_cell(matrix, trainings):
    code, out, err = matrix(scores=["CIDEr", "CIDre"])
    assert code == 1 and out == "" and "scores: 'CIDre' received, some of ['Bleu_1'" in err
    assert names(trainings) == ["plain_0"] and times()


# ------------------------------------------------------------------------------- the feature store


@pytest.fixture
def arrays(matrix_place, tiny_data):
    """Features as somebody else computed them: an array for each picture."""
    Path("att").mkdir()
    for picture in list_data(tiny_data, list_splits(tiny_data)):
        np.savez(f"att/{picture.image_id}.npz", feat=np.ones((2, 5), np.float32))
    return {"store": "new/g.h5", "command": ["import", "--att", "att", "--source", "test"]}


def test_the_store_is_made_once_by_the_command(matrix, trainings, arrays):
    how = ("--only", "plain")
    code, out, err = matrix(*how, "--json", features=arrays)
    assert code == 0 and "features import --att att --source test --data" in err
    assert json.loads(out)["cells"]["plain"]["seeds"] == [0]  # the command's words are not in it
    made = Path("new/g.h5").stat().st_mtime_ns
    arrays["command"][-1] = "other"
    code, _, err = matrix(*how, features=arrays)
    assert code == 1 and "what made its features, is not the same any more" in err
    code, _, err = matrix(*how, "--overwrite", features=arrays)
    assert code == 1 and "g.h5: made by `features import --att att --source test" in err
    assert trainings == [] and Path("new/g.h5").stat().st_mtime_ns == made


def test_a_store_with_other_features_under_the_same_name_is_noticed(matrix, trainings, tiny_data):
    assert matrix()[0] == 0
    Path("f.h5").unlink()
    with StoreWriter("f.h5", imported_signature("other eyes"), 6, False) as writer:
        for picture in list_data(tiny_data, list_splits(tiny_data)):
            writer.append(picture.image_id, np.ones((2, 6), np.float32), None, (32, 32))
        writer.finish()
    code, _, err = matrix()
    assert code == 1 and trainings == []
    assert "the feature store: encoder.source 'other eyes', not 'test'" in err
    assert matrix("--overwrite")[0] == 0 and len(trainings) == 2


def test_a_missing_file_does_not_stop_the_other_cells(matrix, trainings):
    cells = {"plain": {}, "lost": {"loader.features": "gone.h5"}, "third": {}}
    code, _, err = matrix(cells=cells)
    assert code == 1 and "lost, seed 0: " in err and names(trainings)[-1] == "third_0"


@pytest.mark.parametrize(
    ("features", "code", "part"),
    [
        ({"store": "no.h5"}, 1, "no.h5: no such feature store; features.command of m.yaml"),
        ({"store": "n.h5", "command": ["imprt"]}, 2, "m.yaml: features.command: "),
        ({"store": "n.h5", "command": ["import", "--attt", "x"]}, 2, "features.command: "),
        ({"store": "n.h5", "command": ["import"]}, 2, "features.command: --att or --fc"),
        ({"store": "n.h5", "command": ["import", "--att", "none"]}, 1, "none"),
    ],
)
def test_stores_that_cannot_be_made(matrix, trainings, features, code, part):
    found, out, err = matrix(features=features)
    assert (found, out, trainings) == (code, "", []) and part in err and "Traceback" not in err
