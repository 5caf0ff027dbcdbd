"""Each system ranks by what it says; the fusion is over all; a filter keeps to its documents."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pytest

from stages.lib.passages.paged_document import PagedDocument, read_text
from stages.lib.passages.passages import Passage
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.quote_ranking import QuoteRanker
from stages.lib.retrieval.searcher import Searcher
from stages.lib.retrieval.systems import SYSTEMS, System
from stages.lib.retrieval.vectors import PassageVectors, token_vectors
from stages.lib.weights.models import load_model_entry, locate_safetensors

TEXTS = [
    "The Eiffel Tower stands in Paris. It was built of iron in the year 1889.",
    "A gradient is the vector of partial derivatives. The network descends along it.",
    "Bananas are yellow fruits that grow in the tropics. Monkeys like to eat them.",
    "An optimizer changes the weights of a network so that its loss falls.",
]


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    entry = load_model_entry("minilm-l6")
    return TokenEncoder(entry, locate_safetensors(entry))


def whole(text: str) -> Passage:
    document: PagedDocument = read_text("a.txt", text.encode())
    return Passage(document, 0, len(document.text))


PASSAGES = [whole(text) for text in TEXTS]


def searcher(encoder: TokenEncoder, system: System) -> Searcher:
    def dense(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        means = [vectors.vectors.mean(axis=0) for vectors in encoder.encode(texts, "document")]
        return np.stack([mean / np.linalg.norm(mean) for mean in means]).astype(np.float32)

    return Searcher(
        PASSAGES,
        system,
        k1=1.5,
        b=0.75,
        rrf_k=60,
        vectors=lambda: [token_vectors([passage], encoder) for passage in PASSAGES],
        dense=dense,
        query=lambda question: dense([question])[0],
        tokens=encoder,
    )


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("question", "best"), [("Where does the Eiffel Tower stand?", 0), ("Which fruits grow in the tropics?", 2)]
)
def test_every_system_finds_the_passage(encoder: TokenEncoder, system: System, question: str, best: int) -> None:
    hits = searcher(encoder, system).search(question, 4)
    assert hits[0].passage is PASSAGES[best]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_meaning_is_found_without_a_shared_word_and_words_without_vectors(encoder: TokenEncoder) -> None:
    question = "Which landmark did France erect?"
    assert searcher(encoder, "late_interaction").search(question, 1)[0].passage is PASSAGES[0]
    assert {hit.score for hit in searcher(encoder, "bm25").search(question, 4)} == {0.0}


def test_late_interaction_sums_the_best_cosine_of_each_token(encoder: TokenEncoder) -> None:
    question = "What does an optimizer change?"
    query = encoder.encode([question], "query")[0].vectors
    expected = [
        (query @ encoder.encode([text], "document")[0].vectors.T).max(axis=1).sum() for text in TEXTS
    ]  # float16 on disk
    hits = searcher(encoder, "late_interaction").search(question, 4)
    found = {hit.passage.text: hit.score for hit in hits}
    assert [found[text] for text in TEXTS] == pytest.approx(expected, abs=0.02)


def test_fused_ranks_by_reciprocal_ranks_of_three(encoder: TokenEncoder) -> None:
    question = "How does a network descend along the gradient?"
    hits = searcher(encoder, "fused").search(question, 4)
    assert hits[0].passage is PASSAGES[1]
    assert hits[0].score == pytest.approx(3 / 61)


def test_a_filter_keeps_to_its_documents(encoder: TokenEncoder) -> None:
    allowed = [PASSAGES[2].document.sha256, PASSAGES[3].document.sha256]
    hits = searcher(encoder, "bm25").search("Where does the Eiffel Tower stand?", 4, allowed)
    assert {hit.passage.document.sha256 for hit in hits} == set(allowed)


def test_token_vectors_are_kept_and_read_again(encoder: TokenEncoder, tmp_path: Path) -> None:
    first = token_vectors(PASSAGES[:2], encoder, tmp_path)

    class Refuses(TokenEncoder):
        def encode_batches(self, batches: list[list[str]], task: str) -> NoReturn:
            raise AssertionError("computed again")

    again = token_vectors(PASSAGES[:2], Refuses(encoder.entry, locate_safetensors(encoder.entry)), tmp_path)
    assert isinstance(again, PassageVectors)
    assert np.array_equal(first.vectors, again.vectors) and np.array_equal(first.starts, again.starts)
    with pytest.raises(AssertionError, match="computed again"):  # other passages are not these
        token_vectors(PASSAGES[1:3], Refuses(encoder.entry, locate_safetensors(encoder.entry)), tmp_path)


def test_the_best_sentence_comes_first_and_relevance_tells_a_foreign_question(
    encoder: TokenEncoder,
) -> None:
    ranker = QuoteRanker(encoder, TEXTS)
    ranked, near = ranker.rank("In which year was it built of iron?", PASSAGES)
    assert ranked[0].quote.text == "It was built of iron in the year 1889."
    _, far = ranker.rank("Who won the football match yesterday evening?", PASSAGES)
    assert near.passage > 0.5 and far.passage < 0.35
    assert ranker.rank("anything", []) == ([], (0.0, 0.0, 0.0))


def test_question_of_function_words_alone_still_ranks(encoder: TokenEncoder) -> None:
    ranked, relevance = QuoteRanker(encoder, TEXTS).rank("What is it?", PASSAGES)
    assert ranked and np.isfinite(relevance.passage)
