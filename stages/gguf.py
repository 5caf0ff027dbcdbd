"""tuned model -> models/gguf/*.gguf, Modelfile: merge, quantize to the smallest type that passes the release gate.

The types are tried in the order of `types`. One that misses a threshold is deleted, its numbers stay in
metrics/gguf.json; when none passes, the stage fails. Each is compared with the model as it was trained: an adapter on
its base, not merged.
Run: python -m stages.gguf
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("gguf", ["load", "reference", "merge", "try"])

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.cache.place import cache_dir
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.rendering import folds
from stages.lib.core.metrics import Stopwatch, ending, write_metrics
from stages.lib.core.params import load
from stages.lib.core.records import read_json_object, read_jsonl, write_text
from stages.lib.gguf import memory
from stages.lib.gguf.gate_texts import read_held_out
from stages.lib.gguf.layouts import Layout, make_layout
from stages.lib.gguf.llama_runtime import check_installed
from stages.lib.gguf.merging import Merged, MergedWeights, Source, adapter_source, base_source, directory_source, merge
from stages.lib.gguf.modelfile import make_modelfile
from stages.lib.gguf.quantization import FileType
from stages.lib.gguf.release_gate import Thresholds, closeness, keep_log_probs, kept_log_probs, make_windows
from stages.lib.gguf.trials import Gate, try_type
from stages.lib.gguf.vocabulary import Vocabulary, read_vocabulary
from stages.lib.weights.base import ADAPTER_CONFIG, ADAPTER_WEIGHTS, check_adapter, end_tokens, free_memory
from stages.lib.weights.free_memory import available_bytes
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, load_model_entry

MODELS_DIR = Path("models")
OUTPUT_DIR = MODELS_DIR / "gguf"


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `gguf` of params.yaml."""

    model: str  # under models/: an adapter, a whole model, or our own GPT (gpt/best); or the name of a base (as `base`)
    base: str  # of an adapter: an entry of models:; stages/base.py writes a note of it for DVC
    dtype: Dtype  # of the base when the adapter is merged, and of the model that the gate compares with
    device: Literal["auto", "cpu"]  # of the merge and the gate; auto: the GPU where there is one
    types: list[FileType]  # smallest first; the first that passes is released
    held_out: str  # JSONL with `messages` or `text`, which the model was not trained on
    held_out_tokens: int  # tokens of it that the gate reads, >= window
    window: int  # tokens read at once, >= 2
    conversations: int  # held-out conversations that llama.cpp replies to, beside two short ones, >= 1
    max_new_tokens: int  # of a reply, >= 1
    gpu_layers: int  # that a GPU computes in llama.cpp, where it is built for one; -1: all
    runtime_threads: int  # of llama.cpp; 1 where others use the machine, too: it gets many times slower otherwise
    max_mean_kl: float  # nats per token, KL(16-bit || quantized)
    min_top_agreement: float  # share of tokens with the same most likely successor, 0..1
    max_perplexity_ratio: float  # quantized over 16-bit, on the held-out text
    min_runtime_agreement: float  # share of llama.cpp's greedy tokens that transformers draws from the same weights
    min_greedy_agreement: float  # likewise, from the 16-bit weights
    min_stopped: int  # replies that must end by themselves, >= 0
    # Message shapes that may be read otherwise, beside those that llama.cpp is known not to read (reported with why).
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


@dataclass(frozen=True)
class Release:
    """What is released."""

    source: Source
    fmt: ChatFormat  # how its conversations are written
    base: Path | None  # the directory whose config.json tells the sizes; None: our own GPT, which is small
    adapter: int = 0  # bytes of the adapter


def open_model(params: Params) -> Release:
    """The model to release: what lies in models/{model}, or the base of that name.

    Raises:
        ValueError: it is not there, not whole, or an adapter of another base.
    """
    directory = MODELS_DIR / params.model
    if not directory.is_dir():
        entry = load_model_entry(params.model)
        return Release(base_source(entry, params.dtype), ChatFormat.of(entry), huggingface_directory(entry))
    if (directory / ADAPTER_CONFIG).is_file():
        entry = load_model_entry(params.base)
        check_adapter(params.base, entry, directory)
        size = (directory / ADAPTER_WEIGHTS).stat().st_size
        source = adapter_source(params.base, entry, directory, params.dtype)
        return Release(source, ChatFormat.of(entry), huggingface_directory(entry), size)
    if "tokenizer" in read_json_object(directory / "config.json"):
        return Release(own_source(directory, params.dtype), ChatFormat(), None)
    return Release(directory_source(directory, params.dtype), ChatFormat(), directory)


def own_source(directory: Path, dtype: Dtype) -> Source:
    """Our own GPT of a checkpoint, in transformers' layout.

    Raises:
        ValueError: the checkpoint is damaged, or no family of transformers has its layers.
    """
    from stages.lib.gpt_export.huggingface import export_checkpoint

    converted = cache_dir() / "gguf" / "gpt-as-huggingface"
    shutil.rmtree(converted, ignore_errors=True)
    export_checkpoint(directory, converted)
    return directory_source(converted, dtype)


def check_room(params: Params, release: Release, place: Path) -> dict[str, int]:
    """The estimate of the memory that the release takes, in bytes by what takes them; empty for our own GPT.

    Raises:
        ValueError: there is too little memory.
        OSError: there is too little room for the log-probabilities on the disk of `place`.
    """
    if release.base is None:
        return {}
    shape = memory.read_release_shape(release.base)
    load = memory.ReleaseLoad(
        window=params.window,
        windows=params.held_out_tokens // params.window,
        context=params.window + params.max_new_tokens,
        adapter=release.adapter // memory.F32,
    )
    memory.check_disk(shape, load, place)
    free, where = available_bytes()
    parts = memory.check_memory(shape, load, free, where)
    return memory.with_copy(parts, shape, free) if len(params.types) > 1 else parts


