"""models/gpt/best + instruction sources -> models/gpt-finetuned: the same next-token objective on instruction text.

Each example is written `prompt sep answer eot`; a tenth, chosen by content, is held out. Base and finetuned model
answer held-out prompts, and read pretraining text, whose loss shows what was forgotten. A killed run goes on from its
last checkpoint in .cache/finetune/.
Run: python -m stages.finetune, or torchrun --nproc-per-node N -m stages.finetune
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("finetune", ["read", "train", "evaluate", "answer", "evaluate", "answer", "write"])

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.cache.turns import take_turn
from stages.lib.core.hashes import file_sha256
from stages.lib.core.metrics import Stopwatch, check_counts, ending, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import write_jsonl
from stages.lib.finetuning.answer_scores import score_all
from stages.lib.finetuning.answering import Answer, answer, answer_records, answered
from stages.lib.finetuning.losses import loss_and_perplexity, pretraining_text
from stages.lib.gpt.checkpoints import (
    STATE,
    WEIGHTS,
    CheckpointStore,
    TokenizerFacts,
    load_model,
    read_config,
    read_state,
)
from stages.lib.instructions.batches import InstructionBatches, LossOn
from stages.lib.instructions.examples import Example, InstructionSource, is_held_out, parse_source, read_source
from stages.lib.launching.world import World
from stages.lib.reading.documents import Drop
from stages.lib.reading.drop_advice import dropped_text, keys_told, lacking
from stages.lib.tokens.instruction_template import TEMPLATE
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer
from stages.lib.training.published_training import Published, run_in_processes, train_and_publish
from stages.lib.training.speed import Meter, Speed
from stages.lib.training.training import Training
from stages.lib.training.training_params import DECIDE, DECIDE_NOT, OptimizerName, Parallel, Tracker, TrainingParams

BASE_DIR = Path("models/gpt/best")
SHARDS_DIR = Path("data/shards")  # the text of the pretraining
MODEL_DIR = Path("models/gpt-finetuned")
CURVE = Path("metrics/finetune_curve.csv")
OUTPUT_DIR = Path("data/finetune")
MADE_AFTERWARDS = ("answer_limit", "max_new_tokens", "text_windows")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `finetune` of params.yaml."""

    sources: list[dict[str, Any]]  # each a `kind` (instructions, spam, docstrings) and the fields of its dataclass
    loss_on: LossOn  # all: prompt and answer; output: the answer alone
    val_fraction: float  # of the examples, for validation, between 0 and 1
    steps: int  # optimizer steps, >= 1
    batch_tokens: int  # tokens per step over all processes; a multiple of context x micro_batch x processes
    micro_batch: int  # examples a forward pass; what does not fit at once is accumulated
    lr: float  # peak learning rate (of Muon's matrices too, whose updates are scaled to AdamW's)
    warmup_fraction: float  # of the steps, linear, 0..1
    min_lr_fraction: float  # of lr, where the cosine ends, 0..1
    optimizer: OptimizerName  # adamw, or muon: the matrices of the blocks, adamw the rest
    beta1: float  # 0..1
    beta2: float  # 0..1
    eps: float
    weight_decay: float  # of matrices; vectors (norms, biases) have none
    clip: float  # global gradient norm at most; 0: no clipping
    precision: Literal["auto", "float32", "bf32", "bfloat16"]  # auto: bf16 autocast where a probe finds it faster
    compile: bool  # torch.compile of the training and validation pass
    processes: int  # 0: one a GPU; over 1: the stage starts itself again under torchrun
    parallel: Parallel  # ddp, or fsdp: weights and moments divided over the processes
    eval_every: int  # steps between validations
    checkpoint_every: int  # steps between checkpoints, besides those at a new best
    log_every: int  # steps between rows of the curve
    trackers: list[Tracker]  # besides the curve
    answer_limit: int  # held-out examples that are answered, before and after; 0: all
    max_new_tokens: int  # of an answer at most, >= 1
    text_windows: int  # of the pretraining's validation text, spread evenly, to measure forgetting by; 0: all
    seed: int

    def __post_init__(self) -> None:
        self.training()
        if not self.sources:
            raise ValueError("sources: no source is named")
        if self.answer_limit < 0 or self.text_windows < 0 or self.max_new_tokens < 1:
            raise ValueError("answer_limit and text_windows are at least 0, max_new_tokens at least 1")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction: {self.val_fraction} is not between 0 and 1")
        self.parsed_sources()

    def training(self) -> TrainingParams:
        """What the training loop is told. Raises `ValueError` naming the key."""
        return pick(TrainingParams, self)

    def parsed_sources(self) -> list[InstructionSource]:
        """The typed sources. Raises `ValueError` naming the key."""
        return [parse_source(content, f"sources[{i}]") for i, content in enumerate(self.sources)]


