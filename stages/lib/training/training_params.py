"""What the loop of pretraining and finetuning is told; each stage's `Params` has these knobs among its own."""

from dataclasses import dataclass
from typing import Literal

Tracker = Literal["dvclive", "wandb"]
OptimizerName = Literal["adamw", "muon"]
Parallel = Literal["ddp", "fsdp"]
# What decides the weights (best among them by eval_every), up to the order of summation; another value is another
# training. What does not may change between a kill and the next run.
DECIDE = """
    steps batch_tokens lr warmup_fraction min_lr_fraction optimizer beta1 beta2 eps weight_decay clip precision
    eval_every seed
""".split()
DECIDE_NOT = """
    micro_batch compile processes parallel checkpoint_every log_every trackers
""".split()


@dataclass(frozen=True, kw_only=True)
class TrainingParams:
    """The knobs of the training loop."""

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
    checkpoint_every: int  # steps between checkpoints, besides those at a new best
    log_every: int  # steps between rows of the curve
    trackers: list[Tracker]  # besides the curve
    seed: int

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
        """Sequences per step.

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
