"""qar_{train,val,test} -> models/{base}-grpo/: reasoning by group-relative policy optimisation, rewards audited first.

data/grpo/ shows it: each test question with the base's reply and the tuned one's, and a picture of the rewards.
A killed training goes on from its last checkpoint in .cache/grpo/. Under torchrun all processes train, and the main one
does the rest. Run: python -m stages.grpo
"""

from stages.lib.core import progress

if __name__ == "__main__":  # first of all: the imports below take seconds
    progress.begin("grpo", ["audit", "base", "train", "tuned", "measure"])

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stages.lib.adapters.device import AttnImplementation, check_attention, choose_one_device, use_tf32
from stages.lib.adapters.lora import Backend, Lora, check_unsloth
from stages.lib.adapters.model_card import model_card, publish, write_card
from stages.lib.adapters.resuming import last_whole_checkpoint, logged, prune_finished, step_of, train_once
from stages.lib.adapters.schedule import LrSchedulerType, Schedule
from stages.lib.cache.code_identity import code_identity
from stages.lib.cache.ledger import Ledger
from stages.lib.cache.training_directory import deciding, training_directory
from stages.lib.cache.turns import take_turn
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.core.hashes import file_sha256, ledger_key
from stages.lib.core.metrics import Stopwatch, ending, summed, write_metrics
from stages.lib.core.params import load, pick
from stages.lib.core.records import write_csv
from stages.lib.embedding.embedders import Embedder, open_embedder
from stages.lib.grpo.format_gain import CONTENT, FORM, REWARD, gain_line, gains, measure_replies, reply_rows
from stages.lib.grpo.reasoning_prompts import PromptSplit, make_splits
from stages.lib.grpo.reward_audit import audit_base
from stages.lib.grpo.reward_curve import publish_curve, reward_quarters
from stages.lib.grpo.rewards import AnswerSimilarity, Floats, Name, build_rewards
from stages.lib.grpo.settings import (
    CurveRow,
    GradientCheckpointing,
    GRPOSettings,
    LossType,
    ScaleRewards,
    check_vllm,
    curve_rows,
)
from stages.lib.launching.launch import launch
from stages.lib.weights.base import base_identity, context_length, load_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import ModelEntry, load_model_entry, resolved_dtype

if TYPE_CHECKING:  # torch loads after the params have been read
    from stages.lib.launching.world import World

