"""TRL's SFTTrainer over a plan of micro-batches: resumable after kill -9, its curve read from the trainer's own log.

Checkpoints are the trainer's: safetensors for the adapter, but pickles for the optimizer's moments, the scheduler and
the random numbers. Only what this very run wrote under .cache/ is read back, with torch's `weights_only`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.adapters.lora import in_float32
from stages.lib.adapters.resuming import train_on
from stages.lib.lora.batches import Rows, collate
from stages.lib.lora.masks import Sample


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the optimizer steps."""

    lr: float  # peak learning rate
    lr_scheduler_type: Literal["cosine", "linear", "constant_with_warmup"]
    warmup_fraction: float  # of the steps, 0..1
    weight_decay: float
    clip: float  # global gradient norm at most
    checkpoint_every: int  # steps
    seed: int


def make_trainer(
    model: Any,
    tokenizer: Any,
    samples: Sequence[Sample],
    plan: Sequence[Rows],
    *,
    schedule: Schedule,
    directory: Path,
    packing: bool,
) -> Any:
    """A trainer whose dataset is the plan: one row a micro-batch, in order."""
    import torch
    import transformers
    from datasets import Dataset
    from trl import SFTConfig

    from stages.lib.lora.supervised_trainer import SupervisedTrainer

    micro_batches = len(plan[0])
    rows = [
        {
            "input_ids": [samples[i].input_ids for i in members],
            "labels": [samples[i].labels for i in members],
        }
        for step in plan
        for members in step
    ]
    cuda = torch.cuda.is_available()
    config = SFTConfig(
        output_dir=str(directory),
        per_device_train_batch_size=1,  # a row is a whole micro-batch
        gradient_accumulation_steps=micro_batches,
        train_sampling_strategy="sequential",
        max_steps=len(plan),
        learning_rate=schedule.lr,
        lr_scheduler_type=schedule.lr_scheduler_type,
        warmup_steps=round(schedule.warmup_fraction * len(plan)),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.clip,
        seed=schedule.seed,
        use_cpu=not cuda,
        bf16=False,  # no autocast: the base computes in its own dtype, the adapter in float32
        fp16=False,
        gradient_checkpointing=False,  # lora.set_checkpointing has chosen
        dataloader_pin_memory=cuda,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=schedule.checkpoint_every,
        save_total_limit=2,
        disable_tqdm=True,
        report_to=[],
    )
    pad_id = tokenizer.pad_token_id

    def collate_row(row: list[dict[str, Any]]) -> dict[str, Any]:
        pairs = zip(row[0]["input_ids"], row[0]["labels"], strict=True)
        return collate([Sample("", ids, labels) for ids, labels in pairs], pad_id, packing)

    trainer = SupervisedTrainer(
        model=model,
        args=config,
        data_collator=collate_row,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[_watcher(len(plan))],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    in_float32(trainer.model)  # the trainer takes the adapters of 4-bit models to bfloat16
    return trainer


def run(trainer: Any, directory: Path) -> list[dict[str, float]]:
    """Trains to the end of the plan, from the last whole checkpoint on; returns a row a step.

    A row has step, train_loss (nats a learned token), lr and grad_norm (before clipping).

    Raises:
        ValueError: a loss that is not finite, or a disk that is full.
    """
    train_on(trainer, directory)
    return [
        {"step": row["step"], "train_loss": row["loss"], "lr": row["learning_rate"], "grad_norm": row["grad_norm"]}
        for row in trainer.state.log_history
        if "loss" in row
    ]


def _watcher(steps: int) -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        """Prints each step, and stops a training that has diverged."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            print(
                f"step {state.global_step}/{steps}: loss {logs['loss']:.4f}, gradient norm {logs['grad_norm']:.3f}, "
                f"lr {logs['learning_rate']:.2e}",
                flush=True,
            )
            if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
                raise ValueError(
                    f"step {state.global_step}: the loss is {logs['loss']}, the gradient's norm {logs['grad_norm']}: "
                    "lower lr, or compute in bfloat16 or float32 instead of float16; either is another training, which "
                    "begins at step 1"
                )

    return Watcher()
