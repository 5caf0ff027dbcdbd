"""A QLoRA step of stages.qlora against peft + TRL's SFTTrainer with its defaults, side by side.

Run: python -m bench.qlora [--base smollm2-135m] [--steps 3] [--sequences 8] [--repeats 1] [--dtype bfloat16] [--file F]

Same base in NF4, same adapter, same token ids and labels, as many samples per step. Each engine runs in a process
of its own, one after the other, so that the peak memory is its own; loading is in the memory, not in the seconds.
SFTTrainer's own loss needs a Triton kernel, so on a CPU the peer takes transformers' loss (full logits), as TRL did
before 1.15. Prints a markdown table of medians over all steps but each run's first.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, cast

from stages.lib.adapters.lora import Checkpointing, Lora, add_lora, load_quantized, set_checkpointing
from stages.lib.adapters.schedule import Schedule
from stages.lib.core.records import read_jsonl
from stages.lib.lora.batches import plan_steps
from stages.lib.lora.masks import MaskedChat, encode_conversation
from stages.lib.weights.base import load_tokenizer
from stages.lib.weights.gguf_weights import huggingface_directory
from stages.lib.weights.models import Dtype, load_model_entry

DATA = Path("data/instruct/synthetic_qa_train.jsonl")
ENGINES = ("peer", "peer without autocast", "ours none", "ours selective", "ours full")
MAX_LENGTH = 320
LORA = Lora(r=16, lora_alpha=16, lora_dropout=0.0, target_modules=[])


def read_samples(file: Path, tokenizer: Any) -> list[MaskedChat]:
    """The records of a chat set that fit."""
    records = read_jsonl(file, required=["id", "messages"])
    samples = [encode_conversation(tokenizer, record["messages"], record["id"]) for record in records]
    return [sample for sample in samples if len(sample.input_ids) <= MAX_LENGTH]


def clock() -> Any:
    """A trainer callback that notes wall and CPU seconds at each step's end."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        """Notes the time."""

        def __init__(self) -> None:
            self.ticks: list[tuple[float, float]] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.ticks.append((time.perf_counter(), time.process_time()))

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ticks.append((time.perf_counter(), time.process_time()))

    return Clock()


def peer(arguments: argparse.Namespace, samples: list[MaskedChat], directory: str, autocast: bool) -> Any:
    """SFTTrainer as its documentation shows it for QLoRA: a 4-bit model, a peft_config, everything else default."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Trainer
    from trl import SFTConfig, SFTTrainer

    class Peer(SFTTrainer):  # type: ignore[misc]
        """On a CPU, with transformers' loss."""

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.cuda.is_available():
                return super().compute_loss(model, inputs, *args, **kwargs)
            return Trainer.compute_loss(self, model, inputs, *args, **kwargs)

    compute = getattr(torch, arguments.dtype)
    place = huggingface_directory(load_model_entry(arguments.base))
    model = AutoModelForCausalLM.from_pretrained(
        place,
        dtype=compute,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        ),
    )
    autocasting = {} if autocast else {"bf16": False}
    return Peer(
        model=model,
        args=SFTConfig(
            output_dir=directory,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.sequences,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            **autocasting,
        ),
        train_dataset=Dataset.from_list([{"input_ids": s.input_ids, "labels": s.labels} for s in samples]),
        processing_class=load_tokenizer(place),
        peft_config=LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def ours(arguments: argparse.Namespace, samples: list[MaskedChat], directory: str, checkpointing: Checkpointing) -> Any:
    """The trainer of stages.qlora: micro-batches of about two samples of like length."""
    from stages.lib.lora import sft

    place = huggingface_directory(load_model_entry(arguments.base))
    model = add_lora(load_quantized(place, cast(Dtype, arguments.dtype)), LORA, seed=0)
    set_checkpointing(model, checkpointing)
    micro_batches = max(1, arguments.sequences // 2)
    lengths = [len(sample.input_ids) for sample in samples]
    plan = plan_steps(lengths, arguments.sequences, micro_batches, arguments.steps, seed=0)
    schedule = Schedule(
        lr=2e-5,
        lr_scheduler_type="linear",
        warmup_fraction=0.0,
        weight_decay=0.0,
        clip=1.0,
        checkpoint_every=10**6,
        seed=0,
        tf32=False,
    )
    tokenizer = load_tokenizer(place)
    return sft.make_trainer(
        model, tokenizer, samples, plan, schedule=schedule, directory=Path(directory), packing=False
    )


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """One engine in this process: seconds of each step but the first, and the process' peak memory in bytes."""
    samples = read_samples(arguments.file, load_tokenizer(huggingface_directory(load_model_entry(arguments.base))))
    name, _, kind = arguments.engine.partition(" ")
    with tempfile.TemporaryDirectory() as directory:
        if name == "peer":
            trainer = peer(arguments, samples, directory, autocast=not kind)
        else:
            trainer = ours(arguments, samples, directory, cast(Literal["none", "selective", "full"], kind))
        watch = clock()
        trainer.add_callback(watch)
        trainer.train()
    steps = [
        (b[0] - a[0], b[1] - a[1]) for a, b in zip(watch.ticks[1:], watch.ticks[2:], strict=False)
    ]  # the first step allocates
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"engine": arguments.engine, "steps": steps, "peak": peak, "loss": trainer.state.log_history[-1]}


def table(runs: list[dict[str, Any]]) -> str:
    """Medians as markdown; ratios are to the first engine."""
    lines = ["| engine | seconds per step | CPU seconds | faster | CPU ratio | peak GB | memory |", "|" + "---|" * 7]
    rows: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        rows.setdefault(run["engine"], []).append(run)
    first: tuple[float, float, float] | None = None
    for name, same in rows.items():
        wall = statistics.median(step[0] for run in same for step in run["steps"])
        cpu = statistics.median(step[1] for run in same for step in run["steps"])
        peak = statistics.median(run["peak"] for run in same) / 1e9
        first = first or (wall, cpu, peak)
        lines.append(
            f"| {name} | {wall:.2f} | {cpu:.2f} | {first[0] / wall:.2f}x | {first[1] / cpu:.2f}x "
            f"| {peak:.2f} | {peak / first[2]:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs each engine in its own process and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--file", type=Path, default=DATA)
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)  # one, in this process
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(measure(arguments)))
        return
    shared = [f"--{name}={getattr(arguments, name)}" for name in ("base", "steps", "sequences", "dtype", "file")]
    runs = []
    for _ in range(arguments.repeats):
        for engine in arguments.engines:
            command = [sys.executable, "-m", "bench.qlora", *shared, f"--engine={engine}"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
    print(table(runs))


if __name__ == "__main__":
    main()
