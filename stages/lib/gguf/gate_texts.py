"""The held-out text that the release gate reads, and the conversations that llama.cpp replies to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.lib.core.records import Record

SHORT_PROMPTS = ("Say yes.", "What is the capital of France? Answer with one word.")  # a chat model's reply ends soon


@dataclass(frozen=True)
class HeldOut:
    """What the gate reads."""

    texts: list[str]  # rendered by the chat template where there is one
    prompts: list[list[int]]  # tokens of conversations without their last reply


def read_held_out(records: Sequence[Record], tokenizer: Any, where: str, prompts: int, beginning: int) -> HeldOut:
    """Texts of records with `messages` or `text`, and prompts: two short ones and the `prompts` shortest conversations.

    Without a chat template the prompts are the first `beginning` tokens of texts. `where` names the file.

    Raises:
        ValueError: a record has neither messages nor a text.
    """
    texts: list[str] = []
    conversations: list[list[dict[str, str]]] = []
    for i, record in enumerate(records):
        messages = record.get("messages")
        if messages and tokenizer.chat_template:
            texts.append(tokenizer.apply_chat_template(messages, tokenize=False))
            conversations.append(messages[:-1] if messages[-1]["role"] == "assistant" else messages)
        elif isinstance(record.get("text"), str):
            texts.append(record["text"])
        else:
            raise ValueError(f"{where}: record {i + 1} has neither messages nor a text")
    if not tokenizer.chat_template:
        return HeldOut(texts, [tokenizer(text)["input_ids"][:beginning] for text in texts[:prompts]])
    short = [[{"role": "user", "content": prompt}] for prompt in SHORT_PROMPTS]
    by_length = sorted(conversations, key=lambda turns: sum(len(turn["content"]) for turn in turns))
    asked = [
        tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        for turns in short + by_length[:prompts]
    ]
    return HeldOut(texts, asked)
