"""What a profile's processes take of its card by estimate, from its models' configurations alone: nothing is loaded.

The card holds one process at a time, so each row stands for itself. Training rows are the stages' own estimates
(training/memory.py, lora/memory.py), for the longest samples that the profile allows; a release (gguf) is held in the
memory of the machine or the card. A model that is asked: its weights, keys and values of a full batch, and what its
widest layer computes.
Run: python -m profiles.memory NAME [NAME ...]
"""

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from profiles.dry_run.graph import runs
from profiles.dry_run.random_models import configurations
from profiles.overlay import lay_over, read_profile
from stages.gguf import Params as ReleaseParams
from stages.grpo import Params as GrpoParams
from stages.lib.core.params import PARAMS_FILE, from_mapping, read_yaml
from stages.lib.gguf import memory as release
from stages.lib.lora.memory import BYTES, Shape, TuningLoad, estimate, read_shape
from stages.lib.weights.models import ModelEntry, model_entry
from stages.qlora import Params as QloraParams

MIB, GB = 2**20, 10**9
# Bytes that nvidia-smi reports as a card's total; of the laptop, those of its memory that other programs leave.
CARDS = {
    "laptop": 12 * GB,
    "rtx4060-8g": 8188 * MIB,
    "rtx4060ti-16g": 16380 * MIB,
    "a100": 40960 * MIB,  # the smaller of the two
    "h100": 81559 * MIB,
}
SHARE = 0.9  # of a card that an estimate may reach
CONTEXT = int(0.7 * GB)  # of CUDA and its kernels; on a laptop, of Python with torch or llama.cpp
ASKED_TOKENS = 2048  # of a prompt and its reply, at most, in the stages that ask a model
SIZES = ("num_attention_heads", "hidden_size", "num_hidden_layers")
LLAMA_ROWS = 512  # tokens that llama.cpp reads at once


def card_of(profile: str) -> int:
    """Bytes of the card that a profile is for.

    Raises:
        ValueError: it is for none.
    """
    name = profile.removesuffix("-long")
    if name not in CARDS:
        raise ValueError(f"profile {profile} is for no card; there are {', '.join(CARDS)}")
    return CARDS[name]


def shape_of(entry: ModelEntry, lora: Any) -> Shape:
    """The sizes of an entry's model and an adapter, from its real configuration."""
    with tempfile.TemporaryDirectory() as folder:
        return read_shape(_written(entry, Path(folder)), lora)


def _written(entry: ModelEntry, folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(_known(entry)["config"]), encoding="utf-8")
    return folder


def _known(entry: ModelEntry) -> dict[str, Any]:
    return configurations()[entry.source.partition(":")[2]]


def qlora_bytes(params: QloraParams, answer: int, entry: ModelEntry) -> int:
    """A step of QLoRA with `micro_batch` samples of `max_length` tokens, `answer` of each learned."""
    dtype = "bfloat16" if params.dtype == "auto" else params.dtype
    load = TuningLoad(
        rows=params.micro_batch,
        length=params.max_length,
        supervised=params.micro_batch * min(answer, params.max_length),
        dtype=dtype,
        checkpointing=params.gradient_checkpointing,
    )
    return sum(estimate(shape_of(entry, params.lora()), load).values())


def grpo_bytes(params: GrpoParams, entry: ModelEntry) -> int:
    """A step of GRPO: QLoRA's estimate with plain weights, or the sampling of its replies, whichever is more."""
    dtype = "bfloat16" if params.dtype == "auto" else params.dtype
    shape = shape_of(entry, params.lora())
    length = params.max_prompt_length + params.max_new_tokens
    load = TuningLoad(
        rows=params.micro_batch,
        length=length,
        supervised=params.micro_batch * params.max_new_tokens,
        dtype=dtype,
        checkpointing=params.gradient_checkpointing,
    )
    parts = estimate(shape, load)
    parts["weights"] = BYTES[dtype] * (shape.linear + shape.other)
    step = sum(parts.values())
    kept = sum(parts[name] for name in ("process", "weights", "adapter, gradients and moments"))
    replies = params.settings().replies
    sampling = kept + replies * (BYTES[dtype] * length * shape.layers * shape.keys_values + 4 * shape.vocab)
    return max(step, sampling)


