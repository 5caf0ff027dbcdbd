"""The chat set -> models/{base}-qlora: a LoRA adapter, trained with the base in 4 bits. Run: python -m stages.qlora

Before the first step it shows one sample with its mask, checks masks, packing and memory, and measures the loss of
each validation sample; after the last one it measures them again, and says by how much they fell. A killed run goes
on from its last checkpoint in .cache/qlora/.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

from stages.lib.adapters.lora import (
    Backend,
    Checkpointing,
    Lora,
    add_lora,
    load_quantized,
    load_unsloth,
    set_checkpointing,
)
from stages.lib.adapters.model_card import model_card, publish
from stages.lib.adapters.resuming import last_whole_checkpoint, prune_finished
from stages.lib.adapters.schedule import LrSchedulerType, Schedule
from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.core.metrics import Stopwatch, ending, summed, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import write_csv
from stages.lib.lora import sft
from stages.lib.lora.batches import padded_tokens, plan_steps
from stages.lib.lora.chat_set import Batching, ChatSet, check_longest, encode, read_chat_set
from stages.lib.lora.memory import read_shape
from stages.lib.lora.preflight import check_packing
from stages.lib.lora.validation_losses import before_losses, fall, sample_losses
from stages.lib.reading.chats import read_chats, write_dropped
from stages.lib.weights.base import base_identity, load_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, ModelEntry, load_model_entry, resolved_dtype

FILES = {split: Path(f"data/instruct/synthetic_qa_{split}.jsonl") for split in ("train", "val")}
MODELS_DIR = Path("models")
CURVE = Path("metrics/qlora_curve.csv")
# What decides the adapter, up to the order of summation; another value is another training. What does not may change
# between a kill and the next run, so also how a step's samples are cut into micro-batches.
DECIDE = """
    base backend dtype r lora_alpha lora_dropout target_modules lr lr_scheduler_type warmup_fraction
    weight_decay clip epochs steps max_length packing train_limit seed
""".split()
DECIDE_NOT = """
    micro_batch gradient_accumulation_steps gradient_checkpointing val_limit checkpoint_every memory_share
    bootstrap_samples
""".split()
PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "tokenizers")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `qlora` of params.yaml."""

    base: str  # a chat model under models:
    backend: Backend  # hf: transformers, peft and trl on any machine; unsloth: CUDA alone
    dtype: Literal["auto", "float32", "bfloat16", "float16"]  # of the computation; auto: bfloat16 with CUDA or AMX
    r: int  # rank of the adapter, >= 1
    lora_alpha: int  # its update is scaled by lora_alpha / r
    lora_dropout: float  # of the adapter's input, 0 <= lora_dropout < 1
    target_modules: list[str]  # adapted linear layers; []: all but the output layer
    lr: float  # peak learning rate
    lr_scheduler_type: LrSchedulerType  # cosine, linear or constant_with_warmup
    warmup_fraction: float  # of the steps, 0..1
    weight_decay: float
    clip: float  # global gradient norm at most; 0: no clipping
    epochs: float  # passes over the training samples; without effect where steps is given
    steps: int  # optimizer steps; 0: by epochs
    micro_batch: int  # samples a forward pass, on average; x gradient_accumulation_steps = a step
    gradient_accumulation_steps: int  # micro-batches per step
    max_length: int  # tokens per sample at most; longer ones are dropped and counted
    packing: bool  # join the samples of a micro-batch into one row: nothing is padded
    gradient_checkpointing: Checkpointing  # what a layer computes again: none, selective (elementwise), full (all)
    train_limit: int  # training samples at most, 0: all
    val_limit: int  # validation samples at most, 0: all
    checkpoint_every: int  # steps between checkpoints
    memory_share: float  # of the free memory that the estimate may reach, 0..1
    bootstrap_samples: int  # of the interval
    seed: int

    def __post_init__(self) -> None:
        if self.bootstrap_samples < 1:
            raise ValueError(f"bootstrap_samples: {self.bootstrap_samples} is below 1")
        if not 0 <= self.memory_share <= 1:
            raise ValueError(f"memory_share: {self.memory_share} is not in 0..1")
        self.lora(), self.schedule(), self.batching()  # which check their own ranges

    def lora(self) -> Lora:
        """The adapter."""
        return pick(Lora, self)

    def schedule(self) -> Schedule:
        """How the optimizer steps."""
        return pick(Schedule, self)

    def batching(self) -> Batching:
        """Which samples make a step."""
        return pick(Batching, self)


def adapter_directory(params: Params, base: ModelEntry, data_hash: str) -> Path:
    """Where the checkpoints lie: a hash of what decides the training's result."""
    decisive = deciding(params, DECIDE, DECIDE_NOT) | {
        "sequences": params.batching().sequences,
        "dtype": resolved_dtype(params.dtype),
    }
    code = code_identity(read_chats, huggingface_directory, load_tokenizer, encode, plan_steps, open_model, train)
    return training_directory("qlora", decisive, [data_hash, base_identity(base)], code, PACKAGES)


