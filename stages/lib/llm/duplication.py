"""Do two texts say the same? Asked of a language model, or measured by its likelihoods.

`rating` asks document_duplication_critique_prompt and reads a yes or no. `likelihood`, for models
too small to answer, measures how much one text tells of the other: the gain
1 - log p(b | a) / log p(b), 0 where a tells nothing of b and near 1 where b follows from a. It is
taken in both directions and the smaller one counts, so that a text which merely contains the other
is no duplicate of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from stages.lib.llm.protocol import GenerateRequest, LanguageModel, Prompt, Reply, Sampling, ScoreRequest
from stages.lib.params import fill

PROMPT = "document_duplication_critique_prompt"
SCHEMA = {
    "type": "object",
    "properties": {"rationale": {"type": "string", "maxLength": 600}, "duplicate": {"type": "boolean"}},
    "required": ["rationale", "duplicate"],
    "additionalProperties": False,
}
ALONE = "Document:\n"
AFTER = "Document:\n{first}\n\nThe same document once more:\n"
GAIN_DECIMALS = 4


@dataclass(frozen=True)
class Verdict:
    """What the model said of a pair."""

    duplicate: bool | None  # None: no verdict could be read
    why: str  # its rationale, the measured gain, or what failed


def judge_pairs(
    pairs: Sequence[tuple[str, str]],
    model: LanguageModel,
    *,
    prompt: str,
    max_tokens: int,
    likelihood_gain: float,
    progress: str | None = None,
) -> list[Verdict]:
    """A verdict for each pair of texts, by the method of the model's entry (`judge_method`).

    Args:
        pairs: the texts of each pair.
        model: who is asked.
        prompt: the document_duplication_critique_prompt, with {first_document} and {second_document}.
        max_tokens: of a reply (rating).
        likelihood_gain: from which gain on a pair counts as duplicates, 0..1 (likelihood).
        progress: title of the progress bar.
    """
    if model.entry.judge_method == "likelihood":
        gains = likelihood_gains(pairs, model, progress)
        return [Verdict(gain >= likelihood_gain, f"likelihood gain {gain:.4f}") for gain in gains]
    requests = [
        GenerateRequest(
            prompt=Prompt(text=fill(prompt, first_document=first, second_document=second)),
            sampling=Sampling(max_tokens=max_tokens),
            schema=SCHEMA,
        )
        for first, second in pairs
    ]
    return [read_verdict(reply) for reply in model.generate(requests, progress=progress)]


def read_verdict(reply: Reply) -> Verdict:
    """The verdict in a JSON reply, with or without text around it."""
    if reply.finish_reason == "error":
        return Verdict(None, reply.error)
    start, end = reply.text.find("{"), reply.text.rfind("}")
    try:
        content = json.loads(reply.text[start : end + 1]) if start >= 0 else None
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("duplicate"), bool):
        return Verdict(None, f"unparsable reply: {reply.text[:200]!r}")
    return Verdict(content["duplicate"], str(content.get("rationale", "")))


def likelihood_gains(
    pairs: Sequence[tuple[str, str]], model: LanguageModel, progress: str | None = None
) -> list[float]:
    """The smaller of the two directions' gains of each pair."""
    requests = []
    for one, other in pairs:
        for first, second in ((one, other), (other, one)):
            requests.append(_request(fill(AFTER, first=first), second))
            requests.append(_request(ALONE, second))
    totals = [score.logprobs[0] for score in model.score(requests, progress=progress)]
    gains = [1 - after / alone for after, alone in zip(totals[::2], totals[1::2], strict=True)]
    return [round(min(pair), GAIN_DECIMALS) for pair in zip(gains[::2], gains[1::2], strict=True)]


def _request(prompt: str, text: str) -> ScoreRequest:
    return ScoreRequest(prompt=Prompt(text=prompt, chat=False), choices=(text,))
