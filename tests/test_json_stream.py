"""Long lists of JSON files, read one item at a time."""

from __future__ import annotations

import io
import json

import pytest

from captioning.datasets import json_stream


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_lists_are_read_item_by_item(monkeypatch, block):
    monkeypatch.setattr(json_stream, "BLOCK", block)
    record = {
        "info": {"a": [1, {}]},
        "images": [{"name": 'é]"}'}, [], 12, -3.5e2, "x", None],
        "skipped": [[1], 2],
        "annotations": [],
    }
    for text in (json.dumps(record), json.dumps(record, indent=2, ensure_ascii=False)):
        stream = io.BytesIO(b"\xef\xbb\xbf" + text.encode() + b"\n ")
        found = list(json_stream.read_items(stream, ("images", "annotations"), "x"))
        assert found == [("images", item) for item in record["images"]]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "7", '{"images"}', '{"images": [1, 2', '{"images": [1 2]}', "\xff"),
        *('{"images": [1]} x', '{"images": [tru]}', "{1: []}", '{"images": [1],}', '{"a": [1]}'),
    ],
)
def test_what_is_no_such_file_is_refused(text):
    with pytest.raises(ValueError, match="^x.json: (not a whole JSON file|no list 'images')"):
        list(json_stream.read_items(io.BytesIO(text.encode("latin-1")), ("images",), "x.json"))
