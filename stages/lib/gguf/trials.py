"""One type of a GGUF file after the other: written, compared with the model as it was trained, run in llama.cpp."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.gguf.gate_texts import HeldOut
from stages.lib.gguf.layouts import Layout
from stages.lib.gguf.llama_runtime import LlamaRuntime
from stages.lib.gguf.merging import MergedWeights, Source
from stages.lib.gguf.quantization import FileType
from stages.lib.gguf.release_gate import (
    Thresholds,
    agreements,
    closeness,
    closeness_faults,
    kept_log_probs,
    run_checks,
    runtime_faults,
)
from stages.lib.gguf.tensors import load_tensors
from stages.lib.gguf.vocabulary import Vocabulary
from stages.lib.gguf.writing import write_gguf
from stages.lib.weights.base import free_memory

ROOM = 8  # tokens of llama.cpp's context beyond the longest conversation


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What every type is held against."""

    source: Source
    fmt: ChatFormat  # how the model's conversations are written
    tokenizer: Any
    layout: Layout
    vocabulary: Vocabulary
    held: HeldOut
    windows: Tensor  # (W, T) held-out tokens
    reference: list[Path]  # log-probabilities of the model as it was trained, a file a window
    ends: set[int]
    limits: Thresholds
    max_new_tokens: int
    threads: int
    gpu_layers: int


def try_type(gate: Gate, file: Path, file_type: FileType, weights: MergedWeights) -> dict[str, Any]:
    """Writes a file and measures it; returns the numbers, with what it misses as `faults`.

    Raises:
        ValueError: a weight is not finite, or llama.cpp cannot load the file.
        OSError: no room on the disk.
    """
    model, state = weights.take()
    written = write_gguf(
        file,
        layout=gate.layout,
        vocabulary=gate.vocabulary,
        tensor=state.__getitem__,
        file_type=file_type,
        name=file.stem.removesuffix(f"-{file_type}"),
    )
    load_tensors(model, file, gate.layout)
    found = {"bytes": written.bytes, **written.description}
    found |= closeness(kept_log_probs(gate.reference), model, gate.windows)
    faults = closeness_faults(found, gate.limits)
    if not faults:
        prompts = gate.held.prompts
        context = max(512, max(map(len, prompts), default=0) + gate.max_new_tokens + ROOM)
        with LlamaRuntime(file, context, gate.threads, gate.gpu_layers) as runtime:
            ran, replies = run_checks(
                runtime, gate.tokenizer, gate.fmt, gate.held, ends=gate.ends, max_new_tokens=gate.max_new_tokens
            )
        ran |= agreements("file", model, prompts, replies)
        del model, state
        weights.let_go()
        free_memory()
        ran |= agreements("reference", gate.source.running()[0], prompts, replies)
        faults = runtime_faults(ran, gate.limits, bool(gate.vocabulary.chat_template))
        found["runtime"] = ran
    return found | {"faults": faults}
