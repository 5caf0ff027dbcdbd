import pytest

from stages.lib.english.opposites import opposed


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("The risk was higher in men.", "The risk was lower in men."),
        ("It fell before surgery was done before noon.", None),  # which of them?
        ("Weights are loaded before training begins.", "Weights are loaded after training begins."),
        ("It hurts in the lower limb.", None),
        ("It was no longer there.", None),
        ("An increased rate came of an increase.", None),  # an decrease
        ("The higher the one, the lower the other.", None),  # both are there
        ("The mean was greater in A (3.4) than in B (2.1).", None),  # its numbers say which is greater
        ("After all, nothing came.", None),
        ("It is `longer` in code.", None),
        ("It was measured before and after the operation.", None),
    ],
)
def test_a_word_is_changed_where_its_opposite_can_stand(statement: str, changed: str | None) -> None:
    assert [found for found, _, _ in opposed(statement)] == ([] if changed is None else [changed])
