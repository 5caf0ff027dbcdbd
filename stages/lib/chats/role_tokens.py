"""A chat as one text in role tokens, `<|system|> <|user|> <|assistant|>`, and back.

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


def from_text(text: str) -> list[Message]:
    """The messages of a chat in role tokens; contents without surrounding white space.

    Raises:
        ValueError: the text does not begin with a role token.
    """
    parts = _TOKEN.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise ValueError(f"a chat begins with one of <|system|> <|user|> <|assistant|>; found {text[:40]!r}")
    return [{"role": role, "content": content.strip()} for role, content in zip(parts[1::2], parts[2::2], strict=True)]
