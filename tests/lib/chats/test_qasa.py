from typing import Any

from stages.lib.chats.collect_items import qasa_items
from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qasa import QasaQuestion, read_qasa
from stages.lib.reading.documents import Drop


def record(**fields: Any) -> dict[str, Any]:
    return {
        "paper_id": "paper_1",
        "title": "A paper",
        "question_id": 1,
        "question": "What is the learning rate?",
        "question_trigger_sentence": "We train with AdamW and a small learning rate throughout.",
        "question_type": "Shallow question ",
        "evidential_info": [{"context": "The rate is\xa01e-4.", "rationale": "It says so."}],
        "composition": "1e-4.",
        "arxiv_id": "1",
    } | fields


def read(*records: dict[str, Any]) -> list[QasaQuestion | Drop]:
    return read_qasa([(f"f[{i}]", one) for i, one in enumerate(records)])


def test_the_real_quirks_are_read() -> None:
    other = record(question="Why AdamW?", evidential_info=[], composition="[The paper does not say why.]")
    other["s2orc_id"] = other.pop("arxiv_id")
    first, second = read(record(), other)  # the same question_id twice
    assert isinstance(first, QasaQuestion) and isinstance(second, QasaQuestion)
    assert first.evidence[0].context == "The rate is 1e-4."
    assert first.id != second.id
    assert second.answer == "The paper does not say why."
    assert second.refuses and not first.refuses


def test_papers_are_named_by_what_there_is() -> None:
    fields = {"paper_id": "", "arxiv_id": None, "s2orc_id": 42}
    (question,) = read(record(**fields))
    assert isinstance(question, QasaQuestion)
    assert question.paper == "42"


def test_what_cannot_be_used_is_dropped_with_its_reason() -> None:
    found = read(
        record(),
        record(question="what is the Learning rate?"),
        record(paper_id=None, arxiv_id=""),
        record(question="\xa0"),
        record(question="And why?", composition=None),
        record(question="And how?", evidential_info="none"),
        record(question="And when?", evidential_info=["none"]),
        record(question="And who?", evidential_info=None),
    )
    reasons = [entry.reason if isinstance(entry, Drop) else None for entry in found]
    evidence = ["broken_evidence", "broken_evidence", None]
    assert reasons == [None, "duplicate", "no_paper", "no_question", "no_answer", *evidence]


def test_items_stand_on_their_evidence_and_refusals_on_what_made_the_reader_ask() -> None:
    questions = [
        record(),
        record(question="Why AdamW?", evidential_info=[], composition="The paper does not explain why."),
        record(question="Why now?", evidential_info=[], composition="It was time."),
        record(
            question="Why?", evidential_info=[], question_trigger_sentence="Fig 3", composition="It is not answerable."
        ),
        record(question="Blank?", evidential_info=[{"context": "", "rationale": ""}], composition="Yes."),
        record(question="Without a rationale?", evidential_info=[{"context": "The rate is 1e-4. It rains."}]),
    ]
    found = qasa_items([one for one in read(*questions) if isinstance(one, QasaQuestion)])
    answered, refused, unsupported, textless, blank, unexplained = found
    assert isinstance(answered, QAItem) and isinstance(refused, QAItem) and isinstance(unexplained, QAItem)
    assert (answered.kind, answered.context, answered.reasoning) == (
        "qasa",
        "A paper\n\nThe rate is 1e-4.",
        "It says so.",
    )
    assert (refused.kind, refused.made_by) == ("unanswerable", "people")
    assert refused.context == "A paper\n\nWe train with AdamW and a small learning rate throughout."
    assert unexplained.reasoning == "" and unexplained.evidence == "The rate is 1e-4."
    assert [drop.reason for drop in (unsupported, textless, blank) if isinstance(drop, Drop)] == [
        "no_evidence",
        "no_text",
        "no_evidence",
    ]
