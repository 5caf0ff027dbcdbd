"""The systems that eval compares: a base model, adapters on it, a GGUF file; each answers the same conversations."""

import gc
import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.evaluation.conversation_replies import Conversation, ConversationReply, generate_replies
from stages.lib.evaluation.forgetting import Floats, window_losses
from stages.lib.llm.protocol import GenerateRequest, Prompt, Sampling
from stages.lib.weights.base import load_adapter, load_base
from stages.lib.weights.models import ModelEntry

SystemName = Literal["base", "qlora", "grpo", "gguf"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How the systems are asked; the same for all."""

    max_new_tokens: int
    temperature: float
    seed: int  # conversation i is sampled with seed + i
    batch_size: int
    dtype: str  # of the weights of base and adapters


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
    """Loads `models.<base>` or the adapter on it, lets it answer and measures its losses on the windows.

    Raises:
        ValueError: no whole adapter is there, it is one of another base, or a conversation is too long.
    """
    if adapter:
        model, tokenizer = load_adapter(base, entry, adapter, asking.dtype)
    else:
        model, tokenizer = load_base(entry, asking.dtype)
    replies = generate_replies(
        model,
        tokenizer,
        conversations,
        max_new_tokens=asking.max_new_tokens,
        temperature=asking.temperature,
        seed=asking.seed,
        batch_size=asking.batch_size,
        fmt=ChatFormat.of(entry),
    )
    losses = window_losses(model, windows, asking.batch_size)
    del model
    free_memory()
    return Answers(replies=replies, losses=losses)


def ask_gguf(file: Path, conversations: Sequence[Conversation], asking: Asking, thinking: bool = False) -> Answers:
    """Lets a GGUF file answer through llama.cpp, its chat template included; `thinking`: it may think before.

    Raises:
        ValueError: the file is damaged, or a conversation is more than a system and a user's turn, or too long.
    """
    from stages.lib.llm.llama_cpp_backend import LlamaCppBackend

    check_gguf(file)
    requests = [
        GenerateRequest(
            prompt=single_prompt(conversation),
            sampling=Sampling(
                max_tokens=asking.max_new_tokens, temperature=asking.temperature, seed=(asking.seed + i) % 2**32
            ),
        )
        for i, conversation in enumerate(conversations)
    ]
    # One at a time: what llama.cpp computes together depends on the clock, and with it the last digits and the replies.
    entry = ModelEntry(source=f"path:{file}", backend="llama_cpp", context=4096, concurrency=1, thinking=thinking)
    with closing(LlamaCppBackend(entry)) as backend:
        found = dict(pair for batch in backend.generate(requests, range(len(requests))) for pair in batch)
    replies = []
    for i in range(len(requests)):
        if found[i].error:
            raise ValueError(f"{file}: conversation {i}: {found[i].error}; lower max_new_tokens or leave it out")
        replies.append(
            ConversationReply(
                text=found[i].text, tokens=found[i].completion_tokens, finished=found[i].finish_reason == "stop"
            )
        )
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


def check_gguf(file: Path) -> None:
    """Checks that a file is a GGUF whose tensors all lie within it: llama.cpp's own complaint goes to its log.

    Raises:
        ValueError: it is not there, not a GGUF, or cut off.
    """
    import gguf

    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    try:
        gguf.GGUFReader(file)  # maps each tensor's bytes
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError, struct.error) as error:
        raise ValueError(f"{file}: not a whole GGUF file (truncated?), write it again: {error}") from error


def free_memory() -> None:
    """Gives the memory of models that are no longer named back, the GPU's included."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