def release_bytes(params: ReleaseParams, entry: ModelEntry, context: int) -> int:
    """A release of the base with an adapter's weights merged in."""
    with tempfile.TemporaryDirectory() as folder:
        shape = release.read_release_shape(_written(entry, Path(folder)))
    windows = -(-params.held_out_tokens // params.window)
    load = release.ReleaseLoad(window=params.window, windows=windows, context=context)
    return sum(release.estimate(shape, load).values())


def asked_bytes(entry: ModelEntry) -> int:
    """A model of the hub that a stage asks, embeds or reranks with, its batch full of the longest texts."""
    known = _known(entry)
    config: dict[str, Any] = known["config"]
    heads, hidden, layers = (int(config[name]) for name in SIZES)
    keys_values = 2 * int(config.get("head_dim") or hidden // heads) * int(config["num_key_value_heads"])
    if entry.backend == "llama_cpp":
        cache = 2 * entry.context * entry.concurrency * layers * keys_values
        logits = 4 * LLAMA_ROWS * int(config["vocab_size"])
        return CONTEXT + int(known["gguf_bytes"]) + cache + logits
    size = 4 if entry.dtype in ("float32", "auto") else 2  # auto: float32 on CPUs without AMX
    tokens = entry.batch_size * min(entry.max_length or ASKED_TOKENS, ASKED_TOKENS)
    cache = 0 if entry.backend == "sentence_transformers" else size * tokens * layers * keys_values
    layer = size * tokens * (4 * hidden + 3 * int(config["intermediate_size"]))
    return CONTEXT + size * int(known["parameters"]) + cache + layer


def estimates(profile: str) -> Iterator[tuple[str, int]]:
    """Title and bytes of each process of a profile, from chunk to rag, that has a model of the hub.

    Those of backend vllm are left out: it takes the share of the card that its entry's `gpu_memory` says.
    """
    params = copy.deepcopy(read_yaml(PARAMS_FILE))
    lay_over(params, read_profile(profile))
    where = f"profile {profile}"

    def entry(name: str) -> ModelEntry:
        return model_entry(name, params["models"], where)

    def is_known(name: str) -> bool:
        return entry(name).source.startswith("hub:") and entry(name).backend != "vllm"

    for run in runs(params):
        names = [name for name in run.models if is_known(name)]
        base = names[0] if names else ""
        if not names or run.stage == "base":
            continue
        match run.stage:
            case "qlora":
                qlora = from_mapping(QloraParams, params["qlora"], where=where)
                yield run.title, qlora_bytes(qlora, params["eval"]["max_new_tokens"], entry(base))
            case "grpo":
                yield run.title, grpo_bytes(from_mapping(GrpoParams, params["grpo"], where=where), entry(base))
            case "gguf":
                gguf = from_mapping(ReleaseParams, params["gguf"], where=where)
                yield run.title, release_bytes(gguf, entry(base), params["chat"]["context_tokens"])
            case _:
                yield run.title, max(asked_bytes(entry(name)) for name in names)


def main() -> None:
    """Prints the rows of profiles."""
    parser = argparse.ArgumentParser(prog="python -m profiles.memory", description=__doc__)
    parser.add_argument("profiles", nargs="+", metavar="NAME")
    for profile in parser.parse_args().profiles:
        card = card_of(profile)
        print(f"{profile}: {card / GB:.1f} GB")
        for title, size in estimates(profile):
            print(f"  {title:<64} {size / GB:5.1f} GB  {size / card:4.0%}")


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"memory: {error}")
