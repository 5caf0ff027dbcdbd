"""The engines of bench/pretrain.py: one training step each of ours, of nanoGPT's loop and of transformers' Trainer."""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.plain_gpt import PlainGPT, PlainTraining
from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.launching.world import World
from stages.lib.training.precision import Precision
from stages.lib.training.training import Training
from stages.lib.training.training_params import TrainingParams
from tests.params_of import params_of

VOCABULARY = 320  # 260 ids of the byte tokenizer, rounded up as stages/pretrain.py does
WARM_UP = 5  # steps of a run that are not counted
FACTS = TokenizerFacts(name="byte", identity="", vocab_size=260, eot=258)


@dataclass(frozen=True)
class Size:
    """A shape and its batch."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int  # sequences

    @property
    def tokens(self) -> int:
        """A step."""
        return self.batch * self.context

    def config(self, **shape: Any) -> GPTConfig:
        """Of our GPT at this size; `shape`: position, norm and the like."""
        return GPTConfig(
            vocab_size=VOCABULARY,
            context=self.context,
            n_layer=self.layers,
            n_head=self.heads,
            d_model=self.width,
            **shape,
        )


SIZES = {
    "nano": Size(4, 4, 128, 64, 12),  # nanoGPT's README for CPUs
    "small": Size(6, 6, 384, 256, 4),  # its character model, batch for 2 cores
    "default": Size(4, 4, 128, 256, 8),  # params.yaml's pretrain
}


class RandomWindows:
    """Windows at random places of the tokens."""

    def __init__(self, data: Path, context: int) -> None:
        self.data, self.context = np.load(data, mmap_mode="r"), context

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        places = np.random.default_rng(first).integers(len(self.data) - self.context - 1, size=count)
        rows = np.stack([self.data[i : i + self.context + 1] for i in places]).astype(np.int64)
        return rows[:, :-1], rows[:, 1:]


def write_tokens(path: Path, count: int = 2_000_000) -> None:
    """Bytes of the installed transformers package's sources, as uint16."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    text = bytearray()
    for file in sorted(Path(spec.origin).parent.glob("*.py")):
        text += file.read_bytes()
        if len(text) >= count:
            break
    np.save(path, np.frombuffer(bytes(text[:count]), dtype=np.uint8).astype(np.uint16))


Seconds = tuple[float, float]  # of a step: by the clock, and of all cores together
Engine = Callable[[int], list[Seconds]]  # runs so many steps, returns the seconds of each


def now() -> Seconds:
    """Both clocks."""
    return time.perf_counter(), time.process_time()


def between(start: Seconds, end: Seconds) -> Seconds:
    """What passed on both clocks."""
    return end[0] - start[0], end[1] - start[1]


def timed(step: Callable[[], object], steps: int) -> list[Seconds]:
    """Seconds of each step."""
    seconds = []
    for _ in range(steps):
        start = now()
        step()
        seconds.append(between(start, now()))
    return seconds


def ours(size: Size, data: Path, precision: Precision, place: Path, compiled: bool, **shape: Any) -> Engine:
    """Our training step, as stages/pretrain.py runs it."""
    config = size.config(**shape)
    params = params_of(
        TrainingParams,
        "pretrain",
        steps=1_000_000,
        batch_tokens=size.tokens,
        micro_batch=size.batch,
        lr=1e-3,
        compile=compiled,
        precision=precision,
    )
    torch.manual_seed(0)
    world = World(0, 1, torch.device("cpu"))
    training = Training(GPT(config), params, world, CheckpointStore(place), FACTS)
    batches = RandomWindows(data, size.context)

    def step() -> None:
        training.train_step(training.parts(batches, training.step), 1e-3)
        training.step += 1

    return lambda steps: timed(step, steps)


def nanogpt(size: Size, data: Path, precision: Precision, compiled: bool) -> Engine:
    """nanoGPT's training step; compiled as its `--compile=True` compiles: the model."""
    torch.manual_seed(0)
    model = PlainGPT(
        vocabulary=VOCABULARY, context=size.context, layers=size.layers, heads=size.heads, width=size.width
    )
    training = PlainTraining(model, data, size.batch, size.context, autocast=precision == "bfloat16")
    if compiled:
        training.run = torch.compile(model)
    return lambda steps: timed(training.step, steps)


def trainer(size: Size, data: Path, precision: Precision, place: Path, compiled: bool) -> Engine:
    """transformers' GPT2LMHeadModel in its Trainer, with the defaults of both; compiled by its `torch_compile`."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=size.context,
            n_layer=size.layers,
            n_head=size.heads,
            n_embd=size.width,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    tokens = np.load(data, mmap_mode="r")

    class Texts(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
        def __len__(self) -> int:
            return len(tokens) // size.context - 1

        def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
            ids = torch.from_numpy(tokens[i * size.context : (i + 1) * size.context].astype(np.int64))
            return {"input_ids": ids, "labels": ids}

    seconds: list[Seconds] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        last: Seconds | None = None

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            time_now = now()
            if self.last:
                seconds.append(between(self.last, time_now))  # from step to step: the loop counts, for us too
            self.last = time_now

    def run(steps: int) -> list[Seconds]:
        seconds.clear()
        arguments = TrainingArguments(
            output_dir=str(place),
            per_device_train_batch_size=size.batch,
            max_steps=steps + 1,
            learning_rate=1e-3,
            use_cpu=True,
            bf16=precision == "bfloat16",
            torch_compile=compiled,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=[Clock()]).train()
        return list(seconds)

    return run
