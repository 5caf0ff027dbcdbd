"""Replies of a loaded transformers model (base, with an adapter, merged) to many conversations, in batches.

A reply depends on the model, its conversation and its seed, not on its neighbours in the batch. Models
whose layers all attend to everything go through lib/llm's batches (the prompts' common beginning is
computed once); models with sliding windows or recurrent layers through transformers' own `generate`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.encoding import encode
from stages.lib.conversations.rendering import render
from stages.lib.conversations.replies import reply_text
from stages.lib.decoding import grouped_attention
from stages.lib.decoding.roomy_cache import left_padded
from stages.lib.llm.protocol import Sampling
from stages.lib.llm.transformers_generation import RunningReply, generate_rows, plan_batches
from stages.lib.weights.base import end_tokens
from stages.lib.weights.models import size_in

Tokens = Sequence[int]
Conversation = Sequence[Mapping[str, str]]  # {"role", "content"} turns, the last one not the assistant's


@dataclass(frozen=True, kw_only=True)
class ConversationReply:
    """What a model answered."""

    text: str  # without special tokens and without what was thought before it
    tokens: int  # that it wrote, without the end of its turn
    finished: bool  # it ended its turn itself; False: it was cut at max_new_tokens


def generate_replies(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> list[ConversationReply]:
    """Answers each conversation by the tokenizer's chat template, in their order.

    The model is in evaluation mode meanwhile and is given back as it was; torch's random state is not touched.

    Args:
        model: a causal language model of transformers, or a peft model around one.
        tokenizer: with a chat template.
        conversations: what each reply answers.
        max_new_tokens: of a reply, >= 1.
        temperature: 0 is greedy.
        seed: conversation i is sampled with seed + i.
        batch_size: conversations computed together.
        fmt: how the model's conversations are written.

    Raises:
        ValueError: no chat template, one that refuses a conversation, or no room for max_new_tokens.
    """
    prompts = [
        encode(tokenizer, render(tokenizer, turns, fmt, generation_prompt=True, where=f"conversation {i}"))
        for i, turns in enumerate(conversations)
    ]
    limit = size_in(model.config, "max_position_embeddings", model.name_or_path)
    for i, prompt in enumerate(prompts):
        if not 0 < len(prompt) <= limit - max_new_tokens:
            raise ValueError(
                f"conversation {i} has {len(prompt)} tokens: beside {max_new_tokens} of reply the model takes 1 to "
                f"{limit - max_new_tokens}; lower max_new_tokens or leave it out"
            )
    asked = samplings(len(prompts), max_new_tokens, temperature, seed)
    batches = write_replies(model, tokenizer, prompts, asked, batch_size=batch_size, thinking=fmt.thinking)
    written = dict(pair for batch in batches for pair in batch)
    return [written[i] for i in range(len(prompts))]


def samplings(count: int, max_new_tokens: int, temperature: float, seed: int) -> list[Sampling]:
    """How each of `count` replies is drawn: reply i with seed + i."""
    return [Sampling(max_tokens=max_new_tokens, temperature=temperature, seed=seed + i) for i in range(count)]


def write_replies(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Tokens],
    asked: Sequence[Sampling],
    *,
    batch_size: int,
    missing: Sequence[int] | None = None,
    thinking: bool = False,
) -> Iterator[list[tuple[int, ConversationReply]]]:
    """Replies to prompts[i] for i in `missing` (None: all), batch by batch; the batches are planned over all prompts.

    Args:
        model: a causal language model of transformers, or a peft model around one.
        tokenizer: of it.
        prompts: token ids, none empty; the model has room for each and its reply.
        asked: how each is drawn.
        batch_size: replies computed together.
        missing: what is wanted of them.
        thinking: whether the prompts let the model think before it answers.
    """
    wanted = range(len(prompts)) if missing is None else missing
    if not wanted:
        return
    write = _rows if _attends_to_everything(model) else _transformers
    with evaluating(model):
        for batch in write(model, tokenizer, prompts, asked, batch_size=batch_size, wanted=set(wanted)):
            texts = [reply_text(tokenizer, prompts[i], new, thinking) for i, new, _ in batch]
            yield [
                (i, ConversationReply(text=text, tokens=len(new), finished=ended))
                for text, (i, new, ended) in zip(texts, batch, strict=True)
            ]


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Puts the model into evaluation mode, and back into the one it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _attends_to_everything(model: Any) -> bool:
    config = model.config.get_text_config()
    layers = getattr(config, "layer_types", None)
    if layers:
        return set(layers) == {"full_attention"}
    return not getattr(config, "sliding_window", None)


Written = Iterator[list[tuple[int, list[int], bool]]]  # batches of (which prompt, new tokens, whether it ended)


def _rows(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Tokens],
    asked: Sequence[Sampling],
    *,
    batch_size: int,
    wanted: set[int],
) -> Written:
    rows = {i: RunningReply(request=i, sampling=asked[i], is_stopped=lambda tokens: False) for i in sorted(wanted)}
    config = model.config.get_text_config()
    attention = config._attn_implementation
    if attention == "sdpa":  # the same numbers without a copy of keys and values for each query head
        config._attn_implementation = grouped_attention.NAME
    try:
        for batch in generate_rows(
            model,
            prompts,
            rows,
            max_tokens=[sampling.max_tokens for sampling in asked],
            size=batch_size,
            ends=end_tokens(tokenizer, model.generation_config),
        ):
            yield [(row.request, row.tokens, row.finish_reason == "stop") for row in batch]
    finally:
        config._attn_implementation = attention


def _transformers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Tokens],
    asked: Sequence[Sampling],
    *,
    batch_size: int,
    wanted: set[int],
) -> Written:
    ends = end_tokens(tokenizer, model.generation_config)
    # One random state serves a whole batch here: to keep replies apart from their neighbours, sample one by one.
    size = 1 if asked[0].temperature else batch_size
    for planned in plan_batches([len(prompt) for prompt in prompts], [s.max_tokens for s in asked], size):
        batch = [i for i in planned if i in wanted]
        if not batch:
            continue
        sampling = asked[batch[0]]
        pad = min(ends)
        ids, mask = left_padded([prompts[i] for i in batch], pad, model.device)  # (B, T)
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(sampling.seed)
            whole = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                eos_token_id=sorted(ends),
                pad_token_id=pad,
                **(
                    {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
                    if sampling.temperature
                    else {"do_sample": False}
                ),
            )
        found = []
        for i, row in zip(batch, whole[:, ids.shape[1] :].tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in ends), None)
            found.append((i, row[:end], end is not None))
        yield found
