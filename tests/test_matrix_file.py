"""Matrix files and recipes: read alike, and refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.bench.matrix_file import read_matrix, settings_of
from captioning.bench.recipes import experiment_of, read_yaml
from captioning.bench.store import store_flags
from captioning.bench.trials import asked_of, list_trials
from captioning.commands import features
from captioning.commands.train import parser
from captioning.config import Experiment
from captioning.settings import from_dict

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "recipes").glob("*.yaml"))
MATRICES = sorted((ROOT / "benchmarks" / "matrices").glob("*.yaml"))
RECIPES = [  # of captioners: not those of `train-eyes` and `train-clip`
    path
    for path in FILES
    if "eyes" not in path.stem and "objective" not in read_yaml(path, "recipe")
]


@pytest.fixture(scope="module")
def flags():
    return parser()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_say_the_same_as_to_train(path, flags):
    record = flags.parse_args(["--config", str(path)]).as_dict()
    theirs = from_dict(Experiment, {name: record[name] for name in vars(Experiment())})
    assert experiment_of(path) == theirs


@pytest.mark.parametrize("path", MATRICES, ids=lambda path: path.stem)
def test_shipped_matrices_are_understood(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    matrix = read_matrix(path)
    assert matrix.title and len(matrix.cells) > 1
    if matrix.command:
        features.parser().parse_args(store_flags(matrix))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a matrix and read it."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text("data: some/data\nloader: {features: old.h5, cache_views: 3}\n")

    def call(text):
        Path("m.yaml").write_text(text)
        return read_matrix("m.yaml")

    return call


def test_defaults(write):
    matrix = write("cells:\n  a: {recipe: r.yaml}\n  b c:\n    recipe: r.yaml\n")
    assert [*matrix.cells] == ["a", "b c"] and matrix.cells["b c"].slug == "b_c"
    assert (matrix.data, matrix.seeds, matrix.split) == ("some/data", (0,), "test")
    assert [*matrix.searches] == ["beam 1", "beam 5"] and matrix.scores == ("CIDEr",)
    assert (matrix.limit_seconds, matrix.store, matrix.command) == (90, "", ())
    assert matrix.evaluate == write("recipe: r.yaml\nevaluate:\ncells: {a: {}}").evaluate == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{metrics: [cider]}", {"metrics": ["cider"]}),
        (
            "{metrics: [cider, clip_s], clip: models/some clip}",
            {"metrics": ["cider", "clip_s"], "clip": "models/some clip"},
        ),
        ("{metrics: [CLIP_S], clip: c}", {"metrics": ["CLIP_S"], "clip": "c"}),
        (
            "{clip: c, metrics: [retrieval, grammar], vectors: v.h5, grammar: g}",
            {"metrics": ["retrieval", "grammar"], "clip": "c", "vectors": "v.h5", "grammar": "g"},
        ),
        (
            "{metrics: [finecapeval], finecapeval: f.csv}",
            {"metrics": ["finecapeval"], "finecapeval": "f.csv"},
        ),
    ],
)
def test_what_is_scored_with_beside_the_usual(write, text, expected):
    matrix = write(f"recipe: r.yaml\nevaluate: {text}\ncells: {{a: {{}}}}")
    assert matrix.evaluate == expected
    asked = asked_of(list_trials(matrix, [0], "m")["a", 0])
    assert [*asked] == ["beam 1", "beam 5"]
    assert all(one["evaluate"] == expected and one["split"] == "test" for one in asked.values())


def test_later_changes_overrule_earlier_ones(write):
    Path("second.yaml").write_text("training: {objective: reinforce, learning_rate: 1e-5}\n")
    matrix = write(
        """
data: other/data
features: {store: f.h5}
recipe: r.yaml
settings: {loader.cache_views: 0, training: {learning_rate: 1e-4, grad_clip: 1}}
cells:
  a: {decoder.kind: updown, training.grad_clip: 2, transform.image_size: 64}
  b: {from: a, recipe: second.yaml, decoder: {hidden_dim: 64}}
  c: {from: b, recipe: second.yaml, training.learning_rate: 2e-5, loader.features: mine.h5}
