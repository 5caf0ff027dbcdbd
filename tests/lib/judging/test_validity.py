from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from stages.lib.judging.validity import JudgedItem, auc_report, make_probes, thin_kinds, vague_question, wrong_answers

CONTEXT = (
    "The sampler number {i} draws without replacement from all the samples. "
    "The cache of loader {i} is emptied when the epoch ends. It has 80 locks."
)


def items(count: int = 12) -> list[JudgedItem]:
    return [
        JudgedItem(
            question=f"When is the cache of Loader{i} emptied?",
            answer=f"The cache of loader {i} is emptied when the epoch ends.",
            context=CONTEXT.format(i=i),
            document=f"d{i // 2}",
        )
        for i in range(count)
    ]


def test_a_probe_is_wrong_in_one_way_only() -> None:
    true = items()
    probes = make_probes(true, pairs=6, seed=0)
    kinds = {"random_chunk", "wrong_answer", "altered_answer", "random_question", "vague_question"}
    assert {probe.kind for probe in probes} == kinds
    for probe in probes:
        item, made = true[probe.index], probe.item
        changed = {field for field in ("question", "answer", "context") if getattr(item, field) != getattr(made, field)}
        expected = {"random_chunk": "context", "wrong_answer": "answer", "altered_answer": "answer"}.get(
            probe.kind, "question"
        )
        assert changed == {expected}
    by_context = {item.context: item.document for item in true}
    for probe in (probe for probe in probes if probe.kind == "random_chunk"):
        assert by_context[probe.item.context] != true[probe.index].document
    for probe in (probe for probe in probes if probe.kind == "wrong_answer"):
        assert probe.item.answer in true[probe.index].context


def test_probes_are_drawn_with_the_seed() -> None:
    assert make_probes(items(), 5, seed=1) == make_probes(items(), 5, seed=1) != make_probes(items(), 5, seed=2)
    assert len({probe.index for probe in make_probes(items(), 5, seed=1)}) == 5
    assert len({probe.index for probe in make_probes(items(4), 99, seed=1)}) == 4


def of_one_document(count: int) -> list[JudgedItem]:
    return [replace(item, document="d") for item in items(count)]


def test_one_document_is_checked_with_its_own_other_chunks_and_questions() -> None:
    true = of_one_document(6)
    chunks = [item.context for item in true] + ["As said, the cache of loader 2 is emptied when the epoch ends."]
    probes = make_probes(true, pairs=6, seed=0, chunks=chunks)
    assert thin_kinds(probes, 6) == {}
    assert all(probe.item.answer not in probe.item.context for probe in probes if probe.kind == "altered_answer")
    for probe in probes:
        item = true[probe.index]
        if probe.kind == "random_chunk":
            assert probe.item.context in chunks and item.answer.lower() not in probe.item.context.lower()
        if probe.kind == "random_question":
            assert probe.item.question in {other.question for other in true} - {item.question}


def test_what_one_question_does_not_allow_is_left_out() -> None:
    true = of_one_document(1)
    assert thin_kinds(make_probes(true, 5, seed=0), 1) == {"random_chunk": 0, "random_question": 0}
    probes = make_probes(true, 5, seed=0, chunks=[true[0].context, "It has sails."])
    assert {probe.item.context for probe in probes if probe.kind == "random_chunk"} == {"It has sails."}
    assert thin_kinds(probes, 1) == {"random_question": 0}
    nothing = [replace(true[0], question="How many are kept?", context="It is.", answer="It is.")]
    assert make_probes(nothing, 5, seed=0) == []


def test_a_wrong_answer_is_another_sentence() -> None:
    item = items()[3]
    assert wrong_answers(item) == ["The sampler number 3 draws without replacement from all the samples."]


@pytest.mark.parametrize(
    ("question", "vague"),
    [
        ("What is the default of peft's LoraConfig?", "What is the default of it?"),
        ("Which parameter of accelerate's Accelerator.reduce is a float?", "Which parameter of it is a float?"),
        ("When must `max_memory` be set?", "When must it be set?"),
        ("How many tokens are kept?", "How many tokens are kept?"),
    ],
)
def test_a_vague_question_names_nothing(question: str, vague: str) -> None:
    assert vague_question(question) == vague


def test_auc_is_mann_whitneys_u() -> None:
    random = np.random.default_rng(0)
    for n, m, values in ((31, 17, 9), (40, 37, 3), (1, 5, 2), (40, 40, 10**6)):  # few values: many ties
        true, wrong = random.integers(1, values + 1, n).tolist(), random.integers(0, values, m).tolist()
        u = mannwhitneyu(true, wrong).statistic
        assert auc_report(true, wrong, seed=0)["auc"] == pytest.approx(u / (n * m), abs=1e-12)
    assert auc_report([2, 3], [0, 1], seed=0) == {"auc": 1.0, "low": 1.0, "high": 1.0, "pairs": 2}
    assert auc_report([0], [1], seed=0) == {"auc": 0.0, "low": 0.0, "high": 0.0, "pairs": 1}


def test_ties_count_half_in_the_interval_too() -> None:
    assert auc_report([1, 1], [1, 1, 1], seed=0) == {"auc": 0.5, "low": 0.5, "high": 0.5, "pairs": 2}


def test_the_interval_holds_the_true_auc_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        report = auc_report(random.normal(1, 1, 40).tolist(), random.normal(0, 1, 40).tolist(), seed=0)
        held += report["low"] <= 0.7602 <= report["high"]  # Phi(1 / sqrt(2))
    assert 0.88 <= held / 200 <= 0.99


def test_no_pairs_no_auc() -> None:
    assert auc_report([], [1.0], seed=0) == {"auc": None, "low": None, "high": None, "pairs": 0}


def test_a_sentence_that_says_nearly_the_same_is_no_wrong_answer() -> None:
    said = "The red lamp burns ten drops of oil in an hour."
    other = "The blue boat leaves the quay before the winter storms."
    context = f"{said} The red lamp burns ten drops of oil in a night. {other}"
    assert wrong_answers(JudgedItem(question="q", answer=said, context=context, document="d")) == [other]
