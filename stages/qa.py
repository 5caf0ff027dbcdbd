"""chunks_dedu.jsonl -> {generator}_qa.jsonl: a factoid question and answer a chunk. Run: python -m stages.qa GENERATOR.

Two strategies, named in the generator's entry in params.yaml (`qa_strategy`):

- `direct`: QA_generation_prompt with the chunk; the reply is JSON with question and answer.
- `fact_first`, for models too small for that: a rule picks a sentence of the chunk that states a
  fact (lib/llm/facts.py) and the words that a question about it begins with (lib/llm/openings.py),
  the model finishes the question after the shots of fact_first_question_prompt, and the sentence
  is the answer. Where the question is rejected, the chunk's next fact is tried.

What is rejected is kept beside the questions with its reason, reply by reply.
"""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.llm.asking import open_model
from stages.lib.llm.facts import Fact, pick_facts
from stages.lib.llm.openings import Opening, openings
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling
from stages.lib.llm.questions import (
    answer_fault,
    finish_fault,
    mark_duplicates,
    question_fault,
    repeats,
)
from stages.lib.llm.replies import find_support, parse_question_answer
from stages.lib.llm.topics import name_topic, topic_phrase
from stages.lib.metrics import Stopwatch, check_counts, write_metrics
from stages.lib.params import fill, load, load_prompts
from stages.lib.records import Record, read_jsonl, write_jsonl

