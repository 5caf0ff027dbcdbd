"""How threads that wait for each other should wait: products by all cores, alone and beside a busy neighbour.

Run: python -m bench.waiting [--neighbours 1] [--rounds 3]

The products are those of the feed-forward layers of SmolLM2-135M, 30 layers, for 512 tokens (reading) and for 16
(writing replies). Each policy is a process of its own, since OpenMP reads its variables once; rounds go in turns.
Seconds are medians, wall / CPU. stages/lib/core/process.py sets what every stage runs with.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from bench.graph import neighbours
from stages.lib.core.process import share_the_machine

POLICIES: dict[str, dict[str, str]] = {
    "OpenMP's default": {},
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
WORK = {"512 rows": (512, 8), "16 rows": (16, 60)}  # rows, passes
WIDTH, HIDDEN, LAYERS = 576, 1536, 30


def measure() -> list[float]:
    """Wall and CPU seconds of each piece of work, in this process."""
    import torch

    torch.manual_seed(0)
    up = [torch.randn(HIDDEN, WIDTH) / WIDTH**0.5 for _ in range(LAYERS)]
    down = [torch.randn(WIDTH, HIDDEN) / HIDDEN**0.5 for _ in range(LAYERS)]
    seconds = []
    for rows, passes in WORK.values():
        start = torch.randn(rows, WIDTH)
        for counted in (False, True):
            wall, cpu = time.perf_counter(), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            for _ in range(passes if counted else 1):
                states = start
                for one, other in zip(up, down, strict=True):
                    states = torch.nn.functional.silu(states @ one.T) @ other.T + start
            if counted:
                now = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
                seconds += [time.perf_counter() - wall, now - cpu]
    return seconds


def measured(variables: dict[str, str]) -> list[float]:
    """The same in a process with these variables, and none of ours."""
    known = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "from bench.waiting import measure; print(*measure())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=known | variables, capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, default=1, help="other processes, a busy core each")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    before = dict(os.environ)
    share_the_machine()
    ours = {name: value for name, value in os.environ.items() if before.get(name) != value}
    policies = POLICIES | {"a stage's: " + " ".join(f"{name}={value}" for name, value in ours.items()): ours}
    print(f"| policy | {' | '.join(f'{work}, {n} neighbours' for n in (0, args.neighbours) for work in WORK)} |")
    print("|---" * (1 + 2 * len(WORK)) + "|")
    found: dict[str, list[list[float]]] = {name: [] for name in policies}
    for _ in range(args.rounds):
        for name, variables in policies.items():
            alone = measured(variables)
            with neighbours(args.neighbours):
                found[name].append([*alone, *measured(variables)])
    for name, rounds in found.items():
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        cells = [f"{medians[i]:.2f} / {medians[i + 1]:.2f}" for i in range(0, len(medians), 2)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
