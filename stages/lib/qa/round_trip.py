"""Whether the model that asks is led to the answer by the question, and by the text: the round trip.

A question is kept where the answer is likelier behind text and question than behind the question alone ("worse without
it"), and likelier than behind the text with a question that asks for nothing: the question must point to its answer.
After Alberti et al., "Synthetic QA Corpora Generation with Roundtrip Consistency" (2019), by likelihood and not by
words, since a model of 135M seldom answers in the words of the text.
"""

from collections.abc import Mapping, Sequence
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


class Verdict(NamedTuple):
    """Nats per token of the answer."""

    by_text: float  # that the text adds to the question
    by_question: float  # that the question adds to the text
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
    requests = []
    for trip in trips:
        with_text, alone = (prompts[name] for name in PROMPTS)
        for text in (
            fill(with_text, context=trip.context, question=trip.question),
            fill(with_text, context=trip.context, question=NO_QUESTION),
            fill(alone, question=trip.question),
        ):
            requests.append(ScoreRequest(prompt=Prompt(text=text, chat=False), choices=(f" {trip.answer}",)))
    scores = model.score(requests, progress=progress) if requests else []
    return [_verdict(*scores[place : place + 3]) for place in range(0, len(scores), 3)]


def _verdict(both: Score, text: Score, question: Score) -> Verdict:
    if error := both.error or text.error or question.error:
        return Verdict(0.0, 0.0, error)
    given, unasked, alone = (score.per_token or 0.0 for score in (both, text, question))
    return Verdict(round(given - alone, 5), round(given - unasked, 5))