"""
    )
    a, b, c = (settings_of(matrix, cell, 7, "out", "start") for cell in matrix.cells.values())
    assert (a.data, a.seed, a.output, a.init_from) == ("other/data", 7, "out", "start")
    assert (a.loader.features, a.loader.cache_views) == ("f.h5", 0)
    assert (a.training.learning_rate, a.training.grad_clip) == (1e-4, 2)
    assert (b.training.learning_rate, b.training.grad_clip) == (1e-4, 1)
    assert (b.decoder.kind, b.decoder.hidden_dim, b.transform.image_size) == ("updown", 64, 64)
    assert c.decoder == b.decoder and c.training.learning_rate == 2e-5
    assert c.loader.features == "mine.h5" and c.training.objective == "reinforce"


def test_captions_of_another_cell(write):
    matrix = write(
        """
recipe: r.yaml
cells:
  a: {decoder.transformer.group_size: 1}
  b: {from: a, captions: {from: a, beam_size: 3}, decoder.transformer.group_size: 2}
  c: {from: b, captions: {from: b, method: sample}}
  d: {from: b}
"""
    )
    a, b, c, d = (trial for trial in list_trials(matrix, [4], "m").values())
    assert b.captions == {"from": "a", "method": "beam", "beam_size": 3}
    assert c.search == {"method": "sample"} and (a.captions, a.search) == ({}, {})
    assert b.teacher is a and c.teacher is c.start is b and d.teacher is None
    assert c.sources == {"starts from": b, "learns from": b}
    assert Path(b.experiment.train_captions).match("m/a_4_captions_*.json")
    assert d.experiment.train_captions == a.experiment.train_captions == ""
    sizes = [one.experiment.decoder.transformer.group_size for one in (a, b, c, d)]
    assert sizes == [1, 2, 2, 2]  # a cell's own group size passes to what starts from it


def test_the_hash_is_of_what_the_captions_come_from(write):
    def learner(captions="from: b", teacher="", own="", models="m"):
        matrix = write(
            f"recipe: r.yaml\ncells: {{b: {{{teacher}}}, c: {{captions: {{{captions}}}, {own}}}}}"
        )
        trial = list_trials(matrix, [0], models)["c", 0]
        return trial.hash, Path(trial.experiment.train_captions).name

    first, file = learner()
    assert learner("method: beam, from: b", models="elsewhere") == (first, file)
    other_rate = learner(own="training.learning_rate: 1e-5")
    assert other_rate[0] != first and other_rate[1] == file  # the captions are shared
    for other in (
        learner("from: b, beam_size: 2"),
        learner(teacher="decoder.dropout: 0.4"),
        learner(own="loader.max_pictures: 7"),
        learner(own="loader.train_split: val"),
    ):
        assert other[0] != first and other[1] != file


def test_the_hash_is_of_what_decides_the_model(write):
    def hashes(text="", one="{}", two="{from: a}", models="m"):
        matrix = write(f"recipe: r.yaml\n{text}\ncells: {{a: {one}, b: {two}}}")
        return {name: one.hash for (name, _), one in list_trials(matrix, [0], models).items()}

    first = hashes()
    assert first["a"] != first["b"]
    assert first == hashes("title: T\nscores: [words]\nsearches: {x: {method: greedy}}")
    assert first == hashes("evaluate: {metrics: [clip_s], clip: c}")
    assert first == hashes("settings: {device: cpu, loader.num_workers: 2}", models="elsewhere")
    assert first == hashes(one="{decoder.dropout: 0.3}")  # its default
    changed = hashes(one="{decoder.dropout: 0.4}")
    assert changed["a"] != first["a"] and changed["b"] != first["b"]  # its start is another
    with_store = hashes("features: {store: f.h5, command: [regions]}")
    assert with_store != hashes("features: {store: f.h5, command: [regions, --boxes, x]}")


def test_numbers_are_numbers(tmp_path):
    path = tmp_path / "n.yaml"
    path.write_text("{a: 1e-3, b: 5E4, c: -2.5e-1, d: 1e, e: 0.5, f: 3, g: '1e-3', h: 1.5e3}")
    record = {"a": 1e-3, "b": 5e4, "c": -0.25, "d": "1e", "e": 0.5, "f": 3, "g": "1e-3", "h": 1500}
    assert read_yaml(path, "test") == record


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "m.yaml: nothing found, the mapping of a matrix expected"),
        ("- a\n- b", "m.yaml: a list found, the mapping of a matrix expected"),
        ("cells: [1, 2", "m.yaml: line 1: "),
        ("\x00\x01", "m.yaml: not a matrix ("),
        ("cells: {a: !!python/object/apply:os.getcwd []}", "m.yaml: line 1: could not determine"),
        ("[" * 600, "m.yaml: not a matrix ("),
        ("recipe: r.yaml\ncells:\n  a: {}\n  a: {}", "m.yaml: line 4: 'a' stands there twice"),
        ("recipe: r.yaml\ncels: {a: {}}", "m.yaml: cels: unknown entry, one of ['title', "),
        ("recipe: r.yaml", "cells: none received, one or more expected"),
        ("recipe: r.yaml\ncells: {}", "cells: none received, one or more expected"),
        ("recipe: r.yaml\ncells: [a]", "cells: ['a'] received, a mapping expected"),
        ("recipe: r.yaml\ncells: {a: 3}", "cells.a: 3 received, a mapping expected"),
        ("recipe: r.yaml\ncells: {1: {}}", "cells: 1 received, a name of letters"),
        ("recipe: r.yaml\ncells: {../a: {}}", "cells: '../a' received, a name of letters"),
        ("recipe: r.yaml\ncells: {a b: {}, A_b: {}}", "another cell would have the same files"),
        ("cells: {a: {}}", "cells.a.recipe: none received, one here or for all cells expected"),
        (
            "recipe: r.yaml\ncells: {a: {}, b: {captions: {beam_size: 3}}}",
            "cells.b.captions.from: '' received, a cell above it expected",
        ),
        ("recipe: r.yaml\ncells: {a: {captions: {from: a}}}", "cells.a.captions.from: 'a' receiv"),
        ("recipe: r.yaml\ncells: {a: {captions: }}", "cells.a.captions.from: '' received"),
        ("recipe: r.yaml\ncells: {a: {}, b: {captions: a}}", "cells.b.captions: 'a' received, a"),
        (
            "recipe: r.yaml\ncells: {a: {}, b: {captions: {from: a, beam: 3}}}",
            "cells.b.captions.beam: unknown setting",
        ),
        (
            "recipe: r.yaml\ncells: {a: {}, b: {captions: {from: a}, train_captions: x.json}}",
            "cells.b.train_captions: not with captions, which are of 'a' already",
        ),
        (
            "recipe: r.yaml\nsettings: {train_captions: x}\n"
            "cells: {a: {}, b: {captions: {from: a}}}",
            "settings.train_captions: not with captions, which are of 'a' already",
        ),
        ("recipe: 3\ncells: {a: {}}", "recipe: 3 received, text expected"),
        ("recipe: r.yaml\ncells: {a: {from: b}, b: {}}", "cells.a.from: 'b' received, a cell abo"),
        ("recipe: r.yaml\ncells: {a: {from: a}}", "cells.a.from: 'a' received, a cell above it"),
        ("recipe: r.yaml\ncells: {a: {}, b: {from: a, init_from: x}}", "init_from: not with from"),
        ("recipe: r.yaml\ncells: {a: {decodr.kind: fc}}", "cells.a: decodr: unknown setting, one"),
        ("recipe: r.yaml\ncells: {a: {decoder.size: 3}}", "cells.a: decoder.size: unknown setting"),
        ("recipe: r.yaml\ncells: {a: {decoder.kind: gpt}}", "decoder.kind: 'gpt' received, one of"),
        ("recipe: r.yaml\ncells: {a: {decoder.kind.x: 1}}", "decoder.kind: {'x': 1} received, tex"),
        ("recipe: r.yaml\ncells: {a: {decoder: 1}}", "decoder: 1 received, a mapping expected"),
        ("recipe: r.yaml\ncells: {a: {3: 1}}", "cells.a: 3: unknown setting"),
        ("recipe: r.yaml\ncells: {a: {seed: 1}}", "cells.a.seed: not here, seeds decides it"),
        ("recipe: r.yaml\nsettings: {output: x}\ncells: {a: {}}", "settings.output: not here"),
        ("recipe: r.yaml\nseeds: 3\ncells: {a: {}}", "seeds: 3 received, a list expected"),
        ("recipe: r.yaml\nseeds: [0, x]\ncells: {a: {}}", "seeds: 'x' received, a whole number"),
        ("recipe: r.yaml\nseeds: [-1]\ncells: {a: {}}", "seeds: -1 received, a whole number"),
        ("recipe: r.yaml\nseeds: [true]\ncells: {a: {}}", "seeds: True received, a whole number"),
        ("recipe: r.yaml\nseeds: [1, 1]\ncells: {a: {}}", "seeds: 1 received twice"),
        ("recipe: r.yaml\nscores: CIDEr\ncells: {a: {}}", "scores: 'CIDEr' received, a list"),
        ("recipe: r.yaml\nscores: [[]]\ncells: {a: {}}", "scores: [] received, text expected"),
        ("recipe: r.yaml\nlimit_seconds: 0\ncells: {a: {}}", "limit_seconds: 0 received, a number"),
        ("recipe: r.yaml\nsearches: [x]\ncells: {a: {}}", "searches: ['x'] received, a mapping"),
        ("recipe: r.yaml\nsearches: {x: {beam: 3}}\ncells: {a: {}}", "searches.x: beam: unknown"),
        (
            "recipe: r.yaml\nsearches: {x: {beam_size: 0}}\ncells: {a: {}}",
            "searches.x: beam_size: 0",
        ),
        ("recipe: r.yaml\nfeatures: f.h5\ncells: {a: {}}", "features: 'f.h5' received, a mapping"),
        ("recipe: r.yaml\nfeatures: {command: [x]}\ncells: {a: {}}", "features.store: nothing"),
        ("recipe: r.yaml\nfeatures: {stor: x}\ncells: {a: {}}", "features.stor: unknown entry"),
        (
            "recipe: r.yaml\nfeatures: {store: x, command: [x, --output=y]}\ncells: {a: {}}",
            "features.command: --output received, but features.store decides it",
        ),
        (
            "recipe: r.yaml\nevaluate: [cider]\ncells: {a: {}}",
            "evaluate: ['cider'] received, a map",
        ),
        (
            "recipe: r.yaml\nevaluate: {metric: [cider]}\ncells: {a: {}}",
            "evaluate.metric: unknown entry, one of ['metrics', 'clip', ",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: cider}\ncells: {a: {}}",
            "evaluate.metrics: 'cider' received, a list expected",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: [cider, cidre]}\ncells: {a: {}}",
            "evaluate.metrics: 'cidre' received, some of ",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: [cidre, clip_s], clip: c}\ncells: {a: {}}",
            "evaluate.metrics: 'cidre' received, some of ",
        ),
        (
            "recipe: r.yaml\nevaluate: {clip: c}\ncells: {a: {}}",
            "evaluate.metrics: none received, some of ",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: [cider, clip_s]}\ncells: {a: {}}",
            "evaluate.metrics: clip_s needs a CLIP",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: [grammar], clip: c}\ncells: {a: {}}",
            "evaluate.metrics: grammar needs a grammar judge",
        ),
        (
            "recipe: r.yaml\nevaluate: {metrics: [clip_s], clip: 3}\ncells: {a: {}}",
            "evaluate.clip: 3 received, text expected",
        ),
    ],
)
def test_broken_files_are_refused_by_name(write, run_cli, text, part):
    with pytest.raises(ValueError) as caught:
        write(text)
    message = str(caught.value)
    assert message.startswith("m.yaml: ") and part in message and "\n" not in message


def test_exit_codes(write, run_cli):
    with pytest.raises(ValueError):
        write("cells: {}")
    code, out, err = run_cli("bench", "matrix", "m.yaml")
    assert (code, out) == (2, "") and err.startswith("error: m.yaml: cells: none received")
    code, out, err = run_cli("bench", "matrix", "no.yaml")
    assert (code, out, err) == (1, "", "error: no.yaml: no such matrix\n")
    with pytest.raises(FileNotFoundError, match="no.yaml: no such recipe"):
        write("recipe: no.yaml\ncells: {a: {}}")
    Path("bad.yaml").write_text("loader: {batchsize: 3}")
    with pytest.raises(ValueError, match="m.yaml: bad.yaml: loader.batchsize: unknown setting"):
        write("recipe: bad.yaml\ncells: {a: {}}")
    code, out, err = run_cli("bench", "latency2")
    assert code == 2 and "latency2" in err
