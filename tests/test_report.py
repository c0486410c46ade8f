"""The report's folder: what is read, paired, written, refused, and kept when something fails."""

from __future__ import annotations

import errno
import json
import pickle
import re
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from report_cases import ODD_CAPTIONS, ODD_ID, result_of, save

from captioning import folders
from captioning.commands import report
from captioning.commands.flags import UsageError
from captioning.evaluation.compare import compare
from captioning.evaluation.metrics import METRICS
from captioning.evaluation.report import page, thumbnails
from captioning.evaluation.report.page import ASSETS, mark_pieces, page_data, write_report
from captioning.evaluation.report.pictures import find_data, pair_pictures
from captioning.evaluation.report.runs import Entry, read_runs
from captioning.evaluation.report.words import MEANINGS, describe_search, meaning
from captioning.workers import in_processes
from data_loader import open_image


def data_of(folder: Path) -> dict:
    """What `data.js` hands to the page."""
    text = (folder / "data.js").read_text("ascii")
    found = re.fullmatch(r"globalThis\.REPORT = JSON\.parse\((\".*\")\);\n", text, re.DOTALL)
    return json.loads(json.loads(found[1]))


def written(output: Path, *files: Path, **options) -> dict:
    """Read, pair, write; the page's data."""
    runs = read_runs(files)
    pictures = pair_pictures(runs, find_data(runs)[0])
    write_report(output, runs, pictures, **options)
    return data_of(output)


@pytest.fixture
def result(tiny_data, tmp_path) -> Path:
    return save(tmp_path / "first.json", result_of(tiny_data))


# ---- hallucinated words ----


@pytest.mark.parametrize(
    ("caption", "labels", "pieces"),
    [
        ("A dog and a Frisbee.", ["frisbee"], ["A dog and a ", "Frisbee", "."]),
        ("🐕 a teddy-bear", ["teddy bear"], ["🐕 a ", "teddy-bear", ""]),
        ("two puppies run", ["puppies (dog)"], ["two ", "puppies", " run"]),
        ("dog, dogs, dog", ["dog", "dog"], ["", "dog", ", dogs, ", "dog", ""]),
        ("a cat's (nose)", ["cat"], ["a ", "cat", "'s (nose)"]),
        ("a cat", ["c.t", "", " (cat)"], []),
        ("a cat", [], []),
    ],
)
def test_marked_pieces(caption, labels, pieces):
    assert mark_pieces(Entry(caption, hallucinated=labels)) == pieces


# ---- the folder ----


def test_what_is_written(tiny_data, tmp_path, result):
    record = result_of(tiny_data)
    record["per_image"][3]["image_id"] = ODD_ID
    data = written(tmp_path / "page", save(tmp_path / "first.json", record))
    run = data["runs"][0]
    assert run["captions"][2:4] == list(ODD_CAPTIONS[:2])
    assert data["pictures"]["ids"][:4] == ["100", "101", "102", ODD_ID]
    assert run["facts"] | {"written": ""} == {
        "data": tiny_data.name,
        "split": "train",
        "search": "beam of 5, no repeat",
        "written": "",
    }
    assert run["pieces"] == {"1": ["Two ", "teddy-bears", " and a ", "Frisbee", "."]}
    assert run["scores"]["CIDEr"][0] == pytest.approx(record["per_image"][0]["CIDEr"], rel=1e-4)
    assert data["metrics"]["CHAIRi"]["better"] == -1 and data["comparison"] is None
    text = (tmp_path / "page" / "data.js").read_text("ascii")
    assert str(tiny_data.parent) not in text  # no folders of this machine
    names = {path.name for path in (tmp_path / "page").iterdir()}
    assert names == {"index.html", "data.js", "page", "thumbnails", "report.json"}
    assert not list(tmp_path.glob(".page*"))


def test_ids_fit_into_an_address(tmp_path):
    rows = [{"image_id": "\ud800x", "caption": "half \ud800 a letter"}]
    runs = read_runs([save(tmp_path / "r.json", rows)])
    data = page_data(runs, pair_pictures(runs, find_data(runs)[0]))
    assert data["pictures"]["ids"] == ["?x"] and data["runs"][0]["captions"] == rows[0][
        "caption"
    ].split("|")


