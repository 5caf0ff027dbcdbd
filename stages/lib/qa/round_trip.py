"""Whether the model that asks is led to the answer by the question, and by the text: the round trip.

A question is kept where the answer is likelier behind text and question than behind the question alone ("worse without
it"), and likelier than behind the text with a question that asks for nothing: the question must point to its answer.
After Alberti et al., "Synthetic QA Corpora Generation with Roundtrip Consistency" (2019), by likelihood and not by
words, since a model of 135M seldom answers in the words of the text. What code and tables are asked for points to its
answer by construction: a parser finds one value for what the question names. Of these only the first is asked.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from stages.lib.core.params import fill
from stages.lib.llm.protocol import LanguageModel, Prompt, Score, ScoreRequest

PROMPTS = ("answer_with_context_prompt", "answer_without_context_prompt")
NO_QUESTION = "What does it say?"


class Trip(NamedTuple):
    """A question with its answer and text."""

    question: str
    answer: str
    context: str
    points: bool = False  # the question points to its answer by construction


class Verdict(NamedTuple):
    """Nats per token of the answer."""

    by_text: float  # that the text adds to the question
    by_question: float  # that the question adds to the text; infinite where it points there by construction
    error: str = ""  # why there are none

    @property
    def fault(self) -> str | None:
        """Why the question is rejected; None: it is not, or it could not be measured."""
        if self.error:
            return None
        if self.by_text <= 0:
            return "answered_without_text"
        return "not_led_to_answer" if self.by_question <= 0 else None


def round_trips(
    trips: Sequence[Trip], model: LanguageModel, prompts: Mapping[str, str], progress: str
) -> list[Verdict]:
    """The verdicts, in the order of the trips; `prompts`: those of PROMPTS."""
    requests, counts = [], []
    for trip in trips:
        with_text, alone = (prompts[name] for name in PROMPTS)
        texts = [
            fill(with_text, context=trip.context, question=trip.question),
            *([] if trip.points else [fill(with_text, context=trip.context, question=NO_QUESTION)]),
            fill(alone, question=trip.question),
        ]
        counts.append(len(texts))
        requests += [ScoreRequest(prompt=Prompt(text=text, chat=False), choices=(f" {trip.answer}",)) for text in texts]
    scores = iter(model.score(requests, progress=progress) if requests else [])
    return [_verdict(*islice(scores, count)) for count in counts]


def _verdict(given: Score, *others: Score) -> Verdict:
    """Of the answer's scores: behind text and question, behind the text alone (or left out), the question alone."""
    if error := next((score.error for score in (given, *others) if score.error), ""):
        return Verdict(0.0, 0.0, error)
    likely, *unlike = (score.per_token or 0.0 for score in (given, *others))
    by_question = round(likely - unlike[0], 5) if len(unlike) > 1 else math.inf
    return Verdict(round(likely - unlike[-1], 5), by_question)
