"""The qa stage on documents that are not English, in German, Chinese and mixed."""

from pathlib import Path

import pytest

from stages.lib.languages.english_or_not import guess
from stages.lib.qa.question_writing import ask_directly, ask_fact_first
from stages.qa import advice
from tests.test_qa import FACTS, PARAMS, PROMPTS, Scripted, chunk, pair

GERMAN = (
    "Der Parameter r legt den Rang der Matrizen fest und ist 8. LoRA hat 8 Köpfe. Die Methode `merge` fügt die "
    "Gewichte zusammen, und das Modell kann danach ohne PEFT geladen werden."
)
CHINESE = "LoRA 有 8 个注意力头。r 的默认值为8，学习率为1e-4。检查点每一千步保存一次。"


@pytest.mark.parametrize(
    ("text", "question", "answer", "before"),
    [
        (GERMAN, "Welchen Rang legt der Parameter r fest?", "8", "fest und ist "),
        (GERMAN, "Wie viele Köpfe hat LoRA?", "8", "LoRA hat "),
        (CHINESE, "r 的默认值是多少？", "8", "默认值为"),
        (CHINESE, "检查点多久保存一次？", "每一千步", "检查点"),
    ],
)
def test_a_question_in_the_documents_language_is_kept(text: str, question: str, answer: str, before: str) -> None:
    model = Scripted({text[:20]: pair(question, answer)})
    outcome = ask_directly([chunk(1, text)], PROMPTS, model, PARAMS, "tiny")
    assert not outcome.rejected
    (record,) = outcome.kept
    assert record["question"] == question
    assert text[: record["support"]["start"]].endswith(before)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Was sagt der Text über r?", "8", "refers_to_context"),
        ("r 的默认值为8。", "8", "not_a_question"),
        ("r 的默认值8是多少？", "默认值", "gives_answer_away"),
    ],
)
def test_what_is_wrong_is_seen_in_any_language(question: str, answer: str, reason: str) -> None:
    model = Scripted({"LoRA": pair(question, answer)})
    outcome = ask_directly([chunk(1, CHINESE)], PROMPTS, model, PARAMS, "tiny")
    assert [line["reason"] for line in outcome.rejected] == [reason]


def test_fact_first_asks_about_the_english_chunks_of_a_mixed_corpus() -> None:
    model = Scripted({}, "fact_first")
    chunks = [chunk(1, GERMAN), chunk(2, FACTS), chunk(3, CHINESE), chunk(4, "x = 1\ny = f(x)\n")]
    outcome = ask_fact_first(chunks, PROMPTS, model, PARAMS, "tiny")
    assert [record["chunk"] for record in outcome.kept] == ["d2-0"]
    reasons = {line["chunk"]: line["reason"] for line in outcome.rejected if line["final"]}
    assert reasons == {"d1-0": "not_english", "d3-0": "not_english", "d4-0": "no_fact"}
    assert len(outcome.kept) + len(reasons) == len(chunks)
    assert outcome.asked == 1
    assert all(FACTS in request.prompt.text or FACTS[:40] in request.choices[0] for request in model.scored)


def test_a_foreign_corpus_gets_an_advice_that_helps() -> None:
    model = Scripted({}, "fact_first")
    chunks = [chunk(1, GERMAN), chunk(2, CHINESE), chunk(3, "x = 1")]
    outcome = ask_fact_first(chunks, PROMPTS, model, PARAMS, "tiny")
    said = advice(outcome.rejected, "fact_first")
    assert "not in English" in said and "'direct'" in said and "too small" not in said


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (GERMAN, "other"),
        (CHINESE, "other"),
        (FACTS, "english"),
        ("La valeur de r est fixée par le paramètre, et elle est de 8 pour tous les modèles de la série.", "other"),
        ("El valor de r es 8 en todos los modelos que se usan para el entrenamiento.", "other"),
        ("Значение r по умолчанию равно 8.", "other"),
        ("The rank of the adapter is 8. Siehe auch: der Rang.", "english"),
        ("import torch\nx = torch.zeros(3)\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_whether_a_text_is_english(text: str, language: str) -> None:
    assert guess(text) == language


def test_this_page_is_english() -> None:
    assert guess((Path(__file__).parent.parent / "docs/stages.md").read_text()) == "english"
