"""Splits: tails at boundaries, shares that are kept however the documents are, and when auto takes which."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pytest
import regex

from stages.lib.shards.splitting import (
    LEAST_PART,
    ByTokens,
    Part,
    make_splitting,
    split_of,
    tail_start,
    why_not_by_documents,
)

SPEECH = "First Citizen:\nBefore we proceed any further, hear me speak.\nSpeak, speak.\n\n"
CHINESE = "大家好，这是一个没有换行的长文本。" * 200


def parts_of(texts: Iterable[str], fraction: float, whole: bool = False) -> list[list[Part]]:
    splitting = ByTokens(fraction)
    return [splitting.parts(text, hashlib.sha256(text.encode()).digest(), whole) for text in texts]


def characters(documents: list[list[Part]], name: str) -> int:
    return sum(len(text) for parts in documents for split, text in parts if split == name)


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        (SPEECH * 100, "speak.\n\n", "First"),  # between speeches
        ("A line of a log, without an end\n" * 100, "end\n", "A line"),
        ("One sentence. " * 300, "sentence.", " One"),  # the blank belongs to the word behind it
        ("words " * 500, "words", " words"),
        (CHINESE, "文本。", "大家好"),
        ("x" * 3000, "x", "x"),
        ("e\u0301" * 1500, "\u0301", "e"),  # letters with their accents apart
        ("👩‍👩‍👧‍👦" * 500, "👦", "👩"),
        ("    if a:\n        b()\n" * 150, "\n", "    "),  # indentation stays whole
    ],
)
def test_a_tail_begins_at_the_best_boundary_near_its_place(text: str, before: str, after: str) -> None:
    for fraction in (0.05, 0.1, 0.3, 0.5):
        tail = fraction * len(text)
        cut = tail_start(text, tail)
        assert text[:cut].endswith(before) and text[cut:].startswith(after), text[cut - 20 : cut + 20]
        assert abs(len(text) - cut - tail) <= tail / 4 + 12
        clusters = regex.findall(r"\X", text[:cut]) + regex.findall(r"\X", text[cut:])
        assert clusters == regex.findall(r"\X", text)


@pytest.mark.parametrize("text", [" " * 500 + "ab" + "\n" * 500, "a" + "\n" * 999 + "b", "\n" * 998 + "ab"])
def test_both_parts_have_something_to_see(text: str) -> None:
    for tail in (1, 100, 500, 999):
        cut = tail_start(text, tail)
        assert text[:cut].strip() and text[cut:].strip()


def test_a_document_is_its_two_parts() -> None:
    for text in (SPEECH * 50, CHINESE, "word " * 400):
        ((head, tail),) = parts_of([text], 0.1)
        assert (head[0], tail[0]) == ("train", "val")
        assert head[1] + tail[1] == text


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5])
def test_the_share_is_kept_over_documents_of_any_length(fraction: float) -> None:
    rng = np.random.default_rng(0)
    for lengths in (
        [200_000],
        [500_000, 3_000, 40, 100_000, 900],
        [1_000_000, *rng.integers(50, 3000, 29).tolist()],  # one has 95% of the text
        rng.integers(50, 400, 400).tolist(),  # few are cut, or none
        rng.integers(1_000, 60_000, 30).tolist(),
    ):
        documents = parts_of([(SPEECH * (n // len(SPEECH) + 1))[:n] for n in lengths], fraction)
        total = sum(lengths)
        assert characters(documents, "train") + characters(documents, "val") == total
        assert characters(documents, "val") / total == pytest.approx(fraction, abs=0.012)


def test_what_boundaries_take_from_validation_later_documents_give_back() -> None:
    text = "x" * 1_380 + " " + "x" * 119  # the only boundary is 30 characters behind the place wanted
    documents = parts_of([text] * 40, 0.1)
    assert {len(parts[1][1]) for parts in documents} > {120}
    assert characters(documents, "val") == pytest.approx(40 * 150, abs=40)


def test_examples_and_short_texts_stay_whole() -> None:
    examples = [f"What is {i}?\n\nIt is {i}. " + "And more. " * 300 for i in range(30)]
    documents = parts_of(examples, 0.1, whole=True)
    assert [len(parts) for parts in documents] == [1] * 30
    assert [parts[0][0] for parts in documents].count("val") == 3
    assert all(len(parts) == 1 for parts in parts_of(["word " * 30] * 20, 0.5))
    assert len(parts_of(["x" * (2 * LEAST_PART)], 0.5)[0]) == 2
    assert len(parts_of(["x" * (2 * LEAST_PART - 1)], 0.5)[0]) == 1
    assert len(parts_of(["x" * 3000], 0.99)[0]) == 1  # the side for training would have 30 characters


def test_by_documents_is_the_hash_of_the_text() -> None:
    splitting = make_splitting("documents", 0.3)
    for i in range(50):
        key = hashlib.sha256(str(i).encode()).digest()
        assert splitting.parts(SPEECH, key, whole=False) == [(split_of(key, 0.3), SPEECH)]


@pytest.mark.parametrize(
    ("documents", "tokens", "share", "reason"),
    [
        ((90, 10), (900, 100), 0.1, ""),
        ((90, 10), (951, 49), 0.1, "10 of 100 documents would be for validation, with 4.90% of the tokens"),
        ((90, 10), (949, 51), 0.1, ""),
        ((90, 10), (799, 201), 0.1, "with 20.10% of the tokens where val_fraction is 10.00%"),
        ((91, 9), (900, 100), 0.1, "9 of 100 documents would be for validation, 10 are needed"),
        ((1, 0), (100, 0), 0.1, "0 of 1 documents"),
        ((0, 30), (0, 100), 0.9, "none for training"),
    ],
)
def test_when_auto_does_not_split_by_documents(
    documents: tuple[int, int], tokens: tuple[int, int], share: float, reason: str
) -> None:
    found = why_not_by_documents(
        {"train": documents[0], "val": documents[1]}, {"train": tokens[0], "val": tokens[1]}, share
    )
    assert (found == "") == (reason == "")
    assert reason in found
