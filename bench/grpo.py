"""A step of our GRPO trainer against TRL's on the same model, prompts and rewards, side by side.

Run: python -m bench.grpo [--steps 3] [--prompts 1] [--generations 4] [--tokens 64] [--file FILE] [--skip NAME ...]

Three trainers, each for one step that warms up and `--steps` that count, on the CPU or the GPU:
  trl        TRL's GRPOTrainer with TRL's defaults (gradient checkpointing; on a GPU bfloat16 autocast)
  trl-plain  the same without gradient checkpointing
  ours       stages/lib/grpo/shared_prompt_trainer.py as the stage runs it
All with LoRA (r 16 on all linear layers), beta 0, sampling at temperature 1. On a CPU in float32: there TRL's default,
bfloat16 autocast, takes several times as long (--bf16 shows it). TRL 1.15 computes log-probabilities with
a Triton kernel and cannot train on a CPU; there, all three use the same plain torch formula. Replies may end
early, so samples and new tokens per second are both told. Loading is not counted.
"""

import argparse
import gc
import importlib.metadata
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOTrainer

from bench.embed import read_texts
from stages.grpo import Params
from stages.lib.adapters.lora import lora_config
from stages.lib.core.records import Message
from stages.lib.grpo.rewards import ReasoningSample, Reward, format_reward, overlap_reward
from stages.lib.grpo.settings import training_set, trl_config, trl_reward
from stages.lib.grpo.shared_prompt_trainer import SharedPromptTrainer, scored_tokens
from stages.lib.weights.base import load_base
from stages.lib.weights.models import load_model_entry
from tests.params_of import params_of

MODEL = "smollm2-135m"
NAMES = ("trl", "trl-plain", "ours")
CHARS = 1200  # of a text: about 350 tokens with the question


class PlainTRL(GRPOTrainer):  # type: ignore[misc]  # trl is untyped
    """TRL's trainer; on a CPU with log-probabilities in plain torch, as TRL computed them before its Triton kernel."""

    def _get_per_token_logps_and_entropies(  # noqa: PLR0917  # as TRL calls it
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **more: Any,
    ) -> Any:
        if input_ids.is_cuda:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **more
            )
        with self.accelerator.autocast():
            logits = model(
                input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=logits_to_keep + 1
            ).logits[:, :-1]
        scored = attention_mask[:, -logits_to_keep:] == 1
        return *scored_tokens(logits, input_ids[:, -logits_to_keep:], scored, self.temperature), None


@dataclass
class Clock:
    """Wall and CPU seconds of each step."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def clock_callback(clock: Clock) -> TrainerCallback:
    """Fills a clock."""

    class Stopper(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *args: Any, **more: Any) -> None:
            self.start = time.perf_counter(), time.process_time()

        def on_step_end(self, *args: Any, **more: Any) -> None:
            clock.wall.append(time.perf_counter() - self.start[0])
            clock.cpu.append(time.process_time() - self.start[1])

    return Stopper()


def make_tasks(texts: list[str]) -> tuple[list[list[Message]], list[ReasoningSample]]:
    """Prompts that ask about a text, and what the rewards need."""
    prompts, samples = [], []
    for number, text in enumerate(texts):
        context = text[:CHARS]
        question = "What does the passage describe?"
        asked = f"Passage:\n{context}\n\nQuestion: {question}\nReply in the form: reasoning ##### answer"
        prompts.append([{"role": "user", "content": asked}])
        answer = context.split(". ")[0]
        samples.append(
            ReasoningSample(id=str(number), question=question, context=context, reasoning=answer, answer=answer)
        )
    return prompts, samples


def run(name: str, params: Params, texts: list[str], bf16: bool) -> tuple[Clock, list[dict[str, Any]]]:
    """The clock and the log of one trainer's steps."""
    model, tokenizer = load_base(load_model_entry(params.base))
    prompts, samples = make_tasks(texts)
    each = {"format": format_reward, "overlap": overlap_reward}

    def scored(function: Callable[[ReasoningSample, str], float]) -> Reward:
        return lambda samples, replies: [function(s, r) for s, r in zip(samples, replies, strict=True)]

    rewards = [trl_reward(key, scored(function)) for key, function in each.items()]
    changes: dict[str, Any] = {"save_strategy": "no"}
    if name == "trl":
        changes |= {"bf16": bf16, "gradient_checkpointing": True}
    clock = Clock()
    with tempfile.TemporaryDirectory() as place:
        trainer = (SharedPromptTrainer if name == "ours" else PlainTRL)(
            model=model,
            reward_funcs=rewards,
            args=trl_config(
                params.settings(),
                params.schedule(),
                Path(place),
                use_cpu=not torch.cuda.is_available(),
                **changes,
            ),
            train_dataset=training_set(prompts, samples),
            processing_class=tokenizer,
            peft_config=lora_config(params.lora()),
            callbacks=[clock_callback(clock)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        history = [row for row in trainer.state.log_history if "reward" in row]
    return clock, history


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--file", type=Path, help="JSONL with `text`; default: the installed packages' documentation")
    parser.add_argument("--bf16", action="store_true", default=torch.cuda.is_available(), help="TRL's default autocast")
    parser.add_argument("--skip", nargs="*", default=[], choices=NAMES)
    args = parser.parse_args()
    rows = args.prompts * args.generations
    params = params_of(
        Params,
        "grpo",
        base=MODEL,
        steps=args.steps + 1,
        prompts_per_step=args.prompts,
        num_generations=args.generations,
        micro_batch=rows,
        max_prompt_length=512,
        max_new_tokens=args.tokens,
        temperature=1.0,
        beta=0.0,
        checkpoint_every=10,
        lr=1.0e-5,
        reward_weights={"format": 1.0, "overlap": 1.0},
    )
    long = [text for text in read_texts(args.file, 2000) if len(text) >= CHARS // 2]
    texts = [f"{one}\n\n{other}" for one, other in zip(long[::2], long[1::2], strict=False)]
    texts = texts[: params.steps * args.prompts]
    print(f"{MODEL}, {rows} replies of up to {args.tokens} tokens per step, trl {importlib.metadata.version('trl')}\n")
    print("| trainer | s per step | CPU-s per step | samples/s | new tokens/s | tokens per reply | against trl |")
    print("|---|---|---|---|---|---|---|")
    first = 0.0
    for name in NAMES:
        if name in args.skip:
            continue
        clock, history = run(name, params, texts, args.bf16)
        wall, cpu = sum(clock.wall[1:]), sum(clock.cpu[1:])
        length = sum(row["completions/mean_length"] for row in history[1:]) / args.steps
        rate = rows * args.steps / wall
        first = first or rate
        print(
            f"| {name} | {wall / args.steps:.2f} | {cpu / args.steps:.2f} | {rate:.3f} | {rate * length:.1f} "
            f"| {length:.1f} | {rate / first:.2f}x |",
            flush=True,
        )
        gc.collect()


if __name__ == "__main__":
    main()
