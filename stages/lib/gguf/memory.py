"""What a release takes, before anything is loaded: an estimate, and a refusal where it is too much.

One model is held at a time, in float32: first as it was trained, then with the adapter's products in it, from which
the file is written, then with the file's weights. Where there is room and another type may be tried, the merged weights
are held beside it. Log-probabilities are kept on the disk, a window at a time.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stages.lib.gguf.quantization import threads
from stages.lib.weights.models import size_in

GB = 1e9
PROCESS = 0.75 * GB  # Python with torch, transformers, peft and their libraries
F32, F16 = 4, 2
COPY = "a copy of the merged weights"


@dataclass(frozen=True, kw_only=True)
class ReleaseShape:
    """The sizes of a model."""

    weights: int
    largest: int  # weights of the largest matrix of a block
    embedding: int  # weights of the embedding
    vocab: int
    layers: int
    keys_values: int  # numbers that a token leaves in a layer's cache


@dataclass(frozen=True, kw_only=True)
class ReleaseLoad:
    """What is computed."""

    window: int  # tokens read at once
    windows: int
    context: int  # tokens of llama.cpp's longest conversation
    adapter: int = 0  # weights of the adapter, or of what it trains whole


def read_release_shape(directory: Path) -> ReleaseShape:
    """Counts from config.json alone: the model is built without memory.

    Raises:
        ValueError: the config does not tell a size.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False).get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    embedding = model.get_input_embeddings().weight.numel()
    matrices = [p.numel() for p in model.parameters() if p.dim() > 1 and p.numel() != embedding]

    def size(name: str) -> int:
        return size_in(config, name, directory / "config.json")

    heads = size("num_attention_heads")
    head = getattr(config, "head_dim", None) or size("hidden_size") // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    return ReleaseShape(
        weights=sum(parameter.numel() for parameter in model.parameters()),
        largest=max(matrices, default=0),
        embedding=embedding,
        vocab=size("vocab_size"),
        layers=size("num_hidden_layers"),
        keys_values=2 * head * groups,
    )


def estimate(shape: ReleaseShape, load: ReleaseLoad) -> dict[str, int]:
    """Bytes at the peak by what takes them, the widest type (F16) supposed.

    Reading, writing and llama.cpp come one after the other beside the model; the largest of the three counts.
    """
    logits = 3 * F32 * load.window * shape.vocab  # the reference's, the file's, and one of the two before its softmax
    # A matrix of each thread in float32, in llama.cpp's order and in its bytes; the embedding is one of them.
    writing = (2 * F32 + F16) * ((threads() - 1) * shape.largest + shape.embedding)
    file = F16 * (shape.weights + shape.embedding)
    cache = F16 * load.context * shape.layers * shape.keys_values
    beside = {"log-probabilities of a window": logits, "writing": writing, "llama.cpp": file + cache}
    largest = max(beside, key=lambda name: beside[name])
    return {
        "process": int(PROCESS),
        "the model in float32": F32 * (shape.weights + shape.embedding),  # an adapter may untie the embedding
        "adapter": F32 * load.adapter,
        largest: beside[largest],
    }


def with_copy(parts: dict[str, int], shape: ReleaseShape, free: int) -> dict[str, int]:
    """The estimate's parts, and COPY among them where it fits into the free bytes, too."""
    copy = {COPY: F32 * (shape.weights + shape.embedding)}
    return parts | copy if sum(parts.values()) + copy[COPY] <= free else parts


def disk_bytes(shape: ReleaseShape, load: ReleaseLoad) -> int:
    """Bytes of the log-probabilities that are kept."""
    return F32 * load.windows * load.window * shape.vocab


def check_memory(shape: ReleaseShape, load: ReleaseLoad, free: int, place: str) -> dict[str, int]:
    """The estimate's parts, if their sum is at most the free bytes.

    Raises:
        ValueError: it is not; says what to lower, or how much memory it takes.
    """
    parts = estimate(shape, load)
    total = sum(parts.values())
    if total <= free:
        return parts
    said = ", ".join(f"{name} {size / GB:.2f}" for name, size in sorted(parts.items(), key=lambda part: -part[1]))
    advice = "merge and export it on a machine with more memory"
    if total - parts.get("log-probabilities of a window", 0) <= free:
        advice = "lower gguf.window"
    raise ValueError(f"gguf needs about {total / GB:.2f} GB ({said}), {place} has {free / GB:.2f} free: {advice}")


def check_disk(shape: ReleaseShape, load: ReleaseLoad, place: Path) -> None:
    """Raises `OSError` where the log-probabilities have no room on the disk of `place`."""
    needed, free = disk_bytes(shape, load), shutil.disk_usage(place).free
    if needed > free:
        raise OSError(
            f"{place}: {needed / GB:.2f} GB are needed for log-probabilities of {load.windows * load.window} held-out "
            f"tokens, {free / GB:.2f} GB are free on that disk: lower gguf.held_out_tokens"
        )
