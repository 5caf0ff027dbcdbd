from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.lib.core.metrics import read_results
from stages.lib.core.records import Record, write_json, write_jsonl
from stages.select import Params, agreement, answer_for, doubtful, main, mean_score, passes, read_judgments, select

PARAMS = Params(groundedness=4.0, relevance=3.0, standalone=3.0, judge_auc=0.5, judge_at_chance="warn")


def judgment(name: str, chunk: str, scores: tuple[float | None, ...] = (5.0, 5.0, 5.0), **fields: Any) -> Record:
    """A judged question of generator `name`."""
    record: Record = {"id": f"{name}:{chunk}", "chunk": chunk, "generator": name, "question": "Q?", "answer": "A"}
    record |= {"support": None, "duplicate_of": None, "judge": "j", "method": "rating", "failure": None}
    for criterion, score in zip(("groundedness", "relevance", "standalone"), scores, strict=True):
        record |= {f"{criterion}_score": score, f"{criterion}_expected": None, f"{criterion}_rationale": ""}
    return record | fields


def by_id(*records: Record) -> dict[str, Record]:
    return {record["id"]: record for record in records}


def test_every_question_is_kept_or_dropped_for_one_reason() -> None:
    judged = {
        "g": {
            "j": by_id(
                judgment("g", "1"),
                judgment("g", "2", duplicate_of="g:1"),
                judgment("g", "3", (None, None, None), failure="unparsable"),
                judgment("g", "4", (3.9, 5.0, 5.0)),
                judgment("g", "5", (5.0, 2.9, 5.0)),
                judgment("g", "6", (5.0, 5.0, 1.0)),
                judgment("g", "7", (4.0, 3.0, 3.0)),
            )
        }
    }
    selected, funnel = select(judged, PARAMS)
    assert [question["chunk"] for question in selected] == ["1", "7"]
    assert [(row["criterion"], row["in"], row["kept"], row["dropped"]) for row in funnel.rows] == [
        ("unique", 7, 6, 1),
        ("judged", 6, 5, 1),
        ("groundedness", 5, 4, 1),
        ("relevance", 4, 3, 1),
        ("standalone", 3, 2, 1),
        ("best_of_chunk", 2, 2, 0),
    ]
    assert all(row["in"] == row["kept"] + row["dropped"] for row in funnel.rows)


def test_a_missing_score_never_passes() -> None:
    assert passes(judgment("g", "1", (4.0, 1.0, None)), "groundedness", PARAMS)
    assert not passes(judgment("g", "1", (4.0, 1.0, None)), "standalone", PARAMS)


def test_every_judge_must_pass_a_question() -> None:
    one = by_id(judgment("g", "1"), judgment("g", "2"))
    other = by_id(judgment("g", "1", (5.0, 5.0, 2.0)), judgment("g", "2"))
    selected, _ = select({"g": {"a": one, "b": other}}, PARAMS)
    assert [question["chunk"] for question in selected] == ["2"]
    assert selected[0]["scores"]["b"] == {"groundedness": 5.0, "relevance": 5.0, "standalone": 5.0}


def test_the_best_generator_of_a_chunk_wins_and_ties_go_to_the_first() -> None:
    judged = {
        "a": {"j": by_id(judgment("a", "1", (4.0, 4.0, 4.0)), judgment("a", "2"))},
        "b": {"j": by_id(judgment("b", "1", (5.0, 4.0, 4.0)), judgment("b", "2"))},
    }
    selected, funnel = select(judged, PARAMS)
    assert {(question["chunk"], question["generator"]) for question in selected} == {("1", "b"), ("2", "a")}
    assert [row["dropped"] for row in funnel.rows if row["criterion"] == "best_of_chunk"] == [1, 1]


def test_the_expected_score_counts_where_there_is_one() -> None:
    record = judgment("g", "1", (4.0, 4.0, 4.0), groundedness_expected=4.6)
    assert mean_score([record]) == pytest.approx((4.6 + 4 + 4) / 3)


