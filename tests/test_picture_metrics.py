"""`evaluate` with CLIP, a grammar judge and FineCapEval: numbers, and what is refused at once."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from clip_judges import write_clip, write_grammar
from conftest import small_experiment

from captioning.bundle import Captioner
from captioning.clip.grammar import load_grammar
from captioning.clip.loading import load_clip
from captioning.clip.model import PROMPT, Clip
from captioning.datasets.picturebook.writer import write_picturebook
from captioning.evaluation.clip_score import clip_s, ref_clip_s, reference_similarity
from captioning.evaluation.finecapeval import image_key, read_finecapeval, score_finecapeval
from captioning.evaluation.picture_metrics import Judges, check_judges, separate
from captioning.evaluation.retrieval import retrieval
from captioning.features.vectors import look_at
from data_loader import CaptionDataset, read_annotations
from vocabulary import Vocabulary

ALL = "finecapeval,clip_s,refclip_s,retrieval,grammar"
PICTURE = ["CLIP_S", "RefCLIP_S", "grammar"]
RETRIEVAL = [f"{way}_R{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
CRITERIA = ["background", "object", "relation"]
FINE = [f"FineCapEval_{name}{more}" for more in ("", "_substring") for name in CRITERIA]
FINE += ["FineCapEval_overall"]


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("book") / "small"
    sizes = {"train": 12, "val": 4, "test": 6, "image_size": 32}
    write_picturebook(folder, **sizes, workers=1, progress=False)
    return folder


@pytest.fixture
def own_book(tmp_path) -> Path:
    """To be damaged."""
    sizes = {"train": 2, "val": 2, "test": 4, "image_size": 32}
    write_picturebook(tmp_path / "book", **sizes, workers=1, progress=False)
    return tmp_path / "book"


@pytest.fixture(scope="module")
def words(book) -> Vocabulary:
    captions = read_annotations(book, "train").anns.values()
    return Vocabulary.build([one["caption"] for one in captions], min_count=1)


@pytest.fixture(scope="module")
def bundle(book, words, tmp_path_factory) -> Path:
    """A captioner that was not trained, but has clear opinions, another one of each picture."""
    experiment = small_experiment(book, tmp_path_factory.mktemp("none"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        captioner = Captioner.build(experiment, words).train(False)
    with torch.no_grad():
        for parameter in captioner.decoder.parameters():
            parameter.mul_(4)
    folder = tmp_path_factory.mktemp("bundle") / "small"
    captioner.save(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(words, tmp_path_factory) -> str:
    return write_clip(tmp_path_factory.mktemp("clip") / "small", words)


@pytest.fixture(scope="module")
def clip(clip_folder) -> Clip:
    return load_clip(clip_folder)


@pytest.fixture(scope="module")
def grammar_folder(clip, tmp_path_factory) -> str:
    return write_grammar(tmp_path_factory.mktemp("grammar") / "judge", clip)


@pytest.fixture
def run(run_cli, bundle, book):
    """`evaluate` in this process: the result as JSON, or exit code and what stands on stderr."""

    def call(metrics: str, *more: object, data: Path = book, fails: int = 0):
        flags = ["--model", bundle, "--data", data, "--device", "cpu", "--metrics", metrics]
        code, out, err = run_cli("evaluate", *flags, "--json", *more)
        assert code == fails, err
        return err if fails else json.loads(out)

    return call


def split_of(book: Path, words: Vocabulary, split: str = "test") -> CaptionDataset:
    return CaptionDataset(book, split, words, None)


def files_of(dataset: CaptionDataset) -> list[Path]:
    return [dataset.folder / name for name in dataset.file_names]


def column(result: dict, key: str) -> list[float]:
    return [row[key] for row in result["per_image"]]


# ---- numbers ----


def test_everything_at_once(run, book, clip, clip_folder, grammar_folder):
    result = run(ALL, "--clip", clip_folder, "--grammar", grammar_folder)
    overall, settings = result["overall"], result["settings"]
    assert {*PICTURE, *RETRIEVAL, *FINE} <= set(overall) and "CIDEr" not in overall
    assert len(result["per_image"]) == 6 and settings["metrics"] == []
    for key in (*PICTURE, *FINE):
        values = column(result, key)
        assert overall[key] == pytest.approx(sum(values) / 6, abs=1e-9)
        assert all(0 <= value <= (10 if key.endswith("overall") else 2.5) for value in values)
    assert len(set(column(result, "caption"))) > 1
    for key in (*PICTURE, "FineCapEval_object"):
        assert len(set(column(result, key))) > 1
    assert settings["clip_name"] == clip_folder
    weights = {"weights": clip.weights_hash}
    assert settings["clip"] == weights | {"prompt": "A photo depicts", "scale": 2.5}
    judge = load_grammar(grammar_folder, clip)
    assert settings["grammar_name"] == grammar_folder
    weights = {"weights": judge.weights_hash}
    assert settings["grammar"] == weights | {"prompt": "A photo depicts"}
    assert settings["finecapeval"] == "finecapeval_test.csv"
    assert settings["num_references"] == 30 and "perplexity" in overall


def test_the_numbers_are_those_of_their_modules(
    run, book, words, clip, clip_folder, grammar_folder
):
    result = run(ALL, "--clip", clip_folder, "--grammar", grammar_folder)
    captions, dataset = column(result, "caption"), split_of(book, words)
    assert column(result, "image_id") == dataset.image_ids
    images, texts = look_at(clip, files_of(dataset)), [PROMPT + said for said in captions]
    fits = clip_s(images, clip.text_vectors(texts))
    assert column(result, "CLIP_S") == pytest.approx(fits.tolist(), abs=1e-5) and fits.min() > 0.1
    nearest = reference_similarity(clip, clip.text_vectors(texts), dataset.texts)
    both = ref_clip_s(fits, nearest)
    assert column(result, "RefCLIP_S") == pytest.approx(both.tolist(), abs=1e-5)
    tables = retrieval(images, clip.text_vectors(captions))  # without a prompt
    for way, table in tables.items():
        found = {f"{way}_{key}": table[key] for key in ("R1", "R5", "R10")}
        assert result["overall"].items() >= found.items()
    plain = [said.lower().rstrip(".") for said in captions]
    assert captions[0] != plain[0]
    chances = load_grammar(grammar_folder, clip).probability(plain)
    assert column(result, "grammar") == pytest.approx(chances.tolist(), abs=1e-6)
    entries = read_finecapeval(book / "annotations" / "finecapeval_test.csv")
    keys = [image_key(name) for name in dataset.file_names]
    own = score_finecapeval(entries, dict(zip(keys, captions, strict=True)))
    assert result["overall"].items() >= own["overall"].items()
    by_name = {row["image"]: row for row in own["per_image"]}
    for row in result["per_image"]:
        expected = by_name[Path(row["file_name"]).name]
        assert all(row[key] == expected[key] for key in FINE)


def test_the_grammar_judge_reads_plain_words(run, clip_folder, grammar_folder, monkeypatch):
    """No capital and no full stop, which it never saw: CLIP's own tokenizer keeps full stops."""
    read = []

    def listen(_, captions):
        read.extend(captions)
        return torch.full((len(captions),), 0.5)

    monkeypatch.setattr("captioning.clip.grammar.Grammar.probability", listen)
    result = run("grammar", "--clip", clip_folder, "--grammar", grammar_folder)
    captions = column(result, "caption")
    assert all(said.endswith(".") and said[0].isupper() for said in captions)
    assert read == [said[0].lower() + said[1:-1] for said in captions]
    assert result["overall"]["grammar"] == 0.5