def read_all(sources: list[InstructionSource]) -> tuple[list[list[Example]], list[Drop]]:
    """Examples by source, and drops, in order; what came in an earlier source is a drop (`duplicate`) too.

    Raises:
        ValueError: no example is left; names the reasons, and the keys that were looked for and found.
    """
    seen: dict[bytes, Example] = {}
    by_source: list[list[Example]] = []
    drops: list[Drop] = []
    for source in sources:
        by_source.append([])
        for item in read_source(source):
            if isinstance(item, Drop):
                drops.append(item)
            elif item.digest in seen:
                drops.append(Drop(item.source, "duplicate", f"same as {seen[item.digest].source}"))
            else:
                seen[item.digest] = item
                by_source[-1].append(item)
    if not any(by_source):
        told = "; ".join(
            filter(None, (dropped_text(Counter(drop.reason for drop in drops)), keys_told(lacking(drops))))
        )
        first = f"; the first: {drops[0].source}: {drops[0].detail}" if drops else ""
        raise ValueError(f"sources: no example is left of 0 that could be read; dropped: {told}{first}")
    return by_source, drops


def base_tokenizer(directory: Path) -> tuple[Tokenizer, TokenizerFacts]:
    """The tokenizer of the model to start from.

    Raises:
        ValueError: no checkpoint there, its tokenizer is not the one of that name any more, or its model has no row
            for `sep`.
    """
    config, facts = read_config(directory)
    tokenizer = load_tokenizer(facts.name)
    if tokenizer.identity != facts.identity:
        raise ValueError(f"{directory}: was trained with another tokenizer than {facts.name!r} is now; pretrain again")
    if max(tokenizer.sep, tokenizer.pad, tokenizer.eot) >= config.vocab_size:
        raise ValueError(
            f"{directory}: the tokenizer {facts.name!r} has no sep token within the model's {config.vocab_size} rows "
            f"(sep {tokenizer.sep}, pad {tokenizer.pad}); pretrain with a larger vocab_multiple"
        )
    return tokenizer, facts


@dataclass(frozen=True)
class Data:
    """What is trained and validated on."""

    examples: list[Example]
    train: InstructionBatches
    held_out: dict[LossOn, InstructionBatches]  # the same examples, by which of their tokens count
    held_out_examples: list[Example]


def encode(params: Params, examples: list[Example], tokenizer: Tokenizer, context: int) -> Data:
    """Splits the examples and turns them into tokens.

    Raises:
        ValueError: no example is left on a side.
    """
    sides: dict[bool, list[Example]] = {True: [], False: []}
    for example in examples:
        sides[is_held_out(example, params.val_fraction)].append(example)
    train = InstructionBatches(sides[False], tokenizer, context, params.loss_on, seed=params.seed)
    choices: tuple[LossOn, ...] = ("all", "output")
    held = {on: InstructionBatches(sides[True], tokenizer, context, on, shuffle=False) for on in choices}
    return Data(examples, train, held, sides[True])


def begin(params: Params, data: Data, world: World, facts: TokenizerFacts) -> Training:
    """The training, at its last checkpoint if it has one.

    Raises:
        ValueError: batch sizes that do not divide, or a damaged base.
    """
    validation = data.held_out[params.loss_on]
    # `sources` is in the examples' own hashes.
    decisive = deciding(params, ("loss_on", "val_fraction", *DECIDE), ("sources", *MADE_AFTERWARDS, *DECIDE_NOT))
    directory = training_directory(
        "finetune",
        decisive,
        [*(example.digest.hex() for example in data.examples), file_sha256(BASE_DIR / WEIGHTS), str(asdict(facts))],
        # `begin` and `encode` name all that computes; what the clock said has no part in the weights.
        code_identity(begin, encode, load_tokenizer, without=[Meter, Speed]),
        ["torch", "numpy"],
    )
    if world.main:
        take_turn(directory)
    world.wait_for_main("the turn")
    store = CheckpointStore(directory, TEMPLATE)
    world.agree("checkpoints", [directory.name, store.pointers])
    model, _ = load_model(BASE_DIR)
    return Training(
        model, params.training(), world, store, facts, decisive=decisive, val_sequences=validation.per_epoch
    )


