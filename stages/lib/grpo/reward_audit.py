"""Whether rewards are worth raising, before a training raises them.

What a reward says of a base model's replies (mean, variance, rank correlation with the token F1 to the
reference), and what it gives to replies that nobody wants. Such a reply *tops* a reward when it scores
above the honest reference of the same sample on more than a tolerated share of samples, or no lower on average: the
training climbs whatever scores, so from there it would be drawn to the fraud and away from the reference. The
bar is the reference and not the base model's own replies, because a weak base scores below any text in the
right form, which says nothing of the reward. Where the fraud lies among the base's replies is reported beside it.
Form rewards (format, length) may be topped one by one, the total may not.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from stages.lib.answers.reasoned_answers import SEPARATOR, joined
from stages.lib.grpo.reasoning_prompts import PromptSplit
from stages.lib.grpo.rewards import (
    FORM,
    Floats,
    Name,
    ReasoningSample,
    Reward,
    answer_f1,
    lenient_answer,
    score,
    total,
    unstopped_words,
)

UPPER_QUANTILE = 0.95  # of the base's replies
TOTAL = "total"


def adversarial_replies(sample: ReasoningSample) -> dict[str, str]:
    """Replies without worth, by kind: bare, and in the format where the bare text would only fail the format."""
    keywords = " ".join(word for word, _ in Counter(unstopped_words(sample.context)).most_common(12))
    phrase = " ".join(sample.context.split()[:6])
    return {
        "empty": "",
        "separator_only": SEPARATOR,
        "question_copied": sample.question,
        "question_in_format": joined(sample.question, sample.question),
        "instruction_copied": sample.instruction,
        "instruction_in_format": joined(sample.question, sample.instruction.replace(SEPARATOR, "")),
        "context_copied": sample.context,
        "context_in_format": joined(sample.context, sample.context),
        "context_then_question": joined(sample.context, sample.question),
        "keyword_spam": keywords,
        "keywords_in_format": joined(keywords, keywords),
        "phrase_repeated": joined(" ".join([phrase] * 6), phrase),
    }


def audit_base(
    rewards: Mapping[Name, Reward],
    weights: Mapping[Name, float],
    asked: PromptSplit,
    replies: Sequence[str],
    *,
    references: Sequence[ReasoningSample],
    tolerance: float,
) -> dict[str, Any]:
    """`audit_rewards` of the base's replies to `asked`, as many to each prompt, checked.

    Args:
        rewards: those that are trained on.
        weights: of the total.
        asked: what the base is asked.
        replies: its replies, those to one prompt beside each other.
        references: whose honest replies the adversarial ones are held against, at least one.
        tolerance: see `check_audit`.

    Raises:
        ValueError: a reward is NaN, or topped by a worthless reply.
    """
    samples = [sample for sample in asked.samples for _ in range(len(replies) // len(asked.samples))]
    audit = audit_rewards(rewards, weights, samples, replies, references=references, tolerance=tolerance)
    check_audit(audit, tolerance)
    return audit


def audit_rewards(
    rewards: Mapping[Name, Reward],
    weights: Mapping[Name, float],
    samples: Sequence[ReasoningSample],
    replies: Sequence[str],
    *,
    references: Sequence[ReasoningSample],
    tolerance: float,
) -> dict[str, Any]:
    """What the rewards say of the base's replies (replies[i] to samples[i]), and of adversarial ones to `references`.

    Args:
        rewards: those that are trained on.
        weights: of the total.
        samples: one per reply; a sample may come several times.
        replies: the base model's.
        references: whose honest replies the adversarial ones are held against, at least one.
        tolerance: share of samples, 0..1, on which an adversarial reply may beat the reference.

    Returns:
        `base`: mean, variance and rank correlation by reward. `reference`: mean by reward. `adversarial`: by kind
        and reward the mean and `beats_reference`, and `above_base`: whether its mean total is above the base's upper
        quantile. `failures`: sentences, empty when the rewards pass.

    Raises:
        ValueError: a reward is NaN or infinite.
    """
    base = _scores(rewards, weights, samples, replies)
    honest = _scores(rewards, weights, references, [sample.reference for sample in references])
    f1 = np.array([answer_f1(s, lenient_answer(r)) for s, r in zip(samples, replies, strict=True)])
    high = float(np.quantile(base[TOTAL], UPPER_QUANTILE))
    kinds = [adversarial_replies(sample) for sample in references]
    adversarial: dict[str, Any] = {}
    failures = []
    for kind in kinds[0]:
        found = _scores(rewards, weights, references, [texts[kind] for texts in kinds])
        adversarial[kind] = {"above_base": bool(found[TOTAL].mean() > high)}
        for name, values in found.items():
            beats = float((values > honest[name] + 1e-9).mean())
            adversarial[kind][name] = {"mean": float(values.mean()), "beats_reference": beats}
            if name not in FORM and (beats > tolerance or values.mean() >= honest[name].mean() - 1e-9):
                failures.append(
                    f"reward {name!r} is topped by {kind!r}: mean {values.mean():.3f} against {honest[name].mean():.3f}"
                    f" of the reference, above it on {beats:.0%} of {len(references)} samples"
                )
    return {
        "references": len(references),
        "replies": len(replies),
        "base": {
            name: {
                "mean": float(values.mean()),
                "variance": float(values.var()),
                "rank_correlation_with_f1": _rank_correlation(values, f1),
            }
            for name, values in base.items()
        },
        "base_upper_quantile": high,
        "reference": {name: float(values.mean()) for name, values in honest.items()},
        "adversarial": adversarial,
        "failures": failures,
    }


def check_audit(audit: Mapping[str, Any], tolerance: float) -> None:
    """Raises `ValueError` that tells which reward is topped by what, and what to do about it."""
    if audit["failures"]:
        raise ValueError(
            "the reward audit failed: training would be drawn to replies without worth.\n  "
            + "\n  ".join(audit["failures"])
            + "\nLower that reward's weight or set it to 0 (grpo.reward_weights), raise those that the reply fails, or "
            "check the references: a content reward that gives them nothing cannot tell good from bad "
            f"(grpo.audit_tolerance is {tolerance:g})"
        )


def _scores(
    rewards: Mapping[Name, Reward],
    weights: Mapping[Name, float],
    samples: Sequence[ReasoningSample],
    replies: Sequence[str],
) -> dict[str, Floats]:
    each = {name: score(name, reward, samples, replies) for name, reward in rewards.items()}
    return {str(name): values for name, values in each.items()} | {TOTAL: total(each, weights)}


def _rank_correlation(values: Floats, f1: Floats) -> float | None:
    """Spearman's; None where one of both is constant and has no ranks."""
    if np.ptp(values) == 0 or np.ptp(f1) == 0:
        return None
    found = float(spearmanr(values, f1).statistic)
    return found if math.isfinite(found) else None
