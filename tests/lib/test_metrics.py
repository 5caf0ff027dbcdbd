import json
from pathlib import Path

import pytest

from stages.lib.metrics import Stopwatch, check_counts, timings_table, write_metrics


def test_counts_must_add_up() -> None:
    assert check_counts(5, 2, {"b": 1, "a": 2}) == {"in": 5, "kept": 2, "dropped": {"a": 2, "b": 1}}
    with pytest.raises(AssertionError):
        check_counts(5, 2, {"a": 2})


def test_metrics_are_rounded_and_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_metrics("x", {"a": 1 / 3, "b": [{"c": 2e-9 / 3}], "n": 12345678})
    written = json.loads(Path("metrics/x.json").read_text())
    assert written == {"a": 0.333333, "b": [{"c": 6.66667e-10}], "n": 12345678}
    with pytest.raises(ValueError, match=r"metric y\.a is nan"):
        write_metrics("y", {"a": float("nan")})
    assert not Path("metrics/y.json").exists()


def test_timings_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    watch = Stopwatch("chunk")
    watch.lap("read")
    watch.write(chunks_per_second=3.0)
    timing = json.loads(Path("timings/chunk.json").read_text())
    assert timing["seconds"] >= 0 and timing["peak_memory_mb"] > 1 and timing["chunks_per_second"] == 3.0
    assert timings_table().splitlines()[1].startswith("chunk ")
