"""The four rerankers by their `rerank_method`: two that compute here, two that ask a language model."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from stages.lib.cache.ledger import Ledger
from stages.lib.cache.place import cache_dir
from stages.lib.llm.protocol import LanguageModel
from stages.lib.reranking.cross_encoder import CrossEncoderReranker
from stages.lib.reranking.late_interaction import LateInteractionReranker
from stages.lib.reranking.pair_scores import LEDGER_FILE, Reranker
from stages.lib.reranking.query_likelihood import QueryLikelihoodReranker
from stages.lib.reranking.yes_no import YesNoReranker
from stages.lib.weights.models import ModelEntry

ASKING_METHODS = ("yes_no", "likelihood")  # those that go through the language-model room
PROMPTS = ["rerank_instruction", "query_likelihood_prompt"]  # of yes_no and of likelihood


@contextmanager
def open_encoder_reranker(entry: ModelEntry, idf_corpus: Sequence[str] | None) -> Iterator[Reranker]:
    """Opens a cross-encoder or a late-interaction encoder; its weights load when a pair is not yet scored.

    Args:
        entry: the model's entry.
        idf_corpus: texts whose word frequencies weigh late interaction; None: no weights.

    Raises:
        ValueError: another backend than sentence_transformers, or weights that are absent or not the pinned ones.
    """
    if entry.backend != "sentence_transformers":
        raise ValueError(
            f"{entry.source}: rerank_method {entry.rerank_method!r} needs backend sentence_transformers, "
            f"found {entry.backend!r}"
        )
    with closing(Ledger(cache_dir() / LEDGER_FILE)) as ledger:
        if entry.rerank_method == "cross_encoder":
            yield CrossEncoderReranker(entry, ledger)
        else:
            yield LateInteractionReranker(entry, ledger, idf_corpus)


def asking_reranker(model: LanguageModel, prompts: Mapping[str, str]) -> Reranker:
    """A reranker that asks a language model, by its entry's rerank_method; `prompts` holds those of PROMPTS."""
    if model.entry.rerank_method == "yes_no":
        return YesNoReranker(model, prompts["rerank_instruction"].strip())
    return QueryLikelihoodReranker(model, prompts["query_likelihood_prompt"])