def finetune(params: Params, world: World, watch: Stopwatch) -> dict[str, Any]:
    """Trains, publishes the model and the curve (main process); returns the clock's figures.

    Raises:
        ValueError: no base model, no examples, a loss that is not finite, a full disk.
    """
    tokenizer, facts = base_tokenizer(BASE_DIR)
    context = read_config(BASE_DIR)[0].context
    by_source, drops = read_all(params.parsed_sources())
    data = encode(params, [example for examples in by_source for example in examples], tokenizer, context)
    train, validation = data.train, data.held_out[params.loss_on]
    text, no_text = pretraining_text(SHARDS_DIR, tokenizer, context, params.text_windows)
    if world.main:
        print(told_before(params, no_text), end="", flush=True)
    watch.lap("read")

    training = begin(params, data, world, facts)
    finished = train_and_publish(
        "finetune",
        training,
        train,
        validation,
        watch,
        about=f"{train.per_epoch:,} examples, {validation.per_epoch:,} held out",
        published=Published(curve=CURVE, picture=OUTPUT_DIR / "curve.png", checkpoints={"best": MODEL_DIR}),
        width=max(train.widest, validation.widest),
    )
    if finished is None:
        return {}
    drops += train.dropped + validation.dropped
    write_jsonl(OUTPUT_DIR / "dropped.jsonl", map(asdict, drops))
    write_jsonl(OUTPUT_DIR / "held_out.jsonl", map(asdict, data.held_out_examples))
    asked = answered(validation.kept, params.answer_limit)
    losses: dict[str, dict[str, float]] = {}
    text_losses: dict[str, dict[str, float]] = {}
    answers: dict[str, list[Answer]] = {}
    for when, place in (("before", BASE_DIR), ("after", MODEL_DIR)):
        judged, _ = load_model(place, world.device)
        for loss_on, batches in data.held_out.items():
            losses[f"{loss_on}_{when}"] = loss_and_perplexity(judged, batches, batches.per_epoch, params.micro_batch)
        if text is not None:
            text_losses[when] = loss_and_perplexity(judged, text, len(text.numbers), params.micro_batch)
        watch.lap("evaluate")
        answers[when] = answer(judged, tokenizer, asked, params.max_new_tokens)
        watch.lap("answer")
    write_jsonl(OUTPUT_DIR / "answers.jsonl", answer_records(asked, answers))
    kept = train.per_epoch + validation.per_epoch
    reasons = Counter(drop.reason for drop in drops)
    counts = check_counts(kept + len(drops), kept, dict(reasons))
    write_metrics(
        "finetune",
        {
            "examples": counts,
            "train": train.per_epoch,
            "held_out": validation.per_epoch,
            "steps": training.step,
            "precision": training.precision,
            "epochs": training.step * training.sequences / train.per_epoch,
            "best_step": training.best[1],
            "held_out_losses": losses,
            "pretraining_text": {"windows": len(text.numbers), **text_losses} if text else {"skipped": no_text},
            "answers": {"max_new_tokens": params.max_new_tokens, **score_all(asked, answers, by_source)},
        },
        headline,
    )
    before, after = (losses[f"output_{when}"]["loss"] for when in ("before", "after"))
    made = f"loss on held-out answers {before:.4f} -> {after:.4f} nats per token,"
    if text_losses:
        made += " on pretraining text {:.4f} -> {:.4f},".format(*(text_losses[when]["loss"] for when in text_losses))
    print(ending("finetune", counts, "examples", made, MODEL_DIR, why=keys_told(lacking(drops))))
    return finished.figures


def told_before(params: Params, no_text: str) -> str:
    """What a person should know before the training: lines, or nothing."""
    lines = f"finetune: forgetting is not measured: {no_text}\n" if no_text else ""
    if (BASE_DIR / STATE).is_file():
        peak = read_state(BASE_DIR).get("params", {}).get("lr", params.lr)
        if params.lr > peak:
            lines += (
                f"finetune: lr {params.lr} is above the {peak} that the base was pretrained with: it may forget much\n"
            )
    return lines


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: on held-out examples the loss of the answers after the training (nats per token).

    And the perplexity of the pretraining text over what the base's was.
    """
    found = {"answer_loss": results["held_out_losses"]["output_after"]["loss"]}
    text = results["pretraining_text"]
    if "after" in text:
        found["forgetting"] = text["after"]["perplexity"] / text["before"]["perplexity"]
    return {"finetune": found}


def main() -> None:
    """Reads params.yaml and models/gpt/best, writes models/gpt-finetuned, data/finetune, the curve and the metrics."""
    params = load(Params, "finetune")
    run_in_processes("finetune", params.processes, partial(finetune, params))


if __name__ == "__main__":
    main()
