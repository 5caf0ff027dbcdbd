"""Search for near-duplicate pairs: near_pairs against faiss' flat range search and a plain blocked product.

Run: python -m bench.dedup [--n 20000] [--dim 1024] [--floor 0.97] [--repeats 3] [--file VECTORS.npy]
     python -m bench.dedup --n 100000 --engines llmill llmill-float32

Side by side in one run: each repeat runs every engine once, each in a process of its own that holds
the vectors before the clock starts. All engines decide in float64 (the peers look for pairs 1e-6
below the floor and hand them to the same decision), so their results have to be equal, and are
compared. Working memory is the peak of the process beyond what it held before the search. Without
--file the vectors are made: independent directions, a shared mean direction (all cosines near 0.7,
as embedding models have them), and clusters just below the floor; 2% near-duplicates in each.

Letters: n vectors of d dimensions.
"""

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

ENGINES = ("faiss", "product", "llmill", "llmill-float32")
NAMES = {
    "faiss": "faiss IndexFlatIP.range_search",
    "product": "plain blocked product (torch)",
    "llmill": "llmill near_pairs",
    "llmill-float32": "llmill near_pairs, bound in float32",
}
SHAPES = ("independent", "shared-mean", "clusters")
LOOSE = 1e-6  # how far below the floor float32 engines look
PEER_BLOCK = 4096  # vectors compared with all others at once by the peers


def make_vectors(shape: str, n: int, d: int) -> Vectors:
    """(n, d) unit vectors of one of SHAPES, with n / 50 near-duplicates at cosines from 0.95 to 1."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, d), dtype=np.float32)
    if shape == "shared-mean":
        vectors *= np.float32((0.3 / d) ** 0.5)
        vectors += normalised(rng.standard_normal((1, d), dtype=np.float32)) * np.float32(0.7**0.5)
    elif shape == "clusters":  # of about 50, cosines near 0.94 inside
        centres = rng.standard_normal((max(1, n // 50), d), dtype=np.float32)
        vectors *= np.float32(0.25)
        for start in range(0, n, 4096):
            block = vectors[start : start + 4096]
            block += centres[rng.integers(0, len(centres), len(block))]
    normalised(vectors)
    count = n // 50
    noise = normalised(rng.standard_normal((count, d), dtype=np.float32))
    noise *= rng.uniform(0, 0.33, (count, 1)).astype(np.float32)
    originals = vectors[rng.integers(0, n, count)]
    vectors[rng.permutation(n)[:count]] = normalised(originals + noise)
    return vectors


def normalised(vectors: Vectors) -> Vectors:
    """The same array, its rows divided by their norms in place."""
    for start in range(0, len(vectors), 4096):
        block = vectors[start : start + 4096]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def search(engine: str, vectors: Vectors, floor: float) -> Pairs:
    """The pairs i < j at or above the floor, by one of ENGINES."""
    if engine == "faiss":
        return decided(vectors, search_faiss(vectors, floor - LOOSE), floor)
    if engine == "product":
        return decided(vectors, search_product(vectors, floor - LOOSE), floor)
    from stages.lib.near_duplicates.near_pairs import near_pairs

    found = near_pairs(vectors, floor, precision="float32" if engine == "llmill-float32" else "auto")
    return found.first, found.second


def search_faiss(vectors: Vectors, floor: float) -> Pairs:
    """All against all by faiss, which has no half of it to skip."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    firsts, seconds = [], []
    for start in range(0, len(vectors), PEER_BLOCK):
        limits, _, found = index.range_search(vectors[start : start + PEER_BLOCK], floor)
        first = np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64)) + start
        firsts.append(first[found > first])
        seconds.append(found[found > first])
    return np.concatenate(firsts), np.concatenate(seconds)


def search_product(vectors: Vectors, floor: float) -> Pairs:
    """The upper triangle by float32 products of blocks, as one would write it in a few lines."""
    import torch

    whole = torch.from_numpy(vectors)
    firsts, seconds = [], []
    for top in range(0, len(whole), PEER_BLOCK):
        near = torch.nonzero(whole[top : top + PEER_BLOCK] @ whole[top:].T >= floor)
        near = near[near[:, 1] > near[:, 0]] + top
        firsts.append(near[:, 0].numpy())
        seconds.append(near[:, 1].numpy())
    return np.concatenate(firsts), np.concatenate(seconds)


