"""Questions and answers on texts, by a generator: the strategies `direct` and `fact_first` of a model's entry.

- `direct`: a prompt with the text; the reply is JSON with question and answer.
- `fact_first`, for models too small for that, and for English texts alone: rules and a parse find a text's facts and
  the questions that they answer (candidates.py). The model finishes those of which only the first words are known, and
  each has to lead it to its answer (round_trip.py). The sentence is the answer; the best question that passes is kept.

A text is a record with `id`, `source`, `start` (characters into its document) and `text`; with `topic`, that is what
the questions name (empty: they need not name it), else what the source's name says. With `told`, `direct` reads that
before the text (core/telling.py); `fact_first` names the source by its topic.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, assert_never

from stages.lib.core.params import fill
from stages.lib.core.records import Record
from stages.lib.english.facts import Fact
from stages.lib.languages.english_or_not import guess
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling
from stages.lib.qa.candidates import Candidate, candidates, topic_of
from stages.lib.qa.openings import Opening
from stages.lib.qa.pair_faults import pair_fault
from stages.lib.qa.questions import answer_fault, finish_fault, repeats
from stages.lib.qa.round_trip import PROMPTS as TRIP_PROMPTS
from stages.lib.qa.round_trip import Trip, Verdict, round_trips
from stages.lib.qa.support import find_support
from stages.lib.qa.topics import name_topic
from stages.lib.question_forms.question_faults import question_fault
from stages.lib.replies.json_objects import writable
from stages.lib.replies.pairs_and_ratings import parse_question_answer

PROMPTS = {"direct": "QA_generation_prompt", "fact_first": "fact_first_question_prompt"}
ALL_PROMPTS = [*PROMPTS.values(), *TRIP_PROMPTS]
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
        """Questions on a text's facts that are tried (fact_first), >= 1."""

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
    asked: int  # questions that were tried
    unmeasured: list[str] = field(default_factory=list)  # why round trips were not measured, one each


def asker(
    strategy: Literal["direct", "fact_first"],
) -> Callable[[Sequence[Record], Mapping[str, str], LanguageModel, Settings, str], QuestionOutcome]:
    """The function of a strategy; its prompts: those of ALL_PROMPTS."""
    match strategy:
        case "direct":
            return ask_directly
        case "fact_first":
            return ask_fact_first
        case _:
            assert_never(strategy)


def ask_directly(
    chunks: Sequence[Record], prompts: Mapping[str, str], model: LanguageModel, params: Settings, name: str
) -> QuestionOutcome:
    """One request per chunk; the reply holds question and answer."""
    prompt = prompts[PROMPTS["direct"]]
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
            fault = (
                question_fault(pair[0])
                or answer_fault(*pair)
                or pair_fault(*pair, f"{chunk['source']} {_context(chunk)}")
            )
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
    chunks: Sequence[Record], prompts: Mapping[str, str], model: LanguageModel, params: Settings, name: str
) -> QuestionOutcome:
    """Round by round: the best question on each text, then the next one of those without a question yet.

    The rules are English: a chunk in another language is rejected as `not_english`, unasked.
    """
    english = [chunk for chunk in chunks if guess(chunk["text"]) != "other"]
    plans = dict(zip([chunk["id"] for chunk in english], candidates(english, params.facts_per_chunk), strict=True))
    rejected: list[Record] = [
        {"chunk": chunk["id"], "final": True, "reason": "no_fact" if chunk["id"] in plans else "not_english"}
        | {"reply": None}
        for chunk in chunks
        if not plans.get(chunk["id"])
    ]
    kept: dict[str, Record] = {}
    asked = 0
    unmeasured: list[str] = []
    for attempt in range(params.facts_per_chunk):
        left = [chunk for chunk in english if chunk["id"] not in kept and attempt < len(plans[chunk["id"]])]
        tried = [(chunk, plans[chunk["id"]][attempt]) for chunk in left]
        asked += len(tried)
        for (chunk, one), written in zip(
            tried, _asked(tried, prompts, model, params, f"{name}, fact {attempt + 1}"), strict=True
        ):
            parts = {"opening": one.opening.text, "finished": written.finished}
            if written.fault is None:
                unmeasured += [written.error] if written.error else []
                fields = {"strategy": "fact_first", "question": written.question, "answer": one.fact.text}
                support = {"start": one.fact.start, "end": one.fact.end}
                kept[chunk["id"]] = _record(name, chunk, **fields, support=support, **parts)
                continue
            last = attempt + 1 >= len(plans[chunk["id"]])
            line = {"chunk": chunk["id"], "final": last, "reason": written.fault, "reply": written.finished}
            told = {"question": written.question, "opening": one.opening.text, "fact": one.fact.text}
            rejected.append(line | told | ({"error": written.error} if written.error else {}))
    return QuestionOutcome([kept[chunk["id"]] for chunk in chunks if chunk["id"] in kept], rejected, asked, unmeasured)


class _Written(NamedTuple):
    """A question, and what became of it."""

    question: str
    fault: str | None = None
    finished: str = ""  # what the model added to the opening
    error: str = ""


def _asked(
    tried: Sequence[tuple[Record, Candidate]],
    prompts: Mapping[str, str],
    model: LanguageModel,
    params: Settings,
    name: str,
) -> list[_Written]:
    """The questions of a round: those that are not whole are finished by the model; the sound ones make the trip."""
    prompt = prompts[PROMPTS["fact_first"]]
    requests = [_fact_request(prompt, chunk, one.fact, one.opening, params) for chunk, one in tried if not one.question]
    replies = iter(model.generate(requests, progress=f"qa {name}") if requests else [])
    written = []
    for chunk, one in tried:
        if one.question:
            fault = question_fault(one.question) or ("repeats_prompt" if repeats(one.question, "", prompt) else None)
            written.append(_Written(one.question, fault))
            continue
        reply = next(replies)
        question, fault = read_fact_question(prompt, chunk, one.fact, one.opening, reply)
        finished = reply.text.partition("?")[0].strip() if fault is None else reply.text
        written.append(_Written(question, fault, finished, reply.error))
    sound = [
        Trip(one.question, candidate.fact.text, _context(chunk), points=candidate.of_example)
        for (chunk, candidate), one in zip(tried, written, strict=True)
        if one.fault is None
    ]
    verdicts = iter(round_trips(sound, model, prompts, f"qa {name}, round trip"))
    return [
        one if one.fault else one._replace(fault=verdict.fault, error=verdict.error)
        for one in written
        if (verdict := Verdict(0.0, 0.0) if one.fault else next(verdicts))
    ]


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
