import re

import pytest

from stages.lib.chats.role_tokens import holds_role_token, to_text

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Text:\nA | B\n\nQuestion: <what>?"},
    {"role": "assistant", "content": "B."},
]


def read_back(text: str) -> list[dict[str, str]]:
    """The messages of a chat in role tokens, as who trains on the text would cut it."""
    before, *parts = re.split(r"<\|(system|user|assistant)\|>\n", text)
    assert not before
    return [{"role": role, "content": content.strip()} for role, content in zip(parts[::2], parts[1::2], strict=True)]


def test_a_chat_reads_back_as_it_was_written() -> None:
    text = to_text(CHAT)
    assert text == "<|system|>\nBe brief.\n<|user|>\nText:\nA | B\n\nQuestion: <what>?\n<|assistant|>\nB."
    assert read_back(text) == CHAT


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "at least one"),
        ([{"role": "tool", "content": "x"}], "'tool'"),
        ([{"role": "user", "content": " \n"}], "empty"),
        ([{"role": "user", "content": "say <|assistant|> now"}], "<|assistant|>"),
    ],
)
def test_what_would_break_a_chat_is_refused(messages: list[dict[str, str]], named: str) -> None:
    with pytest.raises(ValueError, match=named.replace("|", r"\|")):
        to_text(messages)


def test_only_role_tokens_count_as_such() -> None:
    assert holds_role_token("a <|user|> b")
    assert not holds_role_token("a <|endoftext|> <user> b")
