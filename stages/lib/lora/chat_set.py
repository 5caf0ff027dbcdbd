"""The chat set as it is trained on: masked, counted, planned and checked before anything heavy is loaded."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.adapters.lora import Checkpointing
from stages.lib.adapters.one_answer import check_classes
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.turns import UnfitConversationError
from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.metrics import check_counts
from stages.lib.core.records import Record
from stages.lib.lora.batches import Rows, padded_tokens, plan_steps
from stages.lib.lora.masks import MaskedChat, encode_samples
from stages.lib.lora.memory import GB, Shape, TuningLoad, check_memory, unpacked_if_it_fits
from stages.lib.lora.preflight import check_supervision, show_sample
from stages.lib.reading.chats import read_chats, told
from stages.lib.reading.documents import Drop
from stages.lib.weights.base import end_tokens, load_tokenizer
from stages.lib.weights.free_memory import available_bytes
from stages.lib.weights.models import Dtype


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Which samples make a step; the units stand in stages/qlora.py."""

    epochs: float
    steps: int
    micro_batch: int
    gradient_accumulation_steps: int
    max_length: int
    packing: bool
    train_limit: int
    val_limit: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("micro_batch", "gradient_accumulation_steps", "max_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        for name in ("steps", "train_limit", "val_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not (self.steps or self.epochs > 0):
            raise ValueError("epochs or steps must be above 0")

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
    records: Sequence[Record],
    tokenizer: Any,
    max_length: int,
    limit: int,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> tuple[list[MaskedChat], dict[str, Any]]:
    """Token ids and labels of the records, and the counts: in = kept + dropped, in samples.

    A record whose template rewrites earlier turns is a sample an assistant turn: `split` counts those beyond the first.
    A record that cannot be written as the model's turns is dropped by its reason; the first of each is printed.

    Raises:
        ValueError: no record can be written so.
    """
    samples: list[MaskedChat] = []
    dropped, told, split = Counter[str](), dict[str, str](), 0
    for record in records:
        if limit and len(samples) >= limit:
            dropped["over_limit"] += 1
            continue
        try:
            made = encode_samples(tokenizer, record["messages"], str(record["id"]), fmt)
        except UnfitConversationError as error:
            dropped[error.reason] += 1
            told.setdefault(error.reason, str(error))
            continue
        split += len(made) - 1
        for sample in made:
            if limit and len(samples) == limit:
                dropped["over_limit"] += 1
            elif len(sample.input_ids) > max_length:
                dropped["too_long"] += 1
            else:
                samples.append(sample)
    if told and sum(dropped[reason] for reason in told) == len(records):
        raise ValueError(f"none of {len(records)} chats can be learned from: {'; '.join(told.values())}")
    for reason, first in told.items():
        print(f"dropped {dropped[reason]} {reason}, the first: {first}", file=sys.stderr)
    counts = check_counts(len(records) + split, len(samples), dict(dropped))
    return samples, counts | ({"split": split} if split else {})


@dataclass(frozen=True)
class ChatSet:
    """What is trained on, checked, before anything heavy is loaded."""

    place: Path  # the base's directory
    tokenizer: Any
    train: list[MaskedChat]
    val: list[MaskedChat]
    plan: list[Rows]  # the micro-batches of each step
    counts: dict[str, Any]  # for the metrics
    data_hash: str
    dropped: list[Drop]  # records of the files that are no chats, each with its place

    @property
    def lengths(self) -> list[int]:
        """Tokens of each training sample."""
        return [len(sample.input_ids) for sample in self.train]

    @property
    def groups(self) -> Rows:
        """All micro-batches."""
        return [group for step in self.plan for group in step]


def read_chat_set(
    files: Mapping[str, Path],
    place: Path,
    batching: Batching,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> ChatSet:
    """Reads and masks the records, plans the steps, and prints one sample.

    `files`: of the splits train and val; `place`: the base's directory; `fmt`: how its conversations are written.

    Raises:
        ValueError: data that cannot be learned from.
    """
    read = {split: read_chats(path) for split, path in files.items()}
    records = {split: chats for split, (chats, _) in read.items()}
    for split, (_, drops) in read.items():
        if drops:
            print(f"qlora: {split}: {told(drops)}; the first: {drops[0].source}: {drops[0].detail}", flush=True)
    tokenizer = load_tokenizer(place)
    train, train_counts = encode(records["train"], tokenizer, batching.max_length, batching.train_limit, fmt)
    val, val_counts = encode(records["val"], tokenizer, batching.max_length, batching.val_limit, fmt)
    if train and not val:
        raise ValueError(f"{files['val']}: no validation sample of at most max_length {batching.max_length} tokens")
    ends = end_tokens(tokenizer, generation_config(place))
    kept = {sample.id for sample in train}
    learned = [record for record in records["train"] if str(record["id"]) in kept]
    answers = [record["messages"][-1]["content"] for record in learned]
    check_classes(answers, [str(record.get("kind")) for record in learned], str(files["train"]))
    supervision = check_supervision(train, ends, tokenizer)
    check_supervision(val, ends, tokenizer)
    lengths = [len(sample.input_ids) for sample in train]
    steps = batching.count_steps(len(train))
    plan = plan_steps(lengths, batching.sequences, batching.gradient_accumulation_steps, steps, batching.seed)
    print(show_sample(train[plan[0][0][0]], tokenizer, color=sys.stdout.isatty()), flush=True)
    data_hash = ledger_key([file_sha256(path) for path in files.values()])
    train_counts, val_counts = (
        with_drops(counted, read[split][1]) for split, counted in (("train", train_counts), ("val", val_counts))
    )
    counts = {"train": train_counts, "val": val_counts, **supervision, "data_sha256": data_hash, "steps": len(plan)}
    dropped = [drop for _, drops in read.values() for drop in drops]
    return ChatSet(place, tokenizer, train, val, plan, counts, data_hash, dropped)


def with_drops(counts: dict[str, Any], drops: Sequence[Drop]) -> dict[str, Any]:
    """The counts of a split with what its files had that is no chat."""
    reasons = Counter(counts["dropped"]) + Counter(drop.reason for drop in drops)
    return counts | check_counts(counts["in"] + len(drops), counts["kept"], dict(reasons))


def generation_config(place: Path) -> Any:
    """The base's generation_config.json, which says where generation stops; None: it has none."""
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(place) if (place / "generation_config.json").is_file() else None


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a training takes by estimate."""

    bytes: int
    tokens: int  # of its largest micro-batch, with padding
    unpacked: bool  # the 4-bit weights are unpacked once and held so


def check_longest(
    data: ChatSet,
    shape: Shape,
    batching: Batching,
    *,
    dtype: Dtype,
    checkpointing: Checkpointing,
    memory_share: float,
    may_unpack: bool,
) -> Need:
    """What the training will take by estimate, printed. With `may_unpack`, weights are unpacked where that fits.

    Raises:
        ValueError: more than `memory_share` of the free memory.
    """
    lengths = data.lengths
    largest = max(data.groups, key=lambda group: padded_tokens(group, lengths, batching.packing))
    need = TuningLoad(
        rows=len(largest),
        length=max(lengths[i] for i in largest),
        supervised=sum(data.train[i].supervised for i in largest),
        dtype=dtype,
        checkpointing=checkpointing,
    )
    free, where = available_bytes()
    most = int(memory_share * free)
    if may_unpack:
        need = unpacked_if_it_fits(shape, need, most)
    total = sum(check_memory(shape, need, most, where).values())
    print(
        f"qlora: {len(data.train)} samples, {len(data.plan)} steps of {batching.sequences}, "
        f"{dtype}{', 4-bit weights unpacked once' if need.unpacked else ''}; the largest micro-batch is "
        f"{need.rows} x {need.length} tokens, about {total / GB:.2f} GB in all ({where} has {free / GB:.2f} free)",
        flush=True,
    )
    return Need(bytes=total, tokens=need.rows * need.length, unpacked=need.unpacked)
