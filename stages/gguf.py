"""tuned model -> models/gguf/*.gguf, Modelfile: merge, quantize to the smallest type that passes the release gate.

The types are tried in the order of `types`. One that misses a threshold is deleted, its numbers stay in
metrics/gguf.json; when none passes, the stage fails.
Run: python -m stages.gguf
"""

import copy
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages.lib.cache.place import cache_dir
from stages.lib.core.metrics import Stopwatch, ending, write_metrics
from stages.lib.core.params import load
from stages.lib.core.records import read_json_object, read_jsonl, write_text
from stages.lib.gguf import layouts as gguf_layouts
from stages.lib.gguf import vocabulary as gguf_vocabulary
from stages.lib.gguf.gate_texts import HeldOut, read_held_out
from stages.lib.gguf.llama_runtime import LlamaRuntime, check_installed
from stages.lib.gguf.merging import Merged, open_base, open_directory, open_merged
from stages.lib.gguf.modelfile import make_modelfile
from stages.lib.gguf.quantization import FileType
from stages.lib.gguf.release_gate import (
    Thresholds,
    closeness,
    closeness_faults,
    log_probs,
    make_windows,
    run_checks,
    runtime_faults,
)
from stages.lib.gguf.tensors import load_tensors
from stages.lib.gguf.writing import write_gguf
from stages.lib.weights.base import ADAPTER_CONFIG, end_tokens
from stages.lib.weights.models import Dtype, load_model_entry

