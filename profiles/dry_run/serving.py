"""llama.cpp's OpenAI-compatible server (xllamacpp) in this process, in the place of a server that a user runs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.lib.weights.models import ModelEntry, load_model_entry, locate

SLOTS, CONTEXT = 2, 4096  # requests at once, tokens of each


@contextmanager
def served(gguf: Path, threads: int = 0) -> Iterator[str]:
    """Runs the server with the file on any free port of loopback; gives its base URL.

    `threads`: 0: one a core, fastest where nothing else computes; beside other work llama.cpp's threads wait for each
    other, and one is faster.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * CONTEXT
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or os.cpu_count() or 1
    params.warmup, params.ui, params.verbosity, params.port = False, False, 0, 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@contextmanager
def server_for(params: dict[str, Any], entries: Mapping[str, ModelEntry]) -> Iterator[list[str]]:
    """Where entries have a server, runs one with SmolLM2 and points them in `params` to it; gives what it replaced."""
    names = [name for name, entry in entries.items() if entry.backend == "openai"]
    if not names:
        yield []
        return
    with served(default_gguf(), threads=1) as url:
        for name in names:
            params["models"][name] |= {"base_url": url, "concurrency": SLOTS}
        yield [f"models.{name}: {entries[name].source} -> SmolLM2-135M in llama.cpp's server" for name in names]


def default_gguf() -> Path:
    """SmolLM2-135M-Instruct in its PyPI package."""
    place = locate(load_model_entry("smollm2-135m"))
    return place if place.is_file() else next(place.glob("*.gguf"))
