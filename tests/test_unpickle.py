"""Old pickles: what is read, and that nothing in them is ever run."""

from __future__ import annotations

import argparse
import collections
import os
import pickle
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from captioning.imports import unpickle
from captioning.imports.unpickle import Record, load_plain_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Vocabulary:
    """As the notebook course defines it: the whole object is pickled."""

    def __init__(self):
        self.word2idx, self.idx = {"<start>": 0, "<end>": 1, "café": 2}, 3


@pytest.fixture
def load(tmp_path):
    """What the bytes of a pickle hold."""

    def call(data):
        (tmp_path / "old.pkl").write_bytes(data)
        return load_plain_pickle(tmp_path / "old.pkl")

    return call


def infos():
    """What `infos_*.pkl` holds, with the kinds of numbers seen there."""
    return {
        "iter": 3000,
        "epoch": 2,
        "loader_state_dict": {"train": {"index_list": [3, 1, 2], "iter_counter": 7}},
        "vocab": {"1": "a", "2": "UNK"},
        "opt": argparse.Namespace(caption_model="updown", rnn_size=512, set_cfgs=[], cfg=None),
        "best_val_score": np.float64(1.0625),
        "more": (True, b"", 2**70, -0.5, {1}, frozenset([2]), np.int32(-7), np.float32(0.5)),
    }


# ---- what is read ----


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_infos_file_of_every_protocol(load, protocol):
    data = infos()
    if protocol < 4:  # sets are functions there, and bytes as well
        data["more"] = tuple(one for one in data["more"] if not isinstance(one, set | frozenset))
    if protocol < 3:
        data["more"] = tuple(one for one in data["more"] if one != b"")
    found = load(pickle.dumps(data, protocol))
    options = found.pop("opt")
    assert isinstance(options, Record) and type(options).__name__ == "Namespace"
    assert vars(options) == vars(data.pop("opt"))
    assert found == data
    assert type(found["best_val_score"]) is float


@pytest.mark.parametrize("module", ["vocabulary", "__main__"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_vocabulary_of_the_course(load, monkeypatch, module, protocol):
    monkeypatch.setattr(Vocabulary, "__module__", module)
    monkeypatch.setitem(sys.modules, module, sys.modules[__name__])
    found = load(pickle.dumps(Vocabulary(), protocol))
    assert type(found).__name__ == "Vocabulary"
    assert vars(found) == vars(Vocabulary())


def test_a_pickle_of_python_2(load):
    """Protocol 0 as Python 2.7 writes it: byte strings, unicode, an object, a number of numpy."""
    data = (
        b"(dp0\nS'vocab'\np1\n(dp2\nV1\np3\nVcaf\xe9\np4\nssS'opt'\np5\nccopy_reg\n"
        b"_reconstructor\np6\n(cargparse\nNamespace\np7\nc__builtin__\nobject\np8\nNtp9\nRp10\n"
        b"(dp11\nS'caption_model'\np12\nS'topdown'\np13\nsbsS'best_val_score'\np14\n"
        b"cnumpy.core.multiarray\nscalar\np15\n(cnumpy\ndtype\np16\n(S'f8'\np17\nI0\nI1\ntp18\n"
        b"Rp19\n(I3\nS'<'\np20\nNNNI-1\nI-1\nI0\ntp21\nbS'\\x00\\x00\\x00\\x00\\x00\\x00\\xf1?'\n"
        b"p22\ntp23\nRp24\nsS'iter'\np25\nI5\ns."
    )
    found = load(data)
    assert vars(found.pop("opt")) == {"caption_model": "topdown"}
    assert found == {"vocab": {"1": "café"}, "best_val_score": 1.0625, "iter": 5}


def test_an_ordered_dictionary_becomes_a_plain_one(load):
    found = load(pickle.dumps(collections.OrderedDict(b=1, a=2), 2))
    assert type(found) is dict and list(found.items()) == [("b", 1), ("a", 2)]


# ---- what is not ----


class Call:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.made_by = function, arguments

    def __reduce__(self):
        return self.made_by


def global_call(module, name, argument=b"N"):
    """Protocol 0: name a function, call it."""
    return f"c{module}\n{name}\n(".encode() + argument + b"tR."


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch ran",), f"{os.system.__module__}.system"),
        (eval, ("open('ran', 'w')",), ".eval"),
        (exec, ("open('ran', 'w')",), ".exec"),
        (open, ("ran", "w"), "open"),
        (subprocess.Popen, (["touch", "ran"],), ".Popen"),
        (getattr, (Call(__import__, "os"), "system"), ".getattr"),
        (torch.storage._load_from_bytes, (b"x",), "torch.storage._load_from_bytes"),
        (np.lib.npyio.NpzFile, ("x",), "NpzFile"),
        (bytearray, (10**12,), ".bytearray"),
        (collections.defaultdict, (list,), "collections.defaultdict"),
        (argparse.ArgumentParser, (), "argparse.ArgumentParser"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pickle_that_would_run_code_is_refused(
    load, tmp_path, monkeypatch, function, arguments, name, protocol
):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"vocab": {"1": "a"}, "opt": Call(function, *arguments)}, protocol)
    with pytest.raises(ValueError, match=r"old\.pkl: refused, it asks for \S+; only plain") as info:
        load(data)
    assert name in str(info.value) and "\n" not in str(info.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        global_call("posix", "system", b"S'touch ran'\n"),
        global_call("nt", "system"),
        global_call("__builtin__", "apply"),
        global_call("vocabulary", "Vocabulary.__init__.__globals__"),
        global_call("argparse", "_os.system", b"S'touch ran'\n"),
        global_call("captioning.imports.unpickle", "load_plain_pickle", b"S'x'\n"),
        global_call("copyreg", "add_extension"),
        b"(iposix\nsystem\n.",  # INST: name and call in one step
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x09touch ran\x85R.",
        b"\x80\x02cposix\nsystem\n)\x81.",  # NEWOBJ
        b"Pother object\n.",
        b"\x80\x02K\x01Q.",
    ],
)
def test_handwritten_attacks_are_refused(load, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"old\.pkl: refused, it (asks|refers) ") as info:
        load(data)
    assert "\n" not in str(info.value) and len(str(info.value)) < 400
    assert not (tmp_path / "ran").exists()


