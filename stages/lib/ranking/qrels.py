"""Which chunks answer a question: its own, those of the same words, and overlapping neighbours that hold the support.

Chunks of the same words, equal but for case, markup, punctuation and white space, are equally right, and no others:
a chunk that dedup's judge removed as a near-duplicate may lack the very fact that is asked for.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from stages.lib.core.chunk_places import document_span, holds
from stages.lib.core.records import Record
from stages.lib.wording.form import form_digest


@dataclass(frozen=True, kw_only=True)
class Relevant:
    """Qrels over chunks, and where they come from (counts of chunks over all questions add up to the qrels)."""

    qrels: dict[str, dict[str, int]] = field(default_factory=dict)  # question id -> chunk id -> 1
    origins: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("own_chunk", "overlapping", "same_words"), 0)
    )
    without_support: int = 0  # questions whose supporting span is not known: no overlapping chunk can count


def same_words_groups(chunks: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Maps every chunk that shares its words with others to all of them, itself included, in order.

    Args:
        chunks: records with id and text.
    """
    by_words: dict[bytes, list[str]] = {}
    for chunk in chunks:
        by_words.setdefault(form_digest(chunk["text"]), []).append(chunk["id"])
    return {name: tuple(group) for group in by_words.values() if len(group) > 1 for name in group}


def relevant_chunks(
    questions: Sequence[Record],
    chunks: Mapping[str, Record],
    groups: Mapping[str, Sequence[str]],
    corpus: Set[str],
    count_overlaps: bool,
) -> Relevant:
    """Builds the qrels of all questions, restricted to the chunks that were embedded.

    A question's own chunk counts. With `count_overlaps` so do the chunks of the same document
    that hold the whole supporting span (chunks overlap, so the same sentence stands in two).
    Whatever counts, the chunks of the same words count too.

    Args:
        questions: records with id, chunk, and support {start, end} (offsets into the chunk's text) or null.
        chunks: id -> record with document, start, end and header (offsets into the document).
        groups: chunk id -> the chunks of the same words; none for those that are alone.
        corpus: ids of the chunks that can be retrieved.
        count_overlaps: as above.

    Raises:
        ValueError: no questions, a repeated question id, a question about an unknown chunk, a supporting
            span outside its chunk, or a question for which no chunk of the corpus counts.
    """
    if not questions:
        raise ValueError("no questions to evaluate: data/selected/qa_selected.jsonl is empty (loosen `select`)")
    by_document: dict[str, list[Record]] = {}
    for chunk in chunks.values():
        by_document.setdefault(chunk["document"], []).append(chunk)
    result = Relevant(without_support=sum(question["support"] is None for question in questions))
    for question in questions:
        name = question["id"]
        if name in result.qrels:
            raise ValueError(f"question {name!r} stands twice among the selected ones")
        if question["chunk"] not in chunks:
            raise ValueError(f"question {name!r} is about chunk {question['chunk']!r}: not in data/chunks/chunks.jsonl")
        origins = {question["chunk"]: "own_chunk"}
        if count_overlaps and question["support"] is not None:
            own = chunks[question["chunk"]]
            for neighbour in _holding_support(question, own, by_document[own["document"]]):
                origins.setdefault(neighbour, "overlapping")
        for answering in list(origins):
            for equal in groups.get(answering, ()):
                origins.setdefault(equal, "same_words")
        found = {chunk: origin for chunk, origin in origins.items() if chunk in corpus}
        if not found:
            raise ValueError(f"question {name!r}: none of {sorted(origins)} is in the embedded corpus; rerun embed")
        for origin in found.values():
            result.origins[origin] += 1
        result.qrels[name] = dict.fromkeys(found, 1)
    return result


def _holding_support(question: Record, own: Record, neighbours: Sequence[Record]) -> list[str]:
    """Ids of the document's chunks that hold the whole supporting span, in document order."""
    try:
        start, end = document_span(own, question["support"]["start"], question["support"]["end"])
    except ValueError as error:
        raise ValueError(
            f"question {question['id']!r}: its support {question['support']} lies outside its chunk"
        ) from error
    return [chunk["id"] for chunk in neighbours if holds(chunk, start, end)]
