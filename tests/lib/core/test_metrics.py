import json
from pathlib import Path
from typing import Any

import pytest

from stages.lib.core.metrics import Stopwatch, check_counts, read_results, timings_table, write_metrics


def test_counts_must_add_up() -> None:
    assert check_counts(5, 2, {"b": 1, "a": 2}) == {"in": 5, "kept": 2, "dropped": {"a": 2, "b": 1}}
    with pytest.raises(AssertionError):
        check_counts(5, 2, {"a": 2})


def test_metrics_are_rounded_and_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_metrics("x", {"a": 1 / 3, "b": [{"c": 2e-9 / 3}], "n": 12345678})
    assert read_results("x") == {"a": 0.333333, "b": [{"c": 6.66667e-10}], "n": 12345678}
    with pytest.raises(ValueError, match=r"metric y\.a is nan"):
        write_metrics("y", {"a": float("nan")})
    with pytest.raises(ValueError, match=r"metric y\.y\.a is inf"):
        write_metrics("y", {"a": 1}, lambda results: {"y": {"a": float("inf")}})
    assert [file.name for file in Path("metrics").rglob("*.json")] == ["x.json"]


def test_the_headline_is_made_of_the_results_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def headline(results: dict[str, Any]) -> dict[str, Any]:
        return {"x": {"thirds": results["third"] * 3}}

    write_metrics("x", {"third": 1 / 3}, headline)
    assert read_results("x") == {"third": 0.333333}
    assert json.loads(Path("metrics/x.json").read_text()) == {"x": {"thirds": 0.999999}}  # not 1


def test_results_are_read_from_a_project_or_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"metrics/full/x\.json: no such file; `dvc repro` makes it"):
        read_results("x", tmp_path)
    (tmp_path / "metrics/full").mkdir(parents=True)
    (tmp_path / "metrics/full/x.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="expected a list of one object; run the stage again"):
        read_results("x", tmp_path)


def test_timings_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    watch = Stopwatch("chunk")
    watch.lap("read")
    watch.write(chunks_per_second=3.0)
    timing = json.loads(Path("timings/chunk.json").read_text())
    assert timing["seconds"] >= 0 and timing["peak_memory_mb"] > 1 and timing["chunks_per_second"] == 3.0
    assert timings_table().splitlines()[1].startswith("chunk ")