def test_comparison_is_second_minus_first(tiny_data, tmp_path):
    records = [result_of(tiny_data, seed) for seed in (0, 1)]
    files = [save(tmp_path / f"{i}.json", record) for i, record in enumerate(records)]
    compared = written(tmp_path / "page", *files)["comparison"]
    expected = compare(records[1], records[0])["metrics"]["CIDEr"]
    row = compared["metrics"]["CIDEr"]
    assert compared["pictures"] == 24
    assert (row["a"], row["b"]) == pytest.approx((expected["b"], expected["a"]))
    for key in ("difference", "low", "high", "p"):
        assert row[key] == pytest.approx(expected[key])


def test_runs_that_cannot_be_compared_say_why(tiny_data, tmp_path, result):
    record = result_of(tiny_data, 1)
    record["settings"]["tokenizer"], first = "none", result_of(tiny_data)
    first["settings"]["tokenizer"] = "ptb"
    files = [save(tmp_path / "a.json", first), save(tmp_path / "b.json", record)]
    refused = written(tmp_path / "page", *files)["comparison"]["refused"]
    assert refused.startswith("tokenizer: 'none' and 'ptb' received")


def test_thumbnails(tmp_path):
    (tmp_path / "out").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010E] = "where I live"
    photo = Image.new("RGB", (900, 300), "red")
    photo.save(tmp_path / "photo.jpg", exif=exif, comment=b"where I live")
    Image.new("RGBA", (5, 4)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:700])
    files = [tmp_path / name for name in ("photo.jpg", "small.png", "broken.jpg", "none.jpg")]
    reasons = thumbnails.make_thumbnails([*files, None], tmp_path / "out", 90)
    assert reasons[:2] == ["", ""] and "broken.jpg: damaged" in reasons[2]
    assert "no such file" in reasons[3] and reasons[4] == "no picture file known"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.jpg", "1.jpg"]
    sizes = [open_image(tmp_path / "out" / f"{i}.jpg").size for i in (0, 1)]
    assert sizes == [(30, 90), (5, 4)]
    assert b"live" not in (tmp_path / "out" / "0.jpg").read_bytes()


def test_processes_keep_the_order():
    jobs = [[number] for number in range(100)]
    expected = [str(job) for job in jobs]
    assert list(in_processes(str, jobs, 1)) == list(in_processes(str, jobs, 2, 9)) == expected
    with pytest.raises(ZeroDivisionError):
        list(in_processes(partial(divmod, 1), [1, 0], 2))


def test_what_a_process_is_given(tiny_data, tmp_path, monkeypatch):
    """As pickles, which is how it reaches another process."""
    seen = []

    def other_process(task, jobs, workers):
        seen.append(workers)
        return map(pickle.loads(pickle.dumps(task)), pickle.loads(pickle.dumps(jobs)))

    monkeypatch.setattr(thumbnails, "in_processes", other_process)
    monkeypatch.setattr(thumbnails, "WORTH_A_PROCESS", 10)
    files = sorted((tiny_data / "images").iterdir())
    assert thumbnails.make_thumbnails(files, tmp_path, 32, 7) == [""] * 40 and seen == [4]


def test_only_a_report_is_replaced(tmp_path, result):
    output = tmp_path / "page"
    written(output, result)
    with pytest.raises(FileExistsError, match="a report stands there; --overwrite replaces it"):
        written(output, result)
    (output / "thumbnails" / "old.jpg").touch()
    written(output, result, overwrite=True)
    assert not (output / "thumbnails" / "old.jpg").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    written(mine, result)  # an empty folder is nobody's
    (mine / "report.json").unlink()
    with pytest.raises(FileExistsError, match="so no report; left alone"):
        written(mine, result, overwrite=True)
    with pytest.raises(NotADirectoryError, match="first.json: a file, a folder expected"):
        written(result / "page", result)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_failure_leaves_what_stood_there(tmp_path, result, monkeypatch, error):
    output = tmp_path / "page"
    written(output, result)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}

    def fail(*_):
        raise error

    monkeypatch.setattr(page, "make_thumbnails", fail)
    with pytest.raises(type(error)) as caught:
        written(output, result, overwrite=True)
    if isinstance(error, OSError):
        assert str(caught.value).endswith("page: could not be written (No space left on device)")
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.glob(".page*"))


