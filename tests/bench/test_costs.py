"""The table of bench.costs and the text that it grows; the runs themselves take minutes."""

import json
from itertools import islice
from pathlib import Path

import pytest

from bench import costs
from bench.costs import START, Cost, exponent, table
from bench.grown_text import recombined, write_grown


def cost(scale: float, items: int, cpu_s: float, peak_mb: float) -> Cost:
    return Cost(stage="embed", scale=scale, items=items, wall_s=9.9, cpu_s=cpu_s, peak_mb=peak_mb)


def test_the_exponent_is_net_of_the_start() -> None:
    assert exponent([10, 100, 1000], [5 + 1, 5 + 100, 5 + 10_000], 5, 0.2) == pytest.approx(2)
    assert exponent([10, 100, 1000], [5.1, 5 + 100, 5 + 1000], 5, 0.2) == pytest.approx(1)  # 5.1: as the start
    assert exponent([10, 100, 1000], [5.1, 5.1, 5 + 1000], 5, 0.2) is None


def test_the_table_has_a_line_a_stage() -> None:
    runs = [cost(START, 12, 2, 250), cost(1, 1000, 2.1, 251), cost(10, 10_000, 3, 252), cost(100, 100_000, 12, 253)]
    head, _, line = table(runs).splitlines()
    assert head.count("|") == line.count("|")
    assert line == "| embed | 2.0, 250 | 2.1, 251 | 3.0, 252 | 12.0, 253 | 1.00 | flat |"


def test_grown_text_begins_with_what_is_real_and_repeats_no_document(tmp_path: Path) -> None:
    real, grown = tmp_path / "real.jsonl", tmp_path / "documents" / "grown.jsonl"
    pages = [" ".join(f"This is sentence {i} on the page number {page}." for i in range(9)) for page in range(20)]
    real.write_text("".join(json.dumps({"source": f"p{i}", "text": text}) + "\n" for i, text in enumerate(pages)))
    size = sum(map(len, pages))
    assert write_grown(real, grown, size / 2) == 1.0
    half = grown.read_text()
    assert real.read_text().startswith(half) and len(half) < len(real.read_text())
    assert write_grown(real, grown, 4 * size) == pytest.approx(1 / 4, rel=0.05)
    assert grown.read_text().startswith(real.read_text())
    texts = [json.loads(line)["text"] for line in grown.read_text().splitlines()]
    assert sum(map(len, texts)) >= 4 * size and len(set(texts)) == len(texts)
    sentences = {sentence for text in pages for sentence in text.split(". ")}
    assert {part.rstrip(".") for part in texts[-1].replace("\n\n", " ").split(". ")} <= {
        s.rstrip(".") for s in sentences
    }
    assert list(islice(recombined(pages), 3)) == list(islice(recombined(pages), 3))


def test_what_a_stage_needs_is_made_before_it() -> None:
    assert list(costs.COMMANDS) == list(costs.BEFORE)
    assert not costs.BEFORE["chunk"] and "vectors" in costs.BEFORE["near_pairs"]
