"""How much GPU memory a training needs, part by part, before it is started.

Counts what is held at the peak, in the backward pass of the loss: by eager PyTorch, or by what torch.compile makes of
it, which keeps no float32 copies of the logits. Letters as in `model.py`; n = B T tokens of a micro-batch.
"""

from dataclasses import dataclass, replace
from typing import assert_never

import torch

from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.training.precision import Precision, in_bfloat16
from stages.lib.training.training_params import OptimizerName, Parallel

GB = 10**9
MIB = 2**20

CUDA_CONTEXT = 700 * MIB  # context, kernels and cuBLAS workspace of a process; not from PyTorch's allocator
FRAGMENTATION = 0.05  # of what is allocated, lost between blocks


@dataclass(frozen=True, kw_only=True)
class TrainingLoad:
    """What is trained, and how."""

    config: GPTConfig
    micro_batch: int  # B, sequences a forward pass of one process
    width: int = 0  # T, tokens of a sequence at most; 0: the model's context
    sequences: int = 0  # a step and process, of which micro_batch is a divisor; 0: not known
    precision: Precision  # bfloat16: autocast, the weights stay float32
    optimizer: OptimizerName = "adamw"
    processes: int = 1
    parallel: Parallel = "ddp"
    compiled: bool = False


def training_memory(load: TrainingLoad) -> dict[str, int]:
    """Bytes that one process holds at the peak, by part."""
    config = load.config
    tokens = load.micro_batch * (load.width or config.context)  # n
    with torch.device("meta"):
        named = dict(GPT(config).named_parameters())
    weights = sum(parameter.numel() for parameter in named.values())
    block_matrices = sum(p.numel() for name, p in named.items() if p.dim() == 2 and name.startswith("blocks."))
    logit_matrix = config.vocab_size * config.d_model
    half, compiled = in_bfloat16(load.precision), load.compiled
    # AdamW has two moments a weight, Muon one (of the blocks' matrices); float32, as the weights and gradients.
    match load.optimizer:
        case "adamw":
            moments = 2 * weights
        case "muon":
            moments = 2 * weights - block_matrices
        case _:
            assert_never(load.optimizer)
    match load.parallel:
        case "ddp":
            share = 1
        case "fsdp":
            share = load.processes
        case _:
            assert_never(load.parallel)
    parts = {
        "weights": 4 * weights // share,
        "gradients": 4 * weights // share,
        "optimizer": 4 * moments // share,
        # Autocast's copies of what is multiplied, kept for the backward pass.
        "bfloat16 weights": 2 * (block_matrices + logit_matrix) if half else 0,
        "activations": tokens
        * (config.n_layer * _block_bytes(config, half, compiled) + _outer_bytes(config, half, compiled)),
        # The MLP's matrices times 1.702; in bfloat16 autocast's copies are these.
        "scaled weights": 4 * 8 * config.n_layer * config.d_model**2 if _scales(config) and not half else 0,
        "logits": tokens * config.vocab_size * _logit_bytes(half, compiled),
        # DDP sums gradients in buckets of their own; FSDP holds one gathered block and its gradient.
        "communication": _communication(load, weights, block_matrices),
    }
    allocated = sum(parts.values())
    return {**parts, "fragmentation": int(FRAGMENTATION * allocated), "CUDA context": CUDA_CONTEXT}


def _scales(config: GPTConfig) -> bool:
    match config.activation:
        case "gelu_sigmoid":
            return True
        case "gelu" | "gelu_tanh":
            return False
        case _:
            assert_never(config.activation)


def _logit_bytes(half: bool, compiled: bool) -> int:
    """At the loss, a token and row of the vocabulary.

    Eager: float32 in either precision, log-probabilities kept, and in the backward pass the gradients with respect to
    them and to the logits. Compiled: logits as the product gives them, whose place their gradients take (an H100's
    peaks, by `python -m bench.memory`, are 0.96 to 1.01 of the sum with one copy).
    """
    return (2 if half else 4) if compiled else 3 * 4


