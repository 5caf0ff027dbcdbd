"""What the documents hold on a question: passages, verbatim sentences, and whether it is enough to answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.lib.answering.chat_settings import ChatSettings
from stages.lib.embedding.embedders import Embedder
from stages.lib.passages.paged_document import PagedDocument
from stages.lib.passages.passages import Passage, cut, readable
from stages.lib.reranking.token_encoder import TokenEncoder
from stages.lib.retrieval.quote_ranking import QuoteRanker, RankedQuote, Relevance
from stages.lib.retrieval.searcher import Hit, Searcher
from stages.lib.retrieval.systems import Choice
from stages.lib.retrieval.vectors import PassageVectors, token_vectors


@dataclass(frozen=True)
class Evidence:
    """What was found for a question."""

    hits: list[Hit]  # passages, best first
    quotes: list[RankedQuote]  # sentences of them, best first
    relevance: Relevance
    answerable: bool  # the best passage is near enough to the question


@dataclass(frozen=True)
class Encoders:
    """The models that search; their weights load when they are first needed."""

    tokens: TokenEncoder
    embedder: Embedder
    instruction: str  # text that is put to a query of the embedder; "": none
    directory: Path | None  # where token vectors are kept; None: nowhere


class DocumentIndex:
    """Passages of some documents, ready to be asked."""

    def __init__(
        self,
        documents: Sequence[PagedDocument],
        choice: Choice,
        settings: ChatSettings,
        encoders: Encoders,
        parts: Sequence[Sequence[Passage]] | None = None,
    ) -> None:
        """Cuts and indexes the documents.

        Args:
            documents: what is searched.
            choice: the system.
            settings: section `chat`.
            encoders: the models of the system.
            parts: the passages of each document, where they are cut already; None: by `chunk_chars`.

        Raises:
            ValueError: no documents.
        """
        if not documents:
            raise ValueError("there is no document to search; add one first")
        self.documents, self._settings = list(documents), settings
        if parts is None:
            parts = [cut(document, settings.chunk_chars, settings.overlap_fraction) for document in documents]
        passages: list[Passage] = [passage for part in parts for passage in part]

        def vectors() -> list[PassageVectors]:
            return [token_vectors(part, encoders.tokens, encoders.directory) for part in parts if part]

        def query(question: str) -> npt.NDArray[np.float32]:
            found = encoders.embedder.encode_queries([question], encoders.instruction, progress=None)
            vector: npt.NDArray[np.float32] = found[0]
            return vector

        def dense(texts: Sequence[str]) -> npt.NDArray[np.float32]:
            return encoders.embedder.encode_documents(texts, progress=None)

        self._searcher = Searcher(
            passages,
            choice.system,
            k1=settings.bm25_k1,
            b=settings.bm25_b,
            rrf_k=settings.rrf_k,
            vectors=vectors,
            dense=dense,
            query=query,
            tokens=encoders.tokens,
        )
        self._ranker = QuoteRanker(encoders.tokens, [readable(passage.text) for passage in passages])

    def find(self, question: str, documents: Sequence[str] | None = None) -> Evidence:
        """Searches the documents (by sha256; None: all) and ranks the sentences of what was found."""
        hits = self._searcher.search(question, self._settings.passages, documents)
        ranked, relevance = self._ranker.rank(question, [hit.passage for hit in hits])
        answerable = bool(ranked) and relevance.passage >= self._settings.min_relevance
        return Evidence(hits, ranked, relevance, answerable)
