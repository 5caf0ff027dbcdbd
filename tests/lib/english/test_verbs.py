import pytest

from stages.lib.english.verbs import base_form, is_action, third_person


@pytest.mark.parametrize(
    ("base", "third"), [("apply", "applies"), ("push", "pushes"), ("set", "sets"), ("do", "does"), ("copy", "copies")]
)
def test_third_person_and_back(base: str, third: str) -> None:
    assert third_person(base) == third
    assert base_form(third) == base


def test_unknown_verbs_go_by_their_ending() -> None:
    assert base_form("inserts") == "insert" and base_form("hashes") == "hash" and base_form("shadows") == "shadow"
    assert base_form("class") == base_form("is") == base_form("bus") == base_form("Layers") == ""


def test_a_first_word_that_acts() -> None:
    assert is_action("Returns") and is_action("Compute") and is_action("Shadows", "the")
    assert not is_action("Layers", "of") and not is_action("The", "layer")
