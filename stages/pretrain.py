"""Shards -> models/gpt/{best,last}: a GPT from scratch; its curve, perplexity, HellaSwag and a few samples.

A killed run goes on from its last checkpoint in .cache/pretrain/. A finished one is published again at once where
params, data and code that decide its weights are the same; samples, HellaSwag and the picture are made anew.
Run: python -m stages.pretrain, or torchrun --nproc-per-node N -m stages.pretrain
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("pretrain", ["shards", "train", "validate", "samples", "hellaswag", "write"])

import math
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.cache.turns import take_turn
from stages.lib.core.hashes import ledger_key
from stages.lib.core.metrics import Stopwatch, all_kept, ending, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import write_text
from stages.lib.curves.score_curve import Scoring
from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts, load_model
from stages.lib.gpt.generate import generate
from stages.lib.gpt.model import GPT, Activation, GPTConfig, Norm, PositionEncoding
from stages.lib.gpt.sampling import PRESETS
from stages.lib.gpt_export.initial_weights import initial_model, initial_weights_identity
from stages.lib.hellaswag.items import ENDINGS, load_items
from stages.lib.hellaswag.scoring import score
from stages.lib.hellaswag.together import COLUMNS, score_together
from stages.lib.launching.world import World
from stages.lib.shards.reading import open_shards, read_manifest
from stages.lib.tokens.continued_text import continued
from stages.lib.tokens.tokenizers import Tokenizer, load_tokenizer
from stages.lib.training.held_out import SPREAD, HeldOut
from stages.lib.training.loader import Windows
from stages.lib.training.out_of_memory import check_weights
from stages.lib.training.published_training import Published, run_in_processes, train_and_publish
from stages.lib.training.source_losses import by_source, mean_of, measure
from stages.lib.training.speed import Meter, Speed
from stages.lib.training.training import Training
from stages.lib.training.training_params import DECIDE, DECIDE_NOT, OptimizerName, Parallel, Tracker, TrainingParams

SHARDS_DIR = Path("data/shards")
MODELS_DIR = Path("models/gpt")
CURVE = Path("metrics/pretrain_curve.csv")
PICTURE = Path("data/pretrain/curve.png")
HELLASWAG_CURVE = Path("data/pretrain/hellaswag_curve.csv")
SAMPLES = Path("data/pretrain/samples.md")
SHAPE = ("context", "n_layer", "n_head", "d_model", "position", "norm", "activation", "bias", "dropout")  # of the model
MADE_AFTERWARDS = ("eval_windows", "hellaswag", "hellaswag_limit", "hellaswag_every", "prompts", "max_new_tokens")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `pretrain` of params.yaml."""

    init_from: str  # weights to start from: a checkpoint's or Hugging Face directory, hub:ORG/NAME@REVISION; "": random
    context: int  # tokens per window
    n_layer: int
    n_head: int
    d_model: int  # channels; a multiple of n_head
    position: PositionEncoding
    norm: Norm
    activation: Activation
    bias: bool  # of linear layers and layer norms
    dropout: float  # 0..1
    vocab_multiple: int  # the embedding's rows are the tokenizer's ids, rounded up to this (GPT-2: 50,304)
    steps: int  # optimizer steps, >= 1
    batch_tokens: int  # tokens per step over all processes; a multiple of context x micro_batch x processes
    micro_batch: int  # sequences a forward pass; what does not fit at once is accumulated
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
    eval_windows: int  # windows of a validation in training, spread evenly over the split; 0: all, as at the end
    checkpoint_every: int  # steps between checkpoints, besides those at a new best
    log_every: int  # steps between rows of the curve
    trackers: list[Tracker]  # besides the curve
    hellaswag: str  # a JSONL file of the upstream schema, or hub; empty: not scored
    hellaswag_limit: int  # items; 0: all
    hellaswag_every: int  # steps between scorings in training, by all processes; 0: only the best at the end
    prompts: list[str]  # samples are written to these
    max_new_tokens: int  # of a sample at most
    seed: int

    def __post_init__(self) -> None:
        self.training()
        if self.vocab_multiple < 1 or self.eval_windows < 0 or self.max_new_tokens < 0:
            raise ValueError("vocab_multiple is at least 1, eval_windows and max_new_tokens at least 0")
        if self.hellaswag_limit < 0 or self.hellaswag_every < 0:
            raise ValueError("hellaswag_limit and hellaswag_every are at least 0")
        self.config(1)

    def training(self) -> TrainingParams:
        """What the training loop is told. Raises `ValueError` naming the key."""
        return pick(TrainingParams, self)

    def config(self, vocab_size: int) -> GPTConfig:
        """The shape of a model for a tokenizer with so many ids."""
        rows = -(-vocab_size // self.vocab_multiple) * self.vocab_multiple
        return GPTConfig(vocab_size=rows, **{name: getattr(self, name) for name in SHAPE})


def write_samples(model: GPT, tokenizer: Tokenizer, prompts: list[str], tokens: int, seed: int) -> str:
    """A markdown page: each prompt continued by each preset."""
    ids = [tokenizer.encode(prompt).tolist() for prompt in prompts]
    page = ["# Samples of the pretrained model", ""]
    for name, sampling in PRESETS.items():
        continuations = generate(
            model,
            ids,
            max_new_tokens=tokens,
            sampling=sampling,
            valid_ids=tokenizer.vocab_size,
            stop=tokenizer.eot,
            seed=seed,
        )
        page += [f"## {name}", ""]
        for prompt, continuation in zip(prompts, continuations, strict=True):
            page += ["```", continued(prompt, tokenizer, continuation), "```", ""]
    return "\n".join(page)


@dataclass(frozen=True)
class Data:
    """What is trained and validated on."""

    tokenizer: Tokenizer
    train: Windows
    held_out: HeldOut
    val_sequences: int  # of held_out that are validated on in training
    fingerprint: str  # of the shards


def open_data(params: Params, world: World) -> Data:
    """Opens the shards.

    Raises:
        ValueError: they are broken, too short, or of another tokenizer.
    """
    tokenizer = load_tokenizer(read_manifest(SHARDS_DIR)["tokenizer"]["name"])
    # One process reads every byte to check it; the others rely on that.
    train, val = (open_shards(SHARDS_DIR, split, tokenizer, verify=world.main) for split in ("train", "val"))
    held_out = HeldOut(val, params.context)
    count = min(params.eval_windows or held_out.count, held_out.count)
    return Data(tokenizer, Windows(train, params.context, params.seed), held_out, count, train.fingerprint)


def begin(params: Params, data: Data, world: World) -> Training:
    """The training, at its last checkpoint if it has one.

    Raises:
        ValueError: sizes that do not go together, or weights to start from that do not fit.
    """
    tokenizer = data.tokenizer
    facts = TokenizerFacts(
        name=tokenizer.name, identity=tokenizer.identity, vocab_size=tokenizer.vocab_size, eot=tokenizer.eot
    )
    decide = ("init_from", "vocab_multiple", *SHAPE, *DECIDE)
    decisive = deciding(params, decide, (*MADE_AFTERWARDS, *DECIDE_NOT))
    decisive["init_from"] = initial_weights_identity(params.init_from)
    unused = [] if params.init_from else [initial_model]
    directory = training_directory(
        "pretrain",
        decisive,
        [data.fingerprint, str(asdict(facts))],
        # `begin` and `open_data` name all that computes, and more than has a part in the weights.
        code_identity(begin, open_data, without=[Meter, Speed, load_tokenizer, *unused]),
        ["torch", "numpy"],
    )
    if world.main:
        take_turn(directory)
    world.wait_for_main("the turn")
    store = CheckpointStore(directory)
    world.agree("checkpoints", [directory.name, store.pointers])
    torch.manual_seed(params.seed)
    model = GPT(params.config(tokenizer.vocab_size))
    if params.init_from:
        initial_model(params.init_from, model, tokenizer)
    return Training(
        model,
        params.training(),
        world,
        store,
        facts,
        decisive=decisive,
        val_sequences=data.val_sequences,
        val_which=SPREAD,
    )


def pretrain(params: Params, world: World, watch: Stopwatch) -> dict[str, Any]:
    """Trains, publishes the checkpoints and the curve (main process); returns the metrics and the clock's figures.

    Raises:
        ValueError: shards that are broken, too short or of another tokenizer, a loss that is not finite, a full disk.
    """
    data = open_data(params, world)
    tokenizer = data.tokenizer
    items, unusable = load_items(params.hellaswag, params.hellaswag_limit) if params.hellaswag else ([], Counter())
    watch.lap("shards")

    check_weights(params.config(tokenizer.vocab_size))
    training = begin(params, data, world)
    model = training.model

    scoring = Scoring(
        name="hellaswag",
        identity=ledger_key([asdict(item) for item in items]),
        columns=COLUMNS,
        shown=("acc_norm_tokens", "acc_norm_chars"),
        chance=1 / ENDINGS,
        every=params.hellaswag_every if items else 0,
        score=partial(score_together, model, tokenizer, items, world, training.precision),
        csv=HELLASWAG_CURVE,
    )
    places = {which: MODELS_DIR / which for which in ("best", "last")}
    finished = train_and_publish(
        "pretrain",
        training,
        data.train,
        data.held_out.spread(data.val_sequences),
        watch,
        about=f"{model.n_params:,} weights, {data.train.shards.tokens:,} tokens",
        published=Published(curve=CURVE, picture=PICTURE, checkpoints=places),
        scoring=scoring,
    )
    if finished is None:
        return {}
    best, _ = load_model(MODELS_DIR / "best", world.device)
    validation = measure(best, data.held_out, params.micro_batch, training.precision)
    watch.lap("validate")
    write_text(SAMPLES, write_samples(best, tokenizer, params.prompts, params.max_new_tokens, params.seed))
    watch.lap("samples")
    hellaswag = score(best, tokenizer, items, world.device) | {"dropped": dict(unusable)} if items else {}
    watch.lap("hellaswag")
    whole = mean_of(validation)
    losses = by_source(validation, data.held_out.shards.sources)
    loss_in_training, step = training.best
    write_metrics(
        "pretrain",
        {
            "weights": model.n_params,
            "steps": training.step,
            "precision": training.precision,
            "tokens_seen": training.step * params.batch_tokens,
            "matmul_flops": model.matmul_flops(training.step * params.batch_tokens),
            "epochs": training.step * training.sequences / data.train.per_epoch,
            "train_loss": finished.train_loss,
            "val_loss": whole.loss,
            "val_perplexity": math.exp(whole.loss),
            "val": whole.as_record() | {"windows": data.held_out.count},
            "val_by_source": {name: loss.as_record() for name, loss in losses.items()} if len(losses) > 1 else {},
            "val_in_training": {"loss": loss_in_training, "windows": data.val_sequences},
            "best_step": step,
            "data": data.fingerprint,
        }
        | ({"hellaswag": hellaswag} if hellaswag else {}),
        headline,
    )
    made = f"{model.n_params:,} weights, validation loss {whole} nats per token at step {step},"
    print(ending("pretrain", all_kept(data.train.shards.tokens), "tokens", made, MODELS_DIR))
    return finished.figures


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the best's loss on all of validation (nats per token); HellaSwag where scored."""
    found = {"val_loss": results["val_loss"]}
    if "hellaswag" in results:
        found["hellaswag"] = results["hellaswag"]["acc_norm_tokens"]["value"]
    return {"pretrain": found}


def main() -> None:
    """Reads params.yaml and data/shards, writes models/gpt, the curve, the samples and metrics/pretrain.json."""
    params = load(Params, "pretrain")
    run_in_processes("pretrain", params.processes, partial(pretrain, params))


if __name__ == "__main__":
    main()
