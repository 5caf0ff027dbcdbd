import pytest

from stages.lib.answers.statements import holds
from stages.lib.chats.false_premises import (
    STATEMENT_QUESTIONS,
    Answering,
    false_premises,
    true_premises,
)
from stages.lib.chats.qa_items import Change, QAItem
from stages.lib.reading.documents import Drop

ANSWERING = Answering(corrections='No. {denial} The text says: "{evidence}"', confirmations='Yes: "{evidence}"')
VALUE = "default of a value"
ENTRY = "alpha (`int`, defaults to 8): The scale of the adapter."


def item(question: str, evidence: str, *, context: str = "", name: str = "i", opening: str = "") -> QAItem:
    return QAItem(
        id=name,
        kind="selected",
        source="d",
        context=context or f"peft's LoraConfig\n\n{evidence}",
        question=question,
        answer=evidence,
        made_by="tiny",
        evidence=evidence,
        opening=opening,
    )


def offered(one: QAItem, parameters: tuple[str, ...] = ("rank", "bias")) -> dict[str, QAItem]:
    found = false_premises(one, parameters, ANSWERING)
    assert not isinstance(found, Drop), found
    asked = {shows: premise.in_form(3) for shows, premise in found.items()}
    for premise in asked.values():
        assert (premise.kind, premise.made_by, premise.question_of) == ("false_premise", "rules", one.id)
        assert premise.context == one.context and premise.change is not None
    return asked


def made(one: QAItem, shows: str, parameters: tuple[str, ...] = ("rank", "bias")) -> QAItem:
    return offered(one, parameters)[shows]


def confirmed(one: QAItem) -> dict[str, QAItem]:
    found = true_premises(one, ANSWERING)
    assert not isinstance(found, Drop), found
    asked = {shows: premise.in_form(3) for shows, premise in found.items()}
    assert all((premise.kind, premise.change) == ("true_premise", None) for premise in asked.values())
    return asked


def told(premise: QAItem) -> str:
    """The statement within a question, whichever its form."""
    forms = [line.strip() for line in STATEMENT_QUESTIONS.splitlines() if line.strip()]
    for form in forms:
        before, _, after = form.partition("{statement}")
        if premise.question.startswith(before) and premise.question.endswith(after):
            return premise.question[len(before) : len(premise.question) - len(after)]
    raise AssertionError(premise.question)


def test_a_default_is_changed_to_a_value_that_the_text_does_not_hold() -> None:
    found = made(item("What is the default value of the parameter alpha of peft's LoraConfig?", ENTRY), VALUE)
    assert found.change is not None
    assert (found.change.type, found.change.true) == ("default", "8")
    assert (
        found.question
        == f"What is the parameter alpha of peft's LoraConfig, which defaults to {found.change.false}, for?"
    )
    assert found.answer.startswith(
        f"No. The parameter alpha does not default to {found.change.false}, but to 8. The text"
    )
    assert ENTRY in found.answer
    assert not holds(found.context, found.change.false)


@pytest.mark.parametrize(("type_", "values"), [("int", "4 8 16"), ("`bool`, *optional*", "True"), ("`str`", "")])
def test_a_default_of_none_becomes_a_value_of_its_type(type_: str, values: str) -> None:
    entry = f"steps ({type_}, defaults to `None`): The steps before pruning begins anew."
    asked = item("What is the default value of the parameter steps of X's Y?", entry)
    if not values:
        assert isinstance(false_premises(asked, (), ANSWERING), Drop)
        return
    (found,) = offered(asked, ()).values()
    assert found.change is not None
    assert found.change.true == "None" and found.change.false in values.split()


def test_a_wrong_parameter_comes_from_other_texts() -> None:
    entry = "coft (`bool`): Whether to use the variant."
    question = "Which parameter of peft's OFTConfig decides whether to use the variant?"
    context = f"peft's OFTConfig\n\n{entry}\nrank (`int`): The rank of OFT."
    found = made(item(question, entry, context=context), "parameter", ("rank", "coft", "bias"))
    assert found.change == Change(type="parameter", true="coft", false="bias")  # the text holds rank
    assert found.question == (
        "When should I use the parameter bias of peft's OFTConfig, which decides whether to use the variant?"
    )
    assert "It is coft, not bias, that decides whether to use the variant." in found.answer


def test_a_number_is_changed_in_one_statement() -> None:
    evidence = "Of the 154 physicians, 52 were trained in the region."
    found = made(item("Who was trained?", evidence), "count")
    assert found.change is not None
    assert found.change.type == "number" and found.change.true in ("154", "52")
    assert told(found) == f"o{evidence[1:-1].replace(found.change.true, found.change.false)}"
    assert f"The text has {found.change.true} there, not {found.change.false}." in found.answer
    assert evidence in found.answer


