"""Whether a sentence says that the text does not tell what is asked: read, not looked up.

A logistic regression over the cores of sentences (absence.py), fitted at the first call (some seconds) from the
examples of refusal_examples.yaml, which are our own words in a dozen languages. Nothing is stored: whoever adds an
example has changed the reader. No model's weights are needed: so base, tuned and any other model are read alike.
`python -m bench.replies` measures it on phrasings and on texts that it was not made on.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stages.lib.reply_acts.absence import Features, cores
from stages.lib.statistics.drawing import fraction_of

EXAMPLES = Path(__file__).with_name("refusal_examples.yaml")
FILLED = 4  # sentences made of a phrasing with slots
_SLOT = re.compile(r"\{(\w+)\}")
_ROUNDS = 3  # of choosing the core that makes a refusal one
_REGULARISATION = 1.0  # C of scikit-learn's LogisticRegression


class Example(NamedTuple):
    """A sentence that a reader learns from."""

    text: str
    refuses: bool
    family: str  # of phrasings
    phrasing: str  # that its slots were filled of


def examples() -> list[Example]:
    """All sentences of refusal_examples.yaml, their slots filled by hash, each once."""
    parsed = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    found: dict[str, Example] = {}
    for refuses, families in ((True, parsed["refusals"]), (False, parsed["answers"])):
        for family, phrasings in families.items():
            for phrasing in phrasings:
                for text in _filled(phrasing, parsed["fillers"]):
                    found.setdefault(text, Example(text, refuses, family, phrasing))
    return list(found.values())


def _filled(phrasing: str, fillers: dict[str, list[str]]) -> Iterator[str]:
    for k in range(FILLED if _SLOT.search(phrasing) else 1):

        def chosen(match: re.Match[str], k: int = k) -> str:
            options = fillers[match[1]]
            return options[int(fraction_of("slot", f"{phrasing} {match.start()} {k}") * len(options))]

        yield _SLOT.sub(chosen, phrasing)


class RefusalReader:
    """Reads sentences; fitted on examples."""

    def __init__(self, learned: Sequence[Example]) -> None:
        """Fits.

        Of a refusal's cores the one that makes it a refusal is not marked: at first all are taken, then the one that
        reads most like a refusal (multiple-instance learning as in MI-SVM, Andrews et al. 2002). All cores of an answer
        are none.
        """
        from sklearn.feature_extraction import DictVectorizer  # a second to import
        from sklearn.linear_model import LogisticRegression

        found = [(core, i) for i, example in enumerate(learned) for core in cores(example.text)]
        self._columns: Any = DictVectorizer().fit([core for core, _ in found])
        rows = self._columns.transform([core for core, _ in found])
        refuses = [learned[i].refuses for _, i in found]
        kept = list(range(len(found)))
        for _ in range(_ROUNDS):
            self._model: Any = LogisticRegression(C=_REGULARISATION, class_weight="balanced", max_iter=3000)
            self._model.fit(rows[kept], [refuses[k] for k in kept])
            values = self._model.decision_function(rows)
            best: dict[int, int] = {}
            for k, (_, i) in enumerate(found):
                if i not in best or values[k] > values[best[i]]:
                    best[i] = k
            kept = [k for k, (_, i) in enumerate(found) if not refuses[k] or best[i] == k]

    def probability(self, sentence: str) -> float:
        """That the sentence says that something is not told, 0..1; 0 where it has no core."""
        found: list[Features] = cores(sentence)
        if not found:
            return 0.0
        return float(self._model.predict_proba(self._columns.transform(found))[:, 1].max())


@lru_cache(maxsize=1)
def reader() -> RefusalReader:
    """The reader of all examples, fitted once a process."""
    return RefusalReader(examples())
