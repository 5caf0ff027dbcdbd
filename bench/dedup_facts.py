"""What deduplication loses: removed chunks that hold a number or a word which no kept chunk holds.

Run: python -m bench.dedup_facts PAGES.jsonl [--match PATTERN] [--every 12] [--automatic 0.995] [--no-judge]

Every so manieth page (a record with `text`) is cut into chunks as params.yaml says and deduplicated twice: by the rule
that this project had before (everything at or above the cosine `--automatic` is a duplicate without asking), and as the
stages near_pairs and dedup do it now, with the models and thresholds of section `dedup`. Prints a markdown table,
and how long each part took. `--no-judge`: what the judge would be asked stays.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stages import dedup as stage
from stages import near_pairs as search
from stages.chunk import Params as ChunkParams
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, read_jsonl
from stages.lib.embedding.embedders import open_embedder
from stages.lib.llm.asking import open_model
from stages.lib.near_duplicates.duplication import PROMPT, Verdict, judge_pairs
from stages.lib.near_duplicates.found_pairs import ChunkPair
from stages.lib.near_duplicates.groups import star_groups
from stages.lib.near_duplicates.near_pairs import near_pairs
from stages.lib.splitting.splitters import split
from stages.lib.weights.models import load_model_entry
from stages.lib.wording.facts import numbers
from stages.lib.wording.form import form_key, same_words, words_of


def read_chunks(file: Path, match: str, every: int, chars: int) -> list[Record]:
    """The chunks of every so manieth of the pages whose text matches, as the stage cuts them."""
    params = load(ChunkParams, "chunk")
    pages = [record["text"] for record in read_jsonl(file, required=["text"]) if re.search(match, record["text"])]
    return [
        {"id": f"{page}-{start}", "text": text[start:end]}
        for page, text in enumerate(pages[::every])
        for start, end in split(text, params.splitter, chars, params.overlap_fraction)
    ]


def losses(texts: Sequence[str], stays: Sequence[int], removed: Sequence[int]) -> list[int]:
    """Of the chunks removed: how many, of other words than what stayed, with a number, a word that no kept chunk holds.

    Args:
        texts: of all chunks.
        stays: of each chunk the one that stays for it.
        removed: those to count.
    """
    kept = sorted(set(stays))
    known_numbers = {number for i in kept for number in numbers(texts[i])}
    known_words = {word.form for i in kept for word in words_of(texts[i])}
    return [
        len(removed),
        sum(form_key(texts[i]) != form_key(texts[stays[i]]) for i in removed),
        sum(not known_numbers.issuperset(numbers(texts[i])) for i in removed),
        sum(not known_words.issuperset(word.form for word in words_of(texts[i])) for i in removed),
    ]


def before(texts: Sequence[str], vectors: npt.NDArray[np.float32], automatic: float) -> list[int]:
    """Of each chunk the one that stayed for it, by cosines alone."""
    near = near_pairs(vectors, automatic)
    pairs = list(zip(near.first.tolist(), near.second.tolist(), strict=True))
    return star_groups(len(texts), pairs, list(map(len, texts)))


def now(
    chunks: Sequence[Record], vectors: npt.NDArray[np.float32], params: stage.Params, judged: bool
) -> tuple[stage.Deduplicated, dict[str, float]]:
    """What the stages do with the chunks, and the seconds of their parts."""
    model = params.models[0]
    texts = [chunk["text"] for chunk in chunks]
    seconds = {"judge": 0.0}
    start = time.perf_counter()
    own = sorted(set(same_words(texts)))
    own_texts = [texts[i] for i in own]
    seconds["collapse"] = time.perf_counter() - start
    searched = search.Params(
        thresholds=params.thresholds[model], memory_mb=params.memory_mb, neighbours=params.neighbours
    )
    start = time.perf_counter()
    found, _ = search.find_pairs(own_texts, vectors[own], searched)
    seconds["search"] = time.perf_counter() - start
    prompt = load_prompts([PROMPT], domain=read_param("domain"))[PROMPT]
    with ExitStack() as stack:
        judge = cache(lambda: stack.enter_context(open_model(load_model_entry(params.judge))))

        def ask(pairs: list[ChunkPair]) -> list[Verdict]:
            if not judged:
                return [Verdict(None, "not asked here") for _ in pairs]
            begin = time.perf_counter()
            verdicts = judge_pairs(
                [(own_texts[a], own_texts[b]) for a, b in pairs],
                judge(),
                prompt=prompt,
                max_tokens=params.max_new_tokens,
                excess_nats=params.excess_nats,
                progress="judge",
            )
            seconds["judge"] += time.perf_counter() - begin
            return verdicts

        start = time.perf_counter()
        done = stage.dedup(chunks, {model: found}, ask, params)
        seconds["rules"] = time.perf_counter() - start - seconds["judge"]
    return done, seconds


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path)
    parser.add_argument("--match", default="", help="only pages in whose text this pattern is found")
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--chars", type=int, default=700)
    parser.add_argument("--automatic", type=float, default=0.995)
    parser.add_argument("--no-judge", action="store_true")
    parser.add_argument("--show", type=int, default=0, help="judged duplicates to print")
    options = parser.parse_args()
    params = load(stage.Params, "dedup")
    chunks = read_chunks(options.pages, options.match, options.every, options.chars)
    texts = [chunk["text"] for chunk in chunks]
    start = time.perf_counter()
    with open_embedder(params.models[0], load_model_entry(params.models[0])) as embedder:
        vectors = embedder.encode_documents(texts, "embed", ids=[chunk["id"] for chunk in chunks])
    embedded = time.perf_counter() - start
    old = before(texts, vectors, options.automatic)
    done, seconds = now(chunks, vectors, params, judged=not options.no_judge)

    place = {chunk["id"]: i for i, chunk in enumerate(chunks)}
    new = list(range(len(chunks)))
    for record in done.kept:
        for gone in record["duplicates"]:
            new[place[gone]] = place[record["id"]]
    collapsed = [place[line["removed"]] for line in done.same_words]
    (pairs,) = done.pairs.values()
    judged = [place[line["removed"]] for line in pairs if line["removed"]]
    rows: list[tuple[str, list[int]]] = [
        (f"before: cosine >= {options.automatic}", losses(texts, old, [i for i, j in enumerate(old) if i != j])),
        ("now: the same words", losses(texts, new, collapsed)),
        (f"now: by the judge {params.judge}", losses(texts, new, judged)),
    ]
    pages = len({chunk["id"].partition("-")[0] for chunk in chunks})
    print(f"{len(chunks):,} chunks of {pages} pages of {options.pages.name}\n")
    print("| removed | chunks | of other words than what stayed | with a number no kept chunk has | with such a word |")
    print("|---|---|---|---|---|")
    for name, counts in rows:
        print(f"| {name} | {' | '.join(map(str, counts))} |")
    decisions: dict[str, Any] = dict(Counter(line["decision"] for line in pairs))
    print(f"\npairs: {decisions}; asked: {done.metrics['asked']}")
    print(f"seconds: embed {embedded:.1f}, " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    for line in [line for line in pairs if line["removed"]][: options.show]:
        print(f"\n--- {line['verdict']}, cosine {line['cosine']}")
        print(texts[place[line["removed"]]], "\n--- for\n", texts[place[line["kept"]]], sep="")


if __name__ == "__main__":
    main()
