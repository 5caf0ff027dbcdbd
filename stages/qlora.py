"""The chat set -> models/{base}-qlora: a LoRA adapter, trained with the base in 4 bits. Run: python -m stages.qlora

Before the first step it shows one sample with its mask, checks masks, packing and memory, and measures the loss of
each validation sample; after the last one it measures them again, and says by how much they fell. A killed run goes
on from its last checkpoint in .cache/qlora/. Under torchrun all processes train, and the main one does the rest.
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("qlora", ["data", "validate", "train", "validate", "write"])

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_never

from stages.lib.adapters.device import (
    AttnImplementation,
    check_attention,
    choose_one_device,
    has_gpu,
    set_attention,
    use_tf32,
)
from stages.lib.adapters.lora import (
    Backend,
    Checkpointing,
    Lora,
    add_lora,
    check_unsloth,
    load_quantized,
    load_unsloth,
    set_checkpointing,
)
from stages.lib.adapters.model_card import model_card, publish, write_card
from stages.lib.adapters.own_process import in_own_process
from stages.lib.adapters.resuming import last_whole_checkpoint, logged, prune_finished, step_of, train_once
from stages.lib.adapters.schedule import LrSchedulerType, Schedule
from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.cache.turns import take_turn
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.core.hashes import file_sha256
from stages.lib.core.metrics import Stopwatch, ending, summed, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import write_csv
from stages.lib.launching.launch import launch
from stages.lib.lora import sft
from stages.lib.lora.batches import padded_tokens, plan_steps
from stages.lib.lora.chat_set import Batching, ChatSet, Need, check_longest, encode, read_chat_set
from stages.lib.lora.memory import read_shape
from stages.lib.lora.preflight import check_packing
from stages.lib.lora.validation_losses import Losses, fall, kept_losses, sample_losses
from stages.lib.reading.chats import read_chats, write_dropped
from stages.lib.weights.base import ADAPTER_WEIGHTS, base_identity, free_memory, load_tokenizer, put_adapter
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, ModelEntry, load_model_entry, resolved_dtype

if TYPE_CHECKING:  # torch loads after the params have been read
    from stages.lib.launching.world import World

FILES = {split: Path(f"data/instruct/synthetic_qa_{split}.jsonl") for split in ("train", "val")}
MODELS_DIR = Path("models")
CURVE = Path("metrics/qlora_curve.csv")
# What decides the adapter, up to the order of summation; another value is another training. What does not may change
# between a kill and the next run, so also how a step's samples are cut into micro-batches.
DECIDE = """
    base backend dtype attn_implementation tf32 r lora_alpha lora_dropout target_modules lr lr_scheduler_type
    warmup_fraction weight_decay clip epochs steps max_length packing train_limit seed
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
    attn_implementation: AttnImplementation  # of the training: sdpa, flash_attention_2 or eager (hf)
    tf32: bool  # float32 products with 10 bits of mantissa: Ampere and later cards
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
        "chat_format": ChatFormat.of(base).facts,
    }
    code = code_identity(
        read_chats,
        huggingface_directory,
        load_tokenizer,
        encode,
        plan_steps,
        train_adapter,
        without=[check_packing],
    )
    return training_directory("qlora", decisive, [data_hash, base_identity(base)], code, PACKAGES)


def check_machine(params: Params) -> None:
    """That this machine has what the params ask for; before anything is computed.

    Raises:
        ValueError: names what is missing.
    """
    choose_one_device("qlora", params.backend)
    if params.backend == "unsloth":
        check_unsloth(params.gradient_checkpointing)
    check_attention(params.attn_implementation, resolved_dtype(params.dtype), params.backend)
    use_tf32(params.tf32)