def qlora(params: Params, watch: Stopwatch) -> dict[str, Any]:
    """Trains and publishes; returns the clock's figures.

    Raises:
        ValueError: data that cannot be learned from, too little memory, a diverging loss, a full disk.
    """
    base = load_model_entry(params.base)
    data = read_chat_set(FILES, huggingface_directory(base), params.batching())
    pad_id = data.tokenizer.pad_token_id
    watch.lap("data")
    shape = read_shape(data.place, params.lora())
    directory = adapter_directory(params, base, data.data_hash)
    dtype = resolved_dtype(params.dtype)
    estimated, largest = check_longest(
        data,
        shape,
        params.batching(),
        dtype=dtype,
        checkpointing=params.gradient_checkpointing,
        memory_share=params.memory_share,
    )
    model = open_model(params, data.place, dtype)
    if params.packing:
        print(f"packing: logits of a packed sample differ by {check_packing(model, data.train, pad_id):.1e} at most")
    watch.lap("load")
    batch_tokens = max(largest, params.max_length)
    before = before_losses(directory, model, data.val, pad_id, batch_tokens)
    watch.lap("validate")
    resumed = last_whole_checkpoint(directory)
    tuned, rows = train(params, data, model, directory)
    watch.lap("train")
    after = sample_losses(tuned, data.val, pad_id, batch_tokens)
    watch.lap("validate")

    result = fall(before, after, params.bootstrap_samples, params.seed)
    write_adapter(params, base, data, model=tuned, dtype=dtype, result=result)
    write_dropped(MODELS_DIR / f"{params.base}-qlora" / "dropped.jsonl", data.dropped)
    prune_finished(directory)
    write_csv(CURVE, rows)
    write_metrics(
        "qlora",
        {**data.counts, "dtype": dtype, "final_train_loss": rows[-1]["train_loss"], **result},
        headline,
    )
    watch.lap("write")
    made = (
        f"validation loss {result['val_loss_before']:.4f} -> {result['val_loss_after']:.4f} nats per learned token, "
        f"a fall of {result['val_loss_fall']:.4f} "
        f"(95%: {result['val_loss_fall_low']:.4f}..{result['val_loss_fall_high']:.4f}),"
    )
    chats = summed([data.counts["train"], data.counts["val"]])
    print(ending("qlora", chats, "chats", made, MODELS_DIR / f"{params.base}-qlora"))
    computed = sum(padded_tokens(group, data.lengths, params.packing) for group in data.groups)
    return {
        "resumed_from_step": int(resumed.name.rpartition("-")[2]) if resumed else 0,
        "estimated_memory_mb": round(estimated / 1e6, 1),
        "tokens_per_second": round(computed / max(watch.parts["train"], 1e-9), 1),
        "padding_share": round(1 - sum(data.lengths[i] for group in data.groups for i in group) / computed, 4),
    }


def train(params: Params, data: ChatSet, model: Any, directory: Path) -> tuple[Any, list[dict[str, float]]]:
    """Trains to the end, from the last whole checkpoint on; returns the tuned model and a row per step.

    Raises:
        ValueError: a diverging loss, a full disk.
    """
    trainer = sft.make_trainer(
        model,
        data.tokenizer,
        data.train,
        data.plan,
        schedule=params.schedule(),
        directory=directory,
        packing=params.packing,
    )
    return trainer.model, sft.run(trainer, directory)


def write_adapter(
    params: Params, base: ModelEntry, data: ChatSet, *, model: Any, dtype: Dtype, result: dict[str, Any]
) -> None:
    """Publishes models/{base}-qlora with its card."""
    card = model_card(
        title=f"{params.base}-qlora",
        base=params.base,
        source=base.source,
        method="LoRA on a base in NF4 with double quantization; the loss is on the assistant's words alone.",
        data={"training samples": len(data.train), "validation samples": len(data.val), "SHA-256": data.data_hash},
        params=asdict(params) | {"dtype": dtype, "steps": len(data.plan)},
        metrics=result,
    )
    facts = {"base": params.base, "base_identity": base_identity(base), "data_sha256": data.data_hash}
    publish(MODELS_DIR / f"{params.base}-qlora", model, data.tokenizer, facts, card)


def open_model(params: Params, place: Path, dtype: Dtype) -> Any:
    """The base in 4 bits with a fresh adapter."""
    match params.backend:
        case "hf":
            model = add_lora(load_quantized(place, dtype), params.lora(), params.seed)
            set_checkpointing(model, params.gradient_checkpointing)
            return model
        case "unsloth":
            return load_unsloth(
                place,
                dtype,
                params.lora(),
                max_length=params.max_length,
                seed=params.seed,
                checkpointing=params.gradient_checkpointing,
            )
        case _:
            assert_never(params.backend)


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the validation loss after the training and how far it fell (nats per token)."""
    return {"qlora": {"val_loss": results["val_loss_after"], "fall": results["val_loss_fall"]}}


def main() -> None:
    """Reads params.yaml and data/instruct, writes models/{base}-qlora, metrics/qlora.json and its curve."""
    params = load(Params, "qlora")
    watch = Stopwatch("qlora")
    watch.write(**qlora(params, watch))


if __name__ == "__main__":
    main()
