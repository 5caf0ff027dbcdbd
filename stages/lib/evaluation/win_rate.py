"""Which of two answers a judge prefers: by its verdict in both orders, or by likelihood.

- `rating`: the judge is shown both answers and names the better one, twice, in both orders. Two verdicts that do not
  name the same answer are a tie, so that a judge that always takes the first gives ties alone.
- `likelihood`, for models too small for that: log p(reference | question, answer) a token, by the judge. The
  answer that tells more about the reference wins; less than a margin apart is a tie. One answer is shown at a time, so
  there is no order. The reference's likelihood is asked for, not the answer's: a judge would prefer what it wrote.

What the likelihood cannot see: whether an answer is right in words other than the reference's, what it adds that is
wrong, and style. An answer that quotes the reference's words among others wins.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stages.lib.core.params import fill
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Sampling, ScoreRequest
from stages.lib.llm.protocol import Reply as JudgeReply
from stages.lib.replies.json_objects import find_json_object, writable

Outcome = Literal["win", "tie", "loss"]
WORTH: dict[Outcome, float] = {"win": 1.0, "tie": 0.5, "loss": 0.0}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "maxLength": 600},
        "winner": {"type": "string", "enum": ["A", "B", "tie"]},
    },
    "required": ["rationale", "winner"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """Two answers to one question."""

    question: str
    context: str
    reference: str
    first: str  # the answer that the other one is compared with
    second: str  # wins or loses


@dataclass(frozen=True, kw_only=True)
class Preference:
    """What a judge said of a pair; outcome None: it failed."""

    outcome: Outcome | None  # of the pair's second answer
    disagreed: bool = False  # the two orders named different answers
    why: str = ""  # the rationales, or how it failed


def judge_by_rating(
    pairs: Sequence[AnswerPair], model: LanguageModel, *, prompt: str, max_tokens: int, progress: str
) -> list[Preference]:
    """Two requests per pair, one per order; equal answers are a tie without being asked about."""
    asked = [pair for pair in pairs if pair.first.strip() != pair.second.strip()]
    requests = [_request(pair, prompt, max_tokens, swapped) for pair in asked for swapped in (False, True)]
    replies = model.generate(requests, progress=progress) if requests else []
    found = {pair: _verdict(replies[2 * i], replies[2 * i + 1]) for i, pair in enumerate(asked)}
    return [found.get(pair, Preference(outcome="tie", why="the same answer")) for pair in pairs]


def judge_by_likelihood(
    pairs: Sequence[AnswerPair], model: LanguageModel, *, prompt: str, margin: float, progress: str
) -> list[Preference]:
    """Compares nats per token of the reference after each answer; `margin` nats apart or less is a tie."""
    requests = [
        ScoreRequest(
            prompt=Prompt(text=fill(prompt, question=pair.question, answer=answer.strip()), chat=False),
            choices=(f" {pair.reference}",),
        )
        for pair in pairs
        for answer in (pair.first, pair.second)
    ]
    scores = model.score(requests, progress=progress) if requests else []
    verdicts = []
    for i in range(len(pairs)):
        first, second = scores[2 * i].per_token, scores[2 * i + 1].per_token
        if first is None or second is None:
            error = scores[2 * i].error or scores[2 * i + 1].error
            verdicts.append(Preference(outcome=None, why=f"failed_request: {error}"))
            continue
        outcome: Outcome = "win" if second - first > margin else "loss" if first - second > margin else "tie"
        verdicts.append(Preference(outcome=outcome, why=f"{first:.3f} and {second:.3f} nats per reference token"))
    return verdicts


def _request(pair: AnswerPair, prompt: str, max_tokens: int, swapped: bool) -> GenerateRequest:
    first, second = (pair.second, pair.first) if swapped else (pair.first, pair.second)
    text = fill(
        prompt,
        context=pair.context,
        question=pair.question,
        reference=pair.reference,
        answer_a=first.strip(),
        answer_b=second.strip(),
    )
    return GenerateRequest(
        prompt=Prompt(text=text), sampling=Sampling(max_tokens=max_tokens), schema=SCHEMA, readable=is_verdict
    )


def _verdict(plain: JudgeReply, swapped: JudgeReply) -> Preference:
    """From the replies in both orders; in the plain one the second answer is B."""
    named = [_winner(plain), _winner(swapped)]
    for reply, winner in zip((plain, swapped), named, strict=True):
        if winner is None:
            failure = {"error": "failed_request", "length": "cut_off"}.get(reply.finish_reason, "unparsable")
            return Preference(outcome=None, why=f"{failure}: {reply.error}" if reply.error else failure)
    outcomes: dict[str, tuple[Outcome, Outcome]] = {"A": ("loss", "win"), "B": ("win", "loss"), "tie": ("tie", "tie")}
    one, other = outcomes[str(named[0])][0], outcomes[str(named[1])][1]
    why = writable(" | ".join(str((_found(reply) or {}).get("rationale", "")) for reply in (plain, swapped)))
    return Preference(outcome=one if one == other else "tie", disagreed=one != other, why=why)


def is_verdict(reply: JudgeReply) -> bool:
    """Whether a reply names a winner."""
    return _winner(reply) is not None


def _winner(reply: JudgeReply) -> str | None:
    winner = (_found(reply) or {}).get("winner")
    return winner if winner in ("A", "B", "tie") and reply.finish_reason != "error" else None


def _found(reply: JudgeReply) -> dict[str, Any] | None:
    return find_json_object(reply.text, {"winner": (str,)}, complete=reply.finish_reason != "length")
