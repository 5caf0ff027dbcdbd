from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stages.lib.cache.ledger import Ledger
from stages.lib.reranking.pair_scores import QueryDocument, through_ledger

PAIRS = [QueryDocument("q1", "d1"), QueryDocument("q1", "d2"), QueryDocument("q2", "d1"), QueryDocument("q1", "d1")]


def _plan(pairs: list[QueryDocument]) -> list[list[QueryDocument]]:
    return [pairs[:2], pairs[2:]]


def _ask(
    path: Path, pairs: list[QueryDocument], computed: list[list[QueryDocument]], fail_at: int = 99, model: str = "m"
) -> list[Any]:
    def compute(batches: list[list[QueryDocument]]) -> Generator[list[str], None, None]:
        for batch in batches:
            if len(computed) == fail_at:
                raise KeyboardInterrupt
            computed.append(batch)
            yield [f"{pair.query}/{pair.document}" for pair in batch]

    with closing(Ledger(path / "ledger.sqlite")) as ledger:
        return through_ledger(ledger, pairs, identity=[model], plan=_plan, compute=compute, progress=None)


def test_each_distinct_pair_is_computed_once_and_answers_keep_the_order(tmp_path: Path) -> None:
    computed: list[list[QueryDocument]] = []
    assert _ask(tmp_path, PAIRS, computed) == ["q1/d1", "q1/d2", "q2/d1", "q1/d1"]
    assert computed == [PAIRS[:2], [PAIRS[2]]]
    assert _ask(tmp_path, PAIRS[::-1], computed) == ["q1/d1", "q2/d1", "q1/d2", "q1/d1"]
    assert len(computed) == 2


def test_a_killed_run_resumes_at_the_batch_that_was_not_stored(tmp_path: Path) -> None:
    computed: list[list[QueryDocument]] = []
    with pytest.raises(KeyboardInterrupt):
        _ask(tmp_path, PAIRS, computed, fail_at=1)
    assert _ask(tmp_path, PAIRS, computed) == ["q1/d1", "q1/d2", "q2/d1", "q1/d1"]
    assert computed == [PAIRS[:2], [PAIRS[2]]]  # the first batch was not computed again


def test_a_batch_that_is_known_in_part_is_computed_whole_and_what_is_stored_stays(tmp_path: Path) -> None:
    computed: list[list[QueryDocument]] = []
    _ask(tmp_path, [QueryDocument("q1", "d1")], computed)
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        answers = through_ledger(
            ledger,
            PAIRS[:2],
            identity=["m"],
            plan=lambda pairs: [pairs],
            compute=lambda batches: ([f"new {pair.document}" for pair in batch] for batch in batches),
            progress=None,
        )
    assert answers == ["q1/d1", "new d2"]


def test_another_identity_is_another_answer(tmp_path: Path) -> None:
    computed: list[list[QueryDocument]] = []
    _ask(tmp_path, PAIRS, computed)
    _ask(tmp_path, PAIRS, computed, model="other")
    assert len(computed) == 4
