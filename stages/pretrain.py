"""Shards -> models/gpt/{best,last}: a GPT from scratch; its curve, perplexity, HellaSwag and a few samples.

A killed run goes on from its last checkpoint in .cache/pretrain/.
Run: python -m stages.pretrain, or torchrun --nproc-per-node N -m stages.pretrain
"""

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from stages.lib.cache import cache_dir
from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts, load_model
from stages.lib.gpt.curves import Curve
from stages.lib.gpt.distributed import World, open_world, start_processes
from stages.lib.gpt.generate import generate
from stages.lib.gpt.hellaswag_items import load_items
from stages.lib.gpt.hellaswag_scoring import score
from stages.lib.gpt.loader import Windows
from stages.lib.gpt.memory import Load, check_memory
from stages.lib.gpt.model import GPT, Activation, GPTConfig, Norm, Position
from stages.lib.gpt.precision import Precision
from stages.lib.gpt.sampling import PRESETS
from stages.lib.gpt.shards import open_shards, read_manifest
from stages.lib.gpt.tokenizers import Tokenizer, load_tokenizer
from stages.lib.gpt.trackers import open_trackers
from stages.lib.gpt.training import Training
from stages.lib.gpt.training_params import TrainingParams, training_directory
from stages.lib.metrics import Stopwatch, write_metrics
from stages.lib.params import load
from stages.lib.records import write_text

SHARDS_DIR = Path("data/shards")
MODELS_DIR = Path("models/gpt")
CURVE = Path("metrics/pretrain_curve.csv")
PICTURE = Path("data/pretrain/curve.png")
SAMPLES = Path("data/pretrain/samples.md")