QAR = Path("data/instruct")
CURVE = Path("metrics/grpo_curve.csv")
OUT = Path("data/grpo")
# What decides the adapter, up to the order of summation; another value is another training. What does not may change
# between a kill and the next run.
DECIDE = """
    base backend dtype attn_implementation tf32 use_vllm max_prompt_length reward_weights steps prompts_per_step
    num_generations max_new_tokens lr warmup_fraction lr_scheduler_type loss_type beta epsilon num_iterations
    scale_rewards mask_truncated_completions temperature r lora_alpha lora_dropout target_modules weight_decay
    clip seed train_limit shots length_words similarity_model
""".split()
DECIDE_NOT = """
    micro_batch gradient_checkpointing eval_batch_size checkpoint_every bootstrap_samples audit_prompts
    audit_replies audit_tolerance test_limit vllm_gpu_memory_utilization
""".split()
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "tokenizers")
Asked = Sequence[tuple[Sequence[int], float]]  # token prompts, each with the temperature of its reply
Said = Callable[[Asked], list[str]]


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `grpo` of params.yaml."""

    base: str  # a name of models:
    backend: Backend  # hf: transformers, peft and trl on any machine; unsloth: CUDA alone
    dtype: Literal["float32", "bfloat16", "float16", "auto"]  # of the base's weights; auto: bfloat16 with CUDA or AMX
    attn_implementation: AttnImplementation  # of the training: sdpa, flash_attention_2 or eager (hf)
    tf32: bool  # float32 products with 10 bits of mantissa: Ampere and later cards
    use_vllm: bool  # vLLM writes the replies that are trained on, in the same process (hf, CUDA)
    vllm_gpu_memory_utilization: float  # share of the card that it takes, between 0 and 1
    steps: int  # optimizer steps, >= 1
    prompts_per_step: int  # groups per step, >= 1
    num_generations: int  # replies a group, >= 2
    micro_batch: int  # replies a forward pass; divides num_generations x prompts_per_step
    max_new_tokens: int  # of a reply at most; what is longer is cut
    max_prompt_length: int  # tokens; longer prompts, examples included, are dropped
    shots: int  # worked examples from the train split in every prompt, for base and tuned alike
    train_limit: int  # prompts of the train split, the first so many; 0: all
    temperature: float  # of sampling, above 0
    r: int  # rank of the adapter, >= 1
    lora_alpha: int  # its update is scaled by lora_alpha / r
    lora_dropout: float  # of the adapter's input, 0 <= lora_dropout < 1
    target_modules: list[str]  # adapted linear layers; []: all but the output layer
    lr: float  # peak learning rate
    lr_scheduler_type: LrSchedulerType  # constant_with_warmup, linear or cosine
    warmup_fraction: float  # of the steps, 0..1
    weight_decay: float
    clip: float  # global gradient norm at most; 0: no clipping
    loss_type: LossType  # grpo, bnpo, dr_grpo, dapo, cispo, luspo or sapo: how the token losses are averaged
    beta: float  # weight of the KL divergence from the base; 0: neither computed nor logged
    epsilon: float  # clipping of the probability ratio, above 0
    num_iterations: int  # optimizer steps on the same replies, >= 1
    scale_rewards: ScaleRewards  # group, batch or none: what advantages are divided by the deviation of
    mask_truncated_completions: bool  # leave replies that were cut out of the loss
    gradient_checkpointing: GradientCheckpointing  # none, full: less memory, but a prompt is computed once a reply
    reward_weights: dict[Name, float]  # format, overlap, similarity, grounded, length; 0 leaves a reward out
    length_words: list[int]  # the reply's least and most words for the full length reward
    similarity_model: str  # an embedding model of models:
    audit_prompts: int  # of the val split, that the base replies to; worthless replies are tried on all of it
    audit_replies: int  # of the base a prompt
    audit_tolerance: float  # share of prompts, 0..1, on which a worthless reply may beat the reference
    test_limit: int  # prompts of the test split, the first so many; 0: all
    eval_batch_size: int  # replies computed together outside training
    bootstrap_samples: int
    checkpoint_every: int  # steps between checkpoints, a multiple of num_iterations
    seed: int

    def __post_init__(self) -> None:
        for name in ("train_limit", "shots", "test_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        for name in ("max_prompt_length", "audit_prompts", "audit_replies", "eval_batch_size", "bootstrap_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if min(self.reward_weights.values(), default=-1) < 0 or sum(self.reward_weights.values()) == 0:
            raise ValueError(f"reward_weights: {self.reward_weights}: none may be negative, one must be above 0")
        if len(self.length_words) != 2 or not 0 < self.length_words[0] <= self.length_words[1]:
            raise ValueError(f"length_words: {self.length_words} is not [least, most]")
        if not 0 <= self.audit_tolerance < 1:
            raise ValueError(f"audit_tolerance: {self.audit_tolerance} is not in 0..1")
        self.lora(), self.schedule()  # which check their own ranges
        if self.checkpoint_every % self.settings().num_iterations:
            raise ValueError(f"checkpoint_every: {self.checkpoint_every} is not a multiple of num_iterations")

    def lora(self) -> Lora:
        """The adapter."""
        return pick(Lora, self)

    def schedule(self) -> Schedule:
        """How the optimizer steps."""
        return pick(Schedule, self)

    def settings(self) -> GRPOSettings:
        """What a step samples, and how its loss is made."""
        return pick(GRPOSettings, self)


def read_splits(params: Params, tokenizer: Any, fmt: ChatFormat, context: int) -> dict[str, PromptSplit]:
    """The three splits of data/instruct/qar, written as `fmt` says.

    A prompt that leaves no room for a reply in `context` tokens is dropped.

    Raises:
        ValueError: a file is missing or broken, no record of a split fits, or all answers are the same.
    """
    files = {name: QAR / f"qar_{name}.jsonl" for name in ("train", "val", "test")}
    most = min(params.max_prompt_length, context - params.max_new_tokens)
    if most < 1:
        raise ValueError(
            f"max_new_tokens: {params.max_new_tokens} leaves no room for a prompt: {params.base} takes {context}"
        )
    return make_splits(files, tokenizer, shots=params.shots, max_tokens=most, fmt=fmt)


def adapter_directory(params: Params, inputs: Sequence[str]) -> Path:
    """Where this training's checkpoints and the base's replies lie: a hash of what decides them.

    `inputs`: fingerprints of the data, of the base and how its conversations are written, and of the embedder.
    """
    from stages.lib.grpo.run import train_adapter  # loads torch

    code = code_identity(read_splits, Embedder, build_rewards, train_adapter)
    return training_directory("grpo", deciding(params, DECIDE, DECIDE_NOT), inputs, code, PACKAGES)


def check_machine(params: Params) -> None:
    """That this machine has what the params ask for; before anything is computed.

    Raises:
        ValueError: names what is missing.
    """
    choose_one_device("grpo", params.backend)
    if params.backend == "unsloth":
        check_unsloth(params.gradient_checkpointing)
    check_attention(params.attn_implementation, resolved_dtype(params.dtype), params.backend)
    check_vllm(params.settings(), params.backend)
    use_tf32(params.tf32)


@contextmanager
def answering(params: Params, base: ModelEntry, adapter: Path | None) -> Iterator[Said]:
    """The base, or an adapter on it, that replies to token prompts; through the ledger."""
    from stages.lib.llm.protocol import Sampling
    from stages.lib.replying.kept_replies import AnsweringModel, reply_ledger

    with reply_ledger() as ledger:
        model = AnsweringModel(
            params.base,
            base,
            adapter,
            dtype=params.dtype,
            batch_size=params.eval_batch_size,
            merged=True,
            ledger=ledger,
        )

        def said(asked: Asked) -> list[str]:
            drawn = [
                Sampling(max_tokens=params.max_new_tokens, temperature=temperature, seed=params.seed + i)
                for i, (_, temperature) in enumerate(asked)
            ]
            return [reply.text.strip() for reply in model.replies([prompt for prompt, _ in asked], drawn)]

        with closing(model):
            yield said


@contextmanager
def rewards_embedder(params: Params, world: "World") -> Iterator[Embedder]:
    """The model that tells how alike two answers are.

    Processes other than the main one keep their vectors to themselves: many processes can share the ledger, but not
    many machines over a network's file system (SQLite's write-ahead log).
    """
    name, entry = params.similarity_model, load_model_entry(params.similarity_model)
    if world.main:
        with open_embedder(name, entry) as embedder:
            yield embedder
        return
    with TemporaryDirectory(prefix="llmill-") as own, closing(Ledger(Path(own) / "ledger.sqlite")) as ledger:
        yield Embedder(name, entry, ledger)


def grpo(params: Params, embedder: Embedder, watch: Stopwatch, world: "World") -> None:
    """Audits, trains, publishes, measures (the main process); `embedder` tells how alike two answers are.

    Base and tuned are measured in the same way, whatever trained: the base in `dtype`, not quantized, without and with
    the published adapter, loaded by us.

    Raises:
        ValueError: bad data, a reward that is NaN or topped by a worthless reply, a full disk.
    """
    from stages.lib.grpo.run import Task, train_adapter  # loads torch

    dtype = resolved_dtype(params.dtype)
    params = replace(params, dtype=dtype)
    base = load_model_entry(params.base)
    tokenizer = load_tokenizer(huggingface_directory(base))
    fmt = ChatFormat.of(base)
    splits = read_splits(params, tokenizer, fmt, context_length(base))
    train_set, audit_set, test_set = (
        splits["train"].first(params.train_limit),
        splits["val"].first(params.audit_prompts),
        splits["test"].first(params.test_limit),
    )
    identity = base_identity(base)
    data = {name: file_sha256(QAR / f"qar_{name}.jsonl") for name in splits}
    directory = adapter_directory(params, [identity, ledger_key(fmt.facts), *embedder.identity, *data.values()])

    def encode(texts: Sequence[str]) -> Floats:
        return embedder.encode_documents(texts, progress=None).astype(np.float64)

    rewards = build_rewards(params.reward_weights, encode, (params.length_words[0], params.length_words[1]))

    greedy = [(prompt, 0.0) for prompt in test_set.tokens]
    before: list[str] = []
    audit: dict[str, Any] = {}
    if world.main:
        # What is audited and what is measured are written in the same batches: a token costs no more for more rows.
        sampled = [(prompt, params.temperature) for prompt in audit_set.tokens for _ in range(params.audit_replies)]
        with answering(params, base, None) as said:
            found = said([*sampled, *greedy])
        before = found[len(sampled) :]
        watch.lap("base")
        audit = audit_base(
            rewards,
            params.reward_weights,
            audit_set,
            found[: len(sampled)],
            references=splits["val"].samples,
            tolerance=params.audit_tolerance,
        )
        watch.lap("audit")
        take_turn(directory)
    resumed_from = step_of(last_whole_checkpoint(directory)) if world.main else 0
    task = Task(
        base=base,
        dtype=dtype,
        attention=params.attn_implementation,
        lora=params.lora(),
        settings=params.settings(),
        schedule=params.schedule(),
        prompts=train_set.prompts,
        samples=train_set.samples,
        reward_weights=params.reward_weights,
        directory=directory,
        processes=world.size,
    )
    trained = train_once(directory, params.steps, lambda: train_adapter(task, params.backend, rewards), world)
    watch.lap("train")
    if not world.main:
        return

    def card(metrics: dict[str, Any] | None) -> str:
        return model_card(
            title=f"{params.base}-grpo",
            base=params.base,
            source=base.source,
            method="LoRA trained by GRPO to reason from a text: `reasoning ##### answer`.",
            data={f"qar_{name}": digest for name, digest in data.items()},
            params=asdict(params),
            metrics=metrics,
        )

    target = Path("models") / f"{params.base}-grpo"
    publish(
        target, trained, tokenizer, {"base": params.base, "base_identity": identity, "data_sha256": data}, card(None)
    )
    rows = curve_rows(logged(trained), list(rewards))
    caption = f"{params.prompts_per_step} x {params.num_generations} replies a step, lr {params.lr:g}"
    publish_curve(rows, list(rewards), f"GRPO on {params.base}: {caption}", CURVE, OUT)
    prune_finished(directory)
    with answering(params, base, target) as said:
        after = said(greedy)
    watch.lap("tuned")

    similarity = AnswerSimilarity(encode)
    measured = {
        name: measure_replies(test_set.samples, replies, similarity, rewards, params.reward_weights)
        for name, replies in (("base", before), ("tuned", after))
    }
    measures = gains(measured["base"], measured["tuned"], params.bootstrap_samples, params.seed)
    write_card(
        target, card({f"{name} {key}": value for name, found in measures.items() for key, value in found.items()})
    )
    write_csv(OUT / "replies.csv", reply_rows(test_set.samples, {"base": before, "tuned": after}, measured))
    write_metrics("grpo", results(params, splits, rows, len(test_set.samples), measures) | {"audit": audit}, headline)
    watch.write(resumed_from_step=resumed_from, steps=len(rows))
    counts = summed(split.counts for split in splits.values())
    print(ending("grpo", counts, "questions", f"{gain_line(measures)}; adapter", target))


def results(
    params: Params,
    splits: Mapping[str, PromptSplit],
    rows: Sequence[CurveRow],
    asked: int,
    measures: Mapping[str, Any],
) -> dict[str, Any]:
    """The metrics of the training and of what it gained on the test questions `asked`."""
    return {
        "counts": {name: split.counts for name, split in splits.items()},
        "dtype": params.dtype,
        "steps": len(rows),
        **reward_quarters(rows),
        "test_prompts": asked,
        "format_gain": {name: measures[name] for name in FORM},
        "content_gain": {name: measures[name] for name in CONTENT},
        "reward_gain": {name: measures[name] for name in REWARD},
    }


def headline(results: dict[str, Any]) -> dict[str, Any]:
    """The columns of `dvc exp show`: the reward at the end, the answers' F1 on test questions and what it gained."""
    answer = results["content_gain"]["answer_f1"]
    return {"grpo": {"reward": results["reward_last_quarter"], "f1": answer["tuned"], "f1_gain": answer["gain"]}}


def main() -> None:
    """Reads params.yaml and data/instruct, writes models/{base}-grpo, metrics/grpo.json and the curve."""
    launch("stages.grpo")
    params, watch = load(Params, "grpo"), Stopwatch("grpo")
    check_machine(params)
    from stages.lib.launching.world import only_main_prints, open_world  # loads torch

    with open_world() as world, only_main_prints(world), rewards_embedder(params, world) as embedder:
        grpo(params, embedder, watch, world)


if __name__ == "__main__":
    main()
