"""The command line: exit codes, one sentence for each mistake, results on stdout only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_flags
from odd_pictures import two_halves, write_bad, write_good

from captioning.cli import COMMANDS

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(run_cli):
    return run_cli


def flags(**more):
    return tiny_flags(**{"loader.captions_per_image": 2}, **more)


# ---- help and usage ----


def test_help_lists_every_command(run):
    code, out, err = run("--help")
    assert code == 0 and err == ""
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "data picturebook"])
def test_help_of_every_command(run, command):
    code, out, err = run(*command.split(), "--help")
    assert code == 0 and err == "" and "usage: " in out


def test_help_of_train_explains_every_setting(run):
    _, out, _ = run("train", "--help")
    for name in ("--loader.batch_size", "--decoder.hidden_dim", "--generation.beam_size", "--seed"):
        assert name in out
    assert "pull of all weights towards zero" in out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "command: nothing received, one of ['data', 'features'"),
        (["trian"], "command: 'trian' received, one of"),
        (["caption"], "required"),
        (["caption", "--model", "m"], "paths"),
        (["caption", "--model", "m", "a.jpg", "--beam_size", "x"], "beam_size"),
        (["caption", "--model", "m", "a.jpg", "--colour", "red"], "colour"),
        (["train", "--loader.batch_size=0"], "loader.batch_size: 0 received, 1 to 4096 expected"),
        (["train", "--loader.batch_size=many"], "loader.batch_size"),
        (["train", "--decoder.kind=gpt"], "decoder.kind: 'gpt' received, one of"),
        (["train", "--decoder.size=3"], "decoder.size"),
        (["train", "--config=nowhere.yaml"], "nowhere.yaml"),
        (["train", "--resume", "--overwrite"], "both received, at most one expected"),
        (["data"], "kind"),
        (["data", "coco2"], "coco2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_usage_is_exit_code_2(run, arguments, part):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and part in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("seed: [1, 2", "recipe.yaml"),
        ("sede: 1", "sede"),
        ("loader:\n  batchsize: 3", "batchsize"),
        ("loader: 3", "loader"),
        ("loader:\n  batch_size: many", "batch_size"),
        ("loader:\n  batch_size: 0", "loader.batch_size: 0 received"),
        ("transform:\n  flip: 3", "flip"),
        ("- 1\n- 2", "recipe.yaml"),
        ("just text", "recipe.yaml"),
        ("\x00\x01", "recipe.yaml"),
    ],
)
def test_broken_recipes_are_exit_code_2(run, tmp_path, text, part):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    code, out, err = run("train", "--config", path)
    assert code == 2 and out == "" and part in err
    assert err.count("\n") == 1


def test_flags_overrule_the_recipe(run, tmp_path, tiny_data):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 4\nloader:\n  batch_size: 6\n")
    output = tmp_path / "model"
    arguments = [*flags(data=tiny_data, output=output), "--loader.batch_size=12"]
    code, _, _ = run("train", "--config", path, *arguments)
    experiment = json.loads((output / "config.json").read_text("utf-8"))["experiment"]
    assert code == 0 and experiment["seed"] == 4 and experiment["loader"]["batch_size"] == 12


# ---- train, evaluate, caption ----


def test_train_evaluate_caption(run, tiny_data, tmp_path):
    model, result_path = tmp_path / "my model", tmp_path / "new" / "result.json"
    code, out, err = run("train", *flags(data=tiny_data, output=model), "--json")
    assert code == 0 and json.loads(out)["epoch"] == 1 and "epoch 1" in err

    code, out, err = run("train", *flags(data=tiny_data, output=model))
    assert code == 1 and out == "" and "--resume goes on with it, --overwrite" in err

    arguments = ["--model", model, "--data", tiny_data, "--device", "cpu"]
    code, out, err = run("evaluate", *arguments, "--output", result_path, "--beam_size", 2)
    assert code == 0 and "CIDEr" in out
    result = json.loads(result_path.read_text("utf-8"))
    assert set(result) == {"overall", "per_image", "settings"}
    assert [entry["image_id"] for entry in result["per_image"]] == [*range(900, 908)]
    assert result["per_image"][0]["file_name"] == "test_000.png"
    assert result["settings"]["generation"]["beam_size"] == 2

    picture = tiny_data / "images" / "test_000.png"
    code, out, err = run("caption", "--model", model, picture, "--json", "--device", "cpu")
    row = json.loads(out)
    assert code == 0 and err == "" and set(row) == {"file", "caption", "logprob"}
    assert row["file"] == str(picture) and row["logprob"] < 0

    code, out, err = run("evaluate", *arguments, "--json", "--max_pictures", 3, "--metrics=cider")
    result = json.loads(out)
    assert code == 0 and len(result["per_image"]) == 3
    fluency = ["bad_endings", "repetition", "words", "distinct_captions"]
    together = ["perplexity", "vocabulary_size", "novel_captions", "pictures_per_second"]
    assert [*result["overall"]] == ["CIDEr", *fluency, *together]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--split", "dev"], "captions_dev.json: no such file (splits found there: ['test'"),
        (["--data", "nowhere"], "nowhere: no data set here"),
        (["--metrics", "cidre"], "metrics: 'cidre' received, some of"),
        (["--batch_size", "0"], "batch_size: 0 received, 1 or more expected"),
        (["--max_pictures", "-1"], "max_pictures: -1 received, 0 or more expected"),
        (["--beam_size", "0"], "beam_size: 0 received, 1 to 1000 expected"),
        (["--method", "best"], "method: 'best' received, one of"),
        (["--num_samples", "9", "--beam_size", "2"], "num_samples: 9 received, at most 2"),
        (["--device", "gpu"], "device: 'gpu' is not available"),
        (["--output", "."], ".: a folder, the name of a file to write expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_evaluate_refuses_in_one_sentence(run, tiny_bundle, tiny_data, arguments, part):
    known = ["--model", tiny_bundle, "--data", tiny_data, "--device", "cpu"]
    code, out, err = run("evaluate", *known, *arguments)
    typed_wrongly = arguments[0] not in ("--split", "--data", "--device", "--output")
    assert code == 1 + typed_wrongly and out == "" and part in err and err.count("\n") == 1


def test_evaluate_names_an_unreadable_picture(run, tiny_bundle, own_data):
    (own_data / "images" / "test_002.png").write_bytes(b"")
    code, out, err = run("evaluate", "--model", tiny_bundle, "--data", own_data, "--device", "cpu")
    assert code == 1 and out == "" and "test_002.png: not a picture (empty file)" in err


# ---- caption ----


def test_caption_a_folder_of_odd_files(run, tiny_bundle, tmp_path):
    folder = tmp_path / "my photos"
    (folder / "deeper").mkdir(parents=True)
    good = write_good(folder / "deeper")
    bad = write_bad(folder)
    (folder / "notes.md").write_text("no picture, and not called one")
    (folder / ".hidden.jpg").write_text("left out")
    code, out, err = run("caption", "--model", tiny_bundle, folder, "--json", "--device", "cpu")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [row["file"] for row in rows] == [str(folder / "deeper" / name) for name in good]
    inside = [name for name in bad if name not in ("folder.jpg", "missing.jpg")]
    lines = err.splitlines()
    assert len(lines) == len(inside)
    for name in inside:
        assert sum(f"{folder / name}: " in line and bad[name] in line for line in lines) == 1


def test_caption_takes_files_folders_and_globs_each_once(run, tiny_bundle, tmp_path):
    for name in ("a.png", "b [1].png", "c.jpg", "Grüße aus Łódź.png"):
        two_halves(40, 40).save(tmp_path / name)
    call = ["caption", "--model", tiny_bundle, "--device", "cpu", "--method", "greedy"]
    code, out, err = run(*call, tmp_path / "a.png", tmp_path / "*.png", tmp_path)
    files = [line.rsplit(": ", 1)[0] for line in out.splitlines()]
    expected = ["a.png", "Grüße aus Łódź.png", "b [1].png", "c.jpg"]
    assert code == 0 and err == ""
    assert files == [str(tmp_path / name) for name in expected]
    code, out, _ = run(*call, tmp_path / "b [1].png")
    assert code == 0 and out.startswith(str(tmp_path / "b [1].png"))


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("nothing.jpg", "nothing.jpg: no such file"),
        ("*.jpg", "*.jpg: no such file"),
        ("sub*", "sub*: no such file"),
        ("sub", "sub: no picture in this folder"),
    ],
)
def test_caption_names_paths_that_lead_nowhere(run, tiny_bundle, tmp_path, path, part):
    (tmp_path / "sub").mkdir()
    code, out, err = run("caption", "--model", tiny_bundle, tmp_path / path, "--device", "cpu")
    assert code == 1 and out == "" and part in err and err.count("\n") == 1


def test_several_captions_and_repeatable_samples(run, tiny_bundle, tmp_path):
    two_halves(40, 40).save(tmp_path / "a.png")
    call = ["caption", "--model", tiny_bundle, tmp_path / "a.png", "--device", "cpu", "--json"]
    sampled = ["--method", "sample", "--num_samples", 3, "--seed", 5, "--temperature", 1.5]
    code, out, _ = run(*call, *sampled)
    assert code == 0 and len(out.splitlines()) == 3
    assert run(*call, *sampled)[1] == out
    code, _, err = run(*call, "--batch_size", 0)
    assert code == 2 and "batch_size: 0 received, 1 or more expected" in err


def test_caption_without_a_bundle(run, tmp_path):
    two_halves().save(tmp_path / "a.png")
    code, out, err = run("caption", "--model", tmp_path / "none", tmp_path / "a.png")
    assert code == 1 and out == "" and "none: not a model bundle (no such folder)" in err


# ---- train: what is wrong with the data or the place ----


def test_training_mistakes_are_one_sentence(run, own_data, tmp_path):
    known = flags(data=own_data, output=tmp_path / "model")
    for more, part in (
        ("--data=nowhere", "nowhere: no data set here"),
        ("--encoder.weights=no.pth", "no.pth: no such weight file"),
        ("--vocabulary.min_count=500", "min_count: 500 received, but none of the"),
        ("--training.warmup_steps=3", "training.warmup_steps: 3 received, fewer than the 3 steps"),
        ("--output=/proc/model", "/proc/model"),
    ):
        code, out, err = run("train", *known, more)
        assert code == 1 and out == "" and part in err and err.count("\n") == 1, err
    assert not (tmp_path / "model").exists()


def test_file_names_that_are_no_text_are_still_captioned(tiny_bundle, tmp_path):
    """The one test of the program as it is started; such names exist on Unix only."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    try:
        two_halves(40, 40).save(os.fsencode(folder) + b"/photo-\xff.png", "PNG")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes text only")
    two_halves(40, 40).save(folder / "z.png")
    done = subprocess.run(
        [sys.executable, "-m", "captioning", "caption", "--model", tiny_bundle, folder],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
    )
    assert done.returncode == 0 and done.stderr == b""
    assert len(done.stdout.splitlines()) == 2 and b"photo-" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["features", "regions"], "required: output; `python -m captioning features regions --h"),
        (["features", "areas", "--output=o"], "one expected; `python -m captioning features areas"),
        (["bench", "matrix"], "required: file; `python -m captioning bench matrix --help`"),
        (["bench"], "`python -m captioning bench --help` lists the flags"),
    ],
)
def test_a_mistake_names_the_help_of_its_kind(run, arguments, part):
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and part in err and err.count("\n") == 1
