"""Sharding: the stage shard against a plain multiprocessing.Pool over tiktoken, on the same JSONL files.

Run: LLMILL_REAL_DATA=... python -m bench.shard [--copies 6] [--repeats 5] [--workers 2] [--tokenizer gpt2]
     python -m bench.shard --files 'corpus/*.jsonl'

The peer is build-nanogpt's fineweb.py: a tokenize function that makes a list of ids with the end of text in front,
np.array of it, a check, a conversion to uint16; Pool.imap with chunksize 16; a buffer in the parent that is saved
with np.save when it is full. It neither looks for duplicates, nor splits by hash, nor hashes what it writes, nor
waits for the disk; the stage does all that. Both read the same files, in a process each, side by side in one run;
the clock runs from the start of the pool until the last shard is on its place, without the imports.

--copies repeats the text with every document changed: in copy n, one word in ten gets a number behind it, so that
neither program meets the same document, or only words that it knows, again.
"""

import argparse
import glob
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from stages.lib.tokens.tokenizers import ByteTokenizer, GPT2Tokenizer, load_tokenizer
from tests.params_of import section

SHARD_TOKENS = 1_000_000
PEERS = ("pool", "llmill")
NAMES = {"pool": "multiprocessing.Pool.imap, encode_ordinary", "llmill": "llmill stages.shard"}

_peer: Any = None  # the tokenizer that the peer's workers inherit


def write_corpus(files: list[str], copies: int, place: Path) -> tuple[int, int]:
    """Writes the documents `copies` times, changed each time; returns (documents, bytes of text)."""
    rng = random.Random(0)
    documents = size = 0
    with place.open("w", encoding="utf-8") as out:
        for copy in range(copies):
            for file in files:
                for line in Path(file).read_text(encoding="utf-8").splitlines():
                    text = json.loads(line)["text"]
                    if copy:
                        words = text.split(" ")
                        text = " ".join(f"{w}{rng.randrange(1000)}" if rng.random() < 0.1 else w for w in words)
                    out.write(json.dumps({"text": text}) + "\n")
                    documents += 1
                    size += len(text.encode())
    return documents, size


def tokenize(text: str) -> npt.NDArray[np.uint16]:
    """The peer's worker, as fineweb.py has it."""
    if isinstance(_peer, GPT2Tokenizer):
        tokens = [_peer.eot]
        tokens.extend(_peer._bpe.encode_ordinary(text))
    else:
        tokens = [_peer.eot, *text.encode()]
    array = np.array(tokens)
    assert (array >= 0).all() and (array < 2**16).all(), "token dictionary too large for uint16"
    return array.astype(np.uint16)


def run_pool(corpus: Path, tokenizer: str, workers: int) -> float:
    """The peer; returns seconds."""
    global _peer  # noqa: PLW0603 - fork hands it to the workers
    _peer = load_tokenizer(tokenizer)
    assert isinstance(_peer, GPT2Tokenizer | ByteTokenizer), tokenizer
    start = time.perf_counter()
    buffer = np.empty(SHARD_TOKENS, dtype=np.uint16)
    shard = filled = 0
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for tokens in pool.imap(tokenize, _texts(corpus), chunksize=16):
            left = tokens
            while filled + len(left) >= SHARD_TOKENS:
                taken = SHARD_TOKENS - filled
                buffer[filled:] = left[:taken]
                np.save(f"shard_{shard:06d}", buffer)
                left, filled, shard = left[taken:], 0, shard + 1
            buffer[filled : filled + len(left)] = left
            filled += len(left)
        np.save(f"shard_{shard:06d}", buffer[:filled])
    return time.perf_counter() - start


def run_llmill(corpus: Path, tokenizer: str, workers: int) -> float:
    """The stage; returns its seconds, the check of its sources included."""
    from stages import shard

    sharding = section(
        "shard",
        sources=[{"kind": "files", "patterns": [str(corpus)]}],
        tokenizer=tokenizer,
        shard_tokens=SHARD_TOKENS,
        val_fraction=0.01,
        workers=workers,
    )
    Path("params.yaml").write_text(yaml.safe_dump({"shard": sharding}))
    load_tokenizer(tokenizer)  # as the peer, before the clock starts
    start = time.perf_counter()
    shard.main()
    return time.perf_counter() - start


def _texts(corpus: Path) -> Iterator[str]:
    with corpus.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"]


def measure(engine: str, corpus: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Runs one engine in a process and a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "bench.shard", "--engine", engine, "--files", str(corpus)]
        command += ["--workers", str(arguments.workers), "--tokenizer", arguments.tokenizer]
        environment = os.environ | {"PYTHONPATH": os.getcwd(), "LLMILL_CACHE": f"{directory}/.cache"}  # noqa: PTH109
        done = subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Prints one line an engine: median seconds, MB/s, memory; then the median of the ratios of each repeat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", help="JSONL files with a `text` (default: openstax_*.jsonl of LLMILL_REAL_DATA)")
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokenizer", choices=["gpt2", "byte"], default="gpt2")
    parser.add_argument("--engine", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        run = run_pool if arguments.engine == "pool" else run_llmill
        seconds = run(Path(arguments.files), arguments.tokenizer, arguments.workers)
        memory = {
            name: resource.getrusage(who).ru_maxrss / 1e3
            for name, who in (("parent_mb", resource.RUSAGE_SELF), ("worker_mb", resource.RUSAGE_CHILDREN))
        }
        print(json.dumps({"seconds": seconds, **memory}))
        return
    if not arguments.files and "LLMILL_REAL_DATA" not in os.environ:
        parser.error("name --files, or set LLMILL_REAL_DATA")
    files = sorted(glob.glob(arguments.files or f"{os.environ['LLMILL_REAL_DATA']}/pretrain/openstax_*.jsonl"))  # noqa: PTH207
    with tempfile.TemporaryDirectory() as directory:
        corpus = Path(directory) / "corpus.jsonl"
        documents, size = write_corpus(files, arguments.copies, corpus)
        print(f"{documents} documents, {size / 1e6:.1f} MB, {arguments.tokenizer}, {arguments.workers} workers")
        runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in PEERS}
        for repeat in range(arguments.repeats):
            for engine in PEERS if repeat % 2 == 0 else PEERS[::-1]:
                runs[engine].append(measure(engine, corpus, arguments))
    for engine in PEERS:
        median = {key: statistics.median(run[key] for run in runs[engine]) for key in runs[engine][0]}
        print(
            f"{NAMES[engine]:<44}{median['seconds']:8.2f} s {size / median['seconds'] / 1e6:8.1f} MB/s"
            f"   parent {median['parent_mb']:.0f} MB, worker {median['worker_mb']:.0f} MB"
        )
    ratios = [pool["seconds"] / mine["seconds"] for pool, mine in zip(runs["pool"], runs["llmill"], strict=True)]
    print(f"llmill is {statistics.median(ratios):.2f}x the pool ({', '.join(f'{r:.2f}' for r in sorted(ratios))})")


if __name__ == "__main__":
    main()
