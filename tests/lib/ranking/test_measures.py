"""The measures against trec_eval: its own C code (pytrec_eval) and its printed reference output."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from stages.lib.commands.measure_run import read_qrels, read_run
from stages.lib.ranking.measures import evaluate, mean_measures, measure_names, query_measures, rank

TOP_K = (1, 3, 5, 10)
OURS_TO_TREC = {
    "mrr": "recip_rank",
    "map": "map",
    "ndcg_at_10": "ndcg_cut_10",
    **{f"accuracy_at_{k}": f"success_{k}" for k in TOP_K},
}
Qrels = dict[str, dict[str, int]]
Run = dict[str, dict[str, float]]


def assert_equal_to_trec_eval(qrels: Qrels, run: Run, level: int = 1) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec_eval-terrier (extra dev) is not installed")
    measures = {"recip_rank", "map", "ndcg_cut_10", "success_" + ",".join(map(str, TOP_K))}
    expected = pytrec_eval.RelevanceEvaluator(qrels, measures, relevance_level=level).evaluate(run)
    found = evaluate(qrels, run, TOP_K, level)
    assert sorted(found) == sorted(expected)
    for query, values in found.items():
        for ours, theirs in OURS_TO_TREC.items():
            assert values[ours] == pytest.approx(expected[query][theirs], abs=1e-9), (query, ours)


def random_case(seed: int, distinct_scores: int) -> tuple[Qrels, Run]:
    """Queries with graded, negative and absent judgments; few distinct scores give many ties."""
    generator = np.random.default_rng(seed)
    qrels: Qrels = {}
    run: Run = {}
    for query in map(str, range(30)):
        documents = [f"d{i}" for i in generator.permutation(60)]
        qrels[query] = {document: int(generator.integers(-1, 4)) for document in documents[:25]}
        # Scores that differ in float64 alone are ties to trec_eval.
        scores = generator.integers(0, distinct_scores, 45) + generator.choice([0.0, 1e-12], 45)
        run[query] = dict(zip(documents[15:], scores.tolist(), strict=True))
    qrels["not in the run"] = {"d1": 1}
    qrels["0"] = dict.fromkeys(qrels["0"], 0)  # a judged query without a relevant document
    run["not judged"] = {"d1": 1.0}
    return qrels, run


@pytest.mark.parametrize("distinct_scores", [1, 2, 5, 1000])
@pytest.mark.parametrize("level", [1, 2])
def test_random_runs_with_ties_equal_trec_eval(distinct_scores: int, level: int) -> None:
    for seed in range(5):
        assert_equal_to_trec_eval(*random_case(seed, distinct_scores), level)


def test_ties_go_by_descending_id_and_scores_are_32_bit() -> None:
    assert rank({"a": 1.0, "b": 1.0, "B": 1.0, "c": 2.0}) == ["c", "b", "a", "B"]
    assert rank({"a": 1.00000002, "b": 1.00000001}) == ["b", "a"]  # equal as float32
    assert rank({"a": 1.0002, "b": 1.0001}) == ["a", "b"]


def test_values_by_hand() -> None:
    values = query_measures(np.array([0, 2, 0, 1]), [2, 1, 1, 0], top_k=(1, 2))
    assert list(values) == measure_names((1, 2))
    assert values["accuracy_at_1"] == 0.0
    assert values["accuracy_at_2"] == 1.0
    assert values["mrr"] == 0.5
    assert values["map"] == pytest.approx((1 / 2 + 2 / 4) / 3)  # the third relevant one was not retrieved
    discount = np.log2([2, 3, 4, 5])
    ideal = 2 / discount[0] + 1 / discount[1] + 1 / discount[2]
    assert values["ndcg_at_10"] == pytest.approx((2 / discount[1] + 1 / discount[3]) / ideal)


def test_queries_without_results_count_only_when_complete() -> None:
    qrels = {"a": {"x": 1}, "b": {"x": 1}}
    run = {"a": {"x": 1.0}}
    assert mean_measures(evaluate(qrels, run, (1,)))["mrr"] == 1.0
    assert mean_measures(evaluate(qrels, run, (1,), complete=True))["mrr"] == 0.5
    with pytest.raises(ValueError, match="1 judged queries, 1 queries with results, none in both"):
        evaluate({"b": {"x": 1}}, run, (1,))


def real_data() -> Path:
    if "LLMILL_REAL_DATA" not in os.environ:
        pytest.skip("LLMILL_REAL_DATA, the folder of real data sets, is not set")
    return Path(os.environ["LLMILL_REAL_DATA"])


def read_expected(path: Path) -> dict[str, dict[str, float]]:
    """query (or "all") -> our measure -> printed value of `trec_eval -m all_trec`."""
    expected: dict[str, dict[str, float]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        name, query, value = line.split()
        for ours, theirs in OURS_TO_TREC.items():
            if name == theirs:
                expected[query][ours] = float(value)
    return expected


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("results", "output", "complete"),
    [("results.test", "out.test.aq", False), ("results.trunc", "out.test.aqc", True)],
)
def test_reference_output_of_trec_eval(results: str, output: str, complete: bool) -> None:
    folder = real_data() / "trec_eval"
    found = evaluate(read_qrels(folder / "qrels.test"), read_run(folder / results), TOP_K, complete=complete)
    expected = read_expected(folder / output)
    assert len(found) == 3
    for query, values in {**found, "all": mean_measures(found)}.items():
        if query in expected:  # -c prints no line for a query without results
            for name, value in expected[query].items():
                assert f"{values[name]:.4f}" == f"{value:.4f}", (query, name)
    assert len(expected["all"]) == 6  # success_3 is not among the printed ones


@pytest.mark.real_data
@pytest.mark.parametrize("results", ["results.test", "results.trunc"])
def test_reference_runs_to_1e_9(results: str) -> None:
    folder = real_data() / "trec_eval"
    run = read_run(folder / results)
    ties = sum(len(scores) - len(set(scores.values())) for scores in run.values())
    assert ties > 0
    assert_equal_to_trec_eval(read_qrels(folder / "qrels.test"), run)
