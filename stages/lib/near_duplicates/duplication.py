"""Do two texts say the same? Asked of a language model, or measured by its likelihoods.

`rating` asks document_duplication_critique_prompt and reads a yes or no.

`likelihood` is for models too small to answer. It measures in nats what one text adds to the other:
log p(b | b) - log p(b | a), the surprise at b after a, beyond the surprise at a mere repetition of b.
Case, white space and punctuation are taken out before, so that a difference in form costs nothing.
It is taken in both directions and the larger one counts: a text that contains the other adds to it.
Small models are nearly as surprised at "method" for "function" as at "0.2" for "0.1", so the
threshold has to lie below the cheapest change of a fact; params.yaml says how it was calibrated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from stages.lib.core.params import fill
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling, Score, ScoreRequest
from stages.lib.replies.json_objects import find_json_object, writable
from stages.lib.wording.form import form_key

PROMPT = "document_duplication_critique_prompt"
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string", "maxLength": 600}, "duplicate": {"type": "boolean"}},
    "required": ["rationale", "duplicate"],
    "additionalProperties": False,
}
REPEAT = "Document: {first}\n\nThe same document once more:"


@dataclass(frozen=True)
class Verdict:
    """What the model said of a pair."""

    duplicate: bool | None  # None: no verdict could be read
    why: str  # its rationale, what was measured, or what failed


def judge_pairs(
    pairs: Sequence[tuple[str, str]],
    model: LanguageModel,
    *,
    prompt: str,
    max_tokens: int,
    excess_nats: float,
    progress: str | None = None,
) -> list[Verdict]:
    """A verdict for each pair of texts, by the method of the model's entry (`judge_method`).

    Args:
        pairs: the texts of each pair.
        model: who is asked.
        prompt: the document_duplication_critique_prompt, with {first_document} and {second_document}.
        max_tokens: of a reply (rating).
        excess_nats: duplicates add no more than this to each other (likelihood).
        progress: title of the progress bar.
    """
    match model.entry.judge_method:
        case "likelihood":
            measured = excess_surprise(pairs, model, excess_nats, progress)
            return [
                Verdict(excess <= excess_nats, f"adds {excess:.2f} nats")
                if isinstance(excess, float)
                else Verdict(None, excess)
                for excess in measured
            ]
        case "rating":
            requests = [
                GenerateRequest(
                    prompt=Prompt(text=fill(prompt, first_document=first, second_document=second)),
                    sampling=Sampling(max_tokens=max_tokens),
                    schema=SCHEMA,
                    readable=lambda reply: read_verdict(reply).duplicate is not None,
                )
                for first, second in pairs
            ]
            return [read_verdict(reply) for reply in model.generate(requests, progress=progress)]
        case _:
            assert_never(model.entry.judge_method)


def read_verdict(reply: Reply) -> Verdict:
    """The verdict in a JSON reply, with or without text around it."""
    if reply.finish_reason == "error":
        return Verdict(None, reply.error)
    content = find_json_object(reply.text, {"duplicate": (bool,)}, complete=reply.finish_reason != "length")
    if content is None:
        return Verdict(None, f"unparsable reply: {reply.text[:200]!r}")
    return Verdict(content["duplicate"], writable(str(content.get("rationale", ""))))


def excess_surprise(
    pairs: Sequence[tuple[str, str]], model: LanguageModel, enough: float = math.inf, progress: str | None = None
) -> list[float | str]:
    """What the texts of each pair add to each other, in nats; 0 where they differ in form alone.

    What the longer one adds is measured first; where that is more than `enough`, it is what is returned. Where a
    request fails, why it did.
    """
    plain = [(form_key(one), form_key(other)) for one, other in pairs]
    ordered = [(min(pair, key=len), max(pair, key=len)) for pair in plain]
    asked = list(dict.fromkeys(pair for pair in ordered if pair[0] != pair[1]))
    excess = dict(zip(asked, _added(asked, model, progress), strict=True))
    back = [
        (longer, shorter)
        for shorter, longer in asked
        if isinstance(added := excess[shorter, longer], float) and added <= enough
    ]
    for (longer, shorter), other in zip(back, _added(back, model, progress), strict=True):
        first = excess[shorter, longer]
        both = isinstance(first, float) and isinstance(other, float)
        excess[shorter, longer] = max(first, other) if both else other
    return [excess.get(pair, 0.0) for pair in ordered]


def _added(pairs: Sequence[tuple[str, str]], model: LanguageModel, progress: str | None) -> list[float | str]:
    """What the second of each pair adds to the first, in nats, or why a request failed; a repetition is scored once."""
    if not pairs:
        return []
    wanted = list(dict.fromkeys([(text, text) for _, text in pairs] + list(pairs)))
    requests = [
        ScoreRequest(prompt=Prompt(text=fill(REPEAT, first=first), chat=False), choices=(" " + second,))
        for first, second in wanted
    ]
    scores = dict(zip(wanted, model.score(requests, progress=progress), strict=True))
    return [_difference(scores[second, second], scores[first, second]) for first, second in pairs]


def _difference(repeated: Score, after: Score) -> float | str:
    """How much less likely a text is after another than after itself, or why one of the scores failed."""
    error = repeated.error or after.error
    # A text may be likelier after its like than after itself; then it adds nothing.
    return error or max(0.0, repeated.logprobs[0] - after.logprobs[0])
