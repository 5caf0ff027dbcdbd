"""What pretraining and finetuning have in common in params.yaml; each stage's `Params` adds its own."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from stages.lib.cache import cache_dir
from stages.lib.hashes import ledger_key

Tracker = Literal["dvclive", "wandb"]
# What may change between a kill and the next run without making it another training.
NOT_THE_RESULT = {"processes", "parallel", "trackers", "checkpoint_every"}


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """The knobs of the training loop."""

    steps: int  # optimizer steps, >= 1
    batch_tokens: int  # tokens a step over all processes; a multiple of context x micro_batch x processes
    micro_batch: int  # sequences a forward pass; what does not fit at once is accumulated
    lr: float  # peak learning rate (of Muon's matrices too, whose updates are scaled to AdamW's)
    warmup_fraction: float = 0.1  # of the steps, linear, 0..1
    min_lr_fraction: float = 0.1  # of lr, where the cosine ends, 0..1
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon: the matrices of the blocks, adamw the rest
    beta1: float = 0.9  # 0..1
    beta2: float = 0.95  # 0..1
    eps: float = 1.0e-8
    weight_decay: float = 0.1  # of matrices; vectors (norms, biases) have none
    clip: float = 1.0  # global gradient norm at most; 0: no clipping
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bf16 autocast where a probe finds it faster
    compile: bool = False  # torch.compile of the training and validation pass
    processes: int = 1  # 0: one a GPU; over 1: the stage starts itself again under torchrun
    parallel: Literal["ddp", "fsdp"] = "ddp"  # fsdp: weights and moments divided over the processes
    eval_every: int = 100  # steps between validations
    checkpoint_every: int = 100  # steps between checkpoints, besides those at a new best
    log_every: int = 1  # steps between rows of the curve
    trackers: list[Tracker] = field(default_factory=list)  # besides the curve
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_tokens", "micro_batch", "eval_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is below 1")
        for name in ("warmup_fraction", "min_lr_fraction", "beta1", "beta2"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not in 0..1")
        for name in ("lr", "eps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")
        for name in ("weight_decay", "clip", "processes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if self.optimizer == "muon" and self.parallel == "fsdp":
            raise ValueError("parallel: fsdp divides matrices, which muon needs whole; use ddp or adamw")

    def sequences(self, context: int, processes: int) -> int:
        """Sequences a step.

        Raises:
            ValueError: `batch_tokens` does not divide into whole micro-batches.
        """
        unit = context * self.micro_batch * processes
        if self.batch_tokens % unit:
            raise ValueError(
                f"batch_tokens: {self.batch_tokens} is not a multiple of context {context} x micro_batch "
                f"{self.micro_batch} x {processes} processes = {unit}"
            )
        return self.batch_tokens // context


def training_directory(stage: str, params: TrainingParams, *inputs: str) -> Path:
    """Where a training's checkpoints lie: a hash of what decides its result, its input's fingerprints included."""
    decisive = {key: value for key, value in asdict(params).items() if key not in NOT_THE_RESULT}
    return cache_dir() / stage / ledger_key(decisive, *inputs)[:16]
