"""N-grams as numbers, and the table of document frequencies: counting, looking up, files."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import PEOPLE, VOCABULARY, captions, framed, ids_of, pack, people_as_ids
from safetensors.torch import save_file

from captioning.evaluation.ngrams import MAX_ORDER, DocumentFrequency, count_ngrams
from captioning.rewards.frequency import NgramFrequency
from captioning.rewards.ngrams import (
    check_num_words,
    finished_tokens,
    order_of,
    pack_ngrams,
    sorted_ngrams,
)
from captioning.rewards.references import PackedReferences
from vocabulary import END_IDX, PAD_IDX, Vocabulary


def pack_by_hand(ngram: tuple[int, ...]) -> int:
    """The same number with Python's endless integers, as two's complement of 64 bits."""
    number = sum(word << 16 * place for place, word in enumerate(reversed(ngram)))
    return number - (1 << 64) if number >= 1 << 63 else number


def unpacked(table: NgramFrequency) -> dict[tuple[int, ...], int]:
    """n-gram -> pictures, read off the packed numbers one by one."""
    counts = {}
    for key, order, count in zip(
        table.keys.tolist(), order_of(table.keys).tolist(), table.counts.tolist(), strict=True
    ):
        places = reversed(range(order + 1))
        counts[tuple(key >> 16 * place & 0xFFFF for place in places)] = int(count)
    return counts


# ---- n-grams ----


@given(st.lists(st.lists(st.integers(1, 65_535), max_size=6), min_size=1, max_size=3))
def test_packing_is_exact_for_all_ids(rows):
    width = max(1, *map(len, rows)) if len(rows) > 1 else max(1, len(rows[0]))
    tokens = torch.tensor([row + [PAD_IDX] * (width - len(row)) for row in rows])
    packed = pack_ngrams(tokens)
    for row, keys in zip(rows, packed.tolist(), strict=True):
        for order, found in enumerate(keys, 1):
            expected = [pack_by_hand(tuple(row[i : i + order])) for i in range(len(row))]
            expected = expected[: max(0, len(row) - order + 1)]
            assert [key for key in found if key] == expected
            assert found[: order - 1] == [0] * min(order - 1, width)


def test_orders_never_meet_and_large_ids_make_negative_numbers():
    tokens = torch.tensor([[40_000, 1, 2, 3, 65_535]])
    keys = pack_ngrams(tokens)[0]
    assert keys[3, 3] < 0 < keys[3, 4]
    there = keys[keys != 0]
    assert len(there.unique()) == len(there) == 5 + 4 + 3 + 2
    assert order_of(keys)[keys != 0].tolist() == [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2


def test_a_separator_keeps_captions_apart():
    keys = pack_ngrams(torch.tensor([5, 6, PAD_IDX, 7, 8]))
    assert keys[1].tolist() == [0, pack_by_hand((5, 6)), 0, 0, pack_by_hand((7, 8))]
    assert not keys[2:].any()


def test_captions_end_at_their_end():
    tokens = torch.tensor(
        [[5, END_IDX, 6, 0], [5, 6, 7, 8], [5, 0, 6, END_IDX], [END_IDX, 0, 0, 5]]
    )
    counted = [[5, END_IDX, 0, 0], [5, 6, 7, 8], [5, 0, 0, 0], [END_IDX, 0, 0, 0]]
    assert finished_tokens(tokens, count_end=True).tolist() == counted
    dropped = [[5, 0, 0, 0], [5, 6, 7, 8], [5, 0, 0, 0], [0, 0, 0, 0]]
    assert finished_tokens(tokens, count_end=False).tolist() == dropped
    assert finished_tokens(tokens.int(), count_end=True).dtype == torch.int64


@given(st.lists(captions, min_size=1, max_size=3))
def test_sorted_ngrams_are_counted(some):
    width = max(map(len, some)) + 2
    tokens = torch.tensor([[*c, END_IDX] + [PAD_IDX] * (width - 1 - len(c)) for c in some])
    ngrams, times = sorted_ngrams(tokens)
    assert ngrams.shape == times.shape == (len(some), MAX_ORDER, width)
    for caption, keys, numbers in zip(some, ngrams.tolist(), times.tolist(), strict=True):
        for order, counts in enumerate(count_ngrams([*caption, END_IDX])):
            found = [(key, n) for key, n in zip(keys[order], numbers[order], strict=True) if key]
            expected = [(pack_by_hand(ngram), n) for ngram, n in counts.items() for _ in range(n)]
            assert sorted(found) == sorted(expected)


def test_too_many_words_are_refused():
    check_num_words(65_536)
    with pytest.raises(ValueError, match="65537 words received, at most 65536 expected"):
        check_num_words(65_537)
    large = Vocabulary([f"w{i}" for i in range(65_536)])
    for make in (PackedReferences, lambda _, *others: NgramFrequency.build(*others, "large")):
        with pytest.raises(ValueError, match="raise min_count"):
            make([1], [[framed([4])]], large)


# ---- counting ----


@pytest.mark.parametrize("count_end", [True, False])
def test_the_table_holds_what_the_readable_one_holds(count_end):
    people = people_as_ids()
    references, table = pack(people, count_end)
    readable = DocumentFrequency.from_references(people, END_IDX if count_end else None)
    assert unpacked(table) == readable.counts and len(table) > 5
    assert table.num_documents == 3 and table.corpus == "people"
    ended = {END_IDX for ngram in unpacked(table) if END_IDX in ngram}
    assert ended == ({END_IDX} if count_end else set())
    shared = NgramFrequency.of_references(references, "people")
    assert torch.equal(shared.keys, table.keys) and torch.equal(shared.counts, table.counts)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(captions, max_size=3), min_size=1, max_size=4), st.booleans())
def test_counting_agrees_with_the_readable_table(pictures, count_end):
    people = {i: some for i, some in enumerate(pictures) if some}  # others are no documents
    encoded = [[framed(caption) for caption in some] for some in pictures]
    if not people:
        with pytest.raises(ValueError, match="captions: none received"):
            NgramFrequency.build(encoded, VOCABULARY, "c", count_end)
        return
    table = NgramFrequency.build(encoded, VOCABULARY, "c", count_end)
    readable = DocumentFrequency.from_references(people, END_IDX if count_end else None)
    assert unpacked(table) == readable.counts
    assert table.num_documents == readable.num_documents == len(people)


def test_ids_beyond_32767_are_sorted_and_found():
    vocabulary = Vocabulary([f"w{i}" for i in range(50_000)])
    caption = [49_999, 4, 32_768, 32_767, 50_003, 40_000, 5]
    encoded = [[framed(caption)], [framed(caption)], [framed([5, 4, 40_000])]]
    references = PackedReferences([1, 2, 3], encoded, vocabulary)
    table = NgramFrequency.build(encoded, vocabulary, "large")
    assert table.keys[0] < 0 and (table.keys.diff() > 0).all()
    expected = DocumentFrequency.from_references(
        {i: [some[0][1:]] for i, some in enumerate(encoded)}
    )
    assert unpacked(table) == expected.counts
    keys = pack_ngrams(torch.tensor([[*caption, END_IDX]]))
    there = keys != 0
    assert (table.documents(keys)[there] >= 2).all()
    rows = references.rows([2, 3])
    found = references.find(rows, keys.expand(2, -1, -1).contiguous())
    assert (references.keys[found[0]] == keys[0])[there[0]].all()
    missing = len(references.keys) - 1
    in_both = {(5,), (4,), (40_000,), (END_IDX,)}
    assert (found[1] != missing).sum() == len(in_both)


def test_looking_up_gives_one_for_the_unseen_and_stores_nothing():
    _, table = pack(people_as_ids(), True)
    before = table.keys.clone(), table.counts.clone()
    keys = pack_ngrams(torch.tensor([ids_of("a ball and and and")]))
    documents = table.documents(keys)
    assert documents.shape == (1, 4, 5) and documents[0, 0, :2].tolist() == [3, 2]
    assert (documents[0, 1:] == 1).all()
    assert torch.equal(table.keys, before[0]) and torch.equal(table.counts, before[1])
    empty = NgramFrequency.build([[framed([4])]], VOCABULARY, "one picture")
    assert len(empty) == 0 and (empty.documents(keys) == 1).all()


def test_what_every_picture_has_weighs_exactly_nothing():
    """Also where the logarithms of Python and of torch differ in the last digit."""
    _, table = pack(people_as_ids(), True)
    for table.num_documents in (1, 7, 9170, 113_287, 136_837):
        documents = torch.tensor([float(table.num_documents), 1.0] * 9)
        idf = table.idf(documents)
        assert (idf[::2] == 0).all()
        torch.testing.assert_close(idf[1].item(), math.log(table.num_documents))


# ---- files ----


def test_a_table_survives_a_file(tmp_path):
    for count_end in (True, False):
        _, table = pack(people_as_ids(), count_end)
        table.save(tmp_path / "df.safetensors")
        loaded = NgramFrequency.load(tmp_path / "df.safetensors", VOCABULARY)
        assert torch.equal(loaded.keys, table.keys) and torch.equal(loaded.counts, table.counts)
        for name in ("num_documents", "count_end", "vocabulary_hash", "corpus"):
            assert getattr(loaded, name) == getattr(table, name)
    assert [path.name for path in tmp_path.iterdir()] == ["df.safetensors"]


def test_a_table_of_another_vocabulary_is_refused(tmp_path):
    references, table = pack(people_as_ids(), True)
    table.save(tmp_path / "df.safetensors")
    other = Vocabulary([*VOCABULARY.words[5:], VOCABULARY.words[4]])  # as many, in another order
    with pytest.raises(ValueError) as error:
        NgramFrequency.load(tmp_path / "df.safetensors", other)
    message = str(error.value)
    assert "df.safetensors" in message and "\n" not in message
    assert VOCABULARY.content_hash in message and other.content_hash in message


def test_damaged_files_are_named(tmp_path):
    _, table = pack(people_as_ids(), True)
    path = tmp_path / "df.safetensors"
    table.save(path)
    whole = path.read_bytes()
    tensors = {"keys": table.keys, "counts": table.counts}
    metadata = {
        "format": "1",
        "num_documents": "3",
        "count_end": "yes",
        "vocabulary_hash": table.vocabulary_hash,
        "corpus": "people",
    }

    def write(changed: dict, **entries: str) -> None:
        save_file(tensors | changed, path, metadata | entries)

    damages = [
        lambda: path.write_bytes(whole[:-9]),
        lambda: path.write_bytes(b""),
        lambda: path.write_text("{}"),
        lambda: save_file(tensors, path),
        lambda: save_file({"keys": table.keys}, path, metadata),
        lambda: write({}, format="2"),
        lambda: write({}, num_documents="many"),
        lambda: write({}, num_documents="0"),
        lambda: write({}, count_end="perhaps"),
        lambda: write({"keys": table.keys.flip(0)}),
        lambda: write({"keys": table.keys[1:].clone()}),
        lambda: write({"keys": table.keys.int()}),
        lambda: write({"counts": table.counts * 0}),
        lambda: write({"counts": table.counts + 3}),
        lambda: write({"counts": table.counts * float("nan")}),
    ]
    for damage in damages:
        damage()
        with pytest.raises(ValueError, match="df.safetensors: not a complete table") as error:
            NgramFrequency.load(path, VOCABULARY)
        assert "\n" not in str(error.value)
    write({})
    assert len(NgramFrequency.load(path, VOCABULARY)) == len(table)
    with pytest.raises(FileNotFoundError, match="none.safetensors does not exist"):
        NgramFrequency.load(tmp_path / "none.safetensors", VOCABULARY)


def test_the_table_in_words():
    people = {i: [text.split() for text in texts] for i, texts in PEOPLE.items()}
    _, table = pack(people_as_ids(), True)
    words = table.to_words(VOCABULARY)
    expected = DocumentFrequency.from_references(people, "<end>")
    assert (words.counts, words.num_documents) == (expected.counts, expected.num_documents)
    assert words.end_token == "<end>"
    assert words.known("a dog barks".split()) == ["a", "dog", "<unk>"]
    assert pack(people_as_ids(), False)[1].to_words(VOCABULARY).end_token is None
    with pytest.raises(ValueError, match="count them again"):
        table.to_words(Vocabulary(["a"]))
