import pytest

from stages.lib.answers.statements import holds


@pytest.mark.parametrize(
    ("text", "value", "held"),
    [
        ("The default is 8.", "8", True),
        ("The default is 8.5", "8", False),
        ("0.8 and 18", "8", False),
        ("It is called LoRA", "lora", True),
        ("LoRAs", "lora", False),
        ("r 的默认值为8。", "8", True),
        ("r 的默认值为18。", "8", False),
        ("检查点每一千步保存一次。", "一千步", True),
        ("既定値はTrueです", "True", True),
    ],
)
def test_a_value_is_held_as_a_word_of_its_own(text: str, value: str, held: bool) -> None:
    assert holds(text, value) is held
