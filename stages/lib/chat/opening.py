"""A stream of an entry of `models:` or a GGUF file, which the caller names; nothing here reads params.yaml."""

from pathlib import Path
from typing import assert_never

from stages.lib.chat.events import Stream
from stages.lib.chat.gguf_stream import GgufStream
from stages.lib.chat.server_stream import ServerStream
from stages.lib.chat.streaming import TransformersStream
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.weights.base import load_base
from stages.lib.weights.models import ModelEntry, resolved_dtype


def open_entry(
    model: ModelEntry | Path,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    base_url: str = "",
    api_key_env: str = "",
) -> Stream:
    """Loads or connects to the model.

    Args:
        model: an entry with backend llama_cpp, transformers or openai, or a GGUF file.
        max_new_tokens: of a reply, at most.
        temperature: 0 is greedy.
        seed: of sampling.
        base_url: of an `openai` entry's server; "": the entry's own, else from the environment.
        api_key_env: the environment variable with that server's key; "": the entry's own, else the usual ones.

    Raises:
        ValueError: weights that are absent, damaged or not the pinned ones, or a backend that does not chat.
    """
    if isinstance(model, Path):
        return GgufStream(model, max_new_tokens, temperature, seed)
    match model.backend:
        case "llama_cpp":
            return GgufStream(model, max_new_tokens, temperature, seed)
        case "openai":
            return ServerStream(
                model.source.partition(":")[2],
                max_new_tokens,
                temperature,
                seed,
                base_url=base_url or model.base_url,
                api_key_env=api_key_env or model.api_key_env,
                context=model.context,
                thinking=model.thinking,
                extra_body=model.extra_body,
                timeout=model.timeout,
                system_role=model.system_role,
            )
        case "transformers":
            loaded = load_base(model, resolved_dtype(model.dtype))
            fmt = ChatFormat.of(model)
            return TransformersStream(*loaded, max_new_tokens, temperature, seed, fmt=fmt, context=model.max_length)
        case "vllm" | "sentence_transformers":
            raise ValueError(
                f"{model.source}: backend {model.backend!r} does not chat; serve the model (vllm serve) and name it "
                "with backend openai, or choose llama_cpp or transformers"
            )
        case _:
            assert_never(model.backend)
