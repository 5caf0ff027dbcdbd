"""Which span of a text supports an answer to a question."""

import pytest

from bench.defaults import parameter_entries
from stages.lib.english.text_statements import statements
from stages.lib.qa.support import find_support

CONTEXT = "LoRA adds\n  low-rank matrices. The rank `r` is 8 by default, and the\nalpha is 16.\n\nOther text here."


@pytest.mark.parametrize(
    ("answer", "support"),
    [
        ("lora adds low-rank matrices", "LoRA adds\n  low-rank matrices"),
        ("16", "16"),
        ("By default the rank r is 8", "The rank `r` is 8 by default, and the\nalpha is 16."),
        ("The learning rate decays to zero", None),
        ("6", None),
        ("...", None),
        ("of the", None),
    ],
)
def test_the_span_that_supports_an_answer(answer: str, support: str | None) -> None:
    span = find_support(answer, CONTEXT, "What is it?")
    assert (CONTEXT[span["start"] : span["end"]] if span else None) == support


def test_the_first_of_the_best_sentences_supports() -> None:
    words = ["adapter", "bias", "cache", "decay", "epoch", "frozen", "gradient", "hidden", "init", "kernel"]
    seven, six = " ".join(words[:7]).capitalize(), " ".join(words[:6]).capitalize()
    text = f"{six}. {seven} once. {seven} twice."
    span = find_support(" ".join(reversed(words)), text, "")  # 7 of 10 words are just enough
    assert span is not None
    assert text[span["start"] : span["end"]] == f"{seven} once."
    assert find_support(" ".join(reversed(words)), f"{six}. Other words.", "") is None


PAGE = """# Adapter

LoRA has 1 goal. Version 1 was released in 2021.

| Name | Default | Maximum |
|---|---|---|
| `r` | 8 | 64 |
| `lora_alpha` | 8 | 8 |
| dropout | 0.1 | 1 |

- **rank**: 8 by default, at most 64.
- **layers**: 1

r: 4
lora:
  r: 8
  alpha: 8

## Training

The trainer saves every 8 steps. The width is 3 and the depth is 3.
It keeps 64 checkpoints, 10 at most on one
disk. Between -1 and 1, the value is 1.

Checkpoints
-----------

At most 10 files.
"""
CHINESE = "LoRA 有 8 个参数。r 的默认值为8。学习率为1e-4，层数为8。\n\n- 批大小：8\n- 步数：16，每8步保存一次\n"
GERMAN = (
    "Die Lernrate beträgt 0,1 am Anfang. Das Gewicht ist 0,1.\n\nr (`int`, Standard 8):\n    Der Rang.\n"
    "alpha (`int`, Standard 8):\n    Der Faktor.\n\nAm Ende sinkt die Lernrate auf 0."
)
JAPANESE = "チェックポイントは8回保存される。rの既定値は8である。層の数は8です。"
HINDI = "मॉडल में 8 परतें हैं। r का डिफ़ॉल्ट मान 8 है।"


@pytest.mark.parametrize(
    ("text", "question", "answer", "before", "after"),
    [
        (PAGE, "What is the default of r?", "8", "| `r` | ", " | 64"),
        (PAGE, "What is the default of lora_alpha?", "8", "`lora_alpha` | ", " | 8 |"),
        (PAGE, "What is the maximum of lora_alpha?", "8", "`lora_alpha` | 8 | ", " |"),
        (PAGE, "What is the maximum of dropout?", "1", "0.1 | ", " |"),
        (PAGE, "How many layers are there?", "1", "**layers**: ", ""),
        (PAGE, "What is alpha in lora?", "8", "alpha: ", ""),
        (PAGE, "After how many steps does the trainer save?", "8", "every ", " steps"),
        (PAGE, "How deep is it, what is its depth?", "3", "depth is ", "."),
        (PAGE, "What is the value?", "1", "value is ", "."),
        (PAGE, "Between which numbers does it lie?", "-1", "Between ", " and"),
        (PAGE, "How many checkpoints are kept on one disk?", "10", "checkpoints, ", " at most"),
        (PAGE, "How many files of checkpoints are there?", "10", "At most ", " files"),
        (CHINESE, "r 的默认值是多少？", "8", "默认值为", "。"),
        (CHINESE, "层数是多少？", "8", "层数为", "。"),
        (CHINESE, "批大小是多少？", "8", "批大小：", "\n"),
        (CHINESE, "每多少步保存一次？", "8", "每", "步"),
        (GERMAN, "Was ist der Standard von alpha?", "8", "alpha (`int`, Standard ", ")"),
        (GERMAN, "Wie groß ist das Gewicht?", "0,1", "Gewicht ist ", "."),
        (GERMAN, "Auf welchen Wert sinkt die Lernrate am Ende?", "0", "auf ", "."),
        (JAPANESE, "rの既定値はいくつですか。", "8", "rの既定値は", "で"),
        (JAPANESE, "層の数はいくつですか。", "8", "層の数は", "で"),
        (HINDI, "r का डिफ़ॉल्ट मान क्या है?", "8", "मान ", " है"),
    ],
)
def test_of_several_places_the_one_that_fits_the_question(
    text: str, question: str, answer: str, before: str, after: str
) -> None:
    span = find_support(answer, text, question)
    assert span is not None and text[span["start"] : span["end"]] == answer
    assert text[: span["start"]].endswith(before) and text[span["end"] :].startswith(after)


def test_a_number_is_no_part_of_another() -> None:
    assert find_support("1", "0.1 and 1.5, 1e-4, 10, x = -1 and 2,1", "Which?") is None
    assert find_support("8", "默认值为8.5。", "默认值？") is None


def test_the_sentence_of_an_answer_in_other_words() -> None:
    span = find_support("学习率等于1e-4，层数等于8", CHINESE, "学习率是多少？")
    assert span is not None and CHINESE[span["start"] : span["end"]] == "学习率为1e-4，层数为8。"
    twice = "The adapter trains matrices.\n\n## Memory\n\nThe adapter trains matrices."
    span = find_support("matrices that the adapter trains", twice, "What does the adapter train to save memory?")
    assert span is not None and span["start"] == twice.rindex("The adapter")


def test_equal_places_go_to_the_first() -> None:
    assert find_support("8", "It is 8. It is 8.", "How many are there?") == {"start": 6, "end": 7}


def test_defaults_are_found_in_their_own_entries() -> None:
    asked = [entry for entry in parameter_entries(["peft"]) if entry.default]
    assert len(asked) >= 100
    elsewhere = []
    for entry in asked:
        span = find_support(entry.default, entry.docstring, f"What is the default value of {entry.name}?")
        if span is None or not (entry.start <= span["start"] and span["end"] <= entry.end):
            elsewhere.append(entry.name)
    assert len(elsewhere) <= len(asked) / 100, elsewhere


def test_what_a_statement_belongs_to() -> None:
    text = "# A\n\nArgs:\n    r (`int`):\n        The rank. Defaults to 8.\n\n## B\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"
    found = [(text[one.start : one.end], one.name, one.heads, one.headings) for one in statements(text)]
    assert found == [
        ("Args:", "Args", (), ("A",)),
        ("r (`int`):\n        The rank.", "r", ("Args:",), ("A",)),
        ("Defaults to 8.", "r", ("r (`int`):", "Args:"), ("A",)),
        ("| x | y |", "x", (), ("A", "B")),
        ("| 1 | 2 |", "1", (), ("A", "B")),
    ]
    assert [column.strip() for *_, column in statements(text)[-1].cells] == ["x", "y"]
