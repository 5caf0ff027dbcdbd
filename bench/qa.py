"""Questions through stages.lib.llm (cold ledger) against the raw engines on the same prompts, side by side.

Run: python -m bench.qa [--prompts 24] [--tokens 24] [--repeats 3] [--engines transformers llama_cpp] [--file FILE]

The prompts are those of the qa stage over real chunks: `QA_generation_prompt` in the chat template,
and the few-shot prompt of `fact_first`. Raw transformers is `model.generate`, greedy, left-padded,
in batches of the same size and order of length; raw llama.cpp is xllamacpp's server called from
as many threads as it has slots. Loading is not counted. Each repeat runs raw and ours one after
the other. Prints a markdown table of medians; `same` counts the replies that are equal.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from bench.embed import read_texts
from stages.lib.cache.ledger import Ledger
from stages.lib.core.params import fill, load_prompts, read_param
from stages.lib.llm.asking import AskedModel
from stages.lib.llm.llama_cpp_backend import LlamaCppBackend
from stages.lib.llm.protocol import Backend, GenerateRequest, Prompt, Reply, Sampling
from stages.lib.llm.transformers_backend import TransformersBackend
from stages.lib.weights.models import ModelEntry, load_model_entry

MODEL = "smollm2-135m"
WARM_UP = [GenerateRequest(prompt=Prompt(text="Hello."), sampling=Sampling(max_tokens=2))]


class Run(NamedTuple):
    """One run of one engine over all prompts."""

    wall: float  # seconds
    cpu: float  # seconds of all threads
    texts: list[str]  # the replies
    tokens: int  # new ones


def measured(answers: Callable[[], tuple[list[str], int]]) -> Run:
    """Runs under the clocks."""
    wall, cpu = time.perf_counter(), time.process_time()
    texts, tokens = answers()
    return Run(time.perf_counter() - wall, time.process_time() - cpu, texts, tokens)


def workloads(chunks: Sequence[str], tokens: int) -> dict[str, list[GenerateRequest]]:
    """The qa stage's two kinds of prompts over the chunks."""
    direct, shots = load_prompts(
        ["QA_generation_prompt", "fact_first_question_prompt"], domain=read_param("domain")
    ).values()
    sampling = Sampling(max_tokens=tokens)
    facts = [" ".join(chunk.split())[:160] for chunk in chunks]
    return {
        "direct": [
            GenerateRequest(prompt=Prompt(text=fill(direct, context=chunk)), sampling=sampling) for chunk in chunks
        ],
        "fact_first": [
            GenerateRequest(
                prompt=Prompt(text=fill(shots, topic="the library", fact=fact), chat=False, answer_prefix=" What"),
                sampling=sampling,
            )
            for fact in facts
        ],
    }


def ours(entry: ModelEntry, backend: Backend, requests: Sequence[GenerateRequest]) -> Run:
    """The product's path: keys, an empty ledger, the backend, each batch written down."""
    with tempfile.TemporaryDirectory() as place:
        model = AskedModel(entry, backend, Ledger(Path(place) / "ledger.sqlite"))

        def answers() -> tuple[list[str], int]:
            replies: list[Reply] = model.generate(requests)
            return [reply.text for reply in replies], sum(reply.completion_tokens for reply in replies)

        return measured(answers)


def raw_transformers(backend: TransformersBackend, requests: Sequence[GenerateRequest]) -> Run:
    """`model.generate` with transformers' own attention, in left-padded batches, sorted by length as ours are."""
    from transformers import AutoModelForCausalLM

    tokenizer, size = backend.prompts.tokenizer, backend.entry.batch_size
    model = AutoModelForCausalLM.from_pretrained(backend.prompts.directory, dtype=backend.model.dtype)
    model = model.to(backend.model.device).eval()
    prompts = [backend.render(request) for request in requests]

    def answers() -> tuple[list[str], int]:
        texts, tokens = [""] * len(prompts), 0
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            inputs = tokenizer(
                [prompts[i] for i in batch],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(model.device)
            new = model.generate(**inputs, max_new_tokens=requests[0].sampling.max_tokens, do_sample=False)
            new = new[:, inputs["input_ids"].shape[1] :]
            tokens += int((new != tokenizer.pad_token_id).sum())
            for i, text in zip(
                batch,
                tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False),
                strict=True,
            ):
                texts[i] = text
        return texts, tokens

    return measured(answers)


