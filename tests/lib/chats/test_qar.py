import pytest

from stages.lib.answers.reasoned_answers import halves_fault, joined, separated
from stages.lib.chats.qa_items import QAItem
from stages.lib.chats.qar import answer_first, chosen_evidence, reasoned, short_answer
from stages.lib.reading.documents import Drop

TEMPLATE = '{asked} The text says: "{evidence}"'


def item(question: str, evidence: str, answer: str = "", **fields: str) -> QAItem:
    given = {"kind": "selected", "made_by": "tiny", "source": "d", "context": "c", "id": "i"} | fields
    return QAItem(question=question, answer=answer or evidence, evidence=evidence, **given)  # type: ignore[arg-type]


def test_what_is_joined_reads_back_and_nothing_else_does() -> None:
    assert joined("Because.", "8") == "Because. ##### 8"
    assert separated(joined("Because.", "8")) == ("Because.", "8")
    for text in ("Because 8", "##### 8", "Because #####", "a ##### b ##### c", "", "######"):
        assert separated(text) is None


@pytest.mark.parametrize(
    ("reasoning", "answer", "fault"),
    [
        ("r", "a", None),
        (" ", "a", "no_reasoning"),
        ("r", "\n", "no_answer"),
        ("r ##### r", "a", "separator_inside"),
        ("r", "a ######", "separator_inside"),
        ("r ####", "# a", None),
    ],
)
def test_halves_are_checked(reasoning: str, answer: str, fault: str | None) -> None:
    assert halves_fault(reasoning, answer) == fault
    if fault is None:
        assert separated(joined(reasoning, answer)) == (reasoning, answer)


@pytest.mark.parametrize(
    ("question", "evidence", "answer"),
    [
        ("Which parameter of X sets the rank?", "`r` (`int`): The rank.", "r"),
        ("Which parameter of X sets the bank?", "init_bank: The bank.", "init_bank"),
        ("What is the default value of the parameter r of X?", "r (`int`, defaults to 8): The rank.", "8"),
        (
            "What happens if the parameter r of X is None?",
            "If `None`, all adapters are merged.",
            "All adapters are merged.",
        ),
        (
            "What happens when accessing it?",
            "When accessing it, e.g. by name, nothing is applied.",
            "Nothing is applied.",
        ),
        ("What does X do?", "Merges the adapters.", "Merges the adapters."),
    ],
)
def test_short_answers_are_the_part_that_is_asked_for(question: str, evidence: str, answer: str) -> None:
    assert short_answer(item(question, evidence)) == answer


def test_people_answer_in_their_own_words() -> None:
    own = item("What is the default value?", "The rate defaults to 8.", "It is small.", kind="qasa")
    assert short_answer(own) == "It is small."
    assert reasoned(item("q", "e", "a", kind="qasa", reasoning="They say so."), TEMPLATE) == ("They say so.", "a")


def test_reasoning_names_what_is_asked_and_quotes_the_evidence() -> None:
    found = reasoned(item("Which parameter of X sets the rank?", "r (`int`): The rank."), TEMPLATE)
    asked = "The question asks which parameter of X sets the rank."
    assert found == (f'{asked} The text says: "r (`int`): The rank."', "r")
    assert isinstance(reasoned(item("q?", "", "a"), TEMPLATE), Drop)


def test_closed_book_answers_explain_after_they_answer() -> None:
    assert answer_first("Yes. It works, e.g. on MNIST. So it is.") == ("It works, e.g. on MNIST. So it is.", "Yes.")
    assert answer_first("Yes, it works") is None
    drop = reasoned(item("Does it?", "", "Yes.", kind="closed_book", context=""), TEMPLATE)
    assert isinstance(drop, Drop)
    assert drop.reason == "one_sentence"


def test_evidence_is_chosen_by_what_it_shares_and_read_in_order() -> None:
    contexts = ["Rain fell. The rate was low at first.", "We set the rate to 1e-4 for training. Cats sleep."]
    assert (
        chosen_evidence(contexts, "What is the rate for training?", "1e-4", 1)
        == "We set the rate to 1e-4 for training."
    )
    two = chosen_evidence(contexts, "What is the rate for training?", "1e-4", 3)
    assert two == "The rate was low at first. We set the rate to 1e-4 for training."
    assert chosen_evidence(["Cats sleep."], "What is the rate?", "1e-4", 3) == ""