@pytest.mark.parametrize(
    ("evidence", "statement", "change"),
    [
        ("The model can be trained on a CPU.", "the model cannot be trained on a CPU", ("can", "cannot")),
        ("The cache is not emptied after a step.", "the cache is emptied after a step", ("is not", "is")),
        ("If `None`, all adapters will be merged.", "if `None`, all adapters will not be merged", ("will", "will not")),
        ("Weights cannot be merged twice at once.", "Weights can be merged twice at once", ("cannot", "can")),
    ],
)
def test_a_yes_becomes_a_no_and_a_no_a_yes(evidence: str, statement: str, change: tuple[str, str]) -> None:
    shows = "cannot" if change[1] == "cannot" else "not" if change[1].endswith("not") else "yes"
    found = made(item("What of it?", evidence), shows)
    assert told(found) == statement
    assert found.change is not None
    assert (found.change.type, found.change.true, found.change.false) == ("negation", *change)


def test_a_no_that_its_sentence_needs_stays() -> None:
    assert isinstance(false_premises(item("Q?", "The cache is not emptied either."), (), ANSWERING), Drop)


def test_what_a_topic_does_is_denied_and_confirmed() -> None:
    asked = item("What does peft's merge do?", "Merges the adapters into the base model.")
    found = made(asked, "not")
    assert told(found) == "peft's merge does not merge the adapters into the base model"
    assert "Peft's merge does merge the adapters into the base model." in found.answer
    assert told(confirmed(asked)["yes"]) == "peft's merge merges the adapters into the base model"


def test_a_word_becomes_its_opposite() -> None:
    asked = item("What of it?", "The risk was higher in smokers than in others.")
    found = made(asked, "lower")
    assert told(found) == "the risk was lower in smokers than in others"
    assert found.change == Change(type="opposite", true="higher", false="lower")
    assert "The text says higher there, not lower." in found.answer
    assert told(confirmed(asked)["higher"]) == "the risk was higher in smokers than in others"


def test_a_name_changes_place_with_one_of_its_kind() -> None:
    evidence = "Wear was crossed by the first of all bridges of the town."
    context = "The Tyne and Wear are rivers. " + evidence + " Ships on Tyne carried coal."
    found = made(item("What of it?", "The first bridge crossed Wear in the town.", context=context), "name")
    assert found.change == Change(type="name", true="Wear", false="Tyne")
    assert told(found) == "the first bridge crossed Tyne in the town"


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ("Decorator to clean up the variables.", "no_fact_to_change"),
        ("The values have type `str` in any case.", "no_fact_to_change"),  # "have" is the verb itself
        ("The cells that are infected die.", "no_fact_to_change"),  # "are" belongs to the clause, not the sentence
        ("They were no longer significant.", "no_fact_to_change"),
        ("", "no_fact_to_change"),
        ("Der Speicher wird nach jedem Schritt nicht geleert, und die Werte sind 45.", "not_english"),
        ("默认值是 45，缓存不会被清空。", "not_english"),
    ],
)
def test_no_rule_no_question(evidence: str, reason: str) -> None:
    one = item("What of it?", evidence, context=evidence or "A text.")
    found, true = false_premises(one, ("rank",), ANSWERING), true_premises(one, ANSWERING)
    assert isinstance(found, Drop) and isinstance(true, Drop)
    assert found.reason == reason
    assert true.reason == reason.replace("no_fact_to_change", "no_fact_to_ask_with")


def test_a_changed_value_that_stands_in_the_text_is_dropped() -> None:
    evidence = "The study has 7 centres."
    context = evidence + " There are groups of 5, 6, 8, 9 and 10."
    found = false_premises(item("How many?", evidence, context=context), (), ANSWERING)
    assert isinstance(found, Drop)
    assert found.reason == "change_is_in_the_text"


def test_true_premises_have_the_form_of_false_ones() -> None:
    entry = "coft (`bool`): Whether to use the variant."
    asked = item("Which parameter of peft's OFTConfig decides whether to use the variant?", entry)
    true, false = confirmed(asked)["parameter"], made(asked, "parameter")
    assert true.question == false.question.replace("rank", "coft").replace("bias", "coft")
    assert true.answer == f'Yes: "{entry}"'
    default = confirmed(item("What is the default value of the parameter alpha of peft's X?", ENTRY))[VALUE]
    assert default.question == "What is the parameter alpha of peft's X, which defaults to 8, for?"
    # A statement that nothing could be changed of is none that a false premise could look like.
    prose = true_premises(item("What is it?", "They were no longer significant."), ANSWERING)
    assert isinstance(prose, Drop) and prose.reason == "no_fact_to_ask_with"
    counted = item("How many?", "The study had 45 centres in the region.")
    assert "45 centres" in told(confirmed(counted)["count"]) and "45" not in told(made(counted, "count"))


def test_holding_a_value_means_the_whole_word() -> None:
    assert holds("a rank of 8.", "8")
    assert not holds("a rank of 0.8, 18, 8.5 and x8", "8")
    assert holds("Max_Length", "max_length")
