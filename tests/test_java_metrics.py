"""METEOR and SPICE: what is said when they cannot run, and how their answers are read."""

from __future__ import annotations

import json
import os
import sys

import pytest
from metric_cases import fixture_case, reference_cases

from captioning.evaluation import java
from captioning.evaluation.java import java_metrics_available, meteor, spice
from captioning.evaluation.metrics import score_captions

PEOPLE = {9: [["a", "dog"]], 10: [["a", "cat"]], 2: [["a", "bird"]]}
MODEL = {9: ["a", "dog"], 10: ["a", "cow"], 2: ["a", "bird"]}
CASES = [fixture_case(), *(case for case in reference_cases() if "flickr" in case.name)]


@pytest.fixture
def fake_java(tmp_path, monkeypatch):
    """A package folder with all jars (empty files), and a program `java` that runs given Python."""
    package = tmp_path / "package"
    for jar in (java._METEOR_JAR, java._SPICE_JAR, *java._CORENLP_JARS):
        (package / jar).parent.mkdir(parents=True, exist_ok=True)
        (package / jar).touch()
    monkeypatch.setattr(java, "_package_folder", lambda: package)
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(program: str) -> None:
        script = tmp_path / "java"
        script.write_text(f"#!{sys.executable}\nimport json, sys\n{program}\n")
        script.chmod(0o755)

    install.package = package
    return install


def test_a_missing_java_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for metric in ("METEOR", "SPICE"):
        assert f"{metric} needs Java, and no program 'java'" in java_metrics_available(metric)
    with pytest.raises(RuntimeError, match="METEOR needs Java"):
        meteor(PEOPLE, MODEL)
    with pytest.raises(ValueError, match="metrics: METEOR needs Java"):
        score_captions({1: ["a dog"]}, {1: "a dog"}, ["cider", "meteor"])


def test_a_missing_package_is_said_with_the_command_that_installs_it(fake_java, monkeypatch):
    fake_java("")
    monkeypatch.setattr(java, "_package_folder", lambda: None)
    assert "pip install '.[java]'" in java_metrics_available("METEOR")
    with pytest.raises(RuntimeError, match="pycocoevalcap"):
        spice(PEOPLE, MODEL)


def test_missing_models_are_named_and_not_downloaded(fake_java, monkeypatch):
    fake_java("")
    assert java_metrics_available("SPICE") is None
    (fake_java.package / java._CORENLP_JARS[1]).unlink()
    message = java_metrics_available("SPICE")
    assert "stanford-corenlp-3.6.0-models.jar missing" in message and "never downloaded" in message
    assert java_metrics_available("METEOR") is None
    monkeypatch.setattr("urllib.request.urlopen", lambda *_: pytest.fail("a download was tried"))
    with pytest.raises(RuntimeError, match="get_stanford_models"):
        spice(PEOPLE, MODEL)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match=r"metric: 'CIDEr' received, one of \['METEOR', 'SPICE'\]"):
        java_metrics_available("CIDEr")


def test_spice_scores_reach_their_own_image_in_whatever_order_they_come(fake_java):
    fake_java(
        "source = sys.argv[sys.argv.index('-jar') + 2]\n"
        "target = sys.argv[sys.argv.index('-out') + 1]\n"
        "items = json.load(open(source))\n"
        "score = {'a dog': 0.5, 'a cow': None, 'a bird': 0.25}\n"
        "items.sort(key=lambda item: item['test'])\n"
        "json.dump([{'image_id': i['image_id'], 'scores': {'All': {'f': score[i['test']]}}}\n"
        "           for i in items], open(target, 'w'))"
    )
    overall, per_image = spice(PEOPLE, MODEL)
    assert per_image == {9: 0.5, 10: 0.0, 2: 0.25}  # what cannot be parsed scores 0, not NaN
    assert overall == pytest.approx(0.25)


def test_a_failing_java_process_gives_its_first_line(fake_java):
    fake_java("sys.exit('Error: could not reserve enough space\\nand more')")
    for metric in (meteor, spice):
        with pytest.raises(RuntimeError, match="failed: Error: could not reserve enough space$"):
            metric(PEOPLE, MODEL)


def test_meteor_leaves_no_process_behind_when_it_stops_half_way(fake_java, tmp_path):
    fake_java(
        "import os\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "sys.stdin.readline(); print('statistics', flush=True)\n"
        "sys.stdin.readline(); print('not a number', flush=True)\n"
        "sys.stdin.readline(); print('x', flush=True)\n"
        "sys.stdin.readline(); print('still no number', 'x', 'x', 'x', sep='\\n', flush=True)\n"
        "sys.stdin.read()"
    )
    with pytest.raises(RuntimeError, match="METEOR: the Java process failed: could not convert"):
        meteor(PEOPLE, MODEL)
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


needs_meteor = pytest.mark.skipif(
    java_metrics_available("METEOR") is not None, reason="Java or pycocoevalcap is not installed"
)


@needs_meteor
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_meteor_equals_the_reference(case):
    result = score_captions(case.references, case.candidates, ["meteor"], tokenizer="none")
    assert result["overall"]["METEOR"] == pytest.approx(case.corpus["METEOR"], abs=1e-9)
    ours = {entry["image_id"]: entry["METEOR"] for entry in result["per_image"]}
    assert ours == pytest.approx(case.per_image["METEOR"], abs=1e-9)


@needs_meteor
def test_meteor_takes_an_empty_caption_and_its_own_separator():
    references = {1: [["a", "dog"]], 2: [["ein", "Löwe"]], 3: [["a", "|||", "cat"]]}
    _, per_image = meteor(references, {1: [], 2: ["ein", "Löwe"], 3: ["a", "|||", "cat"]})
    assert per_image[1] == 0
    assert per_image[2] > 0.9 and per_image[3] > 0.9


def test_the_fixture_is_plain_json():
    record = json.loads(json.dumps(fixture_case().per_image))
    assert len(record["METEOR"]) == 40
