"""Judging by rating: a rationale and a score of 1 to 5 in JSON, and the expectation over the tokens 1 to 5.

The expected score follows G-Eval (arXiv:2303.16634): after the judge's own rationale, the five
scores' probabilities are normalised and averaged. It is finer than the score itself, and it
shows a judge that gives 5 to everything and hardly knows it.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.lib.core.params import fill
from stages.lib.judging.validity import JudgedItem
from stages.lib.llm.in_flight import top_reasons
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling, ScoreRequest
from stages.lib.replies.json_objects import writable
from stages.lib.replies.pairs_and_ratings import parse_rating

SCORES = ("1", "2", "3", "4", "5")
FIELDS = {  # what a criterion's prompt is told of an item
    "groundedness": ("context", "question", "answer"),
    "relevance": ("question",),
    "standalone": ("question",),
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string", "maxLength": 600},
        "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    },
    "required": ["rationale", "score"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What a judge said; score None: it failed, and `failure` says how."""

    score: int | None
    rationale: str
    expected: float | None = None  # 1..5
    failure: str | None = None  # failed_request, cut_off, unparsable
    error: str = ""  # why the request failed
    no_expected: str = ""  # why there is no expected score where one was asked for


def rate(
    asked: Sequence[tuple[str, JudgedItem]],
    model: LanguageModel,
    *,
    prompts: Mapping[str, str],
    sampling: Sampling,
    expected_scores: bool,
    progress: str,
) -> list[Rating]:
    """Ratings of (criterion, item) pairs, in their order; `prompts` by criterion.

    Where a server gives no expected score, the rating itself stays, and a line on stderr says why.
    """
    texts = [
        fill(prompts[criterion], **{field: getattr(item, field) for field in FIELDS[criterion]})
        for criterion, item in asked
    ]
    requests = [
        GenerateRequest(prompt=Prompt(text=text), sampling=sampling, schema=SCHEMA, readable=is_rating)
        for text in texts
    ]
    ratings = []
    for reply in model.generate(requests, progress=progress):
        parsed = parse_rating(reply.text, complete=reply.finish_reason != "length")
        if reply.finish_reason == "error":
            ratings.append(Rating(score=None, rationale=reply.error, failure="failed_request", error=reply.error))
        elif parsed is None:
            failure = "cut_off" if reply.finish_reason == "length" else "unparsable"
            ratings.append(Rating(score=None, rationale=reply.text, failure=failure))
        else:
            ratings.append(Rating(rationale=writable(parsed[0]), score=parsed[1]))
    if not expected_scores:
        return ratings
    places = [i for i, rating in enumerate(ratings) if rating.score is not None]
    scores = model.score(
        [
            ScoreRequest(prompt=Prompt(text=texts[i], answer_prefix=score_prefix(ratings[i].rationale)), choices=SCORES)
            for i in places
        ],
        progress=f"{progress}, expected scores",
    )
    for i, score in zip(places, scores, strict=True):
        if score.error:
            ratings[i] = replace(ratings[i], no_expected=score.error)
        else:
            ratings[i] = replace(ratings[i], expected=expectation(score.logprobs))
    if errors := [score.error for score in scores if score.error]:
        told = f"{progress}: {len(errors)} of {len(places)} ratings stay without an expected score"
        print(f"{told}: {top_reasons(errors)}", file=sys.stderr)
    return ratings


def is_rating(reply: Reply) -> bool:
    """Whether a reply states a score."""
    return parse_rating(reply.text, complete=reply.finish_reason != "length") is not None


def score_prefix(rationale: str) -> str:
    """The reply up to its score."""
    return f'{{"rationale": {json.dumps(rationale, ensure_ascii=False)}, "score": '


def expectation(logprobs: Sequence[float]) -> float:
    """Mean of 1..n under the normalised probabilities exp(logprobs)."""
    top = max(logprobs)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    return sum(score * weight for score, weight in enumerate(weights, start=1)) / sum(weights)