@dataclass(frozen=True, kw_only=True)
class Params(TrainingParams):
    """Section `pretrain` of params.yaml: the training loop's knobs and these."""

    context: int  # tokens a window
    n_layer: int
    n_head: int
    d_model: int  # channels; a multiple of n_head
    position: Position = "rope"
    norm: Norm = "rmsnorm"
    activation: Activation = "gelu_sigmoid"
    bias: bool = False  # of linear layers and layer norms
    dropout: float = 0.0  # 0..1
    vocab_multiple: int = 64  # the embedding's rows are the tokenizer's ids, rounded up to this (GPT-2: 50,304)
    eval_windows: int = 200  # validation windows a validation; 0: all
    hellaswag: str = ""  # a JSONL file of the upstream schema, or hub; empty: not scored
    hellaswag_limit: int = 0  # items; 0: all
    hellaswag_every: int = 0  # steps between scorings in training, told to the trackers; 0: only the best at the end
    prompts: list[str]  # samples are written to these
    sample_tokens: int = 200  # a sample at most

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocab_multiple < 1 or self.eval_windows < 0 or self.sample_tokens < 0:
            raise ValueError("vocab_multiple is at least 1, eval_windows and sample_tokens at least 0")
        if self.hellaswag_limit < 0 or self.hellaswag_every < 0:
            raise ValueError("hellaswag_limit and hellaswag_every are at least 0")
        if self.hellaswag_every and self.parallel == "fsdp":
            raise ValueError("hellaswag_every: with parallel fsdp no process has the whole model; score at the end")
        self.config(1)

    def config(self, vocab_size: int) -> GPTConfig:
        """The shape of a model for a tokenizer with so many ids."""
        names = ("context", "n_layer", "n_head", "d_model", "position", "norm", "activation", "bias", "dropout")
        rows = -(-vocab_size // self.vocab_multiple) * self.vocab_multiple
        return GPTConfig(vocab_size=rows, **{name: getattr(self, name) for name in names})


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
            page += ["```", prompt + tokenizer.decode(continuation), "```", ""]
    return "\n".join(page)


def check_card(params: Params, config: GPTConfig, world: World, precision: Precision) -> None:
    """Raises `ValueError` that says what to lower when the training does not fit into this process's GPU."""
    if world.device.type == "cuda":
        properties = torch.cuda.get_device_properties(world.device)
        load = Load(
            config=config,
            micro_batch=params.micro_batch,
            precision=precision,
            optimizer=params.optimizer,
            processes=world.size,
            parallel=params.parallel,
        )
        check_memory(load, properties.total_memory, properties.name)


def pretrain(params: Params, world: World, watch: Stopwatch) -> dict[str, Any]:
    """Trains, publishes the checkpoints and the curve (main process); returns the metrics and the clock's figures.

    Raises:
        ValueError: shards that are broken, too short or of another tokenizer, a loss that is not finite, a full disk.
    """
    manifest = read_manifest(SHARDS_DIR)
    tokenizer = load_tokenizer(manifest["tokenizer"]["name"])
    # One process reads every byte to check it; the others rely on that.
    train, val = (open_shards(SHARDS_DIR, split, tokenizer, verify=world.main) for split in ("train", "val"))
    items, unusable = load_items(params.hellaswag, params.hellaswag_limit) if params.hellaswag else ([], Counter())
    windows = Windows(train, params.context, params.seed)
    held_out = Windows(val, params.context, params.seed, shuffle=False)
    count = min(params.eval_windows or held_out.per_epoch, held_out.per_epoch)
    watch.lap("shards")

    torch.manual_seed(params.seed)
    model = GPT(params.config(tokenizer.vocab_size))
    facts = TokenizerFacts(
        name=tokenizer.name, identity=tokenizer.identity, vocab_size=tokenizer.vocab_size, eot=tokenizer.eot
    )
    directory = training_directory("pretrain", params, train.fingerprint)
    store = CheckpointStore(directory)
    training = Training(model, params, world, store, facts)
    check_card(params, model.config, world, training.precision)
    resumed = training.step
    if world.main:
        print(
            f"pretrain: {model.n_params:,} weights, {train.tokens:,} tokens, {training.sequences} sequences a step, "
            f"{training.precision}" + (f", goes on from step {resumed}" if resumed else ""),
            flush=True,
        )
    curve = Curve(directory / "curve.csv", resumed) if world.main else None
    # What trackers are told, the main process tells.
    trackers = open_trackers(params.trackers if curve else [], directory, asdict(params), curve.points if curve else [])

    def log(step: int, row: Mapping[str, float]) -> None:
        found: dict[str, float] = {}
        if world.main and items and params.hellaswag_every and step % params.hellaswag_every == 0:
            measures = score(model, tokenizer, items, world.device)
            found = {f"hellaswag_{name}": measures[name]["value"] for name in ("acc_norm_tokens", "acc_norm_chars")}
            print(f"\npretrain: step {step}: {found}", flush=True)
        trackers.log(step, {**row, **found})

    speed = training.run(windows, lambda: training.mean_loss(held_out, count), curve, log, name="pretrain")
    trackers.close()
    watch.lap("train")
    if curve is None:
        return {}
    curve.publish(CURVE, PICTURE)
    for which in ("best", "last"):
        store.publish(which, MODELS_DIR / which)
    best, _ = load_model(MODELS_DIR / "best", world.device)
    write_text(SAMPLES, write_samples(best, tokenizer, params.prompts, params.sample_tokens, params.seed))
    watch.lap("samples")
    hellaswag = score(best, tokenizer, items, world.device) | {"dropped": dict(unusable)} if items else {}
    watch.lap("hellaswag")
    loss, step = training.best
    write_metrics(
        "pretrain",
        {
            "weights": model.n_params,
            "steps": training.step,
            "tokens_seen": training.step * params.batch_tokens,
            "epochs": training.step * training.sequences / windows.per_epoch,
            "train_loss": curve.points[-1].train_loss,
            "val_loss": loss,
            "val_perplexity": math.exp(loss),
            "val_windows": count,
            "best_step": step,
            "data": train.fingerprint,
        }
        | ({"hellaswag": hellaswag} if hellaswag else {}),
    )
    return {
        "resumed_from_step": resumed,
        "tokens_per_second": speed.tokens_per_second,
        "matmul_share": speed.matmul_share,
        "matmul_peak_gflops": speed.peak / 1e9,
    }


def main() -> None:
    """Reads params.yaml and data/shards, writes models/gpt, the curve, the samples and metrics/pretrain.json."""
    params = load(Params, "pretrain")
    start_processes(params.processes, "stages.pretrain")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "inductor"))
    watch = Stopwatch("pretrain")
    with open_world() as world:
        figures = pretrain(params, world, watch)
        if world.main:
            watch.write(**figures)


if __name__ == "__main__":
    main()
