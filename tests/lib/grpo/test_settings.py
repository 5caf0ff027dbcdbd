"""The training's knobs, its curve, and rewards as TRL calls them."""

from pathlib import Path
from typing import Any

import pytest

from stages.lib.adapters.lora import lora_config
from stages.lib.core.records import csv_text
from stages.lib.grpo.settings import curve_rows, prompt_order, trl_config, trl_reward
from tests.lib.grpo.test_shared_prompt_trainer import params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: 0 is below 1"),
        ({"num_generations": 1}, "num_generations: 1: a group needs 2"),
        ({"micro_batch": 3}, "micro_batch: 3 does not divide 4 num_generations x 1"),
        ({"num_iterations": 3}, "checkpoint_every: 10 is not a multiple of num_iterations"),
        ({"lr": 0.0}, r"lr: 0\.0 is not above 0"),
        ({"lora_dropout": 1.0}, r"lora_dropout: 1\.0 is not in 0\.\.1"),
        ({"beta": -0.1}, r"beta: -0\.1 is negative"),
    ],
)
def test_bad_knobs_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        params(**changes)


def test_trl_calls_a_reward_with_columns() -> None:
    seen = []

    def reward(samples: Any, replies: Any) -> list[float]:
        seen.append(([sample.answer for sample in samples], list(replies)))
        return [1.0] * len(replies)

    columns = {name: ["x", "y"] for name in ("id", "question", "context", "reasoning", "instruction")}
    call = trl_reward("format", reward)
    assert call.__name__ == "format"
    messages = [[{"role": "assistant", "content": text}] for text in ("one", "two")]
    assert call(completions=messages, answer=["a", "b"], prompts=[1, 2], **columns) == [1.0, 1.0]
    assert call(completions=["one", "two"], answer=["a", "b"], **columns) == [1.0, 1.0]
    assert seen == [(["a", "b"], ["one", "two"])] * 2


def test_what_is_not_logged_leaves_its_cell_empty() -> None:
    entry = {"loss": 0.1, "reward": 0.5, "rewards/format/mean": 1 / 3, "rewards/format/std": 0.1, "step_time": 3.0}
    history = [{"step": 1, **entry}, {"step": 1, "train_runtime": 1.0}, {"step": 2, "entropy": 2.0, **entry}]
    assert csv_text(curve_rows(history, ["format"])).splitlines() == [
        "step,loss,reward,reward_std,zero_variance_groups,completion_tokens,clipped_share,kl,entropy,grad_norm,lr,"
        "format_mean,format_std",
        "1,0.1,0.5,,,,,,,,,0.333333,0.1",
        "2,0.1,0.5,,,,,,2,,,0.333333,0.1",
    ]


def test_every_pass_holds_every_prompt_once_in_another_order() -> None:
    order = prompt_order(10, 25, seed=1)
    passes = [order[:10], order[10:20]]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1]
    assert len(order) == 25
    assert prompt_order(10, 12, seed=1) == order[:12]
    assert prompt_order(10, 25, seed=2) != order


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"lr": 0.25}, {"learning_rate": 0.25}),
        ({"lr_scheduler_type": "cosine"}, {"lr_scheduler_type": "cosine"}),
        ({"beta": 0.125}, {"beta": 0.125}),
        ({"epsilon": 0.125}, {"epsilon": 0.125}),
        ({"weight_decay": 0.125}, {"weight_decay": 0.125}),
        ({"clip": 0.125}, {"max_grad_norm": 0.125}),
        ({"temperature": 0.5}, {"temperature": 0.5}),
        ({"loss_type": "dr_grpo"}, {"loss_type": "dr_grpo"}),
        ({"scale_rewards": "none"}, {"scale_rewards": "none"}),
        ({"mask_truncated_completions": True}, {"mask_truncated_completions": True}),
        ({"mask_truncated_completions": False}, {"mask_truncated_completions": False}),
        ({"seed": 77}, {"seed": 77}),
        ({"steps": 40, "warmup_fraction": 0.2}, {"max_steps": 40, "warmup_steps": 8}),
        ({"num_iterations": 2}, {"num_iterations": 2}),
        ({"max_new_tokens": 33}, {"max_completion_length": 33}),
        ({"use_vllm": False}, {"use_vllm": False}),
        (
            {"use_vllm": True, "vllm_gpu_memory_utilization": 0.5, "max_prompt_length": 100, "max_new_tokens": 28},
            {
                "use_vllm": True,
                "vllm_mode": "colocate",
                "vllm_gpu_memory_utilization": 0.5,
                "vllm_max_model_length": 128,
            },
        ),
        (
            {"prompts_per_step": 3, "num_generations": 4, "micro_batch": 2},
            {"num_generations": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 6},
        ),
    ],
)
def test_a_knob_reaches_the_trainer(knobs: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    chosen = params(**knobs)
    found = trl_config(chosen.settings(), chosen.schedule(), tmp_path, use_cpu=True)
    assert {name: getattr(found, name) for name in expected} == expected


def test_the_adapter_is_as_large_as_asked() -> None:
    found = lora_config(params(r=3, lora_alpha=7, lora_dropout=0.25, target_modules=["q_proj"]).lora())
    assert (found.r, found.lora_alpha, found.lora_dropout, found.target_modules) == (3, 7, 0.25, {"q_proj"})
    assert lora_config(params(target_modules=[]).lora()).target_modules == "all-linear"
