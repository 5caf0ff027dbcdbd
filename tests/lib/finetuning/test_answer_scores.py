"""Scores of answers: exact match as SQuAD's, and labels with those that an answer is none of."""

import pytest
from sklearn.metrics import accuracy_score, f1_score

from stages.lib.finetuning.answer_scores import as_label, is_exact, label_set, score, score_all, score_labels
from stages.lib.finetuning.answering import Answer
from stages.lib.instructions.examples import Example


def said(*texts: str) -> list[Answer]:
    return [Answer(text, True) for text in texts]


@pytest.mark.parametrize(
    ("answer", "reference", "exact"),
    [
        ("the Cat.", "a cat", True),
        ("cat", "cats", False),
        ("", "cat", False),
        ("A", "a", True),
        ("B", "A", False),
        ("+", "-", False),  # neither has a word
        ("-", "-", True),
        ("", "-", False),
        ("Größe", "größe!", True),
    ],
)
def test_exact_match(answer: str, reference: str, exact: bool) -> None:
    assert is_exact(answer, reference) == exact


def test_shares_have_their_intervals() -> None:
    answers = [Answer("a cat", True), Answer("a red cat", False), Answer("no", True), Answer("", True)]
    found = score(answers, ["cat", "the red dog", "yes", "!"])
    assert found["exact_match"] == {
        "value": 0.25,
        "low": pytest.approx(0.0456, abs=1e-3),  # Wilson's interval of 1 in 4
        "high": pytest.approx(0.6994, abs=1e-3),
    }
    assert found["ended"]["value"] == 0.75
    assert found["token_f1"]["scored"] == 3  # "!" has no word to be compared by
    assert found["token_f1"]["value"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["token_f1"]["low"] < 0.5 < found["token_f1"]["high"]
    assert score(said("x"), ["!"])["token_f1"] == {"scored": 0}


@pytest.mark.parametrize(
    ("references", "labels"),
    [
        (["ham", "spam", "ham", "Ham."], ["ham", "spam"]),
        (["A", "B", "C", "D"] * 3, ["a", "b", "c", "d"]),
        (["1", "2", "1", "2"], ["1", "2"]),
        (["+", "-", "+", "-"], ["+", "-"]),
        (["positiv", "negativ", "neutral"], []),  # each once: as free as any text
        (["ham"] * 5, []),  # one answer alone is nothing to tell apart
        ([f"{i % 21}" for i in range(100)], []),  # 21 different ones
    ],
)
def test_labels_are_a_small_closed_set(references: list[str], labels: list[str]) -> None:
    assert label_set(references) == labels


def test_labels_by_scikit_learn_and_by_hand() -> None:
    wanted = ["spam", "spam", "spam", "ham", "ham", "ham", "ham", "ham"]
    answers = said("spam", "Spam.", "I am not sure", "ham", "ham", "ham", "spam", "")
    found = score_labels(answers, wanted, ["ham", "spam"])
    assert found["confusion"] == {
        "ham": {"ham": 3, "spam": 1, "(neither)": 1},
        "spam": {"ham": 0, "spam": 2, "(neither)": 1},
    }
    assert found["labels"]["spam"] == {"precision": 2 / 3, "recall": 2 / 3, "f1": pytest.approx(2 / 3), "support": 3}
    assert found["labels"]["ham"]["recall"] == pytest.approx(3 / 5)
    assert found["labels"]["ham"]["precision"] == 1
    plain = [as_label(answer.text) for answer in answers]
    assert found["accuracy"]["value"] == accuracy_score(wanted, plain) == 5 / 8
    both = f1_score(wanted, plain, labels=["ham", "spam"], average="macro")
    assert found["macro_f1"] == pytest.approx(both)
    assert sum(sum(row.values()) for row in found["confusion"].values()) == len(wanted)


def test_a_label_that_does_not_occur_does_not_lower_the_mean() -> None:
    found = score_labels(said("ja", "ja"), ["ja", "ja"], ["ja", "nein"])
    assert found["macro_f1"] == 1
    assert found["labels"]["nein"]["support"] == 0


def test_each_source_is_classified_by_itself() -> None:
    texts = [Example(f"Describe {i}.", f"It is {i}.", f"t:{i}") for i in range(6)]
    labelled = [Example(f"Is {i} odd?", "yes" if i % 2 else "no", f"l:{i}") for i in range(6)]
    asked = [texts[0], labelled[1], labelled[2]]
    answers = {"before": said("", "", ""), "after": said("It is 0.", "yes", "maybe")}
    found = score_all(asked, answers, [texts, labelled])
    assert found["count"] == 3
    assert found["before"]["exact_match"]["value"] == 0
    assert found["after"]["exact_match"]["value"] == pytest.approx(2 / 3)
    assert set(found["classified"]) == {"sources[1]"}
    after = found["classified"]["sources[1]"]["after"]
    assert after["confusion"] == {"no": {"no": 0, "yes": 0, "(neither)": 1}, "yes": {"no": 0, "yes": 1, "(neither)": 0}}
    assert after["accuracy"]["value"] == 0.5
