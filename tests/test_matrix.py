"""A matrix of experiments, minute: measured once, gone on with, and never mixed up."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

from captioning.bench import measure
from captioning.features.pictures import list_data, list_splits
from captioning.features.signature import imported_signature
from captioning.features.writer import StoreWriter
from captioning.training.loop import train

RECIPE = {
    "device": "cpu",
    "loader": {"batch_size": 8, "captions_per_image": 2},
    "vocabulary": {"min_count": 2},
    "encoder": {"backbone": "features", "weights": "none"},
    "decoder": {"kind": "fc", "embed_dim": 8, "hidden_dim": 12, "dropout": 0.0},
    "training": {"num_epochs": 1, "learning_rate": 5e-3},
    "generation": {"max_length": 8},
}
MATRIX = {
    "title": "Is wider better?",
    "features": {"store": "f.h5"},
    "recipe": "recipe.yaml",
    "searches": {"beam 1": {"method": "greedy"}},
    "scores": ["CIDEr", "words"],
    "cells": {"plain": None, "wide one": {"decoder.hidden_dim": 20}},
}
FOLDER = Path("build") / "matrix" / "m"


@pytest.fixture
def place(tmp_path, tiny_data, monkeypatch):
    """A working directory with a recipe and a store of made-up regions."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(yaml.safe_dump({"data": str(tiny_data), **RECIPE}))
    rng = np.random.default_rng(0)
    with StoreWriter("f.h5", imported_signature("test"), 6, False) as writer:
        for picture in list_data(tiny_data, list_splits(tiny_data)):
            writer.append(picture.image_id, rng.random((2, 6), np.float32), None, (32, 32))
        writer.finish()
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """Folder and `resume` of every training, as they are called."""
    calls = []

    def note(experiment, resume, **how):
        calls.append((Path(experiment.output).name, resume))
        return train(experiment, resume=resume, **how)

    monkeypatch.setattr(measure, "train", note)
    return calls


@pytest.fixture
def run(place, run_cli, trained):
    """Write a matrix with some entries changed and run it."""

    def call(*flags, **entries):
        Path("m.yaml").write_text(yaml.safe_dump(MATRIX | entries, sort_keys=False))
        trained.clear()
        return run_cli("bench", "matrix", "m.yaml", *flags)

    return call


def names(calls):
    return [name for name, _ in calls]


def times():
    return {path.name: path.stat().st_mtime_ns for path in FOLDER.glob("*_?.json")}


def test_a_matrix_is_measured_once(run, trained):
    code, out, err = run("--seeds", "0,1")
    assert code == 0 and names(trained) == ["plain_0", "wide_one_0", "plain_1", "wide_one_1"]
    assert "2 of 4: wide one, seed 0: " in err
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
    code, out, err = run("--json", "--seeds", "0,1")
    assert (code, err, trained, times()) == (0, "", [], before) and json.loads(out) == summary


def test_only_some_cells_and_what_they_start_from(run, trained):
    cells = {
        "first": {"decoder": {"hidden_dim": 20}, "training.learning_rate": 1e-3},
        "second": {},
        "third": {"from": "first", "training.objective": "reinforce", "loader.batch_size": 12},
    }
    code, _, err = run("--only", "second,third", "--seeds", "3", cells=cells)
    assert code == 0 and sorted(names(trained)) == ["first_3", "second_3", "third_3"]
    settings = json.loads((FOLDER / "third_3.json").read_text())["settings"]
    assert settings["init_from"] == str(FOLDER / "first_3")
    assert settings["decoder"]["hidden_dim"] == 20  # the network is that of the start,
    assert settings["training"]["learning_rate"] == 5e-3  # the training is not
    summary = json.loads((FOLDER / "summary.json").read_text())
    assert summary["cells"]["third"]["changes"]["from"] == "first"
    assert summary["missing"] == ["first, seed 0", "second, seed 0", "third, seed 0"]

    code, _, err = run("--only", "thrid", cells=cells)
    assert code == 2 and "only: 'thrid' received, some of ['first', 'second', 'third']" in err
    code, _, err = run("--seeds", "0,x", cells=cells)
    assert code == 2 and "seeds: 'x' received, a whole number of 0 or more expected" in err


