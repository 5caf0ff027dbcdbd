"""Exact offsets, full coverage and linear time, on seeded random texts and on texts made to break splitters."""

import random
import time
from itertools import pairwise
from typing import Any, cast

import pytest

from stages.lib.splitting.splitters import Splitter, best_boundary, split

SPLITTERS: list[Splitter] = ["chars", "recursive", "markdown"]
PIECES = [
    *("word ", "a", " ", "\n", "\n\n", ".", ". ", "End.\n", "x" * 37, "\t", "   ", " " * 60, "\n    \n"),
    *("e\u0301\u0301", "日本語。", "👩\u200d👩\u200d👧", "\u200d", "\u2028", "\x1c", "\0"),
    *("# H\n", "\n## Head two\n", "===\n", "---\n", "- item\n", "1. one\n"),
    *("```python\n", "```\n", "~~~~\n", "```inline```", "code_line()\n"),
]


def random_text(rng: random.Random) -> str:
    return "".join(rng.choice(PIECES) for _ in range(rng.randrange(300)))


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_spans_hold_every_visible_character_in_order(splitter: Splitter) -> None:
    rng = random.Random(7)
    for _ in range(600):
        text, chunk_chars = random_text(rng), rng.choice([20, 21, 33, 60, 100, 250])
        spans = list(split(text, splitter, chunk_chars, rng.choice([0.0, 0.1, 0.35, 0.5])))
        covered, before = 0, -1
        for start, end in spans:
            chunk = text[start:end]
            assert 0 < len(chunk) <= chunk_chars
            assert chunk == chunk.strip()
            assert start > before
            assert end > covered
            assert not text[covered:start].strip()
            covered, before = end, start
        assert not text[covered:].strip()


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5])
def test_neighbours_share_about_the_asked_fraction(splitter: Splitter, fraction: float) -> None:
    rng = random.Random(3)
    words = ["lorem", "ipsum,", "dolor", "sit.", "Amet", "consectetur!"]
    text = " ".join(rng.choice(words) for _ in range(4000))
    spans = list(split(text, splitter, 400, fraction))
    overlaps = [a.end - b.start for a, b in pairwise(spans)]
    asked = int(400 * fraction)
    if not asked:
        assert all(overlap == -1 for overlap in overlaps if splitter != "chars")  # the space between the two
        assert all(overlap <= 0 for overlap in overlaps)
    else:
        assert all(0.4 * asked <= overlap <= 1.6 * asked for overlap in overlaps)
        assert 0.8 * asked <= sum(overlaps) / len(overlaps) <= 1.2 * asked


def test_a_text_within_the_limit_is_one_chunk_without_the_white_space_around_it() -> None:
    for splitter in SPLITTERS:
        assert list(split("\n  one chunk. \n", splitter, 20, 0.1)) == [(3, 13)]
        assert list(split("", splitter, 20, 0.1)) == []
        assert list(split(" \n\t", splitter, 20, 0.1)) == []


@pytest.mark.parametrize(
    ("text", "chunk"),
    [
        ("First paragraph here.\n\nSecond one. It goes on and on and on.", "First paragraph here."),
        ("A first sentence here. A second one\nover two lines that go on.", "A first sentence here."),
        ("A line here without a stop\nand another one that goes on and on", "A line here without a stop"),
        ("several words and then more words and yet more words", "several words and then more words and"),
        ("- one item. of a list\n- and another. item of it, with more", "- one item. of a list"),
        ("これは文です。これも文です。そしてもう一つの文がここにあります。ここまでです。おわり。", None),
    ],
)
def test_the_strongest_boundary_in_reach_wins(text: str, chunk: str | None) -> None:
    start, end = next(split(text, "recursive", 40, 0.0))
    if chunk is None:
        assert text[end - 1] == "。"
    else:
        assert text[start:end] == chunk


def test_of_the_strongest_kind_the_nearest_is_chosen_and_both_ends_count() -> None:
    text = "aa. bb. cc. dd"
    assert best_boundary(text, 0, len(text), len(text)) == 11
    assert best_boundary(text, 0, len(text), 6) == 7
    assert best_boundary(text, 3, 6, 6) == 3
    assert best_boundary(text, 4, 7, 4) == 7
    assert best_boundary("e.g. this", 0, 9, 9) == 4  # no sentence ends there, but a word does


def test_accents_and_emoji_sequences_are_not_torn_apart() -> None:
    text = "e\u0301" * 50
    assert all(end % 2 == 0 for _, end in split(text, "recursive", 25, 0.0))
    family = "👩\u200d👩\u200d👧"
    assert all(text[:1] == "👩" for text in ((family * 30)[a:b] for a, b in split(family * 30, "recursive", 22, 0.0)))


def test_the_last_chunk_is_no_scrap() -> None:
    for extra in range(1, 120):
        text = ("word " * 200)[: 400 + extra].rstrip()
        spans = list(split(text, "recursive", 400, 0.1))
        assert spans[-1].end == len(text)
        if len(spans) > 1:
            assert spans[-1].end - spans[-1].start >= 100


HOSTILE = {
    "prose": "The quick brown fox jumps over it. ",
    "no space": "abcdefghij",
    "one line of dots": ".",
    "paragraphs": "word\n\n",
    "new lines": "\n",
    "spaces": " ",
    "wide gaps": " " * 3000 + "x",
    "backticks": "`",
    "fences": "```\n",
    "underlines": "=\n",
    "headings": "# a\n",
    "unclosed fences": "``` `\n~~~x\n",
}


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_time_is_linear_in_the_length_of_the_text(splitter: Splitter, kind: str) -> None:
    def seconds(size: int) -> float:
        text = HOSTILE[kind] * (size // len(HOSTILE[kind]))
        start = time.process_time()
        for _ in split(text, splitter, 700, 0.1):
            pass
        return time.process_time() - start

    # Quadratic time would take 64 times as long; the constant is for the noise of short runs.
    assert seconds(800_000) < 24 * seconds(100_000) + 0.5


def test_a_splitter_that_nothing_here_knows_is_not_taken_for_markdown() -> None:
    with pytest.raises(AssertionError, match="by_sentence"):
        list(split("# Head\n\ntext", cast(Any, "by_sentence"), 100, 0.0))
