"""Tokens a second of one training step: ours, nanoGPT's (bench/plain_gpt.py), transformers' GPT-2 with Trainer.

Run: python -m bench.pretrain [--sizes nano small default] [--repeats 3] [--steps 40] [--precision float32] [--parts]

All engines train models of one shape on the same tokens (the source files of the installed transformers package, as
bytes) with the same batch in the same precision, eager and compiled. Each repeat runs every engine once, one after the
other; a figure is the median over all steps of all repeats, compilation and first steps not counted; a ratio the median
of the repeats'. On a busy machine compare the CPU seconds, with OMP_NUM_THREADS=1 (threads that wait for each other
spin). `--parts`: milliseconds of one core a step by part instead. Prints markdown tables.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from bench.pretrain_engines import SIZES, Engine, Size, nanogpt, ours, trainer, write_tokens
from bench.pretrain_parts import PARTS, seconds_by_part
from stages.lib.gpt.model import GPT
from stages.lib.training.precision import Precision, matmul_peak, rate

WARM_UP = 5  # steps of a run that are not counted
PEERS = ("nanoGPT", "nanoGPT, compiled", "Trainer", "Trainer, compiled")


def engines_of(size: Size, data: Path, precision: Precision, place: Path) -> dict[str, Callable[[], Engine]]:
    """By name; each is made when it is asked for."""
    gpt2 = {"position": "learned", "norm": "layernorm"}
    nano, full = gpt2 | {"activation": "gelu"}, gpt2 | {"activation": "gelu_tanh", "bias": True}
    made: dict[str, Callable[[], Engine]] = {}
    for compiled, name in ((False, ""), (True, ", compiled")):
        mine = partial(ours, size, data, precision, compiled=compiled)
        made |= {
            f"nanoGPT{name}": partial(nanogpt, size, data, precision, compiled),
            f"Trainer{name}": partial(trainer, size, data, precision, place / f"trainer{name}", compiled),
            f"ours as nanoGPT{name}": partial(mine, place / f"nano{name}", **nano),
            f"ours as GPT-2{name}": partial(mine, place / f"gpt2{name}", **full),
            f"ours (rope, rmsnorm){name}": partial(mine, place / f"own{name}"),
        }
    return made


def flops_of(size: Size) -> float:
    """Of the matrix products of a step, a token."""
    shape = size.config()
    with torch.device("meta"):
        return GPT(shape).matmul_flops(1)


def measure(size: Size, engines: dict[str, Engine], repeats: int, steps: int, precision: Precision) -> None:
    """Prints the table of one size."""
    wall: dict[str, list[float]] = {name: [] for name in engines}  # seconds of all steps
    cpu: dict[str, list[float]] = {name: [] for name in engines}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}  # the medians of each repeat
    peaks: list[float] = []
    for _ in range(repeats):
        rate.cache_clear()
        peaks.append(matmul_peak(precision, torch.device("cpu")))
        for name, engine in engines.items():
            seconds = engine(steps + WARM_UP)[WARM_UP:]
            mine = [[step[clock] for step in seconds] for clock in (0, 1)]
            wall[name] += mine[0]
            cpu[name] += mine[1]
            runs[name].append((statistics.median(mine[0]), statistics.median(mine[1])))
    peak, flops = statistics.median(peaks), flops_of(size)
    print(f"\n{size}, {precision}, {torch.get_num_threads()} threads, matmul peak {peak / 1e9:.0f} GFLOP/s")
    peers = [peer for peer in PEERS if peer in engines]
    print(f"| engine | tokens/s | share of peak | CPU ms a step | {' | '.join(f'x {peer}' for peer in peers)} |")
    print("|---" * (4 + len(peers)) + "|")
    for name in engines:
        reached = size.tokens / statistics.median(wall[name])
        cells = [name, f"{reached:,.0f}", f"{reached * flops / peak:.0%}", f"{1e3 * statistics.median(cpu[name]):.1f}"]
        for peer in peers:
            pairs = list(zip(runs[name], runs[peer], strict=True))
            ratios = [statistics.median(theirs[clock] / mine[clock] for mine, theirs in pairs) for clock in (0, 1)]
            cells.append(f"{ratios[0]:.2f} (CPU {ratios[1]:.2f})")
        print(f"| {' | '.join(cells)} |", flush=True)


def measure_parts(size: Size, engines: dict[str, Engine], steps: int, precision: Precision) -> None:
    """Prints the table of one size."""
    print(f"\n{size}, {precision}, one thread: ms a step")
    print(f"| engine | {' | '.join(PARTS)} | sum | products' floor |\n{'|---' * (len(PARTS) + 3)}|")
    rate.cache_clear()
    floor = 1e3 * flops_of(size) * size.tokens / matmul_peak(precision, torch.device("cpu"))
    for name, engine in engines.items():
        engine(WARM_UP)
        found = seconds_by_part(partial(engine, 1), steps)
        cells = [f"{1e3 * found[part]:.1f}" for part in PARTS]
        print(f"| {name} | {' | '.join(cells)} | {1e3 * sum(found.values()):.1f} | {floor:.1f} |", flush=True)


def main() -> None:
    """Reads the command line, measures."""
    parser = argparse.ArgumentParser(prog="python -m bench.pretrain", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--precision", choices=("float32", "bf32", "bfloat16"), default="float32")
    parser.add_argument("--engines", nargs="+", default=[], help="default: all")
    parser.add_argument("--parts", action="store_true")
    arguments = parser.parse_args()
    if arguments.parts:
        torch.set_num_threads(1)
        torch._inductor.config.cpp.enable_kernel_profile = True
    for name in arguments.sizes:
        with tempfile.TemporaryDirectory() as temporary:
            data = Path(temporary) / "tokens.npy"
            write_tokens(data)
            made = engines_of(SIZES[name], data, arguments.precision, Path(temporary))
            wanted = arguments.engines or list(made)
            engines = {one: made[one]() for one in made if one in wanted}
            if arguments.parts:
                # The Trainer's loop has no single step to call.
                steppable = {one: engine for one, engine in engines.items() if "Trainer" not in one}
                measure_parts(SIZES[name], steppable, arguments.steps, arguments.precision)
            else:
                measure(SIZES[name], engines, arguments.repeats, arguments.steps, arguments.precision)


if __name__ == "__main__":
    main()
