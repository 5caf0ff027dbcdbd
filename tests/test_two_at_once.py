"""Two experiments at once share what was paid for: each ends as if it had been alone."""

import shutil
import sqlite3
from pathlib import Path

from tests.test_qa_kill import CHUNKS, SlowServer, kept_answers, project, server, start
from tests.test_qa_kill import outputs as questions

__all__ = ["project", "server"]  # fixtures


def test_two_that_ask_the_same_keep_each_answer_once(project: Path, server: SlowServer) -> None:
    places = [project.with_name(name) for name in ("first", "second")]
    for place in places:
        shutil.copytree(project, place)
    alone = start(project, server, "alone", "stages.qa", "slow")
    assert alone.wait() == 0
    asked = len(server.answered)
    shared = str(project.parent / "shared")  # absolute: the same for both
    both = [start(place, server, shared, "stages.qa", "slow") for place in places]
    errors = [process.communicate()[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert questions(places[0]) == questions(places[1]) == questions(project)
    assert kept_answers(project, shared) == CHUNKS
    assert CHUNKS <= len(server.answered) - asked <= 2 * CHUNKS
    third = start(project, server, shared, "stages.qa", "slow")
    before = len(server.answered)
    assert third.wait() == 0 and len(server.answered) == before
    with sqlite3.connect(Path(shared) / "llm/ledger.sqlite") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
