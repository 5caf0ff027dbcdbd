"""Prompts with worked examples before the question."""

from stages.lib.grpo.reasoning_prompts import Split, choose_shots, instruction_of, make_prompt
from tests.lib.grpo.test_rewards import SAMPLE
from tests.test_grpo import record


def test_examples_stand_before_the_question() -> None:
    system = {"role": "system", "content": "Be brief."}
    one = record(1, messages=[system, {"role": "user", "content": "first?"}])
    two = record(2, messages=[system, {"role": "user", "content": "second?"}, {"role": "assistant", "content": "x"}])
    prompt = make_prompt(two, [one])
    assert [m["role"] for m in prompt] == ["system", "user", "assistant", "user"]
    assert [m["content"] for m in prompt] == ["Be brief.", "first?", one["text"], "second?"]
    longer = record(0, context="x" * 1000)
    assert choose_shots([longer, two, one], 1) in ([one], [two])


def test_an_example_that_could_be_copied_whole_comes_last() -> None:
    whole = record(1, reasoning="It says so: a b c.", answer="a b c.")
    part = record(2, reasoning="It says so: the lamp is red and hangs over the door.", answer="red", context="x" * 500)
    assert choose_shots([whole, part], 1) == [part]
    assert choose_shots([whole, part], 2) == [part, whole]


def test_the_instruction_is_what_stands_beside_context_and_question() -> None:
    asked = "Text:\n##### A heading\nfacts\n\nQuestion: which facts?\n\nReason, then ##### and the answer."
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": asked}]
    one = record(1, context="##### A heading\nfacts", question="which facts?", messages=messages)
    said = instruction_of(one)
    assert " ".join(said.split()) == "Text: Question: Reason, then ##### and the answer."  # the heading's mark is gone
    assert instruction_of(record(1, context="", messages=messages)).count("#####") == 2


def test_a_split_is_cut() -> None:
    split = Split([SAMPLE] * 3, [[]] * 3, [[1]] * 3)
    assert len(split.first(2).samples) == 2
    assert len(split.first(0).samples) == 3