def _norm_bytes(config: GPTConfig, half: bool, compiled: bool) -> int:
    """A norm's saved tensors a token: its input and what comes out; of RMSNorm, the unscaled output too, in float32."""
    if compiled:
        return config.d_model * 2 * (2 if half else 4)
    match config.norm:
        case "rmsnorm":
            kept = 2 * 4  # a CPU's, which turns bfloat16 into float32; a GPU's kernel keeps its input alone
        case "layernorm":
            kept = 2 if half else 4
        case _:
            assert_never(config.norm)
    return config.d_model * (kept + (2 if half else 4))


def _block_bytes(config: GPTConfig, half: bool, compiled: bool) -> int:
    """A block's saved tensors a token; those in units of C come in the precision of the matrix products."""
    units = 3 + 1  # queries, keys and values in one tensor; attention's output, the input of its projection
    match config.position:
        case "rope":
            units += 2  # turned queries and keys
        case "learned":
            pass
        case _:
            assert_never(config.position)
    units += 4 + 4  # the MLP before and after its activation
    # Flash attention keeps a float32 a head and token, and no (T, T) matrix.
    dropout_masks = 2 * config.d_model if config.dropout else 0  # a byte each, of both branches
    inside = config.d_model * units * (2 if half else 4)
    return 2 * _norm_bytes(config, half, compiled) + inside + 4 * config.n_head + dropout_masks


def _outer_bytes(config: GPTConfig, half: bool, compiled: bool) -> int:
    """The same of the final norm, and the ids."""
    return _norm_bytes(config, half, compiled) + 2 * 8 + (config.d_model if config.dropout else 0)


def _communication(load: TrainingLoad, weights: int, block_matrices: int) -> int:
    if load.processes == 1:
        return 0
    match load.parallel:
        case "ddp":
            return 4 * weights
        case "fsdp":
            block = block_matrices // load.config.n_layer
            # Gathered: the embedding, which the first and the last step use, and two blocks: the next is prefetched.
            return 2 * 4 * (weights - block_matrices + 2 * block)
        case _:
            assert_never(load.parallel)


def largest_micro_batch(load: TrainingLoad, free: int, *, started: bool = False) -> int:
    """The largest micro-batch that fits, of those that `sequences` is a multiple of; 0: not even one sequence does."""
    one = _needed(_with(load, 1), started)
    more = _needed(_with(load, 2), started) - one  # everything is linear in B, but for bytes rounded down
    most = max(0, (free - one) // more + 1)
    if most and _needed(_with(load, most), started) > free:
        most -= 1
    return max((size for size in _divisors(load.sequences) if size <= most), default=0) if load.sequences else most


def next_smaller(load: TrainingLoad) -> int:
    """The largest micro-batch below the one that it has, of those that `sequences` is a multiple of; 0: none."""
    return max((size for size in _divisors(load.sequences) if size < load.micro_batch), default=0)


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _with(load: TrainingLoad, micro_batch: int) -> TrainingLoad:
    return replace(load, micro_batch=micro_batch)


def _needed(load: TrainingLoad, started: bool) -> int:
    return sum(size for part, size in training_memory(load).items() if not (started and part == "CUDA context"))


def check_memory(load: TrainingLoad, free: int, place: str, *, started: bool = False) -> dict[str, int]:
    """The parts of `training_memory`, if their sum is at most the bytes that are free for this process.

    `started`: the process has begun to use the place, so that its CUDA context is not free any more.

    Raises:
        ValueError: it is not; names the largest parts, and the micro-batch or context to go down to.
    """
    parts, total = training_memory(load), _needed(load, started)
    if total <= free:
        return parts
    largest = sorted(parts, key=lambda name: -parts[name])[:3]
    said = ", ".join(f"{name} {parts[name] / GB:.1f}" for name in largest)
    fits = largest_micro_batch(load, free, started=started)
    advice = (
        f"lower micro_batch from {load.micro_batch} to {fits} (batch_tokens may stay: the rest is accumulated)"
        if fits
        else f"not even one sequence fits: end what else holds memory there, or lower context "
        f"({load.config.context}), n_layer or d_model"
    )
    raise ValueError(f"the training needs {total / GB:.1f} GB ({said}), {place} has {free / GB:.1f} free: {advice}")
