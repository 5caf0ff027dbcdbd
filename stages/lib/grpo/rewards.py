"""Rewards of `reasoning ##### answer` replies: plain functions of one sample and one reply, each in 0..1.

Format and length reward a reply's form. Overlap, similarity and grounding reward its content; they are 0 for a reply
out of format, which has no answer that could be compared, so that content cannot be had without form. A separator
that is quoted from the prompt's instruction ("..., then write #####, then the answer") is not a separator: a training
that was paid for it ended in repeating the instruction.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from stages.lib.answers.likeness import token_f1
from stages.lib.answers.reasoned_answers import SEPARATOR, joined, separated
from stages.lib.languages.words import LETTER, count_words, is_unspaced, one_form, segments

FREE_COVERAGE = 0.5  # share of the context's n-grams that a reasoning may repeat before it counts as copying
_SIGN = f"(?:{LETTER}|_)"
WORD = rf"{_SIGN}+(?:[.'-]{_SIGN}+)*"
NGRAM = 3  # words in a row: keywords without their grammar have few of the context's
_STOP_WORDS = """
    a about all am an and any are as at be been being both but by can could did do does each for from had has have
    having he her here his how i if in into is it its may me might more most must my no nor not of on only or other our
    over own same shall she should so some such than that the their them then there these they this those to too under
    very was we were what when where which who whom whose why will with would you your
"""
_STOPPED = frozenset(_STOP_WORDS.split())

Name = Literal["format", "overlap", "similarity", "grounded", "length"]
FORM: frozenset[Name] = frozenset({"format", "length"})  # the others reward content
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ReasoningSample:
    """What a reply is held against."""

    id: str
    question: str
    context: str
    reasoning: str  # of the reference
    answer: str  # of the reference
    instruction: str = ""  # of the prompt: what it says beside context and question

    @property
    def reference(self) -> str:
        """The honest reply: the reference in format."""
        return joined(self.reasoning, self.answer)


# Rewards of replies[i] to samples[i]: as many numbers, each in 0..1.
Reward = Callable[[Sequence[ReasoningSample], Sequence[str]], Sequence[float]]
Encoder = Callable[[Sequence[str]], Floats]  # texts to unit vectors, (texts, dimensions)


def lenient_answer(reply: str) -> str:
    """What of a reply may be meant as the answer: after the last separator, or all of it when there is none."""
    return reply.rpartition(SEPARATOR)[2].strip()


def parsed(sample: ReasoningSample, reply: str) -> tuple[str, str] | None:
    """Reasoning and answer of a reply in format; None when it is not, or when its separator is the instruction's."""
    quoted = _seams(sample.instruction)
    return None if quoted and quoted & _seams(reply) else separated(reply)


def format_reward(sample: ReasoningSample, reply: str) -> float:
    """1 for `reasoning ##### answer`, else 0."""
    return float(parsed(sample, reply) is not None)


def overlap_reward(sample: ReasoningSample, reply: str) -> float:
    """Token F1 of the answer against the reference's."""
    parts = parsed(sample, reply)
    return answer_f1(sample, parts[1]) if parts else 0.0


def answer_f1(sample: ReasoningSample, answer: str) -> float:
    """Token F1 of an answer and the reference's; 0 where the reference has no word (make_split drops such samples)."""
    return token_f1(answer, sample.answer) or 0.0


def grounded_reward(sample: ReasoningSample, reply: str) -> float:
    """How much of the reasoning is found in the context, less for repeating itself or most of the context.

    The share of the reasoning's n-grams (`NGRAM` words in a row) that the context has, without those of the question,
    which prove nothing; times two guards. Repetition: the share of the reasoning's n-grams that are distinct.
    Copying: 1 while no more than `FREE_COVERAGE` of the context's n-grams are repeated, falling to 0 when all are.
    """
    parts = parsed(sample, reply)
    if not parts:
        return 0.0
    grams, source, asked = _ngrams(parts[0]), set(_ngrams(sample.context)), set(_ngrams(sample.question))
    own = [gram for gram in grams if gram not in asked]
    if not own or not source:
        return 0.0
    share = sum(gram in source for gram in own) / len(own)
    copying = min(1.0, (1 - len(source.intersection(grams)) / len(source)) / (1 - FREE_COVERAGE))
    return share * (len(set(grams)) / len(grams)) * copying


