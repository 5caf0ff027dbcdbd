"""The tables of bench.scale and the text that it grows; the runs themselves take minutes."""

import json
from itertools import islice
from pathlib import Path

import pytest

from bench.answered_stages import made_answer
from bench.extrapolation import (
    DIVIDED,
    Growth,
    Target,
    duration,
    exponent,
    exponents_table,
    part_seconds,
    targets_table,
)
from bench.grown_text import recombined, write_grown
from bench.scale import TARGETS, merged, read_saved, rows
from bench.scale_picture import draw
from bench.stage_costs import BEFORE, COMMANDS, START, Cost, Stage
from stages.lib.core.records import write_csv
from stages.lib.llm.protocol import Prompt, Score, ScoreRequest


def cost(scale: float, items: int, cpu_s: float, peak_mb: float, parts: str = "", *, stage: Stage = "embed") -> Cost:
    return Cost(stage=stage, scale=scale, items=items, wall_s=9.9, cpu_s=cpu_s, peak_mb=peak_mb, parts=parts)


def quadratic() -> list[Cost]:
    """Two seconds of imports; embedding is a millisecond a chunk, the search a microsecond a pair; 2 kB a chunk."""
    return [
        cost(scale, n, 2 + n / 1e3 + n * n / 1e6, 100 + n / 500, f"imports 2, embed {n / 1e3}, search {n * n / 1e6}")
        for scale, n in ((START, 1), (1, 1000), (10, 10_000), (100, 100_000))
    ]


def test_the_exponent_is_net_of_the_start() -> None:
    assert exponent([10, 100, 1000], [5 + 1, 5 + 100, 5 + 10_000], 5, 0.2) == pytest.approx(2)
    assert exponent([10, 100, 1000], [5.1, 5 + 100, 5 + 1000], 5, 0.2) == pytest.approx(1)  # 5.1: as the start
    assert exponent([10, 100, 1000], [5.1, 5.1, 5 + 1000], 5, 0.2) is None


def test_parts_are_shares_of_the_cpu_seconds() -> None:
    told = part_seconds(cost(1, 1, 10, 1, "imports 5.0, retrieve and measure 10.0, draw 5.0"))
    assert told == {"retrieve and measure": 5, "draw": 2.5}
    assert part_seconds(cost(1, 1, 10, 1)) == part_seconds(cost(1, 1, 10, 1, "imports 3.0")) == {"all": 10}


def test_each_part_grows_by_its_own_exponent_and_workers_share_what_divides() -> None:
    growth = Growth(quadratic())
    n = 1e6
    assert growth.time_exponent is not None and 1 < growth.time_exponent < 2
    assert growth.seconds(n, 1) == pytest.approx(2 + n / 1e3 + n * n / 1e6, rel=0.02)
    assert DIVIDED["embed"] == {"embed"}  # the search is then one process's
    assert growth.seconds(n, 64) == pytest.approx(2 + n / 1e3 / 64 + n * n / 1e6, rel=0.02)
    assert growth.bytes_an_item == pytest.approx(2000)
    assert growth.memory_gb(n) == pytest.approx(2.1)


def test_the_tables_have_a_line_a_stage_and_mark_what_does_not_fit() -> None:
    growth = Growth(quadratic())
    head, _, line = exponents_table([growth]).splitlines()
    assert head.count("|") == line.count("|")
    assert line == "| embed | 2.0, 100 | 4.0, 102 | 112.0, 120 | 10102.0, 300 | 1.85 | 1.00 | 2,000 |"
    targets = [Target(name="a million", items={"embed": 1e6}), Target(name="ten million", items={"embed": 1e7})]
    head, _, small, large = targets_table([growth], targets).splitlines()
    assert head.count("|") == small.count("|") == large.count("|")
    assert "**" not in small and "**20.1 GB**" in large and "8.0 M" in small
    assert {stage for target in TARGETS for stage in target.items} == set(COMMANDS)


def test_durations_read_at_once() -> None:
    assert [duration(s) for s in (3, 119, 600, 3 * 3600, 4 * 86400)] == ["3 s", "119 s", "10.0 min", "3.0 h", "4.0 d"]


def test_what_is_saved_is_read_again_and_a_new_run_replaces_its_stage(tmp_path: Path) -> None:
    old = [*quadratic(), cost(1, 7, 1, 1, stage="chunk")]
    write_csv(tmp_path / "scale.csv", rows(old))
    kept = read_saved(tmp_path / "scale.csv")
    assert [(one.stage, one.scale, one.items) for one in kept] == [(one.stage, one.scale, one.items) for one in old]
    again = merged(kept, [cost(1, 8, 1, 1)])
    assert [(one.stage, one.items) for one in again] == [("chunk", 7), ("embed", 8)]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw([Growth(quadratic())], tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes()[:4] == b"\x89PNG"


def test_made_answers_tell_matched_items_from_others() -> None:
    def nats(text: str) -> float:
        made = made_answer(text, ScoreRequest(prompt=Prompt(text=text), choices=(" the rank of the update",)))
        assert isinstance(made, Score) and made.per_token is not None
        return made.per_token

    assert nats("r is the rank of the update") > -1.2 > -2 > nats("nothing here says so")


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
    assert list(COMMANDS) == list(BEFORE) and set(DIVIDED) == set(COMMANDS)
    assert not BEFORE["chunk"] and "grown_inputs vectors" in BEFORE["near_pairs"]
