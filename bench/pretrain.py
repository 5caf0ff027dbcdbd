"""Tokens a second of one training step: ours, nanoGPT's (bench/plain_gpt.py), transformers' GPT-2 with Trainer.

Run: python -m bench.pretrain [--sizes nano small] [--repeats 3] [--steps 40] [--precision float32]

All engines train models of one shape on the same tokens (the source files of the installed transformers package, as
bytes) with the same batch in the same precision. Each repeat runs every engine once, one after the other; a figure
is the median over all steps of all repeats, compilation and first steps not counted. Prints a markdown table.
"""

import argparse
import importlib.util
import statistics
import tempfile
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
from stages.lib.training.distributed import World
from stages.lib.training.precision import Precision, matmul_peak, rate
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


SIZES = {
    "nano": Size(4, 4, 128, 64, 12),  # nanoGPT's README for CPUs
    "small": Size(6, 6, 384, 256, 4),  # its character model, batch for 2 cores
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


Engine = Callable[[int], list[float]]  # runs so many steps, returns the seconds of each


def timed(step: Callable[[], object], steps: int) -> list[float]:
    """Seconds of each step."""
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def ours(size: Size, data: Path, precision: Precision, place: Path, compiled: bool, **shape: Any) -> Engine:
    """Our training step, as stages/pretrain.py runs it."""
    config = GPTConfig(
        vocab_size=VOCABULARY,
        context=size.context,
        n_layer=size.layers,
        n_head=size.heads,
        d_model=size.width,
        **shape,
    )
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


def nanogpt(size: Size, data: Path, precision: Precision) -> Engine:
    """nanoGPT's training step."""
    torch.manual_seed(0)
    model = PlainGPT(
        vocabulary=VOCABULARY, context=size.context, layers=size.layers, heads=size.heads, width=size.width
    )
    training = PlainTraining(model, data, size.batch, size.context, autocast=precision == "bfloat16")
    return lambda steps: timed(training.step, steps)


def trainer(size: Size, data: Path, precision: Precision, place: Path) -> Engine:
    """transformers' GPT2LMHeadModel in its Trainer, with the defaults of both."""
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

    seconds: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        last = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            now = time.perf_counter()
            if self.last:
                seconds.append(now - self.last)  # from step to step: what the loop costs counts, for us too
            self.last = now

    def run(steps: int) -> list[float]:
        seconds.clear()
        arguments = TrainingArguments(
            output_dir=str(place),
            per_device_train_batch_size=size.batch,
            max_steps=steps + 1,
            learning_rate=1e-3,
            use_cpu=True,
            bf16=precision == "bfloat16",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        )
        Trainer(model=model, args=arguments, train_dataset=Texts(), callbacks=[Clock()]).train()
        return list(seconds)

    return run


def measure(size: Size, repeats: int, steps: int, precision: Precision, names: list[str]) -> None:
    """Prints one table."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        data = place / "tokens.npy"
        write_tokens(data)
        gpt2 = {"position": "learned", "norm": "layernorm"}
        available: dict[str, Callable[[], Engine]] = {
            "nanoGPT": lambda: nanogpt(size, data, precision),
            "Trainer": lambda: trainer(size, data, precision, place / "trainer"),
            "ours as nanoGPT": lambda: ours(size, data, precision, place / "a", True, activation="gelu", **gpt2),
            "ours as GPT-2": lambda: ours(
                size, data, precision, place / "b", True, activation="gelu_tanh", bias=True, **gpt2
            ),
            "ours (rope, rmsnorm)": lambda: ours(size, data, precision, place / "c", True),
            "ours, not compiled": lambda: ours(size, data, precision, place / "d", False),
        }
        engines = {name: make() for name, make in available.items() if not names or name in names}
        rates: dict[str, list[float]] = {name: [] for name in engines}
        runs: dict[str, list[float]] = {name: [] for name in engines}
        peaks: list[float] = []
        for _ in range(repeats):
            rate.cache_clear()
            peaks.append(matmul_peak(precision, torch.device("cpu")))
            for name, engine in engines.items():
                seconds = engine(steps + WARM_UP)[WARM_UP:]
                rates[name] += [size.tokens / second for second in seconds]
                runs[name].append(statistics.median(size.tokens / second for second in seconds))
        peak = statistics.median(peaks)
        shape = GPTConfig(
            vocab_size=VOCABULARY,
            context=size.context,
            n_layer=size.layers,
            n_head=size.heads,
            d_model=size.width,
        )
        with torch.device("meta"):
            flops = GPT(shape).matmul_flops(1)
        print(f"\n{size}, {precision}, {torch.get_num_threads()} threads, matmul peak {peak / 1e9:.0f} GFLOP/s")
        print("| engine | tokens/s | share of matmul peak | x nanoGPT | x Trainer |\n|---|---|---|---|---|")
        for name in engines:
            reached = statistics.median(rates[name])
            ratios = []
            for peer in ("nanoGPT", "Trainer"):
                pairs = zip(runs[name], runs[peer], strict=True) if peer in runs else ()
                ratio = [mine / theirs for mine, theirs in pairs]
                ratios.append(f"{statistics.median(ratio):.2f}" if ratio else "")
            print(f"| {name} | {reached:,.0f} | {reached * flops / peak:.0%} | {ratios[0]} | {ratios[1]} |", flush=True)


def main() -> None:
    """Reads the command line, measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.pretrain", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--engines", nargs="+", default=[], help="default: all")
    arguments = parser.parse_args()
    for name in arguments.sizes:
        measure(SIZES[name], arguments.repeats, arguments.steps, arguments.precision, arguments.engines)


if __name__ == "__main__":
    main()
