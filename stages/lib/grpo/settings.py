"""One GRPO training: its knobs, its rewards as TRL wants them, its checkpoints and its curve."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.lib.grpo.rewards import Name, Reward, Sample, score

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo"]
Message = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class GRPOParams:
    """The knobs of the training, flat in params.yaml."""

    base: str  # a name of models:
    backend: Literal["hf", "unsloth"]  # unsloth: CUDA only
    dtype: Literal["float32", "bfloat16", "float16", "auto"]  # of the base's weights; auto: bfloat16 with CUDA or AMX
    max_prompt_length: int  # longer prompts, examples included, are dropped
    reward_weights: dict[Name, float]  # of the rewards format, overlap, similarity, grounded, length; 0 leaves one out
    steps: int  # optimizer steps
    prompts_per_step: int  # groups a step
    num_generations: int  # replies a group, at least 2
    micro_batch: int  # replies a forward pass, a multiple or a divisor of num_generations
    max_new_tokens: int  # a reply at most; what is longer is cut
    lr: float  # peak
    warmup_fraction: float  # of the steps, 0..1
    lr_scheduler_type: Literal["constant_with_warmup", "linear", "cosine"]
    loss_type: LossType  # how the token losses are averaged
    beta: float  # weight of the KL divergence from the base; 0: neither computed nor logged
    epsilon: float  # clipping of the probability ratio
    num_iterations: int  # optimizer steps on the same replies
    scale_rewards: Literal["group", "batch", "none"]  # what advantages are divided by the deviation of
    mask_truncated_completions: bool  # leave replies that were cut out of the loss
    temperature: float  # of sampling
    r: int
    lora_alpha: int
    lora_dropout: float  # 0..1
    target_modules: list[str]  # names of linear layers; empty: all but the output layer
    weight_decay: float
    clip: float  # global gradient norm at most
    gradient_checkpointing: Literal["none", "full"]  # full: less memory; training computes the prompt once a reply
    eval_batch_size: int  # replies computed together outside training
    checkpoint_every: int  # steps between checkpoints, a multiple of num_iterations
    seed: int

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "micro_batch", "max_new_tokens", "num_iterations", "r"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if self.num_generations < 2:
            raise ValueError(f"num_generations: {self.num_generations}: a group needs 2 replies to be compared")
        if (self.num_generations * self.prompts_per_step) % self.micro_batch:
            raise ValueError(
                f"micro_batch: {self.micro_batch} does not divide {self.num_generations} num_generations x "
                f"{self.prompts_per_step} prompts_per_step"
            )
        if self.checkpoint_every < 1 or self.checkpoint_every % self.num_iterations:
            raise ValueError(f"checkpoint_every: {self.checkpoint_every} is not a multiple of num_iterations")
        for name in ("lr", "temperature", "epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")
        for name in ("warmup_fraction", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not in 0..1")
        if self.beta < 0:
            raise ValueError(f"beta: {self.beta} is negative")


def trl_config(params: GRPOParams, directory: Path, use_cpu: bool, **changes: Any) -> Any:
    """TRL's GRPOConfig for the knobs; `changes` for what a test or benchmark sets otherwise."""
    from trl import GRPOConfig

    rows = params.num_generations * params.prompts_per_step
    settings: dict[str, Any] = {
        "output_dir": str(directory),
        "use_cpu": use_cpu,
        "bf16": False,  # the weights' own dtype decides
        "report_to": [],
        "disable_tqdm": True,
        "per_device_train_batch_size": params.micro_batch,
        "gradient_accumulation_steps": rows // params.micro_batch,
        "num_generations": params.num_generations,
        "max_completion_length": params.max_new_tokens,
        "max_steps": params.steps,
        "shuffle_dataset": False,  # prompt_order has done it
        "learning_rate": params.lr,
        "warmup_steps": round(params.warmup_fraction * params.steps),
        "lr_scheduler_type": params.lr_scheduler_type,
        "loss_type": params.loss_type,
        "beta": params.beta,
        "epsilon": params.epsilon,
        "num_iterations": params.num_iterations,
        "scale_rewards": params.scale_rewards,
        "mask_truncated_completions": params.mask_truncated_completions,
        "temperature": params.temperature,
        "weight_decay": params.weight_decay,
        "max_grad_norm": params.clip,
        "gradient_checkpointing": params.gradient_checkpointing == "full",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": params.checkpoint_every,
        "save_total_limit": 2,
        "dataloader_pin_memory": not use_cpu,
        "seed": params.seed,
    }
    return GRPOConfig(**{**settings, **changes})


def lora_config(params: GRPOParams) -> Any:
    """peft's LoraConfig for the knobs."""
    from peft import LoraConfig

    return LoraConfig(
        r=params.r,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.lora_dropout,
        target_modules=params.target_modules or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )


def training_set(prompts: Sequence[list[Message]], samples: Sequence[Sample]) -> Any:
    """A `datasets.Dataset` of prompts (messages) with what the rewards need beside them."""
    from datasets import Dataset

    rows = [{"prompt": prompt, **asdict(sample)} for prompt, sample in zip(prompts, samples, strict=True)]
    return Dataset.from_list(rows)


def prompt_order(prompts: int, wanted: int, seed: int) -> list[int]:
    """Which prompt comes when, for a whole training: shuffled passes one after the other, (wanted,) numbers.

    TRL's own sampler draws its second pass from a generator that a resumed training has advanced otherwise; with one
    long pass in a fixed order, where a training is, is its step alone.
    """
    passes = range(-(-wanted // prompts))
    drawn = [np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, i])).permutation(prompts) for i in passes]
    return [int(number) for number in np.concatenate(drawn)[:wanted]]


def trl_reward(name: str, reward: Reward) -> Any:
    """A reward as TRL calls it: columns of the data set by name, completions as messages or texts."""

    def call(completions: Sequence[Any], **columns: Any) -> list[float]:
        replies = [reply if isinstance(reply, str) else reply[0]["content"] for reply in completions]
        fields = ("id", "question", "context", "reasoning", "answer", "instruction")
        samples = [
            Sample(**dict(zip(fields, row, strict=True)))
            for row in zip(*(columns[field] for field in fields), strict=True)
        ]
        return score(name, reward, samples, replies).tolist()  # type: ignore[no-any-return]

    call.__name__ = name
    return call


COLUMNS = {  # of the curve, from TRL's log
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "frac_reward_zero_std": "zero_variance_groups",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "clipped_share",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "learning_rate": "lr",
}


def curve_rows(history: Sequence[Mapping[str, Any]], names: Sequence[Name]) -> list[dict[str, float]]:
    """A row a step from the trainer's log; what a training does not log (KL with beta 0) has no column.

    With several iterations on the same replies, the rewards stand in the row of the first.
    """
    columns = dict(COLUMNS)
    for name in names:
        columns |= {f"rewards/{name}/mean": f"{name}_mean", f"rewards/{name}/std": f"{name}_std"}
    return [
        {
            "step": entry["step"],
            **{column: float(entry[key]) for key, column in columns.items() if entry.get(key) is not None},
        }
        for entry in history
        if "entropy" in entry
    ]