def decided(vectors: Vectors, pairs: Pairs, floor: float) -> Pairs:
    """Those of the pairs that are at or above the floor in float64."""
    from stages.lib.near_duplicates.near_pairs import cosines

    first, second = pairs
    keep = cosines(vectors, first, second) >= floor
    return first[keep], second[keep]


def peak_bytes() -> int:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident_bytes() -> int:
    """The memory that this process holds now; where the system does not say, the most that it ever held."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else peak_bytes()


def run_engine(engine: str, file: Path, floor: float) -> dict[str, Any]:
    """One measured search in this process: seconds, CPU seconds, working megabytes, pairs and their digest."""
    vectors = np.load(file)
    warm = make_vectors("independent", 64, vectors.shape[1])
    search(engine, warm, floor)  # imports, threads, kernels
    before = resident_bytes()
    wall, cpu = time.perf_counter(), time.process_time()
    first, second = search(engine, vectors, floor)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_bytes()
    order = np.lexsort((second, first))
    return {
        "wall": wall,
        "cpu": cpu,
        "memory": (peak - before) / 1e6,
        "pairs": len(first),
        "digest": hashlib.sha256(np.stack([first[order], second[order]]).tobytes()).hexdigest(),
    }


def child(what: str, file: Path, *options: str) -> str:
    """What another process of this script prints: one engine's run, or nothing when it makes vectors."""
    command = [sys.executable, "-m", "bench.dedup", "--child", what, "--file", str(file), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def table(rows: dict[str, list[dict[str, Any]]]) -> str:
    """Medians as markdown; the ratios are those of the first row to each, run by run."""
    lines = [
        "| engine | seconds | CPU seconds | times as fast | CPU ratio | working MB | pairs | equal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = next(iter(rows.values()))
    for engine, runs in rows.items():
        wall, cpu = (statistics.median(run[key] for run in runs) for key in ("wall", "cpu"))
        pairs = list(zip(base, runs, strict=True))  # one after the other in time
        faster, cheaper = (statistics.median(a[key] / b[key] for a, b in pairs) for key in ("wall", "cpu"))
        memory = max(run["memory"] for run in runs)
        equal = "yes" if all(run["digest"] == base[0]["digest"] for run in runs) else "NO"
        figures = [f"{wall:.2f}", f"{cpu:.2f}", f"{faster:.1f}", f"{cheaper:.1f}", f"{memory:.0f}", runs[0]["pairs"]]
        lines.append("| " + " | ".join(map(str, [NAMES[engine], *figures, equal])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000, help="vectors")
    parser.add_argument("--dim", type=int, default=1024, help="dimensions")
    parser.add_argument("--floor", type=float, default=0.97, help="the least cosine looked for")
    parser.add_argument("--repeats", type=int, default=3, help="how often each engine runs")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--file", type=Path, help="an .npy file of unit vectors, float32, in place of made ones")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "make":
        np.save(arguments.file, make_vectors(arguments.shapes[0], arguments.n, arguments.dim))
        return
    if arguments.child:
        print(json.dumps(run_engine(arguments.child, arguments.file, arguments.floor)))
        return
    with tempfile.TemporaryDirectory() as place:
        for shape in [str(arguments.file)] if arguments.file else arguments.shapes:
            file = arguments.file or Path(place) / "vectors.npy"
            if not arguments.file:  # in a process of its own: a child's peak may start from what its parent held
                size = ["--n", str(arguments.n), "--dim", str(arguments.dim), "--shapes", shape]
                child("make", file, *size)
            rows: dict[str, list[dict[str, Any]]] = {engine: [] for engine in arguments.engines}
            for _ in range(arguments.repeats):
                for engine, runs in rows.items():
                    runs.append(json.loads(child(engine, file, "--floor", repr(arguments.floor))))
            n, d = np.load(file, mmap_mode="r").shape
            print(f"{shape}: {n} x {d}, floor {arguments.floor}, median of {arguments.repeats}\n")
            print(table(rows) + "\n", flush=True)


if __name__ == "__main__":
    main()
