"""Questions and answers on texts, by a generator: the strategies `direct` and `fact_first` of a model's entry.

- `direct`: a prompt with the text; the reply is JSON with question and answer.
- `fact_first`, for models too small for that, and for English texts alone: a rule picks a sentence of the text that
  states a fact (facts.py) and the words that a question about it begins with (openings.py), the model finishes the
  question after the shots of a prompt, and the sentence is the answer. Where the question is rejected, the text's next
  fact is tried.

A text is a record with `id`, `source`, `start` (characters into its document) and `text`; with `topic`, that is what
the questions name (empty: they need not name it), else what the source's name says. With `told`, `direct` reads that
before the text (core/telling.py); `fact_first` names the source by its topic.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, assert_never

from stages.lib.core.params import fill
from stages.lib.core.records import Record
from stages.lib.english.facts import Fact, pick_facts
from stages.lib.languages.english_or_not import guess
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling
from stages.lib.qa.openings import Opening, openings
from stages.lib.qa.questions import answer_fault, finish_fault, repeats
from stages.lib.qa.support import find_support
from stages.lib.qa.topics import name_topic, topic_phrase
from stages.lib.question_forms.question_faults import question_fault
from stages.lib.replies.json_objects import writable
from stages.lib.replies.pairs_and_ratings import parse_question_answer

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


class Settings(Protocol):
    """What a stage's params tell of asking."""

    @property
    def max_new_tokens(self) -> int:
        """Of a reply with question and answer (direct), >= 1."""

    @property
    def question_max_new_tokens(self) -> int:
        """Of the rest of a question after its opening (fact_first), >= 1."""

    @property
    def facts_per_chunk(self) -> int:
        """Facts of a text that are tried, one after the other (fact_first), >= 1."""

    @property
    def temperature(self) -> float:
        """0: greedy."""

    @property
    def seed(self) -> int:
        """Of sampling, where temperature > 0."""


@dataclass(frozen=True)
class QuestionOutcome:
    """What became of the texts: records, and what was rejected with the reason."""

    kept: list[Record]  # in the order of the texts
    # {chunk, final, reason, reply, ...}; `final`: the text has no question because of it; a failed request's `error`
    rejected: list[Record]
    asked: int  # replies


def asker(
    strategy: Literal["direct", "fact_first"],
) -> Callable[[Sequence[Record], str, LanguageModel, Settings, str], QuestionOutcome]:
    """The function of a strategy."""
    match strategy:
        case "direct":
            return ask_directly
        case "fact_first":
            return ask_fact_first
        case _:
            assert_never(strategy)


def ask_directly(
    chunks: Sequence[Record], prompt: str, model: LanguageModel, params: Settings, name: str
) -> QuestionOutcome:
    """One request per chunk; the reply holds question and answer."""
    requests = [
        GenerateRequest(
            prompt=Prompt(text=fill(prompt, context=_context(chunk))),
            sampling=Sampling(max_tokens=params.max_new_tokens, temperature=params.temperature, seed=params.seed),
            schema=SCHEMA,
            readable=is_pair,
        )
        for chunk in chunks
    ]
    kept, rejected = [], []
    for chunk, reply in zip(chunks, model.generate(requests, progress=f"qa {name}"), strict=True):
        pair = parse_question_answer(reply.text, complete=reply.finish_reason != "length")
        fault = _reply_fault(reply) or ("unparsable" if pair is None else None)
        if pair and not fault:
            fault = question_fault(pair[0]) or answer_fault(*pair)
            fault = "repeats_prompt" if repeats(*pair, prompt) else fault
            fault = fault if all(writable(text) == text for text in pair) else "invalid_unicode"
        if fault or pair is None:
            rejected.append({"chunk": chunk["id"], "final": True, "reason": fault, "reply": reply.text} | _error(reply))
        else:
            question, answer = pair
            support = find_support(answer, chunk["text"], question)
            kept.append(_record(name, chunk, strategy="direct", question=question, answer=answer, support=support))
    return QuestionOutcome(kept, rejected, len(requests))


def is_pair(reply: Reply) -> bool:
    """Whether a reply holds a question and an answer, and was not cut off."""
    return reply.finish_reason != "length" and parse_question_answer(reply.text) is not None


def ask_fact_first(
    chunks: Sequence[Record], prompt: str, model: LanguageModel, params: Settings, name: str
) -> QuestionOutcome:
    """Round by round: the best fact of each chunk, then the next fact of those without a question yet.

    The rules are English: a chunk in another language is rejected as `not_english`, unasked.
    """
    kept: dict[str, Record] = {}
    rejected: list[Record] = []
    foreign = {chunk["id"] for chunk in chunks if guess(chunk["text"]) == "other"}
    plans = {
        chunk["id"]: [] if chunk["id"] in foreign else plan_questions(chunk, params.facts_per_chunk) for chunk in chunks
    }
    open_chunks = [chunk for chunk in chunks if plans[chunk["id"]]]
    rejected += [
        {
            "chunk": chunk["id"],
            "final": True,
            "reason": "not_english" if chunk["id"] in foreign else "no_fact",
            "reply": None,
        }
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
                | _error(reply)
            )
        open_chunks = [chunk for chunk in open_chunks if chunk["id"] not in kept]
    return QuestionOutcome([kept[chunk["id"]] for chunk in chunks if chunk["id"] in kept], rejected, asked)


def plan_questions(chunk: Record, limit: int) -> list[tuple[Fact, Opening]]:
    """The facts of a chunk that there is an opening for, most specific first, each with its best opening."""
    planned = []
    for fact in pick_facts(chunk["text"], limit=100):
        found = openings(fact, topic_of(chunk), continued=chunk["start"] > 0)
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
    question = re.sub(r"\s+", " ", f"{opening.text}{rest}{mark}").strip()
    question = question if "topic" in chunk else name_topic(question, chunk["source"])
    fault = (None if mark else _reply_fault(reply) or "not_a_question") or question_fault(question)
    if fault is None and repeats(question, "", prompt):
        fault = "repeats_prompt"
    return question, fault or finish_fault(opening, rest, fact, topic_of(chunk))


def topic_of(chunk: Record) -> str:
    """How questions on a text name what it is about; "" if they need not."""
    return str(chunk["topic"]) if "topic" in chunk else topic_phrase(chunk["source"])


def _context(chunk: Record) -> str:
    return str(chunk["told"]) + str(chunk["text"]) if "told" in chunk else str(chunk["text"])


def _fact_request(prompt: str, chunk: Record, fact: Fact, opening: Opening, params: Settings) -> GenerateRequest:
    text = fill(prompt, topic=topic_of(chunk) or "a library", fact=fact.text)
    return GenerateRequest(
        prompt=Prompt(text=text, chat=False, answer_prefix=f" {opening.text}"),
        sampling=Sampling(
            max_tokens=params.question_max_new_tokens, temperature=params.temperature, seed=params.seed, stop=("\n",)
        ),
    )


def _reply_fault(reply: Reply) -> str | None:
    if reply.finish_reason == "error":
        return "failed_request"
    if reply.finish_reason == "length":
        return "cut_off"
    return None


def _error(reply: Reply) -> Record:
    """Why a request failed, for its line; nothing where it did not."""
    return {"error": reply.error} if reply.error else {}


def _record(generator: str, chunk: Record, **fields: Any) -> Record:
    return {"id": f"{generator}:{chunk['id']}", "chunk": chunk["id"], "generator": generator, **fields}
