"""TRL's SFTTrainer over a plan of micro-batches: resumable after kill -9, its curve read from the trainer's own log.

Checkpoints are the trainer's: safetensors for the adapter, but pickles for the optimizer's moments, the scheduler and
the random numbers. Only what this very run wrote under .cache/ is read back, with torch's `weights_only`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.lib.adapters.device import share_of
from stages.lib.adapters.lora import in_float32
from stages.lib.adapters.resuming import train_on
from stages.lib.adapters.schedule import Schedule, trainer_settings
from stages.lib.adapters.step_bar import step_bar
from stages.lib.lora.batches import Rows, collate
from stages.lib.lora.masks import MaskedChat


def make_trainer(
    model: Any,
    tokenizer: Any,
    samples: Sequence[MaskedChat],
    plan: Sequence[Rows],
    *,
    schedule: Schedule,
    directory: Path,
    packing: bool,
    processes: int = 1,
) -> Any:
    """A trainer whose dataset is the plan: one row a micro-batch, in order; several processes take it in turns.

    Raises:
        ValueError: a step's micro-batches cannot be divided among the processes.
    """
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
    config = SFTConfig(
        **trainer_settings(schedule, len(plan), directory, use_cpu=not torch.cuda.is_available()),
        per_device_train_batch_size=1,  # a row is a whole micro-batch
        gradient_accumulation_steps=share_of("gradient_accumulation_steps", micro_batches, processes),
        train_sampling_strategy="sequential",
        fp16=False,
        gradient_checkpointing=False,  # lora.set_checkpointing has chosen
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_nan_inf_filter=False,
    )
    pad_id = tokenizer.pad_token_id

    def collate_row(row: list[dict[str, Any]]) -> dict[str, Any]:
        pairs = zip(row[0]["input_ids"], row[0]["labels"], strict=True)
        return collate([MaskedChat("", ids, labels) for ids, labels in pairs], pad_id, packing)

    trainer = SupervisedTrainer(
        model=model,
        args=config,
        data_collator=collate_row,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[_watcher(len(plan)), step_bar()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    in_float32(trainer.model)  # the trainer takes the adapters of 4-bit models to bfloat16
    return trainer


def run(trainer: Any, directory: Path) -> None:
    """Trains to the end of the plan, from the last whole checkpoint on; the end is one, too.

    Raises:
        ValueError: a loss that is not finite, or a disk that is full.
    """
    train_on(trainer, directory)


def curve_rows(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float | None]]:
    """A row per step from the trainer's log; what it does not log is None.

    A row has step, train_loss (nats per learned token), lr and grad_norm (before clipping).
    """
    return [
        {
            "step": entry["step"],
            "train_loss": entry["loss"],
            "lr": entry.get("learning_rate"),
            "grad_norm": entry.get("grad_norm"),
        }
        for entry in history
    ]


SHOWN = {"loss": "loss {:.4f}", "grad_norm": "gradient norm {:.3f}", "learning_rate": "lr {:.2e}"}  # what is logged


def _watcher(steps: int) -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        """Prints each step, and stops a training that has diverged."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            parts = [shown.format(logs[key]) for key, shown in SHOWN.items() if logs.get(key) is not None]
            print(f"step {state.global_step}/{steps}: {', '.join(parts)}", flush=True)
            norm = logs.get("grad_norm", 0.0)
            if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
                raise ValueError(
                    f"step {state.global_step}: the loss is {logs['loss']}, the gradient's norm {norm}: "
                    "lower lr, or compute in bfloat16 or float32 instead of float16; either is another training, which "
                    "begins at step 1"
                )

    return Watcher()
