import pytest

from stages.lib.judging.altered import altered_answers

TEXT = "The `rank` of LoraConfig is 8, that of LoHaConfig 16. PEFT and TRL read lora.py. In May it came from Ghent."


@pytest.mark.parametrize(
    ("answer", "altered"),
    [
        ("The rank is 8.", ["The rank is 16."]),
        ("It is LoraConfig.", ["It is LoHaConfig."]),
        ("PEFT reads it.", ["TRL reads it."]),
        ("It came from Ghent.", ["It came from May."]),
        ("It is set.", []),
        ("Version 8.1 reads it.", ["Version 8 reads it.", "Version 16 reads it."]),
    ],
)
def test_a_number_or_a_name_becomes_another_one_of_its_kind(answer: str, altered: list[str]) -> None:
    assert altered_answers(answer, "What?", TEXT) == altered


def test_a_name_that_the_question_tells_does_not_come_in() -> None:
    assert altered_answers("It is LoraConfig.", "What stands beside LoHaConfig?", TEXT) == []


def test_what_the_answer_says_itself_does_not_come_in() -> None:
    assert altered_answers("The rank is 8 or 16.", "What?", TEXT) == []
