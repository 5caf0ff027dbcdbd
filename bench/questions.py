"""How many chunks of a corpus get a question, and what these questions are like.

Run: python -m bench.questions "documents/*.jsonl" [--chunks 600] [--seed 0] [--model smollm2-135m] [--read 20]

Cuts the documents as stage chunk does, draws chunks, asks as stage qa does, and prints: chunks with a question, why the
others have none, the most common opening (two words), the share of a question's content words that its chunk holds
(overlap; without those of the topic, and of the answer's sentence), seconds. `--read` shows questions drawn at random,
to be read by a person.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.chunk import Params as ChunkParams
from stages.chunk import Tally, drop_duplicates, read_all
from stages.lib.core.params import load, load_prompts, read_param
from stages.lib.core.records import Record, write_jsonl
from stages.lib.core.telling import told
from stages.lib.english.words import content_words
from stages.lib.llm.asking import open_model
from stages.lib.qa.candidates import candidates
from stages.lib.qa.question_writing import ALL_PROMPTS, asker
from stages.lib.qa.topics import topic_phrase
from stages.lib.reading.documents import Document
from stages.lib.weights.models import load_model_entry
from stages.qa import Params


def draw_chunks(patterns: Sequence[str], count: int, seed: int) -> list[Record]:
    """Chunks of the documents at these places, drawn at random, in the order of the documents."""
    params = load(ChunkParams, "chunk")
    params.sources[:] = [{"kind": "files", "patterns": list(patterns)}]
    cutter = params.cutter()
    stream = drop_duplicates(read_all(params), Tally())
    chunks = [chunk for item in stream if isinstance(item, Document) for chunk in cutter.chunks(item)]
    drawn = np.random.default_rng(seed).permutation(len(chunks))[:count]
    return [chunks[int(i)] for i in sorted(drawn)]


def overlaps(records: Sequence[Record], texts: dict[str, Record]) -> tuple[float, float]:
    """Mean share of a question's content words, without its topic's, that stand in its chunk; and in its answer."""
    in_chunk, in_answer = [], []
    for record in records:
        chunk = texts[record["chunk"]]
        words = content_words(record["question"]) - content_words(topic_phrase(chunk["source"]))
        if words:
            in_chunk.append(len(words & content_words(chunk["text"])) / len(words))
            in_answer.append(len(words & content_words(record["answer"])) / len(words))
    return float(np.mean(in_chunk)), float(np.mean(in_answer))


def show_planned(chunks: Sequence[Record], read: int, seed: int) -> None:
    """Prints how many chunks there is a question for before a model is asked, and some of the best ones."""
    plans = candidates(chunks, 1)
    best = [(chunk, plan[0]) for chunk, plan in zip(chunks, plans, strict=True) if plan]
    kinds = Counter(one.kind.lower() for _, one in best)
    print(
        f"{len(best)} of {len(chunks)} chunks have something to ask about; {sum(bool(one.question) for _, one in best)}"
    )
    print("openings:", ", ".join(f"{kind} {count / len(best):.0%}" for kind, count in kinds.most_common(8)))
    for i in np.random.default_rng(seed).permutation(len(best))[:read]:
        chunk, one = best[int(i)]
        print(f"\n{chunk['source']}\n  Q: {one.question or one.opening.text + ' ...'}\n  A: {one.fact.text}")


def main() -> None:
    """Asks and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="+", help="globs of files, as in chunk.sources")
    parser.add_argument("--chunks", type=int, default=600, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--model", default="smollm2-135m", help="a name under models:, asked by its qa_strategy")
    parser.add_argument("--read", type=int, default=0, help="how many questions are shown")
    parser.add_argument("--rules-only", action="store_true", help="stop before a model is asked")
    parser.add_argument("--out", type=Path, help="a JSONL file for the questions, beside it what was rejected")
    arguments = parser.parse_args()
    params = load(Params, "qa")
    chunks = draw_chunks(arguments.patterns, arguments.chunks, arguments.seed)
    chunks = [chunk | {"told": told(chunk, params.tell)} for chunk in chunks]
    texts = {chunk["id"]: chunk for chunk in chunks}
    prompts = load_prompts(ALL_PROMPTS, domain=read_param("domain"))
    if arguments.rules_only:
        show_planned(chunks, arguments.read, arguments.seed)
        return
    start = time.monotonic()
    with open_model(load_model_entry(arguments.model)) as model:
        outcome = asker(model.entry.qa_strategy)(chunks, prompts, model, params, arguments.model)
    seconds = time.monotonic() - start
    kept = outcome.kept
    openings = Counter(" ".join(record["question"].lower().split()[:2]) for record in kept)
    in_chunk, in_answer = overlaps(kept, texts)
    print(f"{len(kept)} of {len(chunks)} chunks have a question; {outcome.asked} were tried in {seconds:.0f} s")
    print("chunks without one:", dict(Counter(line["reason"] for line in outcome.rejected if line["final"])))
    print(
        "rejected questions:", dict(Counter(line["reason"] for line in outcome.rejected if line["reply"] is not None))
    )
    print("openings:", ", ".join(f"{opening} {count / len(kept):.0%}" for opening, count in openings.most_common(8)))
    print(f"a question's content words: {in_chunk:.2f} stand in its chunk, {in_answer:.2f} in its answer")
    if arguments.out:
        write_jsonl(arguments.out, kept)
        write_jsonl(arguments.out.with_suffix(".rejected.jsonl"), outcome.rejected)
    drawn = np.random.default_rng(arguments.seed).permutation(len(kept))[: arguments.read]
    for i in drawn:
        record = kept[int(i)]
        print(f"\n{texts[record['chunk']]['source']}\n  Q: {record['question']}\n  A: {record['answer']}")


if __name__ == "__main__":
    main()