NAMESPACE = b"cargparse\nNamespace\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x01.",  # EXT1: a name by its number in a table of this process
        b"ccopy_reg\n_reconstructor\n(c_codecs\nencode\nc__builtin__\nobject\nNtR.",
        b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
        b"c_codecs\nencode\n(V" + b"a" * 99 + b"\nVlatin1\ntR.",
        b"ccollections\nOrderedDict\n((lp0\ntR.",
        NAMESPACE + b"(S'argument'\ntR.",
        NAMESPACE + b"}b0cposix_\n.",
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x09N.",  # a protocol of the future
        b"(lp0\ng7\n.",  # GET of what was never put
        b".",
        b"",
        b"no pickle at all",
        b"\x89PNG\r\n\x1a\n",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'O8'\ntRS'abcdefgh'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\ntRS'abc'\ntR.",
        b"I1\n\xff.",
        b"(}}s.",
        b"}}N\x73.",  # a dictionary as a key
        b"\x80\x02U\x05ab",
    ],
)
def test_odd_pickles_are_refused_in_one_sentence(load, data):
    with pytest.raises(ValueError, match=r"old\.pkl: (not a whole, plain pickle|refused)") as info:
        load(data)
    assert "\n" not in str(info.value) and len(str(info.value)) < 400


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_half_file_is_refused(load, protocol):
    data = infos()
    data["more"] = ()
    data = pickle.dumps(data, protocol)
    for length in range(0, len(data), 7):
        with pytest.raises(ValueError, match="not a whole, plain pickle"):
            load(data[:length])


def test_stand_ins_cannot_be_changed_for_the_next_file(load):
    """BUILD with a pair sets attributes, also on the class itself; the class is of one file."""
    data = NAMESPACE + b"(N(dS'poison'\nI1\nstb."  # Namespace.poison = 1
    assert load(data).poison == 1
    assert not hasattr(load(NAMESPACE + b")\x81."), "poison") and not hasattr(Record, "poison")


def test_functions_that_stand_in_cannot_be_changed_either(load):
    data = b"ccollections\nOrderedDict\n(N(dS'poison'\nI1\nstb."
    assert load(data).poison == 1
    assert not hasattr(unpickle._stand_ins()["collections.OrderedDict"], "poison")


def test_large_files_are_refused(tmp_path):
    path = tmp_path / "bomb.pkl"
    with open(path, "wb") as file:
        file.truncate(unpickle.MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"bomb\.pkl: 33,554,433 bytes found, at most 33,554,432"):
        load_plain_pickle(path)


def test_many_steps_are_refused_before_they_are_taken(load, monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_STEPS", 1000)
    assert load(b"(" + b"\x8f" * 900 + b"t.") == (set(),) * 900
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="more than 1,000 steps"):
        load(b"(" + b"\x8f" * 3_000_000 + b"t.")  # 600 MB of empty sets
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"Nr\xff\xff\xff\x7f.", "object number 2147483647 after 1 steps"),  # 32 GB
        (b"Np2147483647\n.", "object number 2147483647 after 1 steps"),
        (b"\x8e" + (2**40).to_bytes(8, "little") + b"x.", "the file ends within BINBYTES8"),
        (b"\x95" + (2**40).to_bytes(8, "little") + b"N.", "not a whole, plain pickle"),
    ],
)
def test_announced_sizes_are_not_believed(load, data, message):
    with pytest.raises(ValueError, match=message):
        load(data)


def test_nesting_does_not_overflow(load):
    found = load(b"]" * 50_000 + b"a" * 49_999 + b".")
    for _ in range(49_999):
        found = found[0]
    assert found == []


def test_a_zip_file_and_a_missing_one_are_named(load, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth: a zip file \(weights\?\) found"):
        load_plain_pickle(tmp_path / "weights.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such pickle"):
        load_plain_pickle(tmp_path / "none.pkl")


def test_nothing_in_the_table_is_python_s_own():
    known = unpickle._stand_ins()
    assert "argparse.Namespace" in known and "builtins.eval" not in known
    for name, stand_in in known.items():
        assert stand_in.__module__ == unpickle.__name__, name