def test_agreement_of_equal_opposite_and_constant_judges() -> None:
    def judged(first: list[float], second: list[float]) -> dict[str, dict[str, dict[str, Record]]]:
        return {
            "g": {
                "a": by_id(*(judgment("g", str(i), (score, 5.0, 5.0)) for i, score in enumerate(first))),
                "b": by_id(*(judgment("g", str(i), (score, 5.0, 5.0)) for i, score in enumerate(second))),
            }
        }

    equal = agreement(judged([1, 2, 4, 5], [1, 2, 4, 5]), PARAMS)["a_b"]["groundedness"]
    assert equal == pytest.approx({"questions": 4, "spearman": 1.0, "same_verdict": 1.0, "kappa": 1.0})
    opposite = agreement(judged([1, 2, 4, 5], [5, 4, 2, 1]), PARAMS)["a_b"]["groundedness"]
    assert opposite == pytest.approx({"questions": 4, "spearman": -1.0, "same_verdict": 0.0, "kappa": -1.0})
    constant = agreement(judged([5, 5, 5, 5], [1, 2, 4, 5]), PARAMS)["a_b"]["groundedness"]
    assert constant == pytest.approx({"questions": 4, "spearman": 0.0, "same_verdict": 0.5, "kappa": 0.0})
    all_pass = agreement(judged([5, 5], [5, 4]), PARAMS)["a_b"]["groundedness"]  # chance agrees as often
    assert all_pass == pytest.approx({"questions": 2, "spearman": 0.0, "same_verdict": 1.0, "kappa": 0.0})
    # Verdicts: 3 both pass, 1 both fail, 1 + 0 differ; chance 4/5 x 3/5 + 1/5 x 2/5 = 14/25, so (20 - 14) / (25 - 14).
    uneven = agreement(judged([5, 4, 4, 1, 4], [4, 5, 4, 2, 3]), PARAMS)["a_b"]["groundedness"]
    assert uneven["same_verdict"] == pytest.approx(0.8) and uneven["kappa"] == pytest.approx(6 / 11)


def test_judges_about_different_questions_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a_g_qa.jsonl", [judgment("g", "1")])
    write_jsonl(tmp_path / "b_g_qa.jsonl", [judgment("g", "2")])
    with pytest.raises(ValueError, match=r"b_g_qa\.jsonl: not the questions"):
        read_judgments(["g"], ["a", "b"], tmp_path)


def check(auc: float | None, low: float, pairs: int = 40) -> dict[str, Any]:
    return {"auc": auc, "low": low, "high": 0.9, "pairs": pairs}


def test_a_judge_at_chance_is_named_with_criterion_auc_and_interval() -> None:
    checks = {
        "judge a": {"groundedness": {"random_chunk": check(0.9, 0.8), "wrong_answer": check(0.6, 0.48)}},
        "judge b": {"relevance": {"random_question": check(1.0, 1.0, pairs=3), "vague_question": check(None, 0, 0)}},
    }
    lines = doubtful(checks, 0.5)
    assert lines[0] == "judge judge a: groundedness against wrong_answer: AUC 0.60 [0.48, 0.90] is not above 0.5"
    assert len(lines) == 3 and all("not checked" in line for line in lines[1:])
    assert len(doubtful(checks, 0.85)) == 4
    assert doubtful({"a": {"standalone": {"vague_question": check(0.7, 0.5)}}}, 0.5)  # an interval that holds chance
    assert not doubtful({"a": {"standalone": {"vague_question": check(0.7, 0.51)}}}, 0.5)


def test_a_judge_at_chance_warns_or_stops(capsys: pytest.CaptureFixture[str]) -> None:
    answer_for(["judge a: ..."], PARAMS)
    assert capsys.readouterr().err == "select: warning: judge a: ...\n"
    strict = replace(PARAMS, judge_at_chance="stop")
    answer_for([], strict)
    with pytest.raises(ValueError, match=r"may be chance:\njudge a: \.\.\.\n.*judge_at_chance to warn"):
        answer_for(["judge a: ..."], strict)


def test_main_reads_what_judge_wrote_of_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    params = (
        "qa: {generators: [g]}\njudge: {judges: [j]}\nselect: {groundedness: 4.0, relevance: 4.0, standalone: 4.0, "
        "judge_auc: 0.5, judge_at_chance: WHAT}\n"
    )
    Path("params.yaml").write_text(params.replace("WHAT", "stop"))
    write_jsonl(Path("data/judgments/j_g_qa.jsonl"), [judgment("g", "1")])
    with pytest.raises(ValueError, match=r"j_g_validity.json: no such file; run the judge stages again"):
        main()
    write_json(Path("data/judgments/j_g_validity.json"), {"relevance": {"vague_question": check(0.5, 0.4)}})
    with pytest.raises(ValueError, match=r"j on g.s questions: relevance against vague_question: AUC 0\.50"):
        main()
    Path("params.yaml").write_text(params.replace("WHAT", "warn"))
    main()
    assert "warning: judge j on g's questions" in capsys.readouterr().err
    assert len(read_results("select")["doubtful_judges"]) == 1


def test_thresholds_are_checked() -> None:
    with pytest.raises(ValueError, match=r"standalone: 6\.0 is not in 1\.\.5"):
        Params(groundedness=4.0, relevance=3.0, standalone=6.0, judge_auc=0.5, judge_at_chance="warn")
