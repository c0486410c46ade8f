"""Cells of a matrix that learn from what the model of another cell says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from matrix_runs import FOLDER, names

from captioning.bench import measure

TAUGHT = {
    "plain": {},
    "taught": {"from": "plain", "captions": {"from": "plain", "beam_size": 3}},
    "wide": {"captions": {"from": "plain", "beam_size": 3}, "decoder.hidden_dim": 20},
    "rewarded": {"from": "taught", "training.objective": "reinforce"},
}


def test_a_cell_learns_from_what_another_one_says(matrix, trainings, monkeypatch):
    made = []

    def note(captioner, data, split, output, *more):
        made.append(Path(output).name)
        return distill(captioner, data, split, output, *more)

    distill = measure.distill
    monkeypatch.setattr(measure, "distill", note)
    code, out, err = matrix("--only", "taught,wide", cells=TAUGHT)
    assert code == 0 and names(trainings) == ["plain_0", "taught_0", "wide_0"]
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
    assert matrix("--only", "wide", cells=TAUGHT)[0] == 0
    assert names(trainings) == ["wide_0"] and len(made) == 1

    assert matrix("--only", "rewarded", cells=TAUGHT)[0] == 0  # on people's captions
    settings = json.loads((FOLDER / "rewarded_0.json").read_text())["settings"]
    assert settings["train_captions"] == "" and names(trainings) == ["rewarded_0"]


def test_other_captions_make_another_model(matrix, trainings):
    cells = {name: TAUGHT[name] for name in ("plain", "taught")}
    assert matrix(cells=cells)[0] == 0
    assert matrix(cells=cells)[0] == 0 and trainings == []
    cells["taught"] = {"from": "plain", "captions": {"from": "plain", "beam_size": 2}}
    code, _, err = matrix(cells=cells)
    assert (
        code == 1
        and trainings == []
        and (
            "captions is {'from': 'plain', 'method': 'beam', 'beam_size': 2} now, measured with "
            "{'from': 'plain', 'method': 'beam', 'beam_size': 3}"
        )
        in err
    )
    code, _, err = matrix(cells=cells | {"taught": {"from": "plain"}})
    assert code == 1 and "captions is {} now, measured with {'from': 'plain'" in err
    assert matrix("--overwrite", cells=cells)[0] == 0 and names(trainings) == ["taught_0"]
    assert len([*FOLDER.glob("plain_0_captions_*.json")]) == 2  # each under a name of its own

    file = Path(json.loads((FOLDER / "taught_0.json").read_text())["settings"]["train_captions"])
    whole = file.read_text()
    for text in (whole[:99], whole.replace('"source": "test"', '"source": "other eyes"')):
        file.write_text(text)
        shutil.rmtree(FOLDER / "taught_0")
        (FOLDER / "taught_0.json").unlink()
        assert matrix(cells=cells)[0] == 0 and names(trainings) == ["taught_0"]
        assert text != whole and file.read_text() == whole

    cells["plain"] = {"training.weight_decay": 0.1}
    code, _, err = matrix("--overwrite", cells=cells)
    assert code == 0 and names(trainings) == ["plain_0", "taught_0"]


def test_without_a_teacher_nothing_is_learned_from_it(matrix, trainings):
    cells = {
        "loud": {"training.warmup_steps": 999},
        "pupil": {"captions": {"from": "loud"}},
        "third": {"from": "pupil"},
        "plain": {},
    }
    code, out, err = matrix(cells=cells)
    assert code == 1 and names(trainings) == ["loud_0", "plain_0"]
    assert "pupil, seed 0: left out, it learns from loud" in err
    assert "third, seed 0: left out, it starts from pupil" in err
    cells["pupil"]["captions"] |= {"method": "diverse_beam", "beam_size": 3, "num_beam_groups": 2}
    code, _, err = matrix("--only", "pupil", cells=cells)
    assert (
        code == 1
        and trainings == []
        and "pupil, seed 0: captions.num_beam_groups: 2 received" in err
    )
