"""What is asked of the corpus, and the numbers that come of it, on three documents without a model."""

from dataclasses import replace
from typing import Any

import pytest

from stages.lib.answering.evidence import Evidence
from stages.lib.evaluation.comparison import compare_systems
from stages.lib.passages.paged_document import PageSpan
from stages.lib.passages.passages import Quote
from stages.lib.rag.corpus_index import Corpus, make_corpus
from stages.lib.rag.measures import (
    Found,
    area_under_curve,
    citation_rows,
    citation_table,
    floor_report,
    lets_through,
    not_scored,
    system_measures,
)
from stages.lib.rag.questions import Asked, asked_questions, questions_for_models
from stages.lib.retrieval.quote_ranking import Relevance

TEXTS = {"d0": "Alpha is one. Beta is two.", "d1": "Gamma is three. Delta is four.", "d2": "Alpha is one. Eta is six."}
CHUNKS: list[dict[str, Any]] = [
    {"id": f"{name}-{start}", "document": name, "start": start, "end": end, "text": TEXTS[name][start:end]}
    for name, start, end in [("d0", 0, 26), ("d0", 14, 26), ("d1", 0, 15), ("d1", 16, 30), ("d2", 0, 25)]
]
BY_ID = {chunk["id"]: chunk for chunk in CHUNKS}
GROUPS = {"d0-0": ("d0-0", "d2-0"), "d2-0": ("d0-0", "d2-0")}
SELECTED: list[dict[str, Any]] = [
    {"id": "g:d0-0", "chunk": "d0-0", "support": {"start": 14, "end": 26}},
    {"id": "g:d1-0", "chunk": "d1-0", "support": None},
]


def held_out(name: str, kind: str, of: str = "") -> dict[str, Any]:
    record = {"id": name, "kind": kind, "question": f"{name}?", "answer": f"answer of {name}"}
    return record | ({"question_of": of} if of else {})


RECORDS = [
    held_out("g:d0-0", "selected"),
    held_out("g:d1-0", "selected"),
    held_out("true", "true_premise", "g:d0-0"),
    held_out("false", "false_premise", "g:d1-0") | {"change": {"type": "number", "true": "three", "false": "9"}},
    held_out("paired", "unanswerable", "g:d0-0"),
    held_out("abstract", "abstract"),
]


@pytest.fixture(name="asked")
def all_asked() -> list[Asked]:
    return asked_questions(RECORDS, SELECTED, chunks=BY_ID, groups=GROUPS, off_topic=["Why?"])[0]


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus([{"id": name, "text": text} for name, text in TEXTS.items()], CHUNKS)


def quote(corpus: Corpus, name: str, words: str) -> Quote:
    document = next(one for one in corpus.documents if one.name == name)
    start = document.text.index(words)
    return Quote(document, PageSpan(1, start, start + len(words)))


def found(corpus: Corpus, *quotes: Quote, relevance: float = 0.6, passages: tuple[str, ...] = ()) -> Found:
    evidence = Evidence([], [], Relevance(relevance, 0.0, 0.0), relevance >= 0.5)
    cited = [corpus.quoted_chunks(one) for one in quotes]
    return Found(evidence=evidence, shown=list(quotes), cited=cited, passages=list(passages))