CHUNKS = Path("data/chunks/chunks_dedu.jsonl")
QA_DIR = Path("data/qa")
PROMPTS = {"direct": "QA_generation_prompt", "fact_first": "fact_first_question_prompt"}
BROAD_LOSS = 1.5  # specificity that a fact loses when all that can be asked is what its topic does
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 10, "maxLength": 300},
        "answer": {"type": "string", "minLength": 1, "maxLength": 500},
    },
    "required": ["question", "answer"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """Section `qa` of params.yaml."""

    generators: list[str]  # names under models:; each runs as a stage of its own
    max_tokens: int  # of a reply with question and answer (direct), >= 1
    max_question_tokens: int  # of the rest of a question after its opening (fact_first), >= 1
    facts_per_chunk: int  # facts of a chunk that are tried, one after the other (fact_first), >= 1
    temperature: float  # 0: greedy
    seed: int  # of sampling, where temperature > 0
    duplicate_similarity: float  # Jaccard similarity of the content words from which questions count as the same, 0..1

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not self.generators:
            raise ValueError("generators: no generator is named")
        if min(self.max_tokens, self.max_question_tokens, self.facts_per_chunk) < 1:
            raise ValueError("max_tokens, max_question_tokens and facts_per_chunk must be >= 1")
        if not 0 < self.duplicate_similarity <= 1:
            raise ValueError(f"duplicate_similarity: {self.duplicate_similarity} is not in 0..1")


@dataclass(frozen=True)
class Outcome:
    """What became of the chunks: records, and what was rejected with the reason."""

    kept: list[Record]  # in the order of the chunks
    rejected: list[Record]  # {chunk, final, reason, reply, ...}; `final`: the chunk has no question because of it
    asked: int  # replies


def ask_directly(chunks: Sequence[Record], prompt: str, model: LanguageModel, params: Params, name: str) -> Outcome:
    """One request a chunk; the reply holds question and answer."""
    requests = [
        GenerateRequest(
            prompt=Prompt(text=fill(prompt, context=chunk["text"])),
            sampling=Sampling(max_tokens=params.max_tokens, temperature=params.temperature, seed=params.seed),
            schema=SCHEMA,
        )
        for chunk in chunks
    ]
    kept, rejected = [], []
    for chunk, reply in zip(chunks, model.generate(requests, progress=f"qa {name}"), strict=True):
        pair = parse_question_answer(reply.text)
        fault = _reply_fault(reply) or ("unparsable" if pair is None else None)
        if pair and not fault:
            fault = question_fault(pair[0]) or answer_fault(*pair)
            fault = "repeats_prompt" if repeats(*pair, prompt) else fault
        if fault or pair is None:
            rejected.append({"chunk": chunk["id"], "final": True, "reason": fault, "reply": reply.text})
        else:
            question, answer = pair
            support = find_support(answer, chunk["text"])
            kept.append(_record(name, chunk, strategy="direct", question=question, answer=answer, support=support))
    return Outcome(kept, rejected, len(requests))


def ask_fact_first(chunks: Sequence[Record], prompt: str, model: LanguageModel, params: Params, name: str) -> Outcome:
    """Round by round: the best fact of each chunk, then the next fact of those without a question yet."""
    kept: dict[str, Record] = {}
    rejected: list[Record] = []
    plans = {chunk["id"]: plan_questions(chunk, params.facts_per_chunk) for chunk in chunks}
    open_chunks = [chunk for chunk in chunks if plans[chunk["id"]]]
    rejected += [
        {"chunk": chunk["id"], "final": True, "reason": "no_fact", "reply": None}
        for chunk in chunks
        if not plans[chunk["id"]]
    ]
    asked = 0
    for attempt in range(params.facts_per_chunk):
        tried = [(chunk, *plans[chunk["id"]][attempt]) for chunk in open_chunks if attempt < len(plans[chunk["id"]])]
        requests = [_fact_request(prompt, chunk, fact, opening, params) for chunk, fact, opening in tried]
        replies = model.generate(requests, progress=f"qa {name}, fact {attempt + 1}") if requests else []
        asked += len(requests)
        for (chunk, fact, opening), reply in zip(tried, replies, strict=True):
            question, fault = read_fact_question(prompt, chunk, fact, opening, reply)
            if fault is None:
                fields = {"strategy": "fact_first", "question": question, "answer": fact.text}
                parts = {"opening": opening.text, "finished": reply.text.partition("?")[0].strip()}
                support = {"start": fact.start, "end": fact.end}
                kept[chunk["id"]] = _record(name, chunk, **fields, support=support, **parts)
                continue
            last = attempt + 1 >= len(plans[chunk["id"]])
            rejected.append(
                {"chunk": chunk["id"], "final": last, "reason": fault, "reply": reply.text}
                | {"opening": opening.text, "fact": fact.text}
            )
        open_chunks = [chunk for chunk in open_chunks if chunk["id"] not in kept]
    return Outcome([kept[chunk["id"]] for chunk in chunks if chunk["id"] in kept], rejected, asked)


def plan_questions(chunk: Record, limit: int) -> list[tuple[Fact, Opening]]:
    """The facts of a chunk that there is an opening for, most specific first, each with its best opening."""
    planned = []
    for fact in pick_facts(chunk["text"], limit=100):
        found = openings(fact, topic_phrase(chunk["source"]), continued=chunk["start"] > 0)
        if found:
            planned.append((fact, found[0]))
    planned.sort(key=lambda plan: plan[0].specificity - BROAD_LOSS * plan[1].broad, reverse=True)  # stable
    return planned[:limit]


def read_fact_question(
    prompt: str, chunk: Record, fact: Fact, opening: Opening, reply: Reply
) -> tuple[str, str | None]:
    """The question, finished by the model and its topic named, and why it is rejected (None: it is not)."""
    # Where the model goes on after its question mark, what follows is not part of the question.
    rest, mark, _ = reply.text.partition("?")
    question = name_topic(re.sub(r"\s+", " ", f"{opening.text}{rest}{mark}").strip(), chunk["source"])
    fault = (None if mark else _reply_fault(reply)) or question_fault(question)
    if fault is None and repeats(question, "", prompt):
        fault = "repeats_prompt"
    return question, fault or finish_fault(opening, rest, fact, topic_phrase(chunk["source"]))


def mark_same_questions(records: list[Record], similarity: float) -> list[Record]:
    """Adds `duplicate_of`: the id of the first earlier record that asks the same, or null."""
    marks = mark_duplicates([record["question"] for record in records], similarity)
    return [
        record | {"duplicate_of": None if mark is None else records[mark]["id"]}
        for record, mark in zip(records, marks, strict=True)
    ]


def make_metrics(strategy: str, chunks: int, outcome: Outcome, records: Sequence[Record]) -> dict[str, Any]:
    """Counts of chunks and of replies, each of which adds up."""
    final = Counter(line["reason"] for line in outcome.rejected if line["final"])
    replies = Counter(line["reason"] for line in outcome.rejected if line["reply"] is not None)
    by_rule = sum(record.get("finished") == "" for record in records)
    return {
        "strategy": strategy,
        "chunks": check_counts(chunks, len(records), dict(final)),
        "replies": check_counts(outcome.asked, len(records), dict(replies)),
        "questions": len(records),
        "questions_worded_by_rule_alone": by_rule,  # fact_first: the model added no more than the question mark
        "duplicate_questions": sum(record["duplicate_of"] is not None for record in records),
        "answers_with_support": sum(record["support"] is not None for record in records),
    }


def main(generator: str) -> None:
    """Reads the chunks, asks, writes questions, rejected replies and metrics.

    Raises:
        ValueError: no chunk is sampled, or no reply was usable.
    """
    watch = Stopwatch(f"qa_{generator}")
    params = load(Params, "qa")
    if generator not in params.generators:
        raise ValueError(f"params.yaml: qa.generators: {generator!r} is not among {params.generators}")
    chunks = [c for c in read_jsonl(CHUNKS, required=["id", "source", "start", "text", "sampled"]) if c["sampled"]]
    if not chunks:
        raise ValueError(f"{CHUNKS}: no chunk is marked as sampled; see dedup's sample params")
    with open_model(generator) as model:
        strategy = model.entry.qa_strategy
        prompt = load_prompts([PROMPTS[strategy]])[PROMPTS[strategy]]
        ask = ask_directly if strategy == "direct" else ask_fact_first
        outcome = ask(chunks, prompt, model, params, generator)
    watch.lap("ask")
    records = mark_same_questions(outcome.kept, params.duplicate_similarity)
    metrics = make_metrics(strategy, len(chunks), outcome, records)
    dropped = QA_DIR / f"{generator}_dropped.jsonl"
    write_jsonl(dropped, outcome.rejected)
    if not records:
        raise ValueError(
            f"{generator}: none of {len(chunks)} chunks got a usable question: {metrics['chunks']['dropped']}; "
            f"the replies are in {dropped}. Is the model too small for qa_strategy {strategy!r} (params.yaml, models:)?"
        )
    write_jsonl(QA_DIR / f"{generator}_qa.jsonl", records)
    write_metrics(f"qa_{generator}", metrics)
    watch.lap("write")
    watch.write(
        chunks_per_second=round(len(chunks) / max(watch.parts["ask"], 1e-9), 3), asked=model.asked, reused=model.reused
    )
    print(f"{generator}: {len(records)} questions from {len(chunks)} chunks; dropped {metrics['chunks']['dropped']}")


def _fact_request(prompt: str, chunk: Record, fact: Fact, opening: Opening, params: Params) -> GenerateRequest:
    text = fill(prompt, topic=topic_phrase(chunk["source"]) or "a library", fact=fact.text)
    return GenerateRequest(
        prompt=Prompt(text=text, chat=False, answer_prefix=f" {opening.text}"),
        sampling=Sampling(
            max_tokens=params.max_question_tokens, temperature=params.temperature, seed=params.seed, stop=("\n",)
        ),
    )


def _reply_fault(reply: Reply) -> str | None:
    if reply.finish_reason == "error":
        return "failed_request"
    if reply.finish_reason == "length":
        return "cut_off"
    return None


def _record(generator: str, chunk: Record, **fields: Any) -> Record:
    return {"id": f"{generator}:{chunk['id']}", "chunk": chunk["id"], "generator": generator, **fields}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.qa GENERATOR")
    main(sys.argv[1])
