"""Which differences are seen to be facts without a language model."""

import pytest

from stages.lib.wording.facts import numbers, other_fact
from stages.lib.wording.form import form_key


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("Logs are kept for thirty days.", "Logs are kept for ninety days.", "thirty | ninety"),
        ("use framework 1.10.2", "use framework 2.5.0", "1.10.2 | 2.5.0"),
        ("dreißig Tage", "neunzig Tage", "dreißig | neunzig"),
        ("einunddreißig tage", "einundneunzig tage", "einunddreißig | einundneunzig"),
        ("treinta", "noventa", "treinta | noventa"),
        ("soixante", "cinquante", "soixante | cinquante"),
        ("保留三十天", "保留九十天", "三 | 九"),
        ("这是安全的", "这不是安全的", "nothing | 不"),
        ("тридцать дней", "девяносто дней", "тридцать | девяносто"),
        ("it is supported", "it is unsupported", "supported | unsupported"),
        ("it is supported", "it is not supported", "nothing | not"),
        ("you can", "you can't", "can | can't"),
        ("you may stop", "you must stop", "may | must"),
        ("kept before it", "kept after it", "before | after"),
        ("the rank -1", "the rank 1", "-1 | 1"),
        ("x < y", "x > y", "< | >"),
        ("written in C", "written in C++", "C | C++"),
        ("call torch.nn here", "call torch.fx here", "torch.nn | torch.fx"),
        ("asks Alice for it", "asks Bob for it", "Alice | Bob"),
        ("uses LoRA", "uses DoRA", "LoRA | DoRA"),
        ("lasts a day", "lasts a week", "day | week"),
        ("see [it](a.md)", "see [it](b.md)", "it](a.md | it](b.md"),
        ("half-open [0, 1]", "half-open [0, 1)", "1] | 1)"),
    ],
)
def test_other_facts(one: str, other: str, told: str) -> None:
    assert other_fact(one, other) == told
    left, _, right = told.partition(" | ")
    assert other_fact(other, one) == f"{right} | {left}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from Alice to Bob", "from Bob to Alice"),
        ("rank 8, alpha 16", "rank 16, alpha 8"),
        ("low to high", "high to low"),
    ],
)
def test_the_order_of_facts_is_a_fact(one: str, other: str) -> None:
    assert other_fact(one, other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("calls the method", "calls the function"),
        ("use the Trainer here", "use the trainer here, please"),
        ("the rank (8) is large-ish", "the rank, 8, is large-ish too"),
        ("Gives a lamp. Returns a lamp.", "Gives a lamp. Hands you a lamp."),
        ("ein kaltes Haus", "ein kühles Haus"),
        ("runs on the GPU", "runs on it"),
        ("the value in the table", "the value within the table"),
        ("zeigt den Ordner", "zeigt ihn"),
    ],
)
def test_what_may_be_wording_is_for_the_judge(one: str, other: str) -> None:
    assert form_key(one) != form_key(other) and other_fact(one, other) is None


def test_numbers_in_order_without_what_surrounds_them() -> None:
    assert numbers('Rank (8), "0.5", v1.2 and -3; x² of Größe') == ("8", "0.5", "v1.2", "-3", "x²")