def qlora(params: Params, watch: Stopwatch, world: "World") -> dict[str, Any]:
    """Trains, publishes and measures (the main process); returns the clock's figures.

    Before and after are measured in the same way, whatever trained: by us, with the base in 4 bits, without and with
    the published adapter.

    Raises:
        ValueError: data that cannot be learned from, too little memory, a diverging loss, a full disk.
    """
    base = load_model_entry(params.base)
    data = read_chat_set(FILES, huggingface_directory(base), params.batching(), ChatFormat.of(base))
    watch.lap("data")
    shape = read_shape(data.place, params.lora())
    directory = adapter_directory(params, base, data.data_hash)
    if world.main:
        take_turn(directory)
    dtype = resolved_dtype(params.dtype)
    need = check_longest(
        data,
        shape,
        params.batching(),
        dtype=dtype,
        checkpointing=params.gradient_checkpointing,
        memory_share=params.memory_share,
        may_unpack=not has_gpu(),
    )

    def losses(adapter: Path | None) -> Losses:
        name = f"after_{file_sha256(adapter / ADAPTER_WEIGHTS)[:16]}" if adapter else "before"
        return kept_losses(
            directory, name, lambda: quantized_losses(data, adapter, dtype, need, params.max_length), data.val
        )

    before = losses(None) if world.main else None
    watch.lap("validate")
    resumed_from = step_of(last_whole_checkpoint(directory)) if world.main else 0
    trained = train_once(
        directory,
        len(data.plan),
        lambda: train_adapter(params, data, dtype, directory, unpacked=need.unpacked, processes=world.size),
        world,
    )
    watch.lap("train")
    if before is None:
        return {}
    target = MODELS_DIR / f"{params.base}-qlora"
    facts = {"base": params.base, "base_identity": base_identity(base), "data_sha256": data.data_hash}
    publish(target, trained, data.tokenizer, facts, card(params, base, data, dtype, None))
    rows = sft.curve_rows(logged(trained))
    write_csv(CURVE, rows)
    prune_finished(directory)
    after = losses(target)
    watch.lap("validate")

    result = fall(before, after, params.bootstrap_samples, params.seed)
    write_card(target, card(params, base, data, dtype, result))
    write_dropped(target / "dropped.jsonl", data.dropped)
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
    print(ending("qlora", chats, "chats", made, target))
    computed = sum(padded_tokens(group, data.lengths, params.packing) for group in data.groups)
    return {
        "resumed_from_step": resumed_from,
        "estimated_memory_mb": round(need.bytes / 1e6, 1),
        "tokens_per_second": round(computed / max(watch.parts["train"], 1e-9), 1),
        "padding_share": round(1 - sum(data.lengths[i] for group in data.groups for i in group) / computed, 4),
    }


def quantized_losses(data: ChatSet, adapter: Path | None, dtype: Dtype, need: Need, max_length: int) -> Losses:
    """The validation samples' losses by the base in 4 bits, or by an adapter on it, (samples,)."""
    model = load_quantized(data.place, dtype, need.unpacked)
    if adapter:
        model = put_adapter(model, adapter)
    found = sample_losses(model, data.val, data.tokenizer.pad_token_id, max(need.tokens, max_length))
    del model
    free_memory()
    return found


def train_adapter(
    params: Params, data: ChatSet, dtype: Dtype, directory: Path, *, unpacked: bool, processes: int
) -> None:
    """Trains to the end, from the last whole checkpoint on; the adapter is in the checkpoint of the last step.

    Raises:
        ValueError: packing that leaks, a diverging loss, a full disk.
        RuntimeError: unsloth's process failed or was killed.
    """
    match params.backend:
        case "hf":
            train(params, data, dtype, directory, unpacked, processes)
        case "unsloth":
            in_own_process(train, params, data, dtype, directory, unpacked)
        case _:
            assert_never(params.backend)


def train(  # noqa: PLR0917  # in_own_process hands them over by place
    params: Params, data: ChatSet, dtype: Dtype, directory: Path, unpacked: bool, processes: int = 1
) -> None:
    """The same in this process, one of so many."""
    model = open_model(params, data.place, dtype, unpacked)
    if params.packing:
        share = check_packing(model, data.train, data.tokenizer.pad_token_id)
        print(f"packing: logits of a packed sample differ by {share:.1e} at most", flush=True)
    trainer = sft.make_trainer(
        model,
        data.tokenizer,
        data.train,
        data.plan,
        schedule=params.schedule(),
        directory=directory,
        packing=params.packing,
        processes=processes,
    )
    sft.run(trainer, directory)


def card(params: Params, base: ModelEntry, data: ChatSet, dtype: Dtype, result: dict[str, Any] | None) -> str:
    """The adapter's README.md; `result`: None: not measured yet."""
    return model_card(
        title=f"{params.base}-qlora",
        base=params.base,
        source=base.source,
        method="LoRA on a base in NF4 with double quantization; the loss is on the assistant's words alone.",
        data={"training samples": len(data.train), "validation samples": len(data.val), "SHA-256": data.data_hash},
        params=asdict(params) | {"dtype": dtype, "steps": len(data.plan)},
        metrics=result,
    )


def open_model(params: Params, place: Path, dtype: Dtype, unpacked: bool) -> Any:
    """The base in 4 bits with a fresh adapter."""
    match params.backend:
        case "hf":
            model = add_lora(load_quantized(place, dtype, unpacked), params.lora(), params.seed)
            set_attention(model, params.attn_implementation)
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
    launch("stages.qlora")
    params = load(Params, "qlora")
    check_machine(params)
    from stages.lib.launching.world import only_main_prints, open_world

    watch = Stopwatch("qlora")
    with open_world() as world, only_main_prints(world):
        figures = qlora(params, watch, world)
        if world.main:
            watch.write(**figures)


if __name__ == "__main__":
    main()
