"""What a training gained in form, in content and in the reward that it raised, measured apart.

A reply in format parses as `reasoning ##### answer`. Content is measured leniently: the answer is what follows
the last separator, or the whole reply when there is none, so that a base that answers well without the
separator is not called ignorant, and learning the separator alone gains nothing in content.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.lib.grpo.rewards import (
    AnswerSimilarity,
    Floats,
    Name,
    ReasoningSample,
    Reward,
    answer_f1,
    format_reward,
    lenient_answer,
    score,
    total,
)
from stages.lib.statistics.bootstrap import compare

FORM, CONTENT, REWARD = ("format",), ("answer_f1", "answer_similarity"), ("reward",)


def measure_replies(
    samples: Sequence[ReasoningSample],
    replies: Sequence[str],
    similarity: AnswerSimilarity,
    rewards: Mapping[Name, Reward],
    weights: Mapping[Name, float],
) -> dict[str, Floats]:
    """Format, answer F1, answer similarity and the reward in all of replies[i] to samples[i], each (Q,)."""
    pairs = list(zip(samples, replies, strict=True))
    answers = [lenient_answer(reply) for reply in replies]
    return {
        "format": np.array([format_reward(sample, reply) for sample, reply in pairs]),
        "answer_f1": np.array([answer_f1(s, a) for s, a in zip(samples, answers, strict=True)]),
        "answer_similarity": np.array(similarity.answers(samples, answers)),
        "reward": total({name: score(name, reward, samples, replies) for name, reward in rewards.items()}, weights),
    }


def gains(base: Mapping[str, Floats], tuned: Mapping[str, Floats], samples: int, seed: int) -> dict[str, Any]:
    """Base, tuned and the paired difference of each measure, with its 95% bootstrap interval and p."""
    names = list(base)
    differences = [compare(tuned[name][:, None], base[name], samples, seed) for name in names]
    return {
        name: {
            "base": float(base[name].mean()),
            "tuned": float(tuned[name].mean()),
            "gain": float(found.difference[0]),
            "low": float(found.low[0]),
            "high": float(found.high[0]),
            "p": float(found.p[0]),
        }
        for name, found in zip(names, differences, strict=True)
    }


def reply_rows(
    samples: Sequence[ReasoningSample],
    replies: Mapping[str, Sequence[str]],
    measures: Mapping[str, Mapping[str, Floats]],
) -> list[dict[str, Any]]:
    """A row a test question: what each system (base, tuned) replied, and what it was measured as."""
    rows = []
    for i, sample in enumerate(samples):
        row: dict[str, Any] = {"id": sample.id, "question": sample.question, "reference": sample.reference}
        row |= {system: found[i] for system, found in replies.items()}
        for system, found in measures.items():
            row |= {f"{system}_{name}": float(values[i]) for name, values in found.items()}
        rows.append(row)
    return rows


def gain_line(measures: Mapping[str, Any]) -> str:
    """One line for the terminal: each measure's base -> tuned with the interval of the difference."""
    return ", ".join(
        f"{name} {m['base']:.3f} -> {m['tuned']:.3f} ({m['gain']:+.3f}, 95% {m['low']:+.3f} to {m['high']:+.3f})"
        for name, m in measures.items()
    )