MODELS_DIR = Path("models")
OUTPUT_DIR = MODELS_DIR / "gguf"


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `gguf` of params.yaml."""

    model: str  # under models/: an adapter, a whole model, or our own GPT (gpt/best); or the name of a base (as `base`)
    base: str  # of an adapter: an entry of models:; stages/base.py writes a note of it for DVC
    dtype: Dtype  # of the base when the adapter is merged, and of the model that the gate compares with
    types: list[FileType]  # smallest first; the first that passes is released
    held_out: str  # JSONL with `messages` or `text`, which the model was not trained on
    held_out_tokens: int  # tokens of it that the gate reads, >= window
    window: int  # tokens read at once, >= 2
    conversations: int  # held-out conversations that llama.cpp replies to, beside two short ones, >= 1
    max_new_tokens: int  # of a reply, >= 1
    runtime_threads: int  # of llama.cpp; 1 where others use the machine, too: it gets many times slower otherwise
    max_mean_kl: float  # nats per token, KL(16-bit || quantized)
    min_top_agreement: float  # share of tokens with the same most likely successor, 0..1
    max_perplexity_ratio: float  # quantized over 16-bit, on the held-out text
    min_runtime_agreement: float  # share of llama.cpp's greedy tokens that transformers draws from the same weights
    min_greedy_agreement: float  # likewise, from the 16-bit weights
    min_stopped: int  # replies that must end by themselves, >= 0
    # Message shapes that may be read otherwise: decomposed_unicode for a tokenizer with NFC, which llama.cpp lacks.
    excused_shapes: list[str]

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not self.types:
            raise ValueError("types: no type is named")
        if self.window < 2 or self.held_out_tokens < self.window:
            raise ValueError(f"held_out_tokens: {self.held_out_tokens} is less than a window of {self.window}")
        if self.conversations < 1 or self.max_new_tokens < 1 or self.min_stopped < 0 or self.runtime_threads < 1:
            raise ValueError("min_stopped must be >= 0; conversations, max_new_tokens and runtime_threads >= 1")
        for name in ("min_top_agreement", "min_runtime_agreement", "min_greedy_agreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not in 0..1")

    def thresholds(self) -> Thresholds:
        """What the gate demands."""
        values = {name: getattr(self, name) for name in Thresholds.__dataclass_fields__}
        return Thresholds(**values | {"excused_shapes": tuple(self.excused_shapes)})


def open_model(params: Params) -> Merged:
    """The model to release: what lies in models/{model}, or the base of that name.

    Raises:
        ValueError: it is not there, not whole, or an adapter of another base.
    """
    directory = MODELS_DIR / params.model
    if not directory.is_dir():
        return open_base(load_model_entry(params.model), params.dtype)
    if (directory / ADAPTER_CONFIG).is_file():
        return open_merged(params.base, load_model_entry(params.base), directory, params.dtype)
    if "tokenizer" in read_json_object(directory / "config.json"):
        return open_own(directory, params.dtype)
    return open_directory(directory, params.dtype)


def open_own(directory: Path, dtype: Dtype) -> Merged:
    """Our own GPT of a checkpoint, in transformers' layout.

    Raises:
        ValueError: the checkpoint is damaged, or no family of transformers has its layers.
    """
    from stages.lib.gpt.checkpoints import load_model
    from stages.lib.gpt_export.huggingface import to_hf
    from stages.lib.tokens.tokenizers import load_tokenizer

    model, tokenizer = load_model(directory)
    converted = cache_dir() / "gguf" / "gpt-as-huggingface"
    shutil.rmtree(converted, ignore_errors=True)
    to_hf(model, load_tokenizer(tokenizer), converted)
    return open_directory(converted, dtype)


def export(params: Params, source: Merged, held: HeldOut, directory: Path, watch: Stopwatch) -> dict[str, Any]:
    """Writes the first type that passes into the directory, with its Modelfile; returns the metrics.

    Raises:
        ValueError: the model's family or tokenizer is not known to llama.cpp.
        OSError: no room on the disk.
    """
    limits = params.thresholds()
    model, tokenizer = source.model, source.tokenizer
    state = model.state_dict()
    layout = gguf_layouts.make_layout(model.config, {name: tuple(tensor.shape) for name, tensor in state.items()})
    vocabulary = gguf_vocabulary.read_vocabulary(tokenizer, layout.vocabulary)
    chat = bool(vocabulary.chat_template)
    tokens = [tokenizer(text, add_special_tokens=not chat)["input_ids"] for text in held.texts]
    windows = make_windows(tokens, min(params.window, layout.context), params.held_out_tokens)
    reference = model.float()
    expected = [log_probs(reference, window) for window in windows]
    quantized = copy.deepcopy(reference)
    watch.lap("reference")
    name = params.model.replace("/", "-")
    ends = end_tokens(tokenizer, model.config, vocabulary.end_of_turn)
    tried: dict[str, Any] = {}
    for file_type in params.types:
        file = directory / f"{name}-{file_type}.gguf"
        written = write_gguf(
            file,
            layout=layout,
            vocabulary=vocabulary,
            tensor=state.__getitem__,
            file_type=file_type,
            name=name,
        )
        watch.lap(f"write_{file_type}")
        load_tensors(quantized, file, layout)
        found = closeness(expected, quantized, windows)
        faults = closeness_faults(found, limits)
        watch.lap(f"compare_{file_type}")
        tried[file_type] = {"bytes": written.bytes, **written.description, **found}
        if not faults:
            longest = max(map(len, held.prompts), default=0) + params.max_new_tokens
            with LlamaRuntime(file, max(512, longest + 8), params.runtime_threads) as runtime:
                models = {"file": quantized, "reference": reference}
                ran = run_checks(
                    runtime,
                    tokenizer,
                    prompts=held.prompts,
                    texts=held.texts[:8],
                    models=models,
                    ends=ends,
                    max_new_tokens=params.max_new_tokens,
                )
            faults = runtime_faults(ran, limits, chat)
            tried[file_type]["runtime"] = ran
            watch.lap(f"run_{file_type}")
        tried[file_type]["faults"] = faults
        print(type_line(file_type, tried[file_type]), flush=True)
        if not faults:
            add_bos = vocabulary.add_bos
            text = make_modelfile(file.name, tokenizer, layout.context, vocabulary.end_of_turn, add_bos)
            write_text(directory / "Modelfile", text)
            break
        file.unlink()
    released = next((kind for kind, result in tried.items() if not result["faults"]), None)
    return {
        "model": name,
        "released": released,
        "merged_modules": source.merged_modules,
        "architecture": layout.architecture,
        "pre_tokenizer": vocabulary.pre,
        "chat_template": chat,
        "held_out_tokens": windows.numel(),
        "thresholds": asdict(limits) | {"excused_shapes": list(limits.excused_shapes)},
        "types": tried,
    }


def type_line(kind: str, found: dict[str, Any]) -> str:
    """The numbers of a type that was tried, and what became of it."""
    return (
        f"  {kind}: {found['bits_per_weight']:.2f} bits per weight, KL {found['mean_kl']:.4f}, top token "
        f"{found['top_agreement']:.1%}, perplexity x{found['perplexity_ratio']:.4f}: "
        f"{'; '.join(found['faults']) or 'passes'}"
    )


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the released type, its KL divergence (nats per token) and bits per weight."""
    if results["released"] is None:
        return {"gguf": {"released": "none"}}
    found = results["types"][results["released"]]
    return {"gguf": {"released": results["released"], "kl": found["mean_kl"], "bits": found["bits_per_weight"]}}


def main() -> None:
    """Reads the tuned model and held-out text, writes models/gguf and metrics/gguf.json.

    Raises:
        ValueError: no type passes the release gate; the message has the numbers, and nothing is released.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    watch = Stopwatch("gguf")
    params = load(Params, "gguf")
    check_installed()
    records = read_jsonl(Path(params.held_out))
    source = open_model(params)
    held = read_held_out(records, source.tokenizer, params.held_out, params.conversations, params.window // 4)
    watch.lap("merge")
    temporary = OUTPUT_DIR.with_name(f".{OUTPUT_DIR.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed run
    try:
        metrics = export(params, source, held, temporary, watch)
        write_metrics("gguf", metrics, headline)
        if metrics["released"] is None:
            lines = "\n".join(type_line(kind, found) for kind, found in metrics["types"].items())
            raise ValueError(f"gguf: no type of {params.types} passes the release gate:\n{lines}")
        shutil.rmtree(OUTPUT_DIR, ignore_errors=True)
        temporary.rename(OUTPUT_DIR)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    watch.write()
    tried = len(metrics["types"])
    dropped = {"failed_the_gate": tried - 1, "not_tried": len(params.types) - tried}
    counts = {"in": len(params.types), "kept": 1, "dropped": dropped}
    print(ending("gguf", counts, "types", f"{metrics['model']} as {metrics['released']}", OUTPUT_DIR))


if __name__ == "__main__":
    main()
