import pytest

from stages.lib.chats.refusals import refusal, variant
from stages.lib.reply_acts.refusing import says_not_told

VARIANTS = """The text does not say {asked}.

  It does not tell {asked}.
This cannot be answered from the text: it does not say {asked}.
"""


def test_a_refusal_names_what_is_asked_in_a_variant_drawn_by_name() -> None:
    said = {refusal("What is r?", "", VARIANTS, str(i)) for i in range(30)}
    assert said == {
        "The text does not say what r is.",
        "It does not tell what r is.",
        "This cannot be answered from the text: it does not say what r is.",
    }
    assert refusal("What is r?", "", VARIANTS, "a") == refusal("What is r?", "", VARIANTS, "a")
    with pytest.raises(ValueError, match="no line"):
        variant(" \n", "a")


@pytest.mark.parametrize(
    "reply",
    [
        "The text does not say what r is.",
        "This paper does not contain information on how BLEURT works.",
        "The authors never explain any rationale for it.",
        "The authors didn't mention their choice.",
        "It is not possible to answer the question based on the paper.",
        "This question is unaswerable because it requires external knowledge.",
        "This question can't be answered using this paper only.",
        "The full form could not be found in this paper.",
        "No information about that is given.",
        "The numerical stability of the algorithm was not discussed in the paper.",
        "I cannot answer this from the passage.",
        "The passage doesn't explicitly state the reason.",
    ],
)
def test_refusals_are_recognised(reply: str) -> None:
    assert says_not_told(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "The rank is 8.",
        "The LoRA weights are not applied.",
        "The parameter r does not default to 16, but to 8.",
        "No. It is r, not alpha, that sets the rank.",
        "1.24%. The result can be found in Table 4.",
        "The model cannot be trained on a CPU.",
        "There was no difference between the groups.",
    ],
)
def test_answers_are_no_refusals(reply: str) -> None:
    assert not says_not_told(reply)