def test_what_changed_is_refused_and_then_measured_again(run, trained):
    assert run()[0] == 0
    before = times()
    cells = {"plain": {}, "wide one": {"decoder.hidden_dim": 24}}
    code, out, err = run(cells=cells)
    assert code == 1 and out == "" and trained == [] and times() == before
    assert "decoder.hidden_dim is 24 now, measured with 20; --overwrite measures it again" in err

    code, out, err = run("--only", "plain", cells=cells)
    assert code == 0 and "wide one, seed 0: not in the table, decoder.hidden_dim is 24" in err
    assert "| wide one" not in out and "Not measured: wide one, seed 0." in out

    code, _, err = run("--output", "other", cells=cells)  # its model would have to go
    assert code == 1 and f"{FOLDER / 'wide_one_0'}: holds a model of other settings" in err

    assert run("--overwrite", cells=cells)[0] == 0 and names(trained) == ["wide_one_0"]
    assert times()["plain_0.json"] == before["plain_0.json"]

    trained_like_this = {"recipe": "recipe.yaml", "title": "", "limit_seconds": 7, "scores": []}
    assert run(cells=cells, **trained_like_this)[0] == 0 and trained == []  # columns are free


def test_a_start_that_changed_changes_what_starts_from_it(run, trained):
    cells = {"first": {}, "second": {"from": "first", "training.learning_rate": 1e-3}}
    assert run(cells=cells)[0] == 0
    cells["first"] = {"training.weight_decay": 0.1}
    code, _, err = run("--only", "second", "--overwrite", cells=cells)
    assert code == 0 and names(trained) == ["first_0", "second_0"]


def test_another_search_needs_no_training(run, trained):
    assert run()[0] == 0
    searches = MATRIX["searches"] | {"beam 2": {"method": "beam", "beam_size": 2}}
    code, out, _ = run(searches=searches)
    assert code == 0 and trained == [] and "**beam 2**" in out
    record = json.loads((FOLDER / "plain_0.json").read_text())
    assert [*record["tests"]] == ["beam 1", "beam 2"]
    searches["beam 2"] = {"method": "beam", "beam_size": 3}
    code, _, err = run(searches=searches)
    assert code == 1 and "beam 2 is {'split': 'test', 'method': 'beam', 'beam_size': 3} now" in err
    assert run("--overwrite", searches=searches)[0] == 0 and trained == []


def test_ctrl_c_leaves_what_is_measured_and_goes_on(run, trained, monkeypatch):
    def interrupted(experiment, **how):
        def stop(run, row):
            if experiment.decoder.hidden_dim == 20:
                os.kill(os.getpid(), signal.SIGINT)

        return train(experiment, on_step=stop, **how)

    whole = measure.train
    monkeypatch.setattr(measure, "train", interrupted)
    code, out, err = run()
    assert code == 1 and out == ""
    assert "stopped in wide one, seed 0; 1 of 2 are measured, the same command goes on" in err
    before = times()
    assert [*before] == ["plain_0.json"]
    monkeypatch.setattr(measure, "train", whole)
    assert run()[0] == 0 and trained == [("wide_one_0", True)]
    assert times()["plain_0.json"] == before["plain_0.json"]
    assert run("--output", "new")[0] == 0 and trained == []  # the models are there and finished
    results = [json.loads((f / "wide_one_0.json").read_text()) for f in (FOLDER, Path("new"))]
    scores = [result["tests"]["beam 1"]["overall"]["CIDEr"] for result in results]
    assert scores[0] == scores[1] and results[0]["seconds"] > 0


def test_a_killed_run_starts_again(run, trained):
    folder = FOLDER / "plain_0"
    folder.mkdir(parents=True)
    (folder / measure.MARK).write_text("of other settings")
    (folder / "checkpoint").mkdir()
    for name in ("model.safetensors", "vocabulary.json", "checkpoint/state.pt"):
        (folder / name).write_text("half a fi")
    assert run()[0] == 0 and trained == [("plain_0", False), ("wide_one_0", False)]


def test_a_damaged_checkpoint_fails_until_it_may_be_overwritten(run, trained):
    cells = {"plain": {}}
    assert run(cells=cells)[0] == 0
    (FOLDER / "plain_0.json").unlink()
    (FOLDER / "plain_0" / "model.safetensors").unlink()
    (FOLDER / "plain_0" / "checkpoint").mkdir()
    (FOLDER / "plain_0" / "checkpoint" / "state.pt").write_text("half a fi")
    code, _, err = run(cells=cells)
    assert code == 1 and trained == [("plain_0", True)] and "state.pt: damaged" in err
    assert run("--overwrite", cells=cells)[0] == 0 and trained == [("plain_0", False)]


