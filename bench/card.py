"""Tokens a second of pretraining on one card, by the stage's own loop, and where its time goes.

Run: python -m bench.card [--profile h100] [--steps 8] [--kernels] [--set micro_batch=16 position=learned]

Model, batch and optimizer are the profile's; the tokens are drawn at random (speed does not depend on them) unless
`--tokens FILE.npy` (uint16) gives text, which makes the losses worth reading. The first two steps (compilation) do not
count. Prints one line of JSON: the median of tokens/s over the steps, the share of the card's measured product rate,
the peak of PyTorch's allocator, losses; with `--kernels`, milliseconds of a step by kind of kernel.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from profiles import overlay
from stages.lib.gpt.checkpoints import CheckpointStore, TokenizerFacts
from stages.lib.gpt.model import GPT, GPTConfig
from stages.lib.launching.world import World
from stages.lib.training.precision import matmul_peak
from stages.lib.training.training import Training
from stages.lib.training.training_params import TrainingParams
from tests.params_of import section

WARM_UP = 2  # steps
SHAPE = ("context", "n_layer", "n_head", "d_model", "position", "norm", "activation", "bias", "dropout")
KINDS = {  # what a kernel's name holds -> its kind; the first that fits
    "attention": ("flash", "fmha", "cudnn_generated", "sdpa"),
    "matrix products": ("gemm", "nvjet", "cutlass", "xmma"),
    "optimizer": ("multi_tensor", "adam", "foreach"),
    "fused by Inductor": ("triton",),
    "copies": ("Memcpy", "Memset", "copy"),
}


class Windows:
    """Windows at random places of the tokens: `Batches`."""

    def __init__(self, tokens: np.ndarray, context: int) -> None:
        self.tokens, self.context = tokens, context

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Batches`."""
        places = np.random.default_rng(first).integers(len(self.tokens) - self.context - 1, size=count)
        rows = np.stack([self.tokens[i : i + self.context + 1] for i in places]).astype(np.int64)
        return rows[:, :-1], rows[:, 1:]


def pretraining(profile: str, changes: dict[str, Any], steps: int) -> tuple[GPTConfig, TrainingParams]:
    """The profile's model (GPT-2's vocabulary, padded) and loop, some values changed."""
    own = overlay.read_profile(profile).get("pretrain", {})
    values = section("pretrain", **own) | {"steps": steps, "processes": 1, "log_every": 1, "trackers": []} | changes
    values |= {"eval_every": 10**9, "checkpoint_every": 10**9}
    rows = -(-50_259 // values["vocab_multiple"]) * values["vocab_multiple"]
    fields = TrainingParams.__dataclass_fields__
    params = TrainingParams(**{name: value for name, value in values.items() if name in fields})
    return GPTConfig(vocab_size=rows, **{name: values[name] for name in SHAPE}), params


def kinds_of_kernels(profiler: torch.profiler.profile) -> dict[str, float]:
    """Milliseconds on the device by kind; what is no kernel of a known kind is `other`, with its largest names."""
    found: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        milliseconds = event.self_device_time_total / 1e3
        if event.device_type.name != "CUDA" or not milliseconds:
            continue
        kind = next((kind for kind, parts in KINDS.items() if any(part in event.key for part in parts)), "other")
        found[kind] += milliseconds
    return {kind: round(found[kind], 2) for kind in sorted(found, key=lambda kind: -found[kind])}


def main() -> None:
    """Reads the command line, trains, prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.card", description=__doc__)
    parser.add_argument("--profile", default="h100")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tokens", type=Path)
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="params of pretrain")
    arguments = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, value in (item.split("=", 1) for item in arguments.set)}
    config, params = pretraining(arguments.profile, changes, arguments.steps + WARM_UP)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = np.random.default_rng(0).integers(50_257, size=5_000_000).astype(np.uint16)
    if arguments.tokens:
        tokens = np.load(arguments.tokens, mmap_mode="r")
    torch.manual_seed(0)
    model = GPT(config)
    flops = model.matmul_flops(params.batch_tokens)
    facts = TokenizerFacts(name="gpt2", identity="", vocab_size=50_259, eot=50_256)
    ends, losses = [time.perf_counter()], []
    kernels: dict[str, float] = {}
    profiler: Any = None

    def log(step: int, row: Mapping[str, float]) -> None:
        nonlocal profiler
        ends.append(time.perf_counter())  # the step has waited for the device
        losses.append(round(row["train_loss"], 4))
        if arguments.kernels and step == WARM_UP + 1:
            profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            profiler.__enter__()
        elif profiler is not None and not kernels:
            profiler.__exit__(None, None, None)
            kernels.update(kinds_of_kernels(profiler))
            ends[-1] = time.perf_counter()

    with tempfile.TemporaryDirectory() as place:
        store = CheckpointStore(Path(place))
        store.save = lambda *_, **__: None  # type: ignore[method-assign]
        training = Training(model, params, World(0, 1, device), store, facts)
        begun = time.perf_counter()
        training.run(Windows(tokens, config.context), lambda: 0.0, None, log, "bench")
    seconds = [after - before for before, after in pairwise(ends)][WARM_UP:]
    second = statistics.median(seconds)
    peak = matmul_peak("bfloat16", device) if device.type == "cuda" else 0.0
    print(
        json.dumps(
            {
                "card": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
                "set": changes,
                "tokens_per_second": round(params.batch_tokens / second),
                "tflops": round(flops / second / 1e12, 1),
                "of_product_rate": round(flops / second / peak, 3) if peak else None,
                "seconds_to_third_step": round(ends[WARM_UP] - begun, 1),
                "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device.type == "cuda" else None,
                "kernels_ms": kernels,
                "losses": losses if len(losses) <= 12 else losses[:: max(1, len(losses) // 12)] + losses[-1:],
            }
        )
    )


if __name__ == "__main__":
    main()
