"""Query likelihood: how probable a language model finds the question once it has read the chunk.

Ponte and Croft, SIGIR 1998; with an instruction-tuned model as in Sachan et al., "Improving
Passage Retrieval with Zero-Shot Question Generation" (UPR), EMNLP 2022, equation 2:
score = log p(query | chunk) / tokens of the query. The query's tokens are the same for all
chunks, so dividing by their number changes no order within a query.
"""

from collections.abc import Sequence

import numpy as np

from stages.lib.core.params import fill
from stages.lib.llm.protocol import LanguageModel, Prompt, ScoreRequest
from stages.lib.reranking.pair_scores import SCORE_DECIMALS, PairScores, QueryDocument


class QueryLikelihoodReranker:
    """Any language model that gives log-probabilities, however small."""

    def __init__(self, model: LanguageModel, prompt: str) -> None:
        """`prompt`: has {document} and ends where the question begins; a raw text to continue, no chat."""
        self._model = model
        self._prompt = prompt.rstrip()

    def score(self, pairs: Sequence[QueryDocument], progress: str | None = None) -> PairScores:
        """Mean log p of a query token given the chunk and the query's tokens before it, nats."""
        requests = [
            ScoreRequest(
                prompt=Prompt(text=fill(self._prompt, document=pair.document), chat=False),
                choices=(f" {pair.query.strip()}",),
            )
            for pair in pairs
        ]
        scores = self._model.score(requests, progress=progress)
        rates = [score.per_token for score in scores]
        values = np.array([np.nan if rate is None else rate for rate in rates], dtype=np.float64)
        errors = tuple(score.error for score in scores if score.error)
        return PairScores(values.round(SCORE_DECIMALS), truncated=0, errors=errors)