def raw_llama_cpp(backend: LlamaCppBackend, requests: Sequence[GenerateRequest]) -> Run:
    """xllamacpp's server object, without our HTTP connection and ledger."""
    prompts = [backend.render(request) for request in requests]

    def ask(prompt: str) -> dict[str, Any]:
        body = {"prompt": prompt, "max_tokens": requests[0].sampling.max_tokens, "temperature": 0.0}
        answer: dict[str, Any] = backend.server.handle_completions(body)
        return answer

    def answers() -> tuple[list[str], int]:
        with ThreadPoolExecutor(backend.entry.concurrency) as pool:
            found = list(pool.map(ask, prompts))
        return [one["choices"][0]["text"] for one in found], sum(one["usage"]["completion_tokens"] for one in found)

    return measured(answers)


def restart(backend: LlamaCppBackend) -> None:
    """A new server: the old one remembers the prompts that it has read."""
    backend.close()
    list(backend.generate(WARM_UP, [0]))


def row(name: str, pairs: Sequence[tuple[Run, Run]]) -> str:
    """One line of the table from (raw, ours) pairs."""
    raw, own = pairs[0]
    raw_rate, own_rate = (statistics.median(pair[k].tokens / pair[k].wall for pair in pairs) for k in (0, 1))
    ratio = statistics.median((own.tokens / own.wall) / (raw.tokens / raw.wall) for raw, own in pairs)
    cpu = statistics.median((own.tokens / own.cpu) / (raw.tokens / raw.cpu) for raw, own in pairs)
    same = sum(a == b for a, b in zip(raw.texts, own.texts, strict=True))
    return f"| {name} | {raw_rate:.1f} | {own_rate:.1f} | {ratio:.2f} | {cpu:.2f} | {same} of {len(own.texts)} |"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24, help="how many chunks are asked about")
    parser.add_argument("--tokens", type=int, default=24, help="new tokens of each reply")
    parser.add_argument("--repeats", type=int, default=3, help="how often each engine runs")
    parser.add_argument("--engines", nargs="+", default=["transformers", "llama_cpp"], help="which engines")
    parser.add_argument("--file", type=Path, help="JSONL with a `text` each line")
    arguments = parser.parse_args()
    asked = workloads(read_texts(arguments.file, arguments.prompts), arguments.tokens)
    entry = load_model_entry(MODEL)
    lines = [
        "| engine, prompts | raw: new tokens/s | llmill: new tokens/s | ratio | ratio by CPU seconds | same |",
        "|---|---|---|---|---|---|",
    ]
    for engine in arguments.engines:
        backend: TransformersBackend | LlamaCppBackend
        if engine == "transformers":
            backend = TransformersBackend(replace(entry, backend="transformers"))
        else:
            backend = LlamaCppBackend(replace(entry, backend="llama_cpp", context=2048))
        list(backend.generate(WARM_UP, [0]))
        for kind, requests in asked.items():
            pairs = []
            for _ in tqdm(range(arguments.repeats), desc=f"{engine} {kind}"):
                if isinstance(backend, TransformersBackend):
                    raw = raw_transformers(backend, requests)
                else:
                    restart(backend)
                    raw = raw_llama_cpp(backend, requests)
                    restart(backend)
                pairs.append((raw, ours(backend.entry, backend, requests)))
            lines.append(row(f"{engine}, {kind}", pairs))
        backend.close()
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    print(f"{arguments.prompts} prompts, {arguments.tokens} tokens each, {threads}, median of {arguments.repeats}\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
