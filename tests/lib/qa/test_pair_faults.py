"""Pairs as a real model of 0.5B wrote them, and pairs that are right."""

import pytest

from stages.lib.qa.pair_faults import pair_fault

TEXT = "peft/quicktour.md The `LoraConfig` has r=8 as default. GPTSAN-japanese is of 2023, by Toshiyuki Sakamoto."


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        ("What is the name of the machine learning model?", "GPTSAN-japanese", "names_nothing"),
        ("What is the name of the dataset?", "LoraConfig", "names_nothing"),
        ("What is the default rank of LoraConfig?", "The rank is 16 by default.", "not_in_text"),
        ("Who released GPTSAN-japanese?", "It was trained by OpenAI on new_data_set.", "not_in_text"),
        ("Who released GPTSAN-japanese?", "A large company with several thousand employees", "not_in_text"),
        ("Who released GPTSAN-japanese?", "GPTSAN-japanese was released by the", "cut_off"),
        ("How is LoraConfig written?", "As `LoraConfig", "cut_off"),
        ("Who released GPTSAN-japanese?", "Toshiyuki Sakamoto", None),
        ("When was GPTSAN-japanese released?", "In 2023.", None),
        ("What is the default rank of LoraConfig?", "8", None),
        ("Was ist der Name des Modells?", "GPTSAN-japanese", None),
    ],
)
def test_what_is_wrong_with_a_pair(question: str, answer: str, fault: str | None) -> None:
    assert pair_fault(question, answer, TEXT) == fault
