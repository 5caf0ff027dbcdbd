"""Whether questions with false premises can be told from those with true ones without reading the text.

A classifier sees the question alone: its words, its first words, the forms of its numbers. What it cannot tell, a model
that is trained on the questions cannot learn to tell either, but by reading. Measured by cross-validation over
documents, so that nothing of a document is known from its other questions. Pairs stay together, too: with a false
premise in a fold and its true one outside, what is balanced over all would be unbalanced, the other way round, in both.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.lib.chats.qa_items import QAItem

FOLDS = 5
FEWEST = 20  # of each kind, below which nothing can be said
UNEVEN = 0.2  # share by which the kinds may differ in number
_WORD = re.compile(r"\d[\d.,]*\d|\d|\w+|[^\w\s]")


def question_features(question: str) -> Counter[str]:
    """Words, the first one to three, the last one, and the shapes of numbers: digits, last digit, roundness."""
    words = _WORD.findall(question.lower())
    found = Counter({f"word {word}": 1 for word in words})
    found |= Counter({f"first {' '.join(words[:count])}": 1 for count in (1, 2, 3)})
    for word in words:
        if word[0].isdigit():
            digits = re.sub(r"\D", "", word)
            found |= Counter(
                {f"shape {re.sub(r'[0-9]', '0', word)}": 1, f"last {digits[-1]}": 1, f"lead {digits[0]}": 1}
            )
            found |= Counter({"even": int(digits[-1] in "02468"), "round": int(digits[-1] == "0")})
    return found


def give_away(false: Sequence[QAItem], true: Sequence[QAItem]) -> dict[str, Any]:
    """How well the kinds are told apart by the questions.

    Returns `false`, `true` (how many), `auc` with its 95% interval `low`, `high` (0.5: not at all), and `accuracy`
    beside `majority`, that of always saying the commoner kind. With fewer than 20 of a kind, or documents for two
    folds, `auc` is None and `why` says so.
    """
    counts: dict[str, Any] = {"false": len(false), "true": len(true)}
    labels = np.array([1] * len(false) + [0] * len(true))
    asked = [*false, *true]
    groups = linked(asked)
    if len(set(groups)) < 2 * FOLDS:
        groups = [item.source for item in asked]
    if min(len(false), len(true)) < FEWEST:
        return counts | {"auc": None, "why": f"fewer than {FEWEST} of a kind"}
    if len(set(groups)) < 2 * FOLDS:
        return counts | {"auc": None, "why": f"fewer than {2 * FOLDS} documents"}
    scores, folds = _out_of_fold([item.question for item in asked], labels, groups)
    auc = _area(scores, labels, folds)
    low, high = _interval(auc, len(false), len(true))
    right = float(((scores > 0.5) == (labels == 1)).mean())
    majority = max(len(false), len(true)) / len(asked)
    return counts | {
        "auc": round(auc, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "accuracy": round(right, 3),
        "majority": round(majority, 3),
    }


def linked(items: Sequence[QAItem]) -> list[str]:
    """A name of each item's group: items of one document, or of one pair, and what these have in common, are one."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    for item in items:
        if item.pair:
            first, second = sorted((root(f"source {item.source}"), root(f"pair {item.pair}")))
            parents[second] = first
    return [root(f"source {item.source}") for item in items]


def warnings(measured: dict[str, Any]) -> list[str]:
    """What a reader of the run has to know of it, in sentences; none where nothing is wrong."""
    found = []
    false, true = measured["false"], measured["true"]
    if abs(false - true) > UNEVEN * max(false, true):
        found.append(
            f"warning: {false} questions with a false premise and {true} with a true one: the form of a question says "
            "which it is; set instruct.true_premise_share to instruct.false_premise_share, or give more documents"
        )
    if measured["auc"] is not None and measured["low"] > 0.5:
        found.append(
            f"warning: false premises are told from true ones by their questions alone: AUC {measured['auc']:.2f} "
            f"(95% {measured['low']:.2f} to {measured['high']:.2f}; 0.5 is chance), so correcting them can be learned "
            "without reading"
        )
    return found


def _out_of_fold(questions: Sequence[str], labels: Any, groups: Sequence[str]) -> tuple[Any, Any]:
    """Each question's probability of being false, by a classifier that saw none of its document; and its fold."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    features = DictVectorizer().fit_transform([dict(question_features(question)) for question in questions])
    scores, folds = np.zeros(len(labels)), np.zeros(len(labels), dtype=int)
    splitter = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=0)
    for fold, (train, test) in enumerate(splitter.split(features, labels, groups)):
        classifier = LogisticRegression(class_weight="balanced", solver="liblinear")
        classifier.fit(features[train], labels[train])
        scores[test], folds[test] = classifier.predict_proba(features[test])[:, 1], fold
    return scores, folds


def _area(scores: Any, labels: Any, folds: Any) -> float:
    """Area under the ROC curve over pairs of one fold: scores of different classifiers are not compared."""
    won = pairs = 0.0
    for fold in range(FOLDS):
        first, second = scores[(folds == fold) & (labels == 1)], scores[(folds == fold) & (labels == 0)]
        won += float((first[:, None] > second).sum() + (first[:, None] == second).sum() / 2)
        pairs += len(first) * len(second)
    return won / pairs if pairs else 0.5


def _interval(auc: float, first: int, second: int) -> tuple[float, float]:
    """95% interval of an area under the curve (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (first - 1) * (q1 - auc**2) + (second - 1) * (q2 - auc**2)) / (first * second)
    margin = 1.96 * math.sqrt(max(variance, 0.0))
    return max(0.0, auc - margin), min(1.0, auc + margin)
