"""Questions on what stands in a text's code and tables: what an example sets, loads, imports; a cell by row and column.

Their answers are values, word by word in the text, and a question that two values of the text would answer is none. It
names the example by the heading above it and by the document, since other examples set the same name to something else.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from stages.lib.code_settings.setting import Kind, Setting
from stages.lib.code_settings.settings import code_settings
from stages.lib.core.records import Record
from stages.lib.english.text_statements import statements
from stages.lib.english.words import normalised
from stages.lib.qa.questions import answer_fault
from stages.lib.qa.topics import topic_name, topic_phrase

WORTH: dict[Kind, float] = {
    "loaded": 1.2, "flag": 1.1, "entry": 1.1, "argument": 1.0, "variable": 1.0, "parameters": 0.9, "passed": 0.9,
    "default": 1.0, "base": 0.9, "imported": 0.8, "installed": 0.8,
    "shown": 0.9, "switch": 0.5,
}  # fmt: skip
CELL_WORTH = 1.1
MOST_ROW_WORDS, MOST_CELL_WORDS, MOST_TITLE_WORDS = 6, 25, 3
_WORDINGS: dict[Kind, str] = {
    "argument": "Which {name} is passed to {owner} in the example{place}?",
    "switch": "Is {name} True or False in the call of {owner}{place}?",
    "shown": "What {name} does the output of the example{place} show?",
    "loaded": "What does the example{place} {verb} with {owner}?",
    "passed": "What does the example{place} pass to {owner}?",
    "imported": "From which module does the example{place} import {name}?",
    "variable": "Which value does the example{place} give to {name}?",
    "base": "Which class does {name} inherit from in the example{place}?",
    "parameters": "Which parameters does the function {name} take in the example{place}?",
    "default": "What is the default value of {name} of the function {owner} in the example{place}?",
    "flag": "Which value does the command{owner}{place} give to --{name}?",
    "entry": "Which value does the configuration{place} give to {name}?",
    "installed": "Which packages does the command{place} install with {owner}?",
}
_OF_NUMBER = "What value does {name} have in the call of {owner}{place}?"
_NUMBER = re.compile(r"-?[\d.][\w.+-]*")
_LINK = re.compile(r"!?\[([^\]\[]*)\]\([^)\s]*\)")
_CODE = re.compile(r"[<>={}]|\]\(|path/")  # of a cell that no sentence would hold
_TELLS = re.compile(r"[^\W\d_]{2,}|\d")


class ExampleQuestion(NamedTuple):
    """A question with its mark, and its answer with its place in the text."""

    question: str
    answer: str
    start: int
    end: int
    worth: float


def example_questions(chunk: Record) -> list[ExampleQuestion]:
    """What a text's code and tables can be asked for, in reading order; none where nothing would name the example."""
    source, heading = str(chunk["source"]), _heading(chunk)
    topic = topic_phrase(source)
    if "topic" in chunk or not (topic or heading):
        return []
    preposition = "of" if "==" in source else "on"
    place = (f' under "{heading}"' if heading else "") + (f" {preposition} {topic}" if topic else "")
    found = [*_of_code(chunk["text"], place), *_of_tables(chunk["text"], place)]
    answers = defaultdict(set)
    for one in found:
        answers[one.question].add(one.answer)
    return [one for one in found if len(answers[one.question]) == 1 and answer_fault(one.question, one.answer) is None]


def _heading(chunk: Record) -> str:
    """The nearest heading above a text, where that says more than the document's name does."""
    heading = re.sub(r"[`*\"]|\s+$|^[^\w`]+", "", str(chunk.get("heading", "")).rpartition(" > ")[2])
    return "" if normalised(heading) == normalised(topic_name(str(chunk["source"]))[1]) else heading


def _of_code(text: str, place: str) -> Iterator[ExampleQuestion]:
    settings = code_settings(text)
    often = Counter(one.value for one in settings)
    for one in settings:
        rare = 0.1 * (often[one.value] == 1) + 0.1 * bool(re.search(r"\d\.\d|\de-?\d|[a-z]-|/|_", one.value))
        yield ExampleQuestion(_asked(one, place), one.value, one.start, one.end, round(WORTH[one.kind] + rare, 3))


def _asked(one: Setting, place: str) -> str:
    wording = _OF_NUMBER if one.kind == "argument" and _NUMBER.fullmatch(one.value) else _WORDINGS[one.kind]
    owner = f" for {one.owner}" if one.kind == "flag" and one.owner else one.owner
    verb = "read" if one.owner.rpartition(".")[2].startswith("read") else "load"
    return wording.format(name=one.name, owner=owner, place=place, verb=verb)


def _of_tables(text: str, place: str) -> Iterator[ExampleQuestion]:
    for row in statements(text):
        if len(row.cells) < 2:
            continue
        name = _plain(text[row.cells[0][0] : row.cells[0][1]])
        if _CODE.search(name) or len(name.split()) > MOST_ROW_WORDS or not re.search(r"[^\W\d_]{2,}", name):
            continue
        for start, end, title in row.cells[1:]:
            column, cell = _plain(title), _plain(text[start:end])
            told = _TELLS.search(cell) and not _CODE.search(cell) and len(cell.split()) <= MOST_CELL_WORDS
            if told and re.search(r"[^\W\d_]{2,}", column) and len(column.split()) <= MOST_TITLE_WORDS:
                asked = f'Which "{column}" does the table{place} give for {name}?'
                yield ExampleQuestion(asked, cell, start, end, CELL_WORTH)


def _plain(cell: str) -> str:
    """A cell's words: links and code marks gone."""
    return re.sub(r"\s+", " ", re.sub(r"[`*]", "", _LINK.sub(r"\1", cell))).strip()