def export(params: Params, release: Release, directory: Path, watch: Stopwatch, copied: bool) -> dict[str, Any]:
    """Writes the first type that passes into the directory, with its Modelfile; returns the metrics.

    `copied`: there is room for the merged weights beside the model.

    Raises:
        ValueError: the model's family or tokenizer is not known to llama.cpp, or it gives NaN.
        OSError: no room on the disk.
    """
    limits, fmt = params.thresholds(), release.fmt
    model, tokenizer = release.source.running()
    held = read_held_out(
        read_jsonl(Path(params.held_out)),
        tokenizer,
        fmt,
        params.held_out,
        prompts=params.conversations,
        beginning=params.window // 4,
    )
    length = min(params.window, int(getattr(model.config, "max_position_embeddings", params.window)))
    windows = make_windows([text.tokens for text in held.texts], length, params.held_out_tokens)
    watch.lap("load")
    scratch = directory / "log_probs"
    scratch.mkdir(parents=True)
    reference = keep_log_probs(model, windows, scratch)
    watch.lap("reference")
    merged = merge(model)
    layout, vocabulary = describe(params.model, release, merged, tokenizer)
    merging = closeness(kept_log_probs(reference[:1]), merged.model, windows[:1])
    result = {
        "merged_modules": merged.merged_modules,
        "untied": merged.untied,
        "merging": {key: merging[key] for key in ("mean_kl", "top_agreement")},
    }
    gate = Gate(
        source=release.source,
        fmt=fmt,
        tokenizer=tokenizer,
        layout=layout,
        vocabulary=vocabulary,
        held=held,
        windows=windows,
        reference=reference,
        ends=end_tokens(tokenizer, merged.model.config, vocabulary.end_of_turn),
        limits=limits,
        max_new_tokens=params.max_new_tokens,
        threads=params.runtime_threads,
        gpu_layers=params.gpu_layers,
    )
    weights = MergedWeights(release.source, merged, copied)
    del model, merged
    watch.lap("merge")
    name = params.model.replace("/", "-")
    tried: dict[str, Any] = {}
    for file_type in params.types:
        file = directory / f"{name}-{file_type}.gguf"
        tried[file_type] = try_type(gate, file, file_type, weights)
        free_memory()
        watch.lap(f"try_{file_type}")
        print(type_line(file_type, tried[file_type]), flush=True)
        if not tried[file_type]["faults"]:
            text = make_modelfile(file.name, tokenizer, fmt, layout.context, vocabulary)
            write_text(directory / "Modelfile", text)
            break
        file.unlink()
    shutil.rmtree(scratch)
    return {
        "model": name,
        "released": next((kind for kind, found in tried.items() if not found["faults"]), None),
        **result,
        "architecture": layout.architecture,
        "pre_tokenizer": vocabulary.pre,
        "chat_template": bool(vocabulary.chat_template),
        "chat_format": fmt.facts | {"folds": bool(vocabulary.chat_template) and folds(tokenizer, fmt)},
        "held_out_tokens": windows.numel(),
        "held_out_unfit": held.unfit,
        "thresholds": asdict(limits) | {"excused_shapes": list(limits.excused_shapes)},
        "types": tried,
    }


def describe(name: str, release: Release, merged: Merged, tokenizer: Any) -> tuple[Layout, Vocabulary]:
    """How the merged model is written.

    Raises:
        ValueError: llama.cpp lacks its family or its tokenizer, which the message names.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in merged.model.state_dict().items()}
    try:
        layout = make_layout(merged.model.config, shapes)
        return layout, read_vocabulary(tokenizer, layout.vocabulary, release.fmt)
    except ValueError as error:
        raise ValueError(f"{name} ({release.source.name}): no GGUF file can be made of it: {error}") from error


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
    params = load(Params, "gguf")
    if params.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks for a card; llama.cpp does without it, too
    watch = Stopwatch("gguf", ["load", "reference", "merge", *(f"try_{file_type}" for file_type in params.types)])
    check_installed()
    release = open_model(params)
    OUTPUT_DIR.parent.mkdir(parents=True, exist_ok=True)
    estimated = check_room(params, release, OUTPUT_DIR.parent)
    temporary = OUTPUT_DIR.with_name(f".{OUTPUT_DIR.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed run
    try:
        metrics = export(params, release, temporary, watch, memory.COPY in estimated)
        write_metrics("gguf", metrics, headline)
        if metrics["released"] is None:
            lines = "\n".join(type_line(kind, found) for kind, found in metrics["types"].items())
            raise ValueError(f"gguf: no type of {params.types} passes the release gate:\n{lines}")
        shutil.rmtree(OUTPUT_DIR, ignore_errors=True)
        temporary.rename(OUTPUT_DIR)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    watch.write(estimated_memory_mb=round(sum(estimated.values()) / 1e6, 1))
    tried = len(metrics["types"])
    dropped = {"failed_the_gate": tried - 1, "not_tried": len(params.types) - tried}
    counts = {"in": len(params.types), "kept": 1, "dropped": dropped}
    print(ending("gguf", counts, "types", f"{metrics['model']} as {metrics['released']}", OUTPUT_DIR))


if __name__ == "__main__":
    main()
