"""The questions of `bench.chat`: what they ask of the PDFs in ../shared/data/pdf, and where the answer stands.

`chat_questions.jsonl` holds one question a line. The text of the PDFs is not ours to publish, so a gold span is given
by the indices of its words in PyMuPDF's `page.get_text("words")` (its default order, not sorted).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stages.lib.core.params import from_mapping
from stages.lib.core.records import read_jsonl

QUESTIONS = Path(__file__).with_suffix(".jsonl")
Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1 in points, y downwards, as PyMuPDF has them
Run = tuple[int, int]  # words a..b-1 of a page


@dataclass(frozen=True, kw_only=True)
class Place:
    """Words of one page that answer a question."""

    page: int  # 1-based, the physical page
    words: tuple[int, ...] | tuple[tuple[int, ...], ...]  # [a, b], or several when other words stand between them

    def __post_init__(self) -> None:
        if self.page < 1:
            raise ValueError(f"page must be >= 1, found {self.page}")
        runs = [self.words] if self.words and isinstance(self.words[0], int) else self.words
        if not runs or any(not isinstance(run, tuple) or len(run) != 2 for run in runs):
            raise ValueError(f"words must be [a, b] or [[a, b], ...], found {self.words!r}")
        end = 0
        for start, stop in self.runs:
            if not end <= start < stop:
                raise ValueError(f"words must rise, each b above its a and b exclusive, found {self.words!r}")
            end = stop

    @property
    def runs(self) -> tuple[Run, ...]:
        """The words as a tuple of (a, b), b exclusive."""
        pairs: Any = (self.words,) if isinstance(self.words[0], int) else self.words
        return tuple((start, stop) for start, stop in pairs)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One line of the file: the keys are the fields."""

    id: str
    set: Literal["test", "dev"]  # dev is for calibration
    file: str  # the name of the PDF
    question: str
    answerable: bool
    language: Literal["en", "de"] = "en"
    # answerable
    kind: Literal["number", "name", "what", "why", "how", "comparison", "definition"] | None = None
    page: int | None = None
    words: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None  # the smallest run that answers
    answer: str | None = None  # short, not in the document's words
    also: tuple[Place, ...] = ()  # where else the same fact stands
    # not answerable
    why: Literal["off_topic", "near_miss"] | None = None  # near_miss: on the document's topic, but not told by it

    def __post_init__(self) -> None:
        for name in ("id", "file", "question"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} is empty")
        if Path(self.file).name != self.file or Path(self.file).suffix != ".pdf":
            raise ValueError(f"file must be a PDF's name without a folder, found {self.file!r}")
        needed = ("kind", "page", "words", "answer") if self.answerable else ("why",)
        excluded = ("why",) if self.answerable else ("kind", "page", "words", "answer", "also")
        word = "answerable" if self.answerable else "unanswerable"
        if absent := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"an {word} question needs {', '.join(absent)}")
        if present := [name for name in excluded if getattr(self, name)]:
            raise ValueError(f"an {word} question has no {', '.join(present)}")
        _ = self.places  # checks page and words

    @property
    def places(self) -> tuple[Place, ...]:
        """All places that answer, the main one first; none for an unanswerable question."""
        if self.page is None or self.words is None:
            return ()
        return (Place(page=self.page, words=self.words), *self.also)


def load_questions(path: Path = QUESTIONS) -> list[Question]:
    """Reads and checks the questions, in the file's order.

    Raises:
        ValueError: names file:line and key of what is unknown, missing, of the wrong type, out of range or there twice.
    """
    records = read_jsonl(path)
    numbers = [number for number, line in enumerate(path.read_bytes().split(b"\n"), start=1) if line.strip()]
    found: dict[str, Question] = {}
    texts: dict[tuple[str, str], str] = {}  # (file, question) -> id
    for number, record in zip(numbers, records, strict=True):
        question = from_mapping(Question, record, f"{path}:{number}")
        if question.id in found:
            raise ValueError(f"{path}:{number}: id {question.id!r} is there twice")
        asked = (question.file, question.question.casefold())
        if asked in texts:
            raise ValueError(f"{path}:{number}: asks the same as {texts[asked]!r}")
        found[question.id] = question
        texts[asked] = question.id
    return list(found.values())


def gold_rectangles(pdf_page: Any, words: tuple[Run, ...]) -> list[Rectangle]:
    """The rectangles to highlight: one for each line (or table cell) that the words stand in, in their order.

    Args:
        pdf_page: a `pymupdf.Page`.
        words: a place's `runs`.

    Raises:
        ValueError: the page has fewer words.
    """
    boxes = pdf_page.get_text("words")  # (x0, y0, x1, y1, word, block, line, word of the line)
    rectangles: list[Rectangle] = []
    for start, stop in words:
        if stop > len(boxes):
            raise ValueError(f"words {start}..{stop}: page {pdf_page.number + 1} has {len(boxes)} words")
        line = None
        for x0, y0, x1, y1, _, *place, _ in boxes[start:stop]:
            if place == line:
                left, top, right, bottom = rectangles[-1]
                rectangles[-1] = (min(left, x0), min(top, y0), max(right, x1), max(bottom, y1))
            else:
                rectangles.append((x0, y0, x1, y1))
            line = place
    return rectangles
