"""A chat as one text in role tokens, `<|system|> <|user|> <|assistant|>`.

The layout is Zephyr's without its end-of-sequence marks, which are a tokenizer's matter: each turn is its role
token, a line end, its content and a line end.
"""

import re
from collections.abc import Sequence

from stages.lib.core.records import Message

ROLES = ("system", "user", "assistant")
_TOKEN = re.compile(r"<\|(system|user|assistant)\|>")


def holds_role_token(text: str) -> bool:
    """Whether a text holds a role token of its own, which would break a chat written around it."""
    return bool(_TOKEN.search(text))


def to_text(messages: Sequence[Message]) -> str:
    """The chat in role tokens.

    Raises:
        ValueError: no message, an unknown role, or a content that is empty or holds a role token.
    """
    if not messages:
        raise ValueError("a chat needs at least one message")
    for message in messages:
        if message["role"] not in ROLES:
            raise ValueError(f"role {message['role']!r} is not allowed; one of {list(ROLES)}")
        if not message["content"].strip():
            raise ValueError(f"the {message['role']} message is empty")
        if found := _TOKEN.search(message["content"]):
            raise ValueError(f"the {message['role']} message holds the role token {found[0]}")
    return "\n".join(f"<|{message['role']}|>\n{message['content'].strip()}" for message in messages)
