"""The chat set -> models/{base}-qlora: a LoRA adapter, trained with the base in 4 bits. Run: python -m stages.qlora

Before the first step it shows one sample with its mask, checks masks, packing and memory, and measures the loss of
each validation sample; after the last one it measures them again, and says by how much they fell. A killed run goes
on from its last checkpoint in .cache/qlora/.
"""

import sys
from collections.abc import Sequence
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
from stages.lib.adapters.one_answer import check_classes
from stages.lib.adapters.resuming import last_whole_checkpoint, prune_finished
from stages.lib.adapters.schedule import LrSchedulerType, Schedule
from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.metrics import Stopwatch, check_counts, ending, summed, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import Record, read_jsonl, write_csv
from stages.lib.lora import sft
from stages.lib.lora.batches import Rows, padded_tokens, plan_steps
from stages.lib.lora.masks import MaskedChat, encode_conversation
from stages.lib.lora.memory import GB, Shape, TuningLoad, available_bytes, check_memory, read_shape
from stages.lib.lora.preflight import check_packing, check_supervision, show_sample
from stages.lib.lora.validation_losses import before_losses, fall, sample_losses
from stages.lib.weights.base import base_identity, end_tokens, load_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, ModelEntry, load_model_entry, resolved_dtype

DATA_DIR = Path("data/instruct")
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
        for name in ("micro_batch", "gradient_accumulation_steps", "max_length", "bootstrap_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if not 0 <= self.memory_share <= 1:
            raise ValueError(f"memory_share: {self.memory_share} is not in 0..1")
        for name in ("steps", "train_limit", "val_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not (self.steps or self.epochs > 0):
            raise ValueError("epochs or steps must be above 0")
        self.lora(), self.schedule()  # which check their own ranges

    def lora(self) -> Lora:
        """The adapter."""
        return pick(Lora, self)

    def schedule(self) -> Schedule:
        """How the optimizer steps."""
        return pick(Schedule, self)

    @property
    def sequences(self) -> int:
        """Samples per step."""
        return self.micro_batch * self.gradient_accumulation_steps

    def count_steps(self, samples: int) -> int:
        """Optimizer steps over so many samples.

        Raises:
            ValueError: there are too few samples for one step.
        """
        steps = self.steps or int(self.epochs * samples) // self.sequences
        if steps < 1:
            raise ValueError(
                f"{samples} training samples x {self.epochs} epochs make no step of micro_batch {self.micro_batch} x "
                f"gradient_accumulation_steps {self.gradient_accumulation_steps}: lower one of them, or raise epochs"
            )
        return steps


def encode(
    records: Sequence[Record], tokenizer: Any, max_length: int, limit: int
) -> tuple[list[MaskedChat], dict[str, Any]]:
    """Token ids and labels of the records, and the counts: in = kept + dropped."""
    samples: list[MaskedChat] = []
    dropped = {"over_limit": 0, "too_long": 0}
    for record in records:
        if limit and len(samples) == limit:
            dropped["over_limit"] += 1
            continue
        sample = encode_conversation(tokenizer, record["messages"], str(record["id"]))
        if len(sample.input_ids) > max_length:
            dropped["too_long"] += 1
        else:
            samples.append(sample)
    return samples, check_counts(len(records), len(samples), {key: n for key, n in dropped.items() if n})


@dataclass(frozen=True)
class Prepared:
    """What is trained on, checked, before anything heavy is loaded."""

    base: ModelEntry
    place: Path  # the base's directory
    tokenizer: Any
    train: list[MaskedChat]
    val: list[MaskedChat]
    plan: list[Rows]  # the micro-batches of each step
    counts: dict[str, Any]  # for the metrics
    data_hash: str

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training sample."""
        return [len(sample.input_ids) for sample in self.train]

    @property
    def groups(self) -> Rows:
        """All micro-batches."""
        return [group for step in self.plan for group in step]


def prepare(params: Params) -> Prepared:
    """Reads and masks the records, plans the steps, and prints one sample.

    Raises:
        ValueError: data that cannot be learned from.
    """
    files = {split: DATA_DIR / f"synthetic_qa_{split}.jsonl" for split in ("train", "val")}
    records = {split: read_jsonl(path, required=["id", "messages"]) for split, path in files.items()}
    base = load_model_entry(params.base)
    place = huggingface_directory(base)
    tokenizer = load_tokenizer(place)
    train, train_counts = encode(records["train"], tokenizer, params.max_length, params.train_limit)
    val, val_counts = encode(records["val"], tokenizer, params.max_length, params.val_limit)
    if train and not val:
        raise ValueError(f"{files['val']}: no validation sample of at most max_length {params.max_length} tokens")
    ends = end_tokens(tokenizer, generation_config(place))
    kept = {sample.id for sample in train}
    learned = [record for record in records["train"] if str(record["id"]) in kept]
    answers = [record["messages"][-1]["content"] for record in learned]
    check_classes(answers, [str(record.get("kind")) for record in learned], str(files["train"]))
    supervision = check_supervision(train, ends, tokenizer)
    check_supervision(val, ends, tokenizer)
    lengths = [len(sample.input_ids) for sample in train]
    steps = params.count_steps(len(train))
    plan = plan_steps(lengths, params.sequences, params.gradient_accumulation_steps, steps, params.seed)
    print(show_sample(train[plan[0][0][0]], tokenizer, color=sys.stdout.isatty()), flush=True)
    data_hash = ledger_key([file_sha256(path) for path in files.values()])
    counts = {"train": train_counts, "val": val_counts, **supervision, "data_sha256": data_hash, "steps": len(plan)}
    return Prepared(base, place, tokenizer, train, val, plan, counts, data_hash)


def adapter_directory(params: Params, base: ModelEntry, data_hash: str) -> Path:
    """Where the checkpoints lie: a hash of what decides the training's result."""
    decisive = deciding(params, DECIDE, DECIDE_NOT) | {
        "sequences": params.sequences,
        "dtype": resolved_dtype(params.dtype),
    }
    code = code_identity(huggingface_directory, load_tokenizer, encode, plan_steps, open_model, train)
    return training_directory("qlora", decisive, [data_hash, base_identity(base)], code, PACKAGES)


def check_longest(params: Params, data: Prepared, shape: Shape, dtype: Dtype) -> tuple[int, int]:
    """Bytes that the training will take by estimate, and the tokens of its largest micro-batch; prints both.

    Raises:
        ValueError: more than `memory_share` of the free memory.
    """
    lengths = data.lengths
    largest = max(data.groups, key=lambda group: padded_tokens(group, lengths, params.packing))
    need = TuningLoad(
        rows=len(largest),
        length=max(lengths[i] for i in largest),
        supervised=sum(data.train[i].supervised for i in largest),
        dtype=dtype,
        checkpointing=params.gradient_checkpointing,
    )
    free, where = available_bytes()
    total = sum(check_memory(shape, need, int(params.memory_share * free), where).values())
    print(
        f"qlora: {len(data.train)} samples, {len(data.plan)} steps of {params.sequences}, "
        f"{dtype}; the largest micro-batch is {need.rows} x {need.length} tokens, about {total / GB:.2f} GB in all "
        f"({where} has {free / GB:.2f} free)",
        flush=True,
    )
    return total, need.rows * need.length


def qlora(params: Params, watch: Stopwatch) -> dict[str, Any]:
    """Trains and publishes; returns the clock's figures.

    Raises:
        ValueError: data that cannot be learned from, too little memory, a diverging loss, a full disk.
    """
    data = prepare(params)
    pad_id = data.tokenizer.pad_token_id
    watch.lap("data")
    shape = read_shape(data.place, params.lora())
    directory = adapter_directory(params, data.base, data.data_hash)
    dtype = resolved_dtype(params.dtype)
    estimated, largest = check_longest(params, data, shape, dtype)
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
    write_adapter(params, data, tuned, dtype, result)
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


def train(params: Params, data: Prepared, model: Any, directory: Path) -> tuple[Any, list[dict[str, float]]]:
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


def write_adapter(params: Params, data: Prepared, model: Any, dtype: Dtype, result: dict[str, Any]) -> None:
    """Publishes models/{base}-qlora with its card."""
    card = model_card(
        title=f"{params.base}-qlora",
        base=params.base,
        source=data.base.source,
        method="LoRA on a base in NF4 with double quantization; the loss is on the assistant's words alone.",
        data={"training samples": len(data.train), "validation samples": len(data.val), "SHA-256": data.data_hash},
        params=asdict(params) | {"dtype": dtype, "steps": len(data.plan)},
        metrics=result,
    )
    facts = {"base": params.base, "base_identity": base_identity(data.base), "data_sha256": data.data_hash}
    publish(MODELS_DIR / f"{params.base}-qlora", model, data.tokenizer, facts, card)


def generation_config(place: Path) -> Any:
    """The base's generation_config.json, which says where generation stops; None: it has none."""
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(place) if (place / "generation_config.json").is_file() else None


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
