"""Prompts with worked examples before the question."""

import pytest

from stages.lib.grpo.reasoning_prompts import PromptSplit, choose_shots, instruction_of, make_prompt, make_split
from tests import families
from tests.lib.grpo.test_rewards import SAMPLE
from tests.lib.lora.tiny_chat import tiny_tokenizer
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
    split = PromptSplit([SAMPLE] * 3, [[]] * 3, [[1]] * 3)
    assert len(split.first(2).samples) == 2
    assert len(split.first(0).samples) == 3


def test_worked_examples_are_not_asked() -> None:
    records = [record(number) for number in range(4)]
    shots = choose_shots(records, 1)
    split = make_split(records, shots, tiny_tokenizer(), max_tokens=100_000)
    assert [sample.id for sample in split.samples] == [one["id"] for one in records if one is not shots[0]]
    assert split.counts == {"in": 4, "kept": 3, "dropped": {"worked_example": 1}}
    assert all(shots[0]["text"] in [message["content"] for message in prompt] for prompt in split.prompts)
    other = make_split(
        [record(7)], shots, tiny_tokenizer(), max_tokens=100_000
    )  # of another split: nothing is left out
    assert other.counts == {"in": 1, "kept": 1, "dropped": {}}


def test_a_prompt_that_just_fits_is_asked() -> None:
    one = record(1, messages=[{"role": "user", "content": "three words here"}])
    tokenizer = tiny_tokenizer()
    asked = tokenizer.apply_chat_template(one["messages"], add_generation_prompt=True, return_dict=False)
    assert make_split([one], [], tokenizer, max_tokens=len(asked)).tokens == [asked]
    assert make_split([one], [], tokenizer, max_tokens=len(asked) - 1).counts["dropped"] == {"prompt_too_long": 1}


def test_a_prompt_that_the_template_refuses_is_counted() -> None:
    refused = record(1, messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    split = make_split([refused, record(2)], [], families.tokenizer("mistral"), max_tokens=100_000)
    assert split.counts == {"in": 2, "kept": 1, "dropped": {"refused_by_template": 1}}


@pytest.mark.parametrize("name", families.FAMILIES)
def test_prompts_are_what_a_model_of_the_family_is_asked(name: str) -> None:
    tokenizer = families.tokenizer(name)
    shot = record(1, text="Reasons. ##### yes")
    one = record(
        2, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{tokenizer.eos_token}?"}]
    )
    (tokens,) = make_split([one], [shot], tokenizer, max_tokens=100_000).tokens
    usual = make_split(
        [one | {"messages": [one["messages"][0], {"role": "user", "content": "?"}]}], [shot], tokenizer, 10_000
    )
    assert tokens.count(tokenizer.eos_token_id) == usual.tokens[0].count(tokenizer.eos_token_id)
    assert "Be brief." in tokenizer.decode(tokens)


def test_an_answer_without_words_cannot_be_rewarded() -> None:
    split = make_split([record(1), record(2, answer="……")], [], tiny_tokenizer(), max_tokens=100_000)
    assert split.counts == {"in": 2, "kept": 1, "dropped": {"answer_without_words": 1}}
