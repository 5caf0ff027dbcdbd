"""What is asked of a model that shall reason: the record's prompt, worked examples before it, and what fits."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.lib.adapters.one_answer import check_classes
from stages.lib.answers.likeness import squad_words
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Message, Record, read_jsonl
from stages.lib.grpo.rewards import ReasoningSample

MOST = 0.3  # of a reasoning's characters, from which an answer is most of it: the question is repeated there, too


@dataclass
class PromptSplit:
    """What is asked of one split."""

    samples: list[ReasoningSample] = field(default_factory=list)
    prompts: list[list[Message]] = field(default_factory=list)
    tokens: list[list[int]] = field(default_factory=list)  # of the prompts
    counts: dict[str, Any] = field(default_factory=dict)

    def first(self, count: int) -> "PromptSplit":
        """The first `count` samples; 0: all."""
        end = count or len(self.samples)
        return PromptSplit(self.samples[:end], self.prompts[:end], self.tokens[:end], self.counts)


def choose_shots(records: Sequence[Record], count: int) -> list[Record]:
    """The worked examples: the shortest records, because every prompt pays for them.

    Those whose answer is most of their reasoning come last: a small model copies such an example's answer.
    """

    def cost(record: Record) -> tuple[bool, int, str]:
        copied = len(record["answer"]) > MOST * len(record["reasoning"])
        return copied, len(record["context"]) + len(record["text"]), record["id"]

    return sorted(records, key=cost)[:count]


def make_prompt(record: Record, shots: Sequence[Record]) -> list[Message]:
    """The record's system and user turn with the examples as earlier turns between them."""
    messages = [message for message in record["messages"] if message["role"] != "assistant"]
    system = [message for message in messages if message["role"] == "system"]
    asked = [message for message in messages if message["role"] == "user"]
    examples = []
    for shot in shots:
        examples += [message for message in shot["messages"] if message["role"] == "user"]
        examples.append({"role": "assistant", "content": shot["text"]})
    return [*system, *examples, *asked]


def instruction_of(record: Record) -> str:
    """What a record's own user turn says beside its context and question, which may hold a separator (a heading)."""
    asked = "\n".join(message["content"] for message in record["messages"] if message["role"] == "user")
    for part in filter(None, (record["context"], record["question"])):
        asked = asked.replace(part, "\n")
    return asked.strip()


def make_split(
    records: Sequence[Record],
    shots: Sequence[Record],
    tokenizer: Any,
    max_tokens: int,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> PromptSplit:
    """Samples and prompts of the records that can be asked.

    Drop reasons: `prompt_too_long`, `worked_example`, `answer_without_words` (nothing could be compared with it), and
    those of conversations that the template does not take.
    """
    split, dropped = PromptSplit(), Counter[str]()
    shown = {shot["id"] for shot in shots}
    for record in records:
        prompt = make_prompt(record, shots)
        try:
            asked = render(tokenizer, prompt, fmt, generation_prompt=True, where=str(record["id"]))
        except UnfitConversationError as error:
            if not dropped[error.reason]:
                print(f"dropped as {error.reason}: {error}", file=sys.stderr)
            dropped[error.reason] += 1
            continue
        tokens = encode(tokenizer, asked)
        if record["id"] in shown:
            dropped["worked_example"] += 1
        elif not squad_words(record["answer"]):
            dropped["answer_without_words"] += 1
        elif len(tokens) > max_tokens:
            dropped["prompt_too_long"] += 1
        else:
            parts = {name: record[name] for name in ("id", "question", "context", "reasoning", "answer")}
            split.samples.append(ReasoningSample(**parts, instruction=instruction_of(record)))
            split.prompts.append(prompt)
            split.tokens.append(tokens)
    split.counts = check_counts(len(records), len(split.samples), dict(dropped))
    return split


def make_splits(
    files: Mapping[str, Path],
    tokenizer: Any,
    *,
    shots: int,
    max_tokens: int,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> dict[str, PromptSplit]:
    """The splits of data/instruct/qar; `train`, which is among them, gives the worked examples.

    Raises:
        ValueError: a file is missing or broken, no record of a split fits, or all answers are the same.
    """
    required = ["id", "question", "context", "reasoning", "answer", "text", "messages"]
    records = {name: read_jsonl(file, required) for name, file in files.items()}
    shown = choose_shots(records["train"], shots)
    splits = {}
    for name, lines in records.items():
        splits[name] = make_split(lines, shown, tokenizer, max_tokens, fmt)
        if not splits[name].samples:
            raise ValueError(
                f"{files[name]}: none of {len(lines)} records can be asked ({splits[name].counts}); raise "
                f"grpo.max_prompt_length, lower grpo.shots, or add data"
            )
    check_classes([sample.answer for sample in splits["train"].samples], [], str(files["train"]))
    return splits
