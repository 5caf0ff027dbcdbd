"""Real questions and answers on real text: what the agreement of two engines is measured on."""

from dataclasses import dataclass

from stages.lib.core.params import fill
from stages.lib.llm.protocol import Prompt, ScoreRequest
from stages.lib.qa.candidates import Candidate, candidates
from stages.lib.reading.documents import Document
from stages.lib.reading.packages import PackagesSource, read_packages

PACKAGE = "huggingface-hub"  # its docstrings; installed in both environments, and pinned
CHUNK_CHARS = 700
PROMPT = "Documentation: {context}\n\nQuestion: {question}\nAnswer:"
LIMIT = 10**6  # characters of a document


@dataclass(frozen=True)
class AskedText:
    """A text, a question on it by the rules of qa_strategy fact_first, and its answer."""

    text: str
    question: str
    answer: str


def asked_texts(count: int) -> list[AskedText]:
    """The first texts of PACKAGE that a question can be asked about, one each, no text and no answer twice."""
    source = PackagesSource(kind="packages", names=[PACKAGE])
    found: dict[str, AskedText] = {}
    for item in read_packages(source, LIMIT, lambda _: None):
        if not isinstance(item, Document):
            continue
        text = item.text[:CHUNK_CHARS]
        for one in candidates([{"source": item.source, "start": 0, "text": text}], 1)[0]:
            found.setdefault(one.fact.text, AskedText(text, one.question or _question(one), one.fact.text))
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"{PACKAGE} has texts for {len(found)} questions, not for {count}")


def _question(one: Candidate) -> str:
    return f"{one.opening.text} {one.fact.text.rstrip('.')}?"


def score_requests(count: int) -> list[ScoreRequest]:
    """An answer behind a text and a question, by turns the right one and that of another text."""
    asked = asked_texts(count)
    return [
        ScoreRequest(
            prompt=Prompt(text=fill(PROMPT, context=one.text, question=one.question), chat=False),
            choices=(f" {(one if i % 2 else asked[i - 1]).answer}",),
        )
        for i, one in enumerate(asked)
    ]
