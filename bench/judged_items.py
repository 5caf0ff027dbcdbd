"""The items of `bench.judging`: right answers and wrong ones, on people's questions and on our own.

People's: XQuAD's English questions (../shared/data/xquad_en_beir, 120 passages of 24 articles). The answer is
a few words of the passage. It is judged as it stands ("span") and as the sentence that holds it ("sentence").
In their own words: PubMedQA's 500 questions (../shared/data/pubmedqa), each answered by its abstract's conclusion on
the abstract without it. QASA's half that is there has evidence for one question of 116, and SciDQA no passages.
Our own: the questions of the default graph (data/qa), whose answers are sentences of their chunks.

Wrong is what each kind says, always about the same question and chunk:

- `sentence`: another sentence of the chunk, as the judge's own probe `wrong_answer`;
- `like_form`: for a span what answers another question about the passage, of the same shape (number, name, other)
  where there is one; for a sentence the same sentence with a number or a name changed for another of the chunk;
- `elsewhere`: for own words alone, the conclusion of another abstract.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stages.lib.core.records import read_json_object, read_jsonl
from stages.lib.judging.altered import altered_answers
from stages.lib.judging.validity import JudgedItem, wrong_answers
from stages.lib.passages.sentences import sentences

KINDS = ("sentence", "like_form", "elsewhere")
OWN_WORDS = "people's, own words"
_SUBJECTS = " Medical Subject Headings"  # what a conclusion may end with


@dataclass(frozen=True)
class Case:
    """A right item, and what is wrong of it by kind."""

    item: JudgedItem
    wrong: dict[str, JudgedItem]


def human_cases(folder: Path, per_passage: int, seed: int) -> dict[str, list[Case]]:
    """XQuAD's cases, answered by spans and by sentences; at most `per_passage` questions of a passage."""
    texts = {record["_id"]: record for record in read_jsonl(folder / "corpus.jsonl")}
    lines = (folder / "qrels/test.tsv").read_text().splitlines()[1:]
    place = dict(line.split("\t")[:2] for line in lines)
    by_passage: dict[str, list[tuple[str, str]]] = {}
    for query in read_jsonl(folder / "queries.jsonl"):
        by_passage.setdefault(place[query["_id"]], []).append((query["text"], query["answers"][0]))
    random = np.random.default_rng(seed)
    spans, whole = [], []
    for passage, asked in by_passage.items():
        text = texts[passage]["text"]
        for i in sorted(random.permutation(len(asked))[:per_passage].tolist()):
            question, answer = asked[i]
            item = JudgedItem(question=question, answer=answer, context=text, document=texts[passage]["title"])
            others = [other for _, other in asked if not _meet(other, answer)]
            alike = [other for other in others if shape(other) == shape(answer)] or others
            spans.append(_case(item, alike, random))
            if len(holding := [text[a:b] for a, b in sentences(text) if answer in text[a:b]]) == 1:
                sentence = replace(item, answer=holding[0])
                whole.append(_case(sentence, altered_answers(sentence.answer, question, text), random))
    return {"people's, spans": spans, "people's, sentences": whole}


def paper_cases(file: Path, seed: int) -> dict[str, list[Case]]:
    """PubMedQA's cases, of its records in QASA's schema."""
    random = np.random.default_rng(seed)
    items = [
        JudgedItem(
            question=record["question"],
            answer=record["composition"].split(_SUBJECTS)[0],
            context="\n\n".join(passage["context"] for passage in record["evidential_info"]),
            document=record["paper_id"],
        )
        for record in read_json_object(file).values()
    ]
    found = []
    for i, item in enumerate(items):
        case = _case(item, altered_answers(item.answer, item.question, item.context), random)
        other = items[(i + int(random.integers(1, len(items)))) % len(items)]
        case.wrong["elsewhere"] = replace(item, answer=other.answer)
        found.append(case)
    return {OWN_WORDS: found}


def own_cases(questions: Path, chunks: Path, seed: int) -> list[Case]:
    """The default graph's questions."""
    texts = {chunk["id"]: chunk for chunk in read_jsonl(chunks)}
    random = np.random.default_rng(seed)
    found = []
    for record in read_jsonl(questions):
        chunk = texts[record["chunk"]]
        item = JudgedItem(
            question=record["question"], answer=record["answer"], context=chunk["text"], document=chunk["document"]
        )
        found.append(_case(item, altered_answers(item.answer, item.question, item.context), random))
    return found


def halves(cases: Sequence[Case], seed: int) -> list[list[Case]]:
    """Two halves of the documents, not of the cases."""
    documents = sorted({case.item.document for case in cases})
    random = np.random.default_rng(seed)
    first = {documents[i] for i in random.permutation(len(documents))[: len(documents) // 2]}
    return [[case for case in cases if (case.item.document in first) == chosen] for chosen in (True, False)]


def shape(answer: str) -> str:
    """number, name or other."""
    if re.search(r"\d", answer):
        return "number"
    return "name" if answer[:1].isupper() else "other"


def _meet(one: str, other: str) -> bool:
    return one.casefold() in other.casefold() or other.casefold() in one.casefold()


def _case(item: JudgedItem, alike: Sequence[str], random: np.random.Generator) -> Case:
    wrong = {}
    for kind, made in (("sentence", wrong_answers(item)), ("like_form", alike)):
        answers = [text for text in made if item.answer not in text]
        if answers:
            wrong[kind] = replace(item, answer=answers[int(random.integers(len(answers)))])
    return Case(item, wrong)