def test_questions_are_those_that_the_corpus_answers_and_those_that_it_surely_does_not(asked: list[Asked]) -> None:
    _, counts = asked_questions(RECORDS, SELECTED, chunks=BY_ID, groups=GROUPS, off_topic=["Why?"])
    assert counts == {"in": 6, "kept": 4, "dropped": {"corpus_may_answer": 1, "not_about_a_chunk": 1}}
    assert [(one.id, one.kind) for one in asked] == [
        ("g:d0-0", "answerable"),
        ("g:d1-0", "answerable"),
        ("true", "answerable"),
        ("false", "false_premise"),
        ("removed:g:d0-0", "removed"),
        ("removed:g:d1-0", "removed"),
        ("off_topic:0", "off_topic"),
    ]
    first, second, *_ = asked
    # Its own chunk, the overlapping one with the whole sentence, and the near-duplicate in another document.
    assert first.relevant == {"d0-0", "d0-14", "d2-0"} and first.support == ("d0", 14, 26)
    assert second.relevant == {"d1-0"} and second.support is None
    removed = {one.id: one for one in asked if one.kind == "removed"}
    assert removed["removed:g:d0-0"].without == {"d0", "d2"}
    assert removed["removed:g:d0-0"].question == first.question
    assert not removed["removed:g:d0-0"].answerable and not removed["removed:g:d0-0"].relevant


def test_models_are_asked_in_turn_of_kinds_and_not_where_the_floor_stops_the_question(asked: list[Asked]) -> None:
    above = [one.id != "removed:g:d1-0" and one.kind != "off_topic" for one in asked]
    every = [asked[i].id for i in questions_for_models(asked, above, 0, 0)]
    assert every == ["g:d0-0", "g:d1-0", "true", "false", "removed:g:d0-0"]
    three = questions_for_models(asked, above, 3, 0)
    assert [asked[i].kind for i in three] == ["answerable", "false_premise", "removed"]
    assert three == sorted(three)
    # An answerable question is asked whatever the floor says of it.
    assert len(questions_for_models(asked, [False] * len(asked), 0, 0)) == 4


def test_a_chunk_that_is_not_what_its_document_holds_is_named(corpus: Corpus) -> None:
    assert corpus.chunk_of(corpus.parts[0][1]) == "d0-14"
    with pytest.raises(ValueError, match="chunk 'd1-0' is not what document 'd1' holds there; run chunk again"):
        make_corpus([{"id": name, "text": text.lower()} for name, text in TEXTS.items()], CHUNKS[2:])


def test_a_citation_is_right_by_chunk_and_by_sentence(asked: list[Asked], corpus: Corpus) -> None:
    beta, alpha = quote(corpus, "d0", "Beta is two."), quote(corpus, "d0", "Alpha is one.")
    wrong, duplicate = quote(corpus, "d1", "Delta is four."), quote(corpus, "d2", "Alpha is one.")
    assert corpus.quoted_chunks(beta) == ["d0-0", "d0-14"]
    given = [
        found(corpus, wrong, beta, passages=("d1-16", "d0-14")),  # second citation right
        found(corpus, quote(corpus, "d1", "Gamma is three."), passages=("d1-0",)),
        found(corpus, duplicate, alpha, passages=("d2-0",)),  # right chunk, wrong sentence
        found(corpus),  # nothing shown
        *[found(corpus, wrong)] * 3,
    ]
    rows = citation_rows(asked, given)
    assert rows == {
        "found_chunk": [1, 1, 1, 0],
        "cited_chunk": [0, 1, 1, 0],
        "cited_chunk_any": [1, 1, 1, 0],
        "cited_support": [0, 0],
        "cited_support_any": [1, 0],
    }
    table = citation_table(rows, 200, 0)
    assert table["cited_chunk"]["value"] == 0.5
    assert 0 <= table["cited_chunk"]["low"] <= 0.5 <= table["cited_chunk"]["high"] <= 1


