"""The systems that eval compares: a base model, adapters on it, a GGUF file; each answers the same conversations."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.evaluation.forgetting import Floats, window_losses
from stages.lib.llm.asking import open_model
from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling
from stages.lib.replying.conversation_replies import Conversation, ConversationReply, samplings
from stages.lib.replying.kept_replies import AnsweringModel, Batches, reply_ledger
from stages.lib.weights.gguf_header import read_gguf_header
from stages.lib.weights.models import ModelEntry

LEAST_CONTEXT = 4096  # of a GGUF that takes as many
SPARE = 64  # tokens by which a GGUF's own tokenizer may exceed the base's
SystemName = Literal["base", "qlora", "grpo", "gguf"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How the systems are asked; the same for all."""

    max_new_tokens: int
    temperature: float
    seed: int  # conversation i is sampled with seed + i
    batch_size: int
    dtype: str  # of the weights of base and adapters
    gpu_layers: int = 0  # of a GGUF file, that a GPU computes; -1: all


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What one system said."""

    replies: list[ConversationReply]
    losses: Floats | None  # nats per token of each general text; None: this runtime does not tell


def ask_transformers(
    base: str,
    entry: ModelEntry,
    adapter: Path | None,
    conversations: Sequence[Conversation],
    windows: Sequence[list[int]],
    *,
    asking: Asking,
) -> Answers:
    """Lets `models.<base>` or the adapter on it answer, and measures its losses on the windows; both are kept.

    Raises:
        ValueError: no whole adapter is there, or it is one of another base.
    """
    with reply_ledger() as ledger:
        model = AnsweringModel(
            base, entry, adapter, dtype=asking.dtype, batch_size=asking.batch_size, merged=False, ledger=ledger
        )
        with closing(model):
            fmt = ChatFormat.of(entry)
            prompts = [
                encode(model.tokenizer, render(model.tokenizer, turns, fmt, generation_prompt=True))
                for turns in conversations
            ]
            asked = samplings(len(prompts), asking.max_new_tokens, asking.temperature, asking.seed)
            return Answers(replies=model.replies(prompts, asked), losses=kept_losses(model, windows))


def kept_losses(system: AnsweringModel, windows: Sequence[list[int]]) -> Floats:
    """Mean nats per token of each window, (W,), through the ledger."""
    size = system.batch_size

    def compute(model: Any, missing: Sequence[int]) -> Batches:
        for start in range(0, len(windows), size):  # in the batches of an uninterrupted run
            batch = range(start, min(start + size, len(windows)))
            if wanted := set(missing).intersection(batch):
                found = window_losses(model, [windows[i] for i in batch], size).tolist()
                yield [(i, {"nats": nats}) for i, nats in zip(batch, found, strict=True) if i in wanted]

    questions = [("window", window) for window in windows]
    found = system.kept(questions, window_losses, compute, "losses on general text")
    return np.array([one["nats"] for one in found])


def ask_gguf(
    file: Path, conversations: Sequence[Conversation], asking: Asking, longest: int = 0, thinking: bool = False
) -> Answers:
    """Lets a GGUF file answer through llama.cpp, its chat template included; the replies are kept.

    `longest`: tokens of the longest prompt, by the base's tokenizer; `thinking`: it may think before it answers.

    Raises:
        ValueError: the file is damaged, or a conversation is more than a system and a user's turn, or too long.
    """
    requests = [
        GenerateRequest(
            prompt=single_prompt(conversation),
            sampling=Sampling(
                max_tokens=asking.max_new_tokens, temperature=asking.temperature, seed=(asking.seed + i) % 2**32
            ),
        )
        for i, conversation in enumerate(conversations)
    ]
    context = min(gguf_context(file), max(LEAST_CONTEXT, longest + asking.max_new_tokens + SPARE))
    # One at a time: what llama.cpp computes together depends on the clock, and with it the last digits and the replies.
    entry = ModelEntry(
        source=f"path:{file}",
        backend="llama_cpp",
        context=context,
        concurrency=1,
        thinking=thinking,
        gpu_layers=asking.gpu_layers,
    )
    with open_model(entry) as model:
        found = model.generate(requests, f"replies of {file.name}")
    for i, reply in enumerate(found):
        if reply.error:
            raise ValueError(f"{file}: conversation {i}: {reply.error}; lower max_new_tokens or leave it out")
    replies = [
        ConversationReply(text=reply.text, tokens=reply.completion_tokens, finished=reply.finish_reason == "stop")
        for reply in found
    ]
    return Answers(replies=replies, losses=None)


def single_prompt(conversation: Conversation) -> Prompt:
    """A conversation of a user's turn, with or without a system turn before it.

    Raises:
        ValueError: it is any other conversation.
    """
    roles = [turn["role"] for turn in conversation]
    if roles not in (["user"], ["system", "user"]):
        raise ValueError(f"a GGUF is asked with a system and a user's turn, found {roles}")
    system = conversation[0]["content"] if len(roles) == 2 else ""
    return Prompt(text=conversation[-1]["content"], system=system)


def find_gguf(directory: Path) -> Path:
    """The one GGUF file of a directory.

    Raises:
        ValueError: there is none, or more than one.
    """
    files = sorted(directory.glob("*.gguf"))
    if len(files) != 1:
        raise ValueError(f"{directory}: expected one .gguf file, found {[file.name for file in files]}; run gguf")
    return files[0]


def gguf_context(file: Path) -> int:
    """Tokens that the model in a GGUF file takes at most.

    Raises:
        ValueError: it is not there, not a GGUF, cut off, or does not tell.
    """
    values = read_gguf_header(file).values
    name = f"{values.get('general.architecture', '?')}.context_length"
    if name not in values:
        raise ValueError(f"{file}: has no {name}: not a language model, or written by an old converter")
    return int(values[name])
