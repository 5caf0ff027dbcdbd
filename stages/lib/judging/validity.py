"""Does a judge see anything? True items against items that are made wrong on purpose, and the AUC between them.

Five ways to make an item wrong, each aimed at a criterion:

- `random_chunk` (groundedness): the question and answer with a chunk of another document, or, where all questions are
  of one document, with another chunk of it that does not hold the answer;
- `wrong_answer` (groundedness): the answer is another sentence of the same chunk;
- `altered_answer` (groundedness): a number or a name of the answer is changed for another one of the chunk;
- `random_question` (relevance): the question of another document (of one alone: another question) put to this answer;
- `vague_question` (relevance, standalone): the names in the question are replaced by "it".

A kind that an item does not allow is left out for it: a document of one chunk has no other one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from stages.lib.english.facts import pick_facts, readable, sentences
from stages.lib.english.words import content_words
from stages.lib.judging.altered import altered_answers

BOOTSTRAP_SAMPLES = 2000
_NAME = re.compile(
    r"\b[\w\-]+'s? [\w.]+|`[^`]+`|\"[^\"]+\"|'[^' ]+'|\b\w+[._]\w[\w.]*|"
    r"\b[A-Za-z]+[a-z]+[A-Z]\w*|\b[A-Z]{2,}\w*|\b[A-Za-z]+\d\w*|(?<=[a-z,] )[A-Z]\w+"
)


@dataclass(frozen=True, kw_only=True)
class JudgedItem:
    """What is judged."""

    question: str
    answer: str
    context: str  # the chunk's text, what is told of the chunk before it
    document: str  # id of the chunk's document
    told: str = ""  # how the context begins where something is told of the chunk: no fact of its text


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Item number `index`, made wrong."""

    kind: str
    index: int
    item: JudgedItem


Criterion = Literal["groundedness", "relevance", "standalone"]
PROBES: dict[Criterion, tuple[str, ...]] = {
    "groundedness": ("random_chunk", "wrong_answer", "altered_answer"),
    "relevance": ("random_question", "vague_question"),
    "standalone": ("vague_question",),
}


def make_probes(items: Sequence[JudgedItem], pairs: int, seed: int, chunks: Sequence[str] = ()) -> list[Probe]:
    """At most `pairs` probes of each kind, drawn with a seed; kinds that an item does not allow are left out.

    `chunks`: texts of the documents' chunks, of which wrong ones are drawn where all items are of one document.
    """
    several = len({item.document for item in items}) > 1
    random = np.random.default_rng(seed)
    probes = []
    for index in sorted(int(i) for i in random.permutation(len(items))[:pairs]):
        item = items[index]
        if several:
            others = [other for other in items if other.document != item.document]
            chunk, question = (others[int(i)] for i in random.integers(len(others), size=2))
            contexts, questions = [chunk.context], [question.question]
        else:
            contexts = _drawn([text for text in chunks if text != item.context and not _holds(text, item)], random)
            questions = _drawn([other.question for other in items if _asks_else(other, item)], random)
        probes += [Probe(kind="random_chunk", index=index, item=replace(item, context=text)) for text in contexts]
        probes += [Probe(kind="random_question", index=index, item=replace(item, question=text)) for text in questions]
        wrong = wrong_answers(item)
        if wrong:
            answer = wrong[int(random.integers(len(wrong)))]
            probes.append(Probe(kind="wrong_answer", index=index, item=replace(item, answer=answer)))
        if altered := altered_answers(item.answer, item.question, item.context.removeprefix(item.told)):
            answer = altered[int(random.integers(len(altered)))]
            probes.append(Probe(kind="altered_answer", index=index, item=replace(item, answer=answer)))
        if (vague := vague_question(item.question)) != item.question:
            probes.append(Probe(kind="vague_question", index=index, item=replace(item, question=vague)))
    return probes


def thin_kinds(probes: Sequence[Probe], wanted: int) -> dict[str, int]:
    """Kind -> how many probes there are, where there are fewer than wanted."""
    kinds = sorted({kind for kinds in PROBES.values() for kind in kinds})
    counts = {kind: sum(probe.kind == kind for probe in probes) for kind in kinds}
    return {kind: count for kind, count in counts.items() if count < wanted}


def _drawn(texts: Sequence[str], random: np.random.Generator) -> list[str]:
    return [texts[int(random.integers(len(texts)))]] if texts else []


def _holds(text: str, item: JudgedItem) -> bool:
    """Whether a text may answer the item's question too: overlapping chunks share their ends."""
    words = content_words(item.answer)
    return item.answer.casefold() in text.casefold() or bool(words and words <= content_words(text))


def _asks_else(other: JudgedItem, item: JudgedItem) -> bool:
    return other.question != item.question and other.answer.casefold() != item.answer.casefold()


def wrong_answers(item: JudgedItem) -> list[str]:
    """Other facts of the chunk (other sentences, if it has none) that share less than half of the answer's words."""
    answer = content_words(item.answer)
    chunk = item.context.removeprefix(item.told)
    facts = [fact.text for fact in pick_facts(chunk, limit=100)]
    pieces = [readable(chunk[start:end]) for start, end in sentences(chunk)]
    for candidates in (facts, pieces):
        wrong = [
            text
            for text in candidates
            if 20 <= len(text) <= 300 and len(answer & content_words(text)) < len(answer | content_words(text)) / 2
        ]
        if wrong:
            return wrong
    return []


def vague_question(question: str) -> str:
    """The question with its names (code, capitals, quoted words) replaced by "it"; the first word stays."""
    first, blank, rest = question.partition(" ")
    return first + re.sub(r"(\bit\b\s*)+(?=\bit\b)", "", _NAME.sub("it", blank + rest))


def auc_report(true: Sequence[float], wrong: Sequence[float], seed: int) -> dict[str, Any]:
    """AUC, the probability that a true item scores above a wrong one, with its 95% bootstrap interval.

    Ties count half. `pairs` is the smaller of the two numbers of items.
    """
    if not true or not wrong:
        return {"auc": None, "low": None, "high": None, "pairs": 0}
    from sklearn.metrics import roc_auc_score  # a second to import

    n, m = len(true), len(wrong)
    area = roc_auc_score(np.repeat([True, False], [n, m]), np.array([*true, *wrong], dtype=np.float64))
    area = round(area * 2 * n * m) / (2 * n * m)  # half-won pairs in all: without the rounding errors of its sum
    low, high = np.quantile(_resampled_aucs(true, wrong, seed), (0.025, 0.975))
    return {"auc": float(area), "low": float(low), "high": float(high), "pairs": min(n, m)}


def _resampled_aucs(true: Sequence[float], wrong: Sequence[float], seed: int) -> np.ndarray:
    """(BOOTSTRAP_SAMPLES,): the AUC of each resample.

    All at once, from one matrix of who wins: scikit-learn takes 1 ms each, 2 s for what takes 2 ms here.
    """
    a, b = np.asarray(true, dtype=np.float64)[:, None], np.asarray(wrong, dtype=np.float64)[None, :]
    wins = np.asarray((a > b) + 0.5 * (a == b))  # (n, m)
    n, m = wins.shape
    random = np.random.default_rng(seed)
    rows = random.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAP_SAMPLES)  # how often each true item is drawn
    columns = random.multinomial(m, np.full(m, 1 / m), size=BOOTSTRAP_SAMPLES)
    return np.asarray(np.einsum("bi,ij,bj->b", rows, wins, columns, optimize=True) / (n * m))
