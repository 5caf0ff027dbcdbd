"""How good answers are against their references: exact match, token F1, and where the answers are labels, accuracy.

Exact match and F1 are SQuAD's (Rajpurkar et al., arXiv:1606.05250): lower case, without punctuation and articles
(lib/answers/likeness.py says where it departs). Shares have Wilson's 95% interval, means a bootstrap one.
"""

import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from stages.lib.answers.likeness import squad_words, token_f1
from stages.lib.finetuning.answering import Answer
from stages.lib.instructions.examples import Example
from stages.lib.statistics.bootstrap import bootstrap_intervals

MOST_LABELS = 20
BOOTSTRAP_SAMPLES = 2000
NEITHER = "(neither)"  # an answer that is none of the labels


def score_all(
    asked: Sequence[Example], answers: Mapping[str, Sequence[Answer]], by_source: Sequence[Sequence[Example]]
) -> dict[str, Any]:
    """The scores of answers, by when they were given, to the examples `asked`: of all, and of sources with labels.

    `by_source`: all examples, of training too, by source: they tell whether a source's answers are labels.
    """
    references = [example.answer for example in asked]
    scores: dict[str, Any] = {"count": len(asked)}
    scores |= {when: score(given, references) for when, given in answers.items()}
    classified = {}
    for number, examples in enumerate(by_source):
        labels = label_set([example.answer for example in examples])
        digests = {example.digest for example in examples} if labels else set()
        places = [i for i, example in enumerate(asked) if example.digest in digests]
        if places:
            classified[f"sources[{number}]"] = {
                when: score_labels([given[i] for i in places], [references[i] for i in places], labels)
                for when, given in answers.items()
            }
    return scores | {"classified": classified}


def score(answers: Sequence[Answer], references: Sequence[str]) -> dict[str, Any]:
    """Exact match, mean token F1 and the share of answers that ended by themselves, each with its interval.

    F1 is of the references that hold a word (`scored`).
    """
    pairs = list(zip([answer.text for answer in answers], references, strict=True))
    found = [value for said, wanted in pairs if (value := token_f1(said, wanted)) is not None]
    f1: dict[str, Any] = {"scored": len(found)}
    if found:
        low, high = bootstrap_intervals(np.array(found)[:, None], BOOTSTRAP_SAMPLES, seed=0)
        f1 |= {"value": sum(found) / len(found), "low": float(low[0]), "high": float(high[0])}
    return {
        "exact_match": share(sum(is_exact(said, wanted) for said, wanted in pairs), len(pairs)),
        "token_f1": f1,
        "ended": share(sum(answer.ended for answer in answers), len(answers)),
    }


def is_exact(said: str, wanted: str) -> bool:
    """SQuAD's exact match; a reference without a word ("+", "-") has to be met as it stands."""
    words = squad_words(wanted)
    return squad_words(said) == words if words else said.strip() == wanted.strip()


def share(count: int, total: int) -> dict[str, float]:
    """count / total with Wilson's 95% interval; total >= 1."""
    interval = binomtest(count, total).proportion_ci(confidence_level=0.95, method="wilson")
    return {"value": count / total, "low": float(interval.low), "high": float(interval.high)}


def as_label(text: str) -> str:
    """An answer as labels are compared: without case, white space, and punctuation at the ends, if more is left."""
    bare = " ".join(text.casefold().split())
    return bare.strip(string.punctuation + " ") or bare


def label_set(references: Sequence[str]) -> list[str]:
    """The labels of a source whose answers are a small closed set, the most frequent first; empty: they are not.

    That is at most 20 different answers, each given twice or more on average.
    """
    counts = Counter(map(as_label, references))
    closed = 2 <= len(counts) <= MOST_LABELS and len(references) >= 2 * len(counts)
    return sorted(counts, key=lambda label: (-counts[label], label)) if closed else []


def score_labels(answers: Sequence[Answer], references: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy, precision, recall and F1 of each label, their mean F1 (macro), and who was taken for whom.

    `confusion` has a row a label that was right: label -> answered label, or `(neither)`, -> count. An answer that is
    no label is a miss of the right one and counts for no other. The mean is over labels that occur.
    """
    from sklearn.metrics import precision_recall_fscore_support  # a second to import

    wanted = [as_label(reference) for reference in references]
    said = [label if (label := as_label(answer.text)) in labels else NEITHER for answer in answers]
    given = {"labels": labels, "zero_division": 0.0}
    precision, recall, f1, support = precision_recall_fscore_support(wanted, said, **given)
    seen = [i for i, label in enumerate(labels) if support[i] or label in said]
    pairs = Counter(zip(wanted, said, strict=True))
    return {
        "accuracy": share(sum(a == b for a, b in zip(wanted, said, strict=True)), len(wanted)),
        "macro_f1": float(np.mean(f1[seen])),
        "labels": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "confusion": {label: {other: pairs[label, other] for other in (*labels, NEITHER)} for label in labels},
    }
