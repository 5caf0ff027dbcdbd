"""One GRPO training: its knobs, its rewards as TRL wants them, its checkpoints and its curve."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np

from stages.lib.adapters.device import share_of
from stages.lib.adapters.lora import Backend
from stages.lib.adapters.schedule import Schedule, trainer_settings
from stages.lib.core.records import Message
from stages.lib.grpo.rewards import Name, ReasoningSample, Reward, score

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo"]
ScaleRewards = Literal["group", "batch", "none"]
GradientCheckpointing = Literal["none", "full"]
CurveRow = dict[str, float | None]  # a column of the curve -> its value; None: not logged


@dataclass(frozen=True, kw_only=True)
class GRPOSettings:
    """What a step of GRPO samples and how its loss is made; the units stand in stages/grpo.py."""

    steps: int
    prompts_per_step: int
    num_generations: int
    micro_batch: int
    max_new_tokens: int
    temperature: float
    loss_type: LossType
    beta: float
    epsilon: float
    num_iterations: int
    scale_rewards: ScaleRewards
    mask_truncated_completions: bool
    gradient_checkpointing: GradientCheckpointing
    use_vllm: bool
    vllm_gpu_memory_utilization: float
    max_prompt_length: int

    def __post_init__(self) -> None:
        for name in ("steps", "prompts_per_step", "micro_batch", "max_new_tokens", "num_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        if self.num_generations < 2:
            raise ValueError(f"num_generations: {self.num_generations}: a group needs 2 replies to be compared")
        if self.replies % self.micro_batch:
            raise ValueError(
                f"micro_batch: {self.micro_batch} does not divide {self.num_generations} num_generations x "
                f"{self.prompts_per_step} prompts_per_step"
            )
        for name in ("temperature", "epsilon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")
        if self.beta < 0:
            raise ValueError(f"beta: {self.beta} is negative")
        if not 0 < self.vllm_gpu_memory_utilization < 1:
            raise ValueError(f"vllm_gpu_memory_utilization: {self.vllm_gpu_memory_utilization} is not between 0 and 1")

    @property
    def replies(self) -> int:
        """Replies per step."""
        return self.num_generations * self.prompts_per_step


def check_vllm(settings: GRPOSettings, backend: Backend) -> None:
    """Checks that vLLM can write the replies where it is asked to.

    Raises:
        ValueError: it is not installed, there is no GPU, or the backend does not take it.
    """
    if not settings.use_vllm:
        return
    import torch

    if backend == "unsloth":
        raise ValueError("use_vllm: with backend: unsloth its own generation writes the replies; set false, or hf")
    if not torch.cuda.is_available():
        raise ValueError("use_vllm: vllm needs a CUDA GPU, and torch sees none; set false")
    if importlib.util.find_spec("vllm") is None:
        raise ValueError("use_vllm: vllm is not installed: make install-gpu, or set false")


def trl_config(
    settings: GRPOSettings, schedule: Schedule, directory: Path, use_cpu: bool, processes: int = 1, **changes: Any
) -> Any:
    """TRL's GRPOConfig for the knobs, in one of so many processes; `changes`: what a test or benchmark sets otherwise.

    Raises:
        ValueError: a step's micro-batches cannot be divided among the processes.
    """
    from trl import GRPOConfig

    micro_batches = settings.replies // settings.micro_batch
    knobs = "num_generations x prompts_per_step / micro_batch"
    own: dict[str, Any] = {
        "per_device_train_batch_size": settings.micro_batch,
        "gradient_accumulation_steps": share_of(knobs, micro_batches, processes),
        "num_generations": settings.num_generations,
        "max_completion_length": settings.max_new_tokens,
        "shuffle_dataset": False,  # prompt_order has done it
        "loss_type": settings.loss_type,
        "beta": settings.beta,
        "epsilon": settings.epsilon,
        "num_iterations": settings.num_iterations,
        "scale_rewards": settings.scale_rewards,
        "mask_truncated_completions": settings.mask_truncated_completions,
        "temperature": settings.temperature,
        "gradient_checkpointing": _recomputes(settings.gradient_checkpointing),
        "use_vllm": settings.use_vllm,
    }
    if settings.use_vllm:
        own |= {
            "vllm_mode": "colocate",  # in this process, on the card that trains
            "vllm_gpu_memory_utilization": settings.vllm_gpu_memory_utilization,
            "vllm_max_model_length": settings.max_prompt_length + settings.max_new_tokens,
        }
    return GRPOConfig(**(trainer_settings(schedule, settings.steps, directory, use_cpu) | own | changes))


def _recomputes(checkpointing: GradientCheckpointing) -> bool:
    match checkpointing:
        case "none":
            return False
        case "full":
            return True
        case _:
            assert_never(checkpointing)


def training_set(prompts: Sequence[list[Message]], samples: Sequence[ReasoningSample]) -> Any:
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


def trl_reward(name: str, reward: Reward, said: Callable[[str], str] = str) -> Any:
    """A reward as TRL calls it: columns of the data set by name, completions as messages or texts.

    `said`: takes away what was thought before the reply.
    """

    def call(completions: Sequence[Any], **columns: Any) -> list[float]:
        replies = [said(reply if isinstance(reply, str) else reply[0]["content"]) for reply in completions]
        fields = ("id", "question", "context", "reasoning", "answer", "instruction")
        samples = [
            ReasoningSample(**dict(zip(fields, row, strict=True)))
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


def curve_rows(history: Sequence[Mapping[str, Any]], names: Sequence[Name]) -> list[CurveRow]:
    """A row per step from the trainer's log; what a training does not log (KL with beta 0) is None.

    With several iterations on the same replies, the rewards stand in the row of the first. Unsloth logs no entropy.
    """
    columns = dict(COLUMNS)
    for name in names:
        columns |= {f"rewards/{name}/mean": f"{name}_mean", f"rewards/{name}/std": f"{name}_std"}
    return [
        {
            "step": entry["step"],
            **{column: None if entry.get(key) is None else float(entry[key]) for key, column in columns.items()},
        }
        for entry in history
        if "loss" in entry
    ]
