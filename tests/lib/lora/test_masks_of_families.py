"""What real families learn from a chat: the answer and the end of its turn, behind the very prompt that is asked."""

from typing import Any

import pytest

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.markup import markup_of
from stages.lib.conversations.rendering import render
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.lora.masks import IGNORED, MaskedChat, encode_conversation, encode_samples
from tests import families

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Une question ?"}
REPLY = {"role": "assistant", "content": "Élodie naïve, 日本."}
END = {  # what a reply ends with in the text
    "zephyr": "</s>",
    "mistral": "</s>",
    "gemmatpl": "<end_of_turn>\n",
    "gemma3": "<end_of_turn>",
    "llama3": "<|eot_id|>",
    "llama32": "<|eot_id|>",
    "qwen25": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "mistral_nemo": "</s>",
    "gpt_oss": "<|return|>",
    "deepseek_v3": "<｜end▁of▁sentence｜>",
    "command_r": "<|END_OF_TURN_TOKEN|>",
}
REWRITING = {"qwen3", "gpt_oss"}  # an earlier turn is not written as it was asked for


def learned(tokenizer: Any, sample: MaskedChat) -> list[list[int]]:
    runs: list[list[int]] = [[]]
    for label in sample.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [run for run in runs if run]


def said(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).lstrip("▁ ")


@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize("turns", [[USER, REPLY], [SYSTEM, USER, REPLY]])
def test_what_is_learned_follows_the_prompt_that_is_asked(name: str, turns: list[dict[str, str]]) -> None:
    tokenizer = families.tokenizer(name)
    sample = encode_conversation(tokenizer, turns, "x")
    prompt = encode(tokenizer, render(tokenizer, turns[:-1], ChatFormat(), generation_prompt=True))
    (run,) = learned(tokenizer, sample)
    assert sample.input_ids[: len(prompt)] == prompt
    assert sample.labels[: len(prompt)] == [IGNORED] * len(prompt)
    assert sample.labels[len(prompt) : len(prompt) + len(run)] == run
    assert said(tokenizer, run) == REPLY["content"] + END[name]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_each_turn_of_a_longer_chat_is_learned_as_it_is_asked(name: str) -> None:
    tokenizer = families.tokenizer(name)
    again = {"role": "assistant", "content": "Zwei."}
    turns = [SYSTEM, USER, REPLY, {"role": "user", "content": "Two?"}, again]
    samples = encode_samples(tokenizer, turns, "x")
    assert len(samples) == (2 if name in REWRITING else 1)
    runs = [run for sample in samples for run in learned(tokenizer, sample)]
    assert [said(tokenizer, run) for run in runs] == [REPLY["content"] + END[name], "Zwei." + END[name]]
    for end in (2, 4):
        prompt = encode(tokenizer, render(tokenizer, turns[:end], ChatFormat(), generation_prompt=True))
        assert any(sample.input_ids[: len(prompt)] == prompt for sample in samples)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_markup_in_an_answer_is_no_end_of_turn(name: str) -> None:
    tokenizer = families.tokenizer(name)
    known = markup_of(tokenizer).ids
    marks = [mark for mark in known if "reserved" not in mark and "SPECIAL_" not in mark and "no▁" not in mark]
    answer = {"role": "assistant", "content": f"It ends with {' or '.join(marks)}, not {marks[0]}."}
    (run,) = learned(tokenizer, encode_conversation(tokenizer, [USER, answer], "x"))
    usual = learned(tokenizer, encode_conversation(tokenizer, [USER, REPLY], "x"))[0]
    assert [token for token in run if token in known.values()] == [t for t in usual if t in known.values()]
    assert said(tokenizer, run) == answer["content"] + END[name]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_an_answer_that_nobody_asked_for_teaches_no_default_system_turn(name: str) -> None:
    tokenizer = families.tokenizer(name)
    turns = [REPLY, USER, {"role": "assistant", "content": "Zwei."}]
    try:
        samples = encode_samples(tokenizer, turns, "x")
    except UnfitConversationError as error:
        assert error.reason == "refused_by_template"
        assert name in {"mistral", "gemmatpl", "gemma3", "mistral_nemo", "command_r"}
    else:
        runs = [run for sample in samples for run in learned(tokenizer, sample)]
        assert [said(tokenizer, run) for run in runs] == [REPLY["content"] + END[name], "Zwei." + END[name]]


@pytest.mark.parametrize("name", families.FAMILIES)
def test_decomposed_text_is_learned_whole(name: str) -> None:
    tokenizer = families.tokenizer(name)
    answer = {"role": "assistant", "content": "Le cafe\u0301 est A\u030angstro\u0308m."}
    (run,) = learned(tokenizer, encode_conversation(tokenizer, [USER, answer], "x"))
    composed = name in {"qwen25", "qwen3", "command_r"}
    expected = "Le café est Ångström." if composed else answer["content"]
    assert said(tokenizer, run) == expected + END[name]


def test_a_thinking_model_learns_behind_the_prompt_of_its_switch() -> None:
    tokenizer = families.tokenizer("qwen3")
    turns = [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nZwei."}]
    for thinking, expected in ((True, "<think>\nhm\n</think>\n\nZwei.<|im_end|>"), (False, "Zwei.<|im_end|>")):
        fmt = ChatFormat(thinking=thinking)
        sample = encode_conversation(tokenizer, turns, "x", fmt)
        prompt = encode(tokenizer, render(tokenizer, turns[:1], fmt, generation_prompt=True))
        assert sample.input_ids[: len(prompt)] == prompt
        assert [tokenizer.decode(run) for run in learned(tokenizer, sample)] == [expected]


def test_the_day_of_the_training_is_not_in_it() -> None:
    for name in ("llama3", "llama32", "gpt_oss"):
        tokenizer = families.tokenizer(name)
        text = tokenizer.decode(encode_conversation(tokenizer, [USER, REPLY], "x").input_ids)
        assert "01 Jan 2026" in text or "2026-01-01" in text


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([USER], "no_assistant_turn"),
        ([USER, {"role": "assistant", "content": " \n"}], "empty_answer"),
        ([USER, {"role": "assistant", "content": None}], "no_text"),
        ([USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n"}], "empty_answer"),
        ([{"from": "human", "value": "a"}, REPLY], "no_role"),
        ([], "no_assistant_turn"),
    ],
)
def test_what_cannot_be_learned_has_a_reason(turns: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(UnfitConversationError, match="chat 7") as caught:
        encode_samples(families.tokenizer("qwen3"), turns, "chat 7")
    assert caught.value.reason == reason
