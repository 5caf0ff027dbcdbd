"""Which chunks count as right."""

import pytest

from stages.lib.core.records import Record
from stages.lib.ranking.qrels import relevant_chunks, same_words_groups

# Document d: three chunks of 10 characters that overlap by 4; document e: one chunk.
RECORDS: list[Record] = [
    {"id": "d-0", "document": "d", "start": 0, "end": 10, "text": "The first."},
    {"id": "d-6", "document": "d", "start": 6, "end": 16, "text": "thirty day"},
    {"id": "d-12", "document": "d", "start": 12, "end": 22, "text": "ninety day"},
    {"id": "e-0", "document": "e", "start": 0, "end": 22, "text": "## *Thirty*   `day`..."},
]
CHUNKS = {chunk["id"]: chunk for chunk in RECORDS}
ALL = frozenset(CHUNKS)


def question(chunk: str, support: tuple[int, int] | None, name: str = "q") -> Record:
    span = None if support is None else {"start": support[0], "end": support[1]}
    return {"id": name, "chunk": chunk, "question": "?", "support": span}


def test_own_chunk_and_neighbours_that_hold_the_whole_support() -> None:
    inside_overlap = question("d-0", (6, 10))
    one_too_early = question("d-0", (5, 10), name="r")
    unknown = question("d-0", None, name="s")
    found = relevant_chunks([inside_overlap, one_too_early, unknown], CHUNKS, {}, ALL, count_overlaps=True)
    assert found.qrels == {"q": {"d-0": 1, "d-6": 1}, "r": {"d-0": 1}, "s": {"d-0": 1}}
    assert found.origins == {"own_chunk": 3, "overlapping": 1, "same_words": 0}
    assert found.without_support == 1
    without = relevant_chunks([inside_overlap], CHUNKS, {}, ALL, count_overlaps=False)
    assert without.qrels == {"q": {"d-0": 1}}


def test_a_support_is_counted_from_its_chunk() -> None:
    found = relevant_chunks([question("d-6", (6, 10))], CHUNKS, {}, ALL, count_overlaps=True)
    assert found.qrels == {"q": {"d-6": 1, "d-12": 1}}  # characters 12..16 of the document


def test_a_support_in_a_chunk_with_its_tables_header_is_counted_from_behind_the_header() -> None:
    chunks = {
        "t-0": {"id": "t-0", "document": "t", "start": 0, "end": 30, "header": None},  # header at 4..10
        "t-24": {"id": "t-24", "document": "t", "start": 24, "end": 40, "header": [4, 10]},
    }
    row, header, below = question("t-24", (6, 12)), question("t-24", (1, 5), "r"), question("t-24", (10, 14), "s")
    found = relevant_chunks([row, header, below], chunks, {}, frozenset(chunks), count_overlaps=True)
    both = {"t-24": 1, "t-0": 1}
    assert found.qrels == {"q": both, "r": both, "s": {"t-24": 1}}  # characters 24..30, 5..9 and 28..32
    with pytest.raises(ValueError, match=r"its support .* lies outside its chunk"):
        relevant_chunks([question("t-24", (20, 23))], chunks, {}, frozenset(chunks), count_overlaps=True)


def test_the_same_words_count_in_both_directions_and_for_neighbours_too() -> None:
    groups = same_words_groups(RECORDS)
    assert groups == {"d-6": ("d-6", "e-0"), "e-0": ("d-6", "e-0")}
    kept, removed, neighbour = question("d-6", None), question("e-0", None, "r"), question("d-0", (7, 9), "s")
    found = relevant_chunks([kept, removed, neighbour], CHUNKS, groups, ALL, count_overlaps=True)
    assert found.qrels == {
        "q": {"d-6": 1, "e-0": 1},
        "r": {"e-0": 1, "d-6": 1},
        "s": {"d-0": 1, "d-6": 1, "e-0": 1},
    }
    assert sum(found.origins.values()) == sum(map(len, found.qrels.values()))


def test_only_what_was_embedded_counts() -> None:
    groups = same_words_groups(RECORDS)
    found = relevant_chunks([question("e-0", None)], CHUNKS, groups, {"d-6"}, count_overlaps=True)
    assert found.qrels == {"q": {"d-6": 1}}
    assert found.origins == {"own_chunk": 0, "overlapping": 0, "same_words": 1}
    with pytest.raises(ValueError, match=r"'q': none of \['d-0'\] is in the embedded corpus"):
        relevant_chunks([question("d-0", None)], CHUNKS, groups, {"d-6"}, count_overlaps=True)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "qa_selected.jsonl is empty"),
        ([question("d-0", None), question("d-6", None)], "'q' stands twice"),
        ([question("x-0", None)], "is about chunk 'x-0': not in data/chunks/chunks.jsonl"),
        ([question("d-6", (4, 11))], "lies outside its chunk"),
        ([question("d-6", (4, 4))], "lies outside its chunk"),
    ],
)
def test_what_cannot_be_judged_is_an_error(questions: list[Record], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relevant_chunks(questions, CHUNKS, {}, ALL, count_overlaps=True)
