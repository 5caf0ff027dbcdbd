"""Judging by likelihood, for models too small to rate: what do question and chunk tell about the answer?

Measures (q question, a answer, n tokens of a; log p in nats, by the judge):

- groundedness: how far the chunk's statement that holds the answer fits the question better than its other
  statements do, less what the answer says that no statement holds (grounding.py). No model takes part in it;
- relevance = (log p(a | q) - log p(a | q0)) / n: how much the question tells about the answer
  without any chunk, against q0, a question that says nothing;
- standalone = sum of the inverse document frequencies of those content words of q that the
  documents know, 0 if q refers to an unseen text ("this function"). No model takes part in it.

Calibration: a measure becomes a score of 1 to 5 by the share of wrong items (validity.py) that lie
below it, ties half: score = 1 + 4 * share. So 5 is above all the wrong items and 3 in their middle;
wrong are: for groundedness other answers from the same chunk and changed ones, for relevance another document's
question, for standalone the question without its names. Where no item can be made so, judged.py takes others.

Why groundedness is no likelihood: 1 - log p(a | q, c) / log p(a | q0) with the chunk c tells a random chunk (AUC
1.00), but not a wrong answer of the right one: 0.60 on our own questions, 0.40 on people's (docs/judging.md). To a
model of 135M parameters any sentence of the chunk is a likely answer. `python -m bench.judging` compares the measures.

What it cannot see: an answer in other words than the chunk's, a short wrong answer beside the right one in the same
sentence (docs/judging.md), bad English, and whether anybody would ask the question.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from stages.lib.core.params import fill
from stages.lib.english.words import content_words
from stages.lib.judging.grounding import groundedness
from stages.lib.judging.validity import Criterion, JudgedItem
from stages.lib.llm.protocol import LanguageModel, Prompt, Score, ScoreRequest
from stages.lib.question_forms.question_faults import question_fault

NULL: dict[Criterion, tuple[str, ...]] = {
    "groundedness": ("wrong_answer", "altered_answer"),
    "relevance": ("random_question",),
    "standalone": ("vague_question",),
}
NEUTRAL_QUESTION = "What does the documentation say?"
DIGITS = 6  # of a measure, after the point


@dataclass(frozen=True)
class Measure:
    """A measure; None: its request failed, and `error` says why."""

    value: float | None
    error: str = ""


def measure(
    asked: Sequence[tuple[Criterion, JudgedItem]],
    model: LanguageModel,
    *,
    prompts: Mapping[str, str],
    rarity: Mapping[str, float],
    progress: str,
) -> list[Measure]:
    """The measures of (criterion, item) pairs, in their order.

    `prompts`: answer_without_context_prompt; `rarity`: see word_rarity.
    """
    requests: dict[ScoreRequest, None] = {}
    needed = [_requests(criterion, item, prompts) for criterion, item in asked]
    for pair in needed:
        requests |= dict.fromkeys(pair)
    answers = dict(zip(requests, model.score(list(requests), progress=progress), strict=True)) if requests else {}
    measures = []
    for (criterion, item), pair in zip(asked, needed, strict=True):
        errors = [answers[request].error for request in pair if answers[request].error]
        if errors:
            measures.append(Measure(None, errors[0]))
            continue
        told = [_per_token(answers[request]) for request in pair]
        match criterion:
            case "standalone":
                measures.append(Measure(standalone(item.question, rarity)))
            case "groundedness":
                measures.append(Measure(round(groundedness(item), DIGITS)))
            case "relevance":
                given, without = told
                measures.append(Measure(round(given - without, DIGITS)))
            case _:
                assert_never(criterion)
    return measures


def standalone(question: str, rarity: Mapping[str, float]) -> float:
    """How much a question names that is rare among the documents, in nats; 0 if it refers to an unseen text."""
    if question_fault(question) == "refers_to_context":
        return 0.0
    return round(math.fsum(sorted(rarity.get(word, 0.0) for word in content_words(question))), DIGITS)


def word_rarity(texts: Sequence[str]) -> dict[str, float]:
    """ln(N / df) of each content word of N texts; df is the number of texts that hold it.

    One text counts as one of two: else all that it says would be worth nothing.
    """
    counts: dict[str, int] = {}
    for text in texts:
        for word in content_words(text):
            counts[word] = counts.get(word, 0) + 1
    return {word: math.log(max(len(texts), 2) / count) for word, count in counts.items()}


def calibrated(measures: Sequence[float | None], null: Sequence[float]) -> list[float | None]:
    """1 + 4 * the share of `null` below each measure, ties half; None for a measure that is missing.

    Raises:
        ValueError: there is no wrong item to calibrate by.
    """
    if not null and any(measure is not None for measure in measures):
        raise ValueError("no wrong items to calibrate a likelihood judge by; raise judge.validity_pairs")
    known = [np.nan if measure is None else measure for measure in measures]
    low = np.searchsorted(np.sort(null), known, side="left")
    high = np.searchsorted(np.sort(null), known, side="right")
    scores = [round(float(1 + 4 * (a + b) / 2 / len(null)), 4) for a, b in zip(low, high, strict=True)]
    return [None if measure is None else score for measure, score in zip(measures, scores, strict=True)]


def _requests(criterion: Criterion, item: JudgedItem, prompts: Mapping[str, str]) -> tuple[ScoreRequest, ...]:
    """What is asked of the model for the criterion's measure; nothing where it is read off the texts."""
    alone = prompts["answer_without_context_prompt"]
    unasked = _score_request(fill(alone, question=NEUTRAL_QUESTION), item.answer)
    match criterion:
        case "relevance":
            return _score_request(fill(alone, question=item.question), item.answer), unasked
        case "groundedness" | "standalone":
            return ()
        case _:
            assert_never(criterion)


def _score_request(text: str, answer: str) -> ScoreRequest:
    return ScoreRequest(prompt=Prompt(text=text, chat=False), choices=(f" {answer}",))


def _per_token(score: Score) -> float:
    assert score.per_token is not None
    return score.per_token
