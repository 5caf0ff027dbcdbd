from collections import Counter
from typing import Any

import numpy as np
import pytest

from stages.lib.retriever_training.examples import (
    Asked,
    Example,
    Mining,
    Window,
    by_rule,
    cut_windows,
    generated,
    in_batches,
    mine,
)


def chunk(name: str, document: str, text: str) -> dict[str, Any]:
    return {"id": name, "document": document, "source": f"{document}.md", "start": 0, "text": text}


COFFEE = "The brewer heats the water to ninety degrees before it reaches the coffee."
TEXTS = {
    "a": COFFEE,
    "b": "The brewer heats the water again after the coffee was poured into the cup.",
    "c": "The brewer cools the water to ninety degrees after the coffee has been poured.",
    "d": "Bridges of steel are painted every ten years, or they rust in the rain.",
    "e": "A sailor reads the clouds, the wind and the colour of the sea at dawn.",
}
CHUNKS = [chunk(f"{name}-0", name, text) for name, text in TEXTS.items()]
WINDOWS = [Window(chunk=number, start=0, text=text) for number, text in enumerate(TEXTS.values())]
ASKED = [Asked(question="To how many degrees does the brewer heat the water?", window=0)]


def negatives(count: int = 1, groups: dict[str, str] | None = None, share: float = 1.0, meaning: Any = None) -> Any:
    """Of the question of ASKED; the texts' likeness in meaning is `meaning`, all 0.5 but the right one's by default."""
    likeness = np.array([1.0, 0.5, 0.5, 0.5, 0.5] if meaning is None else meaning)
    mining = Mining(
        chunks=CHUNKS,
        groups=groups or {name: name for name in TEXTS},
        vectors=likeness[:, None],
        embed=lambda questions: np.ones((len(questions), 1)),
        negatives=count,
        false_negative_share=share,
    )
    examples = mine(ASKED, WINDOWS, mining)
    return [example.negatives for example in examples]


def test_windows_are_whole_sentences_at_their_places() -> None:
    text = f"{COFFEE} {COFFEE} Short. " + "x" * 500
    windows = cut_windows([chunk("a-0", "a", text)], 160)
    assert [text[one.start : one.start + len(one.text)] for one in windows] == [one.text for one in windows]
    assert windows[0].text == f"{COFFEE} {COFFEE}"
    assert [len(one.text) for one in windows[1:]] == [240]  # "Short." is too short, the long sentence is cut
    assert cut_windows([chunk("a-0", "a", "Too short.")], 100) == []


def test_a_generated_question_goes_with_the_window_of_its_support() -> None:
    chunks = [chunk("a-0", "a", f"{COFFEE} {TEXTS['d']}")]
    windows = cut_windows(chunks, 80)
    assert [one.text for one in windows] == [COFFEE, TEXTS["d"]]
    support = {"start": len(COFFEE) + 1}
    questions: list[dict[str, Any]] = [
        {"chunk": "a-0", "question": "first?", "support": None},
        {"chunk": "a-0", "question": "second?", "support": support},
        {"chunk": "elsewhere", "question": "third?", "support": None},
    ]
    assert list(generated(questions, chunks, windows)) == [
        Asked(question="first?", window=0),
        Asked(question="second?", window=1),
    ]


def test_rules_word_questions_with_the_window_that_answers_them() -> None:
    text = f"{TEXTS['e']} The library closes early because its heating was broken by the storm."
    chunks = [chunk("a-0", "a", text), chunk("b-0", "b", "No prose: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18.")]
    windows = cut_windows(chunks, 80)
    (one,) = by_rule(chunks, windows, 5, 0)
    assert one.question.endswith("?")
    assert ("sailor" in one.question) == ("sailor" in windows[one.window].text)
    assert by_rule(chunks, windows, 0, 0) == []


def test_rules_ask_nothing_of_a_text_in_another_language() -> None:
    text = "Der Seemann liest die Wolken und den Wind, weil er den Sturm fürchtet.\n\n    train(lr=0.1)"
    assert by_rule([chunk("a-0", "a", text)], cut_windows([chunk("a-0", "a", text)], 80), 5, 0) == []


def test_the_best_by_words_and_by_meaning_are_negatives_in_turn() -> None:
    assert negatives(1) == [(TEXTS["c"],)]
    assert negatives(2, meaning=[1.0, 0.1, 0.1, 0.1, 0.9]) == [(TEXTS["c"], TEXTS["e"])]


def test_a_text_of_the_questions_own_group_is_no_negative() -> None:
    together = {name: name for name in TEXTS} | {"c": "a"}
    assert negatives(1, together) == [(TEXTS["b"],)]


def test_a_text_that_scores_nearly_as_the_right_one_is_no_negative() -> None:
    assert negatives(1, share=0.5) != negatives(1)
    assert (TEXTS["e"],) not in negatives(1, meaning=[0.5, 0.4, 0.4, 0.4, 0.9])
    allowed = negatives(4, meaning=[1.0, 0.4, 0.4, 0.4, 0.9])
    assert TEXTS["e"] in allowed[0]


def test_a_question_that_the_base_hardly_understands_keeps_its_negatives() -> None:
    """Its right text ranks below all others: what is left by words still teaches."""
    assert negatives(2, meaning=[0.1, 0.5, 0.5, 0.5, 0.5]) == [(TEXTS["c"], TEXTS["b"])]


def test_a_question_with_too_few_negatives_is_left_out() -> None:
    assert negatives(5) == []


EXAMPLES = [Example(question=f"q{n}", positive=f"p{n}", negatives=("n",), group=f"g{n % 4}") for n in range(16)]


def test_no_batch_has_two_examples_of_one_group_and_all_come_alike_often() -> None:
    plan = in_batches(EXAMPLES, 4, 8, 0)
    assert len(plan) == 32
    for start in range(0, 32, 4):
        assert len({example.group for example in plan[start : start + 4]}) == 4
    assert set(Counter(example.question for example in plan).values()) == {2}
    assert plan == in_batches(EXAMPLES, 4, 8, 0) != in_batches(EXAMPLES, 4, 8, 1)
    with pytest.raises(ValueError, match="fewer groups of documents than the 5 places"):
        in_batches(EXAMPLES, 5, 1, 0)