def test_what_was_not_asked_for_is_not_there(run, clip_folder):
    alone = run("clip_s", "--clip", clip_folder)
    assert set(alone["overall"]).isdisjoint(["RefCLIP_S", *RETRIEVAL, "grammar", *FINE, "CIDEr"])
    assert len(column(alone, "CLIP_S")) == 6 and "grammar" not in alone["settings"]
    beside = run("CIDEr, CLIP_S", "--clip", clip_folder)
    assert beside["settings"]["metrics"] == ["CIDEr"]
    assert column(beside, "CLIP_S") == pytest.approx(column(alone, "CLIP_S"), abs=1e-6)
    assert beside["overall"]["CIDEr"] >= 0 and len(column(beside, "CIDEr")) == 6
    table = run("finecapeval")  # no judge
    assert set(FINE) <= set(table["overall"]) and "CLIP_S" not in table["overall"]
    assert "clip" not in table["settings"]
    usual = run("cider")
    assert set(usual["overall"]).isdisjoint([*PICTURE, *RETRIEVAL, *FINE])


def test_the_first_pictures_only(run, book, words, clip_folder):
    metrics = "finecapeval,retrieval,clip_s"
    few = run(metrics, "--clip", clip_folder, "--max_pictures", 3)
    whole = run(metrics, "--clip", clip_folder)
    assert len(few["per_image"]) == 3
    for key in ("CLIP_S", "FineCapEval_object", "FineCapEval_object_substring"):
        assert column(few, key) == pytest.approx(column(whole, key)[:3], abs=1e-6)
    assert few["overall"]["text_to_image_R5"] == 1  # of three
    entries = read_finecapeval(book / "annotations" / "finecapeval_test.csv")
    names = split_of(book, words).file_names[:3]
    said = dict(zip(map(image_key, names), column(few, "caption"), strict=True))
    asked = [entry for entry in entries if image_key(entry.image) in said]
    assert len(asked) == 15
    own = score_finecapeval(asked, said)["overall"]
    assert few["overall"].items() >= own.items()