def test_systems_are_compared_by_answers_and_refusals(asked: list[Asked], corpus: Corpus) -> None:
    relevances = [0.6, 0.6, 0.4, 0.6, 0.6, 0.6, 0.4]  # the floor stops a right one and the one off topic
    given = [found(corpus, relevance=value) for value in relevances]
    refusal = "The text does not say why."
    said = {
        "base": ["answer of g:d0-0", "nothing", "x", "Yes.", "Surely.", "Surely.", "Surely."],
        "tuned": ["answer of g:d0-0", refusal, "answer of true", "No. It is three.", refusal, "x", "x"],
        "quotes": [refusal] * 7,  # a quote that says so refuses nothing
    }
    similar = {name: [0.5] * 7 for name in said}
    measures, absent = system_measures(asked, given, said, similar, ["base", "tuned"])
    assert absent == {}
    table = compare_systems(measures, 100, 0)
    tuned = {name: row["value"] for name, row in table["tuned"].items()}
    assert table["base"]["token_f1"]["value"] == pytest.approx(1 / 3)
    assert tuned["token_f1"] == pytest.approx(2 / 3)
    assert tuned["answered"] == pytest.approx(1 / 3)  # one refused by its words, one by the floor
    assert tuned["refusal_recall"] == pytest.approx(2 / 3)
    assert tuned["refusal_precision"] == pytest.approx(2 / 4)
    assert tuned["words_refusal_recall"] == pytest.approx(1 / 3)
    assert tuned["words_refusal_precision"] == pytest.approx(1 / 2)
    assert tuned["correction_rate"] == 1 and table["base"]["correction_rate"]["value"] == 0
    quotes = {name: row["value"] for name, row in table["quotes"].items()}
    assert quotes["refusal_recall"] == pytest.approx(1 / 3) and quotes["answered"] == pytest.approx(2 / 3)
    assert "words_refusal_recall" not in quotes and "correction_rate" not in quotes


def test_what_was_not_asked_is_absent_with_its_reason(asked: list[Asked], corpus: Corpus) -> None:
    answerable = [one for one in asked if one.kind == "answerable"]
    said = {"base": ["x"] * 3, "tuned": ["x"] * 3}
    given = [found(corpus)] * 3
    measures, absent = system_measures(answerable, given, said, {"base": [0.0] * 3, "tuned": [0.0] * 3}, ["base"])
    assert {measure.name for measure in measures} == {"token_f1", "embedding_similarity", "answered"}
    assert absent["refusal_recall"] == "no unanswerable question was asked"
    assert absent["refusal_precision"] == "the questions asked are all answerable or all unanswerable"


def test_a_reference_without_a_word_is_left_out_and_counted(asked: list[Asked], corpus: Corpus) -> None:
    answerable = [one for one in asked if one.kind == "answerable"]
    mute = [replace(answerable[0], reference="……"), *answerable[1:]]
    said = {"base": [one.reference for one in answerable]}
    measures, _ = system_measures(mute, [found(corpus)] * 3, said, {"base": [0.0] * 3}, ["base"])
    assert {measure.name: measure.parts["base"] for measure in measures}["token_f1"] == [1.0, 1.0]
    assert not_scored(mute) == {"token_f1": 1} and not_scored(answerable) == {}
    measures, absent = system_measures(mute[:1], [found(corpus)], {"base": ["x"]}, {"base": [0.0]}, ["base"])
    assert absent["token_f1"] == "no answerable, scorable question was asked"


def test_the_floor_is_told_by_kind(asked: list[Asked], corpus: Corpus) -> None:
    given = [found(corpus, relevance=value) for value in (0.8, 0.6, 0.45, 0.7, 0.7, 0.3, 0.1)]
    report = floor_report(asked, given, 0.5)
    assert report["answerable"]["let_through"] == pytest.approx(2 / 3)
    assert report["lets_90_percent_through"] == 0.45
    assert report["removed"]["let_through"] == 0.5
    assert report["removed"]["auc"] == pytest.approx(4 / 6)
    assert report["removed"]["declined_where_90_percent_pass"] == 0.5
    assert report["off_topic"]["auc"] == 1 and report["off_topic"]["declined_where_90_percent_pass"] == 1


def test_the_highest_floor_that_a_share_passes() -> None:
    values = [i / 10 for i in range(1, 11)]
    assert lets_through(values, 0.9) == 0.2
    assert lets_through(values, 1.0) == 0.1
    assert lets_through([0.5], 0.9) == 0.5
    assert area_under_curve([1, 2], [1, 0]) == pytest.approx(7 / 8)