def test_models_of_somebody_else_and_damaged_results_are_kept(run, trained):
    (FOLDER / "plain_0").mkdir(parents=True)
    (FOLDER / "plain_0" / "model.safetensors").write_text("mine")
    code, _, err = run()
    assert code == 1 and "plain_0: holds a model of other settings; --overwrite" in err
    (FOLDER / "plain_0" / "model.safetensors").unlink()
    (FOLDER / "plain_0.json").write_text('{"cell": "pl')
    code, _, err = run()
    assert code == 1 and "plain_0.json: not a result of a matrix" in err
    assert trained == [] and not (FOLDER / "summary.json").exists()
    code, out, err = run("--output", "recipe.yaml")
    assert (code, trained) == (1, []) and "recipe.yaml: no folder for results (File exists)" in err
    assert run("--overwrite")[0] == 0 and len(trained) == 2


def test_a_cell_that_fails_does_not_stop_the_others(run, trained):
    cells = {
        "loud": {"training.warmup_steps": 999},
        "louder": {"from": "loud"},
        "plain": {},
    }
    code, out, err = run(cells=cells)
    assert code == 1 and "| plain |" in out
    assert "loud, seed 0: training.warmup_steps: 999 received" in err
    assert "louder, seed 0: left out, it starts from loud" in err
    assert "Not measured: loud, seed 0; louder, seed 0." in out
    assert json.loads((FOLDER / "summary.json").read_text())["missing"]


TAUGHT = {
    "plain": {},
    "taught": {"from": "plain", "captions": {"from": "plain", "beam_size": 3}},
    "wide": {"captions": {"from": "plain", "beam_size": 3}, "decoder.hidden_dim": 20},
    "rewarded": {"from": "taught", "training.objective": "reinforce"},
}


def test_a_cell_learns_from_what_another_one_says(run, trained, monkeypatch):
    made = []

    def note(captioner, data, split, output, *more):
        made.append(Path(output).name)
        return distill(captioner, data, split, output, *more)

    distill = measure.distill
    monkeypatch.setattr(measure, "distill", note)
    code, out, err = run("--only", "taught,wide", cells=TAUGHT)
    assert code == 0 and names(trained) == ["plain_0", "taught_0", "wide_0"]
    (file,) = FOLDER.glob("plain_0_captions_*.json")
    assert made == [file.name]  # once for both
    said = json.loads(file.read_text())
    assert said["info"]["generation"]["beam_size"] == 3
    assert len(said["images"]) < len(said["annotations"]) <= 3 * len(said["images"])
    record = json.loads((FOLDER / "wide_0.json").read_text())
    assert record["captions"] == {"from": "plain", "method": "beam", "beam_size": 3}
    assert record["settings"]["train_captions"] == str(file)
    bundle = json.loads((FOLDER / "wide_0" / "config.json").read_text())
    assert bundle["experiment"]["train_captions"] == str(file)
    summary = json.loads((FOLDER / "summary.json").read_text())
    assert summary["cells"]["taught"]["changes"] == {
        "from": "plain",
        "captions": record["captions"],
    }

    shutil.rmtree(FOLDER / "plain_0")  # the captions are there: the teacher is not needed
    shutil.rmtree(FOLDER / "wide_0")
    (FOLDER / "wide_0.json").unlink()
    assert run("--only", "wide", cells=TAUGHT)[0] == 0
    assert names(trained) == ["wide_0"] and len(made) == 1

    assert run("--only", "rewarded", cells=TAUGHT)[0] == 0  # on people's captions
    settings = json.loads((FOLDER / "rewarded_0.json").read_text())["settings"]
    assert settings["train_captions"] == "" and names(trained) == ["rewarded_0"]


def test_other_captions_make_another_model(run, trained):
    cells = {name: TAUGHT[name] for name in ("plain", "taught")}
    assert run(cells=cells)[0] == 0
    assert run(cells=cells)[0] == 0 and trained == []
    cells["taught"] = {"from": "plain", "captions": {"from": "plain", "beam_size": 2}}
    code, _, err = run(cells=cells)
    assert (
        code == 1
        and trained == []
        and (
            "captions is {'from': 'plain', 'method': 'beam', 'beam_size': 2} now, measured with "
            "{'from': 'plain', 'method': 'beam', 'beam_size': 3}"
        )
        in err
    )
    code, _, err = run(cells=cells | {"taught": {"from": "plain"}})
    assert code == 1 and "captions is {} now, measured with {'from': 'plain'" in err
    assert run("--overwrite", cells=cells)[0] == 0 and names(trained) == ["taught_0"]
    assert len([*FOLDER.glob("plain_0_captions_*.json")]) == 2  # each under a name of its own

    file = Path(json.loads((FOLDER / "taught_0.json").read_text())["settings"]["train_captions"])
    whole = file.read_text()
    for text in (whole[:99], whole.replace('"source": "test"', '"source": "other eyes"')):
        file.write_text(text)
        shutil.rmtree(FOLDER / "taught_0")
        (FOLDER / "taught_0.json").unlink()
        assert run(cells=cells)[0] == 0 and names(trained) == ["taught_0"]
        assert text != whole and file.read_text() == whole

    cells["plain"] = {"training.weight_decay": 0.1}
    code, _, err = run("--overwrite", cells=cells)
    assert code == 0 and names(trained) == ["plain_0", "taught_0"]


