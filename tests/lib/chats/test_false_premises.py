import pytest

from stages.lib.answers.statements import holds
from stages.lib.chats.false_premises import false_premise, true_premise
from stages.lib.chats.qa_items import Change, QAItem
from stages.lib.reading.documents import Drop

CORRECTIONS = 'No. {denial} The text says: "{evidence}"'
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


def made(one: QAItem, parameters: tuple[str, ...] = ("rank", "bias")) -> QAItem:
    found = false_premise(one, parameters, CORRECTIONS)
    assert isinstance(found, QAItem), found
    assert found.change is not None
    assert (found.kind, found.made_by, found.question_of, found.context) == (
        "false_premise",
        "rules",
        one.id,
        one.context,
    )
    return found


def test_a_default_is_changed_to_a_value_that_the_text_does_not_hold() -> None:
    found = made(item("What is the default value of the parameter alpha of peft's LoraConfig?", ENTRY))
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
    found = false_premise(item("What is the default value of the parameter steps of X's Y?", entry), (), CORRECTIONS)
    if not values:
        assert isinstance(found, Drop)
        return
    assert isinstance(found, QAItem) and found.change is not None
    assert found.change.true == "None" and found.change.false in values.split()


def test_a_wrong_parameter_comes_from_other_texts() -> None:
    entry = "coft (`bool`): Whether to use the variant."
    question = "Which parameter of peft's OFTConfig decides whether to use the variant?"
    context = f"peft's OFTConfig\n\n{entry}\nrank (`int`): The rank of OFT."
    found = made(item(question, entry, context=context), ("rank", "coft", "bias"))
    assert found.change == Change(type="parameter", true="coft", false="bias")  # the text holds rank
    assert found.question == (
        "When should I use the parameter bias of peft's OFTConfig, which decides whether to use the variant?"
    )
    assert "It is coft, not bias, that decides whether to use the variant." in found.answer


def test_a_number_is_changed_in_one_statement() -> None:
    evidence = "Of the 154 physicians, 52 were trained in the region."
    found = made(item("Who was trained?", evidence))
    assert found.change is not None
    assert found.change.type == "number" and found.change.true in ("154", "52")
    assert found.question == f"Why is it that o{evidence[1:-1].replace(found.change.true, found.change.false)}?"
    assert f"does not say {found.change.false} there, but {found.change.true}." in found.answer


@pytest.mark.parametrize(
    ("evidence", "question", "change"),
    [
        ("The model can be trained on a CPU.", "Why is it that the model cannot be trained on a CPU?",
         ("can", "cannot")),
        ("The cache is not emptied after a step.", "Why is it that the cache is emptied after a step?",
         ("is not", "is")),
        ("If `None`, all adapters will be merged.", "Why is it that if `None`, all adapters will not be merged?",
         ("will", "will not")),
        ("Weights cannot be merged twice at once.", "Why is it that Weights can be merged twice at once?",
         ("cannot", "can")),
    ],
)  # fmt: skip
def test_a_yes_becomes_a_no_and_a_no_a_yes(evidence: str, question: str, change: tuple[str, str]) -> None:
    found = made(item("What of it?", evidence))
    assert found.question == question
    assert found.change is not None
    assert (found.change.type, found.change.true, found.change.false) == ("negation", *change)


def test_what_a_topic_does_is_denied() -> None:
    found = made(item("What does peft's merge do?", "Merges the adapters into the base model."))
    assert found.question == "Why does peft's merge not merge the adapters into the base model?"
    assert "Peft's merge does merge the adapters into the base model." in found.answer


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ("Decorator to clean up the variables.", "no_fact_to_change"),
        ("The values have type `str` in any case.", "no_fact_to_change"),  # "have" is the verb itself
        ("The cells that are infected die.", "no_fact_to_change"),  # "are" belongs to the clause, not the sentence
        ("They were no longer significant.", "no_fact_to_change"),
        ("", "no_fact_to_change"),
    ],
)
def test_no_rule_no_question(evidence: str, reason: str) -> None:
    found = false_premise(item("What of it?", evidence, context="A text."), ("rank",), CORRECTIONS)
    assert isinstance(found, Drop)
    assert found.reason == reason


def test_a_changed_value_that_stands_in_the_text_is_dropped() -> None:
    evidence = "The study has 7 centres."
    context = evidence + " There are groups of 8, 9 and 10."
    found = false_premise(item("How many?", evidence, context=context), (), CORRECTIONS)
    assert isinstance(found, Drop)
    assert found.reason == "change_is_in_the_text"


def test_true_premises_have_the_form_of_false_ones() -> None:
    entry = "coft (`bool`): Whether to use the variant."
    asked = item("Which parameter of peft's OFTConfig decides whether to use the variant?", entry)
    true, false = true_premise(asked, 'Yes: "{evidence}"'), made(asked)
    assert isinstance(true, QAItem)
    assert true.question == false.question.replace("rank", "coft").replace("bias", "coft")
    assert (true.kind, true.answer, true.change) == ("true_premise", f'Yes: "{entry}"', None)
    default = true_premise(item("What is the default value of the parameter alpha of peft's X?", ENTRY), "{evidence}")
    assert isinstance(default, QAItem)
    assert default.question == "What is the parameter alpha of peft's X, which defaults to 8, for?"
    prose = true_premise(item("What is it?", "It is a model."), "{evidence}")
    assert isinstance(prose, Drop) and prose.reason == "no_fact_to_ask_with"


def test_holding_a_value_means_the_whole_word() -> None:
    assert holds("a rank of 8.", "8")
    assert not holds("a rank of 0.8, 18, 8.5 and x8", "8")
    assert holds("Max_Length", "max_length")
