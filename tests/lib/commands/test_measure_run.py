from pathlib import Path

import pytest

from stages.lib.commands.measure_run import main

QRELS = "# judged by hand\n1 0 a 1\n1 0 b 0\n\n2 0 c 2\n3 0 c 1\n"
RUN = "1 Q0 b 1 0.9 x\n1 Q0 a 2 0.5 x\n2 Q0 c 9 0.1 x, seen twice\n2 Q0 d 1 -3e-1 x\n"


def written(directory: Path, qrels: str = QRELS, run: str = RUN) -> list[str]:
    (directory / "qrels").write_text(qrels)
    (directory / "run").write_text(run)
    return ["--qrels", str(directory / "qrels"), "--run", str(directory / "run")]


def printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    main(arguments)
    return dict(line.split() for line in capsys.readouterr().out.splitlines())


def test_a_run_is_measured_by_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = printed([*written(tmp_path), "--top-k", "1", "2"], capsys)
    assert list(found) == ["queries", "accuracy_at_1", "accuracy_at_2", "mrr", "map", "ndcg_at_10"]
    assert found == found | {"queries": "2", "accuracy_at_1": "0.5000", "accuracy_at_2": "1.0000", "mrr": "0.7500"}


def test_queries_without_results_and_low_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = written(tmp_path)
    found = printed([*arguments, "--complete"], capsys)
    assert (found["queries"], found["mrr"]) == ("3", "0.5000")
    assert printed([*arguments, "--level", "2"], capsys)["mrr"] == "0.5000"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qrels": "1 0 a\n"}, r"measure_run: .*qrels:1: expected 4 fields, found 3: '1 0 a'"),
        ({"qrels": "1 0 a 1\n1 0 b much\n"}, r"qrels:2: invalid literal .*'much'"),
        ({"run": "1 Q0 a 1 nan x\n"}, r"run:1: score 'nan' is not a number"),
        ({"run": "1 Q0 a 1 2 x\n1 Q0 a 2 1 x\n"}, r"run:2: document 'a' stands twice for query '1'"),
        ({"run": "7 Q0 a 1 2 x\n"}, r"nothing to evaluate: 3 judged queries, 1 queries with results, none in both"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        main(written(tmp_path, **change))


def test_a_missing_file_and_a_low_k_are_named(tmp_path: Path) -> None:
    arguments = written(tmp_path)
    with pytest.raises(SystemExit, match=r"no-such: no such file"):
        main([*arguments[:3], str(tmp_path / "no-such")])
    with pytest.raises(SystemExit, match=r"--top-k: 0 is below 1"):
        main([*arguments, "--top-k", "0"])