def test_several_splits_have_tables_of_their_own(run, own_book, clip_folder):
    for name in ("captions_{}.json", "finecapeval_{}.csv"):
        files = [own_book / "annotations" / name.format(split) for split in ("test", "again")]
        shutil.copy(*files)
    judged = ["clip_s,finecapeval", "--clip", clip_folder, "--split", "test,again"]
    one, other = run(*judged, data=own_book).values()
    tables = [result["settings"]["finecapeval"] for result in (one, other)]
    assert tables == ["finecapeval_test.csv", "finecapeval_again.csv"]
    for key in ("CLIP_S", *FINE):
        assert column(one, key) == pytest.approx(column(other, key), abs=1e-6)


def test_results_are_compared_picture_by_picture(run, clip_folder, tmp_path):
    place = tmp_path / "first.json"
    first = run("clip_s", "--clip", clip_folder, "--output", place, "--method", "greedy")
    how = ["--compare", place, "--method", "sample", "--seed", 1]
    second = run("clip_s", "--clip", clip_folder, *how)
    found = second["comparison"]["metrics"]["CLIP_S"]
    assert (found["a"], found["b"]) == pytest.approx(
        (second["overall"]["CLIP_S"], first["overall"]["CLIP_S"])
    )
    assert found["difference"] != 0


def test_a_store_of_vectors(run, run_cli, book, clip_folder, tmp_path):
    store = tmp_path / "vectors.h5"
    flags = ["--clip", clip_folder, "--data", book, "--output", store, "--splits", "test"]
    code, _, err = run_cli("features", "clip", *flags, "--device", "cpu")
    assert code == 0, err
    looked = run("clip_s", "--clip", clip_folder)
    read = run("clip_s", "--clip", clip_folder, "--clip_vectors", store)
    assert column(read, "CLIP_S") == pytest.approx(column(looked, "CLIP_S"), abs=1e-5)


# ---- splits and tables that lack something ----


