"""Training a model by GRPO: what of the stage grpo needs torch and TRL.

TRL's checkpoints hold optimizer, scheduler and random numbers as pickles; only what this very training wrote under
.cache/ is read back, and transformers reads it with torch's `weights_only`.
"""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np
import torch

from stages.lib.adapters.device import AttnImplementation, set_attention
from stages.lib.adapters.lora import Backend, Lora, load_unsloth, lora_config
from stages.lib.adapters.own_process import in_own_process
from stages.lib.adapters.resuming import train_on
from stages.lib.adapters.schedule import Schedule
from stages.lib.adapters.step_bar import step_bar
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.markup import template_text
from stages.lib.core.records import Message
from stages.lib.grpo.prompt_tokens import with_our_prompts
from stages.lib.grpo.rewards import Name, ReasoningSample, Reward
from stages.lib.grpo.settings import GRPOSettings, prompt_order, training_set, trl_config, trl_reward
from stages.lib.replies.thinking import visible
from stages.lib.weights.base import load_base, load_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, ModelEntry


@dataclass(frozen=True, kw_only=True)
class Task:
    """A training of an adapter, in plain data: it can be sent to another process."""

    base: ModelEntry
    dtype: Dtype  # of the base's weights (hf), or what 4-bit weights compute in (unsloth)
    attention: AttnImplementation  # of the training (hf)
    lora: Lora
    settings: GRPOSettings
    schedule: Schedule
    prompts: Sequence[list[Message]]
    samples: Sequence[ReasoningSample]
    reward_weights: Mapping[Name, float]
    directory: Path  # of its checkpoints
    processes: int  # that train together


def train_adapter(task: Task, backend: Backend, rewards: Mapping[Name, Reward]) -> None:
    """Trains to the end, from the last whole checkpoint on; the adapter is in the checkpoint of the last step.

    Raises:
        ValueError: a reward that is NaN, a loss that is not finite, a full disk.
        RuntimeError: unsloth's process failed or was killed.
    """
    match backend:
        case "hf":
            model, tokenizer = load_base(task.base, task.dtype)
            set_attention(model, task.attention)
            train(model, tokenizer, task, rewards, task.lora)
        case "unsloth":
            in_own_process(
                train_by_unsloth,
                task,
                list(rewards),
                answer=lambda asked: np.asarray(rewards[asked[0]](*asked[1:])).tolist(),
            )
        case _:
            assert_never(backend)


def train_by_unsloth(ask: Callable[[Any], Any], task: Task, names: Sequence[Name]) -> None:
    """In a process of its own: trains with rewards that `ask` gets from the one that has their embedding model."""
    directory = huggingface_directory(task.base)
    model = load_unsloth(
        directory,
        task.dtype,
        task.lora,
        max_length=task.settings.max_prompt_length + task.settings.max_new_tokens,
        seed=task.schedule.seed,
        checkpointing=task.settings.gradient_checkpointing,
    )

    def reward(name: Name) -> Reward:
        return lambda samples, replies: ask((name, list(samples), list(replies)))

    train(model, load_tokenizer(directory), task, {name: reward(name) for name in names}, None)


def train(model: Any, tokenizer: Any, task: Task, rewards: Mapping[Name, Reward], lora: Lora | None) -> None:
    """Trains a loaded model.

    `lora`: the adapter to put on; None: the model is unsloth's, which has one.

    Raises:
        ValueError: a reward that is NaN, a loss that is not finite, a full disk.
    """
    if lora is None:
        trainer_class = importlib.import_module("trl").GRPOTrainer  # unsloth has put its own in TRL's place
    else:
        from stages.lib.grpo.shared_prompt_trainer import SharedPromptTrainer  # TRL, seconds of import

        trainer_class = SharedPromptTrainer
    from transformers import PrinterCallback

    settings, prompts, samples = task.settings, task.prompts, task.samples
    fmt = ChatFormat.of(task.base)

    def said(text: str) -> str:
        return visible(text, fmt.thinking, template_text(tokenizer))

    order = prompt_order(len(prompts), settings.steps * settings.prompts_per_step, task.schedule.seed)
    trainer = with_our_prompts(trainer_class, fmt)(
        model=model,
        reward_funcs=[trl_reward(name, reward, said) for name, reward in rewards.items()],
        args=trl_config(
            settings,
            task.schedule,
            task.directory,
            use_cpu=not torch.cuda.is_available(),
            processes=task.processes,
            reward_weights=[task.reward_weights[name] for name in rewards],
        ),
        train_dataset=training_set([prompts[i] for i in order], [samples[i] for i in order]),
        processing_class=tokenizer,
        peft_config=lora_config(lora) if lora else None,
        callbacks=[step_printer(settings.steps), step_bar()],
    )
    trainer.remove_callback(PrinterCallback)
    train_on(trainer, task.directory)


SHOWN = {  # of a step's log, what there is: not the rewards of replies of the step before, not all with every backend
    "loss": "loss {:.4f}",
    "entropy": "entropy {:.3f}",
    "reward": "reward {:.3f}",
    "completions/mean_length": "{:.0f} tokens",
    "frac_reward_zero_std": "{:.0%} of groups alike",
}


def step_printer(steps: int) -> Any:
    """A callback that prints each step and stops a training that has diverged."""
    from transformers import TrainerCallback

    class StepPrinter(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "loss" not in logs:
                return
            parts = [shown.format(logs[key]) for key, shown in SHOWN.items() if logs.get(key) is not None]
            print(f"step {state.global_step}/{steps}: {', '.join(parts)}", flush=True)
            norm = logs.get("grad_norm", 0.0)
            if not math.isfinite(logs["loss"]) or not math.isfinite(norm):
                raise ValueError(
                    f"step {state.global_step}: the loss is {logs['loss']}, the gradient's norm {norm}: "
                    "lower grpo.lr, which is another training and begins at step 1"
                )

    return StepPrinter()
