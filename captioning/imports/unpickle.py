"""Old pickles, read without running what is in them.

A pickle is a small program: it may name any function of Python and have it called. This reader
knows a handful of names, answers each with a harmless stand-in, and refuses every other one before
anything is imported. What comes out are numbers, text, lists, dictionaries and `Record`s.

Source: Python documentation, "pickle", section "Restricting Globals"; the names are those that
occur in the released checkpoints (`vocab.pkl` of the notebook course, `infos_*.pkl` of
ImageCaptioning.pytorch, written by Python 2 and 3, protocols 0 to 5).
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_BYTES = 32 * 2**20  # the files of COCO have one to three million
MAX_STEPS = 4_000_000  # an empty set is one byte in a pickle and two hundred in memory
ALLOWED = "plain containers, argparse.Namespace and the course's Vocabulary"
# numpy's names of numbers -> those of `struct`
NUMBERS = {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "b1": "?"}
NUMBERS |= {"u8": "Q", "u4": "I", "u2": "H", "u1": "B"}
STEPS = {step.code.encode("latin1"): step for step in pickletools.opcodes}
# How `pickletools` says that the size of an argument comes before it -> bytes of that size
PREFIXES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


class Record:
    """The attributes of a pickled object, without its class: `vars(record)` gives them."""


class _RefusedError(Exception):
    """The pickle asks for something that is not given."""


def _stand_ins() -> dict[str, Any]:
    """What is given for each name that may occur.

    All of it is made anew for every file: a pickle can set attributes of what it is given.
    """
    records = {name: type(name, (Record,), {}) for name in ("Namespace", "Vocabulary")}
    base = type("object", (), {})  # Python 2 names it as what every object derives from

    class NumberType:
        """Stands for `numpy.dtype`: how the bytes of one number are read."""

        def __init__(self, name: str, *_: Any) -> None:
            self.name, self.order = name, "<"

        def __setstate__(self, state: tuple) -> None:
            self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    def number(kind: NumberType, raw: bytes | str) -> int | float | bool:
        """Stands for numpy's `scalar`; Python 2 wrote the bytes as latin-1 text."""
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        return struct.unpack(kind.order + NUMBERS[kind.name], raw)[0]

    def number_bytes(text: str, encoding: str) -> bytes:
        """Stands for `_codecs.encode`: how Python 3 writes such bytes for Python 2."""
        if encoding not in ("latin1", "latin-1") or len(text) > 16:
            raise pickle.UnpicklingError("bytes of something other than one number")
        return text.encode("latin1")

    def ordered() -> dict:
        """Stands for `collections.OrderedDict`; the entries follow one by one."""
        return {}

    def empty(kind: type, parent: type, state: None) -> Record:
        """Stands for `copyreg._reconstructor`: Python 2's way to an object."""
        if kind not in records.values() or parent is not base or state is not None:
            raise pickle.UnpicklingError("an object of an unknown kind")
        return kind()

    return {
        "argparse.Namespace": records["Namespace"],
        "vocabulary.Vocabulary": records["Vocabulary"],
        "__main__.Vocabulary": records["Vocabulary"],
        "collections.OrderedDict": ordered,
        "numpy.dtype": NumberType,
        "numpy.core.multiarray.scalar": number,
        "numpy._core.multiarray.scalar": number,
        "_codecs.encode": number_bytes,
        "copy_reg._reconstructor": empty,
        "copyreg._reconstructor": empty,
        "__builtin__.object": base,
        "builtins.object": base,
    }


class _PlainUnpickler(pickle.Unpickler):
    """Knows the names of `_stand_ins` and no other; nothing outlives the file."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self.known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; nothing is ever imported."""
        asked = f"{module}.{name}"
        if asked not in self.known:
            shown = " ".join(asked.split())[:100]
            raise _RefusedError(f"refused, it asks for {shown}; only {ALLOWED} are read")
        return self.known[asked]

    def persistent_load(self, key: Any) -> Any:
        """References to objects outside the file lead nowhere."""
        raise _RefusedError("refused, it refers to an object outside the file")


def load_plain_pickle(path: str | Path) -> Any:
    """What a pickle of plain containers holds.

    Args:
        path (str | Path): a file written by Python 2 or 3, any protocol; at most 32 MiB.

    Returns:
        Any: numbers, text (Python 2's byte strings as latin-1), containers of these, and a
            `Record` for each `argparse.Namespace` and each `Vocabulary`; `type(record).__name__`
            tells which.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is too large, damaged, no pickle, or names anything else: a pickle
            that would run code is refused before it does. The message names the file and what it
            asked for.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such pickle")
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path}: a zip file (weights?) found, a plain pickle expected")
    if len(data) > MAX_BYTES:
        size = f"{path.stat().st_size:,} bytes found, at most {MAX_BYTES:,} expected"
        raise ValueError(f"{path}: {size} of a vocabulary or infos file")
    try:
        _check_steps(data)
        return _PlainUnpickler(io.BytesIO(data)).load()
    except _RefusedError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can make the unpickler raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path}: not a whole, plain pickle ({reason})") from error


def _check_steps(data: bytes) -> None:
    """Read the program without executing it: it must end, and must not waste memory.

    A pickle numbers the objects it will need again; one that says "number two billion" would make
    the unpickler reserve a table of that size, and one that announces a terabyte of text, that.

    Raises:
        ValueError, pickle.UnpicklingError: it does not end, is too long, or numbers wildly.
    """
    for count, (name, argument) in enumerate(_steps(data)):
        if count > MAX_STEPS:
            raise pickle.UnpicklingError(f"more than {MAX_STEPS:,} steps")
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            number = int(argument) if name == "PUT" else int.from_bytes(argument, "little")
            if number > count:
                raise pickle.UnpicklingError(f"object number {number} after {count} steps")


def _steps(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and argument of every step up to the last.

    `pickletools.genops` does the same but stumbles over the byte strings of Python 2.
    """
    place, name = 0, ""
    while name != "STOP":
        step = STEPS.get(data[place : place + 1])
        if step is None:
            raise pickle.UnpicklingError(f"byte {place} is no step, or the file ends there")
        name, size, place = step.name, step.arg.n if step.arg else 0, place + 1
        if size in PREFIXES:  # the size comes first
            prefix = data[place : place + PREFIXES[size]]
            place, size = place + len(prefix), int.from_bytes(prefix, "little")
        elif size < 0:  # lines
            end = place
            for _ in range(2 if name in ("GLOBAL", "INST") else 1):
                end = data.find(b"\n", end) + 1 or len(data) + 1
            size = end - place
        if place + size > len(data):
            raise pickle.UnpicklingError(f"the file ends within {name}")
        yield name, data[place : place + size]
        place += size
