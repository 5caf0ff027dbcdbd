from copy import deepcopy
from typing import Any

import pytest

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.rendering import folds, render
from stages.lib.conversations.turns import UnfitConversationError, folded
from tests import families

SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}
REPLY, AGAIN = {"role": "assistant", "content": "Eins."}, {"role": "user", "content": "Two?"}
FOLDING = {"mistral", "gemmatpl", "mistral_nemo"}


def text(name: str, turns: list[dict[str, Any]], fmt: ChatFormat | None = None, prompt: bool = True) -> str:
    return render(families.tokenizer(name), turns, fmt or ChatFormat(), generation_prompt=prompt).text


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_system_turn_is_folded_where_the_template_has_none(name: str) -> None:
    assert folds(families.tokenizer(name), ChatFormat()) == (name in FOLDING)
    for turns in (
        [SYSTEM, USER],
        [SYSTEM, USER, REPLY],
        [SYSTEM, USER, REPLY, AGAIN],
        [SYSTEM, USER, REPLY, AGAIN, REPLY],
    ):
        written = text(name, turns, prompt=turns[-1]["role"] == "user")
        assert written.count("Be brief.") == 1
        if name in FOLDING:
            assert "Be brief.\n\nOne?" in written


def test_folding_can_be_asked_for_and_refused() -> None:
    asked = text("qwen3", [SYSTEM, USER], ChatFormat(system_role="fold"))
    assert asked.startswith("<|im_start|>user\nBe brief.\n\nOne?")
    with pytest.raises(UnfitConversationError, match=r"chat 7: .*refuses.*system_role: fold"):
        render(
            families.tokenizer("mistral"),
            [SYSTEM, USER],
            ChatFormat(system_role="template"),
            generation_prompt=True,
            where="chat 7",
        )


def test_system_turns_that_cannot_be_folded_are_named() -> None:
    assert folded([SYSTEM, SYSTEM, USER])[0]["content"] == "Be brief.\n\nBe brief.\n\nOne?"
    assert folded([{"role": "system", "content": " "}, USER]) == [USER]
    for turns, reason in (([USER, REPLY, SYSTEM, AGAIN], "late_system_turn"), ([SYSTEM, REPLY], "system_turn_alone")):
        with pytest.raises(UnfitConversationError, match="chat 7: ") as caught:
            folded(turns, "chat 7")
        assert caught.value.reason == reason


@pytest.mark.parametrize("name", families.FAMILIES)
@pytest.mark.parametrize(
    "turns",
    [
        [USER, AGAIN],
        [SYSTEM, SYSTEM, USER],
        [USER, REPLY, SYSTEM, AGAIN],
        [SYSTEM],
        [REPLY, USER],
        [{"role": "tool", "content": "qtoolq"}, USER],
        [{"role": "nobody", "content": "qnobodyq"}],
    ],
)
def test_odd_conversations_are_written_whole_or_refused_in_plain_words(name: str, turns: list[dict[str, Any]]) -> None:
    try:
        written = text(name, turns)
    except UnfitConversationError as error:
        assert "the conversation: " in str(error)
        assert error.reason
    else:
        assert all(written.count(turn["content"]) >= turns.count(turn) for turn in turns)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "no turns"),
        ([{"content": "a"}], "turn 1 has no role"),
        ([{"role": "user", "content": None}], "turn 1 .user.: content is None"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], "content is .*must be a text"),
    ],
)
def test_turns_without_text_are_named(turns: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UnfitConversationError, match=message):
        text("qwen3", turns)


def test_dates_are_fixed() -> None:
    for name in ("llama3", "llama32"):
        assert "Today Date: 01 Jan 2026" in text(name, [USER])
    assert "Current date: 2026-01-01" in text("gpt_oss", [USER])


def test_thinking_is_the_templates_switch() -> None:
    assert text("qwen3", [USER]).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert text("qwen3", [USER], ChatFormat(thinking=True)).endswith("<|im_start|>assistant\n")
    assert text("gpt_oss", [USER]).endswith("<|start|>assistant<|channel|>final<|message|>")
    assert text("gpt_oss", [USER], ChatFormat(thinking=True)).endswith("<|start|>assistant")


@pytest.mark.parametrize(
    "reply",
    [
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nEins."},
        {"role": "assistant", "content": "Eins.", "reasoning_content": "hm"},
    ],
)
def test_what_was_thought_is_kept_for_a_model_that_thinks_and_dropped_from_history(reply: dict[str, Any]) -> None:
    thinks = ChatFormat(thinking=True)
    assert text("qwen3", [USER, reply], thinks, prompt=False).endswith("<think>\nhm\n</think>\n\nEins.<|im_end|>\n")
    assert text("qwen3", [USER, reply], prompt=False).endswith("<think>\n\n</think>\n\nEins.<|im_end|>\n")
    assert "hm" not in text("qwen3", [USER, reply, AGAIN], thinks)


def test_thinking_reaches_templates_by_their_own_names() -> None:
    reply = {"role": "assistant", "content": "Eins.", "reasoning_content": "hm"}
    written = text("gpt_oss", [USER, reply], ChatFormat(thinking=True), prompt=False)
    assert "<|channel|>analysis<|message|>hm<|end|>" in written


def test_a_quoted_mark_of_thinking_is_text_to_the_template() -> None:
    reply = {"role": "assistant", "content": "The mark is </think> there."}
    assert "The mark is </think> there." in text("qwen3", [USER, reply, AGAIN])
    assert "The mark is <|channel|>final<|message|> there." in text(
        "gpt_oss", [USER, {"role": "assistant", "content": "The mark is <|channel|>final<|message|> there."}, AGAIN]
    )


def test_without_a_template_there_is_no_chat() -> None:
    tokenizer = deepcopy(families.tokenizer("qwen3"))
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        render(tokenizer, [USER], ChatFormat(), generation_prompt=True)