def test_a_split_without_human_captions(run, own_book, clip_folder, grammar_folder):
    annotations = own_book / "annotations"
    images = json.loads((annotations / "captions_test.json").read_text("utf-8"))["images"]
    (annotations / "images_extra.json").write_text(json.dumps({"images": images}))
    judges = ["--clip", clip_folder, "--grammar", grammar_folder, "--split", "extra"]
    result = run("clip_s,retrieval,grammar", *judges, data=own_book)
    assert {"CLIP_S", "grammar", *RETRIEVAL} <= set(result["overall"])
    assert result["settings"]["num_references"] == 0
    assert column(result, "CLIP_S") == pytest.approx(
        column(run("clip_s", "--clip", clip_folder, data=own_book), "CLIP_S"), abs=1e-6
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioning.evaluation.evaluate.caption_batches", None)
        err = run("clip_s,refclip_s", *judges, data=own_book, fails=1)
    assert "metrics: refclip_s needs human captions in split 'extra'" in err


def rewrite_table(book: Path, change) -> None:
    """The rows of the test split's table, changed."""
    path = book / "annotations" / "finecapeval_test.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(change(rows))


def test_a_table_of_some_pictures(run, own_book):
    rewrite_table(
        own_book, lambda rows: [row for row in rows if "3" not in Path(row["image"]).stem]
    )
    result = run("finecapeval", data=own_book)
    scored = [row for row in result["per_image"] if FINE[0] in row]
    assert len(scored) == 3 and len(result["per_image"]) == 4
    mean = sum(row["FineCapEval_object"] for row in scored) / 3
    assert result["overall"]["FineCapEval_object"] == pytest.approx(mean)


# ---- refused ----


def one_sentence(err: str) -> str:
    """What stands on stderr, if it is one line beside the bars."""
    (line,) = [line for line in err.splitlines() if line.strip()]
    return line


@pytest.mark.parametrize(
    ("metrics", "flags", "code", "message"),
    [
        ("clip_s", [], 2, "metrics: clip_s needs a CLIP; --clip names one"),
        ("cider,refclip_s", [], 2, "metrics: refclip_s needs a CLIP"),
        ("retrieval", [], 2, "metrics: retrieval needs a CLIP"),
        ("grammar", [], 2, "metrics: grammar needs a CLIP"),
        ("grammar", ["--clip", "CLIP"], 2, "metrics: grammar needs a grammar judge; --grammar"),
        ("clip_s,clipscore", ["--clip", "CLIP"], 2, "metrics: 'clipscore' received, some of"),
        ("clip_s", ["--clip", "no/clip"], 1, "no/clip"),
        ("grammar", ["--clip", "CLIP", "--grammar", "no"], 1, "no: no grammar judge"),
        ("grammar", ["--clip", "OTHER", "--grammar", "JUDGE"], 1, "judge: made from"),
        ("clip_s", ["--clip", "CLIP", "--clip_vectors", "no.h5"], 1, "no.h5"),
        ("finecapeval", ["--finecapeval", "no.csv"], 1, "no.csv: no such FineCapEval table"),
        ("clip_s", ["--clip", "OTHER", "--clip_vectors", "STORE"], 1, "vectors.h5: "),
        ("finecapeval", ["--split", "val", "--finecapeval", "TABLE"], 1, "is not among the pict"),
    ],
)
def test_refused_before_captioning(
    run, run_cli, book, words, clip_folder, grammar_folder, tmp_path, no_captioning, metrics,
    flags, code, message,
):  # fmt: skip
    known = {"CLIP": clip_folder, "JUDGE": grammar_folder}
    known["TABLE"] = book / "annotations" / "finecapeval_test.csv"
    if "OTHER" in flags:
        known["OTHER"] = write_clip(tmp_path / "other", words, seed=1)
    if "STORE" in flags:
        known["STORE"] = tmp_path / "vectors.h5"
        run_cli(
            *("features", "clip", "--clip", clip_folder, "--data", book, "--splits", "test"),
            *("--output", known["STORE"], "--device", "cpu"),
        )
    err = run(metrics, *(known.get(flag, flag) for flag in flags), fails=code)
    assert message in one_sentence(err)


@pytest.mark.parametrize("splits", ["val", "test,val"])
def test_a_missing_table_is_missed_before_captioning(run, no_captioning, splits):
    """Also that of the last split; the picture book has one of its test split only."""
    err = run("finecapeval", "--split", splits, fails=1)
    assert "finecapeval_val.csv: no such FineCapEval table" in one_sentence(err)


# ---- flags ----


def test_metrics_are_told_apart():
    assert separate(None) == (None, [])
    assert separate(["cider"]) == (["cider"], [])
    asked = ["finecapeval", " CIDEr", "CLIP_S ", "meteor"]
    assert separate(asked) == ([" CIDEr", "meteor"], ["clip_s", "finecapeval"])


def test_judges_are_asked_for_only_where_they_are_needed():
    check_judges([], Judges())
    check_judges(["finecapeval"], Judges())
    check_judges(["clip_s", "refclip_s", "retrieval"], Judges(clip="c"))
    check_judges(["grammar"], Judges(clip="c", grammar="g"))
    with pytest.raises(ValueError, match="grammar needs a CLIP"):
        check_judges(["grammar"], Judges(grammar="g"))
