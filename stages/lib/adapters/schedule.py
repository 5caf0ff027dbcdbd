"""How the optimizer of a trainer of TRL steps: the knobs that qlora and grpo share, by name and meaning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

LrSchedulerType = Literal["cosine", "linear", "constant_with_warmup"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the optimizer steps, and how often its state is kept."""

    lr: float  # peak learning rate
    lr_scheduler_type: LrSchedulerType
    warmup_fraction: float  # of the steps, 0..1
    weight_decay: float
    clip: float  # global gradient norm at most; 0: no clipping
    checkpoint_every: int  # steps between checkpoints
    seed: int
    tf32: bool  # float32 products with 10 bits of mantissa

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr: {self.lr} is not above 0")
        if not 0 <= self.warmup_fraction <= 1:
            raise ValueError(f"warmup_fraction: {self.warmup_fraction} is not in 0..1")
        for name in ("weight_decay", "clip"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every: {self.checkpoint_every} is below 1")


def trainer_settings(schedule: Schedule, steps: int, directory: Path, use_cpu: bool) -> dict[str, Any]:
    """What the trainers have in common, by the names of transformers' TrainingArguments."""
    return {
        "output_dir": str(directory),
        "use_cpu": use_cpu,
        "dataloader_pin_memory": not use_cpu,
        "bf16": False,  # no autocast: the weights' own dtype decides
        "tf32": schedule.tf32,
        "max_steps": steps,
        "learning_rate": schedule.lr,
        "lr_scheduler_type": schedule.lr_scheduler_type,
        "warmup_steps": round(schedule.warmup_fraction * steps),
        "weight_decay": schedule.weight_decay,
        "max_grad_norm": schedule.clip,
        "seed": schedule.seed,
        "save_strategy": "steps",
        "save_steps": schedule.checkpoint_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "disable_tqdm": True,
        "report_to": [],
    }
