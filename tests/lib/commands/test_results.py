import json
from pathlib import Path

import pytest

from stages.lib.commands.results import LABELS, leaves, shown, table
from tests.graph import ROOT

COMMITTED = sorted((ROOT / "metrics").glob("*.json"))


def test_every_committed_headline_is_shown_and_has_a_label() -> None:
    text = table(ROOT / "metrics", ROOT / "data")
    for file in COMMITTED:
        for path, value in leaves(json.loads(file.read_text())):
            label = LABELS.get(f"{path[0]} {path[-1]}")
            assert label, f"{file.name}: {'.'.join(path)}: give it a line in LABELS of results.py"
            assert any(label in line and line.endswith(f" {shown(value)}") for line in text.splitlines()), path
    assert max(map(len, text.splitlines())) < 100


def test_the_table_stands_in_the_graph_s_order_and_names_pictures(tmp_path: Path) -> None:
    write(tmp_path / "metrics/eval.json", {"eval": {"base": {"f1": 0.39479}}})
    write(tmp_path / "metrics/qa_smollm2-135m.json", {"qa": {"questions": 1190}})
    write(tmp_path / "metrics/shard.json", {"shard": {"tokens": 4491448}})
    (tmp_path / "data/evaluation").mkdir(parents=True)
    (tmp_path / "data/evaluation/evaluation.png").touch()
    lines = table(tmp_path / "metrics", tmp_path / "data").splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["shard", "qa", "eval"]
    assert [line.split()[-1] for line in lines[:3]] == ["4,491,448", "1,190", "0.395"]
    assert lines[1].startswith("qa smollm2-135m ") and lines[2].startswith("eval base ")
    assert lines[lines.index("pictures:") + 1].endswith("data/evaluation/evaluation.png")


def test_long_names_keep_within_a_terminal_and_unknown_numbers_are_shown(tmp_path: Path) -> None:
    best = "qwen3-embedding-600m_ml_hf_qwen3-reranker-600m-and-a-longer-name"
    write(tmp_path / "benchmark_results.json", {"benchmark": {"best": best, "novelty": 0.00123}})
    write(tmp_path / "judge_qwen3-4b-instruct_gpt-oss-20b.json", {"judge": {"auc": 0.5}})
    lines = table(tmp_path, tmp_path).splitlines()
    assert "judge qwen3-4b-instruct gpt-oss-20b" in lines
    assert any(line.endswith(f" {best}") for line in lines)
    assert any("novelty" in line and line.endswith(" 0.0012") for line in lines)
    assert max(map(len, lines)) < 100


def test_no_results_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make repro"):
        table(tmp_path)


def write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
