"""Which stages are behind what stands there now, by what DVC says."""

from pathlib import Path

import pytest

from stages.lib.commands.earlier_runs import behind_stages, earlier_files
from stages.lib.commands.results import table
from tests.lib.commands.test_results import write

LOCKED = {
    "chunk": {"outs": [{"path": "data/chunks/chunks.jsonl"}, {"path": "metrics/chunk.json"}]},
    "judge@a-b": {"deps": [{"path": "data/chunks"}], "outs": [{"path": "data/judgments/a_b.jsonl"}]},
    "select": {"deps": [{"path": "data/judgments"}], "outs": [{"path": "metrics/select.json"}]},
    "shard": {"deps": [{"path": "stages/shard.py"}], "outs": [{"path": "metrics/shard.json"}]},
}


@pytest.mark.parametrize(
    ("status", "behind"),
    [
        ({}, set()),
        ({"select": [{"changed deps": {"data/judgments": "modified"}}]}, {"select"}),
        ({"judge@a-b": [{"changed deps": {"params.yaml": {"judge.seed": "modified"}}}]}, {"judge@a-b", "select"}),
        ({"chunk": ["changed command"]}, {"chunk", "judge@a-b", "select"}),
        ({"chunk": [{"changed deps": {"documents": "new"}}]}, {"chunk", "judge@a-b", "select"}),
        ({"select": [{"changed deps": {"data/judgments": "deleted"}}, {"changed outs": {"x": "not in cache"}}]}, set()),
        ({"shard": [{"changed outs": {"data/shards": "modified"}}, "always changed"]}, set()),
    ],
)
def test_a_change_reaches_all_that_read_from_it(status: dict[str, list[object]], behind: set[str]) -> None:
    assert behind_stages(status, LOCKED, list(LOCKED)) == behind


def test_a_model_that_the_graph_no_longer_names_is_of_an_earlier_run() -> None:
    assert behind_stages({}, LOCKED, ["chunk", "judge@c-b", "select", "shard"]) == {"judge@a-b"}


def test_without_a_lock_file_nothing_is_earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert earlier_files(Path("metrics")) == {}


def test_numbers_of_an_earlier_run_are_named_and_not_shown(tmp_path: Path) -> None:
    write(tmp_path / "shard.json", {"shard": {"tokens": 4491448}})
    write(tmp_path / "eval.json", {"eval": {"base": {"f1": 0.39479}}})
    text = table(tmp_path, tmp_path, {tmp_path / "eval.json": "eval"})
    assert "4,491,448" in text and "0.395" not in text
    assert "left out, as of an earlier run (`dvc repro` runs those that the graph has): eval" in text
