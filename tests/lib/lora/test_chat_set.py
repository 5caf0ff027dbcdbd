"""Chats that cannot be written as the model's turns are counted drops; a chat may become several samples."""

from typing import Any

import pytest

from stages.lib.lora.chat_set import encode
from tests import families

USER, REPLY = {"role": "user", "content": "One?"}, {"role": "assistant", "content": "Eins."}
SYSTEM = {"role": "system", "content": "Be brief."}


def records(*chats: Any) -> list[dict[str, Any]]:
    return [{"id": f"r{i}", "messages": messages} for i, messages in enumerate(chats)]


def test_what_does_not_fit_is_counted_by_its_reason_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    chats = records(
        [SYSTEM, USER, REPLY],
        [USER, USER, REPLY],
        [REPLY, USER, REPLY],
        [USER, REPLY, SYSTEM, USER, REPLY],
        [SYSTEM, REPLY],
        [USER, {"role": "assistant", "content": ""}],
        [USER, {"role": "assistant", "content": None}],
        [{"from": "human", "value": "One?"}, {"from": "gpt", "value": "Eins."}],
        [USER],
    )
    samples, counts = encode(chats, families.tokenizer("mistral"), 1000, 0)
    assert [sample.id for sample in samples] == ["r0"]
    assert counts == {
        "in": 9,
        "kept": 1,
        "dropped": {
            "empty_answer": 1,
            "late_system_turn": 1,
            "no_assistant_turn": 2,
            "no_text": 1,
            "refused_by_template": 2,
            "system_turn_alone": 1,
        },
    }
    told = capsys.readouterr().err
    assert "dropped 2 refused_by_template, the first: r1: the chat template refuses" in told
    assert "Traceback" not in told


def test_a_set_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(ValueError, match=r"none of 2 chats can be learned from: r0: .*refuses the conversation"):
        encode(records([USER, USER, REPLY], [USER, USER, REPLY]), families.tokenizer("mistral"), 1000, 0)


def test_a_chat_whose_template_rewrites_turns_is_several_samples() -> None:
    chats = records([USER, REPLY, USER, REPLY], [USER, REPLY])
    samples, counts = encode(chats, families.tokenizer("qwen3"), 1000, 0)
    assert [sample.id for sample in samples] == ["r0", "r0", "r1"]
    assert counts == {"in": 3, "kept": 3, "dropped": {}, "split": 1}
    samples, counts = encode(chats, families.tokenizer("qwen3"), 1000, 1)
    assert counts == {"in": 3, "kept": 1, "dropped": {"over_limit": 2}, "split": 1}
    longest = max(len(sample.input_ids) for sample in encode(chats, families.tokenizer("qwen3"), 1000, 0)[0])
    assert encode(chats, families.tokenizer("qwen3"), longest - 1, 0)[1]["dropped"] == {"too_long": 1}
    assert "split" not in encode(chats, families.tokenizer("llama3"), 1000, 0)[1]