def length_reward(sample: ReasoningSample, reply: str, low: int, high: int) -> float:
    """1 for a reply of `low` to `high` words; below, its share of `low`; above, falling to 0 at twice `high`."""
    words = count_words(reply.replace(SEPARATOR, " "))
    if words < low:
        return words / low
    return max(0.0, 1 - max(0, words - high) / high)


@dataclass
class AnswerSimilarity:
    """Cosine of the answer's and the reference answer's embedding, not below 0."""

    encode: Encoder

    def __call__(self, samples: Sequence[ReasoningSample], replies: Sequence[str]) -> list[float]:
        """0 for replies out of format."""
        parts = [parsed(sample, reply) for sample, reply in zip(samples, replies, strict=True)]
        return self.answers(samples, [part[1] if part else "" for part in parts])

    def answers(self, samples: Sequence[ReasoningSample], answers: Sequence[str]) -> list[float]:
        """The same of answers that stand alone; 0 for an empty one."""
        texts = sorted({*answers, *(sample.answer for sample in samples)} - {""})
        if not texts:
            return [0.0] * len(answers)
        vectors = dict(zip(texts, self.encode(texts), strict=True))
        return [
            max(0.0, float(vectors[answer] @ vectors[sample.answer])) if answer and sample.answer else 0.0
            for sample, answer in zip(samples, answers, strict=True)
        ]


def build_rewards(weights: Mapping[Name, float], encode: Encoder, length_words: tuple[int, int]) -> dict[Name, Reward]:
    """The rewards with a weight above 0, by name."""
    low, high = length_words
    every: dict[Name, Reward] = {
        "format": _each(format_reward),
        "overlap": _each(overlap_reward),
        "similarity": AnswerSimilarity(encode),
        "grounded": _each(grounded_reward),
        "length": _each(partial(length_reward, low=low, high=high)),
    }
    return {name: every[name] for name in every if weights.get(name, 0.0) > 0}


def score(name: str, reward: Reward, samples: Sequence[ReasoningSample], replies: Sequence[str]) -> Floats:
    """The rewards of replies, checked.

    Raises:
        ValueError: a reward is NaN or infinite, or there are more or fewer of them than replies.
    """
    values = np.asarray(reward(samples, replies), dtype=np.float64)
    if values.shape != (len(replies),):
        raise ValueError(f"reward {name!r}: {values.shape} numbers for {len(replies)} replies")
    for value, sample, reply in zip(values, samples, replies, strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"reward {name!r} is {value} for sample {sample.id!r}, reply {reply[:200]!r}: a reward is a finite "
                f"number; correct it, or set grpo.reward_weights.{name} to 0"
            )
    return values


def total(scores: Mapping[Name, Floats], weights: Mapping[Name, float]) -> Floats:
    """The weighted sum that the training raises."""
    weighted: Floats = np.sum([weights[name] * values for name, values in scores.items()], axis=0, dtype=np.float64)
    return weighted


def unstopped_words(text: str) -> list[str]:
    """Lower-case words and numbers without the commonest English words."""
    return [word for word in _words(text) if word not in _STOPPED]


def _words(text: str, pattern: str = WORD) -> list[str]:
    found = re.findall(pattern, one_form(text))
    return [part for word in found for part in (segments(word) if is_unspaced(word) else [word])]


def _ngrams(text: str) -> list[tuple[str, ...]]:
    return _in_a_row(_words(text))


def _in_a_row(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)]


def _seams(text: str) -> set[tuple[str, ...]]:
    """The n-grams that have a separator among their words."""
    if SEPARATOR not in text:
        return set()
    return {gram for gram in _in_a_row(_words(text, f"{SEPARATOR}|{WORD}")) if SEPARATOR in gram}


def _each(reward: Callable[[ReasoningSample, str], float]) -> Reward:
    def batch(samples: Sequence[ReasoningSample], replies: Sequence[str]) -> list[float]:
        return [reward(sample, reply) for sample, reply in zip(samples, replies, strict=True)]

    return batch
