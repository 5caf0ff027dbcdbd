"""Asking a model and training it: what of the stage grpo needs torch, and TRL only when it trains.

TRL's checkpoints hold optimizer, scheduler and random numbers as pickles; only what this very training wrote under
.cache/ is read back, and transformers reads it with torch's `weights_only`.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.lib.adapters.lora import Lora, lora_config
from stages.lib.adapters.resuming import train_on
from stages.lib.adapters.schedule import Schedule
from stages.lib.conversations.chat_format import ChatFormat
from stages.lib.conversations.markup import template_text
from stages.lib.conversations.replies import reply_text
from stages.lib.core.records import Message
from stages.lib.decoding import grouped_attention
from stages.lib.grpo.prompt_tokens import with_our_prompts
from stages.lib.grpo.rewards import Name, ReasoningSample, Reward
from stages.lib.grpo.rollouts import sample_replies
from stages.lib.grpo.settings import (
    GRPOSettings,
    prompt_order,
    training_set,
    trl_config,
    trl_reward,
)
from stages.lib.grpo.temporary_merge import MergedLayers
from stages.lib.replies.thinking import visible
from stages.lib.weights.base import end_tokens


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A training that is over."""

    model: Any  # peft, in eval mode
    history: list[dict[str, Any]]  # TRL's log
    resumed_from: int  # 0: it began at the beginning


def ask(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int,
    thinking: bool = False,
) -> list[str]:
    """The model's replies to token prompts, as texts; `batch_size` of them are computed together.

    `thinking`: whether the prompts let the model think before it answers; what it thought is left out.
    """
    plain = getattr(model, "get_base_model", lambda: model)()
    attention = plain.config._attn_implementation
    plain.set_attn_implementation(grouped_attention.NAME)
    try:
        with MergedLayers(plain).swapped_in():
            replies = sample_replies(
                plain.eval(),
                prompts,
                max_tokens=max_new_tokens,
                temperature=temperature,
                ends=end_tokens(tokenizer, plain.generation_config),
                seed=seed,
                batch=batch_size,
            )
    finally:
        plain.set_attn_implementation(attention)
    return [
        reply_text(tokenizer, prompt, reply, thinking).strip() for prompt, reply in zip(prompts, replies, strict=True)
    ]


def train(
    model: Any,
    tokenizer: Any,
    *,
    prompts: Sequence[list[Message]],
    samples: Sequence[ReasoningSample],
    rewards: Mapping[Name, Reward],
    reward_weights: Mapping[Name, float],
    settings: GRPOSettings,
    schedule: Schedule,
    lora: Lora | None,
    directory: Path,
    fmt: ChatFormat = ChatFormat(),  # noqa: B008  # frozen
) -> Trained:
    """Trains a LoRA on the model to the end, from the last whole checkpoint in `directory` on.

    `lora`: the adapter to put on; None: the model is unsloth's, which has one. `fmt`: how the prompts are written.

    Raises:
        ValueError: a reward that is NaN, a loss that is not finite, a full disk.
    """
    if lora is None:
        trainer_class = importlib.import_module("trl").GRPOTrainer  # unsloth has put its own in TRL's place
    else:
        from stages.lib.grpo.shared_prompt_trainer import SharedPromptTrainer  # TRL, seconds of import

        trainer_class = SharedPromptTrainer
    from transformers import PrinterCallback

    def said(text: str) -> str:
        return visible(text, fmt.thinking, template_text(tokenizer))

    order = prompt_order(len(prompts), settings.steps * settings.prompts_per_step, schedule.seed)
    trainer = with_our_prompts(trainer_class, fmt)(
        model=model,
        reward_funcs=[trl_reward(name, reward, said) for name, reward in rewards.items()],
        args=trl_config(
            settings,
            schedule,
            directory,
            use_cpu=not torch.cuda.is_available(),
            reward_weights=[reward_weights[name] for name in rewards],
        ),
        train_dataset=training_set([prompts[i] for i in order], [samples[i] for i in order]),
        processing_class=tokenizer,
        peft_config=lora_config(lora) if lora else None,
        callbacks=[step_printer(settings.steps)],
    )
    trainer.remove_callback(PrinterCallback)
    resumed_from = train_on(trainer, directory)
    return Trained(
        model=trainer.accelerator.unwrap_model(trainer.model).eval(),
        history=list(trainer.state.log_history),
        resumed_from=resumed_from,
    )


def step_printer(steps: int) -> Any:
    """A callback that prints each step and stops a training that has diverged."""
    from transformers import TrainerCallback

    class StepPrinter(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if not logs or "entropy" not in logs:
                return
            line = f"step {state.global_step}/{steps}: loss {logs['loss']:.4f}, entropy {logs['entropy']:.3f}"
            if "reward" in logs:  # not when the replies are those of the step before
                line += (
                    f", reward {logs['reward']:.3f}, {logs['completions/mean_length']:.0f} tokens, "
                    f"{logs['frac_reward_zero_std']:.0%} of groups alike"
                )
            print(line, flush=True)
            if not math.isfinite(logs["loss"]) or not math.isfinite(logs["grad_norm"]):
                raise ValueError(
                    f"step {state.global_step}: the loss is {logs['loss']}, the gradient's norm {logs['grad_norm']}: "
                    "lower grpo.lr, which is another training and begins at step 1"
                )

    return StepPrinter()