def test_what_killed_runs_left_is_cleared_up(tmp_path, result, monkeypatch):
    monkeypatch.setattr(folders, "_is_running", lambda process: process == 2)
    for name in (".page.1.part", ".page.2.part", ".page2.1.part"):
        (tmp_path / name).mkdir()
    written(tmp_path / "page", result)
    (tmp_path / "page").rename(tmp_path / ".page.1.old")  # killed between two moves
    with pytest.raises(FileExistsError, match="--overwrite"):
        written(tmp_path / "page", result)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".page.2.part", ".page2.1.part", "page", "first.json"}


# ---- the command ----


def run_command(*arguments) -> int:
    return report.run(report.parser().parse_args([str(argument) for argument in arguments]))


def test_command(tmp_path, own_data, capsys):
    record = result_of(own_data)
    (own_data / "images" / "train_004.png").write_bytes(b"no picture")
    path, output = save(tmp_path / "r.json", record), tmp_path / "new" / "page"
    assert run_command(path, "--output", output, "--json", "--names", "mine") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["page"] == str(output / "index.html")
    assert json.loads(out)["runs"] == ["mine"] and json.loads(out)["pictures"] == 24
    assert err.count("train_004.png") == 1 and "1 of 24 pictures are not shown" in err
    assert data_of(output)["pictures"]["missing"] == {
        "4": "not a picture (content of no known format)"
    }
    for wrong, part in (
        (["--names", "a,b"], "names: 'a,b' received, one for each of 1 files"),
        (["--thumbnail_size", 3], "thumbnail_size: 3 received, 16 or more expected"),
        (["--workers", -1], "workers: -1 received"),
        ([path, path], "runs: 3 files received, one or two expected"),
    ):
        with pytest.raises(UsageError, match=part):
            run_command(path, *wrong, "--output", tmp_path / "other")
    with pytest.raises(FileExistsError):
        run_command(path, "--output", output)


# ---- what the page is made of ----


def test_words_for_every_metric():
    assert set(METRICS) <= set(MEANINGS)
    assert meaning("oracle_CIDEr").label == "CIDEr, best of several"
    assert meaning("num_captions") == ("num captions", 0, "")
    assert (
        describe_search({"method": "sample", "temperature": 0.7}) == "sampling at temperature 0.7"
    )
    assert describe_search({}) == ""


def test_assets_are_alone_and_write_no_html():
    texts = {path.name: path.read_text("utf-8") for path in ASSETS.rglob("*.*")}
    assert "index.html" in texts and "app.js" in texts
    for name, text in texts.items():
        assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )
    scripts = re.findall(r'src="page/([a-z]+\.js)"', texts["index.html"])
    assert sorted(scripts) == sorted(name for name in texts if name.endswith(".js"))


def luminance(colour: str) -> float:
    """Source: Web Content Accessibility Guidelines 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_read():
    text = (ASSETS / "page" / "report.css").read_text("utf-8")
    found = re.findall(r"--([a-z-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    colours = {name: pair for name, *pair in found}
    pairs = [
        (ink, ground) for ink in ("ink", "soft", "accent", "wrong") for ground in ("paper", "card")
    ]
    pairs += [
        ("ink", "mark"),
        ("ink", "a-pale"),
        ("ink", "b-pale"),
        ("ink", "notice"),
        ("soft", "mat"),
    ]
    for ink, ground in pairs:
        for one, other in zip(colours[ink], colours[ground], strict=True):
            dark, light = sorted((luminance(one), luminance(other)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)
