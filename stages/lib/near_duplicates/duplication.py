"""Do two texts say the same? Asked of a language model, or measured by its likelihoods.

`rating` asks document_duplication_critique_prompt and reads a yes or no.

`likelihood` is for models too small to answer. It measures in nats what one text adds to the other:
log p(b | b) - log p(b | a), the surprise at b after a, beyond the surprise at a mere repetition of b.
Case, white space and punctuation are taken out before, so that a difference in form costs nothing.
It is taken in both directions and the larger one counts: a text that contains the other adds to it.
Small models are nearly as surprised at "method" for "function" as at "0.2" for "0.1", so the
threshold has to lie below the cheapest change of a fact; params.yaml says how it was calibrated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from stages.lib.core.params import fill
from stages.lib.llm.json_objects import find_json_object
from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling, Score, ScoreRequest

PROMPT = "document_duplication_critique_prompt"
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string", "maxLength": 600}, "duplicate": {"type": "boolean"}},
    "required": ["rationale", "duplicate"],
    "additionalProperties": False,
}
REPEAT = "Document: {first}\n\nThe same document once more:"
_WORD = re.compile(r"-?\w+(?:[.\-]\w+)*|[<>=!]=|[<>]")  # words, numbers with sign and point, dotted names, comparisons


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
            measured = excess_surprise(pairs, model, progress)
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
    return Verdict(content["duplicate"], str(content.get("rationale", "")))


def excess_surprise(
    pairs: Sequence[tuple[str, str]], model: LanguageModel, progress: str | None = None
) -> list[float | str]:
    """What the texts of each pair add to each other, in nats; 0 where they differ in form alone.

    Where a request fails, why it did.
    """
    plain = [(plain_words(one), plain_words(other)) for one, other in pairs]
    asked = [(one, other) for one, other in plain if one != other]
    requests = []
    for one, other in asked:
        for first, second in ((one, other), (other, other), (other, one), (one, one)):
            prompt = Prompt(text=fill(REPEAT, first=first), chat=False)
            requests.append(ScoreRequest(prompt=prompt, choices=(" " + second,)))
    scores = model.score(requests, progress=progress) if requests else []
    adds = [_excess(scores[i : i + 4]) for i in range(0, len(scores), 4)]
    excess = dict(zip(asked, adds, strict=True))
    return [excess.get(pair, 0.0) for pair in plain]


def _excess(scores: Sequence[Score]) -> float | str:
    """Of a pair's four scores, or why one of them failed."""
    error = next((score.error for score in scores if score.error), "")
    if error:
        return error
    first, repeated, second, again = (score.logprobs[0] for score in scores)
    # A text may be likelier after its like than after itself; then it adds nothing.
    return max(0.0, repeated - first, again - second)


def plain_words(text: str) -> str:
    """The text's words, numbers, names and comparisons in lower case with single blanks; without any, the text."""
    return " ".join(_WORD.findall(text.casefold())) or text.strip()
