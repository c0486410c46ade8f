"""Long lists of large JSON files, one item at a time.

COCO's instances are 450 MB of text and several gigabytes as Python objects; read like this, only
one item and a block of text are in memory.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

BLOCK = 1 << 20  # bytes read at once
LONGEST = 1 << 26  # characters of one item
_BLANK = " \t\n\r"


def read_items(stream: BinaryIO, keys: Collection[str], name: str) -> Iterator[tuple[str, Any]]:
    """The items of some lists of a JSON object, in the file's order.

    Args:
        stream (BinaryIO): `{"key": [item, ...], ...}` in UTF-8; it is read to its end.
        keys (Collection[str]): the lists that are wanted.
        name (str): what the file is called in messages.

    Yields:
        tuple: the key, and an item of its list.

    Raises:
        ValueError: it is not such a file, or a list is missing; what came before was fine.
    """
    text = _Text(stream)
    seen: set[str] = set()
    try:
        for key in _members(text):
            if text.peek() != "[":
                text.value()
                continue
            seen.add(key)
            for item in _list(text):
                if key in keys:
                    yield key, item
        if text.peek():
            raise ValueError("something stands behind its end")
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are some
        raise ValueError(f"{name}: not a whole JSON file ({error})") from error
    if absent := [key for key in keys if key not in seen]:
        raise ValueError(f"{name}: no list {absent[0]!r} in it")


def _members(text: _Text) -> Iterator[str]:
    """Keys of an object; the caller reads the value of each before asking for the next."""
    text.expect("{")
    while True:
        key = text.value()
        if not isinstance(key, str):
            raise ValueError(f"{key!r} found, a key expected")
        text.expect(":")
        yield key
        if text.expect(",}") == "}":
            return


def _list(text: _Text) -> Iterator[Any]:
    text.expect("[")
    if text.peek() == "]":
        text.expect("]")
        return
    while True:
        yield text.value()
        if text.expect(",]") == "]":
            return


class _Text:
    """The part of a file that is being looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0

    def _fill(self, size: int = BLOCK) -> bool:
        """Read on; False at the end of the file."""
        block = self._stream.read(size)
        self._text = self._text[self._at :] + self._decoder.decode(block, final=not block)
        self._at = 0
        return bool(block)

    def peek(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANK:
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def expect(self, allowed: str) -> str:
        """Step over one of these characters."""
        found = self.peek()
        if not found or found not in allowed:
            raise ValueError(f"{found or 'the end'!r} found, one of {allowed!r} expected")
        self._at += 1
        return found

    def value(self) -> Any:
        """The next value, whatever its length."""
        self.peek()
        size = BLOCK
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                if end < len(self._text):  # or a number could go on behind it
                    self._at = end
                    return value
            except json.JSONDecodeError:
                if len(self._text) - self._at > LONGEST:
                    raise ValueError(f"an item of more than {LONGEST:,} characters") from None
                end = -1
            if not self._fill(size):
                if end < 0:
                    raise ValueError("it breaks off, or holds something that is not JSON")
                self._at = len(self._text)
                return value
            size *= 2