def test_without_a_teacher_nothing_is_learned_from_it(run, trained):
    cells = {
        "loud": {"training.warmup_steps": 999},
        "pupil": {"captions": {"from": "loud"}},
        "third": {"from": "pupil"},
        "plain": {},
    }
    code, out, err = run(cells=cells)
    assert code == 1 and names(trained) == ["loud_0", "plain_0"]
    assert "pupil, seed 0: left out, it learns from loud" in err
    assert "third, seed 0: left out, it starts from pupil" in err
    cells["pupil"]["captions"] |= {"method": "diverse_beam", "beam_size": 3, "num_beam_groups": 2}
    code, _, err = run("--only", "pupil", cells=cells)
    assert (
        code == 1 and trained == [] and "pupil, seed 0: captions.num_beam_groups: 2 received" in err
    )


def test_slow_cells_are_pointed_out_and_models_deleted(run, trained):
    code, _, err = run("--only", "plain", "--delete_models", limit_seconds=1e-3)
    assert code == 0 and " s, more than the 0.001 s of limit_seconds" in err
    assert not (FOLDER / "plain_0").exists() and (FOLDER / "plain_0.json").is_file()
    assert run("--only", "plain")[0] == 0 and trained == []


def test_a_score_that_is_not_measured_stops_at_the_first_cell(run, trained):
    code, out, err = run(scores=["CIDEr", "CIDre"])
    assert code == 1 and out == "" and "scores: 'CIDre' received, some of ['Bleu_1'" in err
    assert names(trained) == ["plain_0"] and times()


# ------------------------------------------------------------------------------- the feature store


@pytest.fixture
def arrays(place, tiny_data):
    """Features as somebody else computed them: an array for each picture."""
    Path("att").mkdir()
    for picture in list_data(tiny_data, list_splits(tiny_data)):
        np.savez(f"att/{picture.image_id}.npz", feat=np.ones((2, 5), np.float32))
    return {"store": "new/g.h5", "command": ["import", "--att", "att", "--source", "test"]}


def test_the_store_is_made_once_by_the_command(run, trained, arrays):
    how = ("--only", "plain")
    code, out, err = run(*how, "--json", features=arrays)
    assert code == 0 and "features import --att att --source test --data" in err
    assert json.loads(out)["cells"]["plain"]["seeds"] == [0]  # the command's words are not in it
    made = Path("new/g.h5").stat().st_mtime_ns
    arrays["command"][-1] = "other"
    code, _, err = run(*how, features=arrays)
    assert code == 1 and "what made its features, is not the same any more" in err
    code, _, err = run(*how, "--overwrite", features=arrays)
    assert code == 1 and "g.h5: made by `features import --att att --source test" in err
    assert trained == [] and Path("new/g.h5").stat().st_mtime_ns == made


def test_a_store_with_other_features_under_the_same_name_is_noticed(run, trained, tiny_data):
    assert run()[0] == 0
    Path("f.h5").unlink()
    with StoreWriter("f.h5", imported_signature("other eyes"), 6, False) as writer:
        for picture in list_data(tiny_data, list_splits(tiny_data)):
            writer.append(picture.image_id, np.ones((2, 6), np.float32), None, (32, 32))
        writer.finish()
    code, _, err = run()
    assert code == 1 and trained == []
    assert "the feature store: encoder.source 'other eyes', not 'test'" in err
    assert run("--overwrite")[0] == 0 and len(trained) == 2


def test_a_missing_file_does_not_stop_the_other_cells(run, trained):
    cells = {"plain": {}, "lost": {"loader.features": "gone.h5"}, "third": {}}
    code, _, err = run(cells=cells)
    assert code == 1 and "lost, seed 0: " in err and names(trained)[-1] == "third_0"


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
def test_stores_that_cannot_be_made(run, trained, features, code, part):
    found, out, err = run(features=features)
    assert (found, out, trained) == (code, "", []) and part in err and "Traceback" not in err
