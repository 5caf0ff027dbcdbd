"""What a QLoRA training will take, before anything is loaded: an estimate, and what to lower when it is too much.

Letters: T tokens of the largest micro-batch (padded), h hidden size, i width of the MLP, k keys and values together.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

from stages.lib.adapters.lora import Checkpointing, Lora
from stages.lib.weights.models import Dtype, size_in

GB = 1e9
BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4_BYTES = 0.5 + 1 / 64 + 4 / 64 / 256  # a weight: 4 bits, an 8-bit scale for 64 weights, a float32 for 256 scales
FRAGMENTATION = 0.4  # of the activations, kept by the allocator between batches of different lengths
PROCESS = 0.9 * GB  # Python with torch, transformers, trl and their libraries


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a base and its adapter."""

    linear: int  # weights that are quantized
    other: int  # embeddings, norms, output layer
    adapter: int  # weights of the adapter
    largest: int  # weights of the largest quantized matrix
    layers: int
    hidden: int
    intermediate: int  # width of the MLP
    keys_values: int  # width of keys and values together
    targets: int  # adapted matrices a layer
    r: int
    vocab: int


def read_shape(directory: Path, lora: Lora) -> Shape:
    """Counts from config.json alone: the model is built without memory.

    Raises:
        ValueError: the config does not tell a size.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer, (in, out)

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False).get_text_config()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    head = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    adapted = [
        module
        for name, module in linear.items()
        if not lora.target_modules or name.rpartition(".")[2] in lora.target_modules
    ]
    quantized = sum(module.weight.numel() for module in linear.values())

    def size(name: str) -> int:
        return size_in(config, name, directory / "config.json")

    layers, hidden, heads = size("num_hidden_layers"), size("hidden_size"), size("num_attention_heads")
    head_size = getattr(config, "head_dim", None) or hidden // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    return Shape(
        linear=quantized,
        other=sum(parameter.numel() for parameter in model.parameters()) - quantized,
        adapter=sum(lora.r * sum(module.weight.shape) for module in adapted),
        largest=max((module.weight.numel() for module in linear.values()), default=0),
        layers=layers,
        hidden=hidden,
        intermediate=int(getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * hidden),
        keys_values=2 * head_size * groups,
        targets=round(len(adapted) / layers),
        r=lora.r,
        vocab=size("vocab_size"),
    )


@dataclass(frozen=True, kw_only=True)
class TuningLoad:
    """What is computed at once."""

    rows: int  # samples of the largest micro-batch
    length: int  # tokens of its longest sample
    supervised: int  # tokens of it that are learned
    dtype: Dtype
    checkpointing: Checkpointing
    unpacked: bool = False  # the quantized weights are held as plain ones


def estimate(shape: Shape, load: TuningLoad) -> dict[str, int]:
    """Bytes by what takes them.

    The activations are fitted to two peaks of SmolLM2-135M on a CPU in float32 at 4 x 256 tokens: 4.6 GB with
    everything kept (and full logits), 3.35 GB with `selective`. Held against one step in bfloat16: 4 x 320 tokens took
    3.18 GB (3.35 by the estimate without `allocator`), 8 x 320 took 5.57 (5.61). Over 24 steps of other lengths, 3.1
    grew to 3.86. A first guide, not a bound: timings/qlora.json holds estimate and peak of each run.
    """
    size, tokens = BYTES[load.dtype], load.rows * load.length
    # What a layer keeps for its backward pass, numbers per token.
    lora_outputs = shape.targets * shape.r
    products = 3 * shape.hidden + shape.keys_values + 2 * shape.intermediate + shape.hidden + lora_outputs
    # Besides the products: inputs of the adapters (float32), norms, rotary halves, the MLP's gate and their products.
    everything = products + 18 * shape.hidden + 2 * shape.keys_values + 5 * shape.intermediate
    match load.checkpointing:
        case "none":
            kept = everything
        case "selective":
            kept = everything * 3 // 4
        case "full":
            kept = shape.hidden
        case _:
            assert_never(load.checkpointing)
    activations = tokens * size * (shape.layers * kept + 2 * everything)
    linear = shape.linear * (NF4_BYTES + load.unpacked * size)  # unpacking them, both are held
    return {
        "process": int(PROCESS),
        "weights": int(linear + shape.other * size),
        "adapter, gradients and moments": 16 * shape.adapter,  # float32 each: weight, gradient, two moments
        "activations": activations,
        "allocator": int(FRAGMENTATION * activations),
        "logits": 3 * 4 * load.supervised * shape.vocab,
        "one matrix in full": 2 * size * shape.largest,
    }


def check_memory(shape: Shape, load: TuningLoad, free: int, place: str) -> dict[str, int]:
    """The estimate's parts, if their sum is at most the free bytes.

    Raises:
        ValueError: it is not; says what to change: gradient_checkpointing, micro_batch (with
            gradient_accumulation_steps) or max_length.
    """
    parts = estimate(shape, load)
    total = sum(parts.values())
    if total <= free:
        return parts
    largest = sorted(parts, key=lambda name: -parts[name])[:3]
    said = ", ".join(f"{name} {parts[name] / GB:.2f}" for name in largest)
    raise ValueError(
        f"the longest micro-batch ({load.rows} x {load.length} tokens) needs about {total / GB:.2f} GB ({said}), "
        f"{place} has {free / GB:.2f} free: {advice(shape, load, free)}"
    )


def unpacked_if_it_fits(shape: Shape, load: TuningLoad, free: int) -> TuningLoad:
    """The load with its 4-bit weights unpacked, where the free bytes allow it; else as it is."""
    held = replace(load, unpacked=True)
    return held if sum(estimate(shape, held).values()) <= free else load


def advice(shape: Shape, load: TuningLoad, free: int) -> str:
    """The first change that fits: fewer samples at once, then a smaller footprint a layer, then shorter samples."""

    def fits(changed: TuningLoad) -> bool:
        return sum(estimate(shape, changed).values()) <= free

    for rows in range(load.rows - 1, 0, -1):
        if fits(replace(load, rows=rows, supervised=-(-load.supervised * rows // load.rows))):
            return (
                f"lower micro_batch to {rows} and raise gradient_accumulation_steps by as much "
                "(the result stays the same)"
            )
    one = replace(load, rows=1, supervised=-(-load.supervised // load.rows))
    if load.checkpointing != "full" and fits(replace(one, checkpointing="full")):
        return "set gradient_checkpointing: full and micro_batch: 1, and raise gradient_accumulation_steps by as much"
    shortest = replace(one, checkpointing="full")
    for length in range(load.length, 0, -32):
        if fits(replace(shortest, length=length, supervised=min(shortest.supervised, length))):
            return f"set gradient_checkpointing: full, micro_batch: 1 and lower max_length to {length}"
    return "not even one token fits: take a smaller base"
